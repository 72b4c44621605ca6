"""Tables larger than memory: a Parquet file is read in pieces, several times, and never held as a whole.

`StreamedTable` learns the schema of a file in two passes (the target, then the other columns) with the same rules as `infer_columns` and
`TableEncoder`, then hands out its rows encoded: a uniform sample, shuffled batches, or all of them in the order of the file. What a pass
remembers of a column is in `column_totals`; rows packed by the caller into a few bytes and kept on disk are in `packed_rows`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hardgrad.core.errors import DataError, ParameterError
from hardgrad.tabular.arrow import check_names
from hardgrad.tabular.category_codes import FOLDS, Floats, class_targets, hashed_folds
from hardgrad.tabular.column_totals import ColumnTotals, as_series, column_totals
from hardgrad.tabular.column_typing import Dropped, Survey, column_kind
from hardgrad.tabular.encoding import CROSS_FIT_ABOVE, SchemaBuilder, warn_of
from hardgrad.tabular.raw import encode_categories
from hardgrad.tabular.reading import damaged, open_parquet, require_columns
from hardgrad.tabular.table_model import Label
from hardgrad.tabular.target import JudgedTarget, TargetTotals
from hardgrad.tabular.weights import check_weights

PIECE = 65_536
"""Rows read at once."""
MAX_CATEGORIES = 100_000


@dataclass(frozen=True)
class Rows:
    """Encoded rows.

    Parameters
    ----------
    X : features, float64 [n, features].
    y : class numbers int64 [n], or float64 [n] for a regression.
    weight : row weights [n].
    number : where the rows stand in the file, int64 [n], from 0.
    """

    X: Floats
    y: NDArray[Any]
    weight: Floats
    number: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.y)

    def take(self, index: Any) -> Rows:
        """Return some of the rows."""
        return Rows(self.X[index], self.y[index], self.weight[index], self.number[index])

    @staticmethod
    def join(parts: Sequence[Rows]) -> Rows:
        """Return rows one after the other."""
        return Rows(*(np.concatenate([getattr(p, f) for p in parts]) for f in ("X", "y", "weight", "number")))


class StreamedTable:
    """A Parquet file to train from that need not fit in memory. Creating it reads the file twice.

    Parameters
    ----------
    path : the Parquet file. Row groups of up to a few hundred thousand rows keep memory low.
    target : the column to predict.
    task : "auto", "classification" or "regression", see `prepare_target`.
    weight : a column of row weights, left out of the features. Rows of weight 0 are skipped everywhere.
    categorical, numeric, drop : see `infer_columns`.
    without : numbers of rows (from 0) that are skipped everywhere, for instance because a model is to be tested on them.
    random_state : seed of the folds of cross-fitted codes.
    piece_rows : rows read at once.
    max_categories : categories remembered a column; later ones count as unseen.

    Attributes
    ----------
    n_rows, n_used : rows of the file, and those of positive weight that are not left out.
    task, classes, target : what is predicted.
    typing : `Typing`, what the columns were taken for.
    schema : `TableSchema`; its codes come from all rows.

    Raises
    ------
    DataError : as `read_table`, `prepare_target`, `infer_columns` and `check_weights` say.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        target: str,
        *,
        task: str = "auto",
        weight: str | None = None,
        categorical: Sequence[str] = (),
        numeric: Sequence[str] = (),
        drop: Sequence[str] = (),
        without: NDArray[np.int64] | None = None,
        random_state: int = 0,
        piece_rows: int = PIECE,
        max_categories: int = MAX_CATEGORIES,
    ) -> None:
        if task not in ("auto", "classification", "regression"):
            raise ParameterError(f"got task={task!r}; expected 'auto', 'classification' or 'regression'.")
        if piece_rows < 1 or max_categories < 2:
            raise ParameterError(f"got piece_rows={piece_rows}, max_categories={max_categories}; too few.")
        self.path, self.target, self.weight = Path(path), target, weight
        self.random_state, self.piece_rows = int(random_state), piece_rows
        self._without = np.empty(0, dtype=np.int64) if without is None else np.unique(without)
        with self._open() as file:
            schema = file.schema_arrow
            self.n_rows = int(file.metadata.num_rows)
        check_names(schema.names)
        mentioned = [target, *([weight] if weight else []), *categorical, *numeric, *drop]
        require_columns(mentioned, schema.names, str(self.path))
        judged = self._judge_target(schema.field(target).type, task)
        self.task: Literal["classification", "regression"] = judged.task
        self.classes: tuple[Label, ...] = judged.classes
        self._coded = class_targets(judged.share) if judged.classes else None
        self._prior: Floats = (
            judged.share @ self._coded if self._coded is not None else np.array([judged.mean])
        )
        survey = Survey(categorical, numeric)
        survey.dropped += [Dropped(name, "as asked") for name in drop]
        totals = self._survey(schema, {target, weight, *drop}, survey, max_categories)
        self.typing = survey.finish()
        warn_of(self.typing)
        builder = SchemaBuilder(len(self._prior))
        self._crossed: dict[str, Floats] = {}
        for column in self.typing.columns:
            totals[column.name].build(builder, self._prior)
            crossed = totals[column.name].cross_fitted(self._prior, CROSS_FIT_ABOVE)
            if crossed is not None:
                self._crossed[column.name] = crossed
        self.schema = builder.build()

    # --- reading ---------------------------------------------------------------------------------------------
    def _open(self, columns: Sequence[str] = ()) -> Any:
        if not self.path.exists():
            raise DataError(f"there is no file {self.path}. Check the path.")
        return open_parquet(self.path, list(columns))

    def _pieces(self, columns: Sequence[str], groups: Sequence[int] | None = None) -> Iterator[_Piece]:
        """Yield the columns in pieces, without the rows of weight 0."""
        with self._open() as file:
            types = file.schema_arrow
            sizes = [file.metadata.row_group(g).num_rows for g in range(file.metadata.num_row_groups)]
        starts = np.concatenate([[0], np.cumsum(sizes)])
        text = [name for name in columns if _is_text(types.field(name).type)]
        wanted = [*columns, *([self.weight] if self.weight else [])]
        with self._open(text) as file:
            for group in range(len(sizes)) if groups is None else groups:
                row = int(starts[group])
                try:
                    for batch in file.iter_batches(
                        self.piece_rows, row_groups=[group], columns=wanted, use_threads=False
                    ):
                        piece = _Piece.of(batch, columns, self.weight, row)
                        piece = piece.without(self._without, row, row + batch.num_rows)
                        row += batch.num_rows
                        if len(piece.number):
                            yield piece
                except (pa.ArrowException, OSError) as error:
                    raise damaged(self.path, "Parquet", error) from None

    def _judge_target(self, kind: Any, task: str) -> JudgedTarget:
        found = TargetTotals(self.target, kind, task)
        for piece in self._pieces([self.target]):
            found.add(piece.values[0], piece.weight, piece.number)
        self.n_used = found.rows
        if self.n_rows and not found.rows:
            raise DataError(
                f"column {self.weight!r} is zero everywhere; at least one row needs a positive weight."
            )
        return found.judge()

    def _survey(
        self, schema: Any, left_out: set[str | None], survey: Survey, max_categories: int
    ) -> dict[str, ColumnTotals]:
        totals: dict[str, ColumnTotals] = {}
        for name in schema.names:
            if name not in left_out:
                kind = column_kind(
                    name, schema.field(name).type, name in survey.categorical, name in survey.numeric
                )
                if kind is not None:
                    totals[name] = column_totals(name, kind, len(self._prior), max_categories)
        names = [self.target, *totals]
        for piece in self._pieces(names):
            T = self._target_rows(self._y(piece.values[0]))
            fold = hashed_folds(piece.number, FOLDS, self.random_state)
            for total, values in zip(totals.values(), piece.values[1:], strict=True):
                total.add(values, T, piece.weight, fold, piece.number)
        for name in schema.names:
            if name in totals:
                totals[name].judge(survey)
            elif name not in left_out:
                survey.dropped.append(Dropped(name, "all missing"))
        return totals

    def _y(self, values: Any) -> NDArray[Any]:
        if not self.classes:
            return np.array(values.cast(pa.float64()).to_numpy(zero_copy_only=False))
        if pa.types.is_dictionary(values.type):
            values = values.dictionary_decode()
        labels = pa.array(self.classes).cast(values.type)
        return np.asarray(
            pc.index_in(values, value_set=labels).to_numpy(zero_copy_only=False), dtype=np.int64
        )

    def _target_rows(self, y: NDArray[Any]) -> Floats:
        T = y[:, None] if self._coded is None else self._coded[y]
        return np.asarray(T - self._prior)

    # --- rows ------------------------------------------------------------------------------------------------
    def iter_encoded(self, *, cross_fit: bool = False, groups: Sequence[int] | None = None) -> Iterator[Rows]:
        """Yield all rows in the order of the file, in pieces of at most `piece_rows`.

        Parameters
        ----------
        cross_fit : whether columns of many categories get the codes that training should see (see `TableEncoder.fit_transform`) in place
            of the final ones of `schema`.
        groups : numbers of the row groups to read, all by default.
        """
        names = [self.target, *self.schema.names]
        for piece in self._pieces(names, groups):
            yield self._encode(piece, cross_fit)

    def _encode(self, piece: _Piece, cross_fit: bool) -> Rows:
        X = self.schema.encode(pa.table(piece.values[1:], names=list(self.schema.names)))
        if cross_fit and self._crossed:
            fold = hashed_folds(piece.number, FOLDS, self.random_state)
            for number, column in enumerate(self.schema.columns):
                if column.name in self._crossed:
                    codes = self._crossed[column.name]
                    category = encode_categories(
                        column.name, as_series(piece.values[1 + number]), column.categories
                    )
                    places = [
                        j
                        for j, f in enumerate(self.schema.features)
                        if f.column == number and f.transform == "codes"
                    ]
                    present = category >= 0
                    for k, j in enumerate(places):
                        X[present, j] = codes[fold[present], category[present], k]
        return Rows(X, self._y(piece.values[0]), piece.weight, piece.number)

    def iter_batches(
        self, batch_rows: int, *, random_state: int = 0, shuffle_rows: int = 262_144, cross_fit: bool = True
    ) -> Iterator[Rows]:
        """Yield every row once, shuffled, in batches; the last may be smaller.

        Row groups come in random order, and rows are mixed within a window of the next `shuffle_rows`.

        Parameters
        ----------
        batch_rows : rows a batch.
        random_state : seed; pass the number of the epoch.
        shuffle_rows : rows held at once.
        cross_fit : see `iter_encoded`.
        """
        if batch_rows < 1 or shuffle_rows < 1:
            raise ParameterError(
                f"got batch_rows={batch_rows}, shuffle_rows={shuffle_rows}; expected at least 1."
            )
        generator = np.random.default_rng(random_state)
        with self._open() as file:
            groups = generator.permutation(file.metadata.num_row_groups).tolist()
        held: list[Rows] = []
        for rows in self.iter_encoded(cross_fit=cross_fit, groups=groups):
            held.append(rows)
            if sum(map(len, held)) >= shuffle_rows:
                mixed = Rows.join(held).take(generator.permutation(sum(map(len, held))))
                whole = len(mixed) // batch_rows * batch_rows
                yield from (mixed.take(slice(i, i + batch_rows)) for i in range(0, whole, batch_rows))
                held = [mixed.take(slice(whole, None))]
        if sum(map(len, held)):
            mixed = Rows.join(held).take(generator.permutation(sum(map(len, held))))
            yield from (mixed.take(slice(i, i + batch_rows)) for i in range(0, len(mixed), batch_rows))

    def sample(self, n_rows: int, *, random_state: int = 0, cross_fit: bool = True) -> Rows:
        """Return a uniform sample without replacement, in the order of the file; all rows where there are fewer.

        Parameters
        ----------
        n_rows : rows to draw.
        random_state : seed.
        cross_fit : see `iter_encoded`.
        """
        names = [self.target, *self.schema.names]
        parts = [self._encode(piece, cross_fit) for piece in self._drawn(names, n_rows, random_state)]
        return Rows.join(parts)

    def sample_table(self, n_rows: int, *, random_state: int = 0) -> pa.Table:
        """Return the raw columns and the target of the rows that `sample` with the same seed encodes."""
        names = [*self.schema.names, self.target]
        parts = [
            pa.table([_plain(v) for v in piece.values], names=names)
            for piece in self._drawn(names, n_rows, random_state)
        ]
        return pa.concat_tables(parts)

    def _drawn(self, names: Sequence[str], n_rows: int, random_state: int) -> Iterator[_Piece]:
        """Yield the drawn rows of each piece: how many fall into a piece is hypergeometric, so that one pass draws uniformly."""
        if n_rows < 1:
            raise ParameterError(f"got n_rows={n_rows}; expected at least 1.")
        generator = np.random.default_rng(random_state)
        left, wanted = self.n_used, min(n_rows, self.n_used)
        for piece in self._pieces(names):
            size = len(piece.number)
            drawn = int(generator.hypergeometric(size, left - size, wanted)) if left > size else wanted
            left, wanted = left - size, wanted - drawn
            if drawn:
                chosen = np.zeros(size, dtype=bool)
                chosen[generator.choice(size, drawn, replace=False, shuffle=False)] = True
                yield piece.filter(chosen)


@dataclass(frozen=True)
class _Piece:
    """Some rows: the columns asked for as Arrow arrays, weights and row numbers."""

    values: list[Any]
    weight: Floats
    number: NDArray[np.int64]

    @staticmethod
    def of(batch: Any, columns: Sequence[str], weight: str | None, first: int) -> _Piece:
        number = np.arange(first, first + batch.num_rows)
        values = [batch.column(name) for name in columns]
        if weight is None:
            return _Piece(values, np.ones(len(number)), number)
        weights = check_weights(batch.column(weight), len(number), name=f"column {weight!r}", number=number)
        piece = _Piece(values, weights, number)
        return piece if (weights > 0).all() else piece.filter(weights > 0)

    def without(self, rows: NDArray[np.int64], first: int, end: int) -> _Piece:
        """Leave out some rows, given in order; the piece is of the rows from `first` to `end`."""
        low, high = np.searchsorted(rows, (first, end))
        return self if low == high else self.filter(~np.isin(self.number, rows[low:high]))

    def filter(self, chosen: NDArray[np.bool_]) -> _Piece:
        mask = pa.array(chosen)
        return _Piece([v.filter(mask) for v in self.values], self.weight[chosen], self.number[chosen])


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _plain(values: Any) -> Any:
    return values.dictionary_decode() if pa.types.is_dictionary(values.type) else values
