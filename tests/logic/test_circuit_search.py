"""The search: read-outs recounted gate by gate, the network against its circuits, and searches that end, resume and begin at proposals."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from random_circuits import plain_evaluation, random_circuit

from hardgrad.core.errors import DataError, ParameterError
from hardgrad.logic import Circuit, CircuitSearch, Gate, TruthTable, bits_distance
from hardgrad.logic.gate_ids import truth_rows
from hardgrad.logic.search_network import SearchNetwork
from hardgrad.logic.search_readout import Candidates
from hardgrad.train.checkpoint import checkpointing
from hardgrad.train.progress import listen

ADDER = TruthTable.from_callable(lambda x: np.stack([x.sum(axis=1) >= 2, x.sum(axis=1) % 2], axis=1), 3)
XOR = TruthTable.of([0, 1, 1, 0])
FULL = Circuit.from_expression("c = (x & y) | (z & (x ^ y)); s = x ^ y ^ z")


def same(a, b):
    return all(
        np.array_equal(getattr(a, name), getattr(b, name)) for name in ("gates", "left", "right", "outputs")
    )


# --- reading circuits out ----------------------------------------------------------------------------------------------------------


def candidates(seed, inputs, layers=(5, 4), restarts=4, outputs=3, *, nand=False, free=0.3, usable=None):
    rng = np.random.default_rng(seed)
    first = np.repeat(inputs + np.cumsum([0, *layers[:-1]]), layers)
    left, right = (rng.integers(0, first, (restarts, len(first))) for _ in range(2))
    gates = np.full(left.shape, 14) if nand else rng.integers(0, 16, left.shape)
    wanted = rng.random((1 << inputs, outputs)) < 0.5
    wanted[:, -1] = seed % 2  # a constant output
    table = TruthTable.of(wanted, care=rng.random(wanted.shape) >= free)
    return Candidates(gates.astype(np.uint8), left, right, layers, table, usable)


def plain_wires(found, restart):
    """The values of all wires of a restart, and of the constant 0, row by row."""
    n, gates = found.table.n_inputs, found.gates.shape[1]
    every = np.arange(n + gates, dtype=np.int32)
    circuit = Circuit(
        found.gates[restart],
        *(
            np.where(np.isin(found.gates[restart], (0, 15)), 0, side[restart]).astype(np.int32)
            for side in (found.left, found.right)
        ),
        every,
        n,
    )
    values = plain_evaluation(circuit, truth_rows(n))
    return np.concatenate([values, np.zeros((len(values), 1), bool)], axis=1)


@pytest.mark.parametrize("inputs", range(1, 8))
@pytest.mark.parametrize("nand", [False, True])
def test_the_read_out_takes_the_nearest_wire_of_all_and_counts_what_is_wrong(inputs, nand):
    found = candidates(inputs, inputs, nand=nand)
    table = found.table
    for restart in range(4):
        wires = plain_wires(found, restart)
        apart = (wires[:, :, None] != table.outputs[:, None]) & table.care[:, None]
        np.testing.assert_array_equal(found.differences[restart], apart.sum(axis=0))
        near = np.minimum(apart.sum(axis=0), table.care.sum(axis=0) - apart.sum(axis=0)).min(axis=0)
        assert found.distances[restart] == near.sum()
        circuit = found.circuit(restart)
        assert bits_distance(circuit, table) == near.sum()
        assert not nand or set(circuit.gates.tolist()) <= {Gate.NAND}
        assert circuit.n_gates == _needed(circuit)


def _needed(circuit):
    """Gates on the way from an output, found from the outputs down."""
    todo, seen = circuit.outputs.tolist(), set()
    while todo:
        wire = todo.pop()
        if wire < circuit.n_inputs or wire in seen:
            continue
        seen.add(wire)
        gate = int(circuit.gates[wire - circuit.n_inputs])
        f = {(a, b): gate >> (3 - 2 * a - b) & 1 for a, b in product((0, 1), repeat=2)}
        if any(f[0, b] != f[1, b] for b in (0, 1)):
            todo.append(int(circuit.left[wire - circuit.n_inputs]))
        if any(f[a, 0] != f[a, 1] for a in (0, 1)):
            todo.append(int(circuit.right[wire - circuit.n_inputs]))
    return len(seen)


@pytest.mark.parametrize("nand", [False, True])
def test_constants_inputs_and_complements_are_read(nand):
    gates = np.array([[14 if nand else Gate.AND]], np.uint8)
    wanted = np.array([[0, 1, 0, 1, 1, 1], [0, 1, 0, 1, 1, 0], [0, 1, 1, 0, 0, 1], [0, 1, 1, 0, 0, 0]])
    table = TruthTable.of(wanted, input_names=("a", "b"), output_names=tuple("uvwxyz"))
    found = Candidates(gates, np.array([[0]]), np.array([[1]]), (1,), table)
    circuit = found.circuit(0)
    assert found.distances.tolist() == [0]
    np.testing.assert_array_equal(plain_evaluation(circuit, truth_rows(2)), wanted)
    assert circuit.outputs[3] == circuit.outputs[4] and circuit.outputs[2] == 0
    assert (circuit.input_names, circuit.output_names) == (("a", "b"), tuple("uvwxyz"))
    # Two complements and two constants; a constant of NANDs takes two of them, or three, and nothing is shared between outputs but wires.
    counts = {"NAND": 2 + 3 + 2} if nand else {"FALSE": 1, "TRUE": 1, "NOT_A": 2}
    assert circuit.gate_counts() == counts


def test_gates_that_are_closed_are_not_read():
    for seed in range(6):
        usable = np.random.default_rng(seed).random((4, 9)) < 0.4
        found = candidates(seed, 3, usable=usable, free=0.0)
        for restart in range(4):
            wires = plain_wires(found, restart)[:, np.r_[True, True, True, usable[restart], True]]
            apart = (wires[:, :, None] != found.table.outputs[:, None]).sum(axis=0)
            assert found.distances[restart] == np.minimum(apart, 8 - apart).min(axis=0).sum()
            assert bits_distance(found.circuit(restart), found.table) == found.distances[restart]


# --- the network -------------------------------------------------------------------------------------------------------------------


def network(seed=0, *, inputs=3, outputs=2, layers=(4, 3), restarts=3, gate="lut2"):
    return SearchNetwork(
        inputs, outputs, layers, restarts, gate, generator=torch.Generator().manual_seed(seed)
    )


@pytest.mark.parametrize("gate", ["lut2", "nand"])
@pytest.mark.parametrize("mode", ["hard", "st"])
def test_the_hard_network_is_its_circuits(gate, mode):
    model = network(gate=gate)
    rows = torch.from_numpy(truth_rows(3)).float()
    with torch.no_grad():
        said = model(rows, mode=mode)
    found = model.candidates(ADDER)
    chosen = model.outputs.argmax(dim=-1)
    for restart in range(3):
        wires = plain_wires(found, restart)
        expected = wires[:, chosen[restart]].T.astype(float)
        np.testing.assert_array_equal(said[restart], expected)


def test_the_soft_network_is_a_mixture_of_mixtures():
    model = network(layers=(1,), restarts=2, outputs=1)
    x = torch.rand(5, 3, generator=torch.Generator().manual_seed(0))
    said = model(x, temperature=0.7).detach()
    for restart in range(2):
        a, b = (torch.softmax(scores / 0.7, -1) @ x.T for scores in model.wiring[0][restart].detach())
        t = 0.5 + 0.5 * model.tables[0][restart, 0].detach().sin()
        gate = (1 - a) * (1 - b) * t[0] + (1 - a) * b * t[1] + a * (1 - b) * t[2] + a * b * t[3]
        last = torch.softmax(model.outputs[restart, 0].detach() / 0.7, -1)
        torch.testing.assert_close(said[restart, 0], last @ torch.cat([x.T, gate[None]]))


@pytest.mark.parametrize("gate", ["lut2", "nand"])
def test_gradients_are_differences(gate):
    model = network(layers=(2, 2), restarts=2, gate=gate).double()
    model.open[1, 1] = False
    x = torch.rand(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    names = [name for name, _ in model.named_parameters()]

    def loss(*values):
        said = torch.func.functional_call(
            model, dict(zip(names, values, strict=True)), (x,), {"temperature": 0.8}
        )
        return said.square().sum()

    values = [p.detach().clone().requires_grad_() for p in model.parameters()]
    assert torch.autograd.gradcheck(loss, values)


def test_noise_is_drawn_from_the_generator():
    model, x = network(), torch.rand(4, 3, generator=torch.Generator().manual_seed(0))

    def drawn(seed):
        return model(x, noise=1.0, generator=torch.Generator().manual_seed(seed)).detach()

    assert torch.equal(drawn(1), drawn(1)) and not torch.equal(drawn(1), drawn(2))
    assert torch.equal(network(1).outputs, network(1).outputs)
    assert not torch.equal(network(1).outputs, network(2).outputs)


@pytest.mark.parametrize("prune", [False, True])
def test_a_strong_proposal_is_the_circuit_of_its_restart(prune):
    model = network(layers=(4, 4, 4))
    before = [p.detach().clone() for p in model.parameters()]
    assert model.propose(1, FULL, 100.0, prune=prune) == FULL.n_gates == 5
    rows = torch.from_numpy(truth_rows(3)).float()
    with torch.no_grad():
        np.testing.assert_array_equal(model(rows, mode="hard")[1].T, FULL.truth_table())
    for old, new in zip(before, model.parameters(), strict=True):
        assert torch.equal(old[[0, 2]], new[[0, 2]])
    found = model.candidates(TruthTable.of(FULL))
    assert found.distances[1] == 0
    if prune:
        assert found.usable[1].sum() == 5 and found.usable[[0, 2]].all()
        assert model.open[1].sum() == 8


def test_gates_without_room_are_left_out_with_what_reads_them():
    chain = Circuit.from_expression("a0 = ((x & y) ^ z) | x; b0 = x ^ z")
    model = network(layers=(1, 1), outputs=2)
    assert model.propose(0, chain, 3.0) == 2  # x & y and what reads it; then there is no room
    with pytest.raises(DataError, match="proposal of 3 inputs and 1 outputs; expected 3 and 2"):
        model.propose(0, Circuit.from_expression("q = a & b & c"), 3.0)


def test_a_closed_wire_is_never_read():
    model = network(layers=(3, 3, 3), restarts=2)
    model.propose(0, Circuit.from_expression("c = x & y; s = z ^ (x & y)"), 3.0, prune=True)
    closed = ~model.open[0]
    assert closed.sum() == 7
    x = torch.rand(4, 3, generator=torch.Generator().manual_seed(0))
    said = model(x)
    said[0].sum().backward()
    for k, scores in enumerate([*model.wiring, model.outputs]):
        gradient = scores.grad[0][..., closed[: scores.shape[-1]]]
        assert (gradient == 0).all(), k
    with torch.no_grad():
        for scores in [*model.wiring, model.outputs]:
            scores[0][..., closed[: scores.shape[-1]]] = 1e4  # the highest score of all
    assert torch.equal(model(x)[0], said[0])
    found = model.candidates(ADDER)
    assert not (closed[found.left[0]] | closed[found.right[0]]).any()


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
