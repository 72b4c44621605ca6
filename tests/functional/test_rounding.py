"""Staircases: continuity, period, the blurred exact function, halves, decimals, signs of remainders."""

from __future__ import annotations

import pytest
import torch
from scipy.integrate import quad

from hardgrad import functional
from hardgrad.core.errors import InputError, ParameterError

X = torch.linspace(-3.2, 3.2, 12_801, dtype=torch.float64)
EACH = pytest.mark.parametrize("kind", list(functional.KINDS))


@EACH
@pytest.mark.parametrize("temperature", [0.02, 0.3, 3.0, 100.0])
def test_continuous_monotone_and_periodic_at_any_temperature(kind: str, temperature: float) -> None:
    soft = functional.round(X, temperature=temperature, kind=kind)
    steepest = 3.0 + functional.KINDS[kind].slope / temperature
    assert (soft.diff() >= -1e-12).all() and soft.diff().max() <= 5e-4 * steepest
    assert torch.allclose(functional.round(X + 7.0, temperature=temperature, kind=kind), soft + 7.0)
    assert torch.allclose(functional.floor(X + 0.5, temperature=temperature, kind=kind), soft)
    assert torch.allclose(functional.ceil(X - 0.5, temperature=temperature, kind=kind), soft)


@pytest.mark.parametrize(("kind", "width"), [("logistic", 0.2), ("gaussian", 0.3), ("c0", 0.4)])
def test_round_is_the_exact_round_blurred_by_the_kernel(kind: str, width: float) -> None:
    for x in (0.1, 0.4, 0.5, 1.3):

        def integrand(u: float, x: float = x) -> float:
            at = torch.tensor(u / width, dtype=torch.float64).requires_grad_()
            density = torch.autograd.grad(functional.KINDS[kind].step(at), at)[0]
            return round(x - u) * float(density) / width

        jumps = [x - 0.5 - k for k in range(-2, 4)] + [-width, width]
        blurred, _ = quad(integrand, -4.0, 4.0, points=jumps, limit=400)
        soft = functional.round(torch.tensor(x, dtype=torch.float64), temperature=width, kind=kind)
        assert float(soft) == pytest.approx(blurred, abs=1e-6)


def test_a_warm_round_is_the_line_itself() -> None:
    for kind in functional.KINDS:
        assert torch.allclose(functional.round(X, temperature=1000.0, kind=kind), X, atol=1e-3)


def test_halves_go_to_the_even_neighbour_when_hard() -> None:
    halves = torch.tensor([-1.5, -0.5, 0.5, 1.5, 2.5])
    for mode in ("hard", "st"):
        assert functional.round(halves, mode=mode).tolist() == [-2.0, -0.0, 0.0, 2.0, 2.0]
    assert torch.allclose(functional.round(halves), halves)


def test_decimals() -> None:
    x = torch.tensor([1.234, -5.678], dtype=torch.float64)
    assert torch.equal(functional.round(x, decimals=1, mode="hard"), torch.round(x, decimals=1))
    assert torch.allclose(
        functional.round(x, decimals=1, temperature=1e-4), torch.round(x, decimals=1), atol=1e-3
    )
    assert torch.allclose(
        functional.round(100 * x, decimals=-1, temperature=0.01), torch.round(100 * x, decimals=-1), atol=1e-2
    )


def test_sine_is_exact_at_whole_and_half_numbers_and_has_no_temperature() -> None:
    x = torch.tensor([-2.0, -0.5, 0.0, 0.5, 3.0], dtype=torch.float64)
    assert torch.allclose(functional.round(x, kind="sine"), x)
    assert (functional.round(X, kind="sine").diff() >= -1e-12).all()
    with pytest.raises(ParameterError, match="kind='sine', which has none"):
        functional.round(x, kind="sine", temperature=0.1)


@pytest.mark.parametrize("other", [1.5, -1.5])
def test_remainder_has_the_sign_of_the_divisor(other: float) -> None:
    away = (X / other - (X / other).round()).abs() > 0.02
    for kind in functional.KINDS:
        soft = functional.remainder(X, other, temperature=1e-6, kind=kind)
        assert torch.allclose(soft[away], torch.remainder(X, other)[away], atol=1e-3)
    with pytest.raises(InputError, match="divisor of 0"):
        functional.remainder(X, 0.0)
    assert torch.isnan(functional.remainder(X, 0.0, mode="hard")).all()
