"""The search's network and its read-out: wires recounted gate by gate, the hard network against its circuits, gradients, proposals."""

from itertools import product

import numpy as np
import pytest
import torch
from random_circuits import plain_evaluation

from hardgrad.core.errors import DataError
from hardgrad.logic import Circuit, Gate, TruthTable, bits_distance
from hardgrad.logic.gate_ids import truth_rows
from hardgrad.logic.search_network import SearchNetwork
from hardgrad.logic.search_readout import Candidates

ADDER = TruthTable.from_callable(lambda x: np.stack([x.sum(axis=1) >= 2, x.sum(axis=1) % 2], axis=1), 3)
FULL = Circuit.from_expression("c = (x & y) | (z & (x ^ y)); s = x ^ y ^ z")


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
