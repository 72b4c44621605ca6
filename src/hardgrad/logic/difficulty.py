"""How hard a Boolean function is to learn, and what hardening changes: reports made of the measures. Never imports torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from math import factorial, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import ParameterError
from hardgrad.core.gap import GapReport
from hardgrad.gradients.diagnostics.report import Report, new_axis
from hardgrad.logic.boolean_analysis import degree_profile, influences, noise_stability
from hardgrad.logic.boolean_functions import (
    BooleanFunction,
    Estimate,
    Floats,
    Seed,
    table_inputs,
    truth_table,
)
from hardgrad.logic.boolean_sampling import mean_estimate

MOST_IMAGES = 20_000
DELTAS = (0.05, 0.1, 0.25)


def cross_predictability(
    f: BooleanFunction, n_permutations: int = 1000, *, n_inputs: int | None = None, random_state: Seed = 0
) -> Estimate[float]:
    """Return how well a function predicts itself with its inputs permuted: the mean over permutations of the squared correlation.

    A learner that treats all inputs alike cannot tell a function from its permuted images before it has looked at many samples or
    steps; the smaller this is, the less one image says about another. It is 1 for a symmetric function, and 1 / C(n, k) for a parity of
    k of n inputs.

    Parameters
    ----------
    f : table `[2^n]`, circuit or task, or callable (with `n_inputs`).
    n_permutations : random permutations, at least 2. They are needed only where f has more than 20,000 images (inputs that can be
        exchanged without changing f make no new ones): with fewer, all are counted, and the standard error is 0.
    random_state : seed or NumPy generator of the permutations.

    Returns
    -------
    estimate : value and standard error.

    Raises
    ------
    ParameterError : fewer than two permutations; else as `truth_table`.

    Examples
    --------
    >>> from hardgrad.logic import Parity
    >>> cross_predictability(Parity(4, (0, 1)))
    Estimate(value=0.166..., standard_error=0.0)

    Source: Abbe et al., 2022, Learning to Reason with Neural Networks: Generalization, Unseen Data and Boolean Measures.
    """
    if n_permutations < 2:
        raise ParameterError(f"n_permutations got {n_permutations}; expected at least 2.")
    table = truth_table(f, n_inputs)
    n = table_inputs(table)
    kinds = _exchangeable(table)
    sizes = Counter(kinds)
    images = factorial(n) // prod(factorial(size) for size in sizes.values())
    if images <= MOST_IMAGES:
        orders = (_order_of(kinds, arrangement) for arrangement in _arrangements(sizes))
        return Estimate(float(np.mean([_correlation(table, order) ** 2 for order in orders])), 0.0)
    rng = np.random.default_rng(random_state)
    return mean_estimate(
        np.array([_correlation(table, rng.permutation(n)) ** 2 for _ in range(n_permutations)])
    )


def _correlation(table: Floats, order: NDArray[np.int64] | list[int]) -> float:
    axes = table.reshape((2,) * len(order))
    return float(np.mean(axes * axes.transpose(order)))


def _exchangeable(table: Floats) -> list[int]:
    """For each input the first one that it can be exchanged with: to be exchangeable is an equivalence."""
    n = table_inputs(table)
    axes = table.reshape((2,) * n)
    kinds = list(range(n))
    for i in range(n):
        for j in range(i):
            if kinds[j] == j and np.array_equal(axes, axes.swapaxes(i, j)):
                kinds[i] = j
                break
    return kinds


def _arrangements(sizes: Counter[int]) -> Iterator[list[int]]:
    """Every sequence that has each kind as often as counted, once."""
    if not sizes.total():
        yield []
    for kind in [kind for kind, count in sizes.items() if count]:
        sizes[kind] -= 1
        for rest in _arrangements(sizes):
            yield [kind, *rest]
        sizes[kind] += 1


def _order_of(kinds: list[int], arrangement: list[int]) -> list[int]:
    """A permutation that puts an input of the wanted kind at each place."""
    members = {kind: iter([i for i, own in enumerate(kinds) if own == kind]) for kind in kinds}
    return [next(members[kind]) for kind in arrangement]


class Stability(StrEnum):
    """Whether a function survives noise on one input in ten: its stability there keeps half of the mean square, or does not."""

    STABLE = "stable under noise"
    SENSITIVE = "sensitive to noise"


@dataclass(frozen=True)
class DifficultyReport(Report):
    """What bears on whether a function can be learned: stability under noise, influences, degrees, and cross-predictability.

    Parameters
    ----------
    verdict : "stable under noise" where the stability at delta = 0.1 is at least half of the mean of f^2, else "sensitive to noise":
        noisy gradient descent on a network that treats inputs alike learns the latter slowly.
    deltas, stability : flip probabilities, and the noise stability at each.
    influences : of each input.
    total_influence : their sum.
    profile : weight of each degree, from 0 up.
    cross_predictability, cross_predictability_error : see `cross_predictability`, and its standard error.

    Examples
    --------
    >>> from hardgrad.logic import Parity
    >>> report = DifficultyReport.measure(Parity(8))
    >>> print(report)
    DifficultyReport: sensitive to noise: stability 0.430, 0.168, 0.004 at 0.05, 0.1, 0.25, total influence 8.00, degree 8

    Source: Abbe et al., 2022, Learning to Reason with Neural Networks: Generalization, Unseen Data and Boolean Measures.
    """

    deltas: tuple[float, ...]
    stability: tuple[float, ...]
    influences: tuple[float, ...]
    total_influence: float
    profile: tuple[float, ...]
    cross_predictability: float
    cross_predictability_error: float

    @classmethod
    def measure(
        cls, f: BooleanFunction, *, n_inputs: int | None = None, n_permutations: int = 1000, random_state: Seed = 0
    ) -> DifficultyReport:  # fmt: skip
        """Return the report of a function of at most 24 inputs (parameters and errors as in `cross_predictability`)."""
        table = truth_table(f, n_inputs)
        crossed = cross_predictability(table, n_permutations, random_state=random_state)
        each, profile = influences(table), degree_profile(table)
        stable = noise_stability(table, 0.1) >= profile.sum() / 2
        return cls(
            Stability.STABLE if stable else Stability.SENSITIVE,
            deltas=DELTAS,
            stability=tuple(noise_stability(table, delta) for delta in DELTAS),
            influences=tuple(each.tolist()),
            total_influence=float(each.sum()),
            profile=tuple(profile.tolist()),
            cross_predictability=crossed.value,
            cross_predictability_error=crossed.standard_error,
        )

    @property
    def degree(self) -> int:
        """The highest degree with weight above 1e-12; 0 for a constant."""
        return max((d for d, weight in enumerate(self.profile) if weight > 1e-12), default=0)

    def __str__(self) -> str:
        stability = ", ".join(f"{value:.3f}" for value in self.stability)
        deltas = ", ".join(f"{delta:g}" for delta in self.deltas)
        return f"{super().__str__()}: stability {stability} at {deltas}, total influence {self.total_influence:.2f}, degree {self.degree}"

    def plot(self, ax: Any = None) -> Any:
        """Draw the weight of each degree and return the axis. Needs matplotlib."""
        ax = new_axis(ax)
        ax.bar(range(len(self.profile)), self.profile)
        ax.set_xlabel("degree")
        ax.set_ylabel("weight")
        ax.set_title(self.verdict)
        return ax


def influence_gap(soft: BooleanFunction, hard: BooleanFunction, n_inputs: int | None = None) -> GapReport:
    """Return what hardening does to the influences: those of a soft function against those of the exact one it became.

    Parameters
    ----------
    soft : table of real values, or a callable or torch module on points of -1 and +1, whose answers are meant as -1 to +1.
    hard : what it became: table, circuit or callable.
    n_inputs : n, needed where `hard` is a callable.

    Returns
    -------
    report : the metric is the total influence; `detail` has |soft - hard| influence of each input, as "x0"; `agreement` is the share of
        points where both have one sign (0 counts as +1).

    Raises
    ------
    InputError, ParameterError : the two have different numbers of inputs; else as `truth_table`.

    Examples
    --------
    >>> report = influence_gap([0.9, 0.8, 0.7, -0.5], [1, 1, 1, -1])
    >>> report.detail
    {'x0': 0.28375, 'x1': 0.31875}
    """
    exact = truth_table(hard, n_inputs)
    relaxed = truth_table(soft, table_inputs(exact))
    of_soft, of_hard = influences(relaxed), influences(exact)
    return GapReport(
        "total influence",
        soft=float(of_soft.sum()),
        hard=float(of_hard.sum()),
        agreement=float(np.mean((relaxed >= 0) == (exact >= 0))),
        worst_disagreement=float(np.abs(relaxed - exact).max()),
        rows=len(exact),
        detail={f"x{i}": float(value) for i, value in enumerate(np.abs(of_soft - of_hard))},
    )
