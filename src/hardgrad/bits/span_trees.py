"""Trees over sentences as labelled spans: made binary for a chart, made whole again, compared, written out. Never imports torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from hardgrad.core.errors import DataError

CHAIN = "+"
"""Joins the labels of constituents that have the same words, the outer one first."""


class Span(NamedTuple):
    """A constituent: words `start` to `stop - 1` of its sentence, and its label; "" labels what only a binary tree needs."""

    start: int
    stop: int
    label: str


def binary_tree(spans: Iterable[tuple[int, int, str]], length: int) -> list[Span]:
    """Return a tree as the 2 length - 1 spans of a binary one, parents before children, left before right.

    Further children of a constituent hang to the right, under spans labelled ""; so are words and whole sentences without a label.
    Constituents of the same words become one, its labels joined by "+" in the order they are given in.

    Parameters
    ----------
    spans : constituents (start, stop, label) in any order, as many or as few as there are.
    length : words in the sentence.

    Raises
    ------
    DataError : no words, a span outside the sentence, spans that cross, a label that is empty or holds "+".

    Examples
    --------
    >>> binary_tree([(0, 3, "S"), (0, 1, "NP"), (1, 2, "V"), (2, 3, "NP"), (2, 3, "N")], 3)[1:3]
    [Span(start=0, stop=1, label='NP'), Span(start=1, stop=3, label='')]
    """
    if length < 1:
        raise DataError(f"binary_tree() got a sentence of {length} words; expected at least one.")
    labels: dict[tuple[int, int], str] = {(0, length): ""}
    text: Any
    for start, stop, text in spans:
        if not 0 <= start < stop <= length:
            raise DataError(
                f"binary_tree() got the span {(start, stop, text)!r} in a sentence of {length} words."
            )
        if not isinstance(text, str) or not text or CHAIN in text:
            raise DataError(f"binary_tree() got the label {text!r}; expected text without {CHAIN!r}.")
        outer = labels.get((start, stop), "")
        labels[start, stop] = f"{outer}{CHAIN}{text}" if outer else text
    for word in range(length):
        labels.setdefault((word, word + 1), "")
    return _unfold(sorted(labels, key=lambda span: (span[0], -span[1])), labels)


def _unfold(preorder: list[tuple[int, int]], labels: dict[tuple[int, int], str]) -> list[Span]:
    children: dict[tuple[int, int], list[tuple[int, int]]] = {span: [] for span in preorder}
    open_spans: list[tuple[int, int]] = []
    for span in preorder:
        while open_spans and open_spans[-1][1] <= span[0]:
            open_spans.pop()
        if open_spans:
            if span[1] > open_spans[-1][1]:
                raise DataError(f"binary_tree() got the spans {open_spans[-1]} and {span}, which cross.")
            children[open_spans[-1]].append(span)
        open_spans.append(span)
    found, waiting = [], [(preorder[0], children[preorder[0]])]
    while waiting:
        span, parts = waiting.pop()
        found.append(Span(*span, labels.get(span, "")))
        if parts:
            first, *rest = parts
            (last,) = rest[-1:]
            after = (rest[0], children[rest[0]]) if len(rest) == 1 else ((first[1], last[1]), rest)
            waiting += [after, (first, children[first])]
    return found


def constituents(tree: Iterable[tuple[int, int, str]]) -> list[Span]:
    """Return the constituents that a tree of `binary_tree` stands for: chains apart, spans labelled "" left out.

    Examples
    --------
    >>> constituents([(0, 2, ""), (0, 1, "NP+N"), (1, 2, "V")])
    [Span(start=0, stop=1, label='NP'), Span(start=0, stop=1, label='N'), Span(start=1, stop=2, label='V')]
    """
    return [Span(start, stop, one) for start, stop, label in tree if label for one in label.split(CHAIN)]


def bracket_f1(
    gold: Sequence[Iterable[tuple[int, int, str]]],
    predicted: Sequence[Iterable[tuple[int, int, str]]],
    *,
    labelled: bool = True,
) -> float:
    """Return the F1 of brackets over all sentences together, 0 to 1. Single words do not count, as is the custom.

    Parameters
    ----------
    gold, predicted : constituents of each sentence; a span given several times counts as often.
    labelled : whether a bracket is right only with its label.

    Raises
    ------
    DataError : as many sentences on one side as on the other, or no bracket at all.

    Examples
    --------
    >>> bracket_f1([[(0, 3, "S"), (1, 3, "VP")]], [[(0, 3, "S"), (0, 2, "VP")]])
    0.5
    """
    if len(gold) != len(predicted):
        raise DataError(f"bracket_f1() got {len(gold)} gold trees and {len(predicted)} predicted ones.")
    shared = total = 0
    for truth, guess in zip(gold, predicted, strict=True):
        mine, theirs = (Counter(_brackets(tree, labelled)) for tree in (truth, guess))
        shared += (mine & theirs).total()
        total += mine.total() + theirs.total()
    if not total:
        raise DataError("bracket_f1() got no bracket of two words or more; there is nothing to compare.")
    return 2 * shared / total


def _brackets(tree: Iterable[tuple[int, int, str]], labelled: bool) -> Iterable[tuple[int, int, str]]:
    return ((start, stop, label if labelled else "") for start, stop, label in tree if stop - start > 1)


def bracketed(tokens: Sequence[str], spans: Iterable[tuple[int, int, str]]) -> str:
    """Return a tree as text, in the treebanks' brackets.

    Examples
    --------
    >>> bracketed(["birds", "sing"], [(0, 2, "S"), (0, 1, "NP"), (1, 2, "VP")])
    '(S (NP birds) (VP sing))'
    """
    opening: list[str] = [""] * len(tokens)
    closing = [0] * len(tokens)
    for start, stop, label in sorted(
        spans, key=lambda span: (span[0], -span[1])
    ):  # stable: chains keep their order
        opening[start] += f"({label} "
        closing[stop - 1] += 1
    return " ".join(o + token + ")" * c for o, token, c in zip(opening, tokens, closing, strict=True))
