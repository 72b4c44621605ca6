"""The baselines of the lattice reproduction, against torch's own rounding and against what is known of Gaussians."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from hardgrad.reproductions.lattice_quantization import (
    SOURCES,
    UNIFORM,
    _best_uniform,
    _draw,
    _lloyd_max,
    _pairs,
    _per_channel,
)


@pytest.mark.parametrize("symmetric", [True, False])
def test_per_channel_rounding_is_that_of_torch(symmetric: bool) -> None:
    weight = torch.randn(6, 40, generator=torch.Generator().manual_seed(0))
    net = nn.Sequential(nn.Linear(40, 6))
    net[0].weight.data = weight.clone()
    found = _per_channel(net, symmetric)[0].weight
    low, high = (-2, 1) if symmetric else (0, 3)
    spread = weight.amax(1).clamp(min=0) - weight.amin(1).clamp(max=0)
    scale = 2 * weight.abs().amax(1) / 3 if symmetric else spread / 3
    zero = torch.zeros(6) if symmetric else -(weight.amin(1).clamp(max=0) / scale).round()
    expected = torch.fake_quantize_per_channel_affine(weight, scale, zero.int(), 0, low, high)
    inside = weight.abs() < weight.abs().amax(
        dim=1, keepdim=True
    )  # the largest is half way between two levels
    torch.testing.assert_close(found.detach()[inside], expected[inside])
    assert torch.equal(net[0].weight, weight)


def test_scalar_quantisers_of_a_gaussian_are_those_of_the_tables() -> None:
    x = _draw("Gaussian", 16384, 99)
    step, error = _best_uniform(x)
    assert step == pytest.approx(0.9957, rel=0.02) and error == pytest.approx(UNIFORM, rel=0.02)  # Max, 1960
    assert _lloyd_max(x) == pytest.approx(0.1175, rel=0.02)
    assert _pairs(x, 0) < _lloyd_max(x)


@pytest.mark.parametrize("name", SOURCES)
def test_sources_have_unit_variance_and_the_correlation_they_say(name: str) -> None:
    vectors = _draw(name, 16384, 98).numpy().reshape(-1, 8).astype(np.float64)
    places = np.arange(8)
    expected = 0.8 ** np.abs(places[:, None] - places) if name.endswith("correlated") else np.eye(8)
    np.testing.assert_allclose(vectors.T @ vectors / len(vectors), expected, atol=0.06)
