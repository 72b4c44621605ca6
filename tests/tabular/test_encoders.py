"""CategoricalEncoder: one contract for all kinds, whatever the table."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator

from hardgrad.core.errors import DataError, ParameterError, SchemaError, UnsupportedError
from hardgrad.tabular import CategoricalEncoder, LearnedEncoder, as_one_hot_weights
from hardgrad.tabular.category_codes import balanced_folds
from hardgrad.tabular.column_typing import TableWarning
from hardgrad.tabular.encoder_codes import KINDS, TARGET_KINDS

CROSS_FITTED = ("target", "m-estimate", "james-stein", "woe")


def table(n=300, seed=0):
    rng = np.random.default_rng(seed)
    state = rng.choice(["NY", "TX", "CA", "WA"], n).astype(object)
    state[rng.random(n) < 0.1] = None
    return {
        "state": state,
        "age": rng.normal(size=n),
        "shop": np.array([f"s{k}" for k in rng.integers(0, 15, n)], dtype=object),
    }


def target(n=300, seed=1):
    return np.random.default_rng(seed).integers(0, 2, n)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_keeps_the_contract(kind):
    X, y = table(), target()
    encoder = CategoricalEncoder(kind, random_state=0).fit(X, y)
    codes = encoder.transform(X)
    names = encoder.get_feature_names_out()
    assert codes.dtype == np.float64 and codes.shape == (300, len(names)) and len(set(names)) == len(names)
    assert np.isfinite(codes).all()
    assert np.array_equal(codes[:, list(names).index("age")], X["age"])
    new = {"state": ["??", None], "age": [1.0, np.nan], "shop": ["s1", "nowhere"]}
    unseen = encoder.transform(new)
    assert np.isfinite(np.delete(unseen, list(names).index("age"), axis=1)).all()
    assert np.array_equal(pickle.loads(pickle.dumps(encoder)).transform(X), codes)  # noqa: S301
    assert np.array_equal(clone(encoder).fit(X, y).transform(X), codes)


@pytest.mark.parametrize("kind", ["one-hot", "james-stein"])
def test_every_kind_of_table_gives_the_same_codes(kind):
    pandas, polars, arrow = (pytest.importorskip(name) for name in ("pandas", "polars", "pyarrow"))
    X, y = table(), target()
    codes = CategoricalEncoder(kind).fit(X, y).transform(X)
    frames = [
        pandas.DataFrame(X), polars.DataFrame({name: list(values) for name, values in X.items()}), arrow.table(X),
        pandas.DataFrame(X).astype({"state": "category"}), np.column_stack([values.astype(object) for values in X.values()]),
    ]  # fmt: skip
    for frame in frames:
        encoder = CategoricalEncoder(kind).fit(frame, y)
        assert np.array_equal(encoder.transform(frame), codes)
    assert [column.name for column in encoder.table_.columns] == ["x0", "x1", "x2"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "encoder", [CategoricalEncoder("one-hot"), CategoricalEncoder("target"), LearnedEncoder(max_iter=3)]
)
def test_scikit_learn_accepts_it(encoder):
    results = check_estimator(encoder, on_fail=None, on_skip=None)
    bad = [r for r in results if r["status"] == "failed"]
    assert not bad, [(r["check_name"], r["exception"]) for r in bad]


def test_it_stands_in_a_pipeline():
    X, y = table(), target()
    model = make_pipeline(CategoricalEncoder("target", random_state=0), Ridge()).fit(X, y)
    assert model.predict({"state": ["NY"], "age": [0.0], "shop": ["never seen"]}).shape == (1,)


# --- leakage ---------------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", TARGET_KINDS)
def test_training_codes_do_not_know_the_row_itself(kind):
    X, y = table(), target()
    encoder = CategoricalEncoder(kind, random_state=0)
    training = encoder.fit_transform(X, y)
    assert not np.allclose(training, encoder.transform(X))
    shop = list(encoder.get_feature_names_out()).index("shop")
    # On a target of pure chance, codes that contain a row's own label correlate with it; others do not, but for the mean of the rest.
    leaky, honest = (np.corrcoef(codes[:, shop], y)[0, 1] for codes in (encoder.transform(X), training))
    assert leaky > 0.1 and honest < leaky - 0.1


@pytest.mark.parametrize("kind", CROSS_FITTED)
def test_cross_fitted_codes_come_from_the_other_folds(kind):
    X, y = {"shop": table()["shop"]}, target()
    encoder = CategoricalEncoder(kind, cross_fit=3, random_state=5)
    codes = encoder.fit_transform(X, y)[:, 0]
    seed = np.random.default_rng(np.random.RandomState(5).randint(2**31 - 1)).integers(2**31 - 1)
    fold = balanced_folds((y - y.mean())[:, None], 3, int(seed))
    changed = y.copy()
    changed[fold == 1] = changed[fold == 1][::-1]  # the mean of all rows stays
    for f in range(3):
        rest = {"shop": X["shop"][fold != f]}
        kept = CategoricalEncoder(kind, handle_unknown="zero").fit(rest, y[fold != f])
        if abs(y[fold != f].mean() - y.mean()) < 1e-12:  # then the prior is the same
            assert np.allclose(codes[fold == f], kept.transform({"shop": X["shop"][fold == f]})[:, 0])
    assert np.bincount(fold).tolist() == [100, 100, 100]


def test_without_cross_fitting_training_codes_are_those_of_new_rows():
    X, y = table(), target()
    encoder = CategoricalEncoder("target", cross_fit=0)
    assert np.array_equal(encoder.fit_transform(X, y), encoder.transform(X))


@pytest.mark.parametrize("kind", TARGET_KINDS)
def test_the_seed_decides(kind):
    X, y = table(), target()

    def codes(seed):
        return CategoricalEncoder(kind, random_state=seed).fit_transform(X, y)

    assert np.array_equal(codes(1), codes(1))
    assert np.array_equal(codes(1), codes(2)) == (kind == "leave-one-out")


def test_noise_is_multiplied():
    X, y = table(), target()
    noisy = CategoricalEncoder("leave-one-out", noise=0.1, random_state=0).fit_transform(X, y)
    ratio = noisy[:, 0] / CategoricalEncoder("leave-one-out").fit_transform(X, y)[:, 0]
    assert 0.08 < ratio.std() < 0.12 and abs(ratio.mean() - 1) < 0.03


# --- targets ---------------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", TARGET_KINDS)
def test_more_classes_are_one_against_the_rest(kind):
    X = table()
    y = np.random.default_rng(0).choice(["red", "green", "blue"], 300)
    encoder = CategoricalEncoder(kind).fit(X, y)
    codes = encoder.transform(X)
    assert encoder.get_feature_names_out()[:3].tolist() == ["state (blue)", "state (green)", "state (red)"]
    one = CategoricalEncoder(kind).fit(X, y == "green").transform(X)
    assert np.allclose(codes[:, 1], one[:, 0])


@pytest.mark.parametrize("kind", TARGET_KINDS)
@pytest.mark.parametrize("value", [0, 1])
def test_a_constant_target_gives_the_prior(kind, value):
    X = table()
    y = np.full(300, value)
    encoder = CategoricalEncoder(kind, target_type="binary" if kind == "woe" else "continuous")
    expected = 0.0 if kind == "woe" else float(value)
    for codes in (encoder.fit_transform(X, y), encoder.transform(X)):
        assert np.array_equal(np.delete(codes, 1, axis=1), np.full((300, 2), expected))


def test_numbers_that_look_like_classes_may_be_named_numbers():
    X, y = table(), np.arange(300) % 7
    assert CategoricalEncoder("target").fit(X, y).transform(X).shape[1] == 15
    assert CategoricalEncoder("target", target_type="continuous").fit(X, y).transform(X).shape[1] == 3
    with pytest.raises(DataError, match="30 different whole numbers"):
        CategoricalEncoder("target").fit(X, np.arange(300.0) % 30)


# --- unseen and missing ----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", TARGET_KINDS)
def test_an_unseen_category_gets_the_prior(kind):
    X, y = table(), target()
    new = {"state": ["??"], "age": [0.0], "shop": ["??"]}
    prior = 0.0 if kind == "woe" else y.mean()
    assert CategoricalEncoder(kind).fit(X, y).transform(new)[0, 0] == pytest.approx(prior)
    assert CategoricalEncoder(kind, handle_unknown="zero").fit(X, y).transform(new)[0, 0] == 0.0


def test_missing_is_a_level_of_its_own():
    X, y = table(), target()
    filled = {**X, "state": np.array(["none" if v is None else v for v in X["state"]], dtype=object)}
    for kind in KINDS:
        if kind != "hashing":  # a hash is of the text
            assert np.array_equal(
                CategoricalEncoder(kind).fit(X, y).transform(X),
                CategoricalEncoder(kind).fit(filled, y).transform(filled),
            )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("missing", ["category", "prior"])
def test_columns_of_one_level_and_of_none(kind, missing):
    arrow = pytest.importorskip("pyarrow")
    for values in ([None, None, None], ["a", "a", "a"], ["a", None, "b"]):
        X = arrow.table({"c": arrow.array(values, arrow.string())})
        encoder = CategoricalEncoder(kind, handle_missing=missing, random_state=0)
        assert np.isfinite(encoder.fit_transform(X, [0, 1, 1])).all()
        assert np.isfinite(encoder.transform({"c": ["??", None]})).all()


def test_missing_can_be_the_prior_or_an_error():
    X, y = table(), target()
    missing = np.array([v is None for v in X["state"]])
    encoder = CategoricalEncoder("m-estimate", handle_missing="prior", random_state=0)
    for codes in (encoder.fit_transform(X, y), encoder.transform(X)):
        assert np.allclose(codes[missing, 0], y.mean()) and not np.allclose(codes[~missing, 0], y.mean())
    assert not CategoricalEncoder("one-hot", handle_missing="prior").fit(X).transform(X)[missing, :4].any()
    with pytest.raises(DataError, match=f"'state' has a missing value in row {int(missing.argmax())}"):
        CategoricalEncoder(handle_missing="error").fit(X)
    fitted = CategoricalEncoder(handle_missing="error").fit({"state": ["a", "b"]})
    with pytest.raises(DataError, match="a missing value in row 1"):
        fitted.transform({"state": ["a", None]})


def test_a_missing_value_that_training_had_not_is_unseen():
    fitted = CategoricalEncoder("target").fit({"c": ["a", "b", "a"]}, [1.5, 2.0, 2.5])
    assert fitted.transform({"c": [None]})[0, 0] == pytest.approx(2.0)
    fitted = CategoricalEncoder(handle_unknown="error").fit({"c": ["a", "b"]})
    with pytest.raises(DataError, match="a missing value in row 0"):
        fitted.transform({"c": [None]})
    with pytest.raises(DataError, match="'z', which was not seen in training, in row 1"):
        fitted.transform({"c": ["a", "z"]})


# --- columns ---------------------------------------------------------------------------------------------------------------------------
def test_whole_numbers_are_categories_where_named():
    X = {"zip": [10115, 80331, 10115], "n": [1.5, 2.5, 3.5]}
    assert CategoricalEncoder().fit(X).get_feature_names_out().tolist() == ["zip", "n"]
    for columns in (["zip"], [0]):
        encoder = CategoricalEncoder(columns=columns).fit(X)
        assert encoder.get_feature_names_out().tolist() == ["zip=10115", "zip=80331", "n"]
        assert encoder.transform({"zip": [80331.0], "n": [0.0]}).tolist() == [[0.0, 1.0, 0.0]]


def test_a_text_column_that_is_not_named_is_refused():
    with pytest.raises(DataError, match="'b' is text"):
        CategoricalEncoder(columns=["a"]).fit({"a": ["x"], "b": ["y"]})
    with pytest.raises(ParameterError, match="Did you mean 'state'"):
        CategoricalEncoder(columns=["sate"]).fit({"state": ["x"]})


def test_identifiers_are_warned_of():
    with pytest.warns(TableWarning, match="'id' has 50 different values"):
        CategoricalEncoder("ordinal").fit({"id": [f"id{i}" for i in range(50)]})


def test_many_levels_are_sparse():
    X = {"c": np.array([f"v{i % 150}" for i in range(600)], dtype=object), "x": np.arange(600.0)}
    codes = CategoricalEncoder().fit(X).transform(X)
    assert codes.nnz == 1200 and codes.shape == (600, 151)
    dense = CategoricalEncoder(sparse_output=False).fit_transform(X)
    assert np.array_equal(codes.toarray(), dense)
    assert CategoricalEncoder("target", sparse_output=True).fit_transform(X, X["x"] + 0.5).shape == (600, 2)


def test_names_that_would_repeat_get_a_number():
    names = CategoricalEncoder().fit({"a": ["b=c"], "a=b": ["c"]}).get_feature_names_out()
    assert names.tolist() == ["a=b=c", "a=b=c #2"]


# --- back, and theory ------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "kind", ["one-hot", "ordinal", "binary", "base-n", "helmert", "sum", "backward-difference"]
)
def test_codes_that_tell_all_levels_apart_read_back(kind):
    X = table()
    encoder = CategoricalEncoder(kind).fit(X)
    back = encoder.inverse_transform(encoder.transform(X))
    assert back["state"].tolist() == X["state"].tolist() and back["shop"].tolist() == X["shop"].tolist()
    assert np.array_equal(back["age"], X["age"])


def test_codes_that_cannot_be_read_back_say_so():
    encoder = CategoricalEncoder("count").fit({"c": ["a", "b"]})
    with pytest.raises(UnsupportedError, match="'a' and 'b' have one code"):
        encoder.inverse_transform([[1.0]])
    with pytest.raises(DataError, match="the code of no category"):
        CategoricalEncoder("ordinal").fit({"c": ["a", "b"]}).inverse_transform([[7.0]])
    with pytest.raises(SchemaError, match="expected \\[n, 1\\]"):
        encoder.inverse_transform([[1.0, 2.0]])


@pytest.mark.parametrize("kind", KINDS)
def test_one_hot_weights_say_the_same(kind):
    X, y = table(), target()
    encoder = CategoricalEncoder(kind).fit(X, y)
    codes = encoder.transform(X)
    W = np.random.default_rng(0).normal(size=(3, codes.shape[1]))
    one_hot = CategoricalEncoder("one-hot").fit(X).transform(X)
    assert np.abs(codes @ W.T - one_hot @ as_one_hot_weights(encoder, W).T).max() < 1e-12
    with pytest.raises(ParameterError, match="W got shape"):
        as_one_hot_weights(encoder, W[:, :-1])


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "onehot"}, {"handle_unknown": "ignore"}, {"handle_missing": "drop"}, {"smoothing": 1.0},
        {"kind": "target", "smoothing": 0.0}, {"base": 1}, {"n_components": 0}, {"cross_fit": 1}, {"cross_fit": -1}, {"noise": -0.1},
        {"shrinkage": "some"},
        {"sparse_output": "no"}, {"target_type": "ordinal"},
    ],
)  # fmt: skip
def test_bad_parameters_say_what_was_got(options):
    with pytest.raises(ParameterError, match="got"):
        CategoricalEncoder(**options).fit(table(), target())


@pytest.mark.parametrize(
    ("kind", "y", "said"),
    [
        ("target", None, "the target y is None"), ("target", [1.0] * 299, "the target 299"),
        ("woe", np.linspace(0, 1, 300), "needs classes"),
        ("target", np.r_[np.nan, np.arange(299)], "NaN"),
    ],
)  # fmt: skip
def test_bad_targets_are_refused(kind, y, said):
    with pytest.raises(ValueError, match=said):
        CategoricalEncoder(kind).fit(table(), y)
