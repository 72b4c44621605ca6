"""`hardgrad score`: a model's answers for a table, by this machine's fastest runtime, by DuckDB, or by Spark."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hardgrad.cli.models import ModelArgument, RenameOption, parse_renames, read_forest, read_model
from hardgrad.cli.tables import TableArgument, parquet_pieces, read_scoring_table, rename_columns
from hardgrad.cli.terminal import JsonOption, QuietOption, Terminal, usage_error

if TYPE_CHECKING:
    import pyarrow as pa

    from hardgrad.tabular.table_model import TableModel
    from hardgrad.trees.forest import Forest

ENGINES = ("native", "duckdb", "spark")
BATCH_ROWS = 65_536
SHOWN = 10
Keep = tuple[str, ...] | Literal["all"]


def score(
    model: ModelArgument,
    table: TableArgument,
    engine: Annotated[
        str, typer.Option(help="native, duckdb (the exported SQL) or spark (the same, distributed).")
    ] = "native",
    out: Annotated[
        Path | None,
        typer.Option(
            "-o", "--out", help="Parquet or CSV file to write; Spark writes a folder of Parquet files."
        ),
    ] = None,
    rename: RenameOption = None,
    keep: Annotated[
        list[str] | None,
        typer.Option("--keep", help="Column to hand through; default: all of them. Repeatable."),
    ] = None,
    only: Annotated[
        bool, typer.Option("--only", help="Write the outputs without the columns of the table.")
    ] = False,
    outputs: Annotated[
        str, typer.Option(help="all (raw scores, probabilities, prediction) or prediction.")
    ] = "all",
    jobs: Annotated[int, typer.Option("--jobs", help="Threads of the native engine.")] = 1,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Score a table of raw columns. Every engine gives the same answers."""
    terminal = Terminal(as_json=as_json, quiet=quiet)
    if engine not in ENGINES:
        usage_error(f"--engine got {engine!r}; expected one of {', '.join(ENGINES)}.")
    if outputs not in ("all", "prediction"):
        usage_error(f"--outputs got {outputs!r}; expected all or prediction.")
    if only and keep:
        usage_error("--only and --keep contradict each other.")
    if engine == "spark" and out is None:
        usage_error("Spark writes a folder: say where, as in -o scored.parquet.")
    renames = parse_renames(rename)
    kept: Keep = () if only else tuple(keep) if keep else "all"
    begun = time.perf_counter()
    if engine == "spark":
        assert out is not None
        rows, result = (
            _spark(read_forest(model, "score --engine spark"), table, out, kept, outputs, renames),
            None,
        )
    elif engine == "duckdb":
        rows, result = _duckdb(
            read_forest(model, "score --engine duckdb"), table, out, kept, outputs, renames
        )
    else:
        rows, result = _native(read_model(model), table, out, kept, outputs, renames, jobs)
    _report(terminal, engine, rows, out, result, time.perf_counter() - begun)


def _report(
    terminal: Terminal, engine: str, rows: int, out: Path | None, result: pa.Table | None, seconds: float
) -> None:
    facts: dict[str, Any] = {
        "engine": engine,
        "rows": rows,
        "seconds": round(seconds, 4),
        "out": None if out is None else str(out),
    }
    if result is not None:
        from hardgrad.trees.explanation import plain

        facts["scores"] = {
            name: [plain(v) for v in result.column(name).to_pylist()] for name in result.column_names
        }
    terminal.result(facts)
    if result is not None and not terminal.quiet:
        _show(terminal, result)
    terminal.line("scored", f"{rows:,} rows with {engine} in {seconds:.2f} s")
    if out is not None:
        terminal.line("wrote", str(out))


def _show(terminal: Terminal, result: pa.Table) -> None:
    from rich.table import Table

    from hardgrad.trees.conditions import value_text

    shown = Table(*result.column_names, box=None, header_style="bold cyan")
    for line in result.slice(0, SHOWN).to_pylist():
        shown.add_row(
            *(f"{v:.6g}" if isinstance(v, float) else value_text(v).strip("'") for v in line.values())
        )
    terminal.print(shown)
    if result.num_rows > SHOWN:
        terminal.print(f"... {result.num_rows - SHOWN:,} more; write them with -o FILE.parquet")


# --- engines -----------------------------------------------------------------------------------------------------------------
def _spark(forest: Forest, table: str, out: Path, keep: Keep, outputs: Any, renames: dict[str, str]) -> int:
    from hardgrad.core.errors import DataError
    from hardgrad.trees.score_sql import score_spark_to_parquet

    if not table.lower().endswith((".parquet", ".pq")) and not Path(table).is_dir():
        raise DataError(
            f"--engine spark reads Parquet; got {table}. Write it as Parquet first, or use --engine duckdb."
        )
    return score_spark_to_parquet(forest, table, out, keep=keep, outputs=outputs, rename=renames)


def _duckdb(
    forest: Forest, table: str, out: Path | None, keep: Keep, outputs: Any, renames: dict[str, str]
) -> tuple[int, pa.Table | None]:
    from hardgrad.trees.score_sql import score_duckdb, score_duckdb_to_parquet

    is_parquet = table.lower().endswith((".parquet", ".pq"))
    source: Any = table if is_parquet else read_scoring_table(table, {})
    if out is not None and out.suffix.lower() != ".csv":
        return score_duckdb_to_parquet(forest, source, out, keep=keep, outputs=outputs, rename=renames), None
    result = score_duckdb(forest, source, keep=keep, outputs=outputs, rename=renames)
    if out is not None:
        return _write(out, result.schema, iter([result])), None
    return result.num_rows, result


def _native(
    model: TableModel,
    table: str,
    out: Path | None,
    keep: Keep,
    outputs: str,
    renames: dict[str, str],
    jobs: int,
) -> tuple[int, pa.Table | None]:
    import pyarrow as pa

    runtime = model.runtime("auto", n_jobs=jobs)
    pieces = (_scored(model, runtime, piece, keep, outputs, renames) for piece in _pieces(table))
    first = next(pieces)
    if out is None:
        result = pa.concat_tables([first, *pieces])
        return result.num_rows, result

    def everything() -> Iterator[pa.Table]:
        yield first
        yield from pieces

    return _write(out, first.schema, everything()), None


def _pieces(table: str) -> Iterator[pa.Table]:
    """The table in pieces of bounded size; a Parquet file is never in memory as a whole. There is at least one piece."""
    import pyarrow as pa

    if table.lower().endswith((".parquet", ".pq")) and Path(table).is_file():
        yield from parquet_pieces(Path(table), BATCH_ROWS)
        return
    whole = read_scoring_table(table, {})
    for start in range(0, max(whole.num_rows, 1), BATCH_ROWS):
        yield pa.table(whole.slice(start, BATCH_ROWS))


def _scored(
    model: TableModel, runtime: Any, piece: pa.Table, keep: Keep, outputs: str, renames: dict[str, str]
) -> pa.Table:
    """Columns to keep, under the table's own names, and the outputs, named as the exported SQL names them."""
    import pyarrow as pa

    from hardgrad.core.errors import SchemaError
    from hardgrad.tabular.table_sql_output import output_names

    present = list(piece.schema.names)
    kept = present if keep == "all" else list(keep)
    for name in kept:
        if name not in present:
            raise SchemaError(f"the column to keep {name!r} is not in the table; it has {present}.")
    names = output_names(model, "duckdb", keep=kept, outputs=outputs)
    raw = runtime.predict_raw(rename_columns(piece, renames))
    columns = [piece.column(name) for name in kept] + _outputs(model, raw, everything=outputs == "all")
    return pa.table(columns, names=names)


def _outputs(model: TableModel, raw: Any, *, everything: bool) -> list[Any]:
    """Raw scores, probabilities and the prediction as columns, in the order of `output_names`."""
    import numpy as np
    import pyarrow as pa

    found: list[Any] = []
    if everything:
        p = [model.raw_to_proba(raw)] if model.task == "classification" else []
        found += [pa.array(np.ascontiguousarray(values)) for block in (raw, *p) for values in block.T]
    predicted = model.raw_to_prediction(raw)
    if predicted.ndim == 2:
        return found + [pa.array(np.ascontiguousarray(values)) for values in predicted.T]
    return [*found, pa.array(predicted.tolist(), type=_label_type(model))]


def _label_type(model: TableModel) -> Any:
    import pyarrow as pa

    if not model.classes:
        return pa.float64()
    by_type = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}
    return by_type[type(model.classes[0])]


def _write(out: Path, schema: pa.Schema, pieces: Iterator[pa.Table]) -> int:
    """Write the pieces to one Parquet or CSV file, whole or not at all, and return the number of rows."""
    import pyarrow.csv
    import pyarrow.parquet

    from hardgrad.core.files import atomic_path

    rows = 0
    with atomic_path(out) as temporary:
        as_csv = out.suffix.lower() == ".csv"
        writer = pyarrow.csv.CSVWriter if as_csv else pyarrow.parquet.ParquetWriter
        with writer(temporary, schema) as stream:
            for piece in pieces:
                stream.write_table(piece)
                rows += piece.num_rows
    return rows
