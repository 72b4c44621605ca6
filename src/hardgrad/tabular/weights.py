"""Checking the weights of rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import DataError
from hardgrad.tabular.raw import is_missing, plain_array


def check_weights(
    weight: Any, n: int, *, name: str = "sample_weight", number: NDArray[np.int64] | None = None
) -> NDArray[np.float64]:
    """Return row weights as float64 [n]: how many rows of weight 1 each row stands for.

    Parameters
    ----------
    weight : values [n], a column of any data frame, or None for weight 1 everywhere. Weight 0 leaves a row out.
    n : number of rows.
    name : what messages call them.
    number : what messages call the rows, where these are a piece of a table; then all weights may be zero.

    Raises
    ------
    DataError : they are not n finite numbers, one is negative, or all are zero; the message names the row.

    Examples
    --------
    >>> check_weights([1, 0.5, 0], 3)
    array([1. , 0.5, 0. ])
    """
    if weight is None:
        return np.ones(n)
    values = _values(weight)
    if values.shape != (n,):
        raise DataError(f"{name} has shape {values.shape}; expected one weight for each of the {n:,} rows.")
    if values.dtype.kind not in "fiub":
        for row, value in enumerate(values):
            if not is_missing(value) and not isinstance(value, (int, float, np.number)):
                raise DataError(f"{name} holds {value!r} in row {_shown(row, number)}; expected a number.")
        values = np.array([np.nan if is_missing(value) else value for value in values])
    checked = values.astype(np.float64)
    wrong = np.flatnonzero(~(np.isfinite(checked) & (checked >= 0)))
    if len(wrong):
        row = int(wrong[0])
        raise DataError(
            f"{name} holds {checked[row]:g} in row {_shown(row, number)}; expected a finite number that is not negative. Drop the row or "
            "correct it."
        )
    if number is None and not checked.any():
        raise DataError(f"{name} is zero everywhere; at least one row needs a positive weight.")
    return checked


def _shown(row: int, number: NDArray[np.int64] | None) -> int:
    return row if number is None else int(number[row])


def _values(weight: Any) -> NDArray[Any]:
    if isinstance(weight, np.ndarray):
        return weight
    if hasattr(weight, "to_pylist"):
        weight = weight.to_pylist()
    if isinstance(weight, (list, tuple)):
        array = np.asarray(weight)
        return array if array.dtype.kind in "fiub" else np.asarray(weight, dtype=object)
    import narwhals.stable.v2 as nw

    try:
        return plain_array(nw.from_native(weight, series_only=True))
    except TypeError:
        raise DataError(f"weights must be a column of numbers, got a {type(weight).__name__}.") from None
