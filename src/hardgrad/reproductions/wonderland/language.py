"""A small language model that looks one thing up.

The text is made by a grammar with a memory: a sentence names an animal at its start, and again at its end, with other words between. A
table of which letter follows which cannot know that; a model that may look back can.

The model reads one letter after another. Its one layer scores every earlier place and takes what stands there. In training that is a
mixture over the past, sharpened step by step; at the end it is a choice: for each letter exactly one earlier place, read out of the text
like a pointer. What is shipped is that hard model, and the gap says what the sharpening cost.
"""

from __future__ import annotations

import math
import random

import torch
from torch import Tensor, nn

import hardgrad
import hardgrad.functional as HF
from hardgrad import Schedule
from hardgrad.nn.blocks import causal_mask
from hardgrad.reproductions.registry import Measured
from hardgrad.reproductions.wonderland.report import ChapterReport

TITLE = "A small language"
ANIMALS = ("ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen")
VERBS = ("sees", "calls", "meets")
ALPHABET = " ." + "abcdefghijklmnopqrstuvwxyz"
LENGTH = 20  # of a sentence in letters, cut or filled with blanks
NEAR = 3  # letters before the present one that the model always sees


def sentences(count: int, seed: int) -> Tensor:
    """(count, LENGTH) letters as numbers: an animal, a verb, "no one but", and the same animal again."""
    rng = random.Random(seed)
    rows = []
    for _ in range(count):
        animal = rng.choice(ANIMALS)
        text = f"{animal} {rng.choice(VERBS)} only {animal}."[:LENGTH].ljust(LENGTH)
        rows.append([ALPHABET.index(letter) for letter in text])
    return torch.tensor(rows)


class Pointer(nn.Module):
    """Predict the next letter from the last few and from one earlier place that is chosen by content and distance."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.letters = nn.Embedding(len(ALPHABET), width)
        self.query, self.key = nn.Linear(NEAR * width, width), nn.Linear(NEAR * width, width)
        self.distance = nn.Parameter(torch.zeros(LENGTH))
        self.value = nn.Embedding(len(ALPHABET), width)
        self.head = nn.Sequential(nn.Linear((NEAR + 1) * width, 64), nn.ReLU(), nn.Linear(64, len(ALPHABET)))

    def forward(self, text: Tensor) -> Tensor:
        """Return scores of the letter after each place, (batch, n, letters)."""
        near = self._near(self.letters(text))
        picked = self.places(text) @ self.value(text)
        scores: Tensor = self.head(torch.cat([near, picked], -1))
        return scores

    def places(self, text: Tensor) -> Tensor:
        """Return (batch, n, n): for each letter, which earlier place is read."""
        near = self._near(self.letters(text))
        n = text.shape[1]
        apart = torch.arange(n).unsqueeze(-1) - torch.arange(n)
        scores = (
            self.query(near) @ self.key(near).mT / near.shape[-1] ** 0.5 + self.distance[apart.clamp_min(0)]
        )
        found: Tensor = HF.choice(scores.masked_fill(~causal_mask(n), -math.inf), dim=-1)
        return found

    @staticmethod
    def _near(x: Tensor) -> Tensor:
        padded = nn.functional.pad(x, (0, 0, NEAR - 1, 0))
        return padded.unfold(1, NEAR, 1).flatten(-2)


def loss_of(model: nn.Module, text: Tensor) -> Tensor:
    """Mean cross-entropy of each next letter, in nats."""
    return nn.functional.cross_entropy(model(text[:, :-1]).flatten(0, 1), text[:, 1:].flatten())


def bigram_loss(train: Tensor, test: Tensor) -> float:
    """The same for the table of which letter follows which."""
    counts = torch.full((len(ALPHABET), len(ALPHABET)), 0.01, dtype=torch.float64)
    counts.index_put_(
        (train[:, :-1].flatten(), train[:, 1:].flatten()),
        torch.ones((), dtype=torch.float64),
        accumulate=True,
    )
    logarithm = (counts / counts.sum(-1, keepdim=True)).log()
    return float(-logarithm[test[:, :-1].flatten(), test[:, 1:].flatten()].mean())


def run(random_state: int = 0, quick: bool = True) -> ChapterReport:
    """Train soft, ship hard: the pointer at the end reads exactly one place."""
    torch.manual_seed(random_state)
    train, test = sentences(2000, random_state), sentences(300, random_state + 1)
    model, steps = Pointer(), 150 if quick else 600
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    temperature = Schedule.exponential(1.0, 0.05)
    for step in range(steps):
        rows = torch.randint(0, len(train), (64,))
        with hardgrad.mode("soft", temperature=temperature.at(step=step, steps=steps)):
            loss = loss_of(model, train[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad(), hardgrad.mode("hard"):
        hard = float(loss_of(model, test))
        read = model.places(test[:, :-1])
    bigrams = bigram_loss(train, test)
    with torch.no_grad():
        gap = HF.gap(lambda text: loss_of(model, text), test, temperature=temperature(1.0))
    return ChapterReport(
        TITLE,
        (
            Measured.at_most("nats a letter of the hard model over the bigram table's", hard / bigrams, 1.0),
            Measured.exactly("places read for each letter", float((read > 0).sum(-1).double().mean()), 1),
        ),
        gap,
        {"nats a letter, hard": hard, "bigram table": bigrams},
    )
