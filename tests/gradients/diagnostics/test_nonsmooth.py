"""The three effects of a kink on training, and the edge of stability against a dense Hessian."""

from __future__ import annotations

import pytest
import torch

from hardgrad.core.errors import InputError, ParameterError
from hardgrad.gradients.diagnostics import l1_path, sharpness, step_floor


def test_a_larger_penalty_leaves_larger_weights() -> None:
    target = torch.tensor([1.0, -0.5, 0.0, 0.2], dtype=torch.float64)
    start = torch.tensor([0.31, 0.17, -0.23, 0.11], dtype=torch.float64)
    seen: list[tuple[int, int]] = []
    report = l1_path(
        lambda w: (w - target).square().sum() / 2, start, [100.0, 10.0, 0.1], lambda p: torch.optim.SGD(p, lr=0.05), steps=400,
        progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert report.verdict == "paradox" and seen == [(1, 3), (2, 3), (3, 3)]
    low, middle, high = report.points
    assert high.norm / middle.norm == pytest.approx(10, rel=0.2)
    assert low.zeros == middle.zeros == high.zeros == 0 and high.proximal_zeros == 4
    # The proximal solution of a separable quadratic is soft thresholding.
    assert low.proximal_weights == pytest.approx([0.9, -0.4, 0.0, 0.1], abs=1e-8)
    smooth = l1_path(
        lambda w: (w - 5).square().sum(), start, [0.1, 0.2], lambda p: torch.optim.SGD(p, lr=0.05), steps=400
    )
    assert smooth.verdict == "consistent"


def test_constant_steps_stop_above_the_minimum_but_below_the_floor() -> None:
    w, best = 1.03, 1.0
    for _ in range(500):
        best = min(best, abs(w))
        w -= 0.1 * (1 if w > 0 else -1)
    assert 0 < best <= step_floor(0.1, 1.0)


@pytest.mark.parametrize("lr", [0.05, 0.5])
def test_sharpness_is_the_largest_eigenvalue(lr: float) -> None:
    g = torch.Generator().manual_seed(0)
    A = torch.randn(6, 6, generator=g, dtype=torch.float64)
    H = A @ A.T
    w = torch.randn(6, generator=g, dtype=torch.float64, requires_grad=True)
    report = sharpness(lambda: w @ H @ w / 2, [w], lr, iterations=2000, generator=g)
    top = float(torch.linalg.eigvalsh(H)[-1])
    assert report.eigenvalue == pytest.approx(top, rel=1e-4)
    assert report.verdict == ("above_edge" if top > 2 / lr else "below_edge")
    assert sharpness(lambda: w @ H @ w / 2, [w], 2 / top, generator=g).verdict == "at_edge"


def test_a_piecewise_linear_loss_has_no_edge_and_huber_has() -> None:
    w = torch.tensor([0.3, -2.0], requires_grad=True)
    report = sharpness(lambda: w.abs().sum(), [w], 0.1)
    assert report.verdict == "does_not_apply" and not report.applies
    near = torch.tensor([0.01], requires_grad=True)
    huber = sharpness(
        lambda: torch.nn.functional.huber_loss(near, torch.zeros(1), delta=0.1) / 0.1, [near], 0.5
    )
    assert huber.eigenvalue == pytest.approx(10.0) and huber.verdict == "above_edge"  # lr > 2 delta


def test_bad_input() -> None:
    w = torch.ones(1)
    with pytest.raises(ParameterError, match="strengths="):
        l1_path(lambda w: w.sum(), w, [], lambda p: torch.optim.SGD(p, lr=0.1))
    with pytest.raises(ParameterError, match="steps=3"):
        l1_path(lambda w: w.sum(), w, [1.0], lambda p: torch.optim.SGD(p, lr=0.1), steps=3)
    with pytest.raises(InputError, match="learning rate"):
        l1_path(lambda w: w.pow(4).sum(), 100 * w, [1.0], lambda p: torch.optim.SGD(p, lr=9.0), steps=200)
    with pytest.raises(ParameterError, match="lr=-1"):
        step_floor(-1, 1)
    with pytest.raises(ParameterError, match="lr=0"):
        sharpness(lambda: w.sum(), [w], 0)
