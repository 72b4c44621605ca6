"""Subsets and permutations: probabilities enumerated over all orders, score-function gradients against them, relaxed sums."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch

from hardgrad.core.errors import InputError, ParameterError
from hardgrad.gradients import StochasticGraph, sample_permutation, sample_subset
from hardgrad.gradients.subsets import log_prob_of_order

LOGITS = torch.tensor([0.5, -0.7, 1.0, 0.0], dtype=torch.float64)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def probability(order: tuple[int, ...], logits: torch.Tensor) -> torch.Tensor:
    """Draw one after the other in proportion to what is left, as the definition says."""
    left, result = list(range(len(logits))), torch.ones((), dtype=logits.dtype)
    for k in order:
        weights = logits[left].exp()
        result = result * logits[k].exp() / weights.sum()
        left.remove(k)
    return result


@pytest.mark.parametrize("k", [1, 2, 4])
def test_probability_of_an_order(k: int) -> None:
    orders = list(permutations(range(4), k))
    ours = log_prob_of_order(LOGITS.expand(len(orders), 4), torch.tensor(orders)).exp()
    assert torch.allclose(ours, torch.stack([probability(order, LOGITS) for order in orders]))
    assert ours.sum().item() == pytest.approx(1.0)


def test_frequencies_of_subsets_and_permutations() -> None:
    n = 40_000
    subset = sample_subset(LOGITS.expand(n, 4), 2, generator=generator())
    included = torch.stack([
        sum(probability(order, LOGITS) for order in permutations(range(4), 2) if k in order) for k in range(4)  # type: ignore[misc]
    ])  # fmt: skip
    assert bool((subset.sum(-1) == 2).all()) and torch.allclose(subset.mean(0), included, atol=0.01)
    order = sample_permutation(LOGITS.expand(n, 4), generator=generator())
    assert torch.equal(order.sort(-1).values, torch.arange(4).expand(n, 4))
    for expected in ((2, 0, 3, 1), (0, 2, 1, 3)):
        found = (order == torch.tensor(expected)).all(-1).double().mean().item()
        assert found == pytest.approx(probability(expected, LOGITS).item(), abs=0.01)


@pytest.mark.parametrize("kind", ["subset", "permutation"])
def test_score_function_gradient_is_the_enumerated_one(kind: str) -> None:
    n, k = 100_000, 2 if kind == "subset" else 4
    value = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)
    leaf = LOGITS.expand(n, 4).clone().requires_grad_()
    graph = StochasticGraph()
    if kind == "subset":
        loss = sample_subset(leaf, 2, estimator="reinforce", graph=graph, generator=generator()) @ value
    else:
        loss = value[sample_permutation(leaf, graph=graph, generator=generator())[:, 0]]
    per_sample = torch.autograd.grad(graph.surrogate(loss).sum(), leaf)[0]
    point = LOGITS.clone().requires_grad_()
    mean = sum(
        probability(order, point) * (value[list(order)].sum() if kind == "subset" else value[order[0]])
        for order in permutations(range(4), k)
    )
    (exact,) = torch.autograd.grad(mean, point)  # type: ignore[arg-type]
    assert bool(((per_sample.mean(0) - exact).abs() <= 4 * per_sample.std(0) / n**0.5).all())


def test_relaxed_subsets_sum_to_k_and_become_exact() -> None:
    x = torch.tensor([[0.5, -torch.inf, 1.0, 0.0, 0.2]], dtype=torch.float64).repeat(300, 1).requires_grad_()
    hard = sample_subset(x, 3, mode="hard", generator=generator())
    for temperature in (1.0, 1e-3):
        soft = sample_subset(x, 3, mode="soft", temperature=temperature, generator=generator())
        assert torch.allclose(soft.sum(-1), torch.full((300,), 3.0).double())
        (gradient,) = torch.autograd.grad(soft[:, 0].sum(), x)
        assert bool(torch.isfinite(gradient).all()) and bool((gradient[:, 1] == 0).all())
    assert (soft - hard).abs().mean() < 0.01
    through = sample_subset(x, 3, generator=generator())
    assert torch.equal(through, hard) and through.requires_grad and bool((hard[:, 1] == 0).all())
    assert sample_subset(x, 0).sum() == 0 and bool((sample_subset(LOGITS, 4) == 1).all())


def test_bad_calls() -> None:
    for k in (-1, 5, True):
        with pytest.raises(ParameterError, match="k="):
            sample_subset(LOGITS, k)
    with pytest.raises(ParameterError, match="for 1 elements"):
        sample_subset(torch.tensor([0.0, -torch.inf]), 2)
    with pytest.raises(ParameterError, match="graph"):
        sample_subset(LOGITS, 2, estimator="reinforce")
    with pytest.raises(ParameterError, match="estimator='magic'"):
        sample_subset(LOGITS, 2, estimator="magic")
    with pytest.raises(InputError, match="infinity"):
        sample_permutation(torch.tensor([0.0, -torch.inf]))
