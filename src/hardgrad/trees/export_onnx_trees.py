"""The part of the ONNX export that descends the trees, adds up leaves and predicts; raw columns are `export_onnx`.

Why the results are exact is told in `export_onnx`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import ExportError
from hardgrad.export.onnx import GraphWriter, TreeTable
from hardgrad.tabular.table_onnx import write_scores
from hardgrad.trees.export_onnx_plan import Plan
from hardgrad.trees.export_onnx_weighted import linear_sums, start_of_sum, with_slopes
from hardgrad.trees.forest import LEAF


# --- trees, by the operator for trees --------------------------------------------------------------------------------
def ensemble_leaves(writer: GraphWriter, plan: Plan, X: str) -> str:
    """Return the number of the leaf within its tree, int64 [rows, trees]."""
    forest = plan.forest
    if int(plan.leaf_rank.max(initial=0)) >= 2**24:
        raise ExportError(
            "a tree has more than 16,777,216 leaves, whose numbers float32 cannot hold. Use precision='double'."
        )
    added = []
    if len(plan.scored):
        scores = writer.tree_ensemble(X, _score_trees(plan), len(plan.scored), plan.dtype)
        added.append(_project(writer, plan, scores))
    X = _with_sums(writer, plan, X, added)
    if forest.n_trees == 0:
        return _no_trees(writer, X)
    table = TreeTable(
        feature=plan.column,
        threshold=plan.threshold,
        left=forest.left,
        right=forest.right,
        default_left=forest.default_left,
        weight=plan.leaf_rank,
        root=forest.tree_offset[:-1],
        target=np.arange(forest.n_trees),
    )
    return writer.cast(writer.tree_ensemble(X, table, forest.n_trees, plan.dtype), np.int64)


def _score_trees(plan: Plan) -> TreeTable:
    """Score tables as search trees over the cuts; a first test against infinity sends NaN, and nothing else, to a leaf of 0."""
    rows: list[tuple[int, float, int, int, float]] = []
    roots = []

    def search(column: int, cuts: NDArray[Any], scores: NDArray[np.int32]) -> int:
        at = len(rows)
        if len(scores) == 1:
            rows.append((LEAF, 0.0, -1, -1, float(scores[0])))
            return at
        middle = len(cuts) // 2
        rows.append((column, float(cuts[middle]), -1, -1, 0.0))
        left = search(column, cuts[:middle], scores[: middle + 1])
        right = search(column, cuts[middle + 1 :], scores[middle + 1 :])
        rows[at] = (column, float(cuts[middle]), left, right, 0.0)
        return at

    for f in plan.scored.tolist():
        column = int(np.searchsorted(plan.used, f))
        scores = plan.forest.score[plan.forest.cut_offset[f] + f : plan.forest.cut_offset[f + 1] + f + 1]
        roots.append(len(rows))
        rows.append((column, np.inf, len(rows) + 1, -1, 0.0))
        search(column, plan.cuts[f], scores)
        rows[roots[-1]] = (column, np.inf, roots[-1] + 1, len(rows), 0.0)
        rows.append((LEAF, 0.0, -1, -1, 0.0))
    feature, threshold, left, right, weight = (np.array(part) for part in zip(*rows, strict=True))
    never = np.zeros(len(rows), dtype=bool)
    return TreeTable(feature, threshold, left, right, never, weight, np.array(roots), np.arange(len(roots)))


def _project(writer: GraphWriter, plan: Plan, scores: str) -> str:
    """Return the sums of weight * score, [rows, projections]: whole numbers below 2**23, exact in any type and order."""
    total = ""
    for terms, weights in zip(plan.terms, plan.weights, strict=True):
        if not weights.any():
            continue
        picked = writer.node("Gather", scores, writer.constant(terms, np.int64), axis=1)
        product = writer.node("Mul", picked, writer.constant(weights, plan.dtype))
        total = writer.node("Add", total, product) if total else product
    if not total:
        nothing = writer.constant(np.zeros(plan.terms.shape[1], dtype=np.int64))
        total = writer.node(
            "Mul", writer.node("Gather", scores, nothing, axis=1), writer.constant(0.0, plan.dtype)
        )
    return total


def _with_sums(writer: GraphWriter, plan: Plan, X: str, added: list[str]) -> str:
    """Return X with further columns: those given, and the real sums of linear nodes."""
    if len(plan.linear):
        added = [*added, linear_sums(writer, plan, X)]
    return str(writer.node("Concat", X, *added, axis=1)) if added else X


# --- trees, by plain operators --------------------------------------------------------------------------------
def operator_leaves(writer: GraphWriter, plan: Plan, X: str) -> str:
    """Return the number of the leaf within its tree, int64 [rows, trees]: all trees go down one level at a time."""
    forest = plan.forest
    scored = [_project(writer, plan, _count_scores(writer, plan, X))] if len(plan.scored) else []
    X = _with_sums(writer, plan, X, scored)
    if forest.n_trees == 0:
        return _no_trees(writer, X)
    own = np.arange(forest.n_nodes)
    leaf = forest.feature == LEAF
    tables = {
        "column": writer.constant(np.where(leaf, 0, plan.column), np.int64),
        "threshold": writer.constant(plan.threshold),
        "default": writer.constant(forest.default_left),
        "left": writer.constant(np.where(leaf, own, forest.left), np.int64),
        "right": writer.constant(np.where(leaf, own, forest.right), np.int64),
    }
    rows = writer.node("Shape", X, start=0, end=1)
    shape = writer.node("Concat", rows, writer.constant([forest.n_trees], np.int64), axis=0)
    node = writer.node("Expand", writer.constant(forest.tree_offset[None, :-1], np.int64), shape)
    for _ in range(forest.depth()):
        x = writer.node("GatherElements", X, writer.node("Gather", tables["column"], node), axis=1)
        below = writer.node("LessOrEqual", x, writer.node("Gather", tables["threshold"], node))
        missing = writer.node("And", writer.node("IsNaN", x), writer.node("Gather", tables["default"], node))
        sides = [writer.node("Gather", tables[side], node) for side in ("left", "right")]
        node = writer.node("Where", writer.node("Or", below, missing), *sides)
    return str(writer.node("Gather", writer.constant(plan.leaf_rank), node))


def _count_scores(writer: GraphWriter, plan: Plan, X: str) -> str:
    """Return the scores [rows, scored]: the number of cuts below a value finds its place in the table."""
    widest = max(len(plan.cuts[f]) for f in plan.scored.tolist())
    cuts = np.full(
        (1, len(plan.scored), widest), np.inf, dtype=plan.dtype
    )  # nothing is greater than infinity
    start: list[int] = []
    table: list[int] = []
    for k, f in enumerate(plan.scored.tolist()):
        cuts[0, k, : len(plan.cuts[f])] = plan.cuts[f]
        start.append(len(table))
        table += plan.forest.score[
            plan.forest.cut_offset[f] + f : plan.forest.cut_offset[f + 1] + f + 1
        ].tolist()
    picked = writer.node(
        "Gather", X, writer.constant(np.searchsorted(plan.used, plan.scored), np.int64), axis=1
    )
    last = writer.constant([2], np.int64)
    above = writer.node("Greater", writer.node("Unsqueeze", picked, last), writer.constant(cuts))
    count = writer.node("ReduceSum", writer.cast(above, np.int32), last, keepdims=0)
    place = writer.node("Add", writer.cast(count, np.int64), writer.constant(start, np.int64))
    score = writer.node("Gather", writer.constant(table, plan.dtype), place)
    return str(writer.node("Where", writer.node("IsNaN", picked), writer.constant(0.0, plan.dtype), score))


def _no_trees(writer: GraphWriter, X: str) -> str:
    shape = writer.node(
        "Concat", writer.node("Shape", X, start=0, end=1), writer.constant([0], np.int64), axis=0
    )
    zero = writer.onnx.numpy_helper.from_array(np.zeros(1, dtype=np.int64))
    return str(writer.node("ConstantOfShape", shape, value=zero))


# --- outputs ------------------------------------------------------------------------------------------
def write_outputs(writer: GraphWriter, plan: Plan, X: str, found: str, leaves: bool) -> None:
    """Declare the outputs of the graph, given X and the number of each leaf within its tree (see `export_onnx.to_onnx`)."""
    forest = plan.forest
    number = writer.node("Add", found, writer.constant(plan.first_leaf[None, :]))
    leaf = np.flatnonzero(forest.feature == LEAF)
    if leaves:
        absolute = writer.node("Gather", writer.constant(leaf, np.int64), number)
        writer.output(
            "leaves", absolute, np.int64, ["rows", forest.n_trees], "leaf of every tree, as Forest.apply"
        )
    raw = _sum(writer, plan, X, number, forest.value[leaf])
    write_scores(writer, forest, raw, plan.dtype)


def _sum(writer: GraphWriter, plan: Plan, X: str, number: str, values: NDArray[np.float64]) -> str:
    """Return base + leaf + leaf + .. with one addition a tree, in tree order: [rows, outputs]."""
    forest, dtype = plan.forest, plan.dtype
    base = writer.constant(forest.base[None, :], dtype)
    if forest.n_trees == 0:
        rows = writer.node("Shape", number, start=0, end=1)
        shape = writer.node("Concat", rows, writer.constant([forest.n_outputs], np.int64), axis=0)
        return str(writer.node("Expand", base, shape))
    table = writer.constant(values, dtype)
    total = start_of_sum(writer, plan, X, base)
    one = writer.constant([1], np.int64)
    parts = writer.node("Split", number, outputs=forest.n_trees, axis=1, num_outputs=forest.n_trees)
    for part in [parts] if forest.n_trees == 1 else parts:
        leaf = writer.node("Squeeze", part, one)
        value = writer.node("Gather", table, leaf)
        if forest.has_slopes:
            value = with_slopes(writer, plan, X, leaf, value)
        total = writer.node("Add", total, value)
    if forest.aggregation == "mean":
        total = writer.node("Div", total, writer.constant(float(forest.n_trees), dtype))
    return str(total)
