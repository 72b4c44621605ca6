"""What a neighbourhood sees of a table: numbers standardised, categories as indicators, and whether a number is missing. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import DataError
from hardgrad.tabular.schema import Feature, TableSchema

Floats = NDArray[np.float64]
MOST_INDICATORS = 32
"""Columns with more categories keep the codes of their categories, which are numbers: indicators would drown the other columns."""


def neighbour_schema(schema: TableSchema, X: Floats, table: Any) -> tuple[TableSchema, Floats]:
    """Return the schema in which categories are indicators and missing numbers have theirs, and the training rows encoded by it.

    Parameters
    ----------
    schema, X : as `TableEncoder` gives them, or of a plain matrix.
    table : the raw training rows.

    Raises
    ------
    DataError : a number is infinite; the message names the column and the row.
    """
    infinite = np.isinf(X)
    if infinite.any():
        row, number = (int(place[0]) for place in np.nonzero(infinite))
        name = schema.names[schema.features[number].column]
        raise DataError(
            f"column {name!r} holds {X[row, number]} in row {row}. Drop the row, or put a bound in its place."
        )
    features: list[Feature] = []
    kept: list[tuple[int, int]] = []
    for j, feature in enumerate(schema.features):
        categories = schema.columns[feature.column].categories
        if feature.transform == "codes" and len(categories) <= MOST_INDICATORS:
            if not any(f.column == feature.column and f.transform == "codes" for f in features):
                features += _indicators(schema, feature.column)
            continue
        kept.append((len(features), j))
        features.append(feature)
        if schema.is_matrix and np.isnan(X[:, j]).any():
            features.append(Feature(f"{feature.name} is missing", feature.column, "missing"))
    result = TableSchema(schema.columns, tuple(features))
    encoded = np.array(result.encode(table))  # of a matrix it is the caller's own
    for place, j in kept:  # codes of many categories are cross-fitted for the training rows: take those
        encoded[:, place] = X[:, j]
    return result, encoded


def _indicators(schema: TableSchema, column: int) -> list[Feature]:
    """One feature a category; a category that training did not see has none of them."""
    categories = schema.columns[column].categories
    unit = np.vstack([np.eye(len(categories)), np.zeros(len(categories))])
    return [
        Feature(f"{schema.names[column]} = {category}", column, "codes", tuple(unit[:, k].tolist()))
        for k, category in enumerate(categories)
    ]


@dataclass(frozen=True)
class Scaling:
    """How features are brought to one scale: means and scales [features], and the numbers of the features that are single numbers."""

    mean: Floats
    scale: Floats
    numbers: NDArray[np.int64]


def fit_scaling(schema: TableSchema, X: Floats, weight: Floats) -> Scaling:
    """Return the mean and the standard deviation of numbers; booleans are centred, indicators stay as they are.

    Parameters
    ----------
    X : [n, features], NaN where missing.
    weight : [n].
    """
    mean, scale, numbers = np.zeros(X.shape[1]), np.ones(X.shape[1]), []
    for j, feature in enumerate(schema.features):
        kind = schema.columns[feature.column].kind
        if feature.transform == "missing" or (
            feature.transform == "codes" and set(feature.codes) <= {0.0, 1.0}
        ):
            continue
        known = ~np.isnan(X[:, j])
        if not known.any():
            continue
        mean[j] = np.average(X[known, j], weights=weight[known])
        if kind == "boolean":
            continue
        spread = np.sqrt(np.average((X[known, j] - mean[j]) ** 2, weights=weight[known]))
        scale[j] = spread if spread > 1e-12 * max(1.0, abs(mean[j])) else 1.0
        numbers.append(j)
    return Scaling(mean, scale, np.array(numbers, dtype=np.int64))
