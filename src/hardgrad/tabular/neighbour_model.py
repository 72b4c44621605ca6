"""Neighbourhood: the exact model that answers from the nearest remembered rows, in a learned space. Never imports torch.

How it is learned is `hardgrad.tabular.neighbours`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import SchemaError
from hardgrad.export.c import CSource
from hardgrad.tabular.neighbour_arithmetic import (
    Floats,
    Ints,
    NeighbourIndex,
    exponential,
    linear,
    turns,
)
from hardgrad.tabular.neighbour_check import check_neighbourhood
from hardgrad.tabular.schema import TableSchema
from hardgrad.tabular.table_model import Label, Link, TableModel, Task

if TYPE_CHECKING:
    from hardgrad.export.forms import Form

Floats32 = NDArray[np.float32]
ROWS_AT_ONCE = 1024
FARTHEST = 100.0
"""Standard deviations at which a feature is cut off: one wild value must not be the only thing that a distance is made of."""


@dataclass(frozen=True, eq=False)
class Neighbourhood(TableModel, kind="neighbourhood"):
    """Predicts by the votes of the k nearest remembered rows: exact nearest neighbours in an embedding that was learned for it.

    A row is standardised, embedded and compared with all remembered rows by Euclidean distance d. Its k nearest vote with their weight
    times exp(-d / temperature). Raw scores are the shares of the classes, or the mean of the values.

    Parameters
    ----------
    schema, link, task, classes, target : see `TableModel`; the link is "identity".
    k : number of neighbours that vote.
    temperature : of the votes, in the units of the distance.
    smoothing : added to the share of every class, so that none is 0; 0 for a regression.
    embedding : what is done to single numbers first: "none"; "periodic", cosines and sines of learned frequencies through a small shared
        layer; "piecewise", how much of each bin lies below the value.
    widths : inputs, then outputs of each layer. Layers 1, 3, ... (counted from 0) are rectified.
    mean, scale : float64 [features], of the training rows; a missing feature counts as its mean.
    embedded : int32, numbers of the features that are embedded.
    table : float32 [embedded, frequencies] of a periodic embedding, [embedded, edges] of a piecewise one.
    shared_weight, shared_bias : float32 [2 * frequencies, size] and [size] of the shared layer; empty where there is none.
    layers : float32, the weights [inputs, outputs] and biases of all layers, one after the other.
    memory : float32 or float16 [m, dim], remembered rows.
    values : float64 [m, outputs], what each of them votes for: a class as indicators, or numbers.
    votes : float64 [m], weights of the votes, positive.

    Source: Ye, Yin, Zhan and Chao, 2025, Revisiting Nearest Neighbor for Tabular Data: A Deep Tabular Baseline Two Decades Later.
    """

    schema: TableSchema
    link: Link
    task: Task
    classes: tuple[Label, ...]
    target: str
    k: int
    temperature: float
    smoothing: float
    embedding: str
    widths: tuple[int, ...]
    mean: Floats
    scale: Floats
    embedded: NDArray[np.int32]
    table: Floats32
    shared_weight: Floats32
    shared_bias: Floats32
    layers: Floats32
    memory: NDArray[Any]
    values: Floats
    votes: Floats

    def __post_init__(self) -> None:
        check_neighbourhood(self)

    # --- the learned space ---------------------------------------------------------------------------------------------------
    def embed(self, X: Floats) -> Floats:
        """Return where encoded rows X [n, features] lie in the learned space, float64 [n, dim]."""
        X = np.asarray(X, dtype=np.float64)
        if X.ndim != 2 or X.shape[1] != self.n_features:
            raise SchemaError(f"got an encoded matrix of shape {X.shape}; expected [n, {self.n_features}].")
        place = np.empty((len(X), self.widths[-1]))
        for start in range(0, len(X), ROWS_AT_ONCE):
            part = slice(start, start + ROWS_AT_ONCE)
            hidden = self._inputs(standardised(X[part], self.mean, self.scale))
            for number, (weight, bias) in enumerate(self.layer_parameters):
                hidden = linear(hidden, weight, bias)
                if number % 2:
                    hidden = np.maximum(hidden, 0.0)
            place[part] = hidden
        return place

    def _inputs(self, z: Floats) -> Floats:
        """The inputs of the first layer: features as they are, then what the others are embedded as."""
        if self.embedding == "none":
            return z
        plain, numbers = z[:, self.plain], z[:, self.embedded]
        if self.embedding == "piecewise":
            return np.concatenate([plain, in_bins(numbers, self.table).reshape(len(z), -1)], axis=1)
        waves = np.concatenate(turns(numbers[:, :, None] * self.table.astype(np.float64)), axis=2)
        flat = linear(waves.reshape(-1, waves.shape[2]), self.shared_weight, self.shared_bias)
        return np.concatenate([plain, np.maximum(flat, 0.0).reshape(len(z), -1)], axis=1)

    @cached_property
    def plain(self) -> Ints:
        """Numbers of the features that are not embedded."""
        return np.setdiff1d(np.arange(self.n_features), self.embedded)

    @cached_property
    def layer_parameters(self) -> list[tuple[Floats32, Floats32]]:
        """Weights [inputs, outputs] and bias [outputs] of each layer."""
        found, at = [], 0
        for inputs, outputs in pairwise(self.widths):
            weight = self.layers[at : at + inputs * outputs].reshape(inputs, outputs)
            at += (inputs + 1) * outputs
            found.append((weight, self.layers[at - outputs : at]))
        return found

    # --- neighbours ----------------------------------------------------------------------------------------------------------
    def neighbours(self, table: Any, *, index: str = "auto") -> tuple[Ints, Floats]:
        """Return who decides: numbers of the k nearest remembered rows, nearest first, int64 [n, k], and their shares of the vote.

        Parameters
        ----------
        table : raw columns, see `TableSchema.encode`.
        index : "brute", "kd_tree", or "auto"; all find the same rows, bit for bit.

        Returns
        -------
        number, share : each row of `share` sums to 1.

        Raises
        ------
        SchemaError : a column is missing. ParameterError : an unknown index.
        """
        return self.neighbours_encoded(self.encode(table), index=index)

    def neighbours_encoded(self, X: Floats, *, index: str = "auto") -> tuple[Ints, Floats]:
        """Return what `neighbours` does, of an encoded matrix X [n, features]."""
        number, squared = self._index(index).query(self.embed(X), self.k)
        return number, self._shares(number, squared)

    def _shares(self, number: Ints, squared: Floats) -> Floats:
        distance = np.sqrt(squared)
        # The nearest has exponent 0: far from everything, votes do not vanish together.
        with np.errstate(over="ignore"):
            exponent = (distance[:, :1] - distance) / self.temperature
        share = self.votes[number] * exponential(exponent)
        total = np.zeros(len(share))
        for j in range(self.k):
            total += share[:, j]
        return np.asarray(share / total[:, None])

    def _index(self, kind: str) -> NeighbourIndex:
        if kind not in self._indices:
            self._indices[kind] = NeighbourIndex(self.memory.astype(np.float64), kind)
        return self._indices[kind]

    @cached_property
    def _indices(self) -> dict[str, NeighbourIndex]:
        return {}

    # --- answers -------------------------------------------------------------------------------------------------------------
    @property
    def n_outputs(self) -> int:
        """Number of classes, or of values."""
        return int(self.values.shape[1])

    def predict_raw_encoded(self, X: Floats) -> Floats:
        """Return class shares or values, float64 [n, outputs], of an encoded matrix X [n, features]."""
        number, share = self.neighbours_encoded(X)
        raw = np.zeros((len(X), self.n_outputs))
        for j in range(self.k):
            raw += share[:, j, None] * self.values[number[:, j]]
        if self.smoothing:
            raw = (raw + self.smoothing) / (1.0 + self.n_outputs * self.smoothing)
        return raw

    # --- other forms ---------------------------------------------------------------------------------------------------------
    def to_c(self, name: str = "model") -> CSource:
        """Return C99 with `<name>_predict(x, answer)` and `<name>_neighbours(x, number, share)`, one row of features a call.

        Both give the bits of this class. The header says what each feature is.

        Parameters
        ----------
        name : prefix of every name.

        Raises
        ------
        ExportError : the model is too large for source code, or a column has so many categories that its features need a table.
        ParameterError : a name that C cannot have.
        """
        from hardgrad.tabular.neighbour_export import to_c

        return to_c(self, name)

    def forms(self) -> Mapping[str, Form]:
        """Return C (see `to_c`)."""
        from hardgrad.export.forms import Form

        return {"c": Form("C", lambda name="model": self.to_c(name).files(), ("name",))}

    def sizes(self) -> list[tuple[int, str]]:
        """Return the numbers of remembered rows and of bytes."""
        return [(len(self.memory), "remembered row"), *super().sizes()]

    @classmethod
    def metadata_from_json(cls, metadata: dict[str, Any]) -> dict[str, Any]:
        """Invert `metadata_to_json`."""
        return {**super().metadata_from_json(metadata), "widths": tuple(metadata["widths"])}


def standardised(X: Floats, mean: Floats, scale: Floats) -> Floats:
    """Return features in standard deviations from their mean; missing is 0, and nothing is farther than `FARTHEST`."""
    with np.errstate(over="ignore", invalid="ignore"):
        z = np.clip((X - mean) / scale, -FARTHEST, FARTHEST)
    return np.where(np.isnan(z), 0.0, z)


def in_bins(numbers: Floats, edges: NDArray[np.float32]) -> Floats:
    """Return how much of each bin lies below a number, 0 to 1: [n, numbers, bins] of [n, numbers] and edges [numbers, bins + 1].

    >>> in_bins(np.array([[2.5]]), np.array([[0, 2, 3, 7]], dtype=np.float32))[0].tolist()
    [[1.0, 0.5, 0.0]]
    """
    wide = edges.astype(np.float64)
    low, width = wide[:, :-1], np.diff(wide, axis=1)
    share = (numbers[:, :, None] - low) / np.where(width > 0, width, 1.0)
    return np.where(width > 0, np.clip(share, 0.0, 1.0), 0.0)
