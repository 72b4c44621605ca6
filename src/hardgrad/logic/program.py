"""Program: the gates of a circuit in the order in which runtimes evaluate them, and where their values lie meanwhile. Never imports torch.

Gates are put in levels, so that a gate follows what it reads. A value keeps its place in memory until nothing reads it any more; then
the place is used again, and what a runtime touches stays small.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.logic.gate_ids import Gate

if TYPE_CHECKING:
    from hardgrad.logic.circuit import Circuit

Ints = NDArray[np.int32]

# A gate whose operands change sides becomes another one: id bits are the rows 00, 01, 10, 11.
SWAPPED = np.array([gate & 9 | (gate >> 1 & 2) | (gate << 1 & 4) for gate in range(16)], np.uint8)

_ROWS = np.arange(16)[:, None] >> np.array([3, 2, 1, 0]) & 1
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
    level_start : int32 [levels + 1]; the gates `level_start[k]:level_start[k + 1]` do not depend on each other.
    input_wire, input_place : int32; the inputs that anything reads, and where they are put first.
    output_place : int32 [outputs].
    n_inputs : inputs of the circuit.
    n_places : places in all.
    """

    gate: NDArray[np.uint8]
    left: Ints
    right: Ints
    target: Ints
    level_start: Ints
    input_wire: Ints
    input_place: Ints
    output_place: Ints
    n_inputs: int
    n_places: int


def make_program(circuit: Circuit) -> Program:
    """Return the program of a circuit: gates that no output depends on are left out."""
    live = live_wires(circuit)
    first = circuit.n_inputs
    level, wires = circuit.levels, first + np.flatnonzero(live[first:])
    gate, a, b = circuit.gates[wires - first], circuit.left[wires - first], circuit.right[wires - first]
    swap = a > b  # the operand that lies first is read first, whichever side it was on
    gate, a, b = np.where(swap, SWAPPED[gate], gate), np.where(swap, b, a), np.where(swap, a, b)
    constant = (gate == Gate.FALSE) | (gate == Gate.TRUE)
    level = level + int(constant.any())  # constants are written in a level before all others
    level[wires[constant]] = 1
    level[:first] = 0
    order = np.lexsort((b, a, level[wires]))
    wires, gate, a, b = wires[order], gate[order], a[order], b[order]
    count = int(level[wires].max(initial=0))
    starts = np.searchsorted(level[wires], np.arange(1, count + 2)).astype(np.int32)
    places = _Places(circuit, live, level, wires, a, b)
    for start, stop in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        places.run_level(wires[start:stop])
    place = places.place
    inputs = np.flatnonzero(live[:first]).astype(np.int32)
    read = (gate != Gate.FALSE) & (gate != Gate.TRUE)
    return Program(
        gate.astype(np.uint8), _ints(place[a] * read), _ints(place[b] * read), _ints(place[wires]), starts,
        inputs, _ints(place[inputs]), _ints(place[circuit.outputs]), first, max(places.used, 1),
    )  # fmt: skip


def live_wires(circuit: Circuit) -> NDArray[np.bool_]:
    """Return which wires an output depends on, bool [wires]."""
    live = np.zeros(circuit.n_wires, bool)
    live[circuit.outputs] = True
    marks = live.tolist()
    gates, left, right = circuit.gates.tolist(), circuit.left.tolist(), circuit.right.tolist()
    for g in range(circuit.n_gates - 1, -1, -1):
        if marks[circuit.n_inputs + g] and 0 < gates[g] < 15:
            marks[left[g]] = marks[right[g]] = True
    return np.array(marks, bool)


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


class _Places:
    """Gives every value a place, and the place to another one once its last reader is done."""

    def __init__(self, circuit: Circuit, live: Any, level: Any, wires: Any, a: Any, b: Any) -> None:
        last = np.zeros(circuit.n_wires, np.int64)
        for operand in (a, b):
            np.maximum.at(last, operand, level[wires])
        last[wires] = np.maximum(last[wires], level[wires])
        last[circuit.outputs] = np.iinfo(np.int64).max
        inputs = np.flatnonzero(live[: circuit.n_inputs])
        self.place = np.zeros(circuit.n_wires, np.int64)
        self.place[inputs] = np.arange(len(inputs))
        self.used = len(inputs)
        self._free = np.zeros(0, np.int64)
        self._level = 0
        known = np.concatenate([inputs, wires])
        known = known[np.argsort(last[known], kind="stable")]
        self._ending = known
        self._ends = np.searchsorted(
            last[known], np.arange(int(level[wires].max(initial=0)) + 2), side="left"
        )

    def run_level(self, wires: Any) -> None:
        """Place the results of a level, then free what it was the last to read."""
        self._level += 1
        reused = min(len(wires), len(self._free))
        fresh = np.arange(self.used, self.used + len(wires) - reused)
        self.place[wires] = np.concatenate([self._free[:reused], fresh])
        self.used += len(fresh)
        ended = self._ending[self._ends[self._level] : self._ends[self._level + 1]]
        self._free = np.sort(np.concatenate([self._free[reused:], self.place[ended]]))


def _ints(values: NDArray[Any]) -> Ints:
    return values.astype(np.int32)
