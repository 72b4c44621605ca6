"""Measures of a Boolean function: Walsh spectrum, influence, noise stability, degree profile, symmetry. Never imports torch.

Without `samples=` each is exact, from the truth table of at most 24 inputs. With it, each is estimated from random points, for callables of
any number of inputs; the estimators are in `boolean_sampling`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import numpy as np
from numpy.typing import ArrayLike

from hardgrad.core.errors import ParameterError
from hardgrad.logic import boolean_sampling as sampling
from hardgrad.logic.boolean_functions import (
    BooleanFunction,
    Estimate,
    Floats,
    Seed,
    table_inputs,
    truth_table,
)


def walsh_hadamard(f: BooleanFunction, n_inputs: int | None = None) -> Floats:
    """Return the Walsh spectrum: f(x) is the sum over subsets S of spectrum[S] times the product of x_i over i in S.

    Parameters
    ----------
    f : table `[2^n]` of -1 and +1 or real values, circuit, or callable (with `n_inputs`); see `truth_table`.

    Returns
    -------
    spectrum : `[2^n]`; the coefficient of S lies where the bits of the index mark S, variable 0 the most significant.

    Raises
    ------
    InputError, ParameterError : as `truth_table`.

    Examples
    --------
    >>> walsh_hadamard([1, 1, 1, -1])
    array([ 0.5,  0.5,  0.5, -0.5])

    Source: O'Donnell, 2014, Analysis of Boolean Functions.
    """
    table = truth_table(f, n_inputs)
    return _butterfly(table) / len(table)


def inverse_walsh_hadamard(spectrum: ArrayLike) -> Floats:
    """Return the table `[2^n]` of the function with a Walsh spectrum `[2^n]`.

    Raises
    ------
    InputError : as `truth_table`.

    Examples
    --------
    >>> inverse_walsh_hadamard([0.5, 0.5, 0.5, -0.5])
    array([ 1.,  1.,  1., -1.])
    """
    return _butterfly(truth_table(np.asarray(spectrum, dtype=np.float64)))


def _butterfly(values: Floats) -> Floats:
    """Multiply by the Hadamard matrix, in place."""
    half = 1
    while half < len(values):
        pairs = values.reshape(-1, 2, half)
        low, high = pairs[:, 0], pairs[:, 1]
        low += high
        high *= -2.0
        high += low
        half *= 2
    return values


@overload
def walsh_coefficient(
    f: BooleanFunction, subset: Sequence[int], *, n_inputs: int | None = ..., samples: None = ..., random_state: Seed = ...
) -> float: ...  # fmt: skip
@overload
def walsh_coefficient(
    f: BooleanFunction, subset: Sequence[int], *, n_inputs: int | None = ..., samples: int, random_state: Seed = ...
) -> Estimate[float]: ...  # fmt: skip
def walsh_coefficient(
    f: BooleanFunction,
    subset: Sequence[int],
    *,
    n_inputs: int | None = None,
    samples: int | None = None,
    random_state: Seed = 0,
) -> float | Estimate[float]:
    """Return one coefficient of the Walsh spectrum: the mean of f(x) times the product of x_i over the subset.

    Parameters
    ----------
    f, n_inputs, samples, random_state : as in `influences`.
    subset : variables, each once.

    Raises
    ------
    ParameterError : a variable out of range or named twice; else as `truth_table`.

    Examples
    --------
    >>> walsh_coefficient([1, 1, 1, -1], (0, 1))
    -0.5
    """
    if samples is not None:
        return sampling.walsh_coefficient(f, n_inputs, subset, samples, random_state)
    table = truth_table(f, n_inputs)
    for place in sorted(sampling.checked_subset(subset, table_inputs(table)), reverse=True):
        halves = table.reshape(1 << place, 2, -1)
        table = (halves[:, 0] - halves[:, 1]).ravel() / 2
    return float(table.mean())


@overload
def influences(
    f: BooleanFunction, *, n_inputs: int | None = ..., samples: None = ..., random_state: Seed = ...
) -> Floats: ...  # fmt: skip
@overload
def influences(
    f: BooleanFunction, *, n_inputs: int | None = ..., samples: int, random_state: Seed = ...
) -> Estimate[Floats]: ...  # fmt: skip
def influences(
    f: BooleanFunction,
    *,
    n_inputs: int | None = None,
    samples: int | None = None,
    random_state: Seed = 0,
) -> Floats | Estimate[Floats]:
    """Return how often flipping each input alone changes the output, over uniform points.

    For a function with real values it is the mean of ((f(x) - f(x with input i flipped)) / 2)^2, the sum of the squared coefficients of
    all subsets with i: the mean square of the derivative of the multilinear extension.

    Parameters
    ----------
    f : table `[2^n]` of -1 and +1 or real values, circuit or task, or callable on points `[B, n]` (see `truth_table`).
    n_inputs : n, needed for a callable.
    samples : None for exact figures; a number of random points for an estimate, which a callable with more than 24 inputs needs.
    random_state : seed or NumPy generator of the points.

    Returns
    -------
    influences : `[n]`; with samples, an `Estimate` of value and standard error, each `[n]`.

    Raises
    ------
    InputError, ParameterError : as `truth_table`; fewer than two samples.

    Examples
    --------
    >>> influences([1, 1, 1, -1])
    array([0.5, 0.5])
    >>> influences(lambda x: x[:, 0], n_inputs=100, samples=50).value[:2]
    array([1., 0.])

    Source: Abbe et al., 2022, Learning to Reason with Neural Networks: Generalization, Unseen Data and Boolean Measures.
    """
    if samples is not None:
        return sampling.influences(f, n_inputs, samples, random_state)
    table = truth_table(f, n_inputs)
    return np.array([_influence(table, i) for i in range(table_inputs(table))])


def _influence(table: Floats, variable: int) -> float:
    halves = table.reshape(1 << variable, 2, -1)
    return float(np.square((halves[:, 0] - halves[:, 1]) / 2).mean())


@overload
def influence(
    f: BooleanFunction, variable: int, *, n_inputs: int | None = ..., samples: None = ..., random_state: Seed = ...
) -> float: ...  # fmt: skip
@overload
def influence(
    f: BooleanFunction, variable: int, *, n_inputs: int | None = ..., samples: int, random_state: Seed = ...
) -> Estimate[float]: ...  # fmt: skip
def influence(
    f: BooleanFunction,
    variable: int,
    *,
    n_inputs: int | None = None,
    samples: int | None = None,
    random_state: Seed = 0,
) -> float | Estimate[float]:
    """Return how often flipping one input changes the output (see `influences`, which says what f may be).

    Examples
    --------
    >>> influence([1, 1, 1, -1], 0)
    0.5
    """
    if samples is not None:
        return sampling.influence(f, n_inputs, variable, samples, random_state)
    table = truth_table(f, n_inputs)
    sampling.checked_subset([variable], table_inputs(table))
    return _influence(table, variable)


@overload
def total_influence(
    f: BooleanFunction, *, n_inputs: int | None = ..., samples: None = ..., random_state: Seed = ...
) -> float: ...  # fmt: skip
@overload
def total_influence(
    f: BooleanFunction, *, n_inputs: int | None = ..., samples: int, random_state: Seed = ...
) -> Estimate[float]: ...  # fmt: skip
def total_influence(
    f: BooleanFunction,
    *,
    n_inputs: int | None = None,
    samples: int | None = None,
    random_state: Seed = 0,
) -> float | Estimate[float]:
    """Return the sum of all influences: at how many inputs a flip changes the output, on average (see `influences`).

    Examples
    --------
    >>> total_influence([1, 1, 1, -1])
    1.0
    """
    if samples is not None:
        return sampling.total_influence(f, n_inputs, samples, random_state)
    return float(influences(f, n_inputs=n_inputs).sum())


@overload
def noise_stability(
    f: BooleanFunction, delta: float, *, n_inputs: int | None = ..., samples: None = ..., random_state: Seed = ...
) -> float: ...  # fmt: skip
@overload
def noise_stability(
    f: BooleanFunction, delta: float, *, n_inputs: int | None = ..., samples: int, random_state: Seed = ...
) -> Estimate[float]: ...  # fmt: skip
def noise_stability(
    f: BooleanFunction,
    delta: float,
    *,
    n_inputs: int | None = None,
    samples: int | None = None,
    random_state: Seed = 0,
) -> float | Estimate[float]:
    """Return the mean of f(x) f(y), where y is x with every input flipped with probability delta.

    Parameters
    ----------
    f, n_inputs, samples, random_state : as in `influences`.
    delta : 0 to 1; at 1/2 x and y are independent.

    Raises
    ------
    ParameterError : delta out of range; else as `influences`.

    Examples
    --------
    >>> noise_stability([1, -1, -1, 1], 0.1)
    0.64
    """
    _check_delta(delta)
    if samples is not None:
        return sampling.noise_stability(f, n_inputs, delta, samples, random_state)
    return _stability(degree_profile(f, n_inputs=n_inputs), delta)


def _stability(profile: Floats, delta: float) -> float:
    return float(profile @ (1.0 - 2.0 * delta) ** np.arange(len(profile)))


@overload
def noise_sensitivity(
    f: BooleanFunction, delta: float, *, n_inputs: int | None = ..., samples: None = ..., random_state: Seed = ...
) -> float: ...  # fmt: skip
@overload
def noise_sensitivity(
    f: BooleanFunction, delta: float, *, n_inputs: int | None = ..., samples: int, random_state: Seed = ...
) -> Estimate[float]: ...  # fmt: skip
def noise_sensitivity(
    f: BooleanFunction,
    delta: float,
    *,
    n_inputs: int | None = None,
    samples: int | None = None,
    random_state: Seed = 0,
) -> float | Estimate[float]:
    """Return how often the output changes when every input is flipped with probability delta: the mean of ((f(x) - f(y)) / 2)^2.

    Parameters and errors are those of `noise_stability`.

    Examples
    --------
    >>> noise_sensitivity([1, -1, -1, 1], 0.1)
    0.18
    """
    _check_delta(delta)
    if samples is not None:
        return sampling.noise_sensitivity(f, n_inputs, delta, samples, random_state)
    profile = degree_profile(f, n_inputs=n_inputs)
    return (float(profile.sum()) - _stability(profile, delta)) / 2


def _check_delta(delta: float) -> None:
    if not 0 <= delta <= 1:
        raise ParameterError(f"delta is the probability of a flip, 0 to 1; got {delta}.")


@overload
def degree_profile(
    f: BooleanFunction, *, n_inputs: int | None = ..., max_degree: int | None = ..., samples: None = ..., random_state: Seed = ...
) -> Floats: ...  # fmt: skip
@overload
def degree_profile(
    f: BooleanFunction, *, n_inputs: int | None = ..., max_degree: int | None = ..., samples: int, random_state: Seed = ...
) -> Estimate[Floats]: ...  # fmt: skip
def degree_profile(
    f: BooleanFunction,
    *,
    n_inputs: int | None = None,
    max_degree: int | None = None,
    samples: int | None = None,
    random_state: Seed = 0,
) -> Floats | Estimate[Floats]:
    """Return the weight of each degree: the sum of the squared Walsh coefficients of all subsets of that size.

    Parameters
    ----------
    f, n_inputs, samples, random_state : as in `influences`. With samples the standard error grows as the square root of the number of
        subsets of a degree over the number of samples, so that only low degrees of many inputs can be estimated.
    max_degree : highest degree wanted; all by default, 3 (or n) with samples.

    Returns
    -------
    profile : `[max_degree + 1]`, from degree 0 up. All degrees together sum to the mean of f^2, 1 for values of -1 and +1.

    Raises
    ------
    ParameterError : max_degree out of range; else as `influences`.

    Examples
    --------
    >>> degree_profile([1, 1, 1, -1])
    array([0.25, 0.5 , 0.25])
    """
    if samples is not None:
        return sampling.degree_profile(f, n_inputs, max_degree, samples, random_state)
    table = truth_table(f, n_inputs)
    n = table_inputs(table)
    highest = sampling.checked_degree(max_degree, n, default=n)
    degree = np.bitwise_count(np.arange(len(table)))
    weights = np.bincount(degree, weights=np.square(walsh_hadamard(table)), minlength=n + 1)
    return np.asarray(weights[: highest + 1], dtype=np.float64)


def is_symmetric(f: BooleanFunction, n_inputs: int | None = None) -> bool:
    """Tell whether the function depends on how many inputs are -1 alone, not on which.

    Raises
    ------
    InputError, ParameterError : as `truth_table`.

    Examples
    --------
    >>> is_symmetric([1, -1, -1, 1]), is_symmetric([1, 1, -1, -1])
    (True, False)
    """
    table = truth_table(f, n_inputs)
    weight = np.bitwise_count(np.arange(len(table)))
    one_of_each = np.empty(table_inputs(table) + 1)
    one_of_each[weight] = table
    return bool((one_of_each[weight] == table).all())
