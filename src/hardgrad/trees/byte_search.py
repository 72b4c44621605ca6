"""The best exact forest that fits in so many bytes: shapes, features, bits and penalties, from a coarse look to a close one.

Never imports torch unless soft candidates are trained.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import BudgetError
from hardgrad.train.progress import emit
from hardgrad.trees.assemble import Frame
from hardgrad.trees.candidates import Candidate, Problem, Recipe, Selection, front_point, scored
from hardgrad.trees.codes import FeatureCodes
from hardgrad.trees.forest import Forest
from hardgrad.trees.grid import (
    MAX_ROUNDS,
    QUICK_ITERATIONS,
    Grid,
    GridForest,
    Setting,
    coarse_settings,
    finer_settings,
)
from hardgrad.trees.leaf_refit import ITERATIONS
from hardgrad.trees.packed import packed_size
from hardgrad.trees.perfect import PerfectForest

MOST_SHOWN = 60
FINER = 3
CLOSE = 5
TIME_SHARE = 0.8


class Packable(Protocol):
    """A grown forest that can be cut to fit, refitted on its grid and packed; see `GridForest`."""

    @property
    def frame(self) -> Frame:
        """Its codes are those of its grid."""

    @property
    def path(self) -> tuple[float, ...]:
        """Penalties of `finish`."""

    @property
    def quick(self) -> tuple[float, ...]:
        """The penalties of a first look."""

    def trees_within(self, limit: int) -> int:
        """Return how many trees fit."""

    def least_size(self) -> int:
        """Return the bytes of the smallest forest that can be cut from it."""

    def finish(
        self, trees: int, path: tuple[float, ...] | None = None, iterations: int = ITERATIONS
    ) -> list[PerfectForest]:
        """Return the first trees, leaves refitted at each penalty of a path and rounded."""

    def artifact(self, trees: int, l2: float) -> tuple[PerfectForest, Forest]:
        """Return what `finish` makes at one penalty, and its artifact."""


@dataclass(frozen=True)
class Way:
    """A way to grow a forest from the numbers of training rows.

    Parameters
    ----------
    name, grow : as it is shown; a function of the numbers of the rows to train on.
    setting : that of a greedy forest grown anew.
    l1 : penalty of a refined one.
    """

    name: str
    grow: Callable[[NDArray[np.int64]], Packable]
    setting: Setting | None = None
    l1: float | None = None


@dataclass(frozen=True)
class _Tried:
    """A way, cut to some trees, at one penalty."""

    candidate: Candidate
    way: Way
    grown: tuple[Packable, ...]
    trees: int
    leaves: int
    l2: float


def select_bytes(
    problem: Problem,
    limit: int,
    frame: Frame,
    own: Sequence[Way] = (),
    recipe: Recipe | None = None,
) -> Selection:
    """Grow forests inside few-bit grids and keep as many trees as fit; the way of least held-out loss of its packed forest wins.

    Greedy axis-aligned forests of all coarse settings are looked at with few steps of leaf refit; the best of them with other widths of
    codes; the best of all those with the whole path of penalties. Sparse-oblique forests compete where the recipe has penalties for
    them. Under bytes it is leaf refit, fewer leaves, fewer features and fewer bits that pay, seldom oblique nodes (3 to 9 bytes against
    2).

    Parameters
    ----------
    problem, frame : what is learned.
    limit : bytes of packed C data.
    own : further ways to grow a forest.
    recipe : its l1 allow sparse-oblique forests; after its time budget no further candidate is tried. None: axis-aligned, no hurry.

    Raises
    ------
    BudgetError : nothing fits, or too few rows to judge.
    """
    if not problem.folds:
        raise BudgetError("a byte budget needs at least 20 rows, to choose a shape on held-out ones.")
    search = _Search(problem, limit, settle_unseen(frame, problem.X), recipe)
    search.look([*own, *(search.way(setting) for setting in coarse_settings())], "coarse look")
    if (
        not search.tried
    ):  # texts of categories may not fit where a coarse grid mixes them: finer and smaller trees do
        stumps = [Setting(leaves, 0.7, 1.0, bits) for leaves in (2, 3, 4) for bits in (5, 6)]
        search.look([search.way(setting) for setting in stumps], "smallest trees")
    if not search.tried:
        raise BudgetError(
            f"no forest fits in {limit:,} bytes: the smallest one for this table takes {search.smallest:,}. Raise the budget, or drop "
            "categorical columns, whose text counts."
        )
    finer = [s for way in search.best_ways(FINER) if way.setting for s in finer_settings(way.setting)]
    search.look([search.way(setting) for setting in finer], "other widths")
    search.look_at_oblique()
    close = search.close_look()
    ranked = sorted(close, key=_loss)
    best, done, artifact, codes = search.on_all_rows(ranked)
    front = [front_point(problem, t.candidate, t.trees, t.leaves, t is best) for t in ranked[:MOST_SHOWN]]
    return Selection(
        done,
        None,
        best.candidate,
        tuple(t.candidate for t in ranked),
        np.concatenate([rows for _, rows in problem.folds]),
        None,
        tuple(front),
        artifact=artifact,
        codes=codes,
    )


def _loss(tried: _Tried) -> float:
    return tried.candidate.loss


class _Search:
    """What was tried under one budget."""

    def __init__(self, problem: Problem, limit: int, frame: Frame, recipe: Recipe | None) -> None:
        self.problem, self.limit, self.frame, self.recipe = problem, limit, frame, recipe
        self.tried: list[_Tried] = []
        self.smallest = 2**62
        self._began = time.monotonic()
        self._grids: dict[tuple[int, bool], tuple[Grid, Frame]] = {}

    def grid(self, bits: int, wide: bool) -> tuple[Grid, Frame]:
        """Return the grid of so many bits and the frame with its codes."""
        if (bits, wide) not in self._grids:
            grid = Grid.fit(self.problem.X, bits, wide)
            codes = grid.codes(self.problem.X, self.problem.rows.weight)
            self._grids[bits, wide] = grid, replace(self.frame, codes=codes)
        return self._grids[bits, wide]

    def way(self, setting: Setting) -> Way:
        """Return the greedy forest of a setting as a way."""
        problem, (grid, frame) = self.problem, self.grid(setting.bits, setting.wide)
        rounds = min(MAX_ROUNDS, 1 + 8 * self.limit // setting.tree_bits)

        def grow(rows: NDArray[np.int64]) -> GridForest:
            part = problem.rows.take(rows)
            return GridForest.grow(
                problem.X[rows], part, grid, frame.codes, problem.objective, frame, setting, rounds
            )

        return Way(str(setting), grow, setting)

    @property
    def late(self) -> bool:
        """True where the time is up, or an interrupt asked for the best so far."""
        if self.problem.interruption.happened:
            return True
        budget = None if self.recipe is None else self.recipe.time_budget
        return budget is not None and time.monotonic() - self._began > TIME_SHARE * budget

    def look(self, ways: Sequence[Way], phase: str) -> None:
        """Grow each way on the folds; judge as many trees as fit, and fewer, with a few steps of leaf refit."""
        for k, way in enumerate(ways):
            if self.tried and self.late:
                break
            left = f"{phase}: {len(ways) - k} of {len(ways)} shapes"
            with self.problem.interruption.skipping(left, usable=bool(self.tried)):
                rows = [train for train, _ in self.problem.folds]
                self.judge(way, self.problem.mapped(way.grow, rows))
                emit("budget", (k + 1) / len(ways), hard=self._best_yet(), message=phase)

    def look_at_oblique(self) -> None:
        """Let sparse-oblique forests compete where the recipe asks for them and there are rows enough."""
        recipe = self.recipe
        if recipe is None or not recipe.l1 or recipe.refine.split != "sparse_oblique" or self.late:
            return
        from hardgrad.trees.oblique_grid import oblique_ways
        from hardgrad.trees.selection import KEEP_START_BELOW

        if len(self.problem.rows) < KEEP_START_BELOW or self.problem.X.shape[1] < 2:
            return

        with self.problem.interruption.skipping("oblique forests"):
            for way, grown in oblique_ways(self.problem, self.frame, self.limit, recipe):
                self.judge(way, grown)

    def judge(self, way: Way, grown: Sequence[Packable]) -> None:
        """Score a way by its forests, one a fold."""
        self.smallest = min([self.smallest, *(forest.least_size() for forest in grown)])
        fit = min(forest.trees_within(self.limit) for forest in grown)
        # On few rows more trees are not always better.
        counts = {fit, round(0.6 * fit), fit // 3} if way.l1 is None else {fit}
        for trees in sorted(counts - {0}, reverse=True):
            self.tried += self._judged(way, tuple(grown), trees, grown[0].quick, QUICK_ITERATIONS)

    def _judged(
        self, way: Way, grown: tuple[Packable, ...], trees: int, path: tuple[float, ...], iterations: int
    ) -> list[_Tried]:
        problem = self.problem
        held = [
            forest.frame.codes.encode_scores(problem.X[rows])
            for forest, (_, rows) in zip(grown, problem.folds, strict=True)
        ]
        finished = problem.mapped(lambda forest: forest.finish(trees, path, iterations), grown)
        found = []
        for k, l2 in enumerate(path):
            raw = np.concatenate([f[k].raw(x) for f, x in zip(finished, held, strict=True)])
            candidate = scored(problem, Candidate(f"{trees} trees: {way.name}", 0.0, way.l1, l2), raw)
            found.append(_Tried(candidate, way, grown, trees, finished[0][k].n_leaves, l2))
        return found

    def best_ways(self, count: int) -> list[Way]:
        """Return the ways of least loss so far."""
        ways: dict[str, Way] = {}
        for tried in sorted(self.tried, key=_loss):
            ways.setdefault(tried.way.name, tried.way)
        return list(ways.values())[:count]

    def close_look(self) -> list[_Tried]:
        """Judge the best ways again, each with the whole path of penalties."""
        found: dict[tuple[str, int], list[_Tried]] = {}
        for tried in sorted(self.tried, key=_loss):
            key = (tried.way.name, tried.trees)
            if key in found:
                continue
            with self.problem.interruption.skipping("the close look"):
                found[key] = self._judged(
                    tried.way, tried.grown, tried.trees, tried.grown[0].path, ITERATIONS
                )
            if len(found) == CLOSE or self.late:
                break
        return [tried for group in found.values() for tried in group] or self.tried

    def on_all_rows(self, ranked: Sequence[_Tried]) -> tuple[_Tried, PerfectForest, Forest, FeatureCodes]:
        """Train the winner on all rows; where it takes more nodes than on the folds and no longer fits, the next."""
        for tried in ranked:
            whole = tried.way.grow(np.arange(len(self.problem.rows)))
            trees = max(1, min(tried.trees, whole.trees_within(self.limit)))
            perfect, artifact = whole.artifact(trees, tried.l2)
            if packed_size(artifact) <= self.limit:
                return tried, perfect, artifact, whole.frame.codes
        raise BudgetError(
            f"forests that fit in {self.limit:,} bytes on the rows of the folds take more on all rows. Raise the budget."
        )

    def _best_yet(self) -> float | None:
        shown = self.problem.score.shown
        return shown(min(t.candidate.loss for t in self.tried)) if self.tried else None


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
