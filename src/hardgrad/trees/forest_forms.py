"""The forms of a `Forest`: what `hardgrad export` and `hardgrad fit` write of it. Never imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from hardgrad.core.errors import ParameterError
from hardgrad.export.forms import Files, Form

if TYPE_CHECKING:
    from hardgrad.trees.forest import Forest


def forest_forms(forest: Forest) -> Mapping[str, Form]:
    """Return SQL, C, ONNX, JavaScript, text, DOT and SVG by name; the last three are for reading."""

    def in_sql(
        dialect: str = "duckdb", table: str = "data", rename: Mapping[str, str] | None = None
    ) -> Files:
        return {"model.sql": forest.to_sql(dialect, table=table, rename=dict(rename or {}))}

    def in_c(name: str = "model", form: str | None = None) -> Files:
        packed = getattr(forest, "packing", None) is not None
        return forest.to_c(name, form=form or ("packed" if packed else "double")).files()  # type: ignore[no-any-return]

    def in_dot(tree: int = 0) -> Files:
        return {"model.dot": forest.to_dot(_known_tree(forest, tree))}

    def in_svg(tree: int = 0) -> Files:
        return {"model.svg": forest.to_svg(_known_tree(forest, tree))}

    return {
        "sql": Form("SQL", in_sql, ("dialect", "table", "rename")),
        "c": Form("C", in_c, ("name", "form")),
        "onnx": Form("ONNX", lambda: {"model.onnx": forest.to_onnx()}),
        "js": Form("JavaScript", lambda: {"model.js": forest.to_javascript()}),
        "text": Form("text", lambda: {"model.txt": forest.to_text()}, shipped=False),
        "dot": Form("DOT", in_dot, ("tree",), shipped=False),
        "svg": Form("SVG", in_svg, ("tree",), shipped=False),
    }


def _known_tree(forest: Forest, tree: int) -> int:
    if not 0 <= tree < forest.n_trees:
        raise ParameterError(f"--tree got {tree}; the model has trees 0 to {forest.n_trees - 1}.")
    return tree
