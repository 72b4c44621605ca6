"""Attention is a soft lookup in a table of keys and values.

Each query compares itself with all keys and takes the mean of the values, weighed by how well the keys fit. Without positions it does not
know in which order things came: shuffle the input, and the output is shuffled alike. With positions it does.

Divide the scores by a falling temperature and the mean becomes a pick: the value of the best key. That limit is the hard lookup, and the
gap between the two can be drawn as a curve of the temperature.
"""

from __future__ import annotations

import torch
from torch import Tensor

import hardgrad
import hardgrad.functional as HF
from hardgrad.nn.blocks import MultiHeadAttention, attention, causal_mask, sinusoidal_positions
from hardgrad.reproductions.registry import Measured
from hardgrad.reproductions.wonderland.report import ChapterReport

TITLE = "Lookups"


def lookup(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention as a choice: soft, a mixture; hard, the value of the best key."""
    scores = query @ key.mT / query.shape[-1] ** 0.5
    found: Tensor = HF.choice(scores, dim=-1) @ value
    return found


def run(random_state: int = 0, quick: bool = True) -> ChapterReport:
    """Shuffle, look back, and cool down."""
    torch.manual_seed(random_state)
    n = 8 if quick else 32
    layer, x = MultiHeadAttention(16, 4).double(), torch.randn(1, n, 16, dtype=torch.float64)
    order = torch.randperm(n)
    positions = sinusoidal_positions(n, 16).double()
    without = float((layer(x[:, order]) - layer(x)[:, order]).abs().max())
    with_positions = float((layer(x[:, order] + positions) - layer(x + positions)[:, order]).abs().max())
    later = x.clone()
    later[:, n // 2 :] += 1.0
    past = float((layer(x, causal_mask(n)) - layer(later, causal_mask(n)))[:, : n // 2].abs().max())
    query, key, value = torch.randn(3, 20, 16, dtype=torch.float64).unbind(0)
    with hardgrad.mode("hard"):
        exact = lookup(query, key, value)
    temperatures = [10.0**-k for k in range(-1, 6)]
    apart = [float((attention(query, key, value, temperature=t) - exact).abs().max()) for t in temperatures]
    return ChapterReport(
        TITLE,
        (
            Measured.at_most("shuffled input against shuffled output, without positions", without, 1e-10),
            Measured.at_least("the same with positions", with_positions, 1e-2),
            Measured.at_most("how much the past changes when the future does, masked", past, 1e-12),
            Measured.at_most("cold attention against the hard lookup", apart[-1], 1e-6),
        ),
        HF.gap(lookup, query, key, value, temperature=0.1),
        figures={"largest difference from the hard lookup": (temperatures, apart)},
    )
