"""Training a network on circuits: batches of random variants, a learning rate that falls on half a cosine. The loop is that of `train`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hardgrad.core.errors import ParameterError
from hardgrad.core.schedule import Schedule
from hardgrad.logic.circuit_graphs import CircuitGraphs
from hardgrad.train.checkpoint import fingerprint
from hardgrad.train.loop import Hardware, TrainingTask, train

GraphLoss = Callable[[CircuitGraphs, np.random.Generator], Tensor]
"""Takes a batch of circuits and a source of chance, and returns the loss."""


@dataclass(frozen=True)
class GraphPlan:
    """How a network is trained on circuits.

    Parameters
    ----------
    n_steps, batch_size, learning_rate : of Adam.
    random_state : seed of the network, the batches and the variants.

    Raises
    ------
    ParameterError : a number out of range.
    """

    n_steps: int
    batch_size: int
    learning_rate: float
    random_state: int

    def __post_init__(self) -> None:
        if min(self.n_steps, self.batch_size) < 1 or not self.learning_rate > 0:
            raise ParameterError(
                f"got n_steps={self.n_steps}, batch_size={self.batch_size}, learning_rate={self.learning_rate}; expected at least 1, and a "
                "positive number."
            )

    def build(self, make: Callable[[], nn.Module]) -> Any:
        """Return a network made from the seed, whatever the state of torch's own random numbers, which stays as it is."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.random_state)
            return make()


def train_on_graphs(
    module: nn.Module,
    graphs: CircuitGraphs,
    loss: GraphLoss,
    plan: GraphPlan,
    phase: str,
    teacher: nn.Module | None = None,
) -> None:
    """Train a network in place, on variants of circuits, and leave it in evaluation mode.

    Parameters
    ----------
    module : the network. graphs : the circuits. loss : of a batch.
    plan : how. phase : what the progress display says.
    teacher : a trained network that the loss depends on, and a checkpoint with it.
    """
    module.train()
    train(_GraphTask, (module, graphs, loss, plan, phase, teacher), Hardware())
    module.eval()


class _GraphTask(TrainingTask):
    """A network and the circuits that it learns from; a batch follows from the seed and the step."""

    def __init__(
        self,
        module: nn.Module,
        graphs: CircuitGraphs,
        loss: GraphLoss,
        plan: GraphPlan,
        phase: str,
        teacher: nn.Module | None,
    ) -> None:
        self.module, self.graphs, self.of_batch, self.plan = module, graphs, loss, plan
        self.steps, self.phase = plan.n_steps, phase
        self.rate = Schedule.cosine(plan.learning_rate)
        networks = [one.state_dict() for one in (module, teacher) if one is not None]
        arrays = [tensor.numpy() for state in networks for tensor in state.values()]
        self.key = f"{phase}-{fingerprint(graphs.kinds, graphs.operands, plan, *arrays)}"

    def optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.module.parameters(), lr=self.plan.learning_rate)

    def before_step(self, step: int, optimizer: torch.optim.Optimizer) -> None:
        for group in optimizer.param_groups:
            group["lr"] = self.rate.at(step=step, steps=self.steps + 1)  # the last step still moves

    def loss(self, copies: nn.Module, step: int, parts: range) -> Tensor:
        rng = np.random.default_rng([self.plan.random_state, step])
        batch = self.graphs.rows(rng.integers(0, len(self.graphs), self.plan.batch_size)).variants(rng)
        self.latest = self.of_batch(batch, rng)
        return self.latest

    def measure(self, step: int) -> tuple[float | None, float | None, float | None]:
        return float(self.latest.detach()), None, None

    def result(self) -> dict[str, NDArray[Any]]:
        return {}
