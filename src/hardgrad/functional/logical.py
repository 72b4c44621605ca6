"""Logic on degrees of truth: and, or, not, xor and their reductions, in the families of triangular norms.

Nothing here has a temperature: the operations sharpen nothing, and on truths of 0 and 1 they are the Boolean ones. What has one is what
makes degrees of truth, as a soft comparison does. The exact counterpart takes "more than 1/2" for true.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from hardgrad.core.mode import Mode
from hardgrad.core.operation import Method, operation
from hardgrad.functional.operands import Operands, check_choice, normalise_dim, settle

Pair = Callable[[Tensor, Tensor], Tensor]
Dims = int | tuple[int, ...] | None


@dataclass(frozen=True)
class Logic:
    """One family: a triangular norm for "and" and its dual for "or".

    Parameters
    ----------
    conjunction, disjunction, exclusive : "and", "or" and "xor" of two tensors.
    """

    conjunction: Pair
    disjunction: Pair
    exclusive: Pair


def _probabilistic_sum(p: Tensor, q: Tensor) -> Tensor:
    return p + q * (1.0 - p)  # not 1 - (1 - p)(1 - q), which would round small truths away


FAMILIES = {
    "product": Logic(torch.mul, _probabilistic_sum, lambda p, q: p * (1.0 - q) + q * (1.0 - p)),
    "goedel": Logic(
        torch.minimum,
        torch.maximum,
        lambda p, q: torch.maximum(torch.minimum(p, 1.0 - q), torch.minimum(1.0 - p, q)),
    ),
    "lukasiewicz": Logic(
        lambda p, q: torch.relu(p + q - 1.0),
        lambda p, q: 1.0 - torch.relu(1.0 - p - q),
        lambda p, q: torch.relu(p - q) + torch.relu(q - p),
    ),
}
METHODS = {
    "product": Method(when="independent events; every element has a gradient", limit=None),
    "goedel": Method(when="the weakest link; no decay with length, one element has the gradient", limit=None, smooth=False),
    "lukasiewicz": Method(when="counts what is missing; no gradient once more than 1 is", limit=None, smooth=False),
}  # fmt: skip
SINGLE = {"": Method(limit=None)}


def _truth(p: Tensor) -> Tensor:
    return p if p.dtype == torch.bool else p > 0.5


def _hard_and(p: Tensor, q: Tensor) -> Tensor:
    return torch.logical_and(_truth(p), _truth(q))


def _hard_or(p: Tensor, q: Tensor) -> Tensor:
    return torch.logical_or(_truth(p), _truth(q))


def _hard_xor(p: Tensor, q: Tensor) -> Tensor:
    return torch.logical_xor(_truth(p), _truth(q))


def _hard_not(p: Tensor) -> Tensor:
    return torch.logical_not(_truth(p))


def _hard_all(p: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    return torch.all(_truth(p), dim=dim, keepdim=keepdim)


def _hard_any(p: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    return torch.any(_truth(p), dim=dim, keepdim=keepdim)


def _hard_cumall(p: Tensor, dim: int = -1) -> Tensor:
    return torch.cumprod(_truth(p).long(), dim).bool()


def _hard_cumany(p: Tensor, dim: int = -1) -> Tensor:
    return torch.cumsum(_truth(p).long(), dim).bool()


def _hard_first(p: Tensor, dim: int = -1) -> Tensor:
    true = _truth(p)
    dtype = p.dtype if p.is_floating_point() else torch.get_default_dtype()
    return (true & (torch.cumsum(true.long(), dim) == 1)).to(dtype)


@operation("logical_and", hard=_hard_and, option="method", methods=METHODS, inputs="truth_pairs")
def logical_and(p: Tensor, q: Tensor, *, method: str = "product", mode: Mode | None = None) -> Tensor:
    """Return how far both are true; Boolean in mode "hard".

    Parameters
    ----------
    p, q : degrees of truth in [0, 1] that broadcast with each other; Boolean tensors are 0 and 1.
    method : "product" (p q), "goedel" (the lesser) or "lukasiewicz" (p + q - 1, at least 0).
    mode : "soft", "st" (0 and 1 forward, relaxed backward) or "hard" (torch.logical_and of what is more than 1/2). There is no temperature.

    Raises
    ------
    ModeError, ParameterError : an argument that is none of the known ones.
    InputError, InputTypeError : values outside [0, 1]; NaN in "soft" and "st"; a complex tensor.

    Examples
    --------
    >>> p, q = torch.tensor([0.9, 0.6]), torch.tensor([0.8, 0.3])
    >>> logical_and(p, q).tolist(), logical_and(p, q, method="lukasiewicz").tolist()
    ([0.72, 0.18], [0.7, 0.0])
    """
    call = _settle("logical_and", method, mode, p, q)
    return call.result(lambda: _hard_and(p, q), lambda: FAMILIES[method].conjunction(*call.tensors))


@operation("logical_or", hard=_hard_or, option="method", methods=METHODS, inputs="truth_pairs")
def logical_or(p: Tensor, q: Tensor, *, method: str = "product", mode: Mode | None = None) -> Tensor:
    """Return how far at least one is true; Boolean in mode "hard".

    Parameters
    ----------
    p, q, mode : as for `logical_and`.
    method : "product" (p + q - p q), "goedel" (the greater) or "lukasiewicz" (p + q, at most 1).

    Examples
    --------
    >>> logical_or(torch.tensor([0.9, 0.6]), torch.tensor([0.8, 0.3])).tolist()
    [0.98, 0.72]
    """
    call = _settle("logical_or", method, mode, p, q)
    return call.result(lambda: _hard_or(p, q), lambda: FAMILIES[method].disjunction(*call.tensors))


@operation("logical_xor", hard=_hard_xor, option="method", methods=METHODS, inputs="truth_pairs")
def logical_xor(p: Tensor, q: Tensor, *, method: str = "product", mode: Mode | None = None) -> Tensor:
    """Return how far exactly one is true; Boolean in mode "hard".

    Parameters
    ----------
    p, q, mode : as for `logical_and`.
    method : "product" (p + q - 2 p q: the two cases exclude each other), "goedel" or "lukasiewicz" (the distance of p and q).

    Examples
    --------
    >>> logical_xor(torch.tensor([1.0, 0.5]), torch.tensor([0.25, 0.25])).tolist()
    [0.75, 0.5]
    """
    call = _settle("logical_xor", method, mode, p, q)
    return call.result(lambda: _hard_xor(p, q), lambda: FAMILIES[method].exclusive(*call.tensors))


@operation("logical_not", hard=_hard_not, methods=SINGLE, inputs="truths")
def logical_not(p: Tensor, *, mode: Mode | None = None) -> Tensor:
    """Return how far p is false, 1 - p; Boolean in mode "hard".

    Parameters
    ----------
    p, mode : as for `logical_and`. All families share this one; p of exactly 1/2 counts as false in "hard" and in "st".

    Examples
    --------
    >>> logical_not(torch.tensor([0.25, 1.0])).tolist()
    [0.75, 0.0]
    """
    call = settle("logical_not", p, mode=mode, truths=True)
    return call.result(lambda: _hard_not(p), lambda: 1.0 - call.tensors[0])


@operation("all", hard=_hard_all, option="method", methods=METHODS, inputs="truths_along")
def all(
    p: Tensor, dim: Dims = None, keepdim: bool = False, *, method: str = "product", mode: Mode | None = None
) -> Tensor:
    """Return how far all elements are true; Boolean in mode "hard".

    Parameters
    ----------
    p, mode : as for `logical_and`.
    dim : one dimension, several, or None for all of them.
    keepdim : whether reduced dimensions stay, with size 1.
    method : "product", "goedel" (the least) or "lukasiewicz" (1 - sum(1 - p), at least 0). The product of n truths falls like p^n and
        underflows in the end; a loss on it is better written `torch.log(p).sum(dim)`, or use "goedel".

    Examples
    --------
    >>> p = torch.tensor([[0.5, 0.5], [1.0, 0.75]])
    >>> all(p, dim=1).tolist(), all(p, dim=1, method="goedel").tolist()
    ([0.25, 0.75], [0.5, 0.75])
    """
    call = _settle("all", method, mode, p)
    return call.result(
        lambda: _hard_all(p, dim, keepdim),
        lambda: _reduce(call, dim, keepdim, FAMILIES[method].conjunction, 1.0),
    )


@operation("any", hard=_hard_any, option="method", methods=METHODS, inputs="truths_along")
def any(
    p: Tensor, dim: Dims = None, keepdim: bool = False, *, method: str = "product", mode: Mode | None = None
) -> Tensor:
    """Return how far at least one element is true; Boolean in mode "hard".

    Parameters
    ----------
    p, dim, keepdim, mode : as for `all`.
    method : "product" (1 - the product of all 1 - p; small truths are kept to full precision at any length), "goedel" (the greatest) or
        "lukasiewicz" (the sum, at most 1).

    Examples
    --------
    >>> any(torch.tensor([[0.5, 0.5], [0.0, 0.75]]), dim=1).tolist()
    [0.75, 0.75]
    """
    call = _settle("any", method, mode, p)
    return call.result(
        lambda: _hard_any(p, dim, keepdim),
        lambda: _reduce(call, dim, keepdim, FAMILIES[method].disjunction, 0.0),
    )


@operation("cumall", hard=_hard_cumall, option="method", methods=METHODS, inputs="truths_along")
def cumall(p: Tensor, dim: int = -1, *, method: str = "product", mode: Mode | None = None) -> Tensor:
    """Return, for each element, how far it and all before it are true; Boolean in mode "hard".

    Parameters
    ----------
    p, method, mode : as for `all`.
    dim : the dimension along which elements stand before each other.

    Examples
    --------
    >>> cumall(torch.tensor([1.0, 0.5, 0.5])).tolist()
    [1.0, 0.5, 0.25]
    """
    call = _settle("cumall", method, mode, p)
    return call.result(lambda: _hard_cumall(p, dim), lambda: _scan(call, dim, FAMILIES[method].conjunction))


@operation("cumany", hard=_hard_cumany, option="method", methods=METHODS, inputs="truths_along")
def cumany(p: Tensor, dim: int = -1, *, method: str = "product", mode: Mode | None = None) -> Tensor:
    """Return, for each element, how far it or one before it is true; Boolean in mode "hard".

    Parameters
    ----------
    p, method, mode : as for `any`.
    dim : the dimension along which elements stand before each other.

    Examples
    --------
    >>> cumany(torch.tensor([0.0, 0.5, 0.5])).tolist()
    [0.0, 0.5, 0.75]
    """
    call = _settle("cumany", method, mode, p)
    return call.result(lambda: _hard_cumany(p, dim), lambda: _scan(call, dim, FAMILIES[method].disjunction))


@operation("first_true", hard=_hard_first, methods=SINGLE, inputs="truths_along")
def first_true(p: Tensor, dim: int = -1, *, mode: Mode | None = None) -> Tensor:
    """Return the weight of each element as the first true one: p times the product of 1 - p of all before it (stick breaking).

    Parameters
    ----------
    p, mode : as for `logical_and`; in "hard" the weights are 0 and a single 1, floating.
    dim : the dimension along which elements stand before each other.

    Returns
    -------
    weights : shape of p. Their sum along `dim` is `any(p, dim)`; what is missing to 1 is the weight of "none".

    Examples
    --------
    >>> first_true(torch.tensor([0.5, 0.5, 1.0])).tolist()
    [0.5, 0.25, 0.25]
    >>> first_true(torch.tensor([False, True, True])).tolist()
    [0.0, 1.0, 0.0]
    """
    call = settle("first_true", p, mode=mode, truths=True)

    def relaxed() -> Tensor:
        axis = normalise_dim(call.name, call.tensors[0], dim)
        if not call.tensors[0].dim():
            return call.tensors[0] + 0.0
        at = call.tensors[0].movedim(axis, -1)
        none_so_far = _scan_last(1.0 - at, torch.mul)
        before = torch.cat([torch.ones_like(at[..., :1]), none_so_far[..., :-1]], -1)[..., : at.shape[-1]]
        return (at * before).movedim(-1, axis)

    return call.result(lambda: _hard_first(p, dim), relaxed)


def _settle(name: str, method: str, mode: Mode | None, *tensors: Tensor) -> Operands:
    check_choice(name, "method", method, METHODS)
    return settle(name, *tensors, mode=mode, truths=True)


def _reduce(call: Operands, dim: Dims, keepdim: bool, pair: Pair, neutral: float) -> Tensor:
    """Fold pairs of halves: the gradients are polynomials, right at 0 and 1 too, where those of a sum of logarithms are not."""
    p = call.tensors[0]
    dims = tuple(range(p.dim())) if dim is None else (dim,) if isinstance(dim, int) else dim
    axes = {normalise_dim(call.name, p, axis) for axis in dims}
    if not p.dim():
        return p + 0.0
    left = [axis for axis in range(p.dim()) if axis not in axes]
    kept = [1 if axis in axes else size for axis, size in enumerate(p.shape)]
    shape = [p.shape[axis] for axis in left]
    folded = p.permute(*left, *sorted(axes)).reshape(*shape, math.prod([p.shape[axis] for axis in axes]))
    if not folded.shape[-1]:
        folded = folded.new_full((*shape, 1), neutral)
    while folded.shape[-1] > 1:
        half = folded.shape[-1] // 2
        paired = pair(folded[..., :half], folded[..., half : 2 * half])
        folded = torch.cat([paired, folded[..., 2 * half :]], -1)
    return folded.reshape(kept if keepdim else shape)


def _scan(call: Operands, dim: int, pair: Pair) -> Tensor:
    p = call.tensors[0]
    axis = normalise_dim(call.name, p, dim)
    return _scan_last(p.movedim(axis, -1), pair).movedim(-1, axis) if p.dim() else p + 0.0


def _scan_last(p: Tensor, pair: Pair) -> Tensor:
    """Combine each element with all before it in as many passes as the length has binary digits."""
    reach = 1
    while reach < p.shape[-1]:
        p = torch.cat([p[..., :reach], pair(p[..., :-reach], p[..., reach:])], -1)
        reach *= 2
    return p
