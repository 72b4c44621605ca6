"""Numbers as bits: each column is compared with a few thresholds. Never imports torch; thresholds are learned in `soft_thermometer`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data

from hardgrad.core.errors import DataError, ParameterError

Floats = NDArray[np.float64]
STRATEGIES = ("quantile", "uniform")


@dataclass(frozen=True)
class BitColumns:
    """What each bit asks of a row: whether a feature is above a threshold or, where the threshold is NaN, whether it is missing.

    Parameters
    ----------
    feature : int32 [bits].
    threshold : float64 [bits].

    Examples
    --------
    >>> columns = BitColumns(np.array([0, 0], np.int32), np.array([0.5, np.nan]))
    >>> columns.bits(np.array([[1.0], [np.nan]])).astype(int).tolist()
    [[1, 0], [0, 1]]
    """

    feature: NDArray[np.int32]
    threshold: Floats

    def bits(self, X: Floats) -> NDArray[np.bool_]:
        """Return bool [n, bits] for features [n, features]."""
        values = X[:, self.feature]
        found = np.asarray(values > self.threshold)
        asks = np.isnan(self.threshold)
        found[:, asks] = np.isnan(values[:, asks])
        return found


def fit_bits(X: Floats, n_thresholds: int, strategy: str = "quantile", *, own_bit: bool = True) -> BitColumns:
    """Choose thresholds for the columns of a matrix.

    A column with few values has one threshold between each two, and a column with one value has none, so that no bit is constant on these
    rows and no two of a column are equal.

    Parameters
    ----------
    X : [n, features], NaN where missing.
    n_thresholds : most thresholds of a column.
    strategy : "quantile", equally many rows between thresholds; "uniform", equally far from another between the least and the largest.
    own_bit : give a column with missing values one more bit, which says so.

    Raises
    ------
    ParameterError : fewer than one threshold, or a strategy that is not known.
    """
    if n_thresholds < 1:
        raise ParameterError(f"got n_thresholds={n_thresholds!r}; expected at least 1.")
    if strategy not in STRATEGIES:
        raise ParameterError(f"got strategy={strategy!r}; expected one of {', '.join(STRATEGIES)}.")
    feature: list[int] = []
    threshold: list[float] = []
    for j in range(X.shape[1]):
        known = X[~np.isnan(X[:, j]), j]
        found = _thresholds(known, n_thresholds, strategy).tolist() if len(known) else []
        found += [np.nan] if own_bit and 0 < len(known) < len(X) else []
        feature += [j] * len(found)
        threshold += found
    return BitColumns(np.array(feature, np.int32), np.array(threshold, np.float64))


def _thresholds(known: Floats, count: int, strategy: str) -> Floats:
    """Return the thresholds of a column, increasing; each has values on both sides."""
    values = np.unique(known)
    if len(values) <= count + 1:
        return _between(values, np.arange(len(values) - 1))
    shares = np.arange(1, count + 1) / (count + 1)
    if strategy == "uniform":
        wanted = values[0] * (1.0 - shares) + values[-1] * shares
    else:
        wanted = np.quantile(known, shares, method="lower")
    # Of thresholds between the same two values one is kept; those beyond the last value move below it.
    place = np.clip(np.searchsorted(values, wanted, side="right") - 1, 0, len(values) - 2)
    below, first = np.unique(place, return_index=True)
    if strategy == "uniform":
        return np.asarray(np.where(wanted[first] < values[below + 1], wanted[first], values[below]))
    return _between(values, below)


def _between(values: Floats, below: NDArray[np.int64]) -> Floats:
    """Return numbers halfway between a value and the next; the value itself where nothing lies between."""
    low, high = values[below], values[below + 1]
    middle = low / 2.0 + high / 2.0
    return np.asarray(np.where((middle >= low) & (middle < high), middle, low))


class ThermometerEncoder(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Turn numbers into bits, as layers of gates read them: each column is compared with thresholds taken from it.

    Parameters
    ----------
    n_thresholds : most bits a column, not counting that for missing values.
    strategy : "quantile", equally many rows between thresholds; "uniform", equally far from one another.
    missing : "refuse" raises for NaN; "own_bit" gives a column that had NaN in training one more bit, and clears its others there.

    Attributes
    ----------
    columns_ : `BitColumns`, what each bit asks.
    dropped_ : by number of the column, how many of its thresholds would have made a bit twice, or a constant one.

    Examples
    --------
    >>> X = np.array([[0.0], [1.0], [2.0], [3.0]])
    >>> ThermometerEncoder(3).fit_transform(X).astype(int).tolist()
    [[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1]]
    """

    def __init__(self, n_thresholds: int = 3, *, strategy: str = "quantile", missing: str = "refuse") -> None:
        self.n_thresholds = n_thresholds
        self.strategy = strategy
        self.missing = missing

    def fit(self, X: Any, y: Any = None) -> Self:
        """Take the thresholds from rows.

        Parameters
        ----------
        X : numbers [n, features].
        y : not looked at.

        Raises
        ------
        ParameterError : a parameter outside its range.
        DataError : a number is missing, and `missing` is "refuse".
        """
        if self.missing not in ("refuse", "own_bit"):
            raise ParameterError(
                f"ThermometerEncoder() got missing={self.missing!r}; expected 'refuse' or 'own_bit'."
            )
        X = self._rows(X, reset=True)
        self.columns_ = fit_bits(X, self.n_thresholds, self.strategy)
        found = np.bincount(self.columns_.feature[~np.isnan(self.columns_.threshold)], minlength=X.shape[1])
        self.dropped_ = {j: int(self.n_thresholds - c) for j, c in enumerate(found) if c < self.n_thresholds}
        return self

    def transform(self, X: Any) -> NDArray[np.bool_]:
        """Return the bits, bool [n, bits]. Raises `DataError` for NaN in a column that had none in training."""
        check_is_fitted(self)
        X = self._rows(X, reset=False)
        asked = np.isin(np.arange(X.shape[1]), self.columns_.feature[np.isnan(self.columns_.threshold)])
        self._refuse(np.isnan(X) & ~asked, X)
        return self.columns_.bits(X)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Return what each bit asks, as text."""
        check_is_fitted(self)
        given = input_features if input_features is not None else getattr(self, "feature_names_in_", None)
        names = [f"x{j}" for j in range(self.n_features_in_)] if given is None else list(given)
        return np.array(
            [
                f"{names[j]} is missing" if np.isnan(t) else f"{names[j]} > {t!r}"
                for j, t in zip(self.columns_.feature.tolist(), self.columns_.threshold.tolist(), strict=True)
            ],
            dtype=object,
        )

    def _rows(self, X: Any, *, reset: bool) -> Floats:
        rows: Floats = validate_data(self, X, dtype=np.float64, ensure_all_finite="allow-nan", reset=reset)
        if self.missing == "refuse":
            self._refuse(np.isnan(rows), rows)
        return rows

    def _refuse(self, wrong: NDArray[np.bool_], X: Floats) -> None:
        if wrong.any():
            row, column = (int(place) for place in np.argwhere(wrong)[0])
            name = getattr(self, "feature_names_in_", [f"x{j}" for j in range(X.shape[1])])[column]
            raise DataError(
                f"column {name!r} is missing (NaN) in row {row}. Fill it, or take missing='own_bit' and train with missing values in it."
            )

    def __sklearn_tags__(self) -> Tags:
        tags: Tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.missing == "own_bit"
        tags.transformer_tags.preserves_dtype = []
        return tags
