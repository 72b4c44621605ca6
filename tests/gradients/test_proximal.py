"""Proximal: exact zeros, scikit-learn's Lasso, the metric of adaptive optimisers, state that survives."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from hardgrad.core.errors import InputTypeError, ParameterError
from hardgrad.gradients import Proximal


def problem() -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 8))
    y = X @ np.array([3.0, -2.0, 0, 0, 1.0, 0, 0, 0]) + 0.3 * rng.normal(size=60)
    return torch.from_numpy(X), torch.from_numpy(y)


@pytest.mark.parametrize("kind", ["sgd", "momentum", "adam", "rmsprop"])
def test_agrees_with_lasso(kind: str) -> None:
    from sklearn.linear_model import Lasso

    X, y = problem()
    w = nn.Parameter(torch.zeros(1, 8, dtype=torch.float64))
    inner: torch.optim.Optimizer = {
        "sgd": lambda: torch.optim.SGD([w], lr=0.1),
        "momentum": lambda: torch.optim.SGD([w], lr=0.02, momentum=0.5),
        "adam": lambda: torch.optim.Adam([w], lr=0.01),
        "rmsprop": lambda: torch.optim.RMSprop([w], lr=0.01),
    }[kind]()
    optimizer = Proximal(inner, strength=0.4)
    for _ in range(1500):
        optimizer.zero_grad()
        ((X @ w[0] - y).square().mean() / 2).backward()
        optimizer.step()
    penalty = 0.4 * (0.5 if kind == "momentum" else 1.0)  # momentum b leaves (1 - b) of the penalty
    expected = (
        Lasso(alpha=penalty, fit_intercept=False, tol=1e-14, max_iter=100_000).fit(X.numpy(), y.numpy()).coef_
    )
    tolerance = 1e-9 if kind in ("sgd", "momentum") else 0.05
    np.testing.assert_allclose(w.detach().numpy()[0], expected, atol=tolerance)
    if kind != "rmsprop":
        assert np.array_equal(w.detach().numpy()[0] == 0, expected == 0)


def test_penalties() -> None:
    def after(penalty: str, values: list[list[float]], strength: float) -> list[list[float]]:
        w = nn.Parameter(torch.tensor(values))
        w.grad = torch.zeros_like(w)
        Proximal(torch.optim.SGD([w], lr=0.5), penalty=penalty, strength=strength).step()  # type: ignore[arg-type]
        return w.tolist()  # type: ignore[no-any-return]

    assert after("l1", [[2.0, -2.0, 0.25, 0.0]], 1.0) == [[1.5, -1.5, 0.0, 0.0]]
    assert after("group", [[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]], 5.0) == [[1.5, 2.0], [0.0, 0.0], [0.0, 0.0]]
    assert after("box", [[2.0, -2.0, 0.25]], 1.0) == [[1.0, -1.0, 0.25]]
    assert after("binary", [[0.75, -3.0, 0.0]], 1.0) == [[1.0, -2.5, 0.5]]


def test_biases_and_norms_are_left_alone_by_default() -> None:
    net = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2))
    before = copy.deepcopy(net.state_dict())
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    Proximal(torch.optim.SGD(net.parameters(), lr=1.0), strength=10.0).step()
    assert not net[0].weight.any()
    for name in ("0.bias", "1.weight", "1.bias"):
        assert torch.equal(net.state_dict()[name], before[name])


def test_state_is_the_optimisers_own() -> None:
    w = nn.Parameter(torch.tensor([[1e-4, 1.0]]))
    optimizer = Proximal(torch.optim.SGD([w], lr=0.1, momentum=0.9), strength=1.0)
    w.grad = torch.tensor([[-0.5, 0.0]])
    optimizer.step()
    assert (
        w[0, 0] == 0 and optimizer.state[w]["momentum_buffer"][0, 0] == -0.5
    )  # kept, so that the weight can return
    state = copy.deepcopy(optimizer.state_dict())
    again = Proximal(torch.optim.SGD([w], lr=0.3, momentum=0.9), strength=0.0)
    again.load_state_dict(state)
    assert (again.strength, again.param_groups[0]["lr"]) == (1.0, 0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(again, 1, 0.5)
    again.step()
    scheduler.step()
    assert again.optimizer.param_groups[0]["lr"] == 0.05


def test_bad_input() -> None:
    w = nn.Parameter(torch.ones(3))
    sgd = torch.optim.SGD([w], lr=0.1)
    with pytest.raises(InputTypeError, match="torch optimiser"):
        Proximal(w)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="penalty='l2'"):
        Proximal(sgd, [w], penalty="l2")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="strength=-1"):
        Proximal(sgd, [w], strength=-1)
    with pytest.raises(ParameterError, match="nothing to act on"):
        Proximal(sgd)
    with pytest.raises(ParameterError, match="does not hold"):
        Proximal(sgd, [nn.Parameter(torch.ones(2, 2))])
