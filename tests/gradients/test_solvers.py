"""Ready solvers and the catalogue of conditions: solutions and derivatives against closed forms and scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import Lasso
from torch import Tensor

from hardgrad.core.errors import InputError, ParameterError
from hardgrad.gradients import implicit_fixed_point, implicit_root, optimality, projections, proxes, solvers

torch.manual_seed(5)
X = torch.randn(30, 5, dtype=torch.float64)
y = X @ torch.tensor([2.0, -1.0, 0.0, 0.0, 0.5], dtype=torch.float64) + 0.1 * torch.randn(
    30, dtype=torch.float64
)
THETA = torch.tensor(0.7, dtype=torch.float64)
ZERO = torch.zeros(5, dtype=torch.float64)
STEP = float(1 / (torch.linalg.eigvalsh(X.T @ X / 30)[-1] + 1))


def ridge(x: Tensor, theta: Tensor) -> Tensor:
    return 0.5 * ((X @ x - y) ** 2).mean() + 0.5 * theta * (x**2).sum()


def ridge_solution(theta: Tensor) -> Tensor:
    return torch.linalg.solve(X.T @ X / 30 + theta * torch.eye(5, dtype=torch.float64), X.T @ y / 30)


def identity_prox(v: Tensor, step: float, theta: Tensor) -> Tensor:
    return v


RIDGE_SOLVERS: dict[str, Any] = {
    "descent": solvers.gradient_descent(ridge, STEP),
    "momentum": solvers.gradient_descent(ridge, STEP, momentum=0.5),
    "newton": solvers.newton(optimality.stationary(ridge)),
    "fixed point": solvers.fixed_point(optimality.gradient_step(ridge, STEP)),
    "anderson": solvers.fixed_point(optimality.gradient_step(ridge, STEP), memory=5, maxiter=40),
    "accelerated": solvers.proximal_gradient(ridge, identity_prox, STEP),
    "plain": solvers.proximal_gradient(ridge, identity_prox, STEP, accelerate=False),
    "newton's map": implicit_fixed_point(
        optimality.newton(optimality.stationary(ridge)), lambda init, theta: ridge_solution(theta), has_init=True
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RIDGE_SOLVERS)
def test_ridge_by_every_solver(name: str) -> None:
    solve = RIDGE_SOLVERS[name]
    assert torch.allclose(solve(ZERO, THETA), ridge_solution(THETA), atol=1e-8)
    found = torch.func.jacrev(lambda theta: solve(ZERO, theta))(THETA)
    assert torch.allclose(found, torch.func.jacrev(ridge_solution)(THETA), atol=1e-7)
    assert solve.report.optimality < 1e-7  # where the equation is evaluated, not at an extrapolated point


def test_anderson_needs_fewer_steps() -> None:
    calls = []

    def step(x: Tensor, theta: Tensor) -> Tensor:
        calls.append(1)
        return optimality.gradient_step(ridge, STEP / 4)(x, theta)

    for memory in (0, 5):
        calls.append(-sum(calls))
        solvers.fixed_point(step, memory=memory)(ZERO, THETA)
        if memory == 0:
            plain = sum(calls)
    assert sum(calls) < plain / 2


def test_lasso_is_scikit_learns_and_so_is_its_derivative() -> None:
    def loss(x: Tensor, lam: Tensor) -> Tensor:
        return 0.5 * ((X @ x - y) ** 2).mean()

    def prox(v: Tensor, step: float, lam: Tensor) -> Tensor:
        return proxes.soft_threshold(v, step * lam)

    def fitted(lam: float) -> np.ndarray:
        return (
            Lasso(alpha=lam, fit_intercept=False, tol=1e-12, max_iter=10_000).fit(X.numpy(), y.numpy()).coef_
        )

    blocks = solvers.block_coordinate_descent(
        lambda x, lam: loss(torch.cat(list(x)), lam), [prox, prox], [STEP, STEP], maxiter=4000
    )
    whole = solvers.proximal_gradient(loss, prox, STEP)
    lam = torch.tensor(0.2, dtype=torch.float64)
    slope = torch.from_numpy((fitted(0.2 + 1e-5) - fitted(0.2 - 1e-5)) / 2e-5)

    def by_blocks(lam: Tensor) -> Tensor:
        return torch.cat(blocks((ZERO[:2], ZERO[2:]), lam))

    for solve in (lambda lam: whole(ZERO, lam), by_blocks):
        assert torch.allclose(solve(lam), torch.from_numpy(fitted(0.2)), atol=1e-7)
        assert torch.allclose(torch.func.jacfwd(solve)(lam), slope, atol=1e-4)
        assert int((solve(lam) == 0).sum()) == 2  # the support is exact


def test_simplex_by_projection_and_by_mirror_descent() -> None:
    target = torch.tensor([0.9, 0.5, -0.4], dtype=torch.float64)

    def loss(x: Tensor, target: Tensor) -> Tensor:
        return 0.5 * ((x - target) ** 2).sum()

    start = torch.full((3,), 1 / 3, dtype=torch.float64)
    for solve in (
        solvers.projected_gradient(loss, lambda v, target: projections.simplex(v), 0.5),
        solvers.mirror_descent(loss, 1.0, tol=1e-13, maxiter=5000),
    ):
        assert torch.allclose(solve(start, target), projections.simplex(target), atol=1e-9)
        found = torch.func.jacrev(lambda t, solve=solve: solve(start, t))(target)
        assert torch.allclose(found, torch.func.jacrev(projections.simplex)(target), atol=1e-6)


def test_kkt_of_a_program_with_both_kinds_of_constraints() -> None:
    """min |x - theta|^2 / 2 with sum x = 1, x >= 0 is the projection onto the simplex; degenerate multipliers need a ridge."""
    target = torch.tensor([0.9, 0.5, -0.4], dtype=torch.float64)

    def solver(theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = projections.simplex(theta)
        nu = (theta - x)[x > 0].mean().reshape(1)
        return x, nu, torch.where(x > 0, 0.0, x - theta + nu)

    condition = optimality.kkt(
        lambda x, theta: 0.5 * ((x - theta) ** 2).sum(), lambda x, theta: x.sum(0, keepdim=True) - 1, lambda x, theta: -x
    )  # fmt: skip
    solve = implicit_root(condition, solver)
    found = torch.func.jacrev(lambda theta: solve(theta)[0])(target)
    assert torch.allclose(found, torch.func.jacrev(projections.simplex)(target), atol=1e-10)
    assert solve.report is not None and solve.report.optimality < 1e-12
    twice = optimality.kkt(
        lambda x, theta: 0.5 * ((x - theta) ** 2).sum(), equality=lambda x, theta: x.sum().expand(2) - 1
    )

    def degenerate(theta: Tensor) -> Any:
        x = theta - (theta.sum() - 1) / 3
        return x, ((theta.sum() - 1) / 6).expand(2), None

    with pytest.raises(InputError, match="singular"):
        torch.func.grad(lambda t: implicit_root(twice, degenerate)(t)[0][0])(target)
    ridged = implicit_root(twice, degenerate, ridge=1e-9)
    assert torch.allclose(
        torch.func.grad(lambda t: ridged(t)[0][0])(target), torch.tensor([2, -1, -1]).double() / 3, atol=1e-6
    )
    with pytest.raises(InputError, match="multiplier"):
        twice((target, target, None), target)


def test_what_is_refused() -> None:
    for call in (
        lambda: solvers.fixed_point(lambda x: x, memory=-1),
        lambda: solvers.fixed_point(lambda x: x, tol=float("nan")),
        lambda: solvers.gradient_descent(ridge, 0.0),
        lambda: solvers.gradient_descent(ridge, 0.1, momentum=1.0),
        lambda: solvers.mirror_descent(ridge, -1.0),
        lambda: optimality.block_proximal_gradient(ridge, [identity_prox], [0.1, 0.2]),
    ):
        with pytest.raises(ParameterError):
            call()
