"""Measures against Hadamard matrices of SciPy, plain enumeration and closed forms; estimates against the exact figures."""

from itertools import combinations, product
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import hadamard

from hardgrad.core.errors import InputError, ParameterError
from hardgrad.logic import (
    Majority,
    Parity,
    PointerValueRetrieval,
    cube,
    degree_profile,
    influence,
    influences,
    inverse_walsh_hadamard,
    is_symmetric,
    noise_sensitivity,
    noise_stability,
    total_influence,
    walsh_coefficient,
    walsh_hadamard,
)

TASK = PointerValueRetrieval(2, 3, "majority")


def tables(most=6):
    value = st.floats(-3, 3).map(lambda v: round(v, 3))
    return st.integers(0, most).flatmap(lambda n: st.lists(value, min_size=2**n, max_size=2**n))


@given(tables())
def test_spectrum_is_that_of_the_hadamard_matrix(table):
    table = np.array(table)
    expected = hadamard(len(table)) @ table / len(table)
    np.testing.assert_allclose(walsh_hadamard(table), expected, atol=1e-12)
    np.testing.assert_allclose(inverse_walsh_hadamard(walsh_hadamard(table)), table, atol=1e-12)


@pytest.mark.parametrize("subset", [s for k in range(5) for s in combinations(range(4), k)])
def test_a_coefficient_is_the_correlation_with_its_character(subset):
    table = np.random.default_rng(0).normal(size=16)
    expected = np.mean([v * np.prod([x[i] for i in subset]) for v, x in zip(table, cube(4), strict=True)])
    assert walsh_coefficient(table, subset) == pytest.approx(expected)
    index = sum(1 << (3 - i) for i in subset)
    assert walsh_hadamard(table)[index] == pytest.approx(expected)


@given(tables())
def test_influences_are_those_of_the_spectrum_and_of_flips(table):
    table = np.array(table)
    n = len(table).bit_length() - 1
    spectrum = walsh_hadamard(table)
    for i, found in enumerate(influences(table)):
        bit = 1 << (n - 1 - i)
        with_i = [k for k in range(len(table)) if k & bit]
        assert found == pytest.approx(np.square(spectrum[with_i]).sum(), abs=1e-9)
        flips = np.mean([((table[k] - table[k ^ bit]) / 2) ** 2 for k in range(len(table))])
        assert found == influence(table, i) == pytest.approx(flips, abs=1e-9)
    assert total_influence(table) == pytest.approx(influences(table).sum(), abs=1e-9)


def test_influences_of_pointer_value_retrieval_are_those_of_the_row():
    expected = (0.375, 0.25, 0.125, 0.25, 0.375, 0.375, 0.25, 0.125)
    assert influences(TASK).tolist() == list(expected)


@pytest.mark.parametrize("delta", [0.0, 0.05, 0.3, 0.5, 1.0])
def test_noise_stability_is_the_mean_over_all_pairs(delta):
    table = np.random.default_rng(2).choice([-1.0, 1.0], 16)
    pairs = 0.0
    changes = 0.0
    for a, b in product(range(16), repeat=2):
        flips = (a ^ b).bit_count()
        chance = delta**flips * (1 - delta) ** (4 - flips) / 16
        pairs += chance * table[a] * table[b]
        changes += chance * (table[a] != table[b])
    assert noise_stability(table, delta) == pytest.approx(pairs)
    assert noise_sensitivity(table, delta) == pytest.approx(changes)


@pytest.mark.parametrize("k", [0, 1, 3, 6])
def test_closed_forms_of_parities(k):
    task = Parity(6, tuple(range(k)))
    assert noise_stability(task, 0.1) == pytest.approx(0.8**k)
    assert total_influence(task) == k
    assert degree_profile(task).tolist() == [float(d == k) for d in range(7)]


def test_closed_form_of_the_influence_of_majority():
    for n in (1, 3, 5, 9):
        assert influence(Majority(n), 0) == pytest.approx(comb(n - 1, (n - 1) // 2) / 2 ** (n - 1))


def test_profile_counts_squares_by_size_of_subset():
    table = np.random.default_rng(5).normal(size=32)
    spectrum = walsh_hadamard(table)
    expected = [sum(spectrum[k] ** 2 for k in range(32) if k.bit_count() == d) for d in range(6)]
    np.testing.assert_allclose(degree_profile(table), expected)
    np.testing.assert_allclose(degree_profile(table, max_degree=2), expected[:3])
    assert degree_profile(table).sum() == pytest.approx(np.square(table).mean())


def test_symmetric_functions_are_told_from_others():
    weight = np.array([bin(k).count("1") for k in range(32)])
    assert is_symmetric(np.array([3.0, 1.0, 4.0, 1.0, 5.0, 9.0])[weight])
    assert is_symmetric(Majority(5)) and is_symmetric([2.0])
    assert not is_symmetric(Parity(5, (0, 1)))
    for k in range(1, 31):  # a change at one point, unless it is alone in its weight
        table = weight.astype(float)
        table[k] += 1
        assert not is_symmetric(table)


def test_a_function_without_inputs_is_its_value():
    assert walsh_hadamard([2.0]).tolist() == [2.0]
    assert influences([2.0]).tolist() == []
    assert degree_profile([2.0]).tolist() == [4.0]
    assert noise_stability([2.0], 0.3) == 4.0


def five_errors(estimate, exact):
    return np.all(
        np.abs(estimate.value - np.asarray(exact)) <= 5 * np.asarray(estimate.standard_error) + 1e-12
    )


MEASURES = {
    "coefficient": lambda f, **how: walsh_coefficient(f, (0, 3), **how),
    "influence": lambda f, **how: influence(f, 4, **how),
    "influences": influences,
    "total influence": total_influence,
    "stability": lambda f, **how: noise_stability(f, 0.1, **how),
    "sensitivity": lambda f, **how: noise_sensitivity(f, 0.1, **how),
    "profile": lambda f, **how: degree_profile(f, max_degree=4, **how),
}


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
def test_estimates_are_within_five_standard_errors(measure):
    exact = measure(TASK)
    for f in (TASK, lambda X: TASK(X), 1.0 - 2.0 * TASK.truth_table()[:, 0]):
        estimate = measure(f, n_inputs=8, samples=1000, random_state=11)
        assert five_errors(estimate, exact)
        assert np.all(np.asarray(estimate.standard_error) < 0.1)
    again = measure(TASK, samples=1000, random_state=11)
    np.testing.assert_array_equal(again.value, estimate.value)


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
def test_standard_errors_are_what_estimates_scatter_by(measure):
    found = [measure(TASK, samples=200, random_state=seed) for seed in range(200)]
    scatter = np.std([estimate.value for estimate in found], axis=0)
    promised = np.mean([estimate.standard_error for estimate in found], axis=0)
    assert np.all(promised <= 1.35 * scatter + 2e-3) and np.all(promised >= 0.75 * scatter - 2e-3)


def test_many_inputs_can_only_be_sampled():
    task = Parity(100, (3, 50))
    with pytest.raises(ParameterError, match="pass samples="):
        influences(task)
    found = influences(task, samples=50)
    assert np.flatnonzero(found.value).tolist() == [3, 50]
    profile = degree_profile(task, samples=2000, max_degree=2, random_state=1)
    assert five_errors(profile, [0, 0, 1]) and profile.standard_error[2] < 0.15


@pytest.mark.parametrize(
    "call",
    [
        lambda: noise_stability([1, -1], -0.1),
        lambda: noise_sensitivity([1, -1], 1.1),
        lambda: noise_stability([1, -1], np.nan),
        lambda: influence([1, -1], 1),
        lambda: influence([1, -1], -1),
        lambda: influence([1, -1], 1, samples=10),
        lambda: walsh_coefficient([1, -1, 1, 1], (0, 0)),
        lambda: degree_profile([1, -1], max_degree=2),
        lambda: degree_profile([1, -1], samples=2),
        lambda: influences([1, -1], samples=1),
        lambda: influences(lambda X: X[:, 0], samples=10),
        lambda: influences(lambda X: X[:, 0], n_inputs=-1, samples=10),
        lambda: influences(TASK, n_inputs=9, samples=10),
        lambda: influences([1, -1], n_inputs=2, samples=10),
    ],
)
def test_bad_parameters_are_refused(call):
    with pytest.raises(ParameterError):
        call()


class Circuit:
    """One that answers to bits when it is called, as circuits do."""

    n_inputs = 2

    def truth_table(self):
        return np.array([[False], [False], [False], [True]])

    def __call__(self, bits):
        raise AssertionError("the table says it all")


def test_a_circuit_is_sampled_from_its_table():
    found = influences(Circuit(), samples=4000, random_state=2)
    assert five_errors(found, [0.5, 0.5])
    assert influences(Circuit()).tolist() == [0.5, 0.5]


def test_bad_answers_of_a_sampled_function_are_refused():
    with pytest.raises(InputError, match="NaN"):
        influences(lambda X: np.full(len(X), np.nan), n_inputs=30, samples=10)
