"""ONNX Runtime among the engines of the exactness check."""

from __future__ import annotations

import pytest

from hardgrad.trees.exactness import MAX_PROBABILITY_ULP, differences
from hardgrad.trees.probe import generate_rows, random_forest

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"n_outputs": 3},
        {"task": "regression"},
        {"task": "regression", "n_outputs": 2, "aggregation": "mean"},
    ],
)
def test_no_row_differs(options):
    from hardgrad.trees.exactness_onnx import OnnxEngine

    forest = random_forest(11, n_trees=12, max_depth=6, **options)
    engine = OnnxEngine(forest)
    rows = engine.rows(generate_rows(forest, 10_000, random_state=3))
    wrong, distance = differences(forest, rows, engine.score(rows))
    assert not wrong.any() and distance <= MAX_PROBABILITY_ULP
