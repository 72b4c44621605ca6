"""Any table in memory as a PyArrow table, with one clear error where a column has no one type. Reading files is `reading`."""

from __future__ import annotations

import datetime as dt
import numbers
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from hardgrad.core.errors import DataError
from hardgrad.tabular.raw import is_missing


def to_arrow(table: Any) -> pa.Table:
    """Return a table as a PyArrow table: NaN of a pandas frame becomes null, columns named by numbers get names.

    Parameters
    ----------
    table : a PyArrow table or record batch, a data frame that narwhals reads (lazy ones are collected), a mapping of column name to
        values, or an array [n, columns], whose columns become x0, x1, ...

    Returns
    -------
    A PyArrow table with distinct column names.

    Raises
    ------
    DataError : it is no table, two columns share a name, columns differ in length, or a column mixes types; the message names it.

    Examples
    --------
    >>> to_arrow({"age": [31, None], "state": ["NY", "TX"]}).schema.types
    [DataType(int64), DataType(string)]
    """
    if isinstance(table, pa.RecordBatch):
        table = pa.Table.from_batches([table])
    if isinstance(table, pa.Table):
        check_names(table.column_names)
        return table
    if isinstance(table, np.ndarray):
        if table.ndim != 2:
            raise DataError(f"got an array of shape {table.shape}; expected [rows, columns].")
        table = {f"x{i}": table[:, i] for i in range(table.shape[1])}
    if isinstance(table, Mapping):
        return _from_columns(list(table.items()))
    if hasattr(
        table, "iloc"
    ):  # pandas: narwhals and PyArrow convert whole frames and name no column when they fail
        return _from_columns([(name, table.iloc[:, i]) for i, name in enumerate(table.columns)])
    import narwhals.stable.v2 as nw

    try:
        frame: Any = nw.from_native(table)
    except TypeError:
        raise DataError(
            f"got a {type(table).__name__}; expected a PyArrow table, a data frame, a mapping of columns or an array."
        ) from None
    converted: pa.Table = (frame.collect() if hasattr(frame, "collect") else frame).to_arrow()
    return to_arrow(converted)


def check_names(names: Sequence[Any]) -> None:
    """Raise `DataError` where two columns share a name."""
    repeated = [repr(name) for name, count in Counter(map(str, names)).items() if count > 1]
    if repeated:
        raise DataError(
            f"the table has columns of the same name: {', '.join(repeated)}. Rename or drop them, so that each name is one column."
        )


def _from_columns(columns: list[tuple[Any, Any]]) -> pa.Table:
    check_names([name for name, _ in columns])
    arrays = {str(name): column_to_arrow(str(name), values) for name, values in columns}
    lengths = {name: len(values) for name, values in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"columns have different lengths: {lengths}.")
    return pa.table(arrays)


def column_to_arrow(name: str, values: Any) -> Any:
    """Return one column as an Arrow array.

    Raises
    ------
    DataError : its values have no common type; the message shows two of them.
    """
    if isinstance(values, (pa.Array, pa.ChunkedArray)):
        return values
    if hasattr(values, "to_arrow"):  # a polars or narwhals series
        return values.to_arrow()
    plain = values if hasattr(values, "dtype") else list(values)
    try:
        # Lists mix True and 1 silently, and numbers and dates in part: look at objects before Arrow does.
        if not hasattr(plain, "dtype") or plain.dtype == object:
            check_one_type(name, plain)
        return pa.array(plain, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError) as error:
        raise DataError(
            f"column {name!r} cannot be read: {error}. Convert it to numbers, text, booleans or dates, or drop it."
        ) from None


def check_one_type(name: str, values: Any) -> None:
    """Raise `DataError` where Python objects are of more than one kind (numbers of any type are one kind)."""
    first: dict[str, tuple[int, Any]] = {}
    for kind in set(map(type, values)):
        label = _kind(kind)
        for row, value in enumerate(values):
            if type(value) is kind and not is_missing(value):
                if label not in first or row < first[label][0]:
                    first[label] = (row, value)
                break
    if len(first) > 1:
        (row_a, a), (row_b, b) = sorted(first.values(), key=lambda pair: pair[0])[:2]
        raise DataError(
            f"column {name!r} mixes types: row {row_a} holds {a!r} ({type(a).__name__}) and row {row_b} holds {b!r} "
            f"({type(b).__name__}). Convert the column to one type."
        )


def _kind(kind: type) -> str:
    if issubclass(kind, (bool, np.bool_)):
        return "boolean"
    if issubclass(kind, (numbers.Number, np.number)):
        return "number"
    if issubclass(kind, (dt.datetime, np.datetime64)):
        return "time"
    if issubclass(kind, dt.date):
        return "date"
    return "text" if issubclass(kind, str) else kind.__name__
