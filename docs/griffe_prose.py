"""Read our docstrings as they are meant: `name : what it is` in one line, types from the signature. Used by the API pages only.

NumPy's own convention puts a type behind the colon. Ours are in the signature, checked by mypy, so the colon introduces the words. This
extension turns `name : words` of a section into the two-line form before griffe reads it.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

SECTIONS = {"Parameters", "Attributes", "Raises", "Other Parameters", "Warns"}
ENTRY = re.compile(r"^(?P<name>[\w*.]+(?:, [\w*.]+)*)(?: \((?P<note>[^)]*)\))? : (?P<words>.*)$")


def in_two_lines(text: str) -> str:
    """Return the docstring with every `name : words` of a section as a name and an indented description."""
    lines = with_examples_heading(text).split("\n")
    result: list[str] = []
    inside = False
    for number, line in enumerate(lines):
        following = lines[number + 1].strip() if number + 1 < len(lines) else ""
        if following and set(following) == {"-"}:
            inside = line.strip() in SECTIONS
        entry = ENTRY.match(line) if inside else None
        if entry:
            note = f"({entry['note']}) " if entry["note"] else ""
            result += [entry["name"], f"    {note}{entry['words']}"]
        else:
            result.append(line)
    return "\n".join(result)


def with_examples_heading(text: str) -> str:
    """Return the docstring with a heading above examples that stand without one, as in a helper of two lines."""
    if "\nExamples\n" in text or (not text.startswith(">>>") and "\n>>>" not in text):
        return text
    before, examples = text[: text.index(">>>")], text[text.index(">>>") :]
    return f"{before.rstrip()}\n\nExamples\n--------\n{examples}"


class Prose(griffe.Extension):
    """Apply `in_two_lines` to the docstring of everything that is collected."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite one docstring."""
        if obj.docstring is not None:
            obj.docstring.value = in_two_lines(obj.docstring.value)
