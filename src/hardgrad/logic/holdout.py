"""The canonical holdout: one input is frozen in training and free in the test; the error should be its influence."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from torch import nn

from hardgrad.core.errors import ParameterError
from hardgrad.gradients.diagnostics.report import Report
from hardgrad.logic.boolean_analysis import influence
from hardgrad.logic.boolean_functions import (
    BooleanFunction,
    PointFunction,
    cube,
    evaluate,
    table_inputs,
    truth_table,
)
from hardgrad.logic.curriculum import train_on_cube


class Extrapolation(StrEnum):
    """What a learner did with an input that never changed in training, from the error that each answer would give."""

    IGNORES = "ignores the frozen input"
    RECOVERS = "recovers the function"
    OTHER = "neither ignores the frozen input nor recovers the function"
    NOT_FITTED = "does not fit the points seen"


@dataclass(frozen=True)
class HoldoutReport(Report):
    """The error of one canonical holdout, measured and predicted.

    Parameters
    ----------
    verdict : "does not fit the points seen" where the training error is above the tolerance; else whether the measured error is within the
        tolerance of the predicted one, or of 0.
    frozen_bit, frozen_value : the input that was frozen in training, and at what.
    measured : half the mean squared error over all points.
    predicted : the influence of the input, which is the error of a learner that ignores it.
    training_error : half the mean squared error over the points seen.
    """

    frozen_bit: int
    frozen_value: int
    measured: float
    predicted: float
    training_error: float

    def __str__(self) -> str:
        return (
            f"{super().__str__()}: x{self.frozen_bit} frozen at {self.frozen_value:+d}, error {self.measured:.4f}, "
            f"influence {self.predicted:.4f}"
        )


def holdout_generalization(
    model: Any,
    f: BooleanFunction,
    frozen_bit: int,
    *,
    frozen_value: int = 1,
    n_inputs: int | None = None,
    tolerance: float = 0.05,
    max_steps: int = 600,
    batch_size: int | None = None,
    learning_rate: float = 1e-3,
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
    random_state: int = 0,
    device: str = "cpu",
) -> HoldoutReport:
    """Train a copy of a model on all points where one input is frozen, and measure it on all points.

    Parameters
    ----------
    model : a torch module from `[B, n]` to `[B]` or `[B, 1]`, or an estimator with `fit(X, y)` and `predict(X)`. It is left as it is.
    f : table, circuit or task, or callable.
    frozen_bit, frozen_value : the input, and -1 or +1.
    n_inputs : n, needed for a callable.
    tolerance : of the verdict, in units of the error.
    max_steps, batch_size, learning_rate, optimizer, random_state, device : of a torch module, as in `train_on_cube`; by default all points
        are in each step. An estimator has its own settings.

    Returns
    -------
    report : measured and predicted error.

    Raises
    ------
    ParameterError : a frozen bit or value out of range, or a tolerance that is not positive.
    InputError : predictions of another shape, or not finite.

    Examples
    --------
    >>> from sklearn.tree import DecisionTreeRegressor
    >>> from hardgrad.logic import Parity
    >>> print(holdout_generalization(DecisionTreeRegressor(random_state=0), Parity(3), 0))
    HoldoutReport: ignores the frozen input: x0 frozen at +1, error 1.0000, influence 1.0000

    Source: Abbe et al., 2022, Learning to Reason with Neural Networks: Generalization, Unseen Data and Boolean Measures.
    """
    if frozen_value not in (-1, 1) or not tolerance > 0:
        raise ParameterError(
            f"holdout_generalization() got frozen_value={frozen_value}, tolerance={tolerance}; expected -1 or +1, and a positive number."
        )
    table = truth_table(f, n_inputs)
    predicted = influence(table, frozen_bit)
    X = cube(table_inputs(table))
    seen = X[:, frozen_bit] == frozen_value
    learned: PointFunction
    if isinstance(model, nn.Module):
        learned = copy.deepcopy(model)
        train_on_cube(
            learned, X[seen], table[seen], max_steps=max_steps, batch_size=batch_size, learning_rate=learning_rate,
            optimizer=optimizer, random_state=random_state, device=device,
        )  # fmt: skip
    else:
        learned = clone(model).fit(X[seen], table[seen]).predict
    half = np.square(evaluate(learned, X) - table) / 2
    measured, training_error = float(half.mean()), float(half[seen].mean())
    return HoldoutReport(
        _verdict(measured, predicted, training_error, tolerance),
        frozen_bit,
        frozen_value,
        measured,
        predicted,
        training_error,
    )


def _verdict(measured: float, predicted: float, training_error: float, tolerance: float) -> Extrapolation:
    if training_error > tolerance:
        return Extrapolation.NOT_FITTED
    if abs(measured - predicted) <= tolerance:
        return Extrapolation.IGNORES
    return Extrapolation.RECOVERS if measured <= tolerance else Extrapolation.OTHER
