"""Writing C: literals are exact, strings are their bytes, comments cannot be left, identifiers are valid and distinct."""

from __future__ import annotations

import ctypes
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardgrad.core.errors import ExportError, ParameterError
from hardgrad.export import c
from hardgrad.export.compiled_c import compile_shared, has_compiler

needs_compiler = pytest.mark.skipif(not has_compiler(), reason="no C compiler on this machine")
STRICT = ("-std=c99", "-O0", "-Wall", "-Wextra", "-Wpedantic", "-Werror")
texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_double_literals_read_back_to_the_same_bits(value: float) -> None:
    literal = c.c_double(value)
    assert math.copysign(1.0, float.fromhex(literal)) == math.copysign(1.0, value)
    assert float.fromhex(literal) == value


@needs_compiler
def test_the_compiler_reads_literals_and_strings_as_they_are_meant() -> None:
    numbers = [
        0.0,
        -0.0,
        5e-324,
        -5e-324,
        0.1,
        1e300,
        1.7976931348623157e308,
        math.inf,
        -math.inf,
        2.0**53,
        1 / 3,
    ]
    words = ["", "é", "日本🌲", 'say "hi"\\', "??/", "%s", "\x01", "1\t2", "\x7f0", "*/", "\u202e"]
    source = "\n".join(
        [
            "#include <math.h>",
            c.c_table("double numbers[]", map(c.c_double, numbers)),
            c.c_table("char *const words[]", map(c.c_string, words)),
            "double number(int i);\nconst char *word(int i);",
            "double number(int i) { return numbers[i]; }\nconst char *word(int i) { return words[i]; }",
            *(f"/* {c.c_comment(word)} */" for word in words),
        ]
    )
    library = compile_shared(source, flags=STRICT, name="literals")
    library.number.restype, library.word.restype = ctypes.c_double, ctypes.c_char_p
    got = [library.number(i) for i in range(len(numbers))]
    assert [value.hex() for value in got] == [value.hex() for value in numbers]
    assert [library.word(i) for i in range(len(words))] == [word.encode() for word in words]


def test_what_c_cannot_hold_is_refused() -> None:
    with pytest.raises(ExportError, match="NaN"):
        c.c_double(math.nan)
    with pytest.raises(ExportError, match="U\\+0000"):
        c.c_string("a\0b")
    with pytest.raises(ExportError, match="unicode"):
        c.c_string("\ud800")
    with pytest.raises(ExportError, match="4,095"):
        c.c_string("x" * 5000)
    with pytest.raises(ExportError, match="32 bits"):
        c.integer_type([2**31])


@given(texts)
def test_comments_are_one_line_without_an_end(text: str) -> None:
    comment = f"/* {c.c_comment(text)} */"
    assert comment.count("*/") == 1 and comment.count("/*") == 1
    assert "??" not in comment and comment.isprintable()


@given(st.lists(texts, unique=True, max_size=12))
def test_identifiers_are_valid_and_distinct(names: list[str]) -> None:
    found = c.unique_identifiers(names)
    assert len(set(found)) == len(names)
    assert all(re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) for name in found)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["int", "NULL", "M_PI", "INT32_MAX"], ["int_", "NULL_", "M_PI_", "INT32_MAX_"]),
        (["a-b", "a_b", "a b", "a_b_2"], ["a_b_3", "a_b", "a_b_4", "a_b_2"]),
        (["_x", "__x", "X", "x"], ["x_2", "x_3", "X", "x"]),
        (["", "日本", "1", "Straße"], ["x", "x_2", "x_1", "Stra_e"]),
        (["double", "double_"], ["double__2", "double_"]),
    ],
)
def test_identifiers(names: list[str], expected: list[str]) -> None:
    assert c.unique_identifiers(names) == expected


@pytest.mark.parametrize("name", ["", "1a", "a b", "int", "_a", "é", "a" * 40, "a;b"])
def test_bad_prefixes_are_refused_with_a_proposal(name: str) -> None:
    with pytest.raises(ParameterError, match="Try"):
        c.require_identifier(name)


def test_tables_are_filled_and_never_empty() -> None:
    assert "= {\n    0\n};" in c.c_table("int8_t none[]", [])
    lines = c.c_table("int16_t many[]", map(str, range(500))).splitlines()
    assert max(map(len, lines)) <= c.LINE and len(lines) < 30
