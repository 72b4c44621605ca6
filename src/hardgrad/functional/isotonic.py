"""Isotonic regression, and what it gives: soft ranks and soft sorts by projection onto the permutahedron, in O(n log n)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hardgrad.functional.isotonic_entropic import project_ranks_entropic, project_sorted_entropic
from hardgrad.functional.isotonic_operators import blocks_of, pool, project_ranks, project_sorted
from hardgrad.functional.operands import as_lists, settle


def soft_rank(x: Tensor, temperature: Any, entropic: bool = False) -> Tensor:
    """Return ranks 1..n, ascending, as the projection of x / temperature onto the permutahedron of (1, ..., n).

    Parameters
    ----------
    x : (..., n), floating.
    temperature : positive number, or tensor of shape (...) + (1,), in the units of x. Ranks of elements whose neighbours are all at
        least this far away are exact.
    entropic : project in the Kullback-Leibler sense; else by least squares.

    Examples
    --------
    >>> soft_rank(torch.tensor([1.0, -2.0, 2.0, 3.0, 0.5, -1.0]), 1.0).tolist()
    [3.875, 1.0, 4.875, 5.875, 3.375, 2.0]

    Source: Blondel, Teboul, Berthet and Djolonga, 2020, Fast Differentiable Sorting and Ranking.
    """
    project = project_ranks_entropic if entropic else project_ranks
    if not isinstance(temperature, Tensor):
        return project(x, float(temperature))
    top = x.detach().amax(-1, keepdim=True) if x.shape[-1] else x.detach()
    # Ranks do not change with the level of x; its digits are kept for the differences.
    return project((x - top) / temperature, 1.0)


def soft_sort(x: Tensor, temperature: Any, descending: bool = False, entropic: bool = False) -> Tensor:
    """Return the elements in order, as the projection of (n, ..., 1) / temperature onto the permutahedron of x.

    Parameters
    ----------
    x : (..., n), floating.
    temperature : positive number, or tensor of shape (...) + (1,), in the inverse units of x: neighbours in the order that are at most
        1 / temperature apart stay exact.
    descending : order of the result.
    entropic : project in the Kullback-Leibler sense; else by least squares.

    Examples
    --------
    >>> [round(v, 2) for v in soft_sort(torch.tensor([0.9, 0.3, 0.2, 0.1, -0.7]), 10.0, descending=True).tolist()]
    [0.36, 0.26, 0.16, 0.06, -0.04]

    Source: as for `soft_rank`.
    """
    z: Tensor = _descending(x) / temperature
    values = project_sorted_entropic(z, x) if entropic else project_sorted(z, x)
    ordered: Tensor = values if descending else values.flip(-1)
    return ordered


def isotonic_regression(y: Tensor, dim: int = -1, *, increasing: bool = True) -> Tensor:
    """Return the non-decreasing list that is nearest to y by least squares, with its exact gradient.

    Parameters
    ----------
    y : any shape, real; halves are computed in float32.
    dim : the dimension along which the result does not decrease, the last by default.
    increasing : False for a list that does not increase.

    Raises
    ------
    InputError, InputTypeError : NaN or infinity; a Boolean or complex tensor.

    Examples
    --------
    >>> isotonic_regression(torch.tensor([1.0, 3.0, 2.0, 4.0])).tolist()
    [1.0, 2.5, 2.5, 4.0]
    """
    call = settle("isotonic_regression", y, temperature=1.0, mode="soft")
    lists = as_lists(call, dim)
    falling = lists.x.flip(-1) if increasing else lists.x
    start = blocks_of(falling.detach(), torch.zeros_like(falling), False)
    fit = pool(falling, start, True)
    return lists.restore(fit.flip(-1) if increasing else fit).to(call.dtype)


def _descending(x: Tensor) -> Tensor:
    return torch.arange(x.shape[-1], 0, -1, dtype=x.dtype, device=x.device)
