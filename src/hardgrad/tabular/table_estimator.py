"""TableEstimator: what scikit-learn estimators over raw tables share. Checking input, reading columns, answering by the exact artifact.

A family writes `fit` on top: check, encode, train, keep the artifact. What `predict` says is what the artifact says.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import Tags, check_consistent_length, check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, column_or_1d, validate_data

from hardgrad.core.errors import DataError, ParameterError
from hardgrad.tabular.column_typing import Typing
from hardgrad.tabular.schema import TableSchema
from hardgrad.tabular.table_model import Label, TableModel
from hardgrad.train.progress import Event

Array = NDArray[np.float64]


def is_whole(value: Any, least: int = 1) -> bool:
    """Tell whether a parameter is a whole number, no Boolean, of at least `least`."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and int(value) >= least


def is_table(X: Any) -> bool:
    """Tell whether X has named columns of its own kinds (a data frame), not just numbers."""
    return hasattr(X, "columns") or hasattr(X, "column_names")


class TableEstimator(BaseEstimator):  # type: ignore[misc]
    """Base of estimators that learn from arrays or from data frames of numbers, booleans, dates and categories.

    A subclass that cannot learn from missing values sets `accepts_missing = False`: they are then refused by the name of their column, in
    training and in prediction. The artifact is kept in the attribute that `artifact_attribute` names.

    Attributes
    ----------
    schema_ : `TableSchema`, the raw columns and the features derived from them.
    typing_ : `Typing`, what the columns were taken for, which were left out and why.
    """

    accepts_missing: ClassVar[bool] = True
    artifact_attribute: ClassVar[str] = "artifact_"
    random_state: Any
    verbose: int = 0

    # --- input ---------------------------------------------------------------------------------------------------------------
    def _check_input(self, X: Any, y: Any, **options: Any) -> tuple[Any, NDArray[Any]]:
        """Check X and y and remember the shape of X; a data frame with columns that are not numbers stays a data frame."""
        if is_table(X) and not all_numbers(X):
            names = X.column_names if hasattr(X, "column_names") else X.columns
            self._remember_names([str(name) for name in names])
            several = options.get("multi_output") and np.ndim(y) == 2
            y = np.asarray(y) if several else column_or_1d(y, warn=True)
            check_consistent_length(X, y)
            return X, y
        finite = "allow-nan" if self.accepts_missing else True
        X, y = validate_data(self, X, y, dtype=np.float64, ensure_all_finite=finite, **options)
        return X, y

    def _remember_names(self, names: list[str]) -> None:
        self.feature_names_in_ = np.array(names, dtype=object)
        self.n_features_in_ = len(names)

    def _check_parameters(self) -> None:
        """Raise `ParameterError` for the first parameter outside its range (see `_require`)."""

    def _require(self, fine: bool, name: str, expected: str) -> None:
        if not fine:
            raise ParameterError(
                f"{type(self).__name__}() got {name}={getattr(self, name)!r}; expected {expected}."
            )

    def _begin_fit(self) -> int:
        """Check the parameters, forget an earlier fit, and return the seed of this one."""
        self._check_parameters()
        self.__dict__.pop(
            self.artifact_attribute, None
        )  # a fit that ends early leaves no model of an earlier one behind
        return self._seed_of_fit()

    def _seed_of_fit(self) -> int:
        """Draw the seed of one fit from `random_state`."""
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _weights(self, sample_weight: Any, n: int) -> Array:
        if sample_weight is None:
            return np.ones(n)
        weight = np.asarray(_check_sample_weight(sample_weight, np.empty((n, 1)), dtype=np.float64))
        if (weight < 0).any() or not weight.sum() > 0:
            raise DataError("sample_weight must not be negative and must not be zero everywhere.")
        return weight

    def _encode_training(
        self, X: Any, labels: NDArray[Any], weight: Array, *, task: str, n_classes: int = 2, seed: int = 0
    ) -> tuple[TableSchema, Array]:
        """Return the schema and the encoded matrix of the rows to train on.

        Parameters
        ----------
        X : what `_check_input` returned.
        labels : class numbers [n], or values [n] or [n, targets], which the codes of categories are fitted to.
        weight : [n].
        task : "classification" or "regression".
        """
        self._table_fit = not isinstance(X, np.ndarray)
        if self._table_fit:
            from hardgrad.tabular.encoding import TableEncoder

            encoder = TableEncoder()
            self.schema_, encoded = encoder.fit_transform(
                X, labels, task=task, n_classes=max(2, n_classes), sample_weight=weight, random_state=seed
            )
            self.typing_ = encoder.typing_
        else:
            names = getattr(self, "feature_names_in_", [f"x{i}" for i in range(X.shape[1])])
            self.schema_, encoded = TableSchema.numeric([str(name) for name in names]), X
            self.typing_ = Typing(self.schema_.columns)
        self._refuse_missing(encoded)
        return self.schema_, encoded

    def _read(self, X: Any) -> Array:
        """Encode rows to score, held to the columns that were fitted."""
        if not self._table_fit:
            X = validate_data(
                self, X, dtype=np.float64, ensure_all_finite=not self.accepts_missing, reset=False
            )
        elif not is_table(X):
            raise DataError(
                f"this model was fitted on a data frame with columns {list(self.schema_.names)}; got a "
                f"{type(X).__name__}. Pass a data frame with these columns."
            )
        encoded = self.schema_.encode(X)
        self._refuse_missing(encoded)
        return encoded

    def _refuse_missing(self, encoded: Array) -> None:
        if not self.accepts_missing:
            refuse_missing(self.schema_, encoded, type(self).__name__)

    # --- the exact model -----------------------------------------------------------------------------------------------------
    def harden(self) -> Any:
        """Return the exact artifact: NumPy only, savable."""
        check_is_fitted(self)
        return getattr(self, self.artifact_attribute)

    def _hard_raw(self, X: Any) -> Array:
        """Return the artifact's raw scores [n, outputs] for rows that are held to the fitted columns."""
        model: TableModel = self.harden()
        return model.predict_raw_encoded(self._read(X))

    def plot_gap(self, ax: Any = None) -> Any:
        """Draw the soft metric beside the hard one. Needs matplotlib."""
        check_is_fitted(self)
        if getattr(self, "gap_", None) is None:
            raise DataError(
                "no rows were held out in training, so there is no gap to draw; fit on at least 20 rows."
            )
        return self.gap_.plot(ax)

    def _print_event(self, event: Event) -> None:
        if self.verbose:
            parts = [f"{event.phase} {100 * event.fraction:.0f} %"]
            parts += [
                f"{n} {v:.4f}" for n, v in (("soft", event.soft), ("hard", event.hard)) if v is not None
            ]
            print("  ".join([*parts, event.message]).rstrip())

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, self.artifact_attribute)

    def __sklearn_tags__(self) -> Tags:
        tags: Tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.accepts_missing
        return tags


class TableClassifier(ClassifierMixin, TableEstimator):  # type: ignore[misc]
    """Base of classifiers over raw tables."""

    class_weight: Any = None

    def _class_numbers(self, y: NDArray[Any]) -> NDArray[np.int64]:
        """Check labels, remember `classes_`, and return the position of each label in it."""
        check_classification_targets(y)
        self.classes_, index = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise DataError(
                f"{type(self).__name__} needs samples of at least 2 classes, but the target has only one class: "
                f"{self.classes_.tolist()[0]!r}. Add rows of another class."
            )
        return index.astype(np.int64)

    def _class_labels(self) -> tuple[Label, ...]:
        return tuple(self.classes_.tolist())

    def _class_weights(self, y: NDArray[Any]) -> Array:
        """Return the weight of each row by its label."""
        from sklearn.utils.class_weight import compute_sample_weight

        if self.class_weight is None:
            return np.ones(len(y))
        return np.asarray(compute_sample_weight(self.class_weight, y), dtype=np.float64)

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the class labels [n] of the exact model."""
        check_is_fitted(self)
        return np.asarray(self.classes_[self.harden().raw_to_class_index(self._hard_raw(X))])

    def predict_proba(self, X: Any) -> Array:
        """Return the class probabilities [n, classes] of the exact model."""
        check_is_fitted(self)
        return np.asarray(self.harden().raw_to_proba(self._hard_raw(X)))


class TableRegressor(RegressorMixin, TableEstimator):  # type: ignore[misc]
    """Base of regressors over raw tables, of one target or several."""

    multi_output: ClassVar[bool] = True

    def _targets(self, y: NDArray[Any]) -> Array:
        """Return the targets as [n, targets] and remember whether one column was given."""
        if np.ndim(y) == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        self._flat = np.ndim(y) == 1
        return np.asarray(y, dtype=np.float64).reshape(len(y), -1)

    def predict(self, X: Any) -> Array:
        """Return the values of the exact model, shaped like the target that was fitted."""
        check_is_fitted(self)
        raw = self._hard_raw(X)
        return raw[:, 0] if self._flat else raw

    def __sklearn_tags__(self) -> Tags:
        tags: Tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = self.multi_output
        return tags


def refuse_missing(schema: TableSchema, encoded: Array, who: str) -> None:
    """Raise `DataError` where an encoded matrix has a missing value; the message names the column and the row."""
    found = schema.first_missing(encoded)
    if found is not None:
        raise DataError(
            f"{who} does not take missing values (NaN); column {found[0]!r} has one in row {found[1]}. Drop or fill such rows first."
        )


def all_numbers(X: Any) -> bool:
    """Tell whether every column of a pandas frame is a plain number, so that scikit-learn's own checks apply."""
    dtypes = getattr(X, "dtypes", None)
    if dtypes is None or isinstance(dtypes, list) or not hasattr(X, "iloc"):
        return False
    return all(getattr(dtype, "kind", "O") in "fiu" for dtype in np.asarray(dtypes, dtype=object).tolist())
