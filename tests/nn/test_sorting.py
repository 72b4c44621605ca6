"""The sorting network as a module, and the scorer of sets."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import hardgrad
import hardgrad.functional as HF
from hardgrad.core.errors import InputError, ParameterError, TemperatureError
from hardgrad.nn import PermutationEquivariantScorer, SortingNetwork


@pytest.mark.parametrize("network", ["odd_even", "bitonic", [[(0, 1)], [(1, 2)], [(0, 1)]]])
@pytest.mark.parametrize("descending", [False, True])
def test_soft_straight_through_hard_and_hardened(network: str, descending: bool) -> None:
    sorter = SortingNetwork(3, network, temperature=0.3, descending=descending)
    x = torch.randn(20, 3, dtype=torch.float64)
    exact = x.sort(-1, descending=descending).values
    assert torch.equal(sorter(x, mode="hard").values, exact) and torch.equal(
        sorter(x, mode="st").values, exact
    )
    assert torch.allclose(
        sorter(x).values,
        HF.sort(
            x, descending=descending, method="network", network=network, temperature=torch.tensor(0.3)
        ).values,
    )
    hard = hardgrad.harden(sorter)
    assert hard.unsorted_inputs() == 0 and np.array_equal(hard.predict(x.numpy()), exact.numpy())
    with hardgrad.mode("hard"):
        assert torch.equal(sorter(x).values, exact)
    again = SortingNetwork(3, network, descending=descending)
    again.load_state_dict(sorter.state_dict())
    assert torch.equal(again(x).values, sorter(x).values)


def test_the_gap_lies_within_its_bound() -> None:
    x = torch.randn(200, 8, generator=torch.Generator().manual_seed(0))
    for kind in ("cauchy", "optimal", "logistic"):
        report = SortingNetwork(8, kind=kind, temperature=0.2).gap(x)
        assert 0 < report.worst_disagreement <= report.detail["bound"]
        assert 0 <= report.detail["no_permutation"] <= 1
    free = SortingNetwork(8, swap="error_free", temperature=0.2).gap(x)
    assert free.worst_disagreement == 0 == free.detail["bound"] == free.detail["no_permutation"]


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match=r"n=4 got a tensor of shape \(2, 5\)"):
        SortingNetwork(4)(torch.zeros(2, 5))
    for bad in (
        {"n": -1},
        {"n": 2.0},
        {"n": 4, "network": "x"},
        {"n": 4, "kind": "x"},
        {"n": 4, "swap": "x"},
    ):
        with pytest.raises(ParameterError):
            SortingNetwork(**bad)  # type: ignore[arg-type]
    with pytest.raises(TemperatureError):
        SortingNetwork(3, temperature=0.0)
    with pytest.raises(ParameterError, match="heads"):
        PermutationEquivariantScorer(5, width=10, heads=4)
    with pytest.raises(InputError, match="sets, items"):
        PermutationEquivariantScorer(5, width=8)(torch.zeros(3, 5))


def test_scores_follow_the_items_and_see_the_set_and_no_other() -> None:
    torch.manual_seed(0)
    scorer = PermutationEquivariantScorer(5, width=8)
    items, order = torch.randn(4, 6, 5), torch.randperm(6)
    scores = scorer(items)
    assert scores.shape == (4, 6)
    assert torch.allclose(scorer(items[:, order]), scores[:, order], atol=1e-5)
    other = items.clone()
    other[1, 2] += 1.0
    change = (scorer(other) - scores).abs()
    assert (change[1] > 1e-6).all() and change[[0, 2, 3]].max() < 1e-6


@pytest.mark.filterwarnings(
    "ignore:.*should not be instantiated:DeprecationWarning"
)  # torch's own, while it traces
@pytest.mark.parametrize("swap", ["soft", "error_free"])
def test_compiles_whole(swap: str) -> None:
    torch.compiler.reset()
    sorter = SortingNetwork(6, "bitonic", swap=swap, descending=True)

    def weights(x: torch.Tensor) -> torch.Tensor:
        return sorter(x).weights

    x = torch.randn(3, 6)
    compiled = torch.compile(weights, fullgraph=True, backend="eager")
    assert torch.allclose(compiled(x), weights(x), atol=1e-6)
