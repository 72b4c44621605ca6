"""simplify(circuit): the same function with fewer gates. Never imports torch.

The builder folds constants and complements, shares equal gates and reads two levels as one; signals that look equal on samples are then
merged where that is proven on every input that they depend on.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.bit_words import unpack_bits
from hardgrad.logic.circuit import Circuit, Words, all_inputs
from hardgrad.logic.circuit_build import NetworkBuilder
from hardgrad.logic.program import live_wires
from hardgrad.logic.runtime_numpy import apply_gate

SAMPLE_WORDS = 64
MOST_PROVEN_INPUTS = 16
MOST_STATE_WORDS = 1 << 26
CONSTANT = -1
MOST_CONE = 2_000
"""Gates of a pair of signals that are compared on all inputs."""


def simplify(circuit: Circuit) -> Circuit:
    """Return a circuit of the same function, inputs and outputs, with no more gates; simplified again until nothing is gained.

    Examples
    --------
    >>> circuit = Circuit.from_truth_table([0, 0, 1, 1])
    >>> circuit.n_gates
    0
    """
    best = _rebuilt(circuit)
    while True:
        smaller = _rebuilt(_merged(best))
        if smaller.n_gates >= best.n_gates:
            return best if best.n_gates <= circuit.n_gates else circuit
        best = smaller


def _rebuilt(circuit: Circuit) -> Circuit:
    net = NetworkBuilder(circuit.n_inputs)
    outputs = net.add(circuit, [net.input(i) for i in range(circuit.n_inputs)])
    return net.circuit(outputs, input_names=circuit.input_names, output_names=circuit.output_names)


def _merged(circuit: Circuit) -> Circuit:
    """Readers of a signal read the first one that equals it, or its complement, on all inputs."""
    exhaustive = (
        circuit.n_inputs <= MOST_PROVEN_INPUTS
        and circuit.n_wires << max(circuit.n_inputs - 6, 0) <= MOST_STATE_WORDS
    )
    if exhaustive:
        words = all_inputs(circuit.n_inputs)
    else:
        rng = np.random.default_rng(0)
        words = rng.integers(0, 1 << 64, (circuit.n_inputs, SAMPLE_WORDS), np.uint64)
    state = all_signals(circuit, words)
    flip = (state[:, 0] & np.uint64(1)).astype(
        bool
    )  # of a signal and its complement, the one that is 0 in the first row
    state[flip] = ~state[flip]
    if circuit.n_inputs < 6 and exhaustive:
        state &= np.uint64((1 << (1 << circuit.n_inputs)) - 1)
    classes: dict[bytes, list[int]] = defaultdict(list)
    live = live_wires(circuit)
    for wire in range(circuit.n_wires):
        if live[wire]:
            classes[state[wire].tobytes()].append(wire)
    cones, order = _Cones(circuit), _by_size(circuit)
    same = np.arange(circuit.n_wires)
    for wires in classes.values():
        if not state[wires[0]].any():  # never 1, or never 0, on these rows
            for wire in wires:
                if exhaustive or cones.equal(None, wire, bool(flip[wire])):
                    same[wire] = CONSTANT
            continue
        first = min(wires, key=order.__getitem__)
        for wire in wires:
            if wire != first and (exhaustive or cones.equal(first, wire, bool(flip[first] ^ flip[wire]))):
                same[wire] = first
    return _redirected(circuit, same, flip)


def _by_size(circuit: Circuit) -> list[tuple[int, float, int]]:
    """What to sort wires by: level, then gates when nothing is shared. A gate comes after what it reads, so that no cycle can arise."""
    size = [0.0] * circuit.n_wires
    for wire, (a, b) in enumerate(
        zip(circuit.left.tolist(), circuit.right.tolist(), strict=True), circuit.n_inputs
    ):
        size[wire] = 1.0 + size[a] + size[b]
    return list(zip(circuit.levels.tolist(), size, range(circuit.n_wires), strict=True))


def _redirected(circuit: Circuit, same: NDArray[np.int64], flip: NDArray[np.bool_]) -> Circuit:
    """The circuit in which every wire is read as the one that it is the same as, or its complement."""
    net = NetworkBuilder(circuit.n_inputs)
    signals = {wire: net.input(wire) for wire in range(circuit.n_inputs)}

    def signal(wire: int) -> int:
        first = int(same[wire])
        if first == CONSTANT:
            return int(flip[wire])
        return signals[first] ^ int(flip[first] ^ flip[wire])

    for wire in np.argsort(circuit.levels, kind="stable").tolist():
        g = wire - circuit.n_inputs
        if g >= 0 and same[wire] == wire:
            gate = int(circuit.gates[g])
            read = 0 < gate < 15
            signals[wire] = (
                net.gate(gate, signal(int(circuit.left[g])), signal(int(circuit.right[g])))
                if read
                else gate & 1
            )
    outputs = [signal(wire) for wire in circuit.outputs.tolist()]
    return net.circuit(outputs, input_names=circuit.input_names, output_names=circuit.output_names)


def all_signals(circuit: Circuit, words: Words) -> Words:
    """Return every wire's value, uint64 [wires, w], for packed inputs [inputs, w]."""
    state = np.empty((circuit.n_wires, words.shape[1]), np.uint64)
    state[: circuit.n_inputs] = words
    level = circuit.levels[circuit.n_inputs :]
    order = np.lexsort((circuit.gates, level))
    edges = np.flatnonzero(np.diff(level[order] * 16 + circuit.gates[order], prepend=-1, append=-1))
    for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        own = order[start:stop]
        state[circuit.n_inputs + own] = apply_gate(
            int(circuit.gates[own[0]]), state[circuit.left[own]], state[circuit.right[own]]
        )
    return state


class _Cones:
    """What signals depend on, as far as a comparison of two of them needs it."""

    def __init__(self, circuit: Circuit) -> None:
        self._circuit = circuit
        self._left, self._right = circuit.left.tolist(), circuit.right.tolist()

    def equal(self, first: int | None, second: int, complemented: bool) -> bool:
        """Whether two wires (None is the constant 0) are equal, or complementary, on all their inputs; False where these are too many."""
        cone = self._cone([second] if first is None else [first, second])
        inputs = [wire for wire in cone if wire < self._circuit.n_inputs]
        if len(cone) > MOST_CONE or len(inputs) > MOST_PROVEN_INPUTS:
            return False
        words = all_inputs(len(inputs))
        values = dict(zip(inputs, words, strict=True))
        nothing = np.zeros(words.shape[1], np.uint64)  # what a constant reads
        for wire in cone[len(inputs) :]:
            g = wire - self._circuit.n_inputs
            a, b = values.get(self._left[g], nothing), values.get(self._right[g], nothing)
            values[wire] = apply_gate(int(self._circuit.gates[g]), a, b)
        differ = values[second] ^ (nothing if first is None else values[first])
        bits = unpack_bits(~differ if complemented else differ, 1 << len(inputs))
        return not bits.any()

    def _cone(self, roots: list[int]) -> list[int]:
        seen, waiting = set(roots), roots
        while waiting and len(seen) <= MOST_CONE:
            wire = waiting.pop()
            g = wire - self._circuit.n_inputs
            if g >= 0 and 0 < int(self._circuit.gates[g]) < 15:
                for operand in (self._left[g], self._right[g]):
                    if operand not in seen:
                        seen.add(operand)
                        waiting.append(operand)
        return sorted(seen)
