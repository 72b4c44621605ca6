"""Gradient refinement: all directions, thresholds and leaves of a forest trained together, many candidates side by side.

This is the measured recipe of the flagship: every weight of every live node is free under an L1 penalty, at half time each node keeps
its own feature and at most three more, the gate anneals, from 60 % on the forward pass is exact (straight-through), and from 70 % on an
exponential mean of the parameters is kept, which is what is hardened.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hardgrad.core.schedule import Schedule
from hardgrad.train.loop import Hardware, TrainingTask, train_many, under_torchrun
from hardgrad.trees.judge import Judge
from hardgrad.trees.objectives import Objective
from hardgrad.trees.perfect import PerfectForest
from hardgrad.trees.soft_forest import DEAD_OFFSET, SoftForest, Split

EXTRA_FEATURES = 3
KEEP_ABOVE = 0.05
PRUNE_AT = 0.5
EXACT_FROM = 0.6
AVERAGE_FROM = 0.7
AVERAGE_DECAY = 0.98
MEASURED_ROWS = 2048
PART_ROWS = 64  # of a batch, whose gradient is computed by itself: eight parts at the default batch
ROW_UNIT = 32  # floats that torch's vector code takes at a time; a remainder would go through other code, to other bits
ALIGNED = 16  # floats, 64 bytes: where a matrix starts decides the bits of its product
SMALL_STEP = 150_000  # gates a step below which two threads spend more on each other than they save


@dataclass(frozen=True)
class RefinePlan:
    """Constants of the refinement.

    Parameters
    ----------
    steps, batch_size : Adam steps and rows a step.
    weight_rate, offset_rate, leaf_rate : learning rates at the start; all fall to 0 along a cosine.
    temperature : of the gate, from and to, along a geometric path.
    split : see `SoftForest`; "axis" trains thresholds and leaves only.
    """

    steps: int = 600
    batch_size: int = 512
    weight_rate: float = 0.02
    offset_rate: float = 0.01
    leaf_rate: float = 0.02
    temperature: tuple[float, float] = (0.4, 0.15)
    split: Split = "sparse_oblique"


@dataclass(frozen=True)
class Member:
    """One candidate: where it starts, the rows it sees, its penalty."""

    start: PerfectForest
    rows: NDArray[np.int64]
    l1: float
    stream: int = 0


@dataclass(frozen=True)
class RefineData:
    """Rows for all members: scores [n, features], targets [n, outputs], weights [n] of mean 1, and rows held out to watch.

    `judge` measures the watched rows for the progress display; by default their mean loss is shown.
    """

    scores: NDArray[np.float32]
    Y: NDArray[np.float64]
    weight: NDArray[np.float64]
    watched: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    judge: Judge | None = None


def refine(
    members: list[Member], data: RefineData, objective: Objective, plan: RefinePlan, *, hardware: Hardware, seed: int, key: str,
    phase: str = "refine",
) -> list[PerfectForest]:  # fmt: skip
    """Train all members side by side and return them; soft leaves, the averaged structure, at most four features a node.

    Parameters
    ----------
    key : names the work in a checkpoint; it must differ between different work.
    """
    batch = min(plan.batch_size, *(len(m.rows) for m in members))
    first = members[0].start
    gates = len(members) * first.n_trees * first.n_nodes * batch
    groups = _groups(len(members), gates, hardware)
    work = [
        (members[a:b], data, objective, replace(plan, batch_size=batch), seed, f"{key}-{a}-{b}", phase)
        for a, b in groups
    ]
    names = ("feature", "weight", "offset", "leaf", "bias")
    return [
        PerfectForest(*(result[f"{m}.{name}"] for name in names))
        for (a, b), result in zip(groups, train_many(RefineTask, work, hardware), strict=True)
        for m in range(b - a)
    ]


def _groups(count: int, gates: int, hardware: Hardware) -> list[tuple[int, int]]:
    """Ranges of members that are trained as one stack: as many as there are threads, or one where steps are short."""
    alone = hardware.devices == 1 and not under_torchrun() and gates >= SMALL_STEP
    parts = min(count, hardware.threads) if alone else 1
    bounds = np.linspace(0, count, parts + 1).astype(int).tolist()
    return list(itertools.pairwise(bounds))


class RefineTask(TrainingTask):
    """The refinement as a task for the training loop."""

    def __init__(
        self,
        members: list[Member],
        data: RefineData,
        objective: Objective,
        plan: RefinePlan,
        seed: int,
        key: str,
        phase: str,
    ) -> None:
        self.key, self.phase, self.steps = key, phase, plan.steps
        self.plan, self.objective, self.seed, self.rows = plan, objective, seed, [m.rows for m in members]
        self.streams = [m.stream for m in members]
        self.batch = plan.batch_size
        self.parts = -(-self.batch // PART_ROWS)
        self.part_rows = -(-self.batch // (self.parts * ROW_UNIT)) * ROW_UNIT
        scores = _padded(data.scores, members[0].start)
        n_features = scores.shape[1]
        soft = SoftForest.from_perfect(
            [m.start for m in members], n_features, split=plan.split, temperature=plan.temperature[0]
        )
        self.module = self.soft = soft
        self.scores = torch.from_numpy(scores)
        self.Y = torch.from_numpy(data.Y.astype(np.float32))
        self.row_weight = torch.from_numpy(data.weight.astype(np.float32))
        self.watched = torch.from_numpy(data.watched[:MEASURED_ROWS])
        self.judge = data.judge
        self.higher_is_better = data.judge is not None and data.judge.metric.higher_is_better
        self.l1 = torch.tensor([m.l1 for m in members]) / soft.n_trees**0.5
        self.start_weight = soft.weight.detach().clone()
        self.live = (self.start_weight != 0).any(dim=2)
        own = self.start_weight != 0
        free = own if plan.split == "axis" else self.live.unsqueeze(2).expand_as(own)
        self.mask = free.to(torch.float32)
        self.average = {name: p.detach().clone() for name, p in soft.named_parameters()}
        self._epochs: dict[tuple[int, int], NDArray[np.int64]] = {}

    def optimizer(self) -> torch.optim.Optimizer:
        """Adam with a rate for weights, one for offsets and one for leaves and bias."""
        soft, plan = self.soft, self.plan
        groups: list[dict[str, Any]] = [
            {"params": [soft.weight], "lr": plan.weight_rate},
            {"params": [soft.offset], "lr": plan.offset_rate},
            {"params": [soft.leaf, soft.bias], "lr": plan.leaf_rate},
        ]
        device = soft.weight.device
        for name in ("scores", "Y", "row_weight", "watched", "l1", "start_weight", "live", "mask"):
            setattr(self, name, getattr(self, name).to(device))
        self.average = {name: value.to(device) for name, value in self.average.items()}
        self.rates = [float(group["lr"]) for group in groups]
        return torch.optim.Adam(groups, betas=(0.9, 0.999), fused=True)

    def progress(self, step: int) -> float:
        """Share of the steps that lie behind."""
        return step / self.steps

    def before_step(self, step: int, optimizer: torch.optim.Optimizer) -> None:
        """Set rates and temperature."""
        for rate, group in zip(self.rates, optimizer.param_groups, strict=True):
            group["lr"] = Schedule.cosine(rate).at(step=step, steps=self.steps)
        self.soft.temperature.fill_(
            Schedule.exponential(*self.plan.temperature).at(step=step, steps=self.steps)
        )

    def _batch_rows(self, step: int) -> NDArray[np.int64]:
        """Rows of the batch, [parts, members, part_rows]: successive pieces of a permutation that is new in every epoch.

        The last part is filled up with rows that are there already; they get no weight.
        """
        picked = np.empty((len(self.rows), self.parts * self.part_rows), dtype=np.int64)
        for member, (rows, stream) in enumerate(zip(self.rows, self.streams, strict=True)):
            per_epoch = max(1, len(rows) // self.batch)
            epoch, piece = divmod(step, per_epoch)
            if (stream, epoch) not in self._epochs:
                self._epochs = {k: v for k, v in self._epochs.items() if k[0] != stream}
                generator = np.random.default_rng([self.seed, stream, epoch])
                self._epochs[stream, epoch] = rows[generator.permutation(len(rows))]
            shuffled = self._epochs[stream, epoch]
            picked[member, : self.batch] = shuffled[piece * self.batch : (piece + 1) * self.batch]
            picked[member, self.batch :] = shuffled[0]
        return picked.reshape(len(self.rows), self.parts, self.part_rows).swapaxes(0, 1)

    def copies(self, count: int) -> SoftForest:
        """The members, `count` times."""
        soft = self.soft
        n_features, n_outputs = soft.weight.shape[2], soft.bias.shape[1]
        return SoftForest(
            n_features, soft.n_trees, soft.depth, n_outputs, split=soft.split, members=count * soft.members
        )

    def loss(self, copies: nn.Module, step: int, parts: range) -> Tensor:
        """Mean loss of the batch, summed over members: the share of some parts."""
        picked = self._batch_rows(step)[parts.start :: parts.step].reshape(-1, self.part_rows)
        rows = torch.from_numpy(picked).to(self.scores.device)
        weight = self.row_weight[rows]
        if parts[-1] == self.parts - 1:
            used = self.batch - (self.parts - 1) * self.part_rows
            weight[-len(self.rows) :, used:] = 0.0
        mode = "st" if self.progress(step) >= EXACT_FROM else "soft"
        raw = copies(self.scores[rows], temperature=self.soft.temperature, mode=mode)
        total: Tensor = (row_losses(self.objective, raw, self.Y[rows]) * weight).sum() / self.batch
        return total

    @torch.no_grad()
    def add_penalty(self) -> None:
        """The L1 penalty on what leaves the start."""
        weight = self.soft.weight
        assert weight.grad is not None
        weight.grad.addcmul_((weight - self.start_weight).sign_(), self.l1[:, None, None])

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Keep dead nodes dead and pruned weights at zero; prune at half time; average towards the end."""
        soft = self.soft
        if step + 1 == int(PRUNE_AT * self.steps) and self.plan.split != "axis":
            self.mask.mul_(_keep_largest(soft.weight, self.start_weight))
        soft.weight.mul_(self.mask)
        soft.offset.masked_fill_(~self.live, DEAD_OFFSET)
        first = int(AVERAGE_FROM * self.steps)
        for name, parameter in soft.named_parameters():
            if step <= first:
                self.average[name].copy_(parameter)
            else:
                self.average[name].lerp_(parameter, 1.0 - AVERAGE_DECAY)

    @torch.no_grad()
    def measure(self, step: int) -> tuple[float | None, float | None, float | None]:
        """The metric (or mean loss) on the watched rows of the first member, soft at the current temperature and hard."""
        if len(self.watched) == 0:
            return None, None, float(self.soft.temperature)
        values = []
        for mode in ("soft", "hard"):
            raw = self.soft(self.scores[self.watched], mode=mode)
            raw = raw[:1] if raw.ndim == 3 else raw.unsqueeze(0)
            Y, weight = self.Y[self.watched], self.row_weight[self.watched]
            if self.judge is not None:
                values.append(self.judge.value(*(t.double().cpu().numpy() for t in (raw[0], Y, weight))))
                continue
            losses = row_losses(self.objective, raw, Y.unsqueeze(0))[0]
            values.append(float((losses * weight).sum() / weight.sum()))
        return values[0], values[1], float(self.soft.temperature)

    def extra_state(self) -> dict[str, Tensor]:
        """The mask and the averages."""
        return {"mask": self.mask, **{f"average.{name}": value for name, value in self.average.items()}}

    def result(self) -> dict[str, NDArray[Any]]:
        """The averaged forests as perfect trees."""
        with torch.no_grad():
            for name, parameter in self.soft.named_parameters():
                parameter.copy_(self.average[name])
        arrays: dict[str, NDArray[Any]] = {}
        for m in range(self.soft.members):
            forest = self.soft.to_perfect(m)
            arrays |= {
                f"{m}.{name}": getattr(forest, name)
                for name in ("feature", "weight", "offset", "leaf", "bias")
            }
        return arrays


def _padded(scores: NDArray[np.float32], forest: PerfectForest) -> NDArray[np.float32]:
    """The scores with so many features of zeros that the weights of a member fill whole units of `ALIGNED`."""
    missing = -scores.shape[1] % (ALIGNED // math.gcd(ALIGNED, forest.n_trees * forest.n_nodes))
    return np.pad(scores, ((0, 0), (0, missing))) if missing else scores


def _keep_largest(weight: Tensor, start: Tensor) -> Tensor:
    """1 at each node's own feature and at its three largest others above .05, else 0."""
    own = start != 0
    others = weight.abs().masked_fill(own, 0.0)
    k = min(EXTRA_FEATURES, others.shape[2])
    top = others.topk(k, dim=2)
    kept = torch.zeros_like(weight).scatter_(2, top.indices, (top.values > KEEP_ABOVE).to(weight.dtype))
    return torch.maximum(kept, own.to(weight.dtype))


def row_losses(objective: Objective, raw: Tensor, Y: Tensor) -> Tensor:
    """Return the loss of each row, [members, B], for raw scores and targets [members, B, outputs]."""
    if objective.kind == "squared":
        return 0.5 * (raw - Y).square().sum(dim=2)
    if objective.kind == "logistic":
        return nn.functional.binary_cross_entropy_with_logits(raw, Y, reduction="none").sum(dim=2)
    return -(Y * torch.log_softmax(raw, dim=2)).sum(dim=2)
