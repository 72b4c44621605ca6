"""Gates given by tables, on tensors: what `LogicLayer` computes, on any device.

Numbers on the CPU go to the compiled loops of `gate_kernels`; elsewhere, and for small tensors, torch's own operations do the same. Nothing
is kept for backward but the inputs and the tables.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from hardgrad.core.threads import in_blocks
from hardgrad.functional.operands import reads_are_cheap

COMPILED_SIZE = 1 << 14
"""Answers, samples times gates, from which loading the compiled loops pays."""
BLOCKS_AT_ONCE = 2
"""Most blocks of samples in one pass over the gates: more would push the numbers that other gates read out of the cache."""


def evaluate_gates(x: Tensor, wires: Tensor, table: Tensor) -> Tensor:
    """Return the answers of gates: the multilinear function that equals each table on bits.

    Parameters
    ----------
    x : `[..., features]` in [0, 1], of the dtype of the tables.
    wires : int64 `[fan_in, gates]`, the features that each gate reads.
    table : `[gates, 2**fan_in]`, in the order of `gate_ids`.

    Returns
    -------
    y : `[..., gates]`. In memory it may lie gate by gate, which is how the next layer reads it.

    Examples
    --------
    >>> x, wires = torch.tensor([[0.5, 1.0]]), torch.tensor([[0], [1]])
    >>> evaluate_gates(x, wires, torch.tensor([[0.0, 0.0, 0.0, 1.0]])).item()
    0.5
    """
    if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        return interpolate(x, wires, table)
    result: Tensor = _Gates.apply(x, wires, table)  # type: ignore[no-untyped-call]
    return result


def interpolate(x: Tensor, wires: Tensor, table: Tensor) -> Tensor:
    """Do what `evaluate_gates` does by torch's operations, each of them differentiable."""
    if len(wires) == 2:
        return blend(x[..., wires[0]], x[..., wires[1]], table)
    values = table.T.unflatten(0, (2, -1)).movedim(0, -1)  # [rows, gates, 2]
    low, high = values.unbind(-1)
    current = low + x[..., None, wires[0]] * (high - low)
    for wire in wires[1:]:
        low, high = current.unflatten(-2, (2, -1)).unbind(-3)
        current = low + x[..., None, wire] * (high - low)
    answers: Tensor = current.squeeze(-2)
    return answers


def blend(a: Tensor, b: Tensor, table: Tensor) -> Tensor:
    """Return the multilinear function of a and b that equals a table [..., 4] on bits; all three broadcast."""
    t00, t01, t10, t11 = table.unbind(-1)
    return (t00 + (t10 - t00) * a) + ((t01 - t00) + (t00 - t01 - t10 + t11) * a) * b


class _Gates(torch.autograd.Function):
    """The function and its derivative, computed anew in backward from what goes in."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, wires: Tensor, table: Tensor) -> Tensor:
        ctx.save_for_backward(x, wires, table)
        return _forward(x, wires, table) if _is_for_kernels(x, wires) else interpolate(x, wires, table)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None, Tensor | None]:
        x, wires, table = ctx.saved_tensors
        if not torch.is_grad_enabled() and _is_for_kernels(x, wires):
            return _backward(x, wires, table, gradient, ctx.needs_input_grad[0])
        again = torch.is_grad_enabled()  # a derivative of this derivative is wanted
        with torch.enable_grad():
            inputs = (x, table) if again else (x.detach(), table.detach())
            wanted = [t for t, needed in zip(inputs, ctx.needs_input_grad[::2], strict=True) if needed]
            if not again:
                for tensor in wanted:
                    tensor.requires_grad_()
            found = iter(
                torch.autograd.grad(
                    interpolate(inputs[0], wires, inputs[1]), wanted, gradient, create_graph=again
                )
            )
        of_x, of_table = (next(found) if needed else None for needed in ctx.needs_input_grad[::2])
        return of_x, None, of_table


def _is_for_kernels(x: Tensor, wires: Tensor) -> bool:
    """Tell whether compiled loops do the work: many numbers on the CPU, of a kind that they are made for."""
    samples = x.numel() // max(1, x.shape[-1])
    return (
        samples * wires.shape[1] >= COMPILED_SIZE
        and x.dtype in (torch.float32, torch.float64)
        and reads_are_cheap(x)
        and _numba_is_here()
    )


@cache
def _numba_is_here() -> bool:
    return importlib.util.find_spec("numba") is not None


def _by_feature(x: Tensor) -> Tensor:
    """Return `[features, samples]`, contiguous: no copy where it lies like that already."""
    return x.detach().reshape(-1, x.shape[-1]).t().contiguous()


def _forward(x: Tensor, wires: Tensor, table: Tensor) -> Tensor:
    from hardgrad.logic import gate_kernels

    X = _by_feature(x)
    Y = X.new_empty(wires.shape[1], X.shape[1])
    loop = gate_kernels.pair_forward if len(wires) == 2 else gate_kernels.table_forward
    arrays = X.numpy(), wires.numpy(), table.detach().contiguous().numpy()
    _share_samples(lambda first, last: loop(*arrays, first, last, Y.numpy()), X.shape[1], gate_kernels.BLOCK)
    return Y.t().reshape(*x.shape[:-1], wires.shape[1])


def _backward(
    x: Tensor, wires: Tensor, table: Tensor, gradient: Tensor, inputs: bool
) -> tuple[Tensor | None, None, Tensor]:
    from hardgrad.logic import gate_kernels

    X, G = _by_feature(x), _by_feature(gradient)
    DX = torch.zeros_like(X) if inputs else X.new_empty(0, 0)
    blocks = -(-X.shape[1] // gate_kernels.BLOCK)
    DT = table.new_empty(blocks, *table.shape)
    loop = gate_kernels.pair_backward if len(wires) == 2 else gate_kernels.table_backward
    arrays = X.numpy(), wires.numpy(), table.detach().contiguous().numpy(), G.numpy()
    _share_samples(
        lambda first, last: loop(*arrays, first, last, inputs, DX.numpy(), DT.numpy()),
        X.shape[1],
        gate_kernels.BLOCK,
    )
    return DX.t().reshape(x.shape) if inputs else None, None, DT.sum(dim=0)


def _share_samples(work: Callable[[int, int], object], samples: int, block: int) -> None:
    """Do the work on ranges of samples that begin at whole blocks, on as many threads as torch would take."""

    def in_passes(start: int, stop: int) -> None:
        for first in range(start, stop, BLOCKS_AT_ONCE * block):
            work(first, min(first + BLOCKS_AT_ONCE * block, stop))

    in_blocks(in_passes, samples, torch.get_num_threads(), multiple=block)
