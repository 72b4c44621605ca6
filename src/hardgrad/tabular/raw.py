"""What raw values mean: any table as columns, and a column as category numbers, numbers or seconds. NumPy alone for arrays.

`hardgrad.tabular.schema` puts these together; it says which columns there are. Nothing here knows about schemas.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import DataError, SchemaError

RawColumn = NDArray[Any]
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


# --- tables ------------------------------------------------------------------------------------------------------------------
def table_columns(table: Any) -> dict[str, RawColumn]:
    """Return the columns of any table as NumPy arrays by name (see `TableSchema.encode` for what a table may be)."""
    return {name: plain_array(values) for name, values in open_columns(table).items()}


def open_columns(table: Any) -> dict[str, Any]:
    """Return the columns of any table by name, as arrays or as narwhals series that are not converted yet.

    Raises
    ------
    DataError : it is no table, two columns share a name, or columns differ in length.
    """
    columns: dict[str, Any] = {}
    for name, values in _named_columns(table):
        if str(name) in columns:
            raise DataError(f"the table has two columns named {str(name)!r}. Rename or drop one of them.")
        columns[str(name)] = values
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"columns have different lengths: {lengths}.")
    return columns


def _named_columns(table: Any) -> list[tuple[Any, Any]]:
    if isinstance(table, Mapping):
        return [(name, _as_array(values)) for name, values in table.items()]
    import narwhals.stable.v2 as nw
    from narwhals.exceptions import DuplicateError

    try:
        frame: Any = nw.from_native(table)
        if hasattr(frame, "collect"):
            frame = frame.collect()
        return [(series.name, series) for series in frame.iter_columns()]
    except TypeError:
        raise DataError(
            f"got a {type(table).__name__}; expected an array, a mapping of columns, a PyArrow table or a data frame."
        ) from None
    except DuplicateError as error:
        repeated = "; ".join(str(error).splitlines()[1:]).replace("- ", "")
        raise DataError(f"the table has columns of the same name: {repeated}. Rename or drop them.") from None


def _as_array(values: Any) -> RawColumn:
    if isinstance(values, np.ndarray):
        return values
    for method in ("to_pylist", "to_list"):  # an Arrow array or a series
        if hasattr(values, method):
            values = getattr(values, method)()
    values = list(values)
    if any(v is None or isinstance(v, (str, dt.date, bool)) or type(v).__name__ == "NAType" for v in values):
        return _object_array(values)
    array = np.asarray(values)
    return array if array.ndim == 1 else _object_array(values)


def plain_array(values: Any) -> RawColumn:
    """Return a column of `open_columns` as an array: numbers or bools where there is no doubt, objects with None otherwise."""
    if isinstance(values, np.ndarray):
        return values
    import narwhals.stable.v2 as nw

    kind = values.dtype
    if kind in (nw.Float64, nw.Float32):
        return np.asarray(values.to_numpy(), dtype=np.float64)
    if kind.is_integer() and values.null_count() == 0:
        return np.asarray(values.to_numpy())
    if kind == nw.Boolean and values.null_count() == 0:
        return np.asarray(values.to_numpy(), dtype=bool)
    return _object_array(values.to_list())


def _object_array(values: Sequence[Any]) -> RawColumn:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def is_missing(value: Any) -> bool:
    """Tell whether one raw value is missing: None, NaN, NaT or pandas' NA.

    >>> [is_missing(value) for value in (None, float("nan"), "", 0)]
    [True, True, False, False]
    """
    return value is None or type(value).__name__ == "NAType" or bool(value != value)


# --- numbers and booleans ----------------------------------------------------------------------------------------------------------
def encode_numbers(name: str, values: Any, *, boolean: bool = False) -> NDArray[np.float64]:
    """Return a numeric or boolean column as float64, NaN where missing.

    Parameters
    ----------
    name : the column's name, for messages.
    values : an array or a narwhals series.
    boolean : whether only 0, 1, True and False are values.

    Raises
    ------
    SchemaError : a value is no number (or no boolean); the message names the row.
    """
    numbers = _fast_numbers(values)
    if numbers is None:
        numbers = _slow_numbers(name, plain_array(values), "boolean" if boolean else "numeric")
    if boolean:
        wrong = np.flatnonzero(~((numbers == 0) | (numbers == 1) | np.isnan(numbers)))
        if len(wrong):
            row = int(wrong[0])
            raise SchemaError(
                f"column {name!r} is boolean, but row {row} holds {numbers[row]:g}. Convert the column to booleans."
            )
    return numbers


def _fast_numbers(values: Any) -> NDArray[np.float64] | None:
    if isinstance(values, np.ndarray):
        return values.astype(np.float64) if values.dtype.kind in "fiub" else None
    import narwhals.stable.v2 as nw

    kind = values.dtype
    if kind.is_float() or kind.is_integer():
        return np.array(values.to_numpy(), dtype=np.float64)
    if kind == nw.Boolean and values.null_count() == 0:
        return np.array(values.to_numpy(), dtype=np.float64)
    return None


def _slow_numbers(name: str, values: RawColumn, kind: str) -> NDArray[np.float64]:
    numbers = np.full(len(values), np.nan)
    for i, value in enumerate(values):
        if is_missing(value):
            continue
        if (
            isinstance(value, (bool, np.bool_, int, float, np.floating, np.integer))
            or type(value).__name__ == "Decimal"
        ):
            numbers[i] = float(value)
        else:
            raise SchemaError(
                f"column {name!r} is {kind}, but row {i} holds {value!r}. Convert the column to numbers."
            )
    return numbers


# --- categories ----------------------------------------------------------------------------------------------------------------------
def category_text(value: Any) -> str:
    """Return the text by which a category is known: a string itself, a whole number without a point, true/false.

    >>> [category_text(value) for value in ("a ", 3, 3.0, True)]
    ['a ', '3', '3', 'true']
    """
    if isinstance(value, str):
        return value
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    return str(value)


def encode_categories(name: str, values: Any, categories: Sequence[str]) -> NDArray[np.int64]:
    """Return the number of each value among the categories: -1 where missing, `len(categories)` where it is none of them.

    Raises
    ------
    SchemaError : a value is a date/time, bytes or a container.
    """
    texts, numbers = _texts(name, values)
    position = {category: k for k, category in enumerate(categories)}
    known = np.array([*(position.get(text, len(position)) for text in texts), -1], dtype=np.int64)
    return known[numbers]


def distinct_texts(name: str, values: Any) -> tuple[list[str], NDArray[np.int64]]:
    """Return the distinct texts of a categorical column, in order of appearance, and each row's number among them, -1 if missing."""
    texts, numbers = _texts(name, values)
    # A dictionary may hold texts that no row has, in any order. Of equal indices the last assignment stays: go backwards.
    first = np.full(len(texts) + 1, len(numbers), dtype=np.int64)
    first[numbers[::-1]] = np.arange(len(numbers))[::-1]
    order = np.argsort(first[:-1], kind="stable")
    order = order[first[order] < len(numbers)]
    rank = np.full(len(texts) + 1, -1, dtype=np.int64)
    rank[order] = np.arange(len(order))
    return [texts[k] for k in order], rank[numbers]


def _texts(name: str, values: Any) -> tuple[list[str], NDArray[np.int64]]:
    """Texts, each once, and each row's number among them, -1 where missing."""
    if not isinstance(values, np.ndarray):
        coded = _dictionary(values)
        if coded is not None:
            distinct, index = coded
            texts, numbers = _texts(name, _object_array(distinct))
            return texts, numbers[index]
        values = plain_array(values)
    if values.dtype.kind in "Mm":
        raise _no_category(name, 0, values[0]) if len(values) else _no_category(name, 0, values.dtype)
    objects = values.tolist()
    kinds = set(map(type, objects))
    bad = tuple(k for k in kinds if issubclass(k, _NOT_CATEGORIES))
    if bad:
        row = next(i for i, value in enumerate(objects) if isinstance(value, bad))
        raise _no_category(name, row, objects[row])
    # 1, 1.0 and True are one key to a dictionary: remember values by themselves only where equal values have equal texts.
    known = _TextNumbers() if kinds <= _PLAIN_KINDS else _TypedNumbers()
    numbers = np.fromiter(map(known.number, objects), dtype=np.int64, count=len(objects))
    return list(known.texts), numbers


_NOT_CATEGORIES = (dt.date, dt.time, dt.timedelta, bytes, bytearray, list, dict, set, tuple, np.ndarray)
_PLAIN_KINDS = {str, type(None), int, float}


def _no_category(name: str, row: int, value: Any) -> SchemaError:
    return SchemaError(f"column {name!r} is categorical, but row {row} holds {value!r}. Convert it to text.")


class _TextNumbers(dict[Any, int]):
    """Numbers values by their texts, and remembers them."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: dict[str, int] = {}
        self.number = self.__getitem__

    def __missing__(self, value: Any) -> int:
        if is_missing(value):
            return -1  # not remembered: every NaN would be a key of its own
        number = self[value] = self.texts.setdefault(category_text(value), len(self.texts))
        return number


class _TypedNumbers:
    """Numbers values by their texts where equal values may have different ones."""

    def __init__(self) -> None:
        self.texts: dict[str, int] = {}

    def number(self, value: Any) -> int:
        return -1 if is_missing(value) else self.texts.setdefault(category_text(value), len(self.texts))


def _dictionary(series: Any) -> tuple[list[Any], NDArray[np.int64]] | None:
    """The distinct values of a column of text and each row's number among them (-1 missing), or None where it is no plain text."""
    import narwhals.stable.v2 as nw

    if series.dtype not in (nw.String, nw.Categorical, nw.Enum):
        return None
    import pyarrow as pa

    try:
        encoded: Any = series.to_arrow()
        if not pa.types.is_dictionary(encoded.type):
            encoded = encoded.dictionary_encode()
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        return None  # a pandas column that only looks like text
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.unify_dictionaries().combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):  # no chunk at all
        return [], np.empty(0, dtype=np.int64)
    distinct = encoded.dictionary.to_pylist()
    index = encoded.indices.cast(pa.int64()).fill_null(len(distinct)).to_numpy(zero_copy_only=False)
    return [*distinct, None], index


# --- dates and times --------------------------------------------------------------------------------------------------------------------
def encode_seconds(name: str, values: Any) -> NDArray[np.float64]:
    """Return whole seconds (floor) since 1970-01-01T00:00:00 UTC, NaN where missing; naive times are taken as UTC.

    Raises
    ------
    SchemaError : a value is no date/time; the message names the row.
    """
    if not isinstance(values, np.ndarray):
        import narwhals.stable.v2 as nw

        times = values.dtype in (nw.Datetime, nw.Date)
        array = values.to_numpy() if times else None
        values = array if array is not None and array.dtype.kind == "M" else plain_array(values)
    if values.dtype.kind == "M":
        # Going through microseconds keeps the floor right for any unit; NaT is the least int64.
        ticks = values.astype("datetime64[us]").astype(np.int64)
        return np.where(np.isnat(values), np.nan, np.floor_divide(ticks, 1_000_000).astype(np.float64))
    if values.dtype.kind == "f" and np.isnan(values).all():
        return np.asarray(values, dtype=np.float64)
    seconds = np.full(len(values), np.nan)
    for i, value in enumerate(values):
        if not is_missing(value):
            seconds[i] = _seconds(value)
            if math.isnan(seconds[i]):
                raise SchemaError(
                    f"column {name!r} is a date/time, but row {i} holds {value!r}. Parse it first."
                )
    return seconds


def _seconds(value: Any) -> float:
    if isinstance(value, np.datetime64):
        value = value.astype("datetime64[us]").item()
    if isinstance(value, dt.datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=dt.UTC)
        return float((aware - EPOCH) // dt.timedelta(seconds=1))
    if isinstance(value, dt.date):
        return float((value - EPOCH.date()).days * 86400)
    return math.nan
