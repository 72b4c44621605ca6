"""A circuit as an ONNX model of Booleans: the gates of a kind in a level are one operator. Never imports torch."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from hardgrad.core.errors import ExportError
from hardgrad.core.files import atomic_path
from hardgrad.export.onnx import GraphWriter
from hardgrad.logic.gate_ids import Gate

if TYPE_CHECKING:
    from hardgrad.logic.circuit import Circuit

OPERATORS = {Gate.AND: "And", Gate.XOR: "Xor", Gate.OR: "Or"}


def to_onnx(circuit: Circuit, path: str | os.PathLike[str] | None = None, *, name: str = "circuit") -> bytes:
    """Return, and write where a path is given, an ONNX model: `x`, bool [rows, inputs], to `y`, bool [rows, outputs].

    Raises
    ------
    ExportError : the package onnx is missing; a circuit without inputs or outputs.
    """
    if not circuit.n_inputs or not circuit.n_outputs:
        raise ExportError(
            f"a circuit of {circuit.n_inputs} inputs and {circuit.n_outputs} outputs has no ONNX model."
        )
    writer = GraphWriter(name)
    x = writer.input("x", np.bool_, ["rows", circuit.n_inputs])
    values = add_gates(writer, circuit, writer.node("Transpose", x, perm=[1, 0]))
    y = writer.node("Transpose", values, perm=[1, 0])
    writer.output("y", y, np.bool_, ["rows", circuit.n_outputs])
    payload = writer.finish()
    if path is not None:
        with atomic_path(path) as temporary:
            temporary.write_bytes(payload)
    return payload


def add_gates(writer: GraphWriter, circuit: Circuit, inputs: str) -> str:
    """Add the gates of a circuit that has inputs, bool [inputs, rows], and return its outputs, bool [outputs, rows]."""
    columns = _Columns(writer, inputs, circuit)
    for level in range(int(circuit.levels.max(initial=0)) + 1):
        columns.add_level(np.flatnonzero(circuit.levels[circuit.n_inputs :] == level))
    return columns.take(circuit.outputs)


class _Columns:
    """All values that exist, one row of a tensor each, and where each wire is among them."""

    def __init__(self, writer: GraphWriter, values: str, circuit: Circuit) -> None:
        self._writer, self._circuit = writer, circuit
        self._values = values
        self._place = np.zeros(circuit.n_wires, np.int64)
        self._place[: circuit.n_inputs] = np.arange(circuit.n_inputs)
        self._count = circuit.n_inputs

    def take(self, wires: np.ndarray) -> str:
        """The values of some wires."""
        return str(
            self._writer.node("Gather", self._values, self._writer.constant(self._place[wires]), axis=0)
        )

    def add_level(self, gates: np.ndarray) -> None:
        """Append the results of some gates, none of which reads another of them."""
        made = [self._values]
        for kind in np.unique(self._circuit.gates[gates]).tolist():
            own = gates[self._circuit.gates[gates] == kind]
            made.append(self._gate(kind, self._circuit.left[own], self._circuit.right[own]))
            self._place[self._circuit.n_inputs + own] = self._count + np.arange(len(own))
            self._count += len(own)
        if len(made) > 1:
            self._values = str(self._writer.node("Concat", *made, axis=0))

    def _gate(self, gate: int, left: np.ndarray, right: np.ndarray) -> str:
        node = self._writer.node
        if gate >= Gate.NOR:
            return str(node("Not", self._gate(15 - gate, left, right)))
        if gate == Gate.FALSE:
            same = self.take(left)
            return str(node("Xor", same, same))
        if gate in (Gate.A, Gate.B):
            return self.take(left if gate == Gate.A else right)
        a, b = self.take(left), self.take(right)
        if gate == Gate.A_AND_NOT_B:
            return str(node("And", a, node("Not", b)))
        if gate == Gate.B_AND_NOT_A:
            return str(node("And", node("Not", a), b))
        return str(node(OPERATORS[Gate(gate)], a, b))
