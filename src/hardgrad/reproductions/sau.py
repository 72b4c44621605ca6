"""Row 49: SAU, the leaky ReLU blurred by a Gaussian, on the bundled digits and where second derivatives matter.

A network of four layers of width 64 is trained on half of scikit-learn's digits and tested on the other half, with ReLU, GELU, SAU (its
sharpness n starts at 8 and is trained) and SMU. SAU is then annealed to n = 50 for five epochs and hardened to the leaky ReLU. A second,
small network learns the sine together with its second derivative, which a ReLU network does not have.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from hardgrad.reproductions.registry import Measured, Scale, reproduction

if TYPE_CHECKING:
    from torch import Tensor, nn

WIDTH = 64
BATCH = 64
LEARNING_RATE = 2e-3
SEEDS = {"smoke": 1, "full": 5}
EPOCHS = {"smoke": 5, "full": 15}
ANNEALING_EPOCHS = {"smoke": 1, "full": 5}
STEPS = {"smoke": 100, "full": 600}
SLACK_POINTS = {"smoke": 3.0, "full": 0.3}  # 899 test rows and one seed: a point is nine rows
LOSS_RATIO = {"smoke": 1.3, "full": 1.05}
CURVATURE_RATIO = {"smoke": 0.1, "full": 0.01}
SHARPNESS_START, SHARPNESS_END = 8.0, 50.0


@reproduction(
    row=49,
    slug="sau",
    title="SAU: Smooth activation function using convolution with approximate identities",
    venue="ECCV 2022 (recalled); arXiv 2109.13210",
    claim="+5.12 points over ReLU, CIFAR-100, ShuffleNet V2 (2.0x). Not reproducible at this size: here, not behind ReLU, exact after "
    "hardening, and a second derivative that can be trained",
)
def sau(scale: Scale) -> list[Measured]:
    """Train the same network with four activations, harden SAU, fit a second derivative, check derivatives against differences."""
    import numpy as np

    runs = [_digits(seed, scale) for seed in range(SEEDS[scale])]
    mean = {key: float(np.mean([run[key] for run in runs])) for key in runs[0]}
    slack = SLACK_POINTS[scale]
    curvature = {name: _curvature_error(name, STEPS[scale]) for name in ("SAU", "ReLU")}
    return [
        Measured.at_least(
            "points of test accuracy over ReLU, SAU", mean["SAU accuracy"] - mean["ReLU accuracy"], -slack
        ),
        Measured.at_most(
            "training loss over ReLU's, SAU", mean["SAU loss"] / mean["ReLU loss"], LOSS_RATIO[scale]
        ),
        Measured.at_most(
            "points between annealed and hardened SAU", abs(mean["annealed"] - mean["hardened"]), slack
        ),
        Measured.at_most(
            "error of the second derivative over ReLU's, SAU", curvature["SAU"] / curvature["ReLU"], CURVATURE_RATIO[scale]
        ),
        Measured.exactly("first and second derivatives that differ from finite differences", _wrong_derivatives(), 0),
        *(Measured.reported(f"test accuracy, {name}", mean[f"{name} accuracy"]) for name in _activations()),
        *(Measured.reported(f"training loss, {name}", mean[f"{name} loss"]) for name in _activations()),
        Measured.reported("sharpness n that SAU learned", mean["sharpness"]),
        Measured.reported("test accuracy, SAU annealed to n = 50", mean["annealed"]),
        Measured.reported("test accuracy, SAU hardened", mean["hardened"]),
        Measured.reported("squared error of the second derivative, SAU", curvature["SAU"]),
        Measured.reported("squared error of the second derivative, ReLU", curvature["ReLU"]),
    ]  # fmt: skip


def _activations() -> dict[str, Callable[[], Any]]:
    from torch import nn

    from hardgrad.nn import SAU

    return {
        "ReLU": nn.ReLU,
        "GELU": nn.GELU,
        "SAU": lambda: SAU(temperature=1.0 / SHARPNESS_START, learn_temperature=True),
        "SMU": _smu,
    }


def _smu() -> nn.Module:
    """The smooth maximum unit with slope 0.25 and a trained sharpness that starts at 1."""
    import torch
    from torch import nn

    class SMU(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mu = nn.Parameter(torch.ones(()))

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = 0.625 * x + 0.375 * x * torch.erf(self.mu * 0.75 * x)
            return result

    return SMU()


# --- digits ------------------------------------------------------------------------------------------------------------------------------
def _digits(seed: int, scale: Scale) -> dict[str, float]:
    """Train every activation on one split; return accuracies in percent and training losses."""
    import torch
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    import hardgrad

    X, y = load_digits(return_X_y=True)
    parts = train_test_split(X / 16.0, y, test_size=0.5, random_state=seed, stratify=y)
    train_x, test_x, train_y, test_y = (torch.as_tensor(part) for part in parts)
    train, test = (train_x.float(), train_y.long()), (test_x.float(), test_y.long())
    found = {}
    for name, make in _activations().items():
        torch.manual_seed(seed)
        model = _network([64, WIDTH, WIDTH, WIDTH, 10], make)
        for _ in _epochs(model, train, EPOCHS[scale], seed):
            pass
        found[f"{name} accuracy"], found[f"{name} loss"] = _accuracy(model, test), _loss(model, train)
        if name == "SAU":
            units = [part for part in model if isinstance(part, hardgrad.Relaxed)]
            found["sharpness"] = sum(1.0 / float(unit.own_temperature().detach()) for unit in units) / len(
                units
            )
            schedule = hardgrad.Schedule.exponential(1.0 / SHARPNESS_START, 1.0 / SHARPNESS_END)
            for epoch in _epochs(model, train, ANNEALING_EPOCHS[scale], seed + 1000):
                hardgrad.set_temperature(model, schedule.at(step=epoch, steps=ANNEALING_EPOCHS[scale]))
            hardgrad.set_temperature(model, 1.0 / SHARPNESS_END)
            found["annealed"] = _accuracy(model, test)
            found["hardened"] = _accuracy(hardgrad.harden(model), test)
    return found


def _network(sizes: list[int], activation: Callable[[], Any]) -> nn.Sequential:
    from torch import nn

    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), activation()]
    return nn.Sequential(*layers[:-1])


def _epochs(model: nn.Module, data: tuple[Tensor, Tensor], epochs: int, seed: int) -> Iterator[int]:
    """Train with Adam; yields the number of each epoch before it begins."""
    import torch

    X, y = data
    optimiser = torch.optim.Adam(model.parameters(), LEARNING_RATE)
    generator = torch.Generator().manual_seed(seed)
    for epoch in range(epochs):
        yield epoch
        for rows in torch.randperm(len(X), generator=generator).split(BATCH):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(model(X[rows]), y[rows]).backward()
            optimiser.step()


def _accuracy(model: nn.Module, data: tuple[Tensor, Tensor]) -> float:
    import torch

    with torch.no_grad():
        return 100.0 * float((model(data[0]).argmax(-1) == data[1]).float().mean())


def _loss(model: nn.Module, data: tuple[Tensor, Tensor]) -> float:
    import torch

    with torch.no_grad():
        return float(torch.nn.functional.cross_entropy(model(data[0]), data[1]))


# --- second derivatives -----------------------------------------------------------------------------------------------------------------
def _curvature_error(name: str, steps: int) -> float:
    """Fit the sine and its second derivative on [-3, 3]; return the mean squared error of the latter between the training points."""
    import torch
    from torch import nn

    from hardgrad.nn import SAU

    torch.manual_seed(0)
    model = _network([1, 32, 32, 1], nn.ReLU if name == "ReLU" else lambda: SAU(temperature=1.0))
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    x = torch.linspace(-3.0, 3.0, 128).unsqueeze(-1).requires_grad_()
    for _ in range(steps):
        optimiser.zero_grad()
        value, second = _value_and_second(model, x)
        ((value - x.sin()).square().mean() + (second + x.sin()).square().mean()).backward()
        optimiser.step()
    between = torch.linspace(-2.95, 2.95, 101).unsqueeze(-1).requires_grad_()
    _, second = _value_and_second(model, between)
    return float((second + between.sin()).detach().square().mean())


def _value_and_second(model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    import torch

    value = model(x)
    (first,) = torch.autograd.grad(value.sum(), x, create_graph=True)
    if not first.requires_grad:  # piecewise linear: the first derivative is a constant
        return value, torch.zeros_like(x)
    (second,) = torch.autograd.grad(first.sum(), x, create_graph=True, materialize_grads=True)
    return value, second


def _wrong_derivatives() -> int:
    """Count of first and second derivatives of `sau`, by input, slope and temperature, that torch's checkers refuse."""
    import torch

    from hardgrad.functional import sau as function

    x = torch.linspace(-2.0, 2.0, 9, dtype=torch.float64).requires_grad_()
    slope, level = (torch.tensor(v, dtype=torch.float64).requires_grad_() for v in (0.15, math.sqrt(0.5)))

    def of(x: Tensor, slope: Tensor, level: Tensor) -> Tensor:
        blurred: Tensor = function(x, slope, temperature=level)
        return blurred

    checks = (torch.autograd.gradcheck, torch.autograd.gradgradcheck)
    return sum(not check(of, (x, slope, level), raise_exception=False) for check in checks)
