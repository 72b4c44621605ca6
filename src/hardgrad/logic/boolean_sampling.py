"""Monte Carlo estimators of the measures in `boolean_analysis`, each with its standard error. Never imports torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hardgrad.core.errors import ParameterError
from hardgrad.logic.boolean_functions import (
    BooleanFunction,
    Estimate,
    Floats,
    HasTruthTable,
    PointFunction,
    Seed,
    evaluate,
    random_points,
    row_index,
    table_inputs,
    truth_table,
)
from hardgrad.logic.tasks import BooleanTask

PAIRS_AT_ONCE = 1 << 22
DEFAULT_DEGREE = 3


def as_callable(f: BooleanFunction, n_inputs: int | None) -> tuple[PointFunction, int]:
    """Return f as a function of points, and its number of inputs; a table or circuit is looked up.

    Raises
    ------
    ParameterError : nobody says how many inputs there are, or the function says otherwise.
    """
    if isinstance(f, BooleanTask) or (callable(f) and not isinstance(f, HasTruthTable)):
        inputs = getattr(f, "n_inputs", n_inputs)
        if inputs is None or inputs < 0 or n_inputs not in (None, inputs):
            raise ParameterError(
                f"a callable needs n_inputs=, 0 or more, and a task has its own; got n_inputs={n_inputs} for {f!r}."
            )
        return f, int(inputs)
    table = truth_table(f, n_inputs)
    return lambda X: table[row_index(X)], table_inputs(table)


def checked_subset(subset: Sequence[int], n_inputs: int) -> list[int]:
    """Return variables as a list, after a look at their range.

    Raises
    ------
    ParameterError : one is out of range or named twice.
    """
    variables = [int(i) for i in subset]
    if len(set(variables)) != len(variables) or any(not 0 <= i < n_inputs for i in variables):
        raise ParameterError(
            f"got the variables {variables}; expected distinct numbers from 0 to {n_inputs - 1}."
        )
    return variables


def checked_degree(max_degree: int | None, n_inputs: int, default: int) -> int:
    """Return the highest degree wanted, after a look at its range."""
    highest = min(default, n_inputs) if max_degree is None else max_degree
    if not 0 <= highest <= n_inputs:
        raise ParameterError(f"max_degree got {max_degree}; expected 0 to {n_inputs}.")
    return highest


def _drawn(
    f: BooleanFunction, n_inputs: int | None, samples: int, random_state: Seed
) -> tuple[PointFunction, Floats, np.random.Generator]:
    if samples < 2:
        raise ParameterError(f"samples got {samples}; expected at least 2, for a standard error.")
    function, inputs = as_callable(f, n_inputs)
    rng = np.random.default_rng(random_state)
    return function, random_points(inputs, samples, rng), rng


def mean_estimate(values: Floats) -> Estimate[float]:
    """Return the mean of independent values `[samples]` with its standard error.

    >>> mean_estimate(np.array([1.0, 3.0]))
    Estimate(value=2.0, standard_error=1.0)
    """
    return Estimate(float(values.mean()), float(values.std(ddof=1) / len(values) ** 0.5))


def walsh_coefficient(
    f: BooleanFunction, n_inputs: int | None, subset: Sequence[int], samples: int, random_state: Seed
) -> Estimate[float]:
    """Estimate the mean of f(x) times the product of x over the subset."""
    function, X, _ = _drawn(f, n_inputs, samples, random_state)
    return mean_estimate(evaluate(function, X) * X[:, checked_subset(subset, X.shape[1])].prod(axis=1))


def _sensitivity(function: PointFunction, X: Floats, variables: Sequence[int]) -> Floats:
    """((f(x) - f(x with i flipped)) / 2)^2, `[samples, variables]`."""
    values = evaluate(function, X)
    found = np.empty((len(X), len(variables)))
    for column, i in enumerate(variables):
        flipped = X.copy()
        flipped[:, i] *= -1.0
        found[:, column] = np.square((values - evaluate(function, flipped)) / 2)
    return found


def influence(
    f: BooleanFunction, n_inputs: int | None, variable: int, samples: int, random_state: Seed
) -> Estimate[float]:
    """Estimate the influence of one input."""
    function, X, _ = _drawn(f, n_inputs, samples, random_state)
    return mean_estimate(_sensitivity(function, X, checked_subset([variable], X.shape[1]))[:, 0])


def influences(
    f: BooleanFunction, n_inputs: int | None, samples: int, random_state: Seed
) -> Estimate[Floats]:
    """Estimate the influences of all inputs from the same points."""
    function, X, _ = _drawn(f, n_inputs, samples, random_state)
    found = _sensitivity(function, X, range(X.shape[1]))
    return Estimate(found.mean(axis=0), found.std(axis=0, ddof=1) / samples**0.5)


def total_influence(
    f: BooleanFunction, n_inputs: int | None, samples: int, random_state: Seed
) -> Estimate[float]:
    """Estimate the sum of all influences."""
    function, X, _ = _drawn(f, n_inputs, samples, random_state)
    return mean_estimate(_sensitivity(function, X, range(X.shape[1])).sum(axis=1))


def _noisy_pairs(
    f: BooleanFunction, n_inputs: int | None, delta: float, samples: int, random_state: Seed
) -> tuple[Floats, Floats]:
    function, X, rng = _drawn(f, n_inputs, samples, random_state)
    Y = np.where(rng.random(X.shape) < delta, -X, X)
    return evaluate(function, X), evaluate(function, Y)


def noise_stability(
    f: BooleanFunction, n_inputs: int | None, delta: float, samples: int, random_state: Seed
) -> Estimate[float]:
    """Estimate the mean of f(x) f(y)."""
    at_x, at_y = _noisy_pairs(f, n_inputs, delta, samples, random_state)
    return mean_estimate(at_x * at_y)


def noise_sensitivity(
    f: BooleanFunction, n_inputs: int | None, delta: float, samples: int, random_state: Seed
) -> Estimate[float]:
    """Estimate the mean of ((f(x) - f(y)) / 2)^2."""
    at_x, at_y = _noisy_pairs(f, n_inputs, delta, samples, random_state)
    return mean_estimate(np.square((at_x - at_y) / 2))


def degree_profile(
    f: BooleanFunction, n_inputs: int | None, max_degree: int | None, samples: int, random_state: Seed
) -> Estimate[Floats]:
    """Estimate the weights of degrees 0 to `max_degree`.

    The sum of the characters of degree d at two points is the Krawtchouk polynomial of their distance, so f(x) f(y) times it has the
    weight of degree d as its mean over independent x and y. All pairs of the sample are used (a U-statistic).
    """
    function, X, _ = _drawn(f, n_inputs, samples, random_state)
    if samples < 3:
        raise ParameterError(f"a degree profile needs at least 3 samples, got {samples}.")
    n = X.shape[1]
    highest = checked_degree(max_degree, n, default=DEFAULT_DEGREE)
    values = evaluate(function, X)
    mean_with_others, square = np.empty((highest + 1, samples)), np.empty((highest + 1, samples))
    rows = max(1, PAIRS_AT_ONCE // samples)
    for start in range(0, samples, rows):
        part = slice(start, start + rows)
        for degree, kernel in enumerate(_krawtchouk(X[part] @ X.T, n, highest)):
            pairs = values[part, None] * kernel * values
            np.fill_diagonal(pairs[:, part], 0.0)
            mean_with_others[degree, part] = pairs.sum(axis=1) / (samples - 1)
            square[degree, part] = np.square(pairs).sum(axis=1) / (samples - 1)
    weight = mean_with_others.mean(axis=1)
    of_pairs = np.maximum(square.mean(axis=1) - weight**2, 0.0)
    of_points = np.maximum(mean_with_others.var(axis=1, ddof=1) - of_pairs / (samples - 1), 0.0)
    variance = (4 * (samples - 2) * of_points + 2 * of_pairs) / (samples * (samples - 1))
    return Estimate(weight, np.sqrt(variance))


def _krawtchouk(product: Floats, n: int, highest: int) -> list[Floats]:
    """The sums of the characters of degrees 0 to `highest` at pairs of points with given inner products."""
    found = [np.ones_like(product), product]
    for d in range(1, highest):
        found.append((product * found[d] - (n - d + 1) * found[d - 1]) / (d + 1))
    return found[: highest + 1]
