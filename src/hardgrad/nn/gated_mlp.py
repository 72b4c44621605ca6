"""GatedMLP: the exact conditional block as an artifact. A small gater opens groups of hidden units; closed ones cost nothing. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.artifact import Artifact
from hardgrad.core.errors import ArtifactError, InputError

Floats = NDArray[np.float32]
MATRICES = ("gater_weight", "gate_weight", "hidden_weight", "output_weight")
BIASES = ("gater_bias", "gate_bias", "hidden_bias", "output_bias")


@dataclass(frozen=True, eq=False)
class GatedMLP(Artifact, kind="gated-mlp"):
    """A network with one hidden layer of rectified units in groups, and a gater that opens the groups an example needs.

    Parameters
    ----------
    gater_weight, gater_bias : float32, (width, inputs) and (width,); the gater's hidden layer, tanh.
    gate_weight, gate_bias : (groups, width) and (groups,); a group is open where its logit is above 0.
    hidden_weight, hidden_bias : (units, inputs) and (units,); groups are of consecutive units, all of one size.
    output_weight, output_bias : (outputs, units) and (outputs,).
    groups : number of groups.

    Examples
    --------
    >>> ones = np.ones((1, 1), np.float32)
    >>> block = GatedMLP(ones, ones[0], ones, -ones[0] / 2, ones, ones[0], 2 * ones, ones[0], groups=1)
    >>> block.predict([[3.0], [-5.0]]).tolist()
    [[9.0], [1.0]]
    """

    gater_weight: Floats
    gater_bias: Floats
    gate_weight: Floats
    gate_bias: Floats
    hidden_weight: Floats
    hidden_bias: Floats
    output_weight: Floats
    output_bias: Floats
    groups: int

    def __post_init__(self) -> None:
        groups: Any = self.groups
        if isinstance(groups, bool) or not isinstance(groups, int) or groups < 1:
            raise ArtifactError(
                f"a GatedMLP has groups={self.groups!r}; expected a whole number of at least 1."
            )
        for names, dims in ((MATRICES, 2), (BIASES, 1)):
            for name in names:
                array = np.array(getattr(self, name), order="C")
                if array.dtype != np.float32 or array.ndim != dims or not np.isfinite(array).all():
                    raise ArtifactError(
                        f"{name} of a GatedMLP is {array.dtype} of shape {array.shape}; expected finite float32 of {dims} dimensions."
                    )
                array.flags.writeable = False
                object.__setattr__(self, name, array)
        width, inputs = self.gater_weight.shape
        units, outputs = len(self.hidden_weight), len(self.output_weight)
        expected = [(width, inputs), (self.groups, width), (units, inputs), (outputs, units)]
        shapes = [getattr(self, name).shape for name in MATRICES]
        biases = [len(getattr(self, name)) for name in BIASES]
        if (
            shapes != expected
            or biases != [width, self.groups, units, outputs]
            or units % self.groups
            or not units
        ):
            raise ArtifactError(
                f"the matrices of a GatedMLP have shapes {shapes} with biases of {biases} for {self.groups} groups; expected "
                "(width, inputs), (groups, width), (units, inputs), (outputs, units), with as many biases as rows and groups of one size."
            )

    @property
    def n_features(self) -> int:
        """Number of inputs."""
        return int(self.gater_weight.shape[1])

    @property
    def group_size(self) -> int:
        """Number of hidden units in a group."""
        return len(self.hidden_weight) // self.groups

    def gates(self, X: Any) -> NDArray[np.bool_]:
        """Return which groups are open, (rows, groups).

        Parameters
        ----------
        X : (rows, inputs), finite numbers; computed in float64.

        Raises
        ------
        InputError : another shape, or numbers that are not finite.
        """
        return self._gates(self._rows(X))

    def predict(self, X: Any) -> NDArray[np.float64]:
        """Return the outputs, (rows, outputs) float64. A row whose groups are all closed gets the bias.

        Parameters
        ----------
        X : as for `gates`.
        """
        rows = self._rows(X)
        gates = self._gates(rows)
        result = np.tile(self.output_bias.astype(np.float64), (len(rows), 1))
        for group in range(self.groups):
            chosen = np.flatnonzero(gates[:, group])
            units = slice(group * self.group_size, (group + 1) * self.group_size)
            hidden = rows[chosen] @ self.hidden_weight[units].T.astype(np.float64) + self.hidden_bias[units]
            result[chosen] += np.maximum(hidden, 0.0) @ self.output_weight[:, units].T.astype(np.float64)
        return result

    def multiply_adds(self, X: Any) -> NDArray[np.int64]:
        """Return how many multiply-adds each row takes: those of the gater and of the open groups."""
        gater = self.gater_weight.size + self.gate_weight.size
        group = self.group_size * (self.n_features + len(self.output_bias))
        spent: NDArray[np.int64] = gater + group * self.gates(X).sum(axis=1, dtype=np.int64)
        return spent

    @property
    def dense_multiply_adds(self) -> int:
        """How many a row would take without gates, and without the gater."""
        return self.hidden_weight.size + self.output_weight.size

    def _gates(self, rows: NDArray[np.float64]) -> NDArray[np.bool_]:
        hidden = np.tanh(rows @ self.gater_weight.T.astype(np.float64) + self.gater_bias)
        return hidden @ self.gate_weight.T.astype(np.float64) + self.gate_bias > 0.0

    def _rows(self, X: Any) -> NDArray[np.float64]:
        rows = np.asarray(X, dtype=np.float64)
        if rows.ndim != 2 or rows.shape[1] != self.n_features or not np.isfinite(rows).all():
            raise InputError(
                f"GatedMLP got rows of shape {rows.shape}; expected finite numbers of shape (rows, {self.n_features})."
            )
        return rows
