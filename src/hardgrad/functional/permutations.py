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
