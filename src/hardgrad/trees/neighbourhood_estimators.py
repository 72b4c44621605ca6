"""NearestNeighbourhoodClassifier and -Regressor: scikit-learn faces of prediction by matching attributes. Never imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import Tags

from hardgrad.core.errors import ParameterError
from hardgrad.tabular.table_estimator import Array, TableClassifier, TableEstimator, TableRegressor
from hardgrad.trees.matching_codes import MatchingCodes, learn_codes, matching_schema
from hardgrad.trees.matching_neighbourhood import MatchingNeighbourhood


class MatchingColumns(TableEstimator):
    """What estimators share that compare values by matching codes."""

    n_bins: int
    binning: str
    categorical: Sequence[Any]

    def _learn_codes(self, X: Any, weight: Array) -> tuple[MatchingCodes, Array, NDArray[np.bool_]]:
        """Return the codes, the encoded matrix of the rows with weight, and which rows these are."""
        used = weight > 0
        self._table_fit = not isinstance(X, np.ndarray)
        if self._table_fit:
            from hardgrad.tabular.arrow import to_arrow

            X = to_arrow(X).filter(used)
        else:
            X = X[used]
        names = [str(name) for name in getattr(self, "feature_names_in_", [])]
        if not self._table_fit and not names:
            names = [f"x{i}" for i in range(X.shape[1])]
        self.schema_, self.typing_, exact = matching_schema(X, names, self.categorical)
        encoded = self.schema_.encode(X)
        return learn_codes(encoded, exact, self.n_bins, self.binning), encoded, used


class _Neighbourhood(MatchingColumns):
    artifact_attribute = "neighbourhood_"
    tie_break_depth: int = 0
    attribute_weights: Any

    def _keep_rows(self, X: Any, value: Array, weight: Array, **fields: Any) -> None:
        """Make the artifact of the training rows."""
        if not self.tie_break_depth >= 0:
            raise ParameterError(f"tie_break_depth got {self.tie_break_depth!r}; expected at least 0.")
        codes, encoded, used = self._learn_codes(X, weight)
        F = encoded.shape[1]
        importance = (
            np.ones(F)
            if self.attribute_weights is None
            else np.array(self.attribute_weights, dtype=np.float64)
        )
        if importance.shape != (F,) or not (np.isfinite(importance) & (importance >= 0)).all():
            raise ParameterError(
                f"attribute_weights got {self.attribute_weights!r}; expected {F} finite numbers that are not negative, one for each "
                f"of {list(self.schema_.names)}."
            )
        self.neighbourhood_ = MatchingNeighbourhood(
            self.schema_, codes.offset, codes.edge, codes.exact, codes.codes(encoded), value[used], weight[used],
            importance, tie_break_depth=int(self.tie_break_depth), **fields,
        )  # fmt: skip


class NearestNeighbourhoodClassifier(TableClassifier, _Neighbourhood):
    """Predicts the majority class of the training rows that match a row in most attributes; needs no distance and no training.

    For tables of categories, with or without missing values: a missing value matches nothing, and neither does one never seen. Numbers
    match where they fall into one bin.

    Parameters
    ----------
    n_bins : bins of a column of numbers.
    binning : "width" (equal steps between the least value and the largest) or "frequency" (equal numbers of rows).
    tie_break_depth : groups of rows that may be consulted where classes tie; 0 for all.
    attribute_weights : what a match in each attribute counts, in the order of the columns that are used (`schema_.names`); 1 by default.
    categorical : names or positions of columns of whole numbers that are categories; text and booleans are categories anyway.

    Attributes
    ----------
    neighbourhood_ : the exact `MatchingNeighbourhood`; `harden()` returns it.
    classes_ : the class labels.

    Examples
    --------
    >>> import pyarrow as pa
    >>> model = NearestNeighbourhoodClassifier().fit(pa.table({"a": ["x", "x", "y"], "b": ["u", "v", "v"]}), ["no", "yes", "yes"])
    >>> model.predict(pa.table({"a": ["x", "y"], "b": ["v", None]})).tolist()
    ['yes', 'yes']

    Source: Alb, 2021, Collapsing the Decision Tree: the Concurrent Data Predictor.
    """

    def __init__(
        self,
        *,
        n_bins: int = 3,
        binning: str = "width",
        tie_break_depth: int = 0,
        attribute_weights: Any = None,
        categorical: Sequence[Any] = (),
    ) -> None:
        self.n_bins = n_bins
        self.binning = binning
        self.tie_break_depth = tie_break_depth
        self.attribute_weights = attribute_weights
        self.categorical = categorical

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Remember the training rows as codes.

        Parameters
        ----------
        X : array [n, columns] or any table.
        y : labels [n].
        sample_weight : what each row counts [n].

        Raises
        ------
        ParameterError : a parameter outside its range.
        DataError : the input does not fit together, or has one class only.
        """
        X, y = self._check_input(X, y)
        weight = self._weights(sample_weight, len(y))
        value = self._class_numbers(y).astype(np.float64)
        self._keep_rows(X, value, weight, task="classification", classes=self._class_labels())
        return self

    def __sklearn_tags__(self) -> Tags:
        tags: Tags = super().__sklearn_tags__()
        tags.classifier_tags.poor_score = True  # three bins of two columns are nine cells
        return tags


class NearestNeighbourhoodRegressor(TableRegressor, _Neighbourhood):
    """Predicts the mean target of the training rows that match a row in most attributes; whole numbers as targets stay numbers.

    Parameters
    ----------
    n_bins : bins of a column of numbers.
    binning : "width" (equal steps between the least value and the largest) or "frequency" (equal numbers of rows).
    attribute_weights : what a match in each attribute counts, in the order of the columns that are used (`schema_.names`); 1 by default.
    categorical : names or positions of columns of whole numbers that are categories; text and booleans are categories anyway.

    Attributes
    ----------
    neighbourhood_ : the exact `MatchingNeighbourhood`; `harden()` returns it.

    Examples
    --------
    >>> import pyarrow as pa
    >>> model = NearestNeighbourhoodRegressor().fit(pa.table({"a": ["x", "x", "y"], "b": ["u", "v", "v"]}), [1, 2, 4])
    >>> model.predict(pa.table({"a": ["x", "x"], "b": ["v", None]})).tolist()
    [2.0, 1.5]

    Source: Alb, 2021, Collapsing the Decision Tree: the Concurrent Data Predictor.
    """

    multi_output = False

    def __init__(
        self,
        *,
        n_bins: int = 3,
        binning: str = "width",
        attribute_weights: Any = None,
        categorical: Sequence[Any] = (),
    ) -> None:
        self.n_bins = n_bins
        self.binning = binning
        self.attribute_weights = attribute_weights
        self.categorical = categorical

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Remember the training rows as codes (see `NearestNeighbourhoodClassifier.fit`); y are numbers [n]."""
        X, y = self._check_input(X, y, y_numeric=True)
        weight = self._weights(sample_weight, len(y))
        self._keep_rows(X, self._targets(y)[:, 0], weight, task="regression")
        return self

    def __sklearn_tags__(self) -> Tags:
        tags: Tags = super().__sklearn_tags__()
        tags.regressor_tags.poor_score = True  # three bins a column are coarse
        return tags
