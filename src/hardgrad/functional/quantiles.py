"""Quantiles and the median of one dimension."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from hardgrad.core.errors import InputError, ParameterError
from hardgrad.core.mode import Mode
from hardgrad.core.operation import operation
from hardgrad.functional.operands import Once, as_lists, check_choice, settle
from hardgrad.functional.order_statistics import STATISTICS, one_statistic, statistics

INTERPOLATIONS = ("linear", "lower", "higher", "nearest", "midpoint")
QUANTILE_METHODS = {name: replace(method, weights=False) for name, method in STATISTICS.items()}


def _example(
    generator: torch.Generator, dtype: torch.dtype, batch: tuple[int, ...]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Five numbers at least 1 apart, and a level between two of them."""
    order = torch.rand((*batch, 5), generator=generator).argsort(-1)
    noise = 0.2 * torch.rand((*batch, 5), generator=generator, dtype=torch.float64)
    return ((1.25 * order + noise).to(dtype), 0.4), {"dim": -1}


def exact_quantile(
    x: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Tensor:
    """Return torch.quantile, also of whole numbers and halves."""
    computing = x if x.dtype in (torch.float32, torch.float64) else x.float()
    level = q.to(computing.dtype) if isinstance(q, Tensor) else q
    found = torch.quantile(computing, level, dim=dim, keepdim=keepdim, interpolation=interpolation)
    return found.to(x.dtype if x.dtype.is_floating_point else torch.get_default_dtype())


@operation("quantile", hard=exact_quantile, option="method", methods=QUANTILE_METHODS, inputs=_example)
def quantile(
    x: Tensor,
    q: Any,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    interpolation: str = "linear",
    temperature: Any = None,
    method: str = "softsort",
    mode: Mode | None = None,
) -> Tensor:
    """Return quantiles of one dimension, with gradients to all elements that are near.

    Parameters
    ----------
    x : any shape, real.
    q : level between 0 and 1, or a tensor (k,) of levels.
    dim : the dimension to reduce; by default x is flattened.
    keepdim : keep `dim` with size 1.
    interpolation : between two elements, as in torch.quantile: "linear", "lower", "higher", "nearest" or "midpoint".
    temperature : as for `sort`.
    method : how to relax each of the elements between which the level falls: "softsort", "neural_sort", "sinkhorn" (rows of weights),
        or "pinball" (the root of a smoothed count: n numbers of memory, and a gradient in closed form).
    mode : "soft", "st" or "hard" (what torch.quantile returns).

    Returns
    -------
    quantiles : as torch.quantile: the shape without `dim`, preceded by (k,) where q is a tensor with one dimension.

    Raises
    ------
    ParameterError : a level outside [0, 1], another method or interpolation.
    InputError : no elements; NaN or infinity in "soft" and "st".
    TemperatureError, ModeError, InputTypeError : an argument outside its range.

    Examples
    --------
    >>> x = torch.tensor([4.0, 1.0, 3.0, 2.0])
    >>> quantile(x, 0.5, temperature=0.1).item(), quantile(x, torch.tensor([0.0, 1.0]), mode="hard").tolist()
    (2.5, [1.0, 4.0])
    """
    check_choice("quantile", "method", method, QUANTILE_METHODS)
    check_choice("quantile", "interpolation", interpolation, INTERPOLATIONS)
    call = settle("quantile", x, temperature=temperature, mode=mode)
    if dim is None:
        lists = as_lists(settle("quantile", x.reshape(-1), temperature=temperature, mode=mode), 0)
    else:
        lists = as_lists(call, dim)
    n = lists.x.shape[-1]
    if n == 0:
        raise InputError(
            f"quantile() got a tensor of shape {tuple(x.shape)}; expected at least one element to reduce."
        )
    levels = _levels(q, lists.x)

    def soft() -> Tensor:
        place = levels * (n - 1)
        below, above, share = _neighbours(place, interpolation)
        low, high = statistics(lists.x, torch.cat([below, above]), lists.temperature, method).chunk(2, dim=-1)
        found = (low + share * (high - low)).movedim(-1, 0)  # (k, ...)
        if keepdim:
            found = (
                found.reshape(len(found), *[1] * x.dim()) if dim is None else found.unsqueeze(lists.axis + 1)
            )
        if lists.scalar:
            found = found.reshape(len(found))
        return found if isinstance(q, Tensor) and q.dim() else found[0]

    return call.result(lambda: exact_quantile(x, q, dim, keepdim, interpolation=interpolation), soft)


def _levels(q: Any, x: Tensor) -> Tensor:
    if isinstance(q, Tensor):
        if q.dim() > 1 or not q.dtype.is_floating_point:
            raise ParameterError(
                f"quantile() got q of shape {tuple(q.shape)} and {q.dtype}; expected floating levels, one or a list."
            )
        levels = q.reshape(-1).to(x)
    elif isinstance(q, bool) or not isinstance(q, int | float):
        raise ParameterError(
            f"quantile() got q={q!r}; expected a level between 0 and 1, or a tensor of levels."
        )
    else:
        if not 0.0 <= q <= 1.0:
            raise ParameterError(f"quantile() got q={q!r}; expected a level between 0 and 1.")
        levels = torch.tensor([float(q)], dtype=x.dtype, device=x.device)
    return levels


def _neighbours(place: Tensor, interpolation: str) -> tuple[Tensor, Tensor, Tensor]:
    """Return the places below and above, and the share of the one above."""
    below, above = place.detach().floor(), place.detach().ceil()
    share = {
        "linear": place - below,
        "lower": torch.zeros_like(place),
        "higher": torch.ones_like(place),
        "nearest": (place.detach().round() > below).to(place.dtype),
        "midpoint": torch.full_like(place, 0.5),
    }[interpolation]
    return below.long(), above.long(), share


def exact_median(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """Return torch.median, with or without `dim`."""
    return torch.median(x) if dim is None else torch.median(x, dim=dim, keepdim=keepdim)


@operation("median", hard=exact_median, option="method", methods=STATISTICS, inputs="along")
def median(
    x: Tensor,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    temperature: Any = None,
    method: str = "softsort",
    mode: Mode | None = None,
) -> Any:
    """Return the median, the lower one of an even number as in torch, with gradients to all elements that are near.

    Parameters
    ----------
    x, temperature, method, mode : as for `quantile`.
    dim : the dimension to reduce; by default all of x, and only the value is returned.
    keepdim : keep `dim` with size 1.

    Returns
    -------
    median : a tensor without dimensions where `dim` is None; else a selection of `values`, int64 `indices` and `weights` (..., n).

    Raises
    ------
    InputError : no elements along `dim`; NaN or infinity in "soft" and "st".
    TemperatureError, ModeError, ParameterError, InputTypeError : an argument outside its range.

    Examples
    --------
    >>> median(torch.tensor([4.0, 1.0, 3.0, 2.0]), mode="hard").item()
    2.0
    >>> median(torch.tensor([5.0, 1.0, 3.0]), dim=0, temperature=0.2).indices.item()
    2
    """
    check_choice("median", "method", method, STATISTICS)
    flat = x.reshape(-1) if dim is None and isinstance(x, Tensor) else x
    call = settle("median", flat, temperature=temperature, mode=mode)
    lists = as_lists(call, 0 if dim is None else dim)
    n = lists.x.shape[-1]
    if n == 0:
        if dim is None:
            return torch.full((), torch.nan, dtype=call.dtype, device=x.device)
        raise InputError(
            f"median() got a tensor of shape {tuple(x.shape)} and dim={dim}; expected at least one element there."
        )
    exact = Once(lambda: torch.median(flat, dim=lists.axis, keepdim=keepdim and dim is not None))
    found = one_statistic(call, lists, (n - 1) // 2, keepdim and dim is not None, method, exact)
    return found.values if dim is None else found
