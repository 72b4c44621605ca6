"""From trained perfect trees to the `Forest` artifact and back. Never imports torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import ExportError
from hardgrad.tabular.schema import TableSchema
from hardgrad.tabular.table_model import Label, Link, Task
from hardgrad.trees.codes import SCORE_UNIT, FeatureCodes
from hardgrad.trees.forest import MAX_TERMS, OBLIQUE, Forest
from hardgrad.trees.forest_build import ForestBuilder
from hardgrad.trees.forest_sums import require_plain
from hardgrad.trees.perfect import PerfectForest


@dataclass(frozen=True)
class Frame:
    """Everything that an artifact needs beside its trees.

    Parameters
    ----------
    schema, codes : raw columns and features; cuts and scores of the features.
    link, task, classes, target : as in `Forest`.
    scale, shift : float64 [outputs]; a raw score s of training means `s * scale + shift` (regression targets are standardised).
    """

    schema: TableSchema
    codes: FeatureCodes
    link: Link
    task: Task
    classes: tuple[Label, ...] = ()
    target: str = ""
    scale: NDArray[np.float64] | None = None
    shift: NDArray[np.float64] | None = None

    def output(self, raw: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return raw scores of training [n, outputs] in the units of the artifact."""
        if self.scale is None or self.shift is None:
            return raw
        return raw * self.scale + self.shift

    def equals(self, other: Frame | None) -> bool:
        """Tell whether scores, and raw scores of training, mean the same in both."""
        if other is None or self is other:
            return self is other
        plain = ("schema", "link", "task", "classes")
        pairs = [(self.scale, other.scale), (self.shift, other.shift)]
        pairs += [
            pair
            for name in ("cuts", "scores")
            for pair in zip(getattr(self.codes, name), getattr(other.codes, name), strict=False)
        ]
        same = [a is b or (a is not None and b is not None and np.array_equal(a, b)) for a, b in pairs]
        return all(getattr(self, name) == getattr(other, name) for name in plain) and all(same)


def assemble(perfect: PerfectForest, frame: Frame) -> Forest:
    """Return the exact artifact of quantised perfect trees: dead nodes gone, one-feature nodes as thresholds on raw values.

    Parameters
    ----------
    perfect : as returned by `PerfectForest.quantised()`, with any leaves.
    """
    scale = np.ones(len(perfect.bias)) if frame.scale is None else frame.scale
    shift = np.zeros(len(perfect.bias)) if frame.shift is None else frame.shift
    builder = ForestBuilder(frame.schema, len(perfect.bias))
    used: set[int] = set()
    for tree in range(perfect.n_trees):
        builder.start_tree()
        stack = [0]
        while stack:
            i = stack.pop()
            if i >= perfect.n_nodes:
                builder.add_leaf(perfect.leaf[tree, i - perfect.n_nodes] * scale)
                continue
            terms, limit = _terms(perfect, tree, i)
            if len(terms) == 0:
                stack.append(2 * i + 1)
            elif len(terms) == 1:
                stack += _axis_node(builder, frame.codes, terms[0], limit, i)
            else:
                builder.add_oblique(terms, limit)
                used.update(f for f, _ in terms)
                stack += [2 * i + 2, 2 * i + 1]
    tables = {f: (frame.codes.cuts[f], frame.codes.scores[f]) for f in sorted(used)}
    return builder.finish(
        base=perfect.bias * scale + shift, score_tables=tables, link=frame.link, task=frame.task,
        classes=frame.classes, target=frame.target,
    )  # fmt: skip


def _terms(perfect: PerfectForest, tree: int, node: int) -> tuple[list[tuple[int, int]], int]:
    """Whole weights of a node and the largest sum that goes left."""
    features, weights = perfect.feature[tree, node], perfect.weight[tree, node]
    terms = [(int(f), int(w)) for f, w in zip(features, weights, strict=True) if f >= 0 and w != 0]
    return terms, int(np.floor(-perfect.offset[tree, node] * SCORE_UNIT))


def _axis_node(
    builder: ForestBuilder, codes: FeatureCodes, term: tuple[int, int], limit: int, i: int
) -> list[int]:
    """Add one-feature node i as a raw threshold; return the children to visit, the last one next."""
    f, w = term
    goes_left = w * codes.scores[f].astype(np.int64) <= limit
    missing_left = limit >= 0
    if w < 0:  # scores rise with codes, so the codes that go left are the upper ones: turn the node round
        goes_left, missing_left = ~goes_left, not missing_left
    first, second = (2 * i + 1, 2 * i + 2) if w > 0 else (2 * i + 2, 2 * i + 1)
    count = int(goes_left.sum())
    if 0 < count < len(goes_left):
        builder.add_axis(f, float(codes.cuts[f][count - 1]), missing_left)
    elif (count > 0) == missing_left:
        return [first if count else second]
    else:  # every value goes one way and the missing ones the other
        builder.add_axis(f, np.inf if count else -np.inf, missing_left)
    return [second, first]


def perfect_from_forest(forest: Forest, codes: FeatureCodes, frame: Frame | None = None) -> PerfectForest:
    """Restate an artifact as perfect trees on scores; the inverse of `assemble` up to dead nodes.

    Parameters
    ----------
    forest : of depth at most 12.
    codes : whose cuts hold every axis threshold of the forest (see `codes_of`).
    frame : whose scale and shift are divided out of the leaves; none by default.

    Raises
    ------
    UnsupportedError : the forest has linear nodes or affine leaves.
    ExportError : the forest is too deep, or a threshold is not one of the cuts.
    """
    require_plain(forest, "a soft forest", "Train one on the forest's predictions instead.")
    depth = forest.depth()
    if depth > 12:
        raise ExportError(
            f"a soft forest is made of perfect trees of depth 12 at most; this forest has depth {depth}."
        )
    n_nodes, C = 2**depth - 1, forest.n_outputs
    feature = np.full((forest.n_trees, n_nodes, MAX_TERMS), -1, dtype=np.int32)
    weight = np.zeros((forest.n_trees, n_nodes, MAX_TERMS))
    offset = np.full((forest.n_trees, n_nodes), -1.0)
    leaf = np.zeros((forest.n_trees, n_nodes + 1, C))
    scale = np.ones(C) if frame is None or frame.scale is None else frame.scale
    shift = np.zeros(C) if frame is None or frame.shift is None else frame.shift
    for tree in range(forest.n_trees):
        stack = [(int(forest.tree_offset[tree]), 0)]
        while stack:
            node, i = stack.pop()
            if forest.feature[node] == -1:
                while i < n_nodes:
                    i = 2 * i + 1
                leaf[tree, i - n_nodes] = forest.value[node] / scale
                continue
            terms, limit = _forest_terms(forest, codes, node)
            for k, (f, w) in enumerate(terms):
                feature[tree, i, k], weight[tree, i, k] = f, w
            offset[tree, i] = limit
            stack += [(int(forest.left[node]), 2 * i + 1), (int(forest.right[node]), 2 * i + 2)]
    divide = forest.n_trees if forest.aggregation == "mean" and forest.n_trees else 1
    return PerfectForest(feature, weight, offset, leaf / divide, (forest.base / divide - shift) / scale)


def _forest_terms(forest: Forest, codes: FeatureCodes, node: int) -> tuple[list[tuple[int, float]], float]:
    if forest.feature[node] == OBLIQUE:
        span = slice(forest.term_offset[node], forest.term_offset[node + 1])
        pairs = zip(forest.term_feature[span], forest.term_weight[span], strict=True)
        return [(int(f), float(w)) for f, w in pairs], -(float(forest.threshold[node]) + 0.5) / SCORE_UNIT
    f, t = int(forest.feature[node]), float(forest.threshold[node])
    k = int(np.searchsorted(codes.cuts[f], t))
    if k >= len(codes.cuts[f]) or codes.cuts[f][k] != t:
        name = forest.schema.features[f].name
        raise ExportError(
            f"threshold {t!r} of feature {name!r} is not among the cuts of the codes; use codes_of(forest)."
        )
    return [(f, 1.0)], -float(codes.boundaries(f)[k])


def codes_of(
    forest: Forest, X: NDArray[np.float64], weight: NDArray[np.float64] | None = None
) -> FeatureCodes:
    """Return codes whose cuts are exactly the axis thresholds of a forest, with normal scores from the rows X [n, features]."""
    from hardgrad.trees.codes import normal_scores

    w = np.ones(len(X)) if weight is None else weight
    cuts, scores = [], []
    for f in range(forest.n_features):
        cut = np.unique(forest.threshold[(forest.feature == f) & np.isfinite(forest.threshold)])
        present = ~np.isnan(X[:, f]) & (w > 0)
        cuts.append(cut)
        scores.append(normal_scores(X[present, f], w[present], cut))
    return FeatureCodes(tuple(cuts), tuple(scores))
