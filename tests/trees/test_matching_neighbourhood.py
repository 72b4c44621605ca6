"""Prediction by matching: what a plain loop over the training rows says."""

import numpy as np
import pyarrow as pa
import pytest
from sklearn.neighbors import KNeighborsClassifier

from hardgrad.core.errors import ParameterError
from hardgrad.trees import NearestNeighbourhoodClassifier, NearestNeighbourhoodRegressor
from hardgrad.trees.matching_codes import learn_codes


def table(seed=0, n=150, missing=0.1):
    rng = np.random.default_rng(seed)
    letters = np.array(list("abc"), dtype=object)[rng.integers(0, 3, (n, 3))]
    letters[rng.random((n, 3)) < missing] = None
    X = pa.table(
        {
            **{f"c{j}": pa.array(letters[:, j].tolist(), pa.string()) for j in range(3)},
            "x": rng.normal(size=n),
        }
    )
    return X, rng.integers(0, 3, n)


def plain_scores(train, query, weights=None):
    """Matches of each query with each training row, one value at a time; the number in three bins of equal width."""
    x = np.array(train["x"].to_pylist())
    edges = [x.min() + (x.max() - x.min()) * k / 3 for k in (1, 2)]

    def values(t):
        columns = [t[f"c{j}"].to_pylist() for j in range(3)]
        return [*columns, [sum(v >= e for e in edges) for v in t["x"].to_pylist()]]

    a, b = values(query), values(train)
    w = weights or [1] * 4

    def score(i, j):
        return sum(w[f] for f in range(4) if a[f][i] is not None and a[f][i] == b[f][j])

    return np.array([[score(i, j) for j in range(len(x))] for i in range(query.num_rows)])


@pytest.mark.parametrize("weights", [None, [1.0, 0.5, 2.0, 0.25]])
@pytest.mark.parametrize("depth", [0, 1])
def test_classes_are_those_of_a_plain_loop(weights, depth):
    X, y = table()
    query, _ = table(1, n=60)
    model = NearestNeighbourhoodClassifier(attribute_weights=weights, tie_break_depth=depth).fit(X, y)
    expected = []
    for scores in plain_scores(X, query, weights):
        labels, consulted = set(range(3)), 0
        for level in sorted(set(scores), reverse=True):
            counts = {c: int(((scores == level) & (y == c)).sum()) for c in labels}
            if not any(counts.values()):
                continue
            labels = {c for c in labels if counts[c] == max(counts.values())}
            consulted += 1
            if len(labels) == 1 or consulted == depth:
                break
        expected.append(min(labels))
    assert model.predict(query).tolist() == expected


def test_values_are_means_of_the_best_group():
    X, _ = table()
    query, _ = table(1, n=60)
    y = np.random.default_rng(2).integers(0, 50, 150)  # whole numbers stay numbers
    scores = plain_scores(X, query)
    expected = [y[row == row.max()].mean() for row in scores]
    assert np.allclose(NearestNeighbourhoodRegressor().fit(X, y).predict(query), expected)


def test_matches_are_what_the_hamming_distance_leaves():
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 4, (200, 6)), rng.integers(0, 2, 200)
    query = rng.integers(0, 4, (40, 6))
    model = NearestNeighbourhoodClassifier(categorical=range(6)).fit(X, y)
    scores = model.harden().match_scores(query.astype(float))
    distances = KNeighborsClassifier(200, metric="hamming", algorithm="brute").fit(X, y).kneighbors(query)
    back = np.empty((40, 200))
    np.put_along_axis(back, distances[1], distances[0], axis=1)
    assert np.allclose(scores, 6 * (1 - back))


def test_a_weight_is_as_many_rows():
    X, y = table()
    weight = np.random.default_rng(3).integers(0, 3, 150)
    rows = np.repeat(np.arange(150), weight)
    query, _ = table(1)
    weighted = NearestNeighbourhoodClassifier().fit(X, y, sample_weight=weight)
    assert np.allclose(
        weighted.predict_proba(query),
        NearestNeighbourhoodClassifier().fit(X.take(rows), y[rows]).predict_proba(query),
    )


def test_what_was_not_seen_matches_nothing():
    X = pa.table({"a": ["x", "y", "y"], "b": ["u", "u", "v"]})
    model = NearestNeighbourhoodClassifier().fit(X, [0, 1, 1])
    assert np.allclose(
        model.predict_proba(pa.table({"a": ["??"], "b": [None]}).cast(X.schema)), [[1 / 3, 2 / 3]]
    )
    whole = NearestNeighbourhoodClassifier(categorical=[0]).fit(
        np.array([[1, 0.0], [5, 0.0], [5, 1.0]]), [0, 1, 1]
    )
    assert np.allclose(whole.predict_proba([[3.0, np.nan]]), [[1 / 3, 2 / 3]])
    assert np.allclose(whole.predict_proba([[1.0, np.nan]]), [[1.0, 0.0]])


@pytest.mark.parametrize("binning", ["width", "frequency"])
def test_bins(binning):
    x = np.array([0.0, 1.0, 2.0, 3.0, 4.0, 30.0, np.nan])[:, None]
    codes = learn_codes(x, [False], 3, binning)
    assert codes.edge.tolist() == ([10.0, 20.0] if binning == "width" else [1.5, 3.5])
    assert codes.codes(x)[:, 0].tolist() == (
        [0, 0, 0, 0, 0, 2, -1] if binning == "width" else [0, 0, 1, 1, 2, 2, -1]
    )
    assert learn_codes(np.zeros((4, 1)), [False], 3, binning).codes(np.array([[-1.0], [1.0]])).tolist() == [
        [0],
        [0],
    ]


BAD = [
    {"n_bins": 0},
    {"binning": "log"},
    {"tie_break_depth": -1},
    {"attribute_weights": [1.0]},
    {"categorical": ["z"]},
]


@pytest.mark.parametrize("options", BAD)
def test_bad_parameters_say_what_was_got(options):
    rng = np.random.default_rng(0)
    with pytest.raises(ParameterError, match="got"):
        NearestNeighbourhoodClassifier(**options).fit(rng.normal(size=(20, 2)), rng.integers(0, 2, 20))
