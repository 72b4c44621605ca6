"""`hardgrad compress`: a forest that exists already, made to fit a budget, and what that costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hardgrad.cli.models import FOREIGN, MODEL_FILE, ModelArgument, RenameOption, parse_renames, read_forest
from hardgrad.cli.tables import read_scoring_table
from hardgrad.cli.terminal import JsonOption, QuietOption, Terminal

if TYPE_CHECKING:
    import pyarrow as pa

    from hardgrad.trees.forest import Forest


def compress(
    model: ModelArgument,
    budget: Annotated[str, typer.Option(help='"2kB", "64 leaves" or "5 trees".', show_default=False)],
    data: Annotated[
        str,
        typer.Option(
            help="Table of raw columns, best with the target: what is refitted on.", show_default=False
        ),
    ],
    target: Annotated[
        str | None,
        typer.Option(help="Target column; without one the forest's own answers are what is learned."),
    ] = None,
    metric: Annotated[str | None, typer.Option(help="What candidates are judged by, as in `fit`.")] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Model file to write; default: beside the model.")
    ] = None,
    rename: RenameOption = None,
    drop: Annotated[
        list[str] | None,
        typer.Option(help="Column of the table that a foreign model was not trained on. Repeatable."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed.")] = 0,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make a trained forest fit a budget: ours, LightGBM text or XGBoost JSON, imported exactly. Says what it cost."""
    from hardgrad.trees.compression import compress as compress_forest

    terminal = Terminal(as_json=as_json, quiet=quiet)
    table = read_scoring_table(data, parse_renames(rename))
    foreign = model.suffix.lower() in FOREIGN and model.exists()
    forest = (
        _import(model, table, [*(drop or ()), *([target] if target else ())])
        if foreign
        else read_forest(model, "compress")
    )
    found = compress_forest(forest, table, budget=budget, target=target, metric=metric, random_state=seed)
    source = model / MODEL_FILE if model.is_dir() else model
    path = found.forest.save(out or source.with_name(f"{source.stem}-compressed.safetensors"))
    terminal.result({**found.to_dict(), "file": str(path)})
    times = found.bytes_before / found.bytes_after
    terminal.line(
        "size",
        f"{found.bytes_before:,} -> {found.bytes_after:,} bytes, {times:.1f} times smaller ({found.how})",
    )
    rows = f"on {found.rows:,} rows that it was not fitted to"
    terminal.line(
        "cost",
        f"{found.metric} {found.before:.4f} -> {found.after:.4f}, same answer on {100 * found.agreement:.1f} % {rows}",
    )
    terminal.line("wrote", str(path))


def _import(model: Path, table: pa.Table, aside: list[str]) -> Forest:
    """Import a foreign model; the table says what its columns are: those that the model names, else all but target and dropped."""
    from hardgrad.core.errors import HardgradError
    from hardgrad.tabular.reading import require_columns
    from hardgrad.trees.importers import import_forest

    require_columns(aside, table.column_names, "the table")
    features = table.drop_columns(aside)
    try:
        named = list(import_forest(model).schema.names)
    except HardgradError:
        named = []  # a model that needs the table to be understood, for its categories
    if named and set(named) <= set(features.column_names):
        features = features.select(named)
    return import_forest(model, data=features)
