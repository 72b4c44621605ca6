"""Smooth indicators of cyclic ranges, made in the frequency domain: location and width have gradients, also at width 0."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from hardgrad.core.functions import apply_function


class _Window(torch.autograd.Function):
    """Smooth indicators of cyclic ranges, and their derivatives: a bump at the end of a range for its width, and one less at its start.

    With S(u) the smoothed sawtooth and D = 1 + S' the smoothed delta, both of period 1, the window is w + S(u) - S(u - w) at
    u = (j + 1/2) / n - l; so d/dw = D(u - w) and d/dl = D(u - w) - D(u), exact at every frequency.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(width: Tensor, location: Tensor, temperature: Tensor, n: int) -> Tensor:
        k = torch.arange(n // 2 + 1, dtype=width.dtype, device=width.device)
        w = width.unsqueeze(-1)
        amplitude = w * torch.sinc(k * w) * _damping(k, temperature, n)
        phase = math.pi * k * (1 / n - w - 2 * location.unsqueeze(-1))
        spectrum = torch.complex(amplitude * phase.cos(), amplitude * phase.sin())
        result: Tensor = torch.fft.irfft(spectrum, n, norm="forward")
        return result

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, int], output: Tensor) -> None:
        width, location, temperature, ctx.n = inputs
        ctx.save_for_backward(width, location, temperature)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        width, location, temperature = ctx.saved_tensors
        k = torch.arange(ctx.n // 2 + 1, dtype=width.dtype, device=width.device)
        share = torch.where((k == 0) | (2 * k == ctx.n), 1.0, 2.0) * _damping(k, temperature, ctx.n)
        spectrum = torch.fft.rfft(gradient)

        def at(shift: Tensor) -> Tensor:
            """Return the gradient times the smoothed delta at a shift, summed over the places."""
            angle = 2 * math.pi * k * shift.unsqueeze(-1)
            total: Tensor = (share * (spectrum.real * angle.cos() - spectrum.imag * angle.sin())).sum(-1)
            return total

        start = location - 0.5 / ctx.n
        end = at(start + width)
        return end, end - at(start), None, None


def _damping(k: Tensor, temperature: Tensor, n: int) -> Tensor:
    damping: Tensor = torch.exp(-0.5 * (k * temperature).square()) / torch.sinc(k / n)
    return damping


def window(width: Tensor, location: Tensor, n: int, temperature: Any) -> Tensor:
    """Return smooth indicators of cyclic ranges of n places, (..., n): 1 inside, 0 outside, with gradients of width and location.

    Parameters
    ----------
    width : (...), in [0, 1] as a share of n.
    location : (...), where a range starts, a share of n; cyclic.
    n : number of places.
    temperature : blurs the edges by a normal distribution with a standard deviation of temperature / (2 pi) of n. Where width and location
        are whole places the window tends to the exact one as the temperature falls.

    Examples
    --------
    >>> window(torch.tensor([0.5]), torch.tensor([0.75]), 4, 1e-3).round(decimals=3).abs().tolist()
    [[1.0, 0.0, 0.0, 1.0]]
    """
    heat = torch.as_tensor(temperature, dtype=width.dtype, device=width.device)
    result: Tensor = apply_function(_Window, width, location, heat, n)
    return result
