"""Exponents with known values, verdicts in their order, estimators against each other."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from hardgrad.core.errors import InputError, ParameterError
from hardgrad.gradients import combined, evolution_strategies, truncated_unroll
from hardgrad.gradients.diagnostics import chaos_report, lyapunov_exponents


def logistic(s: Tensor, r: Tensor) -> Tensor:
    return r * s * (1 - s)


def double(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_exponents_of_a_linear_map_are_the_logarithms_of_its_eigenvalues() -> None:
    A = torch.tensor([[2.0, 1.0], [0.0, 0.5]], dtype=torch.float64)
    found = lyapunov_exponents(lambda s, a: a @ s, double(1.0, 1.0), A, 60, count=2)
    assert found == pytest.approx((math.log(2), -math.log(2)), abs=1e-6)


@pytest.mark.parametrize(
    ("r", "horizon", "verdict"),
    [(3.2, 20, "stable"), (3.9, 60, "chaotic"), (3.9, 6, "growing"), (3.9, 1, "marginal")],
)
def test_verdicts(r: float, horizon: int, verdict: str) -> None:
    report = chaos_report(
        logistic, double(0.3), double(r), horizon, torch.sum, samples=8, horizons=[1, horizon]
    )
    assert report.verdict == verdict and len(report.spectral_radii) == horizon
    assert report.spectral_radii[0] == pytest.approx(abs(r * (1 - 0.6)))


def test_a_stable_system_loses_nothing_and_a_chaotic_one_is_truncated_at_its_own_time() -> None:
    g = torch.Generator().manual_seed(0)
    calm, wild = (
        chaos_report(logistic, double(0.3), double(r), 30, torch.sum, sigma=1e-3, samples=50, horizons=[30], generator=g)
        for r in (2.8, 3.9)
    )  # fmt: skip
    assert calm.window == 30 and calm.truncated_cosine == calm.clipped_cosine == pytest.approx(1.0)
    assert wild.window == round(1 / wild.lyapunov)


def test_the_spectral_radius_of_a_large_state_is_that_of_its_matrix() -> None:
    A = torch.randn(80, 80, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) / 10
    start = torch.ones(80, dtype=torch.float64)
    report = chaos_report(lambda s, a: a @ s, start, A, 1, torch.sum, samples=2)
    assert report.spectral_radii[0] == pytest.approx(float(torch.linalg.eigvals(A).abs().max()))


def test_estimators_agree_on_a_smooth_function() -> None:
    g = torch.Generator().manual_seed(0)
    theta = double(1.0, -2.0)
    for estimate in (
        evolution_strategies(lambda t: t.square().sum(), theta, 0.1, 4000, generator=g),
        evolution_strategies(lambda t: t.square().sum(), theta, 0.1, 4000, antithetic=False, generator=g),
        combined(lambda t: t.square().sum(), theta, 0.1, 200, generator=g),
    ):
        assert estimate.tolist() == pytest.approx([2.0, -4.0], abs=0.25)


def test_bad_input() -> None:
    with pytest.raises(ParameterError, match="sigma=0"):
        evolution_strategies(torch.sum, double(1.0), 0.0, 3)
    with pytest.raises(ParameterError, match="window=3"):
        truncated_unroll(lambda s: s, double(1.0), 2, 3)
    with pytest.raises(ParameterError, match="horizon=0"):
        chaos_report(logistic, double(0.3), double(3.0), 0, torch.sum)
    with pytest.raises(InputError, match="one finite state"):
        chaos_report(logistic, double(float("nan")), double(3.0), 3, torch.sum)
