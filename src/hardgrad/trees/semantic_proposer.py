"""SemanticPriorProposer: crossover and mutation that read names, descriptions and data. No language model, no network, no torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import ParameterError
from hardgrad.trees.proposers import Proposal, TaskContext, drawn_places
from hardgrad.trees.split_prior import SplitPrior
from hardgrad.trees.tree_population import NO_TEST, Floats, Integers, TreePopulation
from hardgrad.trees.tree_text import TreeText

MEMORY = "split prior"
DEPTH, DEPTH_SPREAD = 3.1, 0.9
BALANCE, BALANCE_SPREAD = 0.75, 0.25
STRUCTURE = 0.05
"""Weight of the prior over shapes, in units of the distance between the best and the worst parent."""
GOES_ON = 0.7
"""Chance that a regrown subtree goes on below a test."""


@dataclass
class SemanticPriorProposer:
    """Semantic crossover and mutation offline: features that belong together are tested together, thresholds are round or named.

    How features belong together comes from their names, descriptions and units and from their rank correlations. Crossover looks at
    `recombinations` grafts of one parent into another, drawn where the tests above are related, and keeps the one whose predicted fitness
    is nearest to the target. Mutation redraws tests, or regrows a subtree, by what a split tells about the target on the rows that reach
    it. A description may name thresholds: "pressure in mmHg, high from >= 140".

    Parameters
    ----------
    beta : weight of relatedness; 0 ignores names and correlations.
    gamma : weight of what a split tells about the target; 0 ignores the rows.
    recombinations : grafts that are looked at for each tree that crossover proposes.

    Raises
    ------
    ParameterError : beta or gamma is negative, or there are no recombinations.

    Examples
    --------
    >>> from hardgrad.trees import EvolvedTreeClassifier
    >>> X = np.random.default_rng(0).random((80, 3)); y = X[:, 0] + X[:, 1] > 1
    >>> model = EvolvedTreeClassifier(proposer=SemanticPriorProposer(beta=2.0), generations=3, random_state=0).fit(X, y)
    >>> bool(model.score(X, y) > 0.8)
    True

    Source: the operators are those of Liu, Huynh and van der Schaar, 2025, Decision Tree Induction Through LLMs via Semantically-Aware
    Evolution, with this prior in the place of the language model.
    """

    beta: float = 1.0
    gamma: float = 1.0
    recombinations: int = 16

    def __post_init__(self) -> None:
        for name in ("beta", "gamma"):
            if not getattr(self, name) >= 0:
                raise ParameterError(
                    f"SemanticPriorProposer got {name}={getattr(self, name)!r}; expected 0 or more."
                )
        if self.recombinations < 1:
            raise ParameterError(
                f"SemanticPriorProposer got recombinations={self.recombinations!r}; expected at least 1."
            )

    def propose(
        self,
        parents: list[TreeText],
        fitness: list[float],
        target: float | None,
        context: TaskContext,
        n: int,
    ) -> list[Proposal]:
        """Return up to n trees (see `TreeProposer`)."""
        if MEMORY not in context.memory:
            context.memory[MEMORY] = SplitPrior.of(context)
        prior: SplitPrior = context.memory[MEMORY]
        trees = context.population(parents)
        if not len(prior.feature):
            return []
        if target is not None and len(trees) > 1 and trees.tests.any():
            new = self._crossed(trees, np.array(fitness), target, context, prior, n)
            return [Proposal(new.to_text(k, context.names)) for k in range(len(new))]
        new, logprob = self._mutated(trees, context, prior, n)
        return [Proposal(new.to_text(k, context.names), float(logprob[k])) for k in range(n)]

    # --- crossover -----------------------------------------------------------------------------------------------------------
    def _crossed(
        self, trees: TreePopulation, fitness: Floats, target: float, context: TaskContext, prior: SplitPrior, n: int
    ) -> TreePopulation:  # fmt: skip
        """The best of so many grafts for each of n trees: nearest to the target by what is predicted of them."""
        receiver, at, donor, source = self._grafts(trees, prior, context.rng, n * self.recombinations)
        new = trees.take(receiver).grafted(at, trees.take(donor), source)
        share = context.rows.explained_share(context.rows.totals(trees.and_(new)))
        known, found = share[: len(trees)], share[len(trees) :]
        slope = _slope(known, fitness, context.higher_is_better)
        predicted = fitness[receiver] + slope * (found - known[receiver])
        spread = max(float(np.ptp(fitness)), 1e-6)
        cost = np.abs(predicted - target) / spread - STRUCTURE * shape_log_prior(new)
        cost[_among(new, trees)] = np.inf
        groups = cost.reshape(n, self.recombinations)
        best = groups.argmin(axis=1) + np.arange(n) * self.recombinations
        return new.take(best[np.isfinite(groups.min(axis=1))])

    def _grafts(
        self, trees: TreePopulation, prior: SplitPrior, rng: np.random.Generator, count: int
    ) -> tuple[Integers, Integers, Integers, Integers]:
        """Draw receivers, places in them, donors, and subtrees of these that are tested after related features."""
        to_tree, to = np.nonzero(trees.places)
        of_tree, of = np.nonzero(trees.tests)
        above = path_features(trees, to_tree, to, len(prior.related))
        tested = path_features(trees, of_tree, of, len(prior.related))
        tested[np.arange(len(of)), trees.feature[of_tree, of]] += 1.0
        related = prior.suits(above) @ (tested / tested.sum(axis=1, keepdims=True)).T
        weight = np.exp(self.beta * related) * (to_tree[:, None] != of_tree[None])
        p = weight.ravel() / weight.sum()
        a, b = np.unravel_index(rng.choice(p.size, count, p=p), weight.shape)
        return to_tree[a], to[a], of_tree[b], of[b]

    # --- mutation ------------------------------------------------------------------------------------------------------------
    def _mutated(
        self, trees: TreePopulation, context: TaskContext, prior: SplitPrior, n: int
    ) -> tuple[TreePopulation, Floats]:
        """One redrawn test a tree, or a regrown subtree, and how likely the draws were."""
        rng = context.rng
        new = trees.take(rng.integers(len(trees), size=n))
        at = drawn_places(new, rng)
        regrows = ~new.tests[np.arange(n), at] | (rng.random(n) < 0.5)
        beyond = np.full(n, new.n_nodes)
        new = new.replaced(
            np.flatnonzero(regrows),
            new.take(regrows).grafted(at[regrows], new.take(regrows), beyond[regrows]),
        )
        logprob = np.zeros(n)
        tree = np.arange(n)
        place = at
        while len(tree):
            here = new.take(tree)
            masks = rows_at(here.leaf_index(context.rows.X), place, new.depth)
            paths = path_features(here, np.arange(len(tree)), place, len(prior.related))
            drawn = prior.draw(masks, paths, self.beta, self.gamma, rng)
            for name in ("feature", "threshold", "missing_left"):
                getattr(new, name)[tree, place] = getattr(drawn, name)
            np.add.at(logprob, tree, drawn.logprob)
            tree = np.repeat(tree, 2)
            place = (2 * place[:, None] + np.array([1, 2])).ravel()
            on = regrows[tree] & (place < new.n_nodes) & (rng.random(len(tree)) < GOES_ON)
            tree, place = tree[on], place[on]
        return new, logprob


def _slope(share: Floats, fitness: Floats, higher_is_better: bool) -> float:
    """How fitness rises with the explained share, by the line through the best and the worst parent."""
    low, high = int(fitness.argmin()), int(fitness.argmax())
    rise = float(share[high] - share[low])
    sign = 1.0 if higher_is_better else -1.0
    if rise * sign <= 1e-9:
        return sign
    return float(fitness[high] - fitness[low]) / rise


def _among(new: TreePopulation, trees: TreePopulation) -> NDArray[np.bool_]:
    """Which trees are the same, test for test, as one of some others."""
    known = {(f.tobytes(), t.tobytes()) for f, t in zip(trees.feature, trees.threshold, strict=True)}
    return np.array(
        [(f.tobytes(), t.tobytes()) in known for f, t in zip(new.feature, new.threshold, strict=True)]
    )


def path_features(trees: TreePopulation, tree: Integers, place: Integers, n_features: int) -> Floats:
    """Count the features that are tested above places, [places, features]."""
    count, place, row = np.zeros((len(place), n_features)), place.copy(), np.arange(len(place))
    while (place > 0).any():
        parent = np.maximum((place - 1) // 2, 0)
        below = place > 0
        np.add.at(count, (row[below], trees.feature[tree[below], parent[below]]), 1.0)
        place = np.where(below, parent, 0)
    return count


def rows_at(index: NDArray[np.int32], place: Integers, depth: int) -> NDArray[np.bool_]:
    """Tell which rows pass a node of each tree, bool [trees, n], for their leaves `index` [trees, n]."""
    level = np.array([int(p + 1).bit_length() - 1 for p in place.tolist()], dtype=np.int64)[:, None]
    return np.asarray((index >> (depth - level)) + 2**level - 1 == place[:, None])


def shape_log_prior(trees: TreePopulation) -> Floats:
    """Return a log-prior over shapes: depth 3.1 +- 0.9 and balance 0.75 +- 0.25, the smaller side of a test by its larger, on average."""
    leaves: list[Floats] = [np.ones((len(trees), trees.n_nodes + 1))]
    ratio = np.zeros(len(trees))
    depth = np.zeros(len(trees))
    for level in reversed(range(trees.depth)):
        nodes = slice(2**level - 1, 2 ** (level + 1) - 1)
        tests = trees.feature[:, nodes] != NO_TEST
        left, right = leaves[-1][:, 0::2], leaves[-1][:, 1::2]
        ratio += (tests * np.minimum(left, right) / np.maximum(left, right)).sum(axis=1)
        depth = np.where((depth == 0) & tests.any(axis=1), level + 1, depth)
        leaves.append(np.where(tests, left + right, 1.0))
    balance = ratio / np.maximum(trees.tests.sum(axis=1), 1)
    return np.asarray(
        -0.5 * ((depth - DEPTH) / DEPTH_SPREAD) ** 2 - 0.5 * ((balance - BALANCE) / BALANCE_SPREAD) ** 2
    )
