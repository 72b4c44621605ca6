"""Forest -> text that a person reads, and DOT. Thresholds are written exactly, leaf values rounded. Never imports torch."""

from __future__ import annotations

import numpy as np

from hardgrad.core.errors import ParameterError
from hardgrad.export.dot import digraph
from hardgrad.export.text import draw_tree, one_line
from hardgrad.tabular.schema import Feature, category_text
from hardgrad.trees.conditions import condition_text, number_text, seconds_to_datetime, weighted_text
from hardgrad.trees.forest import LEAF, Forest

MAX_STEPS = 24
"""Longer score tables are shown by their ends."""
DOT_COLORS = {"test": "#8a94a6", "low": "#b35806", "high": "#2166ac"}


def to_text(forest: Forest, *, digits: int = 4) -> str:
    """Return the trees as indented text in the units of the raw columns.

    Parameters
    ----------
    forest : the forest.
    digits : significant digits of leaf values; thresholds are always written so that they read back to the same double.

    Examples
    --------
    >>> from hardgrad.trees.forest_build import forest_from_trees
    >>> tree = {"feature": 0, "threshold": 1.5, "left": {"value": 0.0}, "right": {"value": 2.0}}
    >>> print(to_text(forest_from_trees([tree], ["age"])))
    regression: 1 tree, 2 leaves
    prediction = the leaf of the tree
    <BLANKLINE>
    tree 0
    age <= 1.5
    ├─ yes: 0
    └─ no:  2
    <BLANKLINE>
    """
    parts = [_heading(forest, digits)]
    for tree in range(forest.n_trees):
        parts.append("\n".join([f"tree {tree}", *_tree_lines(forest, tree, digits)]))
    if len(forest.scored_features):
        parts.append(_score_text(forest))
    return "\n\n".join(parts) + "\n"


def to_dot(forest: Forest, tree: int = 0, *, digits: int = 4) -> str:
    """Return one tree in the DOT language of Graphviz.

    Parameters
    ----------
    forest : the forest.
    tree : number of the tree, from 0.
    digits : significant digits of leaf values.

    Raises
    ------
    ParameterError : there is no such tree.

    Examples
    --------
    >>> from hardgrad.trees.forest_build import forest_from_trees
    >>> tree = {"feature": 0, "threshold": 1.5, "left": {"value": 0.0}, "right": {"value": 2.0}}
    >>> to_dot(forest_from_trees([tree], ["age"])).splitlines()[0]
    'digraph "tree 0" {'
    """
    first, last = tree_span(forest, tree)
    nodes, edges = [], []
    for node in range(first, last):
        name = f"n{node - first}"
        if forest.feature[node] == LEAF:
            label = one_line(leaf_text(forest, node, digits), 140)
            color = DOT_COLORS["low" if forest.value[node].sum() < 0 else "high"]
            nodes.append((name, {"label": label, "shape": "box", "style": "rounded", "color": color}))
            continue
        nodes.append((name, {"label": one_line(condition_text(forest, node, categories=4), 70)}))
        for child, word in ((forest.left[node], "yes"), (forest.right[node], "no")):
            edges.append((name, f"n{child - first}", {"label": word}))
    font = {"fontname": "Helvetica", "fontsize": "11"}
    return digraph(
        f"tree {tree}",
        nodes,
        edges,
        graph={"bgcolor": "transparent", "nodesep": "0.15", "ranksep": "0.35"},
        node={"shape": "plaintext", "margin": "0.08,0.04", **font},
        edge={"color": DOT_COLORS["test"], "fontcolor": DOT_COLORS["test"], "arrowsize": "0.6", **font},
    )


def tree_span(forest: Forest, tree: int) -> tuple[int, int]:
    """Return the first node of a tree and the one after its last. Raises `ParameterError` where there is no such tree."""
    if not 0 <= tree < forest.n_trees:
        has = f"trees 0 to {forest.n_trees - 1}" if forest.n_trees else "no trees"
        raise ParameterError(f"there is no tree {tree}; the forest has {has}.")
    return int(forest.tree_offset[tree]), int(forest.tree_offset[tree + 1])


def leaf_text(forest: Forest, node: int, digits: int = 4) -> str:
    """Return what a leaf gives: a number, or numbers in brackets; signed where it is added to a score; with its slopes, if any."""
    texts = [short_number(float(v), digits, signed=_signed(forest)) for v in forest.value[node]]
    if forest.has_slopes:
        texts = [text + _slope_text(forest, node, k, digits) for k, text in enumerate(texts)]
    return texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]"


def _slope_text(forest: Forest, node: int, output: int, digits: int) -> str:
    features = np.flatnonzero(forest.leaf_slope[node, output]).tolist()
    text = weighted_text(forest, features, forest.leaf_slope[node, output, features].tolist(), digits)
    return "" if not text else f" - {one_line(text[1:])}" if text.startswith("-") else f" + {one_line(text)}"


def short_number(value: float, digits: int = 4, *, signed: bool = False) -> str:
    """Return a number rounded to significant digits, with a sign if asked for.

    >>> short_number(1234.5678), short_number(0.5, signed=True), short_number(-1e-7), short_number(250000.0)
    ('1235', '+0.5', '-1e-07', '250000')
    """
    text = f"{value:.{digits}g}"
    if "e+" in text and abs(value) < 1e9:
        text = f"{value:.0f}"
    return f"+{text}" if signed and value >= 0 else text


def _signed(forest: Forest) -> bool:
    return forest.aggregation == "sum" and (forest.n_trees > 1 or forest.task == "classification")


def _heading(forest: Forest, digits: int) -> str:
    what = forest.task + (f" of {one_line(forest.target)}" if forest.target else "")
    sizes = f"{forest.n_trees} tree{'s' * (forest.n_trees != 1)}, {forest.n_leaves} lea{'ves' if forest.n_leaves != 1 else 'f'}"
    lines = [f"{what}: {sizes}"]
    if forest.classes:
        lines.append("classes: " + ", ".join(one_line(repr(label)) for label in forest.classes))
    return "\n".join([*lines, *_formula(forest, digits)])


def _formula(forest: Forest, digits: int) -> list[str]:
    """How leaves become an answer, in words and signs."""
    each = "the leaf of the tree" if forest.n_trees == 1 else "the sum of one leaf of each tree"
    base = [short_number(float(b), digits) for b in forest.base]
    zero = not np.any(forest.base)
    start = "" if zero else (base[0] if len(base) == 1 else f"[{', '.join(base)}]") + " + "
    score = start + each if forest.n_trees else start.removesuffix(" + ") or "0"
    if forest.aggregation == "mean" and forest.n_trees > 1:
        score = f"({score}) / {forest.n_trees}"
    if forest.task == "regression":
        return [f"prediction = {score}"]
    if forest.link == "sigmoid":
        label = one_line(category_text(forest.classes[1]))
        return [
            f"score = {score}",
            f"probability of {label!r} = 1 / (1 + exp(-score)); predicted where score > 0",
        ]
    if forest.link == "softmax":
        return [
            f"scores = {score}",
            "probability of a class = exp(its score) / sum of exp(scores); the highest is predicted",
        ]
    return [f"probabilities = {score}; the class with the highest is predicted"]


def _tree_lines(forest: Forest, tree: int, digits: int) -> list[str]:
    def children(node: int) -> list[tuple[str, int]]:
        inner = forest.feature[node] != LEAF
        return [("yes", int(forest.left[node])), ("no", int(forest.right[node]))] if inner else []

    def label(node: int) -> str:
        leaf = forest.feature[node] == LEAF
        return leaf_text(forest, node, digits) if leaf else one_line(condition_text(forest, node))

    return draw_tree(int(forest.tree_offset[tree]), children, label)


# --- scores of oblique nodes ----------------------------------------------------------------------------------------------------
def _score_text(forest: Forest) -> str:
    lines = ["scores (0 where the column is missing, unless it is asked whether it is)"]
    for f in forest.scored_features.tolist():
        feature = forest.schema.features[f]
        lines.append(f"score({one_line(feature.name)}): {_steps(forest, f, feature)}")
    return "\n".join(lines)


def _steps(forest: Forest, f: int, feature: Feature) -> str:
    column = forest.schema.columns[feature.column]
    cuts = forest.cut[forest.cut_offset[f] : forest.cut_offset[f + 1]]
    scores = forest.score[forest.cut_offset[f] + f : forest.cut_offset[f + 1] + f + 1].tolist()

    def at(value: float) -> int:
        return int(scores[int(np.searchsorted(cuts, value, side="left"))])

    if feature.transform == "missing":
        pieces = [f"{at(0.0)} if present", f"{at(1.0)} if missing"]
    elif feature.transform == "codes":
        names = [*(one_line(repr(name)) for name in column.categories), "unseen"]
        pieces = [f"{name} {at(code)}" for name, code in zip(names, feature.codes, strict=True)]
    elif column.kind == "boolean":
        pieces = [f"false {at(0.0)}", f"true {at(1.0)}"]
    else:
        names = [_cut_text(column.kind, float(cut)) for cut in cuts]
        pieces = [f"{score} up to {name}" for score, name in zip(scores[:-1], names, strict=True)]
        pieces.append(f"{scores[-1]} above" if names else f"{scores[-1]}")
    if len(pieces) > MAX_STEPS:
        hidden = len(pieces) - MAX_STEPS
        pieces = [*pieces[: MAX_STEPS // 2], f"... {hidden} more ...", *pieces[-MAX_STEPS // 2 :]]
    return ", ".join(pieces)


def _cut_text(kind: str, value: float) -> str:
    time = seconds_to_datetime(value) if kind == "datetime" else None
    return number_text(value) if time is None else str(time.replace(tzinfo=None)).removesuffix(" 00:00:00")
