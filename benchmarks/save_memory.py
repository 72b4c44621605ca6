"""Bytes kept for backward against the analytic minimum, and seconds of a step, torch's layers beside ours.

A frozen convolutional net and a frozen transformer block, each behind one small trained layer. Writes benchmarks/results/save_memory.md.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "2")

import torch
from torch import Tensor, nn

from _timing import alternate, load, machine
from hardgrad.core.files import write_text
from hardgrad.gradients.diagnostics import saved_for_backward
from hardgrad.nn import save_memory

RESULT = Path(__file__).parent / "results" / "save_memory.md"
FLOAT = 4


class Block(nn.Module):
    """A pre-norm transformer block; what an attention keeps is torch's, in both columns."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention_norm, self.norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.first, self.act, self.last = nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width)
        self.drop, self.hidden_drop = nn.Dropout(0.1), nn.Dropout(0.1)
        self.heads = heads

    def forward(self, x: Tensor) -> Tensor:
        """Return [batch, length, width]."""
        h = self.attention_norm(x)
        q, k, v = (
            part(h).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        h = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + self.drop(self.out(h))
        return x + self.last(self.hidden_drop(self.act(self.first(self.norm(x)))))


def convolutional(side: int = 32, batch: int = 8) -> tuple[nn.Module, Tensor, int]:
    """A trained stem, then three frozen stages; the minimum is the trained layer's input and what has no linear backward."""
    parts: list[nn.Module] = [nn.Conv2d(3, 32, 3, padding=1)]
    signs, windows, width = 0, 0, 32
    for _ in range(3):
        parts += [
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ]
        width *= 2
        signs += batch * width * side * side
        side //= 2
        windows += batch * width * side * side
    parts += [nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * width, 10)]
    net = nn.Sequential(*parts).eval().requires_grad_(False)
    net[0].requires_grad_(True)
    x = torch.randn(batch, 3, 32, 32)
    # A bit a ReLU; a window of 2 x 2 in the least whole number of bytes; the input of the trained stem.
    return net, x, x.numel() * FLOAT + signs // 8 + windows


def transformer(
    width: int = 128, heads: int = 4, length: int = 128, batch: int = 4
) -> tuple[nn.Module, Tensor, int]:
    """A trained projection, then two frozen blocks with dropout."""
    net = nn.Sequential(nn.Linear(width, width), Block(width, heads), Block(width, heads)).requires_grad_(
        False
    )
    net[0].requires_grad_(True)
    tokens = batch * length
    norms = 2 * (width + 2) * FLOAT  # the input, a mean and a scale a token
    attention = (4 * width + heads) * FLOAT  # q, k, v, the output and a logarithm a head
    bits = (4 + 4 + 1) * width // 8  # ReLU, its dropout, the dropout behind the attention
    return net, torch.randn(batch, length, width), tokens * (width * FLOAT + 2 * (norms + attention + bits))


def step(net: nn.Module, x: Tensor) -> Callable[[], object]:
    trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
    return lambda: torch.autograd.grad(net(x).square().mean(), trained)


def main() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(2)
    lines = [
        "# Memory-saving layers",
        "",
        "Bytes that a forward pass keeps for backward, parameters not counted, and seconds of a forward and a backward pass.",
        "",
        "| network | minimum, bytes | torch | ours | ours over minimum | torch, ms | ours, ms | ours over torch |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, (net, x, least) in {
        "convolutional net, stem trained": convolutional(),
        "transformer blocks, projection trained": transformer(),
    }.items():
        ours = save_memory(net)
        theirs_kept, ours_kept = (saved_for_backward(step_of(m, x)).total_bytes for m in (net, ours))
        seconds = alternate({"torch": step(net, x), "ours": step(ours, x)}, turns=25)
        lines.append(
            f"| {name} | {least:,} | {theirs_kept:,} | {ours_kept:,} | {ours_kept / least:.3f} | {1e3 * seconds['torch']:.2f} | "
            f"{1e3 * seconds['ours']:.2f} | {seconds['ours'] / seconds['torch']:.3f} |"
        )
    lines += ["", f"{machine()}, torch {torch.__version__}, 2 threads, load {load()}.", ""]
    write_text(RESULT, "\n".join(lines))


def step_of(net: nn.Module, x: Tensor) -> Callable[[], object]:
    """The forward pass alone, as it is measured: the loss keeps the network's output, which is no part of the network."""
    return lambda: net(x)


if __name__ == "__main__":
    main()
