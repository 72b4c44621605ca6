"""Digits as bits, and networks of gates trained on bits: what the reproductions about logic gate networks share. No row of its own."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from hardgrad.logic import LogicNetwork

PIXEL_THRESHOLDS = (4, 8, 12)  # of 0 to 16


@dataclass(frozen=True)
class Bits:
    """Training and held-out samples: bits [n, inputs], and classes [n]."""

    train: Tensor
    train_class: Tensor
    test: Tensor
    test_class: Tensor

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(self.train_class.max()) + 1


def digit_bits(seed: int) -> Bits:
    """Return scikit-learn's digits, three bits a pixel; 30 % are held out."""
    import numpy as np
    import torch
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    X, y = load_digits(return_X_y=True)
    bits = np.concatenate([threshold < X for threshold in PIXEL_THRESHOLDS], axis=1).astype(np.float32)
    parts = train_test_split(bits, y, test_size=0.3, random_state=seed, stratify=y)
    train, test, train_class, test_class = (torch.from_numpy(part) for part in parts)
    return Bits(train, train_class, test, test_class)


def gate_network(
    inputs: int, widths: list[int], classes: int, tau: float, seed: int, **options: Any
) -> LogicNetwork:
    """Return layers of gates of these widths with a group sum; options are those of `LogicLayer`."""
    import torch

    from hardgrad.logic import GroupSum, LogicLayer, LogicNetwork

    generator = torch.Generator().manual_seed(seed)
    sizes = itertools.pairwise([inputs, *widths])
    layers = [LogicLayer(a, b, generator=generator, **options) for a, b in sizes]
    return LogicNetwork(layers, GroupSum(classes, tau))


def train_gates(
    network: LogicNetwork,
    data: Bits,
    steps: int,
    seed: int,
    *,
    batch: int,
    learning_rate: float,
    watch: Callable[[int], bool] = lambda step: False,
) -> None:
    """Train by Adam on batches drawn by `seed`; `watch` is asked before each step whether to stop."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(network.parameters(), lr=learning_rate)
    for step in range(steps):
        if watch(step):
            return
        rows = torch.randint(len(data.train), (batch,), generator=generator)
        loss = torch.nn.functional.cross_entropy(network(data.train[rows]), data.train_class[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def accuracy(network: LogicNetwork, bits: Tensor, classes: Tensor, mode: Any) -> float:
    """Return the share of samples that the soft or the exact network gets right."""
    import torch

    with torch.no_grad():
        return float((network(bits, mode=mode).argmax(dim=1) == classes).double().mean())
