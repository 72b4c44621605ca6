"""Writing JavaScript: numbers and strings that node reads back exactly, and nothing that can end a script element."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardgrad.core.errors import ExportError
from hardgrad.export.javascript import js_number, js_string, js_table, js_value

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
data: Any = st.recursive(
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=("Cs",))),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("ab_1 é-", min_size=1, max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


def evaluate(expression: str) -> Any:
    code = f"process.stdout.write(JSON.stringify({expression}))"
    done = subprocess.run(
        ["node", "-e", code], capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL
    )
    return json.loads(done.stdout, parse_int=float)  # JavaScript writes 5e16 as a whole number


@needs_node
def test_node_reads_back_every_value() -> None:
    samples: list[Any] = []

    @given(data)
    def collect(value: Any) -> None:
        samples.append(value)

    collect()
    assert evaluate(js_value(samples)) == json.loads(json.dumps(samples), parse_int=float)
    edges = [0.1, 5e-324, 1.7976931348623157e308, 2.0**53, 1e21, 1e-7, 123456789.123456789, 1 / 3]
    assert evaluate(js_value(edges)) == edges
    assert evaluate("[Object.is(-0, " + js_number(-0.0) + "), Infinity === " + js_number(math.inf) + "]") == [
        True,
        True,
    ]
    assert evaluate('Object.keys({["__proto__"]: 1})') == evaluate(
        f"Object.keys({js_value({'__proto__': 1})})"
    )


@given(st.text(max_size=30))
def test_strings_are_safe_inside_a_page(text: str) -> None:
    literal = js_string(text)
    assert literal.isascii() and "<" not in literal and ">" not in literal and "&" not in literal
    assert json.loads(literal) == text


def test_numbers_are_short_and_large_integers_refused() -> None:
    assert [js_number(v) for v in (1, 2.0, -0.5, 1e22, True)] == ["1", "2", "-0.5", "1e+22", "1"]
    assert js_number(math.nan) == "NaN"
    with pytest.raises(ExportError, match="2\\*\\*53"):
        js_number(2**53 + 1)
    assert js_table("empty", []) == "const empty = [];"
