"""A convolution is a linear map that does the same everywhere.

Written out as a matrix it is mostly zeros, with the same few numbers along its diagonals (a Toeplitz matrix). So it needs few weights, and
if the input moves, the output moves with it. Small networks of convolutions read digits better than layers that know nothing of space.

Pooling keeps the strongest answer in each window. Its soft form mixes the answers of the window; its hard form picks one, and that pick is
a choice of position.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

import hardgrad
import hardgrad.functional as HF
from hardgrad.nn.blocks import convolve1d, convolve2d
from hardgrad.reproductions.registry import Measured
from hardgrad.reproductions.wonderland.layers import digits, train
from hardgrad.reproductions.wonderland.report import ChapterReport

TITLE = "Windows"


def toeplitz(kernel: Tensor, n: int) -> Tensor:
    """The matrix of a centred convolution of n numbers."""
    k = len(kernel)
    matrix = kernel.new_zeros(n, n)
    for offset in range(-(k // 2), k // 2 + 1):
        diagonal = torch.full((n - abs(offset),), float(kernel[offset + k // 2]), dtype=kernel.dtype)
        matrix += torch.diag(diagonal, offset)
    return matrix


class Reader(nn.Module):
    """Two convolutions, each followed by a bend and the strongest answer of 2 x 2 places; then one linear map."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.randn(16, 1, 3, 3) / 3)
        self.second = nn.Parameter(torch.randn(32, 16, 3, 3) / 12)
        self.last = nn.Linear(32 * 4, 10)

    def forward(self, rows: Tensor) -> Tensor:
        """Return scores for rows of 64 numbers."""
        x = rows.unflatten(-1, (1, 8, 8))
        for weight in (self.first, self.second):
            x = strongest(convolve2d(x, weight).relu())
        found: Tensor = self.last(x.flatten(1))
        return found


def strongest(x: Tensor) -> Tensor:
    """The strongest of 2 x 2 places: (batch, channels, height, width) becomes half as high and wide."""
    windows = x.unfold(2, 2, 2).unfold(3, 2, 2).flatten(-2)
    found: Tensor = HF.max(windows, dim=-1, temperature=0.5).values
    return found


def run(random_state: int = 0, quick: bool = True) -> ChapterReport:
    """Check what a convolution is, and train one on digits."""
    torch.manual_seed(random_state)
    kernel, signal = torch.randn(5, dtype=torch.float64), torch.randn(1, 1, 40, dtype=torch.float64)
    signal[..., :8] = signal[..., -8:] = 0.0  # so that moving it loses nothing
    out = convolve1d(signal, kernel.reshape(1, 1, -1))
    as_matrix = float((toeplitz(kernel, 40) @ signal[0, 0] - out[0, 0]).abs().max())
    moved = convolve1d(signal.roll(3, -1), kernel.reshape(1, 1, -1))
    claims = [
        Measured.at_most("convolution against its matrix, largest difference", as_matrix, 1e-6),
        Measured.at_most(
            "moved input against moved output", float((moved - out.roll(3, -1)).abs().max()), 1e-12
        ),
    ]
    x, y, x_test, y_test = digits(random_state)
    model = Reader()
    train(model, x, y, 2 if quick else 12, torch.Generator().manual_seed(random_state))
    with torch.no_grad(), hardgrad.mode("hard"):
        accuracy = float((model(x_test).argmax(-1) == y_test).double().mean())
    if not quick:
        claims.append(Measured.at_least("test accuracy on digits, hard pooling", accuracy, 0.975))
    return ChapterReport(TITLE, tuple(claims), HF.gap(model, x_test), {"test accuracy, hard": accuracy})
