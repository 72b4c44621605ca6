"""Scores of all spans of a sentence, exact: a bidirectional LSTM and one bilinear form an output, in NumPy. Never imports torch.

`hardgrad.bits.parser_network` is the same in torch, under the same names of weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Weights = Mapping[str, Floats]
DIRECTIONS = ("forward", "backward")
SCORES_AT_ONCE = 1 << 20
EPSILON = np.float32(1e-5)  # of torch's layer_norm


def weight_shapes(n_words: int, width: int, hidden: int, outputs: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of every weight, in the order of the network.

    Parameters
    ----------
    n_words : known words; there is one more row, the first, for those that are not known.
    width : of word vectors and of the two sides of a span.
    hidden : of the LSTM, each way.
    outputs : scores a span.
    """
    shapes: dict[str, tuple[int, ...]] = {"embedding": (n_words + 1, width)}
    for way in DIRECTIONS:
        shapes |= {
            f"{way}_input": (4 * hidden, width),
            f"{way}_hidden": (4 * hidden, hidden),
            f"{way}_bias": (4 * hidden,),
        }
    for side in ("left", "right"):
        shapes |= {f"{side}_weight": (width, 2 * hidden), f"{side}_bias": (width,)}
    return {**shapes, "bilinear": (outputs, width + 1, width + 1)}


# Matrix kernels may look at lanes beyond a matrix, whose flags mean nothing; the search for the tree refuses what is not finite.
@np.errstate(over="ignore", invalid="ignore")
def span_scores(weights: Weights, words: NDArray[np.int64]) -> Floats:
    """Return scores [B, L, L, outputs] of all spans of sentences of one length; cell [i, j] has words i to j, both inside.

    Parameters
    ----------
    weights : float32 by name, of the shapes that `weight_shapes` says.
    words : numbers of words [B, L]; 0 is an unknown one.
    """
    vectors = weights["embedding"][words]
    ahead = _lstm(vectors, weights, "forward")
    back = _lstm(vectors[:, ::-1], weights, "backward")[:, ::-1]
    states = np.concatenate([ahead, back], axis=-1)
    left, right = (_with_one(_side(states, weights, side)) for side in ("left", "right"))
    form = weights["bilinear"]
    half = (left @ form.transpose(1, 0, 2).reshape(form.shape[1], -1)).reshape(
        *left.shape[:2], *form.shape[::2]
    )
    scores: Any = half.reshape(len(left), -1, form.shape[2]) @ right.transpose(0, 2, 1)
    return np.asarray(scores.reshape(*left.shape[:2], len(form), left.shape[1]).transpose(0, 1, 3, 2))


def scores_of_all(weights: Weights, sentences: Sequence[NDArray[np.int64]]) -> list[Floats]:
    """Return the scores of each sentence [n, n, outputs], sentences of one length together.

    Parameters
    ----------
    weights : as for `span_scores`.
    sentences : numbers of words [n] each, n at least 1.
    """
    found: list[Floats] = [np.zeros((0, 0, 0), dtype=np.float32)] * len(sentences)
    by_length: dict[int, list[int]] = {}
    for number, words in enumerate(sentences):
        by_length.setdefault(len(words), []).append(number)
    outputs = len(weights["bilinear"])
    for length, numbers in by_length.items():
        at_once = max(1, SCORES_AT_ONCE // (length * length * outputs))
        for first in range(0, len(numbers), at_once):
            chosen = numbers[first : first + at_once]
            scores = span_scores(weights, np.stack([sentences[k] for k in chosen]))
            for number, one in zip(chosen, scores, strict=True):
                found[number] = one
    return found


def _lstm(vectors: Floats, weights: Weights, way: str) -> Floats:
    inputs = vectors @ weights[f"{way}_input"].T + weights[f"{way}_bias"]
    recurrent = weights[f"{way}_hidden"].T
    state = cell = np.zeros((len(vectors), len(recurrent)), dtype=np.float32)
    states = []
    for place in range(vectors.shape[1]):
        gates = np.split(inputs[:, place] + state @ recurrent, 4, axis=-1)
        enter, keep, leave = (_sigmoid(gates[k]) for k in (0, 1, 3))
        cell = keep * cell + enter * np.tanh(gates[2])
        state = leave * np.tanh(cell)
        states.append(state)
    return np.stack(states, axis=1)


def _sigmoid(x: Floats) -> Floats:
    return np.asarray(0.5 * np.tanh(0.5 * x) + 0.5)  # no exp that overflows


def _side(states: Floats, weights: Weights, side: str) -> Floats:
    x = states @ weights[f"{side}_weight"].T + weights[f"{side}_bias"]
    centred = x - x.mean(axis=-1, keepdims=True)
    return np.asarray(centred / np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + EPSILON))


def _with_one(x: Floats) -> Floats:
    return np.concatenate([x, np.ones((*x.shape[:-1], 1), dtype=np.float32)], axis=-1)
