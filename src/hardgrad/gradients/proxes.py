"""Proximal operators: the minimiser over u of `g(u) + |u - v|^2 / 2`, in closed form, differentiable in v and in the strength of g.

For `step * g` multiply the strength by the step.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def soft_threshold(v: Tensor, strength: Any) -> Tensor:
    """Return the prox of `strength * |u|_1`: what is within `strength` of zero becomes exactly 0, the rest moves towards it.

    Examples
    --------
    >>> soft_threshold(torch.tensor([3.0, -0.5, -2.0]), 1.0)
    tensor([ 2.,  0., -1.])
    """
    return torch.where(v.abs() > strength, v - strength * torch.sign(v), torch.zeros_like(v))


def elastic_net(v: Tensor, strength: Any, ridge: Any) -> Tensor:
    """Return the prox of `strength * |u|_1 + ridge * |u|^2 / 2`."""
    shrunk: Tensor = soft_threshold(v, strength) / (1.0 + ridge)
    return shrunk


def group_threshold(v: Tensor, strength: Any, dim: int = -1) -> Tensor:
    """Return the prox of `strength * |u|_2` along `dim`: a group shorter than `strength` becomes exactly 0.

    Examples
    --------
    >>> group_threshold(torch.tensor([[3.0, 4.0], [0.3, 0.4]]), 1.0)
    tensor([[2.4000, 3.2000],
            [0.0000, 0.0000]])
    """
    length: Tensor = torch.linalg.vector_norm(v, dim=dim, keepdim=True)
    kept = length > strength
    safe = torch.where(kept, length, torch.ones_like(length))
    return torch.where(kept, v * (1.0 - strength / safe), torch.zeros_like(v))
