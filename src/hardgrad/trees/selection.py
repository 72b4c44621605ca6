"""From rows to the best hard forest: greedy starts, refined candidates, the choice out of fold, retraining on all rows.

Every candidate is judged by the loss of its HARD, quantised forest on rows it has not seen; the winner is trained again on all rows.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hardgrad.core.errors import ParameterError
from hardgrad.train.checkpoint import current_checkpoint, fingerprint
from hardgrad.train.loop import under_torchrun
from hardgrad.train.progress import emit
from hardgrad.trees.candidates import (
    START_PENALTY,
    Candidate,
    Problem,
    Raw,
    Recipe,
    Selection,
    SoftCandidate,
    front_point,
    scored,
)
from hardgrad.trees.greedy import BoostingPlan, TrainingRows, boost
from hardgrad.trees.leaf_refit import REFIT_PATH, refit_leaves
from hardgrad.trees.perfect import PerfectForest
from hardgrad.trees.polish import polish
from hardgrad.trees.refine import Member, RefineData, RefinePlan, refine

KEEP_START_BELOW = 200
PROBE_STEPS = 10
FEWEST_STEPS = 20
REFINE_SHARE = 0.6


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
    began = time.monotonic()
    parts = [problem.rows.take(train) for train, _ in problem.folds]
    starts, candidates = _judge_starts(problem, recipe, parts)
    best_rate = min(candidates, key=_loss).rate
    refined: list[Candidate] = []
    softs: dict[float, SoftCandidate] = {}
    with problem.interruption.skipping("all refined forests"):
        if recipe.l1 and len(problem.rows) >= KEEP_START_BELOW:
            members = _members(problem, recipe, parts, starts[best_rate])
            recipe = replace(recipe, refine=_in_time(problem, recipe, members, began))
            if recipe.refine.steps >= FEWEST_STEPS:
                refined, softs = _judge_refined(problem, recipe, parts, members, best_rate)
    ranked = tuple(sorted([*candidates, *refined], key=_loss))
    winner = ranked[0]
    held_rows = np.concatenate([held for _, held in problem.folds])
    best_soft = min(refined, key=_loss, default=None)
    forest, soft = _winner_in_time(problem, recipe, parts, winner, softs)
    others: list[dict[str, Any]] = []
    if not problem.interruption.happened:
        with problem.interruption.skipping("forests of other sizes, which are only shown"):
            others = _front(problem, recipe, parts)
    front = (*others, front_point(problem, winner, recipe.n_trees, forest.n_leaves, True))
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
    emit("greedy start", 1.0, hard=problem.score.shown(min(c.loss for c in candidates)))
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


def _members(
    problem: Problem, recipe: Recipe, parts: Sequence[TrainingRows], starts: Sequence[PerfectForest]
) -> list[Member]:
    """What is refined: the start of every fold, leaves refitted, at every l1."""
    ready = [
        _refits(problem, rows, start, _path_to(START_PENALTY))[-1]
        for rows, start in zip(parts, starts, strict=True)
    ]
    return [
        Member(ready[k], problem.folds[k][0], l1, stream=k) for l1 in recipe.l1 for k in range(len(parts))
    ]


def _refine_members(
    problem: Problem, recipe: Recipe, members: list[Member], plan: RefinePlan, phase: str
) -> list[PerfectForest]:
    rows = problem.rows
    data = RefineData(rows.scores, rows.Y, rows.weight, problem.folds[0][1], problem.score)
    return refine(
        members, data, problem.objective, plan, hardware=problem.hardware, seed=problem.seed,
        key=f"{phase}-{fingerprint(recipe, plan)}", phase=phase,
    )  # fmt: skip


def _in_time(problem: Problem, recipe: Recipe, members: list[Member], began: float) -> RefinePlan:
    """The plan with as many steps as the time budget allows, by the speed of a few; 0 steps where there is no time at all.

    A checkpoint remembers the answer, so that interrupted work goes on with the same number of steps.
    """
    plan, checkpoint = recipe.refine, current_checkpoint()
    if recipe.time_budget is None:
        return plan
    if under_torchrun():
        raise ParameterError(
            "a time budget cannot be kept under torchrun: processes would take different numbers of steps."
        )
    key = f"steps-{fingerprint(recipe)}"
    saved = None if checkpoint is None else checkpoint.read(key)
    if saved is not None:
        return replace(plan, steps=saved[1])
    clock = time.monotonic()
    _refine_members(problem, recipe, members, replace(plan, steps=PROBE_STEPS), "measure speed")
    step = (time.monotonic() - clock) / PROBE_STEPS
    left = recipe.time_budget - (time.monotonic() - began)
    # The winner is trained once more, alone, and polish and refits take their share.
    steps = min(plan.steps, max(0, int(REFINE_SHARE * left / (step * (1 + 1 / len(members))))))
    if checkpoint is not None:
        checkpoint.write(key, {"steps": np.array([steps])}, steps)
    return replace(plan, steps=steps)


def _judge_refined(
    problem: Problem,
    recipe: Recipe,
    parts: Sequence[TrainingRows],
    members: list[Member],
    rate: float,
) -> tuple[list[Candidate], dict[float, SoftCandidate]]:
    """Refine from the best start on every fold at every l1, all side by side; judge with and without polish at every l2."""
    softs = _refine_members(problem, recipe, members, recipe.refine, "refine candidates")
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


def _winner_in_time(
    problem: Problem, recipe: Recipe, parts: Sequence[TrainingRows], winner: Candidate, softs: dict[float, SoftCandidate]
) -> tuple[PerfectForest, PerfectForest | None]:  # fmt: skip
    """Train the winner on all rows; if that is interrupted, a refined one stays as it was trained on the first fold."""
    with problem.interruption.skipping(
        f"training the chosen forest on all rows (it has seen {len(parts[0]):,} of {len(problem.rows):,})"
        if winner.l1 is not None
        else "nothing, only the last step was taken twice"
    ):
        return _train_winner(problem, recipe, winner)
    if winner.l1 is None:
        return _train_winner(problem, recipe, winner)
    soft = softs[winner.l1].first_fold
    return _finish_winner(problem, recipe, parts[0], soft, winner), soft


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
        [member], data, problem.objective, recipe.refine, hardware=problem.hardware, seed=problem.seed,
        key=f"refine on all rows-{fingerprint(recipe, winner.l1)}", phase="refine on all rows",
    )[0]  # fmt: skip
    hard = _finish_winner(problem, recipe, problem.rows, soft, winner)
    emit("polish", 1.0)
    return hard, soft


def _finish_winner(
    problem: Problem, recipe: Recipe, rows: TrainingRows, soft: PerfectForest, winner: Candidate
) -> PerfectForest:
    """Harden the winner's soft forest by the steps by which it was judged."""
    hard = _finish_refined(problem, recipe, rows, soft, winner.polished)
    return hard if winner.l2 is None else _refits(problem, rows, hard, _path_to(winner.l2))[-1]
