"""The reference runtime of circuits: one NumPy operation for all gates of a kind in a level. Never imports torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hardgrad.logic.gate_ids import Gate
from hardgrad.logic.program import Program

Words = NDArray[np.uint64]
STATE_WORDS = 1 << 21
"""Words of all places together that are held at once: 16 MiB."""


def run_program(program: Program, words: Words) -> Words:
    """Return packed outputs, uint64 [outputs, w], of packed inputs [inputs, w]."""
    count = words.shape[1]
    out = np.empty((len(program.output_place), count), np.uint64)
    lanes = max(1, STATE_WORDS // program.n_places)
    steps = _steps(program)
    for start in range(0, count, lanes):
        part = words[:, start : start + lanes]
        state = np.empty((program.n_places, part.shape[1]), np.uint64)
        state[program.input_place] = part[program.input_wire]
        for gate, left, right, target in steps:
            state[target] = apply_gate(gate, state[left], state[right])
        out[:, start : start + lanes] = state[program.output_place]
    return out


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


def _steps(program: Program) -> list[tuple[int, NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]]:
    """Gates of one kind and one level, together."""
    found = []
    for start, stop in zip(program.level_start[:-1].tolist(), program.level_start[1:].tolist(), strict=True):
        gate = program.gate[start:stop]
        for kind in np.unique(gate).tolist():
            own = start + np.flatnonzero(gate == kind)
            found.append((kind, program.left[own], program.right[own], program.target[own]))
    return found
