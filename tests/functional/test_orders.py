"""argsort, rank, topk, kthvalue, quantile and median against torch and SciPy, in all modes and with odd arguments."""

from __future__ import annotations

import pytest
import scipy.stats
import torch

from hardgrad import functional
from hardgrad.core.errors import InputError, ParameterError
from hardgrad.functional.topk_projection import capped_simplex

X = torch.randn(4, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_exact_ranks_are_scipys_with_ties() -> None:
    whole = torch.tensor([[3, 1, 2, 3, 3], [0, 0, 5, 4, 4]])
    assert (
        functional.rank(whole, mode="hard").tolist() == scipy.stats.rankdata(whole.numpy(), axis=-1).tolist()
    )
    down = functional.rank(whole, dim=0, descending=True, mode="hard")
    assert down.tolist() == scipy.stats.rankdata(-whole.numpy(), axis=0).tolist()
    assert functional.rank(torch.tensor(7.0), mode="hard").item() == 1.0


@pytest.mark.parametrize("method", ["pairwise", "permutahedron", "permutahedron_kl", "sinkhorn"])
def test_ranks_sum_to_what_exact_ranks_do(method: str) -> None:
    ranks = functional.rank(X, temperature=0.8, method=method)
    assert torch.allclose(ranks.sum(-1), torch.full((4,), 45.0, dtype=torch.float64))
    both = ranks + functional.rank(X, temperature=0.8, method=method, descending=True)
    if method != "permutahedron_kl":
        assert torch.allclose(both, torch.full_like(both, 10.0))


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("method", ["softsort", "neural_sort", "sinkhorn", "projection"])
def test_topk_is_torchs(method: str, largest: bool) -> None:
    expected = torch.topk(X, 3, dim=0, largest=largest)
    found = functional.topk(X, 3, 0, largest, temperature=1e-3, method=method)
    assert torch.allclose(found.values, expected.values, atol=1e-3)
    assert torch.equal(found.indices, expected.indices) and found.weights.shape == (9, 3, 4)
    with pytest.raises(InputError, match="k=10"):
        functional.topk(X, 10)


def test_the_projection_is_that_onto_the_capped_simplex() -> None:
    from scipy.optimize import minimize

    z = X[0, :5]
    for total in (1.0, 2.0, 4.0):
        (w,) = capped_simplex(z, torch.tensor([total], dtype=torch.float64))
        solved = minimize(
            lambda v: ((v - z.numpy()) ** 2).sum(), [total / 5] * 5, bounds=[(0, 1)] * 5,
            constraints={"type": "eq", "fun": lambda v, t=total: v.sum() - t}, tol=1e-12,
        )  # fmt: skip
        assert w.tolist() == pytest.approx(solved.x.tolist(), abs=1e-5)


def test_no_element_is_taken_twice_by_the_projection() -> None:
    weights = functional.topk(X, 4, temperature=2.0, method="projection").weights
    assert (weights >= -1e-12).all() and (weights.sum(-2) <= 1 + 1e-12).all()


@pytest.mark.parametrize("interpolation", ["linear", "lower", "higher", "nearest", "midpoint"])
@pytest.mark.parametrize("method", ["softsort", "pinball"])
def test_quantiles_are_torchs(method: str, interpolation: str) -> None:
    q = torch.tensor([0.0, 0.21, 0.5, 1.0], dtype=torch.float64)
    for dim, keepdim in ((None, False), (0, True), (1, False), (None, True)):
        expected = torch.quantile(X, q, dim=dim, keepdim=keepdim, interpolation=interpolation)
        found = functional.quantile(
            X, q, dim, keepdim, interpolation=interpolation, temperature=1e-4, method=method
        )
        assert found.shape == expected.shape and torch.allclose(found, expected, atol=1e-3)


def test_the_pinball_gradient_is_the_closed_form() -> None:
    x = X[0].clone().requires_grad_()
    value = functional.quantile(x, 0.5, temperature=0.4, method="pinball")
    (slope,) = torch.autograd.grad(value, x)
    s = torch.sigmoid((value - x) / 0.4)
    share = (s * (1 - s)) / (s * (1 - s)).sum()
    assert torch.allclose(slope, share) and slope.sum().item() == pytest.approx(1.0)


def test_median_is_the_lower_one() -> None:
    even = X[:, :8]
    for keepdim in (False, True):
        values, indices = functional.median(even, 1, keepdim, temperature=1e-4)
        expected = torch.median(even, 1, keepdim)
        assert torch.allclose(values, expected.values, atol=1e-3) and torch.equal(indices, expected.indices)
    assert functional.median(even, temperature=1e-4).item() == pytest.approx(even.median().item(), abs=1e-3)
    assert torch.isnan(functional.median(torch.empty(0)))


def test_bad_arguments() -> None:
    for bad in (-0.1, 1.5, True, "half"):
        with pytest.raises(ParameterError, match=r"quantile\(\) got q"):
            functional.quantile(X, bad)
    with pytest.raises(InputError, match="at least one element"):
        functional.quantile(torch.empty(0), 0.5)
    for k in (0, 10):
        with pytest.raises(InputError, match=r"kthvalue\(\) got k"):
            functional.kthvalue(X, k)
    with pytest.raises(ParameterError, match=r"topk\(\) got k=2.0"):
        functional.topk(X, 2.0)  # type: ignore[arg-type]
    with pytest.raises(NotImplementedError, match="pinball"):
        _ = functional.kthvalue(X, 2, method="pinball").weights
