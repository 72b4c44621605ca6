"""Codes and scores: the same side of every threshold, missing values included."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hardgrad.trees.codes import MAX_CUTS, FeatureCodes, find_cuts, midpoint

finite = st.floats(allow_nan=False, allow_infinity=False)


@given(arrays(np.float64, st.integers(1, 200), elements=finite))
def test_cuts_increase_and_separate_neighbours(values):
    cuts = find_cuts(values, np.ones(len(values)), MAX_CUTS)
    assert len(cuts) <= MAX_CUTS
    assert (np.diff(cuts) > 0).all()
    distinct = np.unique(values)
    if len(distinct) <= MAX_CUTS + 1:
        assert len(np.unique(np.searchsorted(cuts, distinct, side="left"))) == len(distinct)


@given(finite, finite)
def test_midpoint_lies_between(a, b):
    low, high = min(a, b), max(a, b)
    if low < high:
        middle = midpoint(np.array([low]), np.array([high]))[0]
        assert low <= middle < high


def test_scores_are_standard_monotone_and_whole():
    rng = np.random.default_rng(0)
    X = np.stack([rng.exponential(size=5000), rng.integers(0, 3, 5000), np.ones(5000)], axis=1)
    codes = FeatureCodes.fit(X)
    scores = codes.encode_scores(X).astype(np.float64)
    assert abs(scores[:, 0].mean()) < 0.01
    assert abs(scores[:, 0].std() - 1) < 0.02
    assert np.array_equal(scores * 512, np.rint(scores * 512))
    assert all((np.diff(s) >= 0).all() for s in codes.scores)
    assert max(np.abs(s).max() for s in codes.scores) <= 2047
    assert len(codes.cuts[2]) == 0


def test_a_missing_value_stands_where_score_zero_stands():
    X = np.random.default_rng(1).normal(size=(500, 1)) ** 3
    codes = FeatureCodes.fit(X)
    missing = np.full((1, 1), np.nan)
    assert codes.encode_scores(missing)[0, 0] == 0.0
    code = codes.encode(missing)[0, 0]
    for k, boundary in enumerate(codes.boundaries(0)):
        assert (code <= k) == (boundary >= 0.0)


def test_weights_move_the_quantiles():
    X = np.arange(1000, dtype=float)[:, None]
    heavy = np.where(X[:, 0] < 100, 50.0, 1.0)
    light, weighted = FeatureCodes.fit(X).cuts[0], FeatureCodes.fit(X, heavy).cuts[0]
    assert np.median(weighted) < 100 < np.median(light)


@pytest.mark.parametrize("column", [np.full(5, np.nan), np.array([np.nan, 1.0, 1.0, 1.0, np.nan])])
def test_columns_with_nothing_to_cut(column):
    codes = FeatureCodes.fit(column[:, None])
    assert codes.encode(column[:, None]).max() == 0
    assert (codes.encode_scores(column[:, None]) == 0).all()
