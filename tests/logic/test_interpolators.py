"""The interpolator of least degree against the paper, closed forms and other interpolators; that of random features against features."""

import numpy as np
import pytest
from scipy.linalg import null_space

from hardgrad.core.errors import DataError, ParameterError
from hardgrad.logic import (
    cube,
    degree_profile,
    evaluate_terms,
    interpolate_subcube,
    min_degree_interpolator,
    random_feature_interpolator,
    spectrum_terms,
    walsh_coefficient,
    walsh_hadamard,
)


def close(terms, expected):
    assert list(terms) == list(expected)
    np.testing.assert_allclose([terms[s] for s in terms], [expected[s] for s in terms], atol=1e-9)


def test_the_examples_of_the_paper():
    X = cube(3)
    seen = X.prod(axis=1) == 1
    y = X[:, 0] * X[:, 1] - 1.25 * X[:, 1] * X[:, 2] + 1.5 * X[:, 2] * X[:, 0]
    close(min_degree_interpolator(X[seen], y[seen]), {(0,): -1.25, (1,): 1.5, (2,): 1.0})
    X = cube(4)
    seen = ~((X[:, 0] == -1) & (X[:, 1] == -1))
    close(min_degree_interpolator(X[seen], X[seen, 0] * X[seen, 1]), {(): -1, (0,): 1, (1,): 1})


@pytest.mark.parametrize(
    "unseen",
    [{0: -1}, {2: 1}, {0: -1, 1: -1}, {1: 1, 4: -1}, {0: -1, 2: 1, 3: -1}, dict.fromkeys(range(5), 1)],
)
def test_the_closed_form_of_a_face_is_what_minimisation_finds(unseen):
    rng = np.random.default_rng(len(unseen))
    table = rng.normal(size=32)
    X = cube(5)
    seen = np.any([X[:, i] != value for i, value in unseen.items()], axis=0)
    found = min_degree_interpolator(X[seen], table[seen])
    close(found, interpolate_subcube(spectrum_terms(walsh_hadamard(table)), unseen))


def test_a_frozen_input_is_replaced_by_its_value():
    assert interpolate_subcube({(0, 7): 2.0, (1,): 1.0}, {7: -1}) == {(0,): 2.0, (1,): 1.0}


@pytest.mark.parametrize("seed", range(6))
def test_it_interpolates_and_no_other_interpolator_has_a_lesser_profile(seed):
    """Others are the found one plus what vanishes on the points; in random directions, and in those that leave the higher degrees alone."""
    rng = np.random.default_rng(seed)
    X = cube(5)
    seen = rng.permutation(32) < rng.integers(3, 30)
    y = rng.choice([-1.0, 1.0], 32)
    terms = min_degree_interpolator(X[seen], y[seen])
    values = evaluate_terms(terms, X)
    np.testing.assert_allclose(values[seen], y[seen], atol=1e-9)
    least = degree_profile(values)[::-1]
    characters = np.array(
        [np.where([(row & s).bit_count() & 1 for s in range(32)], -1, 1) for row in range(32)]
    )
    degree = np.array([s.bit_count() for s in range(32)])
    directions = [rng.normal(size=32) * ~seen for _ in range(50)]
    for d in range(1, 6):  # what leaves the degrees d and above alone, if there is any
        kept = null_space((characters.T / 32)[degree >= d][:, ~seen])
        for column in kept.T:
            direction = np.zeros(32)
            direction[~seen] = column
            directions.append(direction)
    for direction in directions:
        for size in (0.3, -0.3, 2.0):
            other = degree_profile(values + size * direction)[::-1]
            differs = np.flatnonzero(np.abs(other - least) > 1e-9)
            assert not len(differs) or other[differs[0]] > least[differs[0]]


def test_a_degree_that_suffices_gives_the_same():
    rng = np.random.default_rng(0)
    X = cube(6)
    table = X[:, 0] + 2 * X[:, 1] * X[:, 2] - 0.5
    seen = rng.random(64) < 0.7
    whole = min_degree_interpolator(X[seen], table[seen])
    for degree in (2, 3, 6):
        close(min_degree_interpolator(X[seen], table[seen], max_degree=degree), whole)
    with pytest.raises(DataError, match="degree 1 has these values"):
        min_degree_interpolator(X[seen], table[seen], max_degree=1)


def test_many_inputs_need_a_degree():
    rng = np.random.default_rng(0)
    X = rng.choice([-1.0, 1.0], (500, 20))
    y = 3 * X[:, 4] - X[:, 7] * X[:, 19]
    close(min_degree_interpolator(X, y, max_degree=2), {(4,): 3.0, (7, 19): -1.0})
    with pytest.raises(ParameterError, match="max_degree=, or use interpolate_subcube"):
        min_degree_interpolator(X, y)
    with pytest.raises(ParameterError, match="Lower max_degree"):
        min_degree_interpolator(X, y, max_degree=5)
    with pytest.raises(ParameterError, match="max_degree got 21"):
        min_degree_interpolator(X, y, max_degree=21)


def test_one_point_gives_a_constant_and_all_points_the_function():
    close(min_degree_interpolator([[1, -1, 1]], [2.5]), {(): 2.5})
    y = np.random.default_rng(0).normal(size=8)
    close(min_degree_interpolator(cube(3), y), spectrum_terms(walsh_hadamard(y)))


def test_a_point_with_two_values_is_refused_and_with_one_twice_is_not():
    with pytest.raises(DataError, match="row 2 has value -1 and row 0, the same point, 1"):
        min_degree_interpolator([[1, 1], [1, -1], [1, 1]], [1, 1, -1])
    close(min_degree_interpolator([[1, 1], [1, -1], [1, 1]], [1, -1, 1]), {(1,): 1.0})
    with pytest.raises(DataError, match="s >= 1"):
        min_degree_interpolator(np.zeros((0, 3)), [])


@pytest.mark.parametrize("unseen", [{}, {0: 0}, {1: 2}])
def test_faces_that_are_none_are_refused(unseen):
    with pytest.raises(ParameterError, match="unseen got"):
        interpolate_subcube({(0,): 1.0}, unseen)


def test_random_features_interpolate_and_are_the_limit_of_wide_layers():
    X = cube(4)
    seen = ~((X[:, 0] == -1) & (X[:, 1] == -1))
    y = X[:, 0] * X[:, 1]
    function = random_feature_interpolator(X[seen], y[seen])
    np.testing.assert_allclose(function(X[seen]), y[seen], atol=1e-9)
    rng = np.random.default_rng(0)
    features = np.maximum(np.c_[X, np.ones(16)] @ rng.normal(size=(5, 200_000)) / 2, 0)
    wide = features @ np.linalg.lstsq(features[seen], y[seen], rcond=None)[0]
    np.testing.assert_allclose(function(X), wide, atol=0.03)


def test_random_features_are_near_the_least_degree_with_a_leak():
    X = cube(8)
    seen = ~((X[:, 0] == -1) & (X[:, 1] == -1))
    table = random_feature_interpolator(X[seen], X[seen, 0] * X[seen, 1])(X)
    found = [walsh_coefficient(table, subset) for subset in ((), (0,), (1,), (0, 1))]
    np.testing.assert_allclose(found, [-0.869, 0.869, 0.869, 0.131], atol=5e-4)
