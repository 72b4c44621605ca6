from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.utils.estimator_checks import check_estimator

import hardgrad
from hardgrad.core.errors import DataError, ParameterError
from hardgrad.logic import SoftThermometer, ThermometerEncoder
from hardgrad.logic.thermometer import BitColumns, fit_bits


@pytest.fixture
def X():
    rng = np.random.default_rng(0)
    columns = [
        rng.normal(size=200),
        rng.integers(0, 3, 200),
        rng.integers(0, 2, 200),
        np.full(200, 7.0),
        rng.exponential(size=200) ** 3,
    ]
    return np.stack(columns, axis=1)


@pytest.mark.parametrize("strategy", ["quantile", "uniform"])
@pytest.mark.parametrize("count", [1, 3, 31])
def test_no_bit_is_constant_and_none_is_there_twice(X, strategy, count):
    columns = fit_bits(X, count, strategy)
    bits = columns.bits(X)
    assert bits.any(axis=0).all() and not bits.all(axis=0).any()
    for j in range(X.shape[1]):
        own = bits[:, columns.feature == j]
        assert np.unique(own, axis=1).shape[1] == own.shape[1]
        assert (np.diff(columns.threshold[columns.feature == j]) > 0).all()
    assert np.bincount(columns.feature, minlength=5).tolist()[1:4] == [min(count, 2), 1, 0]


def test_strategies_are_what_they_say(X):
    quantile, uniform = (fit_bits(X[:, :1], 3, strategy) for strategy in ("quantile", "uniform"))
    assert quantile.bits(X[:, :1]).mean(axis=0) == pytest.approx([0.75, 0.5, 0.25], abs=0.01)
    low, high = X[:, 0].min(), X[:, 0].max()
    assert uniform.threshold == pytest.approx(low + (high - low) * np.array([0.25, 0.5, 0.75]))


def test_neighbouring_floats_are_told_apart():
    X = np.array([[1.0], [np.nextafter(1.0, 2.0)]])
    assert fit_bits(X, 3).bits(X).tolist() == [[False], [True]]
    wide = np.array([[-1.7e308], [1.7e308]])
    assert fit_bits(wide, 3).bits(wide).tolist() == [[False], [True]]


def test_missing_values_have_their_own_bit(X):
    X[::7, 0] = np.nan
    encoder = ThermometerEncoder(3, missing="own_bit").fit(X)
    bits = encoder.transform(X)
    assert bits[::7, 3].all() and not bits[1, 3] and not bits[::7, :3].any()
    assert list(encoder.get_feature_names_out())[3] == "x0 is missing"
    X[0, 1] = np.nan
    with pytest.raises(DataError, match="'x1' is missing"):
        encoder.transform(X)
    with pytest.raises(DataError, match="'x0' is missing"):
        ThermometerEncoder().fit(X)


def test_it_says_which_bits_it_left_out(X):
    assert ThermometerEncoder(4).fit(X).dropped_ == {1: 2, 2: 3, 3: 4}


@pytest.mark.parametrize("bad", [{"n_thresholds": 0}, {"strategy": "random"}, {"missing": "drop"}])
def test_bad_parameters_are_refused(X, bad):
    with pytest.raises(ParameterError, match="got"):
        ThermometerEncoder(**bad).fit(X)


@pytest.mark.slow
@pytest.mark.parametrize("missing", ["refuse", "own_bit"])
@pytest.mark.filterwarnings("ignore")
def test_scikit_learn_accepts_it(missing):
    results = check_estimator(ThermometerEncoder(missing=missing), on_fail=None, on_skip=None)
    assert not [r for r in results if r["status"] == "failed"]


def _soft(X):
    columns = fit_bits(X, 3)
    return columns, SoftThermometer(
        columns, torch.from_numpy(X.mean(axis=0)), torch.from_numpy(X.std(axis=0) + 1.0)
    )


def test_the_soft_side_becomes_the_exact_one(X):
    columns, encoder = _soft(X)
    x = torch.from_numpy(X)
    exact = encoder.columns().bits(X)
    assert np.array_equal(exact, encoder(x, mode="hard").bool())
    assert np.array_equal(exact, hardgrad.harden(encoder)(x).bool())
    assert np.array_equal(exact, encoder(x, temperature=1e-6).detach() > 0.5)
    assert np.mean(exact == columns.bits(X)) > 0.999  # thresholds go through the scale and back


def test_thresholds_have_gradients_and_missing_values_none(X):
    X[0, 0] = np.nan
    columns, encoder = _soft(np.nan_to_num(X))
    asking = BitColumns(np.append(columns.feature, 0).astype(np.int32), np.append(columns.threshold, np.nan))
    encoder = SoftThermometer(asking, encoder.center, encoder.scale)
    bits = encoder(torch.from_numpy(X))
    assert bits[0, -1] == 1 and not bits[1:, -1].any() and not bits[0, :3].any()
    bits.sum().backward()
    gradient = encoder.threshold.grad
    assert gradient.isfinite().all() and gradient[-1] == 0 and (gradient[:3] < 0).all()
