"""`hardgrad fit`: a table in, a small exact model out. Here are the options; the work is in `fit_run`, the files in `fit_write`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from hardgrad.cli.terminal import INTERRUPTED, JsonOption, QuietOption, Terminal, usage_error


def fit(
    table: Annotated[
        str | None,
        typer.Argument(
            help="CSV, Parquet or Arrow file, or a table or query of a DuckDB database; default: the bundled census table."
        ),
    ] = None,
    target: Annotated[str | None, typer.Option(help="Column to learn.")] = None,
    budget: Annotated[
        str | None, typer.Option(help='Size of the model: "2kB", "64 leaves" or "5 trees".')
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            help="What the model is chosen by: log_loss, accuracy, auc, f1, gmean, mcc, ...; rmse, mae, r2."
        ),
    ] = None,
    threshold: Annotated[
        str | None,
        typer.Option(
            help='Of two classes: probability from which the second is predicted, or "tuned" [default: 0.5].'
        ),
    ] = None,
    time_budget: Annotated[
        str | None, typer.Option(help="About how long training may take: 90s, 5m, 1h.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write; default: named after table and target.")
    ] = None,
    trees: Annotated[int | None, typer.Option(help="Number of trees [default: 10].")] = None,
    unbounded: Annotated[
        bool | None, typer.Option("--unbounded", help="No bound on size: most accurate, a few hundred trees.")
    ] = None,
    depth: Annotated[int | None, typer.Option(help="Depth of the trees [default: 4].")] = None,
    max_iter: Annotated[
        int | None, typer.Option(help="Gradient steps of a candidate [default: 600].")
    ] = None,
    split: Annotated[str | None, typer.Option(help="sparse_oblique, axis or oblivious.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed [default: 0].")] = None,
    jobs: Annotated[int | None, typer.Option(help="Threads [default: all cores].")] = None,
    devices: Annotated[
        int | None, typer.Option(help="Processes that share every batch [default: 1].")
    ] = None,
    accelerator: Annotated[str | None, typer.Option(help="cpu or cuda [default: cpu].")] = None,
    weights: Annotated[str | None, typer.Option(help="Column of row weights; not learned from.")] = None,
    drop: Annotated[list[str] | None, typer.Option(help="Column to leave out. Repeatable.")] = None,
    categorical: Annotated[
        list[str] | None, typer.Option(help="Column of numbers that are names, such as codes. Repeatable.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Estimator; default: the soft forest for the kind of target.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Parameter of the estimator, as layer_sizes=500,500 or head=codebook. Repeatable.",
        ),
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="classification or regression; default: by the target.")
    ] = None,
    test_fraction: Annotated[
        float | None,
        typer.Option(help="Share of rows held out of all training, to measure the result on [default: 0.2]."),
    ] = None,
    rows: Annotated[
        int | None,
        typer.Option(help="Generated rows for the check that every export is exact [default: 20000]."),
    ] = None,
    stream: Annotated[
        bool | None,
        typer.Option(
            "--stream/--no-stream",
            help="Read a Parquet file in pieces, never whole [default: above 1,000,000 rows].",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted run, to the same bits.")
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train a soft forest, harden it, prove that every export is exact, and write the model, its exports and a report."""
    from hardgrad.cli.fit_run import prepare, run

    if trees is not None and unbounded:
        usage_error("--trees and --unbounded contradict each other.")
    if table is not None and target is None and not resume:
        usage_error("say which column to learn: --target COLUMN.")
    terminal = Terminal(as_json=as_json, quiet=quiet)
    asked: dict[str, Any] = {
        "table": table, "target": target, "budget": budget, "metric": metric, "threshold": threshold, "time_budget": time_budget,
        "trees": trees, "unbounded": unbounded, "depth": depth, "max_iter": max_iter, "split": split, "seed": seed, "jobs": jobs,
        "devices": devices, "accelerator": accelerator, "weights": weights, "drop": drop or None, "categorical": categorical or None,
        "model": model, "set": set_ or None, "task": task, "test_fraction": test_fraction, "rows": rows, "stream": stream,
    }  # fmt: skip
    settings, folder = prepare(asked, out, resume)
    try:
        run(settings, folder, terminal, resume)
    except KeyboardInterrupt:
        print(f"interrupted. Go on with: hardgrad fit --resume --out {folder}", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
