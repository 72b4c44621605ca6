"""BlockLowRankMatrix: a matrix as a sum of low-rank blocks, exact, as NumPy arrays. Never imports torch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.artifact import Artifact
from hardgrad.core.errors import ArtifactError, InputError

PLACES = ("row_start", "row_count", "column_start", "column_count")


@dataclass(frozen=True, eq=False)
class BlockLowRankMatrix(Artifact, kind="block-low-rank-matrix"):
    """A matrix that is zero but for blocks of low rank, which may overlap and may wrap around its edges.

    Parameters
    ----------
    n_rows, n_columns : shape of the matrix.
    rank : of every block.
    row_start, row_count, column_start, column_count : int32 [blocks]; block b covers `row_count[b]` rows from `row_start[b]` on, beyond the
        last row from the first one again, and columns likewise. No block is empty.
    left, right : float32 or float64, both alike; one after another the factors of the blocks, (row_count, rank) and (column_count, rank) in
        C order. A block is `left @ right.T`.

    Notes
    -----
    Products are computed in the type of the factors, as two dense products with the factors of all blocks, zeros included. With `matvec`,
    `rmatvec` and `shape` it is what SciPy's iterative solvers take through `scipy.sparse.linalg.aslinearoperator`.

    Examples
    --------
    >>> place = [np.array([k], dtype=np.int32) for k in (3, 2, 1, 1)]
    >>> matrix = BlockLowRankMatrix(4, 3, 1, *place, np.array([2.0, 5.0]), np.array([1.0]))
    >>> matrix.to_dense().tolist()
    [[0.0, 5.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 2.0, 0.0]]
    >>> matrix.matvec([1.0, 10.0, 100.0]).tolist(), matrix.numbers
    ([50.0, 0.0, 0.0, 20.0], 3)
    """

    n_rows: int
    n_columns: int
    rank: int
    row_start: NDArray[np.int32]
    row_count: NDArray[np.int32]
    column_start: NDArray[np.int32]
    column_count: NDArray[np.int32]
    left: NDArray[Any]
    right: NDArray[Any]

    def __post_init__(self) -> None:
        sizes = (self.n_rows, self.n_columns, self.rank)
        if any(type(size) is not int or not 0 < size < 2**31 for size in sizes):
            raise ArtifactError(
                f"a block-low-rank matrix has (n_rows, n_columns, rank) = {sizes}; expected positive int32 numbers."
            )
        for name in PLACES:
            array = getattr(self, name)
            if not isinstance(array, np.ndarray) or array.dtype != np.int32 or array.ndim != 1:
                raise ArtifactError(f"{name} of a block-low-rank matrix must be int32 with 1 dimension.")
        if len({len(getattr(self, name)) for name in PLACES}) > 1:
            raise ArtifactError(
                "a block-low-rank matrix needs one start and one count a block, for rows and columns."
            )
        for side, size in (("row", self.n_rows), ("column", self.n_columns)):
            start, count = getattr(self, f"{side}_start"), getattr(self, f"{side}_count")
            if ((start < 0) | (start >= size) | (count < 1) | (count > size)).any():
                raise ArtifactError(f"a block lies outside the {size} {side}s of its matrix, or is empty.")
        self._check_factors()
        self.freeze()

    def _check_factors(self) -> None:
        expected = [
            self.rank * int(counts.sum(dtype=np.int64)) for counts in (self.row_count, self.column_count)
        ]
        for name, size in zip(("left", "right"), expected, strict=True):
            array = getattr(self, name)
            if (
                not isinstance(array, np.ndarray)
                or array.dtype not in (np.float32, np.float64)
                or array.shape != (size,)
                or not np.isfinite(array).all()
            ):
                raise ArtifactError(
                    f"{name} of a block-low-rank matrix must be {size} finite float32 or float64 numbers."
                )
        if self.left.dtype != self.right.dtype:
            raise ArtifactError(
                f"the factors are {self.left.dtype} and {self.right.dtype}; expected one type."
            )

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.n_rows, self.n_columns

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the factors, and of every product."""
        return self.left.dtype

    @property
    def numbers(self) -> int:
        """How many numbers the factors hold, and how many multiply-adds by other than 0 a product with one vector takes."""
        return len(self.left) + len(self.right)

    def factors(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the factors of all blocks with their zeros, (n_rows, blocks * rank) and (blocks * rank, n_columns)."""
        padded = []
        for start, count, numbers, n in (
            (self.row_start, self.row_count, self.left, self.n_rows),
            (self.column_start, self.column_count, self.right, self.n_columns),
        ):
            blocks = np.repeat(np.arange(len(start)), count)
            first = np.repeat(np.cumsum(count, dtype=np.int64) - count, count)
            places = (np.repeat(start.astype(np.int64), count) + np.arange(len(blocks)) - first) % n
            side = np.zeros((n, len(start), self.rank), self.dtype)
            side[places, blocks] = numbers.reshape(-1, self.rank)
            padded.append(side.reshape(n, -1))
        return padded[0], np.ascontiguousarray(padded[1].T)

    @cached_property
    def _operators(self) -> tuple[NDArray[Any], ...]:
        """Return what is multiplied with, from the left: two factors, or the dense matrix where that is smaller.

        Products with zeros cost less than finding out which blocks have none: dense products run many times faster than short ones.
        """
        left, right = self.factors()
        with np.errstate(over="ignore", invalid="ignore"):
            return (left, right) if left.size + right.size < self.n_rows * self.n_columns else (left @ right,)

    def matmul(self, X: Any) -> NDArray[Any]:
        """Return the product with a matrix of columns, (n_rows, k).

        Parameters
        ----------
        X : (n_columns, k), finite numbers.

        Raises
        ------
        InputError : another shape, or numbers that are not finite.
        """
        return self._times("matmul", X, transposed=False)

    def matvec(self, x: Any) -> NDArray[Any]:
        """Return the product with one vector.

        Parameters
        ----------
        x : (n_columns,), or one column (n_columns, 1) as SciPy gives it; finite numbers.

        Returns
        -------
        product : (n_rows,), or (n_rows, 1).
        """
        return self._times("matvec", x, transposed=False)

    def rmatvec(self, y: Any) -> NDArray[Any]:
        """Return the product of the transposed matrix with one vector y, (n_rows,) or (n_rows, 1). See `matvec`."""
        return self._times("rmatvec", y, transposed=True)

    def _times(self, name: str, X: Any, *, transposed: bool) -> NDArray[Any]:
        array = self._operand(name, X, self.shape[0 if transposed else 1])
        operators = self._operators if transposed else self._operators[::-1]
        with np.errstate(
            over="ignore", invalid="ignore"
        ):  # a product beyond the type is infinite, as in any product
            for operator in operators:
                array = (operator.T if transposed else operator) @ array
        return array

    def to_dense(self) -> NDArray[Any]:
        """Return the matrix with all its zeros, (n_rows, n_columns)."""
        left, right = self.factors()
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(left @ right)

    def _operand(self, name: str, X: Any, size: int) -> NDArray[Any]:
        try:
            array = np.asarray(X, dtype=self.dtype)
        except (TypeError, ValueError):
            raise InputError(f"{name}() got {type(X).__name__}; expected an array of numbers.") from None
        dims = (2,) if name == "matmul" else (1, 2)
        one = name == "matmul" or array.shape[1:] in ((), (1,))
        if array.ndim not in dims or len(array) != size or not one or not np.isfinite(array).all():
            raise InputError(
                f"{name}() got an operand of shape {array.shape} for a matrix of shape {self.shape}; expected finite numbers of shape "
                f"({size}, {'k' if name == 'matmul' else ''})."
            )
        return array
