"""The readers on 120,000 damaged files: each is read as a circuit or refused with `DataError`; nothing crashes, hangs or takes memory."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_circuits import random_circuit

from hardgrad.core.errors import DataError
from hardgrad.logic import Circuit
from hardgrad.logic.aiger import from_aiger
from hardgrad.logic.blif import from_blif

DAMAGED = 40_000
TOKENS = [
    b"0",
    b"1",
    b"-",
    b" ",
    b"\n",
    b"\\\n",
    b"#",
    b".names",
    b".end",
    b".model",
    b"\xff",
    b"\x80",
    b"99999999",
    b"x0",
    b"y0",
    b"-1",
]


def read_blif(payload: bytes) -> Circuit:
    return from_blif(payload.decode("utf-8", "replace"))


FORMATS: dict[str, tuple[Callable[[bytes], Circuit], Callable[[Circuit], bytes]]] = {
    "aig": (from_aiger, lambda circuit: circuit.to_aiger()),
    "aag": (from_aiger, lambda circuit: circuit.to_aiger(binary=False)),
    "blif": (read_blif, lambda circuit: circuit.to_blif().encode()),
}


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


@pytest.mark.parametrize("kind", FORMATS)
def test_damaged_files_are_read_or_refused(kind):
    read, write = FORMATS[kind]
    rng = np.random.default_rng(0)
    files = [write(random_circuit(seed, inputs=4, gates=8, outputs=2)) for seed in range(50)]
    refused = 0
    for trial in range(DAMAGED):
        payload = damaged(files[trial % len(files)], rng)
        try:
            assert isinstance(read(payload), Circuit)
        except DataError:
            refused += 1
    assert 0.05 * DAMAGED < refused < DAMAGED


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=200), st.sampled_from([b"", b"aig ", b"aag ", b"aig 3 2 0 1 1\n", b"aag 3 2 0 1 1\n"])
)
def test_any_bytes_are_no_crash(payload, head):
    for read in (from_aiger, read_blif):
        with contextlib.suppress(DataError):
            read(head + payload)


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"aig 1 0 1 0 0\n", "latches"), (b"aag x\n", "at the head"), (b"aig 9 2 0 1 1\n6\n", "expected their sum"),
        (b"aig 3 2 0 1 1\n6\n", "ends early"), (b"aig 3 2 0 1 1\n9\n\x01\x01\n\n\n\n", "literal 9"),
        (b"aag 3 2 0 1 1\n2\n2\n6\n6 4 2\n", "used twice"), (b"aag 3 2 0 1 1\n2\n4\n6\n6 6 2\n", "depends on itself"),
        (b"aag 4 2 0 1 1\n2\n4\n6\n6 8 2\n", "neither an input nor defined"), (b"aag 3 2 0 1 1\n2\n4\n6\n7 4 2\n", "expected an even one"),
        (b"aig 3 2 0 1 1\n6\n\x07\x01", "reads literals"), (b"aig 9000000 9000000 0 0 0\n", "inputs"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_aiger_is_said(payload, message):
    with pytest.raises(DataError, match=message):
        from_aiger(payload)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (".inputs a\n.outputs y\n.latch a y\n", "line 3: .latch"), (".inputs a\n", "without .outputs"),
        ("11 1\n", "does not follow a .names"), (".outputs y\n.names y y\n1 1\n", "depends on itself"),
        (".outputs y\n", "which is neither"),
        (".inputs a\n.outputs y\n.names a y\n11 1\n", "no row of 1 inputs"),
        (".inputs a\n.outputs y\n.names a y\n1 1\n0 0\n", "same in every row"),
        (".outputs y\n.names y\n.names y\n", "defined twice"), (".inputs a\n.outputs a\n.names a\n", "defined twice|defines its input"),
        (".outputs y\n.names b y\n1 1\n.names y b\n1 1\n", "depends on itself"), (".model a\n.model b\n", "second .model"),
        (".names", "without a name"), (".outputs y y\n.names y\n", "names an output twice"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_blif_is_said(text, message):
    with pytest.raises(DataError, match=message):
        from_blif(text)


def test_covers_of_zeros_and_of_many_inputs_and_continued_lines():
    text = ".model m # a comment\n.inputs a b \\\n c\n.outputs y z\n.names a b c y\n1-0 0\n-11 0\n.names z\n.end\nrubbish"
    circuit = from_blif(text)
    rows = list(itertools.product([0, 1], repeat=3))
    expected = [[not ((a and not c) or (b and c)), False] for a, b, c in rows]
    assert circuit.evaluate(rows).tolist() == expected


def test_depth_is_no_danger():
    chain = "".join(f".names n{i} x n{i + 1}\n10 1\n01 1\n" for i in range(20_000))
    circuit = from_blif(f".inputs x n0\n.outputs n20000\n{chain}")
    assert circuit.evaluate([[1, 0], [0, 1]])[:, 0].tolist() == [False, True]
