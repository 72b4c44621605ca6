"""Counting in gates: every input of small widths, every limit, and sizes that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from hardgrad.logic import Circuit, NetworkBuilder
from hardgrad.logic.adders import at_least, count_ones, full_adder
from hardgrad.logic.gate_ids import truth_rows


def inputs(net: NetworkBuilder) -> list[int]:
    return [net.input(i) for i in range(net.n_inputs)]


def enough(count: int, limit: int) -> Circuit:
    net = NetworkBuilder(count)
    return net.circuit([at_least(net, inputs(net), limit)])


def test_a_full_adder_is_five_gates_and_two_with_a_constant() -> None:
    net = NetworkBuilder(3)
    circuit = net.circuit(full_adder(net, *inputs(net)))
    assert circuit.n_gates == 5
    total = truth_rows(3).sum(axis=1)
    assert np.array_equal(circuit.truth_table(), np.stack([total & 1, total >> 1], axis=1) == 1)
    for constant in (0, 1):  # the signals of false and true are these numbers
        half = net.circuit(full_adder(net, net.input(0), constant, net.input(1)))
        assert half.n_gates == 2


@pytest.mark.parametrize("count", range(1, 12))
def test_every_limit_on_every_input(count: int) -> None:
    ones = truth_rows(count).sum(axis=1)
    for limit in range(-2, count + 3):
        assert np.array_equal(enough(count, limit).truth_table()[:, 0], ones >= limit)


@pytest.mark.parametrize("count", range(1, 12))
def test_counts_are_numbers_in_binary(count: int) -> None:
    net = NetworkBuilder(count)
    bits = net.circuit(count_ones(net, inputs(net))).truth_table()
    assert np.array_equal(bits @ (1 << np.arange(bits.shape[1])), truth_rows(count).sum(axis=1))


def test_complemented_repeated_and_constant_signals() -> None:
    net = NetworkBuilder(4)
    a, b, c, d = inputs(net)
    signals = [a, a ^ 1, b, b, 1, 0, c ^ 1, d]
    rows = truth_rows(4).astype(int)
    ones = 2 + 2 * rows[:, 1] + (1 - rows[:, 2]) + rows[:, 3]
    for limit in range(10):
        circuit = net.circuit([at_least(net, signals, limit)])
        assert np.array_equal(circuit.truth_table()[:, 0], ones >= limit)


@pytest.mark.parametrize("bits", [2, 3, 4, 6, 8])
def test_a_majority_is_full_adders_without_the_sums_that_nobody_asks_for(bits: int) -> None:
    """2^k - 1 bits take 2^k - 1 - k full adders. The last sum of every column but the highest is not needed: one gate less each."""
    count = 2**bits - 1
    assert enough(count, 2 ** (bits - 1)).n_gates == 5 * (count - bits) - (bits - 1)


def test_limits_at_the_ends_are_plain_gates_and_beyond_them_constants() -> None:
    assert enough(9, 1).gate_counts() == {"OR": 8} and enough(9, 9).gate_counts() == {"AND": 8}
    assert enough(9, 9).depth == 4
    assert enough(9, 0).gate_counts() == {"TRUE": 1} and enough(9, 10).gate_counts() == {"FALSE": 1}


@pytest.mark.parametrize("count", [8, 33, 100])
def test_no_limit_needs_more_than_five_gates_a_signal(count: int) -> None:
    assert max(enough(count, limit).n_gates for limit in range(1, count + 1)) < 5 * count


def test_units_on_the_same_signals_share_their_sums() -> None:
    rng = np.random.default_rng(0)
    net = NetworkBuilder(64)
    outputs = [
        at_least(net, [s ^ int(w) for s, w in zip(inputs(net), rng.integers(0, 2, 64), strict=True)], limit)
        for limit in rng.integers(24, 41, 40).tolist()
    ]
    alone = sum(net.circuit([output]).n_gates for output in outputs)
    assert net.circuit(outputs).n_gates < alone / 2
