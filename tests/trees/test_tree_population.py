"""Populations as arrays: routing, grafting and pruning held against one tree at a time, fitness against scikit-learn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score, log_loss, root_mean_squared_error

from hardgrad.core.errors import TreeTextError
from hardgrad.trees import TreeText, forest_from_texts
from hardgrad.trees.evolution import forest_trees
from hardgrad.trees.metrics import find_metric
from hardgrad.trees.objectives import Objective
from hardgrad.trees.tree_fitness import FitnessRows, TreeJudge
from hardgrad.trees.tree_population import TreePopulation, leaf_totals, node_totals

NAMES = ("a", "b", "c")
POSITIONS = {name: k for k, name in enumerate(NAMES)}


def random_text(rng: np.random.Generator, depth: int) -> TreeText:
    if depth == 0 or rng.random() < 0.25:
        return TreeText(value=float(rng.integers(100)))
    return TreeText(
        feature=str(rng.choice(NAMES)), threshold=float(rng.normal()), missing_left=bool(rng.random() < 0.5),
        left=random_text(rng, depth - 1), right=random_text(rng, depth - 1),
    )  # fmt: skip


def bare(text: TreeText) -> TreeText:
    """The tree with zeros in its leaves."""
    if text.left is None or text.right is None:
        return TreeText(value=0.0)
    return replace(text, left=bare(text.left), right=bare(text.right))


def rows(rng: np.random.Generator, n: int = 60) -> np.ndarray[Any, Any]:
    X = rng.normal(size=(n, 3))
    X[rng.random(X.shape) < 0.1] = np.nan
    return X


def judge_of(X: Any, Y: Any, weight: Any, name: str, class_weight: Any) -> TreeJudge:
    kinds = {0: "squared", 2: "logistic"}
    objective = Objective(kinds.get(len(class_weight), "softmax"))  # type: ignore[arg-type]
    return TreeJudge(
        find_metric(name, objective), objective, FitnessRows(X, Y, weight), None, np.asarray(class_weight)
    )


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_texts_come_back_and_route_as_forests_do(depth: int) -> None:
    rng = np.random.default_rng(depth)
    texts = [random_text(rng, depth) for _ in range(20)]
    trees = TreePopulation.from_texts(texts, POSITIONS, depth)
    X = rows(rng)
    index = trees.leaf_index(X)
    for number, text in enumerate(texts):
        assert trees.to_text(number, NAMES) == bare(text)
        # A leaf that says its own number tells where rows end.
        numbered = trees.to_text(number, NAMES, [float(leaf) for leaf in range(2**depth)])
        assert forest_from_texts([numbered], NAMES).predict(X).tolist() == index[number].tolist()


def test_what_cannot_be_an_array_is_told() -> None:
    deep = TreeText.parse(
        '{"a": {"<= 1": {"value": 0}, "> 1": {"b": {"<= 2": {"value": 1}, "> 2": {"value": 2}}}}}'
    )
    with pytest.raises(TreeTextError, match="2 deep") as wrong:
        TreePopulation.from_texts([deep], POSITIONS, 1)
    assert wrong.value.reason == "depth"
    with pytest.raises(TreeTextError, match="known are b") as wrong:
        TreePopulation.from_texts([deep], {"b": 0}, 2)
    assert wrong.value.reason == "attribute"


def subtree(text: TreeText, path: list[str]) -> TreeText:
    for side in path:
        text = getattr(text, side)
    return text


def put(text: TreeText, path: list[str], new: TreeText) -> TreeText:
    if not path:
        return new
    return replace(text, **{path[0]: put(getattr(text, path[0]), path[1:], new)})


def cut(text: TreeText, depth: int) -> TreeText:
    if depth == 0 or text.left is None or text.right is None:
        return TreeText(value=0.0)
    return replace(text, left=cut(text.left, depth - 1), right=cut(text.right, depth - 1))


def path_to(place: int) -> list[str]:
    path: list[str] = []
    while place:
        path.insert(0, "left" if place % 2 else "right")
        place = (place - 1) // 2
    return path


def test_grafts_are_those_of_nested_trees() -> None:
    rng, depth = np.random.default_rng(0), 3
    seen = 0
    for _ in range(200):
        texts = [bare(random_text(rng, depth)) for _ in range(2)]
        trees = TreePopulation.from_texts(texts, POSITIONS, depth)
        at = int(rng.choice(np.flatnonzero(trees.places[0])))
        sources = np.flatnonzero(trees.tests[1])
        if not len(sources):
            continue
        source = int(rng.choice(sources))
        new = trees.take([0]).grafted(np.array([at]), trees.take([1]), np.array([source]))
        path = path_to(at)
        expected = put(texts[0], path, cut(subtree(texts[1], path_to(source)), depth - len(path)))
        assert new.to_text(0, NAMES) == expected
        seen += 1
    assert seen > 100


def test_idle_tests_go_and_nothing_else_changes() -> None:
    rng, depth = np.random.default_rng(1), 4
    texts = [random_text(rng, depth) for _ in range(40)]
    trees = TreePopulation.from_texts(texts, POSITIONS, depth)
    X = rows(rng, 15)
    pruned = trees.without_idle_tests(X)
    assert pruned.tests.sum() < trees.tests.sum()
    before, after = trees.leaf_index(X), pruned.leaf_index(X)
    for number in range(len(trees)):
        together = before[number][:, None] == before[number]
        assert np.array_equal(together, after[number][:, None] == after[number])
        assert pruned.tests[number].sum() == len(set(after[number].tolist())) - 1  # no leaf is empty


def test_totals_add_up() -> None:
    rng = np.random.default_rng(2)
    index = rng.integers(4, size=(3, 50)).astype(np.int32)
    columns = rng.random((50, 2))
    totals = leaf_totals(index, columns, 4)
    for tree in range(3):
        for leaf in range(4):
            assert np.allclose(totals[tree, leaf], columns[index[tree] == leaf].sum(axis=0))
    nodes = node_totals(totals)
    assert np.allclose(nodes[:, 0], columns.sum(axis=0))
    assert np.allclose(nodes[:, 1], totals[:, 0] + totals[:, 1])
    assert np.array_equal(nodes[:, 3:], totals)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", ["balanced_accuracy", "f1", "log_loss"])
def test_fitness_of_classes_is_that_of_scikit_learn(classes: int, name: str) -> None:
    rng = np.random.default_rng(classes)
    X = rows(rng, 80)
    y = rng.integers(classes, size=80)
    weight = rng.random(80) + 0.1
    judge = judge_of(X, np.eye(classes)[y], weight, name, np.ones(classes))
    judged = judge.judge(TreePopulation.from_texts([random_text(rng, 3) for _ in range(10)], POSITIONS, 3))
    index = judged.trees.leaf_index(X)
    for tree in range(10):
        shares = judged.values[tree][index[tree]]
        guess = shares.argmax(axis=1)
        expected = {
            "balanced_accuracy": balanced_accuracy_score(y, guess, sample_weight=weight),
            "f1": f1_score(y, guess, average="binary" if classes == 2 else "macro", sample_weight=weight),
            "log_loss": log_loss(y, shares, sample_weight=weight),
        }[name]
        assert judged.fitness[tree] == pytest.approx(expected)
        for leaf in np.unique(index[tree]):
            here = index[tree] == leaf
            counts = (
                np.bincount(y[here], weight[here], classes) + np.bincount(y, weight, classes) / weight.sum()
            )
            assert judged.values[tree][leaf] == pytest.approx(counts / counts.sum())


def test_fitness_of_values_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(5)
    X, Y, weight = rows(rng), rng.normal(size=(60, 2)), rng.random(60) + 0.1
    judge = judge_of(X, Y, weight, "rmse", [])
    judged = judge.judge(TreePopulation.from_texts([random_text(rng, 2) for _ in range(6)], POSITIONS, 2))
    for tree, index in enumerate(judged.trees.leaf_index(X)):
        expected = root_mean_squared_error(
            Y.ravel(), judged.values[tree][index].ravel(), sample_weight=weight.repeat(2)
        )
        assert judged.fitness[tree] == pytest.approx(expected)  # fmt: skip
        leaf = index[0]
        assert judged.values[tree][leaf] == pytest.approx(
            np.average(Y[index == leaf], axis=0, weights=weight[index == leaf])
        )


def test_an_empty_leaf_says_what_its_parent_says() -> None:
    X, y = np.array([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]]), np.array([0, 1, 1])
    text = TreeText.parse(
        '{"a": {"<= 0.5": {"value": 0}, "> 0.5": {"b": {"<= 5": {"value": 0}, "> 5": {"value": 0}}}}}'
    )
    judged = judge_of(X, np.eye(2)[y], np.ones(3), "accuracy", np.ones(2)).judge(
        TreePopulation.from_texts([text], POSITIONS, 2)
    )
    assert judged.values[0, 3].tolist() == judged.values[0, 2].tolist()
    assert judged.values[0, 2] == pytest.approx([1 / 9, 8 / 9])


def test_the_explained_share_is_that_of_the_variance() -> None:
    rng = np.random.default_rng(6)
    X, Y, weight = rows(rng), rng.normal(size=(60, 1)), rng.random(60) + 0.1
    data = FitnessRows(X, Y, weight)
    trees = TreePopulation.from_texts([random_text(rng, 3) for _ in range(5)], POSITIONS, 3)
    share = data.explained_share(data.totals(trees))
    mean = np.average(Y, weights=weight[:, None])
    for tree, index in enumerate(trees.leaf_index(X)):
        means = np.array(
            [np.average(Y[index == leaf], weights=weight[index == leaf, None]) for leaf in index]
        )
        within, whole = weight @ (Y[:, 0] - means) ** 2, weight @ (Y[:, 0] - mean) ** 2
        assert share[tree] == pytest.approx(1 - within / whole)


def test_the_first_trees_are_those_of_a_random_forest() -> None:
    rng = np.random.default_rng(7)
    X = rng.normal(size=(100, 3))
    y = (X[:, 0] > 0).astype(int)
    judge = judge_of(X, np.eye(2)[y], np.ones(100), "accuracy", np.ones(2))
    trees = forest_trees(judge, 10, 3, seed=0)
    assert trees.tests.any(axis=1).all()
    fitness = judge.judge(trees).fitness
    assert fitness.max() > 0.95
    assert len(np.unique(fitness)) > 1
