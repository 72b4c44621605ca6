"""Projections and proxes against quadratic programs, scikit-learn, and finite differences of first and second order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sklearn.isotonic import IsotonicRegression
from torch import Tensor

from hardgrad.core.errors import InputError
from hardgrad.gradients import projections, proxes

torch.manual_seed(3)
POINT = torch.randn(6, dtype=torch.float64)
A = torch.randn(2, 6, dtype=torch.float64)
B = torch.randn(2, dtype=torch.float64)

MAPS: dict[str, Callable[[Tensor], Tensor]] = {
    "box": lambda x: projections.box(x, -0.5, 0.4),
    "simplex": lambda x: projections.simplex(x, 1.5),
    "l1_ball": lambda x: projections.l1_ball(x, 1.2),
    "l2_ball": lambda x: projections.l2_ball(x, 0.7),
    "linf_ball": lambda x: projections.linf_ball(x, 0.3),
    "affine": lambda x: projections.affine(x, A, B),
    "isotonic": lambda x: projections.isotonic(x),
    "transport_polytope": lambda x: projections.transport_polytope(
        x.reshape(*x.shape[:-1], 2, 3), torch.tensor([0.4, 0.6]).double(), torch.tensor([0.3, 0.5, 0.2]).double()
    ).flatten(-2),
    "soft_threshold": lambda x: proxes.soft_threshold(x, 0.3),
    "elastic_net": lambda x: proxes.elastic_net(x, 0.3, 0.5),
    "group_threshold": lambda x: proxes.group_threshold(x.unflatten(-1, (3, 2)), 0.5).flatten(-2),
}  # fmt: skip


@pytest.mark.parametrize("name", MAPS)
def test_gradients_of_first_and_second_order_and_maps(name: str) -> None:
    function = MAPS[name]
    x = POINT.clone().requires_grad_()
    assert torch.autograd.gradcheck(function, x, check_forward_ad=name != "transport_polytope", eps=1e-7)
    assert torch.autograd.gradgradcheck(function, x)
    several = torch.stack([POINT, -POINT, POINT / 2])
    expected = torch.stack([function(row) for row in several])
    assert torch.allclose(torch.func.vmap(function)(several), expected, atol=1e-8)
    assert torch.allclose(function(several), expected, atol=1e-8)


def _quadratic_program(x: Tensor, constraints: list[dict[str, Any]], bounds: Any = None) -> Tensor:
    target = x.numpy()
    found = minimize(
        lambda u: 0.5 * ((u - target) ** 2).sum(), np.full(6, 1 / 6), jac=lambda u: u - target, bounds=bounds,
        constraints=constraints, method="SLSQP", options={"ftol": 1e-14, "maxiter": 500},
    )  # fmt: skip
    return torch.from_numpy(found.x)


POSITIVE = [(0, None)] * 6
PROGRAMS: dict[str, tuple[list[dict[str, Any]], Any]] = {
    "simplex": ([{"type": "eq", "fun": lambda u: u.sum() - 1.5}], POSITIVE),
    "l2_ball": ([{"type": "ineq", "fun": lambda u: 0.7**2 - (u**2).sum()}], None),
    "affine": ([{"type": "eq", "fun": lambda u: A.numpy() @ u - B.numpy()}], None),
    "transport_polytope": (
        [
            {"type": "eq", "fun": lambda u: u.reshape(2, 3).sum(1) - [0.4, 0.6]},
            {"type": "eq", "fun": lambda u: u.reshape(2, 3).sum(0)[:2] - [0.3, 0.5]},
        ],
        POSITIVE,
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_nearest_point_of_a_quadratic_program(name: str) -> None:
    for x in (POINT, 3 * POINT, -POINT):
        assert torch.allclose(MAPS[name](x), _quadratic_program(x, *PROGRAMS[name]), atol=1e-6)


def test_isotonic_is_scikit_learns() -> None:
    generator = torch.Generator().manual_seed(0)
    for n in (1, 2, 5, 40):
        x = torch.randn(n, generator=generator, dtype=torch.float64)
        expected = IsotonicRegression().fit_transform(np.arange(n), x.numpy())
        assert torch.allclose(projections.isotonic(x), torch.from_numpy(expected), atol=1e-12)
    assert projections.isotonic(torch.empty(3, 0)).shape == (3, 0)


def test_the_l1_ball_solves_its_own_conditions() -> None:
    found = projections.l1_ball(POINT, 1.2)
    shift = (POINT - found).abs()
    assert torch.isclose(found.abs().sum(), torch.tensor(1.2).double())
    active = found != 0
    assert torch.allclose(shift[active], shift[active][0].expand(int(active.sum())))
    assert bool((shift[~active] <= shift[active][0] + 1e-12).all())
    inside = POINT / 100
    assert torch.equal(projections.l1_ball(inside), inside) and torch.equal(
        projections.l2_ball(inside), inside
    )


def test_the_published_simplex_jacobian() -> None:
    x = torch.tensor([0.6, 0.5, -0.3, 0.1], dtype=torch.float64)
    s = torch.tensor([1.0, 1.0, 0.0, 1.0], dtype=torch.float64)
    expected = torch.diag(s) - torch.outer(s, s) / 3
    assert torch.allclose(torch.func.jacrev(projections.simplex)(x), expected)
    total = torch.tensor([1.0], dtype=torch.float64, requires_grad=True)
    projections.simplex(x, total)[0].backward()
    assert torch.isclose(total.grad, torch.tensor([1 / 3], dtype=torch.float64))


def test_zero_has_a_finite_gradient() -> None:
    for function in (projections.l2_ball, proxes.group_threshold, projections.l1_ball):
        x = torch.zeros(3, requires_grad=True)
        function(x, 0.5).sum().backward()
        assert torch.isfinite(x.grad).all()


def test_large_transport_with_many_zeros() -> None:
    generator = torch.Generator().manual_seed(0)
    x = 10 * torch.randn(4, 12, 9, generator=generator, dtype=torch.float64)
    rows, columns = torch.full((12,), 1 / 12).double(), torch.full((9,), 1 / 9).double()
    plan = projections.transport_polytope(x, rows, columns)
    assert torch.allclose(plan.sum(-1), rows.expand(4, 12), atol=1e-9)
    assert torch.allclose(plan.sum(-2), columns.expand(4, 9), atol=1e-9)
    assert bool((plan >= 0).all()) and int((plan == 0).sum()) > 4 * 60


def test_what_is_refused() -> None:
    for call in (
        lambda: projections.simplex(POINT, 0.0),
        lambda: projections.box(POINT, 1.0, 0.0),
        lambda: projections.l2_ball(POINT, -1.0),
        lambda: projections.transport_polytope(torch.zeros(2, 2), torch.ones(2), torch.full((2,), 2.0)),
    ):
        with pytest.raises(InputError):
            call()
