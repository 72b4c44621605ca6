"""Trees as text: what is read means exactly what it says, what is printed reads back, and what is wrong is told where it is."""

from __future__ import annotations

import json
import math
import operator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_breast_cancer
from sklearn.tree import DecisionTreeClassifier

from hardgrad.core.errors import ExportError, TreeTextError
from hardgrad.trees import SoftForestClassifier, TreeText, forest_from_texts, forest_from_trees, import_forest
from hardgrad.trees.probe import random_forest

OPERATORS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
OPPOSITE = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}
NAMES = ("age", "income", "value", 'a "b"\\ é')
doubles = st.floats(allow_nan=False, allow_infinity=False)
leaves = st.builds(
    TreeText,
    value=st.one_of(doubles, st.lists(doubles, min_size=1, max_size=3).map(tuple), st.text(max_size=5)),
)
trees = st.recursive(
    leaves,
    lambda inner: st.builds(
        TreeText, feature=st.sampled_from(NAMES), threshold=st.floats(allow_nan=False), left=inner, right=inner,
        missing_left=st.booleans(),
    ),
    max_leaves=12,
)  # fmt: skip


@settings(deadline=None, max_examples=150)
@given(trees)
def test_what_is_printed_reads_back(tree: TreeText) -> None:
    for text in (str(tree), tree.to_json(indent=2)):
        assert TreeText.parse(text, attributes=NAMES, max_depth=tree.depth) == tree
    assert TreeText.from_dict(tree.to_dict()) == tree
    assert sum(part.is_leaf for part in tree.walk()) == sum(not part.is_leaf for part in tree.walk()) + 1
    if not tree.is_leaf:
        with pytest.raises(TreeTextError, match="deeper") as caught:
            TreeText.parse(str(tree), max_depth=tree.depth - 1)
        assert caught.value.reason == "depth"


@settings(deadline=None, max_examples=150)
@given(doubles, st.sampled_from(sorted(OPERATORS)), st.booleans(), doubles)
def test_every_operator_means_exactly_what_it_says(
    number: float, name: str, first: bool, other: float
) -> None:
    pair = [(f"{name}{number!r}", {"value": 1}), (f" {OPPOSITE[name]}  {number!r}", {"value": 0})]
    tree = TreeText.parse(json.dumps({"x": dict(pair if first else pair[::-1])}))
    forest = forest_from_texts([tree], ["x"])
    near = [
        math.nextafter(number, -math.inf),
        number,
        math.nextafter(number, math.inf),
        -math.inf,
        math.inf,
        other,
    ]
    found = forest.predict(np.array(near)[:, None])
    assert found.tolist() == [float(OPERATORS[name](x, number)) for x in near]


@pytest.mark.parametrize("default_left", [True, False])
def test_missing_values_go_where_the_text_says(default_left: bool) -> None:
    low, high = ("<= 1 or missing", "> 1") if default_left else ("<= 1", ">1  or missing")
    tree = TreeText.from_dict({"x": {high: {"value": 2}, low: {"value": 1}}})
    assert forest_from_texts([tree], ["x"]).predict(np.array([[np.nan]])) == (1 if default_left else 2)
    plain = TreeText.from_dict({"x": {"> 1": {"value": 2}, "<= 1": {"value": 1}}})
    assert not plain.missing_left


def test_forests_go_through_text_unchanged() -> None:
    for seed in range(8):
        forest = random_forest(seed, n_trees=3, oblique=False)
        texts = [TreeText.parse(str(TreeText.from_forest(forest, tree))) for tree in range(3)]
        again = forest_from_texts(
            texts, forest.schema, classes=forest.classes, base=forest.base, link=forest.link, aggregation=forest.aggregation,
            task=forest.task, target=forest.target, n_outputs=forest.n_outputs,
        )  # fmt: skip
        assert again.equals(forest)
        assert [text.depth for text in texts] == [
            forest.node_depth[start:end].max()
            for start, end in zip(forest.tree_offset[:-1], forest.tree_offset[1:], strict=True)
        ]


def test_a_tree_of_scikit_learn_through_text() -> None:
    X, y = load_breast_cancer(return_X_y=True)
    model = DecisionTreeClassifier(max_depth=4, random_state=0).fit(X, y)
    forest = import_forest(model)
    text = str(TreeText.from_forest(forest))
    again = forest_from_texts(
        [TreeText.parse(text)], forest.schema, classes=forest.classes, link=forest.link, task=forest.task, base=forest.base
    )  # fmt: skip
    assert np.array_equal(again.predict(X), model.predict(X))


def test_labels_are_leaves_and_subtrees_are_trees() -> None:
    text = (
        '{"a": {"<= 1": {"value": "no"}, "> 1": {"b": {"<= 2": {"value": "yes"}, "> 2": {"value": "no"}}}}}'
    )
    tree = TreeText.parse(text, attributes=("a", "b"))
    assert tree.right is not None and tree.depth == 2 and tree.right.depth == 1
    forest = forest_from_texts([tree], ["a", "b"], classes=("no", "yes"), task="classification")
    rows = np.array([[1.0, 2.0], [2.0, 2.0], [2.0, 3.0]])
    assert forest.predict(rows).tolist() == ["no", "yes", "no"]
    grafted = replace(tree, left=tree.right)
    assert str(grafted.left) == str(tree.right) and hash(grafted) != hash(tree)
    with pytest.raises(TreeTextError, match="known labels are no"):
        forest_from_texts([tree], ["a", "b"], classes=("no",))
    with pytest.raises(TreeTextError, match="none, because no classes"):
        forest_from_texts([tree], ["a", "b"])
    with pytest.raises(TreeTextError, match="Did you mean 'aa'"):
        forest_from_texts([tree], ["aa", "b"], classes=("no", "yes"))


LEAF = '{"value": 1}'


@pytest.mark.parametrize(
    ("text", "reason", "where"),
    [
        ('{"a": {"<= 1": {"value": 1}, "> 1": {"value": 2},}}', "json", "at line 1, column"),
        ("{'a': 1}", "json", "line 1, column 2"),
        ('## {"value": 1} ##', "json", "column 1"),
        ("", "json", "column 1"),
        ('{"value": 1, "value": 2}', "json", "'value' stands twice"),
        (f'{{"a": {{"<= 1": {LEAF}, "<= 1": {LEAF}}}}}', "json", "'<= 1' stands twice"),
        ('{"value": NaN}', "json", "NaN"),
        ("[1]", "structure", "at root: got [1.0]"),
        ("{}", "structure", "0 keys"),
        (f'{{"a": {{"<= 1": {LEAF}}}}}', "structure", "at root -> a: got 1 conditions"),
        (f'{{"a": {{"<= 1": {LEAF}, "> 1": {LEAF}, "> 2": {LEAF}}}}}', "structure", "3 conditions"),
        ('{"a": 3}', "structure", "at root -> a: got 3"),
        (
            f'{{"a": {{"<= 1": {LEAF}, "> 1": {{"b": {{}}}}}}}}',
            "structure",
            "at root -> a > 1 -> b: got 0 conditions",
        ),
        (f'{{"a": {{"<= 1": {LEAF}, ">= 1": {LEAF}}}}}', "condition", "not exactly one is true"),
        (f'{{"a": {{"<= 1": {LEAF}, "> 2": {LEAF}}}}}', "condition", "not exactly one is true"),
        (f'{{"a": {{"== 1": {LEAF}, "!= 1": {LEAF}}}}}', "condition", '"== 1"'),
        (f'{{"a": {{"<= one": {LEAF}, "> one": {LEAF}}}}}', "condition", '"<= one"'),
        (f'{{"a": {{"<= 1_0": {LEAF}, "> 1_0": {LEAF}}}}}', "condition", '"<= 1_0"'),
        (f'{{"a": {{"<= nan": {LEAF}, "> nan": {LEAF}}}}}', "condition", '"<= nan"'),
        (f'{{"a": {{"<= 1e999": {LEAF}, "> 1e999": {LEAF}}}}}', "condition", '"<= 1e999"'),
        (f'{{"a": {{"< -inf": {LEAF}, ">= -inf": {LEAF}}}}}', "condition", "nothing is below"),
        (f'{{"a": {{"<= 1 or missing": {LEAF}, "> 1 or missing": {LEAF}}}}}', "condition", "at most one"),
        (f'{{"agee": {{"<= 1": {LEAF}, "> 1": {LEAF}}}}}', "attribute", "Did you mean 'age'"),
        ('{"value": true}', "value", "got value true"),
        ('{"value": null}', "value", "got value null"),
        ('{"value": []}', "value", "got value []"),
        ('{"value": [1, "a"]}', "value", "got value"),
        ('{"value": 1e999}', "value", "finite"),
        (f'{{"value": 1{"0" * 5000}}}', "value", "finite"),
        ('{"a":' * 5000 + "1" + "}" * 5000, "depth", "nested too deeply"),
    ],
)
def test_bad_text_is_told_where_it_is_wrong(text: str, reason: str, where: str) -> None:
    with pytest.raises(TreeTextError) as caught:
        TreeText.parse(text, attributes=("a", "b", "age"))
    assert caught.value.reason == reason
    assert where in str(caught.value)


def test_numbers_that_no_double_holds() -> None:
    with pytest.raises(TreeTextError, match="no double holds"):
        TreeText.from_dict({"value": 10**400})


def test_trees_that_have_no_text() -> None:
    X, y = load_breast_cancer(return_X_y=True)
    oblique = SoftForestClassifier(1, 2, max_iter=30, l1=(1e-4,), random_state=0).fit(X[:, :5], y)
    if not oblique.forest_.is_axis:
        with pytest.raises(ExportError, match="sums of scores"):
            TreeText.from_forest(oblique.forest_)
    chain: dict[str, Any] = {"value": 0.0}
    for k in range(101):
        chain = {"feature": 0, "threshold": float(-k), "left": chain, "right": {"value": 1.0}}
    with pytest.raises(ExportError, match="at most 100 deep"):
        TreeText.from_forest(forest_from_trees([chain], ["x"]))


@pytest.mark.parametrize(
    "parts",
    [
        {}, {"value": 1.0, "feature": "a"}, {"feature": "a"}, {"feature": "a", "left": TreeText(1.0)}, {"value": math.inf},
        {"feature": "a", "left": TreeText(1.0), "right": TreeText(2.0), "threshold": math.nan},
    ],
)  # fmt: skip
def test_parts_that_are_no_tree(parts: dict[str, Any]) -> None:
    with pytest.raises(TreeTextError, match=r"got|NaN|value"):
        TreeText(**parts)
