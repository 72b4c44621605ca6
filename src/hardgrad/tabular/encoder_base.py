"""TableTransformer: what encoders of categories share as scikit-learn transformers. Checking input, the table that they leave behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from hardgrad.core.errors import DataError, ParameterError, suggestion
from hardgrad.export.c import CSource
from hardgrad.tabular.arrow import to_arrow
from hardgrad.tabular.category_table import CategoryTable
from hardgrad.tabular.column_typing import column_kind
from hardgrad.tabular.schema import ColumnKind
from hardgrad.tabular.table_estimator import all_numbers, is_table

Floats = NDArray[np.float64]
MOST_CLASSES = 20
"""Whole numbers with more different values than this are not taken for classes unless it is said that they are."""


class TableTransformer(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Base of encoders whose `fit` leaves a `CategoryTable` in `table_`; what `transform` says is what the table says."""

    columns: Any
    table_: CategoryTable
    _sparse: bool = False

    def transform(self, X: Any) -> Any:
        """Return the codes: float64 [n, outputs], or a `scipy.sparse.csr_matrix` (see `sparse_output`).

        Raises
        ------
        SchemaError, DataError : see `CategoryTable.transform`.
        """
        check_is_fitted(self, "table_")
        return self.table_.transform(self._check(X, reset=False), sparse=self._sparse)

    def inverse_transform(self, X: Any) -> dict[str, NDArray[Any]]:
        """Return the raw columns by name that codes stand for (see `CategoryTable.inverse_transform`)."""
        check_is_fitted(self, "table_")
        return self.table_.inverse_transform(X)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[Any]:
        """Return the names of the outputs; `input_features` is there for scikit-learn and must be the fitted columns."""
        check_is_fitted(self, "table_")
        names = [column.name for column in self.table_.columns]
        if input_features is not None and [str(f) for f in input_features] != names:
            raise ParameterError(
                f"input_features is not equal to feature_names_in_: got {list(input_features)}; expected {names}."
            )
        return np.array(self.table_.features, dtype=object)

    def harden(self) -> CategoryTable:
        """Return the exact artifact: NumPy only, savable."""
        check_is_fitted(self, "table_")
        return self.table_

    def to_sql(self, dialect: str = "duckdb", **options: Any) -> str:
        """Return one SELECT that encodes a table (see `CategoryTable.to_sql`)."""
        return self.harden().to_sql(dialect, **options)

    def to_c(self, name: str = "encoder") -> CSource:
        """Return C99 header and source (see `CategoryTable.to_c`)."""
        return self.harden().to_c(name)

    def __sklearn_tags__(self) -> Tags:
        tags: Tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        return tags

    # --- input ---------------------------------------------------------------------------------------------------------------
    def _open(self, X: Any) -> Any:
        """Check the table to learn from, remember its columns and return it as Arrow."""
        arrow = to_arrow(self._check(X, reset=True))
        if _has_columns(X):
            self.feature_names_in_ = np.array(arrow.column_names, dtype=object)
            self.n_features_in_ = len(arrow.column_names)
        if arrow.num_rows == 0:
            raise DataError("the table has no rows. Expected at least one.")
        return arrow

    def _check(self, X: Any, *, reset: bool) -> Any:
        """Let scikit-learn check what it can: arrays, and frames of numbers."""
        plain = not _has_columns(X)
        if plain or all_numbers(X):
            checked = validate_data(self, X, dtype=None, ensure_all_finite="allow-nan", reset=reset)
            return checked if plain else X
        return X

    def _kinds(self, table: Any) -> list[tuple[str, ColumnKind]]:
        """Return what each column of an Arrow table is; those named in `columns` are categories."""
        names = table.column_names
        auto = isinstance(self.columns, str) and self.columns == "auto"
        asked = set() if auto else self._asked(names)
        found: list[tuple[str, ColumnKind]] = []
        for name in names:
            kind = column_kind(name, table[name].type, categorical=name in asked) or "numeric"
            if not auto and kind == "categorical" and name not in asked:
                raise DataError(
                    f"column {name!r} is text and is not among columns={sorted(asked)}, so that it cannot be passed on as a number. "
                    "Name it, or drop it."
                )
            found.append((name, kind))
        return found

    def _asked(self, names: Sequence[str]) -> set[str]:
        found = set()
        for column in self.columns:
            name = names[column] if isinstance(column, int) and -len(names) <= column < len(names) else column
            if name not in names:
                raise ParameterError(
                    f"columns got {column!r}; the table has {list(names)}.{suggestion(str(column), names)}"
                )
            found.add(name)
        return found


def _has_columns(X: Any) -> bool:
    """Tell whether X has named columns; a sparse matrix of keys is a mapping, and has none."""
    return (is_table(X) or isinstance(X, Mapping)) and not hasattr(X, "toarray")


def read_target(y: Any, n: int, target_type: str, who: str) -> tuple[str, NDArray[Any] | None, Floats]:
    """Return the type of a target, its classes if it has any, and what categories are coded by [n, outputs].

    Parameters
    ----------
    y : labels or numbers [n].
    n : rows of the table.
    target_type : "auto" (as scikit-learn sees it), "binary", "multiclass" or "continuous".
    who : names the caller in messages.

    Returns
    -------
    type, classes, T : T is one column for numbers (the numbers) and for two classes (1 for the second); else one indicator a class.

    Raises
    ------
    DataError : there is no target, it has another length, is not finite, is none of the three types, or is whole numbers of more than 20
        values, of which "auto" cannot tell whether they are classes.
    """
    if y is None:
        raise DataError(f"{who} requires y to be passed, but the target y is None. Pass the target.")
    y = column_or_1d(y, warn=True)
    if len(y) != n:
        raise DataError(f"the table has {n:,} rows and the target {len(y):,}; expected as many.")
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        raise DataError(f"{who}: the target has NaN or infinity. Drop these rows.")
    found = type_of_target(y) if target_type == "auto" else target_type
    if found == "continuous":
        return found, None, np.asarray(y, dtype=np.float64)[:, None]
    if found not in ("binary", "multiclass"):
        raise DataError(f"Unknown label type: {who} needs classes or numbers, but the target is {found}.")
    classes, index = np.unique(y, return_inverse=True)
    if target_type == "auto" and len(classes) > MOST_CLASSES and y.dtype.kind in "iuf":
        raise DataError(
            f"{who}: the target has {len(classes):,} different whole numbers, which may be classes or quantities. Pass "
            "target_type='multiclass' or 'continuous'."
        )
    T = np.eye(len(classes))[index] if found == "multiclass" else (index[:, None] == 1).astype(np.float64)
    return found, classes, T
