"""compare_estimators: figures against closed forms, the exact gradient against autograd, and where it cannot be enumerated."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor

from hardgrad.core.errors import InputError, ParameterError
from hardgrad.gradients import Reinforce, compare_estimators


def bandit(b: Tensor) -> Tensor:
    return (b[:, 0] - 0.45) ** 2


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_figures_of_the_bandit_are_the_closed_ones() -> None:
    report = compare_estimators(
        bandit, torch.zeros(1, dtype=torch.float64), distribution="bernoulli", generator=generator()
    )
    assert report.reference == "enumeration" and report.gradient_length == pytest.approx(0.025)
    through = report["straight_through"]
    assert through.bias == pytest.approx(0.075, abs=4 * through.bias_error)
    assert through.variance == pytest.approx(1.0, rel=0.05)
    assert through.mean_squared_error == pytest.approx(through.bias**2 + through.variance)
    assert report["reinforce"].variance == pytest.approx(0.12625**2, rel=0.05)
    for name in ("reinforce", "rebar", "reinforce, running baseline"):
        assert report[name].bias <= 4 * report[name].bias_error
    assert report["reinforce, running baseline"].variance < 0.05 * report["reinforce"].variance
    with pytest.raises(KeyError):
        report["noisy_rectifier"]


def test_the_exact_gradient_of_several_units() -> None:
    logits = torch.tensor([[0.3, -0.4, 1.0], [0.0, 0.5, -torch.inf]], dtype=torch.float64)
    values = torch.randn(3, 3, generator=generator(), dtype=torch.float64)

    def loss(z: Tensor) -> Tensor:
        return torch.einsum("bi,ij,bj->b", z[:, 0], values, z[:, 1])

    report = compare_estimators(
        loss, logits, estimators=["reinforce", "gumbel"], samples=4000, generator=generator()
    )
    leaf = logits.clone().requires_grad_()
    p = torch.softmax(leaf, -1)
    (exact,) = torch.autograd.grad(p[0] @ values @ p[1], leaf)
    assert report.gradient_length == pytest.approx(float(exact.norm()))
    assert report["reinforce"].bias <= 4 * report["reinforce"].bias_error


def test_too_many_outcomes_are_sampled() -> None:
    logits = torch.zeros(13)
    report = compare_estimators(
        lambda b: (b.mean(-1) + 1) ** 2, logits, distribution="bernoulli", estimators={"mine": Reinforce(2.0)},
        samples=500, generator=generator(),
    )  # fmt: skip
    assert report.reference == "samples"
    # E[(m + 1)^2] with m the mean of 13 units: the derivative by one logit at p = 1/2.
    slope = 0.25 * (2 * 1.5 / 13)
    assert report.gradient_length == pytest.approx(13**0.5 * slope, rel=0.1)


def test_a_report_can_be_read_written_and_drawn() -> None:
    report = compare_estimators(
        bandit, torch.zeros(1), distribution="bernoulli", samples=50, generator=generator()
    )
    assert json.loads(json.dumps(report.to_dict()))["samples"] == 50
    assert "rebar" in str(report) and "<pre>" in report._repr_html_()
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    assert len(report.plot().collections) == len(report.rows)


def test_bad_calls() -> None:
    with pytest.raises(InputError, match="one for each"):
        compare_estimators(lambda b: b.mean(), torch.zeros(2), distribution="bernoulli", samples=10)
    with pytest.raises(ParameterError, match="samples=1"):
        compare_estimators(bandit, torch.zeros(1), samples=1)
    with pytest.raises(ParameterError, match="distribution='poisson'"):
        compare_estimators(bandit, torch.zeros(1), distribution="poisson")
    with pytest.raises(ParameterError, match="estimator='magic'"):
        compare_estimators(bandit, torch.zeros(1), distribution="bernoulli", estimators=["magic"])
