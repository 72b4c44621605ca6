"""`hardgrad inspect`: what is in a model file."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hardgrad.cli.models import MODEL_FILE, ModelArgument, read_model
from hardgrad.cli.terminal import JsonOption, QuietOption, Terminal

if TYPE_CHECKING:
    from hardgrad.trees.forest import Forest


def inspect(
    model: ModelArgument,
    trees: Annotated[bool, typer.Option("--trees", help="Print every tree.")] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show what a model takes, what it gives and how large it is."""
    terminal = Terminal(as_json=as_json, quiet=quiet)
    forest = read_model(model)
    facts = describe(forest)
    path = model / MODEL_FILE if model.is_dir() else model
    terminal.result({"file": str(path), "file_bytes": path.stat().st_size, **facts})
    if not terminal.quiet:
        _show(terminal, forest, facts, path)
        if trees:
            terminal.print(forest.to_text())


def describe(forest: Forest) -> dict[str, Any]:
    """Return the facts on a forest in a form that `json` can write."""
    used = {forest.schema.features[f].column for f in forest.used_features()}
    return {
        "kind": forest.kind,
        "schema_version": forest.schema_version,
        "task": forest.task,
        "target": forest.target,
        "classes": list(forest.classes),
        "link": forest.link,
        "aggregation": forest.aggregation,
        "trees": forest.n_trees,
        "leaves": forest.n_leaves,
        "nodes": forest.n_nodes,
        "depth": forest.depth(),
        "oblique_nodes": int((forest.feature == -2).sum()),
        "bytes": packed_bytes(forest),
        "columns": [
            {"name": c.name, "kind": c.kind, "categories": len(c.categories), "used": i in used}
            for i, c in enumerate(forest.schema.columns)
        ],
        "features": [
            {"name": f.name, "column": forest.schema.names[f.column], "transform": f.transform}
            for f in forest.schema.features
        ],
    }


def packed_bytes(forest: Forest) -> int:
    """Return the bytes of data that the smallest C export of the forest carries."""
    from hardgrad.trees.packed import size_in_bytes

    return int(size_in_bytes(forest))


def size_text(forest: Forest) -> str:
    """Return "9 trees, 118 leaves, 1,954 bytes".

    >>> from hardgrad.trees import forest_from_trees
    >>> size_text(forest_from_trees([{"value": 1.0}], ["x"])).startswith("1 tree, 1 leaf, ")
    True
    """
    return ", ".join(plural(n, what) for n, what in _sizes(forest))


def _sizes(forest: Forest) -> list[tuple[int, str]]:
    return [(forest.n_trees, "tree"), (forest.n_leaves, "leaf"), (packed_bytes(forest), "byte")]


def plural(count: int, what: str) -> str:
    """Return "1 tree", "2 trees", "1,954 bytes".

    >>> plural(2, "leaf"), plural(1, "class"), plural(3, "category")
    ('2 leaves', '1 class', '3 categories')
    """
    irregular = {"leaf": "leaves", "class": "classes", "category": "categories"}
    return f"{count:,} {what if count == 1 else irregular.get(what, what + 's')}"


def _show(terminal: Terminal, forest: Forest, facts: dict[str, Any], path: Path) -> None:
    from rich.table import Table

    terminal.line("model", f"{path}  {path.stat().st_size:,} bytes on disk")
    oblique = facts["oblique_nodes"]
    nodes = f"{facts['nodes'] - facts['leaves']:,} inner nodes" + (
        f", {oblique:,} of them oblique" if oblique else ""
    )
    terminal.line("size", f"{size_text(forest)}; depth {facts['depth']}, {nodes}")
    target = facts["target"] or "(no name)"
    kinds = Counter(column["kind"] for column in facts["columns"])
    what = (
        f"{plural(len(facts['classes']), 'class')}: " + ", ".join(map(str, facts["classes"][:10]))
        if facts["classes"]
        else (f"regression, {plural(forest.n_outputs, 'output')}")
    )
    terminal.line("target", f"{target}  {what}")
    terminal.line("answer", f"{facts['aggregation']} of the trees, link {facts['link']}")
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
