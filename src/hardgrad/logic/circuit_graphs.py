"""Circuits as arrays of one shape, for networks to learn from: kinds of nodes and the wires they read. Never imports torch.

A circuit is a row of nodes: slots for gates, the empty ones last, then the outputs. Wires are numbered as in `Circuit`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.bit_words import unpack_bits
from hardgrad.core.errors import DataError, ParameterError
from hardgrad.logic.boolean_functions import Seed
from hardgrad.logic.circuit import Bits, Circuit, Words, all_inputs
from hardgrad.logic.gate_ids import Gate, truth_rows
from hardgrad.logic.lut import CircuitWriter
from hardgrad.logic.program import NOT_A, NOT_B, READS, SWAPPED
from hardgrad.logic.runtime_numpy import apply_gates

Ints = NDArray[np.int64]
EMPTY, OUTPUT, COMPLEMENT = 16, 17, 18
KINDS = 19
"""Kinds of nodes: the gates by their ids, an empty slot, an output, and an output that is complemented."""
BOTH = np.flatnonzero(READS.all(axis=1)).astype(np.uint8)
"""The ten gates that depend on both of their inputs."""
BATCH = 1 << 14
MOST_BATCHES = 200
MOST_IDLE_BATCHES = 20
"""Batches in a row without a new function; then there are hardly more of them."""
MOST_INPUTS = 6
"""Inputs of circuits whose tables fit in a word."""


@dataclass(frozen=True, eq=False)
class CircuitGraphs:
    """Circuits of as many inputs and outputs, as arrays.

    Parameters
    ----------
    kinds : int64 [circuits, nodes], the gate's id, EMPTY, OUTPUT or COMPLEMENT.
    operands : int64 [circuits, nodes, 2], the wires that a node reads; an output reads the first, an empty slot none (0).
    tables : bool [circuits, 2**n_inputs, outputs], what the circuits compute.
    n_inputs : number of input bits.
    """

    kinds: Ints
    operands: Ints
    tables: Bits
    n_inputs: int

    @classmethod
    def of(cls, circuits: Sequence[Circuit], max_gates: int) -> Self:
        """Return circuits as arrays.

        Raises
        ------
        DataError : none, circuits of different inputs or outputs, or one with more than `max_gates` gates.
        """
        shapes = {(circuit.n_inputs, circuit.n_outputs) for circuit in circuits}
        if len(shapes) != 1:
            raise DataError(
                f"got circuits of {len(shapes)} shapes {sorted(shapes)[:3]}; expected at least one circuit, all of as many "
                "inputs and outputs."
            )
        largest = max(circuit.n_gates for circuit in circuits)
        if largest > max_gates:
            raise DataError(
                f"got a circuit of {largest} gates; expected at most {max_gates}. Simplify it first."
            )
        ((n_inputs, n_outputs),) = shapes
        kinds = np.full((len(circuits), max_gates + n_outputs), EMPTY, np.int64)
        operands = np.zeros((*kinds.shape, 2), np.int64)
        kinds[:, max_gates:] = OUTPUT
        for k, circuit in enumerate(circuits):
            kinds[k, : circuit.n_gates] = circuit.gates
            operands[k, : circuit.n_gates, 0], operands[k, : circuit.n_gates, 1] = circuit.left, circuit.right
            operands[k, max_gates:, 0] = circuit.outputs
        return cls(kinds, operands, np.stack([circuit.truth_table() for circuit in circuits]), n_inputs)

    @classmethod
    def computed(cls, kinds: Ints, operands: Ints, n_inputs: int, n_outputs: int) -> Self:
        """Return circuits of at most 6 inputs whose tables are computed from their nodes."""
        slots = kinds.shape[1] - n_outputs
        gates = np.where(kinds[:, :slots] < EMPTY, kinds[:, :slots], Gate.FALSE)
        values = wire_values(gates, operands[:, :slots, 0], operands[:, :slots, 1], n_inputs)
        outputs = np.take_along_axis(values, operands[:, slots:, 0], axis=1)
        tables = unpack_bits(outputs[..., None], 1 << n_inputs) ^ (kinds[:, slots:, None] == COMPLEMENT)
        return cls(kinds, operands, tables.swapaxes(1, 2), n_inputs)

    @property
    def n_outputs(self) -> int:
        """Outputs of a circuit."""
        return int(self.tables.shape[2])

    @property
    def max_gates(self) -> int:
        """Slots for gates of a circuit."""
        return int(self.kinds.shape[1]) - self.n_outputs

    def __len__(self) -> int:
        return len(self.kinds)

    def rows(self, chosen: Ints) -> Self:
        """Return some of the circuits, by number."""
        return type(self)(self.kinds[chosen], self.operands[chosen], self.tables[chosen], self.n_inputs)

    def circuit(self, number: int) -> Circuit:
        """Return one of them as a circuit; complemented outputs become gates."""
        slots, n = self.max_gates, self.n_inputs
        filled = np.flatnonzero(self.kinds[number, :slots] < EMPTY)
        wire = np.zeros(n + slots, np.int32)  # what comes behind an empty slot moves up
        wire[:n] = np.arange(n)
        wire[n + filled] = n + np.arange(len(filled))
        read = wire[self.operands[number]]
        writer = CircuitWriter(n)
        writer.add(self.kinds[number, filled].astype(np.uint8), read[filled, 0], read[filled, 1])
        outputs = [
            int(writer.add(Gate.NOT_A, source, source)) if kind == COMPLEMENT else int(source)
            for kind, source in zip(self.kinds[number, slots:], read[slots:, 0], strict=True)
        ]
        return writer.circuit(np.array(outputs, np.int32))

    def variants(self, rng: np.random.Generator) -> Self:
        """Return the circuits with inputs permuted and complemented and outputs complemented at random, each in its own way.

        The functions stay in their classes (see `npn_class`), the gates among themselves as they are, in the order of `canonical`.
        """
        count, n = len(self), self.n_inputs
        order = rng.permuted(np.tile(np.arange(n), (count, 1)), axis=1)  # input i becomes input order[i]
        flips = rng.integers(0, 2, (count, n))  # and is read complemented
        swaps = rng.integers(0, 2, (count, self.n_outputs))
        every = np.arange(count)[:, None, None]
        read = np.stack([self.kinds != EMPTY, self.kinds < EMPTY], axis=-1)
        from_input = read & (self.operands < n)  # what is not read stays 0
        safe = np.where(from_input, self.operands, 0)
        operands = np.where(from_input, order[every, safe], self.operands)
        flipped = from_input & (flips[every, safe] == 1)
        kinds = self.kinds.copy()
        gate = kinds < EMPTY
        ids = np.where(gate, kinds, 0)
        ids = np.where(flipped[..., 0], NOT_A[ids], ids)
        ids = np.where(flipped[..., 1], NOT_B[ids], ids)
        kinds = np.where(gate, ids, kinds)
        outputs = kinds[:, self.max_gates :]
        direct = self.operands[:, self.max_gates :, 0]
        turned = np.where(direct < n, np.take_along_axis(flips, np.minimum(direct, n - 1), axis=1), 0) ^ swaps
        kinds[:, self.max_gates :] = np.where(turned == 1, OUTPUT + COMPLEMENT - outputs, outputs)
        rows = truth_rows(n).astype(np.int64)
        moved = np.zeros(
            (count, len(rows)), np.int64
        )  # the row of the old table that a row of the new one is
        for i in range(n):
            moved = 2 * moved + (rows.T[order[:, i]] ^ flips[:, i, None])
        tables = np.take_along_axis(self.tables, moved[..., None], axis=1) ^ (swaps[:, None, :] == 1)
        return type(self)(kinds, operands, tables, n).canonical()

    def canonical(self) -> Self:
        """Return the same functions with gates that give 0 for zeros, the rest by complements, and in order of level and operands."""
        kinds, operands = self.kinds.copy(), self.operands.copy()
        n, slots, every = self.n_inputs, self.max_gates, np.arange(len(self))
        flipped = np.zeros((len(self), n + slots), bool)
        level = np.zeros((len(self), n + slots), np.int64)
        for g in range(slots):
            gate, (a, b) = kinds[:, g], operands[:, g].T
            filled = gate < EMPTY
            ids = np.where(filled, gate, 0)
            ids = np.where(flipped[every, a], NOT_A[ids], ids)
            ids = np.where(flipped[every, b], NOT_B[ids], ids)
            flipped[:, n + g] = filled & (ids >= Gate.NOR)
            kinds[:, g] = np.where(filled, np.where(flipped[:, n + g], ids ^ 15, ids), gate)
            level[:, n + g] = np.where(filled, 1 + np.maximum(level[every, a], level[every, b]), slots + 1)
        turned = np.take_along_axis(flipped, operands[:, slots:, 0], axis=1)
        kinds[:, slots:] = np.where(turned, OUTPUT + COMPLEMENT - kinds[:, slots:], kinds[:, slots:])
        return type(self)(*_in_order(kinds, operands, level[:, n:], n, slots), self.tables, n)


def _in_order(kinds: Ints, operands: Ints, level: Ints, n: int, slots: int) -> tuple[Ints, Ints]:
    """Gates sorted by level, then by what they read. What a level reads has its final place when the level is sorted."""
    size = n + slots
    for now in range(1, slots + 1):
        key = (level * size + operands[:, :slots].min(axis=2)) * size + operands[:, :slots].max(axis=2)
        key = np.where(level < now, -1, np.where(level == now, key, (level * size + size) * size))
        order = np.argsort(key, axis=1, kind="stable")
        place = np.tile(np.arange(size), (len(kinds), 1))
        np.put_along_axis(place, n + order, n + np.arange(slots), axis=1)
        kinds[:, :slots] = np.take_along_axis(kinds[:, :slots], order, axis=1)
        operands[:, :slots] = np.take_along_axis(operands[:, :slots], order[..., None], axis=1)
        level = np.take_along_axis(level, order, axis=1)
        operands = np.take_along_axis(place[:, None], operands, axis=2)
    gate = kinds[:, :slots] < EMPTY
    back = gate & (operands[:, :slots, 0] > operands[:, :slots, 1])
    kinds[:, :slots] = np.where(back, SWAPPED[np.where(gate, kinds[:, :slots], 0)], kinds[:, :slots])
    operands[:, :slots] = np.where(back[..., None], operands[:, :slots, ::-1], operands[:, :slots])
    return kinds, operands


def wire_values(gates: NDArray[Any], left: Ints, right: Ints, n_inputs: int) -> Words:
    """Return the truth tables of all wires, uint64 [circuits, wires], bit r for row r, of gates [circuits, gates] of at most 6 inputs."""
    count, slots = gates.shape
    state = np.zeros((count, n_inputs + slots), np.uint64)
    state[:, :n_inputs] = all_inputs(n_inputs)[:, 0]
    every = np.arange(count)
    for g in range(slots):
        a, b = state[every, left[:, g]], state[every, right[:, g]]
        state[:, n_inputs + g] = apply_gates(gates[:, g], a, b)
    return state


def random_circuits(
    count: int, n_inputs: int, max_gates: int, *, n_outputs: int = 1, random_state: Seed = 0
) -> list[Circuit]:
    """Return random circuits, no two of one function, each the smallest of those that were drawn for its function.

    Gates are drawn among the ten that depend on both operands, and operands among all earlier wires; the last gates are the outputs.

    Parameters
    ----------
    count : how many are wanted.
    n_inputs : 2 to 6. max_gates : most gates of a circuit. n_outputs : of a circuit.
    random_state : seed.

    Raises
    ------
    ParameterError : a size out of range, or so few functions that they are not found within 3 million draws, or none of the last 300,000
        draws was a new one.

    Examples
    --------
    >>> circuits = random_circuits(20, 3, 4)
    >>> len({circuit.truth_table().tobytes() for circuit in circuits}), max(circuit.n_gates for circuit in circuits) <= 4
    (20, True)
    """
    if count < 1 or not 2 <= n_inputs <= MOST_INPUTS or not 1 <= n_outputs <= max_gates:
        raise ParameterError(
            f"random_circuits() got count={count}, n_inputs={n_inputs}, max_gates={max_gates}, n_outputs={n_outputs}; expected at "
            "least one circuit, 2 to 6 inputs, and no more outputs than gates."
        )
    rng = np.random.default_rng(random_state)
    found: dict[bytes, tuple[int, Circuit]] = {}
    idle = 0
    for _ in range(MOST_BATCHES):
        before = len(found)
        _draw(rng, n_inputs, max_gates, n_outputs, found)
        idle = 0 if len(found) > before else idle + 1
        if len(found) >= 2 * count or idle == MOST_IDLE_BATCHES:
            break
    if len(found) < count:
        raise ParameterError(
            f"random_circuits() found {len(found):,} functions of {n_inputs} inputs with at most {max_gates} gates; count={count:,}."
        )
    chosen = rng.permutation(len(found))[:count]
    every = list(found.values())
    return [every[k][1] for k in sorted(chosen.tolist())]


def _draw(
    rng: np.random.Generator, n: int, slots: int, n_outputs: int, found: dict[bytes, tuple[int, Circuit]]
) -> None:
    """Draw many circuits at once and keep those that are new, or smaller than what is known of their function."""
    first = n + np.arange(slots)
    a = (rng.random((BATCH, slots)) * first).astype(np.int64)
    b = (rng.random((BATCH, slots)) * (first - 1)).astype(np.int64)
    b += b >= a  # never the same wire twice
    a, b = np.minimum(a, b), np.maximum(a, b)
    gates = rng.choice(BOTH, (BATCH, slots))
    state = wire_values(gates, a, b, n)
    every = np.arange(BATCH)
    live = np.zeros((BATCH, n + slots), bool)
    live[:, n + slots - n_outputs :] = True
    for g in range(slots - 1, -1, -1):
        here = live[:, n + g]
        live[every[here], a[here, g]] = True
        live[every[here], b[here, g]] = True
    sizes = live[:, n:].sum(axis=1)
    words = state[:, n + slots - n_outputs :] & np.uint64((1 << (1 << n)) - 1)
    order = np.argsort(sizes, kind="stable")
    _, smallest = np.unique(words[order], axis=0, return_index=True)
    for k in order[np.sort(smallest)].tolist():
        key = words[k].tobytes()
        if key in found and found[key][0] <= sizes[k]:
            continue
        kept = np.flatnonzero(live[k, n:])
        wire = np.zeros(n + slots, np.int32)
        wire[:n], wire[n + kept] = np.arange(n), n + np.arange(len(kept))
        outputs = wire[n + slots - n_outputs + np.arange(n_outputs)]
        found[key] = int(sizes[k]), Circuit(gates[k, kept], wire[a[k, kept]], wire[b[k, kept]], outputs, n)
