"""Fitting the schema of a table: which features a model sees, and the codes of categories. What the codes are is `category_codes`.

Numbers, booleans and times are features as they are (times in seconds). A categorical column becomes one code, the target's shrunk mean in
each category; one code a class where there are three classes or more, one an output of a regression of several outputs, but never more than
ten: beyond that, codes are of the ten directions in which the targets vary most. A column that is sometimes missing gets a feature that
tells whether it is.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import DataError, ParameterError
from hardgrad.tabular.arrow import to_arrow
from hardgrad.tabular.category_codes import (
    FOLDS,
    MAX_CODES,
    CategoryTotals,
    Floats,
    balanced_folds,
    class_targets,
    principal_directions,
)
from hardgrad.tabular.column_typing import TableWarning, Typing, infer_columns
from hardgrad.tabular.raw import distinct_texts
from hardgrad.tabular.schema import Column, Feature, TableSchema
from hardgrad.tabular.weights import check_weights

CROSS_FIT_ABOVE = 10
"""Columns with more categories than this are cross-fitted: below, a category has so many rows that one label hardly moves its code."""


class TableEncoder:
    """Fits a `TableSchema` to a training table.

    Parameters
    ----------
    categorical, numeric, drop : see `infer_columns`.
    folds : folds of the cross-fitted training codes.
    cross_fit_above : columns with more categories than this are cross-fitted.

    Attributes
    ----------
    typing_ : `Typing`, what the columns were taken for.
    schema_ : `TableSchema`.

    Examples
    --------
    >>> schema = TableEncoder().fit({"age": [30, 40, None, 20], "state": ["NY", "TX", "NY", "TX"]}, [0, 1, 0, 1])
    >>> [feature.name for feature in schema.features]
    ['age', 'age is missing', 'state']
    """

    def __init__(
        self,
        *,
        categorical: Sequence[str] = (),
        numeric: Sequence[str] = (),
        drop: Sequence[str] = (),
        folds: int = FOLDS,
        cross_fit_above: int = CROSS_FIT_ABOVE,
    ) -> None:
        if folds < 2:
            raise ParameterError(f"got folds={folds}; expected at least 2.")
        self.categorical, self.numeric, self.drop = categorical, numeric, drop
        self.folds, self.cross_fit_above = folds, cross_fit_above

    def fit(
        self,
        table: Any,
        y: Any,
        *,
        task: str = "classification",
        n_classes: int | None = None,
        sample_weight: Any = None,
        random_state: int = 0,
    ) -> TableSchema:
        """Return the schema whose codes come from all rows; parameters as in `fit_transform`."""
        return self._fit(table, y, task, n_classes, sample_weight, random_state, cross_fit=False)[0]

    def fit_transform(
        self,
        table: Any,
        y: Any,
        *,
        task: str = "classification",
        n_classes: int | None = None,
        sample_weight: Any = None,
        random_state: int = 0,
    ) -> tuple[TableSchema, Floats]:
        """Return the schema, and the features of the training rows to learn from.

        The features are those of `schema.encode(table)` but for columns of many categories, where the code of a row was found without the
        target of its fold: a model that learned from codes which contain its own labels would trust them too much.

        Parameters
        ----------
        table : raw columns, anything that `to_arrow` reads, without the target.
        y : class numbers [n], or numbers [n] or [n, outputs] to regress on.
        task : "classification" or "regression".
        n_classes : number of classes; by default the largest class number + 1.
        sample_weight : weights [n]. Rows of weight 0 are encoded, but nothing is learned from them.
        random_state : seed of the folds; the same seed gives the same bits.

        Returns
        -------
        schema, X : X is float64 [n, features].

        Raises
        ------
        DataError : see `infer_columns`; or y or the weights do not fit the table.
        """
        return self._fit(table, y, task, n_classes, sample_weight, random_state, cross_fit=True)

    def _fit(
        self,
        table: Any,
        y: Any,
        task: str,
        n_classes: int | None,
        sample_weight: Any,
        random_state: int,
        cross_fit: bool,
    ) -> tuple[TableSchema, Floats]:
        arrow = to_arrow(table)
        if arrow.num_rows == 0:
            raise DataError("the table has no rows. Expected at least two.")
        weight = check_weights(sample_weight, arrow.num_rows)
        T = target_matrix(y, task, n_classes, weight)
        used = weight > 0
        learned = arrow if used.all() else arrow.filter(used)
        self.typing_ = infer_columns(
            learned, categorical=self.categorical, numeric=self.numeric, drop=self.drop
        )
        warn_of(self.typing_)
        prior = np.average(T, axis=0, weights=weight)
        fold = balanced_folds(T[used], self.folds, random_state) if cross_fit else None
        rows = _Rows(learned, T[used] - prior, prior, weight[used], fold)
        builder, replaced = SchemaBuilder(T.shape[1]), []
        for column in self.typing_.columns:
            if column.kind == "categorical":
                replaced += self._add_categorical(builder, column.name, rows)
            else:
                builder.add_plain(column, _plain_values(column, learned))
        self.schema_ = builder.build()
        X = self.schema_.encode(arrow) if cross_fit else np.empty((0, 0))
        for j, codes in replaced:
            X[used, j] = codes
        return self.schema_, X

    def _add_categorical(self, builder: SchemaBuilder, name: str, rows: _Rows) -> list[tuple[int, Floats]]:
        """Add a column with its final codes; return the features that training sees otherwise, with their cross-fitted codes."""
        texts, number = distinct_texts(name, nw.from_native(rows.table[name], series_only=True))
        categories, number = _sorted_numbers(texts, number)
        final = CategoryTotals(rows.T.shape[1])
        final.add(number, rows.T, rows.weight)
        first = builder.n_features
        builder.add_categorical(name, categories, final.codes(rows.prior), number < 0)
        if rows.fold is None or len(texts) <= max(1, self.cross_fit_above):
            return []
        # Not the sum of the folds: final codes must not depend on the seed, not even in their last bit.
        totals = CategoryTotals(rows.T.shape[1], self.folds)
        totals.add(number, rows.T, rows.weight, rows.fold)
        out = totals.cross_fitted(rows.prior)[rows.fold, number]
        out[number < 0] = np.nan
        return [(first + j, out[:, j]) for j in range(rows.T.shape[1])]


@dataclass(frozen=True)
class _Rows:
    """Rows to learn from: raw columns, the target less its mean, that mean, weights and folds."""

    table: Any
    T: Floats
    prior: Floats
    weight: Floats
    fold: NDArray[np.int64] | None


def _plain_values(column: Column, table: Any) -> Floats:
    return TableSchema((column,), (Feature(column.name, 0),)).encode(table)[:, 0]


def _sorted_numbers(texts: list[str], number: NDArray[np.int64]) -> tuple[list[str], NDArray[np.int64]]:
    """Categories in sorted order, and the rows' numbers among them."""
    order = sorted(range(len(texts)), key=texts.__getitem__)
    rank = np.full(len(texts) + 1, -1, dtype=np.int64)
    rank[order] = np.arange(len(texts))
    return [texts[k] for k in order], rank[number]


def warn_of(typing: Typing) -> None:
    """Warn of columns that were left out although they are not empty: identifiers."""
    for note in typing.notes:
        if "identifier" in note:
            warnings.warn(note, TableWarning, stacklevel=4)


def target_matrix(y: Any, task: str, n_classes: int | None, weight: Floats) -> Floats:
    """Return what categories are coded by, [n, at most 10]: the classes as indicators (one column where there are two), or the numbers.

    >>> target_matrix([0, 2, 1], "classification", None, np.ones(3)).tolist()
    [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]
    """
    values = np.asarray(y, dtype=np.float64)
    if len(values) != len(weight):
        raise DataError(
            f"the table has {len(weight):,} rows and the target {len(values):,}; expected as many."
        )
    if not np.isfinite(values).all():
        raise DataError(
            "the target has missing or infinite values. Drop these rows; `prepare_target` names the first."
        )
    if task == "regression":
        return _few_outputs(values[:, None] if values.ndim == 1 else values, weight)
    if task != "classification":
        raise ParameterError(f"got task={task!r}; expected 'classification' or 'regression'.")
    if values.ndim != 1 or (len(values) and (values.min() < 0 or (values != np.floor(values)).any())):
        raise DataError(
            "the target of a classification must be class numbers 0, 1, ...; `prepare_target` makes them of labels."
        )
    classes = values.astype(np.int64)
    K = n_classes if n_classes is not None else max(2, int(classes.max(initial=1)) + 1)
    if len(classes) and classes.max() >= K:
        raise DataError(f"the target has class number {int(classes.max())}, but there are {K} classes.")
    share = np.bincount(classes, weights=weight, minlength=K) / weight.sum()
    return np.asarray(class_targets(share)[classes])


def _few_outputs(Y: Floats, weight: Floats) -> Floats:
    if Y.shape[1] <= MAX_CODES:
        return Y
    centred = Y - np.average(Y, axis=0, weights=weight)
    spread = np.sqrt(np.average(centred**2, axis=0, weights=weight))
    standard = centred / np.where(spread > 0, spread, 1.0)
    covariance = (standard * weight[:, None]).T @ standard / weight.sum()
    return np.asarray(standard @ principal_directions(covariance, MAX_CODES))


class SchemaBuilder:
    """Collects columns and features of a schema.

    Parameters
    ----------
    n_codes : codes a categorical column has.
    """

    def __init__(self, n_codes: int) -> None:
        self.n_codes = n_codes
        self._columns: list[Column] = []
        self._features: list[Feature] = []
        self._missing: set[bytes] = set()

    @property
    def n_features(self) -> int:
        """Features so far."""
        return len(self._features)

    def add_plain(self, column: Column, values: Floats) -> None:
        """Add a numeric, boolean or time column with its encoded training values."""
        missing = np.isnan(values)
        present = values[~missing]
        constant = len(present) == 0 or bool((present == present[0]).all())
        self.add_column(column, constant=constant, missing=missing.tobytes() if missing.any() else None)

    def add_categorical(
        self, name: str, categories: Sequence[str], codes: Floats, missing: NDArray[np.bool_]
    ) -> None:
        """Add a categorical column with its sorted categories, their codes [K + 1, codes] and which rows lack it."""
        self.add_column(
            Column(name, "categorical", tuple(categories)),
            constant=len(categories) < 2,
            missing=missing.tobytes() if missing.any() else None,
            codes=codes,
        )

    def add_column(
        self, column: Column, *, constant: bool, missing: bytes | None, codes: Floats | None = None
    ) -> None:
        """Add a column with its features.

        Parameters
        ----------
        constant : whether it has one value only, so that nothing but its absence tells anything.
        missing : a fingerprint of which rows lack it, None where none does; columns that are missing together share one feature.
        codes : codes [K + 1, codes] of a categorical column.
        """
        number = len(self._columns)
        self._columns.append(column)
        if not constant and codes is None:
            self._features.append(Feature(column.name, number))
        elif not constant and codes is not None:
            names = (
                [column.name] if self.n_codes == 1 else [f"{column.name} ({j})" for j in range(self.n_codes)]
            )
            self._features += [
                Feature(name, number, "codes", tuple(codes[:, j].tolist())) for j, name in enumerate(names)
            ]
        if missing is not None and missing not in self._missing:
            self._missing.add(missing)
            self._features.append(Feature(f"{column.name} is missing", number, "missing"))

    def build(self) -> TableSchema:
        """Return the schema, without columns of which no feature was made."""
        kept = sorted({feature.column for feature in self._features})
        place = {column: k for k, column in enumerate(kept)}
        return TableSchema(
            tuple(self._columns[column] for column in kept),
            tuple(Feature(f.name, place[f.column], f.transform, f.codes) for f in self._features),
        )
