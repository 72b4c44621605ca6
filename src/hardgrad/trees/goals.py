"""What a counterfactual is looked for: a wished answer as linear margins over leaves, and the exact test of a row. Never imports torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import ParameterError, suggestion
from hardgrad.tabular.schema import category_text
from hardgrad.trees.forest import Forest


@dataclass(frozen=True)
class Goal:
    """One or more alternatives, each reached where all of its margins are at least 0.

    Parameters
    ----------
    forest : the model.
    wish : in words.
    alternatives : for each alternative the values [nodes, margins] to sum over trees and where the sums start [margins].
    classes : class positions that count as reached (classification).
    limit : value to reach and whether from below (regression).
    """

    forest: Forest
    wish: str
    alternatives: tuple[tuple[NDArray[np.float64], NDArray[np.float64]], ...]
    classes: frozenset[int] = frozenset()
    limit: tuple[float, bool] | None = None

    def reached(self, X: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tell for each encoded row whether the exact forest gives the wished answer."""
        raw = self.forest.sum_leaves(self.forest.apply_encoded(X), X)
        if self.limit is not None:
            value, rising = self.limit
            return np.asarray(raw[:, 0] >= value if rising else raw[:, 0] <= value)
        return np.isin(self.forest.raw_to_class_index(raw), sorted(self.classes))

    def slack(self, alternative: int) -> NDArray[np.float64]:
        """Bound of the rounding that separates an exact margin from the forest's double sums, [margins].

        A box is dropped only where its margin is below minus this, so that rounding can never drop the answer.
        """
        gain, start = self.alternatives[alternative]
        largest = np.zeros(gain.shape[1])
        for tree in range(self.forest.n_trees):
            span = gain[self.forest.tree_offset[tree] : self.forest.tree_offset[tree + 1]]
            largest += np.abs(span).max(axis=0)
        magnitude = float(np.abs(self.forest.base).max(initial=0.0)) + sum(
            float(np.abs(self.forest.value[a:b]).max(initial=0.0))
            for a, b in zip(self.forest.tree_offset[:-1], self.forest.tree_offset[1:], strict=True)
        )
        steps = 4.0 * (self.forest.n_trees + 4) * np.finfo(np.float64).eps
        return np.asarray(steps * (largest + np.abs(start) + 2.0 * magnitude))


def make_goal(forest: Forest, now: NDArray[np.float64], to: Any) -> Goal:
    """Return the goal for one encoded row [1, features] (see `nearest_counterfactual` for `to`)."""
    raw = forest.sum_leaves(forest.apply_encoded(now))
    if forest.task == "regression":
        return _value_goal(forest, float(raw[0, 0]), to)
    current = int(forest.raw_to_class_index(raw)[0])
    names = [category_text(label) for label in forest.classes]
    if to is None:
        wished = [k for k in range(len(names)) if k != current]
        wish = (
            f"{forest.target or 'class'} = {names[wished[0]]}"
            if len(wished) == 1
            else f"not {names[current]}"
        )
    else:
        to = category_text(to)
        if to not in names and to.casefold() in ("true", "false"):
            to = to.casefold()
        if to not in names:
            raise ParameterError(
                f"to got {to!r}, which is no class of the model; it has {names}.{suggestion(to, names)}"
            )
        wished = [names.index(to)]
        if wished == [current]:
            raise ParameterError(
                f"to got {to!r}, which is what this row already gets. Ask for another of {names}."
            )
        wish = f"{forest.target or 'class'} = {names[wished[0]]}"
    return Goal(forest, wish, tuple(_margins(forest, k) for k in wished), frozenset(wished))


def _margins(forest: Forest, wished: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if forest.link == "sigmoid":
        sign = 1.0 if wished == 1 else -1.0
        return sign * forest.value, sign * forest.base
    rivals = [k for k in range(forest.n_outputs) if k != wished]
    return forest.value[:, [wished]] - forest.value[:, rivals], forest.base[wished] - forest.base[rivals]


def _value_goal(forest: Forest, current: float, to: Any) -> Goal:
    if forest.n_outputs != 1:
        raise ParameterError(
            f"a counterfactual of a forest with {forest.n_outputs} targets is not defined; use a forest with one target."
        )
    if to is None:
        raise ParameterError(
            f"a regression forest needs a value to reach: pass --to VALUE. This row gets {current:g}."
        )
    try:
        limit = float(to)
    except (TypeError, ValueError):
        raise ParameterError(f"to got {to!r}; a regression forest needs a number.") from None
    if not np.isfinite(limit) or limit == current:
        raise ParameterError(f"to got {limit!r}; expected a finite value other than the present {current!r}.")
    rising = limit > current
    sign = 1.0 if rising else -1.0
    scale = forest.n_trees if forest.aggregation == "mean" else 1
    gain, start = sign * forest.value, sign * (forest.base - limit * scale)
    wish = f"{forest.target or 'prediction'} {'>=' if rising else '<='} {limit:g}"
    return Goal(forest, wish, ((gain, np.asarray(start)),), limit=(limit, rising))
