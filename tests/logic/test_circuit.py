"""The circuit: its reference against the definition, its checks, its build from tables and expressions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from random_circuits import plain_evaluation, random_circuit, random_rows

from hardgrad.core.errors import ArtifactError, DataError, ParameterError
from hardgrad.logic import Circuit, Gate
from hardgrad.logic.circuit import all_inputs


def arrays(gates, left, right, outputs):
    return np.array(gates, np.uint8), *(np.array(x, np.int32) for x in (left, right, outputs))


@pytest.mark.parametrize("seed", range(60))
def test_the_reference_is_the_definition(seed):
    circuit = random_circuit(seed)
    rows = random_rows(seed, 1 + seed * 3 % 131, circuit.n_inputs)
    np.testing.assert_array_equal(circuit.evaluate(rows), plain_evaluation(circuit, rows))
    assert circuit.evaluate(rows[:0]).shape == (0, circuit.n_outputs)


@pytest.mark.parametrize("inputs", range(9))
def test_a_truth_table_has_the_order_of_product(inputs):
    circuit = random_circuit(inputs + 100, inputs=inputs, gates=20, outputs=3)
    rows = np.array(list(itertools.product([0, 1], repeat=inputs)), bool).reshape(1 << inputs, inputs)
    np.testing.assert_array_equal(circuit.truth_table(), plain_evaluation(circuit, rows))
    again = Circuit.from_truth_table(circuit.truth_table())
    assert again.n_inputs == inputs
    np.testing.assert_array_equal(again.truth_table(), circuit.truth_table())
    assert all_inputs(inputs).shape == (inputs, max(1, (1 << inputs) // 64))


@pytest.mark.parametrize("kind", [bool, np.int64, np.float32])
def test_bits_may_be_numbers(kind):
    circuit = Circuit.from_expression("a & b")
    assert circuit.evaluate(np.array([[1, 1], [1, 0]], kind)).tolist() == [[True], [False]]


@pytest.mark.parametrize(
    ("bits", "message"),
    [
        ([[0, 2]], "got 2 in row 0, column 1"),
        ([[0.5, 1]], "got 0.5"),
        ([[float("nan"), 1]], "got nan"),
        ([[1, 0, 1]], r"shape \(1, 3\); expected \[n, 2\]"),
        ([1, 0], r"shape \(2,\)"),
        ([["a", "b"]], "expected Booleans"),
    ],
)
def test_what_is_not_bits_is_refused(bits, message):
    with pytest.raises(DataError, match=message):
        Circuit.from_expression("a & b").evaluate(bits)


def test_packed_inputs_are_checked():
    circuit = Circuit.from_expression("a & b")
    with pytest.raises(DataError, match=r"expected uint64 \[2, words\]"):
        circuit.evaluate_packed(np.zeros((2, 1), np.int64))
    with pytest.raises(DataError, match="shape"):
        circuit.evaluate_packed(np.zeros((3, 1), np.uint64))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (arrays([16], [0], [0], [2]), "gate id 16"),
        (arrays([1], [2], [0], [2]), "gate 0 of a circuit reads wire 2 as its left operand"),
        (arrays([1], [0], [-1], [2]), "reads wire -1"),
        (arrays([15], [1], [0], [2]), "0 for a constant"),
        (arrays([1], [0], [1], [3]), r"outside 0 \.\. 2"),
        (arrays([1], [0], [1, 1], [2]), "2 right operands"),
        ((np.zeros(1, np.int64), *arrays([], [0], [0], [2])[1:]), "'gates' is int64"),
    ],
)
def test_arrays_that_are_no_circuit_are_refused(fields, message):
    with pytest.raises(ArtifactError, match=message):
        Circuit(*fields, 2)


def test_names_are_checked():
    fields = arrays([1], [0], [1], [2])
    for names in (("a",), ("a", "a"), ("a", "")):
        with pytest.raises(ArtifactError, match="name"):
            Circuit(*fields, 2, names)
    assert Circuit(*fields, 2).names_of_inputs == ("x0", "x1")


def test_depth_and_counts():
    circuit = Circuit.from_expression("s = a ^ b ^ c; carry = (a & b) | (c & (a ^ b))")
    assert circuit.depth == 3
    assert circuit.gate_counts() == {"AND": 2, "XOR": 2, "OR": 1}
    assert circuit.cost().ands == 2 + 1 + 2 * 3


@pytest.mark.parametrize(
    ("text", "function"),
    [
        ("a & b | ~c", lambda a, b, c: (a and b) or not c),
        ("a if b else c", lambda a, b, c: a if b else c),
        ("(a == b) ^ c", lambda a, b, c: (a == b) ^ c),
        ("not a and (b or c)", lambda a, b, c: not a and (b or c)),
        ("(a | b | c) & 1", lambda a, b, c: a or b or c),
        ("a & b & False", lambda a, b, c: False),
    ],
)
def test_expressions_mean_what_python_means(text, function):
    circuit = Circuit.from_expression(text, inputs=("a", "b", "c"))
    rows = list(itertools.product([False, True], repeat=3))
    assert circuit.evaluate(rows)[:, 0].tolist() == [bool(function(*row)) for row in rows]


def test_an_assigned_name_may_be_read_later():
    circuit = Circuit.from_expression("t = a ^ b; s = t ^ c; u = t & c")
    assert circuit.names_of_inputs == ("a", "b", "c") and circuit.names_of_outputs == ("t", "s", "u")
    assert circuit.n_gates == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a +", "cannot read"), ("a + b", "expected names"), ("f(a)", "expected names"), ("a; a = 1", "input|before"),
        ("", "without anything"), ("x = 1; x = 0", "twice"), ("a.b", "expected names"), ("2 & a", "expected names"),
        ("a < b", "expected names"), ("import os", "expected 'name = expression'"), ("y = y & a", "before it is assigned"),
        ("(" * 150 + "a" + ")" * 150, "cannot read|deeply"),
    ],
)  # fmt: skip
def test_other_expressions_are_refused(text, message):
    with pytest.raises(ParameterError, match=message):
        Circuit.from_expression(text)


def test_an_unknown_input_is_named():
    with pytest.raises(ParameterError, match="'alpa', which is no input. Did you mean 'alpha'"):
        Circuit.from_expression("alpa & b", inputs=("alpha", "b"))


@pytest.mark.parametrize(
    "table", [[0, 1, 1], [0, 2], np.zeros((2, 2, 2)), [], [0.5, 1], np.zeros(1 << 21, bool)]
)
def test_tables_of_a_wrong_length_or_value_are_refused(table):
    with pytest.raises(ParameterError, match="truth table"):
        Circuit.from_truth_table(table)


def test_too_many_inputs_for_a_table():
    wide = Circuit(*arrays([1], [0], [1], [30]), 30)
    with pytest.raises(ParameterError, match="at most 20"):
        wide.truth_table()


def test_gates_by_name():
    for gate in Gate:
        circuit = Circuit(*arrays([gate], [0], [0 if gate in (0, 15) else 1], [2]), 2)
        assert circuit.truth_table()[:, 0].tolist() == [bool(gate >> k & 1) for k in (3, 2, 1, 0)]
