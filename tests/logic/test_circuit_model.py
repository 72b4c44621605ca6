"""A model of a circuit refuses what does not fit: arrays, classes, tables; and a file that is no circuit."""

from __future__ import annotations

import numpy as np
import pytest

import hardgrad
from hardgrad.core.errors import ArtifactError, DataError, InputError, ParameterError, SchemaError
from hardgrad.logic import Circuit, CircuitModel, GroupSum, LogicGateClassifier
from hardgrad.tabular.schema import Column, Feature, TableSchema


def model(**changes):
    """Two features above thresholds, two outputs, two classes."""
    schema = TableSchema((Column("age"), Column("weight")), (Feature("age", 0), Feature("weight", 1)))
    fields = {
        "schema": schema, "link": "softmax", "task": "classification", "classes": ("no", "yes"), "target": "",
        "bit_feature": np.array([0, 1], np.int32), "bit_threshold": np.array([0.5, 1.5]),
        "group": np.array([0, 1], np.int32), "offset": np.zeros(2), "scale": np.ones(2),
    }  # fmt: skip
    return CircuitModel.of(Circuit.from_expression("p = a & b; q = a ^ b"), **fields | changes)


def test_it_answers():
    assert model().predict(np.array([[1.0, 2.0], [1.0, 0.0]])).tolist() == ["no", "yes"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ("a", "b", "c")}, "3 classes and 2 scores"),
        ({"classes": ()}, "0 classes and 2 scores for a classification"),
        ({"classes": ("no", "no")}, "must be distinct"),
        ({"classes": ("no", 1)}, "of one type"),
        ({"classes": (0.0, float("nan"))}, "must be distinct"),
        ({"link": "sigmoid"}, "2 classes and 2 scores .* 'sigmoid'"),
        ({"link": "probit"}, "unknown link 'probit'"),
        ({"task": "ranking"}, "unknown task 'ranking'"),
        ({"task": "regression"}, "2 classes and 2 scores for a regression"),
        ({"target": 3}, "target must be text"),
        ({"bit_feature": np.array([0, 2], np.int32)}, r"outside 0 \.\. 1"),
        ({"bit_feature": np.array([0], np.int32)}, "one threshold a bit"),
        ({"bit_threshold": np.array([0.5, np.nan])}, "NaN"),
        ({"bit_threshold": np.zeros(2, np.float32)}, "'bit_threshold' must be float64"),
        ({"group": np.array([0], np.int32), "weight": np.ones(1, np.int32)}, "1 groups for 2 outputs"),
        ({"scale": np.array([1.0, np.inf])}, "not finite"),
        ({"offset": np.full(2, 1.7e308), "scale": np.full(2, 1.7e308)}, "beyond the largest number"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(changes, message):
    with pytest.raises(ArtifactError, match=message):
        model(**changes)


@pytest.mark.parametrize(("group", "weight"), [([0, 2], [1, 1]), ([0, 1], [1, -1]), ([0, 1], [1, 2**30])])
def test_groups_and_weights_outside_their_range_are_refused(group, weight):
    with pytest.raises(ParameterError, match="got an output of|may count to"):
        model(group=np.array(group, np.int32), weight=np.array(weight, np.int32))


@pytest.mark.parametrize("engine", ["numpy", "numba"])
def test_tables_that_do_not_fit_are_refused(engine):
    runtime = model().runtime(engine)
    for X in (np.zeros((3, 1)), np.zeros((3, 3)), np.zeros(2)):
        with pytest.raises(SchemaError, match=r"expects \[n, 2\], one column a feature"):
            runtime.predict_encoded(X)
    with pytest.raises(DataError, match="'weight' is missing in row 1"):
        runtime.predict_encoded(np.array([[1.0, 2.0], [1.0, np.nan]]))
    with pytest.raises(SchemaError, match="weight"):
        runtime.predict({"age": [1.0]})


@pytest.mark.filterwarnings("ignore::hardgrad.core.errors.HardgradWarning")
def test_more_classes_than_outputs():
    """A head refuses them; an estimator takes more outputs, so that every class has one."""
    import torch

    with pytest.raises(InputError, match="2 outputs for k=3 groups"):
        GroupSum(3)(torch.ones(1, 2))
    X = np.arange(60.0)[:, None]
    fitted = LogicGateClassifier((4, 2), max_iter=2, random_state=0).fit(X, np.arange(60) // 12)
    assert len(fitted.harden().group) == 5


@pytest.mark.parametrize("name", ["missing.aig", "folder", "noise.blif", "text.blif"])
def test_files_that_are_no_circuits_are_refused(name, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "noise.blif").write_bytes(bytes(range(256)))
    (tmp_path / "text.blif").write_text("Dear reader,\n", encoding="utf-8")
    with pytest.raises(DataError):
        Circuit.read(tmp_path / name)
    with pytest.raises(ArtifactError):
        hardgrad.load(tmp_path / name)
