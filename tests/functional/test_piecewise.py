"""Kinks and jumps: derivatives at the kink, far away, bounds, and errors."""

from __future__ import annotations

import pytest
import torch

from hardgrad import functional
from hardgrad.core.errors import InputError, ParameterError
from hardgrad.functional.piecewise import relu_gap

LIGHT = [kind for kind in functional.KINDS if functional.KINDS[kind].relu]
X = torch.linspace(-4, 4, 401, dtype=torch.float64)


def derivative(function, x: torch.Tensor) -> torch.Tensor:
    leaf = x.clone().requires_grad_()
    return torch.autograd.grad(function(leaf).sum(), leaf)[0]


@pytest.mark.parametrize("kind", LIGHT)
def test_derivatives_are_the_soft_sign_and_the_soft_step(kind: str) -> None:
    of = {"kind": kind, "temperature": 0.7}
    assert torch.allclose(
        derivative(lambda x: functional.abs(x, **of), X), functional.sign(X, **of), atol=1e-12
    )
    assert torch.allclose(
        derivative(lambda x: functional.relu(x, **of), X), functional.greater(X, 0.0, **of), atol=1e-12
    )
    inside = functional.greater(X, -1.0, **of) - functional.greater(X, 1.0, **of)
    assert torch.allclose(derivative(lambda x: functional.hardtanh(x, **of), X), inside, atol=1e-12)


@pytest.mark.parametrize("kind", list(functional.KINDS))
def test_distance_to_the_exact_function_is_the_bound(kind: str) -> None:
    x = torch.linspace(-500, 500, 200_001, dtype=torch.float64)
    for scale, soft, exact in ((1, functional.relu, torch.relu), (2, functional.abs, torch.abs)):
        worst = (soft(x, temperature=0.5, kind=kind) - exact(x)).abs().max()
        assert 0.99 * scale * 0.5 * relu_gap(kind) <= worst <= scale * 0.5 * relu_gap(kind) + 1e-9


@pytest.mark.parametrize("kind", list(functional.KINDS))
def test_clamp_is_symmetric_and_loses_nothing_far_away(kind: str) -> None:
    soft = functional.clamp(X, -1.0, 2.0, temperature=0.3, kind=kind)
    assert torch.allclose(soft, -functional.clamp(-X, -2.0, 1.0, temperature=0.3, kind=kind))
    assert torch.allclose(
        functional.clamp(X, min=-1.0, temperature=0.3, kind=kind),
        -functional.clamp(-X, max=1.0, temperature=0.3, kind=kind),
    )
    far = torch.tensor([-1e6, 1e6])
    assert torch.allclose(
        functional.clamp(far, 0.0, 1.0, temperature=1e-3, kind=kind), torch.tensor([0.0, 1.0]), atol=2e-3
    )
    assert functional.clamp(X[:1], 1.0, 1.0, temperature=0.3, kind="c1").item() == pytest.approx(1.0)


def test_clamp_takes_numbers_tensors_and_both() -> None:
    low = torch.tensor(-1.0, dtype=torch.float64)
    plain = functional.clamp(X, -1.0, 2.0)
    assert torch.allclose(functional.clamp(X, low, 2.0), plain) and torch.allclose(
        functional.clamp(X, low, low + 3), plain
    )
    assert torch.equal(functional.clamp(X, low, 2.0, mode="hard"), X.clamp(-1.0, 2.0))
    infinity = float("inf")
    assert torch.allclose(functional.clamp(X, -1.0, infinity), functional.clamp(X, min=-1.0))
    assert torch.equal(functional.clamp(X, -infinity, infinity), X)


def test_clamp_refuses_bounds_in_the_wrong_order() -> None:
    for mode in ("soft", "st", "hard"):
        with pytest.raises(InputError, match=r"clamp\(\) got a minimum above"):
            functional.clamp(X, 2.0, 1.0, mode=mode)
        with pytest.raises(InputError, match=r"hardtanh\(\) got a minimum above"):
            functional.hardtanh(X, 2.0, 1.0, mode=mode)
    with pytest.raises(InputError, match="swap"):
        functional.clamp(X, torch.zeros(401), torch.linspace(-1, 1, 401))
    with pytest.raises(ParameterError, match="no bound"):
        functional.clamp(X)


def test_heaviside_has_its_value_at_0_and_passes_gradients_to_it() -> None:
    values = torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64, requires_grad=True)
    at_zero = torch.zeros(3, dtype=torch.float64)
    for kind in functional.KINDS:
        out = functional.heaviside(at_zero, values, kind=kind)
        assert torch.allclose(out, values)
        assert torch.allclose(torch.autograd.grad(out.sum(), values)[0], torch.ones(3, dtype=torch.float64))
        mild = functional.heaviside(X, torch.tensor(0.75, dtype=torch.float64), kind=kind)
        assert (mild.diff() >= -1e-12).all()
