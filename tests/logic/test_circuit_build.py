"""The builder and simplification: functions are kept exactly, and known redundancy goes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from random_circuits import layered_circuit, random_circuit, random_rows

from hardgrad.logic import Circuit, Gate, NetworkBuilder, simplify


def value(net: NetworkBuilder, signal: int, a: int, b: int) -> int:
    circuit = net.circuit([signal])
    return int(circuit.evaluate([[a, b]])[0, 0])


@pytest.mark.parametrize("gate", list(Gate))
def test_every_gate_of_every_pair_of_signals(gate):
    net = NetworkBuilder(2)
    a, b = net.input(0), net.input(1)
    signals = {
        0: lambda x, y: 0,
        1: lambda x, y: 1,
        a: lambda x, y: x,
        a ^ 1: lambda x, y: 1 - x,
        b: lambda x, y: y,
        b ^ 1: lambda x, y: 1 - y,
    }
    for (p, f), (q, g) in itertools.product(signals.items(), repeat=2):
        made = net.gate(gate, p, q)
        for x, y in itertools.product((0, 1), repeat=2):
            assert value(net, made, x, y) == gate >> (3 - 2 * f(x, y) - g(x, y)) & 1


@pytest.mark.parametrize(("outer", "inner"), list(itertools.product((1, 2, 4, 6, 7), repeat=2)))
def test_a_gate_of_gates_of_two_signals_is_one_gate_at_most(outer, inner):
    net = NetworkBuilder(2)
    a, b = net.input(0), net.input(1)
    middle = net.gate(inner, a, b)
    for p, q in ((middle, a), (b, middle), (middle, net.gate(Gate.XNOR, a, b))):
        assert net.circuit([net.gate(outer, p, q)]).n_gates <= 1


def test_complements_are_absorbed():
    net = NetworkBuilder(3)
    a, b, c = (net.input(i) for i in range(3))
    nand = net.gate(Gate.NAND, a, b)
    circuit = net.circuit([nand, net.gate(Gate.OR, nand, c)])
    assert circuit.gate_counts() == {"NAND": 1, "OR": 1}
    assert net.circuit([a ^ 1]).gate_counts() == {"NOT_A": 1}
    assert net.circuit([a]).n_gates == 0
    assert net.circuit([0, 1, 1]).gate_counts() == {"FALSE": 1, "TRUE": 1}


@pytest.mark.parametrize("seed", range(60))
def test_simplification_keeps_the_function(seed):
    circuit = random_circuit(seed)
    small = simplify(circuit)
    assert small.n_gates <= circuit.n_gates
    np.testing.assert_array_equal(small.truth_table(), circuit.truth_table())
    assert simplify(small).n_gates == small.n_gates


@pytest.mark.parametrize("seed", range(3))
def test_simplification_of_more_inputs_than_can_be_tried(seed):
    circuit = layered_circuit(seed, 40, [120, 120, 60])
    small = circuit.simplify()
    assert small.n_gates < circuit.n_gates
    rows = random_rows(seed, 5000, 40)
    np.testing.assert_array_equal(small.evaluate(rows), circuit.evaluate(rows))


def test_equal_functions_of_different_structure_become_one():
    text = "p = (a & b) | (a & c); q = a & (b | c); r = ~(~a | (~b & ~c))"
    circuit = Circuit.from_expression(text)
    assert circuit.n_gates == 5
    small = circuit.simplify()
    assert small.n_gates == 2 and len(set(small.outputs.tolist())) == 1
    many = [
        f"d{i}" for i in range(20)
    ]  # more inputs than are tried together: the cone of p and q still has three
    wide = Circuit.from_expression(f"{text}; z = {' ^ '.join(many)}")
    assert wide.simplify().n_gates == 2 + 19


def test_what_is_always_the_same_becomes_a_constant():
    text = "z = (a & b) & ((c & ~a) | (~b & c)); o = ~((a ^ b) & (c ^ b) & (a ^ c))"
    circuit = Circuit.from_expression(text).simplify()
    assert circuit.gate_counts() == {"FALSE": 1, "TRUE": 1}
    wide = Circuit.from_expression(f"{text}; d = {' ^ '.join(f'd{i}' for i in range(20))}").simplify()
    assert wide.n_gates == 2 + 19


def test_names_stay():
    circuit = Circuit.from_expression("p = a & b; q = ~(~b | ~a)").simplify()
    assert circuit.input_names == ("a", "b") and circuit.output_names == ("p", "q")


@pytest.mark.parametrize("inputs", [1, 3, 6])
def test_a_table_of_a_word(inputs):
    rng = np.random.default_rng(inputs)
    for _ in range(20):
        word = int(rng.integers(0, 1 << 62)) & ((1 << (1 << inputs)) - 1)
        net = NetworkBuilder(inputs)
        circuit = net.circuit([net.table(word, [net.input(i) for i in range(inputs)])])
        assert circuit.truth_table()[:, 0].tolist() == [bool(word >> row & 1) for row in range(1 << inputs)]
