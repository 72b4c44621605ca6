"""Damaged circuits in every form that a reader takes: AIGER, BLIF, expressions, artifact files; and what a reader must do with them.

`python -m pytest -m fuzz tests/logic` (or `make fuzz`) tries 100,000 of each; without the marker, tests try some thousand.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from circuit_examples import model_answers, model_rows, models
from random_circuits import random_circuit
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

import hardgrad
from hardgrad.core.artifact import HEADER_KEY, content_digest
from hardgrad.core.errors import ArtifactError, DataError, HardgradError, ParameterError
from hardgrad.logic import Circuit, CircuitModel
from hardgrad.logic.aiger import from_aiger
from hardgrad.logic.blif import from_blif

TOKENS = [
    *(bytes([c]) for c in b"01- \n#()~=;&['\"{"), *b"\\\n|.names|.end|.model|\xff|\x80|99999999|x0|y0|-1| if | else |==|not ".split(b"|"),
    *b"lambda:|null|NaN|1e999|:=|f'{".split(b"|"),
]  # fmt: skip
EXTREMES = [
    0,
    1,
    -1,
    127,
    -128,
    2**31 - 1,
    -(2**31),
    2**63 - 1,
    float("nan"),
    float("inf"),
    "",
    [],
    {},
    None,
    True,
    "x" * 50,
]


@dataclasses.dataclass(frozen=True)
class Format:
    """A form of circuits.

    Parameters
    ----------
    files : undamaged ones.
    read : reads one, and asks what was read for an answer.
    damage : of a file.
    refusal : what a reader raises for one that cannot be read.
    """

    files: list[bytes]
    read: Callable[[bytes], Any]
    damage: Callable[[bytes, np.random.Generator], bytes]
    refusal: type[HardgradError]


@dataclasses.dataclass
class Tally:
    """What became of damaged files: how many were refused or read, and the slowest."""

    refused: int = 0
    read: int = 0
    slowest: float = 0.0
    seconds: float = 0.0


def try_damaged(form: Format, trials: int, seed: int = 0) -> Tally:
    """Read so many damaged files; any other error than a refusal comes through."""
    rng, tally = np.random.default_rng(seed), Tally()
    for trial in range(trials):
        payload = form.damage(form.files[trial % len(form.files)], rng)
        began = time.process_time()
        try:
            form.read(payload)
            tally.read += 1
        except form.refusal:
            tally.refused += 1
        except BaseException as error:
            error.add_note(f"trial {trial} of seed {seed}: {payload!r}")
            raise
        spent = time.process_time() - began
        tally.seconds, tally.slowest = tally.seconds + spent, max(tally.slowest, spent)
    return tally


def damaged(payload: bytes, rng: np.random.Generator) -> bytes:
    """Change, remove, repeat, insert or cut, once to four times."""
    data = bytearray(payload)
    for _ in range(int(rng.integers(1, 5))):
        at = int(rng.integers(0, len(data) + 1))
        stop = min(len(data), at + int(rng.integers(1, 12)))
        match int(rng.integers(0, 6)):
            case 0 if at < len(data):
                data[at] = int(rng.integers(0, 256))
            case 1:
                del data[at:stop]
            case 2:
                data[at:at] = data[at:stop] * int(rng.integers(1, 4))
            case 3:
                data[at:at] = TOKENS[int(rng.integers(0, len(TOKENS)))]
            case 4:
                data = data[:at]
            case _ if at < len(data):
                data[at] ^= 1 << int(rng.integers(0, 8))
    return bytes(data)


def damaged_expression(payload: bytes, rng: np.random.Generator) -> bytes:
    """As `damaged`; now and then a part is repeated a few hundred times, which nests or chains it."""
    data = damaged(payload, rng)
    if rng.random() < 0.1:
        at = int(rng.integers(0, len(data) + 1))
        part = data[at : at + int(rng.integers(1, 6))] or b"("
        data = data[:at] + part * int(rng.integers(2, 600)) + data[at:]
    return data


def damaged_artifact(payload: bytes, rng: np.random.Generator) -> bytes:
    """One in four damaged as bytes, the others in their contents, with a digest that fits, so that it is these that must be refused."""
    if rng.random() < 0.25:
        return damaged(payload, rng)
    size = int.from_bytes(payload[:8], "little")
    header = json.loads(json.loads(payload[8 : 8 + size])["__metadata__"][HEADER_KEY])
    arrays = {name: array.copy() for name, array in load_tensors(payload).items()}
    for _ in range(int(rng.integers(1, 3))):
        if rng.random() < 0.4:
            _damage_json(header, rng)
        else:
            name = list(arrays)[int(rng.integers(0, len(arrays)))]
            arrays[name] = _damaged_array(arrays[name], rng)
    if isinstance(header, dict) and "digest" in header:
        header["digest"] = content_digest(header, arrays)
    return save_tensors(arrays, metadata={HEADER_KEY: json.dumps(header)})


def _damage_json(node: Any, rng: np.random.Generator) -> None:
    """Replace or remove something somewhere in nested lists and dicts, the digest excepted."""
    keys = [key for key in (node if isinstance(node, dict) else range(len(node))) if key != "digest"]
    if not keys:
        return
    key = keys[int(rng.integers(0, len(keys)))]
    if isinstance(node[key], dict | list) and node[key] and rng.random() < 0.8:
        _damage_json(node[key], rng)
    elif rng.random() < 0.2:
        del node[key]
    else:
        node[key] = EXTREMES[int(rng.integers(0, len(EXTREMES)))]


def _damaged_array(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    match int(rng.integers(0, 4)):
        case 0:
            return np.resize(array, max(0, array.size + int(rng.integers(-2, 3))))
        case 1:
            with np.errstate(all="ignore"):
                return array.astype(["<i8", "<f4", "|u1", "<i2"][int(rng.integers(0, 4))])
        case 2:
            return array.reshape(1, -1)
        case _ if array.size:
            raw = bytearray(array.tobytes())
            for _ in range(int(rng.integers(1, 4))):
                raw[int(rng.integers(0, len(raw)))] = int(rng.integers(0, 256))
            return np.frombuffer(bytes(raw), array.dtype).reshape(array.shape)
    return array


def random_expression(rng: np.random.Generator, depth: int = 4) -> str:
    """An expression of every operator that the grammar has."""
    if depth == 0 or rng.random() < 0.15:
        return str(rng.choice(["a", "b", "c", "d", "0", "1", "True"]))
    parts = [random_expression(rng, depth - 1) for _ in range(3)]
    forms = [
        "({0} & {1})",
        "({0} | {1})",
        "({0} ^ {1})",
        "~{0}",
        "({0} and {1} and {2})",
        "(not {0})",
        "({0} == {1})",
        "({0} if {1} else {2})",
    ]
    return str(rng.choice(forms)).format(*parts)


def formats(folder: Path) -> dict[str, Format]:
    """Every form; artifacts are read from a file in the folder."""
    circuits = [random_circuit(seed, inputs=4, gates=8, outputs=2) for seed in range(50)]
    rng = np.random.default_rng(1)
    texts = [f"p = {random_expression(rng)}; q = {random_expression(rng, 3)} ^ p" for _ in range(50)]

    def saved(artifact: Circuit | CircuitModel) -> bytes:
        return artifact.save(folder / "whole.safetensors").read_bytes()

    def read_artifact(payload: bytes) -> None:
        (folder / "damaged.safetensors").write_bytes(payload)
        found: Any = hardgrad.load(folder / "damaged.safetensors")
        if isinstance(found, CircuitModel):
            try:
                model_answers(found, model_rows(0))
            except DataError:  # a column may have another name or kind now, or must not be missing
                return
        elif (
            found.n_inputs < 1000
        ):  # a damaged number of inputs is as good as any, but for the memory of rows
            found.evaluate(np.zeros((3, found.n_inputs), bool))

    def read_expression(payload: bytes) -> None:
        Circuit.from_expression(payload.decode("utf-8", "replace")).depth

    def read_blif(payload: bytes) -> None:
        assert isinstance(from_blif(payload.decode("utf-8", "replace")), Circuit)

    def read_aiger(payload: bytes) -> None:
        assert isinstance(from_aiger(payload), Circuit)

    return {
        "aig": Format([c.to_aiger() for c in circuits], read_aiger, damaged, DataError),
        "aag": Format([c.to_aiger(binary=False) for c in circuits], read_aiger, damaged, DataError),
        "blif": Format([c.to_blif().encode() for c in circuits], read_blif, damaged, DataError),
        "expression": Format([text.encode() for text in texts], read_expression, damaged_expression, ParameterError),
        "circuit file": Format([saved(c) for c in circuits[:20]], read_artifact, damaged_artifact, ArtifactError),
        "circuit model file": Format([saved(m) for m in models().values()], read_artifact, damaged_artifact, ArtifactError),
    }  # fmt: skip
