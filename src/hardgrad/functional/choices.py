"""Choosing one of the elements of a dimension: choice (the weights), argmax, argmin, max and min."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, overload

import torch
from torch import Tensor

from hardgrad.core.mode import Mode
from hardgrad.core.operation import Method, operation
from hardgrad.functional.operands import Lists, Once, Operands, as_lists, check_choice, settle
from hardgrad.functional.results import Selection, choose_weights, one_hot
from hardgrad.functional.simplex import check_elements, project_lists

ALPHAS = {"softmax": 1.0, "sparsemax": 2.0, "entmax": 1.5}
BOUNDS = {
    "softmax": "exact when the runner-up is many temperatures behind",
    "sparsemax": "exact when the runner-up is one temperature behind",
    "entmax": "exact when the runner-up is two temperatures behind",
}
REASONS = {
    "softmax": "the usual one: every element learns",
    "sparsemax": "exact zeros",
    "entmax": "exact zeros and a continuous gradient (alpha = 1.5)",
}


def _methods(*laws: str, weights: bool = False) -> dict[str, Method]:
    return {
        name: Method(
            frozenset(laws), BOUNDS[name], REASONS[name], smooth=name != "sparsemax", weights=weights
        )
        for name in ALPHAS
    }


CHOICE_METHODS = _methods("shift-invariant", "scale-invariant")
MAX_METHODS = _methods("shift-equivariant", "scale-equivariant", "symmetric", weights=True) | {
    "lse": Method(
        frozenset({"shift-equivariant", "scale-equivariant", "symmetric"}),
        "within temperature * log(n), on the far side",
        "a convex maximum whose gradient is the weights",
        weights=True,
    )
}


def _exact_choice(x: Tensor, dim: int = -1) -> Tensor:
    """Return the one-hot weights of the largest element, floating, in the shape of x."""
    dtype = x.dtype if x.is_floating_point() else torch.get_default_dtype()
    if x.dim() == 0:
        return torch.ones_like(x, dtype=dtype)
    return one_hot(torch.argmax(x, dim=dim), x.shape[dim], dtype).movedim(-1, dim)


@operation("choice", hard=_exact_choice, option="method", methods=CHOICE_METHODS, inputs="along")
def choice(
    x: Tensor,
    dim: int = -1,
    *,
    temperature: Any = None,
    method: str = "softmax",
    mode: Mode | None = None,
) -> Tensor:
    """Return the weights with which each element is chosen as the largest: one-hot when exact.

    Parameters
    ----------
    x : scores, any shape, real; -inf leaves an element out, with weight exactly 0.
    dim : the dimension to choose along.
    temperature : positive number or tensor that broadcasts to the shape of x without `dim`, in the units of x; by default that of the
        surrounding `hardgrad.mode` block, else 0.1. Small is hard.
    method : how to relax: "softmax", "sparsemax" or "entmax" (alpha = 1.5).
    mode : "soft", "st" (one-hot forward, relaxed backward) or "hard" (one-hot, no gradient); by default that of the surrounding block, else
        "soft".

    Returns
    -------
    weights : in the shape of x, floating, sum 1 along `dim`. Equal largest elements share in "soft"; exactly, torch.argmax takes one.

    Raises
    ------
    TemperatureError, ModeError, ParameterError : an argument outside its range.
    InputError, InputTypeError : in "soft" and "st": NaN, +inf, a list of nothing but -inf; no element; a Boolean or complex tensor.

    Examples
    --------
    >>> x = torch.tensor([0.3, 0.5, -torch.inf])
    >>> choice(x, temperature=0.4, method="sparsemax").tolist(), choice(x, mode="st").tolist()
    ([0.25, 0.75, 0.0], [0.0, 1.0, 0.0])
    """
    check_choice("choice", "method", method, CHOICE_METHODS)
    call, lists = _settle("choice", x, dim, temperature, mode)
    return call.result(
        lambda: _exact_choice(x, lists.axis),
        lambda: lists.restore(project_lists(lists.x, lists.temperature, ALPHAS[method])),
    )


@operation("argmax", hard=torch.argmax, option="method", methods=CHOICE_METHODS, inputs="along")
def argmax(
    x: Tensor,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    temperature: Any = None,
    method: str = "softmax",
    mode: Mode | None = None,
) -> Tensor:
    """Return where the largest element stands: the expected position in "soft", the exact one else.

    Parameters
    ----------
    x, temperature, method : as for `choice`.
    dim : the dimension to search; by default the flattened tensor, as in torch.
    keepdim : whether the dimension stays, with size 1.
    mode : "soft" (floating mean position under the weights), "st" (exact position as a floating number, relaxed backward) or "hard" (what
        torch.argmax returns, int64).

    Examples
    --------
    >>> x = torch.tensor([1.0, 3.0, 2.9])
    >>> argmax(x).item(), argmax(x, mode="st").item(), argmax(x, mode="hard").item()
    (1.27, 1.0, 1)
    """
    return _position("argmax", torch.argmax, x, dim, keepdim, temperature, method, mode)


@operation("argmin", hard=torch.argmin, option="method", methods=CHOICE_METHODS, inputs="along")
def argmin(
    x: Tensor,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    temperature: Any = None,
    method: str = "softmax",
    mode: Mode | None = None,
) -> Tensor:
    """Return where the smallest element stands: the expected position in "soft", the exact one else.

    Parameters
    ----------
    x, dim, keepdim, temperature, method, mode : as for `argmax`; infinities raise in "soft". To leave elements out, use argmax of -x.

    Examples
    --------
    >>> argmin(torch.tensor([2.9, 1.0, 3.0]), method="sparsemax").item()
    1.0
    """
    return _position("argmin", torch.argmin, x, dim, keepdim, temperature, method, mode)


@overload
def max(
    x: Tensor, dim: None = None, keepdim: bool = False, *, temperature: Any = None, method: str = "softmax",
    mode: Mode | None = None,
) -> Tensor: ...  # fmt: skip
@overload
def max(
    x: Tensor, dim: int, keepdim: bool = False, *, temperature: Any = None, method: str = "softmax",
    mode: Mode | None = None,
) -> Selection: ...  # fmt: skip
@operation("max", hard=torch.max, option="method", methods=MAX_METHODS, inputs="along")
def max(
    x: Tensor,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    temperature: Any = None,
    method: str = "softmax",
    mode: Mode | None = None,
) -> Tensor | Selection:
    """Return the largest element, with gradients to all that come near it.

    Parameters
    ----------
    x, temperature, mode : as for `choice`.
    dim : the dimension to reduce; by default all elements together, as in torch.
    keepdim : whether the dimension stays, with size 1.
    method : "softmax", "sparsemax" or "entmax" give the gated value, the mean of the elements under these weights, at most the maximum;
        "lse" gives temperature * logsumexp(x / temperature), at least the maximum, whose gradient is the softmax.

    Returns
    -------
    selection : with a `dim`: `values`, exact int64 `indices` and `weights` (..., n), the reduced dimension last. Without: the value alone.

    Examples
    --------
    >>> x = torch.tensor([1.0, 3.0, 2.9])
    >>> max(x, dim=0).values.item(), max(x, dim=0, method="lse").values.item(), max(x, mode="hard").item()
    (2.97, 3.03, 3.0)
    """
    result: Tensor | Selection = _extreme("max", torch.max, x, dim, keepdim, temperature, method, mode)
    return result


@overload
def min(
    x: Tensor, dim: None = None, keepdim: bool = False, *, temperature: Any = None, method: str = "softmax",
    mode: Mode | None = None,
) -> Tensor: ...  # fmt: skip
@overload
def min(
    x: Tensor, dim: int, keepdim: bool = False, *, temperature: Any = None, method: str = "softmax",
    mode: Mode | None = None,
) -> Selection: ...  # fmt: skip
@operation("min", hard=torch.min, option="method", methods=MAX_METHODS, inputs="along")
def min(
    x: Tensor,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    temperature: Any = None,
    method: str = "softmax",
    mode: Mode | None = None,
) -> Tensor | Selection:
    """Return the smallest element, with gradients to all that come near it.

    Parameters
    ----------
    x, dim, keepdim, temperature, method, mode : as for `max`; infinities raise in "soft". To leave elements out, use -max(-x).

    Examples
    --------
    >>> min(torch.tensor([[1.0, 3.0], [5.0, 4.0]]), dim=1, method="sparsemax").values.tolist()
    [1.0, 4.0]
    """
    result: Tensor | Selection = _extreme("min", torch.min, x, dim, keepdim, temperature, method, mode)
    return result


def _settle(name: str, x: Tensor, dim: int, temperature: Any, mode: Mode | None) -> tuple[Operands, Lists]:
    """Check a call; the smallest of -inf and others is -inf, so only for the largest may -inf stand for "left out"."""
    call = settle(name, x, temperature=temperature, mode=mode, infinite=name not in ("argmin", "min"))
    lists = as_lists(call, dim)
    if call.mode != "hard":
        check_elements(name, lists)
    return call, lists


def _reduced(lists: Lists, tensor: Tensor, keepdim: bool) -> Tensor:
    """Give a result (...) of lists its dimension back where it stays."""
    return tensor.unsqueeze(lists.axis) if keepdim and not lists.scalar else tensor.reshape(tensor.shape)


def _position(
    name: str, exact: Callable[..., Tensor], x: Any, dim: int | None, keepdim: bool, temperature: Any, method: str, mode: Mode | None,
) -> Tensor:  # fmt: skip
    check_choice(name, "method", method, CHOICE_METHODS)
    sign = -1.0 if name == "argmin" else 1.0
    if dim is None and isinstance(x, Tensor):
        found = _position(name, exact, x.reshape(-1), 0, False, temperature, method, mode)
        return found.reshape((1,) * x.dim()) if keepdim else found
    call, lists = _settle(name, x, 0 if dim is None else dim, temperature, mode)

    def soft() -> Tensor:
        weights = project_lists(sign * lists.x, lists.temperature, ALPHAS[method])
        return _reduced(
            lists, weights @ torch.arange(weights.shape[-1], device=x.device).to(weights), keepdim
        )

    return call.result(lambda: exact(x, dim=lists.axis, keepdim=keepdim), soft)


def _extreme(
    name: str, exact: Callable[..., Any], x: Any, dim: int | None, keepdim: bool, temperature: Any, method: str, mode: Mode | None,
) -> Any:  # fmt: skip
    check_choice(name, "method", method, MAX_METHODS)
    if dim is None and isinstance(x, Tensor):
        found = _extreme(name, exact, x.reshape(-1), 0, False, temperature, method, mode)
        return found.values.reshape((1,) * x.dim()) if keepdim else found.values
    call, lists = _settle(name, x, 0 if dim is None else dim, temperature, mode)
    relaxed = _MAXIMA[method]
    sign = -1.0 if name == "min" else 1.0
    found = Once(lambda: exact(x, dim=lists.axis, keepdim=keepdim))
    soft = Once(lambda: relaxed(sign * lists.x, lists.temperature))
    values = call.result(lambda: found()[0], lambda: sign * _reduced(lists, soft()[0], keepdim))
    place = Once(lambda: exact(lists.x, dim=-1)[1])
    weights = choose_weights(call, place, lists.x.shape[-1], lambda: soft()[1])
    return Selection(values, lambda: found()[1], weights)


def _gated(alpha: float, scores: Tensor, temperature: Any) -> tuple[Tensor, Tensor]:
    """Return the mean of the scores under their own weights, and these."""
    weights = project_lists(scores, temperature, alpha)
    kept = scores.masked_fill(
        torch.isneginf(scores), 0.0
    )  # what is left out has weight 0, and 0 times infinity is NaN
    return (weights * kept).sum(dim=-1), weights


def _log_sum_exp(scores: Tensor, temperature: Any) -> tuple[Tensor, Tensor]:
    """Return temperature * logsumexp(scores / temperature), and the softmax."""
    out = torch.isneginf(scores)
    scaled = (scores.masked_fill(out, 0.0) / temperature).masked_fill(out, -torch.inf)
    total = torch.logsumexp(scaled, dim=-1, keepdim=True) * temperature
    return total.squeeze(-1), project_lists(scores, temperature, 1.0)


_MAXIMA: dict[str, Callable[[Tensor, Any], tuple[Tensor, Tensor]]] = {
    "lse": _log_sum_exp,
    **{name: partial(_gated, alpha) for name, alpha in ALPHAS.items()},
}
