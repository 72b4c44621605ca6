"""Evolution of small trees: who are parents, what survives, what is remembered. Never imports torch.

Where new trees come from is the business of a `TreeProposer`. The state after every generation is whole: an evolution that was stopped
goes on from it to the same bits.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import TreeTextError
from hardgrad.tabular.table_model import Label
from hardgrad.trees.proposers import Proposal, RandomProposer, TaskContext, TreeProposer
from hardgrad.trees.tree_fitness import JudgedTrees, TreeJudge
from hardgrad.trees.tree_population import Floats, Integers, TreePopulation
from hardgrad.trees.tree_text import TreeText, Value

PARENTS, OFFERED, KEPT = 4, 4, 2
BEYOND = 0.1
"""Crossover aims beyond its best parent, by this share of what lies between the best and the worst."""
SELECTION_TEMPERATURE = 10.0
PATIENCE = 4
"""Operations in a row without a usable tree, after which the rest of a generation is proposed at random."""
HALL = 10
FILLED = "filled at random"


class OutOfTime(Exception):  # no error: the evolution ends with what it has
    """The time budget is used up in the middle of a generation."""


@dataclass(frozen=True)
class HallEntry:
    """A tree of the hall of fame.

    Parameters
    ----------
    tree : as text, its leaves labelled.
    fitness, validation : metric on the training rows and on the rows held out.
    generation : in which it was first seen.
    """

    tree: TreeText
    fitness: float
    validation: float
    generation: int


@dataclass
class EvolutionState:
    """Everything that the next generation depends on, beside the random generator and the counts of the context.

    Parameters
    ----------
    population : the trees that live, best first.
    hall : the trees best on the rows held out, best first.
    born : generation of each in the hall.
    history : one entry a generation: best, median, validation (of the hall's best), diversity, evaluations.
    """

    population: JudgedTrees
    hall: JudgedTrees
    born: Integers
    history: list[dict[str, float]] = field(default_factory=list)

    @property
    def generation(self) -> int:
        """Generations so far; 0 is the first population."""
        return len(self.history) - 1


@dataclass
class Evolution:
    """One run.

    Parameters
    ----------
    judge : measures trees.
    context : what proposers are told; its generator is the only source of chance.
    proposer : where new trees come from.
    size : trees that live.
    """

    judge: TreeJudge
    context: TaskContext
    proposer: TreeProposer
    size: int

    def start(self, seed: int) -> EvolutionState:
        """Return the first generation: the trees of a random forest."""
        trees = forest_trees(self.judge, self.size, self.context.max_depth, seed)
        judged = self.judge.judge(trees.without_idle_tests(self.judge.train.X))
        nothing = judged.take(np.arange(0))
        return self._survived(EvolutionState(judged, nothing, np.empty(0, dtype=np.int64)), nothing)

    def step(self, state: EvolutionState, tick: Callable[[], None] = lambda: None) -> EvolutionState:
        """Return the next generation: as many trees by crossover as live, as many by mutation, and the best of all.

        Parameters
        ----------
        tick : called before every operation; what it raises leaves the state as it was.
        """
        texts = [
            self.text(state.population, number) for number in range(len(state.population))
        ]  # parents are shown with their leaves
        fitness = state.population.fitness
        parts = [self._offspring(texts, fitness, mutates, tick) for mutates in (False, True)]
        return self._survived(state, self.judge.judge(parts[0].and_(parts[1])))

    # --- offspring -----------------------------------------------------------------------------------------------------------
    def _offspring(
        self, texts: list[TreeText], fitness: Floats, mutates: bool, tick: Callable[[], None]
    ) -> TreePopulation:
        found, failures = TreePopulation.leaves(0, self.context.max_depth), 0
        proposer = self.proposer
        while len(found) < self.size:
            tick()
            if failures == PATIENCE:
                if isinstance(proposer, RandomProposer):
                    break  # nothing can be split
                self.context.reject(FILLED, self.size - len(found))
                proposer, failures = RandomProposer(), 0
            new = self._operation(proposer, texts, fitness, mutates)
            failures = 0 if len(new) else failures + 1
            found = found.and_(new)
        return found.take(np.arange(min(len(found), self.size)))

    def _operation(
        self, proposer: TreeProposer, texts: list[TreeText], fitness: Floats, mutates: bool
    ) -> TreePopulation:
        rng, higher = self.context.rng, self.context.higher_is_better
        if mutates:
            chosen = rng.permutation(len(texts))[:PARENTS]
        else:
            chosen = draw_parents(fitness, higher, rng)
        shown = fitness[chosen]
        target = None if mutates else target_fitness(shown, higher)
        asked = proposer.propose(
            [texts[number] for number in chosen], shown.tolist(), target, self.context, OFFERED
        )
        trees, valid = self._usable(asked)
        if not mutates or len(trees) <= KEPT:
            return trees.take(np.arange(min(len(trees), KEPT)))
        return trees.take(
            rng.choice(len(trees), KEPT, replace=False, p=unlikeliness([p.logprob for p in valid]))
        )

    def _usable(self, proposals: list[Proposal]) -> tuple[TreePopulation, list[Proposal]]:
        """The proposals that are trees of this task and split some rows; the others are counted by what is wrong."""
        trees = TreePopulation.leaves(0, self.context.max_depth)
        valid: list[Proposal] = []
        for proposal in proposals:
            try:
                tree = self.context.population([proposal.tree])
            except TreeTextError as wrong:
                self.context.reject(wrong.reason)
                continue
            trees, valid = trees.and_(tree), [*valid, proposal]
        trees = trees.without_idle_tests(self.judge.train.X)
        splits: NDArray[np.bool_] = np.asarray(trees.tests.any(axis=1))
        if not splits.all():
            self.context.reject("splits nothing", int((~splits).sum()))
        return trees.take(splits), [proposal for proposal, good in zip(valid, splits, strict=True) if good]

    # --- survival ------------------------------------------------------------------------------------------------------------
    def _survived(self, state: EvolutionState, offspring: JudgedTrees) -> EvolutionState:
        merged = state.population.and_(offspring)
        merged = merged.take(first_of_each(merged.answers))
        best = self._ranked(merged.fitness)
        population = merged.take(np.resize(best[: self.size], self.size))
        hall = state.hall.and_(merged)
        born = np.concatenate([state.born, np.full(len(merged), len(state.history))])
        only = first_of_each(hall.answers)
        tests = hall.trees.tests.sum(axis=1)
        order = only[self._ranked(hall.validation[only], tests[only])][:HALL]  # of equal ones the smallest
        hall = hall.take(order)
        evaluations = (state.history[-1]["evaluations"] if state.history else self.size) + len(offspring)
        entry = {
            "generation": len(state.history),
            "best": float(population.fitness[0]),
            "median": float(np.median(population.fitness)),
            "validation": float(hall.validation[0]),
            "diversity": population.diversity,
            "evaluations": evaluations,
        }
        return EvolutionState(population, hall, born[order], [*state.history, entry])

    def _ranked(self, metric: Floats, tests: Integers | None = None) -> Integers:
        """Numbers of trees, best first; of equal ones those with fewer tests, then those that came first."""
        best_first = -metric if self.context.higher_is_better else metric
        keys = (best_first,) if tests is None else (tests, best_first)
        return np.asarray(np.lexsort(keys), dtype=np.int64)

    # --- words ---------------------------------------------------------------------------------------------------------------
    def text(self, judged: JudgedTrees, number: int) -> TreeText:
        """Return one tree as text, its leaves labelled by class or value."""
        values = [leaf_value(leaf, self.context.classes) for leaf in judged.values[number]]
        return judged.trees.to_text(number, self.context.names, values)

    def hall_of_fame(self, state: EvolutionState) -> list[HallEntry]:
        """Return the trees best on the rows held out, best first."""
        hall = state.hall
        return [
            HallEntry(self.text(hall, k), float(hall.fitness[k]), float(hall.validation[k]), int(state.born[k]))
            for k in range(len(hall))
        ]  # fmt: skip

    # --- memory --------------------------------------------------------------------------------------------------------------
    def to_arrays(self, state: EvolutionState) -> dict[str, NDArray[np.generic]]:
        """Return a state, with the generator and the counts, as plain arrays."""
        plain = {
            "history": state.history,
            "rejected": self.context.rejected,
            "rng": self.context.rng.bit_generator.state,
        }
        arrays: dict[str, NDArray[np.generic]] = {
            "born": state.born, "plain": np.frombuffer(json.dumps(plain).encode(), dtype=np.uint8),
        }  # fmt: skip
        for name, judged in (("population", state.population), ("hall", state.hall)):
            arrays |= {f"{name}.{f.name}": getattr(judged.trees, f.name) for f in fields(judged.trees)}
        return arrays

    def from_arrays(self, arrays: dict[str, NDArray[Any]]) -> EvolutionState:
        """Invert `to_arrays`; the trees are measured again, the generator and the counts of the context are put back."""
        plain = json.loads(arrays["plain"].tobytes())
        self.context.rng.bit_generator.state = plain["rng"]
        self.context.rejected.clear()
        self.context.rejected.update(Counter(plain["rejected"]))
        population, hall = (
            self.judge.judge(TreePopulation(*(arrays[f"{name}.{f.name}"] for f in fields(TreePopulation))))
            for name in ("population", "hall")
        )
        return EvolutionState(population, hall, arrays["born"], plain["history"])


# --- the rules of selection -------------------------------------------------------------------------------------------------------------
def draw_parents(
    fitness: Floats, higher_is_better: bool, rng: np.random.Generator, count: int = PARENTS
) -> Integers:
    """Draw parents for crossover without replacement, likelier the fitter, and return their numbers from the worst to the best.

    Chances are proportional to the fitness, or to its inverse where lower is better; a negative fitness has none, and is only taken where
    there are too few others.
    """
    count = min(count, len(fitness))
    weight = np.maximum(fitness, 0.0) if higher_is_better else 1.0 / (np.maximum(fitness, 0.0) + 1e-12)
    some = np.flatnonzero(weight > 0)
    if len(some) >= count:
        chosen = rng.choice(len(fitness), count, replace=False, p=weight / weight.sum())
    else:
        rest = np.flatnonzero(weight <= 0)
        chosen = np.concatenate([some, rng.choice(rest, count - len(some), replace=False)])
    order = np.argsort(fitness[chosen] if higher_is_better else -fitness[chosen], kind="stable")
    return np.asarray(chosen[order], dtype=np.int64)


def target_fitness(fitness: Floats, higher_is_better: bool) -> float:
    """Return what crossover aims at: beyond the best parent by a tenth of what lies between the best and the worst."""
    low, high = float(fitness.min()), float(fitness.max())
    return high + BEYOND * (high - low) if higher_is_better else low - BEYOND * (high - low)


def unlikeliness(logprobs: list[float | None]) -> Floats:
    """Return chances [candidates] that favour unlikely candidates, softmax(-logprob / 10); equal ones where a probability is not known."""
    if any(value is None for value in logprobs):
        return np.full(len(logprobs), 1.0 / len(logprobs))
    scaled = -np.array(logprobs, dtype=np.float64) / SELECTION_TEMPERATURE
    weight = np.exp(scaled - scaled.max())
    return np.asarray(weight / weight.sum())


def first_of_each(answers: NDArray[np.int64]) -> Integers:
    """Return the numbers of the trees that say something that none before them says."""
    seen: dict[bytes, int] = {}
    for number, row in enumerate(answers):
        seen.setdefault(row.tobytes(), number)
    return np.array(sorted(seen.values()), dtype=np.int64)


def leaf_value(leaf: Floats, classes: tuple[Label, ...]) -> Value:
    """Return what a leaf says: the label of its largest share, a number, or several."""
    if classes:
        return str(classes[int(leaf.argmax())])
    return float(leaf[0]) if len(leaf) == 1 else tuple(leaf.tolist())


def forest_trees(judge: TreeJudge, count: int, depth: int, seed: int) -> TreePopulation:
    """Return the trees of scikit-learn's random forest, each of which saw half as many rows, drawn with replacement."""
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    rows, largest = judge.weighted, float(np.finfo(np.float32).max)
    kind = RandomForestClassifier if judge.is_classification else RandomForestRegressor
    labels = rows.Y.argmax(axis=1) if judge.is_classification else rows.Y
    forest = kind(count, max_depth=depth, max_samples=max(1, len(rows.X) // 2), random_state=seed)
    forest.fit(
        np.clip(rows.X, -largest, largest), labels if labels.ndim == 1 or labels.shape[1] > 1 else labels[:, 0],
        sample_weight=rows.weight,
    )  # fmt: skip
    trees = TreePopulation.leaves(count, depth)
    for number, estimator in enumerate(forest.estimators_):
        tree, stack = estimator.tree_, [(0, 0)]
        while stack:
            node, i = stack.pop()
            if tree.children_left[node] < 0:
                continue
            trees.feature[number, i], trees.threshold[number, i] = tree.feature[node], tree.threshold[node]
            trees.missing_left[number, i] = tree.missing_go_to_left[node]
            stack += [(tree.children_left[node], 2 * i + 1), (tree.children_right[node], 2 * i + 2)]
    return trees


@dataclass
class Clock:
    """The time budget of a run: seconds, or None; raises `OutOfTime` when they are over."""

    seconds: float | None
    begun: float = field(default_factory=lambda: time.monotonic())

    def tick(self) -> None:
        """Raise `OutOfTime` when the time is up."""
        if self.seconds is not None and time.monotonic() - self.begun >= self.seconds:
            raise OutOfTime
