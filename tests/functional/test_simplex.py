"""Projections onto the simplex: held against their optimality conditions, torch, masks, long lists, and the package of the same name."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import hardgrad
from hardgrad.core.errors import InputError, InputTypeError, ParameterError, TemperatureError
from hardgrad.functional.simplex import COMPILED_SIZE, entmax, softmax, sparsemax

ALPHAS = (1.0, 1.2, 1.5, 2.0, 3.0)


def scores(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("alpha", ALPHAS[1:])
@pytest.mark.parametrize("temperature", [0.3, 2.0])
def test_weights_satisfy_the_optimality_conditions(alpha: float, temperature: float) -> None:
    """p = [(alpha - 1) x / t - tau]_+^(1 / (alpha - 1)) for one tau a list, and the sum is 1: there is one such point."""
    x = scores(7, 9)
    p = entmax(x, alpha=alpha, temperature=temperature)
    assert torch.allclose(p.sum(-1), torch.ones(7, dtype=x.dtype))
    slack = (alpha - 1) * x / temperature - p.pow(alpha - 1)
    for row, weights in zip(slack, p, strict=True):
        tau = row[weights > 0]
        assert torch.allclose(tau, tau[:1].expand_as(tau), atol=1e-9)
        assert bool((row[weights == 0] <= tau[0] + 1e-9).all())


def test_one_is_softmax_and_two_is_sparsemax() -> None:
    x = scores(4, 6)
    assert torch.allclose(softmax(x, 0), torch.softmax(x, 0))
    assert torch.allclose(entmax(x, alpha=1, temperature=0.5), torch.softmax(2 * x, -1))
    assert torch.equal(entmax(x, alpha=2.0), sparsemax(x))
    assert torch.allclose(entmax(x, alpha=1.5), entmax(x, alpha=1.5 + 1e-9), atol=1e-6)
    assert torch.allclose(sparsemax(x), entmax(x, alpha=2.0 + 1e-9), atol=1e-6)


@pytest.mark.parametrize("project", [sparsemax, entmax])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_compiled_rows_are_those_of_the_tensor_operations(
    project: Callable[..., Tensor], dtype: torch.dtype
) -> None:
    """Wide, narrow, tied and masked lists; under vmap there are no compiled rows."""
    n = COMPILED_SIZE // 4
    x = torch.stack([scores(n) * 3, scores(n) * 1e-3, torch.zeros(n).double(), scores(n) * 0.1]).to(dtype)
    x[3, ::2] = -torch.inf
    g = scores(4, n, seed=1).to(dtype)
    plain = torch.func.vmap(project)(x)
    assert torch.allclose(project(x), plain, atol=1e-6) and bool((project(x)[3, ::2] == 0).all())
    assert torch.allclose(project(x).sum(-1), torch.ones(4, dtype=dtype))
    leaf = x.clone().requires_grad_()
    (compiled,) = torch.autograd.grad(project(leaf), leaf, g)
    (differentiable,) = torch.autograd.grad(project(leaf), leaf, g, create_graph=True)
    assert torch.allclose(compiled, differentiable, atol=1e-5)
    assert torch.equal(torch.autograd.grad(project(leaf.T, 0), leaf, g.T)[0], compiled)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_derivatives_of_first_and_second_order(alpha: float) -> None:
    x = scores(2, 5).requires_grad_()
    level = torch.tensor([[0.8], [1.3]], dtype=torch.float64, requires_grad=True)

    def function(x: Tensor, t: Tensor) -> Tensor:
        return entmax(x, alpha=alpha, temperature=t.squeeze(-1))

    assert torch.autograd.gradcheck(function, [x, level], atol=1e-5)
    assert torch.autograd.gradgradcheck(function, [x, level], atol=1e-4)
    rows = torch.func.hessian(lambda v: entmax(v, alpha=alpha).square().sum())(x[0].detach())
    assert torch.allclose(rows, rows.mT, atol=1e-7)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("as_tensor", [False, True])
def test_masked_elements_have_weight_zero_and_finite_gradients(alpha: float, as_tensor: bool) -> None:
    x = scores(3, 5)
    x[0, 2] = x[1, :4] = -torch.inf
    x.requires_grad_()
    level = torch.tensor(0.7, dtype=torch.float64, requires_grad=as_tensor)
    p = entmax(x, alpha=alpha, temperature=level if as_tensor else 0.7)
    assert bool((p[torch.isinf(x)] == 0).all()) and torch.allclose(p.sum(-1), torch.ones(3).double())
    kept = [0, 1, 3, 4]
    assert torch.allclose(p[0, kept], entmax(x[0, kept], alpha=alpha, temperature=0.7))
    wrt = [x, level] if as_tensor else [x]
    first = torch.autograd.grad((p * scores(3, 5, seed=1)).sum(), wrt, create_graph=True)
    curved = sum(g.square().sum() for g in first)
    # The gradient of sparsemax does not depend on the scores.
    second = torch.autograd.grad(curved, wrt) if curved.requires_grad else ()
    for gradient in (*first, *second):
        assert bool(torch.isfinite(gradient).all())
    assert bool((first[0][torch.isinf(x)] == 0).all())


def test_the_surrounding_block_gives_the_temperature_and_no_mode() -> None:
    x = scores(4)
    with hardgrad.mode("hard", temperature=0.5):
        assert torch.allclose(softmax(x), torch.softmax(2 * x, -1))


def test_what_cannot_be_projected() -> None:
    with pytest.raises(InputError, match="every element is -inf"):
        sparsemax(torch.full((2, 3), -torch.inf))
    with pytest.raises(InputError, match=r"softmax\(\) got no element"):
        softmax(torch.empty(2, 0))
    with pytest.raises(InputError, match="infinity"):
        entmax(torch.tensor([1.0, torch.inf]))
    with pytest.raises(InputTypeError, match="float"):
        softmax(torch.tensor([True, False]))
    with pytest.raises(TemperatureError, match=r"sparsemax\(\) got temperature"):
        sparsemax(torch.zeros(3), temperature=0)
    for alpha in (0.5, float("nan"), float("inf"), True, "2"):
        with pytest.raises(ParameterError, match=r"entmax\(\) got alpha"):
            entmax(torch.zeros(3), alpha=alpha)  # type: ignore[arg-type]


def test_against_the_package_entmax() -> None:
    peer = pytest.importorskip("entmax")
    x = scores(5, 200)
    for ours, theirs in ((sparsemax, peer.sparsemax), (entmax, peer.entmax15)):
        leaves = [x.clone().requires_grad_() for _ in range(2)]
        results = [ours(leaves[0], dim=-1), theirs(leaves[1], dim=-1)]
        assert torch.allclose(*results)
        gradients = [
            torch.autograd.grad((r * scores(5, 200, seed=2)).sum(), leaf)[0]
            for r, leaf in zip(results, leaves, strict=True)
        ]
        assert torch.allclose(*gradients)
