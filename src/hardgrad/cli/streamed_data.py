"""The table that `fit` learns from where it is too large to be read whole: what streams, which rows are held out, what the report shows."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.cli.data import (
    FEWEST_ROWS,
    KIND_WORDS,
    TrainingData,
    check_aside,
    codes_as_text,
    display_name,
    typing_notes,
)
from hardgrad.core.errors import DataError, ParameterError

if TYPE_CHECKING:
    import pyarrow as pa

    from hardgrad.cli.fit_settings import FitSettings
    from hardgrad.tabular.streaming import StreamedTable

STREAM_ABOVE = 1_000_000
"""Parquet files of more rows than this are streamed unless `--no-stream` is given."""
MOST_HELD_OUT = 100_000
SHOWN_ROWS = 200_000
FEWEST_TO_HOLD_OUT = 50


@dataclass(frozen=True, kw_only=True)
class StreamedData(TrainingData):
    """A streamed table; `table`, `y` and `weight` are those of a uniform sample of its training rows, then of the held-out rows.

    Parameters
    ----------
    stream : the rows to learn from; held-out rows are left out of it.
    sample_rows : rows of the sample.
    """

    stream: StreamedTable
    sample_rows: int

    @property
    def n_rows(self) -> int:
        """Rows of the whole table."""
        return self.stream.n_rows

    @property
    def n_train(self) -> int:
        """Rows to learn from."""
        return self.stream.n_used

    @property
    def target_text(self) -> str:
        """What the target is, as far as the sample tells."""
        return super().target_text + (" in a sample" if self.task == "regression" else "")

    def fingerprint(self) -> str:
        """Return a digest of the sample, the held-out rows and the size of the file."""
        size = self.stream.path.stat().st_size
        return hashlib.sha256(f"{super().fingerprint()} {self.n_rows} {size}".encode()).hexdigest()


def streams(settings: FitSettings) -> bool:
    """Tell whether the table is to be streamed.

    Raises
    ------
    ParameterError : `--stream` was given for what is no Parquet file.
    """
    from hardgrad.tabular.reading import PARQUET_ENDINGS, open_parquet

    if settings.stream is False or (settings.table is None and settings.stream is None):
        return False
    path = Path(settings.table or "")
    parquet = path.name.lower().endswith(PARQUET_ENDINGS)
    if settings.stream and not parquet:
        raise ParameterError(
            f"--stream needs a Parquet file, got {settings.table or 'the bundled table'}. Write the table as Parquet, or leave it out."
        )
    if settings.stream or not parquet or not path.is_file() or path.stat().st_size == 0:
        return bool(settings.stream)
    with open_parquet(path) as file:
        return bool(file.metadata.num_rows > STREAM_ABOVE)


def read_streamed_data(settings: FitSettings) -> StreamedData:
    """Learn what the columns of a Parquet file are, and read a sample of its training rows and those held out.

    Raises
    ------
    DataError, ParameterError : as `read_training_data`.
    """
    from hardgrad.cli.training import notes_shown_once
    from hardgrad.tabular.reading import require_columns
    from hardgrad.tabular.streaming import StreamedTable
    from hardgrad.tabular.target import prepare_target
    from hardgrad.tabular.weights import check_weights

    assert settings.table is not None
    path = Path(settings.table)
    n_rows, names = _shape(path)
    aside = [settings.target, *([settings.weights] if settings.weights else [])]
    require_columns(aside, names, display_name(settings.table))
    check_aside(settings)
    shown, held = draw_rows(n_rows, settings.test_fraction, settings.seed)
    with notes_shown_once():
        stream = StreamedTable(
            path,
            settings.target,
            task=settings.task or "auto",
            weight=settings.weights,
            categorical=settings.categorical,
            drop=[c for c in settings.drop if c not in aside],
            without=held,
            random_state=settings.seed,
        )
    if stream.n_used < FEWEST_ROWS:
        raise DataError(
            f"target {settings.target!r} has {stream.n_used} rows; expected at least {FEWEST_ROWS}. Get more data."
        )
    kept = list(stream.schema.names)
    rows = _take(path, np.concatenate([shown, held]), [*kept, *aside])
    n_shown = len(shown)
    if stream.classes:  # a class that was held out altogether could not be learned
        import pyarrow as pa
        import pyarrow.compute as pc

        known = pa.array(stream.classes).cast(rows[settings.target].type)
        mask = pc.is_in(rows[settings.target], value_set=known).combine_chunks()
        rows, n_shown = rows.filter(mask), int(pc.sum(mask[: len(shown)]).as_py() or 0)
    target = prepare_target(rows[settings.target], stream.task, name=settings.target)
    weight = None
    if settings.weights is not None:
        weight = check_weights(rows[settings.weights], rows.num_rows, name=f"column {settings.weights!r}")
    counted = Counter(column.kind for column in stream.typing.columns)
    return StreamedData(
        source=display_name(settings.table),
        table=codes_as_text(rows.select(kept), settings.categorical),
        y=target.labels,
        weight=weight,
        task=stream.task,
        target=settings.target,
        kinds={KIND_WORDS.get(kind, kind): n for kind, n in counted.most_common()},
        notes=typing_notes(stream.typing, settings.drop),
        stream=stream,
        sample_rows=n_shown,
    )


def draw_rows(n_rows: int, fraction: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return sorted numbers of training rows to show, and of the rows held out: at most 100,000, the more are left for training.

    >>> shown, held = draw_rows(1000, 0.2, 0)
    >>> len(shown), len(held), bool(set(shown) & set(held))
    (800, 200, False)
    """
    generator = np.random.default_rng([seed, 7])
    test = 0 if n_rows < FEWEST_TO_HOLD_OUT else min(round(fraction * n_rows), MOST_HELD_OUT)
    drawn = generator.choice(n_rows, min(n_rows, test + SHOWN_ROWS), replace=False).astype(np.int64)
    return np.sort(drawn[test:]), np.sort(drawn[:test])


def _shape(path: Path) -> tuple[int, list[str]]:
    from hardgrad.tabular.arrow import check_names
    from hardgrad.tabular.reading import open_parquet

    if not path.is_file():
        raise DataError(f"there is no file {path}. Check the path.")
    with open_parquet(path) as file:
        names = list(file.schema_arrow.names)
        check_names(names)
        if not file.metadata.num_rows:
            raise DataError(f"{path} has no rows. Expected at least {FEWEST_ROWS}.")
        return int(file.metadata.num_rows), names


def _take(path: Path, rows: NDArray[np.int64], columns: Sequence[str]) -> pa.Table:
    """Return some rows of a Parquet file, in the order asked for."""
    import pyarrow as pa

    from hardgrad.tabular.reading import damaged, open_parquet
    from hardgrad.tabular.streaming import PIECE

    order = np.argsort(rows, kind="stable")
    wanted, first, parts = rows[order], 0, []
    with open_parquet(path) as file:
        try:
            for batch in file.iter_batches(PIECE, columns=list(columns), use_threads=False):
                low, high = np.searchsorted(wanted, (first, first + batch.num_rows))
                parts.append(_plain(pa.Table.from_batches([batch]).take(wanted[low:high] - first)))
                first += batch.num_rows
        except (pa.ArrowException, OSError) as error:
            raise damaged(path, "Parquet", error) from None
    back = np.empty(len(order), dtype=np.int64)
    back[order] = np.arange(len(order))
    return pa.concat_tables(parts).take(back).combine_chunks()


def _plain(table: Any) -> Any:
    """Dictionaries of different pieces differ: write the values out."""
    import pyarrow as pa

    for i, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(i, field.name, table.column(i).cast(field.type.value_type))
    return table
