"""Rows to levels, and codes of levels to a table: the two ends of every categorical encoder, fitted or trained. Never imports torch."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
from scipy.sparse import csr_matrix, identity, vstack

from hardgrad.core.errors import DataError
from hardgrad.tabular.category_table import CategoryTable, category_hash
from hardgrad.tabular.column_typing import IDENTIFIER, MANY, TableWarning
from hardgrad.tabular.encoder_codes import CONTRASTS, Floats, Ints, contrast, digits
from hardgrad.tabular.raw import distinct_texts
from hardgrad.tabular.schema import Column

MISSING = "\0"
"""The text that a missing value is hashed as."""


@dataclass(frozen=True)
class Levels:
    """The levels of one column in training.

    Parameters
    ----------
    texts : in the order of their first appearance; None is a missing value.
    number : of each row's level, -1 for a missing value that is no level.
    """

    name: str
    texts: tuple[str | None, ...]
    number: Ints


def find_levels(name: str, values: Any, handle_missing: str) -> Levels:
    """Return the levels of an Arrow column; warn of an identifier.

    Raises
    ------
    DataError : a value is missing and that is an error.
    """
    texts, number = distinct_texts(name, nw.from_native(values, series_only=True))
    missing = number < 0
    present = int((~missing).sum())
    if len(texts) >= MANY and len(texts) > IDENTIFIER * present:
        warnings.warn(
            f"column {name!r} has {len(texts):,} different values in {present:,} rows: an identifier says nothing about new rows. Drop it.",
            TableWarning, stacklevel=5,
        )  # fmt: skip
    if missing.any() and handle_missing == "error":
        raise DataError(
            f"column {name!r} has a missing value in row {int(missing.argmax())}. Fill it, or pass handle_missing='category'."
        )
    if not missing.any() or handle_missing == "prior":
        return Levels(name, tuple(texts), number)
    place = len(
        set(number[: int(missing.argmax())].tolist())
    )  # levels that appear before the first missing value
    shifted = np.where(missing, place, number + (number >= place))
    return Levels(name, (*texts[:place], None, *texts[place:]), shifted)


def plain_codes(
    levels: Levels, kind: str, base: int, n_components: int, normalize: bool
) -> tuple[Any, list[str]]:
    """Return the codes of a kind without a target [levels, outputs], dense or sparse, and what the names of the outputs end in."""
    L, texts = len(levels.texts), levels.texts
    if kind == "one-hot":
        return identity(L, format="csr"), [" is missing" if text is None else f"={text}" for text in texts]
    if kind == "ordinal":
        return np.arange(1.0, L + 1)[:, None], [""]
    if kind == "count":
        rows = np.bincount(levels.number[levels.number >= 0], minlength=L).astype(np.float64)
        return rows[:, None] / (len(levels.number) if normalize else 1), [""]
    codes: Any
    if kind == "hashing":
        place = [category_hash(MISSING if text is None else text, n_components) for text in texts]
        codes = csr_matrix((np.ones(L), (np.arange(L), place)), shape=(L, n_components))
    elif kind in CONTRASTS:
        codes = contrast(kind, max(L, 1))[:L]
    else:
        codes = digits(L, 2 if kind == "binary" else base)
    return codes, [f" {kind} {j}" for j in range(codes.shape[1])]


@dataclass(frozen=True)
class CodedColumn:
    """One column of a table of codes.

    Parameters
    ----------
    names : of its outputs.
    codes : sparse [categories + 2, outputs], in the order of `CategoryTable`; None where the column is passed on.
    refused : whether an unseen category, and a missing value, is an error.
    """

    column: Column
    names: list[str]
    codes: Any = None
    refused: tuple[bool, bool] = (False, False)


def coded_column(
    levels: Levels,
    names: list[str],
    codes: Any,
    unseen: Floats,
    missing: Floats,
    refused: tuple[bool, bool] = (False, False),
) -> CodedColumn:
    """Sort the levels of a column by their texts.

    Parameters
    ----------
    codes : of the levels [levels, outputs], dense or sparse.
    unseen, missing : codes of what is no level [outputs]; a missing value that is a level keeps its own.
    """
    known = sorted((text, k) for k, text in enumerate(levels.texts) if text is not None)
    table = csr_matrix(codes)
    own = table[levels.texts.index(None)] if None in levels.texts else csr_matrix(missing)
    block = vstack([table[[k for _, k in known]], csr_matrix(unseen), own], format="csr")
    column = Column(levels.name, "categorical", tuple(text for text, _ in known))
    return CodedColumn(column, names, block, refused)


def side_by_side(parts: Sequence[CodedColumn], n_hashed: int = 0) -> CategoryTable:
    """Put columns together; a name that repeats gets a number."""
    features: list[str] = []
    taken: set[str] = set()
    counts: list[Any] = [np.empty(0)]
    places: list[Any] = [np.empty(0)]
    values: list[Any] = [np.empty(0)]
    for part in parts:
        if part.codes is not None:
            counts.append(np.diff(part.codes.indptr))
            places.append(part.codes.indices + len(features))
            values.append(part.codes.data)
        for name in part.names:
            unique, count = name, 1
            while unique in taken:
                count += 1
                unique = f"{name} #{count}"
            taken.add(unique)
            features.append(unique)
    return CategoryTable(
        tuple(part.column for part in parts),
        tuple(features),
        np.array([len(part.names) for part in parts], dtype=np.int32),
        np.concatenate([[0], np.cumsum(np.concatenate(counts))]).astype(np.int32),
        np.concatenate(places).astype(np.int32),
        np.concatenate(values).astype(np.float64),
        tuple(part.refused for part in parts),
        n_hashed,
    )
