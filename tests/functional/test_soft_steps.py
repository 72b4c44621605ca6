"""Every column of the table of soft steps, against integration, optimisation and finite differences."""

from __future__ import annotations

import pytest
import torch
from scipy.integrate import quad
from scipy.optimize import minimize_scalar

from hardgrad.core.errors import ParameterError
from hardgrad.functional import KINDS, soft_equal, soft_relu, soft_step, swap_error_bound
from hardgrad.functional.smoothed import KERNELS

EACH = pytest.mark.parametrize("kind", list(KINDS))
LIGHT = [kind for kind in KINDS if KINDS[kind].relu]
HEAVY = [kind for kind in KINDS if not KINDS[kind].relu]
ALL = {**KINDS, **KERNELS}


def at(curve, v: float) -> float:
    return float(curve(torch.tensor(v, dtype=torch.float64)))


@pytest.mark.parametrize("kind", list(ALL))
def test_steps_rise_from_0_to_1_and_are_symmetric(kind: str) -> None:
    v = torch.linspace(-40, 40, 4001, dtype=torch.float64)
    s = ALL[kind].step(v)
    assert (s.diff() >= 0).all() and (s >= 0).all() and (s <= 1).all()
    assert torch.allclose(s + s.flip(0), torch.ones_like(s), atol=1e-15)
    assert at(ALL[kind].step, 0.0) == 0.5


@pytest.mark.parametrize("kind", list(ALL))
def test_slope_is_the_derivative_at_0(kind: str) -> None:
    h = 1e-5
    slope = (at(ALL[kind].step, h) - at(ALL[kind].step, -h)) / (2 * h)
    assert slope == pytest.approx(
        ALL[kind].slope, rel=2e-5
    )  # laplace and triangle have a kink in their slope


@EACH
def test_tail_falls_as_it_says(kind: str) -> None:
    near, far = at(KINDS[kind].step, -20.0), at(KINDS[kind].step, -40.0)
    if KINDS[kind].tail == "1 / v":
        assert near / far == pytest.approx(2.0, rel=0.1)
    elif KINDS[kind].tail == "exponential":
        assert near / far == pytest.approx(2.718281828**20, rel=1e-6)
    elif KINDS[kind].tail == "Gaussian":
        assert near < 1e-80
    else:
        assert near == 0.0 and at(KINDS[kind].step, -1.0) == 0.0 < at(KINDS[kind].step, -0.99)


@pytest.mark.parametrize("kind", list(ALL))
def test_swap_error_is_the_largest(kind: str) -> None:
    step = ALL[kind].step
    if kind == "reciprocal":  # approached only far away
        assert 0.99 < 1000.0 * at(step, -1000.0) < ALL[kind].swap_error == 1.0
        return
    upper = (
        50.0 if kind in ("cauchy", "optimal") else 3.0 if kind in ("logistic", "gaussian", "laplace") else 1.0
    )
    best = minimize_scalar(
        lambda v: -v * at(step, -v), bounds=(0, upper), method="bounded", options={"xatol": 1e-9}
    )
    grid = torch.linspace(0, 1e4, 200_001, dtype=torch.float64)
    largest = max(-best.fun, float((grid * step(-grid)).max()))
    assert largest <= ALL[kind].swap_error * (1 + 1e-12)
    assert largest == pytest.approx(ALL[kind].swap_error, rel=1e-6)


@EACH
def test_monotone_swap_says_whether_a_soft_minimum_is_monotone(kind: str) -> None:
    v = torch.linspace(-30, 30, 6001, dtype=torch.float64)
    soft_minimum = v * KINDS[kind].step(-v)  # of v and 0
    assert bool((soft_minimum.diff() >= -1e-12).all()) is KINDS[kind].monotone_swap


@pytest.mark.parametrize("kind", [*LIGHT, "laplace", "box", "triangle"])
def test_relu_is_the_antiderivative_of_the_step(kind: str) -> None:
    member = ALL[kind]
    for v in (-3.0, -0.4, 0.0, 0.7, 3.0):
        area, _ = quad(lambda u: at(member.step, u), -60.0, v, points=[-1.0, 0.0, 1.0], limit=200)
        assert at(member.relu, v) == pytest.approx(area, abs=1e-8)
    assert at(member.relu, 50.0) == pytest.approx(50.0) and at(member.relu, -50.0) == pytest.approx(
        0.0, abs=1e-20
    )


@pytest.mark.parametrize("kind", HEAVY)
def test_heavy_tails_have_no_antiderivative_that_approaches_relu(kind: str) -> None:
    areas = [
        quad(lambda u: at(KINDS[kind].step, u), -reach, 0.0, limit=500)[0] for reach in (10.0, 100.0, 1000.0)
    ]
    assert areas[2] - areas[1] == pytest.approx(
        areas[1] - areas[0], rel=0.25
    )  # like a logarithm: equal steps per decade
    x = torch.tensor([-2.0, 0.0, 3.0], dtype=torch.float64)
    assert torch.equal(soft_relu(x, 0.5, kind), x * soft_step(x, 0.5, kind))


@pytest.mark.parametrize("kind", [*KINDS, "normal"])
def test_soft_equal_is_1_at_0_and_falls(kind: str) -> None:
    x = torch.linspace(0, 5, 200, dtype=torch.float64)
    e = soft_equal(x, 0.5, kind)
    assert e[0] == 1.0 and (e.diff() <= 0).all() and torch.allclose(e, soft_equal(-x, 0.5, kind))
    assert e[-1] < 0.31


def test_an_unknown_kind_is_named() -> None:
    with pytest.raises(ParameterError, match="Did you mean 'logistic'"):
        swap_error_bound("logistics")
    assert swap_error_bound("c0", 2.0) == 0.25
