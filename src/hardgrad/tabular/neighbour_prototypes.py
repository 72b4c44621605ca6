"""Condensation: a few prototypes that answer as all remembered rows do. Means of clusters first, then moved by gradients of the vote."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hardgrad.tabular.neighbour_fit import Answers
from hardgrad.tabular.neighbour_model import Neighbourhood
from hardgrad.tabular.neighbour_network import distances
from hardgrad.tabular.neighbour_training import (
    JudgedTask,
    Problem,
    Rows,
    Verdict,
    Voters,
    judge,
    prediction_loss,
)
from hardgrad.train.loop import Hardware, train

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
BATCH = 256
RATE = 0.02
PASSES, PATIENCE = 100, 20


def condense(
    model: Neighbourhood, problem: Problem, answers: Answers, count: int, seed: int, hardware: Hardware
) -> Neighbourhood:
    """Return a model that remembers at most `count` prototypes in place of its rows.

    Prototypes begin as the means of clusters, of each class by itself, and are moved so that their vote predicts the training rows.
    Held-out rows say how long, and how many neighbours vote then. A class has at least one prototype and no more than it has different
    rows.

    Parameters
    ----------
    model : remembers the rows of the problem, in its order.
    problem, answers : what it learned from.
    count : prototypes, at least as many as there are classes.
    seed : of the clusters and of the order of batches.

    Source: k-means for the start; Goldberger, Roweis, Hinton and Salakhutdinov, 2004, Neighbourhood Components Analysis, for the gradient.
    """
    embedded = model.memory.astype(np.float64)
    start = _clusters(embedded, problem, count, seed)
    learned = train(_PrototypeTask, (embedded, problem, start, model.temperature, seed), hardware)
    k, smoothing = int(learned["track"][1]), float(learned["track"][2])
    return dataclasses.replace(
        model, k=min(k, len(learned["rows"])), smoothing=smoothing if problem.classification else 0.0, memory=learned["rows"],
        values=answers.values(learned["values"].astype(np.float64)), votes=np.exp(learned["log_votes"].astype(np.float64)),
    )  # fmt: skip


def _clusters(embedded: Floats, problem: Problem, count: int, seed: int) -> Voters:
    rows = problem.learned
    groups = (
        [rows[problem.Y[rows, c] > 0] for c in range(problem.Y.shape[1])]
        if problem.classification
        else [rows]
    )
    groups = [group for group in groups if len(group)]
    parts = [
        _means(embedded[group], problem.Y[group], problem.votes[group], share, seed)
        for group, share in zip(groups, _allotted([len(group) for group in groups], count), strict=True)
    ]
    return Voters(*(torch.from_numpy(np.concatenate(column)).float() for column in zip(*parts, strict=True)))


def _allotted(sizes: list[int], count: int) -> Ints:
    """Shares of `count` in proportion to sizes, none below 1; the remainder goes to the largest fractions."""
    exact = np.maximum(1.0, count * np.array(sizes) / sum(sizes))
    shares = np.floor(exact).astype(np.int64)
    for i in np.argsort(shares - exact, kind="stable")[: max(0, count - int(shares.sum()))]:
        shares[i] += 1
    return shares


def _means(rows: Floats, Y: Floats, votes: Floats, count: int, seed: int) -> tuple[Floats, Floats, Floats]:
    """Positions, values and votes of the clusters of some rows."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    count = min(int(count), len(np.unique(rows, axis=0)))
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", ConvergenceWarning
        )  # of nearly equal rows: empty clusters are left out below
        label = KMeans(count, n_init=1, random_state=seed).fit(rows, sample_weight=votes).labels_
    member = np.eye(count)[label] * votes[:, None]
    total = member.sum(axis=0)
    member, total = member[:, total > 0], total[total > 0]
    return member.T @ rows / total[:, None], member.T @ Y / total[:, None], total


class _Prototypes(nn.Module):
    def __init__(self, start: Voters, learn_values: bool) -> None:
        super().__init__()
        self.rows = nn.Parameter(start.rows.clone())
        self.log_votes = nn.Parameter(start.votes.log())
        self.values: Tensor = nn.Parameter(start.values.clone(), requires_grad=learn_values)


class _PrototypeTask(JudgedTask):
    """Embedded training rows, predicted by the vote of the prototypes."""

    phase = "prototypes"

    def __init__(
        self, embedded: Floats, problem: Problem, start: Voters, temperature: float, seed: int
    ) -> None:
        self.problem, self.temperature, self.seed, self.patience = problem, temperature, seed, PATIENCE
        self.module: _Prototypes = _Prototypes(start, not problem.classification)
        self.rows = Rows(
            *(torch.from_numpy(a).float() for a in (embedded, problem.Y, problem.weight, problem.votes))
        )
        self.key = f"prototypes-{len(start.rows)}-{seed}"
        self.epoch_steps = -(-len(problem.learned) // BATCH)
        self.begin(PASSES)

    def optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.Adam([p for p in self.module.parameters() if p.requires_grad], RATE)

    def loss(self, copies: nn.Module, step: int, parts: range) -> Tensor:
        everything = self.rows_here()
        epoch, place = divmod(step, self.epoch_steps)
        order = np.random.default_rng([self.seed, epoch]).permutation(self.problem.learned)
        batch = torch.from_numpy(order[place * BATCH : (place + 1) * BATCH]).to(everything.Y.device)
        scores = (
            self.module.log_votes - distances(everything.features[batch], self.module.rows) / self.temperature
        )
        answers = scores.softmax(dim=1) @ self.module.values
        losses = prediction_loss(answers, everything.Y[batch], self.problem.classification)
        weight = everything.weight[batch]
        return (losses * weight).sum() / weight.sum()

    def verdict(self) -> Verdict:
        module, everything = self.module, self.rows_here()
        judged = torch.from_numpy(self.problem.judged).to(everything.Y.device)
        voters = Voters(module.rows, module.values, module.log_votes.exp())
        features, Y, weight = everything.features[judged], everything.Y[judged], everything.weight[judged]
        return judge(voters, features, Y, weight, self.temperature, self.problem.classification)
