"""From choices of many restarts to circuits: all of them evaluated at once, outputs read from whichever wire fits. Never imports torch.

A read-out that takes each output from the wire that was learned for it misses wires that are right already; this one looks at all of them,
as they are and complemented.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hardgrad.logic.circuit import Bits, Circuit, all_inputs
from hardgrad.logic.gate_ids import Gate
from hardgrad.logic.lut import CircuitWriter
from hardgrad.logic.program import live_wires
from hardgrad.logic.runtime_numpy import apply_gates
from hardgrad.logic.truth_tables import TruthTable

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Candidates:
    """Circuits of one shape, one a restart.

    Parameters
    ----------
    gates : uint8 [restarts, gates]; left, right : int64 [restarts, gates], wires before the gate's own.
    layers : gates of each layer; a gate reads inputs and gates of earlier layers.
    table : what the circuits shall do.
    usable : bool [restarts, gates], the gates that an output may be read from; None for all of them.
    """

    gates: NDArray[np.uint8]
    left: Ints
    right: Ints
    layers: tuple[int, ...]
    table: TruthTable
    usable: Bits | None = None

    @cached_property
    def differences(self) -> Ints:
        """In how many bits that matter each wire differs from each output, [restarts, wires, outputs].

        There is one more wire at the end: the constant 0.
        """
        inputs = all_inputs(self.table.n_inputs)
        restarts, n_gates = self.gates.shape
        n_inputs = len(inputs)
        state = np.zeros((restarts, n_inputs + n_gates + 1, inputs.shape[1]), np.uint64)
        state[:, :n_inputs] = inputs
        every, first = np.arange(restarts)[:, None], 0
        for width in self.layers:
            here = slice(first, first + width)
            a, b = state[every, self.left[:, here]], state[every, self.right[:, here]]
            state[:, n_inputs + first : n_inputs + first + width] = apply_gates(
                self.gates[:, here, None], a, b
            )
            first += width
        wrong = (state[:, :, None] ^ self.table.words) & self.table.care_words
        return np.asarray(np.bitwise_count(wrong).sum(axis=-1, dtype=np.int64))

    @cached_property
    def _best(self) -> tuple[Ints, Ints]:
        """The wire that is nearest to each output, complemented from `wires` on, and its distance, [restarts, outputs] both."""
        straight = self.differences
        both = np.concatenate([straight, self.table.care.sum(axis=0) - straight], axis=1)
        if self.usable is not None:
            first = self.table.n_inputs
            closed = np.zeros(straight.shape[:2], bool)
            closed[:, first : first + self.usable.shape[1]] = ~self.usable
            both[np.tile(closed, 2)] = self.table.outputs.size + 1  # further than any wire
        wire = both.argmin(axis=1)
        return wire, np.take_along_axis(both, wire[:, None], axis=1)[:, 0]

    @property
    def distances(self) -> Ints:
        """How many output bits of each circuit are wrong, [restarts]."""
        return np.asarray(self._best[1].sum(axis=1))

    def circuit(self, restart: int) -> Circuit:
        """Return the circuit of one restart, without gates that no output depends on."""
        writer = CircuitWriter(self.table.n_inputs)
        writer.add(self.gates[restart], *(side[restart].astype(np.int32) for side in (self.left, self.right)))
        constant = writer.n_wires
        made: dict[int, int] = {}  # outputs may share a wire that is added
        for wire in self._best[0][restart].tolist():
            complemented, source = divmod(wire, constant + 1)
            if wire in made:
                continue
            if source == constant:
                made[wire] = self._constant(writer, bool(complemented))
            else:
                made[wire] = self._complement(writer, source) if complemented else source
        outputs = [made[wire] for wire in self._best[0][restart].tolist()]
        names = self.table.input_names, self.table.output_names
        return _live_part(writer.circuit(np.array(outputs, np.int32), *names))

    @cached_property
    def _of_nands(self) -> bool:
        """Whether all gates are NANDs; then those that are added for outputs are, too."""
        return bool((self.gates == Gate.NAND).all())

    def _complement(self, writer: CircuitWriter, wire: int) -> int:
        source = np.array(wire, np.int32)
        return int(writer.add(Gate.NAND if self._of_nands else Gate.NOT_A, source, source))

    def _constant(self, writer: CircuitWriter, value: bool) -> int:
        if not self._of_nands:
            return int(writer.add_constant(value))
        first = np.zeros((), np.int32)
        one = int(writer.add(Gate.NAND, first, np.array(self._complement(writer, 0), np.int32)))
        return one if value else self._complement(writer, one)


def _live_part(circuit: Circuit) -> Circuit:
    """The circuit without the gates that no output depends on, the others as they are."""
    live = live_wires(circuit)
    live[: circuit.n_inputs] = True
    place = (np.cumsum(live) - 1).astype(np.int32)
    kept = live[circuit.n_inputs :]
    # A gate may name an operand that it does not depend on, and that is gone.
    left, right = (
        np.where(live[side[kept]], place[side[kept]], 0).astype(np.int32)
        for side in (circuit.left, circuit.right)
    )
    return Circuit(
        circuit.gates[kept], left, right, place[circuit.outputs], circuit.n_inputs, circuit.input_names, circuit.output_names
    )  # fmt: skip
