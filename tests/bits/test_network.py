"""Binary networks against their packed form: folding, signs of scales, constant units, batch statistics, what cannot be packed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import hardgrad
from hardgrad.bits import (
    BinaryLinear,
    BinaryNetwork,
    PackedNetwork,
    estimate_batch_norm,
    measure_gap,
)
from hardgrad.core.bit_words import pack_bits
from hardgrad.core.errors import HardenError, InputError

X = torch.randn(400, 6, generator=torch.Generator().manual_seed(0))


def shaken(network: BinaryNetwork, seed: int = 0) -> BinaryNetwork:
    """The network with batch normalisation as training could leave it: every sign of gamma, and one that is 0."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for norm in (m for m in network.modules() if isinstance(m, nn.BatchNorm1d)):
            norm.weight.normal_(generator=generator)
            norm.weight[0] = 0.0
            norm.bias.normal_(generator=generator)
            norm.running_mean.normal_(0.0, 3.0, generator=generator)
            norm.running_var.uniform_(0.5, 20.0, generator=generator)
    return network.eval()


def inner_bits(network: BinaryNetwork, X: torch.Tensor) -> list[np.ndarray]:
    """The inputs of every layer that takes signs, as the torch network computes them."""
    found: list[np.ndarray] = []
    for layer in network.layers:
        if isinstance(layer, BinaryLinear) and layer.activation_surrogate is not None:
            found.append((X >= 0).numpy())
        X = layer(X)
    return found


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"activation_surrogate": "clipped"},
        {"activation_surrogate": "reste", "scale": "mean"},
        {"activation_surrogate": "bireal", "scale": "channel"},
    ],
)
def test_packed_scores_are_those_of_the_network(options: dict[str, Any], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    network = shaken(BinaryNetwork.mlp((6, 70, 33, 4), generator=generator, **options), seed)
    if "scale" in options and options["scale"] == "channel":
        with torch.no_grad():
            network.layers[0].alpha.neg_()  # the sign of a scale turns a threshold round
    packed = hardgrad.harden(network)
    assert isinstance(packed, PackedNetwork)
    with torch.no_grad(), hardgrad.mode("hard"):
        expected = network.double()(X.double()).numpy()
        bits = inner_bits(network, X.double())
    assert np.allclose(packed.scores(X.numpy()), expected, rtol=1e-5, atol=1e-4)
    if bits:
        layer, (cut, direction) = packed.layers[0], packed.thresholds(0)
        product = layer.dot(X.numpy())
        assert np.array_equal(np.where(direction > 0, product >= cut, product <= cut), bits[0])


def test_integer_thresholds_decide_as_the_float_network_does_on_every_input() -> None:
    """Exhaustively: 2^9 inputs of bits, every unit, with gammas of both signs, zero gammas and limits that are hit exactly."""
    every = torch.tensor(
        [[1.0 if n >> i & 1 else -1.0 for i in range(9)] for n in range(512)], dtype=torch.float64
    )
    generator = torch.Generator().manual_seed(2)
    first = BinaryLinear(9, 40, bias=True, activation_surrogate="clipped", generator=generator)
    norm = nn.BatchNorm1d(40)
    second = BinaryLinear(40, 2, bias=False, activation_surrogate="clipped", generator=generator)
    network = shaken(BinaryNetwork(first, norm, second)).double()
    with torch.no_grad():
        first.bias.normal_(generator=generator)
        norm.bias[5:15] = 0.0
        norm.running_mean[5:15] = torch.arange(-9.0, 11.0, 2.0).double() + first.bias[5:15]
        norm.weight[:2] = 0.0
        norm.bias[:2] = torch.tensor([0.5, -0.5])
        expected = (norm(first(every)) >= 0).numpy()
    packed = network.harden()
    limit, direction = packed.thresholds(0)
    assert limit.dtype == np.int32 and packed.binary_input and np.abs(limit).max() <= 10
    dot = packed.layers[0].dot_bits(pack_bits(every.numpy() > 0))
    bits = np.where(direction > 0, dot >= limit, dot <= limit)
    tied = np.isin(np.arange(40), np.arange(5, 15))
    assert np.array_equal(bits[:, ~tied], expected[:, ~tied])
    assert bits[:, 0].all() and not bits[:, 1].any()
    # Exact ties count as +1, as sign(0) does; in float64 the network's own sum may round to either side of 0.
    gamma = norm.weight.detach().numpy()[5:15]
    level = np.arange(-9, 11, 2)
    above = np.where(gamma > 0, dot[:, 5:15] >= level, dot[:, 5:15] <= level)
    assert np.array_equal(bits[:, 5:15], above)


def test_a_network_without_normalisation_and_with_a_bias() -> None:
    generator = torch.Generator().manual_seed(0)
    network = BinaryNetwork(
        BinaryLinear(6, 8, generator=generator), nn.Dropout(), nn.ReLU(), BinaryLinear(8, 2, scale="mean", generator=generator)
    ).eval()  # fmt: skip
    with torch.no_grad():
        network.layers[0].bias.normal_(generator=generator)
        assert np.allclose(network.harden().scores(X.numpy()), network(X).numpy(), atol=1e-4)


def test_statistics_of_the_bits_in_place_of_those_of_the_draws() -> None:
    network = BinaryNetwork.mlp((6, 16, 3), sampling="stochastic", generator=torch.Generator().manual_seed(0))
    network.train()(X)
    with pytest.raises(HardenError, match=r"harden\(calibration=X\)"):
        hardgrad.harden(network)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    packed = network.harden(calibration=X)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    scores = packed.scores(X.numpy())
    assert np.allclose(scores.mean(0), 0.0, atol=3e-3) and np.allclose(scores.std(0), 1.0, atol=1e-2)


def test_estimated_statistics_are_the_mean_and_the_variance_of_the_rows() -> None:
    network = nn.Sequential(nn.BatchNorm1d(6), nn.ReLU())
    estimate_batch_norm(network, X)
    assert torch.allclose(network[0].running_mean, X.mean(0), atol=1e-6)
    assert torch.allclose(network[0].running_var, X.var(0), atol=1e-5)
    assert network[0].momentum == 0.1 and not network.training
    with pytest.raises(InputError, match="got 1 rows"):
        estimate_batch_norm(network, X[:1])


def test_the_gap_is_measured_against_the_real_weights() -> None:
    network = BinaryNetwork.mlp(
        (6, 16, 3), activation_surrogate="clipped", generator=torch.Generator().manual_seed(0)
    )
    estimate_batch_norm(network, X)
    report = measure_gap(network, network.harden(), X, X, np.arange(400) % 3)
    assert report.rows == 400 and report.higher_is_better and 0 < report.agreement < 1
    assert report.detail["bits_differ"] == 0


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([nn.Linear(3, 3)], "module 0 of a BinaryNetwork is a Linear out of place"),
        ([BinaryLinear(3, 3), nn.Tanh()], "module 1 of a BinaryNetwork is a Tanh"),
        ([nn.BatchNorm1d(3)], "BatchNorm1d out of place"),
        ([BinaryLinear(3, 3), nn.ReLU(), nn.BatchNorm1d(3)], "BatchNorm1d out of place"),
        ([BinaryLinear(3, 3), nn.BatchNorm1d(3, track_running_stats=False)], "without running statistics"),
        ([BinaryLinear(3, 3), nn.ReLU(), BinaryLinear(3, 3, activation_surrogate="clipped")], "all .1"),
        ([BinaryLinear(3, 3), BinaryLinear(3, 3, activation_surrogate="sine")], "no threshold"),
        ([BinaryLinear(3, 3, activation_surrogate="sine")], "module 0 takes the sign of a sine"),
        ([], "nothing to pack"),
    ],
)
def test_what_cannot_be_packed_says_so(layers: list[nn.Module], message: str) -> None:
    with pytest.raises(HardenError, match=message):
        BinaryNetwork(*layers).eval().harden()


def test_a_diverged_network_is_not_packed() -> None:
    network = BinaryNetwork.mlp((3, 2))
    with torch.no_grad():
        network.layers[1].running_mean.fill_(float("inf"))
    with pytest.raises(HardenError, match="diverged"):
        network.harden()
