"""Sparse-oblique forests under a byte budget: refined on the scores of a grid, then rounded to few-bit weights, sums and leaves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hardgrad.train.checkpoint import fingerprint
from hardgrad.trees.assemble import Frame, assemble
from hardgrad.trees.byte_search import Way
from hardgrad.trees.candidates import Problem, Recipe
from hardgrad.trees.codes import SCORE_UNIT, FeatureCodes
from hardgrad.trees.forest import Forest
from hardgrad.trees.greedy import BoostingPlan, TrainingRows, boost
from hardgrad.trees.grid import QUICK, REFIT, Grid
from hardgrad.trees.leaf_codes import round_leaves
from hardgrad.trees.leaf_refit import ITERATIONS, refit_leaves
from hardgrad.trees.objectives import Objective
from hardgrad.trees.packed import grid_cuts, grid_scores, packed_size
from hardgrad.trees.packing import Packing
from hardgrad.trees.perfect import PerfectForest
from hardgrad.trees.polish import polish
from hardgrad.trees.refine import Member, RefineData, RefinePlan, refine

BITS = 6
WEIGHT_BITS = 5
SUM_BITS = 8
LEAF_BITS = 4
# The grid spans four standard scores: whole numbers within +-63 times this, over 512.
SPREAD = 16
DEPTH = 3
RATE = 0.7
PENALTIES = (3e-3, 2e-2)
STEPS = 300
MOST_TREES = 8
TREE_BYTES = 34
FEATURE_BYTES = 6
LIKELY_FEATURES = 10
# Terms below such a part of the largest weight of their node go where the forest is too large; above 1 only thresholds are left.
SMALLEST_TERMS = (0.0, 0.15, 0.3, 0.5, 0.8, 1.1)


@dataclass(frozen=True)
class ObliqueGridForest:
    """A refined forest on a grid: whole weights within +-15 over the whole scores of the grid.

    All trees or none, because they were trained together.
    """

    forest: PerfectForest
    rows: TrainingRows
    objective: Objective
    frame: Frame
    grid: Grid
    sum_step: int
    path: tuple[float, ...] = REFIT
    quick: tuple[float, ...] = QUICK

    def trees_within(self, limit: int) -> int:
        """Return the number of trees where they fit, else 0."""
        return self.forest.n_trees if self.least_size() <= limit else 0

    def least_size(self) -> int:
        """Return the packed bytes."""
        return packed_size(self._packed(self.forest, np.ones(len(self.forest.bias))))

    def finish(
        self, trees: int, path: tuple[float, ...] | None = None, iterations: int = ITERATIONS
    ) -> list[PerfectForest]:
        """Refit all leaves at every penalty of the path and round them to the leaf grid; `trees` is all of them."""
        return [forest for forest, _ in self._finish(path or self.path, iterations)]

    def artifact(self, trees: int, l2: float) -> tuple[PerfectForest, Forest]:
        """Return the forest with leaves refitted at one penalty of the path, and what ships."""
        perfect, steps = self._finish(self.path[: self.path.index(l2) + 1], ITERATIONS)[-1]
        perfect = perfect.merged()
        return perfect, self._packed(perfect, steps)

    def _finish(
        self, path: tuple[float, ...], iterations: int
    ) -> list[tuple[PerfectForest, NDArray[np.float64]]]:
        f = self.forest
        index = f.leaf_index(self.rows.scores)
        refitted = refit_leaves(
            index, self.rows.Y, self.rows.weight, self.objective, path, start=(f.leaf, f.bias), iterations=iterations
        )  # fmt: skip
        return [
            round_leaves(f.with_leaves(*leaves), index, self.rows, self.objective, LEAF_BITS, l2, self._scale)
            for l2, leaves in zip(path, refitted, strict=True)
        ]

    @property
    def _scale(self) -> NDArray[np.float64]:
        return np.ones(len(self.forest.bias)) if self.frame.scale is None else self.frame.scale

    def _packed(self, perfect: PerfectForest, steps: NDArray[np.float64]) -> Forest:
        forest = assemble(perfect, self.frame)
        n_features = self.frame.codes.n_features
        middle = 2 ** (BITS - 1) - 1 if self.grid.has_missing else 2 ** (BITS - 1)
        packing = Packing(
            BITS, LEAF_BITS, tuple(range(n_features)), self.grid.low, self.grid.step, tuple(float(s) for s in steps),
            (middle,) * n_features, self.grid.has_missing, WEIGHT_BITS, SUM_BITS, self.sum_step,
        )  # fmt: skip
        default_left = np.zeros(forest.n_nodes, dtype=np.bool_)
        for i in np.flatnonzero(forest.feature >= 0):
            cuts = self.frame.codes.cuts[forest.feature[i]]
            default_left[i] = int(np.searchsorted(cuts, forest.threshold[i])) >= middle
        value = np.rint(forest.value / steps) * steps
        base = np.asarray(forest.base, dtype=np.float32).astype(np.float64)
        return replace(forest, packing=packing, default_left=default_left, value=value, base=base)


def round_weights(forest: PerfectForest, smallest: float = 0.0) -> tuple[PerfectForest, int]:
    """Return the forest with whole weights within +-15 on whole scores, and the step of its thresholds on sums.

    Parameters
    ----------
    forest : trained on scores that are `SPREAD` times the whole scores of the grid.
    smallest : terms with less than this part of the largest weight of their node are dropped.
    """
    size = np.abs(forest.weight)
    largest = size.max(axis=2, keepdims=True)
    kept = np.where((size >= smallest * largest) | (size == largest), forest.weight, 0.0)
    scale = (2 ** (WEIGHT_BITS - 1) - 1) / np.where(largest > 0, largest, 1.0)
    weight = np.rint(kept * scale)
    feature = np.where((weight != 0) & (forest.feature >= 0), forest.feature, -1).astype(np.int32)
    weight = np.where(feature >= 0, weight, 0.0)
    alive = (feature >= 0).any(axis=2)
    # A row goes left iff the sum of whole weights times whole scores is at most this.
    limit = -forest.offset * scale[:, :, 0] * (SCORE_UNIT / SPREAD)
    several = (feature >= 0).sum(axis=2) > 1
    top = 2 ** (SUM_BITS - 1) - 1
    step = max(1, int(np.ceil(np.abs(limit[several]).max(initial=0.0) / top)))
    step = min(step, 2**15)
    limit = np.where(several, np.clip(np.rint(limit / step), -top, top) * step, np.floor(limit))
    offset = np.where(alive, -(limit + 0.5) / SCORE_UNIT, -1.0)
    return replace(forest, feature=feature, weight=weight, offset=offset), step


def oblique_ways(
    problem: Problem, frame: Frame, limit: int, recipe: Recipe
) -> list[tuple[Way, list[ObliqueGridForest]]]:
    """Return refined forests of about so many bytes, one a penalty, with their forests of the folds."""
    maker = _Maker(problem, frame, limit, recipe)
    rows = [train for train, _ in problem.folds]
    starts = problem.mapped(maker.start, rows)
    members = [
        Member(s, r, l1, k) for l1 in PENALTIES for k, (s, r) in enumerate(zip(starts, rows, strict=True))
    ]
    softs = maker.refine(members, problem.folds[0][1])
    found = []
    for a, l1 in enumerate(PENALTIES):
        mine = softs[a * len(rows) : (a + 1) * len(rows)]
        grown = problem.mapped(lambda pair: maker.harden(*pair), list(zip(mine, rows, strict=True)))
        found.append((Way(f"sparse-oblique, l1 {l1:g}", maker.grower(l1), l1=l1), grown))
    return found


class _Maker:
    """Starts, refines and hardens forests of one shape on one grid."""

    def __init__(self, problem: Problem, frame: Frame, limit: int, recipe: Recipe) -> None:
        self.problem, self.limit = problem, limit
        self.grid = Grid.fit(problem.X, BITS)
        cuts = tuple(grid_cuts(lo, s, BITS) for lo, s in zip(self.grid.low, self.grid.step, strict=True))
        plain = grid_scores(BITS)
        self.codes = FeatureCodes(cuts, (plain * SPREAD,) * len(cuts))
        self.frame = replace(frame, codes=FeatureCodes(cuts, (plain,) * len(cuts)))
        everything = problem.rows
        self.rows = TrainingRows(
            self.codes.encode(problem.X), self.codes.encode_scores(problem.X), everything.Y, everything.weight
        )
        room = limit - 28 - FEATURE_BYTES * min(len(cuts), LIKELY_FEATURES)
        self.trees = int(np.clip(room // TREE_BYTES, 1, MOST_TREES))
        self.plan: RefinePlan = replace(
            recipe.refine, steps=min(STEPS, recipe.refine.steps), split="sparse_oblique"
        )

    def start(self, rows: NDArray[np.int64]) -> PerfectForest:
        plan = BoostingPlan(self.trees, 1.0 if self.trees == 1 else RATE, max_depth=DEPTH)
        part = self.rows.take(rows)
        forest = boost(part, self.codes, self.problem.objective, plan)
        return _refitted(forest, part, self.problem.objective)

    def refine(self, members: list[Member], watched: NDArray[np.int64]) -> list[PerfectForest]:
        problem, rows = self.problem, self.rows
        data = RefineData(rows.scores, rows.Y, rows.weight, watched, problem.score)
        return refine(
            members, data, problem.objective, self.plan, hardware=problem.hardware, seed=problem.seed,
            key=f"oblique-{fingerprint(self.plan, self.limit, len(members), members[0].l1)}", phase="sparse-oblique",
        )  # fmt: skip

    def harden(self, soft: PerfectForest, rows: NDArray[np.int64]) -> ObliqueGridForest:
        """Polish and round; where that is too large, drop small terms, at last trees."""
        part, objective = self.rows.take(rows), self.problem.objective
        hard = _refitted(soft, part, objective)
        hard = polish(hard, part, objective, new_features=False, random_state=self.problem.seed)
        plain = self.frame.codes
        mine = replace(part, scores=plain.encode_scores(self.problem.X[rows]))
        for trees in range(hard.n_trees, 0, -1):
            cut = PerfectForest(
                hard.feature[:trees], hard.weight[:trees], hard.offset[:trees], hard.leaf[:trees], hard.bias
            )
            for smallest in SMALLEST_TERMS:
                forest, step = round_weights(cut, smallest)
                grown = ObliqueGridForest(forest, mine, objective, self.frame, self.grid, step)
                if grown.least_size() <= self.limit:
                    return grown
        return grown

    def grower(self, l1: float) -> Callable[[NDArray[np.int64]], ObliqueGridForest]:
        def grow(rows: NDArray[np.int64]) -> ObliqueGridForest:
            member = Member(self.start(rows), rows, l1, stream=len(self.problem.folds))
            return self.harden(self.refine([member], np.empty(0, dtype=np.int64))[0], rows)

        return grow


def _refitted(forest: PerfectForest, rows: TrainingRows, objective: Objective) -> PerfectForest:
    """Leaves refitted at a small penalty."""
    index = forest.leaf_index(rows.scores)
    leaves = refit_leaves(index, rows.Y, rows.weight, objective, (3.0,), start=(forest.leaf, forest.bias))
    return forest.with_leaves(*leaves[-1])
