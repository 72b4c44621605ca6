"""A loss is what a model is asked to make small; a decision is what is asked of it afterwards.

Cross-entropy pays a model for the probability that it gave to what happened. A model that is trained long on few rows learns to be too
sure: it is right as often as before, and its probabilities mean less. Calibration asks whether of all answers given with 80 % some 80 %
are right; the expected calibration error is how far that is off. Dividing all scores by one number, the temperature, chosen on rows that
training did not see, mends most of it, and changes no decision at all: the largest score stays the largest.

That is the first hard twin of the tour. Between the soft choice (a mixture of classes) and the hard one (one class) lies only the
temperature.
"""

from __future__ import annotations

import torch
from torch import Tensor

import hardgrad.functional as HF
from hardgrad.reproductions.registry import Measured
from hardgrad.reproductions.wonderland.report import ChapterReport

TITLE = "Decisions"


def calibration_error(scores: Tensor, labels: Tensor, bins: int = 10) -> float:
    """How far confidence is from accuracy: the mean over bins of confidence, weighed by how many answers fall in each."""
    confidence, decision = torch.softmax(scores, -1).max(-1)
    right = (decision == labels).double()
    place = (confidence * bins).long().clamp_max(bins - 1)
    error = 0.0
    for b in range(bins):
        here = place == b
        if here.any():
            error += float(
                here.double().mean() * (right[here].mean() - confidence[here].double().mean()).abs()
            )
    return error


def fit_temperature(scores: Tensor, labels: Tensor) -> float:
    """The number to divide scores by which makes cross-entropy least."""
    log_temperature = torch.zeros((), dtype=scores.dtype, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_temperature], max_iter=50)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(scores / log_temperature.exp(), labels)
        loss.backward()
        return loss

    optimizer.step(closure)
    return float(log_temperature.detach().exp())


def run(random_state: int = 0, quick: bool = True) -> ChapterReport:
    """Train too long on few rows, then mend the confidence without touching a decision."""
    generator = torch.Generator().manual_seed(random_state)
    rows, features, classes = (600, 20, 3) if quick else (3000, 20, 3)
    truth = torch.randn(features, classes, dtype=torch.float64, generator=generator)
    x = torch.randn(rows, features, dtype=torch.float64, generator=generator)
    noise = 4.0 * torch.randn(rows, classes, dtype=torch.float64, generator=generator)
    labels = (x @ truth + noise).argmax(-1)
    few, held, test = x[:60], slice(60, rows // 2), slice(rows // 2, rows)
    weight = torch.zeros(features, classes, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([weight], lr=0.1)
    for _ in range(300):
        loss = torch.nn.functional.cross_entropy(few @ weight, labels[:60])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    scores = (x @ weight).detach()
    temperature = fit_temperature(scores[held], labels[held])
    before, after = (calibration_error(scores[test] / t, labels[test]) for t in (1.0, temperature))
    changed = (scores[test].argmax(-1) != (scores[test] / temperature).argmax(-1)).sum()
    return ChapterReport(
        TITLE,
        (
            Measured.at_most("calibration error after over before", after / before, 0.5),
            Measured.exactly("decisions that the temperature changes", float(changed), 0),
        ),
        HF.gap(HF.choice, scores[test], temperature=temperature),
        {"temperature": temperature, "calibration error before": before, "after": after},
    )
