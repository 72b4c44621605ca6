"""Soft forests as smoothers: against the normal equations, against their hard limit, and a penalty that smooths."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hardgrad.core.errors import InputError, ParameterError, UnsupportedError
from hardgrad.trees import (
    SmoothingReport,
    SmoothingRule,
    SoftForest,
    effective_parameter_penalty,
    effective_parameters,
    forest_from_trees,
    smoother_matrix,
)

RIDGE = SmoothingRule("refit", ridge=0.3)


def _forest() -> SoftForest:
    generator = torch.Generator().manual_seed(0)
    forest = SoftForest(3, 4, 2, 1, temperature=0.5).double()
    for p in (forest.weight, forest.offset):
        torch.nn.init.normal_(p, generator=generator)
    return forest


def _rows(n: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(n, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_leaves_are_refitted_by_the_normal_equations() -> None:
    forest, X, Q = _forest(), _rows(30), _rows(9, 2)
    P, PQ = (forest.leaf_probability(x).flatten(1).detach() for x in (X, Q))
    assert torch.allclose(forest.leaf_probability(X).sum(dim=2), torch.ones(30, 4, dtype=torch.float64))
    weight = torch.rand(30, dtype=torch.float64, generator=torch.Generator().manual_seed(3)) + 0.5
    S = smoother_matrix(forest, X, Q, sample_weight=weight.numpy(), rule=RIDGE)
    B = weight.diag()
    solved = torch.linalg.solve(P.T @ B @ P + 0.3 * torch.eye(16, dtype=torch.float64), P.T @ B)
    assert torch.allclose(S, PQ @ solved)


def test_the_penalty_is_the_effective_parameters_of_the_batch() -> None:
    forest, X = _forest().requires_grad_(False), _rows(30)
    penalty = effective_parameter_penalty(forest.leaf_probability(X), ridge=0.3)
    assert float(penalty) == pytest.approx(
        effective_parameters(smoother_matrix(forest, X, rule=RIDGE)), rel=1e-9
    )
    few = effective_parameter_penalty(forest.leaf_probability(X[:5]), ridge=0.3)  # fewer rows than leaves
    assert float(few) == pytest.approx(
        effective_parameters(smoother_matrix(forest, X[:5], rule=RIDGE)), rel=1e-9
    )


def test_gradients_against_finite_differences() -> None:
    p = torch.softmax(
        torch.randn(6, 2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(4)), 2
    )
    p.requires_grad_()
    assert torch.autograd.gradcheck(lambda q: effective_parameter_penalty(q, ridge=0.2), (p,))


def test_steps_along_the_penalty_smooth_the_forest() -> None:
    forest, X = _forest(), _rows(60)
    optimizer = torch.optim.Adam([forest.weight, forest.offset], 0.05)
    before = effective_parameters(smoother_matrix(forest, X))
    for _ in range(30):
        optimizer.zero_grad()
        effective_parameter_penalty(forest.leaf_probability(X)).backward()
        optimizer.step()
    assert effective_parameters(smoother_matrix(forest, X)) < 0.9 * before


def test_report_shows_the_smoothing_that_hardening_loses() -> None:
    def tree(f: int, t: float) -> dict[str, object]:
        leaves = {
            "feature": 1,
            "threshold": t,
            "left": {"value": 0.0},
            "right": {"value": 1.0},
        }
        return {"feature": f, "threshold": 0.1, "left": leaves, "right": {"value": 2.0}}

    rng = np.random.default_rng(0)
    X, Q = rng.normal(size=(80, 2)), rng.normal(size=(40, 2))
    hard = forest_from_trees([tree(0, 0.3), tree(0, -0.4), tree(0, 0.9)], ["a", "b"])
    soft = SoftForest.from_hard(hard, X, temperature=0.6)
    report = SmoothingReport.measure(soft, X, Q)
    assert report.trees == (3,) and report.n_train == 80
    assert report.train[0] < report.hard_train
    by_scores = SmoothingReport.measure(soft, soft.scores_of(X), soft.scores_of(Q))
    assert by_scores.train == pytest.approx(report.train) and by_scores.hard_train is None
    refitted = smoother_matrix(soft.harden(), X, Q, rule=SmoothingRule("refit", ridge=1e-3))
    assert report.hard_test == pytest.approx(effective_parameters(refitted))
    sharp = SoftForest.from_hard(hard, X, temperature=1e-4)
    assert np.allclose(smoother_matrix(sharp, X, Q), refitted, atol=1e-3)
    assert len(report.plot().lines) == 4


def test_bad_input() -> None:
    forest, X = _forest(), _rows(8)
    with pytest.raises(UnsupportedError, match="positive ridge"):
        smoother_matrix(forest, X, rule=SmoothingRule("average"))
    with pytest.raises(UnsupportedError, match="sparse=True"):
        smoother_matrix(forest, X, sparse=True)
    with pytest.raises(InputError, match="expected"):
        effective_parameter_penalty(torch.ones(3))
    with pytest.raises(ParameterError, match="positive"):
        effective_parameter_penalty(torch.ones(3, 2), ridge=0.0)
