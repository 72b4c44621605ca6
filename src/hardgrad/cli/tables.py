"""Reading the table that a command is given, with its columns renamed to what the model expects."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import pyarrow as pa

TableArgument = Annotated[
    str,
    typer.Argument(
        help="CSV, Parquet or Arrow file, or a table or query of a DuckDB database (file.duckdb::table).",
        show_default=False,
    ),
]


def read_scoring_table(source: str, renames: dict[str, str]) -> pa.Table:
    """Return a table with its columns under the model's names.

    Raises
    ------
    DataError : it cannot be read. SchemaError : a column to rename is not there, or its new name is taken.
    """
    from hardgrad.tabular.reading import read_table

    return rename_columns(read_table(source), renames)


def rename_columns(table: Any, renames: dict[str, str]) -> Any:
    """Return an Arrow table, or one batch of one, with some columns renamed: {old: new}."""
    from hardgrad.core.errors import SchemaError, suggestion

    names = list(table.schema.names)
    for old, new in renames.items():
        if old not in names:
            raise SchemaError(
                f"--rename {old}={new}: the table has no column {old!r}; it has {names}.{suggestion(old, names)}"
            )
        if new in names and new not in renames:
            raise SchemaError(
                f"--rename {old}={new}: the table already has a column {new!r}. Drop it or rename it first."
            )
    return table.rename_columns([renames.get(name, name) for name in names]) if renames else table


def parquet_pieces(path: Path, rows: int) -> Iterator[pa.Table]:
    """Yield a Parquet file in pieces of at most so many rows, at least one piece, in memory that does not grow with the file.

    Raises
    ------
    DataError : the file is no Parquet file, or is damaged.
    """
    import pyarrow as pa

    from hardgrad.tabular.reading import damaged, open_parquet

    with open_parquet(path) as stream:
        empty = True
        try:
            for batch in stream.iter_batches(rows):
                empty = False
                yield pa.Table.from_batches([batch])
        except (pa.ArrowException, OSError) as error:
            raise damaged(path, "Parquet", error) from None
        if empty:
            yield stream.schema_arrow.empty_table()
