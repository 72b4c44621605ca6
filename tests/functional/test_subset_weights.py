"""topk_weights against Sinkhorn's iteration, its analytic derivative, finite differences and exhaustive choice."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from hardgrad import functional as HF
from hardgrad.core.errors import InputError, ParameterError

X = torch.rand(3, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
SHEET = torch.tensor([0.1, 0.25, 0.4, 0.7, 0.9], dtype=torch.float64)


def sinkhorn(u: Tensor, k: int, epsilon: float, iterations: int) -> Tensor:
    """Transport of the elements to the anchors 0 and 1 with masses k and n - k, by scaling in the logarithmic domain."""
    cost = torch.stack([u.square(), (u - 1.0).square()], dim=-1)
    scaled = -cost / (epsilon * cost.max())
    masses = torch.tensor([float(k), float(len(u) - k)], dtype=u.dtype).log()
    column = torch.zeros(2, dtype=u.dtype)
    for _ in range(iterations):
        row = -torch.logsumexp(scaled + column, dim=-1, keepdim=True)
        column = masses - torch.logsumexp(scaled + row, dim=-2)
    return torch.exp(scaled + row + column)[:, 0]


def test_it_is_what_sinkhorn_converges_to() -> None:
    for k in (1, 2, 4):
        found = HF.topk_weights(SHEET, k, largest=False, temperature=0.05)
        assert torch.allclose(found, sinkhorn(SHEET, k, 0.05, 20_000), atol=1e-9)
    # The setting of the published code: 400 iterations are far from there, the closed form is not.
    assert sinkhorn(SHEET, 2, 5e-4, 400)[:3].max() < 0.7
    exact = HF.topk_weights(SHEET, 2, largest=False, temperature=5e-4)
    assert exact.tolist() == pytest.approx([1, 1, 0, 0, 0], abs=1e-12)


def test_largest_is_smallest_seen_from_the_other_anchor() -> None:
    assert torch.allclose(
        HF.topk_weights(X, 3, temperature=0.3), HF.topk_weights(1.0 - X, 3, largest=False, temperature=0.3)
    )


def test_the_choice_is_the_best_of_all_choices() -> None:
    for k in range(8):
        weights = HF.topk_weights(X, k, mode="hard")
        best = [max(sum(row[i] for i in c) for c in itertools.combinations(range(7), k)) for row in X]
        assert (weights * X).sum(-1).tolist() == pytest.approx([float(b) for b in best])
        assert weights.sum(-1).tolist() == [k] * 3
    tied = torch.tensor([1.0, 2.0, 1.0, 2.0, 1.0])
    assert HF.topk_weights(tied, 3, mode="hard").tolist() == [1, 1, 0, 1, 0]


@pytest.mark.parametrize("scale", [None, 0.4])
def test_the_gradient_is_the_analytic_one(scale: float | None) -> None:
    u = SHEET.clone().requires_grad_()
    epsilon = 0.3
    jacobian = torch.autograd.functional.jacobian(
        lambda v: HF.topk_weights(v, 2, largest=False, temperature=epsilon, cost_scale=scale), u
    )
    p = HF.topk_weights(SHEET, 2, largest=False, temperature=epsilon, cost_scale=scale)
    q = p * (1 - p)
    c_max = 0.81 if scale is None else scale
    expected = -(2.0 / (epsilon * c_max)) * (q.diag() - q[:, None] * q / q.sum())
    assert torch.allclose(jacobian, expected, atol=1e-12)


@pytest.mark.parametrize("method", ["transport", "projection"])
def test_a_batch_is_its_lists_and_sums_are_k(method: str) -> None:
    level = torch.tensor([0.05, 0.3, 2.0], dtype=torch.float64)
    for k in range(8):
        weights = HF.topk_weights(X, k, method=method, temperature=level)
        assert torch.allclose(weights.sum(-1), torch.full((3,), float(k), dtype=torch.float64))
        assert ((weights >= 0) & (weights <= 1)).all()
        alone = [
            HF.topk_weights(x, k, method=method, temperature=float(t)) for x, t in zip(X, level, strict=True)
        ]
        assert torch.allclose(weights, torch.stack(alone))
        assert torch.equal(weights.mT, HF.topk_weights(X.mT, k, 0, method=method, temperature=level))


def test_the_projection_is_that_of_topk() -> None:
    rows = HF.topk(X, 3, method="projection", temperature=0.4).weights
    one = HF.topk_weights(X, 3, method="projection", temperature=0.4, cost_scale=1.0)
    assert torch.allclose(rows.sum(-2), one)


def test_none_and_all_have_zero_gradients_and_so_has_what_cannot_move() -> None:
    for k, value in ((0, 0.0), (7, 1.0)):
        x = X.clone().requires_grad_()
        weights = HF.topk_weights(x, k)
        assert (weights == value).all()
        assert torch.autograd.grad(weights.square().sum(), x)[0].abs().max() == 0
    far = torch.tensor([0.0, 1e6, 2e6], requires_grad=True)
    weights = HF.topk_weights(far, 1, temperature=1e-3, cost_scale=1.0)
    assert weights.tolist() == pytest.approx([0, 0, 1], abs=1e-15)
    (gradient,) = torch.autograd.grad((weights * torch.tensor([1.0, -2.0, 3.0])).sum(), far)
    assert torch.isfinite(gradient).all() and gradient.abs().max() < 1e-6


def test_many_elements_in_single_precision() -> None:
    x = torch.randn(2, 100_000, generator=torch.Generator().manual_seed(1))
    weights = HF.topk_weights(x, 70, temperature=0.01)
    assert weights.dtype == torch.float32
    assert weights.double().sum(-1).tolist() == pytest.approx([70.0, 70.0], rel=1e-5)


@pytest.mark.parametrize("bad", [-1, 8])
def test_a_count_outside_the_list(bad: int) -> None:
    for mode in ("soft", "hard"):
        with pytest.raises(InputError, match=f"k={bad}"):
            HF.topk_weights(X, bad, mode=mode)
    with pytest.raises(ParameterError, match="k=1.5"):
        HF.topk_weights(X, 1.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [0.0, -1.0, float("inf"), True, "wide", torch.tensor([1.0, 0.0, 1.0])])
def test_a_scale_that_is_none(bad: object) -> None:
    with pytest.raises(InputError, match="cost_scale"):
        HF.topk_weights(X, 2, cost_scale=bad)
