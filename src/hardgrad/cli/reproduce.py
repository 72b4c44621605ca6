"""`hardgrad reproduce`: measure a published claim again, or list what can be measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from hardgrad.cli.terminal import MISSED, JsonOption, QuietOption, Terminal, usage_error

if TYPE_CHECKING:
    from hardgrad.reproductions import Reproduction, ReproductionResult


def reproduce(
    row_or_slug: Annotated[str | None, typer.Argument(help="Row number or slug; see --list.")] = None,
    scale: Annotated[
        str, typer.Option(help="smoke (seconds) or full (at most two minutes on 2 cores).")
    ] = "smoke",
    every: Annotated[bool, typer.Option("--all", help="Run every reproduction.")] = False,
    listing: Annotated[bool, typer.Option("--list", help="List them and run none.")] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Measure a published claim again. Exit code 0 when every bound is met, 3 when one is missed."""
    from hardgrad.reproductions import find, members

    terminal = Terminal(as_json=as_json, quiet=quiet)
    if listing:
        _list(terminal, members())
        return
    if every == (row_or_slug is not None):
        usage_error("name one row or slug, or pass --all, or --list to see what there is.")
    wanted = members() if row_or_slug is None else find(row_or_slug)
    results = []
    for member in wanted:
        terminal.line(f"row {member.row}", f"{member.title} ({member.slug}), {scale}: {member.claim}")
        results.append(member.run(scale))  # type: ignore[arg-type]  # any text may be typed; run() says what is allowed
        _show(terminal, results[-1])
    terminal.result(
        results[0].to_dict() if len(results) == 1 and not every else [r.to_dict() for r in results]
    )
    if not all(result.met for result in results):
        raise typer.Exit(MISSED)


def _list(terminal: Terminal, found: list[Reproduction]) -> None:
    from rich.table import Table

    terminal.result([{k: v for k, v in member.to_dict().items() if k != "venue"} for member in found])
    table = Table("row", "slug", "title", "venue", "claim", box=None, header_style="bold cyan")
    for member in found:
        table.add_row(str(member.row), member.slug, member.title, member.venue, member.claim)
    terminal.print(table)


def _show(terminal: Terminal, result: ReproductionResult) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("measured", "value", "bound", "", box=None, header_style="bold cyan")
    for figure in result.measured:
        verdict = Text("met", "green") if figure.met else Text("MISSED", "bold red")
        shown = Text("") if figure.bound == "reported" else verdict
        table.add_row(figure.name, f"{figure.value:.6g}", figure.bound, shown)
    terminal.print(table)
    terminal.line(result.verdict, f"in {result.seconds:.1f} s")
