"""Activations as modules: what they learn, save and harden to."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import hardgrad
from hardgrad import functional
from hardgrad.core.errors import InputError, ParameterError, TemperatureError
from hardgrad.nn import SAU, PiecewiseLinear, SmoothedActivation

X = torch.linspace(-2, 2, 21)


def test_sau_is_the_function_at_its_temperature() -> None:
    unit = SAU(0.2, temperature=0.5)
    assert torch.equal(unit(X), functional.sau(X, unit.negative_slope, temperature=0.5))
    assert torch.equal(unit(X, mode="hard"), unit.harden()(X))
    assert torch.equal(unit(X, mode="st"), nn.functional.leaky_relu(X, unit.harden().negative_slope))
    with hardgrad.mode("soft", temperature=1.0):
        assert torch.equal(unit(X), functional.sau(X, unit.negative_slope, temperature=1.0))
    assert not list(unit.parameters()) and "temperature=0.5" in repr(unit)


def test_sau_learns_slope_and_temperature() -> None:
    unit = SAU(0.5, 0.5, learn_slope=True, learn_temperature=True)
    assert float(unit.own_temperature().detach()) == pytest.approx(0.5)
    target = functional.sau(X, 0.1, temperature=0.2)
    optimiser = torch.optim.Adam(unit.parameters(), 0.05)
    for _ in range(200):
        optimiser.zero_grad()
        (unit(X) - target).square().mean().backward()
        optimiser.step()
    assert float(unit.negative_slope.detach()) == pytest.approx(0.1, abs=0.01)
    assert float(unit.own_temperature().detach()) == pytest.approx(0.2, abs=0.02)
    copy = SAU(learn_slope=True, learn_temperature=True)
    copy.load_state_dict(unit.state_dict())
    assert torch.equal(copy(X), unit(X))
    assert unit.harden().negative_slope == float(unit.negative_slope.detach())
    hardgrad.set_temperature(unit, 0.03)
    assert float(unit.own_temperature().detach()) == pytest.approx(0.03)
    with pytest.raises(TemperatureError):
        hardgrad.set_temperature(unit, 0.0)


def test_networks_harden_to_leaky_relus() -> None:
    model = nn.Sequential(nn.Linear(3, 4), SAU(), nn.Linear(4, 1))
    exact = hardgrad.harden(model)
    assert isinstance(exact[1], nn.LeakyReLU)
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(exact(x), model(x), atol=0.3)
    hardgrad.set_temperature(model, 1e-6)
    assert torch.allclose(exact(x), model(x), atol=1e-5)


@pytest.mark.parametrize("kernel", ["gaussian", "logistic", "laplace", "box", "triangle"])
def test_smoothed_staircase_hardens_to_the_exact_one(kernel: str) -> None:
    unit = SmoothedActivation([-0.5, 0.5], [0, 0, 0], kernel, 0.01, jumps=[1, 1], offset=-1.0)
    exact = unit.harden()
    away = (X.abs() - 0.5).abs() > 0.15
    assert isinstance(exact, PiecewiseLinear)
    assert torch.equal(exact(X)[away], (torch.floor(X + 0.5).clamp(-1, 1))[away])
    assert torch.allclose(unit(X)[away], exact(X)[away], atol=1e-3)
    assert torch.equal(unit(X, mode="hard"), exact(X))
    copy = SmoothedActivation([0, 1], [0, 0, 0], kernel, offset=-1.0)
    copy.load_state_dict(unit.state_dict())
    assert torch.equal(copy(X), unit(X))


def test_arguments_are_checked_when_the_module_is_made() -> None:
    with pytest.raises(TemperatureError):
        SAU(temperature=-1.0)
    with pytest.raises(ParameterError, match="finite"):
        SAU(float("nan"))
    with pytest.raises(ParameterError, match="kernel='cubic'"):
        SmoothedActivation([0], [0, 1], "cubic")
    with pytest.raises(InputError, match="k \\+ 1 slopes"):
        SmoothedActivation([0], [0, 1, 2])
