"""What the ONNX export computes before it writes: the columns that trees test and the thresholds in the precision asked for.

In float32 a threshold is rounded down, so that float32 inputs are decided alike; dates and codes are ranked (`tabular.table_onnx.ranked`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.tabular.float_rounding import round_down_to_float32
from hardgrad.tabular.schema import TableSchema
from hardgrad.tabular.table_onnx import ranked
from hardgrad.trees.forest import LEAF, LINEAR, OBLIQUE, Forest


@dataclass(frozen=True)
class Plan:
    """The forest in the terms of the graph.

    Parameters
    ----------
    used : int [columns of X]; the features that X holds.
    column : int [nodes]; the column that a node tests: of X, or `len(used)` + the number of its projection, or that and the number of
        its real sum; -1 at a leaf.
    threshold : dtype [nodes].
    cuts, codes : by feature, in the dtype; dates : by feature, the whole seconds that its rank counts (float32 only).
    scored : int [scored]; the features with a score table, in the order of the columns of S.
    terms, weights : int [4, projections]; columns of S and weights, 0 where there are fewer terms.
    linear : int [linear nodes]; the nodes with real sums.
    leaf_rank : int [nodes]; number of a leaf among the leaves of its tree; first_leaf : int [trees].
    """

    forest: Forest
    dtype: type[np.floating[Any]]
    used: NDArray[np.int64]
    column: NDArray[np.int64]
    threshold: NDArray[Any]
    cuts: dict[int, NDArray[Any]]
    codes: dict[int, NDArray[Any]]
    dates: dict[int, NDArray[np.int64]]
    scored: NDArray[np.int64]
    terms: NDArray[np.int64]
    weights: NDArray[np.int64]
    linear: NDArray[np.int64]
    leaf_rank: NDArray[np.int64]
    first_leaf: NDArray[np.int64]

    @property
    def schema(self) -> TableSchema:
        """The raw columns and their features."""
        return self.forest.schema


def make_plan(forest: Forest, dtype: type[np.floating[Any]]) -> Plan:
    """Return the plan of a forest for graphs whose numbers are of a type."""
    used = forest.used_features()
    position = np.full(forest.n_features + 1, -1, dtype=np.int64)
    position[used] = np.arange(len(used))
    scored = forest.scored_features
    column = np.where(forest.feature >= 0, position[forest.feature], -1)
    terms, weights, number = _projections(forest, scored)
    oblique = forest.feature == OBLIQUE
    column[oblique] = len(used) + number
    linear = np.flatnonzero(forest.feature == LINEAR)
    column[linear] = len(used) + terms.shape[1] + np.arange(len(linear))
    threshold = forest.threshold.copy()
    cuts: dict[int, NDArray[Any]] = {
        f: forest.cut[forest.cut_offset[f] : forest.cut_offset[f + 1]] for f in scored.tolist()
    }
    codes = {f: np.array(forest.schema.features[f].codes) for f in used.tolist()}
    dates: dict[int, NDArray[np.int64]] = {}
    if dtype == np.float32:
        for f in used.tolist():
            _rank(forest, f, threshold, cuts, codes, dates)
        threshold = np.where(oblique, threshold, round_down_to_float32(threshold)).astype(np.float32)
        cuts = {f: round_down_to_float32(values) for f, values in cuts.items()}
    leaf = forest.feature == LEAF
    first_leaf = np.concatenate([[0], np.cumsum(leaf)])[forest.tree_offset].astype(np.int64)
    tree = np.repeat(np.arange(forest.n_trees), np.diff(forest.tree_offset))
    leaf_rank = np.cumsum(leaf) - leaf - first_leaf[tree]
    return Plan(
        forest=forest,
        dtype=dtype,
        used=used,
        column=column,
        threshold=threshold.astype(dtype),
        cuts=cuts,
        codes={f: values.astype(dtype) for f, values in codes.items() if len(values)},
        dates=dates,
        scored=scored,
        terms=terms,
        weights=weights,
        linear=linear,
        leaf_rank=np.where(leaf, leaf_rank, 0).astype(np.int64),
        first_leaf=first_leaf[:-1],
    )


def _projections(
    forest: Forest, scored: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return terms and weights [4, projections], and the projection of each oblique node: nodes may share one."""
    nodes = np.flatnonzero(forest.feature == OBLIQUE)
    first, count = forest.term_offset[nodes], forest.term_offset[nodes + 1] - forest.term_offset[nodes]
    table = np.zeros((len(nodes), 8), dtype=np.int64)
    for k in range(4):
        has = count > k
        table[has, k] = np.searchsorted(scored, forest.term_feature[first[has] + k])
        table[has, 4 + k] = forest.term_weight[first[has] + k]
    unique, number = np.unique(table, axis=0, return_inverse=True)
    return unique[:, :4].T, unique[:, 4:].T, number.reshape(-1).astype(np.int64)


def _rank(
    forest: Forest,
    f: int,
    threshold: NDArray[np.float64],
    cuts: dict[int, NDArray[Any]],
    codes: dict[int, NDArray[Any]],
    dates: dict[int, NDArray[np.int64]],
) -> None:
    """Replace codes or dates of one feature, and all that they are compared with, by ranks."""
    nodes = np.flatnonzero(forest.feature == f)
    found = ranked(forest.schema, f, np.concatenate([forest.threshold[nodes], cuts.get(f, np.empty(0))]))
    if found is None:
        return
    number, code_ranks, seconds = found
    threshold[nodes] = number[: len(nodes)]
    if f in cuts:
        cuts[f] = number[len(nodes) :].astype(np.float64)
    if code_ranks is not None:
        codes[f] = code_ranks
    if seconds is not None:
        dates[f] = seconds
