"""Logic against truth tables, the axioms of triangular norms, and exhaustive expectation for independent events."""

from __future__ import annotations

import itertools

import pytest
import torch

import hardgrad
from hardgrad import functional
from hardgrad.functional.logical import FAMILIES

EACH = pytest.mark.parametrize("method", list(FAMILIES))
P, Q, R = torch.rand(3, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@EACH
def test_truth_tables(method: str) -> None:
    table = torch.tensor(list(itertools.product([False, True], repeat=2)))
    p, q = table.unbind(-1)
    for name in ("logical_and", "logical_or", "logical_xor"):
        exact = getattr(torch, name)(p, q)
        assert torch.equal(getattr(functional, name)(p, q, method=method), exact.float())
        assert torch.equal(getattr(functional, name)(p, q, method=method, mode="hard"), exact)
    assert torch.equal(functional.logical_not(p), torch.logical_not(p).float())


@EACH
def test_axioms_of_a_triangular_norm_and_its_dual(method: str) -> None:
    def both(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        return functional.logical_and(p, q, method=method)

    one = torch.ones_like(P)
    assert torch.equal(both(P, Q), both(Q, P)) and torch.allclose(both(P, one), P)
    assert torch.allclose(both(both(P, Q), R), both(P, both(Q, R)))
    assert (both(P, torch.maximum(Q, R)) >= both(P, Q) - 1e-15).all()
    assert torch.allclose(functional.logical_or(P, Q, method=method), 1 - both(1 - P, 1 - Q))


def test_product_is_the_probability_for_independent_events() -> None:
    p = torch.rand(5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    worlds = torch.tensor(list(itertools.product([0.0, 1.0], repeat=5)), dtype=torch.float64)
    chance = torch.where(worlds == 1, p, 1 - p).prod(-1)
    assert torch.allclose(functional.any(p), (chance * worlds.amax(-1)).sum())
    assert torch.allclose(functional.all(p), (chance * worlds.amin(-1)).sum())
    assert torch.allclose(functional.cumany(p), chance @ worlds.cummax(-1).values)
    assert torch.allclose(functional.cumall(p), chance @ worlds.cummin(-1).values)
    first = worlds * (worlds.cumsum(-1) == 1)
    assert torch.allclose(functional.first_true(p), chance @ first)
    parity = chance @ ((worlds[:, 0] + worlds[:, 1]) % 2)
    assert torch.allclose(functional.logical_xor(p[0], p[1]), parity)


@EACH
@pytest.mark.parametrize("n", [1, 2, 7, 64])
def test_reductions_are_the_repeated_pair(method: str, n: int) -> None:
    p = torch.rand(3, n, dtype=torch.float64, generator=torch.Generator().manual_seed(n)) ** 0.2
    for pair, whole, running in (
        (functional.logical_and, functional.all, functional.cumall),
        (functional.logical_or, functional.any, functional.cumany),
    ):
        steps = [p[:, 0]]
        for k in range(1, n):
            steps.append(pair(steps[-1], p[:, k], method=method))
        assert torch.allclose(whole(p, 1, method=method), steps[-1])
        assert torch.allclose(running(p, 1, method=method), torch.stack(steps, 1))


def test_dimensions_are_torchs() -> None:
    p = torch.rand(2, 3, 4, generator=torch.Generator().manual_seed(2))
    for dim, keepdim in (
        (None, False),
        (0, True),
        (-1, False),
        ((0, 2), False),
        ((0, 2), True),
        (None, True),
    ):
        exact = torch.any(p > 0.5, dim=dim, keepdim=keepdim)
        assert functional.any(p, dim, keepdim).shape == exact.shape
        assert torch.equal(functional.any((p > 0.5), dim, keepdim), exact.float())
        assert torch.equal(
            functional.all(p, dim, keepdim, mode="hard"), torch.all(p > 0.5, dim=dim, keepdim=keepdim)
        )
    assert functional.all(torch.tensor(0.25)).item() == 0.25 and functional.any(torch.empty(0)).item() == 0.0
    with pytest.raises(IndexError, match=r"any\(\) got dim=3"):
        functional.any(p, 3)


def test_long_reductions_keep_small_truths_and_gradients_at_crisp_ones() -> None:
    small = torch.full((4096,), 1e-10)
    assert functional.any(small).item() == pytest.approx(4.096e-7, rel=1e-4)
    crisp = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.grad(functional.all(crisp), crisp)[0].tolist() == [0.0, 1.0, 0.0]
    assert torch.autograd.grad(functional.any(crisp), crisp)[0].tolist() == [0.0, 0.0, 0.0]
    assert torch.autograd.gradcheck(
        functional.first_true, crisp.clone().detach().mul(0.999).add(5e-4).requires_grad_()
    )
    assert torch.isfinite(torch.autograd.grad(functional.first_true(crisp).sum(), crisp)[0]).all()


def test_first_true_leaves_the_weight_of_none() -> None:
    p = torch.rand(3, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    assert torch.allclose(functional.first_true(p, 1).sum(1), functional.any(p, 1))
    assert functional.first_true(torch.tensor([False, False])).tolist() == [0.0, 0.0]
    assert functional.first_true(torch.tensor([0.2, 0.8, 0.9]), mode="hard").tolist() == [0.0, 1.0, 0.0]


def test_a_temperature_around_changes_nothing() -> None:
    with hardgrad.mode("soft", temperature=5.0):
        warm = functional.logical_and(P, Q)
    assert torch.equal(warm, functional.logical_and(P, Q))
