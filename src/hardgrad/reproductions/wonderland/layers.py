"""Two linear maps with a bend between them, and what happens at the bend.

A network of layers bends the space so that a line can part what no line could. The bend, max(x, 0), has no derivative at 0. Automatic
differentiation answers 0 there and never complains; it is right almost everywhere, and "almost" is worth checking where weights or inputs
are exactly zero. Rows 14 and 48 of the library do that.

The hard twin keeps of each unit only whether it is on. Within one pattern of units the network IS a linear map, so what it computes for a
row is a list of yes and no and one matrix: discrete structure that was there all along.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

import hardgrad.functional as HF
from hardgrad.reproductions.registry import Measured
from hardgrad.reproductions.wonderland.report import ChapterReport

TITLE = "Layers"


class Network(nn.Module):
    """Features, hidden units, classes."""

    def __init__(self, features: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(features, hidden), nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return scores; each unit is its sum times how far it is on."""
        sums = self.first(x)
        on = HF.greater(sums, torch.zeros((), dtype=sums.dtype), mode="st" if self.training else None)
        found: Tensor = self.second(sums * on)
        return found


def active_map(model: Network, row: Tensor) -> tuple[Tensor, Tensor]:
    """The linear map that the network is at one row: only the units that are on count."""
    on = (model.first(row) > 0).to(row.dtype)
    weight = model.second.weight * on @ model.first.weight
    return weight, model.second.weight * on @ model.first.bias + model.second.bias


def digits(random_state: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training and test images of scikit-learn's digits, as rows of 64 numbers in [0, 1], with their labels."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data = load_digits()
    split = train_test_split(
        data.data / 16, data.target, test_size=0.3, random_state=random_state, stratify=data.target
    )
    x, x_test, y, y_test = (torch.from_numpy(part) for part in split)
    return x.float(), y, x_test.float(), y_test


def train(
    model: nn.Module, x: Tensor, y: Tensor, epochs: int, generator: torch.Generator, rate: float = 3e-3
) -> None:
    """Follow the gradient of cross-entropy over shuffled batches of 64."""
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    model.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(x), generator=generator).split(64):
            loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.eval()


def run(random_state: int = 0, quick: bool = True) -> ChapterReport:
    """Train on digits beside scikit-learn's network of the same width, then read one row as a linear map."""
    import hardgrad

    torch.manual_seed(random_state)
    generator = torch.Generator().manual_seed(random_state)
    x, y, x_test, y_test = digits(random_state)
    model = Network(64, 64, 10)
    train(model, x, y, 8 if quick else 40, generator)
    with torch.no_grad(), hardgrad.mode("hard"):
        scores = model(x_test)
        weight, offset = active_map(model, x_test[0])
        apart = float((weight @ x_test[0] + offset - scores[0]).abs().max())
    accuracy = float((scores.argmax(-1) == y_test).double().mean())
    claims = [
        Measured.at_most("one row as a linear map against the network, largest difference", apart, 1e-4)
    ]
    if not quick:
        claims += _beside_scikit_learn(accuracy, x, y, x_test, y_test, random_state)
    return ChapterReport(TITLE, tuple(claims), HF.gap(model, x_test), {"test accuracy, hard": accuracy})


def _beside_scikit_learn(
    accuracy: float, x: Tensor, y: Tensor, x_test: Tensor, y_test: Tensor, seed: int
) -> list[Measured]:
    from sklearn.neural_network import MLPClassifier

    peer = MLPClassifier((64,), max_iter=400, random_state=seed).fit(x.numpy(), y.numpy())
    peer_accuracy = float(peer.score(x_test.numpy(), y_test.numpy()))
    return [
        Measured.at_least("test accuracy on digits", accuracy, 0.96),
        Measured.at_least("test accuracy less scikit-learn's", accuracy - peer_accuracy, -0.01),
    ]
