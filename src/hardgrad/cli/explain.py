"""`hardgrad explain`: why one row gets its answer, and what would change it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from hardgrad.cli.models import ModelArgument, RenameOption, parse_renames, read_forest
from hardgrad.cli.tables import TableArgument, read_scoring_table
from hardgrad.cli.terminal import JsonOption, QuietOption, Terminal

if TYPE_CHECKING:
    from hardgrad.trees.counterfactual import Counterfactual
    from hardgrad.trees.explanation import Explanation


def explain(
    model: ModelArgument,
    table: TableArgument,
    row: Annotated[int, typer.Option("--row", help="Which row of the table, from 0.", show_default=False)],
    to: Annotated[
        str | None, typer.Option("--to", help="Class, or value of a regression, that the change must reach.")
    ] = None,
    keep: Annotated[
        list[str] | None, typer.Option("--keep", help="Column that may not change. Repeatable.")
    ] = None,
    rename: RenameOption = None,
    time_budget: Annotated[
        float, typer.Option(help="Seconds for the search of the nearest other answer.")
    ] = 5.0,
    paths: Annotated[
        bool, typer.Option("--paths/--no-paths", help="Show the path through every tree.")
    ] = True,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show the path through every tree, each column's exact contribution, and the smallest change that changes the answer."""
    from hardgrad.trees.explanation import explain as explain_row

    terminal = Terminal(as_json=as_json, quiet=quiet)
    forest = read_forest(model, "explain")
    data = read_scoring_table(table, parse_renames(rename))
    reason = explain_row(forest, data, row, to=to, keep=tuple(keep or ()), time_budget=time_budget)
    terminal.result(reason.to_dict())
    if terminal.quiet:
        return
    if paths:
        _show_paths(terminal, reason)
    _show_answer(terminal, reason)
    _show_contributions(terminal, reason)
    _show_counterfactual(terminal, reason)


def _show_answer(terminal: Terminal, reason: Explanation) -> None:
    from hardgrad.trees.conditions import value_text

    chances = ""
    if reason.probabilities is not None:
        chances = "  " + ", ".join(f"{label} {100 * p:.1f} %" for label, p in reason.probabilities.items())
    terminal.line(f"row {reason.row_number}", f"{value_text(reason.prediction)}{chances}")


def _show_paths(terminal: Terminal, reason: Explanation) -> None:
    from rich.text import Text

    for path in reason.paths:
        value = ", ".join(f"{v:+.4f}" for v in path.value)
        terminal.print(Text(f"tree {path.tree}  leaf {path.leaf}  {value}", style="bold"))
        for step in path.steps:
            mark, style = ("yes", "green") if step.holds else ("no ", "red")
            terminal.print(Text.assemble("  ", (mark, style), f"  {step.condition}"))


def _show_contributions(terminal: Terminal, reason: Explanation) -> None:
    from rich.table import Table

    from hardgrad.trees.conditions import value_text

    expected, amounts, score = reason.shown()
    table = Table(reason.output_name, "", "", box=None, header_style="bold cyan", padding=(0, 2, 0, 0))
    table.add_row(expected, f"expected: mean over {reason.background_rows:,} rows of the table", "")
    for contribution in reason.contributions:
        table.add_row(amounts[contribution.column], contribution.column, value_text(contribution.value))
    table.add_row(score, "this row: the exact sum of the lines above", "", style="bold")
    terminal.print(table)


def _show_counterfactual(terminal: Terminal, reason: Explanation) -> None:
    found = reason.counterfactual
    if found is None:
        terminal.line("change", reason.note)
        return
    terminal.line("change", _counterfactual_text(found))
    for change in found.changes:
        terminal.print(f"  {change}  ({change.cost:.4g})")


def _counterfactual_text(found: Counterfactual) -> str:
    from hardgrad.trees.conditions import value_text

    if not found.found:
        if found.proven:
            return f"no change of this row gives {found.wish}: proven"
        return f"none found in time for {found.wish}; there is none nearer than {found.bound:.4g} (distance)"
    proof = (
        "the smallest there is: proven"
        if found.proven
        else f"best in time; none is nearer than {found.bound:.4g}"
    )
    return f"for {found.wish}: distance {found.distance:.4g}, {proof}; the answer becomes {value_text(found.prediction)}"
