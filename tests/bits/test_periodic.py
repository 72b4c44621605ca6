"""Periodic layers: square wave and sine, published gradients, wrapping, closed forms of the quantisation error, two stages."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

import hardgrad
from hardgrad.bits import (
    BinaryNetwork,
    PeriodicBinaryConv2d,
    PeriodicBinaryLinear,
    Recipe,
    WeightClipper,
    fit_two_stage,
    phase_penalty,
    quantization_error,
)
from hardgrad.bits.periodic import growing_strength, periodic_layers
from hardgrad.core.errors import InputError, ParameterError
from hardgrad.core.schedule import Schedule

X = torch.randn(120, 5, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > X[:, 1]).long().numpy()


def layer(**options: Any) -> PeriodicBinaryLinear:
    return PeriodicBinaryLinear(5, 40, generator=torch.Generator().manual_seed(0), **options)


def test_stage_1_is_a_sine_and_stage_2_its_sign_with_the_same_gradient() -> None:
    for stage in (1, 2):
        one = layer(stage=stage, scale=None, freq=7.0)
        wave = torch.sin(7.0 * one.weight)
        expected = wave if stage == 1 else torch.where(wave >= 0, 1.0, -1.0)
        assert torch.equal(one.binary_weight(), expected)
        one.binary_weight().sum().backward()
        assert torch.allclose(one.weight.grad, 7.0 * torch.cos(7.0 * one.weight), atol=1e-5)


def test_modes_win_over_the_stage() -> None:
    one = layer(stage=1, scale=None)
    with hardgrad.mode("hard"):
        assert torch.equal(one.binary_weight(), one.signs())
    two = layer(stage=2, scale=None)
    with hardgrad.mode("soft"):
        assert torch.equal(two.binary_weight(), torch.sin(20.0 * two.weight))


def test_first_phases_are_normal_and_scales_are_shares() -> None:
    one = PeriodicBinaryLinear(64, 500, generator=torch.Generator().manual_seed(0))
    assert float(one.weight.detach().std()) == pytest.approx(64**-0.5, rel=0.02)
    assert one.alpha.min() >= 0 and one.alpha.max() <= 1


def test_wrapping_changes_no_weight() -> None:
    one = layer(freq=20.0, scale=None)
    with torch.no_grad():
        one.weight.mul_(30.0)
        before = one.binary_weight().clone()
    WeightClipper(one)()
    assert one.weight.abs().max() <= math.pi / 20.0 * (1 + 1e-6)
    assert torch.equal(one.binary_weight(), before)


def test_a_learning_rate_is_in_radians_unless_it_is_not_to_be() -> None:
    assert layer(freq=20.0).lr_factor() == pytest.approx(1 / 20)
    assert layer(freq=20.0).lr_factor("sgd") == pytest.approx(1 / 400)
    assert layer(freq=20.0, lr_scale=None).lr_factor() == 1.0


def test_features_are_scaled_by_sample_while_training_and_signs_do_not_change() -> None:
    one = layer(activation_surrogate="bireal")
    x = (1000.0 * X).requires_grad_()
    one(x).sum().backward()
    assert (x.grad != 0).any()  # unscaled, every input would lie beyond the reach of the surrogate
    trained = one(X)
    assert torch.equal(one.eval()(X), trained)
    assert torch.isfinite(one.train()(torch.ones(2, 5))).all()  # a sample without variance


def test_a_convolution_hardens_to_the_same_bits() -> None:
    one = PeriodicBinaryConv2d(2, 3, 3, freq=10.0, activation_surrogate="bireal").eval()
    images = torch.randn(2, 2, 5, 5, generator=torch.Generator().manual_seed(0))
    with hardgrad.mode("hard"):
        assert torch.equal(hardgrad.harden(torch.nn.Sequential(one))(images), one(images))


@pytest.mark.parametrize(
    ("spread", "expected"), [(0.25, 0.0206), (0.5, 0.0618), (1.0, 0.0969), (5.0, 0.0948)]
)
def test_quantisation_error_of_normal_weights(spread: float, expected: float) -> None:
    w = torch.randn(1_000_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert quantization_error(torch.sin(spread * w)) == pytest.approx(expected, abs=1e-3)


def test_quantisation_error_of_a_module_is_that_of_its_weights() -> None:
    one = layer()
    s = torch.sin(20.0 * one.weight.detach())
    best = min(float((s - g * s.sign()).square().mean()) for g in np.linspace(0, 1, 2001))
    assert quantization_error(torch.nn.Sequential(one)) == pytest.approx(best, abs=1e-6)
    with pytest.raises(InputError, match="no sine weights"):
        quantization_error(torch.nn.Linear(2, 2))


def test_the_penalty_is_the_published_one_and_its_sign_can_be_turned() -> None:
    one = layer()
    published = 0.3 * (0.5 - 0.5 * torch.cos(2 * 20.0 * one.weight)).mean()
    assert torch.allclose(phase_penalty(one, 0.3), published, atol=1e-6)
    assert torch.allclose(phase_penalty(one, 0.3, reg_sign=-1), -published, atol=1e-6)
    assert [growing_strength(0.1, 0.5)(p) for p in (0.0, 1.0)] == pytest.approx([0.1, 0.5])
    with pytest.raises(ParameterError, match="reg_sign"):
        phase_penalty(one, reg_sign=0)  # type: ignore[arg-type]


@pytest.mark.parametrize("reg_sign", [1, -1])
def test_two_stages_end_in_signs_and_the_penalty_moves_the_error(reg_sign: Any) -> None:
    errors = {}
    for strength in (0.0, 3.0):
        network = BinaryNetwork.mlp(
            (5, 16, 2), activation_surrogate="bireal", layer=PeriodicBinaryLinear, generator=torch.Generator().manual_seed(0)
        )  # fmt: skip
        recipe = Recipe(epochs=15, learning_rate=Schedule.constant(0.1))
        schedules = (Schedule.constant(strength),) * 2
        seen = fit_two_stage(
            network, X, Y, (X, Y), stages=(recipe, recipe), strength=schedules, reg_sign=reg_sign
        )
        assert seen.final > 0.7 and seen.drop == seen.sine - seen.square
        assert all(one.stage == 2 for one in periodic_layers(network))
        packed = network.harden()
        assert (packed.scores(X.numpy()).argmax(1) == Y).mean() == pytest.approx(seen.final)
        errors[strength] = float(
            torch.stack([torch.sin(20 * p.weight).square().mean() for p in periodic_layers(network)])
            .mean()
            .detach()
        )
    assert (errors[3.0] < errors[0.0]) == (reg_sign == 1)


def test_bad_arguments_say_what_is_expected() -> None:
    for options, message in (
        ({"stage": 3}, "stage=3"),
        ({"freq": 0.0}, "freq=0.0"),
        ({"lr_scale": "glorot"}, "lr_scale='glorot'"),
    ):
        with pytest.raises(ParameterError, match=message):
            layer(**options)
    with pytest.raises(ParameterError, match="without periodic layers"):
        fit_two_stage(BinaryNetwork.mlp((5, 2)), X, Y, (X, Y))
