"""Values as codes that match or do not: what predictors by matching compare. Numbers fall into bins, categories are themselves. No torch.

Two values match iff their codes are equal; a missing value and one that training has not seen match nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import ArtifactError, ParameterError
from hardgrad.tabular.arrow import to_arrow
from hardgrad.tabular.column_typing import Typing, infer_columns
from hardgrad.tabular.encoding import warn_of
from hardgrad.tabular.raw import distinct_texts
from hardgrad.tabular.schema import Column, Feature, TableSchema

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]
MISSING, UNSEEN = -1, -2
BINNINGS = ("width", "frequency")


@dataclass(frozen=True, eq=False)
class MatchingCodes:
    """How the features of an encoded matrix become codes.

    Parameters
    ----------
    offset : int32 [features + 1]; feature f owns the edges `offset[f]:offset[f + 1]`.
    edge : float64 [edges], increasing within a feature. The code of a number is how many of them are <= it.
    exact : bool [features]; the edges are the values themselves, and a number that is none of them was not seen.
    """

    offset: Ints
    edge: Floats
    exact: NDArray[np.bool_]

    def codes(self, X: Floats) -> Ints:
        """Return the codes int32 [n, features] of an encoded matrix: `MISSING`, `UNSEEN`, or a number from 0."""
        found = np.empty(X.shape, dtype=np.int32)
        for f in range(X.shape[1]):
            edges, x = self.edge[self.offset[f] : self.offset[f + 1]], X[:, f]
            code = np.searchsorted(edges, x, side="right")
            if self.exact[f]:
                known = code > 0
                known[known] = edges[code[known] - 1] == x[known]
                code = np.where(known, code - 1, UNSEEN)
            found[:, f] = np.where(np.isnan(x), MISSING, code)
        return found

    def check(self, n_features: int) -> None:
        """Raise `ArtifactError` where the arrays do not fit together."""
        if len(self.offset) != n_features + 1 or len(self.exact) != n_features:
            raise ArtifactError(f"offset and exact must be of {n_features} features.")
        if self.offset[0] != 0 or (np.diff(self.offset) < 0).any() or self.offset[-1] != len(self.edge):
            raise ArtifactError("offset must rise from 0 to the number of edges.")
        for low, high in zip(self.offset[:-1], self.offset[1:], strict=True):
            if not (np.diff(self.edge[low:high]) > 0).all() or not np.isfinite(self.edge[low:high]).all():
                raise ArtifactError("edges must be finite and increase within a feature.")


def learn_codes(X: Floats, exact: Sequence[bool], n_bins: int, binning: str) -> MatchingCodes:
    """Return the codes for training rows.

    Parameters
    ----------
    X : encoded matrix [n, features], NaN is missing.
    exact : the features whose values are categories.
    n_bins : bins of the others.
    binning : "width" (equal steps from the least value to the largest) or "frequency" (equal numbers of rows; an edge is the midpoint
        between two values).

    Raises
    ------
    ParameterError : less than one bin, or another binning.
    """
    if not n_bins >= 1:
        raise ParameterError(f"n_bins got {n_bins!r}; expected at least 1.")
    if binning not in BINNINGS:
        raise ParameterError(f"binning got {binning!r}; expected one of {', '.join(BINNINGS)}.")
    edges = []
    for f in range(X.shape[1]):
        x = np.sort(X[~np.isnan(X[:, f]), f])
        if exact[f]:
            edges.append(np.unique(x))
        elif len(x) == 0:
            edges.append(x)
        elif binning == "width":
            steps = np.arange(1, n_bins) / n_bins
            edges.append(np.unique(x[0] * (1 - steps) + x[-1] * steps) if x[-1] > x[0] else x[:0])
        else:
            place = np.unique(np.round(np.arange(1, n_bins) * len(x) / n_bins).astype(int))
            place = place[(place > 0) & (place < len(x))]
            place = place[x[place - 1] < x[place]]
            edges.append(np.unique(0.5 * x[place - 1] + 0.5 * x[place]))
    offset = np.concatenate([[0], np.cumsum([len(e) for e in edges])]).astype(np.int32)
    return MatchingCodes(offset, np.concatenate([np.empty(0), *edges]), np.array(exact, dtype=bool))


def matching_schema(
    X: Any, names: Sequence[str], categorical: Sequence[Any]
) -> tuple[TableSchema, Typing, list[bool]]:
    """Return the schema under which categories are encoded as their numbers, and which features are exact.

    Parameters
    ----------
    X : a float matrix or a table.
    names : of the columns of a matrix.
    categorical : names or positions of whole numbers that are categories.

    Raises
    ------
    ParameterError : a named column is not there.
    """
    if isinstance(X, np.ndarray):
        asked = {
            names[int(c)] if isinstance(c, (int, np.integer)) and 0 <= c < len(names) else c
            for c in categorical
        }
        if asked - set(names):
            raise ParameterError(
                f"categorical got {sorted(map(str, asked - set(names)))}; the columns are {list(names)}."
            )
        schema = TableSchema.numeric(names)
        return schema, Typing(schema.columns), [name in asked for name in names]
    arrow = to_arrow(X)
    asked_names = [arrow.column_names[int(c)] if isinstance(c, (int, np.integer)) else c for c in categorical]
    typing = infer_columns(arrow, categorical=asked_names)
    warn_of(typing)
    columns, features = [], []
    for number, column in enumerate(typing.columns):
        if column.kind == "categorical":
            texts = sorted(
                distinct_texts(column.name, nw.from_native(arrow[column.name], series_only=True))[0]
            )
            columns.append(Column(column.name, "categorical", tuple(texts)))
            features.append(Feature(column.name, number, "codes", tuple(map(float, range(len(texts) + 1)))))
        else:
            columns.append(column)
            features.append(Feature(column.name, number))
    exact = [column.kind in ("categorical", "boolean") for column in columns]
    return TableSchema(tuple(columns), tuple(features)), typing, exact


def settle(counts: Floats, depth: int = 0) -> Floats:
    """Return class shares [n, classes] of the first group of rows that is not empty; the largest share is the class to predict.

    Where classes tie for the largest, the next groups decide, counting only the classes that tie; what is still tied then goes to the
    class of the smallest number. The class that wins a tie gets 1e-9 more than its share, from the others of the tie.

    Parameters
    ----------
    counts : rows of each class in each group, the best group first [n, groups, classes].
    depth : groups that may be consulted; 0 for all. Groups without a row of a tied class do not count.

    Examples
    --------
    >>> settle(np.array([[[1.0, 1.0, 0.0], [0.0, 2.0, 5.0]]])).round(3).tolist()
    [[0.5, 0.5, 0.0]]
    >>> int(settle(np.array([[[1.0, 1.0, 0.0], [0.0, 2.0, 5.0]]])).argmax())
    1
    """
    n, groups, C = counts.shape
    alive = np.ones((n, C), dtype=bool)
    shares = np.full((n, C), 1.0 / C)
    consulted = np.zeros(n, dtype=np.int64)
    for g in range(groups):
        here = np.where(alive, counts[:, g], 0.0)
        total = here.sum(axis=1)
        use = (total > 0) & (alive.sum(axis=1) > 1) & ((consulted < depth) | (depth == 0))
        if not use.any():
            continue
        first = use & (consulted == 0)
        shares[first] = here[first] / total[first, None]
        alive[use] &= here[use] == here[use].max(axis=1, keepdims=True)
        consulted += use
    tied = shares == shares.max(axis=1, keepdims=True)
    rows = np.flatnonzero(tied.sum(axis=1) > 1)
    winner = alive.argmax(axis=1)
    shares[rows] -= np.where(tied[rows], 1e-9 / (tied[rows].sum(axis=1, keepdims=True) - 1), 0.0)
    shares[rows, winner[rows]] = shares[rows].max(axis=1) + 1e-9 * (1 + 1 / (tied[rows].sum(axis=1) - 1))
    return shares
