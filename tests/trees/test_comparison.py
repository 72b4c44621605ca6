"""The paired 5x2cv F test against its formula, its edge cases and its calibration."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import f as f_distribution

from hardgrad.core.errors import DataError
from hardgrad.trees.comparison import five_by_two_folds, paired_f_test


def test_formula_of_alpaydin() -> None:
    p = np.random.default_rng(0).normal(0.02, 0.01, size=(5, 2))
    top = bottom = 0.0
    for first, second in p:
        mean = (first + second) / 2
        top += first**2 + second**2
        bottom += (first - mean) ** 2 + (second - mean) ** 2
    test = paired_f_test(p)
    assert test.statistic == pytest.approx(top / (2 * bottom))
    assert test.p_value == pytest.approx(1 - f_distribution.cdf(top / (2 * bottom), 10, 5))
    assert test.difference == pytest.approx(p.mean())


def test_no_difference_and_a_constant_difference() -> None:
    assert paired_f_test(np.zeros((5, 2))).p_value == 1.0
    assert paired_f_test(np.full((5, 2), 0.5)).p_value == 0.0
    assert paired_f_test(np.full((5, 2), 0.5)).to_dict()["statistic"] is None


def test_equal_models_are_rarely_called_different() -> None:
    rng = np.random.default_rng(1)
    rejected = [paired_f_test(rng.normal(size=(5, 2))).p_value < 0.05 for _ in range(2000)]
    # Where the ten differences are independent the test is conservative: f is then 1/2 + F(5, 5) / 2.
    assert np.mean(rejected) == pytest.approx(
        f_distribution.sf(2 * f_distribution.isf(0.05, 10, 5) - 1, 5, 5), abs=0.01
    )


def test_folds_are_halves_and_repeatable() -> None:
    y = np.array([0, 1] * 20 + [1] * 10)
    folds = list(five_by_two_folds(y, stratify=True, random_state=3))
    assert len(folds) == 10
    for train, test in folds:
        assert sorted([*train, *test]) == list(range(50))
        assert abs(y[train].mean() - y[test].mean()) < 0.05
    again = list(five_by_two_folds(y, stratify=True, random_state=3))
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(folds, again, strict=True))


def test_bad_input() -> None:
    with pytest.raises(DataError, match="ten finite differences"):
        paired_f_test(np.zeros((5, 3)))
    with pytest.raises(DataError, match="'rare' has one row"):
        list(five_by_two_folds(np.array(["rare", "b", "b", "b"]), stratify=True))
