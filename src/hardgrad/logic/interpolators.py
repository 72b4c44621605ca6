"""What learners make of points never seen: the interpolator of least degree, and that of random features. Never imports torch.

A closed form of the first, for a face of the cube that was not seen, is `multilinear.interpolate_subcube`.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hardgrad.core.errors import DataError, ParameterError
from hardgrad.logic.boolean_analysis import walsh_hadamard
from hardgrad.logic.boolean_functions import Floats, points_and_values, row_index
from hardgrad.logic.multilinear import Subset, Terms, ordered_terms
from hardgrad.train.progress import emit

RANK_TOLERANCE = 1e-9
MOST_NUMBERS = 1 << 25
FITS = 1e-6


def min_degree_interpolator(X_seen: ArrayLike, y_seen: ArrayLike, *, max_degree: int | None = None) -> Terms:
    """Return the polynomial through the points seen that has the least weight in the highest degree, then in the next, and so on down.

    Parameters
    ----------
    X_seen : points `[s, n]` of -1 and +1; one may be there twice.
    y_seen : values `[s]`.
    max_degree : consider polynomials up to this degree only. Needed where n is large: without it 2^n times the number of points not
        seen may be at most 2^25 (all of it for n = 12), with it s times the number of monomials.

    Returns
    -------
    terms : `{subset: coefficient}`, for `evaluate_terms`; coefficients of magnitude up to 1e-9 of the largest value are left out.

    Raises
    ------
    DataError : no points, other numbers than -1 and +1, values that are not finite, one point with two values, or values that no polynomial
        of max_degree has.
    ParameterError : max_degree out of range, or too many numbers.

    Examples
    --------
    >>> X = np.array([[1, 1], [1, -1], [-1, 1]])
    >>> min_degree_interpolator(X, X.prod(axis=1))
    {(): -1.0, (0,): 1.0, (1,): 1.0}

    Source: Abbe, Bengio, Lotfi and Rizk, 2023, Generalization on the Unseen, Logic Reasoning and Degree Curriculum.
    """
    X, y = _distinct_points(X_seen, y_seen)
    if max_degree is None:
        subsets, coefficients, free = _through_cube(X, y)
    else:
        subsets, coefficients, free = _through_monomials(X, y, max_degree)
    degree = np.array([len(subset) for subset in subsets])
    for d in range(int(degree.max()), 0, -1):
        if not free.shape[1]:
            break
        emit("minimum degree", 1 - d / (degree.max() + 1))
        step, null = _solve(free[degree == d], -coefficients[degree == d], RANK_TOLERANCE)
        coefficients = coefficients + free @ step
        free = free @ null
    least = RANK_TOLERANCE * max(1.0, float(np.abs(y).max()))
    kept = np.flatnonzero(np.abs(coefficients) > least)
    return ordered_terms({subsets[k]: float(coefficients[k]) for k in kept})


def random_feature_interpolator(X_seen: ArrayLike, y_seen: ArrayLike) -> Callable[[Floats], Floats]:
    """Return what infinitely many random rectifiers learn: the interpolator of least norm in their features.

    Weights and bias of a feature are normal with variance 1 / n. So wide a layer has a kernel in closed form, and gradient descent on its
    output weights from zero ends at the interpolator of least norm.

    Parameters
    ----------
    X_seen, y_seen : points `[s, n]` of -1 and +1, and their values `[s]`.

    Returns
    -------
    function : takes points `[B, n]` and returns values `[B]`.

    Raises
    ------
    DataError : as `min_degree_interpolator`.

    Examples
    --------
    >>> X = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0]])
    >>> random_feature_interpolator(X, X.prod(axis=1))(X)
    array([ 1., -1., -1.])

    Source: Abbe, Bengio, Lotfi and Rizk, 2023, Generalization on the Unseen, Logic Reasoning and Degree Curriculum; the kernel is that
    of Cho and Saul, 2009, Kernel Methods for Deep Learning.
    """
    X, y = _distinct_points(X_seen, y_seen)
    weights = np.linalg.lstsq(_rectifier_kernel(X, X), y, rcond=1e-13)[0]

    def predict(points: Floats) -> Floats:
        return np.asarray(_rectifier_kernel(np.asarray(points, dtype=np.float64), X) @ weights)

    return predict


def _rectifier_kernel(A: Floats, B: Floats) -> Floats:
    """The mean of relu(w x) relu(w z) over normal w, of points with a 1 for the bias; all have the same length."""
    n = A.shape[1]
    cosine = np.clip((A @ B.T + 1.0) / (n + 1.0), -1.0, 1.0)
    angle = np.arccos(cosine)
    kernel: Floats = (n + 1.0) / (2 * np.pi * n) * (np.sin(angle) + (np.pi - angle) * cosine)
    return kernel


def _distinct_points(X_seen: ArrayLike, y_seen: ArrayLike) -> tuple[Floats, Floats]:
    X, y = points_and_values(X_seen, y_seen)
    points, first, point_of = np.unique(X, axis=0, return_index=True, return_inverse=True)
    strange = np.flatnonzero(y != y[first][point_of])
    if len(strange):
        row = strange[0]
        raise DataError(
            f"row {row} has value {y[row]:g} and row {first[point_of[row]]}, the same point, {y[first][point_of[row]]:g}; expected one."
        )
    return points, y[first]


def _through_cube(X: Floats, y: Floats) -> tuple[list[Subset], Floats, Floats]:
    """Subsets, one polynomial through the points, and an orthonormal basis of those that vanish on them: the indicators of the others."""
    n = X.shape[1]
    if (1 << n) * ((1 << n) - len(X)) > MOST_NUMBERS:
        raise ParameterError(
            f"{n} inputs and {(1 << n) - len(X)} points not seen need more than 2^25 numbers. Pass max_degree=, or use "
            "interpolate_subcube where the points not seen are a face of the cube."
        )
    table, seen = np.zeros(1 << n), row_index(X)
    table[seen] = y
    index = np.arange(1 << n)
    unseen = np.delete(index, seen)
    odd = np.bitwise_count(index[:, None] & unseen) & 1
    subsets = [tuple(i for i in range(n) if k >> (n - 1 - i) & 1) for k in range(1 << n)]
    return subsets, walsh_hadamard(table), np.where(odd, -1.0, 1.0) / 2 ** (n / 2)


def _through_monomials(X: Floats, y: Floats, max_degree: int) -> tuple[list[Subset], Floats, Floats]:
    """The same with monomials up to a degree."""
    n = X.shape[1]
    if not 0 <= max_degree <= n:
        raise ParameterError(f"max_degree got {max_degree}; expected 0 to {n}.")
    subsets = [subset for d in range(max_degree + 1) for subset in combinations(range(n), d)]
    if len(subsets) * max(len(subsets), len(X)) > MOST_NUMBERS:
        raise ParameterError(
            f"{len(subsets)} monomials up to degree {max_degree} at {len(X)} points need more than 2^25 numbers. Lower max_degree."
        )
    values = np.stack([X[:, list(subset)].prod(axis=1) for subset in subsets], axis=1)
    coefficients, free = _solve(values, y, RANK_TOLERANCE * len(values) ** 0.5)
    if np.abs(values @ coefficients - y).max() > FITS * max(1.0, float(np.abs(y).max())):
        raise DataError(f"no polynomial up to degree {max_degree} has these values. Raise max_degree.")
    return subsets, coefficients, free


def _solve(A: Floats, b: Floats, tolerance: float) -> tuple[Floats, NDArray[np.float64]]:
    """The least z with A z nearest to b, and an orthonormal basis of what A takes to zero; singular values up to `tolerance` are zero."""
    U, values, Vt = np.linalg.svd(A, full_matrices=A.shape[0] < A.shape[1])
    rank = int((values > tolerance).sum())
    return Vt[:rank].T @ ((U[:, :rank].T @ b) / values[:rank]), Vt[rank:].T
