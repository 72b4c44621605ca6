"""The column to predict: is it a class or a number, and which classes are there. Training on it is the estimators' business."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hardgrad.core.errors import DataError, ParameterError
from hardgrad.tabular.arrow import column_to_arrow, to_arrow
from hardgrad.tabular.table_model import Label

MAX_STREAMED_CLASSES = 1000
MAX_INTEGER_CLASSES = 20
"""Whole numbers with more different values than this are a quantity, not classes, unless the task says otherwise."""
MAX_CLASS_SHARE = 0.05
"""... and so are whole numbers of which there are more than this share of the rows (two values are always classes)."""


@dataclass(frozen=True)
class Target:
    """A target ready to train on.

    Parameters
    ----------
    task : "classification" or "regression".
    classes : the labels, sorted, with their own Python type; empty for a regression.
    y : class numbers int64 [n], or float64 [n] or [n, outputs].
    name : what the column is called.
    """

    task: Literal["classification", "regression"]
    classes: tuple[Label, ...]
    y: NDArray[Any]
    name: str = "target"

    @property
    def labels(self) -> NDArray[Any]:
        """What scikit-learn calls y: labels [n] of a classification, numbers of a regression."""
        return np.array(self.classes)[self.y] if self.classes else self.y


def prepare_target(column: Any, task: str = "auto", *, name: str = "target", minimum_rows: int = 2) -> Target:
    """Check a target and turn it into class numbers or floats.

    Text and booleans are classes. Whole numbers are classes where there are at most 20 different ones and at most one in twenty rows;
    two different values are always classes. All else is a number to regress on.

    Parameters
    ----------
    column : values [n] of any kind; a table or array [n, outputs] for a regression of several targets.
    task : "auto", "classification" or "regression".
    name : what messages call the column.
    minimum_rows : fewer rows are an error.

    Raises
    ------
    DataError : a value is missing or infinite, there is one class only, there are too few rows, or the column does not fit the task.
    ParameterError : an unknown task.

    Examples
    --------
    >>> prepare_target(["no", "yes", "no"])
    Target(task='classification', classes=('no', 'yes'), y=array([0, 1, 0]), name='target')
    >>> prepare_target([1.5, 2.0]).task
    'regression'
    """
    if task not in ("auto", "classification", "regression"):
        raise ParameterError(f"got task={task!r}; expected 'auto', 'classification' or 'regression'.")
    if _several(column):
        return _several_targets(column, task, name, minimum_rows)
    values = _values(name, column)
    _check_rows(name, len(values), minimum_rows)
    _check_complete(name, values)
    words = _check_kind(name, values.type, task)
    if task == "classification" or (task == "auto" and (words or _few_whole_numbers(values))):
        return _classification(name, values)
    return _regression(name, values)


def _several(column: Any) -> bool:
    if isinstance(column, np.ndarray):
        return column.ndim == 2 and column.shape[1] != 1
    return isinstance(column, pa.Table) or (hasattr(column, "columns") and not hasattr(column, "dtype"))


def _several_targets(column: Any, task: str, name: str, minimum_rows: int) -> Target:
    table = to_arrow(column)
    if table.num_columns == 1:
        return prepare_target(table.column(0), task, name=table.column_names[0], minimum_rows=minimum_rows)
    if task == "classification":
        raise DataError(
            f"got {table.num_columns} target columns; a classification has one. Train one model a column."
        )
    parts = [
        prepare_target(table[part], "regression", name=part, minimum_rows=minimum_rows).y
        for part in table.column_names
    ]
    return Target("regression", (), np.column_stack(parts), name)


def _values(name: str, column: Any) -> Any:
    if isinstance(column, np.ndarray) and column.ndim == 2:
        column = column[:, 0]
    values = column_to_arrow(name, column)
    values = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    return values.dictionary_decode() if pa.types.is_dictionary(values.type) else values


def _check_kind(name: str, kind: Any, task: str) -> bool:
    """Tell whether targets of this Arrow type are words or booleans, not numbers. Raises `DataError` where they are neither."""
    words = bool(_is_text(kind) or pa.types.is_boolean(kind))
    if not words and not (
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    ):
        raise DataError(f"target {name!r} has type {kind}. Expected numbers, text or booleans; convert it.")
    if task == "regression" and words:
        raise DataError(
            f"target {name!r} is {kind}, so there is nothing to regress on. Convert it to numbers, or classify."
        )
    return words


def _check_rows(name: str, rows: int, minimum_rows: int) -> None:
    if rows < minimum_rows:
        raise DataError(f"target {name!r} has {rows} rows; expected at least {minimum_rows}. Get more data.")


def _check_complete(name: str, values: Any, number: NDArray[np.int64] | None = None) -> None:
    """Raise `DataError` where a value is missing or infinite; `number` are the numbers of the rows, where they do not start at 0."""
    missing = pc.is_null(values, nan_is_null=True)
    count = pc.sum(missing).as_py() or 0
    if count:
        row = pc.index(missing, True).as_py()
        where = (
            f"in {count:,} of {len(values):,} rows, first in row {row}"
            if number is None
            else f"in row {number[row]}"
        )
        raise DataError(f"target {name!r} is missing {where}. Drop such rows, or fill them in.")
    if pa.types.is_floating(values.type):
        infinite = pc.is_inf(values)
        if pc.any(infinite).as_py():
            row = pc.index(infinite, True).as_py()
            shown = row if number is None else number[row]
            raise DataError(
                f"target {name!r} holds {values[row].as_py()} in row {shown}. Drop the row, or put a bound in its place."
            )


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _few_whole_numbers(values: Any) -> bool:
    numbers = values.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return whole_classes(np.unique(numbers), len(numbers))


def whole_classes(distinct: NDArray[np.float64], rows: int) -> bool:
    """Tell whether numbers with these different values are classes rather than a quantity."""
    if len(distinct) > MAX_INTEGER_CLASSES or (distinct != np.floor(distinct)).any():
        return False
    return len(distinct) <= max(2.0, MAX_CLASS_SHARE * rows)


def _classification(name: str, values: Any) -> Target:
    coded = values.cast(pa.large_string()) if pa.types.is_string_view(values.type) else values
    coded = (coded.cast(pa.float64()) if pa.types.is_decimal(values.type) else coded).dictionary_encode()
    labels = coded.dictionary.to_pylist()
    check_labels(name, labels, len(values))
    order = sorted(range(len(labels)), key=labels.__getitem__)
    rank = np.empty(len(labels), dtype=np.int64)
    rank[order] = np.arange(len(labels))
    return Target(
        "classification",
        tuple(labels[k] for k in order),
        rank[coded.indices.to_numpy(zero_copy_only=False)],
        name,
    )


def check_labels(name: str, labels: list[Any], rows: int) -> None:
    """Raise `DataError` where labels are too few or too many to classify."""
    if len(labels) == 1:
        raise DataError(
            f"target {name!r} has one class only, {labels[0]!r}. Expected at least two; add rows of the other, or choose another target."
        )
    if len(labels) > max(MAX_INTEGER_CLASSES, rows / 2):
        raise DataError(
            f"target {name!r} has {len(labels):,} different values in {rows:,} rows: that names rows, it does not classify them. "
            "Choose another target, or make it a number and regress."
        )


def _regression(name: str, values: Any) -> Target:
    y = np.array(values.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)
    _check_varies(name, float(y.min()), float(y.max()), len(y))
    return Target("regression", (), y, name)


def _check_varies(name: str, low: float, high: float, rows: int) -> None:
    if low == high:
        raise DataError(
            f"target {name!r} is {low:g} in all {rows:,} rows: there is nothing to learn. Choose another target."
        )


# --- piece by piece --------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class JudgedTarget:
    """What a target is: the task, the classes with their shares (empty for a regression), and the mean of a regression."""

    task: Literal["classification", "regression"]
    classes: tuple[Label, ...]
    share: NDArray[np.float64]
    mean: float


class TargetTotals:
    """A target seen piece by piece; the same decisions as `prepare_target`, in memory that does not grow with the rows.

    Parameters
    ----------
    name, kind : name and Arrow type of the column.
    task : see `prepare_target`.
    """

    def __init__(self, name: str, kind: Any, task: str) -> None:
        self.name, self.task, self.rows = name, task, 0
        self.words = _check_kind(name, kind.value_type if pa.types.is_dictionary(kind) else kind, task)
        self._weights: dict[Any, float] = {}
        self._low, self._high, self._sum, self._weight = np.inf, -np.inf, 0.0, 0.0

    def add(self, values: Any, weight: NDArray[np.float64], number: NDArray[np.int64]) -> None:
        """Add rows: an Arrow array, weights and row numbers."""
        _check_complete(self.name, values, number)
        self.rows += len(values)
        if len(self._weights) <= MAX_STREAMED_CLASSES and self.task != "regression":
            coded = values if pa.types.is_dictionary(values.type) else values.dictionary_encode()
            labels = coded.dictionary.to_pylist()
            index = coded.indices.to_numpy(zero_copy_only=False)
            seen = np.bincount(index, minlength=len(labels)) > 0
            added = np.bincount(index, weights=weight, minlength=len(labels))
            for label, share in ((labels[k], float(added[k])) for k in np.flatnonzero(seen).tolist()):
                self._weights[label] = self._weights.get(label, 0.0) + share
        if not self.words:
            y = values.cast(pa.float64()).to_numpy(zero_copy_only=False)
            self._low, self._high = min(self._low, y.min()), max(self._high, y.max())
            self._sum, self._weight = self._sum + float(weight @ y), self._weight + float(weight.sum())

    def judge(self, minimum_rows: int = 2) -> JudgedTarget:
        """Decide. Raises `DataError` as `prepare_target` does."""
        _check_rows(self.name, self.rows, minimum_rows)
        counted = len(self._weights) <= MAX_STREAMED_CLASSES
        few = self.task != "regression" and counted and not self.words
        if few and self.task == "auto":
            few = whole_classes(np.array([float(label) for label in self._weights]), self.rows)
        if not (self.words or few or self.task == "classification"):
            _check_varies(self.name, float(self._low), float(self._high), self.rows)
            return JudgedTarget("regression", (), np.empty(0), self._sum / self._weight)
        if not counted:
            raise DataError(
                f"target {self.name!r} has more than {MAX_STREAMED_CLASSES:,} different values. Choose another target, or regress on it."
            )
        labels = sorted(self._weights)
        check_labels(self.name, labels, self.rows)
        share = np.array([self._weights[label] for label in labels])
        return JudgedTarget("classification", tuple(labels), share / share.sum(), 0.0)
