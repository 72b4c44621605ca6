"""Row 30, class-incremental mixture of experts: digits class by class in one pass, without replay, beside simpler streaming models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.reproductions.registry import Measured, Scale, reproduction
from hardgrad.reproductions.river_baselines import river_accuracies

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
ORDERS = 3
BATCH = 10
EXPERTS, NEIGHBOURS, FEATURES = 64, 8, 512
UNROUTED = 32  # experts that all vote on every row
RATES = (1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3)  # of softmax regression


@reproduction(
    row=30,
    slug="streaming-experts",
    title=(
        "Domain-Agnostic Neural Architecture for Class Incremental Continual Learning in Document Processing Platform"
    ),
    venue="ICCS 2023",
    claim=(
        "Best average accuracy without replay on streams of MNIST, CIFAR-10/100 features, BBC news, Amazon reviews and speech commands "
        "(figures unconfirmed; here: digits, class by class). Most of the gain comes from moving only the label's own row of weights, by "
        "signs; class means are a strong baseline"
    ),
)
def streaming_experts(scale: Scale) -> Sequence[Measured]:
    """Learn ten digits one after the other in several orders; full: 3 orders, all rows; smoke: 1 order, every fourth row."""
    task = _digits(every=4 if scale == "smoke" else 1)
    orders = [_order(number) for number in range(1 if scale == "smoke" else ORDERS)]
    found = [_run(task, order, number) for number, order in enumerate(orders)]
    return _figures(found, smoke=scale == "smoke") + [
        Measured.reported(f"accuracy of {name}, classes in order", value)
        for name, value in (river_accuracies(*_in_order(task, orders[0])) if scale == "full" else {}).items()
    ]


# Streams.
@dataclass(frozen=True)
class _Task:
    """Rows to learn from, in a stream, and rows to test on."""

    X: Floats
    y: Ints
    X_test: Floats
    y_test: Ints


def _digits(every: int) -> _Task:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    X, y = load_digits(return_X_y=True)
    parts = train_test_split(X, y, test_size=0.25, stratify=y, random_state=0)
    X_train, X_test, y_train, y_test = parts
    return _Task(X_train[::every], y_train[::every], X_test, y_test)


def _order(number: int) -> Ints:
    return np.arange(10) if number == 0 else np.random.default_rng(number).permutation(10)


def _in_order(task: _Task, order: Ints) -> tuple[Floats, Ints, Floats, Ints]:
    rows = np.concatenate([np.flatnonzero(task.y == label) for label in order])
    return task.X[rows], task.y[rows], task.X_test, task.y_test


def _batches(y: Ints, order: Ints) -> list[Ints]:
    """Row numbers of each step: a batch never holds two classes."""
    return [
        rows[first : first + BATCH]
        for rows in (np.flatnonzero(y == label) for label in order)
        for first in range(0, len(rows), BATCH)
    ]


# Models.
def _run(task: _Task, order: Ints, seed: int) -> dict[str, float]:
    """Learn one stream with every model and return accuracies on the test rows."""
    model, after = _learn(task, order, seed)
    gap = model.measure_gap(task.X_test, task.y_test)
    final = _by_class(model, task)
    forgotten = [after[label] - final[label] for label in order[:-1].tolist()]
    grown, _ = _learn(task, order, seed, decoupled_decay=False)
    unrouted, _ = _learn(task, order, seed, n_experts=UNROUTED, n_neighbours=UNROUTED)
    hard = model.harden()
    seen, asked = hard.represent(task.X), hard.represent(task.X_test)
    return {
        "soft": gap.soft,
        "hard": gap.hard,
        "exact choice": gap.detail["exact_choice"],
        "worst share": gap.detail["worst_share"],
        "forgetting": float(np.mean(forgotten)),
        "decay added": grown.measure_gap(task.X_test, task.y_test).soft,
        "no routing": unrouted.measure_gap(task.X_test, task.y_test).soft,
        "changed": _changed_by_a_new_class(task, order, seed),
        **_baselines(task, order, seed, seen, asked),
    }


def _learn(task: _Task, order: Ints, seed: int, **options: Any) -> tuple[Any, dict[int, float]]:
    """Return a classifier after the stream, and the accuracy on each class when it had just been learned."""
    from hardgrad.trees import StreamingExpertClassifier

    settings: dict[str, Any] = {"n_experts": EXPERTS, "n_neighbours": NEIGHBOURS, **options}
    model = StreamingExpertClassifier(
        key_dim=FEATURES, learning_rate=1e-2, temperature=0.05, random_state=seed, **settings
    )
    after: dict[int, float] = {}
    for rows in _batches(task.y, order):
        label = int(task.y[rows[0]])
        model.partial_fit(task.X[rows], task.y[rows])
        if rows[-1] == np.flatnonzero(task.y == label)[-1]:
            after[label] = _by_class(model, task)[label]
    return model, after


def _by_class(model: Any, task: _Task) -> dict[int, float]:
    right = model.predict(task.X_test) == task.y_test
    return {label: float(right[task.y_test == label].mean()) for label in range(10)}


def _changed_by_a_new_class(task: _Task, order: Ints, seed: int) -> float:
    """Learn five classes and one batch of a sixth; count the stored weights of the five that changed."""
    from hardgrad.trees import StreamingExpertClassifier

    model = StreamingExpertClassifier(EXPERTS, NEIGHBOURS, key_dim=FEATURES, random_state=seed)
    model.partial_fit(task.X[:1], task.y[:1], classes=order[:5])
    for rows in _batches(task.y, order[:5]):
        model.partial_fit(task.X[rows], task.y[rows])
    before = model.harden()
    new = np.flatnonzero(task.y == order[5])[:BATCH]
    after = model.partial_fit(task.X[new], task.y[new]).harden()
    old = [after.classes.index(label) for label in before.classes]
    return float((after.weight[:, old] != before.weight).sum())


def _baselines(task: _Task, order: Ints, seed: int, seen: Floats, asked: Floats) -> dict[str, float]:
    """Return accuracies of models that see the same features, in the same order."""
    from sklearn.naive_bayes import GaussianNB

    bayes = GaussianNB()
    stream = _batches(task.y, order)
    for rows in stream:
        bayes.partial_fit(seen[rows], task.y[rows], classes=np.arange(10))
    means = np.stack([seen[task.y == label].mean(axis=0) for label in range(10)])
    far = ((asked[:, None] - means) ** 2).sum(axis=2)

    def softmax(batches: list[Ints], rate: float) -> float:
        return float(
            (_softmax_scores(seen, task.y, asked, batches, rate).argmax(axis=1) == task.y_test).mean()
        )

    shuffled = np.random.default_rng(seed).permutation(len(task.y))
    mixed = [shuffled[first : first + BATCH] for first in range(0, len(shuffled), BATCH)]
    usual = max(RATES, key=lambda rate: softmax(mixed, rate))
    return {
        "bayes": float((bayes.predict(asked) == task.y_test).mean()),
        "means": float((far.argmin(axis=1) == task.y_test).mean()),
        "naive": softmax(stream, usual),
        "shuffled": softmax(mixed, usual),
        "hindsight": max(softmax(stream, rate) for rate in RATES),
    }


def _softmax_scores(seen: Floats, y: Ints, asked: Floats, batches: list[Ints], rate: float) -> Floats:
    """Return the scores of softmax regression after one pass of gradient descent."""
    weight, bias = np.zeros((10, seen.shape[1])), np.zeros(10)
    for rows in batches:
        score = seen[rows] @ weight.T + bias
        share = np.exp(score - score.max(axis=1, keepdims=True))
        slope = (share / share.sum(axis=1, keepdims=True) - np.eye(10)[y[rows]]) / len(rows)
        weight -= rate * slope.T @ seen[rows]
        bias -= rate * slope.sum(axis=0)
    return asked @ weight.T + bias


# Figures.
def _figures(found: list[dict[str, float]], smoke: bool) -> list[Measured]:
    mean = {name: float(np.mean([one[name] for one in found])) for name in found[0]}
    soft = [one["soft"] for one in found]
    furthest = max(abs(one["soft"] - one["hard"]) for one in found)
    return [
        Measured.at_least(
            "accuracy of the experts, mean of the orders", mean["soft"], 0.6 if smoke else 0.87
        ),
        Measured.at_least(
            "experts less naive softmax regression", mean["soft"] - mean["naive"], 0.2 if smoke else 0.45
        ),
        Measured.at_most(
            "naive softmax regression, at the rate that is best for shuffled rows",
            mean["naive"],
            0.6 if smoke else 0.45,
        ),
        Measured.at_most(
            "nearest class mean less experts", mean["means"] - mean["soft"], 0.2 if smoke else 0.015
        ),
        Measured.at_most(
            "soft and exact choice of experts apart, worst order", furthest, 0.1 if smoke else 0.01
        ),
        Measured.at_most("largest change by the order of classes", max(soft) - min(soft), 0.06),
        Measured.exactly(
            "stored weights of other classes that a new class changed", sum(o["changed"] for o in found), 0
        ),
        Measured.reported("accuracy of the hard model: k nearest keys, sign counts", mean["hard"]),
        Measured.reported("accuracy of the exact choice before weights are rounded", mean["exact choice"]),
        Measured.reported(
            "largest difference of a soft share and the exact one", max(o["worst share"] for o in found)
        ),
        Measured.reported("accuracy forgotten, mean of the first nine classes", mean["forgetting"]),
        Measured.reported("accuracy with the decay added, as published", mean["decay added"]),
        Measured.reported("accuracy without routing, 32 experts", mean["no routing"]),
        Measured.reported("the same on shuffled rows", mean["shuffled"]),
        Measured.reported("naive softmax regression, at the rate that is best here", mean["hindsight"]),
        Measured.reported("accuracy of nearest class mean", mean["means"]),
        Measured.reported("accuracy of Gaussian naive Bayes", mean["bayes"]),
    ]
