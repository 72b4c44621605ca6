"""Networks of bits as circuits: every input of small ones, the torch network, exact thresholds of features, scores bit for bit."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from packed_examples import packed_classifiers, random_network
from sklearn.datasets import load_digits

import hardgrad
from hardgrad.bits import BinaryMLPClassifier, BinaryNetwork, PackedClassifier, PackedNetwork
from hardgrad.core.errors import ExportError, InputTypeError
from hardgrad.logic import Circuit, CircuitModel
from hardgrad.logic.gate_ids import truth_rows
from hardgrad.logic.network_circuit import _thresholds
from hardgrad.tabular.schema import TableSchema

SHAPES: list[tuple[tuple[int, ...], tuple[str, ...]]] = [
    ((1, 1), ("sign",)),
    ((6, 8, 2), ("sign", "sign")),
    ((9, 5, 4, 3), ("sign", "sign", "sign")),
    ((10, 70, 3), ("sign", "identity")),
    ((7, 4), ("identity",)),
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(6))
def test_every_input_of_small_networks(shape: tuple[tuple[int, ...], tuple[str, ...]], seed: int) -> None:
    network = random_network(seed, *shape, binary_input=True)
    circuit = Circuit.from_network(network)
    rows = truth_rows(shape[0][0])
    expected = network.scores(np.where(rows, 1.0, -1.0)) >= 0
    assert np.array_equal(circuit.truth_table(), expected)
    small = circuit.simplify()
    assert small.n_gates <= circuit.n_gates and circuit.equivalent(small).equal
    assert np.array_equal(small.truth_table(), expected)


@pytest.mark.parametrize("limit", [-(2**31), -6, -5, -4, 0, 4, 5, 6, 2**31 - 1])
@pytest.mark.parametrize("direction", [-1, 1])
def test_limits_beyond_the_products_are_constants(limit: int, direction: int) -> None:
    network = dataclasses.replace(
        random_network(1, (5, 1), ("sign",), binary_input=True),
        threshold=np.array([limit], np.int32), direction=np.array([direction], np.int8),
    )  # fmt: skip
    circuit = Circuit.from_network(network)
    expected = network.scores(np.where(truth_rows(5), 1.0, -1.0)) > 0
    assert np.array_equal(circuit.truth_table(), expected)
    if expected.all() or not expected.any():
        assert circuit.gate_counts() == {"TRUE" if expected.all() else "FALSE": 1}


def test_the_circuit_of_a_trained_network_gives_the_signs_of_the_torch_network() -> None:
    generator = torch.Generator().manual_seed(0)
    network = BinaryNetwork.mlp(
        (9, 16, 12, 2), activation_surrogate="clipped", input_surrogate="clipped", scale="mean", generator=generator
    )  # fmt: skip
    every = torch.from_numpy(np.where(truth_rows(9), 1.0, -1.0))
    for _ in range(3):
        network.train()(every[torch.randperm(512, generator=generator)].float())  # batch statistics
    packed = network.eval().harden()
    circuit = Circuit.from_network(packed, input_names=[f"in {i}" for i in range(9)], output_names=("p", "q"))
    with torch.no_grad(), hardgrad.mode("hard"):
        scores = network.double()(every)
    assert scores.abs().min() > 1e-6  # no output is near enough to 0 for rounding to decide
    assert np.array_equal(circuit.truth_table(), (scores >= 0).numpy())
    assert circuit.names_of_inputs[3] == "in 3" and circuit.output_names == ("p", "q")


# --- models of tables ---------------------------------------------------------------------------------------------------------------
numbers = st.floats(-1e150, 1e150) | st.sampled_from(
    [0.0, -0.0, 5e-324, -5e-324, 1e-310, 1.0, -1.0, 1e150, 1e-150]
)


@given(numbers, numbers, st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=5))
@settings(deadline=None, max_examples=400)
def test_thresholds_are_where_the_computed_sign_changes(
    mean: float, factor: float, others: list[float]
) -> None:
    threshold, kind = (array[0] for array in _thresholds(np.array([mean]), np.array([factor])))
    largest = np.finfo(np.float64).max
    near = [threshold, np.nextafter(threshold, -np.inf), np.nextafter(threshold, np.inf), mean]
    x = np.clip([*near, *others, 0.0, -0.0, largest, -largest], -largest, largest)
    with np.errstate(over="ignore", under="ignore"):
        expected = (x - mean) * factor >= 0
    found = np.full(len(x), True) if kind == 0 else (x > threshold) == (kind > 0)
    assert np.array_equal(found, expected)


def binary_classifier(seed: int, activations: tuple[str, ...]) -> PackedClassifier:
    widths = (6, *([12] * (len(activations) - 1)), 3)
    network = random_network(seed, widths, activations, binary_input=True)
    rng = np.random.default_rng(seed)
    parts = {field.name: getattr(network, field.name) for field in dataclasses.fields(network)}
    factor = np.array([1.5, -0.25, 0.0, 5e-324, -3e-320, 7.0])
    schema = TableSchema.numeric([f"x{i}" for i in range(6)])
    return PackedClassifier(
        schema=schema, mean=rng.normal(size=6), factor=factor, classes=("a", "b", "c"), **parts
    )


@pytest.mark.parametrize("activations", [("identity",), ("sign", "identity"), ("sign", "sign", "sign")])
@pytest.mark.parametrize("seed", range(4))
def test_models_score_as_the_classifier_does(activations: tuple[str, ...], seed: int) -> None:
    network = binary_classifier(seed, activations)
    rng = np.random.default_rng(100 + seed)
    X = rng.normal(size=(500, 6))
    X[:100] = network.mean
    X[100:200] = np.nextafter(network.mean, rng.choice([-np.inf, np.inf], (100, 6)))
    X[200:300] *= 10.0 ** rng.integers(-300, 300, (100, 6))
    model = CircuitModel.from_network(network)
    for found in (model, model.simplify()):
        np.testing.assert_array_equal(found.predict_raw(X), network.predict_raw(X))
        np.testing.assert_array_equal(found.predict(X), network.predict(X))
        np.testing.assert_array_equal(found.predict_proba(X), network.predict_proba(X))
    assert model.classes == network.classes and model.schema == network.schema


def test_digits_by_gates() -> None:
    X, y = load_digits(return_X_y=True)
    classifier = BinaryMLPClassifier(
        (32, 32), activation="sign", binary_input=True, max_iter=15, random_state=0
    ).fit(X[:1200], y[:1200])
    packed = classifier.harden()
    assert packed.takes_bits == (True, True, True) and classifier.gap_.detail["bits_differ"] == 0
    model = CircuitModel.from_network(packed)
    np.testing.assert_array_equal(model.predict_raw(X), packed.predict_raw(X))
    np.testing.assert_array_equal(model.runtime().predict_raw(X), packed.predict_raw(X))
    np.testing.assert_array_equal(model.predict(X[1200:]), classifier.predict(X[1200:]))
    assert (model.predict(X[1200:]) == y[1200:]).mean() > 0.75
    weights = sum(layer.inputs * len(layer.words) for layer in packed.layers[:-1])
    assert model.circuit.n_gates < 3 * weights


# --- what has no circuit -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("shape", "binary_input", "message"),
    [
        (((4, 3), ("sign",)), False, r"binary_input=True\), or .*input_surrogate"),
        (((4, 3, 2), ("relu", "sign")), True, "layer 0 of the network has activation 'relu'.*activation='sign'"),
        (((4, 3, 2), ("identity", "sign")), True, "layer 0 of the network has activation 'identity'"),
        (((4, 3, 2), ("sign", "relu")), True, "layer 1 of the network has activation 'relu'"),
    ],
)  # fmt: skip
def test_networks_of_numbers_say_what_to_train(shape: Any, binary_input: bool, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        Circuit.from_network(random_network(0, *shape, binary_input=binary_input))


def test_classifiers_of_numbers_and_other_things() -> None:
    with pytest.raises(ExportError, match="first layer takes real numbers"):
        CircuitModel.from_network(packed_classifiers()["array"])
    network: Any = random_network(0, (4, 3), ("identity",), binary_input=True)
    with pytest.raises(
        InputTypeError, match=r"CircuitModel.from_network\(\) got PackedNetwork; expected a PackedClassifier"
    ):
        CircuitModel.from_network(network)
    other: Any = np.eye(2)
    with pytest.raises(InputTypeError, match=r"got ndarray; expected a PackedNetwork"):
        Circuit.from_network(other)


def test_a_shift_that_a_count_would_round_away() -> None:
    network = binary_classifier(0, ("sign", "identity"))
    shift = network.shift.copy()
    shift[1] = 1e-12
    lost = dataclasses.replace(network, shift=shift, scale=np.ones(3, np.float32))
    with pytest.raises(ExportError, match="class 'b' adds 1e-12 to products times 1"):
        CircuitModel.from_network(lost)
    kept = dataclasses.replace(lost, shift=np.array([1e-3, 0.0, 1e6], np.float32))
    X = np.random.default_rng(0).normal(size=(200, 6))
    np.testing.assert_array_equal(CircuitModel.from_network(kept).predict_raw(X), kept.predict_raw(X))


def test_a_classifier_with_a_circuit_is_a_network_too() -> None:
    network = binary_classifier(3, ("sign", "identity"))
    plain = PackedNetwork(
        **{field.name: getattr(network, field.name) for field in dataclasses.fields(PackedNetwork)}
    )
    assert Circuit.from_network(network).equivalent(Circuit.from_network(plain)).equal
