"""Relaxed permutation matrices: row k of P says which element is the k-th of the sorted order. All act on the last dimension."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def softsort(x: Tensor, temperature: Any, descending: bool = False) -> Tensor:
    """Return P of shape (..., n, n): row k is a softmax over elements by their distance to the k-th sorted value.

    Parameters
    ----------
    x : (..., n), floating.
    temperature : positive number, or tensor of shape (...) + (1,), in the units of x.
    descending : order of the rows.

    Examples
    --------
    >>> softsort(torch.tensor([3.0, 1.0, 2.0]), 0.01).argmax(-1).tolist()
    [1, 2, 0]

    Source: Prillo and Eisenschlos, 2020, SoftSort: A Continuous Relaxation for the argsort Operator.
    """
    ordered = torch.sort(x, dim=-1, descending=descending, stable=True).values
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
    s = x if descending else -x
    n = x.shape[-1]
    there = torch.ones_like(x, dtype=torch.bool) if mask is None else mask.expand(x.shape)
    s = torch.where(there, s, 0.0)
    pairs = there.unsqueeze(-1) & there.unsqueeze(-2)
    distance = ((s.unsqueeze(-1) - s.unsqueeze(-2)).abs() * pairs).sum(-1)
    count = there.sum(-1, keepdim=True)
    place = torch.arange(1, n + 1, dtype=x.dtype, device=x.device)
    lead = count + 1 - 2 * place  # (..., n): row k of P
    logits = lead.unsqueeze(-1) * s.unsqueeze(-2) - distance.unsqueeze(-2)
    if mask is None:
        return torch.softmax(logits / per_list(temperature), dim=-1)
    rows = (place <= count).unsqueeze(-1)
    logits = torch.where(rows & there.unsqueeze(-2), logits / per_list(temperature), _ABSENT)
    return torch.softmax(logits, dim=-1) * (rows & there.unsqueeze(-2))
