"""Row 1, a decision tree based neural Turing machine: writes as gradient steps, shared responses, and labels absorbed without training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.reproductions.registry import Measured, Scale, reproduction
from hardgrad.reproductions.river_baselines import river_accuracies

Floats = NDArray[np.float64]
Split = tuple[
    Floats, NDArray[np.int64], Floats, NDArray[np.int64]
]  # rows and labels to learn from, and to test on
TREES, DEPTH, EPOCHS = 32, 5, 40
SHARED = (64, 16)
CHUNKS = 10
FIRST = 2  # chunks that the router is trained on


@reproduction(
    row=1,
    slug="response-memory",
    title="A short note on the decision tree based neural turing machine",
    venue="arXiv 2020 (theory note without experiments)",
    claim=(
        "A differentiable forest is a special case of a neural Turing machine: an address, a read and a write (structural, no figures). "
        "Shared responses and running means are this library's own; digits, exact routes and slots"
    ),
)
def response_memory(scale: Scale) -> Sequence[Measured]:
    """Check the identity, share responses, write a stream; full: 3 seeds, 40 epochs; smoke: 1 seed, 10 epochs, 8 trees."""
    smoke = scale == "smoke"
    seeds = range(1 if smoke else 3)
    figures = [*_identity(), *_shared_figures([_share(seed, smoke) for seed in seeds], smoke)]
    figures += _online_figures([_stream(seed, smoke) for seed in seeds], smoke)
    if not smoke:
        figures += [
            Measured.reported(f"stream: accuracy of {name}", value)
            for name, value in river_accuracies(*_digits(0)).items()
        ]
    return figures


# A gradient step is a write.
def _identity() -> list[Measured]:
    import torch

    bounds = ((torch.float32, 1e-6), (torch.float64, 1e-12))
    return [
        Measured.at_most(
            f"gradient step and write apart, {str(dtype).removeprefix('torch.')}", _apart(dtype), bound
        )
        for dtype, bound in bounds
    ]


def _apart(dtype: Any) -> float:
    """Return the largest difference, over 20 examples, between a step of gradient descent on the responses and the write it equals."""
    import torch

    from hardgrad.trees import MemoryForest, ResponseMemory, SoftForest

    generator = torch.Generator().manual_seed(0)
    controller = SoftForest(6, 3, 3, 3, temperature=0.5)
    with torch.no_grad():
        controller.weight.normal_(generator=generator)
        controller.offset.normal_(generator=generator)
    forest = MemoryForest(controller, ResponseMemory(24, 3, generator=generator)).to(dtype)
    worst, rate = 0.0, 0.3
    for _ in range(20):
        x, y = (torch.randn(1, size, dtype=dtype, generator=generator) for size in (6, 3))
        bank: Any = forest.memory.for_training().bank
        said = forest(x)
        (slope,) = torch.autograd.grad(0.5 * (said - y).square().sum(), bank)
        stepped = bank.detach() - rate * slope
        memory = forest.memory.for_writing()
        memory.write(
            forest.address(x)[0].detach(), torch.zeros(3, dtype=dtype), -rate * (said - y)[0].detach()
        )
        worst = max(worst, float((memory.bank - stepped).abs().max()))
    return worst


# Digits.
def _digits(seed: int) -> Split:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.25, stratify=y, random_state=seed)
    return X_train, y_train, X_test, y_test


def _trained(X: Floats, y: NDArray[np.int64], seed: int, smoke: bool, n_slots: int | None = None) -> Any:
    from hardgrad.trees import MemoryForest

    forest = MemoryForest.for_table(
        X, y, task="classification", n_trees=8 if smoke else TREES, depth=DEPTH, n_slots=n_slots, random_state=seed
    )  # fmt: skip
    return forest.fit(X, y, epochs=10 if smoke else EPOCHS, random_state=seed)


def _share(seed: int, smoke: bool) -> dict[str, float]:
    """Train with a row a leaf and with shared slots; return accuracies of the exact forests, gaps, and what sharing saves."""
    X, y, X_test, y_test = _digits(seed)
    found: dict[str, float] = {}
    for slots in (None, *SHARED):
        forest = _trained(X, y, seed, smoke, slots)
        gap, saved = forest.measure_gap(X_test, y_test), forest.compression()
        found |= {
            f"hard {slots}": gap.hard,
            f"gap {slots}": gap.gap,
            f"worst {slots}": gap.worst_disagreement,
        }
        # Every slot is counted, also one that no leaf reads.
        found |= {
            f"fewer {slots}": saved.leaves / (slots or saved.leaves),
            f"bytes {slots}": saved.byte_ratio,
        }
    return found


def _stream(seed: int, smoke: bool) -> dict[str, float]:
    """Train the router on the first chunks of shuffled rows, then write all chunks as running means; compare with a refit by gradients."""
    X, y, X_test, y_test = _digits(seed)
    order = np.random.default_rng(seed).permutation(len(y))
    chunks = np.array_split(order, CHUNKS)
    first = np.concatenate(chunks[:FIRST])
    forest = _trained(X[first], y[first], seed, smoke)
    own = float((forest.predict(X_test) == y_test).mean())
    refitted = forest.from_model(forest.to_model())
    refitted.fit(X, y, epochs=10 if smoke else EPOCHS, train_router=False, random_state=seed)
    for chunk in chunks:
        forest.partial_fit(X[chunk], y[chunk])
    return {
        "own": own,
        "refit": float((refitted.predict(X_test) == y_test).mean()),
        "written": float((forest.predict(X_test) == y_test).mean()),
    }


# Figures.
def _mean(found: list[dict[str, float]], name: str) -> float:
    return float(np.mean([seed[name] for seed in found]))


def _shared_figures(found: list[dict[str, float]], smoke: bool) -> list[Measured]:
    alone = _mean(found, "hard None")
    figures = [Measured.reported("accuracy of the exact forest, a row for each leaf", alone)]
    for slots in SHARED:
        drop = alone - _mean(found, f"hard {slots}")
        figures += [
            Measured.at_most(f"{slots} shared slots: accuracy lost", drop, 0.3 if smoke else 0.01),
            Measured.at_least(
                f"{slots} shared slots: times fewer response values",
                _mean(found, f"fewer {slots}"),
                4 if smoke else 10,
            ),
            Measured.reported(
                f"{slots} shared slots: times fewer bytes, with a small integer a leaf for the slot",
                _mean(found, f"bytes {slots}"),
            ),
            Measured.reported(
                f"{slots} shared slots: accuracy of the exact forest", _mean(found, f"hard {slots}")
            ),
        ]
    figures += [
        Measured.reported(
            f"soft less hard accuracy, {slots or 'a row for each leaf'}", _mean(found, f"gap {slots}")
        )
        for slots in (None, *SHARED)
    ]
    return [
        *figures,
        Measured.reported("largest difference of soft and hard outputs", max(s["worst None"] for s in found)),
    ]


def _online_figures(found: list[dict[str, float]], smoke: bool) -> list[Measured]:
    written, refit, own = (_mean(found, name) for name in ("written", "refit", "own"))
    return [
        Measured.at_least(
            "stream: running means, share of the accuracy of a refit", written / refit, 0.8 if smoke else 0.96
        ),
        Measured.at_least(
            "stream: running means less the model of the first 20 %", written - own, -0.2 if smoke else 1e-9
        ),
        Measured.reported("stream: accuracy of running means", written),
        Measured.reported("stream: accuracy of a refit by gradients", refit),
        Measured.reported("stream: accuracy of the model of the first 20 %", own),
    ]
