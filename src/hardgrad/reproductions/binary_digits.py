"""Digits for the reproductions of binary networks: standardised rows, and one training run on them; torch is imported when it is used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

WIDTHS = (64, 256, 256, 10)


@dataclass(frozen=True)
class Digits:
    """A split of scikit-learn's digits, 70 % for training.

    Parameters
    ----------
    X, y : standardised pixels, float32 tensor [n, 64], and classes.
    X_test, y_test : the same of the test rows, by the means and deviations of the training rows.
    """

    X: Any
    y: NDArray[np.int64]
    X_test: Any
    y_test: NDArray[np.int64]

    def accuracy(self, packed: Any) -> float:
        """Return the share of test rows that a packed network names."""
        return float((packed.scores(self.X_test.numpy(), engine="numba").argmax(1) == self.y_test).mean())


def digits(seed: int) -> Digits:
    """Return the split of one seed, with all classes in proportion."""
    import torch
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.3, random_state=seed, stratify=y)
    scaler = StandardScaler().fit(X)
    rows, test = (torch.from_numpy(scaler.transform(part).astype(np.float32)) for part in (X, X_test))
    return Digits(rows, y, test, y_test)


def trained(
    data: Digits, seed: int, *, widths: tuple[int, ...] = WIDTHS, epochs: int = 60, recipe: dict[str, Any] | None = None, **options: Any
) -> Any:  # fmt: skip
    """Return a `BinaryNetwork` trained on the training rows by Adam and squared hinge; options are those of `BinaryNetwork.mlp`."""
    import torch

    from hardgrad.bits import BinaryNetwork, Recipe, fit_network

    network = BinaryNetwork.mlp(widths, generator=torch.Generator().manual_seed(seed), **options)
    fit_network(network, data.X, data.y, Recipe(epochs=epochs, **(recipe or {})), random_state=seed)
    return network


def real_accuracy(network: Any, data: Digits) -> float:
    """Return the share of test rows that a network trained in mode "soft" names with its real weights."""
    import torch

    import hardgrad

    with torch.no_grad(), hardgrad.mode("soft"):
        return float((network(data.X_test).argmax(1).numpy() == data.y_test).mean())


def each_seed(measure: Callable[..., Any], seeds: int, *arguments: Any) -> list[Any]:
    """Return `measure(seed, *arguments)` of every seed from 0 on, in two processes where there are several; each on one thread."""
    from sklearn.utils.parallel import Parallel, delayed

    found: Sequence[Any] = Parallel(n_jobs=min(2, seeds))(
        delayed(measure)(seed, *arguments) for seed in range(seeds)
    )
    return list(found)
