"""Row 96, hyperparameters by the implicit function theorem: hypergradients of ridge, per-weight decay, distilled digits, noisy labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from hardgrad.reproductions.registry import Measured, Scale, reproduction

TERMS = (0, 5, 20, 100, 500)
GRID = 60
PRUNED = 1e12
"""A decay that leaves nothing of a weight in double precision."""
OUTER_STEPS = 150


@reproduction(
    row=96,
    slug="implicit-hyperparameters",
    title="Optimizing millions of hyperparameters by implicit differentiation",
    venue="AISTATS 2020",
    claim=(
        "Millions of hyperparameters at a few times the cost of training; 1 to 20 Neumann terms suffice; distilled data, an augmentation "
        "network and per-weight decay on CIFAR-10 and an LSTM (exact figures unconfirmed)"
    ),
)
def implicit_hyperparameters(scale: Scale) -> Sequence[Measured]:
    """Measure hypergradients against the exact one, and what they are good for; smoke: one seed, no distillation, no noisy labels."""
    smoke = scale == "smoke"
    measured = [*_series(), *_decays(1 if smoke else 3)]
    if not smoke:
        measured += [*distilled_digits(100), *_noisy_labels()]
    return measured


# --- 1: the series on ridge --------------------------------------------------------------------------------------------------------------
def _series() -> list[Measured]:
    """Ridge with one log-decay a weight, n = 60, d = 30: the Neumann series against its bound, and CG, on two draws."""
    import torch

    from hardgrad.gradients import hypergradient

    errors: dict[int, list[float]] = {terms: [] for terms in TERMS}
    over_bound, conjugate, products = 0.0, 0.0, 0
    step = 0.3
    for draw in range(2):
        generator = torch.Generator().manual_seed(draw)
        X = torch.randn(60, 30, generator=generator, dtype=torch.float64)
        w_true = torch.randn(30, generator=generator, dtype=torch.float64)
        y = X @ w_true + torch.randn(60, generator=generator, dtype=torch.float64)
        X_valid = torch.randn(60, 30, generator=generator, dtype=torch.float64)
        y_valid = X_valid @ w_true
        log_decay = torch.full((30,), math.log(0.1), dtype=torch.float64)
        hessian = X.T @ X / 60 + torch.diag(log_decay.exp())
        w = torch.linalg.solve(hessian, X.T @ y / 60)

        def train(w: Any, lam: Any, X: Any = X, y: Any = y) -> Any:
            return 0.5 * ((X @ w - y) ** 2).mean() + 0.5 * (lam.exp() * w**2).sum()

        def valid(w: Any, lam: Any, X: Any = X_valid, y: Any = y_valid) -> Any:
            return 0.5 * ((X @ w - y) ** 2).mean()

        v = X_valid.T @ (X_valid @ w - y_valid) / 60
        exact_p = torch.linalg.solve(hessian, v)
        exact = -exact_p * log_decay.exp() * w
        rate = float((1 - step * torch.linalg.eigvalsh(hessian)).abs().max())
        for terms in TERMS:
            found = hypergradient(valid, train, w, log_decay, terms=terms, step=step, tol=0.0)
            errors[terms].append(float((found.grads - exact).norm() / exact.norm()))
            bound = rate ** (terms + 1) * float(exact_p.norm())
            # Where the bound is below rounding, rounding is what is allowed.
            allowed = bound + 1e-14 * float(exact_p.norm())
            over_bound = max(over_bound, float((found.adjoint - exact_p).norm()) / allowed)
        by_cg = hypergradient(valid, train, w, log_decay, method="cg", terms=30, tol=1e-13)
        conjugate = max(conjugate, float((by_cg.grads - exact).norm() / exact.norm()))
        products = max(products, by_cg.iterations)
    return [
        Measured.at_most("ridge, error of p over its bound, worst K", over_bound, 1.0),
        *(Measured.reported(f"ridge, relative error at K = {k}, worse draw", max(errors[k])) for k in (0, 5, 20)),
        Measured.at_most("ridge, relative error at K = 100, worse draw", max(errors[100]), 1e-2),
        Measured.at_most("ridge, relative error at K = 500, worse draw", max(errors[500]), 1e-12),
        Measured.at_most("ridge, relative error of CG", conjugate, 1e-8),
        Measured.at_most("ridge, iterations of CG for 30 weights", products, 30),
    ]  # fmt: skip


# --- 2: one decay a weight ---------------------------------------------------------------------------------------------------------------
def _decays(seeds: int) -> list[Measured]:
    """d = 40, 6 relevant weights, 50 training and 200 validation rows: 40 decays against the best single one of a grid."""
    per_weight, single, margins, hardened, pruned = [], [], [], [], []
    for seed in range(seeds):
        test, grid, margin, hard, share = _one_draw_of_decays(seed)
        hardened.append(hard)
        pruned.append(share)
        per_weight.append(test)
        single.append(grid)
        margins.append(margin)
    # The bound is one on the mean of three seeds; of a single one only this is asked: better than the best single decay.
    bound = 0.55 if seeds == 3 else 1.0
    ratio = float(np.mean(per_weight) / np.mean(single))
    return [
        Measured.at_most("test error of 40 decays over that of the best single one, mean", ratio, bound),
        Measured.at_least(
            "log-decay of irrelevant less that of relevant weights, worst seed", min(margins), 2.0
        ),
        Measured.reported("test error of 40 decays, mean", float(np.mean(per_weight))),
        Measured.reported("test error of the best single decay, mean", float(np.mean(single))),
        Measured.reported(
            "test error once weights with a decay above 1 are pruned to 0, mean", float(np.mean(hardened))
        ),
        Measured.reported("share of the irrelevant weights that this prunes, mean", float(np.mean(pruned))),
    ]


def _one_draw_of_decays(seed: int) -> tuple[float, ...]:
    import torch

    from hardgrad.gradients import hypergradient

    rng = np.random.default_rng(seed)
    true = np.where(np.arange(40) < 6, 2.0 * rng.normal(size=40), 0.0)

    def rows(n: int) -> tuple[Any, Any]:
        X = rng.normal(size=(n, 40))
        return torch.from_numpy(X), torch.from_numpy(X @ true + rng.normal(size=n))

    (X, y), (X_valid, y_valid), (X_test, y_test) = rows(50), rows(200), rows(2000)

    def train(w: Any, lam: Any) -> Any:
        return 0.5 * ((X @ w - y) ** 2).mean() + 0.5 * (lam.exp() * w**2).sum()

    def valid(w: Any, lam: Any) -> Any:
        return 0.5 * ((X_valid @ w - y_valid) ** 2).mean()

    def solve(lam: Any) -> Any:
        return torch.linalg.solve(X.T @ X / 50 + torch.diag(lam.exp()), X.T @ y / 50)

    def test(lam: Any) -> float:
        return float(((X_test @ solve(lam) - y_test) ** 2).mean())

    lam = torch.full((40,), -2.0, dtype=torch.float64)
    optimizer = torch.optim.Adam([lam], lr=0.1)
    for _ in range(OUTER_STEPS):
        # The known diagonal, exp(lam), keeps one large decay from setting the step of all directions.
        diagonal = 1.0 + lam.exp()
        found = hypergradient(
            valid, train, solve(lam), lam, terms=20, preconditioner=partial(_divide, diagonal)
        )
        lam.grad = found.grads
        optimizer.step()
        lam.clamp_(-8.0, 6.0)
    grid = [torch.full((40,), value, dtype=torch.float64) for value in np.linspace(-8.0, 6.0, GRID)]
    best = min(grid, key=lambda lam: float(valid(solve(lam), lam)))
    pruned = lam > 0.0
    hardened = torch.where(pruned, math.log(PRUNED), lam)
    margin = float(lam[6:].mean() - lam[:6].mean())
    return test(lam), test(best), margin, test(hardened), float(pruned[6:].double().mean())


# --- 3: distilled digits -----------------------------------------------------------------------------------------------------------------
def distilled_digits(steps: int) -> list[Measured]:
    """Learn 10 images, one a class, so that a linear model trained on them alone recognises the digits."""
    import torch
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    from hardgrad.gradients import hypergradient

    data = load_digits()
    parts = train_test_split(
        data.data / 16.0, data.target, test_size=0.3, random_state=0, stratify=data.target
    )
    X, X_test, y, y_test = (torch.from_numpy(part) for part in parts)
    means = torch.stack([X[y == digit].mean(0) for digit in range(10)])
    labels = torch.arange(10)
    entropy = torch.nn.functional.cross_entropy

    def train(w: Any, images: Any) -> Any:
        return entropy(images @ w["weight"] + w["bias"], labels) + 0.5e-2 * (w["weight"] ** 2).sum()

    def valid(w: Any, images: Any) -> Any:
        return entropy(X @ w["weight"] + w["bias"], y)

    def solve(images: Any, w: Any) -> Any:
        w = {name: value.detach().clone().requires_grad_() for name, value in w.items()}
        optimizer = torch.optim.LBFGS(list(w.values()), max_iter=100, line_search_fn="strong_wolfe")

        def closure() -> Any:
            optimizer.zero_grad()
            loss = train(w, images)
            loss.backward()
            return loss

        optimizer.step(closure)
        return {name: value.detach() for name, value in w.items()}

    def accuracy(images: Any) -> float:
        w = solve(images, zero)
        return float(((X_test @ w["weight"] + w["bias"]).argmax(1) == y_test).double().mean())

    zero = {"weight": torch.zeros(64, 10, dtype=X.dtype), "bias": torch.zeros(10, dtype=X.dtype)}
    images, w = means.clone(), zero
    optimizer = torch.optim.Adam([images], lr=0.05)
    for _ in range(steps):
        w = solve(images, w)
        found = hypergradient(valid, train, w, images, terms=20)
        images.grad = found.grads
        optimizer.step()
    learned, of_means = accuracy(images), accuracy(means)
    return [
        Measured.at_least("digits, test accuracy of a model trained on 10 learned images", learned, 0.93),
        Measured.at_least("digits, gain over the 10 class means", learned - of_means, 0.02),
    ]


# --- 4: noisy labels ---------------------------------------------------------------------------------------------------------------------
def _divide(diagonal: Any, v: Any) -> Any:
    return v / diagonal


def _noisy_labels() -> list[Measured]:
    """Digits, 40 % of the training labels replaced: one weight a training example, from 377 clean images, 20 outer steps."""
    import torch
    from sklearn.datasets import load_digits
    from sklearn.metrics import roc_auc_score

    from hardgrad.gradients import hypergradient

    data = load_digits()
    areas: list[float] = []
    weighted: list[float] = []
    dropped: list[float] = []
    for seed in range(2):
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(data.target))
        train_rows, valid_rows = order[:1000], order[1000:1377]
        labels = data.target[train_rows].copy()
        noisy = rng.random(1000) < 0.4
        labels[noisy] = (labels[noisy] + rng.integers(1, 10, noisy.sum())) % 10
        X, X_valid = (torch.from_numpy(data.data[rows] / 16.0) for rows in (train_rows, valid_rows))
        y, y_valid = torch.from_numpy(labels), torch.from_numpy(data.target[valid_rows])
        weight = _example_weights(X, y, X_valid, y_valid, hypergradient)
        areas.append(float(roc_auc_score(noisy, -weight.numpy())))
        test_rows = order[1377:]
        X_test, y_test = torch.from_numpy(data.data[test_rows] / 16.0), data.target[test_rows]
        soft = torch.sigmoid(weight)
        for accuracies, share in ((weighted, soft), (dropped, (soft >= 0.5).to(soft.dtype))):
            w = _weighted_fit(X, y, share)
            accuracies.append(float(((X_test @ w).argmax(1).numpy() == y_test).mean()))
    return [
        Measured.at_least("noisy labels, AUC of the learned weights, worse seed", min(areas), 0.93),
        Measured.reported("noisy labels, test accuracy with the learned weights, mean", float(np.mean(weighted))),
        Measured.reported("noisy labels, the same once weights below 1/2 are dropped and others 1", float(np.mean(dropped))),
    ]  # fmt: skip


def _weighted_loss(w: Any, X: Any, y: Any, share: Any) -> Any:
    import torch

    each = torch.nn.functional.cross_entropy(X @ w, y, reduction="none")
    return (share * each).mean() + 0.5e-2 * (w**2).sum()


def _weighted_fit(X: Any, y: Any, share: Any, start: Any = None) -> Any:
    """Return the weights [64, 10] of a linear model of weighted rows."""
    import torch

    w = (torch.zeros(64, 10, dtype=X.dtype) if start is None else start.detach().clone()).requires_grad_()
    optimizer = torch.optim.LBFGS([w], max_iter=50, line_search_fn="strong_wolfe")

    def closure() -> Any:
        optimizer.zero_grad()
        loss = _weighted_loss(w, X, y, share)
        loss.backward()
        return loss

    optimizer.step(closure)
    return w.detach()


def _example_weights(X: Any, y: Any, X_valid: Any, y_valid: Any, hypergradient: Any) -> Any:
    import torch

    def train(w: Any, lam: Any) -> Any:
        return _weighted_loss(w, X, y, torch.sigmoid(lam))

    def valid(w: Any, lam: Any) -> Any:
        return torch.nn.functional.cross_entropy(X_valid @ w, y_valid)

    w = None
    lam = torch.zeros(len(y), dtype=X.dtype)
    outer = torch.optim.Adam([lam], lr=0.5)
    for _ in range(20):
        w = _weighted_fit(X, y, torch.sigmoid(lam), w)
        lam.grad = hypergradient(valid, train, w.requires_grad_(), lam, terms=20).grads
        outer.step()
    return lam
