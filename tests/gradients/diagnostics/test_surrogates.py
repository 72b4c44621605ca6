"""Error and instability of surrogates: closed forms, the trade-off of ReSTE, a surrogate that is beaten, the plot."""

from __future__ import annotations

import pytest
import torch

from hardgrad.core.errors import InputError, ParameterError
from hardgrad.functional import binary_surrogate
from hardgrad.gradients.diagnostics import estimating_error, gradient_instability, surrogate_equilibrium

X = torch.linspace(-1.5, 1.5, 100_001, dtype=torch.float64)
EXPONENTS = {
    1.0: (0.500, 0.0),
    1.5: (0.404, 0.389),
    2.0: (0.342, 0.672),
    3.0: (0.263, 1.067),
    5.0: (0.181, 1.508),
}


def test_reste_trades_error_for_stability_as_its_closed_forms_say() -> None:
    report = surrogate_equilibrium({str(o): binary_surrogate("reste", o=o) for o in EXPONENTS}, X)
    assert report.verdict == "trade_off"
    for point, (error, spread) in zip(report.points, EXPONENTS.values(), strict=True):
        assert point.error == pytest.approx(error, abs=2e-3)
        assert point.instability**0.5 == pytest.approx(spread, abs=2e-3)


def test_a_surrogate_that_is_worse_on_both_counts_is_seen() -> None:
    x = torch.linspace(-3.0, 3.0, 10_001)
    known = {"wide": binary_surrogate("bireal", temperature=3.0), "sine": binary_surrogate("sine")}
    report = surrogate_equilibrium(known, x)
    wide, sine = report.points
    assert report.verdict == (
        "dominated" if wide.error < sine.error and wide.instability < sine.instability else "trade_off"
    )
    assert sine.instability > 10 * wide.instability
    worse = surrogate_equilibrium(
        {"narrow": binary_surrogate("clipped", temperature=0.1), "identity": binary_surrogate("identity")}, 0.01 * x
    )  # fmt: skip
    assert worse.verdict == "trade_off"


def test_the_gradient_is_that_of_the_loss() -> None:
    weight = torch.linspace(1.0, 2.0, 101)
    report = surrogate_equilibrium(
        {"identity": binary_surrogate("identity")}, torch.linspace(-1, 1, 101), lambda s: (weight * s).sum()
    )
    assert report.points[0].instability == pytest.approx(float(weight.double().var(correction=0)))


def test_measures() -> None:
    g = torch.tensor([-1.0, 2.0, -3.0])
    assert gradient_instability(g) == pytest.approx(2 / 3) and gradient_instability(g, "mean") == 2.0
    assert estimating_error(
        binary_surrogate("sine", freq=1.0), torch.tensor([torch.pi / 2])
    ) == pytest.approx(0.0, abs=1e-6)


def test_plot_has_a_point_for_each() -> None:
    pytest.importorskip("matplotlib").use("Agg")
    report = surrogate_equilibrium({name: binary_surrogate(name) for name in ("clipped", "bireal")}, X)
    assert len(report.plot().lines) == 2 and "trade_off" in report.to_json()


def test_bad_arguments_say_what_is_expected() -> None:
    with pytest.raises(InputError, match="no elements"):
        estimating_error(binary_surrogate("clipped"), torch.empty(0))
    with pytest.raises(InputError, match="no elements"):
        gradient_instability(torch.empty(0))
    with pytest.raises(ParameterError, match="measure='median'"):
        gradient_instability(X, "median")  # type: ignore[arg-type]
    for bad in ({}, {"step": binary_surrogate("bell")}):
        with pytest.raises(ParameterError, match="at least one surrogate, all of the sign"):
            surrogate_equilibrium(bad, X)
