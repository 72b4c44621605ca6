"""Reading a table from a file, a DuckDB database, a query or memory. What its columns mean is `column_typing`; CSV is `csv_reading`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from hardgrad.core.errors import DataError, ParameterError, suggestion
from hardgrad.tabular.arrow import check_names, to_arrow

BUNDLED = "bundled"
CSV_ENDINGS = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
PARQUET_ENDINGS = (".parquet", ".pq")
ARROW_ENDINGS = (".arrow", ".feather", ".ipc")
DUCKDB_ENDINGS = (".duckdb", ".ddb")
QUERIED = "data"
"""The name by which a query calls the table that it is asked of."""


def read_table(
    source: Any,
    *,
    query: str | None = None,
    table: str | None = None,
    columns: Sequence[str] | None = None,
    missing: Sequence[str] = (),
    text: Sequence[str] = (),
) -> pa.Table:
    """Read a table, wherever it is.

    Parameters
    ----------
    source : path of a file (CSV, TSV, Parquet, Arrow IPC or Feather, a DuckDB database), a table in memory (PyArrow, any data frame that
        narwhals reads, a mapping of columns), "bundled" for the census table that comes with hardgrad, or None with a `query` that names
        its files itself. `file.duckdb::name` is a table of a database, `file.duckdb::SELECT ...` a query.
    query : SQL for DuckDB. A database is asked directly; any other source is there as the table `data`.
    table : the table of a DuckDB database. It may be left out where there is one.
    columns : the columns to read, all by default.
    missing : text that means "missing" in a CSV, besides the usual (empty, NA, NULL, NaN, ...).
    text : columns of a CSV that stay text even where they look like numbers.

    Returns
    -------
    A PyArrow table with at least one row and distinct column names.

    Raises
    ------
    DataError : the file is missing, damaged, empty or of an unknown kind; there are no rows; two columns share a name; a CSV column
        mixes numbers with text. The message names the file and what to do.
    ParameterError : `table` or `query` do not fit the source.

    Examples
    --------
    >>> read_table("bundled", columns=["age", "education"]).shape
    (40000, 2)
    >>> read_table({"age": [20, 30, 40]}, query="SELECT age / 10 AS decades FROM data WHERE age > 20").to_pydict()
    {'decades': [3.0, 4.0]}
    """
    if isinstance(source, str) and "::" in source and not Path(source).exists():
        source, _, rest = source.partition("::")
        if query is not None or table is not None:
            raise ParameterError(f"got {rest!r} after '::' and also query= or table=; pass one of them.")
        query, table = (rest, None) if _is_query(rest) else (None, rest)
    name, read = _reader(source, missing, text)
    if query is not None and table is not None:
        raise ParameterError("got both query= and table=; pass one of them.")
    if table is not None and read is not None:
        raise ParameterError(
            f"got table={table!r}, but {name} is no DuckDB database and holds a single table."
        )
    if read is None:
        found = _read_duckdb(source, query, table, columns)
    elif query is not None:
        found = _query(read(None), query)
    else:
        found = read(columns)
    check_names(found.column_names)
    if query is not None or read is None:
        found = _pick(found, columns, name)
    if found.num_rows == 0:
        raise DataError(
            f"{name} has no rows. Expected at least one below the column names {found.column_names}."
        )
    return found


def _is_query(text: str) -> bool:
    return text.lstrip(" (\n\t").partition(" ")[0].upper() in ("SELECT", "WITH", "FROM")


Reader = Callable[[Sequence[str] | None], pa.Table]


def _reader(source: Any, missing: Sequence[str], text: Sequence[str]) -> tuple[str, Reader | None]:
    """What to call the source, and the function that reads columns of it (None: DuckDB does)."""
    if source is None:
        return "the query", None
    if not isinstance(source, (str, os.PathLike)):
        return "the table", lambda columns: _pick(to_arrow(source), columns, "the table")
    if str(source) == BUNDLED and not Path(BUNDLED).exists():
        from hardgrad.tabular.datasets import load_table

        return "the bundled table", lambda columns: _pick(
            load_table("census").table, columns, "the bundled table"
        )
    path = Path(source)
    if not path.exists():
        raise DataError(
            f"there is no file {path}.{_near(path)} Check the path, or pass 'bundled' for the example table."
        )
    if path.is_dir():
        raise DataError(
            f"{path} is a folder; expected a file. Query its files: query=\"SELECT * FROM '{path}/*.parquet'\"."
        )
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty (0 bytes). Expected a table; was it written to its end?")
    ending = path.name.lower()
    if ending.endswith(CSV_ENDINGS):
        from hardgrad.tabular.csv_reading import read_csv

        return str(path), lambda columns: read_csv(path, columns=columns, missing=missing, text=text)
    if ending.endswith(PARQUET_ENDINGS):
        return str(path), lambda columns: _read_parquet(path, columns)
    if ending.endswith(ARROW_ENDINGS):
        return str(path), lambda columns: _pick(_read_ipc(path), columns, str(path))
    if ending.endswith(DUCKDB_ENDINGS) or _is_duckdb(path):
        return str(path), None
    known = ", ".join((*CSV_ENDINGS, *PARQUET_ENDINGS, *ARROW_ENDINGS, *DUCKDB_ENDINGS))
    raise DataError(
        f"{path}: cannot tell what kind of table this is. Expected a name that ends with {known}."
    )


def _near(path: Path) -> str:
    try:
        beside = [entry.name for entry in path.parent.iterdir() if entry.is_file()]
    except OSError:
        return ""
    return suggestion(path.name, beside)


def _is_duckdb(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(12)[8:] == b"DUCK"


def _pick(found: pa.Table, columns: Sequence[str] | None, name: str) -> pa.Table:
    if columns is None:
        return found
    check_names(found.column_names)
    require_columns(columns, found.column_names, name)
    return found.select(list(columns))


def require_columns(wanted: Sequence[str], present: Sequence[str], name: str) -> None:
    """Raise `DataError`, with the nearest name, where a wanted column is not among those present."""
    for column in wanted:
        if column not in present:
            raise DataError(
                f"{name} has no column {column!r}; it has {list(present)}.{suggestion(column, present)}"
            )


# --- kinds of files ------------------------------------------------------------------------------------------------------------------
def _read_parquet(path: Path, columns: Sequence[str] | None) -> pa.Table:
    with open_parquet(path) as file:
        names = file.schema_arrow.names
        check_names(names)
        if columns is not None:
            require_columns(columns, names, str(path))
        try:
            return file.read(columns=None if columns is None else list(columns))
        except (pa.ArrowException, OSError) as error:
            raise damaged(path, "Parquet", error) from None


def open_parquet(path: Path, coded: Sequence[str] = ()) -> Any:
    """Open a Parquet file, some columns to be read as dictionaries. Raises `DataError` where it is none, or is damaged."""
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path, read_dictionary=list(coded), pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        raise damaged(path, "Parquet", error) from None


def _read_ipc(path: Path) -> pa.Table:
    try:
        with path.open("rb") as stream:
            stream_form = stream.read(6) != b"ARROW1"
        with pa.OSFile(str(path)) as stream:
            return (
                pa.ipc.open_stream(stream).read_all() if stream_form else pa.ipc.open_file(stream).read_all()
            )
    except (pa.ArrowException, OSError) as error:
        raise damaged(path, "Arrow", error) from None


def damaged(path: Path, kind: str, error: BaseException) -> DataError:
    """Return the error that says a file is not readable as what its name says it is."""
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return DataError(
        f"{path} is no {kind} file, or is damaged: {reason.rstrip('.')}. Write it again, or check its name."
    )


# --- DuckDB ----------------------------------------------------------------------------------------------------------------------------
def _query(found: pa.Table, query: str) -> pa.Table:
    import duckdb

    with duckdb.connect() as connection:
        connection.register(QUERIED, found)
        return _run(connection, query)


def _read_duckdb(
    source: Any, query: str | None, table: str | None, columns: Sequence[str] | None
) -> pa.Table:
    import duckdb

    if source is None:
        if query is None:
            raise ParameterError("got no source and no query; pass a file, a table or query=.")
        with duckdb.connect() as connection:
            return _run(connection, query)
    path = Path(source)
    try:
        connection = duckdb.connect(str(path), read_only=True)
    except duckdb.Error as error:
        raise damaged(path, "DuckDB database", error) from None
    with connection:
        if query is not None:
            return _run(connection, query)
        chosen = _choose_table(connection, path, table)
        if columns is not None:
            present = [row[0] for row in connection.execute(f"DESCRIBE {chosen}").fetchall()]
            require_columns(columns, present, f"{path}::{table or chosen}")
        picked = "*" if columns is None else ", ".join(_quoted(name) for name in columns)
        return _run(connection, f"SELECT {picked} FROM {chosen}")


def _choose_table(connection: Any, path: Path, table: str | None) -> str:
    rows = connection.execute(
        "SELECT table_schema, table_name FROM information_schema.tables WHERE table_catalog = current_database() "
        "ORDER BY table_schema, table_name"
    ).fetchall()
    tables = {name if schema == "main" else f"{schema}.{name}": (schema, name) for schema, name in rows}
    if not tables:
        raise DataError(f"{path} holds no tables.")
    if table is None:
        if len(tables) > 1:
            listed = ", ".join(map(repr, tables))
            raise DataError(
                f"{path} holds several tables: {listed}. Name one: table=..., or {path}::{next(iter(tables))}."
            )
        table = next(iter(tables))
    if table not in tables:
        raise DataError(
            f"{path} has no table {table!r}; it has {list(tables)}.{suggestion(table, list(tables))}"
        )
    return ".".join(map(_quoted, tables[table]))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _run(connection: Any, query: str) -> pa.Table:
    import duckdb

    try:
        relation = connection.sql(query)
        if relation is None:
            raise DataError(f"the query {_shortened(query)!r} returns no rows. Expected a SELECT.")
        return relation.to_arrow_table()
    except duckdb.Error as error:
        reason = str(error).strip().splitlines()[0]
        raise DataError(f"DuckDB could not run the query {_shortened(query)!r}: {reason}") from None


def _shortened(query: str) -> str:
    return query if len(query) <= 200 else query[:200] + "..."
