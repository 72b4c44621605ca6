"""A gradient says how the output answers to each input.

The plainest way to see one is to nudge an input and watch: a finite difference. It costs two evaluations for each input, and its error is
a compromise between a step that is too long and rounding. Automatic differentiation multiplies the derivatives of the elementary steps
instead, exactly. From the inputs forward it carries one direction (a product Jacobian times vector); from the output backward it carries
all of them (vector times Jacobian), which is why training goes backward. Both must agree.

A comparison has no useful gradient: its difference is zero almost everywhere. The soft comparison below has one everywhere, and as its
temperature falls it becomes the comparison.
"""

from __future__ import annotations

import torch
from torch import Tensor

import hardgrad.functional as HF
from hardgrad.reproductions.registry import Measured
from hardgrad.reproductions.wonderland.report import ChapterReport

TITLE = "Slopes"


def function(x: Tensor) -> Tensor:
    """A smooth function of several numbers."""
    return torch.sin(x).prod(-1) + torch.logsumexp(x, -1)


def by_nudging(x: Tensor, step: float) -> Tensor:
    """The gradient by central differences: two evaluations for each input."""
    nudges = step * torch.eye(len(x), dtype=x.dtype)
    return (function(x + nudges) - function(x - nudges)) / (2 * step)


def backward(x: Tensor) -> Tensor:
    """The gradient from the output back: all inputs at once."""
    gradient: Tensor = torch.func.grad(function)(x)
    return gradient


def forward(x: Tensor) -> Tensor:
    """The gradient from the inputs forward: one direction at a time."""
    return torch.stack([torch.func.jvp(function, (x,), (e,))[1] for e in torch.eye(len(x), dtype=x.dtype)])


def agreed(votes: Tensor) -> Tensor:
    """How many of the votes are above a half: a count of comparisons, which has a gradient when soft."""
    found: Tensor = HF.greater(votes, torch.tensor(0.5, dtype=votes.dtype)).to(votes.dtype).sum(-1)
    return found


def run(random_state: int = 0, quick: bool = True) -> ChapterReport:
    """Compare three ways to a gradient, and count votes soft and hard."""
    generator = torch.Generator().manual_seed(random_state)
    x = torch.randn(6 if quick else 30, dtype=torch.float64, generator=generator)
    reference = backward(x)
    steps = [10.0**-k for k in range(1, 13)]
    errors = [float((by_nudging(x, step) - reference).abs().max()) for step in steps]
    votes = torch.rand(100, 9, dtype=torch.float64, generator=generator)
    return ChapterReport(
        TITLE,
        (
            Measured.at_most(
                "forward against backward, largest difference",
                float((forward(x) - reference).abs().max()),
                1e-10,
            ),
            Measured.at_most("best nudge against backward, largest difference", min(errors), 1e-7),
        ),
        HF.gap(agreed, votes),
        figures={"error of a nudge": (steps, errors)},
    )
