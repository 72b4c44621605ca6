"""TableModel: what every artifact that answers for tables of raw columns has in common. Never imports torch.

A subclass gives the raw scores of an encoded matrix; how columns are encoded, and how a score becomes a probability, a label or a value,
is defined here once, for forests, neighbourhoods and experts alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.artifact import Artifact
from hardgrad.core.errors import ArtifactError, DataError
from hardgrad.tabular.schema import TableSchema

if TYPE_CHECKING:
    from hardgrad.export.forms import Form

Link = Literal["identity", "sigmoid", "softmax"]
Task = Literal["classification", "regression"]
Label = str | int | float | bool
Facts = dict[str, dict[str, int | float]]
"""Titles, and under each what was counted: `{"Gates": {"as learned": 8000, "simplified": 2057}}`."""


def label_text(label: Any) -> str:
    """Return a class label as text."""
    return ("true" if label else "false") if isinstance(label, (bool, np.bool_)) else str(label)


class TableModel(Artifact):
    """Base of exact models over the raw columns of a table.

    A subclass is a frozen dataclass with the fields below, and defines `n_outputs` and `predict_raw_encoded`.

    Parameters
    ----------
    schema : raw columns and the features derived from them.
    link : how a raw score becomes an output: "identity", "sigmoid" (one score, two classes) or "softmax".
    task : "classification" or "regression".
    classes : the class labels, empty for regression.
    target : name of the column that was learned, may be empty.
    """

    schema: TableSchema
    link: Link
    task: Task
    classes: tuple[Label, ...]
    target: str

    @property
    def n_outputs(self) -> int:
        """Number of raw scores a row."""
        raise NotImplementedError

    @property
    def score_names(self) -> list[str]:
        """A name for each raw score: the positive class, the classes, or the targets."""
        if self.task == "classification":
            names = [label_text(label) for label in self.classes]
            return names[1:] if self.link == "sigmoid" else names
        if self.n_outputs == 1:
            return [self.target or "prediction"]
        return [f"{self.target or 'output'} {k + 1}" for k in range(self.n_outputs)]

    @property
    def n_features(self) -> int:
        """Number of derived features, the columns of the encoded matrix X."""
        return len(self.schema.features)

    def predict_raw_encoded(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the raw scores, float64 [n, outputs], of an encoded matrix X [n, features]."""
        raise NotImplementedError

    def encode(self, table: Any) -> NDArray[np.float64]:
        """Turn a table of raw columns into the feature matrix X, float64 [n, features] (see `TableSchema.encode`)."""
        return self.schema.encode(table)

    def predict_raw(self, table: Any) -> NDArray[np.float64]:
        """Return the raw scores, float64 [n, outputs], before the link."""
        return self.predict_raw_encoded(self.encode(table))

    def predict_proba(self, table: Any) -> NDArray[np.float64]:
        """Return class probabilities, float64 [n, classes]. Raises `DataError` for a regression."""
        return self.raw_to_proba(self.predict_raw(table))

    def predict(self, table: Any) -> NDArray[Any]:
        """Return class labels [n] (classification) or values, [n] for one target and [n, targets] for several (regression)."""
        return self.raw_to_prediction(self.predict_raw(table))

    def predict_encoded(self, X: NDArray[np.float64]) -> NDArray[Any]:
        """`predict` for an encoded matrix X [n, features]."""
        return self.raw_to_prediction(self.predict_raw_encoded(X))

    def raw_to_proba(self, raw: NDArray[np.float64]) -> NDArray[np.float64]:
        """Apply the link to raw scores [n, outputs] -> probabilities [n, classes]."""
        if self.task != "classification":
            raise DataError(f"a regression {self.kind} has no probabilities; use predict() or predict_raw().")
        if self.link == "sigmoid":
            with np.errstate(over="ignore"):
                p = 1.0 / (1.0 + np.exp(-raw[:, 0]))
            return np.stack([1.0 - p, p], axis=1)
        if self.link == "softmax":
            shifted = np.exp(raw - raw.max(axis=1, keepdims=True))
            return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))
        return raw

    def raw_to_prediction(self, raw: NDArray[np.float64]) -> NDArray[Any]:
        """Turn raw scores [n, outputs] into labels or values (see `predict`). Decided on the score: no `exp` can change a class."""
        if self.task == "regression":
            return raw[:, 0] if self.n_outputs == 1 else raw
        return self.class_array[self.raw_to_class_index(raw)]

    def raw_to_class_index(self, raw: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the position of the predicted class in `classes`: int64 [n]."""
        if self.link == "sigmoid":
            return (raw[:, 0] > 0).astype(np.int64)
        return np.asarray(np.argmax(raw, axis=1))

    @cached_property
    def class_array(self) -> NDArray[Any]:
        """The class labels as an array whose dtype is that of the labels."""
        return np.array(self.classes)

    def runtime(self, engine: str = "auto", *, n_jobs: int = 1) -> Any:
        """Return a handle with `predict_raw`, `predict`, `predict_proba` and, of encoded rows, `predict_raw_encoded` and `predict_encoded`:
        the model itself, where a kind has no faster one.
        """
        return self

    def fastest_engine(self) -> str:
        """Return the name of the engine that answers for many rows fastest here, as `runtime` takes it."""
        return "auto"

    def used_features(self) -> NDArray[np.int64]:
        """Return the numbers of the features that a prediction can depend on, sorted."""
        return np.arange(self.n_features)

    def sizes(self) -> list[tuple[int, str]]:
        """Return what there is to count in the model, as (number, singular noun): shown by the command and the report."""
        return [(sum(array.nbytes for array in self.arrays().values()), "byte")]

    def facts(self) -> Facts:
        """Return what else can be counted in the model, by title and name: shown by the report; none where `sizes` says it all."""
        return {}

    def drawing(self) -> tuple[str, str] | None:
        """Return a caption and an SVG element for the report, whose style sheet colours it; None where a kind has no picture."""
        return None

    def forms(self) -> Mapping[str, Form]:
        """Return the languages that the model can be written in, by the short name that `hardgrad export --to` takes.

        "c" defines `void <name>_predict(const double *features, double *raw)`, of one encoded row; `hardgrad fit` compiles it, and holds it
        against `predict_raw_encoded`.
        """
        return {}

    def check_answers(self) -> None:
        """Raise `ArtifactError` unless task, link, classes and scores fit each other; a subclass calls it when its arrays are checked."""
        kinds = {type(label) for label in self.classes}
        count, distinct = len(self.classes), {label for label in self.classes if label == label}
        target: object = self.target
        for fine, what in (
            (self.task in ("classification", "regression"), f"unknown task {self.task!r}"),
            (self.link in ("identity", "sigmoid", "softmax"), f"unknown link {self.link!r}"),
            (isinstance(target, str), "the target must be text"),
            (
                len(kinds) <= 1 and kinds <= {str, int, float, bool},
                "class labels must be of one type: text, int, float, bool",
            ),
            (len(distinct) == count, "class labels must be distinct"),
            (
                self._scores_fit(),
                f"{count} classes and {self.n_outputs} scores for a {self.task} with link {self.link!r}",
            ),
        ):
            if not fine:
                raise ArtifactError(f"not a {self.kind.replace('-', ' ')}: {what}.")

    def _scores_fit(self) -> bool:
        """A score a class, one for the second of two, or a score a target and no classes."""
        count = len(self.classes)
        if self.task == "regression":
            return self.link == "identity" and count == 0 and self.n_outputs >= 1
        return (self.n_outputs, count) == (1, 2) if self.link == "sigmoid" else self.n_outputs == count >= 2

    # --- on disk -------------------------------------------------------------------------------------------------------------
    def metadata_to_json(self) -> dict[str, Any]:
        """Return the schema and the plain fields in a form that `json` can write."""
        plain = super().metadata_to_json()
        return {**plain, "schema": self.schema.to_json(), "classes": list(self.classes)}

    @classmethod
    def metadata_from_json(cls, metadata: dict[str, Any]) -> dict[str, Any]:
        """Invert `metadata_to_json`."""
        return {
            **metadata,
            "classes": tuple(metadata["classes"]),
            "schema": TableSchema.from_json(metadata["schema"]),
        }
