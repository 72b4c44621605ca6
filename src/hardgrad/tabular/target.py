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

Label = str | int | float | bool
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
    _check_complete(name, values, minimum_rows)
    kind = values.type
    words = _is_text(kind) or pa.types.is_boolean(kind)
    if not words and not (
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    ):
        raise DataError(f"target {name!r} has type {kind}. Expected numbers, text or booleans; convert it.")
    if task == "regression" and words:
        raise DataError(
            f"target {name!r} is {kind}, so there is nothing to regress on. Convert it to numbers, or classify."
        )
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


def _check_complete(name: str, values: Any, minimum_rows: int) -> None:
    if len(values) < minimum_rows:
        raise DataError(
            f"target {name!r} has {len(values)} rows; expected at least {minimum_rows}. Get more data."
        )
    missing = pc.is_null(values, nan_is_null=True)
    count = pc.sum(missing).as_py() or 0
    if count:
        row = pc.index(missing, True).as_py()
        raise DataError(
            f"target {name!r} is missing in {count:,} of {len(values):,} rows, first in row {row}. Drop these rows, or fill them in."
        )
    if pa.types.is_floating(values.type):
        infinite = pc.is_inf(values)
        if pc.any(infinite).as_py():
            row = pc.index(infinite, True).as_py()
            raise DataError(
                f"target {name!r} holds {values[row].as_py()} in row {row}. Drop the row, or put a bound in its place."
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
    if len(labels) > 2 and len(labels) > rows / 2:
        raise DataError(
            f"target {name!r} has {len(labels):,} different values in {rows:,} rows: that names rows, it does not classify them. "
            "Choose another target, or make it a number and regress."
        )


def _regression(name: str, values: Any) -> Target:
    y = np.array(values.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)
    if (y == y[0]).all():
        raise DataError(
            f"target {name!r} is {y[0]:g} in all {len(y):,} rows: there is nothing to learn. Choose another target."
        )
    return Target("regression", (), y, name)
