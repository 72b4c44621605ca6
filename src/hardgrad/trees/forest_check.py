"""What makes the arrays of a `Forest` a forest: the checks that stand between a damaged file and a wrong answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import ArtifactError

if TYPE_CHECKING:
    from hardgrad.trees.forest import Forest


def check_forest(forest: Forest) -> None:
    """Raise `ArtifactError` unless the arrays describe trees that every row can descend."""
    _check_lengths(forest)
    _check_nodes(forest)
    _check_terms(forest)
    _check_slopes(forest)
    _check_tables(forest)
    _check_output(forest)


def _require(condition: bool | np.bool_, what: str) -> None:
    if not condition:
        raise ArtifactError(f"not a forest: {what}.")


def _check_lengths(f: Forest) -> None:
    n = len(f.feature)
    for name in ("threshold", "left", "right", "default_left", "value"):
        _require(len(getattr(f, name)) == n, f"{name!r} has {len(getattr(f, name))} entries for {n} nodes")
    _require(f.value.shape[1] == len(f.base) and len(f.base) >= 1, "leaf values and base differ in outputs")
    for name, total in (("tree_offset", n), ("term_offset", len(f.term_feature)), ("cut_offset", len(f.cut))):
        offset = getattr(f, name)
        _require(
            len(offset) >= 1 and offset[0] == 0 and offset[-1] == total,
            f"{name!r} must run from 0 to {total}",
        )
        # Differences of int32 could wrap around and hide an offset far outside.
        _require(
            np.all(np.diff(offset.astype(np.int64)) >= (name == "tree_offset")), f"{name!r} must not fall"
        )
    _require(len(f.term_offset) == n + 1, "'term_offset' must have one entry a node and one more")
    _require(len(f.term_weight) == len(f.term_feature), "'term_weight' and 'term_feature' differ in length")
    _require(len(f.cut_offset) == f.n_features + 1, "'cut_offset' must have one entry a feature and one more")
    _require(
        len(f.score) == len(f.cut) + f.n_features, "'score' must have one entry an interval between cuts"
    )


def _check_nodes(f: Forest) -> None:
    n = f.n_nodes
    leaf = f.feature == -1
    _require(
        np.all((f.feature >= -3) & (f.feature < f.n_features)), "a node tests a feature that is not there"
    )
    _require(
        np.all((f.left == -1) == leaf) and np.all((f.right == -1) == leaf),
        "leaves and only leaves have no children",
    )
    tree = np.repeat(np.arange(f.n_trees), np.diff(f.tree_offset))
    inner = np.flatnonzero(~leaf)
    children = np.concatenate([f.left[inner], f.right[inner]]).astype(np.int64)
    _require(np.all((children > 0) & (children < n)), "a child is out of range")
    parents = np.concatenate([inner, inner])
    _require(
        np.all(children > parents) and np.all(tree[children] == tree[parents]),
        "children must follow their parent",
    )
    # With every node but the roots having one parent that precedes it, the arrays are trees: no cycle, nothing unreachable.
    counts = np.bincount(children, minlength=n)
    expected = np.ones(n, dtype=np.int64)
    expected[f.tree_offset[:-1]] = 0
    _require(np.array_equal(counts, expected), "every node but the roots must have exactly one parent")
    _require(not np.isnan(f.threshold[inner]).any(), "a threshold is NaN")
    _require(
        np.isfinite(f.value).all() and np.isfinite(f.base).all(), "a leaf value or the base is not finite"
    )


def _check_terms(f: Forest) -> None:
    from hardgrad.trees.forest import MAX_TERMS, MAX_WEIGHT

    count = np.diff(f.term_offset)
    oblique, linear = f.feature == -2, f.feature == -3
    _require(np.all((count > 0) == (oblique | linear)), "oblique and linear nodes, and no others, have terms")
    _require(np.all(count[oblique] <= MAX_TERMS), f"oblique nodes have 1 to {MAX_TERMS} terms")
    _require(
        np.all((f.term_feature >= 0) & (f.term_feature < f.n_features)),
        "a term uses a feature that is not there",
    )
    _require(
        np.all((f.term_weight >= -MAX_WEIGHT) & (f.term_weight <= MAX_WEIGHT)),
        f"a weight is outside +-{MAX_WEIGHT}",
    )
    whole = f.threshold[oblique]
    _require(
        np.all(np.abs(whole) < 2**24) and np.all(whole == np.floor(whole)),
        "an oblique threshold is not whole",
    )
    _check_real_weights(f, np.repeat(linear, count))


def _check_real_weights(f: Forest, linear: NDArray[np.bool_]) -> None:
    """`linear` tells which terms belong to linear nodes, bool [terms]."""
    expected = len(linear) if linear.any() else 0
    _require(len(f.linear_weight) == expected, f"'linear_weight' must have {expected} entries")
    if expected:
        _require(np.isfinite(f.linear_weight).all(), "a weight of a linear node is not finite")
        _require(not f.linear_weight[~linear].any(), "an oblique node has a real weight")
        _require(not f.term_weight[linear].any(), "a linear node has an integer weight")


def _check_slopes(f: Forest) -> None:
    if f.leaf_slope.shape == (0, 0, 0):
        return
    expected = (f.n_nodes, f.n_outputs, f.n_features)
    _require(
        f.leaf_slope.shape == expected and f.leaf_slope.size > 0, f"'leaf_slope' must be of shape {expected}"
    )
    _require(np.isfinite(f.leaf_slope).all(), "a slope is not finite")
    _require(not f.leaf_slope[f.feature != -1].any(), "an inner node has a slope")
    _require(f.leaf_slope.any(), "every slope is 0; leave 'leaf_slope' out")
    _require(f.task == "regression", "affine leaves are for regression; a class needs constant leaves")


def _check_tables(f: Forest) -> None:
    from hardgrad.trees.forest import MAX_SCORE

    _require(np.isfinite(f.cut).all(), "a cut is not finite")
    rises = f.cut[1:] > f.cut[:-1]  # a difference could overflow
    starts = f.cut_offset[1:-1]
    within = np.ones(len(rises), dtype=bool)
    between = starts[(starts > 0) & (starts < len(f.cut))] - 1
    within[between] = False
    _require(np.all(rises[within]), "the cuts of a feature must increase")
    _require(np.all((f.score >= -MAX_SCORE) & (f.score <= MAX_SCORE)), f"a score is outside +-{MAX_SCORE}")


def _check_output(f: Forest) -> None:
    _require(f.aggregation in ("sum", "mean"), f"unknown aggregation {f.aggregation!r}")
    f.check_answers()
