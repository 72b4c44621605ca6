"""`hardgrad compress`: a forest that exists already, made to fit a budget, and what that costs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hardgrad.cli.models import FOREIGN, MODEL_FILE, ModelArgument, RenameOption, parse_renames, read_model
from hardgrad.cli.tables import read_scoring_table
from hardgrad.cli.terminal import JsonOption, QuietOption, Terminal


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
    seed: Annotated[int, typer.Option(help="Seed.")] = 0,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make a trained forest fit a budget: ours, LightGBM text or XGBoost JSON, imported exactly. Says what it cost."""
    from hardgrad.trees.compression import compress as compress_forest

    terminal = Terminal(as_json=as_json, quiet=quiet)
    table = read_scoring_table(data, parse_renames(rename))
    if model.suffix.lower() in FOREIGN and model.exists():
        from hardgrad.trees.importers import import_forest

        features = table.drop_columns([target]) if target in table.schema.names else table
        forest = import_forest(model, data=features)
    else:
        forest = read_model(model)
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
