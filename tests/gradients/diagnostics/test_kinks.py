"""audit_kinks and check_gradient: torch's conventions at kinks, kinks that nobody feels, bounds, singular points, wrong gradients."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from hardgrad.core.errors import InputError, ParameterError, UnsupportedError
from hardgrad.gradients.diagnostics import audit_kinks, check_gradient, nondifferentiable_density_bound


def at(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize(
    ("f", "x"),
    [
        (nn.ReLU(), 0.0), (nn.ReLU6(), 6.0), (nn.LeakyReLU(0.1), 0.0), (nn.Hardtanh(-2, 2), -2.0), (nn.Hardsigmoid(), 3.0),
        (nn.Softshrink(0.5), 0.5), (nn.ELU(2.0), 0.0), (torch.abs, 0.0), (torch.relu, 0.0), (lambda v: v.clamp(min=1.0), 1.0),
    ],
)  # fmt: skip
def test_a_kink_is_found_and_torchs_derivative_there_is_clarkes(
    f: Callable[[Tensor], Tensor], x: float
) -> None:
    f = f.eval() if isinstance(f, nn.Module) else f
    audit = audit_kinks(f, at(x, x + 0.25))
    assert (audit.at_kink, audit.mattering) == (1, 1)
    assert audit_kinks(f, at(x + 0.25)).verdict == "differentiable"
    assert check_gradient(lambda v: f(v).sum(), at(x)).verdict == "clarke"


@pytest.mark.parametrize("f", [nn.ELU(), nn.GELU(), nn.LeakyReLU(1.0)])
def test_what_is_smooth_at_zero_has_no_kink(f: nn.Module) -> None:
    assert audit_kinks(f.eval(), at(0.0)).at_kink == 0


@pytest.mark.parametrize(
    "f", [lambda v: v.amax(), lambda v: v.max(dim=0).values, torch.max, lambda v: torch.maximum(v[:1], v[1:])]
)
def test_ties(f: Callable[[Tensor], Tensor]) -> None:
    assert audit_kinks(f, at(1.0, 1.0)).mattering == 1
    assert audit_kinks(f, at(1.0, 2.0)).at_kink == 0
    assert check_gradient(lambda v: f(v).sum(), at(1.0, 1.0)).verdict == "clarke"


def test_ties_in_pools() -> None:
    x = torch.tensor([[[1.0, 1.0, 0.0, 2.0], [0.0, 0.0, 1.0, 0.0]]], dtype=torch.float64, requires_grad=True)
    assert audit_kinks(nn.MaxPool2d(2).eval(), x.unsqueeze(0)).at_kink == 1
    assert audit_kinks(nn.MaxPool1d(2).eval(), x).at_kink == 2


def test_a_kink_that_nobody_feels_is_harmless() -> None:
    net = (
        nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1)).double().eval()
    )
    with torch.no_grad():
        net[0].bias.zero_()
        net[2].bias.fill_(-1.0)  # dead units between the kinks and the output
    audit = audit_kinks(net, torch.zeros(1, 2, dtype=torch.float64))
    assert (audit.at_kink, audit.mattering, audit.verdict) == (3, 0, "differentiable")
    assert [part.name for part in audit.modules] == ["1 (ReLU)", "3 (ReLU)"]


def test_biases_of_their_own_are_asked_for() -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)).eval()
    net[0].bias.data.zero_()
    assert audit_kinks(net, torch.zeros(1, 2)).verdict == "nondifferentiable"
    shared = audit_kinks(net, torch.zeros(2, 2))
    assert shared.verdict == "possibly_incorrect" and not shared.assumption_met
    conv = nn.Sequential(nn.Conv1d(1, 1, 1), nn.ReLU()).eval()
    conv[0].bias.data.zero_()
    assert audit_kinks(conv, torch.zeros(1, 1, 2)).verdict == "possibly_incorrect"


def test_roots_of_zero_are_no_kinks() -> None:
    audit = audit_kinks(lambda v: v.sqrt().sum(), at(0.0, 1.0))
    assert audit.at_kink == 0 and len(audit.singular) == 1


def test_slopes_along_all_axes_do_not_make_a_derivative() -> None:
    check = check_gradient(lambda v: (v[0] + v[1]).relu() - (v[0] - v[1]).relu(), at(0.0, 0.0))
    assert not check.differentiable
    check = check_gradient(lambda v: (v[0] * v[1]).sin() + v[0] ** 3, at(0.3, -0.7))
    assert check.verdict == "correct" and check.numeric == pytest.approx(check.automatic, abs=1e-7)


def test_bound() -> None:
    net = nn.Sequential(nn.Linear(4, 8), nn.Hardtanh(), nn.Linear(8, 1))
    x = torch.zeros(1, 4)
    assert nondifferentiable_density_bound(net, torch.float32, x) == 16 / 4278190080
    assert nondifferentiable_density_bound(net, torch.bfloat16, x) == 16 / 65280
    assert nondifferentiable_density_bound(net, 256, x) == 1 / 16
    with pytest.raises(ParameterError, match="int64"):
        nondifferentiable_density_bound(net, torch.int64, x)


def test_bad_input_and_forms() -> None:
    net = nn.Sequential(nn.Linear(2, 1), nn.ReLU())
    with pytest.raises(UnsupportedError, match="eval"):
        audit_kinks(net, torch.zeros(1, 2))
    with pytest.raises(ParameterError, match="atol=-1"):
        audit_kinks(net.eval(), torch.zeros(1, 2), atol=-1)
    with pytest.raises(InputError, match="one number"):
        audit_kinks(net.eval(), torch.zeros(2, 2), loss_fn=lambda y: y)
    with pytest.raises(InputError, match="one number"):
        check_gradient(lambda v: v, at(0.0, 1.0))
    report = audit_kinks(net.eval(), torch.zeros(1, 2), loss_fn=lambda y: y.sum())
    assert report.to_dict()["modules"][0]["function"] == "relu" and "mattering" in report._repr_html_()
