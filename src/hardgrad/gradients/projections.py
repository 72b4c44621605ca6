"""Euclidean projections onto convex sets, with exact gradients: blocks of optimisation, and exact, so without a temperature.

Each finds its active set once, without gradient, and is then a formula that is affine on it: that gives the analytic derivative, in reverse
and forward mode and under vmap. At a kink it is the derivative of one side.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hardgrad.core.errors import InputError
from hardgrad.functional.operands import values_are_checked


def box(x: Tensor, low: Any, high: Any) -> Tensor:
    """Return the nearest point with `low <= u <= high`, element by element; differentiable in the bounds too."""
    low, high = torch.as_tensor(low, dtype=x.dtype), torch.as_tensor(high, dtype=x.dtype)
    _check(high - low, "box() needs low <= high")
    return torch.minimum(torch.maximum(x, low), high)


def simplex(x: Tensor, total: Any = 1.0, dim: int = -1) -> Tensor:
    """Return the nearest point with `u >= 0` and `sum u = total` along `dim`.

    Parameters
    ----------
    x : any shape.
    total : positive; a number or a tensor that broadcasts to x with size 1 along `dim`.

    Raises
    ------
    InputError : a total that is not positive.

    Examples
    --------
    >>> simplex(torch.tensor([0.6, 0.5, -0.3, 0.1]))
    tensor([0.5333, 0.4333, 0.0000, 0.0333])
    """
    total = torch.as_tensor(total, dtype=x.dtype, device=x.device)
    _check(total, "simplex() needs a total that is positive", strict=True)
    with torch.no_grad():
        descending = x.detach().sort(dim=dim, descending=True).values
        count = torch.ones_like(descending).cumsum(dim)
        excess = descending.cumsum(dim) - total.detach()
        inside = descending * count > excess
        number = inside.to(x.dtype).sum(dim, keepdim=True)
        threshold = torch.where(inside, descending, torch.zeros_like(x)).sum(dim, keepdim=True)
        support = x.detach() > (threshold - total.detach()) / number
    zeros = torch.zeros_like(x)
    size = support.to(x.dtype).sum(dim, keepdim=True)
    tau = (torch.where(support, x, zeros).sum(dim, keepdim=True) - total) / size
    return torch.where(support, x - tau, zeros)


def l1_ball(x: Tensor, radius: Any = 1.0, dim: int = -1) -> Tensor:
    """Return the nearest point with `sum |u| <= radius` along `dim`.

    Examples
    --------
    >>> l1_ball(torch.tensor([2.0, -1.0, 0.1]), 1.0)
    tensor([1., -0., 0.])
    """
    inside = x.detach().abs().sum(dim, keepdim=True) <= radius
    return torch.where(inside, x, torch.sign(x) * simplex(x.abs(), radius, dim))


def l2_ball(x: Tensor, radius: Any = 1.0, dim: int = -1) -> Tensor:
    """Return the nearest point with `|u|_2 <= radius` along `dim`.

    Examples
    --------
    >>> l2_ball(torch.tensor([3.0, 4.0]))
    tensor([0.6000, 0.8000])
    """
    radius = torch.as_tensor(radius, dtype=x.dtype, device=x.device)
    _check(radius, "l2_ball() needs a radius that is positive", strict=True)
    inside = torch.linalg.vector_norm(x.detach(), dim=dim, keepdim=True) <= radius
    safe = torch.where(inside, torch.ones_like(x), x)  # no 0 / 0 in the branch that is not taken
    length: Tensor = torch.linalg.vector_norm(safe, dim=dim, keepdim=True)
    scaled: Tensor = x * radius / length
    return torch.where(inside, x, scaled)


def linf_ball(x: Tensor, radius: Any = 1.0) -> Tensor:
    """Return the nearest point with `|u| <= radius`, element by element."""
    radius = torch.as_tensor(radius, dtype=x.dtype, device=x.device)
    return box(x, -radius, radius)


def affine(x: Tensor, A: Tensor, b: Tensor) -> Tensor:
    """Return the nearest point with `A u = b`.

    Parameters
    ----------
    x : (..., n).
    A : (m, n) with independent rows.
    b : (..., m).

    Examples
    --------
    >>> affine(torch.tensor([1.0, 0.0]), torch.tensor([[1.0, 1.0]]), torch.tensor([2.0]))
    tensor([1.5000, 0.5000])
    """
    excess = (A @ x.unsqueeze(-1)).squeeze(-1) - b
    multiplier: Tensor = torch.linalg.solve(A @ A.mT, excess.unsqueeze(-1))
    return x - (A.mT @ multiplier).squeeze(-1)


def isotonic(x: Tensor, dim: int = -1) -> Tensor:
    """Return the nearest point that does not decrease along `dim`: isotonic regression.

    Uses the closed form `u_i = max_{a <= i} min_{b >= i} mean(x_a .. x_b)`, n x n numbers for a list of n: for lists up to a few thousand.

    Examples
    --------
    >>> isotonic(torch.tensor([1.0, 3.0, 2.0, 4.0]))
    tensor([1.0000, 2.5000, 2.5000, 4.0000])
    """
    lists = x.movedim(dim, -1)
    n = lists.shape[-1]
    if n == 0:
        return x
    sums = torch.cat([torch.zeros_like(lists[..., :1]), lists.cumsum(-1)], dim=-1)
    index = torch.arange(n, device=x.device)
    length = (index - index.unsqueeze(1) + 1).to(x.dtype)  # of the stretch from row a to column b
    means = (sums[..., 1:].unsqueeze(-2) - sums[..., :-1].unsqueeze(-1)) / length.clamp(min=1)
    before = length < 1
    least = means.masked_fill(before, float("inf")).flip(-1).cummin(-1).values.flip(-1)
    found = least.masked_fill(before, float("-inf")).amax(-2)
    with (
        torch.no_grad()
    ):  # a block is a stretch of equal values; its mean is the formula that is differentiated
        starts = torch.cat([torch.ones_like(found[..., :1]), (found.diff(dim=-1) > 0).to(x.dtype)], dim=-1)
        block = starts.cumsum(-1)
        same = (block.unsqueeze(-1) == block.unsqueeze(-2)).to(x.dtype)
        same = same / same.sum(-1, keepdim=True)
    return (same @ lists.unsqueeze(-1)).squeeze(-1).movedim(-1, dim)


def transport_polytope(x: Tensor, rows: Tensor, columns: Tensor, *, iterations: int = 200) -> Tensor:
    """Return the nearest matrix with `u >= 0`, row sums `rows` and column sums `columns`.

    Parameters
    ----------
    x : (..., n, m).
    rows, columns : (..., n) and (..., m), positive, with the same total.
    iterations : most steps of the semi-smooth Newton method on the dual, which usually needs about ten.

    Raises
    ------
    InputError : totals that differ, or the method did not reach the sums.

    Examples
    --------
    >>> transport_polytope(torch.tensor([[2.0, 0.0], [0.0, 0.0]]), torch.tensor([0.5, 0.5]), torch.tensor([0.5, 0.5]))
    tensor([[0.5000, 0.0000],
            [0.0000, 0.5000]])
    """
    _check(
        1e-6 * rows.sum(-1).abs() - (rows.sum(-1) - columns.sum(-1)).abs(),
        "transport_polytope() needs equal totals",
    )
    columns = columns * (rows.sum(-1, keepdim=True) / columns.sum(-1, keepdim=True))  # equal to the last bit
    with torch.no_grad():
        doubles = (t.detach().double() for t in (x, rows, columns))
        potential = _transport_potential(*doubles, iterations=iterations).to(x.dtype)
    # One more Newton step, which changes nothing at the solution, carries the derivative of the potentials.
    active, inside = _transport_plan(x, potential)
    plan = torch.where(inside, active, torch.zeros_like(active))
    step = torch.linalg.pinv(_transport_hessian(inside.to(x.dtype)), hermitian=True)
    change = (step @ _transport_excess(plan, rows, columns).unsqueeze(-1)).squeeze(-1)
    moved, _ = _transport_plan(x, potential - change)
    return torch.where(inside, moved, torch.zeros_like(moved))


def _transport_plan(x: Tensor, potential: Tensor) -> tuple[Tensor, Tensor]:
    n, m = x.shape[-2:]
    u, v = potential.split([n, m], dim=-1)
    shifted = x + u.unsqueeze(-1) + v.unsqueeze(-2)
    return shifted, shifted.detach() > 0


def _transport_excess(plan: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    return torch.cat([plan.sum(-1) - rows, plan.sum(-2) - columns], dim=-1)


def _transport_hessian(inside: Tensor) -> Tensor:
    upper = torch.cat([torch.diag_embed(inside.sum(-1)), inside], dim=-1)
    lower = torch.cat([inside.mT, torch.diag_embed(inside.sum(-2))], dim=-1)
    return torch.cat([upper, lower], dim=-2)


def _transport_potential(x: Tensor, rows: Tensor, columns: Tensor, *, iterations: int) -> Tensor:
    """Minimise the dual, `|max(x + u + v, 0)|^2 / 2 - u rows - v columns`, by Newton steps, each shortened until it descends."""
    sums = torch.cat([rows, columns], dim=-1).expand(*x.shape[:-2], -1)
    potential = torch.zeros_like(sums)
    # Large enough for every entry to be active, so that the first system knows all of them.
    potential = potential + (rows.sum(-1) / x.shape[-1] - x.amin((-2, -1))).unsqueeze(-1)
    tolerance = 64 * torch.finfo(x.dtype).eps * (sums.sum(-1, keepdim=True) + x.abs().amax())

    # Close to the solution a step descends by less than the dual's own rounding, and must be taken all the same.
    rounding = 64 * torch.finfo(x.dtype).eps

    def dual(potential: Tensor) -> Tensor:
        return 0.5 * _transport_plan(x, potential)[0].relu().square().sum((-2, -1)) - (potential * sums).sum(
            -1
        )

    for _ in range(iterations):
        shifted, inside = _transport_plan(x, potential)
        excess = _transport_excess(shifted.relu(), rows, columns)
        if values_are_checked(x) and bool((excess.abs() <= tolerance).all()):
            return potential
        hessian = _transport_hessian(inside.to(x.dtype))
        ridge = 1e-10 + 1e-3 * excess.abs().amax(-1, keepdim=True).unsqueeze(-1).clamp(max=1.0)
        identity = torch.eye(hessian.shape[-1], dtype=x.dtype, device=x.device)
        direction = torch.linalg.solve(hessian + ridge * identity, excess.unsqueeze(-1)).squeeze(-1)
        slope = (direction * excess).sum(-1)
        here, length = dual(potential), torch.ones_like(slope)
        for _ in range(20):
            there = dual(potential - length.unsqueeze(-1) * direction)
            enough = there <= here - 1e-4 * length * slope + rounding * (1.0 + here.abs())
            length = torch.where(enough, length, length / 2)
        potential = potential - length.unsqueeze(-1) * direction
    excess = _transport_excess(_transport_plan(x, potential)[0].relu(), rows, columns)
    _check(1e4 * tolerance - excess.abs(), "transport_polytope() did not reach its sums; raise iterations")
    return potential


def _check(margin: Tensor, what: str, *, strict: bool = False) -> None:
    """Raise where a margin is negative (or zero, if strict) or NaN."""
    if values_are_checked(margin) and not bool(((margin > 0) if strict else (margin >= 0)).all()):
        raise InputError(f"{what}; got a worst margin of {float(margin.detach().min()):.3g}.")
