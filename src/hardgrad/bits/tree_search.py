"""The best binary tree over a sentence, exact: Cocke-Younger-Kasami with maxima, all sentences of a batch at once. Never imports torch."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import InputError

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class CodedTree(NamedTuple):
    """A binary tree whose spans carry codes.

    Parameters
    ----------
    spans : int64 [2 n - 1, 2], first word and the one after the last, parents before children, left before right.
    codes : bool [2 n - 1, bits], one row a span.
    score : of the tree with its codes.
    """

    spans: Ints
    codes: NDArray[np.bool_]
    score: float


def best_trees(span_scores: Any, lengths: Any = None) -> tuple[list[Ints], Floats]:
    """Return the binary tree of largest score over each sentence; of equal ones the tree whose left parts are shorter, from the root down.

    Parameters
    ----------
    span_scores : finite [B, L, L]; cell [i, j] is the score of the span of words i to j, both inside it. Cells with i > j, and those
        beyond the length of a sentence, are not looked at.
    lengths : [B], words in each sentence, 1 to L; by default all have L.

    Returns
    -------
    spans, scores : int64 [2 n - 1, 2] for each sentence, as in `CodedTree`, and float64 [B].

    Raises
    ------
    InputError : another shape, NaN or infinity, a length outside 1 .. L.

    Examples
    --------
    >>> spans, scores = best_trees([[[0, 5, 1], [0, 0, 2], [0, 0, 0]]])
    >>> spans[0].tolist(), scores.tolist()
    ([[0, 3], [0, 2], [0, 1], [1, 2], [2, 3]], [6.0])
    """
    scores = np.asarray(span_scores, dtype=np.float64)
    counts = check_chart("best_trees", scores.shape, lengths)
    width = scores.shape[1]
    if not np.isfinite(scores[:, *np.triu_indices(width)]).all():
        raise InputError("best_trees() got NaN or infinity in the scores of spans; expected finite numbers.")
    best = np.diagonal(scores, 0, 1, 2)
    start = stop = best[
        ..., None
    ]  # the spans that begin, and those that end, at each place, by their other end
    firsts, splits = [best[:, 0]], [np.zeros(best.shape, dtype=np.int64)]
    for w in range(1, width):
        left, right = start[:, :-1], stop[:, 1:]
        both = left + right
        split = both.argmax(-1)
        splits.append(split)
        best = np.diagonal(scores, w, 1, 2) + np.take_along_axis(both, split[..., None], -1)[..., 0]
        firsts.append(best[:, 0])
        start, stop = (
            np.concatenate(p, axis=-1) for p in ((left, best[..., None]), (best[..., None], right))
        )
    found = np.stack(firsts, axis=1)[np.arange(len(scores)), counts - 1]
    return [_unfold(splits, sentence, int(n)) for sentence, n in enumerate(counts)], found


def _unfold(splits: list[Ints], sentence: int, length: int) -> Ints:
    spans, waiting = [], [(0, length)]
    while waiting:
        first, after = waiting.pop()
        spans.append((first, after))
        if after - first > 1:
            middle = first + int(splits[after - first - 1][sentence, first]) + 1
            waiting += [(middle, after), (first, middle)]
    return np.array(spans, dtype=np.int64)


def check_chart(name: str, shape: tuple[int, ...], lengths: Any) -> Ints:
    """Return the lengths of the sentences of a chart [B, L, L, ...], int64 [B]. Raises `InputError`."""
    if len(shape) < 3 or shape[1] != shape[2] or not shape[1]:
        raise InputError(
            f"{name}() got scores of shape {shape}; expected [B, L, L, ...] with L of at least 1."
        )
    if lengths is None:
        return np.full(shape[0], shape[1], dtype=np.int64)
    counts = np.asarray(lengths)
    if (
        counts.shape != shape[:1]
        or counts.dtype.kind not in "iu"
        or ((counts < 1) | (counts > shape[1])).any()
    ):
        raise InputError(
            f"{name}() got lengths {counts.tolist()}; expected {shape[0]} whole numbers from 1 to {shape[1]}."
        )
    return counts.astype(np.int64)
