"""Pooling and padding: max pooling keeps one byte a window, average pooling and padding keep nothing but a shape."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from hardgrad.core.functions import apply_function
from hardgrad.nn.memory_saving.bits import LARGE, array_of
from hardgrad.nn.memory_saving.pointwise import tracked

aten = torch.ops.aten
_Window = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...], bool]
_BYTE = 256


class _FromShape(torch.autograd.Function):
    """A linear operation whose backward pass reads the shape of its input alone."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        x: Tensor, function: Callable[..., Tensor], backward: Callable[..., Tensor], settings: tuple[Any, ...]
    ) -> Tensor:
        return function(x, *settings)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, _, ctx.function, ctx.settings = inputs
        ctx.shape = x.shape

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        stand_in = gradient.new_empty(ctx.shape)  # never read
        return ctx.function(gradient, stand_in, *ctx.settings), None, None, None


def _from_shape(x: Tensor, function: Any, backward: Any, *settings: Any) -> Tensor:
    result: Tensor = apply_function(_FromShape, x, function, backward, settings)
    return result


def pad(x: Tensor, sides: Sequence[int], mode: str) -> Tensor:
    """Pad like `torch.nn.functional.pad` with mode "reflect", "replicate" or "circular", keeping nothing for backward."""
    operations = {
        ("reflect", 1): (aten.reflection_pad1d, aten.reflection_pad1d_backward),
        ("reflect", 2): (aten.reflection_pad2d, aten.reflection_pad2d_backward),
        ("reflect", 3): (aten.reflection_pad3d, aten.reflection_pad3d_backward),
        ("replicate", 1): (aten.replication_pad1d, aten.replication_pad1d_backward),
        ("replicate", 2): (aten.replication_pad2d, aten.replication_pad2d_backward),
        ("replicate", 3): (aten.replication_pad3d, aten.replication_pad3d_backward),
    }
    known = operations.get((mode, len(sides) // 2))
    if known is None or not tracked(x):  # circular padding copies slices, which keeps nothing as it is
        return functional.pad(x, list(sides), mode=mode)
    return _from_shape(x, *known, list(sides))


class _MaxPool(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, window: _Window) -> tuple[Tensor, Tensor]:
        by_quarters = _pooled_by_quarters(x, window)
        if by_quarters is not None:
            return by_quarters
        pool = aten.max_pool3d_with_indices if len(window[0]) == 3 else aten.max_pool2d_with_indices
        values, indices = pool(x, *window)
        return values, _to_bytes(indices, x.shape, window)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, _Window], output: tuple[Tensor, Tensor]) -> None:
        x, ctx.window = inputs
        ctx.shape = x.shape
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(output[1])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None, _: None) -> tuple[Tensor | None, None]:
        if gradient is None:
            return None, None
        (kept,) = ctx.saved_tensors
        found = _scattered(gradient, kept, ctx.shape, ctx.window)
        if found is not None:
            return found, None
        indices = _from_bytes(kept, ctx.shape, ctx.window)
        stand_in = gradient.new_empty(ctx.shape)  # never read
        three = len(ctx.window[0]) == 3
        back = aten.max_pool3d_with_indices_backward if three else aten.max_pool2d_with_indices_backward
        return back(gradient, stand_in, *ctx.window, indices), None


_QUARTERS = ((2, 2), (2, 2), (0, 0), (1, 1))


def _pooled_by_quarters(x: Tensor, window: _Window) -> tuple[Tensor, Tensor] | None:
    """Maxima and their places in windows of 2 x 2 that lie side by side, for large planes that the CPU holds; None where that cannot be."""
    *_, height, width = x.shape
    rows, columns, ceil_mode = height // 2, width // 2, window[4]
    if window[:4] != _QUARTERS or (ceil_mode and (height % 2 or width % 2)) or not rows * columns:
        return None
    given = array_of(x) if x.numel() >= LARGE and x.is_contiguous() else None
    if given is None or given.dtype.char not in "fd":
        return None
    from hardgrad.nn.memory_saving.pooling_kernels import max_of_quarters

    values = x.new_empty(*x.shape[:-2], rows, columns)
    places = torch.empty(values.shape, dtype=torch.uint8)
    planes = (-1, rows, columns)
    max_of_quarters(
        given.reshape(-1, height, width), values.numpy().reshape(planes), places.numpy().reshape(planes)
    )
    return values, places


def _scattered(gradient: Tensor, places: Tensor, shape: torch.Size, window: _Window) -> Tensor | None:
    """The backward pass straight from the bytes, for planes in the memory of the CPU; None where that cannot be."""
    given, kept = array_of(gradient), array_of(places)
    if (
        len(window[0]) != 2
        or kept is None
        or given is None
        or given.dtype.char not in "fd"
        or kept.dtype != np.uint8
    ):
        return None
    from hardgrad.nn.memory_saving.pooling_kernels import max_pool_backward

    steps = np.array(_steps(shape[-2:], window))
    out = gradient.new_zeros(math.prod(shape[:-2]), shape[-2] * shape[-1])
    planes = (-1, *gradient.shape[-2:])
    max_pool_backward(
        given.reshape(planes), kept.reshape(planes), steps, window[1], window[2], shape[-1], out.numpy()
    )
    return out.view(shape)


@lru_cache(maxsize=64)
def _begins(sides: Sequence[int], shape: Sequence[int], window: _Window, device: torch.device) -> Tensor:
    """Flat position at which each window of the output begins; negative inside the padding."""
    _, stride, padding, _, _ = window
    result: Tensor | int = 0
    for dim, length in enumerate(sides):
        start = torch.arange(length, device=device) * stride[dim] - padding[dim]
        result = result * shape[dim] + start.view(-1, *[1] * (len(sides) - 1 - dim))
    assert isinstance(result, Tensor)
    return result


def _steps(shape: Sequence[int], window: _Window) -> list[int]:
    """How far each place of a window lies behind its beginning, in flat positions."""
    kernel, _, _, dilation, _ = window
    steps = [0]
    for dim, size in enumerate(kernel):
        steps = [before * shape[dim] + place * dilation[dim] for before in steps for place in range(size)]
    return steps


def _to_bytes(indices: Tensor, shape: Sequence[int], window: _Window) -> Tensor:
    """Places of the maxima in their windows; flat positions of 32 bits where a window has more than 256 places."""
    dims = len(window[0])
    if math.prod(window[0]) > _BYTE:
        return indices.to(torch.int32)
    steps = _steps(shape[-dims:], window)
    places = torch.zeros(max(steps) + 1, dtype=torch.uint8)
    places[steps] = torch.arange(len(steps), dtype=torch.uint8)
    behind = indices - _begins(tuple(indices.shape[-dims:]), tuple(shape[-dims:]), window, indices.device)
    return places.to(indices.device).index_select(0, behind.reshape(-1)).view(behind.shape)


def _from_bytes(places: Tensor, shape: Sequence[int], window: _Window) -> Tensor:
    if places.dtype != torch.uint8:
        return places.long()
    dims = len(window[0])
    steps = torch.tensor(_steps(shape[-dims:], window), device=places.device)
    return steps.index_select(0, places.reshape(-1).int()).view(places.shape) + _begins(
        tuple(places.shape[-dims:]), tuple(shape[-dims:]), window, places.device
    )


def _each(value: Any, dims: int) -> tuple[int, ...]:
    return (int(value),) * dims if isinstance(value, int) else tuple(int(v) for v in value)


class _SavingMaxPool(nn.modules.pooling._MaxPoolNd):
    """The forward pass that the three max poolings share."""

    dims: int

    def forward(self, input: Tensor) -> Tensor:
        """Return what the layer of torch returns."""
        if self.return_indices or not tracked(input):
            return super().forward(input)  # type: ignore[no-any-return]
        kernel, stride, padding, dilation = (
            _each(setting, self.dims)
            for setting in (self.kernel_size, self.stride, self.padding, self.dilation)
        )
        x = input
        if self.dims == 1:  # one dimension is a plane of height 1
            x = input.unsqueeze(-2)
            kernel, stride, padding, dilation = (1, *kernel), (1, *stride), (0, *padding), (1, *dilation)
        result: Tensor = apply_function(
            _MaxPool,
            x,
            (kernel, stride, padding, dilation, self.ceil_mode),
        )[0]
        return result.squeeze(-2) if self.dims == 1 else result


class MemorySavingMaxPool1d(_SavingMaxPool, nn.MaxPool1d):
    """nn.MaxPool1d that keeps one byte a window for backward."""

    dims = 1


class MemorySavingMaxPool2d(_SavingMaxPool, nn.MaxPool2d):
    """nn.MaxPool2d that keeps one byte a window for backward."""

    dims = 2


class MemorySavingMaxPool3d(_SavingMaxPool, nn.MaxPool3d):
    """nn.MaxPool3d that keeps one byte a window for backward."""

    dims = 3


class MemorySavingAvgPool2d(nn.AvgPool2d):
    """nn.AvgPool2d that keeps nothing for backward."""

    def forward(self, input: Tensor) -> Tensor:
        """Return what nn.AvgPool2d returns."""
        if not tracked(input):
            return super().forward(input)
        settings = (
            _each(self.kernel_size, 2), _each(self.stride, 2), _each(self.padding, 2), self.ceil_mode, self.count_include_pad,
            self.divisor_override,
        )  # fmt: skip
        return _from_shape(input, aten.avg_pool2d, aten.avg_pool2d_backward, *settings)


class MemorySavingAvgPool3d(nn.AvgPool3d):
    """nn.AvgPool3d that keeps nothing for backward."""

    def forward(self, input: Tensor) -> Tensor:
        """Return what nn.AvgPool3d returns."""
        if not tracked(input):
            return super().forward(input)
        settings = (
            _each(self.kernel_size, 3), _each(self.stride, 3), _each(self.padding, 3), self.ceil_mode, self.count_include_pad,
            self.divisor_override,
        )  # fmt: skip
        return _from_shape(input, aten.avg_pool3d, aten.avg_pool3d_backward, *settings)


class MemorySavingAdaptiveAvgPool2d(nn.AdaptiveAvgPool2d):
    """nn.AdaptiveAvgPool2d that keeps nothing for backward."""

    def forward(self, input: Tensor) -> Tensor:
        """Return what nn.AdaptiveAvgPool2d returns."""
        sides: Any = self.output_size
        sides = (sides, sides) if isinstance(sides, int) else tuple(sides)
        if not tracked(input) or sides == (1, 1):  # a mean, of which torch keeps nothing
            return super().forward(input)
        size = [given if side is None else side for side, given in zip(sides, input.shape[-2:], strict=True)]
        return _from_shape(input, aten._adaptive_avg_pool2d, _adaptive_backward, size)


def _adaptive_backward(gradient: Tensor, stand_in: Tensor, size: list[int]) -> Tensor:
    result: Tensor = aten._adaptive_avg_pool2d_backward(gradient, stand_in)
    return result


class MemorySavingReflectionPad1d(nn.ReflectionPad1d):
    """nn.ReflectionPad1d that keeps nothing for backward."""

    def forward(self, input: Tensor) -> Tensor:
        """Return what nn.ReflectionPad1d returns."""
        return pad(input, self.padding, "reflect")


class MemorySavingReflectionPad2d(nn.ReflectionPad2d):
    """nn.ReflectionPad2d that keeps nothing for backward."""

    def forward(self, input: Tensor) -> Tensor:
        """Return what nn.ReflectionPad2d returns."""
        return pad(input, self.padding, "reflect")


class MemorySavingReplicationPad1d(nn.ReplicationPad1d):
    """nn.ReplicationPad1d that keeps nothing for backward."""

    def forward(self, input: Tensor) -> Tensor:
        """Return what nn.ReplicationPad1d returns."""
        return pad(input, self.padding, "replicate")


class MemorySavingReplicationPad2d(nn.ReplicationPad2d):
    """nn.ReplicationPad2d that keeps nothing for backward."""

    def forward(self, input: Tensor) -> Tensor:
        """Return what nn.ReplicationPad2d returns."""
        return pad(input, self.padding, "replicate")
