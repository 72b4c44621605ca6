"""LatticeCodes: a weight matrix as a few bits a weight, indices of points on learned lattices, decoded exactly. Never imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.artifact import Artifact
from hardgrad.core.bit_words import pack_bits, unpack_bits, word_count
from hardgrad.core.errors import ArtifactError, InputError

MAX_BITS = 8
MAX_DIM = 64
ARRAYS = {
    "words": (np.uint64, 1),
    "generators": (np.float16, 3),
    "mu": (np.float16, 1),
    "scales": (np.float32, 1),
    "bits": (np.uint8, 1),
}


@dataclass(frozen=True, eq=False)
class LatticeCodes(Artifact, kind="lattice-codes"):
    """A matrix cut in groups of columns, and each row of a group in vectors that lie on the group's lattice.

    A vector of `d` weights with index k, whole numbers from -2^(b-1) to 2^(b-1) - 1, is `expand(G (k + 1/2))`, where G is the group's
    generator and expand undoes the companding: `scale sign(u) ((1 + mu)^|u| - 1) / mu`, and `scale u` where mu is 0.

    Parameters
    ----------
    words : uint64 (W,); the indices plus 2^(b-1), b bits each, row after row; every group begins a word.
    generators : float16 (groups, d, d); the columns are the basis of the lattice.
    mu : float16 (groups,), not negative; strength of the companding.
    scales : float32 (groups,), not negative; largest weight of the group when it was learned.
    bits : uint8 (groups,), 1 to 8; bits of an index in each group.
    shape : (rows, columns) of the matrix, `(out_features, in_features)` of a linear layer.
    group_size : columns in a group; the last one may have fewer. Rows of a group are padded to whole vectors.

    Raises
    ------
    ArtifactError : arrays that do not fit each other, or a lattice whose points are beyond float32.

    Examples
    --------
    >>> eye = np.eye(2, dtype=np.float16)[None]
    >>> how = {"mu": np.zeros(1, np.float16), "scales": np.ones(1, np.float32), "bits": np.array([2], np.uint8)}
    >>> codes = LatticeCodes.pack([[[0, 1, -2, -1]]], generators=eye, shape=(1, 4), group_size=4, **how)
    >>> codes.decode()
    array([[ 0.5,  1.5, -1.5, -0.5]], dtype=float32)

    Source: Zhang, Wu, Wang and Lin, 2025, Learning Grouped Lattice Vector Quantizers for Low-Bit LLM Compression.
    """

    words: NDArray[np.uint64]
    generators: NDArray[np.float16]
    mu: NDArray[np.float16]
    scales: NDArray[np.float32]
    bits: NDArray[np.uint8]
    shape: tuple[int, int]
    group_size: int

    def __post_init__(self) -> None:
        for name, (dtype, dims) in ARRAYS.items():
            array: Any = getattr(self, name)
            if not isinstance(array, np.ndarray) or array.dtype != dtype or array.ndim != dims:
                raise ArtifactError(
                    f"{name} of LatticeCodes is {_described(array)}; expected {np.dtype(dtype)} of {dims} dimensions."
                )
        _check_sizes(self.shape, self.group_size)
        groups, d = len(self.bits), self.generators.shape[1]
        if self.generators.shape != (groups, d, d) or not 1 <= d <= MAX_DIM or not groups:
            raise ArtifactError(
                f"generators of LatticeCodes have shape {self.generators.shape}; expected ({groups}, d, d) with d from 1 to {MAX_DIM}."
            )
        expected = -(-self.shape[1] // self.group_size)
        if not len(self.mu) == len(self.scales) == groups == expected:
            raise ArtifactError(
                f"LatticeCodes has {len(self.mu)} mu, {len(self.scales)} scales and {groups} bits; expected {expected} of each, one a "
                f"group of {self.group_size} of {self.shape[1]} columns."
            )
        self._check_values()
        if len(self.words) != self.word_starts()[-1]:
            raise ArtifactError(
                f"LatticeCodes has {len(self.words)} words of indices; expected {self.word_starts()[-1]}."
            )
        self.freeze()

    def _check_values(self) -> None:
        if not ((self.bits >= 1) & (self.bits <= MAX_BITS)).all():
            raise ArtifactError(
                f"LatticeCodes has bits {sorted(set(self.bits.tolist()))}; expected 1 to {MAX_BITS}."
            )
        for name in ("generators", "mu", "scales"):
            array = getattr(self, name)
            if not np.isfinite(array).all() or (name != "generators" and (array < 0).any()):
                raise ArtifactError(
                    f"{name} of LatticeCodes holds {array.min()} to {array.max()}; expected finite numbers, not negative for mu and scales."
                )
        reach = np.abs(self.generators.astype(np.float64)).sum(axis=2).max(axis=1) * (
            2.0**self.bits / 2 - 0.5
        )
        with np.errstate(over="ignore"):
            largest = [expand(reach[g : g + 1], self.mu[g], self.scales[g])[0] for g in range(len(reach))]
        if not max(largest) <= np.finfo(np.float32).max:
            raise ArtifactError(
                f"a lattice of LatticeCodes has points up to {max(largest):.3g}; expected no more than float32 holds."
            )

    @classmethod
    def pack(cls, indices: Sequence[Any], **fields: Any) -> Self:
        """Return the artifact of indices that are not packed yet.

        Parameters
        ----------
        indices : one array a group, whole numbers from -2^(b-1) to 2^(b-1) - 1, each row's vectors one after another.
        **fields : `generators`, `mu`, `scales`, `bits`, `shape` and `group_size`.

        Raises
        ------
        ArtifactError : an index that its bits do not hold.
        """
        packed = []
        for numbers, b in zip(indices, fields["bits"].tolist(), strict=True):
            offset = np.asarray(numbers, dtype=np.int64).reshape(-1, 1) + (1 << b >> 1)
            if ((offset < 0) | (offset >= 1 << b)).any():
                raise ArtifactError(
                    f"pack() got indices {offset.min() - (1 << b >> 1)} to {offset.max() - (1 << b >> 1)}; expected those of {b} bits."
                )
            packed.append(pack_bits((offset >> np.arange(b) & 1).reshape(-1)))
        return cls(words=np.concatenate(packed), **fields)

    @classmethod
    def metadata_from_json(cls, metadata: dict[str, Any]) -> dict[str, Any]:
        """Invert `metadata_to_json`."""
        return metadata | {"shape": tuple(metadata["shape"])}

    @property
    def dim(self) -> int:
        """Dimensions of a lattice: weights in a vector."""
        return int(self.generators.shape[1])

    @property
    def n_groups(self) -> int:
        """Number of groups of columns."""
        return len(self.bits)

    @property
    def bits_per_weight(self) -> float:
        """Bits of all arrays, generators and padding included, over the number of weights."""
        stored = sum(array.nbytes for array in self.arrays().values())
        return 8 * stored / (self.shape[0] * self.shape[1])

    def columns(self, group: int) -> slice:
        """Return the columns of a group."""
        return slice(group * self.group_size, min((group + 1) * self.group_size, self.shape[1]))

    def vectors_in_row(self, group: int) -> int:
        """Return how many vectors a row of a group is cut in."""
        columns = self.columns(group)
        return int(-(-(columns.stop - columns.start) // self.dim))

    def word_starts(self) -> list[int]:
        """Return where the words of each group begin, and where those of the last one end."""
        starts = [0]
        for group, b in enumerate(self.bits.tolist()):
            starts.append(starts[-1] + word_count(self.shape[0] * self.vectors_in_row(group) * self.dim * b))
        return starts

    def indices(self, group: int) -> NDArray[np.int64]:
        """Return the indices of a group, (rows, vectors in a row, d)."""
        b = int(self.bits[group])
        start, stop = self.word_starts()[group : group + 2]
        count = self.shape[0] * self.vectors_in_row(group) * self.dim
        lanes = unpack_bits(self.words[start:stop], count * b).reshape(count, b)
        numbers = np.packbits(lanes, axis=1, bitorder="little")[:, 0].astype(np.int64) - (1 << b >> 1)
        return numbers.reshape(self.shape[0], self.vectors_in_row(group), self.dim)

    def decode_group(self, group: int) -> NDArray[np.float32]:
        """Return the weights of one group of columns, (rows, columns of the group)."""
        # Exact, in whatever order it is summed: float16 numbers are multiples of 2^-24, so that 53 bits hold every sum.
        points = (self.indices(group) + 0.5) @ self.generators[group].T.astype(np.float64)
        weights = expand(points, self.mu[group], self.scales[group]).astype(np.float32)
        columns = self.columns(group)
        return weights.reshape(self.shape[0], -1)[:, : columns.stop - columns.start]

    def decode(self) -> NDArray[np.float32]:
        """Return the matrix, float32 (rows, columns): the reference that every other decoder must agree with."""
        return np.concatenate([self.decode_group(group) for group in range(self.n_groups)], axis=1)

    def matmul(self, X: Any) -> NDArray[np.float64]:
        """Return `X @ decode().T` in float64, one group decoded at a time: the whole matrix is never in memory.

        Parameters
        ----------
        X : (n, columns), finite numbers.

        Raises
        ------
        InputError : another shape, or numbers that are not finite.
        """
        rows = np.asarray(X, dtype=np.float64)
        if rows.ndim != 2 or rows.shape[1] != self.shape[1] or not np.isfinite(rows).all():
            raise InputError(
                f"matmul() got rows of shape {rows.shape}; expected finite numbers of shape (n, {self.shape[1]})."
            )
        result = np.zeros((len(rows), self.shape[0]))
        for group in range(self.n_groups):
            result += rows[:, self.columns(group)] @ self.decode_group(group).T.astype(np.float64)
        return result


def expand(u: NDArray[np.float64], mu: Any, scale: Any) -> NDArray[np.float64]:
    """Return weights of companded ones."""
    if mu == 0:
        return u * float(scale)
    sizes = np.expm1(np.abs(u) * np.log1p(float(mu))) * (float(scale) / float(mu))
    return np.asarray(np.copysign(sizes, u))


def _check_sizes(shape: Any, group_size: Any) -> None:
    if not isinstance(shape, tuple) or len(shape) != 2 or not all(map(_is_size, (*shape, group_size))):
        raise ArtifactError(
            f"LatticeCodes has shape={shape!r} and group_size={group_size!r}; expected (rows, columns) and a whole number, all at least 1."
        )


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _described(array: Any) -> str:
    return f"{array.dtype} of shape {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
