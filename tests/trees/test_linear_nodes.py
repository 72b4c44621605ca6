"""Linear nodes and affine leaves: the reference against plain Python, every engine against the reference, and what is refused."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import hardgrad
from hardgrad.core.artifact import HEADER_KEY
from hardgrad.core.errors import ArtifactError, DataError, ParameterError, UnsupportedError
from hardgrad.export.compiled_c import has_compiler
from hardgrad.report.context import ReportContext
from hardgrad.report.page import render_report
from hardgrad.tabular.table_onnx import onnx_inputs
from hardgrad.trees.attribution import attribute
from hardgrad.trees.cells import cells_of, measure_scales
from hardgrad.trees.compression import compress
from hardgrad.trees.counterfactual import nearest_counterfactual
from hardgrad.trees.exactness import check_exactness, differences
from hardgrad.trees.exactness_compiled import CEngine
from hardgrad.trees.explanation import explain
from hardgrad.trees.export_onnx import to_onnx
from hardgrad.trees.export_svg import to_svg
from hardgrad.trees.forest import LEAF, LINEAR, OBLIQUE, Forest
from hardgrad.trees.forest_build import forest_from_trees
from hardgrad.trees.packed import pack, packed_size, simplify_categories, size_in_bytes
from hardgrad.trees.probe import generate_rows, random_forest
from hardgrad.trees.runtime import prepare
from hardgrad.trees.score_sql import score_duckdb
from hardgrad.trees.soft_forest import SoftForest

PLANE = {
    "linear": [(0, 0.1), (1, -2.5), (0, 1e-3)],
    "threshold": 0.3,
    "left": {"value": 1.0, "slope": [[0.1, 0.0]]},
    "right": {"value": 2.0},
}
FORESTS = {
    "linear": random_forest(20, n_trees=3, max_depth=5, linear=True, n_outputs=2, link="softmax"),
    "affine": random_forest(
        21, n_trees=2, max_depth=5, linear=True, slopes=True, task="regression", columns=3
    ),
    "coded": random_forest(
        22, n_trees=2, max_depth=4, oblique=False, linear=True, slopes=True, task="regression"
    ),
}
every_forest = pytest.mark.parametrize("name", FORESTS)


@pytest.fixture
def plane() -> Forest:
    return forest_from_trees([PLANE], ["a", "b"])


def by_hand(forest: Forest, x: list[float]) -> tuple[list[int], list[float]]:
    """Leaves and raw scores in plain Python, for forests without oblique nodes."""
    raw, leaves = forest.base.tolist(), []
    for root in forest.tree_offset[:-1].tolist():
        node = root
        while forest.feature[node] != LEAF:
            f, t = int(forest.feature[node]), float(forest.threshold[node])
            if f == LINEAR:
                first, last = forest.term_offset[node : node + 2].tolist()
                total = float(forest.linear_weight[first]) * x[forest.term_feature[first]]
                for k in range(first + 1, last):
                    total = total + float(forest.linear_weight[k]) * x[forest.term_feature[k]]
                left = total <= t
            else:
                left = bool(forest.default_left[node]) if math.isnan(x[f]) else x[f] <= t
            node = int((forest.left if left else forest.right)[node])
        leaves.append(node)
        for c in range(forest.n_outputs):
            total = float(forest.value[node, c])
            for f in range(forest.n_features if forest.has_slopes else 0):
                slope = float(forest.leaf_slope[node, c, f])
                if slope:
                    total = total + slope * x[f]
            raw[c] = raw[c] + total
    return leaves, [r / forest.n_trees for r in raw] if forest.aggregation == "mean" else raw


@pytest.mark.parametrize("aggregation", ["sum", "mean"])
def test_the_reference_is_plain_double_arithmetic(aggregation: str) -> None:
    forest = random_forest(
        23, n_trees=3, max_depth=5, oblique=False, linear=True, slopes=True, task="regression", n_outputs=2,
        aggregation=aggregation,
    )  # fmt: skip
    X = forest.encode(generate_rows(forest, 400))
    expected = [by_hand(forest, row) for row in X.tolist()]
    assert np.array_equal(forest.apply_encoded(X), [leaves for leaves, _ in expected])
    raw = np.array([values for _, values in expected])
    found = forest.sum_leaves(forest.apply_encoded(X), X)
    assert np.array_equal(found, raw, equal_nan=True) and np.isnan(found).any() and np.isfinite(found).any()


def test_rows_meet_the_planes_they_are_made_for() -> None:
    forest = FORESTS["affine"]
    X = forest.encode(generate_rows(forest, 2000))
    met = 0
    for node in np.flatnonzero(forest.feature == LINEAR):
        span = slice(forest.term_offset[node], forest.term_offset[node + 1])
        with np.errstate(all="ignore"):
            total = X[:, forest.term_feature[span]] @ forest.linear_weight[span]
            met += int((np.abs(total - forest.threshold[node]) <= 4 * np.spacing(np.abs(total))).sum())
    assert met > 100 and np.isinf(X).any() and not np.isnan(X).any()


@every_forest
@pytest.mark.parametrize("engine", ["numpy", "numba", "c"])
def test_runtimes_give_the_bits_of_the_reference(name: str, engine: str) -> None:
    if engine == "c" and not has_compiler():
        pytest.skip("no C compiler")
    forest = FORESTS[name]
    X = forest.encode(generate_rows(forest, 1500, random_state=1))
    leaves = forest.apply_encoded(X)
    raw = forest.sum_leaves(leaves, X)
    fast = prepare(forest, engine)
    for n in (1500, 9, 1, 0):
        assert np.array_equal(fast.apply_encoded(X[:n]), leaves[:n])
        assert np.array_equal(fast.predict_raw_encoded(X[:n]), raw[:n], equal_nan=True)
    frozen = X.copy()
    frozen.flags.writeable = False
    assert np.array_equal(fast.predict_raw_encoded(frozen), raw, equal_nan=True)


@every_forest
def test_exports_give_the_bits_of_the_reference(name: str) -> None:
    checks = check_exactness(FORESTS[name], rows=1000, random_state=2)
    assert not [check for check in checks if check.skipped_reason is None and check.differing]
    assert any(check.exact for check in checks)


@every_forest
@pytest.mark.parametrize("layout", ["table", "branches"])
def test_no_compiler_option_fuses_a_sum(name: str, layout: str) -> None:
    if not has_compiler():
        pytest.skip("no C compiler")
    forest = FORESTS[name]
    rows = generate_rows(forest, 500, random_state=3)
    strict = ("-std=c99", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror")
    for flags in (strict, ("-std=gnu11", "-O3", "-march=native", "-ffp-contract=fast")):
        engine = CEngine(forest, layout=layout, flags=flags)
        assert not differences(forest, rows, engine.score(rows))[0].any()


@every_forest
def test_onnx_by_plain_operators(name: str) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    forest = FORESTS[name]
    rows = generate_rows(forest, 500, random_state=4)
    session = onnxruntime.InferenceSession(to_onnx(forest, trees="operators", leaves=True))
    leaves, raw, *_ = session.run(None, onnx_inputs(forest, rows))
    assert np.array_equal(leaves, forest.apply(rows)) and np.array_equal(
        raw, forest.predict_raw(rows), equal_nan=True
    )
    with pytest.raises(UnsupportedError, match="precision='double'"):
        to_onnx(forest, precision="float32")


# --- missing values -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("engine", ["reference", "numpy", "numba", "c"])
def test_a_missing_value_that_is_weighed_is_refused_by_name(plane: Forest, engine: str) -> None:
    if engine == "c" and not has_compiler():
        pytest.skip("no C compiler")
    model = plane if engine == "reference" else prepare(plane, engine)
    for ask in (model.predict, model.predict_raw, model.apply):
        with pytest.raises(DataError, match="'b' is missing in row 1"):
            ask({"a": [1.0, 2.0], "b": [0.0, None]})
    with pytest.raises(DataError, match="'a'"):
        plane.decision_path(np.array([[np.nan, 1.0]]))


def test_a_missing_value_that_is_only_compared_takes_its_side() -> None:
    left = {**PLANE, "left": {"value": 1.0}}
    tree = {"feature": 2, "threshold": 0.0, "left": left, "right": {"value": 5.0}, "default_left": True}
    forest = forest_from_trees([tree], ["a", "b", "c"])
    for model in (forest, prepare(forest, "numpy"), prepare(forest, "numba")):
        assert model.predict(np.array([[0.0, 0.0, np.nan]])).tolist() == [1.0]


def test_other_languages_give_no_answer_to_a_missing_value(plane: Forest) -> None:
    rows = {"a": [1.0, None], "b": [0.0, 1.0]}
    assert score_duckdb(plane, _arrow(rows))["prediction"].to_pylist() == [1.1, None]
    two = forest_from_trees(
        [{**PLANE, "left": {"value": -1.0}}],
        ["a", "b"],
        task="classification",
        link="sigmoid",
        classes=("no", "yes"),
    )
    found = score_duckdb(two, _arrow(rows), outputs="all").to_pydict()
    assert found["prediction"] == ["no", None] and found["probability_yes"][1] is None
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(to_onnx(plane))
    raw = session.run(["raw"], {"a": np.array([[1.0], [np.nan]]), "b": np.array([[0.0], [1.0]])})[0]
    assert raw[0, 0] == 1.1 and np.isnan(raw[1, 0])
    if has_compiler():
        answer = CEngine(plane).score({"a": np.array([1.0, np.nan]), "b": np.array([0.0, 1.0])})
        assert answer.raw is not None and np.isnan(answer.raw[1, 0]) and answer.leaves is not None
        assert answer.leaves[1, 0] == -1
    assert shutil.which("node") is None or "is missing, and this forest" in plane.to_javascript()


def _arrow(rows: dict[str, list[float | None]]) -> object:
    import pyarrow as pa

    return pa.table(rows)


def test_infinities_that_cancel_go_right(plane: Forest) -> None:
    inf = math.inf
    X = np.array([[inf, inf], [-inf, 0.0], [inf, 0.0], [-inf, -inf]])
    assert plane.apply(X)[:, 0].tolist() == [2, 1, 2, 2]  # inf - inf, -inf, inf, -inf + inf
    zero = forest_from_trees([{**PLANE, "linear": [(0, 0.0), (1, 1.0)], "threshold": inf}], ["a", "b"])
    assert zero.apply(np.array([[inf, 0.0], [1.0, inf]]))[:, 0].tolist() == [2, 1]


# --- on disk --------------------------------------------------------------------------------------------------------------------
def test_a_forest_without_them_is_written_as_before(tmp_path: Path) -> None:
    forest = random_forest(1, n_trees=2, max_depth=3)
    path = forest.save(tmp_path / "model.safetensors")
    payload = path.read_bytes()
    outer = json.loads(payload[8 : 8 + int.from_bytes(payload[:8], "little")])
    assert not {"linear_weight", "leaf_slope"} & outer.keys()
    assert "affine" not in outer["__metadata__"][HEADER_KEY]
    assert hardgrad.load(path).equals(forest)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"linear_weight": np.zeros(2)}, "'linear_weight' must have 3"),
        ({"linear_weight": np.array([1.0, np.inf, 0.0])}, "not finite"),
        ({"term_weight": np.array([1, 0, 0], dtype=np.int32)}, "integer weight"),
        ({"leaf_slope": np.zeros((3, 1, 1))}, "'leaf_slope' must be of shape"),
        ({"leaf_slope": np.full((3, 1, 2), np.nan)}, "slope is not finite"),
        ({"leaf_slope": np.ones((3, 1, 2))}, "inner node has a slope"),
        ({"leaf_slope": np.zeros((3, 1, 2))}, "every slope is 0"),
        (
            {"feature": np.array([OBLIQUE, LEAF, LEAF], dtype=np.int32), "threshold": np.zeros(3)},
            "'linear_weight'",
        ),
    ],
)
def test_damaged_arrays_are_refused(plane: Forest, change: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        replace(plane, **change)


def test_slopes_are_for_regression_and_of_one_shape() -> None:
    with pytest.raises(ArtifactError, match="outputs, features"):
        forest_from_trees([PLANE], ["a", "b", "c"])
    with pytest.raises(ArtifactError, match="for regression"):
        forest_from_trees([PLANE], ["a", "b"], task="classification", link="sigmoid", classes=(0, 1))


# --- pictures and analyses ------------------------------------------------------------------------------------------------------
def test_text_and_pictures(plane: Forest) -> None:
    text = plane.to_text()
    assert "0.1 * a - 2.5 * b + 0.001 * a <= 0.3" in text and "yes: 1 + 0.1 * a" in text and "no:  2" in text
    assert "0.1 * a" in plane.to_dot() and "weighted sum" in to_svg(plane)
    wide = forest_from_trees(
        [{**PLANE, "linear": [(f, 1.0 + f) for f in range(64)], "left": {"value": 1.0}}],
        [f"p{f}" for f in range(64)],
    )
    assert "60 more" in to_svg(wide) and wide.predict(np.zeros((1, 64))).tolist() == [1.0]


def test_leaves_need_their_rows_to_be_summed(plane: Forest) -> None:
    with pytest.raises(ParameterError, match=r"sum_leaves\(leaves, X\)"):
        plane.sum_leaves(plane.apply(np.zeros((1, 2))))


def test_analyses_that_need_comparisons_say_what_to_use_instead(plane: Forest) -> None:
    X, row = np.zeros((30, 2)), {"a": 0.0, "b": 0.0}
    constant = replace(plane, leaf_slope=np.empty((0, 0, 0)))
    sloped = forest_from_trees([{"value": 1.0, "slope": [[1.0, 0.0]]}], ["a", "b"])
    for forest in (plane, constant, sloped):
        scales = measure_scales(forest, [X[:, 0], X[:, 1]])
        for analyse in (
            lambda f=forest: attribute(f, X[0], X),
            lambda f=forest: explain(f, X, 0),
            lambda f=forest, s=scales: cells_of(f, row, s),
            lambda f=forest, s=scales: nearest_counterfactual(f, row, s, to=5.0),
            lambda f=forest: compress(f, X, budget="1kB"),
            lambda f=forest: SoftForest.from_hard(f, X),
            lambda f=forest: pack(f),
            lambda f=forest: packed_size(f),
            lambda f=forest: f.to_c(form="packed"),
        ):
            with pytest.raises(UnsupportedError, match=r"this forest has .*\. \w+"):
                analyse()


def test_the_report_shows_such_a_forest_without_its_trees(plane: Forest) -> None:
    context = ReportContext(plane, "r2")
    assert context.forest is None and "<html" in render_report(context)


def test_sizes_count_weights_and_slopes(plane: Forest) -> None:
    assert size_in_bytes(plane) == 12 + 2 * 8 + 10 * 3 + 10 * 1


def test_codes_that_are_weighed_keep_their_values() -> None:
    forest = FORESTS["coded"]
    rows = generate_rows(forest, 300)
    assert np.array_equal(simplify_categories(forest).predict(rows), forest.predict(rows), equal_nan=True)
