"""Trees for people: text, DOT and SVG say what the forest does, for every kind of forest and any name."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from hardgrad.core.errors import ParameterError
from hardgrad.tabular.schema import Column, Feature, TableSchema
from hardgrad.trees import Forest, forest_from_trees
from hardgrad.trees.export_svg import count_rows, to_svg
from hardgrad.trees.export_text import to_dot, to_text
from hardgrad.trees.forest import LEAF
from hardgrad.trees.probe import generate_rows, random_forest

SVG = "{http://www.w3.org/2000/svg}"
CASES = {
    "binary": random_forest(1, n_trees=6, max_depth=4),
    "nine classes": random_forest(2, n_trees=3, n_outputs=9),
    "averaged probabilities": random_forest(3, n_trees=7, n_outputs=4, link="identity", aggregation="mean"),
    "regression": random_forest(4, n_trees=1, task="regression"),
    "five targets": random_forest(5, n_trees=2, n_outputs=5, task="regression", aggregation="mean"),
    "single leaves": random_forest(6, n_trees=3, max_depth=0),
    "hostile names": random_forest(
        7, n_trees=3, columns=[Column("a\nb\x00<&>\"'"), Column("\u202e{|}", "categorical", ("", "\\n", "]]>"))], classes=("<b>", "a\nb")
    ),
}  # fmt: skip


def small_forest() -> Forest:
    schema = TableSchema(
        (Column("age"), Column("state", "categorical", ("CA", "NY", "TX")), Column("since", "datetime"), Column("old", "boolean")),
        (
            Feature("age", 0), Feature("state", 1, "codes", (0.1, 0.2, 0.3, 0.15)), Feature("since", 2), Feature("old", 3),
            Feature("state is missing", 1, "missing"),
        ),
    )  # fmt: skip
    since = {"feature": 2, "threshold": 86400.0, "left": {"value": -0.25}, "right": {"value": 3.0}}
    state = {"feature": 1, "threshold": 0.15, "left": since, "right": {"value": 0.125}, "default_left": True}
    oblique = {"terms": [(0, 2), (4, -1)], "threshold": 7, "left": {"value": 1.0}, "right": {"value": 2.0}}
    tables = {
        0: (np.array([20.5, 60.0]), np.array([-5, 0, 5], dtype=np.int32)),
        4: (np.array([0.5]), np.array([0, 9], dtype=np.int32)),
    }
    output = {"link": "sigmoid", "task": "classification", "classes": (False, True), "target": "pays"}
    return forest_from_trees([state, oblique], schema, base=[0.5], score_tables=tables, **output)


def test_text_reads_like_rules() -> None:
    assert to_text(small_forest()) == (
        """classification of pays: 2 trees, 5 leaves
classes: False, True
score = 0.5 + the sum of one leaf of each tree
probability of 'true' = 1 / (1 + exp(-score)); predicted where score > 0

tree 0
state in {'CA', unseen, missing}
├─ yes: since <= 1970-01-02
│  ├─ yes: -0.25
│  └─ no:  +3
└─ no:  +0.125

tree 1
2 * score(age) - score(state is missing) <= 7
├─ yes: +1
└─ no:  +2

scores (0 where the column is missing, unless it is asked whether it is)
score(age): -5 up to 20.5, 0 up to 60, 5 above
score(state is missing): 0 if present, 9 if missing
"""
    )


@pytest.mark.parametrize("case", CASES)
def test_text_shows_every_leaf_of_every_forest(case: str) -> None:
    forest = CASES[case]
    lines = to_text(forest).splitlines()
    assert all(line.isprintable() for line in lines)
    assert sum(bool(re.search(r"(─ (yes|no): |^)\s*\[?[+-]?\d", line)) for line in lines) >= forest.n_leaves


def test_an_empty_forest_and_long_tables_have_text() -> None:
    assert "scores = [" in to_text(random_forest(8, n_trees=0, n_outputs=3))
    cuts = np.arange(100.0)
    node = {"terms": [(0, 1)], "threshold": 5, "left": {"value": 0.0}, "right": {"value": 1.0}}
    forest = forest_from_trees([node], ["x"], score_tables={0: (cuts, np.arange(101, dtype=np.int32))})
    assert "... 77 more ..." in to_text(forest) and "100 above" in to_text(forest)


@pytest.mark.parametrize("case", CASES)
def test_dot_has_a_node_and_an_edge_for_each(case: str) -> None:
    forest = CASES[case]
    text = to_dot(forest, forest.n_trees - 1)
    nodes = int(forest.tree_offset[-1] - forest.tree_offset[-2])
    assert text.count(" -> ") == nodes - 1
    assert len(re.findall(r"^  n\d+ \[label=", text, re.M)) == nodes
    assert text.count("\n") == 2 * nodes + 4 and re.sub(r'\\.|"(\\.|[^"\\])*"', "", text).count('"') == 0


@pytest.mark.parametrize("counted", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_svg_is_valid_and_has_every_node_once(case: str, counted: bool) -> None:
    forest = CASES[case]
    rows = count_rows(forest, generate_rows(forest, 500)) if counted else None
    root = ET.fromstring(to_svg(forest, forest.n_trees - 1, rows=rows))
    groups = root.findall(f"{SVG}g")
    nodes = int(forest.tree_offset[-1] - forest.tree_offset[-2])
    assert len(groups) == nodes and len(root.findall(f"{SVG}path")) == nodes - 1
    titles = [group.findtext(f"{SVG}title") or "" for group in groups]
    assert [int(re.match(r"(?:node|leaf) (\d+): ", title).group(1)) for title in titles] == list(  # type: ignore[union-attr]
        range(forest.tree_offset[-2], forest.n_nodes)
    )
    assert all(title.splitlines()[-1].endswith("%") for title in titles) is counted


def test_svg_says_what_a_node_asks() -> None:
    root = ET.fromstring(to_svg(small_forest(), 0))
    lines = [[text.text for text in group.findall(f"{SVG}text")] for group in root.findall(f"{SVG}g")]
    assert lines == [
        ["state", "in CA, unseen, missing"],
        ["since", "≤ 1970-01-02"],
        ["−0.25"],
        ["+3"],
        ["+0.125"],
    ]
    assert [group.get("class") for group in root.findall(f"{SVG}g")][2:] == ["low", "high", "high"]
    oblique = ET.fromstring(to_svg(small_forest(), 1)).findall(f"{SVG}g")[0]
    assert [t.text for t in oblique.findall(f"{SVG}text")] == [
        "a sum of scores",
        "+2 · age",
        "−1 · state is missing",
        "≤ 7",
    ]


def test_counts_are_those_of_the_paths() -> None:
    forest = random_forest(3, n_trees=4, max_depth=6)
    rows = generate_rows(forest, 300)
    counts = count_rows(forest, rows)
    assert all(counts[root] == 300 for root in forest.tree_offset[:-1])
    inner = forest.feature != LEAF
    assert np.array_equal(counts[inner], counts[forest.left[inner]] + counts[forest.right[inner]])
    paths = [node for row in range(20) for path in forest.decision_path(rows, row) for node in path]
    few = count_rows(forest, {name: values[:20] for name, values in rows.items()})
    assert np.array_equal(few, np.bincount(paths, minlength=forest.n_nodes))


def test_bands_are_as_thick_as_their_share() -> None:
    forest = forest_from_trees(
        [{"feature": 0, "threshold": 0.0, "left": {"value": 0.0}, "right": {"value": 2.0}}], ["x"]
    )
    root = ET.fromstring(to_svg(forest, rows=np.array([100, 75, 25])))
    left, right = (float(path.get("stroke-width", "")) for path in root.findall(f"{SVG}path"))
    assert left == pytest.approx(3 * right)


@pytest.mark.parametrize("draw", [to_dot, to_svg])
def test_a_tree_that_is_not_there_is_named(draw: object) -> None:
    for tree in (-1, 2):
        with pytest.raises(ParameterError, match=f"no tree {tree}; the forest has trees 0 to 1"):
            draw(small_forest(), tree)  # type: ignore[operator]
    with pytest.raises(ParameterError, match="no trees"):
        draw(random_forest(1, n_trees=0), 0)  # type: ignore[operator]
    with pytest.raises(ParameterError, match="3 entries"):
        to_svg(small_forest(), rows=np.zeros(3))
