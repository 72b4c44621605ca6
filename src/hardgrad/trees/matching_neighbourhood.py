"""MatchingNeighbourhood: prediction from the training rows that match most attributes. The exact artifact; never imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import ArtifactError
from hardgrad.tabular.schema import TableSchema
from hardgrad.tabular.table_model import Label, Link, TableModel, Task
from hardgrad.trees.matching_codes import Floats, Ints, MatchingCodes, settle

BLOCK_CELLS = 4_000_000
"""Pairs of a query and a training row that are compared at a time."""


@dataclass(frozen=True, eq=False)
class MatchingNeighbourhood(TableModel, kind="matching-neighbourhood"):
    """The training rows as codes: a query is answered by those that match it in most attributes.

    Parameters
    ----------
    schema, link, task, classes, target : see `TableModel`; the link is "identity".
    offset, edge, exact : see `MatchingCodes`.
    rows : int32 [rows, features], codes of the training rows.
    value : float64 [rows]; class numbers, or values to average.
    weight : float64 [rows], positive.
    importance : float64 [features], what a match in each attribute counts.
    tie_break_depth : groups of rows that may be consulted where classes tie; 0 for all.

    Notes
    -----
    Rows that match equally well are a group. The classes of the best group are counted; see `hardgrad.trees.matching_codes.settle` for
    ties. Of a regression, the mean of the best group is predicted.

    Source: Alb, 2021, Collapsing the Decision Tree: the Concurrent Data Predictor.
    """

    schema: TableSchema
    offset: Ints
    edge: Floats
    exact: NDArray[np.bool_]
    rows: Ints
    value: Floats
    weight: Floats
    importance: Floats
    tie_break_depth: int = 0
    link: Link = "identity"
    task: Task = "classification"
    classes: tuple[Label, ...] = ()
    target: str = ""

    def __post_init__(self) -> None:
        kinds = {
            "offset": np.int32,
            "edge": np.float64,
            "exact": np.bool_,
            "rows": np.int32,
            "value": np.float64,
            "weight": np.float64,
            "importance": np.float64,
        }
        freeze_arrays(self, kinds, {"rows": 2})
        self.matching.check(self.n_features)
        n = len(self.value)
        if (
            self.rows.shape != (n, self.n_features)
            or self.weight.shape != (n,)
            or self.importance.shape != (self.n_features,)
        ):
            raise ArtifactError("rows, value, weight and importance must fit together.")
        if (
            n == 0
            or not (np.isfinite(self.weight) & (self.weight > 0)).all()
            or not np.isfinite(self.value).all()
        ):
            raise ArtifactError("there must be rows with finite values and positive weights.")
        if not (np.isfinite(self.importance) & (self.importance >= 0)).all() or self.weight.sum() == np.inf:
            raise ArtifactError("importance must be finite and not negative.")
        if type(self.tie_break_depth) is not int or self.tie_break_depth < 0 or self.link != "identity":
            raise ArtifactError("tie_break_depth must be a number of groups, and the link 'identity'.")
        if self.task not in ("classification", "regression"):
            raise ArtifactError(f"task must be 'classification' or 'regression', got {self.task!r}.")
        if self.task == "classification" and (
            len(self.classes) < 2 or not np.isin(self.value, np.arange(len(self.classes))).all()
        ):
            raise ArtifactError("values of a classification must be class numbers, of two classes at least.")

    @cached_property
    def matching(self) -> MatchingCodes:
        """How features become codes."""
        return MatchingCodes(self.offset, self.edge, self.exact)

    @property
    def n_outputs(self) -> int:
        """Number of raw scores a row."""
        return len(self.classes) if self.task == "classification" else 1

    def sizes(self) -> list[tuple[int, str]]:
        """Return what there is to count in the model."""
        return [(len(self.rows), "training row"), *super().sizes()]

    def match_scores(self, X: Floats) -> Floats:
        """Return how well each query matches each training row, for an encoded matrix: float64 [n, rows]."""
        return self._scores(self.matching.codes(X))

    def _scores(self, query: Ints) -> Floats:
        plain = bool((self.importance == 1).all())
        score: Any = np.zeros((len(query), len(self.rows)), dtype=np.int32 if plain else np.float64)
        for f in range(self.n_features):
            same = (query[:, f, None] == self.rows[:, f]) & (query[:, f, None] >= 0)
            score += same if plain else same * self.importance[f]
        return np.asarray(score, dtype=np.float64)

    def predict_raw_encoded(self, X: Floats) -> Floats:
        """Return class shares, or values, [n, outputs] of an encoded matrix (see `TableModel`)."""
        return self.answer(X, None)

    def answer(self, X: Floats, allowed: NDArray[np.bool_] | None) -> Floats:
        """Return the raw scores where each query may look only at some rows.

        Parameters
        ----------
        X : encoded matrix [n, features].
        allowed : [n, rows], at least one for each query; None for all.
        """
        query = self.matching.codes(X)
        raw = np.empty((len(X), self.n_outputs))
        step = max(1, BLOCK_CELLS // len(self.rows))
        for start in range(0, len(X), step):
            part = slice(start, start + step)
            score = self._scores(query[part])
            if allowed is not None:
                score = np.where(allowed[part], score, -1.0)
            raw[part] = self._of_scores(score)
        return raw

    def _of_scores(self, score: Floats) -> Floats:
        if self.task == "regression":
            best = score == score.max(axis=1, keepdims=True)
            weight = best * self.weight
            return np.asarray((weight @ self.value / weight.sum(axis=1))[:, None])
        C, label = self.n_outputs, self.value.astype(np.int64)
        if (self.importance == 1).all():
            groups, group = self.n_features + 1, (self.n_features - score).astype(np.int64)
            return settle(
                _group_counts(group, groups, label, C, np.broadcast_to(self.weight, score.shape)),
                self.tie_break_depth,
            )
        found = np.empty((len(score), C))
        for i, row in enumerate(score):
            # Sums of the same weights in one order are the same to the bit; rounding is for sums that mean the same.
            levels, group = np.unique(-np.round(row, 12), return_inverse=True)
            counts = _group_counts(group[None], len(levels), label, C, self.weight[None])
            found[i] = settle(counts[:, levels <= 0], self.tie_break_depth)[0]
        return found


def _group_counts(
    group: NDArray[np.int64], groups: int, label: NDArray[np.int64], C: int, weight: Floats
) -> Floats:
    """Return the weight of each class in each group [n, groups, C]; a row whose group is `groups` is left out."""
    n = len(group)
    cell = ((np.arange(n)[:, None] * (groups + 1) + group) * C + label).ravel()
    counts = np.bincount(cell, weights=np.ascontiguousarray(weight).ravel(), minlength=n * (groups + 1) * C)
    return np.asarray(counts.reshape(n, groups + 1, C)[:, :groups])


def freeze_arrays(artifact: Any, kinds: Mapping[str, Any], dimensions: Mapping[str, int]) -> None:
    """Check the dtypes and dimensions of an artifact's arrays (1 by default) and make them read-only.

    Raises
    ------
    ArtifactError : an array is of another form.
    """
    for name, kind in kinds.items():
        array, ndim = getattr(artifact, name), dimensions.get(name, 1)
        if not isinstance(array, np.ndarray) or array.dtype != kind or array.ndim != ndim:
            raise ArtifactError(f"{name!r} must be {np.dtype(kind)} with {ndim} dimensions.")
    artifact.freeze()
