"""Experts in training: which of them a row chooses, what a step changes, how classes are added. The estimator is in `expert_stream`.

A step raises the votes of the nearest experts for the labels of the batch; its gradient is written out, so that only those rows of weights
that have one are looked at. All others stay as they are, bit for bit.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from hardgrad.functional.subset_weights import topk_weights
from hardgrad.trees.expert_votes import Array, cosines, nearest, represent, vote_weights

KEPT_SHARE = 0.3  # a smaller share of an expert counts as none
KEY_RATE = 5e-5
BOUND = 2.0  # standard deviations at which the first weights are cut off


@dataclass(frozen=True)
class StepPlan:
    """Constants of a step, as in `StreamingExpertClassifier`; the decay is negative where weights shall grow."""

    n_neighbours: int
    cap: float
    rate: float
    decay: float
    temperature: float
    trainable_keys: bool


@dataclass
class Experts:
    """The arrays of a mixture in training.

    Parameters
    ----------
    seed : of the first weights of a class.
    projection, offset, shift : see `RoutedExperts`.
    key : float64 [M, d].
    weight : float64 [M, C, d].
    moments : float64 [2, M, d], Adam's, of keys that are trained; else [2, 0, 0].
    usage : float64 [M], number of rows that each expert learned from.
    rows, key_steps : rows and optimiser steps of the keys so far.
    """

    seed: int
    projection: Array
    offset: Array
    shift: Array
    key: Array
    weight: Array
    moments: Array
    usage: Array
    rows: int = 0
    key_steps: int = 0
    cache: dict[str, object] = field(
        default_factory=dict
    )  # what is made of the arrays; emptied when these change

    @classmethod
    def draw(
        cls, seed: int, n_experts: int, X: Array, weight: Array, *, key_dim: int | None, trainable_keys: bool
    ) -> Experts:
        """Draw keys and random features; rows are centred by the weighted mean of the first ones, X [n, F]."""
        rng = np.random.default_rng(seed)
        projection, offset = np.empty((0, 0)), np.empty(0)
        if key_dim is not None:
            typical = math.sqrt(np.average(np.square(X).mean(axis=1), weights=weight)) or 1.0
            projection = rng.normal(size=(key_dim, X.shape[1])) / (typical * math.sqrt(X.shape[1]))
            offset = rng.normal(size=key_dim)
        d = X.shape[1] if key_dim is None else key_dim
        shift = np.average(represent(X, projection, offset, np.zeros(d)), axis=0, weights=weight)
        key = rng.normal(size=(n_experts, d))
        key /= np.linalg.norm(key, axis=1, keepdims=True)
        return cls(
            seed, projection, offset, shift, key, np.empty((n_experts, 0, d)),
            np.zeros((2, n_experts, d)) if trainable_keys else np.empty((2, 0, 0)), np.zeros(n_experts),
        )  # fmt: skip

    def represent(self, X: Array) -> Array:
        """Return what keys and experts see of rows X [n, F]."""
        return represent(X, self.projection, self.offset, self.shift)

    def insert_classes(self, labels: list[object], places: NDArray[np.int64]) -> None:
        """Add classes in front of these places; the weights of the others stay as they are."""
        first = np.stack([self._first_weights(label) for label in labels], axis=1)
        self.weight = np.insert(self.weight, places, first, axis=1)
        self.cache.clear()

    def _first_weights(self, label: object) -> Array:
        """Return the first weights [M, d] of a class: a truncated normal that depends on the seed and the label alone."""
        digest = hashlib.sha256(repr(label).encode()).digest()
        rng = np.random.default_rng([self.seed, int.from_bytes(digest[:8], "little")])
        uniform = rng.uniform(ndtr(-BOUND), ndtr(BOUND), size=self.key.shape)
        return np.asarray(ndtri(uniform) / math.sqrt(self.key.shape[1]))

    def step(self, z: Array, labels: NDArray[np.int64], row_weight: Array, plan: StepPlan) -> None:
        """Move weights by the sign of the gradient of the weighted mean vote for the labels; where it is 0 nothing moves.

        Parameters
        ----------
        z : [n, d].
        labels : class numbers [n].
        row_weight : positive [n].
        """
        cosine = cosines(z, self.key)
        share = soft_shares(cosine, plan.n_neighbours, plan.temperature)
        part = vote_weights(share, cosine) * (row_weight / row_weight.sum())[:, None]
        for label in np.unique(labels):
            rows = labels == label
            experts = self.weight[:, label]
            slope = 1.0 - np.tanh(z[rows] @ experts.T / plan.cap) ** 2
            gradient = (part[rows] * slope).T @ z[rows]
            moved = np.sign(gradient) - plan.decay * experts
            self.weight[:, label] = experts + plan.rate * np.where(gradient != 0, moved, 0.0)
        if plan.trainable_keys:
            self._move_keys(z, row_weight, plan)
        self.usage += (share > 0).sum(axis=0)
        self.rows += len(z)
        self.cache.clear()

    def _move_keys(self, z: Array, row_weight: Array, plan: StepPlan) -> None:
        """One step of Adam on the distances of the rows to the keys they choose. Keys are not made unit vectors again."""
        keys = torch.nn.Parameter(torch.from_numpy(self.key))
        optimizer = torch.optim.Adam([keys], KEY_RATE)
        first, second = torch.from_numpy(self.moments)
        state = {"step": torch.tensor(float(self.key_steps)), "exp_avg": first, "exp_avg_sq": second}
        optimizer.state[keys] = state
        units = (torch.nn.functional.normalize(side, dim=1) for side in (torch.from_numpy(z), keys))
        distance = 1.0 - next(units) @ next(units).T
        share = topk_weights(
            distance, plan.n_neighbours, largest=False, temperature=plan.temperature, mode="soft"
        )
        loss = (distance * share).sum(dim=1) @ torch.from_numpy(row_weight / row_weight.sum())
        loss.backward()
        optimizer.step()  # in place: in `key` and `moments`
        self.key_steps += 1


def soft_shares(cosine: Array, k: int, temperature: float) -> Array:
    """Return the share of each expert in each row, [n, M]: about 1 for the k nearest, exactly 0 for those below `KEPT_SHARE`."""
    distance = torch.from_numpy(1.0 - cosine)
    with torch.no_grad():
        soft = topk_weights(distance, k, largest=False, temperature=temperature, mode="soft").numpy()
    kept = np.where(soft >= KEPT_SHARE, soft, 0.0)
    few = (kept > 0).sum(axis=1) < k
    if few.any():  # so warm that hardly any expert stands out: the nearest share the whole
        closest = soft[few] * nearest(cosine[few], k)
        kept[few] = np.minimum(closest * (k / closest.sum(axis=1, keepdims=True)), 1.0)
    return np.asarray(kept)
