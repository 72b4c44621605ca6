"""What models of `circuit_front.py` weigh: each as constant data of C, by one rule. Knows nothing of training.

The rule is that of our packed forest: what tells things apart has as many bits as that takes, one stream of bits. Pixels are whole numbers
of at most one byte, so a threshold is one byte, for circuits and for LightGBM alike. What is rounded is judged as it was rounded.
"""

from __future__ import annotations

import struct
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np

from hardgrad.export.compiled_c import find_compiler
from hardgrad.logic import Circuit, CircuitModel
from hardgrad.logic.circuit_model_export import to_c
from hardgrad.trees.packed import bits_for

HEAD = struct.Struct("<IIIHB")
PIXEL_BITS = LEAF_BITS = WEIGHT_BITS = 8
GATE_BITS = 4


# --- circuits ----------------------------------------------------------------------------------------------------------------------------
def pack_circuit(model: CircuitModel) -> bytes:
    """Return a circuit model for whole pixels as bytes, enough to answer with a class.

    A head of 15 bytes (bits, gates, outputs, features, classes) and 2 a class (its outputs), then bits: a feature and a byte of threshold
    for each input, 4 bits of function and two wires for each gate, a wire for each output.
    """
    circuit = model.circuit
    if not model.counts_decide or (model.weight != 1).any() or (np.diff(model.group) < 0).any():
        raise SystemExit("the packed form of this benchmark has one vote an output, class after class")
    wire = bits_for(circuit.n_wires)
    members = np.bincount(model.group, minlength=model.n_outputs)
    head = HEAD.pack(circuit.n_inputs, circuit.n_gates, circuit.n_outputs, model.n_features, model.n_outputs)
    bits = [
        _bits([model.bit_feature, np.floor(model.bit_threshold)], [bits_for(model.n_features), PIXEL_BITS]),
        _bits([circuit.gates, circuit.left, circuit.right], [GATE_BITS, wire, wire]),
        _bits([circuit.outputs], [wire]),
    ]
    return head + members.astype("<u2").tobytes() + np.packbits(np.concatenate(bits)).tobytes()


def unpack_circuit(data: bytes, like: CircuitModel) -> CircuitModel:
    """Return the model that bytes of `pack_circuit` hold; names and scores are taken from `like`."""
    n_bits, n_gates, n_outputs, n_features, n_classes = HEAD.unpack_from(data)
    start = HEAD.size + 2 * n_classes
    members = np.frombuffer(data, "<u2", n_classes, HEAD.size)
    stream = np.unpackbits(np.frombuffer(data, np.uint8, offset=start))
    wire = bits_for(n_bits + n_gates)
    shapes = [
        (n_bits, [bits_for(n_features), PIXEL_BITS]),
        (n_gates, [GATE_BITS, wire, wire]),
        (n_outputs, [wire]),
    ]
    found: list[np.ndarray] = []
    at = 0
    for count, widths in shapes:
        block = stream[at : at + count * sum(widths)].reshape(count, sum(widths))
        at += block.size
        parts = np.split(block, np.cumsum(widths)[:-1], axis=1)
        found += [part @ (1 << np.arange(part.shape[1])[::-1]) for part in parts]
    feature, threshold, gates, left, right, outputs = found
    places = [wires.astype(np.int32) for wires in (left, right, outputs)]
    return CircuitModel.of(
        Circuit(gates.astype(np.uint8), *places, n_bits), schema=like.schema, link=like.link, task=like.task, classes=like.classes,
        target=like.target, bit_feature=feature.astype(np.int32), bit_threshold=threshold + 0.5,
        group=np.repeat(np.arange(n_classes, dtype=np.int32), members), offset=like.offset, scale=like.scale,
    )  # fmt: skip


def _bits(columns: list[np.ndarray], widths: list[int]) -> np.ndarray:
    """Return the bits of rows of whole numbers, the highest bit first."""
    parts = [
        np.asarray(column).astype(np.int64)[:, None] >> np.arange(width)[::-1] & 1
        for column, width in zip(columns, widths, strict=True)
    ]
    return np.hstack(parts).astype(np.uint8).ravel()


def runtime_bytes(model: CircuitModel) -> int:
    """Return the bytes that the interpreter of our runtime reads for a circuit: opcodes, places of operands and results, counts."""
    program = model.circuit.program
    tables = (
        program.gate,
        program.left,
        program.right,
        program.target,
        program.input_wire,
        program.input_place,
    )
    return sum(table.nbytes for table in (*tables, program.output_place, model.group))


def compiled_bytes(model: CircuitModel) -> int:
    """Return the bytes of code and constant data of its exported C, compiled for size."""
    code = to_c(model, "model")
    with tempfile.TemporaryDirectory() as folder:
        for name, text in ((f"{code.name}.h", code.header), (f"{code.name}.c", code.source)):
            (Path(folder) / name).write_text(text, encoding="utf-8")
        subprocess.run([*find_compiler(), "-Os", "-c", f"{code.name}.c"], cwd=folder, check=True)
        said = subprocess.run(
            ["size", f"{code.name}.o"], cwd=folder, check=True, capture_output=True, text=True
        )
    text, data, *_ = said.stdout.splitlines()[1].split()
    return int(text) + int(data)


# --- LightGBM ----------------------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class RoundedBooster:
    """LightGBM with leaves of 8 bits: whole multiples of one step."""

    booster: lightgbm.Booster
    rounds: int
    codes: list[np.ndarray]
    n_classes: int

    @classmethod
    def of(cls, booster: lightgbm.Booster, rounds: int, n_classes: int) -> RoundedBooster:
        """Round the leaves of the first rounds."""
        trees = booster.dump_model(num_iteration=rounds)["tree_info"]
        leaves = [
            np.array([booster.get_leaf_output(k, leaf) for leaf in range(tree["num_leaves"])])
            for k, tree in enumerate(trees)
        ]
        step = max(float(np.abs(values).max()) for values in leaves) / (2 ** (LEAF_BITS - 1) - 1)
        return cls(booster, rounds, [np.round(values / step) for values in leaves], n_classes)

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return class numbers."""
        reached = np.asarray(self.booster.predict(X, pred_leaf=True, num_iteration=self.rounds))
        scores = np.zeros((len(X), self.n_classes))
        for k, codes in enumerate(self.codes):
            scores[:, k % self.n_classes] += codes[reached[:, k]]
        return scores.argmax(axis=1)

    def size(self, n_features: int) -> int:
        """Return its bytes: a head of 8, then a bit a node, a feature and a byte of threshold a split, a byte a leaf.

        There are no cuts to list by feature, as our forest has them, and no class in a tree: the trees of a round follow the classes.
        """
        leaves = sum(len(codes) for codes in self.codes)
        splits = leaves - len(self.codes)
        return 8 + -(-(leaves * (1 + LEAF_BITS) + splits * (1 + bits_for(n_features) + PIXEL_BITS)) // 8)


# --- the network of real numbers ---------------------------------------------------------------------------------------------------------
def mlp_bytes(network: Any) -> int:
    """Return the bytes of the parameters in float32."""
    return 4 * sum(part.size for part in (*network.coefs_, *network.intercepts_))


def round_mlp(network: Any) -> int:
    """Round the weights of a network to 8 bits, one step a unit, in place; return its bytes: a step and a bias a unit are float32."""
    for weights in network.coefs_:
        step = np.maximum(np.abs(weights).max(axis=0), 1e-30) / (2 ** (WEIGHT_BITS - 1) - 1)
        weights[:] = np.round(weights / step) * step
    weights, units = (sum(part.size for part in parts) for parts in (network.coefs_, network.intercepts_))
    return weights + 8 * units
