"""What is remembered of a column while a table goes by in pieces: enough to judge it and to make its features, never its rows.

Used by `streaming`; a table in memory goes through `column_typing` and `encoding` instead, with the same rules.
"""

from __future__ import annotations

import hashlib
from typing import Any, Protocol

import narwhals.stable.v2 as nw
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hardgrad.tabular.category_codes import FOLDS, CategoryTotals, Floats
from hardgrad.tabular.column_typing import Facts, Survey, check_finite, numeric_texts
from hardgrad.tabular.encoding import SchemaBuilder
from hardgrad.tabular.raw import distinct_texts
from hardgrad.tabular.schema import Column, ColumnKind, encode_column

OVERFLOW = 0.1
"""A column with more than this share of its rows in categories beyond the limit is an identifier."""


class ColumnTotals(Protocol):
    """What a column's totals can do."""

    def add(
        self, values: Any, T: Floats, weight: Floats, fold: NDArray[np.int64], number: NDArray[np.int64]
    ) -> None:
        """Add rows: an Arrow array, targets less their mean [n, outputs], weights, folds and row numbers."""

    def judge(self, survey: Survey) -> None:
        """Let the survey decide on the column."""

    def build(self, builder: SchemaBuilder, prior: Floats) -> None:
        """Add the column and its features to a schema."""

    def cross_fitted(self, prior: Floats, above: int) -> Floats | None:
        """Return codes [folds, K + 1, outputs] where the column has more than `above` categories, else None."""


def column_totals(name: str, kind: ColumnKind, outputs: int, max_categories: int) -> ColumnTotals:
    """Return empty totals for a column of this kind."""
    return (
        _CategoryColumn(name, outputs, max_categories) if kind == "categorical" else _PlainColumn(name, kind)
    )


def as_series(values: Any) -> Any:
    """Return an Arrow array as a narwhals series."""
    return nw.from_native(pa.chunked_array([values]), series_only=True)


class _Presence:
    """Which rows lack a value, as a fingerprint."""

    def __init__(self) -> None:
        self.present = self.missing = 0
        self._digest = hashlib.blake2b(digest_size=16)

    def add(self, missing: NDArray[np.bool_]) -> None:
        count = int(missing.sum())
        self.missing += count
        self.present += len(missing) - count
        self._digest.update(missing.tobytes())

    @property
    def fingerprint(self) -> bytes | None:
        return self._digest.digest() if self.missing else None


class _PlainColumn:
    """Totals of a column of numbers, booleans or times."""

    def __init__(self, name: str, kind: ColumnKind) -> None:
        self.column = Column(name, kind)
        self.presence = _Presence()
        self._first: float | None = None
        self._varies = False
        self._digest = hashlib.blake2b(digest_size=16)

    def add(
        self, values: Any, T: Floats, weight: Floats, fold: NDArray[np.int64], number: NDArray[np.int64]
    ) -> None:
        numbers = encode_column(self.column, as_series(values))
        check_finite(self.column.name, numbers, number)
        missing = np.isnan(numbers)
        self.presence.add(missing)
        present = numbers[~missing]
        if len(present):
            self._first = float(present[0]) if self._first is None else self._first
            self._varies |= bool((present != self._first).any())
        self._digest.update(np.where(missing, np.nan, numbers + 0.0).tobytes())

    def judge(self, survey: Survey) -> None:
        distinct = 0 if self._first is None else 1 + self._varies
        facts = Facts(self.presence.present, distinct, self._digest.digest())
        survey.judge(self.column.name, self.column.kind, facts, self.presence.missing)

    def build(self, builder: SchemaBuilder, prior: Floats) -> None:
        builder.add_column(self.column, constant=not self._varies, missing=self.presence.fingerprint)

    def cross_fitted(self, prior: Floats, above: int) -> Floats | None:
        return None


class _CategoryColumn:
    """Totals of a categorical column: its categories in order of appearance, up to a limit, and their targets."""

    def __init__(self, name: str, outputs: int, max_categories: int) -> None:
        self.name, self.limit = name, max_categories
        self.presence = _Presence()
        self.totals = CategoryTotals(outputs, FOLDS)
        self.beyond = 0
        self._numbers: dict[str, int] = {}
        self._digest = hashlib.blake2b(digest_size=16)

    def add(
        self, values: Any, T: Floats, weight: Floats, fold: NDArray[np.int64], number: NDArray[np.int64]
    ) -> None:
        texts, local = distinct_texts(self.name, as_series(values))
        known = self._numbers
        numbers = np.array([*(self._number(text, known) for text in texts), -1], dtype=np.int64)[local]
        self.presence.add(numbers == -1)
        beyond = numbers == -2
        if beyond.any():
            self.beyond += int(beyond.sum())
            self._digest.update("\0".join(map(str, texts)).encode("utf-8", "surrogatepass"))
        self._digest.update(numbers.tobytes())
        self.totals.add(numbers, T, weight, fold)

    def _number(self, text: str, known: dict[str, int]) -> int:
        found = known.get(text)
        if found is None:
            if len(known) == self.limit:
                return -2
            found = known[text] = len(known)
        return found

    def judge(self, survey: Survey) -> None:
        texts = list(self._numbers)
        for text in texts:
            self._digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
        present = self.presence.present
        # With more categories than could be counted, the share of rows beyond them tells an identifier.
        overflown = self.beyond > OVERFLOW * present
        facts = Facts(
            present, present if overflown else len(texts), self._digest.digest(), numeric_texts(texts)
        )
        survey.judge(self.name, "categorical", facts, self.presence.missing)
        if self.beyond and any(column.name == self.name for column in survey.columns):
            survey.notes.append(
                f"column {self.name!r} has more than {self.limit:,} categories; those that came later ({self.beyond:,} rows) count "
                "as unseen."
            )

    def build(self, builder: SchemaBuilder, prior: Floats) -> None:
        texts = list(self._numbers)
        order = sorted(range(len(texts)), key=texts.__getitem__)
        self.totals = self.totals.take(np.array(order, dtype=np.int64))
        self._numbers = {texts[k]: rank for rank, k in enumerate(order)}
        builder.add_column(
            Column(self.name, "categorical", tuple(self._numbers)),
            constant=len(texts) < 2 and not self.beyond,
            missing=self.presence.fingerprint,
            codes=self.totals.codes(prior),
        )

    def cross_fitted(self, prior: Floats, above: int) -> Floats | None:
        return self.totals.cross_fitted(prior) if len(self._numbers) > max(1, above) else None
