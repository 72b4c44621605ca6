"""Random circuits of every awkward shape, and the plainest evaluation of a circuit that can be written."""

from __future__ import annotations

from typing import Any

import numpy as np

from hardgrad.logic.circuit import Circuit


def random_circuit(
    seed: int, *, inputs: int | None = None, gates: int | None = None, outputs: int | None = None
) -> Circuit:
    """Any gates on any earlier wires, constants and gates that read one wire twice among them; outputs may be inputs, and repeat."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(0, 12)) if inputs is None else inputs
    g = int(rng.integers(0, 60)) if gates is None else gates
    kinds = rng.integers(0, 16, g).astype(np.uint8)
    own = n + np.arange(g)
    kinds[own == 0] = 15  # with no input, the first gate has nothing to read
    left, right = ((rng.random(g) * own).astype(np.int32) for _ in range(2))
    constant = (kinds == 0) | (kinds == 15)
    left[constant] = right[constant] = 0
    o = int(rng.integers(0, 6)) if outputs is None else outputs
    wires = rng.integers(0, n + g, o if n + g else 0).astype(np.int32)
    return Circuit(kinds, left, right, wires, n)


def layered_circuit(seed: int, inputs: int, widths: list[int]) -> Circuit:
    """Layers of gates, each of which reads the layer before."""
    rng = np.random.default_rng(seed)
    start, width = 0, inputs
    kinds, left, right = [], [], []
    for next_width in widths:
        kinds.append(rng.integers(1, 15, next_width))
        left.append(start + rng.integers(0, width, next_width))
        right.append(start + rng.integers(0, width, next_width))
        start, width = start + width, next_width
    arrays = [np.concatenate(parts) for parts in (kinds, left, right)]
    outputs = np.arange(start, start + width, dtype=np.int32)
    return Circuit(
        arrays[0].astype(np.uint8), arrays[1].astype(np.int32), arrays[2].astype(np.int32), outputs, inputs
    )


def plain_evaluation(circuit: Circuit, rows: Any) -> np.ndarray:
    """Row by row and gate by gate, by the definition of an id."""
    found = []
    for row in np.asarray(rows, int).tolist():
        wires = list(row)
        for gate, a, b in zip(
            circuit.gates.tolist(), circuit.left.tolist(), circuit.right.tolist(), strict=True
        ):
            x, y = (wires[a], wires[b]) if 0 < gate < 15 else (0, 0)
            wires.append(gate >> (3 - 2 * x - y) & 1)
        found.append([wires[o] for o in circuit.outputs.tolist()])
    return np.array(found, bool).reshape(len(rows), circuit.n_outputs)


def random_rows(seed: int, count: int, inputs: int) -> np.ndarray:
    """Rows of bits."""
    return np.random.default_rng(seed).random((count, inputs)) < 0.5
