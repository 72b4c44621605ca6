"""Forest -> a drawing of one tree, as SVG. What stands in the boxes is said here, how it is drawn in `hardgrad.export.svg`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import ParameterError
from hardgrad.export.svg import MAX_WIDTH, Box, draw, shorten, text_width
from hardgrad.tabular.schema import Column, Feature, category_text
from hardgrad.trees.conditions import condition_text, number_text, seconds_to_datetime
from hardgrad.trees.export_text import leaf_text, short_number, tree_span
from hardgrad.trees.forest import LEAF, LINEAR, OBLIQUE, Forest

CLASS_TONES = 8
MAX_SHOWN_OUTPUTS = 3
MAX_CATEGORY_LINES = 3
MAX_SHOWN_TERMS = 4


def to_svg(
    forest: Forest,
    tree: int = 0,
    *,
    rows: NDArray[Any] | None = None,
    standalone: bool = True,
    title: str | None = None,
) -> str:
    """Return a drawing of one tree as a self-contained SVG for light and dark surfaces.

    The tree grows from left to right; the upper branch is where the condition holds. Colours are custom properties (`--hg-low`,
    `--hg-high`, `--hg-band`, `--hg-0` .. `--hg-7` for classes) with defaults; a standalone drawing has them for both schemes.

    Parameters
    ----------
    forest : the forest.
    tree : number of the tree, from 0.
    rows : number of rows that pass each node of the forest, [nodes] (see `count_rows`); bands are then as thick as their share.
    standalone : True for a file of its own, False to stand in a page and take its text colour and custom properties from there.
    title : what the picture is called; made from the forest by default.

    Raises
    ------
    ParameterError : there is no such tree, or `rows` has another length.

    Examples
    --------
    >>> from hardgrad.trees.forest_build import forest_from_trees
    >>> tree = {"feature": 0, "threshold": 1.5, "left": {"value": 0.0}, "right": {"value": 2.0}}
    >>> to_svg(forest_from_trees([tree], ["age"])).startswith("<svg")
    True
    """
    first, last = tree_span(forest, tree)
    if rows is not None and len(rows) != forest.n_nodes:
        raise ParameterError(
            f"rows has {len(rows)} entries, the forest {forest.n_nodes} nodes; see count_rows()."
        )
    tones = _tones(forest)
    counts = None if rows is None else np.asarray(rows, dtype=np.float64)
    boxes = [_box(forest, node, first, counts, tones) for node in range(first, last)]
    heading = title or f"Tree {tree} of {forest.n_trees}" + (f" for {forest.target}" if forest.target else "")
    return draw(boxes, title=heading, caption=_caption(forest, counts is not None), standalone=standalone)


def count_rows(forest: Forest, table: Any) -> NDArray[np.int64]:
    """Return how many rows of a table pass each node: int64 [nodes]."""
    leaves = forest.apply(table)
    counts = np.bincount(leaves.ravel(), minlength=forest.n_nodes).astype(np.int64)
    for node in range(forest.n_nodes - 1, -1, -1):  # children follow their parents
        if forest.left[node] >= 0:
            counts[node] = counts[forest.left[node]] + counts[forest.right[node]]
    return counts


def _box(forest: Forest, node: int, first: int, counts: NDArray[np.float64] | None, tones: _Tones) -> Box:
    leaf = forest.feature[node] == LEAF
    share = None if counts is None else float(counts[node] / counts[first]) if counts[first] else 0.0
    note = "" if counts is None or share is None else f"\n{counts[node]:,.0f} rows, {share:.1%}"
    tone, shade = tones.of(node)
    if leaf:
        lines = _leaf_lines(forest, node)
        return Box(
            lines, f"leaf {node}: {leaf_text(forest, node, 6)}{note}", weight=share, tone=tone, shade=shade
        )
    children = (int(forest.left[node]) - first, int(forest.right[node]) - first)
    about = f"node {node}: {condition_text(forest, node, categories=30)}{note}"
    return Box(_test_lines(forest, node), about, children, ("yes", "no"), weight=share)


# --- what stands in a box ---------------------------------------------------------------------------------------------------
def _leaf_lines(forest: Forest, node: int) -> tuple[str, ...]:
    values = forest.value[node]
    if len(values) == 1 or forest.task == "regression":
        shown = [
            short_number(float(v), 3, signed=leaf_text(forest, node).startswith(("+", "[+"))) for v in values
        ]
        more = [f"… {len(shown) - MAX_SHOWN_OUTPUTS} more"] if len(shown) > MAX_SHOWN_OUTPUTS else []
        affine = ("+ slopes",) if forest.has_slopes and forest.leaf_slope[node].any() else ()
        return (", ".join([*shown[:MAX_SHOWN_OUTPUTS], *more]).replace("-", "−"), *affine)
    best = int(np.argmax(values))
    label = shorten(category_text(forest.classes[best]), 120.0, bold=True)
    value = short_number(float(values[best]), 3, signed=forest.aggregation == "sum")
    return (f"{label}  {value.replace('-', '−')}",)


def _test_lines(forest: Forest, node: int) -> tuple[str, ...]:
    if forest.feature[node] == OBLIQUE:
        return _oblique_lines(forest, node)
    if forest.feature[node] == LINEAR:
        return _linear_lines(forest, node)
    feature = forest.schema.features[forest.feature[node]]
    column = forest.schema.columns[feature.column]
    threshold = float(forest.threshold[node])
    if feature.transform == "codes":
        missing_left = bool(forest.default_left[node])
        return (shorten(column.name, bold=True), *_category_lines(column, feature, threshold, missing_left))
    rest = condition_text(forest, node).removeprefix(column.name).strip()
    if feature.transform == "identity" and (column.kind == "numeric" or not rest.startswith("is")):
        time = seconds_to_datetime(threshold) if column.kind == "datetime" else None
        text = short_number(threshold, 5) if time is None else str(time.replace(tzinfo=None))
        rest = f"≤ {text.removesuffix(' 00:00:00').replace('-', '−') if time is None else text.removesuffix(' 00:00:00')}"
        rest += " or missing" if forest.default_left[node] else ""
    lines = [rest]
    if rest.endswith(" or missing") and text_width(rest) > MAX_WIDTH:
        lines = [rest.removesuffix(" or missing"), "or missing"]
    return (shorten(column.name, bold=True), *map(shorten, lines))


def _category_lines(column: Column, feature: Feature, threshold: float, missing_left: bool) -> list[str]:
    """The categories of the smaller side, in up to three lines."""
    named = list(zip((*column.categories, None), feature.codes, strict=True))
    left = [name for name, code in named if code <= threshold]
    right = [name for name, code in named if not code <= threshold]
    inside = len(left) <= len(right)
    side = left if inside else right
    words = [shorten(_quoted(name), 170.0) for name in side if name is not None]
    words += ["unseen"] * (None in side) + ["missing"] * (missing_left == inside)
    lines: list[str] = []
    verbs = ("is", "is not") if len(words) == 1 else ("in", "not in")
    line, shown = verbs[0 if inside else 1], 0
    for k, word in enumerate(words):
        piece = word + ("," if k + 1 < len(words) else "")
        if text_width(f"{line} {piece}") > MAX_WIDTH:
            if len(lines) + 1 == MAX_CATEGORY_LINES:
                break
            lines.append(line)
            line = piece
        else:
            line = f"{line} {piece}"
        shown += 1
    hidden = len(words) - shown
    if hidden:
        return [*lines, f"{line} +{hidden} more"]
    return [*lines, line if words else f"{line} (nothing)"]


def _quoted(name: str) -> str:
    """A category as it is; in quotes where its ends would not be seen."""
    return name if name and name == name.strip() else f'"{name}"'


def _oblique_lines(forest: Forest, node: int) -> tuple[str, ...]:
    """A line a term, the heaviest first; scores are whole numbers that rise or fall with their column."""
    terms = range(int(forest.term_offset[node]), int(forest.term_offset[node + 1]))
    lines = []
    for i in sorted(terms, key=lambda i: -abs(int(forest.term_weight[i]))):
        weight, name = int(forest.term_weight[i]), forest.schema.features[forest.term_feature[i]].name
        lines.append(shorten(f"{'−' if weight < 0 else '+'}{abs(weight)} · {name}"))
    limit = number_text(float(forest.threshold[node])).replace("-", "−")
    return ("a sum of scores", *lines, f"≤ {limit}")


def _linear_lines(forest: Forest, node: int) -> tuple[str, ...]:
    """A line each for the heaviest terms, and how many there are beside."""
    terms = np.arange(int(forest.term_offset[node]), int(forest.term_offset[node + 1]))
    terms = terms[np.argsort(-np.abs(forest.linear_weight[terms]), kind="stable")]
    lines = []
    for i in terms[:MAX_SHOWN_TERMS].tolist():
        weight, name = float(forest.linear_weight[i]), forest.schema.features[forest.term_feature[i]].name
        lines.append(shorten(f"{'−' if weight < 0 else '+'}{short_number(abs(weight), 3)} · {name}"))
    if len(terms) > MAX_SHOWN_TERMS:
        lines.append(f"… {len(terms) - MAX_SHOWN_TERMS} more")
    limit = short_number(float(forest.threshold[node]), 5).replace("-", "−")
    return ("a weighted sum", *lines, f"≤ {limit}")


def _caption(forest: Forest, counted: bool) -> str:
    parts = ["The upper branch is taken where the condition holds."]
    if counted:
        parts.append("Bands are as thick as their share of the rows.")
    if forest.task == "classification" and forest.n_outputs == 1:
        parts.append(f"Positive leaves speak for {category_text(forest.classes[1])}.")
    return " ".join(parts)


# --- colours ----------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Tones:
    """Colours of leaves, on one scale for the whole forest: two for numbers, one a class for several classes."""

    forest: Forest
    middle: float
    reach: float

    def of(self, node: int) -> tuple[str, float]:
        """Return the tone of a node and how full it is, 0 to 1."""
        if self.forest.feature[node] != LEAF:
            return "test", 1.0
        values = self.forest.value[node]
        if self.forest.n_outputs > 1 and self.forest.task == "classification":
            best = int(np.argmax(values))
            return f"class-{best % CLASS_TONES}", min(
                1.0, float(np.max(values) - np.mean(values)) / self.reach
            )
        distance = float(values[0]) - self.middle
        return ("low" if distance < 0 else "high"), min(1.0, abs(distance) / self.reach)


def _tones(forest: Forest) -> _Tones:
    values = forest.value[forest.feature == LEAF]
    if forest.n_outputs > 1 and forest.task == "classification":
        spread = values.max(axis=1) - values.mean(axis=1)
        return _Tones(forest, 0.0, float(spread.max(initial=0.0)) or 1.0)
    first = values[:, 0]
    mixed = bool(first.min() < 0 < first.max())
    middle = 0.0 if mixed else float(np.median(first))
    # The most extreme tenth is fully coloured: a single outlier does not pale the rest.
    return _Tones(forest, middle, float(np.quantile(np.abs(first - middle), 0.9)) or 1.0)
