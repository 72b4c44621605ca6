"""RoutedExperts: the exact mixture of linear experts that a stream leaves behind, NumPy only. Never imports torch.

A row is compared with a key of each expert; the k experts with the nearest keys vote. Training is `expert_stream`.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import ArtifactError, DataError
from hardgrad.tabular.schema import TableSchema
from hardgrad.tabular.table_model import Label, Link, TableModel, Task
from hardgrad.trees.expert_votes import Array, cosines, nearest, represent, vote_weights, votes


@dataclass(frozen=True)
class StreamState:
    """What a stream needs, beside arrays, to go on where it stopped.

    Parameters
    ----------
    seed : of keys and of the first weights of a class.
    temperature, weight_decay, decoupled_decay, trainable_keys, batch_size : as in `StreamingExpertClassifier`.
    rows : rows learned from so far.
    key_steps : optimiser steps of the keys so far.
    """

    seed: int
    temperature: float
    weight_decay: float
    decoupled_decay: bool
    trainable_keys: bool
    batch_size: int
    rows: int
    key_steps: int

    def __post_init__(self) -> None:
        kinds = {"int": int, "float": float, "bool": bool}
        for field in fields(self):
            value: Any = getattr(self, field.name)
            wrong_kind = type(value) is not kinds[str(field.type)]
            if wrong_kind or not 0 <= value < math.inf:
                raise ArtifactError(
                    f"the state of a stream has {field.name}={value!r}; expected {field.type}, at least 0."
                )


@dataclass(frozen=True, eq=False)
class RoutedExperts(TableModel, kind="routed-experts"):
    """A mixture of linear experts: the k experts with the nearest keys vote on the class.

    Parameters
    ----------
    schema : raw columns and the features x derived from them.
    projection, offset : float64 [H, F] and [H]; z = tanh(projection x + offset) - shift, or z = x - shift where H is 0.
    shift : float64 [d].
    key : float64 [M, d]; compared by cosine.
    count : int32 [M, C, d]; expert m votes cap * tanh(step * count[m] z / cap).
    n_neighbours : how many experts vote.
    step, cap : see `count`.
    classes : the labels, sorted.
    weight : float64 [M, C, d], the unrounded experts of a stream that can be resumed; [0, 0, 0] without a state.
    usage : float64 [M], number of rows that each expert learned from.
    moments : float64 [2, M, d], the optimiser's of trained keys; [2, 0, 0] otherwise.
    state : what else a stream needs to be resumed; None for a model that only answers (see `without_state`).

    Examples
    --------
    >>> from hardgrad.trees import StreamingExpertClassifier
    >>> X = np.array([[0.0, 1.0], [1.0, 0.0], [0.1, 1.0], [1.0, 0.1]])
    >>> model = StreamingExpertClassifier(4, 2, random_state=0).fit(np.repeat(X, 9, axis=0), np.repeat(["up", "on", "up", "on"], 9))
    >>> model.harden().without_state().predict(X).tolist()
    ['up', 'on', 'up', 'on']
    """

    schema: TableSchema
    projection: Array
    offset: Array
    shift: Array
    key: Array
    count: NDArray[np.int32]
    n_neighbours: int
    step: float
    cap: float
    weight: Array
    usage: Array
    moments: Array
    classes: tuple[Label, ...]
    link: Link = "softmax"
    task: Task = "classification"
    target: str = ""
    state: StreamState | None = None

    _dtypes: ClassVar[dict[str, tuple[type, int]]] = {
        "projection": (np.float64, 2),
        "offset": (np.float64, 1),
        "shift": (np.float64, 1),
        "key": (np.float64, 2),
        "count": (np.int32, 3),
        "weight": (np.float64, 3),
        "usage": (np.float64, 1),
        "moments": (np.float64, 3),
    }

    def __post_init__(self) -> None:
        for name, (dtype, ndim) in self._dtypes.items():
            array = getattr(self, name)
            if not isinstance(array, np.ndarray) or array.dtype != dtype or array.ndim != ndim:
                raise ArtifactError(
                    f"array {name!r} of experts must be {np.dtype(dtype)} with {ndim} dimensions."
                )
            if not np.isfinite(array).all():
                raise ArtifactError(f"array {name!r} of experts holds NaN or infinity.")
        self.freeze()
        self._check_shapes()
        self._check_metadata()

    def _check_shapes(self) -> None:
        M, d = self.key.shape
        C, F, H = len(self.classes), self.n_features, len(self.offset)
        whole = (M, C, d) if self.state else (0, 0, 0)
        trained = (2, M, d) if self.state and self.state.trainable_keys else (2, 0, 0)
        expected = {
            "projection": (H, F if H else 0), "shift": (H or F,), "key": (M, H or F), "count": (M, C, d),
            "usage": (M,), "weight": whole, "moments": trained,
        }  # fmt: skip
        for name, shape in expected.items():
            if getattr(self, name).shape != shape:
                raise ArtifactError(
                    f"array {name!r} of experts has shape {getattr(self, name).shape}, expected {shape}."
                )

    def _check_metadata(self) -> None:
        if type(self.n_neighbours) is not int or not 1 <= self.n_neighbours <= len(self.key):
            raise ArtifactError(
                f"n_neighbours is {self.n_neighbours!r}; expected 1 to the {len(self.key)} experts."
            )
        for name in ("step", "cap"):
            value: object = getattr(self, name)
            if not isinstance(value, float) or not 0 < value < math.inf:
                raise ArtifactError(f"{name} is {value!r}; expected a positive number.")
        if (self.link, self.task) != ("softmax", "classification"):
            raise ArtifactError(f"experts classify by softmax; got {self.link!r}, {self.task!r}.")
        kinds = {type(label) for label in self.classes}
        plain = len(kinds) == 1 and kinds <= {str, int, float, bool}
        if not plain or list(self.classes) != sorted(set(self.classes)):
            raise ArtifactError(f"classes must be distinct, sorted labels of one type, got {self.classes}.")
        if not isinstance(self.target, str):
            raise ArtifactError(f"target is {self.target!r}; expected the name of a column.")

    @property
    def n_outputs(self) -> int:
        """Number of classes."""
        return len(self.classes)

    @property
    def n_experts(self) -> int:
        """Number of experts."""
        return len(self.key)

    def represent(self, X: Array) -> Array:
        """Return z [n, d], what keys and experts see, of the encoded matrix X [n, F].

        Raises
        ------
        DataError : NaN or infinity; the message names the column.
        """
        wrong = ~np.isfinite(X)
        if wrong.any():
            row, feature = (int(place[0]) for place in np.nonzero(wrong))
            column = self.schema.names[self.schema.features[feature].column]
            raise DataError(
                f"experts take finite numbers only; column {column!r} holds {X[row, feature]} in row {row}. Drop or fill such rows first."
            )
        return represent(X, self.projection, self.offset, self.shift)

    def chosen(self, X: Array) -> NDArray[np.int64]:
        """Return the experts that vote on each row of the encoded matrix X, int64 [n, k], the nearest first."""
        order = np.argsort(-cosines(self.represent(X), self.key), axis=1, kind="stable")
        return order[:, : self.n_neighbours].astype(np.int64)

    def predict_raw_encoded(self, X: Array) -> Array:
        """Return the votes for each class, float64 [n, C], of an encoded matrix X [n, F]."""
        z = self.represent(X)
        cosine = cosines(z, self.key)
        weights = vote_weights(nearest(cosine, self.n_neighbours), cosine)
        return votes(z, weights, self.count, self.step, self.cap)

    def without_state(self) -> RoutedExperts:
        """Return the same model without what only a resumed stream needs; a third of the size."""
        return replace(self, weight=np.empty((0, 0, 0)), moments=np.empty((2, 0, 0)), state=None)

    def sizes(self) -> list[tuple[int, str]]:
        """Return what there is to count in the model, as (number, singular noun)."""
        return [(self.n_experts, "expert"), *super().sizes()]

    def metadata_to_json(self) -> dict[str, Any]:
        """Return the schema and the plain fields in a form that `json` can write."""
        return {**super().metadata_to_json(), "state": None if self.state is None else asdict(self.state)}

    @classmethod
    def metadata_from_json(cls, metadata: dict[str, Any]) -> dict[str, Any]:
        """Invert `metadata_to_json`."""
        state = metadata["state"]
        return {
            **super().metadata_from_json(metadata),
            "state": None if state is None else StreamState(**state),
        }
