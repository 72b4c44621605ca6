"""`hardgrad inspect`: what is in a model file."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hardgrad.cli.models import MODEL_FILE, ModelArgument, read_forest, read_model
from hardgrad.cli.terminal import JsonOption, QuietOption, Terminal

if TYPE_CHECKING:
    from hardgrad.tabular.table_model import TableModel
    from hardgrad.trees.forest import Forest


def inspect(
    model: ModelArgument,
    trees: Annotated[bool, typer.Option("--trees", help="Print every tree.")] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show what a model takes, what it gives and how large it is."""
    terminal = Terminal(as_json=as_json, quiet=quiet)
    found = read_model(model)
    facts = describe(found)
    path = model / MODEL_FILE if model.is_dir() else model
    terminal.result({"file": str(path), "file_bytes": path.stat().st_size, **facts})
    if not terminal.quiet:
        _show(terminal, found, facts, path)
        if trees:
            terminal.print(read_forest(model, "inspect --trees").to_text())


def describe(model: TableModel) -> dict[str, Any]:
    """Return the facts on a model in a form that `json` can write."""
    from hardgrad.trees.forest import Forest

    used = {model.schema.features[f].column for f in model.used_features()}
    return {
        "kind": model.kind,
        "schema_version": model.schema_version,
        "task": model.task,
        "target": model.target,
        "classes": list(model.classes),
        "link": model.link,
        **(_forest_facts(model) if isinstance(model, Forest) else _other_facts(model)),
        "columns": [
            {"name": c.name, "kind": c.kind, "categories": len(c.categories), "used": i in used}
            for i, c in enumerate(model.schema.columns)
        ],
        "features": [
            {"name": f.name, "column": model.schema.names[f.column], "transform": f.transform}
            for f in model.schema.features
        ],
    }


def _other_facts(model: TableModel) -> dict[str, Any]:
    return {**{plural(2, what).partition(" ")[2]: n for n, what in model.sizes()}, "facts": model.facts()}


def _forest_facts(forest: Forest) -> dict[str, Any]:
    from hardgrad.trees.forest import OBLIQUE

    return {
        "aggregation": forest.aggregation,
        "trees": forest.n_trees,
        "leaves": forest.n_leaves,
        "nodes": forest.n_nodes,
        "depth": forest.depth(),
        "oblique_nodes": int((forest.feature == OBLIQUE).sum()),
        "bytes": {what: n for n, what in forest.sizes()}["byte"],
    }


def packed_bytes(forest: Forest) -> int:
    """Return the bytes of data that the smallest C export of the forest carries."""
    from hardgrad.trees.packed import size_in_bytes

    return int(size_in_bytes(forest))


def size_text(model: TableModel) -> str:
    """Return "9 trees, 118 leaves, 1,954 bytes".

    >>> from hardgrad.trees import forest_from_trees
    >>> size_text(forest_from_trees([{"value": 1.0}], ["x"])).startswith("1 tree, 1 leaf, ")
    True
    """
    return ", ".join(plural(n, what) for n, what in model.sizes())


def plural(count: int, what: str) -> str:
    """Return "1 tree", "2 trees", "1,954 bytes".

    >>> plural(2, "leaf"), plural(1, "class"), plural(3, "category")
    ('2 leaves', '1 class', '3 categories')
    """
    from hardgrad.report.wording import noun_for

    return f"{count:,} {noun_for(count, what)}"


def _shape_text(facts: dict[str, Any]) -> str:
    if "nodes" not in facts:
        return ""
    oblique = facts["oblique_nodes"]
    inner = f"{facts['nodes'] - facts['leaves']:,} inner nodes" + (
        f", {oblique:,} of them oblique" if oblique else ""
    )
    return f"; depth {facts['depth']}, {inner}"


def _show(terminal: Terminal, model: TableModel, facts: dict[str, Any], path: Path) -> None:
    from rich.table import Table

    terminal.line("model", f"{path}  {path.stat().st_size:,} bytes on disk")
    terminal.line("size", size_text(model) + _shape_text(facts))
    target = facts["target"] or "(no name)"
    kinds = Counter(column["kind"] for column in facts["columns"])
    what = (
        f"{plural(len(facts['classes']), 'class')}: " + ", ".join(map(str, facts["classes"][:10]))
        if facts["classes"]
        else (f"regression, {plural(model.n_outputs, 'output')}")
    )
    terminal.line("target", f"{target}  {what}")
    answer = (
        f"{facts['aggregation']} of the trees" if "aggregation" in facts else model.kind.replace("-", " ")
    )
    terminal.line("answer", f"{answer}, link {facts['link']}")
    terminal.line(
        "columns",
        f"{len(facts['columns'])} (" + ", ".join(f"{n} {kind}" for kind, n in kinds.most_common()) + ")",
    )
    table = Table(
        "column",
        "kind",
        "categories",
        "used",
        "features",
        box=None,
        header_style="bold cyan",
        padding=(0, 2, 0, 0),
    )
    for column in facts["columns"]:
        features = [f["transform"] for f in facts["features"] if f["column"] == column["name"]]
        categories = f"{column['categories']:,}" if column["kind"] == "categorical" else ""
        table.add_row(
            column["name"], column["kind"], categories, "yes" if column["used"] else "no", ", ".join(features)
        )
    terminal.print(table)
