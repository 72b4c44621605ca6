"""Row 84, generalisation on the unseen: the least degree takes over where nothing was seen, and a curriculum of degrees learns parities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hardgrad.reproductions.registry import Measured, Scale, reproduction

if TYPE_CHECKING:
    from hardgrad.logic import DegreeCurriculum

MOST_LEAK = {"smoke": {6: 0.17, 8: 0.14}, "full": {8: 0.14, 10: 0.115}}
MOST_OF_PLAIN = {"smoke": 1.5, "full": 0.75}


@dataclass(frozen=True)
class _Size:
    """A parity of n inputs, samples of it, units of two hidden layers, the curriculum's step, and the seeds."""

    n: int
    samples: int
    width: int
    step: int
    seeds: int


SIZES = {"smoke": _Size(7, 100, 64, 3, 1), "full": _Size(12, 2000, 256, 3, 3)}
THRESHOLD, SMOOTHING, MOST_STEPS = 0.01, 0.95, 8000


@reproduction(
    row=84,
    slug="degree-curriculum",
    title="Generalization on the Unseen, Logic Reasoning and Degree Curriculum",
    venue="ICML 2023",
    claim=(
        "Random features, diagonal linear networks and Transformers learn the interpolator of minimum degree profile on points never seen; "
        "a curriculum of Hamming balls learns parities of high degree with fewer samples (both in figures, no table)"
    ),
)
def degree_curriculum(scale: Scale) -> Sequence[Measured]:
    """Solve the paper's examples, take random features to infinite width, and learn a parity with and without the curriculum."""
    return [*_examples(), *_random_features(scale), *_parity(scale)]


def _examples() -> list[Measured]:
    from hardgrad.logic import cube, interpolate_subcube, min_degree_interpolator

    X = cube(3)
    seen = X.prod(axis=1) == 1
    y = X[:, 0] * X[:, 1] - 1.25 * X[:, 1] * X[:, 2] + 1.5 * X[:, 2] * X[:, 0]
    cycle = min_degree_interpolator(X[seen], y[seen])
    corner = ~((X[:, 0] == -1) & (X[:, 1] == -1))
    product = min_degree_interpolator(X[corner], X[corner, 0] * X[corner, 1])
    expected = {(): -1.0, (0,): 1.0, (1,): 1.0}
    closed = interpolate_subcube({(0, 1): 1.0}, {0: -1, 1: -1})
    cycle_off = _worst(cycle, {(0,): -1.25, (1,): 1.5, (2,): 1.0})
    off = "coefficients off, worst"
    return [
        Measured.at_most(f"x0 x1 - 1.25 x1 x2 + 1.5 x2 x0 where x0 x1 x2 = 1: {off}", cycle_off, 1e-9),
        Measured.at_most(f"x0 x1 but for x0 = x1 = -1: {off}", _worst(product, expected), 1e-9),
        Measured.at_most(f"the same in closed form: {off}", _worst(closed, expected), 0.0),
    ]  # fmt: skip


def _worst(found: dict[tuple[int, ...], float], expected: dict[tuple[int, ...], float]) -> float:
    return max(abs(found.get(s, 0.0) - expected.get(s, 0.0)) for s in found.keys() | expected.keys())


def _random_features(scale: Scale) -> list[Measured]:
    """Infinitely many of them, the product of two inputs, their corner -1, -1 not seen: what is left of the product is the leak."""
    from hardgrad.logic import cube, random_feature_interpolator, unseen_report, walsh_coefficient

    figures, leaks = [], []
    for n, most in MOST_LEAK[scale].items():
        X = cube(n)
        y = X[:, 0] * X[:, 1]
        seen = ~((X[:, 0] == -1) & (X[:, 1] == -1))
        table = random_feature_interpolator(X[seen], y[seen])(X)
        leaks.append(abs(walsh_coefficient(table, (0, 1))))
        gap = unseen_report(table, y, seen).gap.gap
        figures += [
            Measured.at_most(f"random features, {n} inputs: coefficient of x0 x1", leaks[-1], most),
            Measured.reported(
                f"random features, {n} inputs: unseen error of the least degree less theirs", gap
            ),
        ]
    fall = leaks[0] - leaks[1]
    return [*figures, Measured.at_least("random features: fall of that coefficient with inputs", fall, 0.0)]


@dataclass(frozen=True)
class _Run:
    """Mean squared error over all points, and on those not seen, and the steps it took."""

    error: float
    unseen: float
    steps: int


def _parity(scale: Scale) -> list[Measured]:
    size = SIZES[scale]
    runs = [_three_ways(size, seed) for seed in range(size.seeds)]
    names = ("plain", "curriculum", "plain, as many steps")
    error, unseen, steps = (
        np.array([[getattr(run, field) for run in way] for way in runs]).mean(axis=0)
        for field in ("error", "unseen", "steps")
    )
    what = f"parity of {size.n}, {size.samples:,} samples"
    return [
        *(Measured.reported(f"{what}: test error, {name}", e) for name, e in zip(names, error, strict=True)),
        *(Measured.reported(f"{what}: error on points not seen, {name}", e) for name, e in zip(names, unseen, strict=True)),
        *(Measured.reported(f"{what}: steps, {name}", s) for name, s in zip(names[:2], steps[:2], strict=True)),
        Measured.at_most(f"{what}: test error of the curriculum over plain", error[1] / error[0], MOST_OF_PLAIN[scale]),
        Measured.at_most(f"{what}: the same over plain with as many steps", error[1] / error[2], MOST_OF_PLAIN[scale]),
    ]  # fmt: skip


def _three_ways(size: _Size, seed: int) -> tuple[_Run, _Run, _Run]:
    """The same data and initial weights: all at once to the threshold, by balls to the threshold, all at once for as many steps."""
    from hardgrad.logic import DegreeCurriculum

    plain = _learn(size, seed, DegreeCurriculum(size.n, THRESHOLD, SMOOTHING), MOST_STEPS)
    by_balls = _learn(size, seed, DegreeCurriculum(size.step, THRESHOLD, SMOOTHING), MOST_STEPS)
    longer = _learn(size, seed, DegreeCurriculum(size.n, 0.0, SMOOTHING), by_balls.steps)
    return plain, by_balls, longer


def _learn(size: _Size, seed: int, curriculum: DegreeCurriculum, steps: int) -> _Run:
    import torch
    from torch import nn

    from hardgrad.logic import Parity, row_index, train_on_cube, truth_table

    task = Parity(size.n)
    X, y = task.sample(size.samples, seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = [nn.Linear(size.n, size.width), nn.ReLU(), nn.Linear(size.width, size.width), nn.ReLU()]
        network = nn.Sequential(*layers, nn.Linear(size.width, 1))
    report = train_on_cube(network, X, y, curriculum, max_steps=steps, random_state=seed)
    wrong = np.square(truth_table(network, size.n) - truth_table(task))
    unseen = np.ones(len(wrong), dtype=bool)
    unseen[row_index(X)] = False
    return _Run(float(wrong.mean()), float(wrong[unseen].mean()), report.total_steps)
