"""Multilinear polynomials over +-1 variables as `{subset: coefficient}`: from a spectrum, at any point, off a face. Never imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from math import prod

import numpy as np
from numpy.typing import ArrayLike

from hardgrad.core.errors import InputError, ParameterError
from hardgrad.logic.boolean_functions import Floats

Subset = tuple[int, ...]
Terms = dict[Subset, float]


def spectrum_terms(spectrum: ArrayLike, tolerance: float = 1e-9) -> Terms:
    """Return the coefficients of a Walsh spectrum that are not zero, by subset of variables.

    Parameters
    ----------
    spectrum : `[2^n]` as `walsh_hadamard` returns it.
    tolerance : magnitudes up to this count as zero.

    Returns
    -------
    terms : `{subset: coefficient}`, subsets as increasing tuples, in order of size; the constant is `()`.

    Examples
    --------
    >>> from hardgrad.logic import walsh_hadamard
    >>> spectrum_terms(walsh_hadamard([1, 1, 1, -1]))
    {(): 0.5, (0,): 0.5, (1,): 0.5, (0, 1): -0.5}
    """
    values = np.asarray(spectrum, dtype=np.float64)
    n = len(values).bit_length() - 1
    kept = {
        tuple(i for i in range(n) if index >> (n - 1 - i) & 1): float(values[index])
        for index in map(int, np.flatnonzero(np.abs(values) > tolerance))
    }
    return ordered_terms(kept)


def evaluate_terms(terms: Mapping[Subset, float], X: ArrayLike) -> Floats:
    """Return the polynomial at points, which need not be of -1 and +1: between them it is the multilinear extension.

    Parameters
    ----------
    terms : `{subset: coefficient}`.
    X : points `[B, n]`.

    Returns
    -------
    values : `[B]`.

    Raises
    ------
    InputError : a subset names a variable that the points do not have.

    Examples
    --------
    >>> evaluate_terms({(): 1.0, (0, 1): 2.0}, [[-1, 1], [0, 0.5]]).tolist()
    [-1.0, 1.0]
    """
    points = np.asarray(X, dtype=np.float64)
    if points.ndim != 2:
        raise InputError(f"points have shape [B, n], got {points.shape}.")
    total = np.zeros(len(points))
    for subset, coefficient in terms.items():
        if subset and not 0 <= min(subset) <= max(subset) < points.shape[1]:
            raise InputError(
                f"the term {subset} names a variable that points of {points.shape[1]} coordinates lack."
            )
        total += coefficient * points[:, list(subset)].prod(axis=1)
    return total


def interpolate_subcube(terms: Mapping[Subset, float], unseen: Mapping[int, int]) -> Terms:
    """Return what the least degree makes of a function when one face of the cube was never seen, in closed form, for any n.

    On the seen points the product of all `x_i + a_i` over the unseen face `x_i = a_i` is zero. So the product of the face's variables
    equals a polynomial of lower degree there, which takes its place.

    Parameters
    ----------
    terms : the function, `{subset: coefficient}`.
    unseen : `{variable: -1 or +1}`, the face that was not seen.

    Returns
    -------
    terms : the minimum-degree interpolator of the seen points.

    Raises
    ------
    ParameterError : no variable, or a value other than -1 and +1.

    Examples
    --------
    >>> interpolate_subcube({(0, 1): 1.0}, unseen={0: -1, 1: -1})
    {(): -1.0, (0,): 1.0, (1,): 1.0}

    Source: Abbe, Bengio, Lotfi and Rizk, 2023, Generalization on the Unseen, Logic Reasoning and Degree Curriculum.
    """
    face = set(unseen)
    if not face or any(value not in (-1, 1) for value in unseen.values()):
        raise ParameterError(
            f"unseen got {dict(unseen)!r}; expected {{variable: -1 or +1}} with at least one variable."
        )
    found: Terms = {}
    for subset, coefficient in terms.items():
        if not face <= set(subset):
            found[subset] = found.get(subset, 0.0) + coefficient
            continue
        outside = [i for i in subset if i not in face]
        for size in range(len(face)):
            for kept in combinations(sorted(face), size):
                term = tuple(sorted([*outside, *kept]))
                sign = prod(unseen[i] for i in face.difference(kept))
                found[term] = found.get(term, 0.0) - coefficient * sign
    return ordered_terms({subset: value for subset, value in found.items() if value})


def ordered_terms(terms: Terms) -> Terms:
    """Return the same terms by size of subset, then by its variables."""
    return dict(sorted(terms.items(), key=lambda item: (len(item[0]), item[0])))
