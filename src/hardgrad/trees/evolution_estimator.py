"""EvolvedTree: the run that both estimators of evolved trees share: rows held out, memory, interrupts, and the exact tree.

The rules of evolution are in `evolution`; trees come from `proposers`, `semantic_proposer`, `chat_endpoint` and `local_language_model`.
torch is imported to polish and for nothing else.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from hardgrad.core.errors import DataError, HardgradWarning, ParameterError, suggestion
from hardgrad.tabular.table_estimator import TableEstimator, is_whole
from hardgrad.train.checkpoint import current_checkpoint, fingerprint
from hardgrad.train.progress import emit, listen
from hardgrad.trees.evolution import FILLED, Clock, Evolution, EvolutionState, OutOfTime
from hardgrad.trees.forest import Forest
from hardgrad.trees.interruption import Interruption
from hardgrad.trees.metrics import Metric
from hardgrad.trees.objectives import Objective
from hardgrad.trees.proposers import RandomProposer, TaskContext, TreeProposer
from hardgrad.trees.semantic_proposer import SemanticPriorProposer
from hardgrad.trees.tree_fitness import FitnessRows, TreeJudge
from hardgrad.trees.tree_text import TreeText, forest_from_texts

Floats = NDArray[np.float64]
PROPOSERS = {"semantic": SemanticPriorProposer, "random": RandomProposer}
CONTEXT_ROWS = 2048
FEWEST_TO_HOLD_OUT = 20
DEEPEST = 10
STAGE = "evolution"


class EvolvedTree(TableEstimator):
    """What both estimators share: the run, its memory, and the artifact."""

    artifact_attribute = "forest_"

    def __init__(
        self,
        max_depth: int = 3,
        *,
        population: int = 25,
        generations: int = 25,
        metric: str | None = None,
        proposer: Any = "semantic",
        feature_descriptions: Mapping[str, str] | None = None,
        task_description: str = "",
        validation_fraction: float = 0.67,
        soft_polish: bool = False,
        time_budget: float | None = None,
        warm_start: bool = False,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.max_depth = max_depth
        self.population = population
        self.generations = generations
        self.metric = metric
        self.proposer = proposer
        self.feature_descriptions = feature_descriptions
        self.task_description = task_description
        self.validation_fraction = validation_fraction
        self.soft_polish = soft_polish
        self.time_budget = time_budget
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    def _check_parameters(self) -> None:
        depth, share, seconds, proposer = (
            self.max_depth,
            self.validation_fraction,
            self.time_budget,
            self.proposer,
        )
        self._require(is_whole(depth) and depth <= DEEPEST, "max_depth", f"1 to {DEEPEST}")
        self._require(is_whole(self.population, 2), "population", "a whole number of at least 2")
        self._require(is_whole(self.generations, 0), "generations", "a whole number, 0 or more")
        self._require(0 <= share < 1, "validation_fraction", "a share from 0 to below 1")
        self._require(seconds is None or seconds > 0, "time_budget", "seconds, or None")
        self._require(
            proposer in PROPOSERS if isinstance(proposer, str) else isinstance(proposer, TreeProposer), "proposer",
            f"{', '.join(map(repr, PROPOSERS))} or an object with propose(parents, fitness, target, context, n)",
        )  # fmt: skip

    # --- the run -------------------------------------------------------------------------------------------------------------
    def _run(self, X: Any, Y: Floats, groups: NDArray[np.int64], weight: Floats, target: str) -> None:
        """Hold rows out, evolve, and keep the tree that is best on them.

        Parameters
        ----------
        X : what `_check_input` returned.
        Y : one-hot classes or values [n, outputs].
        groups : [n]; each is held out in the same share.
        weight : [n].
        """
        before = getattr(self, "_evolved", None) if self.warm_start else None
        seed = self._seed_of_fit() if before is None else before[0]
        held = self._held_out(groups, weight, np.random.default_rng(seed))
        self.held_out_ = held
        labels = Y.argmax(axis=1) if self._classes() else (Y[:, 0] if Y.shape[1] == 1 else Y)
        task = "classification" if self._classes() else "regression"
        _, encoded = self._encode_training(
            X, labels, weight * ~held, task=task, n_classes=Y.shape[1], seed=seed
        )
        evolution = self._evolution(encoded, Y, weight, held, seed, target)
        made_of = fingerprint(encoded, Y, weight, self.max_depth, self.population, self.metric_)
        if before is not None and before[1] != made_of:
            raise DataError(
                f"{type(self).__name__} with warm_start=True got other rows or settings than it evolved on; expected the same. Set "
                "warm_start=False to start again."
            )
        interruption = Interruption(welcome=current_checkpoint() is None)
        self.stopped_by_ = "generations"
        with listen(self._print_event):
            state = self._first_state(evolution, before, seed)
            self._keep(evolution, state, seed, made_of)
            with interruption.skipping("the generations that were left"):
                self._evolve(evolution, state, seed, made_of)
            self._finish(evolution, interruption)
        if interruption.happened:
            self.stopped_by_ = "interrupt"
        interruption.warn(type(self).__name__)
        self._warn_of_filled(evolution.context)

    def _first_state(
        self, evolution: Evolution, before: tuple[int, str, dict[str, Any]] | None, seed: int
    ) -> EvolutionState:
        checkpoint = current_checkpoint()
        saved = None if checkpoint is None else checkpoint.read(STAGE)
        if saved is not None:
            return evolution.from_arrays(saved[0])
        return evolution.start(seed) if before is None else evolution.from_arrays(before[2])

    def _evolve(self, evolution: Evolution, state: EvolutionState, seed: int, made_of: str) -> None:
        clock = Clock(self.time_budget)
        while state.generation < self.generations:
            try:
                state = evolution.step(state, clock.tick)
            except OutOfTime:
                self.stopped_by_ = "time_budget"
                return
            self._keep(evolution, state, seed, made_of)
            entry = state.history[-1]
            emit(
                "evolve", state.generation / self.generations, hard=entry["validation"],
                message=f"generation {state.generation}, training {self.metric_} {entry['best']:.4f}",
            )  # fmt: skip

    def _keep(self, evolution: Evolution, state: EvolutionState, seed: int, made_of: str) -> None:
        """Remember a whole generation: an interrupt in the next one leaves this."""
        arrays = evolution.to_arrays(state)
        self._evolved = (seed, made_of, arrays)
        self._state = state
        self.history_ = state.history
        if (checkpoint := current_checkpoint()) is not None:
            checkpoint.write(STAGE, arrays, state.generation)

    def _evolution(
        self, encoded: Floats, Y: Floats, weight: Floats, held: NDArray[np.bool_], seed: int, target: str
    ) -> Evolution:
        used = weight > 0
        rows = FitnessRows(encoded, Y, weight)
        train, validation = rows.take(used & ~held), rows.take(used & held) if held.any() else None
        metric, objective = self._metric(Y.shape[1])
        self.metric_ = metric.name
        judge = TreeJudge(metric, objective, train, validation, self._leaf_weights(metric, train))
        rng = np.random.default_rng([seed, 1])
        some = judge.weighted
        if len(some.X) > CONTEXT_ROWS:
            some = some.take(np.sort(rng.choice(len(some.X), CONTEXT_ROWS, replace=False)))
        if not self._classes():
            spread = some.Y.std(axis=0)
            some = FitnessRows(
                some.X, (some.Y - some.Y.mean(axis=0)) / np.where(spread > 0, spread, 1.0), some.weight
            )
        context = TaskContext(
            self.schema_, some, self.max_depth, metric.name, metric.higher_is_better, rng, classes=self._classes(), target=target,
            feature_descriptions=self._descriptions(), task_description=str(self.task_description),
        )  # fmt: skip
        if len(context.positions) < len(context.names):
            raise DataError(
                f"features share a name: {context.names}; a tree as text needs distinct ones. Rename the columns."
            )
        proposer = PROPOSERS[self.proposer]() if isinstance(self.proposer, str) else self.proposer
        return Evolution(judge, context, proposer, self.population)

    def _descriptions(self) -> dict[str, str]:
        given = dict(self.feature_descriptions or {})
        known = [*getattr(self, "feature_names_in_", []), *self.schema_.names]
        known += [feature.name for feature in self.schema_.features]
        for name in given:
            if name not in known:
                raise ParameterError(
                    f"feature_descriptions got {name!r}, which is no column; the table has {list(dict.fromkeys(known))}."
                    f"{suggestion(str(name), known)}"
                )
        return given

    def _held_out(
        self, groups: NDArray[np.int64], weight: Floats, rng: np.random.Generator
    ) -> NDArray[np.bool_]:
        """Draw the rows to choose by, the same share of each group; one row of each stays."""
        held = np.zeros(len(groups), dtype=np.bool_)
        if (weight > 0).sum() < FEWEST_TO_HOLD_OUT:
            return held
        for group in np.unique(groups):
            rows = rng.permutation(np.flatnonzero((groups == group) & (weight > 0)))
            held[rows[: min(round(self.validation_fraction * len(rows)), len(rows) - 1)]] = True
        return held

    # --- the result ----------------------------------------------------------------------------------------------------------
    def _finish(self, evolution: Evolution, interruption: Interruption) -> None:
        state, context = self._state, evolution.context
        self.hall_of_fame_ = evolution.hall_of_fame(state)
        self.rejected_ = dict(sorted(context.rejected.items()))
        winner = state.hall.take(np.arange(1))
        if self.soft_polish and winner.trees.tests.any():
            from hardgrad.trees.threshold_polish import polish_thresholds

            with interruption.skipping("the soft polish"):
                polished, self.gap_ = polish_thresholds(winner, evolution.judge, context)
                winner = polished
        values = [tuple(leaf.tolist()) for leaf in winner.values[0]]
        self.tree_ = evolution.text(winner, 0)
        self.forest_ = self._as_forest(winner.trees.to_text(0, context.names, values))

    def _as_forest(self, tree: TreeText) -> Forest:
        task = "classification" if self._classes() else "regression"
        return forest_from_texts([tree], self.schema_, classes=self._classes(), task=task, link="identity")

    def _warn_of_filled(self, context: TaskContext) -> None:
        filled = context.rejected[FILLED]
        if filled:
            others = ", ".join(f"{reason}: {n}" for reason, n in self.rejected_.items() if reason != FILLED)
            warnings.warn(
                f"{type(self).__name__} drew {filled} trees at random, because its proposer gave too few that could be used "
                f"({others or 'none at all'}). The tree is exact all the same; see rejected_.",
                HardgradWarning,
                stacklevel=4,
            )

    def plot_history(self, ax: Any = None) -> Any:
        """Draw the best and the median fitness, the metric on the rows held out, and the diversity by generation; return the axis.

        Needs matplotlib.
        """
        check_is_fitted(self)
        if ax is None:
            import matplotlib.pyplot as plt

            ax = plt.figure().add_subplot()
        generations = [entry["generation"] for entry in self.history_]
        for name in ("best", "median", "validation", "diversity"):
            style = ":" if name == "diversity" else "-"
            ax.plot(generations, [entry[name] for entry in self.history_], style, label=name)
        ax.set_xlabel("generation")
        ax.set_ylabel(self.metric_)
        ax.legend()
        return ax

    # --- what differs --------------------------------------------------------------------------------------------------------
    def _classes(self) -> tuple[Any, ...]:
        raise NotImplementedError

    def _metric(self, outputs: int) -> tuple[Metric, Objective]:
        raise NotImplementedError

    def _leaf_weights(self, metric: Metric, train: FitnessRows) -> Floats:
        raise NotImplementedError
