"""The two sides of a binary surrogate: how far it is from the jump that it stands for, and how unstable the gradients are that it gives.

A surrogate near the jump makes a small error and large, uneven gradients; one far from it the other way round. The equilibrium report shows
where each stands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

import torch
from torch import Tensor

from hardgrad.core.errors import InputError, ParameterError
from hardgrad.functional.binary import Surrogate, binary_sign
from hardgrad.functional.operands import check_choice
from hardgrad.gradients.diagnostics.report import Report, new_axis


def estimating_error(surrogate: Surrogate, x: Tensor) -> float:
    """Return the root mean square of exact minus surrogate over the elements of x.

    Parameters
    ----------
    surrogate : made by `hardgrad.functional.binary_surrogate`.
    x : any shape, at least one element; what the sign is taken of.

    Raises
    ------
    InputError : no elements.

    Examples
    --------
    >>> from hardgrad.functional import binary_surrogate
    >>> estimating_error(binary_surrogate("identity"), torch.tensor([-0.5, 1.5]))
    0.5

    Source: Wu, Zheng, Liu and Zheng, 2023, Estimator Meets Equilibrium Perspective. Theirs is the norm over a layer, which grows with it.
    """
    if not x.numel():
        raise InputError("estimating_error got no elements; expected at least one.")
    with torch.no_grad():
        difference = surrogate.exact(x) - surrogate.value(x)
        return float(difference.double().square().mean().sqrt())


def gradient_instability(gradients: Tensor, measure: Literal["variance", "mean"] = "variance") -> float:
    """Return how uneven gradients are: the variance of their sizes, over all elements.

    Parameters
    ----------
    gradients : any shape, at least one element.
    measure : "variance" of |g|, or "mean" of |g|, which some accounts of the method have in its place.

    Raises
    ------
    InputError : no elements.

    Examples
    --------
    >>> gradient_instability(torch.tensor([1.0, -3.0])), gradient_instability(torch.tensor([1.0, -3.0]), "mean")
    (1.0, 2.0)

    Source: as for `estimating_error`.
    """
    check_choice("gradient_instability", "measure", measure, ("variance", "mean"))
    if not gradients.numel():
        raise InputError("gradient_instability got no elements; expected at least one.")
    sizes = gradients.detach().double().abs()
    return float(sizes.var(correction=0) if measure == "variance" else sizes.mean())


class EquilibriumVerdict(StrEnum):
    """Whether a smaller error was always paid for with less stable gradients, or some surrogate was worse on both counts."""

    TRADE_OFF = "trade_off"
    DOMINATED = "dominated"


@dataclass(frozen=True)
class EquilibriumPoint:
    """One surrogate.

    Parameters
    ----------
    name : as given.
    error : see `estimating_error`.
    instability : see `gradient_instability`.
    """

    name: str
    error: float
    instability: float


@dataclass(frozen=True)
class EquilibriumReport(Report):
    """Surrogates on the plane of error and instability.

    Parameters
    ----------
    verdict : "trade_off" where none is beaten on both counts by another, else "dominated".
    points : an `EquilibriumPoint` for each, in the order given.
    """

    points: tuple[EquilibriumPoint, ...] = ()

    @classmethod
    def of(cls, points: list[EquilibriumPoint]) -> EquilibriumReport:
        """Return the report of points, with its verdict."""
        beaten = any(a.error < b.error and a.instability < b.instability for a in points for b in points)
        verdict = EquilibriumVerdict.DOMINATED if beaten else EquilibriumVerdict.TRADE_OFF
        return cls(verdict, tuple(points))

    def plot(self, ax: Any = None) -> Any:
        """Draw instability over error, a point for each surrogate, on a matplotlib axis and return the axis. Needs matplotlib."""
        ax = new_axis(ax)
        for point in self.points:
            ax.plot(point.error, point.instability, "o")
            ax.annotate(
                point.name, (point.error, point.instability), textcoords="offset points", xytext=(5, 5)
            )
        ax.set_xlabel("estimating error (root mean square)")
        ax.set_ylabel("gradient instability (variance of sizes)")
        ax.set_title(str(self))
        return ax


def surrogate_equilibrium(
    surrogates: Mapping[str, Surrogate], x: Tensor, loss: Callable[[Tensor], Tensor] | None = None
) -> EquilibriumReport:
    """Place surrogates of the sign on the plane of error and instability.

    Parameters
    ----------
    surrogates : by the names to show.
    x : what the sign is taken of.
    loss : of the signs, one number; by default their sum, so that the gradient is the surrogate's derivative.

    Raises
    ------
    ParameterError : no surrogate, or one of the step. InputError : no elements.

    Examples
    --------
    >>> from hardgrad.functional import binary_surrogate
    >>> x = torch.linspace(-1.5, 1.5, 1001)
    >>> report = surrogate_equilibrium({f"o={o}": binary_surrogate("reste", o=o) for o in (1.0, 2.0, 3.0)}, x)
    >>> str(report.verdict), [round(point.error, 2) for point in report.points]
    ('trade_off', [0.5, 0.34, 0.26])
    """
    if not surrogates or any(surrogate.target != "sign" for surrogate in surrogates.values()):
        raise ParameterError(
            f"surrogate_equilibrium got {sorted(surrogates)}; expected at least one surrogate, all of the sign."
        )
    points = []
    for name, surrogate in surrogates.items():
        leaf = x.detach().clone().requires_grad_()
        signs = binary_sign(leaf, surrogate=surrogate, mode="st")
        (gradient,) = torch.autograd.grad(signs.sum() if loss is None else loss(signs), leaf)
        points.append(EquilibriumPoint(name, estimating_error(surrogate, x), gradient_instability(gradient)))
    return EquilibriumReport.of(points)
