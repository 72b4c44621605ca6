"""Families of small classification tasks, and the exact teacher whose splits a network learns to name. Never imports torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class TaskBatch:
    """Tasks of one shape.

    Parameters
    ----------
    X : features [tasks, rows, columns].
    y : class numbers [tasks, rows], with noise.
    X_test, y_test : rows to be judged on, without noise.
    """

    X: Floats
    y: Ints
    X_test: Floats
    y_test: Ints


TaskSampler = Callable[[np.random.Generator, int], TaskBatch]


def xor_tasks(
    rng: np.random.Generator, tasks: int, *, rows: int = 96, columns: int = 6, flips: float = 0.15
) -> TaskBatch:
    """Draw tasks whose label is the exclusive or of two thresholded columns of uniform numbers: no single split helps.

    Parameters
    ----------
    rows, columns : of each task; as many rows again, times four, are for testing.
    flips : share of the training labels that are wrong.
    """
    X = rng.random((tasks, 5 * rows, columns))
    pair = np.argsort(rng.random((tasks, columns)), axis=1)[:, :2]
    threshold = rng.uniform(0.3, 0.7, (tasks, 1, 2))
    bits = np.take_along_axis(X, pair[:, None, :].repeat(5 * rows, axis=1), axis=2) > threshold
    return _noisy(rng, X, (bits[..., 0] ^ bits[..., 1]).astype(np.int64), rows, flips)


def linear_tasks(
    rng: np.random.Generator, tasks: int, *, rows: int = 96, columns: int = 6, flips: float = 0.15
) -> TaskBatch:
    """Draw tasks whose label is the side of a hyperplane through uniform numbers; arguments as of `xor_tasks`."""
    X = rng.random((tasks, 5 * rows, columns))
    direction = rng.normal(size=(tasks, 1, columns))
    side = ((X - 0.5) * direction).sum(axis=2) > 0
    return _noisy(rng, X, side.astype(np.int64), rows, flips)


def tree_tasks(
    rng: np.random.Generator,
    tasks: int,
    *,
    rows: int = 96,
    columns: int = 6,
    flips: float = 0.15,
    classes: int = 4,
) -> TaskBatch:
    """Draw tasks whose label is the leaf of a random tree of depth two, each leaf one of up to `classes` classes; else as `xor_tasks`."""
    X = rng.random((tasks, 5 * rows, columns))
    feature = rng.integers(columns, size=(tasks, 1, 3))
    threshold = rng.uniform(0.3, 0.7, (tasks, 1, 3))
    right = np.take_along_axis(X, feature.repeat(5 * rows, axis=1), axis=2) > threshold
    leaf = np.where(right[..., 0], 2 + right[..., 2], right[..., 1])
    label = rng.integers(rng.integers(2, classes + 1, size=(tasks, 1)), size=(tasks, 4))
    label[:, :2] = np.arange(2)  # no task of a single class
    return _noisy(rng, X, np.take_along_axis(label, leaf.astype(np.int64), axis=1), rows, flips)


def mixed_tasks(rng: np.random.Generator, tasks: int, **shape: int) -> TaskBatch:
    """Draw half of the tasks from `xor_tasks` and half from `linear_tasks`."""
    return _joined(xor_tasks(rng, tasks // 2, **shape), linear_tasks(rng, tasks - tasks // 2, **shape))


def varied_tasks(rng: np.random.Generator, tasks: int) -> TaskBatch:
    """Draw tasks of one random shape from all three families: what the packaged checkpoint has seen."""
    shape = {"rows": int(rng.integers(48, 129)), "columns": int(rng.integers(2, 9))}
    third = tasks // 3
    parts = (
        xor_tasks(rng, third, **shape), linear_tasks(rng, third, **shape), tree_tasks(rng, tasks - 2 * third, **shape),
    )  # fmt: skip
    return _joined(*parts)


def _joined(*parts: TaskBatch) -> TaskBatch:
    return TaskBatch(
        *(np.concatenate(same) for same in zip(*(vars(part).values() for part in parts), strict=True))
    )


def _noisy(rng: np.random.Generator, X: Floats, y: Ints, rows: int, flips: float) -> TaskBatch:
    flipped = rng.random((len(y), rows)) < flips
    shift = rng.integers(1, np.maximum(y.max(1, keepdims=True), 1) + 1, size=(len(y), rows))
    noisy = np.where(flipped, (y[:, :rows] + shift) % (y.max(1, keepdims=True) + 1), y[:, :rows])
    return TaskBatch(X[:, :rows], noisy, X[:, rows:], y[:, rows:])


# --- teachers --------------------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class TeacherTree:
    """The exact tree of depth two of each task of a batch, over quantile cuts; a side that nothing improves repeats the root's split.

    Parameters
    ----------
    feature, threshold : [tasks, 3], of the root, of the node on its left and of the node on its right.
    errors : training rows that the tree gets wrong [tasks].
    """

    feature: Ints
    threshold: Floats
    errors: Ints


def exact_depth_two(X: Floats, y: Ints, *, cuts: int = 24) -> TeacherTree:
    """Return the tree of depth two with the fewest training errors, by counting all pairs of cuts at once.

    Parameters
    ----------
    X : [tasks, rows, columns]; y : class numbers [tasks, rows].
    cuts : quantile cuts of a column that are tried.
    """
    tasks, rows, columns = X.shape
    level = np.linspace(0, 1, cuts + 2)[1:-1]
    ordered = np.sort(X, axis=1)
    place = np.minimum((level * (rows - 1)).astype(np.int64), rows - 2)
    threshold = (ordered[:, place] + ordered[:, place + 1]) / 2  # [tasks, cuts, columns]
    left = (X[:, :, None, :] <= threshold[:, None]).reshape(tasks, rows, -1).astype(np.float32)
    one_hot = np.eye(int(y.max()) + 1, dtype=np.float32)[y]
    total = one_hot.sum(axis=1)  # [tasks, classes]
    below = np.einsum("tna,tnk->tak", left, one_hot)
    both = np.stack(
        [left.transpose(0, 2, 1) @ (left * one_hot[..., k : k + 1]) for k in range(one_hot.shape[2])], axis=-1
    )
    on_left = below.sum(-1)[:, :, None] - both.max(-1) - (below[:, :, None] - both).max(-1)
    rest = total[:, None] - below
    across = below[:, None] - both  # right of the root's cut, left of the child's
    on_right = rest.sum(-1)[:, :, None] - across.max(-1) - (rest[:, :, None] - across).max(-1)
    root = (on_left.min(2) + on_right.min(2)).argmin(1)
    task = np.arange(tasks)
    chosen = np.stack([root, on_left[task, root].argmin(1), on_right[task, root].argmin(1)], axis=1)
    errors = on_left[task, root].min(1) + on_right[task, root].min(1)
    flat = threshold.reshape(tasks, -1)
    return TeacherTree(
        chosen % columns, np.take_along_axis(flat, chosen, axis=1), errors.round().astype(np.int64)
    )


Teacher = Callable[[Floats, Ints], TeacherTree]
