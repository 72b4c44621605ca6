"""SoftNeighbourhood: the differentiable neighbourhood. Every candidate votes, with weight softmax(-distance / temperature)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hardgrad.core.errors import HardenError
from hardgrad.core.relaxed import Relaxed
from hardgrad.tabular.neighbour_model import Neighbourhood

Floats = NDArray[np.float64]
FLOOR = 1e-7  # of a probability under the logarithm
NEAR = 1e-12  # added to squared distances: the root has a finite slope at duplicates


@dataclass(frozen=True)
class EncoderShape:
    """What the encoder is made of; see `NeighbourhoodClassifier` for the meaning of each."""

    dim: int = 128
    n_blocks: int = 0
    d_block: int = 512
    dropout: float = 0.1
    embedding: str = "none"
    n_frequencies: int = 77
    frequency_scale: float = 0.0443
    d_embedding: int = 34
    n_bins: int = 16


class SoftNeighbourhood(Relaxed):
    """The soft side: an encoder, and the vote of all candidates.

    Parameters
    ----------
    n_features : standardised features.
    embedded : numbers of the features that are single numbers, and may be embedded.
    shape : of the encoder.
    temperature : of the votes.
    Z : standardised training rows [n, features], of which the bins of a piecewise embedding are the quantiles.

    Attributes
    ----------
    artifact : the exact counterpart, which remembers rows; None until these are known.
    """

    def __init__(
        self, n_features: int, embedded: NDArray[np.int64], shape: EncoderShape, temperature: float, Z: Floats
    ) -> None:
        super().__init__(temperature)
        self.artifact: Neighbourhood | None = None
        self.shape = shape
        embedded = embedded if shape.embedding != "none" else embedded[:0]
        self.embedded = embedded
        self.plain = np.setdiff1d(np.arange(n_features), embedded)
        each = 0
        self.shared: nn.Linear | None = None
        if len(embedded) == 0:
            self.shape = shape = dataclasses.replace(shape, embedding="none")
        elif shape.embedding == "periodic":
            self.table: Tensor = nn.Parameter(
                torch.randn(len(embedded), shape.n_frequencies) * shape.frequency_scale
            )
            self.shared = nn.Linear(2 * shape.n_frequencies, shape.d_embedding)
            each = shape.d_embedding
        else:
            edges = np.quantile(Z[:, embedded], np.linspace(0, 1, shape.n_bins + 1), axis=0).T
            self.register_buffer("table", torch.from_numpy(np.ascontiguousarray(edges)).float())
            each = shape.n_bins
        self.first = nn.Linear(len(self.plain) + each * len(embedded), shape.dim)
        self.blocks = nn.ModuleList(
            nn.ModuleDict(
                {
                    "norm": nn.BatchNorm1d(shape.dim),
                    "into": nn.Linear(shape.dim, shape.d_block),
                    "back": nn.Linear(shape.d_block, shape.dim),
                }
            )
            for _ in range(shape.n_blocks)
        )
        self.norm = nn.BatchNorm1d(shape.dim) if shape.n_blocks else None

    # --- forward -------------------------------------------------------------------------------------------------------------
    def embed(self, Z: Tensor, dropout: torch.Generator | None = None) -> Tensor:
        """Return where standardised rows [n, features] lie, [n, dim]; `dropout` draws what is dropped, and nothing is without."""
        hidden = self.first(self._inputs(Z))
        for block in self.blocks:
            assert isinstance(block, nn.ModuleDict)
            inner = torch.relu(block["into"](block["norm"](hidden)))
            if dropout is not None and self.shape.dropout:
                kept = torch.rand(inner.shape, generator=dropout) >= self.shape.dropout
                inner = inner * kept.to(inner.device) / (1.0 - self.shape.dropout)
            hidden = block["back"](inner)
        return hidden if self.norm is None else self.norm(hidden)  # type: ignore[no-any-return]

    def _inputs(self, Z: Tensor) -> Tensor:
        if self.shape.embedding == "none":
            return Z
        plain, numbers = Z[:, self.plain], Z[:, self.embedded]
        if self.shared is None:
            low, width = self.table[:, :-1], self.table.diff(dim=1)
            share = ((numbers[:, :, None] - low) / torch.where(width > 0, width, 1.0)).clamp(0.0, 1.0)
            return torch.cat([plain, torch.where(width > 0, share, 0.0).flatten(1)], dim=1)
        angle = 2.0 * torch.pi * numbers[:, :, None] * self.table
        waves = self.shared(torch.cat([angle.cos(), angle.sin()], dim=2))
        return torch.cat([plain, torch.relu(waves).flatten(1)], dim=1)

    def shares(self, queries: Tensor, rows: Tensor, votes: Tensor, own: Tensor | None = None) -> Tensor:
        """Return the share of each row in the vote on each query, [n, m], summing to 1.

        Parameters
        ----------
        queries, rows : embedded, [n, dim] and [m, dim].
        votes : positive weights of the rows, [m].
        own : number of the row that each query itself is, [n]; it does not vote on itself.
        """
        scores = votes.log() - distances(queries, rows) / self.temperature
        if own is not None:
            scores = scores.scatter(1, own[:, None], -torch.inf)
        return scores.softmax(dim=1)

    # --- the exact side ------------------------------------------------------------------------------------------------------
    def harden(self) -> Neighbourhood:
        """Return the exact `Neighbourhood` artifact. Raises `HardenError` where no rows are remembered yet."""
        if self.artifact is None:
            raise HardenError(
                "this SoftNeighbourhood remembers no rows; take the `soft_` of a fitted estimator."
            )
        return self.artifact

    def encoder_arrays(self) -> dict[str, Any]:
        """Return the encoder as the fields of a `Neighbourhood`: batch normalisations are folded into the layers behind or before them."""
        layers = [_affine(self.first)]
        for block in self.blocks:
            assert isinstance(block, nn.ModuleDict)
            weight, bias = _affine(block["into"])
            factor, offset = _normalisation(block["norm"])
            layers += [(factor[:, None] * weight, bias + offset @ weight), _affine(block["back"])]
        if self.norm is not None:
            factor, offset = _normalisation(self.norm)
            weight, bias = layers[-1]
            layers[-1] = (weight * factor, bias * factor + offset)
        shared = self.shared
        table = getattr(self, "table", None)
        empty = np.zeros((0, 0), dtype=np.float32)
        return {
            "embedding": self.shape.embedding,
            "widths": (layers[0][0].shape[0], *(weight.shape[1] for weight, _ in layers)),
            "embedded": self.embedded.astype(np.int32),
            "table": empty if table is None else _array(table).astype(np.float32),
            "shared_weight": empty if shared is None else _array(shared.weight).T.astype(np.float32),
            "shared_bias": empty[0:0].reshape(0)
            if shared is None
            else _array(shared.bias).astype(np.float32),
            "layers": np.concatenate([part.reshape(-1) for layer in layers for part in layer]).astype(
                np.float32
            ),
        }


def distances(queries: Tensor, rows: Tensor) -> Tensor:
    """Return Euclidean distances [n, m] by one matrix product, with a gradient that is finite between equal rows."""
    squared = (queries**2).sum(dim=1)[:, None] + (rows**2).sum(dim=1) - 2.0 * queries @ rows.T
    return (squared.clamp_min(0.0) + NEAR).sqrt()


def _array(tensor: Tensor) -> Floats:
    return np.asarray(tensor.detach().cpu().double().numpy())


def _affine(layer: Any) -> tuple[Floats, Floats]:
    return _array(layer.weight).T, _array(layer.bias)


def _normalisation(norm: Any) -> tuple[Floats, Floats]:
    """Factor and offset of a batch normalisation in use."""
    factor = _array(norm.weight) / np.sqrt(_array(norm.running_var) + norm.eps)
    return factor, _array(norm.bias) - _array(norm.running_mean) * factor
