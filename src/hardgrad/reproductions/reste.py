"""Row 73, ReSTE: the equilibrium of error and stability in closed form, and digits with binary weights and activations."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from hardgrad.reproductions.binary_digits import WIDTHS, digits, each_seed, real_accuracy, trained
from hardgrad.reproductions.registry import Measured, Scale, reproduction

SEEDS = {"smoke": 1, "full": 5}
EPOCHS = {"smoke": 5, "full": 60}
HARDER = (64, 16, 16, 16, 10)
# Exponent: root mean square error and standard deviation of the derivative on uniform numbers from -1.5 to 1.5.
CLOSED_FORM = {
    1.0: (0.500, 0.0),
    1.5: (0.404, 0.389),
    2.0: (0.342, 0.672),
    3.0: (0.263, 1.067),
    5.0: (0.181, 1.508),
}
SAMPLES, TOLERANCE = 100_000, 0.02
BEHIND_CLIPPED = {"smoke": 0.1, "full": 0.005}
AHEAD_WHERE_HARDER = {"smoke": -0.2, "full": 0.005}


@reproduction(
    row=73,
    slug="reste",
    title="Estimator Meets Equilibrium Perspective: A Rectified Straight Through Estimator for Binary Neural Networks Training",
    venue="ICCV 2023",
    claim=(
        "CIFAR-10 with binary weights and activations: ResNet-20 86.75 %, ResNet-18 92.63 %, VGG-small 92.55 %; ImageNet ResNet-18 "
        "60.88 %, ResNet-34 65.05 %; the exponent trades estimating error for gradient stability (here: closed forms and digits)"
    ),
)
def reste(scale: Scale) -> Sequence[Measured]:
    """Measure the equilibrium at five exponents; train two networks with two surrogates; full: 5 seeds, 60 epochs; smoke: 1 seed, 5."""
    found = each_seed(_compare, SEEDS[scale], EPOCHS[scale])
    mean = {name: sum(one[name] for one in found) / len(found) for name in found[0]}
    return [
        *_equilibrium(),
        *(Measured.reported(f"accuracy, {name}", value) for name, value in mean.items()),
        Measured.at_least(
            "accuracy, ReSTE less clipped, 256-256", mean["reste, 256-256"] - mean["clipped, 256-256"], 0.0 - BEHIND_CLIPPED[scale]
        ),
        Measured.at_least(
            "accuracy, ReSTE less clipped, 16-16-16", mean["reste, 16-16-16"] - mean["clipped, 16-16-16"], AHEAD_WHERE_HARDER[scale]
        ),
    ]  # fmt: skip


def _equilibrium() -> list[Measured]:
    import torch

    from hardgrad.functional import binary_surrogate
    from hardgrad.gradients.diagnostics import surrogate_equilibrium

    x = 3.0 * torch.rand(SAMPLES, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 1.5
    report = surrogate_equilibrium({f"{o:g}": binary_surrogate("reste", o=o) for o in CLOSED_FORM}, x)
    found = [(point.error, point.instability**0.5) for point in report.points]
    errors, spreads = zip(*found, strict=True)
    off = [
        max(abs(a - b) for a, b in zip(values, expected, strict=True))
        for values, expected in zip((errors, spreads), zip(*CLOSED_FORM.values(), strict=True), strict=True)
    ]
    return [
        Measured.at_most("estimating error, worst distance from its closed form", off[0], TOLERANCE),
        Measured.at_most(
            "deviation of the derivative, worst distance from its closed form", off[1], TOLERANCE
        ),
        Measured.at_least("least fall of the error from one exponent to the next", -max(_steps(errors)), 0.0),
        Measured.at_least(
            "least rise of the instability from one exponent to the next", min(_steps(spreads)), 0.0
        ),
    ]


def _steps(values: Sequence[float]) -> list[float]:
    return [after - before for before, after in itertools.pairwise(values)]


def _compare(seed: int, epochs: int) -> dict[str, float]:
    import torch

    import hardgrad
    from hardgrad.bits import reste_exponent

    torch.set_num_threads(1)
    data = digits(seed)
    found = {}
    for widths in (WIDTHS, HARDER):
        size = "-".join(map(str, widths[1:-1]))
        with hardgrad.mode("soft"):
            real = trained(data, seed, widths=widths, epochs=epochs, weight_surrogate="identity")
        clipped = trained(data, seed, widths=widths, epochs=epochs, activation_surrogate="clipped")
        power = trained(
            data, seed, widths=widths, epochs=epochs, recipe={"exponent": reste_exponent()}, weight_surrogate="reste",
            activation_surrogate="reste", scale="mean",
        )  # fmt: skip
        found[f"real weights and ReLU, {size}"] = real_accuracy(real, data)
        found[f"clipped, {size}"] = data.accuracy(clipped.harden())
        found[f"reste, {size}"] = data.accuracy(power.harden())
    return found
