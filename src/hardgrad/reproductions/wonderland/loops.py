"""A loop is a network as deep as the sequence is long.

A recurrent cell meets one element after another and carries a state along. If the state moves by a linear map, two steps in a row are one
linear map, and n steps need not be walked one by one: they combine like a sum, in as many rounds as the logarithm of n.

If the map bends, no such shortcut exists, and the gradient through the loop is a product of n Jacobians. Where these stretch, it grows
without bound: the sharpest example is a loop of one line, x becomes 4 x (1 - x), whose gradient doubles with every step. The library's
diagnostics say when to stop trusting such a gradient.

What a loop carries may be a bit instead of a number: has it happened yet? The soft answer is one minus a product, the hard one is yes or
no.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

import hardgrad.functional as HF
from hardgrad.nn.blocks import LinearRecurrence, RecurrentCell
from hardgrad.reproductions.registry import Measured
from hardgrad.reproductions.wonderland.report import ChapterReport

TITLE = "Loops"


def by_steps(layer: LinearRecurrence, x: Tensor) -> Tensor:
    """The linear recurrence as a loop."""
    decay, inward = torch.sigmoid(layer.decay_logit), layer.inward(x)
    states, h = [], torch.zeros_like(inward[:, 0])
    for t in range(x.shape[1]):
        h = decay * h + inward[:, t]
        states.append(h)
    return torch.stack(states, 1)


def growth_of_gradient(steps: int, starts: int, generator: torch.Generator) -> float:
    """Mean growth of the logarithm of the gradient in one step of x <- 4 x (1 - x)."""
    x = torch.rand(starts, dtype=torch.float64, generator=generator) * 0.8 + 0.1
    total = torch.zeros_like(x)
    for _ in range(steps):
        total += (4 * (1 - 2 * x)).abs().clamp_min(1e-300).log()
        x = 4 * x * (1 - x)
    return float(total.mean() / steps)


def happened(signal: Tensor) -> Tensor:
    """At each step, whether the signal has been above 1 yet."""
    above = HF.greater(signal, torch.ones((), dtype=signal.dtype)).to(signal.dtype)
    return 1 - torch.cumprod(1 - above, -1)


def run(random_state: int = 0, quick: bool = True) -> ChapterReport:
    """Scan against loop, growth against its law, and a bit carried along."""
    torch.manual_seed(random_state)
    generator = torch.Generator().manual_seed(random_state)
    layer, x = LinearRecurrence(3, 8).double(), torch.randn(2, 100 if quick else 1000, 3, dtype=torch.float64)
    apart = float((layer(x) - by_steps(layer, x)).abs().max())
    growth = growth_of_gradient(40, 2000 if quick else 20_000, generator)
    cell, h = RecurrentCell(3, 8, gated=True).double(), torch.zeros(2, 8, dtype=torch.float64)
    for t in range(50):
        h = cell(x[:, t], h)
    signal = torch.randn(20, 30, dtype=torch.float64, generator=generator)
    return ChapterReport(
        TITLE,
        (
            Measured.at_most("scan against loop, largest difference", apart, 1e-6),
            Measured.at_most(
                "growth of the gradient a step against log 2, relative", abs(growth / math.log(2) - 1), 0.05
            ),
            Measured.at_most("a gated state stays within 1", float(h.abs().max()), 1.0),
        ),
        HF.gap(happened, signal, temperature=0.1),
    )
