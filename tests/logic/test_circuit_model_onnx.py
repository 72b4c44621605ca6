"""Circuit models in ONNX Runtime: the bits of the model, on thresholds and beside them, in doubles and in floats."""

from __future__ import annotations

import circuit_examples
import numpy as np
import pytest

from hardgrad.core.errors import ExportError, ParameterError
from hardgrad.logic import Circuit, CircuitModel
from hardgrad.tabular.schema import Column, Feature, TableSchema
from hardgrad.tabular.table_onnx import onnx_inputs
from hardgrad.trees.forest_build import forest_from_trees

ort = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

ONE = TableSchema((Column("x"),), (Feature("x", 0),))
MODELS = circuit_examples.models()
models = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())


def run(model, rows, **options):
    """The outputs of the exported model by name."""
    session = ort.InferenceSession(model.to_onnx(**options))
    names = [output.name for output in session.get_outputs()]
    precision = options.get("precision", "double")
    return dict(zip(names, session.run(None, onnx_inputs(model, rows, precision=precision)), strict=True))


def regression(circuit, thresholds, **fields):
    """A regression of one column."""
    fields = {
        "offset": np.zeros(1),
        "scale": np.ones(1),
        "group": np.zeros(circuit.n_outputs, np.int32),
    } | fields
    return CircuitModel.of(
        circuit, schema=ONE, link="identity", task="regression", classes=(), target="t",
        bit_feature=np.zeros(circuit.n_inputs, np.int32), bit_threshold=np.array(thresholds, np.float64), **fields,
    )  # fmt: skip


def assert_same_bits(said, expected):
    assert said.dtype == expected.dtype == np.float64
    np.testing.assert_array_equal(said.view(np.int64), expected.view(np.int64))


@models
def test_probabilities_and_labels(model):
    rows = circuit_examples.model_rows(11)
    said = run(model, rows)
    assert_same_bits(said["raw"], model.predict_raw(rows))
    if model.task == "regression":
        assert set(said) == {"raw", "prediction"}
        assert_same_bits(said["prediction"], model.predict(rows))
        return
    assert set(said) == {"raw", "probabilities", "label"}
    assert said["label"].tolist() == model.predict(rows).tolist()
    np.testing.assert_allclose(said["probabilities"], model.predict_proba(rows), rtol=0, atol=1e-15)


def test_thresholds_are_doubles():
    tight = [1.0, np.nextafter(1.0, 2.0), 0.1, -np.inf, np.inf, 5e-324, 1e300]
    names = "abcdefg"
    weights = np.array([1 << k for k in range(7)], np.int32)
    model = regression(
        Circuit.from_expression("; ".join(f"y{n} = {n}" for n in names), inputs=list(names)),
        tight,
        weight=weights,
    )
    near = np.concatenate(
        [tight, np.nextafter(tight, np.inf), np.nextafter(tight, -np.inf), [0.0, -0.0, np.nan]]
    )
    said = run(model, {"x": near[~np.isnan(near)]})
    assert_same_bits(said["raw"], model.predict_raw({"x": near[~np.isnan(near)]}))
    assert len(np.unique(said["raw"])) == 7, (
        "every threshold but infinity decides; minus infinity is above nothing"
    )
    missing = ort.InferenceSession(model.to_onnx()).run(["raw"], {"x": np.array([[np.nan]])})
    assert missing[0].tolist() == [[0.0]], "a bit of a missing value is 0"


@pytest.mark.parametrize("offset", [0.0, -0.0, 0.1])
@pytest.mark.parametrize("scale", [-1.0, 1.0, -0.3, 0.0])
def test_scores_have_the_signs_of_zero_of_the_model(offset, scale):
    model = regression(
        Circuit.from_expression("y = a & ~b; z = a"),
        [0.5, 1.5],
        offset=np.array([offset]),
        scale=np.array([scale]),
    )
    rows = {"x": [0.0, 1.0, 2.0]}
    assert_same_bits(run(model, rows)["raw"], model.predict_raw(rows))


@pytest.mark.parametrize(
    "circuit",
    [
        Circuit.from_expression("p = 1; q = 0"),
        Circuit.from_expression("p = 1; q = 0").with_names((), ("p", "q")),
        Circuit.from_expression("p = a & ~a; q = 1; r = b"),
        Circuit.from_expression("p = 1", inputs=["a", "b"]),
    ],
)
def test_circuits_that_read_little(circuit):
    model = regression(circuit, [0.5, 1.5][: circuit.n_inputs], offset=np.array([0.25]))
    rows = {"x": [0.0, 1.0, 2.0]}
    assert_same_bits(run(model, rows)["raw"], model.predict_raw(rows))


@models
def test_floats(model):
    rows = circuit_examples.model_rows(5)
    rows["x"] = np.clip(rows["x"], -1e30, 1e30).astype(np.float32).astype(np.float64)
    rows["x"][:40] = np.resize(model.bit_threshold[model.bit_feature == 0].astype(np.float32), 40)
    said = run(model, rows, precision="float32")
    assert said["raw"].dtype == np.float32
    raw = model.predict_raw(rows)
    np.testing.assert_allclose(said["raw"], raw, rtol=1e-6, atol=1e-6)
    counted = np.round((said["raw"].astype(np.float64) - model.offset) / model.scale)
    assert np.array_equal(counted, np.round((raw - model.offset) / model.scale)), "every count is the model's"


def test_a_forest_as_a_circuit_scores_as_its_own_export():
    tree = {"feature": 0, "threshold": 1.5, "left": {"value": 0.25}, "right": {"value": 2.0}}
    forest = forest_from_trees([tree, tree], ["age"])
    rows = {"age": [1.5, np.nextafter(1.5, 2), -np.inf, np.inf]}
    by_trees = ort.InferenceSession(forest.to_onnx()).run(["raw"], onnx_inputs(forest, rows))[0]
    assert_same_bits(run(CircuitModel.from_forest(forest), rows)["raw"], by_trees)


def test_what_is_refused(tmp_path):
    model = MODELS["three classes"]
    with pytest.raises(ParameterError, match="expected 'double' or 'float32'"):
        model.to_onnx(precision="half")
    with pytest.raises(ExportError, match="stands for a missing value"):
        model.to_onnx(missing_text="NY")
    payload = model.to_onnx(tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").read_bytes() == payload
