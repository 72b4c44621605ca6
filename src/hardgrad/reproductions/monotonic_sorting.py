"""Row 3: monotonic differentiable sorting networks. Torch is imported when it is run."""

from __future__ import annotations

import importlib.util
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

from hardgrad.reproductions.digit_lists import (
    LISTS,
    TEST_LISTS,
    DigitLists,
    accuracy,
    digit_lists,
    mlp,
    train,
)
from hardgrad.reproductions.registry import Measured, Scale, reproduction

MONOTONE = ("cauchy", "reciprocal", "optimal")
SUPREMA = {"optimal": 1 / 16, "cauchy": 1 / math.pi, "reciprocal": 1.0, "logistic": 0.278465}
TEMPERATURE = 0.1  # steepness 10, as in the published scripts


@reproduction(
    row=3,
    slug="monotonic-sorting",
    title="Monotonic Differentiable Sorting Networks",
    venue="Petersen, Borgelt, Kuehne and Deussen, ICLR 2022",
    claim=(
        "four-digit MNIST, exact match % at n = 3, 5, 7, 9, 15 (recalled): Cauchy 94.2, 84.9, 73.3, 63.8, 31.1; logistic 92.0, 77.2, 54.8, "
        "37.2, 4.7; NeuralSort 91.9, 77.7, 61.0, 43.4, 9.7. Swaps with tails of 1/v are monotone, logistic ones are not; the swap error "
        "of a 1-Lipschitz family is at least 1/16"
    ),
)
def monotonic_sorting(scale: Scale) -> Sequence[Measured]:
    """Test the theorem on Jacobians and swap errors, train on two-digit numbers, and compare with diffsort where it is installed."""
    smoke = scale == "smoke"
    measured = _jacobians(20 if smoke else 200) + _swap_errors()
    data = digit_lists()
    measured += _against_neural_sort(data, steps=40 if smoke else 600, seeds=1 if smoke else 3, smoke=smoke)
    if not smoke:
        measured += _spread_of_temperatures(data)
    if importlib.util.find_spec("diffsort") is not None:
        measured += _beside_diffsort(sizes=(16,) if smoke else (16, 32), times=not smoke)
    return measured


def _jacobians(vectors: int) -> list[Measured]:
    """How often a larger input makes a sorted output smaller."""
    import torch

    from hardgrad.functional import sort

    x = torch.randn(vectors, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def negative(kind: str, temperature: float) -> tuple[float, float]:
        def values(v: Any) -> Any:
            return sort(v, temperature=temperature, method="network", kind=kind).values.sum(0)

        jacobian = torch.autograd.functional.jacobian(values, x, vectorize=True)
        return float((jacobian < -1e-12).double().mean()), float(jacobian.min())

    found = [
        Measured.exactly(
            f"share of negative entries, {kind}, t = {temperature:g}", negative(kind, temperature)[0], 0
        )
        for kind in MONOTONE
        for temperature in (1.0, 0.1)
    ]
    for temperature, least in ((1.0, 0.10), (0.1, 0.40)):
        share, smallest = negative("logistic", temperature)
        found.append(
            Measured.at_least(f"share of negative entries, logistic, t = {temperature:g}", share, least)
        )
        found.append(Measured.reported(f"smallest entry, logistic, t = {temperature:g}", smallest))
    return found


def _swap_errors() -> list[Measured]:
    """The largest error of one swap over distances up to 1e4 temperatures, as a share of its supremum."""
    import torch

    from hardgrad.functional import sort

    distance = torch.logspace(-3, 4, 20_001, dtype=torch.float64)
    pairs = torch.stack([torch.zeros_like(distance), distance], dim=-1)
    found = []
    for kind, bound in SUPREMA.items():
        error = float(sort(pairs, temperature=1.0, method="network", kind=kind).values[:, 0].max())
        found.append(Measured.at_least(f"largest swap error / supremum, {kind}", error / bound, 0.99))
        found.append(Measured.at_most(f"largest swap error / supremum, {kind}", error / bound, 1 + 1e-6))
    return found


def _learn(
    data: DigitLists, weights_of: Callable[[Any], Any], n: int, steps: int, seed: int
) -> tuple[float, float]:
    import torch

    from hardgrad.losses import PermutationBCE

    torch.manual_seed(seed)
    scorer, bce = mlp(128), PermutationBCE()

    def score(items: Any) -> Any:
        return scorer(items).squeeze(-1)

    train(
        score,
        scorer.parameters(),
        lambda scores, items, labels: bce(weights_of(scores), labels),
        lambda generator: data.draw(LISTS, n, generator),
        steps,
        seed,
    )
    items, labels = data.draw(TEST_LISTS, n, torch.Generator().manual_seed(seed), test=True)
    with torch.no_grad():
        return accuracy(score(items), labels)


def _network_weights(kind: str, temperature: float) -> Callable[[Any], Any]:
    from hardgrad.functional import sort

    return lambda scores: sort(scores, temperature=temperature, method="network", kind=kind).weights


def _against_neural_sort(data: DigitLists, steps: int, seeds: int, smoke: bool) -> list[Measured]:
    from hardgrad.functional import sort

    def neural(scores: Any) -> Any:
        return sort(scores, temperature=1.0, method="neural_sort").weights

    ways = {"cauchy network": _network_weights("cauchy", TEMPERATURE), "NeuralSort": neural}
    exact = {
        name: sum(_learn(data, way, 7, steps, seed)[0] for seed in range(seeds)) / seeds
        for name, way in ways.items()
    }
    ours, theirs = exact["cauchy network"], exact["NeuralSort"]
    found = [Measured.reported("exact match, n = 7, NeuralSort", theirs)]
    if smoke:  # a fifteenth of the steps: well above the chance of 1 / 5040 is all that can be asked
        return [*found, Measured.at_least("exact match, n = 7, cauchy network", ours, 0.002)]
    return [
        *found,
        Measured.at_least("exact match, n = 7, cauchy network", ours, 0.28),
        Measured.at_least("exact match, n = 7, cauchy network less NeuralSort", ours - theirs, 0.0),
    ]


def _spread_of_temperatures(data: DigitLists) -> list[Measured]:
    found = []
    for kind in ("cauchy", "optimal"):
        elements = [
            _learn(data, _network_weights(kind, temperature), 10, 600, 0)[1]
            for temperature in (1 / 2, 1 / 8, 1 / 32, 1 / 128)
        ]
        found.append(
            Measured.at_least(
                f"worst share of right ranks, n = 10, t from 1/2 to 1/128, {kind}", min(elements), 0.55
            )
        )
    return found


def _beside_diffsort(sizes: Sequence[int], times: bool) -> list[Measured]:
    """Same matrix, and seconds forward and backward at a batch of 256; the packages take turns and the least time of each counts."""
    import torch
    from diffsort import DiffSortNet

    from hardgrad.functional import sort

    found = []
    for n in sizes:
        x = torch.randn(256, n, generator=torch.Generator().manual_seed(n))
        peer = DiffSortNet("odd_even", n)

        def ours(v: Any) -> Any:
            return sort(v, temperature=TEMPERATURE, method="network").weights

        def theirs(v: Any, peer: Any = peer) -> Any:
            return peer(v)[1].mT

        apart = float((ours(x) - theirs(x)).abs().max())
        found.append(Measured.at_most(f"largest difference of P from diffsort, n = {n}", apart, 1e-5))
        if times:
            seconds = {ours: math.inf, theirs: math.inf}
            for _ in range(8):
                for way in seconds:
                    begun = time.perf_counter()
                    way(x.clone().requires_grad_()).square().sum().backward()
                    seconds[way] = min(seconds[way], time.perf_counter() - begun)
            least = {16: 2.0, 32: 1.4}[n]
            found.append(
                Measured.at_least(
                    f"times faster than diffsort, n = {n}", seconds[theirs] / seconds[ours], least
                )
            )
    return found
