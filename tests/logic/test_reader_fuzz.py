"""The readers on damaged circuits: each is read or refused with one error of ours; nothing crashes, hangs or takes memory.

Some thousand of each form here, 100,000 of each with `make fuzz`.
"""

from __future__ import annotations

import contextlib
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reader_fuzz import formats, try_damaged

from hardgrad.core.errors import DataError, ParameterError
from hardgrad.logic import Circuit
from hardgrad.logic.aiger import from_aiger
from hardgrad.logic.blif import from_blif

FORMS = ["aig", "aag", "blif", "expression", "circuit file", "circuit model file"]


@pytest.fixture(scope="module")
def forms(tmp_path_factory):
    return formats(tmp_path_factory.mktemp("circuits"))


@pytest.mark.parametrize("kind", FORMS)
def test_damaged_files_are_read_or_refused(kind, forms):
    trials = 1000 if kind == "circuit model file" else 5000
    tally = try_damaged(forms[kind], trials)
    assert tally.refused + tally.read == trials and tally.refused > 0.05 * trials and tally.read > 0


@pytest.mark.fuzz
@pytest.mark.slow
@pytest.mark.parametrize("kind", FORMS)
def test_a_hundred_thousand_damaged_files(kind, forms, capsys):
    tally = try_damaged(forms[kind], 100_000, seed=1)
    with capsys.disabled():
        print(
            f"\n{kind}: {tally.refused:,} refused, {tally.read:,} read, {tally.seconds:.0f} s, slowest {1000 * tally.slowest:.1f} ms"
        )
    assert tally.refused + tally.read == 100_000


def test_no_file_of_a_form_is_refused_undamaged(forms):
    assert set(forms) == set(FORMS)
    for form in forms.values():
        for payload in form.files:
            form.read(payload)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_no_crash(text):
    with contextlib.suppress(ParameterError):
        Circuit.from_expression(text)


@pytest.mark.parametrize(
    "text",
    ["~" * 3000 + "a", "(" * 3000 + "a", "b += " + "~" * 700 + "a", " ^ ".join(f"x{i}" for i in range(5000))],
)
def test_expressions_that_are_too_deep_are_refused(text):
    with pytest.raises(ParameterError, match="too deeply|too many nested"):
        Circuit.from_expression(text)


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=200), st.sampled_from([b"", b"aig ", b"aag ", b"aig 3 2 0 1 1\n", b"aag 3 2 0 1 1\n"])
)
def test_any_bytes_are_no_crash(payload, head):
    for read in (from_aiger, lambda data: from_blif(data.decode("utf-8", "replace"))):
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
