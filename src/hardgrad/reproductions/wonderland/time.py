"""A sequence must not see its own future.

A causal convolution looks at what came before, and nothing else: whatever is changed later leaves the earlier outputs as they were, to the
bit. Layers that look ever further apart (dilation 1, 2, 4, ...) reach far into the past with few weights; a stack of them sees twice as far
with each layer.

The question that the chapter ends with is a discrete one: how long ago was the event? The soft answer is an expected position, the hard
one a position.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

import hardgrad.functional as HF
from hardgrad.nn.blocks import CausalConvolution
from hardgrad.reproductions.registry import Measured
from hardgrad.reproductions.wonderland.report import ChapterReport

TITLE = "Time"


def stack(layers: int, channels: int) -> nn.Sequential:
    """Causal layers of kernel 2 with dilations 1, 2, 4, ...; one channel in and out."""
    sizes = [1, *[channels] * (layers - 1), 1]
    parts: list[nn.Module] = []
    for k in range(layers):
        parts += [CausalConvolution(sizes[k], sizes[k + 1], 2, dilation=2**k), nn.Tanh()]
    return nn.Sequential(*parts[:-1])


def reach(model: nn.Module, n: int) -> int:
    """How many places the last output depends on, asked of its gradient."""
    x = torch.randn(1, 1, n, dtype=torch.float64, requires_grad=True)
    model(x)[0, 0, -1].backward()
    assert x.grad is not None
    return int((x.grad[0, 0] != 0).sum())


def when(x: Tensor) -> Tensor:
    """Where the largest value of each sequence stands."""
    found: Tensor = HF.argmax(x, dim=-1).to(x.dtype)
    return found


def run(random_state: int = 0, quick: bool = True) -> ChapterReport:
    """Check the past, the future and the reach."""
    torch.manual_seed(random_state)
    layers = 4 if quick else 6
    model = stack(layers, 8).double()
    x = torch.randn(1, 1, 100, dtype=torch.float64)
    later = x.clone()
    later[..., 60:] += 10.0
    early = float((model(x).detach()[..., :60] - model(later)[..., :60]).abs().max())
    return ChapterReport(
        TITLE,
        (
            Measured.exactly("how much the past changes when the future does", early, 0),
            Measured.exactly(
                "places that the last output sees, less 2 ** layers", reach(model, 100) - 2**layers, 0
            ),
        ),
        HF.gap(when, torch.randn(50, 12), temperature=0.1),
    )
