"""Choice, argmax, argmin, max and min beyond the contract suite: torch's signatures, masks, the two values of max."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import hardgrad
from hardgrad import functional
from hardgrad.core.errors import InputError, InputTypeError


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize("dim", [None, 0, 1, -1])
def test_shapes_and_exact_values_are_those_of_torch(dim: int | None, keepdim: bool) -> None:
    x = numbers(3, 4, 5)
    how = {"dim": dim, "keepdim": keepdim}
    for name in ("argmax", "argmin"):
        exact = getattr(torch, name)(x, **how)
        ours = getattr(functional, name)
        assert torch.equal(ours(x, **how, mode="hard"), exact)
        assert torch.equal(ours(x, **how, mode="st"), exact.double())
        assert ours(x, **how).shape == exact.shape
    for name in ("max", "min"):
        ours = getattr(functional, name)
        if dim is None:
            exact = getattr(torch, name)(x)
            assert torch.equal(ours(x, mode="hard"), exact) and torch.equal(ours(x, mode="st"), exact)
            assert ours(x, keepdim=keepdim).shape == ((1, 1, 1) if keepdim else ())
            continue
        exact = getattr(torch, name)(x, **how)
        for mode in ("hard", "st"):
            values, indices = ours(x, **how, mode=mode)
            assert torch.equal(values, exact.values) and torch.equal(indices, exact.indices)
        soft = ours(x, **how)
        assert soft.values.shape == exact.values.shape and torch.equal(soft.indices, exact.indices)
        assert soft.weights.shape == (*x.movedim(dim, -1).shape,)


def test_a_number_alone() -> None:
    x = torch.tensor(2.5)
    assert functional.max(x).item() == functional.min(x, dim=0).values.item() == 2.5
    assert functional.argmax(x).item() == functional.argmin(x, dim=0, keepdim=True).item() == 0.0
    assert functional.choice(x).item() == functional.choice(x, mode="hard").item() == 1.0


def test_soft_results_are_those_of_the_weights() -> None:
    x = numbers(4, 6)
    p = torch.softmax(x / 0.3, -1)
    assert torch.allclose(functional.choice(x, temperature=0.3), p)
    assert torch.allclose(functional.argmax(x, -1, temperature=0.3), p @ torch.arange(6.0, dtype=x.dtype))
    assert torch.allclose(functional.max(x, -1, temperature=0.3).values, (p * x).sum(-1))
    lse = functional.max(x, -1, temperature=0.3, method="lse")
    assert torch.allclose(lse.values, 0.3 * torch.logsumexp(x / 0.3, -1)) and torch.allclose(lse.weights, p)
    least = functional.min(x, -1, temperature=0.3, method="lse")
    assert torch.allclose(least.values, -0.3 * torch.logsumexp(-x / 0.3, -1))


def test_the_gradient_of_the_lse_maximum_is_its_weights() -> None:
    x = numbers(6).requires_grad_()
    found = functional.max(x, 0, temperature=0.5, method="lse")
    (gradient,) = torch.autograd.grad(found.values, x)
    assert torch.allclose(gradient, found.weights)


@pytest.mark.parametrize("method", ["softmax", "sparsemax", "entmax", "lse"])
def test_masked_elements_are_never_chosen(method: str) -> None:
    x = torch.tensor([[0.0, -torch.inf, 0.4], [-torch.inf, -torch.inf, 2.0]], requires_grad=True)
    level = torch.tensor(0.5, requires_grad=True)
    found = functional.max(x, -1, temperature=level, method=method)
    assert bool((found.weights[torch.isinf(x)] == 0).all())
    assert found.values[1].item() == 2.0
    for gradient in torch.autograd.grad(found.values.sum() + found.weights[:, 0].sum(), [x, level]):
        assert bool(torch.isfinite(gradient).all())


def test_ties() -> None:
    x = torch.tensor([1.0, 1.0, 0.0])
    assert functional.choice(x, method="sparsemax").tolist() == [0.5, 0.5, 0.0]
    assert functional.choice(x, mode="hard").tolist() == [1.0, 0.0, 0.0]
    assert functional.argmax(x, method="entmax").item() == pytest.approx(0.5)


def test_a_temperature_for_every_list() -> None:
    x = numbers(3, 5)
    levels = torch.tensor([0.2, 1.0, 5.0], dtype=x.dtype)
    rows = torch.stack([functional.choice(x[k], temperature=levels[k]) for k in range(3)])
    assert torch.allclose(functional.choice(x, temperature=levels), rows)
    assert torch.allclose(functional.choice(x.T, 0, temperature=levels), rows.T)


def test_hardening_a_block_and_its_gap() -> None:
    x = numbers(3, 5)
    with hardgrad.mode("hard"):
        assert torch.equal(functional.choice(x), torch.nn.functional.one_hot(x.argmax(-1), 5).double())
    report = functional.gap(lambda v: functional.max(v, -1), x, temperature=1e-3)
    assert report.worst_disagreement < 1e-3


def test_errors() -> None:
    with pytest.raises(InputTypeError, match=r"argmax\(\) got a list"):
        functional.argmax([1.0, 2.0])  # type: ignore[arg-type]
    with pytest.raises(InputError, match="infinity"):
        functional.min(torch.tensor([1.0, -torch.inf]), 0)
    with pytest.raises(InputError, match=r"max\(\) got a list of which every element"):
        functional.max(torch.full((3,), -torch.inf), 0)
    with pytest.raises(IndexError, match=r"choice\(\) got dim=2"):
        functional.choice(torch.zeros(2, 2), 2)
    assert functional.max(torch.full((3,), -torch.inf), 0, mode="hard").values.item() == -torch.inf
