"""Whether two circuits have the same function: proven, refuted by an input, or undecided. Never imports torch.

Provers, in turn: the builder (equal structure), all inputs of what is left (up to 20 of them), samples that refute, decision diagrams of
our own within a budget, and a SAT solver where the package python-sat is installed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.bit_words import unpack_bits
from hardgrad.core.errors import DataError
from hardgrad.logic.circuit import Circuit, all_inputs
from hardgrad.logic.circuit_build import FALSE, TRUE, NetworkBuilder
from hardgrad.logic.decision_diagrams import first_true_input
from hardgrad.logic.program import without_unused_inputs

MOST_TRIED_INPUTS = 20
SAMPLE_WORDS = 1024


@dataclass(frozen=True)
class EquivalenceResult:
    """What is known of two circuits.

    Parameters
    ----------
    equal : True is proven, False is refuted by the counterexample, None is undecided.
    counterexample : bool [inputs] on which an output differs, or None.
    method : what decided: "structure", "all inputs", "samples", "decision diagrams", "SAT", or "none".
    """

    equal: bool | None
    counterexample: NDArray[np.bool_] | None
    method: str


def equivalence(first: Circuit, second: Circuit, *, time_limit: float = 60.0) -> EquivalenceResult:
    """Prove that two circuits have the same function of their inputs, in order, or find an input where they differ.

    Parameters
    ----------
    first, second : circuits of as many inputs and outputs; names do not matter.
    time_limit : seconds, roughly, for what is not quick.

    Returns
    -------
    result : `equal` is None where nobody could decide in time; never a silent yes.

    Raises
    ------
    DataError : the circuits have different numbers of inputs or outputs.

    Examples
    --------
    >>> exclusive = Circuit.from_expression("y = a ^ b")
    >>> equivalence(exclusive, Circuit.from_expression("y = (a | b) & ~(a & b)")).equal
    True
    >>> equivalence(exclusive, Circuit.from_expression("y = a | b")).counterexample.tolist()
    [True, True]
    """
    if (first.n_inputs, first.n_outputs) != (second.n_inputs, second.n_outputs):
        raise DataError(
            f"cannot compare a circuit of {first.n_inputs} inputs and {first.n_outputs} outputs with one of {second.n_inputs} and "
            f"{second.n_outputs}."
        )
    end = time.monotonic() + time_limit
    net, signals = _difference(first, second)
    if all(signal == FALSE for signal in signals):
        return EquivalenceResult(True, None, "structure")
    if TRUE in signals:
        return EquivalenceResult(False, np.zeros(first.n_inputs, bool), "structure")
    miter = _any_of(net, signals)
    small, used = without_unused_inputs(miter)
    if small.n_inputs <= MOST_TRIED_INPUTS:
        found = _first_one(small, all_inputs(small.n_inputs), 1 << small.n_inputs)
        return _answer(found, used, first.n_inputs, "all inputs", proven=True)
    words = np.random.default_rng(0).integers(0, 1 << 64, (small.n_inputs, SAMPLE_WORDS), np.uint64)
    found = _first_one(small, words, 64 * SAMPLE_WORDS)
    if found is not None:
        return _answer(found, used, first.n_inputs, "samples", proven=False)
    for method, prove in (("decision diagrams", first_true_input), ("SAT", _satisfied)):
        decided, found = prove(small, end)
        if decided:
            return _answer(found, used, first.n_inputs, method, proven=True)
    return EquivalenceResult(None, None, "none")


def _difference(first: Circuit, second: Circuit) -> tuple[NetworkBuilder, list[int]]:
    """Both circuits in one network, and which of their outputs differ."""
    net = NetworkBuilder(first.n_inputs)
    inputs = [net.input(i) for i in range(first.n_inputs)]
    return net, [
        net.differ(a, b) for a, b in zip(net.add(first, inputs), net.add(second, inputs), strict=True)
    ]


def _any_of(net: NetworkBuilder, signals: list[int]) -> Circuit:
    while len(signals) > 1:  # a balanced tree
        pairs = [net.either(a, b) for a, b in zip(signals[::2], signals[1::2], strict=False)]
        signals = pairs + signals[len(pairs) * 2 :]
    return net.circuit(signals)


def _first_one(miter: Circuit, words: NDArray[np.uint64], rows: int) -> NDArray[np.bool_] | None:
    hit = np.flatnonzero(unpack_bits(miter.evaluate_packed(words)[0], rows))
    if not len(hit):
        return None
    word, bit = divmod(int(hit[0]), 64)
    return (words[:, word] >> np.uint64(bit) & np.uint64(1)).astype(bool)


def _answer(
    found: NDArray[np.bool_] | None, used: NDArray[np.int32], n_inputs: int, method: str, *, proven: bool
) -> EquivalenceResult:
    if found is None:
        return EquivalenceResult(True if proven else None, None, method)
    example = np.zeros(n_inputs, bool)
    example[used] = found
    return EquivalenceResult(False, example, method)


def _satisfied(miter: Circuit, end: float) -> tuple[bool, NDArray[np.bool_] | None]:
    """An input that makes the only output 1, by a SAT solver; undecided where there is none, or no time."""
    try:
        from pysat.solvers import Solver
    except ImportError:
        return False, None
    with Solver(name="cadical153", bootstrap_with=clauses(miter)) as solver:
        return _solve(solver, miter.n_inputs, end)


def _solve(solver: Any, n_inputs: int, end: float) -> tuple[bool, NDArray[np.bool_] | None]:
    answer = solver.solve()
    if answer is None:
        return False, None
    if not answer:
        return True, None
    model = solver.get_model()
    values = np.array([literal > 0 for literal in model[:n_inputs]])
    return True, np.concatenate([values, np.zeros(n_inputs - len(values), bool)])


def clauses(circuit: Circuit) -> list[list[int]]:
    """Return the clauses, after Tseitin, that say that every gate does what it says and that output 0 is 1.

    Variable w + 1 is wire w. An AND takes three clauses, an XOR four.
    """
    found: list[list[int]] = []
    for wire, (gate, a, b) in enumerate(
        zip(circuit.gates.tolist(), circuit.left.tolist(), circuit.right.tolist(), strict=True),
        circuit.n_inputs + 1,
    ):
        found += _clauses_of(gate, wire, a + 1, b + 1)
    return [*found, [int(circuit.outputs[0]) + 1]]


def _clauses_of(gate: int, out: int, a: int, b: int) -> list[list[int]]:
    rows = [(x, y, gate >> (3 - 2 * x - y) & 1) for x in (0, 1) for y in (0, 1)]
    ones = sum(value for _, _, value in rows)
    if ones in (0, 4):
        return [[out if ones else -out]]
    if ones in (1, 3):  # one row says it all; each operand alone excludes it
        lone = ones == 1
        x, y, _ = next(row for row in rows if row[2] == lone)
        p, q, r = (a if x else -a), (b if y else -b), (out if lone else -out)
        return [[-p, -q, r], [p, -r], [q, -r]]
    return [[-a if x else a, -b if y else b, out if value else -out] for x, y, value in rows]
