"""Ranking losses against the sheet's figures, scikit-learn's NDCG, masks that change nothing, and lists without anything to rank."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import ndcg_score

import hardgrad
from hardgrad import losses
from hardgrad.core.errors import InputError, ParameterError
from hardgrad.losses import exact

S = torch.tensor([[0.5, 2.0, -1.0, 1.0]], dtype=torch.float64)
Y = torch.tensor([[3.0, 1.0, 0.0, 2.0]], dtype=torch.float64)
GENERATOR = torch.Generator().manual_seed(0)
MANY = torch.randn(5, 8, dtype=torch.float64, generator=GENERATOR)
GRADES = torch.randint(0, 5, (5, 8), generator=GENERATOR)
EVERY = [
    losses.NeuralNDCGLoss(), losses.NeuralNDCGLoss(k=3, gain="linear"), losses.ApproxNDCGLoss(), losses.ListNetLoss(),
    losses.RankNetLoss(), losses.LambdaLoss(), losses.LambdaLoss("ndcg_loss2", k=3),
]  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, 0.719894),
        ({"sinkhorn_iters": 0}, 0.769721),
        ({"temperature": 0.1}, 0.680983),
        ({"temperature": 0.01}, 0.680606),
    ],
)
def test_figures_of_the_example(settings: dict[str, float], expected: float) -> None:
    assert -losses.NeuralNDCGLoss(**settings)(S, Y).item() == pytest.approx(expected, abs=1e-6)


def test_hard_mode_is_exact_ndcg_and_st_has_the_soft_gradient() -> None:
    loss = losses.NeuralNDCGLoss(k=3)
    with hardgrad.mode("hard"):
        assert -loss(MANY, GRADES).item() == pytest.approx(exact.ndcg(MANY, GRADES, 3).mean())
    with hardgrad.mode("st"):
        scores = MANY.clone().requires_grad_()
        value = loss(scores, GRADES)
        assert -value.item() == pytest.approx(exact.ndcg(MANY, GRADES, 3).mean())
    soft = MANY.clone().requires_grad_()
    for a, b in zip(
        torch.autograd.grad(value, scores), torch.autograd.grad(loss(soft, GRADES), soft), strict=True
    ):
        assert torch.allclose(a, b)


def test_the_transposed_form_is_the_same_number() -> None:
    for k in (None, 3):
        plain, transposed = (
            losses.NeuralNDCGLoss(k=k, transposed=flag)(MANY, GRADES) for flag in (False, True)
        )
        assert abs((plain - transposed).item()) < 1e-10


@pytest.mark.parametrize("loss", EVERY, ids=lambda loss: type(loss).__name__)
def test_padding_changes_nothing_and_gradients_are_right(loss: torch.nn.Module) -> None:
    padded = torch.cat([MANY, torch.full((5, 3), 7.0, dtype=torch.float64)], 1)[
        :, torch.randperm(11, generator=GENERATOR)
    ]
    mask = padded != 7.0
    order = torch.arange(11).expand(5, 11)[mask].reshape(5, 8)
    shown = padded.gather(1, order)
    grades = torch.full((5, 11), -1).scatter(1, order, GRADES)
    leaf = padded.clone().requires_grad_()
    value = loss(leaf, grades, mask)
    assert torch.allclose(value, loss(shown, GRADES))
    (slope,) = torch.autograd.grad(value, leaf)
    assert not slope[~mask].any() and torch.isfinite(slope).all()
    assert torch.autograd.gradcheck(lambda s: loss(s, GRADES[:2]), MANY[:2].clone().requires_grad_())


@pytest.mark.parametrize("loss", EVERY, ids=lambda loss: type(loss).__name__)
def test_weights_and_lists_with_nothing_to_rank(loss: torch.nn.Module) -> None:
    weight = torch.tensor([0.0, 0.0, 2.0, 0.0, 0.0])
    assert torch.allclose(loss(MANY, GRADES, None, weight), loss(MANY[2:3], GRADES[2:3]))
    scores = MANY.clone().requires_grad_()
    nothing = loss(scores[:, :1], torch.zeros(5, 1))
    nothing.backward()
    assert nothing.item() == 0.0 and not scores.grad.any()
    assert torch.isfinite(loss(MANY, GRADES, torch.zeros(5, 8, dtype=torch.bool)))


def test_relations_between_losses() -> None:
    pair = torch.tensor([[0.3, -0.2]]), torch.tensor([[1, 0]])
    assert losses.RankNetLoss()(*pair).item() == pytest.approx(float(np.log1p(np.exp(-0.5))))
    cold = -losses.ApproxNDCGLoss(temperature=1e-3)(MANY, GRADES).item()
    assert cold == pytest.approx(exact.ndcg(MANY, GRADES).mean(), abs=1e-6)
    noisy = losses.NeuralNDCGLoss(0.1, stochastic=True, beta=1e-6, log_scores=False, n_samples=2)(
        MANY, GRADES
    )
    assert noisy.item() == pytest.approx(losses.NeuralNDCGLoss(0.1)(MANY, GRADES).item(), abs=1e-3)


def test_exact_ndcg_is_scikit_learns() -> None:
    whole = MANY.round().numpy()  # many ties
    gains = np.exp2(GRADES.numpy()) - 1
    for k in (None, 3):
        assert exact.ndcg(whole, GRADES, k, ties="average").mean() == pytest.approx(
            ndcg_score(gains, whole, k=k)
        )
        assert exact.ndcg(MANY, GRADES, k).mean() == pytest.approx(ndcg_score(gains, MANY.numpy(), k=k))
    assert exact.ndcg([1.0, 0.0], [0, 0]) == 0.0
    for bad in ({"gain": "cubic"}, {"k": 0}, {"ties": "random"}):
        with pytest.raises(InputError, match=r"ndcg\(\) got"):
            exact.ndcg([1.0], [1.0], **bad)


def test_bad_input() -> None:
    loss = losses.NeuralNDCGLoss()
    with pytest.raises(InputError, match="got shapes"):
        loss(MANY[0], GRADES[0])
    with pytest.raises(InputError, match="NaN"):
        loss(torch.full((1, 2), torch.nan), torch.ones(1, 2))
    with pytest.raises(InputError, match="sample_weight"):
        loss(MANY, GRADES, None, torch.ones(3))
    with pytest.raises(InputError, match="mask"):
        loss(MANY, GRADES, torch.ones(5, 8))
    with pytest.raises(ParameterError, match="k=0"):
        losses.NeuralNDCGLoss(k=0)
    with pytest.raises(ParameterError, match="beta"):
        losses.NeuralNDCGLoss(beta=-1.0)
