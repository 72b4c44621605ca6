"""ONNX: the leaf of every tree, raw scores bit for bit and labels as the forest has them, in ONNX Runtime and in onnx's reference."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardgrad.core.errors import ExportError, ParameterError
from hardgrad.core.files import WriteError
from hardgrad.tabular.schema import Column, Feature, TableSchema
from hardgrad.tabular.table_onnx import MISSING_TEXT, MISSING_TIME, onnx_inputs
from hardgrad.trees.export_onnx import to_onnx
from hardgrad.trees.forest import Forest
from hardgrad.trees.forest_build import forest_from_trees
from hardgrad.trees.probe import generate_rows, random_forest

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
FORMS = st.sampled_from(["ensemble", "operators"])


def run(payload: bytes, feed: dict, threads: int = 1) -> dict:
    """Score with ONNX Runtime; a warning of the runtime is an error here."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(payload, options)
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, feed), strict=True))


def bits(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values).view(np.int64)


def assert_exact(forest: Forest, found: dict, rows: dict) -> None:
    np.testing.assert_array_equal(found["leaves"], forest.apply(rows))
    raw = forest.predict_raw(rows)
    np.testing.assert_array_equal(bits(found["raw"]), bits(raw))
    if forest.task == "regression":
        np.testing.assert_array_equal(found["prediction"], forest.predict(rows))
    else:
        assert found["label"].tolist() == forest.predict(rows).tolist()
        np.testing.assert_allclose(found["probabilities"], forest.predict_proba(rows), rtol=4e-15, atol=4e-16)


def any_forest(seed: int, **options) -> Forest:
    rng = np.random.default_rng(seed)
    task = "regression" if rng.random() < 0.3 else "classification"
    fixed = {
        "n_trees": int(rng.integers(1, 9)),
        "max_depth": int(rng.integers(0, 6)),
        "n_outputs": int(rng.choice([1, 3])),
        "task": task,
        "aggregation": str(rng.choice(["sum", "mean"])),
        "oblique": bool(rng.random() < 0.7),
    }
    return random_forest(rng, **(fixed | options))


@given(seed=st.integers(0, 10**6), trees=FORMS, threads=st.sampled_from([1, 2]))
def test_equal_in_onnx_runtime(seed, trees, threads):
    forest = any_forest(seed)
    rows = generate_rows(forest, 2000, random_state=seed)
    assert_exact(
        forest, run(to_onnx(forest, leaves=True, trees=trees), onnx_inputs(forest, rows), threads), rows
    )


@given(seed=st.integers(0, 10**6), trees=FORMS)
def test_equal_in_the_reference_evaluator(seed, trees):
    from onnx.reference import ReferenceEvaluator

    forest = any_forest(seed, n_trees=2, max_depth=3)
    rows = generate_rows(forest, 60, random_state=seed)
    model = ReferenceEvaluator(to_onnx(forest, leaves=True, trees=trees))
    with np.errstate(all="ignore"):
        found = dict(zip(model.output_names, model.run(None, onnx_inputs(forest, rows)), strict=True))
    assert_exact(forest, found, rows)


@given(seed=st.integers(0, 10**6), trees=FORMS)
def test_float32_reaches_the_same_leaves_for_every_float32_input(seed, trees):
    forest = any_forest(seed)
    rows = generate_rows(forest, 2000, random_state=seed)
    feed = onnx_inputs(forest, rows, precision="float32")
    for column in forest.schema.columns:
        if column.kind == "numeric":
            single = feed[column.name]
            # Beside the values that happen to be near a threshold, put the floats on either side of each.
            single[::3] = np.nextafter(single[::3], np.float32(np.inf))
            single[1::3] = np.nextafter(single[1::3], np.float32(-np.inf))
            rows[column.name] = single[:, 0].astype(np.float64)
    found = run(to_onnx(forest, leaves=True, trees=trees, precision="float32"), feed)
    np.testing.assert_array_equal(found["leaves"], forest.apply(rows))
    assert found["raw"].dtype == np.float32
    size = np.abs(forest.base).max() + np.abs(forest.value).max() * forest.n_trees
    np.testing.assert_allclose(
        found["raw"], forest.predict_raw(rows), rtol=0, atol=2.0**-22 * size * (forest.n_trees + 1)
    )


def test_threads_and_batch_sizes_do_not_change_a_bit():
    forest = random_forest(5, n_trees=150, max_depth=4, oblique=False)
    payload = to_onnx(forest, leaves=True)
    rows = generate_rows(forest, 300)
    for count in (1, 2, 31, 300):
        some = {name: values[:count] for name, values in rows.items()}
        for threads in (1, 2, 4):
            assert_exact(forest, run(payload, onnx_inputs(forest, some), threads), some)


def test_raw_texts_go_in_as_they_are():
    schema = TableSchema(
        (Column("c", "categorical", ("", "a", "é")),),
        (Feature("c", 0, "codes", (1.0, 2.0, 3.0, 9.0)), Feature("c?", 0, "missing")),
    )
    inner = {
        "feature": 0,
        "threshold": 2.5,
        "left": {"value": 1.0},
        "right": {"value": 2.0},
        "default_left": True,
    }
    forest = forest_from_trees(
        [{"feature": 1, "threshold": 0.5, "left": inner, "right": {"value": 7.0}}], schema
    )
    texts = ["", "a", "é", "A", "a ", " ", "e\u0301", "\U0001f332", "missing", MISSING_TEXT]
    found = run(to_onnx(forest), {"c": np.array(texts, dtype=object)[:, None]})
    wanted = forest.predict({"c": [*texts[:-1], None]})
    assert found["prediction"].tolist() == wanted.tolist() == [1, 1, 2, 2, 2, 2, 2, 2, 2, 7]
    other = to_onnx(forest, missing_text="?")
    assert run(other, {"c": np.array([["?"]], dtype=object)})["prediction"].tolist() == [7.0]
    with pytest.raises(ExportError, match="Pass another missing_text"):
        to_onnx(forest, missing_text="a")


@pytest.mark.parametrize("precision", ["double", "float32"])
def test_dates_are_exact_in_both_precisions(precision):
    schema = TableSchema((Column("when", "datetime"),), (Feature("when", 0),))
    tree = {"feature": 0, "threshold": 1_700_000_001.5, "left": {"value": 1.0}, "right": {"value": 2.0}}
    late = {
        "feature": 0,
        "threshold": np.inf,
        "left": {"value": 0.0},
        "right": {"value": 4.0},
        "default_left": False,
    }
    forest = forest_from_trees([tree, late], schema)
    when = np.array(
        [
            "2023-11-14T22:13:20",
            "2023-11-14T22:13:21.9",
            "2023-11-14T22:13:22",
            "NaT",
            "1960-01-01T00:00:00.5",
        ]
    )
    rows = {"when": when.astype("datetime64[us]")}
    feed = onnx_inputs(forest, rows, precision=precision)
    assert feed["when"][3, 0] == MISSING_TIME == np.datetime64("NaT", "s").astype(np.int64)
    found = run(to_onnx(forest, precision=precision), feed)
    assert found["prediction"].tolist() == forest.predict(rows).tolist() == [1, 1, 2, 6, 1]


@pytest.mark.parametrize("classes", [("a", "b"), (3, 5), (0.5, 1.5), (False, True)])
def test_labels_keep_their_type(classes):
    tree = {"feature": 0, "threshold": 0.0, "left": {"value": -1.0}, "right": {"value": 1.0}}
    forest = forest_from_trees([tree], ["x"], link="sigmoid", task="classification", classes=classes)
    found = run(to_onnx(forest), {"x": np.array([[-1.0], [1.0], [np.nan]])})
    assert found["label"].tolist() == [classes[0], classes[1], classes[1]]


def test_ties_take_the_first_class_and_zero_is_negative():
    forest = forest_from_trees(
        [{"value": [1.0, 1.0]}], ["x"], link="softmax", task="classification", classes=("a", "b")
    )
    assert run(to_onnx(forest), {"x": np.zeros((2, 1))})["label"].tolist() == ["a", "a"]
    forest = forest_from_trees(
        [{"value": 0.0}], ["x"], link="sigmoid", task="classification", classes=("a", "b")
    )
    assert run(to_onnx(forest), {"x": np.zeros((1, 1))})["label"].tolist() == ["a"]


@pytest.mark.parametrize("trees", ["ensemble", "operators"])
def test_small_forests(trees):
    for forest in (
        forest_from_trees([{"value": 2.5}], ["x", "unused"]),
        forest_from_trees([], ["x", "unused"], n_outputs=1, base=[4.0]),
        forest_from_trees([{"value": [1.0, 2.0]}] * 2, ["x", "unused"], base=[0.1, 0.2]),
    ):
        rows = {"x": np.array([0.0, np.nan, np.inf]), "unused": np.zeros(3)}
        assert_exact(forest, run(to_onnx(forest, leaves=True, trees=trees), onnx_inputs(forest, rows)), rows)


def test_awkward_names_and_metadata(tmp_path):
    names = ["raw", "prediction", "Gather/3", "constant/0", '日本 "x"', " "]
    tree = {"feature": 2, "threshold": 0.0, "left": {"value": 1.0}, "right": {"value": 2.0}}
    forest = forest_from_trees([tree], names)
    payload = to_onnx(forest, tmp_path / "m.onnx", name="my forest")
    assert (tmp_path / "m.onnx").read_bytes() == payload == to_onnx(forest, name="my forest")
    session = ort.InferenceSession(payload)
    assert [i.name for i in session.get_inputs()] == names
    assert [o.name for o in session.get_outputs()] == ["raw_", "prediction_"]
    about = json.loads(session.get_modelmeta().custom_metadata_map["hardgrad"])
    assert about["precision"] == "double" and [c["name"] for c in about["columns"]] == names


def test_errors(tmp_path, monkeypatch):
    forest = forest_from_trees([{"value": 1.0}], ["x"])
    with pytest.raises(ExportError, match="named ''"):
        to_onnx(forest_from_trees([{"value": 1.0}], [""]))
    with pytest.raises(ExportError, match="not valid unicode"):
        to_onnx(forest_from_trees([{"value": 1.0}], ["\ud800"]))
    with pytest.raises(ExportError, match="without columns"):
        to_onnx(forest_from_trees([{"value": 1.0}], []))
    for options in ({"precision": "half"}, {"trees": "oak"}):
        with pytest.raises(ParameterError, match="expected one of"):
            to_onnx(forest, **options)
    with pytest.raises(WriteError):
        to_onnx(forest, tmp_path / "none" / "m.onnx")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ExportError, match=r"pip install hardgrad\[onnx\]"):
        to_onnx(forest)


def test_imported_forests():
    lgb = pytest.importorskip("lightgbm")
    from hardgrad.trees.importers import import_forest

    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 4))
    X[:, 1] = rng.integers(0, 9, 400)
    X[rng.random(X.shape) < 0.2] = 0.0
    fixed = {
        "verbose": -1,
        "num_threads": 1,
        "min_data_in_leaf": 3,
        "min_data_per_group": 1,
        "zero_as_missing": True,
    }
    data = lgb.Dataset(X, label=rng.integers(0, 3, 400), categorical_feature=[1])
    forest = import_forest(lgb.train(fixed | {"objective": "multiclass", "num_class": 3}, data, 5))
    assert not forest.is_axis
    rows = generate_rows(forest, 3000)
    for trees in ("ensemble", "operators"):
        assert_exact(forest, run(to_onnx(forest, leaves=True, trees=trees), onnx_inputs(forest, rows)), rows)
