"""Training a neighbourhood: the task for the one training loop, and how soft and hard votes are judged on rows they do not know."""

from __future__ import annotations

import dataclasses
import threading
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hardgrad.tabular.neighbour_network import FLOOR, EncoderShape, SoftNeighbourhood, distances
from hardgrad.train.loop import TrainingTask

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
NEIGHBOURS = (1, 3, 5, 9, 15, 25, 50, 100)
MOST_JUDGED = 2000  # rows on which an epoch is judged
MOST_NUMBERS = 1 << 24  # in memory at a time
EMBEDDED_AT_ONCE = 4096


@dataclass(frozen=True)
class Problem:
    """What is learned from.

    Parameters
    ----------
    Z : standardised features [n, features].
    Y : classes as indicators [n, classes], or standardised values [n, targets].
    weight, votes : of the rows, [n], positive: in the loss, and in the vote.
    held : numbers of the rows that are held out of the loss; may be none.
    embedded : numbers of the features that may be embedded.
    classification : whether Y holds classes.
    unit : what 1 of a single standardised value is in the units of the target, for the progress shown.
    """

    Z: Floats
    Y: Floats
    weight: Floats
    votes: Floats
    held: Ints
    embedded: Ints
    classification: bool
    unit: float = 1.0

    @cached_property
    def learned(self) -> Ints:
        """Numbers of the rows that are not held out."""
        return np.setdiff1d(np.arange(len(self.Y)), self.held)

    @cached_property
    def judged(self) -> Ints:
        """Numbers of the rows that epochs are judged on: held-out ones, or else those of training, which then ignore themselves."""
        rows = self.held if len(self.held) else self.learned
        return rows[np.linspace(0, len(rows) - 1, min(len(rows), MOST_JUDGED)).round().astype(np.int64)]


@dataclass(frozen=True)
class Recipe:
    """How it is trained; see `NeighbourhoodClassifier` for the meaning of each."""

    shape: EncoderShape
    temperature: float
    sample_rate: float
    max_candidates: int
    learning_rate: float
    weight_decay: float
    batch_size: int
    max_iter: int
    patience: int
    seed: int
    key: str
    joint_normalisation: bool = True


@dataclass(frozen=True)
class Rows:
    """All rows on one device: features [n, features] or positions [n, dim], Y [n, outputs], weight and votes [n]."""

    features: Tensor
    Y: Tensor
    weight: Tensor
    votes: Tensor


@dataclass(frozen=True)
class Voters:
    """Embedded rows with what they vote for: positions [m, dim], values [m, outputs], weights of the votes [m]."""

    rows: Tensor
    values: Tensor
    votes: Tensor


@dataclass(frozen=True)
class Verdict:
    """The losses of all votes (soft) and of the votes of the best number of neighbours (hard), with that number and the smoothing."""

    soft: float
    hard: float
    k: int
    smoothing: float


def prediction_loss(answers: Tensor, Y: Tensor, classification: bool) -> Tensor:
    """Return the loss of each row, [n]: minus the logarithm of the share of its class, or the mean square over targets."""
    if classification:
        return -((answers * Y).sum(dim=1) + FLOOR).log()
    return ((answers - Y) ** 2).mean(dim=1)


@torch.no_grad()
def judge(
    voters: Voters,
    queries: Tensor,
    Y: Tensor,
    weight: Tensor,
    temperature: float,
    classification: bool,
    own: Tensor | None = None,
) -> Verdict:
    """Judge soft and hard votes on embedded queries [n, dim] whose answers Y [n, outputs] are known."""
    others = len(voters.rows) - (own is not None)
    grid = sorted({min(k, others) for k in NEIGHBOURS})
    # n rows cannot tell a chance below 1 / n from none, and a class that has none of k neighbours would be said to be impossible.
    smoothing = 1.0 / (1.0 + len(queries)) if classification else 0.0
    soft, hard = 0.0, torch.zeros(len(grid), dtype=torch.float64)
    at_once = max(1, MOST_NUMBERS // max(len(voters.rows), grid[-1] * voters.values.shape[1]))
    for part in torch.arange(len(queries), device=queries.device).split(at_once):
        distance = distances(queries[part], voters.rows)
        if own is not None:
            distance = distance.scatter(1, own[part, None], torch.inf)
        scores = voters.votes.log() - distance / temperature
        answers = scores.softmax(dim=1) @ voters.values
        soft += float((prediction_loss(answers, Y[part], classification) * weight[part]).sum())
        nearest = distance.topk(grid[-1], dim=1, largest=False).indices
        share = scores.gather(1, nearest)
        share = (share - share.max(dim=1, keepdim=True).values).exp()
        losses = _losses_by_k(
            share, voters.values[nearest], Y[part], [k - 1 for k in grid], smoothing, classification
        )
        hard += (losses * weight[part, None]).sum(dim=0).double().cpu()
    total = float(weight.sum())
    best = int(hard.argmin())
    return Verdict(soft / total, float(hard[best]) / total, grid[best], smoothing)


def _losses_by_k(
    share: Tensor, values: Tensor, Y: Tensor, last: list[int], smoothing: float, classification: bool
) -> Tensor:
    """Losses [n, numbers of neighbours] of neighbours in order of distance: shares [n, k], values [n, k, outputs]."""
    total = share.cumsum(dim=1)[:, last].clamp_min(1e-30)
    if classification:
        right = (share * (values * Y[:, None]).sum(dim=2)).cumsum(dim=1)[:, last] / total
        return -((right + smoothing) / (1.0 + Y.shape[1] * smoothing)).log()
    answers = (share[:, :, None] * values).cumsum(dim=1)[:, last] / total[:, :, None]
    return ((answers - Y[:, None]) ** 2).mean(dim=2)


class JudgedTask(TrainingTask):
    """A task that is judged after every pass over its rows, keeps the best, and stops when it has not improved for a while.

    A subclass has `module`, `rows`, `problem`, `epoch_steps`, `patience` and `verdict()`.

    Attributes
    ----------
    best : the state of the module at its best, for the result and for whoever interrupts the training.
    track : the loss of the exact model then, its k and smoothing, the soft loss beside it, passes without a better one, the pass of the
        best (0 while there was none), and whether training is over.
    """

    problem: Problem
    epoch_steps: int
    patience: int
    rows: Rows
    best: dict[str, Tensor]
    track: Tensor
    latest: Verdict | None = None

    def begin(self, max_iter: int) -> None:
        """Prepare to keep the best of at most `max_iter` passes."""
        self.steps = max_iter * self.epoch_steps
        self.best = {name: value.detach().clone() for name, value in self.module.state_dict().items()}
        self.track = torch.tensor([torch.inf, 1.0, FLOOR, torch.inf, 0.0, 0.0, 0.0], dtype=torch.float64)

    def verdict(self) -> Verdict:
        """Judge the module as it is."""
        raise NotImplementedError

    def rows_here(self) -> Rows:
        """Return the rows on the device that the module was moved to."""
        device = next(self.module.parameters()).device
        if self.rows.features.device != device:
            self.rows = Rows(
                *(getattr(self.rows, field.name).to(device) for field in dataclasses.fields(Rows))
            )
        return self.rows

    def after_step(self, step: int) -> None:
        """Judge the module at the end of a pass."""
        if self.track[6]:  # resumed after the end
            self.steps = step + 1
        if (step + 1) % self.epoch_steps or self.track[6]:
            return
        self.module.eval()
        self.latest = found = self.verdict()
        self.module.train()
        if found.hard < float(self.track[0]):
            for name, value in self.module.state_dict().items():
                self.best[name].copy_(value)
            passes = (step + 1) // self.epoch_steps
            self.track[:6] = torch.tensor(
                [found.hard, found.k, found.smoothing, found.soft, 0.0, passes], dtype=torch.float64
            )
        else:
            self.track[4] += 1
            if self.track[4] >= self.patience:
                self.track[6] = 1.0
                self.steps = step + 1

    def measure(self, step: int) -> tuple[float | None, float | None, float | None]:
        """Return the soft and the hard log-loss or RMSE of the last verdict."""
        if self.latest is None:
            return None, None, None
        soft, hard = self.latest.soft, self.latest.hard
        if self.problem.classification:
            return soft, hard, None
        return self.problem.unit * soft**0.5, self.problem.unit * hard**0.5, None

    def extra_state(self) -> dict[str, Tensor]:
        """Return what is kept."""
        return {"track": self.track, **{f"best.{name}": value for name, value in self.best.items()}}

    def result(self) -> dict[str, NDArray[Any]]:
        """Return the best state of the module, and `track`."""
        kept = {name: value.detach().cpu().numpy() for name, value in self.best.items()}
        return {**kept, "track": self.track.numpy()}


class NeighbourTask(JudgedTask):
    """Rows learn to be near rows that answer alike: each row of a batch is predicted from the other rows.

    Parameters
    ----------
    problem, recipe : what and how.
    running : takes the task itself, so that its best can be used where training is interrupted.
    """

    phase = "neighbours"

    def __init__(self, problem: Problem, recipe: Recipe, running: list[JudgedTask]) -> None:
        self.problem, self.recipe, self.key = problem, recipe, recipe.key
        self.patience = recipe.patience
        learned = problem.learned
        self.epoch_steps = -(-len(learned) // recipe.batch_size)
        self.module: SoftNeighbourhood = build_network(problem, recipe)
        self.rows = Rows(
            *(torch.from_numpy(a).float() for a in (problem.Z, problem.Y, problem.weight, problem.votes))
        )
        self.begin(recipe.max_iter)
        running.append(self)

    def optimizer(self) -> torch.optim.Optimizer:
        """Return AdamW."""
        return torch.optim.AdamW(
            self.module.parameters(), self.recipe.learning_rate, weight_decay=self.recipe.weight_decay
        )

    def loss(self, copies: nn.Module, step: int, parts: range) -> Tensor:
        """Return the loss of a batch, predicted by itself and by candidates beside it."""
        everything, (batch, others) = self.rows_here(), self._draw(step)
        rows = torch.from_numpy(np.concatenate([batch, others])).to(everything.Y.device)
        dropout = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + step)
        # Batch normalisation sees one crowd, or two; one row is no crowd.
        apart = not self.recipe.joint_normalisation and min(len(batch), len(others)) > 1
        crowds = rows.tensor_split([len(batch)]) if apart else (rows,)
        embedded = torch.cat([self.module.embed(everything.features[crowd], dropout) for crowd in crowds])
        own = torch.arange(len(batch), device=rows.device)
        shares = self.module.shares(embedded[: len(batch)], embedded, everything.votes[rows], own)
        Y, weight = everything.Y[rows], everything.weight[rows[: len(batch)]]
        losses = prediction_loss(shares @ Y, Y[: len(batch)], self.problem.classification)
        return (losses * weight).sum() / weight.sum()

    def _draw(self, step: int) -> tuple[Ints, Ints]:
        """A batch, and the candidates beside it: a sample of the training rows that are not in the batch."""
        epoch, place = divmod(step, self.epoch_steps)
        order = np.random.default_rng([self.recipe.seed, epoch]).permutation(self.problem.learned)
        first, last = place * self.recipe.batch_size, (place + 1) * self.recipe.batch_size
        rest = np.concatenate([order[:first], order[last:]])
        count = min(self.recipe.max_candidates, max(1, round(self.recipe.sample_rate * len(rest))), len(rest))
        chosen = np.random.default_rng([self.recipe.seed, epoch, place]).choice(rest, count, replace=False)
        return order[first:last], chosen

    def verdict(self) -> Verdict:
        """Judge the votes of the training rows on the held-out rows."""
        module, problem, everything = self.module, self.problem, self.rows_here()
        learned, judged = (
            torch.from_numpy(rows).to(everything.Y.device) for rows in (problem.learned, problem.judged)
        )
        rows, queries = (embed_all(module, everything.features[part]) for part in (learned, judged))
        voters = Voters(rows, everything.Y[learned], everything.votes[learned])
        own = None if len(problem.held) else torch.searchsorted(learned, judged)
        return judge(
            voters,
            queries,
            everything.Y[judged],
            everything.weight[judged],
            float(module.temperature),
            problem.classification,
            own,
        )


@torch.no_grad()
def embed_all(network: SoftNeighbourhood, features: Tensor) -> Tensor:
    """Embed any number of rows without a gradient, some thousand at a time."""
    return torch.cat([network.embed(part) for part in features.split(EMBEDDED_AT_ONCE)])


_drawing = threading.Lock()


def build_network(problem: Problem, recipe: Recipe) -> SoftNeighbourhood:
    """Return a fresh network for a problem, drawn by the recipe's seed."""
    # The generator of torch's own initial weights is one for all threads.
    with _drawing, torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return SoftNeighbourhood(
            problem.Z.shape[1], problem.embedded, recipe.shape, recipe.temperature, problem.Z
        )


def trained_network(problem: Problem, recipe: Recipe, state: dict[str, NDArray[Any]]) -> SoftNeighbourhood:
    """Return the network with the state that a `NeighbourTask` gave."""
    network = build_network(problem, recipe)
    network.load_state_dict(
        {name: torch.from_numpy(np.asarray(value)) for name, value in state.items() if name != "track"}
    )
    return network.eval()


def with_embedding(shape: EncoderShape) -> EncoderShape:
    """Return the richer alternative to a linear encoder that `encoder="auto"` tries beside it."""
    embedding = shape.embedding if shape.embedding != "none" else "periodic"
    return dataclasses.replace(shape, embedding=embedding, n_blocks=max(1, shape.n_blocks))
