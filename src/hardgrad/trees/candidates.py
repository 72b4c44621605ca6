"""What training chooses among: the recipe, the problem, candidates and how they are scored on rows that they have not seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from hardgrad.train.loop import Hardware
from hardgrad.trees.codes import FeatureCodes
from hardgrad.trees.forest import Forest
from hardgrad.trees.greedy import TrainingRows
from hardgrad.trees.interruption import Interruption
from hardgrad.trees.judge import Judge
from hardgrad.trees.metrics import class_index, true_index
from hardgrad.trees.objectives import Objective
from hardgrad.trees.perfect import PerfectForest
from hardgrad.trees.refine import RefinePlan

START_RATES = (0.2, 0.4, 0.7, 1.0)
START_PENALTY = 3.0
FEW_ROWS = 1000
VALIDATE_FROM = 20

Raw = NDArray[np.float64]
T = TypeVar("T")


@dataclass(frozen=True)
class Recipe:
    """What to train.

    Parameters
    ----------
    n_trees, depth : shape of the forest.
    l1 : penalties of the refined candidates; empty for the greedy start alone.
    refine : constants of the gradient stage.
    polish, leaf_refit : whether to take these steps.
    validation_fraction : share of the rows held out from 1,000 rows on; below that there are four folds.
    start_rates : learning rates of the greedy starts; one tree always takes 1.
    max_leaves : bound on the leaves of a greedy tree.
    time_budget : seconds that training should about take; gradient steps are cut to fit.
    """

    n_trees: int = 10
    depth: int = 4
    l1: tuple[float, ...] = (3e-4, 3e-3, 2e-2)
    refine: RefinePlan = field(default_factory=RefinePlan)
    polish: bool = True
    leaf_refit: bool = True
    validation_fraction: float = 0.2
    start_rates: tuple[float, ...] = START_RATES
    max_leaves: int | None = None
    time_budget: float | None = None


@dataclass(frozen=True)
class Problem:
    """Rows (X is their encoded matrix), codes, the loss, how a candidate is scored (lower is better), what an interrupt does."""

    rows: TrainingRows
    X: NDArray[np.float64]
    codes: FeatureCodes
    objective: Objective
    score: Judge
    hardware: Hardware = field(default_factory=Hardware)
    seed: int = 0
    folds: tuple[tuple[NDArray[np.int64], NDArray[np.int64]], ...] = ()
    interruption: Interruption = field(default_factory=Interruption)

    def mapped(self, function: Callable[..., T], items: Sequence[Any]) -> list[T]:
        """Apply a function to items on the threads of the hardware, results in order."""
        if self.hardware.threads == 1 or len(items) == 1:
            return [function(item) for item in items]
        with ThreadPoolExecutor(self.hardware.threads) as pool:
            return list(pool.map(function, items))


@dataclass(frozen=True)
class Candidate:
    """A way to train, and its forests: one a fold while it is judged, one on all rows when it has won.

    Parameters
    ----------
    name, rate, l1, l2, polished : how it was made; `l1=None` is a greedy start, `l2=None` has the leaves it was made with.
    loss : of the hard forest out of fold.
    held_raw : raw scores of the held-out rows, in the order of the folds.
    """

    name: str
    rate: float
    l1: float | None = None
    l2: float | None = None
    polished: bool = False
    loss: float = float("inf")
    held_raw: Raw | None = None


@dataclass(frozen=True)
class Selection:
    """The winner, trained on all rows, and everything that was measured on the way.

    Parameters
    ----------
    forest : quantised, ready to assemble.
    soft : the soft forest that it was hardened from; where a greedy start was kept, that of the best refined candidate, as trained
        on the first fold; None where nothing was trained soft.
    winner, candidates : the candidate that won; all of them, best first.
    held_rows : rows held out, in the order of `Candidate.held_raw`; empty where there were too few rows.
    soft_held_raw : raw scores on the held-out rows of the best refined candidate's SOFT forests (of the relaxed start where nothing
        was trained soft).
    front : sizes of other forests and their held-out score, for the picture of size against accuracy.
    artifact, codes : the finished artifact and its codes, where they are not simply `assemble(forest)` on the problem's codes.
    """

    forest: PerfectForest
    soft: PerfectForest | None
    winner: Candidate
    candidates: tuple[Candidate, ...]
    held_rows: NDArray[np.int64]
    soft_held_raw: Raw | None = None
    front: tuple[dict[str, Any], ...] = ()
    artifact: Forest | None = None
    codes: FeatureCodes | None = None


@dataclass(frozen=True)
class SoftCandidate:
    """The soft forests of one penalty: their raw scores on the held-out rows, and the forest of the first fold."""

    held_raw: Raw
    first_fold: PerfectForest


def make_folds(
    Y: NDArray[np.float64], stratify: bool, fraction: float, seed: int
) -> tuple[tuple[NDArray[np.int64], NDArray[np.int64]], ...]:
    """Return (training rows, held-out rows): four folds below 1,000 rows, one split from there, none below 20 rows."""
    n = len(Y)
    if n < VALIDATE_FROM:
        return ()
    rng = np.random.default_rng([seed, 1])
    order = rng.permutation(n)
    if stratify:  # deal the rows of each class like cards, so that every fold has its share of each
        label = Y.argmax(axis=1) if Y.shape[1] > 1 else Y[:, 0]
        order = order[np.argsort(label[order], kind="stable")]
    parts = 4 if n < FEW_ROWS else max(2, round(1.0 / fraction))
    held = [np.sort(order[k::parts]).astype(np.int64) for k in range(parts)]
    everything = np.arange(n)
    folds = [(np.setdiff1d(everything, rows), rows) for rows in held]
    return tuple(folds if n < FEW_ROWS else folds[:1])


def scored(problem: Problem, candidate: Candidate, raw: Raw) -> Candidate:
    """Return the candidate with its score on the held-out rows of all folds, of which `raw` holds the scores."""
    held = np.concatenate([held for _, held in problem.folds])
    loss = problem.score(raw, problem.rows.Y[held], problem.rows.weight[held])
    return replace(candidate, loss=loss if np.isfinite(loss) else float("inf"), held_raw=raw)


def front_point(
    problem: Problem, candidate: Candidate, trees: int, leaves: int, chosen: bool
) -> dict[str, Any]:
    """Return the size and the held-out loss and accuracy of a candidate."""
    held = np.concatenate([held for _, held in problem.folds])
    raw, Y, weight = candidate.held_raw, problem.rows.Y[held], problem.rows.weight[held]
    assert raw is not None
    accuracy = None
    if problem.objective.kind != "squared":
        truth, guess = true_index(Y), class_index(raw)
        accuracy = float(np.average(truth == guess, weights=weight))
    loss = problem.objective.mean_loss(raw, Y, weight)
    return {
        "name": candidate.name,
        "trees": trees,
        "leaves": leaves,
        "loss": loss,
        "accuracy": accuracy,
        "chosen": chosen,
    }
