"""The `hardgrad` command: puts the commands together. Each lives in its own file and imports what it needs when it runs.

Exit codes: 0 done, 1 an error that is explained in one message, 2 the command was called wrongly, 3 a reproduction missed a bound,
130 interrupted.
"""

from __future__ import annotations

from typing import Annotated

import typer

from hardgrad.cli.compare import compare
from hardgrad.cli.compress import compress
from hardgrad.cli.explain import explain
from hardgrad.cli.export import export
from hardgrad.cli.fit import fit
from hardgrad.cli.inspect import inspect
from hardgrad.cli.reproduce import reproduce
from hardgrad.cli.score import score
from hardgrad.cli.terminal import handled

app = typer.Typer(
    name="hardgrad",
    help="Train soft, ship hard: a table in, a small exact model out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (fit, score, export, explain, inspect, compress, compare, reproduce):
    app.command()(handled(command))


def _show_version(wanted: bool) -> None:
    if wanted:
        from hardgrad import __version__

        print(f"hardgrad {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Train soft, ship hard: a table in, a small exact model out."""


def main() -> None:
    """Run the command."""
    app()
