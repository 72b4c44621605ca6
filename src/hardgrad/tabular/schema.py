"""The raw columns that a model takes and the numeric features it sees: part of every table artifact. Never imports torch.

A `TableSchema` is a frozen description. `encode` turns raw columns into the matrix X that trees test; every export (SQL, C, JavaScript,
ONNX) restates exactly this computation. What raw values mean is `hardgrad.tabular.raw`; reading files and deciding on column kinds is
`hardgrad.tabular.reading` and `hardgrad.tabular.column_typing`; fitting codes of categories is `hardgrad.tabular.encoding`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import ArtifactError, SchemaError, suggestion
from hardgrad.tabular.raw import (
    RawColumn,
    category_text,
    encode_categories,
    encode_numbers,
    encode_seconds,
    is_missing,
    open_columns,
    plain_array,
    table_columns,
)

ColumnKind = Literal["numeric", "boolean", "categorical", "datetime"]
Transform = Literal["identity", "codes", "missing"]
COLUMN_KINDS: tuple[ColumnKind, ...] = ("numeric", "boolean", "categorical", "datetime")

__all__ = [
    "Column",
    "ColumnKind",
    "Feature",
    "RawColumn",
    "TableSchema",
    "Transform",
    "category_numbers",
    "category_text",
    "encode_column",
    "epoch_seconds",
    "is_missing",
    "table_columns",
]


@dataclass(frozen=True)
class Column:
    """A raw column: its name, its kind and, if categorical, the categories seen in training (sorted, unique)."""

    name: str
    kind: ColumnKind = "numeric"
    categories: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        texts: tuple[object, ...] = (self.name, *self.categories)  # a file may hold anything
        if not all(isinstance(text, str) for text in texts):
            raise ArtifactError(f"column {self.name!r}: names and categories must be text.")
        if self.kind not in COLUMN_KINDS:
            raise ArtifactError(
                f"column {self.name!r} has kind {self.kind!r}, expected one of {COLUMN_KINDS}."
            )
        if self.categories and (
            self.kind != "categorical" or list(self.categories) != sorted(set(self.categories))
        ):
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
            named: object = feature.name
            if not isinstance(named, str) or type(feature.column) is not int:
                raise ArtifactError(f"feature {feature.name!r}: the name must be text, the column a number.")
            if not 0 <= feature.column < len(self.columns):
                raise ArtifactError(
                    f"feature {feature.name!r} refers to column {feature.column} of {len(names)}."
                )
            column = self.columns[feature.column]
            expected = len(column.categories) + 1 if feature.transform == "codes" else 0
            wrong_kind = (feature.transform == "codes") != (column.kind == "categorical")
            if feature.transform not in ("identity", "codes", "missing") or (
                feature.transform != "missing" and wrong_kind
            ):
                raise ArtifactError(
                    f"feature {feature.name!r}: {feature.transform!r} of a {column.kind} column."
                )
            if len(feature.codes) != expected or not all(map(math.isfinite, feature.codes)):
                raise ArtifactError(
                    f"feature {feature.name!r} has {len(feature.codes)} finite codes, needs {expected}."
                )

    @classmethod
    def numeric(cls, names: Sequence[str]) -> TableSchema:
        """Return the schema of a plain matrix: one numeric column and one identity feature a name."""
        return cls(
            tuple(Column(str(n)) for n in names), tuple(Feature(str(n), i) for i, n in enumerate(names))
        )

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
        picked = self.pick(table)
        X = np.empty((len(picked[0]) if picked else 0, len(self.features)), dtype=np.float64)
        encoded: dict[int, NDArray[Any]] = {}
        for j, feature in enumerate(self.features):
            column = self.columns[feature.column]
            if feature.column not in encoded:
                encoded[feature.column] = encode_column(column, picked[feature.column])
            values = encoded[feature.column]
            if column.kind == "categorical":
                if feature.transform == "missing":
                    X[:, j] = values < 0
                else:
                    # index -1 (missing) is the NaN at the end
                    X[:, j] = np.asarray((*feature.codes, np.nan))[values]
            else:
                X[:, j] = np.isnan(values) if feature.transform == "missing" else values
        return X

    def first_missing(
        self, X: NDArray[np.float64], features: NDArray[np.int64] | None = None
    ) -> tuple[str, int] | None:
        """Return the column and the row of the first missing value in an encoded matrix, in some features or in all; None without one."""
        missing = np.isnan(X if features is None else X[:, features])
        if not missing.any():
            return None
        row, place = (int(at) for at in np.argwhere(missing)[0])
        return self.names[self.features[place if features is None else int(features[place])].column], row

    def raw_columns(self, table: Any) -> list[RawColumn]:
        """Pick this schema's columns, in order, as NumPy arrays. Raises `SchemaError` when one is missing."""
        return [plain_array(values) for values in self.pick(table)]

    def pick(self, table: Any) -> list[Any]:
        """Pick the columns of the schema, in order, as arrays or narwhals series (`encode_column` takes both).

        Raises
        ------
        SchemaError : a column is missing.
        """
        if isinstance(table, np.ndarray):
            checked = self._check_matrix(table)
            return [checked[:, i] for i in range(len(self.columns))]
        columns = open_columns(table)
        for column in self.columns:
            if column.name not in columns:
                present = list(columns)
                hint = suggestion(column.name, present)
                close = hint[len(" Did you mean ") + 1 : -2]
                rename = f" Rename it, or pass --rename {close}={column.name}." if hint else ""
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
                {
                    "name": c.name,
                    "kind": c.kind,
                    **({"categories": list(c.categories)} if c.categories else {}),
                }
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


def encode_column(column: Column, values: Any) -> NDArray[Any]:
    """Return category numbers (int64, -1 missing, K unseen) of a categorical column, float64 with NaN of any other."""
    if column.kind == "categorical":
        return category_numbers(column, values)
    if column.kind == "datetime":
        return epoch_seconds(column, values)
    return encode_numbers(column.name, values, boolean=column.kind == "boolean")


def category_numbers(column: Column, values: Any) -> NDArray[np.int64]:
    """Return the number of each value's category: -1 where missing, `len(categories)` where unseen."""
    return encode_categories(column.name, values, column.categories)


def epoch_seconds(column: Column, values: Any) -> NDArray[np.float64]:
    """Return whole seconds (floor) since 1970-01-01T00:00:00 UTC; naive times are taken as UTC."""
    return encode_seconds(column.name, values)
