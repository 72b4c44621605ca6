"""Codes of levels: closed forms, category-encoders where it is installed, scikit-learn, and best subsets by going through all."""

import itertools

import numpy as np
import pytest
from sklearn.preprocessing import TargetEncoder

from hardgrad.core.errors import ParameterError
from hardgrad.tabular.encoder_codes import TargetFormula, contrast, digits, level_totals, ordered
from hardgrad.tabular.encoders import CategoricalEncoder


def table(seed=0, n=600):
    rng = np.random.default_rng(seed)
    columns = {
        "a": rng.choice(list("abcdefg"), n).astype(object),
        "b": rng.integers(0, 30, n).astype(str).astype(object),
    }
    number = np.array([ord(letter) for letter in columns["a"]], dtype=float)
    return columns, rng.normal(size=n) + number, (rng.random(n) < 0.2 + 0.05 * (number - 97)).astype(int)


# --- by hand ---------------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["helmert", "sum", "backward-difference"])
@pytest.mark.parametrize("K", [2, 3, 7])
def test_a_contrast_and_an_intercept_span_the_levels(kind, K):
    codes = contrast(kind, K)
    assert codes.shape == (K, K - 1)
    assert np.allclose(codes.sum(axis=0), 0)
    assert np.linalg.matrix_rank(np.column_stack([np.ones(K), codes])) == K


def test_weights_of_contrasts_mean_what_they_say():
    means = np.array([3.0, 5.0, 10.0, 4.0])
    of = {
        kind: np.linalg.solve(np.column_stack([np.ones(4), contrast(kind, 4)]), means)
        for kind in ("sum", "backward-difference", "helmert")
    }
    assert np.allclose(of["sum"], [5.5, -2.5, -0.5, 4.5])  # grand mean, levels less the grand mean
    assert np.allclose(of["backward-difference"], [5.5, 2.0, 5.0, -6.0])  # level less the one before
    assert np.allclose(
        of["helmert"], [5.5, 2 / 2, 6 / 3, -2 / 4]
    )  # level less the mean of those before, over their number + 1


@pytest.mark.parametrize("base", [2, 3, 10])
def test_digits_read_back(base):
    codes = digits(28, base)
    assert (codes @ base ** np.arange(codes.shape[1] - 1, -1, -1) == np.arange(1, 29)).all()
    assert codes.max() < base and codes[:, 0].any()


def test_a_contrast_of_too_many_levels_is_refused():
    with pytest.raises(ParameterError, match="3,001 levels"):
        contrast("sum", 3001)


def test_ordered_codes_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    level, T, order = rng.integers(-1, 4, 50), rng.normal(size=(50, 2)), rng.permutation(50)
    found = ordered(level, T, np.array([1.0, 2.0]), 0.5, order)
    total, count = np.zeros((5, 2)), np.zeros(5)
    for i in order:
        expected = total[level[i]] / (count[level[i]] + 0.5) if level[i] >= 0 else 0.0
        assert np.allclose(found[i], np.array([1.0, 2.0]) + expected, atol=1e-12)
        total[level[i]] += T[i]
        count[level[i]] += 1


def test_james_stein_of_identifiers_is_the_mean():
    T = np.arange(5.0)[:, None] - 2
    for shrinkage in ("independent", "pooled"):
        codes = TargetFormula("james-stein", 0.0, shrinkage=shrinkage).codes(
            level_totals(np.arange(5), T, 5), np.array([2.0])
        )
        assert np.array_equal(codes, np.full((5, 1), 2.0))


def test_james_stein_of_three_levels_shrinks_nothing():
    rng = np.random.default_rng(0)
    level, T = rng.integers(0, 3, 30), rng.normal(size=(30, 1))
    T -= T.mean()
    codes = TargetFormula("james-stein", 0.0).codes(level_totals(level, T, 3), np.zeros(1))
    assert np.allclose(codes[:, 0], [T[level == k].mean() for k in range(3)])


# --- the theory ------------------------------------------------------------------------------------------------------------------------
def impurity(T):
    return float(((T - T.mean()) ** 2).sum()) if len(T) else 0.0


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("binary", [False, True])
def test_a_threshold_on_level_means_is_the_best_subset(seed, binary):
    """Fisher (1958), Breiman et al. (1984): squared error and, of two classes, Gini (twice the squared error)."""
    rng = np.random.default_rng(seed)
    K = int(rng.integers(3, 9))
    level = np.concatenate([np.arange(K), rng.integers(0, K, 60)])
    y = rng.normal(size=len(level)) + rng.normal(size=K)[level]
    y = (y > 0).astype(float) if binary else y
    texts = {"c": np.array([f"v{k}" for k in level], dtype=object)}
    raw = CategoricalEncoder("m-estimate", smoothing=0.0).fit(texts, y).transform(texts)[:, 0]
    by_threshold = min(impurity(y[raw <= t]) + impurity(y[raw > t]) for t in np.unique(raw))
    subsets = itertools.product([False, True], repeat=K - 1)
    best = min(
        impurity(y[left]) + impurity(y[~left]) for s in subsets for left in [np.array([False, *s])[level]]
    )
    assert by_threshold == pytest.approx(best, rel=1e-12)


# --- against others --------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("smoothing", [1.0, 7.5])
def test_m_estimate_is_that_of_scikit_learn(smoothing):
    columns, y, labels = table()
    X = np.column_stack(list(columns.values()))
    for target in (y, labels, np.digitize(y, [97, 100, 102])):
        ours = CategoricalEncoder("m-estimate", smoothing=smoothing).fit(X, target).transform(X)
        theirs = TargetEncoder(smooth=smoothing).fit(X, target).transform(X)
        assert np.abs(ours - theirs).max() < 1e-12 * max(1.0, np.abs(theirs).max())


PEERS = {
    "target": ("TargetEncoder", {}, {"min_samples_leaf": 20, "smoothing": 10}),
    "m-estimate": ("MEstimateEncoder", {}, {"m": 1.0}),
    "james-stein": ("JamesSteinEncoder", {}, {"model": "independent"}),
    "james-stein, pooled": ("JamesSteinEncoder", {"shrinkage": "pooled"}, {"model": "pooled"}),
    "leave-one-out": ("LeaveOneOutEncoder", {}, {}),
    "catboost": ("CatBoostEncoder", {}, {"a": 1}),
    "woe": ("WOEEncoder", {}, {}),
    "one-hot": ("OneHotEncoder", {}, {}),
    "ordinal": ("OrdinalEncoder", {}, {}),
    "binary": ("BinaryEncoder", {}, {}),
    "base-n": ("BaseNEncoder", {}, {"base": 3}),
    "count": ("CountEncoder", {}, {}),
    "helmert": ("HelmertEncoder", {}, {}),
    "sum": ("SumEncoder", {}, {}),
    "backward-difference": ("BackwardDifferenceEncoder", {}, {}),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", PEERS)
def test_codes_are_those_of_category_encoders(name):
    peer = pytest.importorskip("category_encoders")
    pandas = pytest.importorskip("pandas")
    columns, y, labels = table()
    frame = pandas.DataFrame(columns)
    kind = name.partition(",")[0]
    other, options, theirs = PEERS[name]
    for target in (labels,) if kind == "woe" else (y, labels):
        series = pandas.Series(target)
        found = CategoricalEncoder(kind, **options).fit(frame, target).transform(frame)
        expected = getattr(peer, other)(**theirs).fit(frame, series).transform(frame)
        expected = expected.drop(columns="intercept", errors="ignore").to_numpy(dtype=float)
        assert np.abs(found - expected).max() < 1e-8
    if kind == "leave-one-out":
        ours, there = (
            CategoricalEncoder(kind).fit_transform(frame, y),
            peer.LeaveOneOutEncoder().fit_transform(frame, pandas.Series(y)),
        )
        assert np.abs(ours - there.to_numpy()).max() < 1e-8
