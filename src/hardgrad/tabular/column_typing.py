"""Deciding what each column of a table is, and which columns say nothing. Turning them into numbers is `encoding`.

What a column is follows from its type in the table, never from a look at its name: numbers are numeric, booleans boolean, text categorical,
dates and times datetime. Whole numbers are never taken for categories, nor text for numbers: who knows better says so by `categorical`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hardgrad.core.errors import DataError
from hardgrad.tabular.arrow import to_arrow
from hardgrad.tabular.raw import distinct_texts
from hardgrad.tabular.reading import require_columns
from hardgrad.tabular.schema import Column, ColumnKind, encode_column

IDENTIFIER = 0.9
"""A column of text with more than this share of different values (and at least `MANY`) is an identifier."""
MANY = 20
NAN_BITS = np.float64("nan")


class TableWarning(UserWarning):
    """Something about a table that its owner should look at; training goes on."""


@dataclass(frozen=True)
class Dropped:
    """A column that is not used, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Typing:
    """What the columns of a table are.

    Parameters
    ----------
    columns : the columns to learn from, in the order of the table; categories are not filled in.
    dropped : the columns that are left out, with the reason.
    notes : sentences for the owner of the table.
    """

    columns: tuple[Column, ...]
    dropped: tuple[Dropped, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def kinds(self) -> dict[str, ColumnKind]:
        """Kind of each column by name."""
        return {column.name: column.kind for column in self.columns}

    def summary(self) -> str:
        """Return a line for people: how many columns of which kind, and what was dropped.

        >>> Typing((Column("age"), Column("state", "categorical")), (Dropped("k", "constant"),)).summary()
        "2 columns (1 numeric, 1 categorical), dropped 'k' (constant)"
        """
        kinds = [column.kind for column in self.columns]
        counts = ", ".join(
            f"{kinds.count(k)} {k}" for k in ("numeric", "boolean", "categorical", "datetime") if k in kinds
        )
        dropped = "".join(f", dropped {d.name!r} ({d.reason})" for d in self.dropped)
        return f"{len(kinds)} column{'s' * (len(kinds) != 1)} ({counts}){dropped}"


def infer_columns(
    table: Any,
    *,
    target: str | Sequence[str] | None = None,
    categorical: Sequence[str] = (),
    numeric: Sequence[str] = (),
    drop: Sequence[str] = (),
) -> Typing:
    """Decide what each column of a training table is.

    Left out, with the reason: columns without any value, constant ones (a constant that is sometimes missing stays: whether it is missing
    may tell), copies of an earlier column, and identifiers: text that differs in more than 90 % of the rows, so that a model could only
    learn rows by heart.

    Parameters
    ----------
    table : anything that `to_arrow` reads.
    target : the column to predict, or several; left out.
    categorical : columns of whole numbers that are codes of categories. Text that is named here stays even as an identifier.
    numeric : columns that must be numbers; one that is not is an error.
    drop : columns to leave out.

    Raises
    ------
    DataError : a named column is missing; a column holds infinite values, mixed types or values that are no numbers, text, booleans or
        times; there are no rows; or no column is left. The message names the column.

    Examples
    --------
    >>> infer_columns({"age": [31, 42], "state": ["NY", "TX"], "country": ["US", "US"], "y": [0, 1]}, target="y").summary()
    "2 columns (1 numeric, 1 categorical), dropped 'country' (constant)"
    """
    arrow = to_arrow(table)
    targets = [target] if isinstance(target, str) else list(target or ())
    require_columns([*targets, *categorical, *numeric, *drop], arrow.column_names, "the table")
    if arrow.num_rows == 0:
        raise DataError("the table has no rows. Expected at least two.")
    survey = Survey(categorical, numeric)
    for name in drop:
        survey.dropped.append(Dropped(name, "as asked"))
    for name in arrow.column_names:
        if name not in targets and name not in drop:
            survey.add(name, arrow[name])
    return survey.finish()


@dataclass
class Survey:
    """The columns seen so far; one at a time goes through `add`."""

    categorical: Sequence[str] = ()
    numeric: Sequence[str] = ()
    columns: list[Column] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _digests: dict[bytes, str] = field(default_factory=dict)

    def add(self, name: str, values: Any) -> None:
        """Look at all values of one column."""
        kind = column_kind(name, values.type, name in self.categorical, name in self.numeric)
        if kind is None or values.null_count == len(values):
            self.judge(name, kind or "numeric", Facts(0, 0, b""))
            return
        column, series = Column(name, kind), nw.from_native(values, series_only=True)
        if kind == "categorical":
            texts, coded = distinct_texts(name, series)
            missing = int((coded < 0).sum())
            facts = Facts(len(coded) - missing, len(texts), digest(coded, texts), numeric_texts(texts))
        else:
            numbers = encode_column(column, series)
            check_finite(name, numbers)
            present = numbers[~np.isnan(numbers)]
            missing = len(numbers) - len(present)
            facts = Facts(
                len(present),
                0 if len(present) == 0 else 1 + bool((present != present[0]).any()),
                digest(numbers),
            )
        self.judge(name, kind, facts, missing)

    def judge(self, name: str, kind: ColumnKind, facts: Facts, missing: int = 0) -> None:
        """Decide on a column by what is known of it."""
        reason = None
        if facts.present == 0:
            reason = "all missing"
        elif facts.distinct <= 1 and missing == 0:
            reason = "constant"
        elif facts.digest in self._digests:
            reason = f"the same as {self._digests[facts.digest]!r}"
        elif kind == "categorical" and facts.distinct >= MANY and facts.distinct > IDENTIFIER * facts.present:
            found = f"{facts.distinct:,} different values in {facts.present:,} rows"
            if name not in self.categorical:
                reason = f"an identifier: {found}"
                self.notes.append(
                    f"column {name!r} was left out: text with {found} is an identifier. Name it in categorical= to keep it."
                )
            else:
                self.notes.append(f"column {name!r} has {found}: a model can hardly learn from it.")
        if reason is not None:
            self.dropped.append(Dropped(name, reason))
            return
        self._digests[facts.digest] = name
        self.columns.append(Column(name, kind))
        if facts.numeric_text and name not in self.categorical and facts.distinct > 2:
            self.notes.append(
                f"column {name!r} holds numbers as text and is taken for categories. If their order means something, convert it to numbers."
            )

    def finish(self) -> Typing:
        """Return what was found. Raises `DataError` where no column is left."""
        if not self.columns:
            reasons = (
                ", ".join(f"{d.name!r} ({d.reason})" for d in self.dropped)
                or "there is none beside the target"
            )
            raise DataError(
                f"no column is left to learn from: {reasons}. Add columns that differ between rows."
            )
        return Typing(tuple(self.columns), tuple(self.dropped), tuple(self.notes))


@dataclass(frozen=True)
class Facts:
    """What a decision on a column rests on: rows with a value, different values (2 stands for more where not categorical), contents."""

    present: int
    distinct: int
    digest: bytes
    numeric_text: bool = False


def column_kind(name: str, kind: Any, categorical: bool = False, numeric: bool = False) -> ColumnKind | None:
    """Return what a column of an Arrow type is, None where it has no type because it has no values.

    Raises
    ------
    DataError : a model cannot take such a column, or not as what it was named.
    """
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    if pa.types.is_null(plain):
        return None
    found = _plain_kind(plain, pa.types.is_dictionary(kind))
    if found is None:
        raise DataError(
            f"column {name!r} has type {kind}. Convert it to numbers, text, booleans or dates and times, or drop it."
        )
    if numeric and found != "numeric":
        raise DataError(
            f"column {name!r} was named numeric, but it is {found} ({kind}). Convert it to numbers in the table."
        )
    if categorical and found not in ("categorical", "boolean"):  # two values need no codes
        if not pa.types.is_integer(plain):
            # 3.0 is "3", "3.0" or "3E0" as text, depending on who writes it: no export could promise the same category.
            raise DataError(
                f"column {name!r} was named categorical, but its type is {kind}. Convert it to text or whole numbers."
            )
        return "categorical"
    return found


def _plain_kind(kind: Any, coded: bool) -> ColumnKind | None:
    types = pa.types
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return "categorical"
    if types.is_boolean(kind):
        return "boolean"
    if types.is_integer(kind):
        return "categorical" if coded else "numeric"
    if types.is_floating(kind) or types.is_decimal(kind):
        return "numeric"
    return "datetime" if types.is_timestamp(kind) or types.is_date(kind) else None


def check_finite(name: str, numbers: NDArray[np.float64], rows: NDArray[np.int64] | None = None) -> None:
    """Raise `DataError` where training values are infinite; `rows` are the numbers of the rows, where they do not start at 0."""
    wrong = np.flatnonzero(np.isinf(numbers))
    if len(wrong):
        row = int(wrong[0]) if rows is None else int(rows[wrong[0]])
        raise DataError(
            f"column {name!r} holds {numbers[wrong[0]]:g} in row {row}. Replace infinite values by missing or by a bound."
        )


def digest(numbers: NDArray[Any], texts: Iterable[str] = ()) -> bytes:
    """Return a fingerprint of a column: equal for equal contents."""
    plain = np.where(np.isnan(numbers), NAN_BITS, numbers + 0.0) if numbers.dtype.kind == "f" else numbers
    found = hashlib.blake2b(np.ascontiguousarray(plain).tobytes(), digest_size=16)
    for text in texts:
        found.update(text.encode("utf-8", "surrogatepass") + b"\0")
    return found.digest()


def numeric_texts(texts: Sequence[str]) -> bool:
    """Tell whether all texts are numbers."""
    try:
        return len(texts) > 0 and bool(np.isfinite([float(text) for text in texts]).all())
    except ValueError:
        return False
