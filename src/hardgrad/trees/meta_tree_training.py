"""Training a network to induce trees: tasks drawn from a family, an exact teacher, one softmax over all cuts of a node.

`python -m hardgrad.trees.meta_tree_training` makes the checkpoints that the package carries.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hardgrad.core.errors import ArtifactError, ParameterError
from hardgrad.core.schedule import Schedule
from hardgrad.train.loop import Hardware, TrainingTask, train
from hardgrad.trees.meta_tree_networks import ENCODERS, Cuts, Scorer
from hardgrad.trees.meta_tree_tasks import (
    TaskSampler,
    Teacher,
    exact_depth_two,
    mixed_tasks,
    varied_tasks,
    xor_tasks,
)
from hardgrad.trees.meta_tree_weights import MetaTreeWeights

WARM_UP = 50
RATES = {"pairs": 1e-2, "cells": 1e-3}
DATA = Path(__file__).parent / "data"


def train_meta_tree(
    task_sampler: TaskSampler = mixed_tasks,
    teacher: Teacher = exact_depth_two,
    *,
    encoder: str = "pairs",
    steps: int = 200,
    batch_size: int = 16,
    learning_rate: float | None = None,
    sigma: float = 0.1,
    random_state: int = 0,
    device: str = "cpu",
    **settings: int,
) -> MetaTreeWeights:
    """Train a network that names the splits a teacher would make, for `MetaTreeClassifier(checkpoint=...)`.

    Inside `hardgrad.train.checkpoint.checkpointing` it can be interrupted and resumed.

    Parameters
    ----------
    task_sampler : draws tasks, given a random generator and how many; see `hardgrad.trees.meta_tree_tasks`.
    teacher : gives root and children of each task's tree, given X and y.
    encoder : "pairs" (quadrants of pairs of cuts) or "cells" (a transformer over the table).
    steps, batch_size : optimiser steps, and tasks in each. Half of the steps show the root, half one of its children.
    learning_rate : of AdamW; 1e-2 for "pairs", 1e-3 for "cells" by default.
    sigma : how far from the teacher's threshold a cut still counts, as a share of the farthest cut.
    random_state, device : seed; "cpu", "cuda" or "auto".
    settings : sizes of the network.

    Returns
    -------
    weights : an artifact; save it with `.save(path)`.

    Raises
    ------
    ParameterError : an unknown encoder, a size or a rate outside its range.

    Examples
    --------
    >>> train_meta_tree(steps=2, batch_size=4, width=8).encoder
    'pairs'

    Source: Zhuang et al., 2024, Learning a Decision Tree Algorithm with Transformers; the softmax loss and "pairs" are ours.
    """
    if encoder not in ENCODERS:
        raise ParameterError(
            f"train_meta_tree() got encoder={encoder!r}; expected one of {', '.join(ENCODERS)}."
        )
    rate = RATES[encoder] if learning_rate is None else learning_rate
    if steps < 1 or batch_size < 2 or not rate > 0 or not sigma > 0:
        raise ParameterError(
            f"train_meta_tree() got steps={steps}, batch_size={batch_size}, learning_rate={rate}, sigma={sigma}; "
            "expected at least 1 and 2, and positive numbers."
        )
    arguments = (task_sampler, teacher, encoder, settings, steps, batch_size, rate, sigma, random_state)
    learned = train(_InductionTask, arguments, Hardware(device))
    return MetaTreeWeights(learned["weights"], encoder, dict(ENCODERS[encoder](**settings).settings))


def build_network(weights: MetaTreeWeights) -> Scorer:
    """Return the network of an artifact, in evaluation mode.

    Raises
    ------
    ArtifactError : the numbers do not fit the network that the settings describe.
    """
    network: Scorer = ENCODERS[weights.encoder](**weights.settings)
    sizes = [parameter.numel() for parameter in network.parameters()]
    if sum(sizes) != len(weights.weights):
        raise ArtifactError(
            f"a {weights.encoder!r} network has {sum(sizes):,} weights; the file holds {len(weights.weights):,}."
        )
    torch.nn.utils.vector_to_parameters(torch.from_numpy(weights.weights.copy()), network.parameters())
    return network.eval().requires_grad_(False)


def target_distribution(cuts: Cuts, feature: Tensor, threshold: Tensor, sigma: float) -> Tensor:
    """Return what the softmax should say [B, columns, candidates]: a bell around the teacher's threshold in its column, summing to 1."""
    distance = (cuts.threshold - threshold[:, None, None]).abs()
    own = torch.nn.functional.one_hot(feature, cuts.threshold.shape[1]).bool()[:, :, None] & cuts.valid
    farthest = distance.masked_fill(~own, 0.0).amax((1, 2), keepdim=True).clamp(min=1e-12)
    logit = (-(distance / farthest).square() / (2 * sigma**2)).masked_fill(~own, -torch.inf)
    return logit.flatten(1).softmax(1).view(distance.shape).nan_to_num(0.0)


class _InductionTask(TrainingTask):
    """Fresh tasks in every step; even steps show whole tables, odd ones the rows on one side of the teacher's root."""

    key = phase = "meta tree"
    parts = 1

    def __init__(
        self, sampler: TaskSampler, teacher: Teacher, encoder: str, settings: dict[str, int], steps: int, batch_size: int, rate: float,
        sigma: float, seed: int,
    ) -> None:  # fmt: skip
        self.sampler, self.teacher, self.steps = sampler, teacher, steps
        self.batch_size, self.rate, self.sigma, self.seed = batch_size, rate, sigma, seed
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.module = ENCODERS[encoder](**settings)
        self.rates = Schedule.by(
            lambda done: rate * min(1.0, (done * steps + 1) / WARM_UP) * (1 + math.cos(math.pi * done)) / 2
        )

    def optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.module.parameters(), self.rate, weight_decay=0.01)

    def before_step(self, step: int, optimizer: torch.optim.Optimizer) -> None:
        for group in optimizer.param_groups:
            group["lr"] = self.rates.at(step=step, steps=self.steps)

    def add_penalty(self) -> None:
        torch.nn.utils.clip_grad_norm_(self.module.parameters(), 1.0)

    def loss(self, copies: Any, step: int, parts: range) -> Tensor:
        rng = np.random.default_rng([self.seed, step])
        batch = self.sampler(rng, self.batch_size)
        tree = self.teacher(batch.X, batch.y)
        task, node = np.arange(len(batch.X)), np.zeros(len(batch.X), dtype=np.int64)
        active = np.ones(batch.y.shape, dtype=bool)
        if step % 2:
            root = batch.X[task, :, tree.feature[:, 0]] <= tree.threshold[:, :1]
            node = rng.integers(1, 3, len(task))
            active = np.where((node == 1)[:, None], root, ~root)
        device = next(copies.parameters()).device
        order = rng.permutation(copies.classes)  # labels have no order of their own
        one_hot = np.eye(copies.classes, dtype=np.float32)[order][batch.y]
        X, y, here = (torch.from_numpy(part).to(device) for part in (batch.X, one_hot, active))
        feature = torch.from_numpy(tree.feature[task, node]).to(device)
        threshold = torch.from_numpy(tree.threshold[task, node]).to(device)
        cuts = copies.candidates(X, here)
        wanted = target_distribution(cuts, feature, threshold, self.sigma).float()
        logs = copies(X, y, here.double(), cuts).flatten(1).log_softmax(1).view(wanted.shape)
        each = -(wanted * logs.masked_fill(wanted == 0, 0.0)).sum((1, 2))
        loss: Tensor = each.mean()
        return loss

    def result(self) -> dict[str, NDArray[Any]]:
        flat = torch.nn.utils.parameters_to_vector(self.module.parameters())
        return {"weights": flat.detach().cpu().numpy().astype(np.float32)}


def make_checkpoints(folder: Path = DATA) -> list[Path]:
    """Train what the package carries: "small", and the transformer that the reproduction shows beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    small = train_meta_tree(varied_tasks, encoder="pairs", steps=1500, batch_size=24)
    cells = train_meta_tree(xor_tasks, encoder="cells", steps=400, classes=2)
    return [
        small.save(folder / "meta_tree_small.safetensors"),
        cells.save(folder / "meta_tree_cells.safetensors"),
    ]


if __name__ == "__main__":
    from hardgrad.train.progress import listen

    with listen(lambda event: print(f"{event.phase} {100 * event.fraction:.0f} %", flush=True)):
        print(*make_checkpoints(), sep="\n")
