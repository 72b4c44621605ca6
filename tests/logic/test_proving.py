"""Proofs: every prover decides rightly, a counterexample is one, and there is no silent yes."""

from __future__ import annotations

import builtins

import numpy as np
import pytest
from random_circuits import layered_circuit, random_circuit

from hardgrad.core.errors import DataError
from hardgrad.logic import Circuit
from hardgrad.logic.proving import clauses, equivalence


def adder(bits: int, *, other: bool) -> Circuit:
    """An adder that ripples, written in one of two ways; inputs a0, b0, a1, b1, .."""
    lines, carry = [], "0"
    for i in range(bits):
        a, b = f"a{i}", f"b{i}"
        lines.append(f"s{i} = {a} ^ {b} ^ ({carry})")
        lines.append(
            f"c{i} = ({a} & {b}) | (({carry}) & ({a} | {b}))"
            if other
            else f"c{i} = ({carry}) if {a} ^ {b} else {b}"
        )
        carry = f"c{i}"
    names = [name for i in range(bits) for name in (f"a{i}", f"b{i}")]
    return Circuit.from_expression("; ".join(lines), inputs=names)


def changed(circuit: Circuit, gate: int) -> Circuit:
    gates = circuit.gates.copy()
    gates[gate] ^= 2  # one row of one table
    return Circuit(gates, circuit.left, circuit.right, circuit.outputs, circuit.n_inputs)


def check(first: Circuit, second: Circuit):
    result = equivalence(first, second)
    if result.counterexample is not None:
        row = result.counterexample[None]
        assert (first.evaluate(row) != second.evaluate(row)).any()
    assert (result.equal is False) == (result.counterexample is not None)
    return result


@pytest.mark.parametrize("seed", range(40))
def test_small_circuits_are_decided_by_all_their_inputs(seed):
    first = random_circuit(seed, inputs=6, gates=30, outputs=2)
    second = random_circuit(seed + 1, inputs=6, gates=30, outputs=2) if seed % 2 else first.simplify()
    assert check(first, second).equal == bool((first.truth_table() == second.truth_table()).all())


def test_equal_structure_needs_no_search():
    wide = layered_circuit(0, 100, [200, 50])
    assert check(wide, wide.simplify()).method == "structure"


def test_samples_refute():
    first, second = adder(16, other=False), changed(adder(16, other=True), 40)
    result = check(first, second)
    assert result.equal is False and result.method in ("samples", "structure")


def test_decision_diagrams_prove():
    assert check(adder(16, other=False), adder(16, other=True)).method == "decision diagrams"


def test_a_difference_on_one_input_of_many_is_found():
    names = [f"x{i}" for i in range(40)]
    every = Circuit.from_expression(" & ".join(names))
    none = Circuit.from_expression("0 & x0", inputs=names)
    result = check(every, none)
    assert result.equal is False and result.counterexample.all() and result.method == "decision diagrams"


def multiplier(bits: int, *, swap: bool) -> Circuit:
    names = [f"{side}{i}" for side in "ab" for i in range(bits)]
    x, y = ("b", "a") if swap else ("a", "b")
    lines = [f"p{j} = {x}{j} & {y}0" for j in range(bits)]
    row = [f"p{j}" for j in range(bits)] + ["0"]
    outputs = []
    for i in range(1, bits):
        outputs.append(row[0])
        carry, following = "0", []
        for j in range(bits):
            t, u = f"t{i}_{j}", f"u{i}_{j}"
            lines += [f"{t} = {x}{j} & {y}{i}", f"{u} = {t} ^ ({row[j + 1]})", f"z{i}_{j} = {u} ^ ({carry})"]
            lines.append(f"k{i}_{j} = ({t} & ({row[j + 1]})) | ({u} & ({carry}))")
            carry = f"k{i}_{j}"
            following.append(f"z{i}_{j}")
        row = [*following, carry]
    lines += [f"out{n} = {name} & 1" for n, name in enumerate([*outputs, *row])]
    whole = Circuit.from_expression("; ".join(lines), inputs=names)
    kept = [n for n, name in enumerate(whole.output_names) if name.startswith("out")]
    return Circuit(whole.gates, whole.left, whole.right, whole.outputs[kept], whole.n_inputs)


def test_multipliers_multiply():
    circuit = multiplier(4, swap=False)
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 16, (2, 50))
    bits = [
        [x >> i & 1 for i in range(4)] + [y >> i & 1 for i in range(4)] for x, y in zip(a, b, strict=True)
    ]
    product = circuit.evaluate(bits) @ (1 << np.arange(8))
    assert product.tolist() == (a * b).tolist()


def test_a_solver_proves_what_diagrams_cannot(monkeypatch):
    pytest.importorskip("pysat")
    import hardgrad.logic.proving as module

    monkeypatch.setattr(module, "MOST_TRIED_INPUTS", 4)
    monkeypatch.setattr(module, "first_true_input", lambda *_: (False, None))
    result = check(multiplier(4, swap=False), multiplier(4, swap=True))
    assert result.equal is True and result.method == "SAT"
    wrong = changed(multiplier(4, swap=True), 3)
    assert check(multiplier(4, swap=False), wrong).equal is False


def test_without_a_prover_there_is_no_yes(monkeypatch):
    import hardgrad.logic.decision_diagrams as diagrams

    real = builtins.__import__

    def missing(name, *rest):
        if name.startswith("pysat"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    monkeypatch.setattr(diagrams, "MOST_NODES", 10)
    result = equivalence(adder(16, other=False), adder(16, other=True))
    assert result.equal is None and result.method == "none"


def test_clauses_say_the_circuit():
    """Of all assignments, those that satisfy the clauses are the rows in which output 0 is 1."""
    circuit = random_circuit(5, inputs=4, gates=8, outputs=1)
    found = []
    for number in range(1 << circuit.n_wires):
        wires = [number >> w & 1 for w in range(circuit.n_wires)]
        if all(
            any((literal > 0) == bool(wires[abs(literal) - 1]) for literal in clause)
            for clause in clauses(circuit)
        ):
            found.append(tuple(wires[:4]))
    rows = [tuple(int(x >> (3 - i) & 1) for i in range(4)) for x in range(16)]
    assert sorted(found) == [
        row for row, value in zip(rows, circuit.truth_table()[:, 0], strict=True) if value
    ]


def test_different_shapes_cannot_be_compared():
    with pytest.raises(DataError, match="cannot compare a circuit of 2 inputs"):
        equivalence(Circuit.from_expression("a & b"), Circuit.from_expression("a & b & c"))
