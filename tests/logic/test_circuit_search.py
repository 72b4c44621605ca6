"""The search: it ends, resumes to the same bits, begins at proposals, keeps the smallest circuit, and refuses what makes no sense."""

import math

import numpy as np
import pytest
import torch
from random_circuits import plain_evaluation, random_circuit

from hardgrad.core.errors import DataError, ParameterError
from hardgrad.logic import Circuit, CircuitSearch, Gate, TruthTable, bits_distance
from hardgrad.logic.gate_ids import truth_rows
from hardgrad.train.checkpoint import checkpointing
from hardgrad.train.progress import listen

ADDER = TruthTable.from_callable(lambda x: np.stack([x.sum(axis=1) >= 2, x.sum(axis=1) % 2], axis=1), 3)
XOR = TruthTable.of([0, 1, 1, 0])
FULL = Circuit.from_expression("c = (x & y) | (z & (x ^ y)); s = x ^ y ^ z")


def same(a, b):
    return all(
        np.array_equal(getattr(a, name), getattr(b, name)) for name in ("gates", "left", "right", "outputs")
    )


# --- the search --------------------------------------------------------------------------------------------------------------------


def adders(**options):
    return CircuitSearch(
        **{"layers": (8, 8, 8), "n_restarts": 8, "n_steps": 150, "check_every": 10} | options
    )


def test_a_full_adder_is_found_and_named():
    table = TruthTable.of(ADDER, input_names=("x", "y", "z"), output_names=("carry", "sum"))
    events = []
    with listen(events.append):
        result = adders(n_restarts=32).search(table)
    assert result.exact and str(result.verdict) == "exact circuit found" and result.bits_distance == 0
    np.testing.assert_array_equal(plain_evaluation(result.circuit, truth_rows(3)), ADDER.outputs)
    assert (result.circuit.input_names, result.circuit.output_names) == (("x", "y", "z"), ("carry", "sum"))
    assert 0 < result.first_exact == result.history[-1].step < 150
    assert result.history[-1].solved == result.solved > 0 and result.history[-1].bits_distance == 0
    assert [check.step for check in result.history] == list(range(0, result.first_exact + 1, 10))
    assert [check.temperature for check in result.history] == sorted(
        (check.temperature for check in result.history), reverse=True
    )
    assert result.gap.hard == 0 < result.gap.soft < 1 and result.gap.rows == 16
    assert f"{result.circuit.n_gates} gates, first after {result.first_exact} steps" in str(result)
    assert {event.phase for event in events} == {"circuit search"}
    fractions = [event.fraction for event in events]
    assert fractions == sorted(fractions) and events[-1].soft > 0 and events[-1].hard == 0


def test_same_seed_same_bits():
    first, again, other = (adders(random_state=seed, n_steps=20).search(ADDER) for seed in (1, 1, 2))
    assert same(first.circuit, again.circuit) and first.history == again.history and first.gap == again.gap
    assert first.history != other.history


@pytest.mark.parametrize("gate", ["lut2", "nand"])
def test_the_smallest_is_never_larger_than_the_first(gate):
    table = XOR if gate == "nand" else ADDER
    options = {"gate": gate, "n_steps": 100, "n_restarts": 32}
    first, smallest = (adders(until=until, **options).search(table) for until in ("first", "smallest"))
    assert first.exact and smallest.exact and smallest.first_exact == first.first_exact
    assert smallest.circuit.n_gates <= first.circuit.n_gates
    assert smallest.history[-1].step == 100 and smallest.solved >= first.solved
    assert smallest.history[: len(first.history)] == first.history
    assert gate == "lut2" or set(smallest.circuit.gates.tolist()) == {Gate.NAND}


@pytest.mark.parametrize("until", ["first", "smallest"])
def test_an_interrupted_search_goes_on_to_the_same_bits(tmp_path, monkeypatch, until):
    monkeypatch.setattr("hardgrad.train.loop.SAVE_EVERY", 10)
    # Six inputs and three gates: no exact circuit, so that all steps are taken.
    hard = TruthTable.of(random_circuit(5, inputs=6, gates=40, outputs=3))
    search = CircuitSearch(layers=(2, 1), n_restarts=2, n_steps=36, check_every=4, until=until)
    expected = search.search(hard)
    assert not expected.exact and expected.first_exact is None and expected.bits_distance > 0
    assert str(expected.verdict) == "out of steps" and "wrong bits" in str(expected)
    assert bits_distance(expected.circuit, hard) == expected.bits_distance

    def interrupt(event):
        if event.fraction >= 0.8:
            raise KeyboardInterrupt

    with checkpointing(tmp_path):
        with listen(interrupt), pytest.raises(KeyboardInterrupt):
            search.search(hard)
        events = []
        with listen(events.append):
            resumed = search.search(hard)
        assert [event.fraction for event in events] == [
            step / 36 for step in range(21, 37)
        ]  # from step 20 on
        again = search.search(hard)  # what is finished is read back
    for one in (resumed, again):
        assert same(one.circuit, expected.circuit)
        assert (one.history, one.gap, one.solved) == (expected.history, expected.gap, expected.solved)


def test_a_search_that_was_finished_early_is_read_back(tmp_path):
    with checkpointing(tmp_path):
        expected = adders().search(ADDER)
        events = []
        with listen(events.append):
            again = adders().search(ADDER)
    assert same(again.circuit, expected.circuit) and again.history == expected.history and not events


def test_proposals_that_differ_in_outputs_alone_are_two_searches(tmp_path):
    a, b = (Circuit.from_expression(f"u = x & y; v = {v}").simplify() for v in ("x", "y"))
    hard = TruthTable.of([[0, 1], [1, 0], [1, 1], [0, 0]])
    with checkpointing(tmp_path):
        for one in (a, b):
            CircuitSearch(layers=(1,), n_restarts=1, n_steps=1, prior=lambda *_, one=one: [one]).search(hard)
    assert len(list(tmp_path.iterdir())) == 2


def test_rows_that_do_not_matter_are_left_out():
    care = np.ones((8, 2), bool)
    care[3:] = False
    table = TruthTable.of(ADDER.outputs, care=care)
    result = adders(n_steps=60).search(table)
    assert result.exact and bits_distance(result.circuit, table) == 0 and result.gap.rows == 6
    flipped = TruthTable.of(ADDER.outputs ^ ~care, care=care)
    other = adders(n_steps=60).search(flipped)
    assert other.history == result.history
    nothing = adders().search(TruthTable.of(ADDER.outputs, care=np.zeros((8, 2))))
    assert nothing.exact and nothing.first_exact == 0 and nothing.gap.agreement == 1


@pytest.mark.parametrize("gate", ["lut2", "nand"])
def test_constants_and_literals_need_no_step(gate):
    table = TruthTable.from_callable(lambda x: np.stack([x[:, 0], ~x[:, 1], x[:, 0] | True], axis=1), 2)
    result = CircuitSearch(gate=gate, layers=(2,), n_restarts=1).search(table)
    assert result.exact and result.first_exact == 0 and len(result.history) == 1
    np.testing.assert_array_equal(plain_evaluation(result.circuit, truth_rows(2)), table.outputs)
    assert gate == "lut2" or set(result.circuit.gates.tolist()) == {Gate.NAND}


def test_a_table_may_be_given_as_bits_or_as_a_circuit():
    search = CircuitSearch(layers=(3,), n_restarts=4, n_steps=50, check_every=5)
    by_bits = search.search([0, 1, 1, 0])
    by_circuit = search.search(Circuit.from_expression("y = a ^ b"))
    assert by_bits.exact and by_bits.circuit.gate_counts() == {"XOR": 1}
    assert by_circuit.circuit.input_names == ("a", "b") and by_circuit.history == by_bits.history


def test_straight_through_and_float64():
    table = XOR
    assert adders(mode="st", n_steps=50).search(table).exact
    torch.set_default_dtype(torch.float64)
    try:
        assert adders(gate="nand").search(table).exact
    finally:
        torch.set_default_dtype(torch.float32)


# --- proposals ---------------------------------------------------------------------------------------------------------------------


def test_an_exact_proposal_ends_the_search_before_it_begins():
    asked = []

    def prior(table, count, random_state):
        asked.append((table, count, random_state))
        return [Circuit.from_truth_table(ADDER), FULL]

    named = TruthTable.of(ADDER, input_names=("a", "b", "c"), output_names=("p", "q"))
    result = adders(prior=prior, random_state=7).search(named)
    assert asked == [(named, 8, 7)]
    assert result.exact and result.first_exact == 0 and result.history == () and result.solved == 2 / 8
    assert result.circuit.n_gates == 5 and bits_distance(result.circuit, named) == 0
    assert result.circuit.output_names == ("p", "q") and result.gap.hard == 0
    longer = adders(prior=prior, until="smallest", n_steps=20).search(named)
    assert longer.exact and longer.first_exact == 0 and longer.circuit.n_gates <= 5
    assert longer.history[-1].step == 20


def test_nands_are_wanted_of_an_answer_where_nands_are_wanted():
    gates = [Circuit.from_expression("y = a ^ b")]
    assert adders(gate="nand", n_steps=1, prior=lambda *_: gates).search(XOR).first_exact != 0
    nands = Circuit(
        np.full(4, Gate.NAND, np.uint8), np.array([0, 0, 1, 3], np.int32), np.array([1, 2, 2, 4], np.int32),
        np.array([5], np.int32), 2,
    )  # fmt: skip
    assert adders(gate="nand", prior=lambda *_: [nands]).search(XOR).first_exact == 0


def test_fewer_proposals_than_restarts_and_more():
    near = Circuit.from_expression("c = x & y; s = x ^ y ^ z")
    with_none, with_one = (
        adders(n_steps=10, prior=lambda *_, found=found: found).search(ADDER) for found in ([], [near])
    )
    alone = adders(n_steps=10).search(ADDER)
    assert with_none.history == alone.history != with_one.history
    many = adders(n_restarts=2, prior=lambda *_: [FULL] * 5).search(ADDER)
    assert many.solved == 1.0


def test_of_exact_circuits_at_one_check_the_smallest_is_kept():
    large = Circuit.from_expression("c = (x & y) | (x & z) | (y & z); s = (x | y | z) & ~c | x & y & z")
    sizes = [one.simplify().n_gates for one in (large, FULL)]
    # Their outputs are read from inputs: no answers as they are, but the read-out finds the wires.
    begun = [
        Circuit(one.gates, one.left, one.right, np.array([0, 1], np.int32), 3) for one in (large, FULL, large)
    ]
    search = adders(layers=(8,) * 8, n_restarts=3, prior=lambda *_: begun, prior_strength=100.0, prune=True)
    result = search.search(ADDER)
    assert sizes[0] > sizes[1] == 5
    assert result.exact and result.first_exact == 0 and result.solved == 1 and result.circuit.n_gates == 5


def test_a_near_proposal_saves_steps():
    near = Circuit.from_expression("c = (x & y) | (z & (x | y)); s = x ^ y")
    alone, guided = (
        adders(check_every=2, n_restarts=32, prior=prior).search(ADDER)
        for prior in (None, lambda *_: [near] * 32)
    )
    assert guided.exact and guided.first_exact < alone.first_exact


def test_a_pruned_restart_adds_no_gate():
    near = Circuit.from_expression("c = x & y; s = x ^ z")
    result = adders(n_restarts=1, prior=lambda *_: [near], prune=True, n_steps=60).search(ADDER)
    assert not result.exact and result.circuit.n_gates <= 2 + 2  # and a complement for each output
    assert bits_distance(result.circuit, ADDER) == result.bits_distance


def test_a_proposal_of_another_shape_is_refused():
    with pytest.raises(DataError, match="2 inputs and 1 outputs"):
        adders(prior=lambda *_: [Circuit.from_expression("y = a & b")]).search(ADDER)


# --- refusals and pictures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"gate": "xor"}, {"until": "last"}, {"mode": "hard"}, {"layers": ()}, {"layers": (3, 0)}, {"n_restarts": 0}, {"n_steps": 0},
        {"check_every": 0}, {"learning_rate": 0.0}, {"learning_rate": math.nan}, {"learning_rate": math.inf}, {"temperature": (1.0, 0.0)},
        {"temperature": (math.nan, 1.0)}, {"temperature": (1.0,)}, {"noise": -1.0}, {"noise": math.nan}, {"prior_strength": -1.0},
        {"prior_strength": math.nan},
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused(options):
    with pytest.raises(ParameterError, match=next(iter(options))):
        CircuitSearch(**options)


def test_tables_that_cannot_be_searched_are_refused():
    with pytest.raises(DataError, match="a constant needs no search"):
        CircuitSearch().search([1])
    with pytest.raises(ParameterError, match="shape \\(3, 1\\)"):
        CircuitSearch().search([0, 1, 1])


def test_the_result_draws_its_history_and_is_written():
    pytest.importorskip("matplotlib").use("agg")
    result = adders(n_steps=20).search(ADDER)
    axis = result.plot()
    assert [len(line.get_xdata()) for line in axis.lines] == [len(result.history)] * 3
    np.testing.assert_array_equal(axis.lines[0].get_ydata(), [check.loss for check in result.history])
    np.testing.assert_array_equal(axis.lines[2].get_ydata(), [check.solved for check in result.history])
