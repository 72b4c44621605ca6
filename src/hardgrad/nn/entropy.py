"""Layers that are trained with an entropy: one that moves data a little so that it is easier to order, one that attends to few keys."""

from __future__ import annotations

import copy
import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from hardgrad.core.errors import InputError, ParameterError
from hardgrad.core.mode import Mode, resolve_mode
from hardgrad.core.relaxed import Relaxed, straight_through


class EntropyNet(nn.Module):
    """Move points or sequences a little: x + scale * network(x), the identity before training.

    Train it with `run_entropy` or `range_entropy` of the result plus a weight times `distortion`, the SQUARED displacement: its root has no
    gradient where nothing has moved yet.

    Parameters
    ----------
    dimensions : d of the points.
    width : channels of the hidden layers.
    depth : layers, the last of them zero at the start; at least 2.
    kernel_size : odd; 1 moves each point by itself, more looks at its neighbours in the sequence.
    window : odd; the network sees how far each point lies from the mean of the `window` around it. None: it sees the points.
    gain : what the network sees is multiplied by it: about one over the size of what it should react to.
    scale : of the displacement, in the units of the points.

    Raises
    ------
    ParameterError : a size outside its range.

    Examples
    --------
    >>> net = EntropyNet(kernel_size=15, window=31)
    >>> x = torch.linspace(0, 1, 64)
    >>> torch.equal(net(x), x)
    True

    Source: Shihab, Akter and Sharma, 2025, Differentiable Entropy Regularization for Geometry and Neural Networks.
    """

    def __init__(
        self, dimensions: int = 1, *, width: int = 16, depth: int = 3, kernel_size: int = 1, window: int | None = None,
        gain: float = 1.0, scale: float = 1.0,
    ) -> None:  # fmt: skip
        super().__init__()
        if dimensions < 1 or width < 1 or depth < 2:
            raise ParameterError(
                f"EntropyNet got dimensions={dimensions}, width={width}, depth={depth}; expected at least 1, 1 and 2."
            )
        for name, size in (("kernel_size", kernel_size), ("window", window)):
            if size is not None and (size < 1 or size % 2 == 0):
                raise ParameterError(f"EntropyNet got {name}={size}; expected an odd number.")
        self.dimensions, self.window, self.gain, self.scale = dimensions, window, gain, scale
        sizes = [dimensions, *[width] * (depth - 1), dimensions]
        layers: list[nn.Module] = []
        for k in range(depth):
            layers += [
                nn.Conv1d(
                    sizes[k], sizes[k + 1], kernel_size, padding=kernel_size // 2, padding_mode="replicate"
                ),
                nn.Tanh(),
            ]
        self.layers = nn.Sequential(*layers[:-1])
        last = layers[-2]
        assert isinstance(last, nn.Conv1d) and last.bias is not None
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the moved points, in the shape of x: (..., n) where dimensions is 1, else (..., n, dimensions).

        Raises
        ------
        InputError : another shape.
        """
        points = x.unsqueeze(-1) if self.dimensions == 1 else x
        if x.dim() < (1 if self.dimensions == 1 else 2) or points.shape[-1] != self.dimensions:
            raise InputError(
                f"EntropyNet got shape {tuple(x.shape)}; expected (..., n, {self.dimensions}), or (..., n) for 1."
            )
        channels = points.reshape(-1, *points.shape[-2:]).mT
        seen = channels
        if self.window is not None:
            padded = nn.functional.pad(channels, (self.window // 2, self.window // 2), mode="replicate")
            seen = channels - nn.functional.avg_pool1d(padded, self.window, stride=1)
        moved = channels + self.scale * self.layers(self.gain * seen)
        result: Tensor = moved.mT.reshape(x.shape)
        return result

    @staticmethod
    def distortion(x: Tensor, moved: Tensor) -> Tensor:
        """Return the mean squared displacement, over everything."""
        return ((moved - x) ** 2).mean()


class Attended(NamedTuple):
    """What attention returns: the output (..., q, d), the weights (..., heads, q, k) and the mean entropy of their rows in bits."""

    output: Tensor
    weights: Tensor
    entropy: Tensor


class EntropyRegularizedAttention(Relaxed):
    """Multi-head attention that is trained to look at few keys, and then does.

    Add `strength * entropy` to the loss, with a strength that grows from 0. In mode "hard" all but the heaviest keys are dropped and the
    rest weighed anew; "st" does so forward and keeps the gradient of all.

    Parameters
    ----------
    dimensions : of queries, keys and values; a multiple of heads.
    heads : number of heads.
    sparsity : share of the keys that hard attention drops, in [0, 1); at least one is kept.
    mass : in place of sparsity, keep the fewest keys that have this share of the weight, in (0, 1].
    temperature : divides the scores, beside the square root of the size of a head.

    Raises
    ------
    ParameterError : a size or share outside its range, or both shares given.

    Examples
    --------
    >>> attention = EntropyRegularizedAttention(8, heads=2, sparsity=0.75)
    >>> x = torch.randn(3, 8, 8)
    >>> (attention(x, mode="hard").weights > 0).sum(-1).unique().tolist()
    [2]

    Source: Shihab, Akter and Sharma, 2025, Differentiable Entropy Regularization for Geometry and Neural Networks.
    """

    def __init__(
        self, dimensions: int, heads: int = 1, *, sparsity: float | None = None, mass: float | None = None,
        temperature: float = 1.0,
    ) -> None:  # fmt: skip
        super().__init__(temperature)
        if dimensions < 1 or heads < 1 or dimensions % heads:
            raise ParameterError(
                f"attention got dimensions={dimensions}, heads={heads}; expected a positive multiple of heads."
            )
        if sparsity is not None and mass is not None:
            raise ParameterError(f"attention got sparsity={sparsity} and mass={mass}; expected one of them.")
        if sparsity is not None and not 0.0 <= sparsity < 1.0:
            raise ParameterError(f"attention got sparsity={sparsity}; expected a share in [0, 1).")
        if mass is not None and not 0.0 < mass <= 1.0:
            raise ParameterError(f"attention got mass={mass}; expected a share in (0, 1].")
        self.sparsity, self.mass = sparsity, mass
        self.projections = _Projections(dimensions, heads)

    def forward(
        self,
        query: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        *,
        mode: Mode | None = None,
    ) -> Attended:
        """Attend from query (..., q, d) to key and value (..., k, d); by default to the query itself, and to the keys as values."""
        scores = self.projections.scores(query, key) / self.resolved_temperature()
        soft = torch.softmax(scores, -1)
        resolved = resolve_mode(mode)
        weights = soft if resolved == "soft" else _heaviest(soft, self.sparsity, self.mass)
        if resolved == "st":
            weights = straight_through(weights, soft)
        return self.projections.attend(weights, scores, query, key, value)

    def harden(self) -> nn.Module:
        """Return attention that always drops keys."""
        return _HardAttention(
            copy.deepcopy(self.projections), float(self.temperature), self.sparsity, self.mass
        )


class _HardAttention(nn.Module):
    """The exact counterpart of `EntropyRegularizedAttention`: the same projections, few keys."""

    def __init__(
        self, projections: _Projections, temperature: float, sparsity: float | None, mass: float | None
    ) -> None:
        super().__init__()
        self.projections, self.temperature, self.sparsity, self.mass = (
            projections,
            temperature,
            sparsity,
            mass,
        )

    def forward(self, query: Tensor, key: Tensor | None = None, value: Tensor | None = None) -> Attended:
        """Attend as `EntropyRegularizedAttention` does in mode "hard"."""
        scores = self.projections.scores(query, key) / self.temperature
        weights = _heaviest(torch.softmax(scores, -1), self.sparsity, self.mass)
        return self.projections.attend(weights, scores, query, key, value)


class _Projections(nn.Module):
    """The linear maps of multi-head attention, and what is done with them whatever the weights are."""

    def __init__(self, dimensions: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (
            nn.Linear(dimensions, dimensions, bias=False) for _ in range(4)
        )

    def scores(self, query: Tensor, key: Tensor | None) -> Tensor:
        """Return the products of queries and keys over the root of the size of a head: (..., heads, q, k)."""
        q, k = self._split(self.query(query)), self._split(self.key(query if key is None else key))
        scores: Tensor = q @ k.mT / math.sqrt(q.shape[-1])
        return scores

    def attend(
        self, weights: Tensor, scores: Tensor, query: Tensor, key: Tensor | None, value: Tensor | None
    ) -> Attended:
        """Return the values mixed by the weights, with the entropy of the softmax of the scores."""
        key = query if key is None else key
        mixed = (
            (weights @ self._split(self.value(key if value is None else value))).transpose(-3, -2).flatten(-2)
        )
        logarithm = torch.log_softmax(scores, -1)
        entropy = -(logarithm.exp() * logarithm).sum(-1).mean() / math.log(2.0)
        return Attended(self.out(mixed), weights, entropy)

    def _split(self, x: Tensor) -> Tensor:
        heads: Tensor = x.unflatten(-1, (self.heads, -1)).transpose(-3, -2)
        return heads


def _heaviest(weights: Tensor, sparsity: float | None, mass: float | None) -> Tensor:
    """Drop the light keys and weigh the rest anew; of equals the first are kept."""
    ordered, order = weights.sort(dim=-1, descending=True, stable=True)
    n = weights.shape[-1]
    if mass is not None:
        keep = ordered.cumsum(-1) - ordered < mass
    else:
        kept_keys = max(
            1, math.ceil((1.0 - (sparsity or 0.0)) * n - 1e-9)
        )  # a share such as 0.8 is not exact
        keep = (torch.arange(n, device=weights.device) < kept_keys).expand(ordered.shape)
    kept = torch.zeros_like(weights).scatter(-1, order, ordered * keep)
    return kept / kept.sum(-1, keepdim=True)
