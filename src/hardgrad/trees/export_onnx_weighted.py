"""Linear nodes and affine leaves in ONNX: one Mul and one Add a term, in the order of the terms. Never imports torch.

A runtime may not fuse or reorder these operators, so that every sum has the bits of the reference.
"""

from __future__ import annotations

import numpy as np

from hardgrad.export.onnx import GraphWriter
from hardgrad.trees.export_onnx_plan import Plan
from hardgrad.trees.forest import LEAF


def linear_sums(writer: GraphWriter, plan: Plan, X: str) -> str:
    """Return the sums of all linear nodes, [rows, linear nodes]."""
    forest = plan.forest
    first = forest.term_offset[plan.linear]
    count = forest.term_offset[plan.linear + 1] - first
    total = ""
    for k in range(int(count.max())):
        has = count > k
        term = first + np.where(has, k, 0)
        columns = np.searchsorted(plan.used, forest.term_feature[term])
        picked = writer.node("Gather", X, writer.constant(columns, np.int64), axis=1)
        product = writer.node("Mul", picked, writer.constant(forest.linear_weight[term], plan.dtype))
        if not total:
            total = product
        elif has.all():
            total = writer.node("Add", total, product)
        else:
            more = writer.node("Add", total, product)
            total = writer.node("Where", writer.constant(has[None, :]), more, total)
    return total


def with_slopes(writer: GraphWriter, plan: Plan, X: str, leaf: str, value: str) -> str:
    """Return the values [rows, outputs] of the leaves with these numbers [rows], and slope * x added for each feature."""
    slopes = plan.forest.leaf_slope[plan.forest.feature == LEAF]
    for f in np.flatnonzero(slopes.any(axis=(0, 1))).tolist():
        column = writer.constant([int(np.searchsorted(plan.used, f))], np.int64)
        steep = writer.node("Gather", writer.constant(slopes[:, :, f], plan.dtype), leaf)
        more = writer.node("Add", value, writer.node("Mul", steep, writer.node("Gather", X, column, axis=1)))
        value = writer.node(
            "Where", writer.node("Equal", steep, writer.constant(0.0, plan.dtype)), value, more
        )
    return value


def start_of_sum(writer: GraphWriter, plan: Plan, X: str, base: str) -> str:
    """Return the base, or NaN in rows where a value is missing that is weighed, so that every answer is."""
    weighed = plan.forest.weighted_features
    if not len(weighed):
        return base
    columns = writer.constant(np.searchsorted(plan.used, weighed), np.int64)
    missing = writer.cast(writer.node("IsNaN", writer.node("Gather", X, columns, axis=1)), np.int32)
    count = writer.node("ReduceSum", missing, writer.constant([1], np.int64), keepdims=1)
    some = writer.node("Greater", count, writer.constant(0, np.int32))
    return str(writer.node("Where", some, writer.constant(np.nan, plan.dtype), base))
