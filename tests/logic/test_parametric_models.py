"""Models of reverse derivative ascent: closed forms against brute force, and circuits against models, on every parameter and input."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from random_circuits import random_circuit, random_rows

import hardgrad
from hardgrad.core.errors import InputTypeError, ParameterError
from hardgrad.logic import (
    Circuit,
    LookupTableModel,
    MaskedThresholdModel,
    ParametricCircuit,
    ParametricModel,
    ReverseDerivativeAscent,
)

MODELS = {
    "table of one input": LookupTableModel(1, 2),
    "table of one bit": LookupTableModel(3, 1),
    "table of three bits": LookupTableModel(2, 3),
    "threshold of one bit": MaskedThresholdModel(1, 2),
    "threshold, 1.5": MaskedThresholdModel(6, 1.5),
    "threshold, 2": MaskedThresholdModel(5, 2),
    "threshold, 7/3": MaskedThresholdModel(7, Fraction(7, 3)),
    "threshold, 100": MaskedThresholdModel(4, 100),
    "circuit": ParametricCircuit(random_circuit(3, inputs=9, gates=40, outputs=3), 5),
    "circuit without parameters": ParametricCircuit(random_circuit(4, inputs=4, gates=9, outputs=2), 0),
    "circuit without inputs": ParametricCircuit(random_circuit(4, inputs=4, gates=9, outputs=2), 4),
}


def every(n: int) -> np.ndarray:
    return np.array(list(itertools.product((False, True), repeat=n)), bool).reshape(1 << n, n)


def some_params(model: ParametricModel) -> np.ndarray:
    rows = every(model.n_params) if model.n_params <= 7 else random_rows(0, 40, model.n_params)
    return np.concatenate([rows, np.ones((1, model.n_params), bool)])


@pytest.mark.parametrize("name", MODELS)
def test_the_circuit_and_what_is_hardened_are_the_model(name):
    model = MODELS[name]
    X, circuit = every(model.n_inputs), model.circuit()
    assert circuit.n_inputs == model.n_params + model.n_inputs
    for params in some_params(model):
        expected = model.evaluate(params, X)
        assert expected.shape == (len(X), model.n_outputs)
        joined = np.concatenate([np.tile(params, (len(X), 1)), X], axis=1)
        assert (circuit.evaluate(joined) == expected).all()
        hard = model.harden(params)
        assert hard.n_inputs == model.n_inputs
        assert (hard.truth_table() == expected).all()


@pytest.mark.parametrize("name", MODELS)
def test_closed_forms_are_brute_force(name):
    model = MODELS[name]
    X = every(model.n_inputs)
    dy = random_rows(1, len(X), model.n_outputs)
    for params in some_params(model):
        found = model.derivative(params, X, dy)
        assert (found == ParametricModel.derivative(model, params, X, dy)).all()


@pytest.mark.parametrize("name", ["table of three bits", "threshold, 1.5"])
def test_the_circuit_of_a_model_learns_the_same(name):
    model = MODELS[name]
    rng = np.random.default_rng(5)
    X, y = rng.random((50, model.n_inputs)) < 0.5, rng.random((50, model.n_outputs)) < 0.5
    own = ReverseDerivativeAscent(model).fit(X, y)
    gates = ReverseDerivativeAscent(ParametricCircuit(model.circuit(), model.n_params)).fit(X, y)
    assert own.params.any() and (own.params == gates.params).all()


def test_a_large_threshold_keeps_its_answers_in_gates_and_in_the_file(tmp_path):
    model = MaskedThresholdModel(200, 1.9)
    params = random_rows(1, 1, 200)[0]
    X = random_rows(2, 3000, 200)
    expected = model.evaluate(params, X)
    assert 0.05 < expected.mean() < 0.95
    path = tmp_path / "mask.safetensors"
    model.harden(params).save(path)
    assert (hardgrad.load(path).evaluate(X) == expected).all()


def test_ratios_are_divided_by_without_rounding():
    ones = np.ones((1, 11), bool)
    for ratio, most in ((1.1, 10), (Fraction(11, 10), 10), (1.5, 7), (np.float64(2.2), 5), (12, 0)):
        model = MaskedThresholdModel(11, ratio)
        few = np.arange(11) < most
        assert model.evaluate(ones[0], few[None]).all()
        assert not model.evaluate(ones[0], (np.arange(11) < most + 1)[None]).any()


def test_a_model_of_ones_own_needs_two_methods():
    class Agreement(ParametricModel):
        n_params = n_inputs = 3
        n_outputs = 1

        def evaluate(self, params, X):
            return (params == X).all(axis=1)[:, None]

        def signals(self, net, params, inputs):
            same = [net.complement(net.differ(p, x)) for p, x in zip(params, inputs, strict=True)]
            return [net.both(net.both(same[0], same[1]), same[2])]

    target = np.array([1, 0, 1], bool)
    X = every(3)
    y = (target == X).all(axis=1)
    ascent = ReverseDerivativeAscent(Agreement()).fit(X, y, validation=(X, y))
    assert (ascent.harden().truth_table() == ascent.predict(X)).all()
    assert ascent.harden().equivalent(Circuit.from_truth_table(ascent.predict(X))).equal


def test_bad_models_are_refused():
    for arguments in ((0, 1), (21, 1), (3, 0)):
        with pytest.raises(ParameterError, match="LookupTableModel"):
            LookupTableModel(*arguments)
    for arguments in ((0, 2), (3, 1), (3, 0.5), (3, -2), (3, np.nan), (3, np.inf), (3, "two")):
        with pytest.raises(ParameterError, match="a number above 1"):
            MaskedThresholdModel(*arguments)
    circuit = Circuit.from_expression("y = a & b")
    for count in (-1, 3):
        with pytest.raises(ParameterError, match="expected 0 to 2"):
            ParametricCircuit(circuit, count)
    with pytest.raises(ParameterError, match="Did you mean 'difference'"):
        ParametricCircuit(circuit, 1, rule="diference")
    with pytest.raises(InputTypeError, match="expected a Circuit"):
        ParametricCircuit(circuit.evaluate, 1)
