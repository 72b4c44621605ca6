"""`hardgrad export`: a model, or a circuit, in another language."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hardgrad.cli.models import ModelArgument, RenameOption, parse_renames, read_artifact
from hardgrad.cli.terminal import JsonOption, QuietOption, Terminal, usage_error

if TYPE_CHECKING:
    from hardgrad.export.forms import Files, Form


def export(
    model: ModelArgument,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            help="A forest: sql, c, onnx, js, text, dot or svg. A circuit model: sql, c, verilog, blif, aiger or onnx. "
            "A circuit: these, dot and svg. Another name is answered by a list of what the model has.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="File or folder to write; without it the text is printed."),
    ] = None,
    dialect: Annotated[
        str, typer.Option(help="SQL: duckdb, postgres, spark, bigquery, snowflake or sqlite.")
    ] = "duckdb",
    table: Annotated[str, typer.Option(help="SQL: what stands after FROM.")] = "data",
    rename: RenameOption = None,
    name: Annotated[str, typer.Option(help="C, Verilog, BLIF: prefix of every name, or the name.")] = "model",
    form: Annotated[
        str, typer.Option(help="C: double, or packed (a forest trained or compressed to a byte budget).")
    ] = "double",
    tree: Annotated[int, typer.Option(help="DOT, SVG: which tree, from 0.")] = 0,
    pipelined: Annotated[
        bool,
        typer.Option(
            "--pipelined", help="Verilog of a circuit or a sorting network: a register after every level."
        ),
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write a model in another language. Every export decides exactly as the model does."""
    terminal = Terminal(as_json=as_json, quiet=quiet)
    chosen = _form(model, to)
    if pipelined and "pipelined" not in chosen.options:
        usage_error(
            f"--pipelined is for the Verilog of a circuit or a sorting network; this model's {chosen.title} takes none."
        )
    given = {
        "dialect": dialect, "table": table, "rename": parse_renames(rename), "name": name, "form": form, "tree": tree,
        "pipelined": pipelined,
    }  # fmt: skip
    files = chosen.write(**{option: given[option] for option in chosen.options})
    written = _print(files, terminal, to) if out is None else _write(files, out)
    terminal.result({"target": to, "files": [str(path) for path in written]})
    if written:
        terminal.line("wrote", "  ".join(str(path) for path in written))


def _form(model: Path, to: str) -> Form:
    """Return the form that is asked for of the model in a file."""
    from hardgrad.core.errors import UnsupportedError
    from hardgrad.export.forms import HasForms

    artifact = read_artifact(model)
    forms = artifact.forms() if isinstance(artifact, HasForms) else {}
    if not forms:
        raise UnsupportedError(
            f"{model} holds an artifact of kind {artifact.kind!r}, which the command writes in no other language. "
            "Load it in Python: hardgrad.load(path)."
        )
    if to not in forms:
        usage_error(
            f"--to got {to!r}; an artifact of kind {artifact.kind!r} is written as {', '.join(forms)}."
        )
    return forms[to]


def _print(files: Files, terminal: Terminal, to: str) -> list[Path]:
    """Print the text of all files; what a file includes comes before it."""
    parts = []
    for name, content in reversed(files.items()):
        if isinstance(content, bytes):
            usage_error(f"{to} is not text: say where to write it, as in -o {name}.")
        text = content if content.endswith("\n") else content + "\n"
        parts.append(text if len(files) == 1 else f"/* ---- {name} ---- */\n{text}")
    if not terminal.quiet:
        sys.stdout.write("\n".join(parts))
    return []


def _write(files: Files, out: Path) -> list[Path]:
    """The main file goes to `out`, others beside it under the names by which it knows them; all go into `out` where that is a folder."""
    from hardgrad.core.files import write_file

    main = next(iter(files))
    folder = out if out.is_dir() else out.parent
    return [
        write_file(out if name == main and not out.is_dir() else folder / name, content)
        for name, content in files.items()
    ]
