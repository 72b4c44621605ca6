"""Who proposes trees to an evolution: the protocol, what a proposer is told, and the proposer that knows nothing. Never imports torch.

`SemanticPriorProposer` reads names and data, `ChatEndpointProposer` and `LocalCausalLMProposer` ask language models.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np

from hardgrad.tabular.schema import TableSchema
from hardgrad.tabular.table_model import Label
from hardgrad.trees.codes import find_cuts
from hardgrad.trees.tree_fitness import FitnessRows
from hardgrad.trees.tree_population import Floats, Integers, TreePopulation
from hardgrad.trees.tree_text import TreeText

MAX_CUTS = 63


@dataclass(frozen=True)
class Proposal:
    """A proposed tree; what its leaves say is not used, they are filled from the training rows.

    Parameters
    ----------
    tree : the tree, over the names of the features.
    logprob : logarithm of the probability of proposing it, where the proposer knows; mutation favours unlikely ones.
    """

    tree: TreeText
    logprob: float | None = None


@dataclass(eq=False)
class TaskContext:
    """What proposers are told about a task.

    Parameters
    ----------
    schema : columns and features; trees test features, by name.
    rows : training rows, at most 2,048, weighted as in the leaves.
    max_depth : deepest tree.
    metric : what is measured; higher_is_better : its direction.
    classes : labels; empty for regression.
    target : name of what is predicted, may be empty.
    feature_descriptions : text by the name of a column or feature.
    task_description : text.
    rng : the only source of chance.
    rejected : how many proposals came to nothing, by reason.
    memory : for what a proposer derives from the task once.
    """

    schema: TableSchema
    rows: FitnessRows
    max_depth: int
    metric: str
    higher_is_better: bool
    rng: np.random.Generator
    classes: tuple[Label, ...] = ()
    target: str = ""
    feature_descriptions: Mapping[str, str] = field(default_factory=dict)
    task_description: str = ""
    rejected: Counter[str] = field(default_factory=Counter)
    memory: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def names(self) -> list[str]:
        """Names of the features, which trees test."""
        return [feature.name for feature in self.schema.features]

    @cached_property
    def positions(self) -> dict[str, int]:
        """Number of every feature by name."""
        return {name: number for number, name in enumerate(self.names)}

    @cached_property
    def descriptions(self) -> list[str]:
        """What is said about every feature, by its own name or that of its column; may be empty."""
        said, columns = self.feature_descriptions, self.schema.names
        return [
            str(said.get(feature.name, said.get(columns[feature.column], "")))
            for feature in self.schema.features
        ]

    @cached_property
    def cuts(self) -> list[Floats]:
        """At most 63 thresholds a feature, between values that occur."""
        present = ~np.isnan(self.rows.X)
        return [
            find_cuts(self.rows.X[there, number], self.rows.weight[there], MAX_CUTS)
            for number, there in enumerate(present.T)
        ]

    def reject(self, reason: str, count: int = 1) -> None:
        """Count proposals that came to nothing."""
        self.rejected[reason] += count

    def population(self, texts: Sequence[TreeText]) -> TreePopulation:
        """Return trees as arrays. Raises `TreeTextError` (see `TreePopulation.from_texts`)."""
        return TreePopulation.from_texts(texts, self.positions, self.max_depth)


@runtime_checkable
class TreeProposer(Protocol):
    """What proposes trees: one method. It may return fewer trees than asked for, or none; what is wrong with one is found out."""

    def propose(
        self,
        parents: list[TreeText],
        fitness: list[float],
        target: float | None,
        context: TaskContext,
        n: int,
    ) -> list[Proposal]:
        """Return up to n new trees.

        Parameters
        ----------
        parents : trees to learn from; for crossover from the worst to the best, for mutation in no order.
        fitness : of the parents, on the training rows.
        target : fitness that crossover aims at, a little beyond the best; None asks for mutation, which seeks what is different.
        context : the task.
        n : how many trees are wanted.
        """
        ...


class RandomProposer:
    """Genetic programming that knows nothing: subtrees are swapped, cut and grown at random.

    Crossover grafts a random subtree of one parent into another. Mutation redraws one test, or grows a new subtree, with equal chance.

    Examples
    --------
    >>> from hardgrad.trees import EvolvedTreeClassifier
    >>> X = np.random.default_rng(0).random((80, 3)); y = X[:, 0] + X[:, 1] > 1
    >>> model = EvolvedTreeClassifier(proposer=RandomProposer(), generations=3, random_state=0).fit(X, y)
    >>> bool(model.score(X, y) > 0.8)
    True

    Source: Koza, 1992, Genetic Programming.
    """

    def propose(
        self,
        parents: list[TreeText],
        fitness: list[float],
        target: float | None,
        context: TaskContext,
        n: int,
    ) -> list[Proposal]:
        """Return n trees (see `TreeProposer`)."""
        trees, rng = context.population(parents), context.rng
        first = rng.integers(len(trees), size=n)
        receiver = trees.take(first)
        at = drawn_places(receiver, rng)
        if target is not None and len(trees) > 1:
            second = (first + rng.integers(1, len(trees), size=n)) % len(trees)
            donor = trees.take(second)
            new = receiver.grafted(at, donor, drawn_places(donor, rng))
        else:
            grown = grown_trees(n, context)
            redraws = receiver.tests[np.arange(n), at] & (rng.random(n) < 0.5)
            other = receiver.with_test(
                at, grown.feature[:, 0].astype(np.int64), grown.threshold[:, 0], grown.missing_left[:, 0]
            )
            new = receiver.grafted(at, grown, np.zeros(n, dtype=np.int64))
            new = new.replaced(np.flatnonzero(redraws), other.take(redraws))
        return [Proposal(new.to_text(number, context.names)) for number in range(n)]


def drawn_places(trees: TreePopulation, rng: np.random.Generator) -> Integers:
    """Draw one of each tree's places for a test (see `TreePopulation.places`), int64 [trees]."""
    return np.asarray((rng.random(trees.feature.shape) * trees.places).argmax(axis=1), dtype=np.int64)


def grown_trees(count: int, context: TaskContext, chance: float = 0.5) -> TreePopulation:
    """Return random trees: a test at the root, and below each test another one with this chance."""
    rng, trees = context.rng, TreePopulation.leaves(count, context.max_depth)
    usable = np.array([number for number, cuts in enumerate(context.cuts) if len(cuts)], dtype=np.int64)
    if not len(usable):
        return trees
    for i in range(trees.n_nodes):
        wanted = np.ones(count, dtype=np.bool_)
        if i:
            wanted = (trees.feature[:, (i - 1) // 2] >= 0) & (rng.random(count) < chance)
        for tree in np.flatnonzero(wanted).tolist():
            feature = int(rng.choice(usable))
            trees.feature[tree, i] = feature
            trees.threshold[tree, i] = rng.choice(context.cuts[feature])
            trees.missing_left[tree, i] = rng.random() < 0.5
    return trees
