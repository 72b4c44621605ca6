"""Training a network of gates on a table: the task for the one training loop, which keeps the weights whose EXACT network was best."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hardgrad.core.mode import Mode
from hardgrad.core.schedule import Schedule
from hardgrad.logic.circuit import Circuit
from hardgrad.logic.heads import group_counts
from hardgrad.logic.layers import LogicLayer
from hardgrad.logic.network import LogicNetwork
from hardgrad.logic.soft_thermometer import SoftThermometer
from hardgrad.logic.thermometer import BitColumns
from hardgrad.logic.votes import groups_of_outputs, make_head, votes_a_score
from hardgrad.train.loop import TrainingTask

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
MOST_JUDGED = 2000
JUDGED_TIMES = 40  # in one training
SOFTNESS = (0.5, 0.02)  # of learned thresholds, in standard deviations of the column, from and to
ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class GateProblem:
    """What is learned from.

    Parameters
    ----------
    X : encoded features [n, features], NaN where missing.
    y : int64 [n], the numbers of the classes; or float64 [n, targets], standardised.
    weight : [n], positive.
    held : numbers of the rows that are held out; may be none.
    columns : what the bits ask to begin with.
    classes : number of classes, 0 for numbers.
    low, high : float64 [targets], the range of the standardised targets; empty for classes.
    """

    X: Floats
    y: NDArray[Any]
    weight: Floats
    held: Ints
    columns: BitColumns
    classes: int
    low: Floats = field(default_factory=lambda: np.zeros(0))
    high: Floats = field(default_factory=lambda: np.zeros(0))

    @property
    def groups(self) -> int:
        """Number of groups of outputs: classes or targets."""
        return self.classes or len(self.low)

    @property
    def learned(self) -> Ints:
        """Numbers of the rows that are learned from."""
        return np.setdiff1d(np.arange(len(self.y)), self.held)

    @property
    def judged(self) -> Ints:
        """Numbers of the rows that the network is judged on: held-out ones or, where there are none, those it learns from."""
        rows = self.held if len(self.held) else self.learned
        return rows[np.linspace(0, len(rows) - 1, min(len(rows), MOST_JUDGED)).round().astype(np.int64)]


@dataclass(frozen=True)
class GateRecipe:
    """How it is trained; see `LogicGateClassifier` for the meaning of each."""

    layer_sizes: tuple[int, ...]
    layer_options: dict[str, Any]
    tau: float
    temperature: tuple[float, float]
    learn_thresholds: bool
    learning_rate: float
    batch_size: int
    max_iter: int
    seed: int
    key: str = "gates"
    head: str = "group_sum"

    def per_score(self, problem: GateProblem) -> int:
        """Return how many outputs count for one score."""
        return votes_a_score(self.head, problem.groups, self.n_outputs(problem))

    def n_outputs(self, problem: GateProblem) -> int:
        """Return the outputs of the last layer: every group has as many, so that all scores have one range."""
        groups = groups_of_outputs(self.head, problem.groups)
        return groups * -(-self.layer_sizes[-1] // groups)


class TableGates(nn.Module):
    """Bits of features, gates behind them, and counts of their outputs.

    Parameters
    ----------
    problem, recipe : the bits and the number of groups; the layers, and what counts are divided by.
    """

    low: Tensor
    high: Tensor

    def __init__(self, problem: GateProblem, recipe: GateRecipe) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(recipe.seed)
        self.groups, self.tau = problem.groups, recipe.tau
        last = recipe.n_outputs(problem)
        self.group_size = last // self.groups  # of a target
        sizes = (len(problem.columns.feature), *recipe.layer_sizes[:-1], last)
        self.fixed = problem.columns
        self.encoder = _soft_thermometer(problem) if recipe.learn_thresholds else None
        self.gates = LogicNetwork(
            [
                LogicLayer(a, b, generator=generator, **recipe.layer_options)
                for a, b in itertools.pairwise(sizes)
            ],
            make_head(recipe.head, self.groups, last, recipe.tau) if problem.classes else None,
        )
        self.register_buffer("low", torch.from_numpy(problem.low).float())
        self.register_buffer("high", torch.from_numpy(problem.high).float())

    def rows(self, X: Floats) -> Tensor:
        """Return encoded features in the form that `forward` takes: bits, or features where thresholds are learned."""
        return torch.from_numpy(self.fixed.bits(X).view(np.uint8) if self.encoder is None else X)

    def forward(self, rows: Tensor, mode: Mode = "soft") -> Tensor:
        """Return logits `[n, classes]`, or standardised values `[n, targets]`."""
        bits = rows if self.encoder is None else self.encoder(rows, mode=mode)
        answers = self.gates.answers(bits, mode)
        if self.gates.head is not None:
            # Votes are whole while gates are soft: what the head rounds is no part of the gap.
            return self.gates.score(answers, "st" if mode == "soft" else mode)
        counts = group_counts(answers, self.groups)
        return self.low + (self.high - self.low) * (counts / self.group_size)

    @torch.no_grad()
    def answers(self, rows: Tensor, mode: Mode) -> Tensor:
        """Return what `forward` gives, some thousand rows at a time."""
        device = self.low.device
        return torch.cat([self(part.to(device), mode).cpu() for part in rows.split(ROWS_AT_ONCE)])

    def harden(self) -> tuple[BitColumns, Circuit]:
        """Return what the bits ask and the circuit behind them, whose outputs lie group by group."""
        return self.fixed if self.encoder is None else self.encoder.columns(), self.gates.harden()


def _soft_thermometer(problem: GateProblem) -> SoftThermometer:
    known = ~np.isnan(problem.X)
    count = np.maximum(known.sum(axis=0), 1)
    center = np.where(known, problem.X, 0.0).sum(axis=0) / count
    spread = np.sqrt(np.where(known, (problem.X - center) ** 2, 0.0).sum(axis=0) / count)
    scale = np.where(spread > 0, spread, 1.0)
    return SoftThermometer(problem.columns, torch.from_numpy(center), torch.from_numpy(scale))


class GateTask(TrainingTask):
    """Batches of rows, all of them once before any comes again; the exact network is judged now and then.

    Parameters
    ----------
    problem, recipe : what and how.

    Attributes
    ----------
    best : the state of the module whose exact network was best.
    track : its accuracy or minus its mean square error, minus its loss, and the step after which it was best (0: none was finite).
    """

    phase = "gates"
    parts = 1

    def __init__(self, problem: GateProblem, recipe: GateRecipe) -> None:
        self.problem, self.recipe, self.key = problem, recipe, recipe.key
        self.steps = recipe.max_iter
        self.higher_is_better = bool(problem.classes)
        self.module: TableGates = TableGates(problem, recipe)
        self.rows = self.module.rows(problem.X)
        self.y = torch.from_numpy(problem.y if problem.classes else problem.y.astype(np.float32))
        self.weight = torch.from_numpy(problem.weight / problem.weight.mean()).float()
        self.learned, self.judged = problem.learned, torch.from_numpy(problem.judged)
        self.sharpening = Schedule.exponential(*recipe.temperature)
        self.cooling = Schedule.exponential(*SOFTNESS)
        self.best = {name: value.detach().clone() for name, value in self.module.state_dict().items()}
        self.track = torch.tensor([-torch.inf, -torch.inf, 0.0], dtype=torch.float64)
        self.latest: tuple[float | None, float | None] = (None, None)

    def optimizer(self) -> torch.optim.Optimizer:
        """Return Adam."""
        trained = [parameter for parameter in self.module.parameters() if parameter.requires_grad]
        return torch.optim.Adam(trained, self.recipe.learning_rate)

    def before_step(self, step: int, optimizer: torch.optim.Optimizer) -> None:
        """Set the temperature of the gates, and that of thresholds that are learned."""
        self.module.gates.set_temperature(self.sharpening.at(step=step, steps=self.steps))
        if self.module.encoder is not None:
            self.module.encoder.set_temperature(self.cooling.at(step=step, steps=self.steps))

    def loss(self, copies: nn.Module, step: int, parts: range) -> Tensor:
        """Return the weighted mean loss of a batch."""
        rows = self._batch(step)
        device = self.module.low.device
        answers = copies(self.rows[rows].to(device))
        weight = self.weight[rows].to(device)
        return (self._losses(answers, self.y[rows].to(device)) * weight).sum() / weight.sum()

    def _losses(self, answers: Tensor, y: Tensor) -> Tensor:
        if self.problem.classes:
            return nn.functional.cross_entropy(answers, y, reduction="none")
        return (answers - y).square().mean(dim=1)

    def _batch(self, step: int) -> Tensor:
        size = min(self.recipe.batch_size, len(self.learned))
        epoch, place = divmod(step, len(self.learned) // size)
        order = np.random.default_rng([self.recipe.seed, epoch]).permutation(self.learned)
        return torch.from_numpy(order[place * size : (place + 1) * size])

    def after_step(self, step: int) -> None:
        """Judge the exact network now and then, and keep the best."""
        if (step + 1) % max(1, self.steps // JUDGED_TIMES) and step + 1 != self.steps:
            return
        (soft, _), (hard, loss) = (self._judge(mode) for mode in ("soft", "hard"))
        self.latest = (soft, hard) if self.problem.classes else ((-soft) ** 0.5, (-hard) ** 0.5)
        if (hard, -loss) > (float(self.track[0]), float(self.track[1])):
            self.track[:] = torch.tensor([hard, -loss, step + 1.0])
            for name, value in self.module.state_dict().items():
                self.best[name].copy_(value)

    def _judge(self, mode: Mode) -> tuple[float, float]:
        """Return the accuracy, or minus the mean square error, and the loss, on the rows for that."""
        answers, y = self.module.answers(self.rows[self.judged], mode), self.y[self.judged]
        weight = self.weight[self.judged].double()
        loss = float((self._losses(answers, y) * weight).sum() / weight.sum())
        if not self.problem.classes:
            return -loss, loss
        return float(((answers.argmax(dim=1) == y) * weight).sum() / weight.sum()), loss

    def measure(self, step: int) -> tuple[float | None, float | None, float | None]:
        """Return the soft and the exact accuracy, or root mean square error of the standardised target."""
        return *self.latest, float(self.module.gates.temperature)

    def extra_state(self) -> dict[str, Tensor]:
        """Return what is kept."""
        return {"track": self.track, **{f"best.{name}": value for name, value in self.best.items()}}

    def result(self) -> dict[str, NDArray[Any]]:
        """Return the best state of the module, and `track`."""
        kept = {name: value.detach().cpu().numpy() for name, value in self.best.items()}
        return {**kept, "track": self.track.numpy()}


def trained_gates(problem: GateProblem, recipe: GateRecipe, state: dict[str, NDArray[Any]]) -> TableGates:
    """Return the network whose state a training gave."""
    network = TableGates(problem, recipe)
    network.load_state_dict({n: torch.from_numpy(v.copy()) for n, v in state.items() if n != "track"})
    return network
