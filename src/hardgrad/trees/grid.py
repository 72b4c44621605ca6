"""Forests grown inside few-bit grids: every threshold and leaf is a small code from the start. Never imports torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from hardgrad.trees.assemble import Frame, assemble
from hardgrad.trees.codes import FeatureCodes, normal_scores
from hardgrad.trees.forest import Forest
from hardgrad.trees.greedy import BoostingPlan, TrainingRows, boost
from hardgrad.trees.leaf_codes import SHARES_OF_RANGE, round_leaves
from hardgrad.trees.leaf_refit import ITERATIONS, refit_leaves
from hardgrad.trees.objectives import Objective
from hardgrad.trees.packed import axis_bytes, bfloat16, grid_cuts, packed_size, simplify_categories
from hardgrad.trees.packing import Packing
from hardgrad.trees.perfect import PerfectForest

MAX_ROUNDS = 150
MAX_DEPTH = 6
REFIT = (100.0, 30.0, 10.0, 3.0, 1.0)
QUICK = (10.0,)
QUICK_ITERATIONS = 12
ENDS = tuple((low, high) for low in (0.005, 0.05, 0.2) for high in (0.995, 0.95, 0.8))


@dataclass(frozen=True)
class Setting:
    """How a forest under a byte budget is grown.

    Parameters
    ----------
    leaves, rate : leaves a tree and learning rate.
    share : part of its gain that a feature not used so far counts with; a used feature costs 6 bytes.
    bits, leaf_bits : width of a threshold code and of a leaf code.
    wide : lay the grids over the middle 99 % of the values, else see `Grid.fit`.
    """

    leaves: int
    rate: float
    share: float
    bits: int = 4
    leaf_bits: int = 3
    wide: bool = True

    def __str__(self) -> str:
        return (
            f"{self.leaves} leaves, rate {self.rate:g}, new features at {self.share:g}, "
            f"{self.bits} + {self.leaf_bits} bits{'' if self.wide else ', narrow'}"
        )

    @property
    def tree_bits(self) -> int:
        """Bits of a full tree, without the numbers of its features."""
        return self.leaves * self.leaf_bits + (self.leaves - 1) * self.bits + 2 * self.leaves - 1

    def plan(self, rounds: int) -> BoostingPlan:
        """Return the greedy plan of this setting."""
        return BoostingPlan(
            rounds,
            self.rate,
            max_depth=min(MAX_DEPTH, self.leaves - 1),
            max_leaves=self.leaves,
            new_feature_share=self.share,
        )


def coarse_settings() -> list[Setting]:
    """Return the shapes, rates and shares that a byte budget tries first, at middling bits."""
    return [
        Setting(leaves, rate, share)
        for leaves in (4, 6, 10, 16)
        for rate in (0.3, 0.7)
        for share in (1.0, 0.5)
    ]


def finer_settings(setting: Setting) -> list[Setting]:
    """Return the other widths of codes and grids for one setting."""
    wide, narrow = ((3, 3), (4, 2), (4, 4), (5, 3), (5, 4), (6, 4)), ((4, 3), (4, 4), (6, 4))
    return [
        replace(setting, bits=bits, leaf_bits=leaf_bits, wide=spread)
        for spread, widths in ((True, wide), (False, narrow))
        for bits, leaf_bits in widths
    ]


@dataclass(frozen=True)
class Grid:
    """One uniform grid of thresholds a feature: lowest cut as float32, step as bfloat16."""

    bits: int
    low: tuple[float, ...]
    step: tuple[float, ...]
    has_missing: bool

    @classmethod
    def fit(cls, X: NDArray[np.float64], bits: int, wide: bool = True) -> Self:
        """Lay each feature's grid over the middle 99 % of its values, over all of them where those are one.

        One that is not wide is over that part of the middle which tells most pairs of rows apart: it has more thresholds where most
        values of a skewed feature are.
        """
        low, step = [], []
        for column in X.T:
            values = np.sort(column[~np.isnan(column)])
            found = min(
                (_grid_over(values, ends, bits) for ends in (ENDS[:1] if wide else ENDS)),
                key=lambda grid: grid[0],
            )
            low.append(found[1])
            step.append(found[2])
        return cls(bits, tuple(low), tuple(step), bool(np.isnan(X).any()))

    def codes(self, X: NDArray[np.float64], weight: NDArray[np.float64]) -> FeatureCodes:
        """Return the codes of this grid with normal scores."""
        cuts = tuple(grid_cuts(lo, s, self.bits) for lo, s in zip(self.low, self.step, strict=True))
        scores = []
        for f, cut in enumerate(cuts):
            present = ~np.isnan(X[:, f]) & (weight > 0)
            scores.append(normal_scores(X[present, f], weight[present], cut))
        return FeatureCodes(cuts, tuple(scores))


def _grid_over(
    values: NDArray[np.float64], ends: tuple[float, float], bits: int
) -> tuple[float, float, float]:
    """Return (share of pairs of rows in one cell, lowest cut, step) of the grid between two quantiles of sorted values.

    Where those are one value, the grid is over all values.
    """
    if len(values) == 0:
        return 1.0, float(np.float32(0.0)), bfloat16(1e-30)
    first, last = (float(values[round(q * (len(values) - 1))]) for q in ends)
    if not last > first:
        first, last = float(values[0]), float(values[-1])
    width = bfloat16(max(last - first, 1e-30) / 2**bits)
    low = float(np.float32(first + width / 2.0))
    edges = np.searchsorted(values, grid_cuts(low, width, bits), side="right")
    share = np.diff(edges, prepend=0, append=len(values)) / len(values)
    return float(share @ share), low, width


@dataclass(frozen=True)
class GridForest:
    """A forest whose thresholds are on one grid, as long as it may ever be; `finish` cuts it, refits and rounds its leaves.

    Parameters
    ----------
    path, quick : penalties of `finish`, largest first, and the few of them that a first look takes.
    kept : this many trees, the forest as it came, keep their leaves, which are only rounded.
    """

    forest: PerfectForest
    rows: TrainingRows
    objective: Objective
    frame: Frame
    grid: Grid
    leaf_bits: int
    path: tuple[float, ...] = REFIT
    quick: tuple[float, ...] = QUICK
    kept: int | None = None

    @classmethod
    def grow(
        cls, X: NDArray[np.float64], rows: TrainingRows, grid: Grid, codes: FeatureCodes, objective: Objective, frame: Frame,
        setting: Setting, rounds: int = MAX_ROUNDS,
    ) -> Self:  # fmt: skip
        """Grow trees on rows X [n, features], whose targets and weights are those of `rows`."""
        mine = TrainingRows(codes.encode(X), codes.encode_scores(X), rows.Y, rows.weight)
        forest = boost(mine, codes, objective, setting.plan(rounds))
        return cls(forest, mine, objective, replace(frame, codes=codes), grid, setting.leaf_bits)

    def first(self, trees: int) -> PerfectForest:
        """Return the first trees."""
        f = self.forest
        return PerfectForest(f.feature[:trees], f.weight[:trees], f.offset[:trees], f.leaf[:trees], f.bias)

    def size(self, trees: int) -> int:
        """Return the packed bytes of the first trees."""
        return packed_size(self._packed(self.first(trees)))

    def trees_within(self, limit: int) -> int:
        """Return how many trees fit in `limit` bytes."""
        if not any(feature.transform == "codes" for feature in self.frame.schema.features):
            return int(np.searchsorted(self._sizes(), limit, side="right"))
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

    def least_size(self) -> int:
        """Return the packed bytes of the first tree alone."""
        return self.size(1) if self.forest.n_trees else 2**62

    def _sizes(self) -> NDArray[np.int64]:
        """Packed bytes of the first 1, 2, .. trees, where no category has text."""
        f = self.forest
        trees = np.arange(1, f.n_trees + 1)
        inner = np.cumsum(f.alive.sum(axis=1))
        seen = np.zeros((f.n_trees, self.frame.codes.n_features), dtype=np.bool_)
        tree, node, term = np.nonzero(f.feature >= 0)
        seen[tree, f.feature[tree, node, term]] = True
        used = np.logical_or.accumulate(seen, axis=0).sum(axis=1)
        return axis_bytes(
            inner, inner + trees, used, f.leaf.shape[2], self.grid.bits, self.leaf_bits, self.grid.has_missing
        )

    def finish(
        self, trees: int, path: tuple[float, ...] | None = None, iterations: int = ITERATIONS
    ) -> list[PerfectForest]:
        """Cut to the first trees, refit all leaves at every penalty of the path and round them to the leaf grid."""
        return [forest for forest, _ in self._finish(trees, path or self.path, iterations)]

    def _finish(
        self, trees: int, path: tuple[float, ...], iterations: int
    ) -> list[tuple[PerfectForest, NDArray[np.float64]]]:
        cut = self.first(trees)
        index = cut.leaf_index(self.rows.scores)
        if trees == self.kept:
            path, leaves = (np.inf,) * len(path), [(cut.leaf, cut.bias)] * len(path)
        else:
            leaves = refit_leaves(
                index, self.rows.Y, self.rows.weight, self.objective, path, start=(cut.leaf, cut.bias),
                iterations=iterations,
            )  # fmt: skip
        finished = []
        for l2, (leaf, bias) in zip(path, leaves, strict=True):
            rounded, steps = round_leaves(
                cut.with_leaves(leaf, bias), index, self.rows, self.objective, self.leaf_bits, l2, self._scale,
                (1.0,) if iterations < ITERATIONS else SHARES_OF_RANGE,
            )  # fmt: skip
            finished.append((rounded.quantised(), steps))
        return finished

    def artifact(self, trees: int, l2: float) -> tuple[PerfectForest, Forest]:
        """Return the first trees with leaves refitted at one penalty of the path: as perfect trees, and as what ships."""
        upto = self.path[: self.path.index(l2) + 1]
        perfect, steps = self._finish(trees, upto, ITERATIONS)[-1]
        perfect = perfect.merged()
        return perfect, self._packed(perfect, steps)

    @property
    def _scale(self) -> NDArray[np.float64]:
        return np.ones(self.forest.leaf.shape[2]) if self.frame.scale is None else self.frame.scale

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
            self.grid.bits, self.leaf_bits, tuple(range(n_features)), self.grid.low, self.grid.step,
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
