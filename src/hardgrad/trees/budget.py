"""Budgets: the best exact forest that fits in so many bytes, leaves or trees. Never imports torch unless soft candidates are trained."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

from hardgrad.core.errors import BudgetError
from hardgrad.train.progress import emit
from hardgrad.trees.assemble import Frame
from hardgrad.trees.byte_search import select_bytes
from hardgrad.trees.candidates import Problem, Recipe, Selection
from hardgrad.trees.selection import select

Unit = Literal["bytes", "leaves", "trees"]
_PATTERN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(b|bytes?|kb|kib|mb|mib|leaf|leaves|trees?)\s*", re.IGNORECASE)
_BYTES = {"b": 1, "byte": 1, "bytes": 1, "kb": 1000, "kib": 1024, "mb": 1000**2, "mib": 1024**2}


@dataclass(frozen=True)
class Budget:
    """A bound on the size of a model: so many bytes of packed C data, leaves or trees."""

    unit: Unit
    amount: int

    def __str__(self) -> str:
        return f"{self.amount:,} {self.unit}"


def parse_budget(text: str) -> Budget:
    """Read a budget such as "2kB", "900 bytes", "64 leaves" or "5 trees".

    Raises
    ------
    BudgetError : not a budget, or one that nothing fits in.

    Examples
    --------
    >>> parse_budget("2kB"), parse_budget("64 leaves").unit
    (Budget(unit='bytes', amount=2000), 'leaves')
    """
    match = _PATTERN.fullmatch(str(text))
    if match is None:
        raise BudgetError(
            f"budget got {text!r}; expected bytes, leaves or trees, as in '2kB', '64 leaves' or '5 trees'."
        )
    number, word = float(match[1]), match[2].lower()
    unit: Unit = "bytes" if word in _BYTES else "leaves" if word.startswith("lea") else "trees"
    amount = int(number * _BYTES.get(word, 1))
    least = {"bytes": 24, "leaves": 2, "trees": 1}[unit]
    if amount < least:
        raise BudgetError(f"budget got {text!r}; nothing fits in less than {least} {unit}.")
    return Budget(unit, amount)


def select_within(problem: Problem, recipe: Recipe, budget: Budget, frame: Frame) -> Selection:
    """Return the best forest within a budget, judged like any candidate on held-out rows.

    Raises
    ------
    BudgetError : nothing fits; the message says what the smallest forest takes.
    """
    if budget.unit == "trees":
        return select(problem, replace(recipe, n_trees=budget.amount))
    if budget.unit == "leaves":
        return _select_leaves(problem, recipe, budget.amount)
    return select_bytes(problem, budget.amount, frame, recipe=recipe)


def _select_leaves(problem: Problem, recipe: Recipe, leaves: int) -> Selection:
    """Try how to share the leaves among trees: few large ones, many small ones; each as greedy and refined forests."""
    sizes = sorted({min(leaves, size) for size in (2, 4, 8, 16, 32)})
    shapes = [(max(1, leaves // size), size) for size in sizes if leaves // size <= 64]
    best: Selection | None = None
    for k, (n_trees, size) in enumerate(shapes):
        depth = max(1, min(recipe.depth + 1, (size - 1).bit_length() + (1 if size > 4 else 0)))
        share = None if recipe.time_budget is None else recipe.time_budget / len(shapes)
        shaped = replace(
            recipe, n_trees=n_trees, depth=depth, max_leaves=min(size, 2**depth), time_budget=share
        )
        with problem.interruption.skipping(f"{n_trees} trees of {size} leaves", usable=best is not None):
            found = select(problem, shaped)
            if best is None or found.winner.loss < best.winner.loss:
                best = found
            shown = problem.score.shown(found.winner.loss)
            emit("budget", (k + 1) / len(shapes), message=f"{n_trees} trees of {size} leaves: {shown:.4f}")
        if problem.interruption.happened:
            problem.interruption.left_out += [f"{t} trees of {n} leaves" for t, n in shapes[k + 1 :]]
            break
    assert best is not None
    return best
