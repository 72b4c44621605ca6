"""PackedClassifier: a packed network that answers for the raw columns of a table. Never imports torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.bits.packed import ENGINES, LARGEST, PackedNetwork
from hardgrad.core.errors import ArtifactError, DataError, ParameterError
from hardgrad.tabular.schema import TableSchema
from hardgrad.tabular.table_model import Label, Link, TableModel, Task

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False, kw_only=True)
class PackedClassifier(TableModel, PackedNetwork, kind="packed-classifier"):
    """A packed network with columns in front and classes behind: one output a class, the largest wins, the first of equals.

    Parameters
    ----------
    schema, classes, link, task, target : as in `TableModel`.
    mean, factor : float64 [features]; the network sees (x - mean) * factor, and what is beyond 1e150 as that.
    words, threshold, cut, direction, scale, shift, widths, activations, binary_input : as in `PackedNetwork`.

    Examples
    --------
    >>> from hardgrad.bits import BinaryMLPClassifier
    >>> X = np.array([[0.0, 1.0], [1.0, 0.0]] * 20)
    >>> model = BinaryMLPClassifier((8,), max_iter=20, random_state=0).fit(X, X[:, 0] > X[:, 1])
    >>> model.harden().predict(X[:2]).tolist()
    [False, True]
    """

    schema: TableSchema
    mean: Floats
    factor: Floats
    classes: tuple[Label, ...]
    link: Link = "softmax"
    task: Task = "classification"
    target: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("mean", "factor"):
            array = getattr(self, name)
            fits = isinstance(array, np.ndarray) and array.dtype == np.float64
            if not fits or array.shape != (self.n_features,) or not (np.abs(array) <= LARGEST).all():
                raise ArtifactError(
                    f"array {name!r} of a packed classifier must be {self.n_features} float64 within {LARGEST:g} of 0."
                )
        self._check_table()

    def _check_table(self) -> None:
        if self.widths[0] != self.n_features:
            raise ArtifactError(
                f"a packed classifier takes {self.widths[0]} numbers, its schema has {self.n_features}."
            )
        labels = all(isinstance(label, str | int | float | bool) for label in self.classes)
        if not labels or len(set(self.classes)) != self.widths[-1] or len(self.classes) != self.widths[-1]:
            raise ArtifactError(
                f"a packed classifier has {self.widths[-1]} outputs for the classes {self.classes!r}."
            )
        fixed = (self.link, self.task, type(self.target))
        if fixed != ("softmax", "classification", str):
            raise ArtifactError(
                f"a packed classifier has (link, task, target) {(self.link, self.task, self.target)!r}; expected softmax, classification."
            )

    @property
    def n_outputs(self) -> int:
        """Number of raw scores a row."""
        return self.widths[-1]

    def predict_raw_encoded(self, X: Floats, *, engine: str = "numpy") -> Floats:
        """Return the raw scores, float64 [n, classes], of an encoded matrix X [n, features].

        Parameters
        ----------
        engine : "numpy" or "numba", which give the same bits.

        Raises
        ------
        DataError : missing values and infinities; the message names the column.
        """
        bad = ~np.isfinite(X)
        if bad.any():
            row, feature = (int(place[0]) for place in np.nonzero(bad))
            column = self.schema.names[self.schema.features[feature].column]
            raise DataError(
                f"a packed classifier takes finite numbers; column {column!r} has {X[row, feature]} in row {row}. Drop or fill it first."
            )
        with np.errstate(over="ignore"):
            standard = (X - self.mean) * self.factor
        return self.scores(standard.clip(-LARGEST, LARGEST), engine=engine)

    def predict(self, table: Any) -> NDArray[Any]:
        """Return the class labels [n]."""
        return self.raw_to_prediction(self.predict_raw(table))

    def runtime(self, engine: str = "auto", *, n_jobs: int = 1) -> PackedRuntime:
        """Return a handle with `predict_raw`, `predict` and `predict_proba`.

        Parameters
        ----------
        engine : "numpy", or "numba" and "auto" for compiled loops; all give the same bits.
        n_jobs : taken for the sake of other models; one thread works.
        """
        if engine not in ("auto", *ENGINES):
            raise ParameterError(f"runtime() got engine={engine!r}; expected auto, {', '.join(ENGINES)}.")
        return PackedRuntime(self, "numba" if engine == "auto" else engine)

    def sizes(self) -> list[tuple[int, str]]:
        """Return what there is to count in the model, as (number, singular noun)."""
        weights = sum(layer.inputs * len(layer.words) for layer in self.layers)
        return [(len(self.layers), "layer"), (weights, "one-bit weight"), *super().sizes()]


@dataclass(frozen=True)
class PackedRuntime:
    """A packed classifier with its engine.

    Parameters
    ----------
    model : the classifier. engine : "numpy" or "numba".
    """

    model: PackedClassifier
    engine: str

    def predict_raw_encoded(self, X: Floats) -> Floats:
        """Return the raw scores, float64 [n, classes], of an encoded matrix X [n, features]."""
        return self.model.predict_raw_encoded(X, engine=self.engine)

    def predict_encoded(self, X: Floats) -> NDArray[Any]:
        """Return the class labels [n] of an encoded matrix X [n, features]."""
        return self.model.raw_to_prediction(self.predict_raw_encoded(X))

    def predict_raw(self, table: Any) -> Floats:
        """Return the raw scores, float64 [n, classes]."""
        return self.predict_raw_encoded(self.model.encode(table))

    def predict(self, table: Any) -> NDArray[Any]:
        """Return the class labels [n]."""
        return self.predict_encoded(self.model.encode(table))

    def predict_proba(self, table: Any) -> Floats:
        """Return class probabilities, float64 [n, classes]."""
        return self.model.raw_to_proba(self.predict_raw(table))
