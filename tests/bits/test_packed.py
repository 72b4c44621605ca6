"""Packed layers and networks: integers against matrix products, engines bit for bit, thresholds, damaged arrays, no torch."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packed_examples import random_network

from hardgrad.bits import PackedLinear
from hardgrad.core.bit_words import pack_bits
from hardgrad.core.errors import ArtifactError, InputError, ParameterError


@given(st.integers(1, 200), st.integers(1, 9), st.integers(0, 5), st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_products_of_packed_signs_are_those_of_matrices(
    inputs: int, units: int, rows: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    weights, x = rng.choice([-1, 1], (units, inputs)), rng.choice([-1, 1], (rows, inputs))
    layer = PackedLinear.of(weights)
    for engine in ("numpy", "numba"):
        found = layer.dot_bits(pack_bits(x > 0), engine=engine)
        assert found.dtype == np.int32 and np.array_equal(found, x @ weights.T)
    real = rng.normal(size=(rows, inputs))
    exact = layer.dot(real)
    assert np.allclose(exact, real @ weights.T)
    assert np.array_equal(layer.dot(real, engine="numba"), exact)


NETWORKS = {
    "relu": ((70, 9, 3), ("relu", "identity"), False),
    "bits": ((5, 65, 64, 3), ("sign", "sign", "identity"), False),
    "bits all the way": ((6, 8, 2), ("sign", "sign"), True),
    "one": ((1, 1), ("identity",), False),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_engines_and_batches_agree_to_the_bit(name: str) -> None:
    network = random_network(0, *NETWORKS[name])
    X = np.random.default_rng(1).normal(size=(300, network.widths[0]))
    exact = network.scores(X)
    assert np.array_equal(network.scores(X, engine="numba"), exact)
    assert np.array_equal(np.concatenate([network.scores(row[None]) for row in X]), exact)
    assert np.array_equal(network.predict(X), exact)
    assert network.scores(X[:0]).shape == (0, network.widths[-1])
    assert network.scores(X[:0], engine="numba").shape == (0, network.widths[-1])


@pytest.mark.parametrize("name", NETWORKS)
def test_the_network_is_what_its_documentation_says(name: str) -> None:
    network = random_network(2, *NETWORKS[name])
    x = np.random.default_rng(3).normal(size=(50, network.widths[0]))
    found = network.scores(x)
    at = 0
    if network.binary_input:
        x = np.where(x >= 0, 1.0, -1.0)
    for number, (layer, activation) in enumerate(zip(network.layers, network.activations, strict=True)):
        product = x @ layer.signs
        if activation == "sign":
            limit, direction = network.thresholds(number)
            assert limit.dtype == (np.int32 if network.takes_bits[number] else np.float64)
            x = np.where(np.where(direction > 0, product >= limit, product <= limit), 1.0, -1.0)
            continue
        units = slice(at, at + len(layer.words))
        x = network.scale[units].astype(float) * product + network.shift[units]
        x = np.maximum(x, 0) if activation == "relu" else x
        at = units.stop
        with pytest.raises(ParameterError, match="only 'sign' has thresholds"):
            network.thresholds(number)
    assert np.allclose(found, x)


def test_a_weight_is_a_bit() -> None:
    network = random_network(0, (128, 64, 10), ("sign", "identity"))
    assert network.words.nbytes * 32 == 4 * (128 * 64 + 64 * 10)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"words": np.zeros(3, np.int64)}, "must be uint64"),
        ({"scale": np.full(3, np.nan, np.float32)}, "NaN"),
        ({"threshold": np.zeros(1, np.int32)}, "shape"),
        ({"direction": np.zeros(73, np.int8)}, "neither 1 nor -1"),
        ({"widths": (5,)}, "widths"),
        ({"widths": (5, 8, 65, True)}, "widths"),
        ({"widths": (2**30, 1)}, "widths"),
        ({"activations": ("sign", "sign")}, "activations"),
        ({"activations": ("sign", "sign", "tanh")}, "activations"),
        ({"binary_input": 1}, "binary_input"),
        ({"words": np.full(8 + 65 + 3 * 2, 2**64 - 1, np.uint64)}, "bits beyond its 5 inputs"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change: dict[str, Any], message: str) -> None:
    network = random_network(0, (5, 8, 65, 3), ("sign", "sign", "identity"))
    with pytest.raises(ArtifactError, match=message):
        dataclasses.replace(network, **change)


def test_bad_rows_and_engines_say_what_is_expected() -> None:
    network = random_network(0, (5, 3), ("identity",))
    for bad in (
        np.zeros((2, 4)),
        np.zeros(5),
        np.full((1, 5), np.nan),
        np.full((1, 5), np.inf),
        np.full((1, 5), 1e200),
    ):
        with pytest.raises(InputError, match=r"expected \(n, 5\)"):
            network.scores(bad)
    with pytest.raises(ParameterError, match="got engine='gpu'"):
        network.scores(np.zeros((1, 5)), engine="gpu")
