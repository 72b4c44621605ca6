"""The family of soft steps: smooth functions from 0 to 1 that become the unit step as the temperature falls.

One table feeds comparisons, sign, rounding, clamping, the swaps of sorting networks and smooth activations.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hardgrad.functional.operands import check_choice

Curve = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class SoftStep:
    """One member of the family, as a function of v = x / temperature.

    Parameters
    ----------
    step : the curve, from 0 to 1, with step(v) + step(-v) = 1.
    slope : its derivative at v = 0.
    tail : how fast it reaches 0, in words.
    monotone_swap : True where min and max made of it are monotone in both arguments, which needs a tail of 1/v and no lighter.
    swap_error : the largest v * step(-v): how far a soft minimum can lie above the minimum, in units of the temperature.
    relu : the antiderivative that approaches max(v, 0) in both directions; None where the tail is too heavy for one to exist.
    """

    step: Curve
    slope: float
    tail: str
    monotone_swap: bool
    swap_error: float
    relu: Curve | None = None


def _logistic_relu(v: Tensor) -> Tensor:
    smooth: Tensor = torch.logaddexp(
        v, torch.zeros_like(v)
    )  # softplus without a threshold beyond which it is cut
    return smooth


def _cauchy(v: Tensor) -> Tensor:
    return torch.atan(v) / math.pi + 0.5


def _reciprocal(v: Tensor) -> Tensor:
    return 0.5 * (v / (2.0 + v.abs()) + 1.0)


def _optimal(v: Tensor) -> Tensor:
    far = torch.where(
        v.abs() > 0.25, v, torch.full_like(v, 0.25)
    )  # no division by 0 in the branch that is not taken
    tail = 1.0 / (16.0 * far)
    return torch.where(v.abs() <= 0.25, v + 0.5, torch.where(v > 0, 1.0 - tail, -tail))


def _gaussian_relu(v: Tensor) -> Tensor:
    smooth: Tensor = v * torch.special.ndtr(v) + torch.exp(-0.5 * v * v) / math.sqrt(2.0 * math.pi)
    return smooth


def _compact(polynomial: Curve) -> Curve:
    return lambda v: polynomial((0.5 * (v + 1.0)).clamp(0.0, 1.0))


def _compact_relu(polynomial: Curve) -> Curve:
    return lambda v: torch.where(v < 1.0, polynomial((0.5 * (v + 1.0)).clamp(0.0, 1.0)), v)


KINDS: dict[str, SoftStep] = {
    "logistic": SoftStep(torch.sigmoid, 0.25, "exponential", False, 0.2784645427610738, _logistic_relu),
    "cauchy": SoftStep(_cauchy, 1.0 / math.pi, "1 / v", True, 1.0 / math.pi),
    "reciprocal": SoftStep(_reciprocal, 0.25, "1 / v", True, 1.0),
    "optimal": SoftStep(_optimal, 1.0, "1 / v", True, 1.0 / 16.0),
    "gaussian": SoftStep(
        torch.special.ndtr, 1.0 / math.sqrt(2.0 * math.pi), "Gaussian", False, 0.16997120747990369, _gaussian_relu
    ),
    "c0": SoftStep(
        _compact(lambda u: u), 0.5, "0 from v = 1", False, 0.125, _compact_relu(lambda u: u * u)
    ),
    "c1": SoftStep(
        _compact(lambda u: u * u * (3.0 - 2.0 * u)), 0.75, "0 from v = 1", False, 0.08701905283832899,
        _compact_relu(lambda u: u**3 * (2.0 - u)),
    ),
    "c2": SoftStep(
        _compact(lambda u: u**3 * (u * (6.0 * u - 15.0) + 10.0)), 0.9375, "0 from v = 1", False, 0.0705528781029915,
        _compact_relu(lambda u: u**4 * (u * (2.0 * u - 6.0) + 5.0)),
    ),
}  # fmt: skip

ART_POWER = 0.25
ART_SWAP_ERROR = 0.31435639351524947  # the largest u ** (4 / 3) / (1 + exp(u))


def soft_step(x: Tensor, temperature: Any, kind: str = "logistic") -> Tensor:
    """Return the soft version of x > 0, between 0 and 1.

    Parameters
    ----------
    x : any shape, floating.
    temperature : positive number or tensor that broadcasts with x, in the units of x; not checked here.
    kind : one of `KINDS`: "logistic", "cauchy", "reciprocal", "optimal", "gaussian", "c0", "c1" or "c2".

    Examples
    --------
    >>> soft_step(torch.tensor([-1.0, 0.0, 1.0]), 0.5, "c1").tolist()
    [0.0, 0.5, 1.0]
    """
    return KINDS[kind].step(x / temperature)


def art_step(x: Tensor, temperature: Any) -> Tensor:
    """Return the logistic step of v / |x| ** (1 / 4), v = x / temperature: steeper near 0, so that near equals are told apart.

    It is no function of v alone, so it has no place in `KINDS`, and the swaps of sorting networks that use it obey no law of scale.

    Parameters
    ----------
    x, temperature : as for `soft_step`.

    Examples
    --------
    >>> art_step(torch.tensor([-1.0, 0.0, 1.0]), 0.5).tolist()
    [0.119, 0.5, 0.881]

    Source: Petersen, Borgelt, Kuehne and Deussen, 2021, Differentiable Sorting Networks for Scalable Sorting and Ranking Supervision.
    """
    return torch.sigmoid(x / temperature / (x.abs() + 1e-10) ** ART_POWER)


def soft_relu(x: Tensor, temperature: Any, kind: str = "logistic") -> Tensor:
    """Return the soft version of max(x, 0): the antiderivative of the step where that approaches it, else x times the step.

    Parameters
    ----------
    x, temperature, kind : as for `soft_step`. The antiderivative of a heavy tail (cauchy, reciprocal, optimal) drifts away from max(x, 0)
        like a logarithm, so these kinds use x * step(x), whose derivative is not the step.

    Examples
    --------
    >>> soft_relu(torch.tensor([-1.0, 0.0, 1.0]), 0.5, "c0").tolist()
    [0.0, 0.125, 1.0]
    """
    member = KINDS[kind]
    v = x / temperature
    return x * member.step(v) if member.relu is None else temperature * member.relu(v)


def soft_equal(x: Tensor, temperature: Any, kind: str = "logistic") -> Tensor:
    """Return the soft version of x == 0: 1 at 0, towards 0 away from it.

    Parameters
    ----------
    x, temperature : as for `soft_step`.
    kind : one of `KINDS`, for 4 s(v) s(-v) with that step s; or "normal", for exp(-v^2).

    Examples
    --------
    >>> soft_equal(torch.tensor([-1.0, 0.0, 0.25]), 0.5, "c0").tolist()
    [0.0, 1.0, 0.75]
    """
    v = x / temperature
    if kind == "normal":
        return torch.exp(-v.square())
    step = KINDS[kind].step
    return 4.0 * step(v) * step(-v)


def swap_error_bound(kind: str, temperature: float = 1.0) -> float:
    """Return how far a soft minimum of two numbers can lie above the minimum, in the units of the numbers.

    Parameters
    ----------
    kind : one of `KINDS`, or "art" (see `art_step`).
    temperature : positive; the bound is proportional to it, for "art" to its power 4 / 3.

    Raises
    ------
    ParameterError : an unknown kind.

    Examples
    --------
    >>> swap_error_bound("optimal")
    0.0625
    """
    check_choice("swap_error_bound", "kind", kind, (*KINDS, "art"))
    if kind == "art":
        return float(ART_SWAP_ERROR * temperature ** (1.0 / (1.0 - ART_POWER)))
    return KINDS[kind].swap_error * temperature
