"""Forests grown inside few-bit grids: every threshold and leaf is a small code from the start. Never imports torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from hardgrad.trees.assemble import Frame, assemble
from hardgrad.trees.codes import FeatureCodes, normal_scores
from hardgrad.trees.forest import Forest, Packing
from hardgrad.trees.greedy import BoostingPlan, TrainingRows, boost
from hardgrad.trees.leaf_refit import refit_leaves
from hardgrad.trees.objectives import Objective
from hardgrad.trees.packed import bfloat16, grid_cuts, packed_size, simplify_categories
from hardgrad.trees.perfect import PerfectForest

LEAVES = (4, 6, 10, 16)
BITS = (4, 5, 6)
RATES = (0.3, 0.7)
MAX_ROUNDS = 150
MAX_DEPTH = 6
REFIT = (100.0, 30.0, 10.0, 3.0, 1.0)
RANGE = (0.005, 0.995)

Setting = tuple[int, int, float]


def grid_candidates() -> list[Setting]:
    """Return every (leaves a tree, bits, learning rate) that a byte budget tries."""
    return [(leaves, bits, rate) for leaves in LEAVES for bits in BITS for rate in RATES]


@dataclass(frozen=True)
class Grid:
    """One uniform grid of thresholds a feature: lowest cut as float32, step as bfloat16."""

    bits: int
    low: tuple[float, ...]
    step: tuple[float, ...]
    has_missing: bool

    @classmethod
    def fit(cls, X: NDArray[np.float64], bits: int) -> Self:
        """Lay the grids over the middle 99 % of each feature's values, over all of them where those are one."""
        low, step = [], []
        for column in X.T:
            present = column[~np.isnan(column)]
            ends = np.quantile(present, RANGE) if len(present) else np.zeros(2)
            if len(present) and not ends[1] > ends[0]:
                ends = np.array([present.min(), present.max()])
            width = bfloat16(max(float(ends[1] - ends[0]), 1e-30) / 2**bits)
            low.append(float(np.float32(ends[0] + width / 2.0)))
            step.append(width)
        return cls(bits, tuple(low), tuple(step), bool(np.isnan(X).any()))

    def codes(self, X: NDArray[np.float64], weight: NDArray[np.float64]) -> FeatureCodes:
        """Return the codes of this grid with normal scores."""
        cuts = tuple(grid_cuts(lo, s, self.bits) for lo, s in zip(self.low, self.step, strict=True))
        scores = []
        for f, cut in enumerate(cuts):
            present = ~np.isnan(X[:, f]) & (weight > 0)
            scores.append(normal_scores(X[present, f], weight[present], cut))
        return FeatureCodes(cuts, tuple(scores))


@dataclass(frozen=True)
class GridForest:
    """A greedy forest on one grid, as long as it may ever be; `finish` cuts, refits and rounds it."""

    forest: PerfectForest
    rows: TrainingRows
    objective: Objective
    frame: Frame
    grid: Grid

    @classmethod
    def grow(
        cls, X: NDArray[np.float64], rows: TrainingRows, grid: Grid, codes: FeatureCodes, objective: Objective, frame: Frame,
        setting: Setting, rounds: int = MAX_ROUNDS,
    ) -> Self:  # fmt: skip
        """Grow trees on rows X [n, features], whose targets and weights are those of `rows`."""
        leaves, _, rate = setting
        mine = TrainingRows(codes.encode(X), codes.encode_scores(X), rows.Y, rows.weight)
        plan = BoostingPlan(rounds, rate, max_depth=min(MAX_DEPTH, leaves - 1), max_leaves=leaves)
        forest = boost(mine, codes, objective, plan)
        return cls(forest, mine, objective, replace(frame, codes=codes), grid)

    def first(self, trees: int) -> PerfectForest:
        """Return the first trees."""
        f = self.forest
        return PerfectForest(f.feature[:trees], f.weight[:trees], f.offset[:trees], f.leaf[:trees], f.bias)

    def size(self, trees: int) -> int:
        """Return the packed bytes of the first trees."""
        return packed_size(self._packed(self.first(trees)))

    def trees_within(self, limit: int) -> int:
        """Return how many trees fit in `limit` bytes."""
        low, high = 0, self.forest.n_trees + 1  # `low` trees fit, `high` do not (or are not there)
        below, above = 0, 2 * limit
        while high - low > 1:
            # Sizes are nearly a straight line, so its guess is nearly right; one tree to each side it is still a bisection.
            guess = low + (high - low) * (limit - below) // max(1, above - below)
            middle = min(max(guess, low + 1), high - 1)
            size = self.size(middle)
            if size <= limit:
                low, below = middle, size
            else:
                high, above = middle, size
        return low

    def finish(self, trees: int) -> list[PerfectForest]:
        """Cut to the first trees and refit all leaves at every penalty of `REFIT`, rounded to the leaf grid."""
        cut = self.first(trees)
        index = cut.leaf_index(self.rows.scores)
        path = refit_leaves(
            index, self.rows.Y, self.rows.weight, self.objective, REFIT, start=(cut.leaf, cut.bias)
        )
        finished = []
        for leaf, bias in path:
            steps = self._leaf_steps(leaf * self._scale)
            rounded = np.rint(leaf * self._scale / steps) * steps / self._scale
            finished.append(cut.with_leaves(rounded, bias).quantised())
        return finished

    def artifact(self, perfect: PerfectForest) -> Forest:
        """Return what ships of one of the forests of `finish`."""
        return self._packed(perfect, self._leaf_steps(perfect.leaf * self._scale))

    @property
    def _scale(self) -> NDArray[np.float64]:
        return np.ones(self.forest.leaf.shape[2]) if self.frame.scale is None else self.frame.scale

    def _leaf_steps(self, leaf: NDArray[np.float64]) -> NDArray[np.float64]:
        """float32 step of the leaf grid of each output: the largest leaf is the largest code."""
        largest = np.abs(leaf).max(axis=(0, 1), initial=0.0)
        whole = 2 ** (self.grid.bits - 1) - 1
        steps = np.asarray(np.where(largest > 0, largest, 1.0) / whole, dtype=np.float32)
        return np.nextafter(steps, np.float32(np.inf)).astype(np.float64)

    def _packed(self, perfect: PerfectForest, steps: NDArray[np.float64] | None = None) -> Forest:
        """The artifact on its grids; category text that no tree tells apart is dropped."""
        forest = assemble(perfect.quantised(), self.frame)
        if steps is None:
            steps = np.ones(forest.n_outputs)
        codes = self.frame.codes
        n_features = codes.n_features
        missing = [
            codes.missing_code(f) if self.grid.has_missing else 2 ** (self.grid.bits - 1)
            for f in range(n_features)
        ]
        packing = Packing(
            self.grid.bits, self.grid.bits, tuple(range(n_features)), self.grid.low, self.grid.step,
            tuple(float(s) for s in steps), tuple(missing), self.grid.has_missing,
        )  # fmt: skip
        default_left = np.zeros(forest.n_nodes, dtype=np.bool_)
        for i in np.flatnonzero(forest.feature >= 0):
            f = int(forest.feature[i])
            code = int(np.searchsorted(codes.cuts[f], forest.threshold[i]))
            default_left[i] = code >= missing[f]
        value = np.rint(forest.value / steps) * steps
        base = np.asarray(forest.base, dtype=np.float32).astype(np.float64)
        forest = replace(forest, packing=packing, default_left=default_left, value=value, base=base)
        return simplify_categories(forest)
