"""Decision diagrams of a circuit, within a budget: whether an output is ever 1, and where. Never imports torch.

Reduced and ordered by the inputs as they are first reached from the output. A node is stored once, so that a function that is never 1 is
the constant, and needs no search. Made for proofs of one output; the package dd does far more.
"""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from hardgrad.logic.circuit import Circuit

MOST_NODES = 400_000


class _Diagrams:
    """Nodes (input, low, high), each stored once; node 0 is false and node 1 is true."""

    def __init__(self, n_inputs: int, end: float) -> None:
        self.level = [n_inputs, n_inputs]
        self.low, self.high = [0, 1], [0, 1]
        self._known: dict[tuple[int, int, int], int] = {}
        self._applied: dict[tuple[int, int, int], int] = {}
        self._end = end

    def node(self, level: int, low: int, high: int) -> int:
        if low == high:
            return low
        key = (level, low, high)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = len(self.level)
            if found > MOST_NODES or (found % 1024 == 0 and time.monotonic() > self._end):
                raise _OutOfBudget
            self.level.append(level)
            self.low.append(low)
            self.high.append(high)
        return found

    def apply(self, gate: int, a: int, b: int) -> int:
        """The diagram of a gate of two diagrams; without recursion, because circuits may be deep."""
        waiting = [(gate, a, b)]
        done = self._applied
        while waiting:
            key = waiting[-1]
            if key in done:
                waiting.pop()
                continue
            _, x, y = key
            if x < 2 and y < 2:
                done[key] = gate >> (3 - 2 * x - y) & 1
                continue
            level = min(self.level[x], self.level[y])
            parts = [
                (gate, side[x] if self.level[x] == level else x, side[y] if self.level[y] == level else y)
                for side in (self.low, self.high)
            ]
            missing = [part for part in parts if part not in done]
            if missing:
                waiting += missing
            else:
                done[key] = self.node(level, done[parts[0]], done[parts[1]])
        return done[(gate, a, b)]


class _OutOfBudget(Exception):
    """More nodes or more time than there was."""


def first_true_input(circuit: Circuit, end: float) -> tuple[bool, NDArray[np.bool_] | None]:
    """Return whether it could be decided until `end` (monotonic seconds), and an input on which output 0 is 1, None where it never is."""
    order = _input_order(circuit)
    place = {wire: level for level, wire in enumerate(order)}
    diagrams = _Diagrams(len(order), end)
    try:
        found: list[int] = [
            diagrams.node(place[wire], 0, 1) if wire in place else 0 for wire in range(circuit.n_inputs)
        ]
        for gate, a, b in zip(
            circuit.gates.tolist(), circuit.left.tolist(), circuit.right.tolist(), strict=True
        ):
            found.append(diagrams.apply(gate, found[a], found[b]) if 0 < gate < 15 else gate & 1)
    except _OutOfBudget:
        return False, None
    root = found[int(circuit.outputs[0])]
    if root == 0:
        return True, None
    example = np.zeros(circuit.n_inputs, bool)
    while root > 1:  # any path that does not end in 0
        take = diagrams.low[root] == 0
        example[order[diagrams.level[root]]] = take
        root = diagrams.high[root] if take else diagrams.low[root]
    return True, example


def _input_order(circuit: Circuit) -> list[int]:
    """Inputs as a walk from the output first meets them."""
    left, right = circuit.left.tolist(), circuit.right.tolist()
    seen: set[int] = set()
    order: list[int] = []
    waiting = [int(circuit.outputs[0])]
    while waiting:
        wire = waiting.pop()
        if wire in seen:
            continue
        seen.add(wire)
        if wire < circuit.n_inputs:
            order.append(wire)
        elif 0 < int(circuit.gates[wire - circuit.n_inputs]) < 15:
            waiting += [right[wire - circuit.n_inputs], left[wire - circuit.n_inputs]]
    return order
