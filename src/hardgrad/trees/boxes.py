"""Boxes of cells: which leaves a forest can still reach when each column is confined to some of its cells. Never imports torch.

A box is a bool array [columns, cells]. All functions take many boxes at once. `counterfactual` searches over boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hardgrad.trees.cells import Cells
from hardgrad.trees.forest import OBLIQUE, Forest

if TYPE_CHECKING:
    from hardgrad.trees.goals import Goal

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class _Tests:
    """What the nodes ask of one column: axis nodes by side of each cell, oblique nodes by the integer that each cell adds."""

    axis_nodes: Ints
    goes_left: Bools  # [axis nodes, cells]
    left_counts: NDArray[
        np.float32
    ]  # the same as 0 and 1, [cells, axis nodes]: a product with a box counts its cells on the left
    oblique_nodes: Ints
    adds: Ints  # [oblique nodes, cells]


class Boxes:
    """The reach of a forest over boxes of the given cells."""

    def __init__(self, forest: Forest, cells: Sequence[Cells]) -> None:
        self.forest, self.cells = forest, cells
        self.width = max((len(cell.values) for cell in cells), default=1)
        self.tests = [self._tests(cell) for cell in cells]
        self.levels = [
            np.flatnonzero((forest.node_depth == d) & (forest.left >= 0))
            for d in range(forest.depth() - 1, -1, -1)
        ]

    def _tests(self, cell: Cells) -> _Tests:
        forest = self.forest
        X = np.full((len(cell.values), forest.n_features), np.nan)
        X[:, cell.feature_numbers] = cell.features
        axis = np.flatnonzero(np.isin(forest.feature, cell.feature_numbers))
        x = X[:, forest.feature[axis]]
        with np.errstate(invalid="ignore"):
            left = np.where(np.isnan(x), forest.default_left[axis], x <= forest.threshold[axis])
        scores = forest.feature_scores(X)
        terms = np.flatnonzero(np.isin(forest.term_feature, cell.feature_numbers))
        owner = np.searchsorted(forest.term_offset, terms, side="right") - 1
        nodes, position = np.unique(owner, return_inverse=True)
        adds = np.zeros((len(nodes), len(X)), dtype=np.int64)
        np.add.at(adds, position, forest.term_weight[terms, None] * scores[:, forest.term_feature[terms]].T)
        return _Tests(
            axis, np.ascontiguousarray(left.T), left.astype(np.float32), nodes.astype(np.int64), adds
        )

    def everything(self) -> Bools:
        """Return the box that allows every cell."""
        box = np.zeros((len(self.cells), self.width), dtype=np.bool_)
        for column, cell in enumerate(self.cells):
            box[column, : len(cell.values)] = True
        return box

    def cheapest(self, boxes: Bools) -> Ints:
        """Return the cheapest cell of every column, int64 [boxes, columns]; cells are sorted by cost."""
        return np.asarray(np.argmax(boxes, axis=2))

    def locate(self, column: int, X: NDArray[np.float64]) -> Ints:
        """Return for encoded rows the cell of one column that decides as they do, 0 where there is none: int64 [n]."""
        from hardgrad.trees.cells import node_signatures

        cell = self.cells[column]
        known = node_signatures(self.forest, cell.feature_numbers, cell.features)
        position = {signature: k for k, signature in reversed(list(enumerate(known)))}
        rows = node_signatures(self.forest, cell.feature_numbers, X[:, cell.feature_numbers])
        return np.array([position.get(signature, 0) for signature in rows], dtype=np.int64)

    def sides(self, boxes: Bools) -> tuple[Bools, Bools]:
        """Return which nodes a row of each box may leave to the left and to the right: bool [boxes, nodes] each."""
        shape = (len(boxes), self.forest.n_nodes)
        left, right = np.ones(shape, dtype=np.bool_), np.ones(shape, dtype=np.bool_)
        low, high = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        for column, tests in enumerate(self.tests):
            cells = len(self.cells[column].values)
            allowed = boxes[:, column, :cells]
            if len(tests.axis_nodes):
                on_left = allowed.astype(np.float32) @ tests.left_counts
                left[:, tests.axis_nodes] = on_left > 0
                right[:, tests.axis_nodes] = on_left < allowed.sum(axis=1, dtype=np.float32)[:, None]
            if len(tests.oblique_nodes):
                far = np.int64(1) << 40
                spread = np.where(allowed[:, None, :], tests.adds[None], far)
                low[:, tests.oblique_nodes] += spread.min(axis=2)
                spread = np.where(allowed[:, None, :], tests.adds[None], -far)
                high[:, tests.oblique_nodes] += spread.max(axis=2)
        oblique = np.flatnonzero(self.forest.feature == OBLIQUE)
        left[:, oblique] = low[:, oblique] <= self.forest.threshold[oblique]
        right[:, oblique] = high[:, oblique] > self.forest.threshold[oblique]
        return left, right

    def best_gain(self, sides: tuple[Bools, Bools], gain: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return for every node the largest gain of a leaf that is still reachable below it: [boxes, nodes, margins]."""
        left, right = sides
        best = np.repeat(gain[None], len(left), axis=0)
        for nodes in self.levels:
            down = np.where(left[:, nodes, None], best[:, self.forest.left[nodes]], -np.inf)
            up = np.where(right[:, nodes, None], best[:, self.forest.right[nodes]], -np.inf)
            best[:, nodes] = np.maximum(down, up)
        return best

    def margins(self, best: NDArray[np.float64], start: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return upper bounds of the margins [boxes, margins]: the best reachable leaf of every tree together."""
        roots = self.forest.tree_offset[:-1]
        return np.asarray(best[:, roots].sum(axis=1) + start)

    def promising(self, boxes: Bools, goal: Goal) -> Bools:
        """Tell for each box whether the wished answer is not ruled out by the bounds."""
        sides = self.sides(boxes)
        hope = np.zeros(len(boxes), dtype=np.bool_)
        for number, (gain, start) in enumerate(goal.alternatives):
            margins = self.margins(self.best_gain(sides, gain), start)
            hope |= (margins >= -goal.slack(number)).all(axis=1)
        return hope

    def split(self, box: Bools, goal: Goal) -> list[Bools]:
        """Return two boxes that cover the box, split where its cheapest point misses the most; none where nothing is undecided."""
        sides = self.sides(box[None])
        cheapest = self.cheapest(box[None])[0]
        point = np.zeros_like(box)
        point[np.arange(len(box)), cheapest] = True
        goes_left = self.sides(point[None])[0][0]
        node = self._most_wanted(sides, goes_left, goal)
        if node < 0:
            return []
        return self._split_at(node, box, cheapest, bool(goes_left[node]))

    def _most_wanted(self, sides: tuple[Bools, Bools], goes_left: Bools, goal: Goal) -> int:
        """The node at which the cheapest point leaves the path to the best leaf, in the tree with the most to gain."""
        forest, undecided = self.forest, sides[0][0] & sides[1][0] & (self.forest.left >= 0)
        chosen, largest = -1, 0.0
        for gain, start in goal.alternatives:
            best = self.best_gain(sides, gain)
            margin = int(np.argmin(self.margins(best, start)[0]))
            for root in forest.tree_offset[:-1]:
                node, leaving = int(root), -1
                target = best[0, root, margin]
                while forest.left[node] >= 0:
                    follow = forest.left[node] if goes_left[node] else forest.right[node]
                    if leaving < 0 and undecided[node] and best[0, follow, margin] < target:
                        leaving = node
                    node = int(follow)
                missing = float(target - gain[node, margin])
                if leaving >= 0 and missing > largest:
                    chosen, largest = leaving, missing
        if chosen >= 0:
            return chosen
        return next((n for n in self._path_nodes(goes_left) if undecided[n]), -1)

    def _path_nodes(self, goes_left: Bools) -> list[int]:
        forest, path = self.forest, []
        for root in forest.tree_offset[:-1]:
            node = int(root)
            while forest.left[node] >= 0:
                path.append(node)
                node = int(forest.left[node] if goes_left[node] else forest.right[node])
        return path

    def _split_at(self, node: int, box: Bools, cheapest: Ints, now_left: bool) -> list[Bools]:
        """Split one column's cells into those that help to leave the node on its other side and the rest."""
        chosen, most, helps = -1, 0, np.zeros(0, dtype=np.bool_)
        for column, tests in enumerate(self.tests):
            cells = len(self.cells[column].values)
            allowed = box[column, :cells]
            axis = np.flatnonzero(tests.axis_nodes == node)
            if len(axis):
                chosen, helps = column, tests.goes_left[axis[0]] != now_left
                break
            oblique = np.flatnonzero(tests.oblique_nodes == node)
            if len(oblique):
                shift = tests.adds[oblique[0]] - tests.adds[oblique[0], cheapest[column]]
                shift = shift if now_left else -shift
                reach = int(shift[allowed].max())
                if reach > most:
                    chosen, most, helps = column, reach, shift > 0
        first, second = box.copy(), box.copy()
        first[chosen, : len(helps)] &= ~helps
        second[chosen, : len(helps)] &= helps
        return [first, second]
