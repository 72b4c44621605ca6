"""What is lost on the straight line between two soft forests, soft and hardened.

Kanoh and Sugiyama, "Linear Mode Connectivity in Differentiable Tree Ensembles", ICLR 2025.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hardgrad.core.errors import InputError, ParameterError, UnsupportedError
from hardgrad.gradients.diagnostics.report import new_axis, plain
from hardgrad.trees.alignment import check_pair, check_scores, interpolate
from hardgrad.trees.soft_forest import SoftForest

Score = Callable[[NDArray[np.float64], NDArray[Any]], float]


@dataclass(frozen=True)
class InterpolationBarrier:
    """What is lost on the way between two forests.

    Parameters
    ----------
    shares : of the first forest.
    soft, hard : the score of the interpolated forest at each share, soft and hardened; higher is better.

    Notes
    -----
    `barrier` and `hard_barrier` are the largest shortfalls below the straight line between the ends: accuracy points by default.

    Examples
    --------
    >>> InterpolationBarrier((0.0, 0.5, 1.0), soft=(90.0, 85.0, 92.0), hard=(88.0, 88.0, 88.0)).barrier
    6.0
    """

    shares: tuple[float, ...]
    soft: tuple[float, ...]
    hard: tuple[float, ...]

    @property
    def barrier(self) -> float:
        """Largest shortfall of the soft interpolants; 0 at least, which the ends give."""
        return self._shortfall(self.soft)

    @property
    def hard_barrier(self) -> float:
        """Largest shortfall of the hardened interpolants."""
        return self._shortfall(self.hard)

    def _shortfall(self, score: tuple[float, ...]) -> float:
        share, found = np.array(self.shares), np.array(score)
        return float((share * found[-1] + (1.0 - share) * found[0] - found).max())

    def to_dict(self) -> dict[str, Any]:
        """Return curves and barriers in a form that `json` can write."""
        return {**plain(self), "barrier": self.barrier, "hard_barrier": self.hard_barrier}

    def plot(self, ax: Any = None) -> Any:
        """Draw both curves over the share of the first forest and return the axis. Needs matplotlib."""
        ax = new_axis(ax)
        for score, label, barrier in (
            (self.soft, "soft", self.barrier),
            (self.hard, "hard", self.hard_barrier),
        ):
            ax.plot(self.shares, score, label=f"{label}, barrier {barrier:.2f}")
        ax.set_xlabel("share of the first forest")
        ax.set_ylabel("score")
        ax.legend()
        return ax


def interpolation_barrier(
    a: SoftForest, b: SoftForest, X: Any, y: Any, n_points: int = 25, *, score: Score | None = None
) -> InterpolationBarrier:  # fmt: skip
    """Return how good the forests on the straight line between two forests are, soft and hardened; align b first.

    Parameters
    ----------
    a, b : forests of one shape, temperature and frame.
    X : standard scores [n, features] as `SoftForest.forward` takes.
    y : class numbers [n] from 0 on; with one output 1 where the raw score is positive. Anything that `score` takes, where given.
    n_points : points on the line, the two ends among them.
    score : of raw scores [n, outputs] and y, higher is better; accuracy in percent by default.

    Raises
    ------
    ParameterError : forests that do not fit together, or fewer than two points.
    InputError : X and y of different lengths.
    UnsupportedError : regression forests without a `score`.

    Examples
    --------
    >>> forest = SoftForest(n_features=2, n_trees=3, depth=2, n_outputs=1)
    >>> interpolation_barrier(forest, forest, torch.zeros(4, 2), [0, 0, 1, 0], n_points=3).soft
    (75.0, 75.0, 75.0)

    Source: Kanoh and Sugiyama, 2025, Linear Mode Connectivity in Differentiable Tree Ensembles.
    """
    check_pair(a, b)
    if n_points < 2:
        raise ParameterError(
            f"interpolation_barrier() got n_points={n_points}; expected at least the two ends."
        )
    scores, targets = check_scores(a, X), np.asarray(y)
    if len(scores) != len(targets) or len(targets) == 0:
        raise InputError(
            f"got {len(scores)} rows and {len(targets)} targets; expected as many, at least one."
        )
    if score is None and a.frame is not None and a.frame.task == "regression":
        raise UnsupportedError("these forests predict numbers, which have no accuracy; pass score=.")
    score = _accuracy if score is None else score
    shares = np.linspace(0.0, 1.0, n_points)
    soft, hard = [], []
    for share in shares.tolist():
        forest = interpolate(a, b, share)
        with torch.no_grad():
            soft.append(score(forest(scores, mode="soft").double().cpu().numpy(), targets))
        exact = forest.to_perfect().quantised()  # what the artifact computes on these scores
        hard.append(score(exact.raw(scores.cpu().numpy().astype(np.float32)), targets))
    return InterpolationBarrier(tuple(shares.tolist()), tuple(soft), tuple(hard))


def _accuracy(raw: NDArray[np.float64], y: NDArray[Any]) -> float:
    found = raw[:, 0] > 0 if raw.shape[1] == 1 else raw.argmax(axis=1)
    return 100.0 * float(np.mean(found == y))
