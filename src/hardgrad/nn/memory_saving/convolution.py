"""Convolutions that keep their input only for a trainable weight, and their weight only for an input that needs a gradient.

The output is linear in the input and in the weight, so that each gradient needs the other one alone. torch keeps both.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hardgrad.core.functions import apply_function
from hardgrad.nn.memory_saving.pooling import pad

Settings = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], bool, tuple[int, ...], int]


class _Convolution(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None, settings: Settings) -> Tensor:
        return torch.convolution(x, weight, bias, *settings)

    @staticmethod
    def setup_context(
        ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None, Settings], output: Tensor
    ) -> None:
        x, weight, bias, ctx.settings = inputs
        need_x, need_weight = ctx.needs_input_grad[:2]
        ctx.save_for_backward(x if need_weight else None, weight if need_x else None)
        ctx.shapes = x.shape, weight.shape
        ctx.bias_shape = None if bias is None else list(bias.shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        # Of what was not kept, only shape, dtype and device are read. Memory that nobody touches costs nothing on the CPU; a zero
        # seen through strides of 0 would be written out in full by the kernels, which want it contiguous.
        x, weight = (
            gradient.new_empty(shape) if kept is None else kept
            for kept, shape in zip(ctx.saved_tensors, ctx.shapes, strict=True)
        )
        needs = list(ctx.needs_input_grad[:3])
        found = torch.ops.aten.convolution_backward(gradient, x, weight, ctx.bias_shape, *ctx.settings, needs)
        dx, dw, db = (
            value if needed else None
            for value, needed in zip(found, needs, strict=True)
        )  # fmt: skip
        return dx, dw, db, None


def convolution(x: Tensor, weight: Tensor, bias: Tensor | None, settings: Settings) -> Tensor:
    """Convolve one sample or a batch; settings are stride, padding, dilation, transposed, output padding and groups."""
    if torch.is_autocast_enabled(x.device.type):  # cast outside, so that autograd casts the gradients back
        dtype = torch.get_autocast_dtype(x.device.type)
        x, weight, bias = x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
    alone = x.dim() == weight.dim() - 1
    result: Tensor = apply_function(
        _Convolution,
        x.unsqueeze(0) if alone else x,
        weight,
        bias,
        settings,
    )
    return result.squeeze(0) if alone else result


class _SavingForward(nn.modules.conv._ConvNd):
    """The forward pass that the three convolutions share."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if not torch.is_grad_enabled() or torch.compiler.is_compiling() or input.dtype.is_complex:
            return super()._conv_forward(input, weight, bias)
        x, padding = self._padded(input)
        settings = (self.stride, padding, self.dilation, False, (0,) * len(padding), self.groups)
        return convolution(x, weight, bias, settings)

    def _padded(self, x: Tensor) -> tuple[Tensor, tuple[int, ...]]:
        """Pad what a convolution cannot pad by itself; return the rest as its padding."""
        both = self._reversed_padding_repeated_twice
        if self.padding_mode != "zeros":
            return pad(x, both, self.padding_mode), (0,) * (len(both) // 2)
        if not isinstance(self.padding, str):
            return x, tuple(self.padding)
        pairs = list(zip(both[::2], both[1::2], strict=True))  # of "same" or "valid", last dimension first
        least = [min(pair) for pair in pairs]
        rest = [side - low for pair, low in zip(pairs, least, strict=True) for side in pair]
        return (functional.pad(x, rest) if any(rest) else x), tuple(reversed(least))


class MemorySavingConv1d(_SavingForward, nn.Conv1d):
    """nn.Conv1d that keeps its input for backward only where its weight is trained."""


class MemorySavingConv2d(_SavingForward, nn.Conv2d):
    """nn.Conv2d that keeps its input for backward only where its weight is trained."""


class MemorySavingConv3d(_SavingForward, nn.Conv3d):
    """nn.Conv3d that keeps its input for backward only where its weight is trained."""


class _SavingTransposed(nn.modules.conv._ConvTransposeNd):
    """The forward pass that the three transposed convolutions share."""

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Return what the layer of torch returns."""
        if not torch.is_grad_enabled() or torch.compiler.is_compiling() or input.dtype.is_complex:
            return super().forward(input, output_size)  # type: ignore[no-any-return]
        dims = self.weight.dim() - 2
        padding = tuple(int(side) for side in self.padding)
        extra = self._output_padding(
            input, output_size, self.stride, padding, self.kernel_size, dims, self.dilation  # type: ignore[arg-type]
        )  # fmt: skip
        settings = (self.stride, padding, self.dilation, True, tuple(extra), self.groups)
        return convolution(input, self.weight, self.bias, settings)


class MemorySavingConvTranspose1d(_SavingTransposed, nn.ConvTranspose1d):
    """nn.ConvTranspose1d that keeps its input for backward only where its weight is trained."""


class MemorySavingConvTranspose2d(_SavingTransposed, nn.ConvTranspose2d):
    """nn.ConvTranspose2d that keeps its input for backward only where its weight is trained."""


class MemorySavingConvTranspose3d(_SavingTransposed, nn.ConvTranspose3d):
    """nn.ConvTranspose3d that keeps its input for backward only where its weight is trained."""
