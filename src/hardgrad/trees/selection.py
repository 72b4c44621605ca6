"""From rows to the best hard forest: greedy starts, refined candidates, the choice out of fold, retraining on all rows.

Every candidate is judged by the loss of its HARD, quantised forest on rows it has not seen; the winner is trained again on all rows.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from hardgrad.train.loop import Hardware
from hardgrad.train.progress import emit
from hardgrad.trees.codes import FeatureCodes
from hardgrad.trees.forest import Forest
from hardgrad.trees.greedy import BoostingPlan, TrainingRows, boost
from hardgrad.trees.leaf_refit import REFIT_PATH, refit_leaves
from hardgrad.trees.metrics import class_index, true_index
from hardgrad.trees.objectives import Objective
from hardgrad.trees.perfect import PerfectForest
from hardgrad.trees.polish import polish
from hardgrad.trees.refine import Member, RefineData, RefinePlan, refine

START_RATES = (0.2, 0.4, 0.7, 1.0)
START_PENALTY = 3.0
FEW_ROWS = 1000
KEEP_START_BELOW = 200
VALIDATE_FROM = 20

Raw = NDArray[np.float64]
Score = Callable[[Raw, Raw, NDArray[np.float64]], float]
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
    """Rows (X is their encoded matrix), their codes, the loss, and how a candidate is scored (lower is better)."""

    rows: TrainingRows
    X: NDArray[np.float64]
    codes: FeatureCodes
    objective: Objective
    score: Score
    hardware: Hardware = field(default_factory=Hardware)
    seed: int = 0
    folds: tuple[tuple[NDArray[np.int64], NDArray[np.int64]], ...] = ()

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


def select(problem: Problem, recipe: Recipe) -> Selection:
    """Train all candidates on the folds, judge them, and train the winner on all rows."""
    if not problem.folds:
        warnings.warn(
            f"{len(problem.rows)} rows are too few to hold any out: the forest is the greedy start, not validated.",
            UserWarning,
            stacklevel=3,
        )
        winner = Candidate("greedy start", 1.0 if recipe.n_trees == 1 else 0.4, l2=START_PENALTY)
        return Selection(
            _train_start(problem, recipe, winner).quantised(),
            None,
            winner,
            (winner,),
            np.empty(0, dtype=np.int64),
        )
    parts = [problem.rows.take(train) for train, _ in problem.folds]
    starts, candidates = _judge_starts(problem, recipe, parts)
    best_rate = min(candidates, key=_loss).rate
    refined: list[Candidate] = []
    softs: dict[float, SoftCandidate] = {}
    if recipe.l1 and len(problem.rows) >= KEEP_START_BELOW:
        refined, softs = _judge_refined(problem, recipe, parts, starts[best_rate], best_rate)
    ranked = tuple(sorted([*candidates, *refined], key=_loss))
    winner = ranked[0]
    held_rows = np.concatenate([held for _, held in problem.folds])
    best_soft = min(refined, key=_loss, default=None)
    front = (
        *_front(problem, recipe, parts),
        front_point(problem, winner, recipe.n_trees, recipe.n_trees * 2**recipe.depth, True),
    )
    forest, soft = _train_winner(problem, recipe, winner)
    if best_soft is not None and best_soft.l1 is not None:
        soft_held_raw = softs[best_soft.l1].held_raw
        soft = softs[best_soft.l1].first_fold if soft is None else soft
    else:  # nothing was trained soft: what can be measured is the start, relaxed
        forests = [_train_start(problem, recipe, winner, rows) for rows in parts]
        soft_held_raw = _soft_held(problem, recipe, forests)
    return Selection(forest, soft, winner, ranked, held_rows, soft_held_raw, front)


FRONT_SIZES = ((1, 2), (1, 3), (1, 4), (2, 4), (3, 4), (5, 4), (10, 4), (20, 4), (40, 4))


def _front(problem: Problem, recipe: Recipe, parts: Sequence[TrainingRows]) -> list[dict[str, Any]]:
    """Greedy forests of other sizes, leaves refitted: what more or fewer trees would give, at almost no cost."""

    def point(size: tuple[int, int]) -> dict[str, Any]:
        other = replace(recipe, n_trees=size[0], depth=size[1])
        rate = 1.0 if size[0] == 1 else 0.4
        forests = [
            _refits(problem, rows, _greedy(problem, other, rows, rate), _path_to(START_PENALTY))[-1]
            for rows in parts
        ]
        judged = _judged(problem, Candidate("greedy", rate), forests)
        return front_point(problem, judged, size[0], sum(f.n_leaves for f in forests) // len(forests), False)

    return problem.mapped(point, FRONT_SIZES)


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


def _loss(candidate: Candidate) -> float:
    return candidate.loss


def _rates(recipe: Recipe) -> tuple[float, ...]:
    return (1.0,) if recipe.n_trees == 1 else recipe.start_rates


def _judged(problem: Problem, candidate: Candidate, forests: Sequence[PerfectForest]) -> Candidate:
    """Score a candidate by the forests of its folds."""
    raws = [
        forest.raw(problem.rows.scores[held])
        for forest, (_, held) in zip(forests, problem.folds, strict=True)
    ]
    return scored(problem, candidate, np.concatenate(raws))


def scored(problem: Problem, candidate: Candidate, raw: Raw) -> Candidate:
    """Return the candidate with its score on the held-out rows of all folds, of which `raw` holds the scores."""
    held = np.concatenate([held for _, held in problem.folds])
    loss = problem.score(raw, problem.rows.Y[held], problem.rows.weight[held])
    return replace(candidate, loss=loss if np.isfinite(loss) else float("inf"), held_raw=raw)


def _plan(recipe: Recipe, rate: float) -> BoostingPlan:
    return BoostingPlan(recipe.n_trees, rate, max_depth=recipe.depth, max_leaves=recipe.max_leaves)


def _greedy(problem: Problem, recipe: Recipe, rows: TrainingRows, rate: float) -> PerfectForest:
    """Greedy start; weights are 1, the scale that refinement's rates and penalties are made for."""
    if recipe.refine.split == "oblivious":
        from hardgrad.trees.oblivious import boost_oblivious

        return boost_oblivious(rows, problem.codes, problem.objective, recipe.n_trees, rate, recipe.depth)
    return boost(rows, problem.codes, problem.objective, _plan(recipe, rate), random_state=problem.seed)


def _refits(
    problem: Problem, rows: TrainingRows, forest: PerfectForest, path: Sequence[float] = REFIT_PATH
) -> list[PerfectForest]:
    """The same structure with leaves refitted at each l2."""
    index = forest.leaf_index(rows.scores)
    leaves = refit_leaves(
        index, rows.Y, rows.weight, problem.objective, path, start=(forest.leaf, forest.bias)
    )
    return [forest.with_leaves(leaf, bias) for leaf, bias in leaves]


def _path_to(l2: float) -> tuple[float, ...]:
    """The warm-started path that ends at l2: the same steps as when the candidate was judged."""
    return tuple(penalty for penalty in REFIT_PATH if penalty >= l2)


def _judge_starts(
    problem: Problem, recipe: Recipe, parts: Sequence[TrainingRows]
) -> tuple[dict[float, list[PerfectForest]], list[Candidate]]:
    rates = _rates(recipe)
    jobs = [(rate, rows) for rate in rates for rows in parts]
    greedy = problem.mapped(lambda job: _greedy(problem, recipe, job[1], job[0]), jobs)
    refitted = (
        problem.mapped(
            lambda job: _refits(problem, job[0], job[1]),
            [(r, f) for (_, r), f in zip(jobs, greedy, strict=True)],
        )
        if recipe.leaf_refit
        else []
    )
    starts: dict[float, list[PerfectForest]] = {}
    candidates = []
    k = len(parts)
    for i, rate in enumerate(rates):
        starts[rate] = greedy[i * k : (i + 1) * k]
        candidates.append(_judged(problem, Candidate("greedy start", rate), starts[rate]))
        for j, l2 in enumerate(REFIT_PATH if recipe.leaf_refit else ()):
            forests = [path[j] for path in refitted[i * k : (i + 1) * k]]
            candidates.append(
                _judged(problem, Candidate("greedy start, leaves refitted", rate, l2=l2), forests)
            )
    emit("greedy start", 1.0, hard=min(c.loss for c in candidates))
    return starts, candidates


def _finish_refined(
    problem: Problem, recipe: Recipe, rows: TrainingRows, soft: PerfectForest, polished: bool
) -> PerfectForest:
    """Harden a soft forest: quantise, refit, polish, quantise again. The path of leaf refits starts at what this returns."""
    hard = soft.quantised()
    if not polished:
        return hard
    hard = _refits(problem, rows, hard, _path_to(START_PENALTY))[-1]
    return polish(
        hard,
        rows,
        problem.objective,
        new_features=recipe.refine.split == "sparse_oblique",
        random_state=problem.seed,
    ).quantised()


def _judge_refined(
    problem: Problem,
    recipe: Recipe,
    parts: Sequence[TrainingRows],
    starts: Sequence[PerfectForest],
    rate: float,
) -> tuple[list[Candidate], dict[float, SoftCandidate]]:
    """Refine from the best start on every fold at every l1, all side by side; judge with and without polish at every l2."""
    ready = [
        _refits(problem, rows, start, _path_to(START_PENALTY))[-1]
        for rows, start in zip(parts, starts, strict=True)
    ]
    members = [
        Member(ready[k], problem.folds[k][0], l1, stream=k) for l1 in recipe.l1 for k in range(len(parts))
    ]
    data = RefineData(problem.rows.scores, problem.rows.Y, problem.rows.weight, problem.folds[0][1])
    softs = refine(
        members, data, problem.objective, recipe.refine, hardware=problem.hardware, seed=problem.seed, key="candidates",
        phase="refine candidates",
    )  # fmt: skip
    kinds = _polish_kinds(recipe)
    jobs = [(polished, i) for polished in kinds for i in range(len(members))]

    def finish(job: tuple[bool, int]) -> list[PerfectForest]:
        polished, i = job
        rows = parts[i % len(parts)]
        hard = _finish_refined(problem, recipe, rows, softs[i], polished)
        return _refits(problem, rows, hard) if recipe.leaf_refit else [hard]

    finished = problem.mapped(finish, jobs)
    emit("polish candidates", 1.0)
    found: list[Candidate] = []
    k = len(parts)
    for p, polished in enumerate(kinds):
        for a, l1 in enumerate(recipe.l1):
            at = p * len(members) + a * k
            for j, l2 in enumerate(REFIT_PATH if recipe.leaf_refit else (None,)):
                name = f"refined{', polished' if polished else ''}"
                candidate = Candidate(name, rate, l1=l1, l2=l2, polished=polished)
                found.append(_judged(problem, candidate, [path[j] for path in finished[at : at + k]]))
    by_l1 = {
        l1: SoftCandidate(_soft_held(problem, recipe, softs[a * k : (a + 1) * k]), softs[a * k])
        for a, l1 in enumerate(recipe.l1)
    }
    return found, by_l1


def _soft_held(problem: Problem, recipe: Recipe, forests: Sequence[PerfectForest]) -> Raw:
    """Raw scores of soft forests, one a fold, on the rows that each has not seen, at the last temperature of training."""
    from hardgrad.trees.refine_tools import soft_raw

    temperature, split = recipe.refine.temperature[1], recipe.refine.split
    pairs = zip(forests, problem.folds, strict=True)
    return np.concatenate(
        [soft_raw(f, problem.rows.scores[held], temperature, split) for f, (_, held) in pairs]
    )


def _polish_kinds(recipe: Recipe) -> tuple[bool, ...]:
    # An oblivious tree shares a test among the nodes of a level; moving single nodes would end that.
    return (False, True) if recipe.polish and recipe.refine.split != "oblivious" else (False,)


def _train_start(
    problem: Problem, recipe: Recipe, winner: Candidate, rows: TrainingRows | None = None
) -> PerfectForest:
    rows = problem.rows if rows is None else rows
    start = _greedy(problem, recipe, rows, winner.rate)
    return start if winner.l2 is None else _refits(problem, rows, start, _path_to(winner.l2))[-1]


def _train_winner(
    problem: Problem, recipe: Recipe, winner: Candidate
) -> tuple[PerfectForest, PerfectForest | None]:
    """Train the winner again, on all rows, by the steps by which it was judged."""
    if winner.l1 is None:
        return _train_start(problem, recipe, winner).quantised(), None
    start = _train_start(problem, recipe, replace(winner, l2=START_PENALTY))
    member = Member(start, np.arange(len(problem.rows)), winner.l1, stream=len(problem.folds))
    # Nothing is held out of this run, so there is no metric to show on the way.
    data = RefineData(problem.rows.scores, problem.rows.Y, problem.rows.weight)
    soft = refine(
        [member], data, problem.objective, recipe.refine, hardware=problem.hardware, seed=problem.seed, key="all-rows",
        phase="refine on all rows",
    )[0]  # fmt: skip
    hard = _finish_refined(problem, recipe, problem.rows, soft, winner.polished)
    if winner.l2 is not None:
        hard = _refits(problem, problem.rows, hard, _path_to(winner.l2))[-1]
    emit("polish", 1.0)
    return hard, soft
