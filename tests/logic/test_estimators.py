from __future__ import annotations

import ctypes
import itertools

import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes, load_digits, load_iris

import hardgrad
from hardgrad.core.errors import HardgradWarning, ParameterError
from hardgrad.export.compiled_c import compile_shared, has_compiler
from hardgrad.logic import Circuit, LogicGateClassifier, LogicGateRegressor
from hardgrad.logic.votes import code_words, make_head, votes_of

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
        {"head": "weighted_group_sum"}, {"head": "codebook"}, {"head": "codebook", "tau": 3.0, "thresholds": "learned"},
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


@pytest.mark.parametrize("head", ["weighted_group_sum", "codebook"])
@pytest.mark.parametrize("classes", [2, 3])
def test_a_head_is_votes_in_every_form(head, classes, iris, tmp_path):
    X, y = iris[0][iris[1] < classes], iris[1][iris[1] < classes]
    model = LogicGateClassifier(**QUICK, head=head).fit(X, y)
    artifact = model.harden()
    raw, rng = artifact.predict_raw(X), np.random.default_rng(0)
    assert model.score(X, y) > 0.85 and model.gap_ is not None and model.measure_gap(X, y).rows == len(X)
    assert artifact.weight.min() > 0 and artifact.counts_decide
    loaded = hardgrad.load(artifact.save(tmp_path / "model.safetensors"))
    assert np.array_equal(loaded.predict_raw(X), raw)
    anywhere = rng.uniform(-1, 9, (500, 4))  # ties of scores are broken alike
    network = model.soft_
    hard = network.answers(network.rows(anywhere), "hard").numpy().argmax(axis=1)
    assert np.array_equal(artifact.predict(anywhere), model.classes_[hard])
    if has_compiler():
        predict = compile_shared(
            artifact.to_c().source, headers={"model.h": artifact.to_c().header}
        ).model_predict
        predict.argtypes, predict.restype = [ctypes.c_void_p, ctypes.c_void_p], None
        said = np.empty((len(anywhere), classes))
        for row, scores in zip(anywhere, said, strict=True):
            predict(row.ctypes.data, scores.ctypes.data)
        assert np.array_equal(said, artifact.predict_raw(anywhere))


def test_votes_are_counted_by_hand():
    """Weighted sums and agreement with code words, on every row of four bits, against sums that are written out."""
    rows = np.array(list(itertools.product([0, 1], repeat=4)))
    circuit = Circuit.from_expression("p = a; q = b; r = c; s = d")
    weighted = make_head("weighted_group_sum", 2, 4, 1.5)
    with torch.no_grad():
        weighted.weight.copy_(torch.tensor([0.2, 3.4, 9.0, 1.0]))
    votes = votes_of(weighted, circuit, 1.5)
    assert votes.weight.tolist() == [3, 4, 1] and votes.group.tolist() == [0, 1, 1]
    counted = votes.circuit.evaluate(rows)[:, :, None] * (votes.weight[:, None] * np.eye(2)[votes.group])
    assert np.array_equal(
        counted.sum(axis=1), np.stack([3 * rows[:, 1], 4 * rows[:, 2] + rows[:, 3]], axis=1)
    )

    rows = np.array(list(itertools.product([0, 1], repeat=6)))
    circuit = Circuit.from_expression("p = a; q = b; r = c; s = d; t = e; u = f")
    codes = code_words(3).numpy()
    votes = votes_of(make_head("codebook", 3, 6, 2.0), circuit, 2.0)
    counts = (votes.circuit.evaluate(rows)[:, :, None] * np.eye(3)[votes.group]).sum(axis=1)
    agreement = (rows[:, None, :] == (np.repeat(codes, 2, axis=1) > 0)).sum(axis=2)
    assert np.array_equal(counts, agreement)
    head = make_head("codebook", 3, 6, 2.0)
    assert np.allclose(votes.offset + votes.scale * counts, head(torch.tensor(rows, dtype=torch.float32)))


@pytest.mark.parametrize("classes", [2, 3, 4, 5, 8, 9, 10, 26])
def test_code_words_are_far_apart_and_every_bit_tells_something(classes):
    codes = code_words(classes)
    bits = codes.shape[1]
    assert bits + 1 == 1 << (bits + 1).bit_length() - 1 and classes <= bits + 1 < 2 * classes
    distance = (codes[:, None] != codes).sum(-1)
    assert (distance[~torch.eye(classes, dtype=torch.bool)] == (bits + 1) // 2).all()
    assert (codes.std(dim=0) > 0).all()


@pytest.mark.parametrize(
    "bad", [{"head": "votes"}, {"head": None}, {"tau": -1.0}, {"tau": "best"}, {"tau": True}, {"tau": None}]
)
def test_heads_and_taus_that_are_not_there(bad, iris):
    with pytest.raises(ParameterError, match=f"got {next(iter(bad))}={next(iter(bad.values()))!r}; expected"):
        LogicGateClassifier(**QUICK, **bad).fit(*iris)


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
