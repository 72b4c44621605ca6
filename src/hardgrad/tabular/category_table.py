"""CategoryTable: the numbers that categories stand for, as one lookup table: the artifact of every encoder. Never imports torch.

What an encoder learned, fitted or trained, is here and nowhere else: `transform` is the reference, SQL and C restate it.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.artifact import Artifact
from hardgrad.core.errors import ArtifactError, DataError, SchemaError, UnsupportedError
from hardgrad.tabular.raw import category_text, plain_array
from hardgrad.tabular.schema import Column, TableSchema, encode_column

if TYPE_CHECKING:
    from hardgrad.export.c import CSource
    from hardgrad.export.forms import Form

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]


def category_hash(text: str, n_components: int) -> int:
    """Return the column, 0 .. n_components - 1, that a category is hashed to: CRC-32 of its UTF-8 bytes modulo `n_components`.

    >>> category_hash("NY", 8), category_hash("TX", 8)
    (4, 1)
    """
    return zlib.crc32(text.encode("utf-8", "surrogatepass")) % n_components


@dataclass(frozen=True, eq=False)
class CategoryTable(Artifact, kind="category-table"):
    """What each category of each column is replaced by.

    A categorical column of K categories has K + 2 rows in the table, in this order: its sorted categories, one that was not seen, a missing
    value. A row says which outputs are not zero. Any other column has no row and is passed on as a number.

    Parameters
    ----------
    columns : the raw columns, in order.
    features : names of the outputs, those of the first column first.
    width : int32 [columns], outputs of each column; 1 for one that is passed on.
    start : int32 [rows + 1], where the entries of each row of the table begin.
    place : int32 [entries], the output of each entry.
    code : float64 [entries], its value; finite.
    refused : for each column, whether an unseen category, and whether a missing value, is an error.
    n_hashed : unseen categories are hashed to so many outputs a column (see `category_hash`); 0 where their row of the table counts.

    Examples
    --------
    >>> from hardgrad.tabular import CategoricalEncoder
    >>> table = CategoricalEncoder("ordinal").fit({"state": ["TX", "NY", "TX"]}).harden()
    >>> table.transform({"state": ["NY", "TX", "??"]}).tolist()
    [[2.0], [1.0], [0.0]]
    """

    columns: tuple[Column, ...]
    features: tuple[str, ...]
    width: Ints
    start: Ints
    place: Ints
    code: Floats
    refused: tuple[tuple[bool, bool], ...]
    n_hashed: int = 0

    def __post_init__(self) -> None:
        TableSchema(self.columns, ())  # distinct names
        for name, kind in (
            ("width", np.int32),
            ("start", np.int32),
            ("place", np.int32),
            ("code", np.float64),
        ):
            array: Any = getattr(self, name)
            if not isinstance(array, np.ndarray) or array.dtype != kind or array.ndim != 1:
                raise ArtifactError(f"{name} must be a list of {np.dtype(kind).name} numbers.")
        self.freeze()
        names: tuple[object, ...] = self.features
        if not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
            raise ArtifactError(f"feature names must be distinct texts, got {names}.")
        flags = [flag for pair in self.refused for flag in pair]
        if len(flags) != 2 * len(self.columns) or any(type(flag) is not bool for flag in flags):
            raise ArtifactError("refused must be two truth values a column.")
        if (
            len(self.width) != len(self.columns)
            or int(self.width.sum()) != len(names)
            or (self.width < 0).any()
        ):
            raise ArtifactError("width must be the number of outputs of each column.")
        rows = int(self.first_row[-1])
        if len(self.start) != rows + 1 or self.start[0] != 0 or (np.diff(self.start) < 0).any():
            raise ArtifactError(f"start must rise from 0 over {rows} rows.")
        if not len(self.place) == len(self.code) == int(self.start[-1]) or not np.isfinite(self.code).all():
            raise ArtifactError("every entry needs an output and a finite code.")
        if type(self.n_hashed) is not int or self.n_hashed < 0:
            raise ArtifactError(f"n_hashed must be a number of outputs, got {self.n_hashed!r}.")
        for c, column in enumerate(self.columns):
            self._check_column(c, column)

    def _check_column(self, c: int, column: Column) -> None:
        low, high = self.outputs_of(c)
        if column.kind != "categorical":
            if high - low != 1:
                raise ArtifactError(f"column {column.name!r} is passed on and has {high - low} outputs.")
            return
        place = self.place[self.start[self.first_row[c]] : self.start[self.first_row[c + 1]]]
        if len(place) and not (place.min() >= low and place.max() < high):
            raise ArtifactError(f"column {column.name!r} has a code outside its outputs.")
        if self.n_hashed and high - low != self.n_hashed:
            raise ArtifactError(
                f"column {column.name!r} is hashed to {self.n_hashed} outputs, not {high - low}."
            )

    # --- shape ---------------------------------------------------------------------------------------------------------------
    @cached_property
    def first_row(self) -> NDArray[np.int64]:
        """The first row of each column in the table, and last the number of rows: int64 [columns + 1]."""
        counts = [len(c.categories) + 2 if c.kind == "categorical" else 0 for c in self.columns]
        return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64)

    def outputs_of(self, c: int) -> tuple[int, int]:
        """Return the first output of column number c and the one after its last."""
        return int(self.width[:c].sum()), int(self.width[: c + 1].sum())

    def column_codes(self, c: int) -> Floats:
        """Return the codes of a categorical column: float64 [categories + 2, outputs], last those of an unseen one and of missing."""
        low, high = self.outputs_of(c)
        first, last = int(self.first_row[c]), int(self.first_row[c + 1])
        codes = np.zeros((last - first, high - low))
        entries = slice(int(self.start[first]), int(self.start[last]))
        row = np.repeat(np.arange(last - first), np.diff(self.start[first : last + 1]))
        codes[row, self.place[entries] - low] = self.code[entries]
        return codes

    def distinct_codes(self) -> dict[str, int]:
        """Return for each categorical column how many different codes its categories have."""
        return {
            column.name: len(np.unique(self.column_codes(c)[:-2], axis=0))
            for c, column in enumerate(self.columns)
            if column.kind == "categorical"
        }

    # --- there and back ------------------------------------------------------------------------------------------------------
    def transform(self, table: Any, *, sparse: bool = False) -> Any:
        """Replace the categories of a table by their codes.

        Parameters
        ----------
        table : raw columns in any form that `TableSchema.encode` takes.
        sparse : whether to return a `scipy.sparse.csr_matrix`.

        Returns
        -------
        X : float64 [n, features]. NaN is only where a column that is passed on is missing.

        Raises
        ------
        SchemaError : a column is missing or of another kind.
        DataError : a category that was not seen, or a missing value, where that was to be an error; the message names it.
        """
        picked = TableSchema(self.columns, ()).pick(table)
        n = len(picked[0]) if picked else 0
        entries = [self._entries(c, values) for c, values in enumerate(picked)]
        row = np.concatenate([e[0] for e in entries]) if entries else np.empty(0, dtype=np.int64)
        place = np.concatenate([e[1] for e in entries]) if entries else np.empty(0, dtype=np.int64)
        code = np.concatenate([e[2] for e in entries]) if entries else np.empty(0)
        if sparse:
            from scipy.sparse import csr_matrix

            return csr_matrix((code, (row, place)), shape=(n, len(self.features)))
        X = np.zeros((n, len(self.features)))
        X[row, place] = code
        return X

    def _entries(self, c: int, values: Any) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
        """Rows, outputs and values of what one column contributes."""
        column, low = self.columns[c], self.outputs_of(c)[0]
        found = encode_column(column, values)
        every = np.arange(len(found))
        if column.kind != "categorical":
            return every, np.full(len(found), low), found
        K = len(column.categories)
        self._refuse(c, found, values)
        line = self.first_row[c] + np.where(found < 0, K + 1, found)
        hashed = np.flatnonzero(found == K) if self.n_hashed else np.empty(0, dtype=np.int64)
        count = np.diff(self.start)[line]
        count[hashed] = 0
        row = np.repeat(every, count)
        entry = np.arange(len(row)) + np.repeat(self.start[line] - (np.cumsum(count) - count), count)
        if not len(hashed):
            return row, self.place[entry], self.code[entry]
        texts = map(category_text, plain_array(values)[hashed].tolist())
        more = low + np.array([category_hash(text, self.n_hashed) for text in texts])
        return (
            np.concatenate([row, hashed]),
            np.concatenate([self.place[entry], more]),
            np.concatenate([self.code[entry], np.ones(len(hashed))]),
        )

    def _refuse(self, c: int, number: NDArray[np.int64], values: Any) -> None:
        column = self.columns[c]
        for which, wrong in enumerate((number == len(column.categories), number < 0)):
            if self.refused[c][which] and wrong.any():
                row = int(np.flatnonzero(wrong)[0])
                got = (
                    "a missing value"
                    if which
                    else f"{plain_array(values)[row]!r}, which was not seen in training,"
                )
                option = "handle_missing" if which else "handle_unknown"
                raise DataError(
                    f"column {column.name!r} holds {got} in row {row}. Correct it, or fit with another {option}."
                )

    def inverse_transform(self, X: Any) -> dict[str, NDArray[Any]]:
        """Return the raw columns that codes stand for: texts, None where missing or unseen; numbers of other columns as they are.

        Parameters
        ----------
        X : codes [n, features], dense or sparse, as `transform` gave them.

        Raises
        ------
        UnsupportedError : two categories of a column share a code.
        DataError : a row that is the code of no category, or another number of features.
        """
        dense = np.asarray(X.toarray() if hasattr(X, "toarray") else X, dtype=np.float64)
        if dense.ndim != 2 or dense.shape[1] != len(self.features):
            raise SchemaError(f"got an array of shape {dense.shape}; expected [n, {len(self.features)}].")
        found: dict[str, NDArray[Any]] = {}
        for c, column in enumerate(self.columns):
            low, high = self.outputs_of(c)
            part = np.ascontiguousarray(dense[:, low:high]) + 0.0
            found[column.name] = self._names(c, part) if column.kind == "categorical" else part[:, 0]
        return found

    def _names(self, c: int, part: Floats) -> NDArray[Any]:
        column, codes = self.columns[c], self.column_codes(c) + 0.0
        known: dict[bytes, str | None] = {}
        for row, category in enumerate(column.categories):
            other = known.setdefault(codes[row].tobytes(), category)
            if other != category:
                raise UnsupportedError(
                    f"inverse_transform() got column {column.name!r}, where {other!r} and {category!r} have one code. Keep the raw column, "
                    "or use an encoder that tells all categories apart (one-hot, ordinal, binary, ...)."
                )
        for row in (-2, -1):
            known.setdefault(codes[row].tobytes(), None)
        names = np.empty(len(part), dtype=object)
        for i, row_codes in enumerate(part):
            key = row_codes.tobytes()
            if key not in known:
                raise DataError(
                    f"row {i} holds {row_codes.tolist()} for column {column.name!r}, which is the code of no category. "
                    "Pass what transform() gave (training codes of fit_transform() depend on the target)."
                )
            names[i] = known[key]
        return names

    # --- other forms ---------------------------------------------------------------------------------------------------------
    def forms(self) -> Mapping[str, Form]:
        """Return SQL and C (see `hardgrad.export.forms`)."""
        from hardgrad.export.forms import Files, Form

        def in_sql(
            dialect: str = "duckdb", table: str = "data", rename: Mapping[str, str] | None = None
        ) -> Files:
            return {"model.sql": self.to_sql(dialect, table=table, rename=rename)}

        return {
            "sql": Form("SQL", in_sql, ("dialect", "table", "rename")),
            "c": Form("C", lambda name="model": self.to_c(name).files(), ("name",)),
        }

    def to_sql(
        self,
        dialect: str = "duckdb",
        *,
        table: str = "data",
        keep: Sequence[str] = (),
        rename: Mapping[str, str] | None = None,
        pretty: bool = True,
    ) -> str:
        """Return one SELECT with a CASE an output that encodes a table exactly as `transform` does.

        Parameters
        ----------
        dialect : "duckdb", "postgres", "spark", "bigquery", "snowflake" or "sqlite".
        table : what stands after FROM.
        keep : columns of the table to hand through before the outputs.
        rename : column of the table -> column that this expects, where they differ.
        pretty : whether to lay the query out over lines.

        Raises
        ------
        ExportError : the engine cannot have such columns; or unseen categories are hashed, or are an error, which no SELECT can do.
        """
        from hardgrad.tabular.category_table_export import to_sql

        return to_sql(self, dialect, table=table, keep=keep, rename=rename or {}, pretty=pretty)

    def to_c(self, name: str = "encoder") -> CSource:
        """Return C99 header and source: the table as data and `int <name>_transform(const struct <name>_row *row, double *x)`.

        It returns 0, or 1 + the number of the column whose value is refused.

        Raises
        ------
        ParameterError : the name is no identifier.
        ExportError : a category is no C string.
        """
        from hardgrad.tabular.category_table_export import to_c

        return to_c(self, name)

    # --- on disk -------------------------------------------------------------------------------------------------------------
    def metadata_to_json(self) -> dict[str, Any]:
        """Return columns and names in a form that `json` can write."""
        columns = [{**asdict(column), "categories": list(column.categories)} for column in self.columns]
        refused = [list(pair) for pair in self.refused]
        return {
            "columns": columns,
            "features": list(self.features),
            "refused": refused,
            "n_hashed": self.n_hashed,
        }

    @classmethod
    def metadata_from_json(cls, metadata: dict[str, Any]) -> dict[str, Any]:
        """Invert `metadata_to_json`."""
        columns = tuple(Column(c["name"], c["kind"], tuple(c["categories"])) for c in metadata["columns"])
        return {
            "columns": columns,
            "features": tuple(metadata["features"]),
            "refused": tuple((unseen, missing) for unseen, missing in metadata["refused"]),
            "n_hashed": metadata["n_hashed"],
        }
