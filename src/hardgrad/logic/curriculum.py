"""The degree curriculum: training on points with few inputs of -1 first, where a parity has low degree. The loop is that of `train`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from hardgrad.core.errors import ParameterError
from hardgrad.gradients.diagnostics.report import Report, new_axis
from hardgrad.logic.boolean_functions import Floats, hamming_weight, points_and_values
from hardgrad.train.checkpoint import fingerprint
from hardgrad.train.loop import Hardware, TrainingTask, train

Ints = NDArray[np.int64]
Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class DegreeCurriculum:
    """In what order points are learned: those within a Hamming ball around all +1, which grows when its loss is small.

    Parameters
    ----------
    step : how much the radius grows from one ball to the next, inputs of -1. n or more is no curriculum: one ball with all points.
    threshold : a ball is learned when the moving average of the loss of its batches is below this.
    smoothing : weight of the past in that average, 0 up to 1 (excluded); 1 / (1 - smoothing) batches are taken at least.

    Raises
    ------
    ParameterError : a value out of range.

    Examples
    --------
    >>> X = np.array([[1, 1, 1], [-1, 1, 1], [-1, -1, -1]])
    >>> [(ball.radius, ball.rows.tolist()) for ball in DegreeCurriculum(step=1).balls(X)]
    [(1, [0, 1]), (3, [0, 1, 2])]

    Source: Abbe, Bengio, Lotfi and Rizk, 2023, Generalization on the Unseen, Logic Reasoning and Degree Curriculum.
    """

    step: int = 4
    threshold: float = 1e-3
    smoothing: float = 0.95

    def __post_init__(self) -> None:
        if self.step < 1 or not self.threshold >= 0 or not 0 <= self.smoothing < 1:
            raise ParameterError(
                f"DegreeCurriculum got step={self.step}, threshold={self.threshold}, smoothing={self.smoothing}; expected at least 1, "
                "0 or more, and 0 up to 1 (excluded)."
            )

    def balls(self, X: ArrayLike) -> list[Ball]:
        """Return the balls of a training set `[s, n]` that hold more points than the one before; the last holds all."""
        weight = hamming_weight(X)
        n = np.shape(X)[1]
        found: list[Ball] = []
        for radius in range(min(self.step, n), n + self.step, self.step):
            rows = np.flatnonzero(weight <= radius)
            if len(rows) > (len(found[-1].rows) if found else 0):
                found.append(Ball(min(radius, n), rows))
        return found


@dataclass(frozen=True)
class Ball:
    """The training rows with at most `radius` inputs of -1."""

    radius: int
    rows: Ints


class CurriculumSampler:
    """Draws the batches of a curriculum and moves it on: for any `TrainingTask`, whose `extra_state` holds its `state`.

    Parameters
    ----------
    curriculum, X : the order, and the training points `[s, n]`.
    batch_size : points in a batch; a smaller ball is taken whole. None takes every ball whole.
    seed : of the order within a ball, which is a new permutation for each pass.

    Attributes
    ----------
    state : float64 tensor of the number of the ball, the step at which it began, and the number of steps after which all were learned.
    history : float64 tensor `[balls, 2]`, steps spent on each ball and the moving average of its loss.

    Examples
    --------
    >>> sampler = CurriculumSampler(DegreeCurriculum(1, threshold=0.1, smoothing=0), np.array([[1, 1], [-1, -1]]))
    >>> sampler.batch(0).tolist()
    [0]
    >>> sampler.observe(0, 0.05)
    True
    >>> sorted(sampler.batch(1).tolist())
    [0, 1]
    """

    def __init__(
        self, curriculum: DegreeCurriculum, X: ArrayLike, batch_size: int | None = 64, seed: int = 0
    ) -> None:
        self.curriculum, self.balls = curriculum, curriculum.balls(X)
        if not self.balls or (batch_size is not None and batch_size < 1):
            raise ParameterError(
                f"a curriculum needs points and batches of at least 1; got {np.shape(X)}, {batch_size}."
            )
        self.batch_size, self.seed = batch_size, seed
        self.state = torch.zeros(3, dtype=torch.float64)
        self.history = torch.zeros(len(self.balls), 2, dtype=torch.float64)

    @property
    def stage(self) -> int:
        """Number of the ball that is being learned."""
        return int(self.state[0])

    @property
    def learned_after(self) -> int | None:
        """Steps after which the last ball, with all points, was learned; None while it is not."""
        return int(self.state[2]) or None

    def batch(self, step: int) -> Ints:
        """Return the rows of the batch of a step of training."""
        rows = self.balls[self.stage].rows
        size = len(rows) if self.batch_size is None else min(self.batch_size, len(rows))
        if size == len(rows):
            return rows
        passes, place = divmod(step - int(self.state[1]), len(rows) // size)
        order = np.random.default_rng([self.seed, self.stage, passes]).permutation(rows)
        return order[place * size : (place + 1) * size]

    def observe(self, step: int, loss: float) -> bool:
        """Take the loss of the batch of a step; go on to the next ball if this one is learned, and tell whether it is."""
        spent, average = self.history[self.stage].tolist()
        keep = self.curriculum.smoothing if spent else 0.0
        average = keep * average + (1 - keep) * loss
        self.history[self.stage] = torch.tensor([spent + 1, average])
        enough = (spent + 1) * (1 - self.curriculum.smoothing) >= 1 - 1e-9
        if not (enough and average < self.curriculum.threshold):
            return False
        if self.stage == len(self.balls) - 1:
            self.state[2] = step + 1
        else:
            self.state[:2] = torch.tensor([self.stage + 1, step + 1])
        return True


class Outcome(StrEnum):
    """How training on the cube ended."""

    LEARNED = "all points learned"
    STOPPED = "out of steps"


@dataclass(frozen=True)
class CurriculumReport(Report):
    """How training on the cube went, ball by ball.

    Parameters
    ----------
    verdict : whether the loss on all points came below the threshold, or the steps ran out.
    radii, rows : of the balls that were trained on, and how many points each has.
    steps : optimiser steps spent on each.
    losses : moving average of the loss at the end of each.
    """

    radii: tuple[int, ...]
    rows: tuple[int, ...]
    steps: tuple[int, ...]
    losses: tuple[float, ...]

    @property
    def total_steps(self) -> int:
        """Optimiser steps in all."""
        return sum(self.steps)

    def __str__(self) -> str:
        balls = ", ".join(f"{steps:,} to radius {r}" for steps, r in zip(self.steps, self.radii, strict=True))
        return f"{super().__str__()}: {self.total_steps:,} steps ({balls}), loss {self.losses[-1]:.4g}"

    def plot(self, ax: Any = None) -> Any:
        """Draw the steps spent on each ball and return the axis. Needs matplotlib."""
        ax = new_axis(ax)
        ax.bar([str(radius) for radius in self.radii], self.steps)
        ax.set_xlabel("radius")
        ax.set_ylabel("steps")
        ax.set_title(self.verdict)
        return ax


def train_on_cube(
    model: nn.Module,
    X: ArrayLike,
    y: ArrayLike,
    curriculum: DegreeCurriculum | None = None,
    *,
    max_steps: int = 10_000,
    batch_size: int | None = 64,
    learning_rate: float = 1e-3,
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
    loss: Loss = nn.functional.mse_loss,
    random_state: int = 0,
    device: str = "cpu",
) -> CurriculumReport:
    """Train a network on points of the cube, in place: with the degree curriculum, or all at once.

    It ends when the loss on all points is below the threshold, or after `max_steps`. The optimiser keeps its state from ball to ball.
    Inside `hardgrad.train.checkpoint.checkpointing` it can be interrupted and resumed.

    Parameters
    ----------
    model : takes `[B, n]` float32 and returns `[B]` or `[B, 1]`.
    X, y : points `[s, n]` of -1 and +1, and values `[s]`.
    curriculum : None trains on all points for all `max_steps`.
    max_steps : of the optimiser, in all.
    batch_size : points in a batch; None takes every ball whole.
    learning_rate, optimizer : `optimizer(parameters, lr=learning_rate)`.
    loss : of outputs and values, both `[B]`.
    random_state : seed of the order of the points. device : "cpu", "cuda" or "auto".

    Raises
    ------
    DataError : no points, other numbers than -1 and +1, values that are not finite, or shapes that do not fit.
    ParameterError : steps, batch size or learning rate out of range.

    Examples
    --------
    >>> from hardgrad.logic import Parity
    >>> X, y = Parity(4).sample(100)
    >>> model = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 1))
    >>> report = train_on_cube(model, X, y, DegreeCurriculum(step=2), max_steps=20)
    >>> str(report.verdict), report.total_steps
    ('out of steps', 20)

    Source: Abbe, Bengio, Lotfi and Rizk, 2023, Generalization on the Unseen, Logic Reasoning and Degree Curriculum.
    """
    points, values = points_and_values(X, y)
    if max_steps < 1 or not learning_rate > 0:
        raise ParameterError(
            f"train_on_cube() got max_steps={max_steps}, learning_rate={learning_rate}; expected at least 1, and a positive number."
        )
    order = curriculum or DegreeCurriculum(step=max(1, points.shape[1]), threshold=0.0)
    sampler = CurriculumSampler(order, points, batch_size, random_state)
    plan = _Plan(max_steps, learning_rate, optimizer, loss)
    train(_CubeTask, (model, points, values, sampler, plan), Hardware(device))
    used = sampler.balls[: sampler.stage + 1]
    history = sampler.history[: len(used)]
    return CurriculumReport(
        Outcome.STOPPED if sampler.learned_after is None else Outcome.LEARNED,
        radii=tuple(ball.radius for ball in used),
        rows=tuple(len(ball.rows) for ball in used),
        steps=tuple(int(spent) for spent in history[:, 0]),
        losses=tuple(history[:, 1].tolist()),
    )


@dataclass(frozen=True)
class _Plan:
    """How a network is trained: see `train_on_cube`."""

    max_steps: int
    learning_rate: float
    optimizer: Callable[..., torch.optim.Optimizer]
    loss: Loss


class _CubeTask(TrainingTask):
    """A network and the sampler of its batches."""

    phase = "cube"

    def __init__(
        self, module: nn.Module, X: Floats, y: Floats, sampler: CurriculumSampler, plan: _Plan
    ) -> None:
        self.module, self.sampler, self.plan = module, sampler, plan
        self.steps = plan.max_steps
        parameters = list(module.parameters())
        kind = parameters[0].dtype if parameters else torch.float32
        self.X, self.y = torch.from_numpy(X).to(kind), torch.from_numpy(y).to(kind)
        start = torch.nn.utils.parameters_to_vector(parameters).detach().cpu().double().numpy()
        settings = (plan.max_steps, plan.learning_rate, sampler.curriculum, sampler.batch_size, sampler.seed)
        self.key = f"cube-{fingerprint(X, y, start, settings)}"

    @property
    def steps(self) -> int:
        """Steps in all: known when all points are learned, until then the most there may be."""
        return self.sampler.learned_after or self._most_steps

    @steps.setter
    def steps(self, most: int) -> None:
        self._most_steps = most

    def optimizer(self) -> torch.optim.Optimizer:
        return self.plan.optimizer(self.module.parameters(), lr=self.plan.learning_rate)

    def loss(self, copies: nn.Module, step: int, parts: range) -> Tensor:
        rows = torch.from_numpy(self.sampler.batch(step))
        device = next(copies.parameters()).device
        output = copies(self.X[rows].to(device)).reshape(len(rows))
        self.latest = self.plan.loss(output, self.y[rows].to(device))
        return self.latest

    def after_step(self, step: int) -> None:
        self.sampler.observe(step, float(self.latest.detach()))

    def measure(self, step: int) -> tuple[float | None, float | None, float | None]:
        return float(self.latest.detach()), None, None

    def extra_state(self) -> dict[str, Tensor]:
        return {"state": self.sampler.state, "history": self.sampler.history}

    def result(self) -> dict[str, NDArray[Any]]:
        return {}
