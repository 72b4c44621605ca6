"""Layers whose weights are a square wave of a phase, trained through its sine, and their training in two stages.

Source of all of it: Vargas, Correa, Hinojosa and Arguello, 2024, BiPer: Binary Neural Networks using a Periodic Function.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hardgrad.bits.layers import BinaryConv2d, BinaryLayer, BinaryLinear, binary_layers
from hardgrad.bits.network import BinaryNetwork
from hardgrad.bits.training import Recipe, fit_network
from hardgrad.core.errors import InputError, ParameterError
from hardgrad.core.mode import Mode
from hardgrad.core.schedule import Schedule
from hardgrad.functional.binary import binary_surrogate
from hardgrad.functional.operands import check_choice

VARIANCE_FLOOR = 1e-5


class PeriodicBinaryLayer(BinaryLayer):
    """What layers with weights sign(sin(freq w)) share: the stage, the phase and its learning rate, the scale of features.

    Parameters
    ----------
    freq : radians a unit of w.
    lr_scale : "phase", so that a learning rate is in radians and means the same at any freq, or None, so that it is in units of w.
    stage : 1 uses sin(freq w) itself and trains the phases; 2 uses its sign, with the sine's gradient. Modes "soft" and "hard" win.
    options : as for `BinaryLayer`, other than those of the weights' sign. While training, inputs are divided by the standard deviation of
        their sample before the sign is taken: Bi-Real's gradient lives where |x| <= 1.
    """

    def __init__(
        self,
        *arguments: Any,
        freq: float = 20.0,
        stage: Literal[1, 2] = 2,
        lr_scale: Literal["phase"] | None = "phase",
        **options: Any,
    ) -> None:
        self.freq, self.stage, self.in_radians = float(freq), stage, lr_scale is not None
        _check_stage(stage)
        if lr_scale is not None:
            check_choice(type(self).__name__, "lr_scale", lr_scale, ("phase",))
        wave = binary_surrogate("sine", freq=freq)
        super().__init__(*arguments, weight_surrogate=wave, **{"scale": "channel", **options})

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the phases anew, normal with variance 1 / fan-in, and the scales."""
        super().reset_parameters(generator)
        with torch.no_grad():
            self.weight.normal_(0.0, self.fan_in**-0.5, generator=generator)

    def weight_mode(self) -> Mode:
        """Return the mode of the weights: in stage 1 soft, where nobody asks for hard ones."""
        mode = self.resolved_mode()
        return "soft" if mode == "st" and self.stage == 1 else mode

    def binary_input(self, x: Tensor) -> Tensor:
        """Return the signs of the inputs, scaled by sample while training; real inputs stay as they are."""
        if self.activation_surrogate is not None and self.training and x.dim() > 1:
            x = x / (x.flatten(1).var(1, correction=0) + VARIANCE_FLOOR).sqrt().reshape(
                -1, *[1] * (x.dim() - 1)
            )
        return super().binary_input(x)

    def project(self) -> None:
        """Wrap the phases into one period: the weights stay the same, and a sine of a small number is exact."""
        period = 2.0 * math.pi / self.freq
        with torch.no_grad():
            self.weight.sub_(period * torch.round(self.weight / period))

    def lr_factor(self, optimizer: str = "adam") -> float:
        """Return 1 / freq, or its square for "sgd", with lr_scale "phase"; else 1."""
        return self.freq ** (-1 if optimizer == "adam" else -2) if self.in_radians else 1.0


class PeriodicBinaryLinear(PeriodicBinaryLayer, BinaryLinear):
    """A linear layer with weights sign(sin(freq w)).

    Parameters
    ----------
    in_features, out_features, bias : as in torch.nn.Linear.
    freq, stage : see `PeriodicBinaryLayer`. options : as for `BinaryLinear`; scale is "channel" by default.

    Examples
    --------
    >>> layer = PeriodicBinaryLinear(4, 2, freq=20.0, stage=1, scale=None)
    >>> bool(torch.allclose(layer.binary_weight(), torch.sin(20.0 * layer.weight)))
    True
    """


class PeriodicBinaryConv2d(PeriodicBinaryLayer, BinaryConv2d):
    """A convolution with weights sign(sin(freq w)).

    Parameters
    ----------
    in_channels, out_channels, kernel_size, ... : as for `BinaryConv2d`.
    freq, stage : see `PeriodicBinaryLayer`.

    Examples
    --------
    >>> PeriodicBinaryConv2d(1, 4, 3, freq=10.0)(torch.randn(2, 1, 5, 5)).shape
    torch.Size([2, 4, 3, 3])
    """


def periodic_layers(model: nn.Module) -> list[PeriodicBinaryLayer]:
    """Return the periodic layers of a model."""
    return [layer for layer in binary_layers(model) if isinstance(layer, PeriodicBinaryLayer)]


def set_stage(model: nn.Module, stage: Literal[1, 2]) -> None:
    """Put every periodic layer of a model into stage 1 (sine weights) or 2 (their signs)."""
    _check_stage(stage)
    for layer in periodic_layers(model):
        layer.stage = stage


def quantization_error(waves: nn.Module | Tensor) -> float:
    """Return the mean of (s - g sign(s))^2 over sine weights s, at the best scale g, which is the mean of |s|.

    Parameters
    ----------
    waves : a module with periodic layers (the mean over their weights), or a tensor of sine values.

    Raises
    ------
    InputError : no weights.

    Examples
    --------
    >>> s = torch.sin(torch.linspace(0, 2 * math.pi, 100_001))
    >>> round(quantization_error(s), 3)  # 1/2 - 4 / pi^2 for phases that are uniform
    0.095
    """
    if isinstance(waves, Tensor):
        parts = [waves]
    else:
        parts = [torch.sin(layer.freq * layer.weight.detach()) for layer in periodic_layers(waves)]
    if not sum(part.numel() for part in parts):
        raise InputError(
            "quantization_error got no sine weights; expected a tensor of them, or a module with periodic layers."
        )
    errors = [(part.abs() - part.abs().mean()).square().double().sum() for part in parts]
    return float(sum(errors)) / sum(part.numel() for part in parts)


def phase_penalty(model: nn.Module, strength: float = 1.0, *, reg_sign: Literal[1, -1] = 1) -> Tensor:
    """Return strength times the sum over periodic layers of the mean of sin(freq w)^2.

    Parameters
    ----------
    model : any module with periodic layers.
    strength : not negative.
    reg_sign : 1 adds it, as the published code does, which pulls weights to the zeros of the sine; -1 pushes them to -1 and +1. Which of
        them the paper's text means is unconfirmed.

    Examples
    --------
    >>> layer = PeriodicBinaryLinear(4, 2)
    >>> bool(phase_penalty(layer, 0.5, reg_sign=-1) < 0 < phase_penalty(layer))
    True
    """
    check_choice("phase_penalty", "reg_sign", str(reg_sign), ("1", "-1"))
    total = sum(
        (torch.sin(layer.freq * layer.weight).square().mean() for layer in periodic_layers(model)),
        start=torch.zeros(()),
    )
    return reg_sign * strength * total


@dataclass(frozen=True)
class TwoStages:
    """What `fit_two_stage` saw.

    Parameters
    ----------
    sine, square, final : accuracy on the validation rows of the sine weights that stage 1 leaves, of their signs with nothing trained
        (and batch statistics of their own), and at the end of stage 2.
    errors : quantisation errors after stage 1 and at the end.
    """

    sine: float
    square: float
    final: float
    errors: tuple[float, float]

    @property
    def drop(self) -> float:
        """Accuracy that is lost when the sine becomes a square wave, before stage 2 makes up for it."""
        return self.sine - self.square


def fit_two_stage(
    network: BinaryNetwork,
    X: Tensor,
    y: NDArray[np.int64],
    validation: tuple[Tensor, NDArray[np.int64]],
    *,
    stages: tuple[Recipe, Recipe] | None = None,
    strength: tuple[Schedule, Schedule] | None = None,
    reg_sign: Literal[1, -1] = 1,
    random_state: int = 0,
) -> TwoStages:
    """Train a network of periodic layers in place: sine weights first, then their signs from there.

    Parameters
    ----------
    network : with `PeriodicBinaryLinear` layers.
    X, y : rows [n, inputs] and classes [n]. validation : rows and classes on which the stages are compared; they choose nothing.
    stages : how each is trained; by default 30 epochs each, from 0.03 and from 0.005 radians a step.
    strength : of `phase_penalty` in each stage, a schedule; none by default (see `growing_strength`).
    reg_sign : see `phase_penalty`.
    random_state : of the order of the rows.

    Raises
    ------
    ParameterError : no periodic layer.
    """
    if not periodic_layers(network):
        raise ParameterError(
            "fit_two_stage got a network without periodic layers; expected PeriodicBinaryLinear in it."
        )
    first, second = stages or tuple(
        Recipe(epochs=30, learning_rate=Schedule.cosine(rate)) for rate in (0.03, 0.005)
    )
    weights = strength or (Schedule.constant(0.0), Schedule.constant(0.0))

    def penalty(schedule: Schedule, progress: float) -> Tensor:
        return phase_penalty(network, schedule(progress), reg_sign=reg_sign)

    seen, errors = [], []
    for stage, recipe, schedule in ((1, first, weights[0]), (2, second, weights[1])):
        set_stage(network, stage)  # type: ignore[arg-type]
        if stage == 2:
            seen.append(_accuracy(network.calibrated(X, "hard"), validation))
        given = (
            replace(recipe, penalty=partial(penalty, schedule))
            if schedule != Schedule.constant(0.0)
            else recipe
        )
        fit_network(network, X, y, given, random_state=random_state + stage)
        seen.append(_accuracy(network, validation))
        errors.append(quantization_error(network))
    return TwoStages(seen[0], seen[1], seen[2], (errors[0], errors[1]))


def growing_strength(start: float, end: float) -> Schedule:
    """Return the published schedule of the penalty: a exp(progress) + b, from `start` to `end`.

    Examples
    --------
    >>> [round(growing_strength(0.0, 1.0)(p), 3) for p in (0.0, 0.5, 1.0)]
    [0.0, 0.378, 1.0]
    """
    return Schedule.by(lambda progress: start + (end - start) * math.expm1(progress) / math.expm1(1.0))


def _accuracy(network: BinaryNetwork, rows: tuple[Tensor, NDArray[np.int64]]) -> float:
    X, y = rows
    with torch.no_grad():
        return float((network.eval()(X).argmax(1).numpy() == y).mean())


def _check_stage(stage: object) -> None:
    if stage not in (1, 2):
        raise ParameterError(
            f"a periodic layer got stage={stage!r}; expected 1 (sine weights) or 2 (their signs)."
        )
