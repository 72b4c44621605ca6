"""What every SQL engine's test compares: the columns that came back against the NumPy reference, bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hardgrad.tabular.table_sql_output import output_names
from hardgrad.trees.forest import Forest
from hardgrad.trees.forest_build import forest_from_trees
from hardgrad.trees.probe import random_forest

PROBABILITY_ULP = 8


def same_bits(got: Any, expected: Any) -> np.ndarray:
    """True where two double arrays hold the same bits; one NaN is as good as another."""
    pair = (np.asarray(values, dtype=np.float64) for values in (got, expected))
    got_bits, expected_bits = (np.where(np.isnan(v), np.nan, v).view(np.int64) for v in pair)
    return np.asarray(got_bits == expected_bits)


def assert_exact(
    forest: Forest,
    rows: Any,
    columns: Sequence[Sequence[Any]],
    dialect: str,
    *,
    leaves: bool = True,
    probability_ulp: float = PROBABILITY_ULP,
    signed_zero: bool = True,
) -> None:
    """Compare the result columns of `to_sql(.., outputs="all", n_leaves=forest.n_trees if leaves else 0)`, in row order, with the reference."""
    names = output_names(forest, dialect, outputs="all", n_leaves=forest.n_trees if leaves else 0)
    assert len(columns) == len(names)
    raw = forest.predict_raw(rows)
    if leaves:
        got_leaves = np.array([np.array(c, dtype=np.int64) for c in columns[: forest.n_trees]]).T
        differing = np.flatnonzero((got_leaves != forest.apply(rows)).any(axis=1))
        assert len(differing) == 0, (
            f"{dialect}: {len(differing)} rows reach other leaves, first {differing[:5]}"
        )
        columns = columns[forest.n_trees :]
    got_raw = np.array([np.array(c, dtype=np.float64) for c in columns[: forest.n_outputs]]).T
    got_raw = got_raw.reshape(len(raw), forest.n_outputs)
    if not signed_zero:
        got_raw, raw_bits = got_raw + 0.0, raw + 0.0
    else:
        raw_bits = raw
    assert same_bits(got_raw, raw_bits).all(), f"{dialect}: raw scores differ"
    rest = columns[forest.n_outputs :]
    if forest.task == "classification":
        expected = forest.raw_to_proba(raw)
        got = np.array([np.array(c, dtype=np.float64) for c in rest[: len(forest.classes)]]).T.reshape(
            expected.shape
        )
        # 1 - p of a tiny p is as exact as p is: measured in ulp of the larger of the two.
        ulp = np.abs(got - expected) / np.spacing(np.maximum(expected, 1e-300))
        if forest.link == "sigmoid":
            ulp[:, 0] = np.abs(got - expected)[:, 0] / np.spacing(np.maximum(expected[:, 0], 2.0**-1))
        assert ulp.max(initial=0) <= probability_ulp, f"{dialect}: probabilities differ by {ulp.max()} ulp"
        rest = rest[len(forest.classes) :]
    predicted = forest.raw_to_prediction(raw)
    if forest.task == "regression":
        got = np.array([np.array(c, dtype=np.float64) for c in rest]).T.reshape(raw.shape)
        assert np.array_equal(got, raw, equal_nan=True)
        return
    (labels,) = rest
    assert list(labels) == predicted.tolist(), f"{dialect}: predicted labels differ"
    if len(labels):
        assert isinstance(labels[0], type(forest.classes[0])) or dialect == "sqlite"


def forest_cases() -> dict[str, Forest]:
    """Forests of every kind: links, labels, aggregations, several outputs, deep and many trees."""
    return {
        "binary": random_forest(1, n_trees=6, max_depth=5),
        "binary, integer labels": random_forest(2, n_trees=3, classes=(-1, 2**40)),
        "binary, boolean labels": random_forest(3, n_trees=3, classes=(False, True)),
        "binary, float labels": random_forest(4, n_trees=3, classes=(0.1, 2.5)),
        "three classes": random_forest(5, n_trees=5, n_outputs=3),
        "averaged probabilities": random_forest(
            6, n_trees=7, n_outputs=4, link="identity", aggregation="mean"
        ),
        "seven classes, axis only": random_forest(7, n_trees=3, n_outputs=7, oblique=False),
        "regression": random_forest(8, n_trees=9, task="regression"),
        "regression, mean of two": random_forest(
            9, n_trees=7, n_outputs=2, task="regression", aggregation="mean"
        ),
        "depth 12": random_forest(10, n_trees=2, max_depth=12, task="regression"),
        "150 trees": random_forest(11, n_trees=150, max_depth=3),
        "no tree": random_forest(12, n_trees=0, n_outputs=3),
        "single leaves": random_forest(13, n_trees=3, max_depth=0),
    }


def weighted_cases() -> dict[str, Forest]:
    """Linear nodes and affine leaves."""
    return {
        "linear": random_forest(40, n_trees=3, max_depth=5, n_outputs=3, linear=True),
        "affine": random_forest(41, n_trees=2, max_depth=5, task="regression", linear=True, slopes=True),
        "affine, deep": random_forest(
            42, n_trees=1, max_depth=11, n_outputs=2, task="regression", linear=True, slopes=True, columns=3
        ),
    }


def chain(depth: int, seed: int) -> dict[str, Any]:
    """A tree of one long branch over three features."""
    rng = np.random.default_rng(seed)
    node: dict[str, Any] = {"value": rng.normal()}
    for _ in range(depth):
        sides = [node, {"value": rng.normal()}]
        left, right = sides if rng.random() < 0.5 else sides[::-1]
        default = {"default_left": bool(rng.random() < 0.5)}
        # Thresholds in the tails, so that rows do go deep.
        far = float(rng.normal() - 3 if left is not node else rng.normal() + 3)
        node = {"feature": int(rng.integers(3)), "threshold": far, "left": left, "right": right, **default}
    return node


def extreme_forest() -> Forest:
    """Thresholds and leaf values at the ends of what a double holds; the sums are exact nowhere but overflow nowhere either."""
    tiny, huge = 5e-324, 1.7976931348623157e308
    values = [
        tiny,
        -tiny,
        -0.0,
        0.0,
        1e-310,
        huge / 4,
        -huge / 4,
        2.0**-1022,
        0.1,
        1 / 3,
        1e22,
        1e23,
        9007199254740993.0,
    ]
    thresholds = [
        tiny,
        -tiny,
        -0.0,
        0.0,
        huge,
        -huge,
        float("inf"),
        float("-inf"),
        1e-310,
        0.1,
        0.3,
        1 / 3,
        1e23,
    ]
    trees = [
        {
            "feature": i % 3,
            "threshold": threshold,
            "default_left": i % 2 == 0,
            "left": {"value": values[i]},
            "right": {"value": values[-1 - i]},
        }
        for i, threshold in enumerate(thresholds)
    ]
    return forest_from_trees(trees, ["a", "b", "c"], base=[-0.0])
