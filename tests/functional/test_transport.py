"""Sinkhorn's scaling and matching against SciPy's assignment, a plain iteration and finite differences."""

from __future__ import annotations

import pytest
import torch
from scipy.optimize import linear_sum_assignment

from hardgrad import functional
from hardgrad.core.errors import InputError
from hardgrad.functional.permutations import neural_sort, sinkhorn_sort
from hardgrad.functional.transport import doubly_stochastic

COST = torch.rand(3, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_scaling_is_that_of_the_plain_iteration() -> None:
    plan = torch.exp(-COST / 0.3)
    for _ in range(2000):
        plan = plan / plan.sum(-2, keepdim=True)
        plan = plan / plan.sum(-1, keepdim=True)
    assert torch.allclose(doubly_stochastic(-COST / 0.3), plan, atol=1e-9)


@pytest.mark.parametrize("temperature", [1e-3, 1e-2, 0.1, 1.0, 50.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_and_columns_sum_to_one_at_any_temperature(temperature: float, dtype: torch.dtype) -> None:
    plan = functional.matching(COST.to(dtype), temperature=temperature)
    assert (plan.sum(-1) - 1).abs().max() < 1e-5 and (plan.sum(-2) - 1).abs().max() < 1e-3


def test_exact_matching_is_scipys_also_of_oblong_costs() -> None:
    for matrix in (COST[0], COST[0, :4], COST[0, :, :3]):
        rows, columns = linear_sum_assignment(matrix.numpy())
        best = functional.matching(matrix, mode="hard")
        assert sorted(best.nonzero().tolist()) == sorted(
            [int(i), int(j)] for i, j in zip(rows, columns, strict=True)
        )
        cold = functional.matching(matrix, temperature=1e-3)
        assert (cold * matrix).sum().item() == pytest.approx((best * matrix).sum().item(), abs=1e-3)
    rows, columns = linear_sum_assignment(COST[0].numpy(), maximize=True)
    assert functional.matching(COST[0], True, mode="hard")[rows, columns].all()
    with pytest.raises(InputError, match=r"matching\(\) got a cost"):
        functional.matching(torch.zeros(3))


def test_implicit_derivatives_of_first_and_second_order() -> None:
    logits = COST[0, :3, :3].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda v: doubly_stochastic(4 * v), logits)
    assert torch.autograd.gradgradcheck(lambda v: doubly_stochastic(4 * v), logits)


def test_sorting_plans_are_doubly_stochastic_and_rows_of_padding_are_empty() -> None:
    x = torch.tensor([[0.3, 2.0, -1.0, 9.0]], dtype=torch.float64)
    for temperature in (1e-4, 0.3, 30.0):
        assert torch.allclose(sinkhorn_sort(x, temperature).sum(-2), torch.ones_like(x))
    mask = torch.tensor([[True, True, True, False]])
    masked = neural_sort(x, 0.5, True, mask)
    assert torch.allclose(masked[:, :3, :3], neural_sort(x[:, :3], 0.5, True))
    assert not masked[:, 3].any() and not masked[..., 3].any()


def test_gumbel_sinkhorn_draws_permutations_that_follow_the_logits() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.zeros(400, 2, 2)
    logits[:, 0, 0] = 2.0
    plans = functional.gumbel_sinkhorn(logits, generator=generator, mode="hard")
    assert torch.equal(plans.sum(-1), torch.ones(400, 2)) and torch.equal(plans.sum(-2), torch.ones(400, 2))
    assert 0.7 < plans[:, 0, 0].mean().item() < 0.95
    again = functional.gumbel_sinkhorn(logits, generator=torch.Generator().manual_seed(0), mode="hard")
    assert torch.equal(plans, again)
