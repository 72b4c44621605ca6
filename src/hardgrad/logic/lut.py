"""From layers to one circuit: gates are appended in blocks, look-up tables of more inputs as gates of two. Never imports torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import InputError
from hardgrad.logic.circuit import Circuit
from hardgrad.logic.gate_ids import GATE_OF_WORD, MAX_FAN_IN, Gate

Wires = NDArray[np.int32]


class CircuitWriter:
    """Gates, appended behind what they read.

    Parameters
    ----------
    n_inputs : input bits of the circuit; they are wires 0 to n_inputs - 1.

    Examples
    --------
    >>> writer = CircuitWriter(3)
    >>> majority = writer.add_tables(0b11101000, np.arange(3, dtype=np.int32))
    >>> writer.circuit(majority).truth_table()[:, 0].astype(int).tolist()
    [0, 0, 0, 1, 0, 1, 1, 1]
    """

    def __init__(self, n_inputs: int) -> None:
        self.n_inputs = n_inputs
        self.n_wires = n_inputs
        self._parts: list[tuple[NDArray[np.uint8], Wires, Wires]] = []

    def add(self, gates: int | NDArray[np.uint8], left: Wires, right: Wires) -> Wires:
        """Append gates by id and return their wires, in the shape that the three arguments broadcast to."""
        ids, a, b = np.broadcast_arrays(np.asarray(gates, np.uint8), left, right)
        constant = (ids == Gate.FALSE) | (ids == Gate.TRUE)  # these read nothing
        read = [np.where(constant, 0, wires).astype(np.int32).ravel() for wires in (a, b)]
        self._parts.append((ids.ravel(), read[0], read[1]))
        first, self.n_wires = self.n_wires, self.n_wires + ids.size
        return np.arange(first, self.n_wires, dtype=np.int32).reshape(ids.shape)

    def add_constant(self, value: bool) -> Wires:
        """Append a constant and return its wire."""
        nothing = np.zeros((), np.int32)
        return self.add(Gate.TRUE if value else Gate.FALSE, nothing, nothing)

    def add_tables(self, words: int | NDArray[np.uint64], operands: Sequence[Wires] | Wires) -> Wires:
        """Append look-up tables and return their wires: a table is two of one input fewer, chosen between by its first input.

        Parameters
        ----------
        words : uint64, the tables (see `gate_ids`).
        operands : 2 to 6 arrays of wires that broadcast with the words, the first input first.

        Raises
        ------
        InputError : another number of operands.
        """
        words, fan_in = np.asarray(words, np.uint64), len(operands)
        if not 2 <= fan_in <= MAX_FAN_IN:
            raise InputError(f"a look-up table got {fan_in} operands; expected 2 to {MAX_FAN_IN}.")
        if fan_in == 2:
            return self.add(GATE_OF_WORD[words & np.uint64(15)], operands[0], operands[1])
        half = np.uint64(1 << (fan_in - 1))
        low = self.add_tables(words & ((np.uint64(1) << half) - np.uint64(1)), operands[1:])
        high = self.add_tables(words >> half, operands[1:])
        chooser = operands[0]
        return self.add(Gate.OR, self.add(Gate.B_AND_NOT_A, chooser, low), self.add(Gate.AND, chooser, high))

    def circuit(
        self, outputs: Wires, input_names: Sequence[str] = (), output_names: Sequence[str] = ()
    ) -> Circuit:
        """Return the circuit of everything appended, with these wires as outputs, in order."""
        empty = (np.zeros(0, np.uint8), np.zeros(0, np.int32), np.zeros(0, np.int32))
        gates, left, right = (np.concatenate(arrays) for arrays in zip(empty, *self._parts, strict=True))
        return Circuit(
            gates,
            left,
            right,
            np.asarray(outputs, np.int32).ravel(),
            self.n_inputs,
            tuple(input_names),
            tuple(output_names),
        )
