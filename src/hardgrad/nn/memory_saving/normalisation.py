"""Batch norm in evaluation, which is linear: it keeps its input only for a trainable weight.

In training the gradient of the input needs the input whatever the weight does, and layer, group and RMS norms always do: torch's own
layers keep no more than that (one tensor and one or two numbers a group), so they stay.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hardgrad.core.functions import apply_function


class _EvalBatchNorm(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(
        x: Tensor, mean: Tensor, variance: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> Tensor:
        return functional.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, mean, variance, weight, bias, ctx.eps = inputs
        need_x, need_weight = ctx.needs_input_grad[0], ctx.needs_input_grad[3]
        kept = (x, mean) if need_weight else (None, None)
        ctx.save_for_backward(*kept, variance, weight if need_x else None)
        ctx.shape = [1, -1] + [1] * (x.dim() - 2)
        ctx.sums = [0, *range(2, x.dim())]
        ctx.dtypes = x.dtype, None if bias is None else bias.dtype

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, mean, variance, weight = ctx.saved_tensors
        need_x, _, _, need_weight, need_bias, _ = ctx.needs_input_grad
        dx = dw = db = None
        working = torch.float32 if gradient.dtype in (torch.float16, torch.bfloat16) else gradient.dtype
        inverse = (variance.to(working) + ctx.eps).rsqrt()
        wide = gradient.to(working)
        if need_x:
            scale = inverse if weight is None else weight.to(working) * inverse
            dx = (wide * scale.view(ctx.shape)).to(ctx.dtypes[0])
        if need_weight:
            standard = (x.to(working) - mean.to(working).view(ctx.shape)) * inverse.view(ctx.shape)
            dw = (wide * standard).sum(ctx.sums).to(mean.dtype)
        if need_bias:
            db = wide.sum(ctx.sums).to(ctx.dtypes[1])
        return dx, None, None, dw, db, None


class _SavingBatchNorm(nn.modules.batchnorm._BatchNorm):
    """The forward pass that the three batch norms share."""

    def forward(self, input: Tensor) -> Tensor:
        """Return what the layer of torch returns."""
        mean, variance = self.running_mean, self.running_var
        if self.training or mean is None or variance is None or torch.compiler.is_compiling():
            return super().forward(input)
        if not torch.is_grad_enabled():
            return super().forward(input)
        self._check_input_dim(input)  # type: ignore[no-untyped-call]
        result: Tensor = apply_function(
            _EvalBatchNorm,
            input,
            mean,
            variance,
            self.weight,
            self.bias,
            self.eps,
        )
        return result


class MemorySavingBatchNorm1d(_SavingBatchNorm, nn.BatchNorm1d):
    """nn.BatchNorm1d that in evaluation keeps its input for backward only where its weight is trained."""


class MemorySavingBatchNorm2d(_SavingBatchNorm, nn.BatchNorm2d):
    """nn.BatchNorm2d that in evaluation keeps its input for backward only where its weight is trained."""


class MemorySavingBatchNorm3d(_SavingBatchNorm, nn.BatchNorm3d):
    """nn.BatchNorm3d that in evaluation keeps its input for backward only where its weight is trained."""
