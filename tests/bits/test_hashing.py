"""The contrastive loss against its definition written out, one pair at a time."""

from __future__ import annotations

import math

import pytest
import torch

import hardgrad
from hardgrad.bits import ContrastiveHashingLoss
from hardgrad.core.errors import InputError, ParameterError, TemperatureError


def batch(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    bits = torch.rand(9, 4, generator=generator, dtype=torch.float64)
    weights = torch.rand(9, generator=generator, dtype=torch.float64)
    return bits, torch.tensor([0, 1, 0, -1, 2, 1, 0, -1, 1]), weights


def written_out(
    bits: list[list[float]], labels: list[int], weights: list[float], t: float, selection: str
) -> float:
    def similarity(i: int, j: int) -> float:
        agree = [p * q + (1 - p) * (1 - q) for p, q in zip(bits[i], bits[j], strict=True)]
        return math.sqrt(weights[i] * weights[j]) * sum(agree) / len(agree)

    losses = []
    for i, label in enumerate(labels):
        others = [j for j in range(len(labels)) if j != i]
        positive = [math.exp(similarity(i, j) / t) for j in others if label >= 0 and labels[j] == label]
        negative = [math.exp(similarity(i, j) / t) for j in others if labels[j] != label]
        if not positive or not negative:
            continue
        if selection == "max":
            losses.append(-math.log(max(positive) / (max(positive) + sum(negative))))
        else:
            losses.append(
                -sum(math.log(p / (sum(positive) + sum(negative))) for p in positive) / len(positive)
            )
    return sum(losses) / len(losses)


@pytest.mark.parametrize("selection", ["max", "mean"])
@pytest.mark.parametrize("temperature", [0.05, 0.5])
def test_it_is_what_the_formula_says(selection: str, temperature: float) -> None:
    bits, labels, weights = batch()
    loss = ContrastiveHashingLoss(4, temperature, selection)  # type: ignore[arg-type]
    expected = written_out(bits.tolist(), labels.tolist(), weights.tolist(), temperature, selection)
    assert loss(bits, labels, weights).item() == pytest.approx(expected, rel=1e-12)
    hard = (bits > 0.5).double()
    expected = written_out(hard.tolist(), labels.tolist(), [1.0] * 9, temperature, selection)
    assert loss(bits, labels, mode="hard").item() == pytest.approx(expected, rel=1e-12)
    with hardgrad.mode("st"):
        assert loss(bits, labels).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("selection", ["max", "mean"])
def test_gradients(selection: str) -> None:
    bits, labels, weights = batch(1)
    loss = ContrastiveHashingLoss(4, 0.3, selection)  # type: ignore[arg-type]
    arguments = (bits.requires_grad_(), labels, weights.requires_grad_())
    assert torch.autograd.gradcheck(loss, arguments)
    gradient = torch.autograd.grad(loss(bits, labels, mode="st"), bits)[0]
    assert torch.isfinite(gradient).all() and gradient.abs().sum() > 0


def test_spans_that_are_not_there_have_finite_gradients() -> None:
    bits, labels, weights = batch(2)
    weights[:4] = 0.0
    loss = ContrastiveHashingLoss(4)(bits.requires_grad_(), labels, weights.requires_grad_())
    loss.backward()
    assert torch.isfinite(bits.grad).all() and torch.isfinite(weights.grad).all()  # type: ignore[arg-type]


@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2], [-1, -1, -1]])
def test_where_nothing_is_to_be_told_apart_the_loss_is_zero(labels: list[int]) -> None:
    bits = torch.rand(3, 2, requires_grad=True)
    loss = ContrastiveHashingLoss(2)(bits, torch.tensor(labels))
    loss.backward()
    assert loss.item() == 0.0 and bits.grad is not None and not bits.grad.any()


def test_minimising_it_gives_every_label_codes_of_its_own() -> None:
    torch.manual_seed(0)
    logits = torch.randn(40, 6, requires_grad=True)
    labels = torch.arange(40) % 5
    optimizer = torch.optim.Adam([logits], 0.05)
    for _ in range(150):
        optimizer.zero_grad()
        ContrastiveHashingLoss(6, 0.05, "mean")(torch.sigmoid(logits), labels).backward()
        optimizer.step()
    codes = logits.detach() > 0
    same = (codes.unsqueeze(1) == codes).all(-1)
    assert not (same & (labels.unsqueeze(1) != labels)).any()


@pytest.mark.parametrize(
    ("bits", "labels", "weights"),
    [
        (torch.zeros(3, 2), torch.zeros(3).long(), None),
        (torch.zeros(3, 4), torch.zeros(2).long(), None),
        (torch.zeros(3, 4), torch.zeros(3), None),
        (torch.zeros(3, 4), torch.zeros(3).long(), torch.ones(2)),
        (torch.full((3, 4), 1.5), torch.zeros(3).long(), None),
        (torch.full((3, 4), math.nan), torch.zeros(3).long(), None),
        (torch.zeros(3, 4), torch.zeros(3).long(), torch.full((3,), -0.1)),
        (torch.zeros(3, 4), torch.zeros(3).long(), torch.full((3,), math.nan)),
    ],
)
def test_bad_input_is_refused(bits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None) -> None:
    with pytest.raises(InputError):
        ContrastiveHashingLoss(4)(bits, labels, weights)


def test_bad_parameters_are_refused() -> None:
    with pytest.raises(ParameterError, match="num_bits"):
        ContrastiveHashingLoss(0)
    with pytest.raises(ParameterError, match=r"max.*mean"):
        ContrastiveHashingLoss(4, selection="min")  # type: ignore[arg-type]
    with pytest.raises(TemperatureError):
        ContrastiveHashingLoss(4, 0.0)
