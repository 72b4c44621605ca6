"""Soft ranks and sorts against published values, scikit-learn's isotonic regression and the closed form; gradients that stay finite."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from hardgrad.core.errors import InputError
from hardgrad.functional.isotonic import isotonic_regression, soft_rank, soft_sort
from hardgrad.functional.isotonic_operators import blocks_of, closed_form_blocks

X = torch.tensor([1.0, -2.0, 2.0, 3.0, 0.5, -1.0], dtype=torch.float64)
RANKS = {
    0.1: [4, 1, 5, 6, 3, 2],
    1.0: [3.875, 1, 4.875, 5.875, 3.375, 2],
    10.0: [3.54167, 3.24167, 3.64167, 3.74167, 3.49167, 3.34167],
}


@pytest.mark.parametrize("strength", list(RANKS))
def test_published_ranks(strength: float) -> None:
    expected = torch.tensor(RANKS[strength], dtype=torch.float64)
    assert torch.allclose(soft_rank(X, strength), expected, atol=1e-5)
    assert torch.allclose(soft_rank(X.float(), torch.tensor(strength)), expected.float(), atol=1e-5)


def test_published_entropic_ranks_sum_to_the_same() -> None:
    ranks = soft_rank(X, 10.0, entropic=True)
    expected = [3.597522, 2.665110, 3.975876, 4.394023, 3.422068, 2.945402]
    assert torch.allclose(ranks, torch.tensor(expected, dtype=torch.float64), atol=1e-6)
    assert ranks.sum().item() == pytest.approx(21.0)


@pytest.mark.parametrize("temperature", [0.03, 0.7, 20.0])
def test_least_squares_is_scikit_learn_in_closed_form(temperature: float) -> None:
    x = np.random.default_rng(0).normal(size=40)
    order = np.argsort(-x)
    places = np.arange(40, 0, -1.0)
    fit = IsotonicRegression(increasing=False)
    ranks = np.empty(40)
    s = x[order] / temperature
    ranks[order] = s - fit.fit_transform(places[::-1], s - places)
    assert np.allclose(soft_rank(torch.from_numpy(x), temperature).numpy(), ranks)
    z = places / temperature
    values = z - fit.fit_transform(places[::-1], z - x[order])
    assert np.allclose(soft_sort(torch.from_numpy(x), temperature, descending=True).numpy(), values)
    expected = IsotonicRegression().fit_transform(np.arange(40), x)
    assert np.allclose(isotonic_regression(torch.from_numpy(x)).numpy(), expected)


def test_isotonic_regression_along_a_dimension_and_bad_input() -> None:
    y = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(isotonic_regression(y, 0)[:, 1], isotonic_regression(y[:, 1]))
    falling = isotonic_regression(y, 0, increasing=False)
    assert torch.allclose(falling, -isotonic_regression(-y, 0))
    with pytest.raises(InputError, match=r"isotonic_regression\(\) got NaN"):
        isotonic_regression(torch.tensor([float("nan")]))


@given(
    st.lists(st.integers(-6, 6), min_size=1, max_size=9),
    st.lists(st.integers(-6, 6), min_size=9, max_size=9),
    st.booleans(),
)
def test_the_closed_form_finds_blocks_of_the_same_fit(z: list[int], w: list[int], entropic: bool) -> None:
    left = torch.tensor(sorted(z, reverse=True), dtype=torch.float64) * 1.1
    right = torch.tensor(sorted(w[: len(z)], reverse=True), dtype=torch.float64) * 0.9

    def fit(start: torch.Tensor) -> list[float]:
        ends = [*start.unique().tolist(), len(z)]
        out: list[float] = []
        for a, b in itertools.pairwise(ends):
            lse = torch.logsumexp(left[a:b], 0) - torch.logsumexp(right[a:b], 0)
            out += [float(lse if entropic else (left[a:b] - right[a:b]).mean())] * (b - a)
        return out

    ours, closed = blocks_of(left, right, entropic), closed_form_blocks(left, right, entropic)
    assert fit(ours) == pytest.approx(fit(closed), abs=1e-9)


@pytest.mark.parametrize("entropic", [False, True])
@pytest.mark.parametrize("temperature", [1e-6, 1e-2, 1e3])
def test_gradients_are_finite_at_any_strength(entropic: bool, temperature: float) -> None:
    for function in (soft_rank, soft_sort):
        x = torch.randn(3, 50, generator=torch.Generator().manual_seed(1)).requires_grad_()
        out = function(x, temperature, entropic=entropic)
        (slope,) = torch.autograd.grad((out * torch.arange(50)).sum(), x)
        assert torch.isfinite(out).all() and torch.isfinite(slope).all()


@pytest.mark.parametrize("function", [soft_rank, soft_sort])
@pytest.mark.parametrize("strength", [0.1, 1.0, 30.0])
def test_entropic_projections_have_derivatives_of_every_order_in_both_modes(
    function: Callable[..., torch.Tensor], strength: float
) -> None:
    x = torch.randn(3, 7, generator=torch.Generator().manual_seed(2), dtype=torch.float64).requires_grad_()
    t = torch.tensor([[1.0], [0.5], [2.0]], dtype=torch.float64).mul(strength).requires_grad_()

    def project(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return function(x, t, entropic=True)

    assert torch.autograd.gradcheck(project, (x, t), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(project, (x, t))
    y = function(x, strength, entropic=True)
    assert torch.allclose(y, function(x, torch.tensor([[strength]]), entropic=True))
    (slope,) = torch.autograd.grad(y, x, torch.cos(y.detach()), retain_graph=True)
    (traced,) = torch.autograd.grad(y, x, torch.cos(y.detach()), create_graph=True)
    assert torch.allclose(slope, traced, rtol=1e-10, atol=1e-12)  # one loop, and torch's operations


def test_ties_are_shared_and_a_large_level_costs_no_digits() -> None:
    x = torch.tensor([2.0, 1.0, 2.0, 0.0])
    assert soft_rank(x, 0.1).tolist() == [3.5, 2.0, 3.5, 1.0]
    assert torch.equal(soft_rank(x + 2**20, 0.3), soft_rank(x, 0.3))
