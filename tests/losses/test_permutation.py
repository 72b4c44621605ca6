"""Losses on permutations against torch's cross-entropy, exhaustive targets and a transcription of the grouped error."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

import hardgrad.functional as HF
from hardgrad.core.errors import InputError, InputTypeError, ParameterError
from hardgrad.losses import HardPermutationLoss, PermutationBCE, permutation_target


def test_targets_sort_and_share_ties() -> None:
    labels = torch.tensor([[5, 2, 9, 7], [3, 3, 1, 3]])
    target = permutation_target(labels)
    assert torch.allclose((target @ labels.float().unsqueeze(-1)).squeeze(-1), labels.sort(-1).values.float())
    assert torch.allclose(target.sum(-1), torch.ones(2, 4)) and torch.allclose(
        target.sum(-2), torch.ones(2, 4)
    )
    third = 1 / 3
    assert torch.allclose(target[1], torch.tensor([[0, 0, 1.0, 0], *[[third, third, 0, third]] * 3]))


def test_bce_is_torchs_with_weights_of_lists() -> None:
    labels = torch.tensor([[5, 2, 9], [1, 1, 0]])
    p = HF.sort(torch.randn(2, 3), method="network", temperature=0.5).weights.detach().requires_grad_()
    each = functional.binary_cross_entropy(p, permutation_target(labels), reduction="none").mean((1, 2))
    assert torch.allclose(PermutationBCE()(p, labels), each.mean())
    weight = torch.tensor([3.0, 1.0])
    assert torch.allclose(PermutationBCE()(p, labels, weight), (each * weight).sum() / 4)
    exact = permutation_target(torch.tensor([2, 0, 1])).requires_grad_()
    loss = PermutationBCE()(exact, torch.tensor([0, 1, 2]))
    (gradient,) = torch.autograd.grad(loss, exact)
    assert torch.isfinite(loss) and torch.equal(gradient, torch.zeros(3, 3))
    assert torch.isfinite(PermutationBCE()(exact.half(), torch.tensor([0, 1, 2])))


@pytest.mark.parametrize("n", [1, 2, 4, 5, 7, 8, 9])
def test_the_grouped_error_is_that_of_its_definition(n: int) -> None:
    generator = torch.Generator().manual_seed(n)
    scores, inputs = torch.randn(6, n, generator=generator), torch.randn(6, n, 2, 3, generator=generator)
    labels = torch.rand(6, n, generator=generator)
    exact = HF.sort(scores, method="network", swap="error_free", mode="st").weights
    target, raw, total = permutation_target(labels), inputs.flatten(2), 0.0
    ends = {1: [1], 2: [2], 4: [4], 5: [5], 7: [4, 7], 8: [4, 8], 9: [4, 9]}[n]
    for start, stop in zip([0, *ends[:-1]], ends, strict=True):
        for k in range(6):
            p, q = (m[k, :, start:stop] for m in (exact, target))
            p, q = p[p.sum(-1) == 1], q[q.sum(-1) == 1]
            total += float(((p @ raw[k, start:stop] - q @ raw[k, start:stop]) ** 2).mean()) / 6
    assert float(HardPermutationLoss()(exact, inputs, labels)) == pytest.approx(total, rel=1e-5)


def test_a_right_order_costs_nothing_also_with_ties_and_a_wrong_one_moves_the_scores() -> None:
    labels = torch.tensor([[1, 3, 1, 2, 2], [0, 0, 0, 0, 1]])
    scores = (labels + torch.tensor([0.2, 0.0, 0.1, 0.0, 0.3])).requires_grad_()
    images, loss = torch.randn(2, 5, 4), HardPermutationLoss()

    def value(s: torch.Tensor) -> torch.Tensor:
        return loss(HF.sort(s, method="network", swap="error_free", mode="st").weights, images, labels)

    assert float(value(scores).detach()) == 0
    wrong = (-scores).detach().requires_grad_()
    value(wrong).backward()
    assert wrong.grad is not None and bool((wrong.grad != 0).any(-1).all())


def test_what_does_not_fit_is_refused() -> None:
    p, labels = torch.eye(3).expand(2, 3, 3), torch.tensor([[1, 2, 3], [3, 1, 2]])
    images = torch.zeros(2, 3, 4)
    with pytest.raises(InputError, match="shape"):
        PermutationBCE()(p, labels[:, :2])
    with pytest.raises(InputError, match="NaN"):
        PermutationBCE()(p * float("nan"), labels)
    with pytest.raises(InputError, match="NaN"):
        PermutationBCE()(p, labels * float("nan"))
    with pytest.raises(InputTypeError):
        PermutationBCE()(p, labels > 1)
    for weight in (torch.ones(3), torch.tensor([1.0, -1.0]), torch.zeros(2)):
        with pytest.raises(InputError, match="sample_weight"):
            PermutationBCE()(p, labels, weight)
    with pytest.raises(InputError, match="no permutation"):
        HardPermutationLoss()(p * 0.5 + 0.5 / 3, images, labels)
    with pytest.raises(InputError, match="inputs of shape"):
        HardPermutationLoss()(p, images[:1], labels)
    for make in (
        lambda: PermutationBCE(0.5),
        lambda: HardPermutationLoss(1),
        lambda: HardPermutationLoss(True),
    ):
        with pytest.raises(ParameterError):
            make()
