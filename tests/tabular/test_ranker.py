"""NeuralRanker: learns an order, same seed same bits, lists of different sizes, errors that say what is expected."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hardgrad.core.errors import DataError, ParameterError
from hardgrad.losses import exact
from hardgrad.tabular import NeuralRanker

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 3))
Y = np.clip(np.round(X[:, 0] - X[:, 1]), 0, 4)
GROUP = np.array([5, 15] * 6)


@pytest.mark.parametrize("loss", ["neural_ndcg", "approx_ndcg", "list_net", "rank_net", "lambda"])
def test_learns_an_order(loss: str) -> None:
    ranker = NeuralRanker(loss, max_iter=40, batch_size=12, learning_rate=0.02, random_state=0).fit(
        X, Y, GROUP
    )
    assert ranker.score(X, Y, GROUP) > 0.93
    assert (ranker.gap_ is not None) == loss.endswith("ndcg")
    if ranker.gap_ is not None:
        assert ranker.gap_.hard == pytest.approx(ranker.score(X, Y, GROUP), abs=1e-6)


def test_same_seed_same_bits_and_score_is_mean_exact_ndcg() -> None:
    first, second = (NeuralRanker(max_iter=5, random_state=3).fit(X, Y, GROUP).predict(X) for _ in range(2))
    assert np.array_equal(first, second)
    ends = np.cumsum(GROUP)[:-1]
    each = [
        float(exact.ndcg(s, y, 5))
        for s, y in zip(np.split(first, ends), np.split(Y, ends), strict=True)
        if y.any()
    ]
    ranker = NeuralRanker(max_iter=5, random_state=3, k=5).fit(X, Y, GROUP)
    assert ranker.score(X, Y, GROUP) == pytest.approx(np.mean(each))


def test_lists_of_weight_zero_do_not_count() -> None:
    weight = np.repeat([1.0, 0.0], 6)
    kept = weight.repeat(GROUP) > 0
    spoilt = np.where(kept, Y, Y[::-1])
    a, b = (
        NeuralRanker(max_iter=3, batch_size=12, random_state=0)
        .fit(X, y, GROUP, sample_weight=weight)
        .predict(X)
        for y in (Y, spoilt)
    )
    assert np.allclose(a, b)


def test_errors() -> None:
    with pytest.raises(DataError, match="group has"):
        NeuralRanker().fit(X, Y, [100])
    with pytest.raises(DataError, match="not negative"):
        NeuralRanker().fit(X, Y - 5, GROUP)
    with pytest.raises(ParameterError, match="got loss='ndgc'"):
        NeuralRanker("ndgc").fit(X, Y, GROUP)
    with pytest.raises(ParameterError, match="max_iter"):
        NeuralRanker(torch.nn.Identity(), max_iter=0).fit(X, Y, GROUP)
