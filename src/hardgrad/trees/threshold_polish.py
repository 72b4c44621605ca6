"""Soft polish of one tree: its thresholds move by gradient in a `SoftForest`, and harden. What the tree tests stays as it is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hardgrad.core.gap import GapReport
from hardgrad.core.schedule import Schedule
from hardgrad.train.loop import Hardware, TrainingTask, train
from hardgrad.trees.assemble import Frame, perfect_from_forest
from hardgrad.trees.codes import FeatureCodes, normal_scores
from hardgrad.trees.gap_measure import measure_gap
from hardgrad.trees.objectives import Objective
from hardgrad.trees.perfect import PerfectForest
from hardgrad.trees.proposers import TaskContext
from hardgrad.trees.soft_forest import SoftForest
from hardgrad.trees.tree_fitness import JudgedTrees, TreeJudge
from hardgrad.trees.tree_population import Floats
from hardgrad.trees.tree_text import TreeText, forest_from_texts

STEPS = 200
RATE = 0.01
WARM, COLD = 0.15, 0.03
"""Temperatures of the gates, in standard scores: from warm to cold."""


def polish_thresholds(
    winner: JudgedTrees, judge: TreeJudge, context: TaskContext
) -> tuple[JudgedTrees, GapReport]:
    """Return a tree with its thresholds polished, or as it was where that is worse on the rows held out, and the gap of the soft one.

    Parameters
    ----------
    winner : one tree, which tests something.
    judge : fills the leaves and measures.
    context : the task, with the training rows to polish on.

    Returns
    -------
    tree, gap : the gap is between the soft tree and the hard one that came of it, on the rows held out; its detail says the metric
        `before` and `after`, how many thresholds `moved`, and whether the tree was `kept_start`, as it was.
    """
    rows, depth = context.rows, winner.trees.depth
    raw = judge.raw(winner.values)[0]
    text = winner.trees.to_text(0, context.names, [tuple(leaf) for leaf in raw.tolist()])
    start = forest_from_texts([text], context.schema)
    codes = _codes(start.feature, start.threshold, rows.X, rows.weight)
    objective = judge.objective
    frame = Frame(context.schema, codes, "identity", "regression")
    perfect = perfect_from_forest(start, codes)
    Y = rows.Y[:, 1:] if objective.kind == "logistic" else rows.Y
    if (
        objective.kind == "squared"
    ):  # the context holds standard targets; the leaves are in the units of the table
        centre, spread = np.average(judge.train.Y, axis=0), judge.train.Y.std(axis=0)
        spread = np.where(spread > 0, spread, 1.0)
        perfect = replace(perfect, leaf=(perfect.leaf - centre) / spread)
    arguments = (
        perfect, codes.encode_scores(rows.X), Y.astype(np.float32), rows.weight.astype(np.float32), objective.kind,
    )  # fmt: skip
    learned = train(_PolishTask, arguments, Hardware())
    soft = SoftForest.from_perfect([perfect], codes.n_features, split="axis", temperature=COLD, frame=frame)
    soft.load_state_dict({name: torch.from_numpy(value) for name, value in learned.items()}, strict=False)
    trees = context.population([_deepest(TreeText.from_forest(soft.harden()), depth)])
    polished = judge.judge(trees.without_idle_tests(judge.train.X))
    sign = 1.0 if judge.metric.higher_is_better else -1.0
    before, after = float(winner.validation[0]), float(polished.validation[0])
    kept_start = sign * after < sign * before
    held = judge.train if judge.validation is None else judge.validation
    with torch.no_grad():
        soft_raw = soft(torch.from_numpy(codes.encode_scores(held.X))).double().numpy()
    if objective.kind == "squared":
        soft_raw = soft_raw * spread + centre
    hard_raw = judge.raw(polished.values)[0][polished.trees.leaf_index(held.X)[0]]
    held_Y = held.Y[:, 1:] if objective.kind == "logistic" else held.Y
    gap = measure_gap(soft_raw, hard_raw, held_Y, held.weight, objective, judge.metric, kept_start=kept_start)
    moved = _thresholds(winner) - _thresholds(polished)
    detail = {**gap.detail, "before": before, "after": after, "moved": float(len(moved))}
    return winner if kept_start else polished, replace(gap, detail=detail)


def _codes(feature: NDArray[np.int32], threshold: Floats, X: Floats, weight: Floats) -> FeatureCodes:
    """Codes of the rows whose cuts hold the thresholds of the tree."""
    found = FeatureCodes.fit(X, weight)
    cuts, scores = [], []
    for number, cut in enumerate(found.cuts):
        own = threshold[(feature == number) & np.isfinite(threshold)]
        every = np.union1d(cut, own)
        there = ~np.isnan(X[:, number])
        cuts.append(every)
        scores.append(normal_scores(X[there, number], weight[there], every))
    return FeatureCodes(tuple(cuts), tuple(scores))


def _deepest(text: TreeText, depth: int) -> TreeText:
    """The tree, of which a missing value's own test may have made it deeper: what is too deep becomes a leaf."""
    if text.left is None or text.right is None:
        return text
    if depth == 0:
        return TreeText(value=0.0)
    return replace(text, left=_deepest(text.left, depth - 1), right=_deepest(text.right, depth - 1))


def _thresholds(judged: JudgedTrees) -> set[tuple[int, float]]:
    tests = judged.trees.tests[0]
    return set(
        zip(judged.trees.feature[0, tests].tolist(), judged.trees.threshold[0, tests].tolist(), strict=True)
    )


class _PolishTask(TrainingTask):
    """All rows in every step; offsets and leaves move, the features do not."""

    key = phase = "polish thresholds"
    steps = STEPS

    def __init__(
        self, perfect: PerfectForest, scores: NDArray[np.float32], Y: NDArray[np.float32], weight: NDArray[np.float32], kind: Any
    ) -> None:  # fmt: skip
        self.scores, self.Y, self.weight = (torch.from_numpy(part) for part in (scores, Y, weight))
        self.objective = Objective(kind)
        self.module = SoftForest.from_perfect([perfect], scores.shape[1], split="axis", temperature=WARM)
        self.module.weight.requires_grad_(False)
        self.module.bias.requires_grad_(False)
        self.cooling = Schedule.exponential(WARM, COLD)

    def optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.Adam([p for p in self.module.parameters() if p.requires_grad], RATE)

    def before_step(self, step: int, optimizer: torch.optim.Optimizer) -> None:
        assert isinstance(self.module, SoftForest)
        self.module.set_temperature(self.cooling.at(step=step, steps=self.steps))

    def loss(self, copies: nn.Module, step: int, parts: range) -> Tensor:
        raw = copies(self.scores)
        if self.objective.kind == "squared":
            each = ((raw - self.Y) ** 2).mean(1)
        elif self.objective.kind == "logistic":
            each = nn.functional.binary_cross_entropy_with_logits(raw, self.Y, reduction="none").mean(1)
        else:
            each = -(self.Y * raw.log_softmax(1)).sum(1)
        loss: Tensor = (self.weight * each).sum() / self.weight.sum()
        return loss

    def result(self) -> dict[str, NDArray[Any]]:
        return {name: value.detach().cpu().numpy() for name, value in self.module.named_parameters()}
