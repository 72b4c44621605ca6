"""Row 28: Lyapunov exponents of known systems, and where backpropagation through the logistic map becomes noisier than values alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from hardgrad.reproductions.registry import Measured, Scale, reproduction

SIGMA = 0.01


@reproduction(
    row=28,
    slug="chaos-gradients",
    title="Gradients are Not All You Need",
    venue="Metz, Freeman, Schoenholz and Kachman, arXiv 2021",
    claim=(
        "The variance of gradients through chaotic systems grows exponentially with the unroll length, and beyond a horizon black-box "
        "estimates have the lower variance; failure is predicted by the Jacobian's spectrum exceeding 1"
    ),
)
def chaos_gradients(scale: Scale) -> Sequence[Measured]:
    """Logistic, Henon and (full) Lorenz and recurrent network; variances over 4000 starts (smoke: 1000)."""
    import torch

    from hardgrad.gradients.diagnostics import lyapunov_exponents

    smoke = scale == "smoke"
    generator = torch.Generator().manual_seed(0)
    r4 = torch.tensor(4.0, dtype=torch.float64)

    def starts(count: int, width: int = 1) -> Any:
        return 0.1 + 0.8 * torch.rand(count, width, generator=generator, dtype=torch.float64)

    exponent = lyapunov_exponents(_logistic, starts(1000), r4, 220 if smoke else 1000)[0]
    slope = _growth(torch, starts(1000 if smoke else 4000))
    henon = lyapunov_exponents(_henon, 0.1 * starts(200, 2), r4, 400 if smoke else 2000)[0]
    measured = [
        Measured.at_most(
            "logistic map at 4: exponent, relative error to log 2", abs(exponent / math.log(2) - 1), 0.01
        ),
        Measured.at_most(
            "growth of log |dx_T/dx_0| a step, T = 5 to 40, relative error",
            abs(slope / math.log(2) - 1),
            0.01,
        ),
        Measured.at_most("Henon map: exponent, distance from 0.42", abs(henon - 0.42), 0.01),
    ]
    if not smoke:
        on_attractor = 5 * starts(200, 3)
        for _ in range(2000):
            on_attractor = _lorenz(on_attractor.T, r4).T
        lorenz = lyapunov_exponents(_lorenz, on_attractor, r4, 3000)[0] / 0.01
        measured.append(
            Measured.at_most("Lorenz: exponent, relative error to 0.906", abs(lorenz / 0.906 - 1), 0.02)
        )
        measured += _recurrent(torch, generator)
    lengths = (5, 6, 7, 8, 9, 10, 20, 40)
    pairs = {t: _variances(torch, starts(1000 if smoke else 4000), 3.9, t, generator) for t in lengths}
    crossover = next((t for t in lengths if pairs[t][0] > pairs[t][1]), 0)
    calm = [_variances(torch, starts(1000 if smoke else 4000), 3.2, t, generator) for t in (5, 10, 20)]
    flat = [pairs[t][1] for t in (10, 20, 40)]
    return [
        *measured,
        Measured.at_least("crossover at 3.9, steps", crossover, 7),
        Measured.at_most("crossover at 3.9, steps ", crossover, 9),
        Measured.exactly(
            "horizons up to 20 at 3.2 where backpropagation loses", sum(b > e for b, e in calm), 0
        ),
        Measured.at_most(
            "variance of evolution strategies, largest over least, 10 to 40 steps", max(flat) / min(flat), 1.5
        ),
    ]


def _logistic(s: Any, r: Any) -> Any:
    return r * s * (1 - s)


def _henon(s: Any, _: Any) -> Any:
    import torch

    return torch.stack([1 - 1.4 * s[0] ** 2 + s[1], 0.3 * s[0]])


def _lorenz(s: Any, _: Any) -> Any:
    """One Runge-Kutta step of 0.01."""
    import torch

    def slope(v: Any) -> Any:
        return torch.stack([10 * (v[1] - v[0]), v[0] * (28 - v[2]) - v[1], v[0] * v[1] - 8 / 3 * v[2]])

    h = 0.01
    a = slope(s)
    b = slope(s + h / 2 * a)
    c = slope(s + h / 2 * b)
    return s + h / 6 * (a + 2 * b + 2 * c + slope(s + h * c))


def _recurrent(torch: Any, generator: Any, units: int = 16, horizon: int = 60) -> list[Measured]:
    """A recurrent network h <- tanh(gain W h + b) below and beyond the edge; gradients in b of the first unit at the end."""
    from hardgrad.gradients.diagnostics import chaos_report

    weight = torch.randn(units, units, generator=generator, dtype=torch.float64) / units**0.5
    start = 0.1 * torch.randn(units, generator=generator, dtype=torch.float64)
    bias = torch.zeros(units, dtype=torch.float64)

    def network(gain: float) -> Any:
        return lambda h, b: torch.tanh(gain * (weight @ h) + b)

    found = []
    for gain in (0.9, 1.5, 4.0):
        report = chaos_report(
            network(gain), start, bias, horizon, lambda h: h[0],
            sigma=SIGMA, samples=1000, horizons=(horizon,), generator=generator,
        )  # fmt: skip
        found += [
            Measured.reported(f"recurrent network, gain {gain:g}: exponent", report.lyapunov),
            Measured.reported(f"recurrent network, gain {gain:g}: cosine of the truncated gradient", report.truncated_cosine),
            Measured.reported(f"recurrent network, gain {gain:g}: cosine of the clipped gradient", report.clipped_cosine),
        ]  # fmt: skip
    return found


def _growth(torch: Any, x: Any) -> float:
    """Mean growth a step of the logarithm of the derivative at 4, between 5 and 40 steps."""
    total = torch.zeros_like(x)
    at: dict[int, float] = {}
    for t in range(1, 41):
        total += (4 * (1 - 2 * x)).abs().clamp(min=1e-300).log()
        x = 4 * x * (1 - x)
        at[t] = float(total.mean())
    return (at[40] - at[5]) / 35


def _variances(torch: Any, x: Any, r: float, length: int, generator: Any) -> tuple[float, float]:
    """Variance over starts and perturbations of one gradient by backpropagation, and of one antithetic pair."""
    noise = torch.randn(x.shape, generator=generator, dtype=torch.float64)

    def end(rate: Any) -> Any:
        s, rate = x, rate.clamp(max=4.0)
        for _ in range(length):
            s = _logistic(s, rate)
        return s

    rate = (r + SIGMA * noise).requires_grad_()
    (gradient,) = torch.autograd.grad(end(rate).sum(), rate)
    pair = (end(r + SIGMA * noise) - end(r - SIGMA * noise)) * noise / (2 * SIGMA)
    return float(gradient.var()), float(pair.var())
