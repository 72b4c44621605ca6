"""Rows of a streamed table packed into a few bytes each, in a temporary file: the codes of a table fit where its values do not."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import DataError, HardgradError, ParameterError
from hardgrad.core.files import WriteError
from hardgrad.tabular.category_codes import Floats
from hardgrad.tabular.streaming import StreamedTable


@dataclass(frozen=True)
class PackedBatch:
    """Some packed rows: codes [n, width], y [n] and weight [n]."""

    codes: NDArray[Any]
    y: NDArray[Any]
    weight: Floats


class PackedRows:
    """The rows of a streamed table as codes of a few bytes, on disk; a context manager that deletes its file at the end.

    Parameters
    ----------
    table : the streamed table.
    pack : turns features float64 [n, features] into codes [n, width] of a small type; row by row, the same on every call.
    folder : where to put the file; by default the system's folder for temporary files.
    cross_fit : see `StreamedTable.iter_encoded`.

    Attributes
    ----------
    codes : [n_used, width], mapped from the file; in the order of the table.
    y, weight : [n_used].

    Raises
    ------
    WriteError : the disk is full or the folder not writable; nothing is left behind.
    """

    def __init__(
        self,
        table: StreamedTable,
        pack: Callable[[Floats], NDArray[Any]],
        *,
        folder: str | None = None,
        cross_fit: bool = True,
    ) -> None:
        n = table.n_used
        self.y = np.empty(n, dtype=np.int64 if table.classes else np.float64)
        self.weight = np.empty(n)
        try:
            self._folder = Path(tempfile.mkdtemp(prefix="hardgrad-", dir=folder))
        except OSError as error:
            raise WriteError(
                f"cannot write to {folder}: {error.strerror or error}. Choose another folder."
            ) from error
        path = self._folder / "codes.bin"
        try:
            row, shape, kind = 0, (0, 0), np.dtype(np.uint8)
            with path.open("wb") as stream:
                for rows in table.iter_encoded(cross_fit=cross_fit):
                    codes = np.ascontiguousarray(pack(rows.X))
                    if codes.shape[:1] != (len(rows),) or codes.ndim != 2:
                        raise ParameterError(
                            f"pack() gave an array of shape {codes.shape} for {len(rows)} rows."
                        )
                    stream.write(codes.tobytes())
                    self.y[row : row + len(rows)], self.weight[row : row + len(rows)] = rows.y, rows.weight
                    row, shape, kind = row + len(rows), (n, codes.shape[1]), codes.dtype
            if row != n:
                raise DataError(
                    f"{table.path} had {n:,} rows and now has {row:,}: it was changed while it was read."
                )
            self.codes: NDArray[Any] = np.memmap(path, dtype=kind, mode="r", shape=shape)
        except BaseException as error:
            shutil.rmtree(self._folder, ignore_errors=True)
            if isinstance(error, OSError) and not isinstance(error, HardgradError):
                raise WriteError(
                    f"cannot write {path}: {error.strerror or error}. Free some space, or pass another folder."
                ) from error
            raise

    def __len__(self) -> int:
        return len(self.y)

    def iter_batches(self, batch_rows: int, *, random_state: int = 0) -> Iterator[PackedBatch]:
        """Yield every row once in random order, in batches; the last may be smaller."""
        if batch_rows < 1:
            raise ParameterError(f"got batch_rows={batch_rows}; expected at least 1.")
        number = np.arange(len(self), dtype=np.uint32 if len(self) < 2**32 else np.int64)
        np.random.default_rng(random_state).shuffle(number)
        for start in range(0, len(self), batch_rows):
            chosen = number[start : start + batch_rows]
            yield PackedBatch(np.asarray(self.codes[chosen]), self.y[chosen], self.weight[chosen])

    def close(self) -> None:
        """Delete the file. Arrays that were taken from `codes` as views must not be used any more."""
        self.codes = np.empty((0, 0), dtype=np.uint8)
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
