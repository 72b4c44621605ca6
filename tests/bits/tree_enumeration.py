"""Every binary tree, and every code of its spans, one after another: slow, and nothing of the chart in it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np


def all_trees(first: int, last: int) -> Iterator[list[tuple[int, int]]]:
    """Every binary tree over words first to last, as cells [first word, last word]."""
    if first == last:
        yield [(first, last)]
        return
    for split in range(first, last):
        for left, right in itertools.product(all_trees(first, split), all_trees(split + 1, last)):
            yield [(first, last), *left, *right]


def all_coded_trees(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores [N] of every tree over scores [n, n, K, 2] with every code of its spans; span [N, n, n] and bit [N, n, n, K] indicators."""
    n, bits = scores.shape[0], scores.shape[2]
    totals, spans, ones = [], [], []
    codes = np.array(list(itertools.product([0, 1], repeat=bits)))
    for tree in all_trees(0, n - 1):
        rows, columns = np.array(tree).T
        for chosen in itertools.product(codes, repeat=len(tree)):
            code = np.array(chosen)
            totals.append(np.take_along_axis(scores[rows, columns], code[..., None], -1).sum())
            span, one = np.zeros((n, n)), np.zeros((n, n, bits))
            span[rows, columns] = 1.0
            one[rows, columns] = code
            spans.append(span)
            ones.append(one)
    return np.array(totals), np.array(spans), np.array(ones)
