"""Projections onto the permutahedron in the Kullback-Leibler sense, as operators: what `isotonic_operators` has for least squares.

Over each block the derivative is a softmax. Where nobody asks for more than a gradient, one loop computes it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from hardgrad.functional.isotonic_operators import (
    Needed,
    compute_blocks,
    compute_order,
    compute_pool,
    differentiable,
    like,
    operator,
    pool,
    rows_of,
    watched,
    whole,
)


def _first(v: Tensor, start: Tensor) -> Tensor:
    return v.detach().gather(-1, start)


def _exponentials(v: Tensor, start: Tensor) -> Tensor:
    """Return exp of the distance to the first element of the block, which is its largest: between 0 and 1."""
    return torch.exp(v - _first(v, start))


def _places(x: Tensor) -> Tensor:
    return torch.arange(x.shape[-1], 0, -1, dtype=x.dtype, device=x.device).expand(x.shape)


def _sort_entropic(z: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    order = compute_order(x)
    if x.device.type != "cpu":
        z, w = torch.broadcast_tensors(z, x.gather(-1, order))
        start = compute_blocks(z, w, True)
        logs = [compute_pool(_exponentials(v, start), start, False).log() for v in (z, w)]
        return (z - _first(z, start)) - logs[0] + _first(w, start) + logs[1], order, start
    from hardgrad.functional.isotonic_kernels import sort_entropic_rows

    values = torch.empty(x.shape, dtype=x.dtype)
    start = torch.empty(x.shape, dtype=torch.int64)
    sort_entropic_rows(rows_of(z), rows_of(x), rows_of(order), rows_of(values), rows_of(start))
    return values, order, start


def _rank_entropic(x: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    order = compute_order(x)
    if x.device.type != "cpu":
        ordered, places = x.gather(-1, order), _places(x)
        z = (ordered - ordered[..., :1]) / temperature
        start = compute_blocks(z, places.log(), True)
        parts = _exponentials(z, start)
        ranks = parts / compute_pool(parts, start, False) * compute_pool(places, start, False)
        return torch.empty_like(x).scatter(-1, order, ranks), order, start
    from hardgrad.functional.isotonic_kernels import rank_entropic_rows

    ranks = torch.empty(x.shape, dtype=x.dtype)
    start = torch.empty(x.shape, dtype=torch.int64)
    rank_entropic_rows(rows_of(x), rows_of(order), temperature, rows_of(ranks), rows_of(start))
    return ranks, order, start


def _plain(*tensors: Tensor) -> bool:
    """Tell whether nobody needs a derivative or a trace of what is computed from the tensors, and the CPU has them."""
    return not torch.is_grad_enabled() and all(
        t.device.type == "cpu" and not watched(t) and forward_ad.unpack_dual(t).tangent is None
        for t in tensors
    )


def _shares(v: Tensor, start: Tensor) -> Tensor:
    """Return the softmax of v over each block."""
    parts = _exponentials(v, start)
    return parts / pool(parts, start, False)


def _sort_entropic_back(
    order: Tensor, start: Tensor, z: Tensor, x: Tensor, needed: Needed, gradient: Tensor
) -> tuple[Any, ...]:
    if not needed[0] and _plain(gradient, x):
        from hardgrad.functional.isotonic_kernels import share_rows

        shared = torch.empty(x.shape, dtype=x.dtype)
        share_rows(rows_of(gradient), rows_of(x), rows_of(order), rows_of(start), rows_of(shared))
        return None, shared
    total = pool(gradient, start, False)
    of_z = (
        (gradient - _shares(z.expand(start.shape), start) * total).sum_to_size(z.shape) if needed[0] else None
    )
    of_w = _shares(x.gather(-1, order), start) * total if needed[1] else None
    return of_z, None if of_w is None else torch.empty_like(of_w).scatter(-1, order, of_w)


def _sort_entropic_forward(
    order: Tensor, start: Tensor, z: Tensor, x: Tensor, of_z: Tensor | None, of_x: Tensor | None
) -> Tensor:
    change = torch.zeros(())
    if of_x is not None:
        change = pool(_shares(x.gather(-1, order), start) * of_x.gather(-1, order), start, False)
    if of_z is not None:
        change = change + of_z - pool(_shares(z.expand(start.shape), start) * of_z, start, False)
    return change


def _rank_entropic_back(
    order: Tensor, start: Tensor, x: Tensor, temperature: float, _: Needed, gradient: Tensor
) -> tuple[Any, ...]:
    if _plain(gradient, x):
        from hardgrad.functional.isotonic_kernels import centre_entropic_rows

        out = torch.empty(x.shape, dtype=x.dtype)
        centre_entropic_rows(
            rows_of(gradient), rows_of(x), rows_of(order), rows_of(start), temperature, rows_of(out)
        )
        return out, None
    return _rank_entropic_forward(order, start, x, temperature, gradient), None  # the derivative is symmetric


def _rank_entropic_forward(
    order: Tensor, start: Tensor, x: Tensor, temperature: float, change: Tensor, *_: Any
) -> Tensor:
    share, moved = _shares(x.gather(-1, order) / temperature, start), change.gather(-1, order) / temperature
    away = share * pool(_places(x), start, False) * (moved - pool(share * moved, start, False))
    return torch.empty_like(away).scatter(-1, order, away)


_sort_entropic_op = operator(
    "isotonic_sort_entropic", _sort_entropic, lambda z, x: (like(x), whole(x), whole(x))
)
_rank_entropic_op = operator(
    "isotonic_rank_entropic", _rank_entropic, lambda x, temperature: (like(x), whole(x), whole(x))
)

project_sorted_entropic = differentiable(
    _sort_entropic,
    _sort_entropic_op,
    lambda inputs, outputs: (*outputs[1:], *inputs),
    _sort_entropic_back,
    _sort_entropic_forward,
    several=True,
)
"""(z, x): the projection of z, descending, (n,) or of the shape of x, onto the permutahedron of x; in descending order."""

project_ranks_entropic = differentiable(
    _rank_entropic,
    _rank_entropic_op,
    lambda inputs, outputs: (*outputs[1:], *inputs),
    _rank_entropic_back,
    _rank_entropic_forward,
    several=True,
)
"""(x, temperature): the projection of x / temperature onto the permutahedron of 1..n; temperature is a float."""
