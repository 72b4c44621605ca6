"""What quantisers on lattices share: the cut of a matrix in groups and vectors, companding, moments of inputs, bits for each group."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from hardgrad.bits.lattice_codes import MAX_BITS
from hardgrad.core.errors import InputError, ParameterError


def group_size_for(columns: int, group_size: int, dim: int) -> int:
    """Return the columns of a group: no more than the matrix has, in whole vectors."""
    return min(group_size, -(-columns // dim) * dim)


def cut(weight: Tensor, group_size: int, dim: int) -> Tensor:
    """Return a matrix (rows, columns) as vectors (groups, rows, vectors in a row, dim), padded with zeros.

    Parameters
    ----------
    weight : (rows, columns).
    group_size : a multiple of dim.
    dim : of the vectors.

    Examples
    --------
    >>> cut(torch.arange(6.0).reshape(2, 3), 2, 2).tolist()
    [[[[0.0, 1.0]], [[3.0, 4.0]]], [[[2.0, 0.0]], [[5.0, 0.0]]]]
    """
    rows, columns = weight.shape
    missing = -columns % group_size
    padded = torch.nn.functional.pad(weight, (0, missing))
    return padded.reshape(rows, -1, group_size // dim, dim).transpose(0, 1)


def joined(vectors: Tensor, columns: int) -> Tensor:
    """Return the matrix (rows, columns) of its vectors: the inverse of `cut`."""
    return vectors.transpose(0, 1).flatten(1)[:, :columns]


def compand(x: Tensor, mu: Tensor, scale: Tensor) -> Tensor:
    """Return weights with the large ones drawn in: `sign(x) ln(1 + mu |x| / scale) / ln(1 + mu)`, which is 1 at x = scale.

    Parameters
    ----------
    x : (..., vectors, d).
    mu : (...), not negative; 0 gives the limit, x / scale.
    scale : (...), not negative; where it is 0 all weights are 0.
    """
    mu, scale = (one[..., None, None] for one in (mu, scale))
    u = x / torch.where(scale > 0, scale, 1.0)
    bent = torch.where(mu > 0, mu, 1.0)
    return torch.where(mu > 0, u.sign() * torch.log1p(bent * u.abs()) / torch.log1p(bent), u)


def expand(u: Tensor, mu: Tensor, scale: Tensor) -> Tensor:
    """Return the weights of companded ones: the inverse of `compand`."""
    mu, scale = (one[..., None, None] for one in (mu, scale))
    bent = torch.where(mu > 0, mu, 1.0)
    return torch.where(
        mu > 0, u.sign() * torch.expm1(u.abs() * torch.log1p(bent)) * (scale / bent), u * scale
    )


def lattice_weights(index: Tensor, generators: Tensor, mu: Tensor, scales: Tensor) -> Tensor:
    """Return the weights of indices, as `LatticeCodes` defines them, in the dtype of the generators.

    Parameters
    ----------
    index : (..., vectors, d), whole numbers.
    generators : (..., d, d).
    mu, scales : (...).
    """
    return expand((index.to(generators.dtype) + 0.5) @ generators.mT, mu, scales)


def exact_dtype(device: torch.device) -> torch.dtype:
    """Return the dtype in which weights are decoded: float64 as the artifact has it, float32 on devices that have no better."""
    return torch.float32 if device.type == "mps" else torch.float64


class InputMoments:
    """Mean products of inputs within each group of columns, gathered batch by batch: all that calibration needs to know of the inputs.

    Parameters
    ----------
    columns : inputs of the layer.
    group_size : columns in a group.

    Examples
    --------
    >>> moments = InputMoments(2, group_size=2)
    >>> moments.update(torch.tensor([[1.0, 2.0], [3.0, 0.0]]))
    >>> moments.blocks.tolist()
    [[[5.0, 1.0], [1.0, 2.0]]]
    """

    def __init__(self, columns: int, group_size: int) -> None:
        self.columns, self.group_size = columns, group_size
        self.rows = 0
        self._sums: Tensor | None = None

    def update(self, x: Tensor) -> None:
        """Take in a batch (..., columns).

        Raises
        ------
        InputError : another number of columns, NaN or infinity.
        """
        if x.dim() < 1 or x.shape[-1] != self.columns or not x.isfinite().all():
            raise InputError(
                f"InputMoments got inputs of shape {tuple(x.shape)}; expected finite numbers, (..., {self.columns})."
            )
        grouped = cut(x.detach().reshape(-1, self.columns).double(), self.group_size, 1).squeeze(-1)
        sums = grouped.mT @ grouped
        self._sums = sums if self._sums is None else self._sums + sums
        self.rows += grouped.shape[1]

    @property
    def blocks(self) -> Tensor:
        """Mean products, float64 (groups, group_size, group_size); zero where the last group has no columns."""
        if self._sums is None or not self.rows:
            raise InputError(
                "InputMoments has seen no inputs; expected at least one row. Call update() first."
            )
        return self._sums / self.rows


def allocate_bits(salience: Sequence[float] | Tensor, target: float, *, spread: int = 1) -> list[int]:
    """Return the bits of each group for the least expected loss at a mean of `target` bits: more for those that matter more.

    A bit more divides the loss of a group by four. Bits are given one by one to the group whose loss falls most, which is optimal as each
    next bit gains less.

    Parameters
    ----------
    salience : loss of each group, not negative, when all have the same bits. Ties go to the group with the fewest bits, then to the first.
    target : mean bits of the groups, 1 to 8; the total is rounded down to whole bits.
    spread : how far a group may be from the target.

    Raises
    ------
    ParameterError, InputError : an argument out of range, a salience that is negative or not finite.

    Examples
    --------
    >>> allocate_bits([9.0, 1.0, 1.0, 0.5], 2)
    [3, 2, 2, 1]

    Source: Zhang, Wu, Wang and Lin, 2025, Learning Grouped Lattice Vector Quantizers for Low-Bit LLM Compression (its salience-determined
    allocation); Shoham and Gersho, 1988, Efficient bit allocation for an arbitrary set of quantizers.
    """
    values = [float(value) for value in salience]
    if not 1 <= target <= MAX_BITS or spread < 0:
        raise ParameterError(
            f"allocate_bits got target={target!r} and spread={spread!r}; expected 1 to {MAX_BITS} bits and a spread of at least 0."
        )
    if not all(math.isfinite(value) and value >= 0 for value in values):
        raise InputError("allocate_bits got a salience that is negative or not finite; expected losses.")
    least, most = max(1, math.floor(target) - spread), min(MAX_BITS, math.ceil(target) + spread)
    bits = [least] * len(values)
    gains = [(-value, least, group) for group, value in enumerate(values)]
    heapq.heapify(gains)
    for _ in range(math.floor(target * len(values)) - least * len(values)):
        gain, had, group = heapq.heappop(gains)
        bits[group] = had + 1
        if bits[group] < most:
            heapq.heappush(gains, (gain / 4, had + 1, group))
    return bits


def check_weight(where: str, weight: Any) -> Tensor:
    """Return a matrix of weights as float32 on the CPU. Raises `InputError` for anything that is none."""
    matrix = torch.as_tensor(weight).detach()
    if matrix.dim() != 2 or not matrix.numel() or matrix.is_complex() or not matrix.isfinite().all():
        raise InputError(
            f"{where} got weights of shape {tuple(matrix.shape)}; expected a matrix of finite numbers, (rows, columns)."
        )
    single = matrix.to("cpu", torch.float32)
    if not single.isfinite().all():
        raise InputError(f"{where} got weights beyond float32; expected smaller numbers. Rescale them.")
    return single
