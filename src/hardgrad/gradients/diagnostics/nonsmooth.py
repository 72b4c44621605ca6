"""What a kink does to training: an L1 penalty that makes larger weights, steps that stop at a floor, sharpness that a bound cannot use."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor, nn

from hardgrad.core.errors import InputError, ParameterError
from hardgrad.gradients.diagnostics.report import Report, new_axis
from hardgrad.gradients.proximal import Proximal

MakeOptimizer = Callable[[list[nn.Parameter]], torch.optim.Optimizer]
Progress = Callable[[int, int], object]
WINDOW = 100


class PathVerdict(StrEnum):
    """What `l1_path` concludes: whether somewhere a larger penalty left larger weights."""

    PARADOX = "paradox"
    CONSISTENT = "consistent"


@dataclass(frozen=True)
class PathPoint:
    """One strength of the penalty.

    Parameters
    ----------
    strength : of the L1 penalty.
    norm, proximal_norm : L1 norm of the weights, mean over the last 100 steps, by the gradient of the penalty and by the proximal step.
    zeros, proximal_zeros : weights that are exactly zero at the end.
    amplitude : mean distance of a weight from the proximal solution over the last 100 steps.
    weights, proximal_weights : at the end.
    """

    strength: float
    norm: float
    proximal_norm: float
    zeros: int
    proximal_zeros: int
    amplitude: float
    weights: tuple[float, ...]
    proximal_weights: tuple[float, ...]


@dataclass(frozen=True)
class PathReport(Report):
    """The weights that each strength of an L1 penalty leaves.

    Parameters
    ----------
    verdict : "paradox" where the norm by the gradient of the penalty grows from one strength to the next by more than a hundredth while
        the proximal norm does not, else "consistent".
    points : a `PathPoint` for every strength, in rising order.
    """

    points: tuple[PathPoint, ...] = ()

    def plot(self, ax: Any = None) -> Any:
        """Draw both norms over the strength, in logarithms, on a matplotlib axis and return the axis. Needs matplotlib."""
        ax = new_axis(ax)
        strengths = [point.strength for point in self.points]
        ax.plot(strengths, [point.norm for point in self.points], "o-", label="gradient of the penalty")
        ax.plot(strengths, [point.proximal_norm for point in self.points], "s--", label="proximal step")
        ax.set_xscale("log")
        ax.set_yscale("symlog", linthresh=0.1)
        ax.set_xlabel("strength of the penalty")
        ax.set_ylabel("L1 norm of the weights")
        ax.set_title(str(self))
        ax.legend()
        return ax


def l1_path(
    objective: Callable[[Tensor], Tensor],
    start: Tensor,
    strengths: Sequence[float],
    optimizer: MakeOptimizer,
    *,
    steps: int = 4000,
    progress: Progress | None = None,
) -> PathReport:
    """Train with an L1 penalty of several strengths, by its gradient and by its proximal step, and compare the weights that remain.

    Parameters
    ----------
    objective : smooth loss of the weights, without the penalty; returns one number.
    start : weights to begin with. Not zero: the gradient of the penalty is 0 there, which hides the effect.
    strengths : of the penalty, positive.
    optimizer : made from a list of one parameter, as in `lambda params: torch.optim.SGD(params, lr=0.05)`.
    steps : of each run; at least 200.
    progress : called with the number of runs done and their total.

    Raises
    ------
    ParameterError : no or negative strengths, too few steps.
    InputError : a run that left the finite numbers.

    Examples
    --------
    >>> report = l1_path(lambda w: (w - 1).square().sum(), torch.ones(3), [1.0, 100.0], lambda p: torch.optim.SGD(p, lr=0.1), steps=200)
    >>> str(report.verdict), [point.proximal_zeros for point in report.points]
    ('paradox', [0, 3])

    Notes
    -----
    S. K. Kumar, GD doesn't make the cut: Three ways that non-differentiability affects neural network training (2024).
    """
    ordered = sorted(float(strength) for strength in strengths)
    if not ordered or not (ordered[0] > 0 and math.isfinite(ordered[-1])):
        raise ParameterError(
            f"l1_path got strengths={list(strengths)}; expected at least one, positive and finite."
        )
    if steps < 2 * WINDOW:
        raise ParameterError(
            f"l1_path got steps={steps}; expected at least {2 * WINDOW}, of which the last {WINDOW} are averaged."
        )
    points = []
    for done, strength in enumerate(ordered):
        points.append(_point(objective, start, strength, optimizer, steps))
        if progress is not None:
            progress(done + 1, len(ordered))
    paradox = any(
        later.norm > 1.01 * sooner.norm and later.proximal_norm <= sooner.proximal_norm
        for sooner, later in itertools.pairwise(points)
    )
    return PathReport(PathVerdict.PARADOX if paradox else PathVerdict.CONSISTENT, tuple(points))


def _point(objective: Any, start: Tensor, strength: float, optimizer: MakeOptimizer, steps: int) -> PathPoint:
    late = _run(objective, start, strength, optimizer, steps, proximal=False)
    exact = _run(objective, start, strength, optimizer, steps, proximal=True)
    if not (late.isfinite().all() and exact.isfinite().all()):
        raise InputError(
            f"l1_path left the finite numbers at strength {strength:g}; lower the learning rate."
        )
    last, solution = late[-1], exact[-1]
    return PathPoint(
        strength, float(late.abs().sum(1).mean()), float(exact.abs().sum(1).mean()), int((last == 0).sum()),
        int((solution == 0).sum()), float((late - solution).abs().mean()), tuple(last.tolist()), tuple(solution.tolist()),
    )  # fmt: skip


def _run(
    objective: Any, start: Tensor, strength: float, make: MakeOptimizer, steps: int, *, proximal: bool
) -> Tensor:
    """The weights of the last steps, one row a step."""
    w = nn.Parameter(start.detach().clone())
    inner = make([w])
    step = Proximal(inner, [w], strength=strength) if proximal else inner
    late = []
    for t in range(steps):
        (gradient,) = torch.autograd.grad(objective(w), w)
        w.grad = gradient if proximal else gradient + strength * w.detach().sign()
        step.step()
        if t >= steps - WINDOW:
            late.append(w.detach().clone().flatten())
    return torch.stack(late)


def step_floor(lr: float, lipschitz: float) -> float:
    """Return how far above the minimum the best iterate of a constant-step subgradient method may stay, however long it runs.

    Parameters
    ----------
    lr : step length. lipschitz : bound on the size of a subgradient.

    Examples
    --------
    >>> step_floor(0.1, 2.0)
    0.2
    """
    if not (lr > 0 and lipschitz >= 0):
        raise ParameterError(
            f"step_floor got lr={lr}, lipschitz={lipschitz}; expected a positive step and a bound that is not negative."
        )
    return lr * lipschitz**2 / 2


class SharpnessVerdict(StrEnum):
    """Where the largest curvature stands against 2 / lr, or that it says nothing."""

    BELOW = "below_edge"
    EDGE = "at_edge"
    ABOVE = "above_edge"
    FLAT = "does_not_apply"


@dataclass(frozen=True)
class SharpnessReport(Report):
    """The largest curvature of a loss against the edge of stability.

    Parameters
    ----------
    verdict : "below_edge", "at_edge" (within a twentieth), "above_edge"; "does_not_apply" where the curvature is 0, as it is almost
        everywhere for piecewise linear losses, which oscillate all the same.
    eigenvalue : of the Hessian, the largest in absolute value, with its sign.
    edge : 2 / lr.
    applies : whether the theory of the edge does.
    iterations : Hessian-vector products taken.
    """

    eigenvalue: float = 0.0
    edge: float = 0.0
    applies: bool = True
    iterations: int = 0


def sharpness(
    loss: Callable[[], Tensor],
    params: Iterable[Tensor],
    lr: float,
    *,
    iterations: int = 100,
    generator: torch.Generator | None = None,
) -> SharpnessReport:
    """Return the largest Hessian eigenvalue of a loss by power iteration, against the edge 2 / lr of gradient descent.

    Parameters
    ----------
    loss : called without arguments; returns one number, the same at every call.
    params : what to differentiate by.
    lr : learning rate of plain gradient descent.
    iterations : most products with the Hessian; it stops when the value is stable to 1e-6.
    generator : of the first direction.

    Examples
    --------
    >>> w = torch.tensor([1.0, 1.0], requires_grad=True)
    >>> report = sharpness(lambda: 0.5 * (3 * w[0] ** 2 + w[1] ** 2), [w], lr=0.5)
    >>> report.eigenvalue, report.edge, str(report.verdict)
    (3.0, 4.0, 'below_edge')
    """
    if not (lr > 0 and iterations > 0):
        raise ParameterError(f"sharpness got lr={lr}, iterations={iterations}; expected both positive.")
    wanted = [p for p in params if p.requires_grad]
    flat = _gradient(loss(), wanted, create_graph=True)
    value, used = 0.0, 0
    if flat.requires_grad:
        v = torch.randn(flat.shape, generator=generator, dtype=flat.dtype, device=flat.device)
        while used < iterations:
            used += 1
            v = v / v.norm()
            h = _gradient(flat @ v, wanted, retain_graph=True)
            before, value, v = value, float(v @ h), h
            if not float(h.norm()) > 0 or abs(value - before) <= 1e-6 * abs(value):
                break
    edge = 2 / lr
    if value == 0:
        return SharpnessReport(SharpnessVerdict.FLAT, 0.0, edge, False, used)
    verdict = (
        SharpnessVerdict.EDGE
        if abs(value - edge) <= 0.05 * edge
        else SharpnessVerdict.ABOVE
        if value > edge
        else SharpnessVerdict.BELOW
    )
    return SharpnessReport(verdict, value, edge, True, used)


def _gradient(value: Tensor, wanted: list[Tensor], **options: Any) -> Tensor:
    """The gradient in one row, zero where the value does not depend on a parameter."""
    parts: tuple[Tensor, ...] = torch.autograd.grad(
        value, wanted, allow_unused=True, materialize_grads=True, **options
    )
    return torch.cat([part.reshape(-1) for part in parts])
