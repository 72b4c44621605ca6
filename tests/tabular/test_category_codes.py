import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardgrad.tabular.category_codes import (
    LEAST_SHRINKAGE,
    MOST_SHRINKAGE,
    CategoryTotals,
    balanced_folds,
    class_targets,
    hashed_folds,
    principal_directions,
)


def fitted(category, y, weight=None, fold=None, folds=1):
    category, y = np.asarray(category), np.asarray(y, dtype=float)
    weight = np.ones(len(y)) if weight is None else np.asarray(weight, dtype=float)
    prior = np.array([np.average(y, weights=weight)])
    totals = CategoryTotals(1, folds)
    totals.add(category, y[:, None] - prior, weight, fold)
    return totals, prior


def test_a_code_is_the_mean_drawn_to_the_prior():
    category, y = [0] * 6 + [1] * 4, [1, 1, 1, 1, 1, 0, 0, 0, 1, 0]
    totals, prior = fitted(category, y)
    c = totals.shrinkage()[0]
    codes = totals.codes(prior)[:, 0]
    assert codes[0] == pytest.approx((5 + c * 0.6) / (6 + c))
    assert codes[1] == pytest.approx((1 + c * 0.6) / (4 + c))
    assert codes[2] == prior[0]  # unseen


def test_shrinkage_is_weak_where_categories_differ_and_strong_where_they_do_not():
    generator = np.random.default_rng(0)
    category = np.repeat(np.arange(20), 50)
    apart, _ = fitted(category, category * 10.0 + generator.normal(size=1000))
    alike, _ = fitted(category, generator.normal(size=1000))
    assert apart.shrinkage()[0] == LEAST_SHRINKAGE
    assert alike.shrinkage()[0] > 50
    single, _ = fitted(np.arange(10), generator.normal(size=10))
    assert single.shrinkage()[0] == MOST_SHRINKAGE


def test_the_estimate_of_the_shrinkage_is_the_ratio_of_variances():
    generator = np.random.default_rng(1)
    means = generator.normal(scale=0.5, size=2000)
    category = np.repeat(np.arange(2000), 10)
    totals, _ = fitted(category, means[category] + generator.normal(size=20_000))
    assert totals.shrinkage()[0] == pytest.approx(1 / 0.25, rel=0.15)


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 100))
def test_codes_do_not_depend_on_the_scale_of_weights_and_whole_weights_are_repetitions(seed, scale):
    generator = np.random.default_rng(seed)
    category, y = generator.integers(0, 4, 30), generator.normal(size=30)
    times = generator.integers(1, 4, 30)
    weighted, prior = fitted(category, y, times)
    scaled, prior_scaled = fitted(category, y, times * scale)
    np.testing.assert_allclose(weighted.codes(prior), scaled.codes(prior_scaled), rtol=1e-9)
    assert prior == pytest.approx(np.repeat(y, times).mean())


def test_adding_in_pieces_is_adding_at_once():
    generator = np.random.default_rng(2)
    category, y, fold = (
        generator.integers(-1, 30, 500),
        generator.normal(size=500),
        generator.integers(0, 5, 500),
    )
    whole, prior = fitted(category, y, fold=fold, folds=5)
    pieces = CategoryTotals(1, 5)
    for i in range(0, 500, 7):
        part = slice(i, i + 7)
        pieces.add(category[part], y[part, None] - prior, np.ones(len(y[part])), fold[part])
    np.testing.assert_allclose(pieces.codes(prior), whole.codes(prior), rtol=1e-12)
    np.testing.assert_allclose(pieces.cross_fitted(prior), whole.cross_fitted(prior), rtol=1e-12)
    order = np.arange(30)[::-1].copy()
    np.testing.assert_allclose(whole.take(order).codes(prior)[:-1], whole.codes(prior)[:-1][::-1])


def test_cross_fitted_codes_do_not_know_the_labels_of_their_fold():
    generator = np.random.default_rng(3)
    category, y, fold = generator.integers(0, 15, 300), generator.normal(size=300), np.arange(300) % 5
    totals, prior = fitted(category, y, fold=fold, folds=5)
    c = totals.shrinkage()
    for f in range(5):
        for k in range(15):
            rows = (category == k) & (fold != f)
            expected = prior + (y[rows] - prior).sum() / (rows.sum() + c)
            np.testing.assert_allclose(totals.cross_fitted(prior)[f, k], expected)


def test_a_far_away_target_loses_no_digits():
    near, near_prior = fitted([0, 0, 1, 1, 1], [1, 2, 3, 4, 6])
    far, far_prior = fitted([0, 0, 1, 1, 1], np.array([1, 2, 3, 4, 6]) + 1e9)
    np.testing.assert_allclose(far.codes(far_prior) - 1e9, near.codes(near_prior), atol=1e-5)


def test_folds():
    T = np.random.default_rng(4).integers(0, 2, (1003, 1)).astype(float)
    fold = balanced_folds(T, 5, 7)
    assert np.bincount(fold).tolist() == [201, 201, 201, 200, 200]
    assert np.ptp([T[fold == f].sum() for f in range(5)]) <= 1
    assert np.array_equal(fold, balanced_folds(T, 5, 7))
    assert not np.array_equal(fold, balanced_folds(T, 5, 8))
    hashed = hashed_folds(np.arange(100_000), 5, 7)
    assert np.ptp(np.bincount(hashed)) < 1000
    assert np.array_equal(hashed[500:600], hashed_folds(np.arange(500, 600), 5, 7))


def test_many_classes_become_ten_directions():
    assert np.array_equal(class_targets(np.full(3, 1 / 3)), np.eye(3))
    many = class_targets(np.arange(1, 27) / 351)
    assert many.shape == (26, 10)
    np.testing.assert_allclose(many.T @ many, np.eye(10), atol=1e-12)


def test_directions_have_a_fixed_sign():
    covariance = np.diag([1.0, 5.0, 3.0])
    assert principal_directions(covariance, 2).tolist() == [[0, 0], [1, 0], [0, 1]]
