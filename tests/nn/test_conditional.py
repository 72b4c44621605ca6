"""ConditionalBlock: the exact block skips closed groups and agrees with the dense formula, the artifact with both; sparsity is learned."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import hardgrad
from hardgrad import gradients
from hardgrad.core.errors import ArtifactError, HardenError, InputError, ParameterError
from hardgrad.nn import ConditionalBlock, ExactConditionalBlock, GatedMLP, sparsity_penalty


def block(seed: int = 0, **options: object) -> ConditionalBlock:
    torch.manual_seed(seed)
    return ConditionalBlock.sized(6, 12, 3, groups=4, gater_width=5, target_sparsity=0.4, **options)


def rows(n: int = 50) -> torch.Tensor:
    return torch.randn(n, 6, generator=torch.Generator().manual_seed(1))


def test_soft_exact_and_artifact_agree_with_the_dense_formula() -> None:
    soft, x = block(), rows()
    with torch.no_grad():
        # Each group is open for about half of the rows, and no row lies on the border.
        soft.gater[2].bias -= soft.gater(x).median(0).values + 0.01
    gates = (soft.gater(x) > 0).float()
    first, _, last = soft.expert
    dense = (torch.relu(first(x)) * gates.repeat_interleave(3, 1)) @ last.weight.T + last.bias
    assert 0.1 < gates.mean() < 0.9
    assert torch.allclose(soft(x, mode="hard"), dense, atol=1e-6)
    assert torch.allclose(soft.eval()(x), dense, atol=1e-6)
    exact = hardgrad.harden(nn.Sequential(soft, nn.Identity()))[0]
    assert isinstance(exact, ExactConditionalBlock)
    assert torch.allclose(exact(x), dense, atol=1e-6) and torch.equal(exact.gates(x), gates > 0)
    artifact = soft.to_artifact()
    assert np.array_equal(artifact.gates(x.numpy()), gates.bool().numpy())
    assert np.allclose(artifact.predict(x.numpy()), dense.detach().numpy(), atol=1e-5)
    per_group = 3 * (6 + 3)
    assert np.array_equal(
        artifact.multiply_adds(x.numpy()), 6 * 5 + 5 * 4 + per_group * gates.sum(1).long().numpy()
    )
    assert artifact.dense_multiply_adds == 4 * per_group


def test_closed_groups_are_not_looked_at() -> None:
    exact, x = block().harden(), rows()
    nn.init.constant_(exact.gater[2].bias, -100.0)
    exact.expert[0].weight.fill_(torch.nan)
    assert torch.equal(exact(x), exact.expert[2].bias.expand(len(x), -1))


def test_hardening_leaves_the_soft_block_as_it_is() -> None:
    soft, x = block(), rows()
    before = soft(x, mode="hard")
    exact = soft.harden()
    assert not any(p.requires_grad for p in exact.parameters())
    nn.init.zeros_(exact.expert[2].weight)
    assert torch.equal(soft(x, mode="hard"), before) and all(p.requires_grad for p in soft.parameters())


def test_training_draws_gates_and_everything_learns() -> None:
    soft, x = block(), rows()
    draw = lambda seed: soft(x, generator=torch.Generator().manual_seed(seed))  # noqa: E731
    assert torch.equal(draw(0), draw(0)) and not torch.equal(draw(0), draw(1))
    draw(0).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in soft.parameters())
    probabilities = torch.sigmoid(soft.gater(x)).repeat_interleave(3, 1)
    mean_field = soft.expert[2](torch.relu(soft.expert[0](x)) * probabilities)
    assert torch.allclose(soft(x, mode="soft"), mean_field)


def test_score_function_gates() -> None:
    soft, x = block(estimator="reinforce"), rows()
    graph = gradients.StochasticGraph()
    out, penalty = soft.with_penalty(x, graph=graph)
    (graph.surrogate(out.square().sum(1)).mean() + penalty).backward()
    assert soft.gater[2].weight.grad.abs().sum() > 0
    with pytest.raises(ParameterError, match="graph"):
        soft(x)


def test_the_penalty_opens_the_target_share() -> None:
    soft, x = block(), rows(200)
    optimiser = torch.optim.Adam(soft.gater.parameters(), lr=0.05)
    for _ in range(100):
        optimiser.zero_grad()
        soft.with_penalty(x)[1].backward()
        optimiser.step()
    p = torch.sigmoid(soft.gater(x))
    assert p.mean().item() == pytest.approx(0.4, abs=0.02)
    spread = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    assert sparsity_penalty(spread, 0.5).item() == pytest.approx(0.25)
    assert sparsity_penalty(torch.full((3, 2), 0.3), 0.3).item() == 0.0


def test_bad_blocks() -> None:
    gater = nn.Linear(6, 4)
    expert = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 3))
    for bad in (nn.Linear(6, 3), nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 3))):
        with pytest.raises(ParameterError, match="expected nn.Sequential"):
            ConditionalBlock(bad, gater, 4)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="groups=5"):
        ConditionalBlock(expert, gater, 5)
    with pytest.raises(ParameterError, match="target_sparsity"):
        ConditionalBlock(expert, gater, 4, target_sparsity=1.0)
    with pytest.raises(ParameterError, match="estimator"):
        ConditionalBlock(expert, gater, 4, estimator="magic")
    with pytest.raises(HardenError, match="Tanh"):
        ConditionalBlock(expert, gater, 4).to_artifact()
    artifact = block().to_artifact()
    for bad in (np.zeros(6), np.zeros((2, 5)), np.full((1, 6), np.nan)):
        with pytest.raises(InputError, match="GatedMLP"):
            artifact.predict(bad)
    with pytest.raises(ArtifactError, match="groups"):
        GatedMLP(**artifact.arrays(), groups=5)  # type: ignore[arg-type]
