"""Program: the gates of a circuit in the order in which compiled runtimes evaluate them, and where values lie. Never imports torch.

Gates come level by level. A value keeps its place in memory until its last reader is done; then the place is used again, and what a
runtime touches stays small.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.logic.gate_ids import Gate

if TYPE_CHECKING:
    from hardgrad.logic.circuit import Circuit

Ints = NDArray[np.int32]

# A gate whose operands change sides becomes another one: id bits are the rows 00, 01, 10, 11.
SWAPPED = np.array([gate & 9 | (gate >> 1 & 2) | (gate << 1 & 4) for gate in range(16)], np.uint8)
# The same where an operand is complemented.
NOT_A = np.array([gate >> 2 & 3 | gate << 2 & 12 for gate in range(16)], np.uint8)
NOT_B = np.array([gate >> 1 & 5 | gate << 1 & 10 for gate in range(16)], np.uint8)

_ROWS = np.arange(16)[:, None] >> np.array([3, 2, 1, 0]) & 1
READS: NDArray[np.bool_] = np.stack(
    [(_ROWS[:, :2] != _ROWS[:, 2:]).any(axis=1), (_ROWS[:, ::2] != _ROWS[:, 1::2]).any(axis=1)], axis=1
)
"""[16, 2], whether a gate depends on a, and on b."""
FORMULA: NDArray[np.bool_] = np.stack(
    [_ROWS[:, 0], _ROWS[:, 0] ^ _ROWS[:, 2], _ROWS[:, 0] ^ _ROWS[:, 1], np.bitwise_xor.reduce(_ROWS, axis=1)],
    axis=1,
).astype(bool)
"""[16, 4], each gate as c0 ^ c1 a ^ c2 b ^ c3 ab: one formula for all, so that a runtime has one loop and no branch."""
MASKS: NDArray[np.uint64] = np.where(FORMULA, ~np.uint64(0), np.uint64(0))
"""The same as words, uint64 [16, 4]."""


@dataclass(frozen=True)
class Program:
    """What a runtime executes: one gate after the other, on places that hold 64 or more rows each.

    Parameters
    ----------
    gate : uint8 [gates].
    left, right, target : int32 [gates], the places that a gate reads and the one that it writes, never one that it reads.
    input_wire, input_place : int32; the inputs that anything reads, and where they are put first.
    output_place : int32 [outputs].
    n_inputs : inputs of the circuit.
    n_places : places in all.
    """

    gate: NDArray[np.uint8]
    left: Ints
    right: Ints
    target: Ints
    input_wire: Ints
    input_place: Ints
    output_place: Ints
    n_inputs: int
    n_places: int


@dataclass(frozen=True)
class Work:
    """What a call gives a runtime and asks of it; an array without elements is not given, or not asked for.

    Parameters
    ----------
    n_rows : number of rows.
    words : uint64 [inputs, words], packed inputs; or
    rows : uint8 [n_rows, inputs], rows of bytes 0 and 1.
    out : uint64 [outputs, words], packed outputs.
    counts : int32 [n_rows, groups]; winner : int32 [n_rows].
    """

    n_rows: int
    words: NDArray[np.uint64] = field(default_factory=lambda: np.empty((0, 0), np.uint64))
    rows: NDArray[np.uint8] = field(default_factory=lambda: np.empty((0, 0), np.uint8))
    out: NDArray[np.uint64] = field(default_factory=lambda: np.empty((0, 0), np.uint64))
    counts: Ints = field(default_factory=lambda: np.empty((0, 0), np.int32))
    winner: Ints = field(default_factory=lambda: np.empty(0, np.int32))


def make_program(circuit: Circuit) -> Program:
    """Return the program of a circuit: gates that no output depends on are left out."""
    live = live_wires(circuit)
    first = circuit.n_inputs
    wires = first + np.flatnonzero(live[first:])
    gate, a, b = circuit.gates[wires - first], circuit.left[wires - first], circuit.right[wires - first]
    a, b = (
        np.where(READS[gate, 0], a, b),
        np.where(READS[gate, 1], b, a),
    )  # an operand that decides nothing is not read
    swap = a > b  # the operand that lies first is read first, whichever side it was on
    gate, a, b = np.where(swap, SWAPPED[gate], gate), np.where(swap, b, a), np.where(swap, a, b)
    order = np.lexsort((b, a, circuit.levels[wires]))
    wires, gate, a, b = wires[order], gate[order], a[order], b[order]
    inputs = np.flatnonzero(live[:first])
    reads = (gate != Gate.FALSE) & (gate != Gate.TRUE)
    place, used = _places(wires, np.where(reads, a, -1), np.where(reads, b, -1), inputs, circuit)
    return Program(
        gate.astype(np.uint8), _ints(place[a] * reads), _ints(place[b] * reads), _ints(place[wires]), _ints(inputs),
        _ints(place[inputs]), _ints(place[circuit.outputs]), first, max(used, 1),
    )  # fmt: skip


def _places(
    wires: NDArray[np.int64],
    a: NDArray[np.int32],
    b: NDArray[np.int32],
    inputs: NDArray[np.int64],
    circuit: Circuit,
) -> tuple[NDArray[np.int64], int]:
    """Where each wire's value lies, and how many places there are. The place that was freed last is taken first: it is the nearest."""
    last = [-1] * circuit.n_wires
    for number, (x, y) in enumerate(zip(a.tolist(), b.tolist(), strict=True)):
        if x >= 0:
            last[x] = last[y] = number
    for wire in circuit.outputs.tolist():
        last[wire] = len(wires)
    place = [0] * circuit.n_wires
    for number, wire in enumerate(inputs.tolist()):
        place[wire] = number
    used, free = len(inputs), list[int]()
    for number, (wire, x, y) in enumerate(zip(wires.tolist(), a.tolist(), b.tolist(), strict=True)):
        if free:
            place[wire] = free.pop()
        else:
            place[wire], used = used, used + 1
        if x >= 0:
            if last[x] == number:
                free.append(place[x])
            if last[y] == number and y != x:
                free.append(place[y])
    return np.array(place, np.int64).reshape(-1), used


def live_wires(circuit: Circuit) -> NDArray[np.bool_]:
    """Return which wires an output depends on, bool [wires]."""
    live = np.zeros(circuit.n_wires, bool)
    live[circuit.outputs] = True
    marks = live.tolist()
    reads_left, reads_right = (READS[circuit.gates, side].tolist() for side in (0, 1))
    left, right = circuit.left.tolist(), circuit.right.tolist()
    for g in range(circuit.n_gates - 1, -1, -1):
        if marks[circuit.n_inputs + g]:
            if reads_left[g]:
                marks[left[g]] = True
            if reads_right[g]:
                marks[right[g]] = True
    return np.array(marks, bool)


def operands(circuit: Circuit, wire: int) -> list[tuple[int, int]]:
    """Return what a wire depends on directly, as (side, wire): side 0 is a, 1 is b; nothing for inputs and constants."""
    g = wire - circuit.n_inputs
    if g < 0:
        return []
    reads = READS[circuit.gates[g]].tolist()
    return [(side, int(wires[g])) for side, wires in enumerate((circuit.left, circuit.right)) if reads[side]]


def without_unused_inputs(circuit: Circuit) -> tuple[Circuit, Ints]:
    """Return the circuit on the inputs that an output depends on, and their numbers, int32."""
    used = circuit.program.input_wire
    place = np.zeros(circuit.n_wires, np.int32)
    place[used] = np.arange(len(used))
    place[circuit.n_inputs :] = len(used) + np.arange(circuit.n_gates)
    live = (
        live_wires(circuit)[circuit.n_inputs :] & (circuit.gates != Gate.FALSE) & (circuit.gates != Gate.TRUE)
    )
    gates = np.where(live | (circuit.gates == Gate.TRUE), circuit.gates, 0).astype(
        np.uint8
    )  # a dead gate may read an input that goes
    left, right = _ints(place[circuit.left] * live), _ints(place[circuit.right] * live)
    names = tuple(circuit.input_names[i] for i in used.tolist()) if circuit.input_names else ()
    small = type(circuit)(gates, left, right, place[circuit.outputs], len(used), names, circuit.output_names)
    return small, used


def _ints(values: NDArray[Any]) -> Ints:
    return values.astype(np.int32)
