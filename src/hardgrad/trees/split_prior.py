"""SplitPrior: how likely a split is at a place in a tree, by what it tells there and how it suits the tests above. Never imports torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr

from hardgrad.trees.codes import find_cuts
from hardgrad.trees.proposers import TaskContext
from hardgrad.trees.relatedness import cutoffs, data_relatedness, name_relatedness, round_between
from hardgrad.trees.tree_population import Floats, Integers

CUTS = 31
"""Thresholds a feature, beside those that its description names."""
NAMED_CUT = 2.0
"""How much likelier a threshold is that the description names."""
LEAST = 0.01
"""Weight of a split that tells nothing, as a share of the best one's."""
NAMES, DATA = 0.5, 0.5
"""Parts of names and of values in how two features are related."""


@dataclass(frozen=True)
class DrawnSplits:
    """Splits that were drawn, with the logarithms of their probabilities; all of one length."""

    feature: Integers
    threshold: Floats
    missing_left: NDArray[np.bool_]
    logprob: Floats


@dataclass(frozen=True)
class SplitPrior:
    """What is known about splits of a task.

    Parameters
    ----------
    feature, threshold, missing_left : of every candidate, sorted by feature, [cuts].
    worth : float64 [cuts], by which a threshold is likelier than others that tell as much.
    goes_left : float32 [n, cuts], 1 where a row goes left.
    columns : float32 [n, outputs + 1], weighted targets and the weight.
    classes : whether the targets are classes.
    related : float64 [features, features] in [0, 1].
    apt : float64 [features] in [0, 1], how much a feature has to do with the task by its words.
    """

    feature: Integers
    threshold: Floats
    missing_left: NDArray[np.bool_]
    worth: Floats
    goes_left: NDArray[np.float32]
    columns: NDArray[np.float32]
    classes: bool
    related: Floats
    apt: Floats

    @classmethod
    def of(cls, context: TaskContext) -> Self:
        """Read names, descriptions and rows of a task."""
        rows = context.rows
        feature, threshold, worth = [], [], []
        for number, column in enumerate(rows.X.T):
            there = ~np.isnan(column)
            for cut, named in _thresholds(column[there], rows.weight[there], context.descriptions[number]):
                feature.append(number)
                threshold.append(cut)
                worth.append(NAMED_CUT if named else 1.0)
        tested = np.array(feature, dtype=np.int64)
        cuts = np.array(threshold, dtype=np.float64)
        values = rows.X[:, tested]
        left = (values <= cuts) * rows.weight[:, None]
        missing_left = 2 * left.sum(axis=0) >= (~np.isnan(values) * rows.weight[:, None]).sum(axis=0)
        goes_left = np.where(np.isnan(values), missing_left, values <= cuts).astype(np.float32)
        words = [f"{name} {said}" for name, said in zip(context.names, context.descriptions, strict=True)]
        task = f"{context.task_description} {context.target}"
        with_task = name_relatedness([*words, task])
        related = NAMES * with_task[:-1, :-1] + DATA * data_relatedness(rows.X)
        return cls(
            tested, cuts, missing_left, np.array(worth), goes_left, rows.columns.astype(np.float32),
            bool(context.classes), related, with_task[-1, :-1],
        )  # fmt: skip

    def information(self, masks: NDArray[np.bool_]) -> Floats:
        """Return what each candidate tells about the target among some rows, in nats, [masks, cuts]; never below 0.

        Parameters
        ----------
        masks : bool [masks, n].

        The mutual information of the side and the class; for values that of normal ones with as much variance between the sides. What a
        split of pure chance would tell is taken off, and a split that sends all rows one way tells nothing.
        """
        part = masks[:, None, :] * self.columns.T[None]
        left = (part @ self.goes_left).astype(np.float64)
        whole = part.sum(axis=2, dtype=np.float64)[:, :, None]
        right = np.maximum(whole - left, 0.0) if self.classes else whole - left
        weight = whole[:, -1]
        safe = np.where(weight > 0, weight, 1.0)
        if self.classes:
            told = _entropy(whole) - (left[:, -1] * _entropy(left) + right[:, -1] * _entropy(right)) / safe
        else:
            told = self._normal_information(masks, left, right, whole)
        rows = np.maximum(masks.sum(axis=1, keepdims=True), 1)
        chance = (self.columns.shape[1] - 2 if self.classes else self.columns.shape[1] - 1) / (2.0 * rows)
        splits = (left[:, -1] > 1e-6 * safe) & (right[:, -1] > 1e-6 * safe)
        return np.where(splits, np.maximum(told - chance, 0.0), 0.0)

    def _normal_information(
        self, masks: NDArray[np.bool_], left: Floats, right: Floats, whole: Floats
    ) -> Floats:
        weight = self.columns[:, -1].astype(np.float64)
        values = self.columns[:, :-1] / np.where(weight > 0, weight, 1.0)[:, None]
        squares = (masks @ ((values**2).sum(axis=1) * weight))[:, None]
        parts = [
            (side[:, :-1] ** 2).sum(axis=1) / np.maximum(side[:, -1], 1e-12) for side in (left, right, whole)
        ]
        spread = np.maximum(squares - parts[2], 1e-12)
        share = np.clip((parts[0] + parts[1] - parts[2]) / spread, 0.0, 1.0 - 1e-9)
        return np.asarray(-0.5 * np.log1p(-share))

    def draw(
        self,
        masks: NDArray[np.bool_],
        paths: Floats,
        beta: float,
        gamma: float,
        rng: np.random.Generator,
    ) -> DrawnSplits:
        """Draw a split for each mask: a feature by `exp(beta * relatedness) * information**gamma`, then one of its thresholds.

        Parameters
        ----------
        masks : bool [masks, n]; the rows at the place.
        paths : float64 [masks, features]; how often each feature is tested above the place.
        """
        told = self.information(masks)
        best = np.zeros((len(masks), len(self.related)))
        np.maximum.at(best.T, self.feature, told.T)
        tested = np.isin(np.arange(len(self.related)), self.feature)
        weight = np.exp(beta * self.suits(paths)) * _share(best) ** gamma * tested
        chosen, logprob = _drawn(weight, rng)
        own = self.feature[None] == chosen[:, None]
        weight = own * self.worth * _share(np.where(own, told, 0.0)) ** gamma
        cut, more = _drawn(weight, rng)
        return DrawnSplits(chosen, self.threshold[cut], self.missing_left[cut], logprob + more)

    def suits(self, paths: Floats) -> Floats:
        """Return how a feature suits the tests above a place, [places, features]; where there are none, how it suits the task."""
        count = paths.sum(axis=1, keepdims=True)
        return np.where(count > 0, (paths @ self.related) / np.maximum(count, 1.0), self.apt)


def _thresholds(values: Floats, weight: Floats, description: str) -> list[tuple[float, bool]]:
    """Thresholds between values that occur, and whether the description names them."""
    distinct = np.unique(values)
    if len(distinct) < 2:
        return []
    named = {cut for cut in cutoffs(description) if distinct[0] <= cut < distinct[-1]}
    places = np.searchsorted(distinct, find_cuts(values, weight, CUTS), side="right")
    rounded = {
        round_between(float(distinct[place - 1]), float(distinct[place]))
        for place in np.clip(places, 1, len(distinct) - 1).tolist()
    }
    return [(cut, cut in named) for cut in sorted(rounded | named)]


def _entropy(counts: Floats) -> Floats:
    """Entropy in nats of class counts [.., classes + 1, cuts], the last of which is their sum."""
    total = np.where(counts[:, -1:] > 0, counts[:, -1:], 1.0)
    return np.asarray(entr(counts[:, :-1] / total).sum(axis=1))


def _share(told: Floats) -> Floats:
    most = told.max(axis=1, keepdims=True)
    return np.asarray(told / np.where(most > 0, most, 1.0) + LEAST)


def _drawn(weight: Floats, rng: np.random.Generator) -> tuple[Integers, Floats]:
    """Draw a column a row by its weight, with the logarithm of its chance."""
    p = weight / weight.sum(axis=1, keepdims=True)
    below = np.cumsum(p, axis=1)
    chosen = (below <= rng.random((len(p), 1)) * below[:, -1:]).sum(axis=1)
    return chosen, np.log(p[np.arange(len(p)), chosen])
