"""Lists of two-digit numbers from scikit-learn's digits, for the reproductions that learn to sort; torch is imported when it is used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

RATE = 1e-3
LISTS = 100  # in a batch
TEST_LISTS = 1000


@dataclass(frozen=True)
class DigitLists:
    """Digits for training and for testing; a list is drawn as n numbers of two digits side by side.

    Parameters
    ----------
    images, labels : pixels in 0 .. 1 (rows, 8, 8) and digits (rows), of the training rows.
    test_images, test_labels : of the test rows.
    """

    images: Any
    labels: Any
    test_images: Any
    test_labels: Any

    def draw(self, lists: int, n: int, generator: Any, *, test: bool = False) -> tuple[Any, Any]:
        """Return images (lists, n, 128) and numbers (lists, n) from 0 to 99."""
        import torch

        images, labels = (self.test_images, self.test_labels) if test else (self.images, self.labels)
        rows = torch.randint(len(labels), (lists, n, 2), generator=generator)
        return images[rows].flatten(2), 10 * labels[rows[..., 0]] + labels[rows[..., 1]]


def digit_lists() -> DigitLists:
    """Return scikit-learn's digits; a fifth of them, drawn with a fixed seed, is for testing."""
    import torch
    from sklearn.datasets import load_digits

    data = load_digits()
    images = torch.tensor(data.images / 16.0, dtype=torch.float32)
    labels = torch.tensor(data.target)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    test, training = order[: len(order) // 5], order[len(order) // 5 :]
    return DigitLists(images[training], labels[training], images[test], labels[test])


def mlp(features: int, outputs: int = 1) -> Any:
    """Return the scorer of single numbers: features-128-64-outputs."""
    from torch import nn

    return nn.Sequential(
        nn.Linear(features, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, outputs)
    )


def train(
    score: Callable[[Any], Any],
    parameters: Any,
    loss: Callable[[Any, Any, Any], Any],
    draw: Callable[[Any], tuple[Any, Any]],
    steps: int,
    seed: int,
) -> None:
    """Take Adam steps on lists drawn anew: loss(scores, items, labels)."""
    import torch

    optimiser = torch.optim.Adam(parameters, lr=RATE)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        items, labels = draw(generator)
        optimiser.zero_grad()
        loss(score(items), items, labels).backward()
        optimiser.step()


def accuracy(scores: Any, labels: Any) -> tuple[float, float]:
    """Return the share of lists in the right order and the share of elements with a right rank; equal labels may change places."""
    ordered = labels.gather(-1, scores.argsort(-1))
    right = ordered == labels.sort(-1).values
    return float(right.all(-1).double().mean()), float(right.double().mean())
