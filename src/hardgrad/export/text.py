"""Laying out plain text: trees with branches drawn in lines. Knows nothing about models; never imports torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

N = TypeVar("N")


def one_line(text: str, width: int | None = None) -> str:
    r"""Return a text in one line: what cannot be printed is escaped, what is too long ends in "...".

    >>> one_line("a\nb"), one_line("abcdefgh", 6)
    ('a\\nb', 'abc...')
    """
    escapes = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
    shown = "".join(c if c.isprintable() else escapes.get(c, f"\\u{{{ord(c):x}}}") for c in text)
    return shown if width is None or len(shown) <= width else shown[: max(width - 3, 0)] + "..."


def draw_tree(
    root: N, children: Callable[[N], Sequence[tuple[str, N]]], label: Callable[[N], str], indent: str = ""
) -> list[str]:
    r"""Return the lines of a tree, each node on a line of its own below its parent.

    Parameters
    ----------
    root : the root; nodes may be anything.
    children : gives the (name of the branch, child) pairs of a node, none at a leaf.
    label : gives the text of a node, one line.
    indent : stands before every line.

    Examples
    --------
    >>> tree = {"a": [("yes", "b"), ("no", "c")], "b": [("yes", "d"), ("no", "e")]}
    >>> print("\n".join(draw_tree("a", lambda node: tree.get(node, []), str.upper)))
    A
    ├─ yes: B
    │  ├─ yes: D
    │  └─ no:  E
    └─ no:  C
    """
    lines: list[str] = []
    stack: list[tuple[N, str, str]] = [(root, "", "")]
    while stack:
        node, first, rest = stack.pop()
        lines.append(f"{indent}{first}{label(node)}")
        branches = list(children(node))
        width = max((len(name) for name, _ in branches), default=0)
        drawn = []
        for i, (name, child) in enumerate(branches):
            last = i + 1 == len(branches)
            corner, bar = ("└─ ", "   ") if last else ("├─ ", "│  ")
            drawn.append((child, f"{rest}{corner}{name}: {' ' * (width - len(name))}", f"{rest}{bar}"))
        stack += drawn[::-1]
    return lines
