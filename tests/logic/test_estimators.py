from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_digits, load_iris

import hardgrad
from hardgrad.core.errors import HardgradWarning
from hardgrad.logic import LogicGateClassifier, LogicGateRegressor

QUICK = {"layer_sizes": (90, 90), "max_iter": 150, "random_state": 0}


@pytest.fixture(scope="module")
def iris():
    return load_iris(return_X_y=True)


def test_digits_are_told_apart_by_a_circuit():
    X, y = load_digits(return_X_y=True)
    model = LogicGateClassifier((400, 400), max_iter=250, random_state=0).fit(X[:1200], y[:1200])
    assert model.score(X[1200:], y[1200:]) > 0.82
    assert abs(model.gap_.gap) < 0.06 and model.gap_.agreement > 0.9
    assert model.gates_["simplified"] <= model.gates_["learned"] == 800
    assert len(model.undecided_) == 2 and max(model.undecided_) < 0.2


@pytest.mark.parametrize(
    "options",
    [
        {}, {"parametrization": "softmax"}, {"response": "sigmoid"}, {"fan_in": 3}, {"thresholds": "uniform"},
        {"thresholds": "learned"}, {"connections": "learnable", "n_thresholds": 5}, {"connections": "unique", "layer_sizes": (30, 30)},
    ],
)  # fmt: skip
def test_the_artifact_is_the_network_in_mode_hard(options, iris):
    X, y = iris
    model = LogicGateClassifier(**{**QUICK, **options}).fit(X, y)
    network = model.soft_
    hard = network.answers(network.rows(X), "hard").double().numpy()
    assert np.allclose(model.harden().predict_raw(X), hard, rtol=1e-5)
    assert np.array_equal(model.predict(X), model.classes_[hard.argmax(axis=1)])
    assert model.predict_proba_soft(X).shape == (150, 3)


def test_the_artifact_is_saved_and_loaded(tmp_path, iris):
    X, y = iris
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    model = LogicGateClassifier(**QUICK).fit(X, names)
    loaded = hardgrad.load(model.harden().save(tmp_path / "model.safetensors"))
    assert np.array_equal(loaded.predict(X), model.predict(X))


def test_tau_is_searched_on_rows_held_out(iris):
    model = LogicGateClassifier(**{**QUICK, "max_iter": 40}, tau="tune").fit(*iris)
    assert len(model.candidates_) == 6 and sum(row["chosen"] for row in model.candidates_) == 1
    root = np.sqrt(30)
    assert all(root / 3 <= row["tau"] <= 3 * root for row in model.candidates_)
    chosen = next(row for row in model.candidates_ if row["chosen"])
    assert chosen["score"] == max(row["score"] for row in model.candidates_) and chosen["tau"] == model.tau_
    assert LogicGateClassifier(**{**QUICK, "max_iter": 5}, tau=2.5).fit(*iris).tau_ == 2.5


def test_columns_of_all_kinds_and_missing_values():
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    frame = pandas.DataFrame(
        {
            "number": rng.normal(size=300),
            "word": rng.choice(["a", "b", "c"], 300),
            "flag": rng.random(300) < 0.5,
        }
    )
    frame.loc[::9, "number"] = np.nan
    y = np.where((frame["word"] == "b") ^ frame["flag"], "yes", "no")
    model = LogicGateClassifier(**QUICK).fit(frame, y)
    assert model.score(frame, y) > 0.95
    assert np.array_equal(model.harden().predict(frame), model.predict(frame))


def test_numbers_are_an_offset_and_steps():
    X, y = load_diabetes(return_X_y=True)
    model = LogicGateRegressor((300, 200), max_iter=250, random_state=0).fit(X, y)
    assert model.score(X, y) > 0.35 and model.gap_.metric == "rmse"
    network = model.soft_
    hard = network.answers(network.rows(X), "hard").double().numpy()
    restored = y.mean() + y.std() * hard[:, 0]
    assert np.allclose(model.predict(X), restored, rtol=1e-4)
    assert y.min() - 1e-9 <= model.predict(X).min() and model.predict(X).max() <= y.max() + 1e-9
    two = LogicGateRegressor((60, 60), max_iter=40, random_state=0).fit(X, np.stack([y, -y], axis=1))
    assert two.predict(X).shape == two.predict_soft(X).shape == (442, 2)


def test_rows_that_tell_nothing_are_warned_of():
    X, y = np.zeros((40, 2)), np.arange(40) % 2
    with pytest.warns(HardgradWarning, match="class 0, class 1"):
        model = LogicGateClassifier(**{**QUICK, "max_iter": 3}).fit(X, y)
    assert len(set(model.predict(X))) == 1


def test_progress_and_the_gap_on_new_rows(capsys, iris):
    X, y = iris
    model = LogicGateClassifier(**QUICK, verbose=1).fit(X[::2], y[::2])
    assert "gates 100 %" in capsys.readouterr().out
    report = model.measure_gap(X[1::2], y[1::2])
    assert report.hard == pytest.approx(model.score(X[1::2], y[1::2])) and report.rows == 75
    assert report.detail["gates"] == model.gates_["simplified"]
    with pytest.raises(ValueError, match="expected labels"):
        model.measure_gap(X, y + 7)
