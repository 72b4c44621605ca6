"""NeighbourhoodClassifier and NeighbourhoodRegressor: what is learned, who decides, weights, missing values, categories, prototypes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pytest
from sklearn.datasets import load_diabetes, load_wine, make_classification
from sklearn.neighbors import KNeighborsClassifier

import hardgrad
from hardgrad.core.errors import DataError, HardgradWarning, ParameterError
from hardgrad.tabular import NeighbourhoodClassifier, NeighbourhoodRegressor
from hardgrad.train.progress import listen

QUICK = {"dim": 8, "max_iter": 15, "random_state": 0, "device": "cpu"}
WINE, WINE_Y = load_wine(return_X_y=True)


def noisy(n: int = 400):
    """Two numbers that decide and twelve, larger, that do not."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 14))
    return X, (X[:, 0] * X[:, 1] * 0.2 + X[:, 0] + 0.8 * X[:, 1] > 0).astype(int)


@pytest.fixture(scope="module")
def wine():
    return NeighbourhoodClassifier(**QUICK).fit(WINE, WINE_Y)


# --- learning -----------------------------------------------------------------------------------------------------------------
def test_learns_which_columns_matter():
    X, y = noisy()
    model = NeighbourhoodClassifier(**{**QUICK, "max_iter": 40}).fit(X[:300], y[:300])
    plain = KNeighborsClassifier(15).fit(X[:300], y[:300]).score(X[300:], y[300:])
    assert model.score(X[300:], y[300:]) > plain + 0.05
    assert model.metric_ == "log_loss" and 1 <= model.n_iter_ <= 40 and not model.interrupted_


@pytest.mark.parametrize(
    "settings", [{"embedding": "periodic", "n_blocks": 1, "d_block": 16}, {"embedding": "piecewise"}]
)
def test_other_encoders_learn_too(settings):
    X, y = noisy()
    model = NeighbourhoodClassifier(**{**QUICK, "max_iter": 30}, **settings).fit(X[:300], y[:300])
    assert model.score(X[300:], y[300:]) > 0.8
    assert np.abs(model.predict_proba_soft(X[300:]) - model.harden(k=300).predict_proba(X[300:])).max() < 0.02


def test_auto_keeps_the_encoder_that_is_better_on_held_out_rows():
    X, y = noisy(200)
    model = NeighbourhoodClassifier(**QUICK, encoder="auto", d_block=16, n_jobs=2).fit(X, y)
    assert [row["encoder"] for row in model.candidates_] == ["linear", "periodic, 1 block"]
    best = min(model.candidates_, key=lambda row: row["loss"])
    assert [row["chosen"] for row in model.candidates_] == [row is best for row in model.candidates_]
    alone = NeighbourhoodClassifier(**QUICK, encoder="auto", d_block=16).fit(X, y)
    assert alone.harden().equals(model.harden())  # threads change no bit


def test_regression_of_one_and_of_two_targets():
    X, y = load_diabetes(return_X_y=True)
    one = NeighbourhoodRegressor(**QUICK).fit(X[:300], y[:300])
    assert one.score(X[300:], y[300:]) > 0.3
    assert one.metric_ == "rmse" and one.gap_.hard == pytest.approx(
        y[:300].std() * one.candidates_[0]["loss"] ** 0.5, rel=0.01
    )
    Y = np.column_stack([y, 1000 * X[:, 2]])
    two = NeighbourhoodRegressor(**QUICK).fit(X[:300], Y[:300])
    assert two.predict(X[300:]).shape == two.predict_soft(X[300:]).shape == (142, 2)
    assert two.score(X[300:], Y[300:]) > 0.3
    assert one.predict_soft(X[300:]).shape == (142,)


def test_progress_is_in_units_of_the_target_and_divergence_is_no_silent_nan():
    X, y = load_diabetes(return_X_y=True)
    model = NeighbourhoodRegressor(**QUICK).fit(X, y)
    shown = [event["hard"] for event in model.history_ if event["hard"] is not None]
    assert len(shown) > 10 and all(40 < rmse < 80 for rmse in shown)
    with pytest.raises(ParameterError, match="no finite loss"):
        NeighbourhoodClassifier(**{**QUICK, "learning_rate": 1e30}).fit(WINE, WINE_Y)


# --- who decides ------------------------------------------------------------------------------------------------------------------
def test_explanations_make_up_the_prediction(wine):
    rows, shares = wine.explain(WINE[::9])
    votes = np.einsum("nk,nkc->nc", shares, np.eye(3)[WINE_Y[rows]])
    smoothing = wine.harden().smoothing
    assert np.allclose(wine.predict_proba(WINE[::9]), (votes + smoothing) / (1 + 3 * smoothing))
    assert (rows[:, 0] == np.arange(len(WINE))[::9]).all()  # a training row is its own nearest
    assert (np.diff(shares, axis=1) <= 1e-12).all()


def test_weights_are_votes_and_rows_without_weight_are_left_out():
    X, y = make_classification(60, random_state=0)
    weight = np.r_[np.zeros(10), np.full(25, 1.0), np.full(25, 3.0)]
    model = NeighbourhoodClassifier(**QUICK).fit(X, y, sample_weight=weight)
    assert model.rows_.tolist() == list(range(10, 60))
    assert np.allclose(model.harden().votes[25:] / model.harden().votes[:25], 3.0)
    assert model.explain(X)[0].min() >= 10
    assert not model.harden().equals(NeighbourhoodClassifier(**QUICK).fit(X, y).harden())
    with pytest.raises(DataError, match="at least 2"):
        NeighbourhoodRegressor(**QUICK).fit(X, X[:, 0], sample_weight=np.eye(60)[0])


def test_class_prior_correction_gives_classes_equal_votes():
    X, y = make_classification(300, weights=[0.9], random_state=0)
    corrected = NeighbourhoodClassifier(**QUICK, class_prior_correction=True).fit(X, y)
    votes, classes = corrected.harden().votes, corrected.harden().values
    assert (votes @ classes)[0] == pytest.approx((votes @ classes)[1])
    plain = NeighbourhoodClassifier(**QUICK).fit(X, y)
    assert corrected.predict(X).sum() > plain.predict(X).sum()


# --- tables -----------------------------------------------------------------------------------------------------------------------
def table(n: int = 120) -> tuple[pa.Table, list[str]]:
    rng = np.random.default_rng(0)
    state, age = rng.choice(["NY", "TX", "CA"], n), rng.normal(40, 10, n)
    columns = {
        "state": list(state),
        "age": list(age),
        "city": [f"c{i % 40}" for i in range(n)],
        "smokes": list(rng.random(n) < 0.5),
    }
    for name, row in (("state", 3), ("age", 5), ("age", 70)):
        columns[name][row] = None
    return pa.table(columns), [
        "yes" if s == "NY" or a > 50 else "no" for s, a in zip(state, age, strict=True)
    ]


def test_categories_are_indicators_and_missing_numbers_have_one():
    X, y = table()
    model = NeighbourhoodClassifier(**QUICK).fit(X, y)
    names = [feature.name for feature in model.schema_.features]
    assert names[:5] == ["state = CA", "state = NY", "state = TX", "state is missing", "age"]
    assert names[5:] == ["age is missing", "city", "smokes"]  # forty cities keep their code
    artifact = model.harden()
    assert artifact.mean[:4].tolist() == [0.0] * 4 and artifact.scale[:4].tolist() == [1.0] * 4
    assert artifact.mean[4] == pytest.approx(np.nanmean(np.array(X["age"].to_pylist(), dtype=float)))
    row = {"state": ["??"], "age": [None], "city": ["nowhere"], "smokes": [True]}
    assert np.isfinite(artifact.predict_proba(row)).all()
    assert artifact.encode(row)[0, :6].tolist()[:4] == [0.0, 0.0, 0.0, 0.0]
    assert np.array_equal(artifact.predict(X), model.predict(X))


def test_missing_values_of_a_matrix_get_an_indicator():
    X, y = noisy(100)
    X[::3, 1] = np.nan
    model = NeighbourhoodClassifier(**QUICK).fit(X, y)
    assert [f.name for f in model.schema_.features][:4] == ["x0", "x1", "x1 is missing", "x2"]
    X[0, 7] = np.nan  # never missing in training
    assert np.isfinite(model.predict_proba(X)).all()


def test_infinite_numbers_are_refused_by_name():
    X, y = table()
    wild = X.set_column(
        1, "age", pa.array([np.inf if i == 7 else v for i, v in enumerate(X["age"].to_pylist())])
    )
    with pytest.raises(DataError, match="'age' holds inf in row 7"):
        NeighbourhoodClassifier(**QUICK).fit(wild, y)


@pytest.mark.parametrize("n", [4, 19, 20])
def test_few_rows(n):
    model = NeighbourhoodClassifier(**QUICK).fit(WINE[60 : 60 + n], np.arange(n) % 2)
    assert (model.gap_ is None) == (n < 20)
    assert 1 <= model.harden().k < n


# --- hard forms -------------------------------------------------------------------------------------------------------------------
def test_gap_shrinks_as_more_neighbours_vote(wine):
    worst = [wine.measure_gap(WINE, WINE_Y, model=wine.harden(k=k)).worst_disagreement for k in (3, 30, 178)]
    assert worst[0] > worst[1] > worst[2]
    everyone = dataclasses.replace(wine.harden(k=178), smoothing=0.0)
    assert wine.measure_gap(WINE, WINE_Y, model=everyone).worst_disagreement < 1e-4
    report = wine.measure_gap(WINE, WINE_Y)
    assert report.rows == 178 and report.detail["hard_accuracy"] == wine.score(WINE, WINE_Y)
    assert report.detail["soft_accuracy"] == np.mean(wine.predict_proba_soft(WINE).argmax(axis=1) == WINE_Y)
    with pytest.raises(DataError, match="y holds 7"):
        wine.measure_gap(WINE, np.full(178, 7))


def test_prototypes_answer_alike_in_less_room(wine):
    few = wine.harden(prototypes=0.1)
    assert len(few.memory) == 18 and few.k <= 18
    assert wine.measure_gap(WINE, WINE_Y, model=few).detail["hard_accuracy"] > 0.95
    assert few.equals(wine.harden(prototypes=18))
    one_each = wine.harden(prototypes=3)
    assert one_each.values.tolist() == np.eye(3).tolist()
    X, y = load_diabetes(return_X_y=True)
    model = NeighbourhoodRegressor(**QUICK).fit(X, y)
    condensed = model.harden(prototypes=40)
    assert model.measure_gap(X, y, model=condensed).hard < 0.85 * y.std()


def test_prototypes_of_equal_rows_are_no_more_than_the_rows():
    X = np.repeat(np.arange(4.0), 20)[:, None]
    model = NeighbourhoodClassifier(**QUICK).fit(X, (X[:, 0] > 1.5).astype(int))
    assert len(model.harden(prototypes=30).memory) == 4


def test_half_precision_takes_half_the_room(wine):
    half, full = wine.harden(dtype="float16"), wine.harden()
    assert half.memory.nbytes * 2 == full.memory.nbytes
    assert np.mean(half.predict(WINE) == full.predict(WINE)) > 0.97


@pytest.mark.parametrize(
    "options",
    [{"k": 0}, {"k": 179}, {"k": "best"}, {"prototypes": 0}, {"prototypes": 2}, {"prototypes": 7.5}, {"prototypes": 179},
     {"dtype": "int8"}],
)  # fmt: skip
def test_what_cannot_be_hardened_is_refused(wine, options):
    with pytest.raises(ParameterError, match="got"):
        wine.harden(**options)


def test_saved_model_answers_alike(wine, tmp_path):
    path = wine.harden(prototypes=0.1, dtype="float16").save(tmp_path / "model.safetensors")
    again = hardgrad.load(path)
    assert again.equals(wine.harden(prototypes=0.1, dtype="float16"))
    assert hardgrad.harden(wine.soft_) is wine.harden()


# --- interrupts -------------------------------------------------------------------------------------------------------------------
def test_interrupted_fit_ends_with_the_best_so_far():
    def stop(event):
        if event.phase == "neighbours" and event.fraction > 0.5:
            raise KeyboardInterrupt

    with listen(stop), pytest.warns(HardgradWarning, match="interrupted"):
        model = NeighbourhoodClassifier(**QUICK).fit(WINE, WINE_Y)
    assert model.interrupted_ and model.score(WINE, WINE_Y) > 0.9

    def stop_at_once(event):
        raise KeyboardInterrupt

    first = {**QUICK, "batch_size": 2}  # the first report comes before the first pass ends
    with listen(stop_at_once), pytest.raises(KeyboardInterrupt):
        NeighbourhoodClassifier(**first).fit(WINE, WINE_Y)
