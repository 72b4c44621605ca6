"""The reference runtime of circuits: one NumPy operation for all gates of a kind in a level. Never imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hardgrad.logic.gate_ids import Gate
from hardgrad.logic.program import MASKS

if TYPE_CHECKING:
    from hardgrad.logic.circuit import Circuit

Words = NDArray[np.uint64]
STATE_WORDS = 1 << 21
"""Words of all wires together that are held at once: 16 MiB."""


def evaluate_packed(circuit: Circuit, words: Words) -> Words:
    """Return packed outputs, uint64 [outputs, w], of packed inputs [inputs, w]."""
    count = words.shape[1]
    out = np.empty((circuit.n_outputs, count), np.uint64)
    lanes = max(1, STATE_WORDS // max(circuit.n_wires, 1))
    for start in range(0, count, lanes):
        out[:, start : start + lanes] = all_signals(circuit, words[:, start : start + lanes])[circuit.outputs]
    return out


def all_signals(circuit: Circuit, words: Words) -> Words:
    """Return every wire's value, uint64 [wires, w], for packed inputs [inputs, w]."""
    state = np.empty((circuit.n_wires, words.shape[1]), np.uint64)
    state[: circuit.n_inputs] = words
    for gates in circuit.steps:
        kind = int(circuit.gates[gates[0]])
        state[circuit.n_inputs + gates] = apply_gate(
            kind, state[circuit.left[gates]], state[circuit.right[gates]]
        )
    return state


def steps(circuit: Circuit) -> list[NDArray[np.int64]]:
    """Return the gates in an order of evaluation, those of one kind and one level together."""
    level = circuit.levels[circuit.n_inputs :]
    order = np.lexsort((circuit.gates, level))
    key = level[order].astype(np.int64) * 16 + circuit.gates[order]
    return np.split(order, np.flatnonzero(np.diff(key)) + 1) if len(order) else []


def apply_gate(gate: int, a: Words, b: Words) -> Words:
    """Return the gate of every pair of bits of two arrays of words."""
    if gate >= Gate.NOR:  # the upper half are the complements of the lower
        return ~apply_gate(15 - gate, a, b)
    match gate:
        case Gate.FALSE:
            return np.zeros_like(a)
        case Gate.AND:
            return a & b
        case Gate.A_AND_NOT_B:
            return a & ~b
        case Gate.A:
            return a
        case Gate.B_AND_NOT_A:
            return b & ~a
        case Gate.B:
            return b
        case Gate.XOR:
            return a ^ b
        case _:
            return a | b


def apply_gates(gates: NDArray[np.uint8], a: Words, b: Words) -> Words:
    """Return the same for gates of any kinds: ids that broadcast to the shape of the words."""
    none, of_a, of_b, of_both = np.moveaxis(MASKS[gates], -1, 0)
    return np.asarray(none ^ of_a & a ^ of_b & b ^ of_both & a & b)
