"""Depth works because each layer starts out doing almost nothing.

A chain of many maps shrinks or blows up what passes through it, and its gradient with it. Adding each layer to what it was given (a
residual) keeps a straight road open; normalising before each layer keeps its input at one scale. With both, the gradient at the first of
fifty layers is of the size of that at the last.

Dropout multiplies by 0 or by 1 / keep, so that the mean stays what it was. That is a hard gate with a random answer; the soft twin is the
mean itself, and the last figure shows what one draw costs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

import hardgrad.functional as HF
from hardgrad.nn.blocks import ResidualBlock, normalise
from hardgrad.reproductions.registry import Measured
from hardgrad.reproductions.wonderland.report import ChapterReport

TITLE = "Depth"


def gradient_ratio(layers: nn.Sequential, x: Tensor) -> float:
    """The gradient at the input over that at the output, in size."""
    x = x.clone().requires_grad_()
    out = layers(x)
    (gradient,) = torch.autograd.grad(out, x, torch.ones_like(out))
    return float(gradient.norm() / out.numel() ** 0.5)


def plain(depth: int, width: int) -> nn.Sequential:
    """Linear map and bend, again and again."""
    return nn.Sequential(*[nn.Sequential(nn.Linear(width, width), nn.Tanh()) for _ in range(depth)])


def residual(depth: int, width: int) -> nn.Sequential:
    """The same maps, each added to what it was given."""
    return nn.Sequential(
        *[ResidualBlock(nn.Sequential(nn.Linear(width, width), nn.Tanh()), width) for _ in range(depth)]
    )


def dropped(x: Tensor, coins: Tensor, keep: float) -> Tensor:
    """Dropout with the coins given: hard, each element is kept or not; soft, it is scaled by how far it is kept."""
    kept = HF.greater(torch.tensor(keep, dtype=x.dtype), coins).to(x.dtype)
    found: Tensor = x * kept / keep
    return found


def run(random_state: int = 0, quick: bool = True) -> ChapterReport:
    """Send a gradient through fifty layers, and check what normalisation and dropout promise."""
    generator = torch.Generator().manual_seed(random_state)
    torch.manual_seed(random_state)
    x = torch.randn(32, 16, generator=generator)
    lost, kept = (gradient_ratio(make(50, 16), x) for make in (plain, residual))
    scaled = normalise(5 + 3 * x, -1)
    off = max(float(scaled.mean(-1).abs().max()), float((scaled.var(-1, unbiased=False) - 1).abs().max()))
    draws = 2_000 if quick else 20_000
    coins = torch.rand(draws, 16, generator=generator)
    mean = dropped_exact(x[0], coins, 0.8).mean(0)
    sigma = float(x[0].abs().max() * (0.2 / 0.8 / draws) ** 0.5)
    return ChapterReport(
        TITLE,
        (
            Measured.at_most("gradient through fifty plain layers", lost, 1e-3),
            Measured.at_least("gradient through fifty residual layers", kept, 0.1),
            Measured.at_most("mean after normalising, or variance less 1, largest", off, 1e-4),
            Measured.at_most("mean of dropout less what it was given, in standard errors", float((mean - x[0]).abs().max()) / sigma, 5.0),
        ),
        HF.gap(dropped, x, coins[:32], 0.8, temperature=0.02),
        {"gradient through plain layers": lost, "through residual layers": kept},
    )  # fmt: skip


def dropped_exact(x: Tensor, coins: Tensor, keep: float) -> Tensor:
    """Dropout as it is usually written."""
    return x * (coins <= keep) / keep
