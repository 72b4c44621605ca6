"""fit_network: training of a binary network on rows and classes, by the loop that all of hardgrad has."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hardgrad.bits.layers import WeightClipper, binary_layers, set_surrogates
from hardgrad.bits.network import CALIBRATION_ROWS, BinaryNetwork
from hardgrad.core.errors import InputError, ParameterError
from hardgrad.core.mode import mode as in_mode
from hardgrad.core.schedule import Schedule
from hardgrad.functional.binary import binary_surrogate
from hardgrad.functional.operands import check_choice
from hardgrad.train.loop import Hardware, TrainingTask, train

Loss = Literal["squared_hinge", "log_loss"]
LOSSES = ("squared_hinge", "log_loss")


@dataclass(frozen=True)
class Recipe:
    """How a binary network is trained.

    Parameters
    ----------
    epochs : passes over the rows. batch_size : rows a step.
    learning_rate : over the whole training; latent weights have their layer's factor besides.
    optimizer : "adam", or "sgd" with momentum 0.9.
    loss : "squared_hinge", mean of max(0, 1 - t z)^2 with targets t of -1 and +1, or "log_loss".
    weight_decay : of everything but latent weights.
    exponent : of ReSTE, over the whole training; weights and signs of inputs then have that surrogate. None leaves what the layers have.
    penalty : called with progress from 0 to 1; returns what is added to the loss.
    device : "cpu", "cuda" or "auto".
    """

    epochs: int = 60
    batch_size: int = 64
    learning_rate: Schedule = field(default_factory=lambda: Schedule.cosine(3e-3))
    optimizer: Literal["adam", "sgd"] = "adam"
    loss: Loss = "squared_hinge"
    weight_decay: float = 0.0
    exponent: Schedule | None = None
    penalty: Callable[[float], Tensor] | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        check_choice("Recipe", "loss", self.loss, LOSSES)
        check_choice("Recipe", "optimizer", self.optimizer, ("adam", "sgd"))
        for name in ("epochs", "batch_size"):
            value: Any = getattr(self, name)
            if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
                raise ParameterError(f"Recipe got {name}={value!r}; expected a whole number of at least 1.")
        if not self.weight_decay >= 0:
            raise ParameterError(f"Recipe got weight_decay={self.weight_decay!r}; expected 0 or more.")


def reste_exponent(end: float = 3.0) -> Schedule:
    """Return the exponent of ReSTE over training: from 1, the identity, to `end` along 1 + (1 - cos(pi / 2 * progress)) * (end - 1).

    Parameters
    ----------
    end : at the end of training, at least 1. An exponent above 1 from the start makes training unstable.

    Examples
    --------
    >>> [round(reste_exponent(3.0)(p), 3) for p in (0.0, 0.5, 1.0)]
    [1.0, 1.586, 3.0]

    Source: Wu, Zheng, Liu and Zheng, 2023, Estimator Meets Equilibrium Perspective: A Rectified Straight Through Estimator.
    """
    if not (end >= 1.0 and math.isfinite(end)):
        raise ParameterError(f"reste_exponent got end={end!r}; expected a number from 1 on.")
    return Schedule.by(lambda progress: 1.0 + (1.0 - math.cos(0.5 * math.pi * progress)) * (end - 1.0))


def fit_network(
    network: BinaryNetwork,
    X: Tensor,
    y: NDArray[np.int64],
    recipe: Recipe | None = None,
    *,
    sample_weight: NDArray[Any] | None = None,
    validation: tuple[Tensor, NDArray[np.int64]] | None = None,
    random_state: int = 0,
) -> list[float]:
    """Train a network in place and return its hard accuracy on the validation rows after each epoch.

    Parameters
    ----------
    network : left in evaluation mode.
    X, y : rows [n, inputs] and classes [n], as numbers of outputs.
    recipe : see `Recipe`.
    sample_weight : [n], of the losses of the rows.
    validation : rows and classes; the network keeps the state with the best hard accuracy on them, the last of equals.
    random_state : of the order of the rows and of drawn weights.

    Raises
    ------
    InputError : fewer than 2 rows.

    Examples
    --------
    >>> X = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
    >>> y = (X[:, 0] > X[:, 1]).long().numpy()
    >>> network = BinaryNetwork.mlp((4, 16, 2), generator=torch.Generator().manual_seed(0))
    >>> accuracies = fit_network(network, X, y, Recipe(epochs=60), validation=(X, y))
    >>> len(accuracies), max(accuracies) > 0.8
    (60, True)
    """
    if len(X) < 2:
        raise InputError(f"fit_network got {len(X)} rows; expected at least 2, for batch normalisation.")
    recipe = recipe or Recipe()
    weight = np.ones(len(X)) if sample_weight is None else sample_weight
    arguments = (
        network,
        X,
        torch.from_numpy(y),
        torch.from_numpy(weight).to(X.dtype),
        recipe,
        validation,
        random_state,
    )
    learned = train(_NetworkTask, arguments, Hardware(recipe.device))
    accuracies = learned.pop("accuracies")
    network.cpu().load_state_dict({name: torch.from_numpy(value) for name, value in learned.items()})
    network.eval()
    return [float(accuracy) for accuracy in accuracies]


class _NetworkTask(TrainingTask):
    """Batches of rows through the network; the latent weights are projected after every step."""

    key = phase = "binary network"
    parts = 1

    def __init__(
        self, network: BinaryNetwork, X: Tensor, y: Tensor, weight: Tensor, recipe: Recipe,
        validation: tuple[Tensor, NDArray[np.int64]] | None, seed: int,
    ) -> None:  # fmt: skip
        self.module: BinaryNetwork = network
        self.X, self.y, self.weight, self.recipe, self.seed = X, y, weight, recipe, seed
        self.validation = validation
        self.batch_size = min(int(recipe.batch_size), len(X))
        self.per_epoch = len(X) // self.batch_size
        self.steps = int(recipe.epochs) * self.per_epoch
        self.clip = WeightClipper(network)
        self.accuracies = torch.full((int(recipe.epochs),), math.nan)
        self.best = {name: value.clone() for name, value in network.state_dict().items()}
        network.train()

    def optimizer(self) -> torch.optim.Optimizer:
        recipe = self.recipe
        groups = self.module.param_groups(
            recipe.learning_rate(0.0), optimizer=recipe.optimizer, weight_decay=recipe.weight_decay
        )
        self.rates = [group["lr"] / max(recipe.learning_rate(0.0), 1e-300) for group in groups]
        return (
            torch.optim.Adam(groups, fused=True)
            if recipe.optimizer == "adam"
            else torch.optim.SGD(groups, momentum=0.9)
        )

    def before_step(self, step: int, optimizer: torch.optim.Optimizer) -> None:
        rate = self.recipe.learning_rate.at(step=step, steps=self.steps)
        for group, factor in zip(optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        if self.recipe.exponent is not None:
            surrogate = binary_surrogate("reste", o=self.recipe.exponent.at(step=step, steps=self.steps))
            set_surrogates(self.module, surrogate, surrogate)

    def loss(self, copies: nn.Module, step: int, parts: range) -> Tensor:
        # One order of the rows an epoch, and draws of the weights, that follow from the step alone.
        order = np.random.default_rng([self.seed, step // self.per_epoch]).permutation(len(self.X))
        first = step % self.per_epoch * self.batch_size
        rows = torch.from_numpy(order[first : first + self.batch_size])
        self._draw(step)
        device = next(copies.parameters()).device
        x, y, weight = (part[rows].to(device) for part in (self.X, self.y, self.weight))
        each = losses(copies(x), y, self.recipe.loss)
        loss = (weight * each).sum() / weight.sum().clamp(min=1e-12)
        if self.recipe.penalty is not None:
            loss = loss + self.recipe.penalty(step / max(self.steps - 1, 1))
        return loss

    def _draw(self, step: int) -> None:
        if self.module.is_stochastic:
            for number, layer in enumerate(binary_layers(self.module)):
                seed = int(np.random.SeedSequence([self.seed, step, number]).generate_state(1)[0])
                layer.generator = torch.Generator(layer.weight.device).manual_seed(seed)

    def after_step(self, step: int) -> None:
        self.clip()
        if (step + 1) % self.per_epoch or self.validation is None:
            return
        epoch = step // self.per_epoch
        self.accuracies[epoch] = self._hard_accuracy()
        if self.accuracies[epoch] >= np.nanmax(self.accuracies[: epoch + 1].numpy()):
            for name, value in self.module.state_dict().items():
                self.best[name].copy_(value)

    def _hard_accuracy(self) -> float:
        assert self.validation is not None
        X, y = self.validation
        device = next(self.module.parameters()).device
        exact = copy.deepcopy(self.module).eval()
        if self.module.is_stochastic:
            exact = exact.calibrated(self.X[:CALIBRATION_ROWS].to(device))
        with torch.no_grad(), in_mode("hard"):
            return float((exact(X.to(device)).argmax(1).cpu().numpy() == y).mean())

    def measure(self, step: int) -> tuple[float | None, float | None, float | None]:
        known = self.accuracies[~self.accuracies.isnan()]
        return None, float(known[-1]) if len(known) else None, None

    def extra_state(self) -> dict[str, Tensor]:
        return {"accuracies": self.accuracies, **{f"best.{name}": value for name, value in self.best.items()}}

    def result(self) -> dict[str, NDArray[Any]]:
        for layer in binary_layers(self.module):
            layer.generator = None
        state = self.module.state_dict() if self.validation is None else self.best
        arrays = {name: np.array(value.detach().cpu().numpy()) for name, value in state.items()}
        return {**arrays, "accuracies": self.accuracies.numpy()}


def losses(scores: Tensor, y: Tensor, loss: Loss) -> Tensor:
    """Return the loss of each row, [n].

    Parameters
    ----------
    scores : [n, classes]. y : [n], numbers of classes. loss : "squared_hinge" (the mean over the classes) or "log_loss".
    """
    if loss == "log_loss":
        return nn.functional.cross_entropy(scores, y, reduction="none")
    targets = 2.0 * nn.functional.one_hot(y, scores.shape[1]).to(scores.dtype) - 1.0
    return (1.0 - targets * scores).clamp(min=0.0).square().mean(1)
