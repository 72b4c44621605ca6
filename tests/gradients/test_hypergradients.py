"""hypergradient against closed forms, unrolled training and the bounds of the series; the pitfalls that it must say."""

from __future__ import annotations

import gc
import math
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hardgrad.core.errors import HardgradWarning, InputError, InputTypeError, ParameterError
from hardgrad.gradients import hypergradient

torch.manual_seed(1)
X = torch.randn(40, 6, dtype=torch.float64)
y = torch.randn(40, dtype=torch.float64)
X_VALID = torch.randn(30, 6, dtype=torch.float64)
y_valid = torch.randn(30, dtype=torch.float64)
LAM = torch.linspace(-2, 1, 6, dtype=torch.float64)


def train(w: Tensor, lam: Tensor) -> Tensor:
    return 0.5 * ((X @ w - y) ** 2).mean() + 0.5 * (lam.exp() * w**2).sum()


def valid(w: Tensor, lam: Tensor) -> Tensor:
    return 0.5 * ((X_VALID @ w - y_valid) ** 2).mean() + 0.01 * lam.sum()


def solve(lam: Tensor) -> Tensor:
    return torch.linalg.solve(X.T @ X / 40 + torch.diag(lam.exp()), X.T @ y / 40)


W = solve(LAM)
EXACT = torch.func.grad(lambda lam: valid(solve(lam), lam))(LAM)


def test_the_published_example() -> None:
    """Lt = (w - 1)^2 + e^lam w^2 / 2, Lv = (w - 1/2)^2 / 2 at lam = 0: exact -1/27; a = .1 gives -1/90 at K = 0, -0.028144 at K = 3."""
    w, lam = torch.tensor(2 / 3, dtype=torch.float64), torch.tensor(0.0, dtype=torch.float64)

    def inner(w: Tensor, lam: Tensor) -> Tensor:
        return (w - 1) ** 2 + 0.5 * torch.exp(lam) * w**2

    def outer(w: Tensor, lam: Tensor) -> Tensor:
        return 0.5 * (w - 0.5) ** 2

    def found(**options: Any) -> float:
        return float(hypergradient(outer, inner, w, lam, **options).grads)

    assert math.isclose(found(method="cg"), -1 / 27, rel_tol=1e-12)
    assert math.isclose(found(step=0.1, terms=0), -1 / 90, rel_tol=1e-12)
    assert math.isclose(found(step=0.1, terms=3), -0.028144, abs_tol=5e-7)
    assert math.isclose(found(method="identity"), -1 / 9, rel_tol=1e-12)  # a p at K = 0, up to the factor a


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        ({"method": "cg", "terms": 6}, 1e-9),
        ({"method": "neumann", "terms": 3000}, 1e-8),
        ({"method": "neumann", "terms": 300, "preconditioner": lambda v: v / (1 + LAM.exp())}, 1e-8),
        ({"method": "nystrom", "terms": 6, "damping": 1e-7}, 1e-5),
        ({"method": "unrolled", "terms": 250}, 1e-6),
    ],
)
def test_methods_reach_the_exact_hypergradient(options: dict[str, Any], tolerance: float) -> None:
    found = hypergradient(valid, train, W, LAM, **options)
    assert float((found.grads - EXACT).norm() / EXACT.norm()) < tolerance
    assert found.inner_gradient < 1e-12
    if found.residual is not None:
        assert found.residual < 1e-5


@pytest.mark.parametrize("terms", [0, 1, 7, 30])
def test_the_series_keeps_its_bound_and_is_unrolled_training(terms: int) -> None:
    hessian = X.T @ X / 40 + torch.diag(LAM.exp())
    exact = torch.linalg.solve(hessian, X_VALID.T @ (X_VALID @ W - y_valid) / 30)
    step = 0.4
    found = hypergradient(valid, train, W, LAM, terms=terms, step=step, tol=0.0)
    rate = float((1 - step * torch.linalg.eigvalsh(hessian)).abs().max())
    assert float((found.adjoint - exact).norm()) <= rate ** (terms + 1) * float(exact.norm()) * (1 + 1e-9)
    unrolled = hypergradient(valid, train, W, LAM, method="unrolled", terms=terms, step=step)
    assert torch.allclose(found.grads, unrolled.grads, atol=1e-12)


def test_nystrom_of_full_rank_is_the_damped_inverse_and_repeats() -> None:
    def found(seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return hypergradient(
            valid, train, W, LAM, method="nystrom", terms=3, damping=0.1, generator=generator
        ).grads

    assert torch.equal(found(0), found(0)) and not torch.equal(found(0), found(1))
    damped = hypergradient(valid, train, W, LAM, method="cg", terms=50, damping=0.1).grads
    full = hypergradient(valid, train, W, LAM, method="nystrom", terms=6, damping=0.1).grads
    assert torch.allclose(full, damped, atol=1e-10)


def test_a_warm_start_needs_fewer_products() -> None:
    cold = hypergradient(valid, train, W, LAM, method="cg", tol=1e-8)
    warm = hypergradient(valid, train, W, LAM, method="cg", tol=1e-8, start=cold.adjoint)
    assert warm.iterations < cold.iterations and torch.allclose(warm.grads, EXACT, atol=1e-7)


def test_pytrees_of_a_module_touch_no_grad_and_keep_no_graph() -> None:
    model = nn.Linear(6, 1, dtype=torch.float64)
    params = dict(model.named_parameters())
    hparams = {
        "decay": (torch.zeros(6, dtype=torch.float64),),
        "scale": torch.tensor(0.0, dtype=torch.float64),
    }

    def inner(p: Any, h: Any) -> Tensor:
        out = torch.func.functional_call(model, p, (X,)).squeeze(1)
        return ((out - h["scale"].exp() * y) ** 2).mean() + (h["decay"][0].exp() * p["weight"][0] ** 2).sum()

    def outer(p: Any, h: Any) -> Tensor:
        return ((torch.func.functional_call(model, p, (X_VALID,)).squeeze(1) - y_valid) ** 2).mean()

    found = hypergradient(outer, inner, params, hparams, method="cg", inner_tolerance=math.inf)
    assert found.grads["decay"][0].shape == (6,) and found.grads["scale"].shape == ()
    assert model.weight.grad is None and not found.grads["scale"].requires_grad
    assert found.adjoint["weight"].shape == (1, 6)


def test_losses_are_evaluated_once_so_dropout_is_frozen() -> None:
    calls = []

    def dropped(w: Tensor, lam: Tensor) -> Tensor:
        mask = torch.nn.functional.dropout(torch.ones_like(X), 0.5)
        calls.append(mask)
        return 0.5 * (((X * mask) @ w - y) ** 2).mean() + 0.5 * (lam.exp() * w**2).sum()

    found = hypergradient(valid, dropped, W, LAM, method="cg", terms=50, inner_tolerance=math.inf)
    (mask,) = calls
    masked = X * mask
    hessian = masked.T @ masked / 40 + torch.diag(LAM.exp())
    v = X_VALID.T @ (X_VALID @ W - y_valid) / 30
    assert torch.allclose(found.grads, 0.01 - torch.linalg.solve(hessian, v) * LAM.exp() * W, atol=1e-9)


def test_no_graph_is_kept() -> None:
    alive = []

    def watched(w: Tensor, lam: Tensor) -> Tensor:
        loss = train(w, lam)
        alive.append(weakref.ref(loss))
        return loss

    found = hypergradient(valid, watched, W, LAM)
    gc.collect()
    assert found is not None and alive[0]() is None


def test_weights_away_from_the_optimum_warn() -> None:
    with pytest.warns(HardgradWarning, match="not at an optimum"):
        hypergradient(valid, train, W + 1.0, LAM)


def test_what_does_not_appear_in_a_loss_is_named() -> None:
    hparams = {"decay": LAM, "rate": torch.tensor(0.1)}

    def inner(w: Tensor, h: Any) -> Tensor:
        return train(w, h["decay"])

    for method in ("cg", "unrolled"):
        with pytest.raises(InputError, match=r"hparams\['rate'\]"):
            hypergradient(lambda w, h: valid(w, h["decay"]), inner, W, hparams, method=method)  # type: ignore[arg-type]
    with pytest.warns(HardgradWarning, match=r"exactly zero for hparams\['rate'\]"):
        hypergradient(
            lambda w, h: valid(w, h["decay"]), lambda w, h: inner(w, h) + 0 * h["rate"] * w.sum(), W, hparams
        )
    with pytest.raises(InputError, match=r"params\['b'\].*functional_call"):
        hypergradient(
            lambda p, lam: valid(p["a"], lam), lambda p, lam: train(p["a"], lam), {"a": W, "b": W}, LAM
        )
    direct_only = hypergradient(
        lambda w, h: valid(w, h["decay"]) + h["rate"] ** 2, inner, W, hparams, method="cg"
    )
    assert math.isclose(float(direct_only.grads["rate"]), 0.2, rel_tol=1e-6)


def test_what_is_refused() -> None:
    with pytest.raises(InputError, match="scalar"):
        hypergradient(lambda w, lam: w, train, W, LAM)
    with pytest.raises(InputError, match="diverged"):
        hypergradient(valid, lambda w, lam: train(w, lam) * float("nan"), W, LAM)
    with pytest.raises(InputError, match="neumann"):
        hypergradient(valid, train, W, LAM, step=50.0, terms=2000)
    with pytest.raises(InputError, match="dominant eigenvalue"):
        hypergradient(valid, lambda w, lam: -train(w, lam), W, LAM)
    with pytest.raises(InputTypeError, match="int64"):
        hypergradient(valid, train, W, torch.arange(6))
    for bad in (
        {"method": "newton"}, {"terms": -1}, {"method": "cg", "terms": 0}, {"step": 0.0}, {"damping": -1.0},
        {"method": "nystrom", "damping": 0.0}, {"method": "identity", "start": W},
    ):  # fmt: skip
        with pytest.raises(ParameterError):
            hypergradient(valid, train, W, LAM, **bad)
