"""One row of raw columns as a C struct: what every export of an artifact over tables to C shares. Never imports torch."""

from __future__ import annotations

from collections.abc import Sequence

from hardgrad.export import c
from hardgrad.tabular.schema import Column

ROW_TYPES = {"numeric": "double ", "boolean": "double ", "datetime": "double ", "categorical": "const char *"}
ROW_NOTES = {
    "numeric": "number; NAN is missing",
    "boolean": "0 or 1; NAN is missing",
    "datetime": "seconds since 1970-01-01T00:00:00 UTC, fractions are floored; NAN is missing",
    "categorical": "UTF-8 text; NULL is missing",
}


def row_members(columns: Sequence[Column]) -> list[str]:
    """Return the names of the members of the row struct, one a column."""
    return c.unique_identifiers([column.name for column in columns])


def member_declarations(columns: Sequence[Column]) -> str:
    """Return the lines that declare the members, each with a comment that says what it holds."""
    if not columns:
        return "    char unused;"
    declared = [
        (f"{ROW_TYPES[column.kind]}{member};", f"/* {quoted(column.name)}: {ROW_NOTES[column.kind]} */")
        for column, member in zip(columns, row_members(columns), strict=True)
    ]
    width = min(max(len(member) for member, _ in declared), 40)
    return "\n".join(f"    {member:<{width}} {note}" for member, note in declared)


def quoted(text: str) -> str:
    """Return a name in quotes that can stand within a comment."""
    return f'"{c.c_comment(text)}"'
