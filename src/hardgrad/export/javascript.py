"""Writing JavaScript: exact numbers, safe strings, data. Knows nothing about models; never imports torch.

Everything written here may stand inside an HTML page: no text can end a script element or open a comment.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hardgrad.core.errors import ExportError
from hardgrad.export.c import fill

MAX_INTEGER = 2**53


def js_number(value: float) -> str:
    """Return the shortest literal that is this very double.

    Raises
    ------
    ExportError : an integer beyond 2**53, which JavaScript would round.

    Examples
    --------
    >>> js_number(0.1), js_number(3.0), js_number(-0.0), js_number(1e300), js_number(float("-inf"))
    ('0.1', '3', '-0', '1e+300', '-Infinity')
    """
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        raise ExportError(
            f"{value} is beyond 2**53, where JavaScript's numbers are no longer whole. Use a string."
        )
    number = float(value)
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    return repr(number).removesuffix(".0")


def js_string(text: str) -> str:
    r"""Return a string literal in ASCII, with `<`, `>` and `&` escaped.

    >>> print(js_string('</script> "é"'))
    "\u003c/script\u003e \"\u00e9\""
    """
    quoted = json.dumps(text, ensure_ascii=True)
    return (
        quoted.replace("<", "\\u003c")
        .replace(">", "\\u003e")
        .replace("&", "\\u0026")
        .replace("\x7f", "\\u007f")
    )


def js_value(value: Any) -> str:
    """Return plain data (mappings, sequences, strings, numbers, booleans, None) as an expression on one line.

    >>> js_value({"name": "age", "codes": (0.5, float("inf")), "known": None})
    '{name: "age", codes: [0.5, Infinity], known: null}'
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return js_string(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(str(k))}: {js_value(v)}" for k, v in value.items()) + "}"
    if isinstance(value, Sequence):
        return "[" + ", ".join(map(js_value, value)) + "]"
    return js_number(value)


def _key(name: str) -> str:
    plain = name.isidentifier() and name.isascii() and name != "__proto__"
    return name if plain else f"[{js_string(name)}]"


def js_table(name: str, values: Iterable[float]) -> str:
    """Return the definition of a constant array of numbers, its lines filled.

    >>> print(js_table("days", [31, 28]))
    const days = [
      31, 28
    ];
    """
    items = [js_number(value) for value in values]
    return f"const {name} = [\n{fill(items, '  ')}\n];" if items else f"const {name} = [];"
