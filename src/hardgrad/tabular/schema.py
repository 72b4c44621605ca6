"""The raw columns that a model takes and the numeric features it sees: part of every table artifact. Never imports torch.

A `TableSchema` is a frozen description. `encode` turns raw columns into the matrix X that trees test; every export (SQL, C, JavaScript,
ONNX) restates exactly this computation. Reading files and deciding on column kinds is `hardgrad.tabular.reading` and
`hardgrad.tabular.column_typing`; fitting codes of categories is `hardgrad.tabular.encoding`.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import ArtifactError, DataError, SchemaError, suggestion

ColumnKind = Literal["numeric", "boolean", "categorical", "datetime"]
Transform = Literal["identity", "codes", "missing"]
COLUMN_KINDS: tuple[ColumnKind, ...] = ("numeric", "boolean", "categorical", "datetime")
RawColumn = NDArray[Any]


@dataclass(frozen=True)
class Column:
    """A raw column: its name, its kind and, if categorical, the categories seen in training (sorted, unique)."""

    name: str
    kind: ColumnKind = "numeric"
    categories: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in COLUMN_KINDS:
            raise ArtifactError(f"column {self.name!r} has kind {self.kind!r}, expected one of {COLUMN_KINDS}.")
        if self.categories and (self.kind != "categorical" or list(self.categories) != sorted(set(self.categories))):
            raise ArtifactError(f"column {self.name!r} must be categorical with sorted, distinct categories.")


@dataclass(frozen=True)
class Feature:
    """A number derived from one raw column.

    `identity`: the number itself, 0/1 of a boolean, whole seconds since 1970-01-01T00:00:00 UTC of a date/time; missing is NaN.
    `codes`: `codes[k]` for category k, `codes[-1]` for a category not seen in training; missing is NaN.
    `missing`: 1.0 where the column is missing, else 0.0; never NaN.
    """

    name: str
    column: int
    transform: Transform = "identity"
    codes: tuple[float, ...] = ()


@dataclass(frozen=True)
class TableSchema:
    """The raw columns of a model, in order, and the features derived from them.

    Examples
    --------
    >>> schema = TableSchema((Column("state", "categorical", ("NY", "TX")),), (Feature("state", 0, "codes", (0.1, 0.4, 0.2)),))
    >>> schema.encode({"state": ["TX", "??", None]})[:, 0].tolist()
    [0.4, 0.2, nan]
    """

    columns: tuple[Column, ...]
    features: tuple[Feature, ...]

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        if len(set(names)) != len(names):
            raise ArtifactError(f"column names must be distinct, got {names}.")
        for feature in self.features:
            if not 0 <= feature.column < len(self.columns):
                raise ArtifactError(f"feature {feature.name!r} refers to column {feature.column} of {len(names)}.")
            column = self.columns[feature.column]
            expected = len(column.categories) + 1 if feature.transform == "codes" else 0
            wrong_kind = (feature.transform == "codes") != (column.kind == "categorical")
            if feature.transform not in ("identity", "codes", "missing") or (
                feature.transform != "missing" and wrong_kind
            ):
                raise ArtifactError(f"feature {feature.name!r}: {feature.transform!r} of a {column.kind} column.")
            if len(feature.codes) != expected or not all(map(math.isfinite, feature.codes)):
                raise ArtifactError(f"feature {feature.name!r} has {len(feature.codes)} finite codes, needs {expected}.")

    @classmethod
    def numeric(cls, names: Sequence[str]) -> TableSchema:
        """Return the schema of a plain matrix: one numeric column and one identity feature a name."""
        return cls(tuple(Column(str(n)) for n in names), tuple(Feature(str(n), i) for i, n in enumerate(names)))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the raw columns."""
        return tuple(column.name for column in self.columns)

    @cached_property
    def is_matrix(self) -> bool:
        """True where the features are the columns themselves, all numeric: a float matrix needs no encoding."""
        return len(self.features) == len(self.columns) and all(
            f.column == i and f.transform == "identity" and self.columns[i].kind == "numeric"
            for i, f in enumerate(self.features)
        )

    def encode(self, table: Any) -> NDArray[np.float64]:
        """Turn raw columns into the feature matrix.

        Parameters
        ----------
        table : an array [n, columns] in column order, a mapping of column name to values, a PyArrow table, or any data frame that
            narwhals reads. Columns may stand in any order and there may be more of them.

        Returns
        -------
        X : float64 [n, features]; NaN is missing.

        Raises
        ------
        SchemaError : a column is missing, or has values of another kind than in training.
        """
        if self.is_matrix and isinstance(table, np.ndarray) and table.dtype.kind in "fiub":
            return np.ascontiguousarray(self._check_matrix(table), dtype=np.float64)
        raw = self.raw_columns(table)
        n = len(raw[0]) if raw else 0
        X = np.empty((n, len(self.features)), dtype=np.float64)
        encoded: dict[int, NDArray[Any]] = {}
        for j, feature in enumerate(self.features):
            column = self.columns[feature.column]
            if feature.column not in encoded:
                encoded[feature.column] = _encode_column(column, raw[feature.column])
            values = encoded[feature.column]
            if column.kind == "categorical":
                if feature.transform == "missing":
                    X[:, j] = values < 0
                else:
                    X[:, j] = np.asarray((*feature.codes, np.nan))[values]  # index -1 (missing) is the NaN at the end
            else:
                X[:, j] = np.isnan(values) if feature.transform == "missing" else values
        return X

    def raw_columns(self, table: Any) -> list[RawColumn]:
        """Pick this schema's columns, in order, as NumPy arrays. Raises `SchemaError` when one is missing."""
        if isinstance(table, np.ndarray):
            checked = self._check_matrix(table)
            return [checked[:, i] for i in range(len(self.columns))]
        columns = table_columns(table)
        present = list(columns)
        for column in self.columns:
            if column.name not in columns:
                hint = suggestion(column.name, present)
                rename = f" Rename it, or pass --rename {hint.split(chr(39))[1]}={column.name}." if hint else ""
                raise SchemaError(
                    f"the model expects column {column.name!r} ({column.kind}); the table has {present}.{hint}{rename}"
                )
        return [columns[column.name] for column in self.columns]

    def _check_matrix(self, table: NDArray[Any]) -> NDArray[Any]:
        if table.ndim != 2 or table.shape[1] != len(self.columns):
            raise SchemaError(
                f"got an array of shape {table.shape}; the model expects [n, {len(self.columns)}] with columns "
                f"{list(self.names)}."
            )
        return table

    def to_json(self) -> dict[str, Any]:
        """Return a form that `json` can write."""
        return {
            "columns": [
                {"name": c.name, "kind": c.kind, **({"categories": list(c.categories)} if c.categories else {})}
                for c in self.columns
            ],
            "features": [
                {
                    "name": f.name,
                    "column": f.column,
                    "transform": f.transform,
                    **({"codes": list(f.codes)} if f.codes else {}),
                }
                for f in self.features
            ],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> TableSchema:
        """Invert `to_json`. Raises `ArtifactError` when the form is not valid."""
        columns = tuple(Column(c["name"], c["kind"], tuple(c.get("categories", ()))) for c in data["columns"])
        features = tuple(
            Feature(f["name"], f["column"], f["transform"], tuple(float(v) for v in f.get("codes", ())))
            for f in data["features"]
        )
        return cls(columns, features)


def table_columns(table: Any) -> dict[str, RawColumn]:
    """Return the columns of any table as NumPy arrays by name (see `TableSchema.encode` for what a table may be)."""
    if isinstance(table, Mapping):
        columns = {str(name): _as_array(values) for name, values in table.items()}
    else:
        import narwhals.stable.v2 as nw

        try:
            frame = cast(Any, nw.from_native(table))
        except TypeError:
            raise DataError(
                f"got a {type(table).__name__}; expected an array, a mapping of columns, a PyArrow table or a data frame."
            ) from None
        if hasattr(frame, "collect"):
            frame = frame.collect()
        columns = {str(name): _series_array(frame[name]) for name in frame.columns}
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"columns have different lengths: {lengths}.")
    return columns


def _series_array(series: Any) -> RawColumn:
    """A narwhals series as an array: floats, bools or datetime64 where there is no doubt, objects with None otherwise."""
    import narwhals.stable.v2 as nw

    kind = series.dtype
    if kind in (nw.Float64, nw.Float32):
        return np.asarray(series.to_numpy(), dtype=np.float64)
    if kind.is_integer() and series.null_count() == 0:
        return np.asarray(series.to_numpy())
    if kind == nw.Boolean and series.null_count() == 0:
        return np.asarray(series.to_numpy(), dtype=bool)
    return _object_array(series.to_list())


def _as_array(values: Any) -> RawColumn:
    if isinstance(values, np.ndarray):
        return values
    values = list(values)
    if any(isinstance(v, str) or v is None or isinstance(v, (dt.date, bool)) for v in values):
        return _object_array(values)
    array = np.asarray(values)
    return array if array.ndim == 1 else _object_array(values)


def _object_array(values: Sequence[Any]) -> RawColumn:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def is_missing(value: Any) -> bool:
    """Tell whether one raw value is missing: None, NaN or NaT."""
    return value is None or bool(value != value)


def _encode_column(column: Column, values: RawColumn) -> NDArray[Any]:
    """Category numbers (int64, -1 missing, K unseen) of a categorical column, float64 with NaN of any other."""
    if column.kind == "categorical":
        return category_numbers(column, values)
    if column.kind == "datetime":
        return epoch_seconds(column, values)
    if values.dtype.kind in "fiu" or (values.dtype.kind == "b" and column.kind in ("boolean", "numeric")):
        return values.astype(np.float64)
    encoded = np.full(len(values), np.nan)
    for i, value in enumerate(values):
        if is_missing(value):
            continue
        if isinstance(value, (bool, np.bool_, int, float, np.number)) or type(value).__name__ == "Decimal":
            encoded[i] = float(value)
        else:
            raise SchemaError(
                f"column {column.name!r} is {column.kind}, but row {i} holds {value!r}. Convert the column to numbers."
            )
    return encoded


def category_text(value: Any) -> str:
    """The text by which a category is known: a string itself, a whole number without a point, true/false."""
    if isinstance(value, str):
        return value
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    return str(value)


def category_numbers(column: Column, values: RawColumn) -> NDArray[np.int64]:
    """Return the number of each value's category: -1 where missing, `len(categories)` where unseen."""
    position = {category: k for k, category in enumerate(column.categories)}
    unseen = len(position)
    known: dict[Any, int] = {}
    numbers = np.empty(len(values), dtype=np.int64)
    for i, value in enumerate(values.tolist()):
        if isinstance(value, (dt.date, bytes)):
            raise SchemaError(f"column {column.name!r} is categorical, but row {i} holds {value!r}. Convert it to text.")
        key = (value, type(value))
        number = known.get(key)
        if number is None:
            number = -1 if is_missing(value) else position.get(category_text(value), unseen)
            known[key] = number
        numbers[i] = number
    return numbers


_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def epoch_seconds(column: Column, values: RawColumn) -> NDArray[np.float64]:
    """Return whole seconds (floor) since 1970-01-01T00:00:00 UTC; naive times are taken as UTC."""
    if values.dtype.kind == "M":
        # Going through microseconds keeps the floor right for any unit; NaT is the least int64.
        ticks = values.astype("datetime64[us]").astype(np.int64)
        return np.where(np.isnat(values), np.nan, np.floor_divide(ticks, 1_000_000).astype(np.float64))
    if values.dtype.kind == "f" and np.isnan(values).all():
        return values.astype(np.float64)
    seconds = np.full(len(values), np.nan)
    for i, value in enumerate(values):
        if is_missing(value):
            continue
        if isinstance(value, np.datetime64):
            value = value.astype("datetime64[us]").item()
        if isinstance(value, dt.datetime):
            aware = value if value.tzinfo else value.replace(tzinfo=dt.UTC)
            seconds[i] = (aware - _EPOCH) // dt.timedelta(seconds=1)
        elif isinstance(value, dt.date):
            seconds[i] = (value - _EPOCH.date()).days * 86400
        else:
            raise SchemaError(f"column {column.name!r} is a date/time, but row {i} holds {value!r}. Parse it first.")
    return seconds
