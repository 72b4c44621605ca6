"""Relaxed permutation matrices: row k of P says which element is the k-th of the sorted order. All act on the last dimension.

Sinkhorn's scaling, which makes a matrix doubly stochastic, lives in `transport`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hardgrad.functional.transport import doubly_stochastic

_ABSENT = -1e30  # a logit of what is not there: its weight is exactly 0, and its gradient too


def softsort(x: Tensor, temperature: Any, descending: bool = False, places: Any = None) -> Tensor:
    """Return P of shape (..., n, n): row k is a softmax over elements by their distance to the k-th sorted value.

    Parameters
    ----------
    x : (..., n), floating.
    temperature : positive number, or tensor of shape (...) + (1,), in the units of x.
    descending : order of the rows.
    places : slice or int64 tensor of those rows that are wanted; all by default.

    Examples
    --------
    >>> softsort(torch.tensor([3.0, 1.0, 2.0]), 0.01).argmax(-1).tolist()
    [1, 2, 0]

    Source: Prillo and Eisenschlos, 2020, SoftSort: A Continuous Relaxation for the argsort Operator.
    """
    ordered = torch.sort(x, dim=-1, descending=descending, stable=True).values
    if places is not None:
        ordered = ordered[..., places]
    distance = (ordered.unsqueeze(-1) - x.unsqueeze(-2)).abs()
    return torch.softmax(-distance / per_list(temperature), dim=-1)


def per_list(temperature: Any) -> Any:
    """Return a temperature of shape (...) + (1,) ready to divide (..., n, n); numbers and 0-dim tensors stay as they are."""
    return temperature.unsqueeze(-1) if isinstance(temperature, Tensor) and temperature.dim() else temperature


def neural_sort(x: Tensor, temperature: Any, descending: bool = False, mask: Tensor | None = None) -> Tensor:
    """Return P of shape (..., n, n): row k is a softmax that is largest at the k-th element, by sums of distances; unimodal rows.

    Parameters
    ----------
    x : (..., n), floating.
    temperature : positive number, or tensor of shape (...) + (1,), in the units of x.
    descending : order of the rows.
    mask : (..., n), True for elements that are there; the others have rows and columns of zeros, and the rows of those that are there
        come first.

    Examples
    --------
    >>> neural_sort(torch.tensor([3.0, 1.0, 2.0]), 0.01).argmax(-1).tolist()
    [1, 2, 0]

    Source: Grover, Wang, Zweig and Ermon, 2019, Stochastic Optimization of Sorting Networks via Continuous Relaxations.
    """
    logits, pairs = neural_sort_logits(x, temperature, descending, mask)
    weights = torch.softmax(logits, dim=-1)
    return weights if pairs is None else weights * pairs


def neural_sort_logits(
    x: Tensor, temperature: Any, descending: bool, mask: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Return the logits of `neural_sort`, and which pairs of place and element are there; logits of the two kinds never meet."""
    n = x.shape[-1]
    s = x if descending else -x
    place = torch.arange(1, n + 1, dtype=x.dtype, device=x.device)
    if mask is None:
        distance = (s.unsqueeze(-1) - s.unsqueeze(-2)).abs().sum(-1)
        logits = (n + 1 - 2 * place).unsqueeze(-1) * s.unsqueeze(-2) - distance.unsqueeze(-2)
        return logits / per_list(temperature), None
    there = mask.expand(x.shape)
    s = torch.where(there, s, 0.0)
    both = there.unsqueeze(-1) & there.unsqueeze(-2)
    distance = ((s.unsqueeze(-1) - s.unsqueeze(-2)).abs() * both).sum(-1)
    count = there.sum(-1, keepdim=True)
    logits = (count + 1 - 2 * place).unsqueeze(-1) * s.unsqueeze(-2) - distance.unsqueeze(-2)
    rows, columns = (place <= count).unsqueeze(-1), there.unsqueeze(-2)
    pairs = rows & columns
    absent = torch.where(rows | columns, _ABSENT, 0.0).to(x.dtype)
    return torch.where(pairs, logits / per_list(temperature), absent), pairs


def sinkhorn_sort(x: Tensor, temperature: Any, descending: bool = False) -> Tensor:
    """Return a doubly stochastic P of shape (..., n, n): the transport plan from places k to elements j under the gain k x_j.

    Parameters
    ----------
    x, temperature, descending : as for `softsort`. The gain is linear in x, so that moving or stretching the list does not change P.

    Examples
    --------
    >>> sinkhorn_sort(torch.tensor([3.0, 1.0, 2.0]), 0.01).argmax(-1).tolist()
    [1, 2, 0]

    Source: Cuturi, Teboul and Vert, 2019, Differentiable Ranking and Sorting using Optimal Transport; the linear gain is ours.
    """
    n = x.shape[-1]
    if n == 0:
        return x.new_zeros((*x.shape, 0))
    place = torch.arange(n, dtype=x.dtype, device=x.device) - (n - 1) / 2
    logits = place.unsqueeze(-1) * x.unsqueeze(-2) / per_list(temperature)
    # The prices of the exact assignment rise by the mean of two places from one element to the next; those of the soft one are near.
    level = (x / temperature).detach()
    ordered, order = torch.sort(level, dim=-1)
    rises = (torch.arange(1, n, dtype=x.dtype, device=x.device) - n / 2) * ordered.diff(dim=-1)
    prices = torch.cat([torch.zeros_like(ordered[..., :1]), -rises.cumsum(-1)], dim=-1)
    plan = doubly_stochastic(logits, torch.zeros_like(prices).scatter(-1, order, prices))
    return plan.flip(-2) if descending else plan
