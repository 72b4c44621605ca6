"""Activations with two slopes and dropout: one bit an element is kept for backward, where torch keeps a number.

Forward values are torch's own. At a kink the slope is the one that torch takes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hardgrad.core.functions import apply_function
from hardgrad.nn.memory_saving.bits import flat_of, not_zero, pack, random_bits, scaled, unpack


@dataclass(frozen=True)
class Slopes:
    """A piecewise linear activation with two slopes.

    Parameters
    ----------
    function : torch's own, called with the input and `in_place`.
    steep : comparison that is true where the slope is `above`; made on the output if `of_output`, else on the input.
    above, below : the two slopes.
    of_output : where to look.
    """

    function: Callable[[Tensor, bool], Tensor]
    steep: Callable[[Any], Any]
    above: float = 1.0
    below: float = 0.0
    of_output: bool = False


class _TwoSlopes(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, slopes: Slopes, in_place: bool) -> tuple[Tensor, Tensor]:
        if slopes is RELU and not in_place and (at_once := _relu_at_once(x)) is not None:
            return at_once
        before = None if slopes.of_output else pack(x, slopes.steep)
        y = slopes.function(x, in_place)
        return y, pack(y, slopes.steep) if before is None else before

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Slopes, bool], output: tuple[Tensor, Tensor]) -> None:
        x, slopes, in_place = inputs
        packed = output[1]
        if in_place:
            ctx.mark_dirty(x)
        ctx.mark_non_differentiable(packed)
        ctx.save_for_backward(packed)
        ctx.slopes = slopes
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None, _: None) -> tuple[Tensor | None, None, None]:
        if gradient is None:
            return None, None, None
        (packed,) = ctx.saved_tensors
        slopes = ctx.slopes
        at_once = scaled(gradient, packed, slopes.above, slopes.below, cut=not slopes.below)
        if at_once is not None:
            return at_once, None, None
        steep = unpack(packed, gradient)
        if slopes.below:
            result = torch.ops.aten.leaky_relu_backward(gradient, steep, slopes.below, False)
        else:
            result = torch.ops.aten.threshold_backward(gradient, steep, 0)
        return (result if slopes.above == 1 else result * slopes.above), None, None


def _relu_at_once(x: Tensor) -> tuple[Tensor, Tensor] | None:
    """The ReLU and its bits in one pass; None where the compiled loops do not take x."""
    flat = flat_of(x)
    if flat is None:
        return None
    from hardgrad.nn.memory_saving import pointwise_kernels

    y, packed = torch.empty_like(x), torch.empty(x.numel() // 8, dtype=torch.uint8)
    pointwise_kernels.relu(flat, y.numpy().reshape(-1), packed.numpy())
    return y, packed


def tracked(x: Tensor) -> bool:
    """Tell whether autograd will want something of `x`; torch.compile decides by itself what to keep, so nothing is done for it."""
    return torch.is_grad_enabled() and x.requires_grad and not torch.compiler.is_compiling()


def two_slopes(x: Tensor, slopes: Slopes, in_place: bool = False) -> Tensor:
    """Apply a piecewise linear activation and keep one bit an element for backward."""
    if not tracked(x) or x.is_complex():
        return slopes.function(x, in_place)
    result: Tensor = apply_function(_TwoSlopes, x, slopes, in_place)[0]
    return result


# An output that is no number is not zero: torch lets the gradient of a NaN through.
RELU = Slopes(lambda x, in_place: functional.relu(x, inplace=in_place), not_zero, of_output=True)


def relu(x: Tensor) -> Tensor:
    """Return torch's ReLU and keep one bit an element for backward.

    Examples
    --------
    >>> x = torch.tensor([-1.0, 0.0, 2.0], requires_grad=True)
    >>> relu(x).sum().backward(); x.grad
    tensor([0., 0., 1.])
    """
    return two_slopes(x, RELU)


class MemorySavingReLU(nn.ReLU):
    """nn.ReLU that keeps one bit an element for backward."""

    def forward(self, input: Tensor) -> Tensor:
        """Return what nn.ReLU returns."""
        return two_slopes(input, RELU, self.inplace)


class MemorySavingLeakyReLU(nn.LeakyReLU):
    """nn.LeakyReLU that keeps one bit an element for backward."""

    def forward(self, input: Tensor) -> Tensor:
        """Return what nn.LeakyReLU returns."""
        slope = self.negative_slope
        if self.inplace and slope < 0:  # torch refuses this in backward; let it say so
            return super().forward(input)
        function = lambda x, in_place: functional.leaky_relu(x, slope, in_place)  # noqa: E731
        return two_slopes(input, Slopes(function, lambda v: v > 0, below=slope), self.inplace)


class MemorySavingHardtanh(nn.Hardtanh):
    """nn.Hardtanh that keeps one bit an element for backward."""

    def forward(self, input: Tensor) -> Tensor:
        """Return what nn.Hardtanh returns."""
        return two_slopes(input, _between(self.min_val, self.max_val), self.inplace)


class MemorySavingReLU6(nn.ReLU6):
    """nn.ReLU6 that keeps one bit an element for backward."""

    def forward(self, input: Tensor) -> Tensor:
        """Return what nn.ReLU6 returns."""
        return two_slopes(input, _between(0.0, 6.0), self.inplace)


class MemorySavingHardsigmoid(nn.Hardsigmoid):
    """nn.Hardsigmoid that keeps one bit an element for backward."""

    def forward(self, input: Tensor) -> Tensor:
        """Return what nn.Hardsigmoid returns."""
        function = lambda x, in_place: functional.hardsigmoid(x, in_place)  # noqa: E731
        slopes = Slopes(function, lambda v: (v > -3) & (v < 3), above=1 / 6)
        return two_slopes(input, slopes, self.inplace)


class MemorySavingThreshold(nn.Threshold):
    """nn.Threshold that keeps one bit an element for backward."""

    def forward(self, input: Tensor) -> Tensor:
        """Return what nn.Threshold returns."""
        threshold, value = self.threshold, self.value
        function = lambda x, in_place: functional.threshold(x, threshold, value, in_place)  # noqa: E731
        return two_slopes(input, Slopes(function, lambda v: ~(v <= threshold)), self.inplace)


def _between(low: float, high: float) -> Slopes:
    # Negated, as torch writes it: the gradient of a NaN passes.
    return Slopes(
        lambda x, in_place: functional.hardtanh(x, low, high, in_place),
        lambda v: ~((v <= low) | (v >= high)),
    )


class _Dropout(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, p: float, in_place: bool) -> tuple[Tensor, Tensor]:
        if x.is_cuda:  # torch's fused kernel, whose random numbers are its own
            y, kept = torch.native_dropout(x, p, True)
            y = x.copy_(y) if in_place else y
            return y, pack(kept, lambda v: v)
        drawn = None if flat_of(x) is None else random_bits(x.numel(), 1 - p)
        at_once = None if drawn is None else scaled(x, drawn, 1.0, 0.0, divisor=1 - p)
        if drawn is not None and at_once is not None:
            return (x.copy_(at_once) if in_place else at_once), drawn
        noise = torch.empty_like(x).bernoulli_(1 - p)
        packed = pack(noise, not_zero)
        noise.div_(1 - p)
        return (x.mul_(noise) if in_place else noise.mul_(x)), packed

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float, bool], output: tuple[Tensor, Tensor]) -> None:
        x, p, in_place = inputs
        if in_place:
            ctx.mark_dirty(x)
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(output[1])
        ctx.p = p
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None, _: None) -> tuple[Tensor | None, None, None]:
        if gradient is None:
            return None, None, None
        (packed,) = ctx.saved_tensors
        at_once = scaled(gradient, packed, 1.0, 0.0, divisor=1 - ctx.p)
        if at_once is None:
            at_once = unpack(packed, gradient).div_(1 - ctx.p).mul_(gradient)
        return at_once, None, None


class MemorySavingDropout(nn.Dropout):
    """nn.Dropout that draws the same random numbers and keeps one bit an element for backward."""

    def forward(self, input: Tensor) -> Tensor:
        """Return what nn.Dropout returns for the same state of the random numbers."""
        if not self.training or not 0 < self.p < 1 or not tracked(input) or input.is_complex():
            return super().forward(input)
        result: Tensor = apply_function(_Dropout, input, self.p, self.inplace)[0]
        return result
