"""Budgets: the best exact forest that fits in so many bytes, leaves or trees. Never imports torch unless soft candidates are trained."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import BudgetError
from hardgrad.train.progress import emit
from hardgrad.trees.assemble import Frame
from hardgrad.trees.candidates import Candidate, Problem, Recipe, Selection, front_point, scored
from hardgrad.trees.grid import BITS, MAX_ROUNDS, REFIT, Grid, GridForest, Setting, grid_candidates
from hardgrad.trees.selection import select

Unit = Literal["bytes", "leaves", "trees"]
_PATTERN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(b|bytes?|kb|kib|mb|mib|leaf|leaves|trees?)\s*", re.IGNORECASE)
MOST_SHOWN = 60
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
    return select_bytes(problem, budget.amount, frame, time_budget=recipe.time_budget)


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


Grower = Callable[[NDArray[np.int64]], GridForest]


@dataclass(frozen=True)
class _Tried:
    candidate: Candidate
    grow: Grower
    trees: int
    leaves: int
    penalty: int


def _judge_grid(
    problem: Problem, name: str, grow: Grower, grown: Sequence[GridForest], trees: int
) -> list[_Tried]:
    """Score the first trees of one forest a fold, leaves refitted, at every penalty."""
    finished = [forest.finish(trees) for forest in grown]
    held_scores = [
        forest.frame.codes.encode_scores(problem.X[held])
        for forest, (_, held) in zip(grown, problem.folds, strict=True)
    ]
    tried = []
    for k, l2 in enumerate(REFIT):
        raw = np.concatenate([f[k].raw(x) for f, x in zip(finished, held_scores, strict=True)])
        candidate = scored(problem, Candidate(f"{trees} trees: {name}", 0.0, l2=l2), raw)
        tried.append(_Tried(candidate, grow, trees, finished[0][k].n_leaves, k))
    return tried


def select_bytes(
    problem: Problem,
    limit: int,
    frame: Frame,
    own: Sequence[tuple[str, int, Grower]] = (),
    time_budget: float | None = None,
) -> Selection:
    """Grow forests inside few-bit grids and keep as many trees as fit; the shape, bits and rate of least held-out loss win.

    Under bytes it is leaf refit, fewer leaves and fewer bits that pay, not oblique nodes (3 to 9 bytes against 2), so these forests are
    axis-aligned and grown greedily; `soft` of the result is None.

    Parameters
    ----------
    problem, frame : what is learned.
    limit : bytes of packed C data.
    own : further candidates: a name, bits, and a function that makes the forest from the numbers of training rows.
    time_budget : seconds after which no further candidate is tried.

    Raises
    ------
    BudgetError : nothing fits, or too few rows to judge.
    """
    if not problem.folds:
        raise BudgetError("a byte budget needs at least 20 rows, to choose a shape on held-out ones.")
    frame = settle_unseen(frame, problem.X)
    growers = [*own, *_fresh(problem, frame, limit)]
    tried: list[_Tried] = []
    smallest = 2**62
    began = time.monotonic()
    for k, (name, _, grow) in enumerate(growers):
        if tried and time_budget is not None and time.monotonic() - began > 0.8 * time_budget:
            break
        left = f"{len(growers) - k} of {len(growers)} shapes"
        with problem.interruption.skipping(left, usable=bool(tried)):
            grown = problem.mapped(lambda fold, grow=grow: grow(fold[0]), problem.folds)
            smallest = min([smallest, *(forest.size(1) for forest in grown if forest.forest.n_trees)])
            trees = min(forest.trees_within(limit) for forest in grown)
            # As many trees as fit, and fewer: on few rows more trees are not always better.
            for count in sorted({trees, trees // 2, trees // 4} - {0}, reverse=True):
                tried += _judge_grid(problem, name, grow, grown, count)
            best_yet = problem.score.shown(min(t.candidate.loss for t in tried)) if tried else None
            emit("budget", (k + 1) / len(growers), hard=best_yet)
        if problem.interruption.happened:
            break
    if not tried:
        raise BudgetError(
            f"no forest fits in {limit:,} bytes: the smallest one for this table takes {smallest:,}. Raise the budget, or drop "
            "categorical columns, whose text counts."
        )
    best = min(tried, key=lambda t: t.candidate.loss)
    whole = best.grow(np.arange(len(problem.rows)))
    # On all rows a tree may take a few more nodes than on the folds.
    done = whole.finish(max(1, min(best.trees, whole.trees_within(limit))))[best.penalty]
    held = np.concatenate([rows for _, rows in problem.folds])
    ranked = tuple(sorted((t.candidate for t in tried), key=lambda c: c.loss))
    shown = sorted(tried, key=lambda t: t.candidate.loss)[:MOST_SHOWN]
    front = tuple(front_point(problem, t.candidate, t.trees, t.leaves, t is best) for t in shown)
    return Selection(
        done,
        None,
        best.candidate,
        ranked,
        held,
        None,
        front,
        artifact=whole.artifact(done),
        codes=whole.frame.codes,
    )


def settle_unseen(frame: Frame, X: NDArray[np.float64]) -> Frame:
    """Let a category not seen in training count as the category nearest to the column's median code.

    Categories that go the way of an unseen one need no text, so this leaves the common ones out of the packed form.
    """
    features = list(frame.schema.features)
    for f, feature in enumerate(features):
        present = X[~np.isnan(X[:, f]), f]
        if feature.transform == "codes" and len(feature.codes) > 1 and len(present):
            known = np.asarray(feature.codes[:-1])
            nearest = float(known[np.argmin(np.abs(known - np.median(present)))])
            features[f] = replace(feature, codes=(*feature.codes[:-1], nearest))
    return replace(frame, schema=replace(frame.schema, features=tuple(features)))


def _fresh(problem: Problem, frame: Frame, limit: int) -> list[tuple[str, int, Grower]]:
    """Greedy forests on grids, one a setting."""
    X, weight = problem.X, problem.rows.weight
    grids = {bits: Grid.fit(X, bits) for bits in BITS}
    codes = {bits: grid.codes(X, weight) for bits, grid in grids.items()}

    def grower(setting: Setting) -> Grower:
        leaves, bits, _ = setting
        tree_bits = leaves * bits + (leaves - 1) * bits + 2 * leaves - 1  # without its features
        rounds = min(MAX_ROUNDS, 1 + 8 * limit // tree_bits)

        def grow(rows: NDArray[np.int64]) -> GridForest:
            part = problem.rows.take(rows)
            return GridForest.grow(
                X[rows], part, grids[bits], codes[bits], problem.objective, frame, setting, rounds
            )

        return grow

    return [(f"{s[0]} leaves, {s[1]} bits, rate {s[2]}", s[1], grower(s)) for s in grid_candidates()]
