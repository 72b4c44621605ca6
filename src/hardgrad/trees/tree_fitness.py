"""What trees are worth: leaves filled from training rows, and the metric of all trees of a population at once. Never imports torch."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from hardgrad.losses.confusion_counts import ConfusionCounts
from hardgrad.trees.metrics import Metric
from hardgrad.trees.objectives import Objective
from hardgrad.trees.tree_population import Floats, TreePopulation, leaf_totals, node_totals


@dataclass(frozen=True)
class FitnessRows:
    """Rows to learn from, or to measure on.

    Parameters
    ----------
    X : float64 [n, features].
    Y : float64 [n, outputs]; one-hot classes, or values.
    weight : float64 [n], positive.
    """

    X: Floats
    Y: Floats
    weight: Floats

    @cached_property
    def columns(self) -> Floats:
        """What is added up in a leaf: weighted targets, then the weight, [n, outputs + 1]."""
        return np.column_stack([self.Y * self.weight[:, None], self.weight])

    def take(self, which: NDArray[np.generic]) -> FitnessRows:
        """Return some of the rows, by numbers or by a mask."""
        return FitnessRows(self.X[which], self.Y[which], self.weight[which])

    def totals(self, trees: TreePopulation) -> Floats:
        """Add up the columns in the leaves, [trees, leaves, outputs + 1]."""
        return leaf_totals(trees.leaf_index(self.X), self.columns, trees.n_nodes + 1)

    def explained_share(self, totals: Floats) -> Floats:
        """Return the share of the targets' variance (of classes, the Gini impurity) that lies between the leaves, [trees]."""
        whole = self.columns.sum(axis=0)
        constant = float((whole[:-1] ** 2).sum() / whole[-1])
        squares = float((self.Y**2).sum(axis=1) @ self.weight)
        weight = totals[..., -1]
        between = ((totals[..., :-1] ** 2).sum(axis=-1) / np.where(weight > 0, weight, 1.0)).sum(axis=1)
        return np.asarray((between - constant) / max(squares - constant, 1e-12))


@dataclass(frozen=True)
class JudgedTrees:
    """Trees with what they are worth.

    Parameters
    ----------
    trees : the population.
    values : float64 [trees, leaves, outputs]; class shares, or values.
    fitness, validation : float64 [trees]; the metric on the training rows and on those held out.
    answers : int64 [trees, n]; a number for what a tree says to each training row: equal where it says the same.
    """

    trees: TreePopulation
    values: Floats
    fitness: Floats
    validation: Floats
    answers: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.trees)

    def take(self, which: NDArray[np.generic]) -> Self:
        """Return the trees of these numbers."""
        return type(self)(self.trees.take(which), *(getattr(self, f.name)[which] for f in fields(self)[1:]))

    def and_(self, *others: Self) -> Self:
        """Return these and the others behind them."""
        rest = (np.concatenate([getattr(part, f.name) for part in (self, *others)]) for f in fields(self)[1:])
        return type(self)(self.trees.and_(*(part.trees for part in others)), *rest)

    @property
    def diversity(self) -> float:
        """Share of the pairs of trees that say different things to a row, over at most 2,048 training rows."""
        some = self.answers[:, :2048]
        return float((some[:, None] != some[None]).mean() * len(self) / max(len(self) - 1, 1))


@dataclass(frozen=True)
class TreeJudge:
    """Fills leaves and measures.

    Parameters
    ----------
    metric, objective : what is measured (see `metrics.find_metric`).
    train : rows that the leaves are filled from.
    validation : rows that are held out; None to measure on the training rows again.
    class_weight : float64 [classes], by which classes count in the leaves; empty for regression.

    Examples
    --------
    >>> from hardgrad.trees.metrics import find_metric
    >>> from hardgrad.trees.tree_text import TreeText
    >>> rows = FitnessRows(np.arange(4.0)[:, None], np.eye(2)[[0, 0, 1, 1]], np.ones(4))
    >>> objective = Objective("logistic")
    >>> judge = TreeJudge(find_metric("balanced_accuracy", objective), objective, rows, None, np.ones(2))
    >>> texts = [TreeText.parse('{"x": {"<= %s": {"value": 0}, "> %s": {"value": 0}}}' % (t, t)) for t in (0.5, 1.5)]
    >>> judge.judge(TreePopulation.from_texts(texts, {"x": 0}, depth=1)).fitness.tolist()
    [0.75, 1.0]
    """

    metric: Metric
    objective: Objective
    train: FitnessRows
    validation: FitnessRows | None
    class_weight: Floats

    @property
    def is_classification(self) -> bool:
        """Whether the targets are classes."""
        return len(self.class_weight) > 0

    @cached_property
    def weighted(self) -> FitnessRows:
        """The training rows, weighted as in the leaves."""
        if not self.is_classification:
            return self.train
        return FitnessRows(self.train.X, self.train.Y, self.train.weight * (self.train.Y @ self.class_weight))

    def judge(self, trees: TreePopulation) -> JudgedTrees:
        """Return the trees with their leaves and both metrics."""
        index = trees.leaf_index(self.train.X)
        values = self._leaf_values(leaf_totals(index, self.train.columns, trees.n_nodes + 1))
        fitness = self.measure(trees, values, self.train)
        held = fitness if self.validation is None else self.measure(trees, values, self.validation)
        answers = np.take_along_axis(self._answers(values), index, axis=1)
        return JudgedTrees(trees, values, fitness, held, answers)

    def _leaf_values(self, totals: Floats) -> Floats:
        """Class shares or means of leaves; of a leaf without rows, those of the nearest node above it that has some."""
        nodes = node_totals(totals)
        filled, first = nodes[:, :1], 1
        while filled.shape[1] < totals.shape[1]:
            above = np.repeat(filled, 2, axis=1)
            level = nodes[:, first : first + above.shape[1]]
            filled, first = np.where(level[..., -1:] > 0, level, above), first + above.shape[1]
        if not self.is_classification:
            return np.asarray(filled[..., :-1] / filled[..., -1:])
        counts, whole = filled[..., :-1] * self.class_weight, nodes[:, :1, :-1] * self.class_weight
        whole = whole / whole.sum(
            axis=-1, keepdims=True
        )  # one row in all: no share is 0, no majority changes
        return np.asarray((counts + whole) / (counts.sum(axis=-1, keepdims=True) + 1.0))

    def measure(self, trees: TreePopulation, values: Floats, rows: FitnessRows) -> Floats:
        """Return the metric of every tree on some rows, [trees]."""
        if self.metric.confusion is not None:
            return self._counted(values, rows.totals(trees)[..., :-1])
        index, raw = trees.leaf_index(rows.X), self.raw(values)
        Y = rows.Y[:, 1:] if self.objective.kind == "logistic" else rows.Y
        return np.array(
            [
                self.metric(raw[t][index[t]], Y, rows.weight, self.objective) for t in range(len(trees))
            ]  # these need every row
        )

    def raw(self, values: Floats) -> Floats:
        """Return leaf values as raw scores that metrics take: log-odds of two classes, logarithms of several, values as they are."""
        if not self.is_classification:
            return values
        logs = np.log(np.maximum(values, 1e-15))
        return logs[..., 1:] - logs[..., :1] if self.objective.kind == "logistic" else logs

    def _counted(self, values: Floats, totals: Floats) -> Floats:
        """A metric of the confusion matrix, from the class totals of leaves [trees, leaves, classes]: a leaf says one class."""
        assert self.metric.confusion is not None
        name, beta = self.metric.confusion
        says = values.argmax(axis=-1)[..., None] == np.arange(values.shape[-1])
        real, called = totals.sum(axis=1), (says * totals.sum(axis=-1, keepdims=True)).sum(axis=1)
        tp = (says * totals).sum(axis=1)
        fn, fp = real - tp, called - tp
        tn = np.maximum(real.sum(axis=-1, keepdims=True) - real - fp, 0.0)
        cells = [tn, fp, fn, tp]
        if values.shape[-1] == 2:
            return np.asarray(ConfusionCounts(*(cell[:, 1] for cell in cells)).metric(name, beta=beta))
        return np.asarray(ConfusionCounts(*cells).metric(name, beta=beta, average="multiclass"))

    def _answers(self, values: Floats) -> NDArray[np.int64]:
        """A number for the answer of every leaf, [trees, leaves]: its class where only decisions are measured, else its values."""
        if self.metric.confusion is not None:
            return np.asarray(values.argmax(axis=-1), np.int64)
        flat = np.ascontiguousarray(values).reshape(-1, values.shape[-1])
        return np.array([hash(leaf.tobytes()) for leaf in flat], dtype=np.int64).reshape(values.shape[:2])
