"""The capped simplex {0 <= w <= 1, sum w = k}: projections onto it, and the rows of a top-k made of such projections."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

HALVINGS = {torch.float32: 40, torch.float64: 64}
FAR = 40.0  # exp(-40) is nothing beside 1


def topk_rows(x: Tensor, temperature: Any, k: int) -> Tensor:
    """Return weights (..., k, n) whose first j rows sum to the projection of x / temperature onto {0 <= w <= 1, sum w = j}, for each j.

    Parameters
    ----------
    x : (..., n), floating.
    temperature : positive number, or tensor of shape (...) + (1,).
    k : number of rows.

    Examples
    --------
    >>> topk_rows(torch.tensor([0.0, 2.0, 1.75, 1.0]), 0.5, 2).tolist()
    [[0.0, 0.75, 0.25, 0.0], [0.0, 0.25, 0.75, 0.0]]
    """
    z: Tensor = x / temperature
    if k == 0 or z.shape[-1] == 0:
        return z.new_zeros((*z.shape[:-1], k, z.shape[-1]))
    nested = capped_simplex(z, torch.arange(1, k + 1, dtype=z.dtype, device=z.device))
    rows: Tensor = torch.cat([nested[..., :1, :], nested.diff(dim=-2)], dim=-2)
    return rows


def capped_simplex(z: Tensor, totals: Tensor) -> Tensor:
    """Return the projections of z (..., n) onto {0 <= w <= 1, sum w = total} for each of the totals (k,), shape (..., k, n)."""
    z = z.unsqueeze(-2)
    totals = totals.unsqueeze(-1)
    fixed = z.detach()
    low = fixed.amin(-1, keepdim=True) - 1.0 + torch.zeros_like(totals)
    high = fixed.amax(-1, keepdim=True) + torch.zeros_like(totals)
    for _ in range(HALVINGS.get(z.dtype, 64)):
        middle = 0.5 * (low + high)
        above = (fixed - middle).clamp(0.0, 1.0).sum(-1, keepdim=True) > totals
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    level = 0.5 * (low + high)
    # The level is linear in what lies strictly between the bounds: found anew from there, it is exact and has the right gradient.
    inside = (fixed > level) & (fixed < level + 1.0)
    count = inside.sum(-1, keepdim=True)
    full = (fixed >= level + 1.0).sum(-1, keepdim=True)
    linear = ((z * inside).sum(-1, keepdim=True) + full - totals) / count.clamp_min(1)
    return (z - torch.where(count > 0, linear, level)).clamp(0.0, 1.0)


def entropic_capped_simplex(z: Tensor, k: int) -> Tensor:
    """Return the w of {0 <= w <= 1, sum w = k} that maximises w.z plus the entropies of w and 1 - w: sigmoid(z + level).

    Bisection finds the level without gradients. Two steps of Newton's method that move nothing carry the first and second derivatives, in
    every mode of torch: with q = w (1 - w) the first is diag(q) - q q^T / sum q.

    Parameters
    ----------
    z : (..., n), floating.
    k : from 1 to n - 1.
    """
    dtype = z.dtype
    if z.device.type == "cpu":  # large scores need small differences between large numbers
        z = z.double()
    fixed = z.detach()
    low = -fixed.amax(-1, keepdim=True) - FAR
    high = -fixed.amin(-1, keepdim=True) + FAR
    for _ in range(HALVINGS.get(z.dtype, 64)):
        middle = 0.5 * (low + high)
        above = torch.sigmoid(fixed + middle).sum(-1, keepdim=True) > k
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    level = 0.5 * (low + high)
    for _ in range(2):
        weights = torch.sigmoid(z + level)
        total = weights.sum(-1, keepdim=True)
        slope = (weights * (1.0 - weights)).sum(-1, keepdim=True)
        # Where no weight can move (slope 0) nothing has a gradient.
        level = level - (total - total.detach()) / slope.clamp_min(torch.finfo(z.dtype).tiny)
    return torch.sigmoid(z + level).to(dtype)
