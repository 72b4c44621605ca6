"""Row 91, BiPer: weights that are a square wave, trained through its sine in two stages; the quantisation error over the frequency."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hardgrad.reproductions.binary_digits import WIDTHS, digits, each_seed, trained
from hardgrad.reproductions.registry import Measured, Scale, reproduction

SEEDS = {"smoke": 1, "full": 5}
EPOCHS = {"smoke": 3, "full": 30}  # of each stage; one stage has twice as many
FAST, SLOW = 20.0, 5.0
# Frequency times the deviation of normal weights: mean (sin - g sign sin)^2 at the best g.
QUANTISATION = {0.25: 0.0206, 0.5: 0.0618, 1.0: 0.0969, 5.0: 0.0948}
UNIFORM = 0.5 - 4.0 / math.pi**2
TOLERANCE = 0.001
SAMPLES = 2_000_000
BEHIND_CLIPPED = {"smoke": 0.3, "full": 0.003}
AHEAD_OF_SLOW = {"smoke": -0.3, "full": 0.003}


@reproduction(
    row=91,
    slug="biper",
    title="BiPer: Binary Neural Networks using a Periodic Function",
    venue="CVPR 2024",
    claim=(
        "CIFAR-10 with binary weights and activations: ResNet-18 93.75 %, ResNet-20 86.98 %, VGG-small 92.46 %; ImageNet ResNet-18 "
        "61.40 %, ResNet-34 65.73 % (here scikit-learn's digits)"
    ),
)
def biper(scale: Scale) -> Sequence[Measured]:
    """Train in two stages at two frequencies, beside a clipped surrogate; full: 5 seeds, 30 + 30 epochs; smoke: 1 seed, 3 + 3."""
    found = each_seed(_compare, SEEDS[scale], EPOCHS[scale])
    mean = {name: sum(one[name] for one in found) / len(found) for name in found[0]}
    fast, slow, clipped = mean["packed, freq 20"], mean["packed, freq 5"], mean["packed, clipped"]
    return [
        *_quantisation(),
        *(Measured.reported(f"accuracy, {name}", value) for name, value in mean.items()),
        Measured.reported(
            "accuracy lost where stage 2 begins, freq 20", mean["sine, freq 20"] - mean["square, freq 20"]
        ),
        Measured.at_least("accuracy, freq 20 less clipped", fast - clipped, 0.0 - BEHIND_CLIPPED[scale]),
        Measured.at_least("accuracy, freq 20 less freq 5", fast - slow, AHEAD_OF_SLOW[scale]),
    ]


def _quantisation() -> list[Measured]:
    import torch

    from hardgrad.bits import quantization_error

    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(SAMPLES, generator=generator, dtype=torch.float64)
    off = [
        abs(quantization_error(torch.sin(spread * normal)) - known) for spread, known in QUANTISATION.items()
    ]
    uniform = 2.0 * math.pi * torch.rand(SAMPLES, generator=generator, dtype=torch.float64)
    off.append(abs(quantization_error(torch.sin(uniform)) - UNIFORM))
    return [Measured.at_most("quantisation error, worst distance from its closed form", max(off), TOLERANCE)]


def _compare(seed: int, epochs: int) -> dict[str, float]:
    import torch

    from hardgrad.bits import BinaryNetwork, PeriodicBinaryLinear, Recipe, fit_two_stage

    torch.set_num_threads(1)
    data = digits(seed)
    found: dict[str, float] = {}
    for freq in (FAST, SLOW):
        # One learning rate for the weights at every frequency, in units of the weights, as published.
        network = BinaryNetwork.mlp(
            WIDTHS, activation_surrogate="bireal", layer=PeriodicBinaryLinear, freq=freq, lr_scale=None,
            generator=torch.Generator().manual_seed(seed),
        )  # fmt: skip
        recipe = Recipe(epochs=epochs)
        seen = fit_two_stage(
            network, data.X, data.y, (data.X_test, data.y_test), stages=(recipe, recipe), random_state=seed
        )  # fmt: skip
        found |= {f"sine, freq {freq:g}": seen.sine, f"square, freq {freq:g}": seen.square}
        found[f"packed, freq {freq:g}"] = data.accuracy(network.harden())
    clipped = trained(data, seed, epochs=2 * epochs, activation_surrogate="clipped")
    found["packed, clipped"] = data.accuracy(clipped.harden())
    return found
