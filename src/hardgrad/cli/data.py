"""The table that `fit` and `compare` learn from: read, its columns typed, target and weights taken out and checked."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import ParameterError

if TYPE_CHECKING:
    import pyarrow as pa

    from hardgrad.cli.fit_settings import FitSettings
    from hardgrad.tabular.column_typing import Typing

FEWEST_ROWS = 20
KIND_WORDS = {"datetime": "date/time"}


@dataclass(frozen=True)
class TrainingData:
    """Rows to learn from.

    Parameters
    ----------
    source : what to call the table.
    table : the raw columns to learn from, an Arrow table.
    y : labels or values, [n].
    weight : weights of the rows, [n], or None.
    task : "classification" or "regression".
    target : name of the target column.
    kinds : number of columns of each kind.
    notes : what the owner of the table should know, such as columns that were left out.
    """

    source: str
    table: pa.Table
    y: NDArray[Any]
    weight: NDArray[np.float64] | None
    task: str
    target: str
    kinds: dict[str, int]
    notes: tuple[str, ...] = ()

    @property
    def n_rows(self) -> int:
        """Rows of the whole table."""
        return len(self.y)

    def take(self, rows: NDArray[np.int64]) -> pa.Table:
        """Return some rows of the table."""
        return self.table.take(rows)

    def weights(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the weights of some rows, 1 where there are none."""
        return np.ones(len(rows)) if self.weight is None else self.weight[rows]

    def sample(self, most: int, seed: int) -> TrainingData:
        """Return at most so many rows, drawn at random."""
        if len(self.y) <= most:
            return self
        rows = np.sort(np.random.default_rng(seed).choice(len(self.y), most, replace=False)).astype(np.int64)
        weight = None if self.weight is None else self.weight[rows]
        notes = (*self.notes, f"{most:,} of {len(self.y):,} rows were drawn")
        return dataclasses.replace(self, table=self.take(rows), y=self.y[rows], weight=weight, notes=notes)

    @property
    def positive(self) -> float | None:
        """Share of the second class where there are two."""
        labels, counts = np.unique(self.y, return_counts=True)
        return float(counts[1] / len(self.y)) if self.task == "classification" and len(labels) == 2 else None

    @property
    def target_text(self) -> str:
        """What the target is, as in "2 classes, 21.4 % yes"."""
        if self.task == "regression":
            return f"a number from {self.y.min():g} to {self.y.max():g}, mean {self.y.mean():g}"
        labels = np.unique(self.y)
        share = "" if self.positive is None else f", {100 * self.positive:.1f} % {labels[1]}"
        return f"{len(labels)} classes{share}"

    def fingerprint(self) -> str:
        """Return a digest of the contents, to tell whether an interrupted run may go on with them."""
        import hashlib

        import pyarrow as pa

        digest = hashlib.sha256(self.target.encode())
        with pa.ipc.new_stream(pa.PythonFile(_Sink(digest), mode="w"), self.table.schema) as stream:
            stream.write_table(self.table.combine_chunks(), max_chunksize=1 << 16)
        digest.update(repr(self.y.tolist()).encode())
        digest.update(b"" if self.weight is None else self.weight.tobytes())
        return digest.hexdigest()


class _Sink:
    """A file that only computes a digest of what is written to it."""

    closed = False

    def __init__(self, digest: Any) -> None:
        self.digest = digest

    def write(self, data: Any) -> int:
        self.digest.update(data)
        return len(data)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


def read_training_data(settings: FitSettings) -> TrainingData:
    """Read what `fit` and `compare` were asked to learn from.

    Raises
    ------
    DataError : the table, its target, its weights or a column cannot be learned from; the message names the file or the column.
    ParameterError : the target is also the column of weights, or is dropped.
    """
    from hardgrad.tabular.column_typing import infer_columns
    from hardgrad.tabular.reading import BUNDLED, read_table, require_columns
    from hardgrad.tabular.target import prepare_target
    from hardgrad.tabular.weights import check_weights

    source = BUNDLED if settings.table is None else settings.table
    name = "the bundled census table" if settings.table is None else display_name(settings.table)
    table = read_table(source)
    aside = [settings.target, *([settings.weights] if settings.weights else [])]
    require_columns(aside, table.column_names, name)
    check_aside(settings)
    target = prepare_target(
        table[settings.target], settings.task or "auto", name=settings.target, minimum_rows=FEWEST_ROWS
    )
    weight = None
    if settings.weights is not None:
        weight = check_weights(table[settings.weights], table.num_rows, name=f"column {settings.weights!r}")
    typing = infer_columns(
        table.drop_columns(aside),
        categorical=settings.categorical,
        drop=[c for c in settings.drop if c not in aside],
    )
    kept = table.select([column.name for column in typing.columns])
    counted = Counter(column.kind for column in typing.columns)
    return TrainingData(
        source=name,
        table=codes_as_text(kept, settings.categorical),
        y=target.labels,
        weight=weight,
        task=target.task,
        target=settings.target,
        kinds={KIND_WORDS.get(kind, kind): n for kind, n in counted.most_common()},
        notes=typing_notes(typing, settings.drop),
    )


def check_aside(settings: FitSettings) -> None:
    """Raise `ParameterError` where the target is also dropped, or the column of weights."""
    if settings.weights == settings.target or settings.target in settings.drop:
        raise ParameterError(
            f"--target {settings.target} cannot also be dropped or be the column of weights."
        )


def typing_notes(typing: Typing, asked: tuple[str, ...]) -> tuple[str, ...]:
    """Return what the owner of the table should know of its columns, but for those that were dropped as asked."""
    notes = [f"column {d.name!r} was left out: {d.reason}" for d in typing.dropped if d.name not in asked]
    return (*notes, *(note for note in typing.notes if not any(repr(d.name) in note for d in typing.dropped)))


def display_name(source: str) -> str:
    """Return what to call a table: the name of its file, and what of it was asked for."""
    path, _, rest = source.partition("::")
    return f"{Path(path).name}::{rest}" if rest else Path(path).name


def codes_as_text(table: pa.Table, categorical: tuple[str, ...]) -> pa.Table:
    """Numbers that are names become the text by which the model knows them."""
    import pyarrow as pa

    from hardgrad.tabular.schema import category_text

    for i, field in enumerate(table.schema):
        if field.name in categorical and not pa.types.is_string(field.type):
            texts = [None if v is None else category_text(v) for v in table.column(i).to_pylist()]
            table = table.set_column(i, field.name, pa.array(texts, type=pa.string()))
    return table
