"""Layers on lattices: soft, straight-through and exact agree where they must, and the exact one survives what is done to modules."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import hardgrad
from hardgrad.bits import ExactLatticeLinear, LatticeLinear, LatticeQuantizer
from hardgrad.core.errors import ArtifactError, InputError, ParameterError


def layer(
    bits: float = 2, shape: tuple[int, int] = (12, 20), companding: str = "mu", **options
) -> LatticeLinear:
    generator = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(shape, generator=generator), torch.randn(shape[0], generator=generator)
    allocation = "salience" if bits % 1 else "uniform"
    quantizer = LatticeQuantizer(4, bits, 8, max_iter=5, companding=companding, allocation=allocation)
    return LatticeLinear(weight, bias, quantizer.fit(weight).quantize(), **options)


x = torch.randn(6, 20, generator=torch.Generator().manual_seed(1))
KINDS = [{}, {"bits": 3}, {"bits": 2.4}, {"companding": "none"}, {"rounding": "rounding"}]


@pytest.mark.parametrize("options", KINDS)
def test_exact_is_what_evaluation_and_straight_through_compute(options: dict) -> None:
    soft = layer(**options)
    exact = soft.harden()
    expected = exact(x)
    assert torch.equal(soft.eval()(x), expected)
    assert torch.equal(soft.train()(x), expected)
    assert torch.equal(soft(x, mode="hard"), expected)
    assert torch.equal(exact.weight, torch.from_numpy(exact.codes.decode()))
    np.testing.assert_allclose(
        exact.codes.matmul(x.numpy()) + soft.bias.detach().numpy(), expected.numpy(), rtol=1e-4, atol=1e-5
    )
    assert not list(exact.parameters()) and isinstance(hardgrad.harden(soft), ExactLatticeLinear)


@pytest.mark.parametrize("options", KINDS)
@torch.no_grad()
def test_soft_becomes_exact_as_it_cools(options: dict) -> None:
    soft = layer(**options)
    hard = soft(x, mode="hard")
    temperatures = (0.3, 0.1, 0.03, 1e-4)
    gaps = [float((soft(x, mode="soft", temperature=t) - hard).abs().mean()) for t in temperatures]
    assert gaps == sorted(gaps, reverse=True) and gaps[-1] < 0.02 * gaps[0]
    with hardgrad.mode("soft", temperature=0.3):
        assert float((soft(x) - hard).abs().mean()) == pytest.approx(gaps[0])


def test_many_bits_are_nearly_the_real_weights() -> None:
    soft = layer(bits=8)
    assert float((soft.lattice_weight(mode="hard") - soft.real_weight).abs().mean().detach()) < 0.02


@pytest.mark.parametrize("rounding", ["nearest_plane", "rounding"])
def test_soft_gradients_are_those_of_finite_differences(rounding: str) -> None:
    soft = layer(bits=3, shape=(2, 8), rounding=rounding).double()
    soft.scales.mul_(1.5)  # away from the clipping of the indices

    def out(weight: torch.Tensor, generators: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = torch.func.functional_call(
            soft, {"real_weight": weight, "generators": generators}, (x[:2, :8].double(),),
            {"mode": "soft", "temperature": 0.3},
        )  # fmt: skip
        return found

    weight, generators = (p.detach().clone().requires_grad_() for p in (soft.real_weight, soft.generators))
    value = out(weight, generators).square().sum()
    value.backward()
    for parameter in (weight, generators):
        direction = torch.randn(
            parameter.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64
        )
        moved = []
        for sign in (1, -1):
            args = [
                p.detach() + sign * 1e-6 * direction if p is parameter else p.detach()
                for p in (weight, generators)
            ]
            moved.append(float(out(*args).square().sum().detach()))
        slope = (moved[0] - moved[1]) / 2e-6
        assert float((parameter.grad * direction).sum()) == pytest.approx(slope, rel=1e-4)


def test_training_lowers_the_loss_of_the_exact_layer() -> None:
    soft = layer()
    target = nn.functional.linear(x, soft.real_weight.detach(), soft.bias.detach())

    def exact_loss() -> float:
        with torch.no_grad():
            return float((soft.harden()(x) - target).square().mean())

    before = exact_loss()
    optimiser = torch.optim.Adam(soft.parameters(), lr=1e-2)
    for _ in range(100):
        optimiser.zero_grad()
        (soft(x) - target).square().mean().backward()
        optimiser.step()
    assert exact_loss() < 0.5 * before


def test_the_exact_layer_is_saved_with_its_model_and_as_an_artifact(tmp_path: Path) -> None:
    exact, other = layer(bits=2.4).harden(), layer(bits=2.4)
    with torch.no_grad():
        other.real_weight.neg_()
    torch.save(exact.state_dict(), tmp_path / "state.pt")
    loaded = other.harden()
    assert not torch.equal(loaded(x), exact(x))
    loaded.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert torch.equal(loaded(x), exact(x)) and loaded.codes.equals(exact.codes)
    codes = hardgrad.load(exact.codes.save(tmp_path / "codes.safetensors"))
    assert torch.equal(ExactLatticeLinear(codes, exact.bias)(x), exact(x))
    broken = exact.state_dict() | {"_extra_state": {"shape": [12, 20], "group_size": 8, "bits": [1, 8, 1]}}
    with pytest.raises(ArtifactError):
        loaded.load_state_dict(broken)


def test_half_precision_leaves_the_codes_as_they_are() -> None:
    exact = layer().harden()
    before = exact.codes
    half = copy.deepcopy(exact).half()
    assert half.codes.equals(before) and half(x.half()).dtype == torch.float16
    torch.testing.assert_close(half(x.half()).float(), exact(x), rtol=2e-2, atol=5e-2)
    assert copy.deepcopy(exact).double()(x.double()).dtype == torch.float64
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert exact(x).dtype == torch.bfloat16


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's own
def test_both_faces_compile() -> None:
    torch.compiler.reset()
    soft = layer()
    for module in (soft, soft.harden()):
        compiled = torch.compile(module, backend="eager", fullgraph=True)
        torch.testing.assert_close(compiled(x), module(x))


def test_leading_dimensions_and_no_bias() -> None:
    soft = layer()
    soft.bias = None
    assert soft(x.reshape(2, 3, 20)).shape == soft.harden()(x.reshape(2, 3, 20)).shape == (2, 3, 12)
    assert soft(x[:0]).shape == (0, 12)
    assert "in_features=20" in repr(soft) and "bits=2" in repr(soft.harden())


def test_what_does_not_fit_is_refused() -> None:
    weight = torch.randn(4, 8)
    codes = LatticeQuantizer(4, 2, 8, max_iter=1).fit(weight).quantize()
    with pytest.raises(InputError, match="shape"):
        LatticeLinear(weight[:3], None, codes)
    with pytest.raises(ParameterError, match="rounding"):
        LatticeLinear(weight, None, codes, rounding="closest")
