"""Conditions that solutions satisfy, for `implicit_root` and `implicit_fixed_point`: each turns an objective into a residual or a map.

`f(x, *theta)` is a scalar objective; x and theta are tensors or pytrees. A residual F is zero at the solution; a map T has it as its fixed
point. Every function here returns such a function of (x, *theta).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from hardgrad.core.errors import InputError, ParameterError
from hardgrad.gradients.linear_solvers import pullback
from hardgrad.gradients.pytrees import tensors_and_rest

Objective = Callable[..., Tensor]
Condition = Callable[..., Any]


class _Stationary:
    """The gradient of an objective; its derivative, a Hessian, is symmetric."""

    symmetric = True

    def __init__(self, objective: Objective) -> None:
        self.gradient = torch.func.grad(objective)

    def __call__(self, x: Any, *theta: Any) -> Any:
        return self.gradient(x, *theta)


def stationary(f: Objective) -> Condition:
    """Return F = df/dx: zero at a minimum, maximum or saddle without constraints.

    Examples
    --------
    >>> F = stationary(lambda x, theta: ((x - theta) ** 2).sum())
    >>> F(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 2.0]))
    tensor([2., 0.])
    """
    return _Stationary(f)


def kkt(f: Objective, equality: Condition | None = None, inequality: Condition | None = None) -> Condition:
    """Return the Karush-Kuhn-Tucker residual of `min f(x) subject to G(x) = 0, H(x) <= 0`.

    Parameters
    ----------
    equality, inequality : G(x, *theta) and H(x, *theta), tensors; None where there are none.

    Returns
    -------
    condition : F((x, nu, lam), *theta) with the multipliers of G and of H, each None where there are none. Its parts are
        `df/dx + dG^T nu + dH^T lam`, `G` and `lam * H`. Regular only where the active constraints are independent and strictly
        complementary (lam > 0); else add a ridge.

    Examples
    --------
    >>> F = kkt(lambda x, b: 0.5 * (x**2).sum(), equality=lambda x, b: x.sum(0, keepdim=True) - b)
    >>> F((torch.tensor([0.5, 0.5]), torch.tensor([-0.5]), None), torch.tensor([1.0]))
    (tensor([0., 0.]), tensor([0.]), None)
    """
    gradient = torch.func.grad(f)

    def condition(point: tuple[Any, Any, Any], *theta: Any) -> tuple[Any, Any, Any]:
        x, nu, lam = point
        total = gradient(x, *theta)
        first = None if equality is None else equality(x, *theta)
        if equality is not None:
            total = _added(total, _transposed(equality, x, theta, nu))
        if inequality is None:
            return total, first, None
        total = _added(total, _transposed(inequality, x, theta, lam))
        return total, first, lam * inequality(x, *theta)

    return condition


def _transposed(constraint: Condition, x: Any, theta: Sequence[Any], multiplier: Tensor) -> Any:
    values, pull = pullback(lambda x: constraint(x, *theta), x)
    if values.shape != multiplier.shape:
        raise InputError(
            f"kkt() got a multiplier of shape {tuple(multiplier.shape)} for a constraint of shape {tuple(values.shape)}; "
            "expected equal shapes."
        )
    return pull(multiplier)[0]


def _added(first: Any, second: Any) -> Any:
    return combine(lambda a, b: a + b, first, second)


def combine(function: Callable[..., Tensor], first: Any, *others: Any) -> Any:
    """Apply a function of tensors to each leaf of pytrees of one form."""
    tensors, rebuild = tensors_and_rest(first)
    rest = [tensors_and_rest(other)[0] for other in others]
    return rebuild([function(*parts) for parts in zip(tensors, *rest, strict=True)])


def gradient_step(f: Objective, step: float = 1.0) -> Condition:
    """Return T = x - step df/dx."""
    gradient = torch.func.grad(f)
    return lambda x, *theta: combine(lambda a, g: a - step * g, x, gradient(x, *theta))


def proximal_gradient(f: Objective, prox: Condition, step: float = 1.0) -> Condition:
    """Return T = prox(x - step df/dx, step, *theta): for `min f(x) + g(x)` with a g that has kinks, such as the absolute value.

    Parameters
    ----------
    prox : prox(v, step, *theta), the minimiser over u of `g(u) + |u - v|^2 / (2 step)`; see `gradients.proxes`.
    step : any positive number: the fixed point does not depend on it.

    Examples
    --------
    >>> from hardgrad.gradients import proxes
    >>> T = proximal_gradient(lambda x, y, lam: 0.5 * ((x - y) ** 2).sum(), lambda v, step, y, lam: proxes.soft_threshold(v, step * lam))
    >>> T(torch.zeros(2), torch.tensor([3.0, 0.5]), torch.tensor(1.0))
    tensor([2., 0.])
    """
    descend = gradient_step(f, _positive("proximal_gradient", step))
    return lambda x, *theta: prox(descend(x, *theta), step, *theta)


def projected_gradient(f: Objective, project: Condition, step: float = 1.0) -> Condition:
    """Return T = project(x - step df/dx, *theta): for `min f(x)` over a convex set; see `gradients.projections`."""
    descend = gradient_step(f, _positive("projected_gradient", step))
    return lambda x, *theta: project(descend(x, *theta), *theta)


def mirror_descent(f: Objective, step: float = 1.0, dim: int = -1) -> Condition:
    """Return the mirror map of the simplex: T = x exp(-step df/dx), normalised along `dim`; softmax in the dual, `log x - step df/dx`.

    Written as a product, so that it has a derivative where elements of x are exactly 0.
    """
    gradient = torch.func.grad(f)
    _positive("mirror_descent", step)

    def move(x: Tensor, g: Tensor) -> Tensor:
        weight = x * torch.exp(-step * (g - g.amin(dim, keepdim=True).detach()))
        return weight / weight.sum(dim, keepdim=True)

    return lambda x, *theta: combine(move, x, gradient(x, *theta))


def newton(F: Condition) -> Condition:
    """Return T = x - (dF/dx)^-1 F(x), for one tensor x: at a root its derivative in x is zero, so the linear solve is trivial."""

    def step(x: Tensor, *theta: Any) -> Tensor:
        jacobian = torch.func.jacrev(F)(x, *theta).reshape(x.numel(), x.numel())
        change: Tensor = torch.linalg.solve(jacobian, F(x, *theta).reshape(-1))
        return x - change.reshape(x.shape)

    return step


def block_proximal_gradient(f: Objective, proxes: Sequence[Condition], steps: Sequence[float]) -> Condition:
    """Return T for block coordinate descent: x is a tuple or list of blocks, each with its own prox and step.

    Parameters
    ----------
    proxes : prox(v, step, *theta) for each block.
    steps : positive, one for each block.
    """
    gradient = torch.func.grad(f)
    if len(proxes) != len(steps):
        raise ParameterError(
            f"block_proximal_gradient() got {len(proxes)} proxes and {len(steps)} steps; expected as many."
        )
    for step in steps:
        _positive("block_proximal_gradient", step)

    def condition(x: Sequence[Tensor], *theta: Any) -> Any:
        blocks = zip(x, gradient(x, *theta), proxes, steps, strict=True)
        return type(x)(prox(b - step * g, step, *theta) for b, g, prox, step in blocks)  # type: ignore[call-arg]

    return condition


def _positive(name: str, step: float) -> float:
    if not step > 0:
        raise ParameterError(f"{name}() got step={step!r}; expected a positive number.")
    return step
