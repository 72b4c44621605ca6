"""Row 64, the canonical holdout: networks that never saw one input move err by the influence of that input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.reproductions.registry import Measured, Scale, reproduction

if TYPE_CHECKING:
    from torch import nn

Floats = NDArray[np.float64]
EXACT = (0.375, 0.25, 0.125, 0.25, 0.375, 0.375, 0.25, 0.125)
WIDTH = 128
# The error of one network scatters by up to 0.2 around its mean, so that three of them tell little: the bounds are for ten.
SEEDS = {"smoke": 1, "full": 10}
FEW = 3
STEPS = {"smoke": 150, "full": 300}  # the loss is below 1e-6 after 250
MOST_DIFFERENCE = {"smoke": 0.2, "full": 0.05}
LEAST_CORRELATION = {"smoke": 0.2, "full": 0.9}


@reproduction(
    row=64,
    slug="boolean-influence",
    title="Learning to Reason with Neural Networks: Generalization, Unseen Data and Boolean Measures",
    venue="NeurIPS 2022",
    claim=(
        "Trained with one input frozen and tested with it free, the generalisation error is the Boolean influence of that input: proved "
        "for linear models, shown in figures for perceptrons and Transformers on pointer value retrieval (constants unconfirmed)"
    ),
)
def boolean_influence(scale: Scale) -> Sequence[Measured]:
    """Freeze each input of a small pointer value retrieval in turn, for networks of 128 and 128 rectifiers and for linear ones."""
    from hardgrad.logic import PointerValueRetrieval, influences

    task = PointerValueRetrieval(2, 3, "majority")
    exact = influences(task)
    errors = np.array([_errors(task, seed, STEPS[scale]) for seed in range(SEEDS[scale])])
    mean = errors.mean(axis=0)
    each = "x{}: error with it frozen, its influence being {:g}"
    figures = [
        Measured.exactly("inputs whose influence differs from the exact one", float((exact != EXACT).sum()), 0),
        *(Measured.reported(each.format(i, value), mean[i]) for i, value in enumerate(exact)),
        Measured.at_most("error less influence, mean of magnitudes", _difference(mean, exact), MOST_DIFFERENCE[scale]),
        Measured.at_least("correlation of errors and influences", _correlation(mean, exact), LEAST_CORRELATION[scale]),
    ]  # fmt: skip
    if scale == "full":
        few = errors[:FEW].mean(axis=0)
        figures += [
            Measured.reported("the same difference of the first three seeds", _difference(few, exact)),
            Measured.reported("the same correlation of the first three seeds", _correlation(few, exact)),
        ]
    return [*figures, *_linear(task), _hardened(task, STEPS[scale])]


def _difference(errors: Floats, exact: Floats) -> float:
    return float(np.abs(errors - exact).mean())


def _correlation(errors: Floats, exact: Floats) -> float:
    return float(np.corrcoef(errors, exact)[0, 1])


def _errors(task: Any, seed: int, steps: int) -> list[float]:
    """Half the mean squared errors over all points, for each input frozen; one draw of weights a seed."""
    from hardgrad.logic import holdout_generalization

    network = _network(task.n_inputs, seed)
    reports = [holdout_generalization(network, task, i, max_steps=steps) for i in range(task.n_inputs)]
    return [report.measured for report in reports]


def _network(n: int, seed: int) -> nn.Module:
    import torch
    from torch import nn

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Linear(n, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 1)
        )


def _linear(task: Any) -> list[Measured]:
    """Gradient descent from zero gives bias and frozen input equal shares, so a linear model does not ignore the input altogether."""
    from hardgrad.logic import cube, walsh_coefficient

    n = task.n_inputs
    on_task, on_input = [], []
    for i in range(n):
        of_constant, of_input = (walsh_coefficient(task, subset) for subset in ((), (i,)))
        singles = [walsh_coefficient(task, (k,)) for k in range(n)]
        pairs = sum(walsh_coefficient(task, (i, k)) ** 2 for k in range(n) if k != i)
        higher = 1.0 - of_constant**2 - sum(value**2 for value in singles)
        closed = ((of_constant - of_input) ** 2 / 2 + pairs + higher) / 2
        on_task.append(abs(_linear_error(task, i) - closed))
        on_input.append(abs(_linear_error(0.7 * cube(n)[:, i], i) - 0.7**2 / 4))
    name = "linear model: error off its closed form, worst input"
    return [
        Measured.at_most(f"{name}, target 0.7 times the frozen input", max(on_input), 1e-6),
        Measured.at_most(f"{name}, pointer value retrieval", max(on_task), 1e-6),
    ]


def _linear_error(f: Any, frozen: int) -> float:
    import torch
    from torch import nn

    from hardgrad.logic import holdout_generalization

    model = nn.Linear(8, 1).double()
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    descent = torch.optim.SGD
    return holdout_generalization(
        model, f, frozen, optimizer=descent, learning_rate=0.2, max_steps=60
    ).measured


def _hardened(task: Any, steps: int) -> Measured:
    """The influences of a network that saw all points, against those of its signs."""
    import torch

    from hardgrad.logic import cube, influence_gap, train_on_cube, truth_table

    network = _network(task.n_inputs, 0)
    train_on_cube(network, cube(task.n_inputs), truth_table(task), max_steps=steps, batch_size=None)
    soft = truth_table(network, task.n_inputs)
    worst = max(influence_gap(soft, torch.from_numpy(soft) < 0).detail.values())
    return Measured.reported("soft less hard influence of a network that saw all points, worst input", worst)
