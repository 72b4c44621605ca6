"""A linear model by hand: a weighted sum, pushed through one curve, trained by following its gradient.

Logistic regression gives log-odds as a sum of products. Its loss is convex, so there is one best set of weights, and every right program
finds it: the one below, twenty lines with their own Newton step, ends where scikit-learn's ends.

Its hard twin is a rule: answer yes where the sum is positive. The probability is gone; what remains is a comparison that fits on a card.
"""

from __future__ import annotations

import torch
from torch import Tensor

import hardgrad.functional as HF
from hardgrad.reproductions.registry import Measured
from hardgrad.reproductions.wonderland.report import ChapterReport

TITLE = "Lines"


def newton(x: Tensor, y: Tensor, l2: float, steps: int = 30) -> Tensor:
    """Weights of logistic regression with a squared penalty on all but the last, the intercept."""
    weights = x.new_zeros(x.shape[1])
    penalty = torch.full_like(weights, l2)
    penalty[-1] = 0.0
    for _ in range(steps):
        p = torch.sigmoid(x @ weights)
        gradient = x.T @ (p - y) + penalty * weights
        curvature = (x * (p * (1 - p)).unsqueeze(-1)).T @ x + torch.diag(penalty)
        weights = weights - torch.linalg.solve(curvature, gradient)
    return weights


def yes(scores: Tensor) -> Tensor:
    """The rule: 1 where the score is positive. Soft, it is the logistic curve."""
    found: Tensor = HF.greater(scores, torch.zeros((), dtype=scores.dtype)).to(scores.dtype)
    return found


def run(random_state: int = 0, quick: bool = True) -> ChapterReport:
    """Fit breast cancer data by hand and with scikit-learn."""
    from sklearn.datasets import load_breast_cancer
    from sklearn.linear_model import LogisticRegression

    data = load_breast_cancer()
    columns = slice(0, 10 if quick else 30)
    standard = (data.data - data.data.mean(0)) / data.data.std(0)
    x = torch.from_numpy(standard[:, columns])
    y = torch.from_numpy(data.target).double()
    with_one = torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], 1)
    weights = newton(with_one, y, l2=1.0)
    peer = LogisticRegression(C=1.0, tol=1e-10, max_iter=2000, random_state=random_state).fit(
        x.numpy(), data.target
    )
    expected = torch.tensor([*peer.coef_[0], peer.intercept_[0]], dtype=x.dtype)
    scores = with_one @ weights
    return ChapterReport(
        TITLE,
        (
            Measured.at_most(
                "coefficients against scikit-learn's, largest difference",
                float((weights - expected).abs().max()),
                1e-3,
            ),
            Measured.exactly(
                "rows where the rule and scikit-learn disagree",
                float((yes_exact(scores) != torch.from_numpy(peer.predict(x.numpy()))).sum()),
                0,
            ),
        ),
        HF.gap(yes, scores, temperature=1.0),
        {"accuracy": float((yes_exact(scores) == y).double().mean())},
    )


def yes_exact(scores: Tensor) -> Tensor:
    """The rule as whole numbers."""
    return (scores > 0).long()
