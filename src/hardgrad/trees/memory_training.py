"""Starting and training a forest over a response memory: router, keys and responses by gradients, in the one training loop."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hardgrad.core.errors import DataError, ParameterError
from hardgrad.core.mode import Mode
from hardgrad.core.schedule import Schedule
from hardgrad.tabular.schema import TableSchema
from hardgrad.tabular.target import prepare_target
from hardgrad.tabular.weights import check_weights
from hardgrad.train.loop import Hardware, TrainingTask, train
from hardgrad.trees.assemble import Frame
from hardgrad.trees.codes import FeatureCodes
from hardgrad.trees.forest import MAX_TERMS
from hardgrad.trees.memory_forest import MemoryForest
from hardgrad.trees.memory_model import MAX_DEPTH, MAX_TREES
from hardgrad.trees.response_memory import Addressing, ResponseMemory
from hardgrad.trees.soft_forest import SoftForest, Split

PRUNE_AT = 0.5
EXACT_FROM = 0.6
LEVELS = (0.2, 0.8)  # of the quantiles at which nodes split at the start
WATCHED = 512
SIDES: tuple[Mode, Mode] = ("soft", "hard")


def start_memory_forest(
    X: Any,
    y: Any,
    *,
    task: str = "auto",
    n_trees: int = 32,
    depth: int = 5,
    n_slots: int | None = None,
    n_read: int | None = None,
    split: Split = "sparse_oblique",
    key_dim: int = 16,
    random_state: int = 0,
) -> MemoryForest:
    """Return an untrained forest for a table and its target.

    Parameters
    ----------
    X : an array [n, columns] or any data frame.
    y : [n] labels or numbers, or [n, targets] numbers.
    task : "auto", "classification" or "regression" (see `hardgrad.tabular.target.prepare_target`).
    n_trees, depth, split : of the router.
    n_slots : rows of a bank that all leaves share; by default each leaf has a row of its own.
    n_read, key_dim : of a shared bank (see `MemoryForest`, `ResponseMemory`).
    random_state : seed.

    Notes
    -----
    Directions are normal with variance 1 / features, and nodes split at quantiles between 0.2 and 0.8 of the rows; with split "axis" each
    node has one random feature.
    """
    found = prepare_target(y, task)
    schema, encoded = _encode(X, found.y, found.task, max(2, len(found.classes)), random_state)
    if len(encoded) != len(found.y):
        raise DataError(f"X has {len(encoded)} rows and y {len(found.y)}; expected as many.")
    codes = FeatureCodes.fit(encoded)
    if found.task == "classification":
        frame = Frame(schema, codes, "softmax", "classification", found.classes)
    else:
        Y = found.y.reshape(len(encoded), -1)
        spread = Y.std(axis=0)
        scale = np.where(spread > 0, spread, 1.0)
        frame = Frame(schema, codes, "identity", "regression", scale=scale, shift=Y.mean(axis=0))
    return new_memory_forest(
        frame, encoded, n_trees=n_trees, depth=depth, n_slots=n_slots, n_read=n_read, split=split, key_dim=key_dim, seed=random_state
    )  # fmt: skip


def new_memory_forest(
    frame: Frame,
    encoded: NDArray[np.float64],
    *,
    n_trees: int,
    depth: int,
    n_slots: int | None,
    n_read: int | None,
    split: Split = "sparse_oblique",
    key_dim: int = 16,
    seed: int = 0,
) -> MemoryForest:
    """Return an untrained forest for what a frame says, with nodes that split the rows of an encoded matrix (see `start_memory_forest`)."""
    for name, value, most in (("n_trees", n_trees, MAX_TREES), ("depth", depth, MAX_DEPTH)):
        if type(value) is not int or not 1 <= value <= most:
            raise ParameterError(f"{name} got {value!r}; expected a whole number from 1 to {most}.")
    dim = len(frame.classes) if frame.scale is None else len(frame.scale)
    generator = torch.Generator().manual_seed(seed)
    controller = SoftForest(
        frame.codes.n_features, n_trees, depth, dim, split=split, temperature=1.0, frame=frame
    )
    _start_router(controller, torch.from_numpy(frame.codes.encode_scores(encoded)), generator)
    slots = n_trees * 2**depth if n_slots is None else n_slots
    addressing: Addressing = "leaf" if n_slots is None else "content"
    memory = ResponseMemory(slots, dim, addressing, key_dim=key_dim, generator=generator)
    return MemoryForest(controller, memory, n_read, generator=generator)


def _encode(
    X: Any, labels: NDArray[Any], task: str, n_classes: int, seed: int
) -> tuple[TableSchema, NDArray[np.float64]]:
    if isinstance(X, np.ndarray):
        if X.ndim != 2:
            raise DataError(f"X has shape {X.shape}; expected [rows, columns].")
        schema = TableSchema.numeric([f"x{i}" for i in range(X.shape[1])])
        return schema, schema.encode(X)
    from hardgrad.tabular.encoding import TableEncoder

    return TableEncoder().fit_transform(X, labels, task=task, n_classes=n_classes, random_state=seed)


@torch.no_grad()
def _start_router(controller: SoftForest, scores: Tensor, generator: torch.Generator) -> None:
    tests, features = controller.weight.shape[1:]
    weight = torch.randn(tests, features, generator=generator) / math.sqrt(features)
    if controller.split == "axis":
        own = torch.randint(features, (tests, 1), generator=generator)
        weight = torch.zeros(tests, features).scatter(1, own, 1.0)
    z = scores @ weight.T
    level = LEVELS[0] + (LEVELS[1] - LEVELS[0]) * torch.rand(tests, generator=generator)
    place = (level * (len(scores) - 1)).long()
    controller.weight[0] = weight
    controller.offset[0] = -z.sort(dim=0).values.gather(0, place.unsqueeze(0))[0]


@dataclass(frozen=True)
class _Plan:
    steps: int
    batch_size: int
    rate: float
    temperature: tuple[float, float]
    train_router: bool
    seed: int


def fit_memory_forest(
    forest: MemoryForest,
    X: Any,
    y: Any,
    sample_weight: Any = None,
    *,
    epochs: int = 40,
    batch_size: int = 128,
    learning_rate: float = 0.01,
    temperature: tuple[float, float] = (1.0, 0.125),
    train_router: bool = True,
    random_state: int = 0,
    device: str = "cpu",
) -> None:
    """Train a forest in place, by Adam on cross-entropy (classification) or half the squared error (regression).

    Gates anneal from warm to cold; at half time each node keeps its four largest weights, as many as an exact node has; from 60 % on the
    forward pass is exact (straight-through), gates and slots alike.

    Parameters
    ----------
    forest : made by `MemoryForest.for_table`; its memory goes back from writing to training.
    X, y, sample_weight : rows of the table, labels or numbers, weights.
    epochs, batch_size : passes over the rows, and rows a step.
    learning_rate : of Adam at the start; falls to 0 along a cosine.
    temperature : of gates and shared slots, from and to, along a geometric path.
    train_router : False leaves routes and keys as they are, and trains responses on the exact routes alone.
    random_state : seed of the order of the rows.
    device : "cpu", "cuda" or "auto".

    Raises
    ------
    DataError : unknown labels, or weights that are negative or all 0.
    ParameterError : a parameter outside its range.
    """
    for name, value in (("epochs", epochs), ("batch_size", batch_size)):
        if type(value) is not int or value < 1:
            raise ParameterError(f"{name} got {value!r}; expected a whole number of at least 1.")
    if not 0 < learning_rate < math.inf or not all(0 < t < math.inf for t in temperature):
        raise ParameterError(
            f"learning_rate and temperature got {learning_rate!r} and {temperature!r}; expected positive numbers."
        )
    scores, target = forest.scores(X), torch.from_numpy(forest.targets(y)).float()
    weight = torch.from_numpy(check_weights(sample_weight, len(scores))).float()
    steps = epochs * max(1, -(-len(scores) // batch_size))
    plan = _Plan(steps, min(batch_size, len(scores)), learning_rate, temperature, train_router, random_state)
    forest.start_training()
    learned = train(_MemoryTask, (forest, scores, target, weight / weight.mean(), plan), Hardware(device))
    forest.load_state_dict({name: torch.from_numpy(value) for name, value in learned.items()})


class _MemoryTask(TrainingTask):
    """Batches of rows, in an order that is new in every epoch."""

    key, phase, parts = "memory-forest", "memory forest", 1

    def __init__(
        self, forest: MemoryForest, scores: Tensor, target: Tensor, weight: Tensor, plan: _Plan
    ) -> None:
        self.forest = self.module = copy.deepcopy(forest)
        self.rows, self.plan, self.steps = (scores, target, weight), plan, plan.steps
        self.classify = forest.targets_are_classes
        self.mask = torch.ones_like(self.forest.controller.weight)
        if forest.controller.split == "axis":
            self.mask = (self.forest.controller.weight != 0).float()

    def optimizer(self) -> torch.optim.Optimizer:
        device = self.forest.memory.bank.device
        self.rows = tuple(t.to(device) for t in self.rows)  # type: ignore[assignment]
        self.mask = self.mask.to(device)
        trained = self.forest.parameters() if self.plan.train_router else [self.forest.memory.bank]
        return torch.optim.Adam([p for p in trained if p.requires_grad], self.plan.rate)

    def before_step(self, step: int, optimizer: torch.optim.Optimizer) -> None:
        for group in optimizer.param_groups:
            group["lr"] = Schedule.cosine(self.plan.rate).at(step=step, steps=self.steps)
        if self.plan.train_router:
            self.forest.set_temperature(
                Schedule.exponential(*self.plan.temperature).at(step=step, steps=self.steps)
            )

    def loss(self, copies: nn.Module, step: int, parts: range) -> Tensor:
        per_epoch = -(-len(self.rows[0]) // self.plan.batch_size)
        epoch, piece = divmod(step, per_epoch)
        order = np.random.default_rng([self.plan.seed, epoch]).permutation(len(self.rows[0]))
        chosen = order[piece * self.plan.batch_size : (piece + 1) * self.plan.batch_size]
        scores, target, weight = (t[torch.from_numpy(chosen)] for t in self.rows)
        late: Mode = "st" if step >= EXACT_FROM * self.steps else "soft"
        said = copies(scores, mode=late if self.plan.train_router else "hard")
        if self.classify:
            losses = -(target * torch.log_softmax(said, dim=1)).sum(dim=1)
        else:
            losses = 0.5 * (said - target).square().sum(dim=1)
        return (losses * weight).mean()

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        if not self.plan.train_router:
            return
        weight = self.forest.controller.weight
        if step + 1 == int(PRUNE_AT * self.steps):
            kept = weight.abs().topk(min(MAX_TERMS, weight.shape[2]), dim=2).indices
            self.mask.mul_(torch.zeros_like(weight).scatter_(2, kept, 1.0))
        weight.mul_(self.mask)

    def extra_state(self) -> dict[str, Tensor]:
        return {"mask": self.mask}

    @torch.no_grad()
    def measure(self, step: int) -> tuple[float | None, float | None, float | None]:
        scores, target, _ = (t[:WATCHED] for t in self.rows)
        values = []
        for mode in SIDES:
            said = self.forest(scores, mode=mode)
            right = (
                (said.argmax(dim=1) == target.argmax(dim=1)).float()
                if self.classify
                else (said - target).square()
            )
            values.append(float(right.mean()))
        return values[0], values[1], float(self.forest.temperature)

    def result(self) -> dict[str, NDArray[Any]]:
        return {name: value.detach().cpu().numpy() for name, value in self.module.state_dict().items()}
