"""Row 34, NeuralNDCG: a ranking metric trained through relaxed sorting, against other list losses on synthetic lists and clicks."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.reproductions.registry import Measured, Scale, reproduction

Floats = NDArray[np.float64]
ITEMS, FEATURES = 30, 10
TEMPERATURES = (0.1, 0.5, 1.0)
CUTOFF = 10


@reproduction(
    row=34,
    slug="neural-ndcg",
    title="NeuralNDCG: Direct Optimisation of a Ranking Metric via Differentiable Relaxation of Sorting",
    venue="arXiv 2021 (SIGIR eCom workshop recalled)",
    claim=(
        "Outperforms ApproxNDCG and is competitive with LambdaRank and LambdaLoss on MSLR-WEB30K and Istella, NDCG@5 and @10 (exact table "
        "figures unconfirmed; here: synthetic lists of 30 items)"
    ),
)
def neural_ndcg(scale: Scale) -> Sequence[Measured]:
    """Train the same network with five losses; full: 300 lists, 400 steps, 3 seeds; smoke: 100 lists, 30 steps, 1 seed."""
    smoke = scale == "smoke"
    seeds = range(1 if smoke else 3)
    graded = [_compare(_graded(seed, smoke), seed, smoke, _graded_losses()) for seed in seeds]
    clicks = [_compare(_clicks(seed, smoke), seed, smoke, _click_losses()) for seed in seeds]
    return [*_identities(), *_graded_figures(graded, smoke), *_click_figures(clicks, smoke)]


def _identities() -> list[Measured]:
    import torch

    from hardgrad.losses import NeuralNDCGLoss, exact

    scores = torch.tensor([[0.5, 2.0, -1.0, 1.0]], dtype=torch.float64)
    relevance = torch.tensor([[3.0, 1.0, 0.0, 2.0]], dtype=torch.float64)

    def off(expected: float, **settings: Any) -> float:
        return abs(-float(NeuralNDCGLoss(**settings)(scores, relevance)) - expected)

    worst = max(
        off(0.719894, temperature=1.0), off(0.769721, temperature=1.0, sinkhorn_iters=0), off(0.680983, temperature=0.1)
    )  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    many = torch.randn(8, 12, dtype=torch.float64, generator=generator)
    grades = torch.randint(0, 5, (8, 12), generator=generator)
    pair = [float(NeuralNDCGLoss(k=5, transposed=flag)(many, grades)) for flag in (False, True)]
    cold = -float(NeuralNDCGLoss(temperature=1e-3)(scores, relevance))
    return [
        Measured.at_most("example of the sheet, worst error", worst, 1e-6),
        Measured.at_most("transposed form, difference", abs(pair[0] - pair[1]), 1e-10),
        Measured.at_most(
            "gap to exact NDCG at temperature 0.001",
            abs(cold - float(exact.ndcg(scores[0], relevance[0]))),
            1e-6,
        ),
    ]


# Lists.
@dataclass(frozen=True)
class _Task:
    """Rows of training and test lists, each of 30 items."""

    X: Floats
    y: Floats
    X_test: Floats
    y_test: Floats


def _scores(seed: int, lists: int) -> tuple[np.random.Generator, Floats, Floats]:
    """Features and noisy scores: linear plus tanh.

    The paper's data are not at hand. The signal is as strong as gives the level of NDCG@10 (0.92 and 0.95) at which the bounds were set.
    """
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(lists, ITEMS, FEATURES))
    linear, bent = 0.6 * rng.normal(size=(2, FEATURES))
    clean = X @ linear + np.tanh(X @ bent)
    return rng, X, clean + 0.7 * rng.normal(size=clean.shape)


def _split(X: Floats, y: Floats, training: int) -> _Task:
    rows = X.reshape(-1, FEATURES), y.reshape(-1)
    cut = training * ITEMS
    return _Task(rows[0][:cut], rows[1][:cut], rows[0][cut:], rows[1][cut:])


def _graded(seed: int, smoke: bool) -> _Task:
    training, test = (100, 100) if smoke else (300, 500)
    _, X, scores = _scores(seed, training + test)
    share = scores.argsort(axis=1).argsort(axis=1) / ITEMS
    return _split(X, np.floor(5.0 * share**2), training)


def _clicks(seed: int, smoke: bool) -> _Task:
    training, test = (100, 100) if smoke else (300, 500)
    rng, X, scores = _scores(seed, training + test)
    offset = 2.0 * rng.normal(size=(len(X), 1)) * scores.std()
    return _split(X, (scores + offset > scores.std()).astype(np.float64), training)


# Losses.
def _graded_losses() -> dict[str, Callable[[], Any]]:
    from hardgrad.losses import ApproxNDCGLoss

    approximate = {f"approx {t:g}": (lambda t=t: ApproxNDCGLoss(temperature=t)) for t in TEMPERATURES}
    return {**_click_losses(), **approximate}


def _click_losses() -> dict[str, Callable[[], Any]]:
    from hardgrad.losses import ListNetLoss, NeuralNDCGLoss

    return {"neural": NeuralNDCGLoss, "list": ListNetLoss, "mse": _squared_loss}


def _squared_loss() -> Any:
    import torch

    class SquaredLoss(torch.nn.Module):
        def forward(self, scores: Any, relevance: Any, mask: Any, weight: Any) -> Any:
            return ((scores - relevance) ** 2).mean()

    return SquaredLoss()


def _compare(task: _Task, seed: int, smoke: bool, losses: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Return the exact NDCG@10 on the test lists for each loss."""
    from hardgrad.tabular import NeuralRanker

    found = {}
    for name, make in losses.items():
        ranker = NeuralRanker(
            make(), max_iter=30 if smoke else 400, learning_rate=5e-3, k=CUTOFF, random_state=seed
        )
        ranker.fit(task.X, task.y, group=_groups(task.y))
        found[name] = ranker.score(task.X_test, task.y_test, group=_groups(task.y_test))
    if not smoke and importlib.util.find_spec("lightgbm"):
        found["lightgbm"] = _lambdarank(task, seed)
    return found


def _groups(y: Floats) -> list[int]:
    return [ITEMS] * (len(y) // ITEMS)


def _lambdarank(task: _Task, seed: int) -> float:
    import lightgbm

    from hardgrad.losses import exact

    model = lightgbm.LGBMRanker(
        objective="lambdarank", n_estimators=100, num_leaves=15, learning_rate=0.1, n_jobs=1, random_state=seed, verbosity=-1
    )  # fmt: skip
    model.fit(task.X, task.y, group=_groups(task.y))
    y = task.y_test.reshape(-1, ITEMS)
    each = exact.ndcg(np.asarray(model.predict(task.X_test)).reshape(y.shape), y, CUTOFF)
    return float(each[y.any(axis=1)].mean())


# Figures.
def _mean(found: list[dict[str, float]], name: str) -> float:
    return float(np.mean([seed[name] for seed in found]))


def _graded_figures(found: list[dict[str, float]], smoke: bool) -> list[Measured]:
    neural, approx = _mean(found, "neural"), max(_mean(found, f"approx {t:g}") for t in TEMPERATURES)
    least = -0.05 if smoke else 0.001
    figures = [
        Measured.reported("grades: NDCG@10 of NeuralNDCG", neural),
        Measured.at_least("grades: NeuralNDCG less the best of three ApproxNDCG", neural - approx, least),
        Measured.at_least(
            "grades: NeuralNDCG less ListNet", neural - _mean(found, "list"), -0.05 if smoke else -0.01
        ),
        Measured.at_least(
            "grades: NeuralNDCG less squared error", neural - _mean(found, "mse"), -0.05 if smoke else -0.01
        ),
    ]
    return figures + _lightgbm_figure("grades", found)


def _click_figures(found: list[dict[str, float]], smoke: bool) -> list[Measured]:
    neural = _mean(found, "neural")
    figures = [
        Measured.reported("clicks: NDCG@10 of NeuralNDCG", neural),
        Measured.at_least(
            "clicks: NeuralNDCG less squared error", neural - _mean(found, "mse"), -0.02 if smoke else 0.012
        ),
        Measured.at_least(
            "clicks: NeuralNDCG less ListNet", neural - _mean(found, "list"), -0.02 if smoke else -0.004
        ),
    ]
    return figures + _lightgbm_figure("clicks", found)


def _lightgbm_figure(setting: str, found: list[dict[str, float]]) -> list[Measured]:
    if "lightgbm" not in found[0]:
        return []
    return [Measured.reported(f"{setting}: NDCG@10 of LightGBM's lambdarank", _mean(found, "lightgbm"))]
