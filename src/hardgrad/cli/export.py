"""`hardgrad export`: a model as SQL, C, ONNX, JavaScript, text, DOT or SVG."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hardgrad.cli.models import ModelArgument, RenameOption, parse_renames, read_forest
from hardgrad.cli.terminal import JsonOption, QuietOption, Terminal, usage_error

if TYPE_CHECKING:
    from hardgrad.trees.forest import Forest

TARGETS = ("sql", "c", "onnx", "js", "text", "dot", "svg")


def export(
    model: ModelArgument,
    to: Annotated[str, typer.Option("--to", help="One of " + ", ".join(TARGETS) + ".", show_default=False)],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="File to write; without it the text is printed.")
    ] = None,
    dialect: Annotated[
        str, typer.Option(help="SQL: duckdb, postgres, spark, bigquery, snowflake or sqlite.")
    ] = "duckdb",
    table: Annotated[str, typer.Option(help="SQL: what stands after FROM.")] = "data",
    rename: RenameOption = None,
    name: Annotated[str, typer.Option(help="C: prefix of every name.")] = "model",
    form: Annotated[
        str, typer.Option(help="C: double, or packed (a forest trained or compressed to a byte budget).")
    ] = "double",
    tree: Annotated[int, typer.Option(help="DOT, SVG: which tree, from 0.")] = 0,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write a model in another language. Every export decides exactly as the model does."""
    terminal = Terminal(as_json=as_json, quiet=quiet)
    if to not in TARGETS:
        usage_error(f"--to got {to!r}; expected one of {', '.join(TARGETS)}.")
    forest = read_forest(model, "export")
    if to == "onnx":
        written = _write_onnx(forest, out)
    elif to == "c":
        written = _write_c(forest, out, name, form, terminal)
    else:
        text = _text(forest, to, dialect=dialect, table=table, renames=parse_renames(rename), tree=tree)
        written = _write_text(text, out, terminal)
    terminal.result({"target": to, "files": [str(path) for path in written]})
    if written:
        terminal.line("wrote", "  ".join(str(path) for path in written))


def _text(forest: Forest, to: str, *, dialect: str, table: str, renames: dict[str, str], tree: int) -> str:
    from hardgrad.core.errors import ParameterError

    if to in ("dot", "svg") and not 0 <= tree < forest.n_trees:
        raise ParameterError(f"--tree got {tree}; the model has trees 0 to {forest.n_trees - 1}.")
    if to == "sql":
        return forest.to_sql(dialect, table=table, rename=renames)
    if to == "js":
        return forest.to_javascript()
    if to == "dot":
        return forest.to_dot(tree)
    return forest.to_svg(tree) if to == "svg" else forest.to_text()


def _write_text(text: str, out: Path | None, terminal: Terminal) -> list[Path]:
    from hardgrad.core.files import write_text

    text = text if text.endswith("\n") else text + "\n"
    if out is None:
        if not terminal.quiet:
            sys.stdout.write(text)
        return []
    return [write_text(out, text)]


def _write_c(forest: Forest, out: Path | None, name: str, form: str, terminal: Terminal) -> list[Path]:
    """The source goes to `out`, the header beside it under the name by which the source includes it."""
    from hardgrad.core.files import write_text

    source = forest.to_c(name, form=form)
    if out is None:
        return _write_text(
            f"/* ---- {name}.h ---- */\n{source.header}\n/* ---- {name}.c ---- */\n{source.source}",
            None,
            terminal,
        )
    if out.is_dir():
        return [*source.write(out)]
    return [write_text(out, source.source), write_text(out.parent / f"{name}.h", source.header)]


def _write_onnx(forest: Forest, out: Path | None) -> list[Path]:
    if out is None:
        usage_error("an ONNX model is not text: say where to write it, as in -o model.onnx.")
    forest.to_onnx(out)
    return [out]
