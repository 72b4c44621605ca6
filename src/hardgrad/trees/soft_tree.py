"""SoftTree: one soft tree of full directions whose leaves are class distributions, and how it is trained (Frosst and Hinton, 2017)."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hardgrad.core.relaxed import straight_through
from hardgrad.core.schedule import Schedule
from hardgrad.train.loop import Hardware, TrainingTask, train
from hardgrad.trees.routing import route
from hardgrad.trees.soft_forest import SoftForest

TreeLoss = Literal["path", "mixture"]
LEAST_SHARE = 1e-4
LEAST = 1e-12
LONGEST_MEMORY = 0.99
Floats = NDArray[np.float64]


class SoftTree(SoftForest):
    """A soft tree with one direction a node and one distribution over the classes a leaf.

    A row goes LEFT with probability `sigmoid(-(w.x + b) / temperature)`.

    Parameters
    ----------
    n_features, depth, n_classes : its shape.
    spread : standard deviation of the first directions, times the root of the number of features.
    generator : of the first directions and leaves.

    Examples
    --------
    >>> tree = SoftTree(n_features=3, depth=2, n_classes=4)
    >>> tree.reach(torch.zeros(5, 3))[0].tolist()
    [0.25, 0.25, 0.25, 0.25]
    """

    def __init__(
        self,
        n_features: int,
        depth: int,
        n_classes: int,
        *,
        spread: float = 0.3,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(n_features, 1, depth, n_classes, temperature=1.0)
        with torch.no_grad():
            self.weight.normal_(0.0, spread / n_features**0.5, generator=generator)
            self.offset.zero_()
            self.leaf.normal_(0.0, 0.01, generator=generator)
        self.bias.requires_grad_(False)  # a leaf says everything by itself

    def left_probability(self, x: Tensor, temperature: Any = None) -> Tensor:
        """Return the probability of LEFT at every node [nodes, B] of rows [B, features]."""
        return self.gates(x, temperature=temperature, mode="soft")[0, 0]

    def reach(self, x: Tensor, temperature: Any = None) -> Tensor:
        """Return the probability of reaching each leaf [B, leaves]."""
        return route(self.left_probability(x, temperature)).T

    def leaf_logs(self) -> Tensor:
        """Return the logarithms of the leaves' distributions [leaves, classes]."""
        return self.leaf[0, 0].log_softmax(-1)

    def predict_shares(self, x: Tensor, how: Literal["mean", "max_path"], temperature: Any = None) -> Tensor:
        """Return class probabilities [B, classes]: of all leaves by their path probabilities, or of the likeliest leaf."""
        reach = self.reach(x, temperature)
        logs = self.leaf_logs()
        shares = logs.exp()
        return reach @ shares if how == "mean" else shares[reach.argmax(1)]

    def node_probability(self, reach: Tensor) -> list[Tensor]:
        """Return, level by level from the root, the probability of reaching each node [B, nodes of the level], given that of the leaves."""
        return [reach.unflatten(1, (2**level, -1)).sum(2) for level in range(self.depth)]


def train_soft_tree(
    X: Floats, targets: Floats, weight: Floats, *, depth: int, loss: TreeLoss, penalty: float, penalty_decay: float, epochs: int,
    batch_size: int, learning_rate: float, temperature: float, random_state: int, device: str = "cpu",
) -> SoftTree:  # fmt: skip
    """Return a soft tree trained on standardised rows [n, features] with target distributions [n, classes] and weights [n].

    Parameters
    ----------
    loss : "path" (every leaf answers for the rows that reach it) or "mixture" (the leaves answer together).
    penalty, penalty_decay : of nodes that send nearly all rows one way, at the root, and its factor from one level to the next.
    temperature : of the gates at the end; it begins at 1.
    """
    arguments = (
        X.astype(np.float32), targets.astype(np.float32), weight.astype(np.float32), depth, loss, penalty, penalty_decay, epochs,
        batch_size, learning_rate, temperature, random_state,
    )  # fmt: skip
    learned = train(_SoftTreeTask, arguments, Hardware(device))
    tree = SoftTree(X.shape[1], depth, targets.shape[1])
    tree.load_state_dict({name: torch.from_numpy(value) for name, value in learned.items()})
    return tree


class _SoftTreeTask(TrainingTask):
    """Batches of rows with target distributions; the loss of every leaf by its path, and the balance of every node."""

    key = phase = "soft tree"
    parts = 1

    def __init__(
        self, X: NDArray[np.float32], targets: NDArray[np.float32], weight: NDArray[np.float32], depth: int, loss: TreeLoss,
        penalty: float, penalty_decay: float, epochs: int, batch_size: int, rate: float, coldest: float, seed: int,
    ) -> None:  # fmt: skip
        self.X, self.targets, self.weight = (
            torch.from_numpy(X),
            torch.from_numpy(targets),
            torch.from_numpy(weight),
        )
        self.loss_kind, self.penalty, self.penalty_decay = loss, penalty, penalty_decay
        self.batch_size, self.rate, self.seed = min(batch_size, len(X)), rate, seed
        self.steps = epochs * max(1, len(X) // self.batch_size)
        self.cooling = Schedule.exponential(1.0, coldest)
        self.module = SoftTree(
            X.shape[1], depth, targets.shape[1], generator=torch.Generator().manual_seed(seed)
        )
        nodes = 2**depth - 1
        self.right, self.reached = (
            torch.full((nodes,), 0.5),
            torch.ones(nodes),
        )  # running means, in level order
        levels = torch.cat([torch.full((2**d,), float(d)) for d in range(depth)])
        self.memory = (1.0 - 2.0 ** -(levels + 1)).clamp(max=LONGEST_MEMORY)
        self.share = penalty * penalty_decay**levels

    def optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.Adam([p for p in self.module.parameters() if p.requires_grad], self.rate)

    def before_step(self, step: int, optimizer: torch.optim.Optimizer) -> None:
        assert isinstance(self.module, SoftTree)
        self.module.set_temperature(self.cooling.at(step=step, steps=self.steps))

    def loss(self, copies: nn.Module, step: int, parts: range) -> Tensor:
        tree: Any = copies
        per_epoch = max(1, len(self.X) // self.batch_size)
        # One order of the rows an epoch, that follows from the step alone.
        order = np.random.default_rng([self.seed, step // per_epoch]).permutation(len(self.X))
        first = step % per_epoch * self.batch_size
        rows = torch.from_numpy(order[first : first + self.batch_size])
        device = tree.weight.device
        x, target, weight = (part[rows].to(device) for part in (self.X, self.targets, self.weight))
        gates = tree.left_probability(x)
        reach = route(gates).T
        logs = tree.leaf_logs()
        if self.loss_kind == "mixture":
            each = -(target * (reach @ logs.exp()).clamp(min=LEAST).log()).sum(1)
        else:
            each = -(reach * (target @ logs.T)).sum(1)
        loss: Tensor = (weight * each).sum() / weight.sum().clamp(min=LEAST)
        return loss + self._balance(tree, gates, reach, weight)

    def _balance(self, tree: SoftTree, gates: Tensor, reach: Tensor, weight: Tensor) -> Tensor:
        """The penalty on nodes that send nearly all rows one way.

        Its value is that of means that run over batches, longer for deeper nodes, which see fewer rows; its gradient is the batch's own.
        """
        nodes = torch.cat(tree.node_probability(reach), dim=1) * weight[:, None]
        right, reached = (nodes * (1 - gates.T)).mean(0), nodes.mean(0)
        memory = self.memory.to(right.device)
        with torch.no_grad():
            self.right.copy_(memory * self.right.to(right.device) + (1 - memory) * right)
            self.reached.copy_(memory * self.reached.to(right.device) + (1 - memory) * reached)
        running = (
            (self.right / self.reached.clamp(min=LEAST)).to(right.device).clamp(LEAST_SHARE, 1 - LEAST_SHARE)
        )
        seen = reached.detach() > LEAST  # a node that no row of the batch reaches has no share of its own
        alpha = straight_through(running, torch.where(seen, right / torch.where(seen, reached, 1.0), running))
        balance: Tensor = -(self.share.to(right.device) * 0.5 * (alpha.log() + (1 - alpha).log())).sum()
        return balance

    def extra_state(self) -> dict[str, Tensor]:
        return {"right": self.right, "reached": self.reached}

    def result(self) -> dict[str, NDArray[Any]]:
        return {name: value.detach().cpu().numpy() for name, value in self.module.state_dict().items()}
