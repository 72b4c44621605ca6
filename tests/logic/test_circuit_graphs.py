"""Circuits as arrays: there and back, variants against their definition, the canonical order, random circuits."""

import numpy as np
import pytest
from random_circuits import plain_evaluation, random_circuit

from hardgrad.core.errors import DataError, ParameterError
from hardgrad.logic import Circuit, Gate, npn_class, random_circuits
from hardgrad.logic.circuit_graphs import COMPLEMENT, EMPTY, OUTPUT, CircuitGraphs, wire_values
from hardgrad.logic.gate_ids import truth_rows


def awkward(count, inputs, outputs=2, gates=6):
    """Circuits of any gates, constants among them, of any size up to the most."""
    return [
        random_circuit(seed, inputs=inputs, gates=seed % (gates + 1), outputs=outputs)
        for seed in range(count)
    ]


def plain_tables(graphs):
    """What the nodes compute, by the circuit that they are."""
    return np.stack(
        [
            plain_evaluation(graphs.circuit(k), truth_rows(graphs.n_inputs)).reshape(-1, graphs.n_outputs)
            for k in range(len(graphs))
        ]
    )


@pytest.mark.parametrize("inputs", range(1, 8))
def test_circuits_become_arrays_and_circuits_again(inputs):
    circuits = awkward(14, inputs)
    graphs = CircuitGraphs.of(circuits, 8)
    assert (len(graphs), graphs.n_inputs, graphs.n_outputs, graphs.max_gates) == (14, inputs, 2, 8)
    for k, circuit in enumerate(circuits):
        np.testing.assert_array_equal(
            graphs.tables[k], plain_evaluation(circuit, truth_rows(inputs)).reshape(-1, 2)
        )
        assert (graphs.kinds[k, circuit.n_gates : 8] == EMPTY).all() and (graphs.kinds[k, 8:] == OUTPUT).all()
        again = graphs.circuit(k)
        for name in ("gates", "left", "right", "outputs"):
            np.testing.assert_array_equal(getattr(again, name), getattr(circuit, name))
    some = graphs.rows(np.array([3, 3, 0]))
    np.testing.assert_array_equal(some.tables, graphs.tables[[3, 3, 0]])


@pytest.mark.parametrize("inputs", range(1, 7))
def test_tables_are_computed_from_nodes(inputs):
    graphs = CircuitGraphs.of(awkward(14, inputs), 6)
    graphs.kinds[::2, 6:] = COMPLEMENT
    made = CircuitGraphs.computed(graphs.kinds, graphs.operands, inputs, 2)
    np.testing.assert_array_equal(made.tables, plain_tables(made))
    np.testing.assert_array_equal(made.tables[1::2], graphs.tables[1::2])
    np.testing.assert_array_equal(made.tables[::2], ~graphs.tables[::2])
    none = CircuitGraphs.computed(graphs.kinds[:0], graphs.operands[:0], inputs, 2)
    assert len(none) == 0 and (none.n_outputs, none.max_gates) == (2, 6)


def test_an_empty_slot_may_stand_anywhere():
    kinds = np.array([[EMPTY, Gate.AND, EMPTY, Gate.XOR, COMPLEMENT, OUTPUT]])
    operands = np.array([[[0, 0], [0, 1], [0, 0], [3, 0], [5, 0], [3, 0]]])
    made = CircuitGraphs.computed(kinds, operands, 2, 2)
    a, b = truth_rows(2).T.astype(bool)
    np.testing.assert_array_equal(made.tables[0].T, [~((a & b) ^ a), a & b])
    np.testing.assert_array_equal(plain_tables(made), made.tables)
    assert made.circuit(0).gate_counts() == {"AND": 1, "XOR": 1, "NOT_A": 1}


@pytest.mark.parametrize("inputs", [1, 2, 5, 6])
def test_values_of_wires_are_those_row_by_row(inputs):
    circuits = [random_circuit(seed, inputs=inputs, gates=7, outputs=0) for seed in range(8)]
    gates, left, right = (
        np.stack([getattr(c, name) for c in circuits]) for name in ("gates", "left", "right")
    )
    words = wire_values(gates, left.astype(np.int64), right.astype(np.int64), inputs)
    rows = truth_rows(inputs)
    for k, circuit in enumerate(circuits):
        every = Circuit(
            circuit.gates, circuit.left, circuit.right, np.arange(inputs + 7, dtype=np.int32), inputs
        )
        bits = words[k][None] >> np.arange(len(rows), dtype=np.uint64)[:, None] & np.uint64(1)
        np.testing.assert_array_equal(bits.astype(bool), plain_evaluation(every, rows))


@pytest.mark.parametrize("inputs", range(1, 5))
def test_variants_stay_in_their_classes_and_their_nodes_compute_their_tables(inputs):
    graphs = CircuitGraphs.of(awkward(40, inputs, outputs=1), 6)
    made = graphs.variants(np.random.default_rng(0))
    np.testing.assert_array_equal(made.tables, plain_tables(made))
    np.testing.assert_array_equal(npn_class(made.tables[..., 0]), npn_class(graphs.tables[..., 0]))
    assert inputs == 1 or (made.tables != graphs.tables).any()
    np.testing.assert_array_equal((made.kinds[:, :6] < EMPTY).sum(1), (graphs.kinds[:, :6] < EMPTY).sum(1))
    again = graphs.variants(np.random.default_rng(0))
    np.testing.assert_array_equal(made.operands, again.operands)


def test_variants_of_several_outputs_share_what_happens_to_the_inputs():
    # The outputs are the inputs themselves: each variant is a permutation and complements, seen in full.
    wires = Circuit(
        np.zeros(0, np.uint8), np.zeros(0, np.int32), np.zeros(0, np.int32), np.arange(3, dtype=np.int32), 3
    )
    made = CircuitGraphs.of([wires] * 200, 1).variants(np.random.default_rng(1))
    read, turned = made.operands[:, 1:, 0], made.kinds[:, 1:] == COMPLEMENT
    assert {tuple(row) for row in np.sort(read, axis=1)} == {(0, 1, 2)}
    assert len({tuple(row) for row in read}) == 6 and len({tuple(row) for row in turned}) == 8
    rows = truth_rows(3).astype(bool)
    for k in range(200):
        np.testing.assert_array_equal(made.tables[k], rows[:, read[k]] ^ turned[k])


@pytest.mark.parametrize("inputs", [1, 3, 4])
def test_what_is_not_read_stays_zero(inputs):
    graphs = CircuitGraphs.of(awkward(40, inputs), 6)
    for made in (graphs, graphs.canonical(), graphs.variants(np.random.default_rng(0))):
        assert (made.operands[:, :6][made.kinds[:, :6] == EMPTY] == 0).all()
        assert (made.operands[:, 6:, 1] == 0).all()


@pytest.mark.parametrize("inputs", [1, 2, 4, 6])
def test_the_canonical_form_is_in_order_and_of_the_same_functions(inputs):
    graphs = CircuitGraphs.of(awkward(60, inputs, gates=8), 8)
    made = graphs.canonical()
    np.testing.assert_array_equal(plain_tables(made), graphs.tables)
    np.testing.assert_array_equal(made.tables, graphs.tables)
    for kinds, operands in zip(made.kinds[:, :8].tolist(), made.operands[:, :8].tolist(), strict=True):
        filled = [kind < EMPTY for kind in kinds]
        assert filled == sorted(filled, reverse=True)  # the empty ones last
        level = [0] * inputs
        keys = []
        for g, (kind, (a, b)) in enumerate(zip(kinds, operands, strict=True)):
            if kind == EMPTY:
                break
            assert kind < 8 and a <= b < inputs + g  # 0 for zeros, and reads earlier wires in order
            level.append(1 + max(level[a], level[b]))
            keys.append((level[-1], a, b))
        assert keys == sorted(keys)
    again = made.canonical()
    np.testing.assert_array_equal(again.kinds, made.kinds)
    np.testing.assert_array_equal(again.operands, made.operands)


@pytest.mark.parametrize("seed", range(4))
def test_the_order_in_which_gates_were_written_does_not_matter(seed):
    circuit = random_circuits(1, 4, 6, random_state=seed)[0]
    rng = np.random.default_rng(seed)
    levels = circuit.levels[4:]
    order = np.lexsort([rng.random(circuit.n_gates), levels])  # another order of evaluation
    place = np.arange(circuit.n_wires)
    place[4 + order] = 4 + np.arange(circuit.n_gates)
    other = Circuit(
        circuit.gates[order], place[circuit.left[order]].astype(np.int32), place[circuit.right[order]].astype(np.int32),
        place[circuit.outputs].astype(np.int32), 4,
    )  # fmt: skip
    one, two = (CircuitGraphs.of([c], 6).canonical() for c in (circuit, other))
    np.testing.assert_array_equal(one.kinds, two.kinds)
    np.testing.assert_array_equal(one.operands, two.operands)


@pytest.mark.parametrize(
    ("inputs", "gates", "outputs"), [(2, 2, 1), (3, 4, 1), (4, 8, 1), (3, 5, 2), (6, 4, 1)]
)
def test_random_circuits_are_different_small_and_without_waste(inputs, gates, outputs):
    circuits = random_circuits(10, inputs, gates, n_outputs=outputs, random_state=3)
    tables = {plain_evaluation(circuit, truth_rows(inputs)).tobytes() for circuit in circuits}
    assert len(circuits) == len(tables) == 10
    for circuit in circuits:
        assert (circuit.n_inputs, circuit.n_outputs) == (inputs, outputs) and 1 <= circuit.n_gates <= gates
        read = {*circuit.left.tolist(), *circuit.right.tolist(), *circuit.outputs.tolist()}
        assert set(range(inputs, circuit.n_wires)) <= read  # every gate is
        assert (circuit.left < circuit.right).all()
        for gate in circuit.gates.tolist():
            bits = [gate >> 3 & 1, gate >> 2 & 1, gate >> 1 & 1, gate & 1]
            assert bits[:2] != bits[2:] and bits[::2] != bits[1::2]  # it depends on both


def test_random_circuits_follow_from_the_seed():
    def drawn(seed):
        return [c.gates.tobytes() + c.left.tobytes() for c in random_circuits(20, 3, 4, random_state=seed)]

    assert drawn(1) == drawn(1) != drawn(2)
    assert drawn(np.random.default_rng(1)) == drawn(1)


def test_all_functions_of_two_inputs_and_no_more_are_found_each_by_its_least_circuit():
    circuits = random_circuits(16, 2, 3)
    assert len({circuit.truth_table().tobytes() for circuit in circuits}) == 16
    one = [circuit for circuit in circuits if int(circuit.truth_table()[:, 0] @ [8, 4, 2, 1]) in (1, 6, 14)]
    assert [circuit.n_gates for circuit in one] == [1, 1, 1]
    with pytest.raises(ParameterError, match="found 10 functions of 2 inputs with at most 1 gates; count=11"):
        random_circuits(11, 2, 1)


@pytest.mark.parametrize(
    "arguments", [(0, 3, 4), (1, 1, 4), (1, 7, 4), (1, 3, 0), (1, 3, 1, 2), (1, 3, 4, 0)]
)
def test_sizes_out_of_range_are_refused(arguments):
    with pytest.raises(ParameterError, match="2 to 6 inputs"):
        random_circuits(*arguments[:3], **({"n_outputs": arguments[3]} if len(arguments) > 3 else {}))


def test_circuits_that_are_not_of_one_shape_are_refused():
    one, two = Circuit.from_expression("y = a & b"), Circuit.from_expression("y = a & b & c")
    for circuits in ([], [one, two], [one, Circuit.from_expression("y = a; z = b")]):
        with pytest.raises(DataError, match=f"of {2 if circuits else 0} shapes"):
            CircuitGraphs.of(circuits, 4)
    with pytest.raises(DataError, match="circuit of 2 gates; expected at most 1"):
        CircuitGraphs.of([two], 1)
