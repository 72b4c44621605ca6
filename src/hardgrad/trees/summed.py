"""No budget: the weighted sum of a subsampled greedy forest and a block of refined trees, still one exact sum of trees."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hardgrad.trees.candidates import Candidate, Problem, Recipe, Selection, scored
from hardgrad.trees.greedy import BoostingPlan, boost, with_depth
from hardgrad.trees.perfect import PerfectForest
from hardgrad.trees.selection import select

ROUNDS = 200
PATIENCE = 30
GREEDY = BoostingPlan(
    ROUNDS, 0.1, max_depth=5, max_leaves=15, row_share=0.8, column_share=0.7, patience=PATIENCE
)
FEW_FEATURES = 6
REFINED_TREES = 20
REFINED_STEPS = 400
REFINED_L1 = (1e-3, 1e-2)
SHARES = tuple(np.linspace(0.0, 1.0, 8).tolist())
SCALES = (0.8, 0.9, 1.0, 1.1, 1.25)


@dataclass(frozen=True)
class _Mixture:
    """`scale * ((1 - share) * greedy + share * refined)`."""

    share: float
    scale: float

    def raw(self, greedy: NDArray[np.float64], refined: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(self.scale * ((1.0 - self.share) * greedy + self.share * refined))

    def forest(self, greedy: PerfectForest, refined: PerfectForest) -> PerfectForest:
        """The sum as one forest; a part of no weight is left out."""
        parts = [(p, s) for p, s in ((greedy, 1.0 - self.share), (refined, self.share)) if s > 0]
        depth = max(part.depth for part, _ in parts)
        deep = [(with_depth(part, depth), self.scale * s) for part, s in parts]
        return PerfectForest(
            feature=np.concatenate([part.feature for part, _ in deep]),
            weight=np.concatenate([part.weight for part, _ in deep]),
            offset=np.concatenate([part.offset for part, _ in deep]),
            leaf=np.concatenate([part.leaf * s for part, s in deep]),
            bias=np.sum([part.bias * s for part, s in deep], axis=0),
        )


def select_summed(problem: Problem, recipe: Recipe) -> Selection:
    """Train both parts on the folds, choose share and scale by the held-out loss, train both again on all rows.

    The greedy forest alone (share 0, scale 1) is among the choices. With too few rows to hold any out it is what is returned.
    """
    plan = replace(
        GREEDY, column_share=1.0 if problem.codes.n_features < FEW_FEATURES else GREEDY.column_share
    )
    refine = replace(recipe.refine, steps=min(recipe.refine.steps, REFINED_STEPS))
    block = replace(recipe, n_trees=REFINED_TREES, l1=REFINED_L1 if recipe.l1 else (), refine=refine)
    if not problem.folds:
        return select(problem, block)

    def stopped(fold: tuple[NDArray[np.int64], NDArray[np.int64]]) -> PerfectForest:
        rows, held = problem.rows.take(fold[0]), problem.rows.take(fold[1])
        return boost(rows, problem.codes, problem.objective, plan, validation=held, random_state=problem.seed)

    greedy = problem.mapped(stopped, problem.folds)
    rounds = max(1, round(float(np.mean([forest.n_trees for forest in greedy]))))
    greedy_raw = np.concatenate(
        [
            forest.raw(problem.rows.scores[held])
            for forest, (_, held) in zip(greedy, problem.folds, strict=True)
        ]
    )
    refined: Selection | None = None
    with problem.interruption.skipping("all refined trees"):
        refined = select(problem, block)
    if refined is None:
        refined = select(problem, replace(block, l1=()))
    refined_raw = refined.winner.held_raw
    assert refined_raw is not None
    best, winner = (
        _Mixture(0.0, 1.0),
        scored(problem, Candidate("greedy forest", plan.learning_rate), greedy_raw),
    )
    candidates = [winner]
    for share in SHARES:
        for scale in SCALES:
            mixture = _Mixture(share, scale)
            name = f"sum: {1 - share:.2f} greedy, {share:.2f} refined, times {scale}"
            # The refined block's own penalty says whether anything in the sum was trained soft.
            l1 = refined.winner.l1 if share > 0 else None
            candidate = Candidate(name, plan.learning_rate, l1=l1)
            candidate = scored(problem, candidate, mixture.raw(greedy_raw, refined_raw))
            candidates.append(candidate)
            if candidate.loss < winner.loss:
                best, winner = mixture, candidate
    whole = replace(plan, rounds=rounds, patience=None)
    everything = greedy[0]
    with problem.interruption.skipping("training the greedy trees on all rows"):
        everything = boost(problem.rows, problem.codes, problem.objective, whole, random_state=problem.seed)
    forest = best.forest(everything, refined.forest).quantised()
    soft_raw = None if refined.soft_held_raw is None else best.raw(greedy_raw, refined.soft_held_raw)
    soft = None if refined.soft is None else best.forest(everything, refined.soft)
    ranked = tuple(sorted(candidates, key=lambda candidate: candidate.loss))
    return Selection(forest, soft, winner, ranked, refined.held_rows, soft_raw, refined.front)
