"""Projections onto the probability simplex: softmax, sparsemax and entmax, from scores to weights that sum to 1.

They are exact functions with a temperature, not relaxations with a mode; `choices` makes argmax, max and choice of them.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from hardgrad.core.errors import InputError, ParameterError
from hardgrad.core.functions import apply_function
from hardgrad.functional.operands import (
    Lists,
    as_lists,
    reads_are_cheap,
    settle,
    values_are_checked,
)

COMPILED_SIZE = 16_384  # from this many scores on, compiled loops pay, also for the time to import them


def softmax(x: Tensor, dim: int = -1, *, temperature: Any = None) -> Tensor:
    """Return weights proportional to exp(x / temperature): all of them positive.

    Parameters
    ----------
    x : scores, any shape, real; -inf leaves an element out: its weight is exactly 0 and its gradient finite.
    dim : the dimension along which the weights sum to 1.
    temperature : positive number or tensor that broadcasts to the shape of x without `dim`, in the units of x; by default that of the
        surrounding `hardgrad.mode` block, else 1, which is torch.softmax. Small is hard.

    Returns
    -------
    weights : in the shape of x, floating.

    Raises
    ------
    TemperatureError : a temperature that is not positive and finite.
    InputError : NaN, +inf, no element along `dim`, or a list of which every element is -inf.
    InputTypeError : a Boolean or complex tensor.

    Examples
    --------
    >>> softmax(torch.tensor([0.0, 0.0, -torch.inf])).tolist()
    [0.5, 0.5, 0.0]
    """
    return _project("softmax", x, dim, temperature, 1.0)


def sparsemax(x: Tensor, dim: int = -1, *, temperature: Any = None) -> Tensor:
    """Return the point of the simplex that is nearest to x / temperature: small scores get weight exactly 0.

    Parameters
    ----------
    x, dim, temperature : as for `softmax`. Elements more than one temperature below the largest have weight 0.

    Examples
    --------
    >>> sparsemax(torch.tensor([1.0, 0.5, -0.3])).tolist()
    [0.75, 0.25, 0.0]

    Source: Martins and Astudillo, 2016, From Softmax to Sparsemax: A Sparse Model of Attention and Multi-Label Classification.
    """
    return _project("sparsemax", x, dim, temperature, 2.0)


def entmax(x: Tensor, dim: int = -1, *, alpha: float = 1.5, temperature: Any = None) -> Tensor:
    """Return weights between softmax (alpha = 1) and sparsemax (alpha = 2): sparse, and smooth in x for alpha below 2.

    Parameters
    ----------
    x, dim, temperature : as for `softmax`. Elements more than temperature / (alpha - 1) below the largest have weight 0.
    alpha : at least 1; 1, 1.5 and 2 are solved exactly, others by bisection to the precision of the dtype.

    Raises
    ------
    ParameterError : alpha below 1, or not finite.

    Examples
    --------
    >>> entmax(torch.tensor([1.0, 0.5, -2.0])).tolist()
    [0.674, 0.326, 0.0]

    Source: Peters, Niculae and Martins, 2019, Sparse Sequence-to-Sequence Models.
    """
    given: Any = alpha
    if isinstance(given, bool) or not isinstance(given, int | float) or not 1.0 <= given < math.inf:
        raise ParameterError(
            f"entmax() got alpha={alpha!r}; expected a number of at least 1 (1 is softmax, 2 is sparsemax)."
        )
    return _project("entmax", x, dim, temperature, float(alpha))


def project_lists(scores: Tensor, temperature: Any, alpha: float) -> Tensor:
    """Return the weights of lists along the last dimension; nothing is checked here.

    Parameters
    ----------
    scores : (..., n), floating; -inf leaves an element out.
    temperature : positive number, 0-dim tensor, or (...) + (1,).
    alpha : 1 is softmax, 2 sparsemax.
    """
    if isinstance(temperature, Tensor):
        # The derivative by the temperature has x / t^2 in it, which must not be infinity times 0 where an element is left out.
        out = torch.isneginf(scores)
        scaled = (scores.masked_fill(out, 0.0) / temperature).masked_fill(out, -torch.inf)
    else:
        scaled = scores / temperature
    if alpha == 1.0:
        return torch.softmax(scaled, dim=-1)
    function = _CompiledEntmax if torch.compiler.is_compiling() else _Entmax
    weights: Tensor = apply_function(function, scaled, alpha)
    return weights


def check_elements(name: str, lists: Lists) -> None:
    """Raise `InputError` for lists without an element, or of which every element is left out."""
    if lists.x.shape[-1] == 0:
        raise InputError(
            f"{name}() got no element along its dimension {lists.axis}; expected at least one to choose from."
        )
    if (
        values_are_checked(lists.x)
        and lists.x.is_floating_point()
        and bool(torch.isneginf(lists.x.detach().amax(dim=-1)).any())
    ):
        raise InputError(
            f"{name}() got a list of which every element is -inf; expected at least one finite score in each. Leave such lists out, or "
            "give one of their elements a finite score."
        )


def _project(name: str, x: Tensor, dim: int, temperature: Any, alpha: float) -> Tensor:
    call = settle(name, x, temperature=temperature, mode="soft", infinite=True, default_temperature=1.0)
    lists = as_lists(call, dim)
    check_elements(name, lists)
    return lists.restore(project_lists(lists.x, lists.temperature, alpha)).to(call.dtype)


class _CompiledEntmax(torch.autograd.Function):
    """Entmax along the last dimension with its derivative in closed form; torch.compile traces no function that has a `jvp`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(scores: Tensor, alpha: float) -> Tensor:
        if alpha in (1.5, 2.0) and _is_for_kernels(scores):
            return _by_rows("project_rows", alpha, scores)
        largest = scores.amax(dim=-1, keepdim=True)
        # What lies 1 below the largest or deeper has weight 0 whatever the rest is.
        shifted = ((alpha - 1.0) * (scores - largest)).clamp_min(-1.0)
        if alpha not in (1.5, 2.0):
            return _by_bisection(shifted, alpha)
        # Rounding must not put the threshold below -1: what was left out would get a weight.
        weights = (shifted - _threshold(shifted, alpha).clamp_min(-1.0)).clamp_min(0.0)
        return weights if alpha == 2.0 else weights.square()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float], output: Tensor) -> None:
        ctx.alpha = inputs[1]
        ctx.save_for_backward(output)
        ctx.save_for_forward(output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (weights,) = ctx.saved_tensors
        return _derivative(weights, gradient, ctx.alpha), None


class _Entmax(_CompiledEntmax):
    """The same with a forward-mode derivative; the Jacobian is symmetric, so that it is the same function."""

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: None) -> Tensor:
        (weights,) = ctx.saved_tensors
        return _derivative(weights, tangent, ctx.alpha)


def _is_for_kernels(tensor: Tensor) -> bool:
    """Tell whether compiled loops over rows do the work: many numbers on the CPU, and no derivative of the work itself is asked for."""
    return tensor.numel() >= COMPILED_SIZE and not torch.is_grad_enabled() and reads_are_cheap(tensor)


def _by_rows(name: str, alpha: float, *tensors: Tensor) -> Tensor:
    """Return what a kernel of `simplex_kernels` makes of the rows of tensors of one shape."""
    from hardgrad.functional import simplex_kernels

    rows = [t.detach().reshape(-1, t.shape[-1]).contiguous() for t in tensors]
    result = torch.empty_like(rows[0])
    *inputs, output = (t.numpy() for t in (*rows, result))
    getattr(simplex_kernels, name)(*inputs, alpha, output)
    return result.reshape(tensors[0].shape)


def _derivative(weights: Tensor, direction: Tensor, alpha: float) -> Tensor:
    """Return (diag(q) - q q^T / sum q) direction with q = weights^(2 - alpha) on the support, made of differentiable steps."""
    if alpha in (1.5, 2.0) and _is_for_kernels(weights) and _is_for_kernels(direction):
        return _by_rows("derive_rows", alpha, weights, direction)
    support = weights > 0
    if alpha == 2.0:
        q = support.to(weights.dtype)
    else:  # 1 where the weight is 0, so that the power has a finite derivative there
        q = torch.where(support, weights, 1.0).pow(2.0 - alpha) * support
    moved = q * direction
    return moved - q * (moved.sum(dim=-1, keepdim=True) / q.sum(dim=-1, keepdim=True))


def _threshold(shifted: Tensor, alpha: float) -> Tensor:
    """Return the threshold (..., 1) of sparsemax or 1.5-entmax for scores whose largest is 0."""
    ordered = torch.sort(shifted, dim=-1, descending=True).values
    return _sparsemax_threshold(ordered) if alpha == 2.0 else _entmax_threshold(ordered)


def _sparsemax_threshold(ordered: Tensor) -> Tensor:
    count = torch.arange(1, ordered.shape[-1] + 1, dtype=ordered.dtype, device=ordered.device)
    excess = ordered.cumsum(dim=-1) - 1.0
    size = (count * ordered > excess).sum(dim=-1, keepdim=True)
    return excess.gather(-1, size - 1) / size


def _entmax_threshold(ordered: Tensor) -> Tensor:
    """Return the threshold for alpha = 1.5: with a support of k elements it is mean - sqrt(1 / k - variance)."""
    count = torch.arange(1, ordered.shape[-1] + 1, dtype=ordered.dtype, device=ordered.device)
    mean = ordered.cumsum(dim=-1) / count
    variance = ordered.square().cumsum(dim=-1) / count - mean.square()
    candidates = mean - (1.0 / count - variance).clamp_min(0.0).sqrt()
    size = (candidates <= ordered).sum(dim=-1, keepdim=True)
    return candidates.gather(-1, size - 1)


def _by_bisection(shifted: Tensor, alpha: float) -> Tensor:
    """Return the weights for any alpha, by a fixed number of halvings; the sum is then made 1."""
    power = 1.0 / (alpha - 1.0)
    low = torch.full_like(shifted[..., :1], -1.0)
    high = torch.full_like(low, -(float(shifted.shape[-1]) ** (1.0 - alpha)))
    for _ in range(54 if shifted.dtype == torch.float64 else 26):
        middle = 0.5 * (low + high)
        above = (shifted - middle).clamp_min(0.0).pow(power).sum(dim=-1, keepdim=True) >= 1.0
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    weights = (shifted - low).clamp_min(0.0).pow(power)
    return weights / weights.sum(dim=-1, keepdim=True)
