"""Counting against torch, and what it promises: sums, edges, ties, neighbours."""

from __future__ import annotations

import pytest
import torch

from hardgrad import functional
from hardgrad.core.errors import InputError, ParameterError, UnsupportedError

X = 2.0 * torch.randn(200, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", list(functional.KINDS))
@pytest.mark.parametrize("temperature", [0.01, 1.0, 50.0])
def test_bins_sum_to_the_number_of_elements_in_range(kind: str, temperature: float) -> None:
    for bins, limits in (
        (7, None),
        (1, None),
        (4, (-1.0, 2.5)),
        (torch.tensor([-3.0, 0.0, 1.0]).double(), None),
    ):
        soft = functional.histogram(X, bins, range=limits, temperature=temperature, kind=kind)
        exact = functional.histogram(X, bins, range=limits, mode="hard")
        assert soft.hist.sum().item() == pytest.approx(exact.hist.sum().item(), rel=1e-12)
        assert (soft.hist >= -1e-12).all() and torch.allclose(soft.bin_edges, exact.bin_edges)


def test_histogram_has_torchs_arguments() -> None:
    weight = torch.rand(200, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    for density in (False, True):
        exact = torch.histogram(X, 5, range=(-3.0, 3.0), weight=weight.detach(), density=density)
        options = {"range": (-3.0, 3.0), "weight": weight, "density": density}
        for mode, tolerance in (("hard", 0.0), ("st", 0.0), ("soft", 1e-2)):
            found = functional.histogram(X, 5, **options, temperature=1e-6, mode=mode)
            assert torch.allclose(found.hist, exact.hist, atol=tolerance)
            assert torch.allclose(found.bin_edges, exact.bin_edges)
    hist = functional.histogram(X, 5, range=(-3.0, 3.0), weight=weight, temperature=0.2).hist
    assert torch.autograd.grad(hist.sum(), weight)[0].tolist() == pytest.approx(
        [float(abs(v) <= 3) for v in X]
    )
    constant = torch.histogram(torch.ones(3), 2)
    assert torch.equal(functional.histogram(torch.ones(3), 2).bin_edges, constant.bin_edges)
    batched = torch.func.vmap(lambda x: functional.histogram(x, 3, range=(-2.0, 2.0)).hist)(X.view(4, 50))
    assert torch.allclose(batched.sum(0), functional.histogram(X, 3, range=(-2.0, 2.0)).hist)


def test_histogram_refuses_what_is_no_bin() -> None:
    for bins in (0, -1, 2.5, True):
        with pytest.raises(ParameterError, match="bins"):
            functional.histogram(X, bins)
    with pytest.raises(ParameterError, match="edges and a range"):
        functional.histogram(X, torch.tensor([0.0, 1.0]), range=(0, 1))
    with pytest.raises(ParameterError, match="lesser end first"):
        functional.histogram(X, 3, range=(1.0, 0.0))
    with pytest.raises(InputError, match="not increasing"):
        functional.histogram(X, torch.tensor([1.0, 0.0]))
    with pytest.raises(InputError, match="weights of shape"):
        functional.histogram(X, 3, weight=torch.ones(3))


def test_bucketize_is_torchs() -> None:
    ends = torch.tensor([-1.0, 0.5, 2.0], dtype=torch.float64)
    for right in (False, True):
        exact = torch.bucketize(X, ends, right=right)
        assert torch.equal(functional.bucketize(X, ends, right=right, mode="hard"), exact)
        assert torch.equal(functional.bucketize(X, ends, right=right, mode="st"), exact.double())
    levels = torch.full_like(X, 1e-9)
    assert torch.allclose(
        functional.bucketize(X, ends, temperature=levels), torch.bucketize(X, ends).double()
    )
    with pytest.raises(InputError, match="one dimension"):
        functional.bucketize(X, ends.view(3, 1))


@pytest.mark.parametrize("kind", [*functional.KINDS, "normal"])
def test_unique_count_counts_equals_once(kind: str) -> None:
    x = torch.randint(0, 5, (4, 9), generator=torch.Generator().manual_seed(2)).double()
    exact = torch.tensor([float(len(torch.unique(row))) for row in x], dtype=torch.float64)
    assert torch.equal(functional.unique_count(x, mode="hard").double(), exact)
    assert torch.allclose(functional.unique_count(x, temperature=1e-6, kind=kind), exact, atol=1e-3)
    assert torch.allclose(functional.unique_count(x.mT, 0, temperature=1e-6, kind=kind), exact, atol=1e-3)
    warm = functional.unique_count(x, temperature=1e6, kind=kind)
    assert torch.allclose(warm, torch.ones_like(warm), atol=1e-3)
    assert torch.equal(functional.unique_count(x[:, :1].expand(4, 9), kind=kind), torch.ones(4).double())


def test_nearest_is_the_softmax_of_squared_distances_and_k_nearest_neighbours() -> None:
    from sklearn.neighbors import NearestNeighbors

    generator = torch.Generator().manual_seed(3)
    keys = torch.randn(20, 3, dtype=torch.float64, generator=generator)
    query = torch.randn(6, 3, dtype=torch.float64, generator=generator)
    soft = functional.nearest(query, keys, temperature=0.7)
    assert torch.allclose(soft.weights[:, 0], torch.softmax(-((torch.cdist(query, keys) / 0.7) ** 2), -1))
    _, found = NearestNeighbors(n_neighbors=4).fit(keys.numpy()).kneighbors(query.numpy())
    for mode in ("soft", "st", "hard"):
        out = functional.nearest(query, keys, 4, temperature=1e-3, mode=mode)
        assert out.indices.tolist() == found.tolist() and out.values.shape == (6, 4, 3)
        assert torch.allclose(out.values, keys[out.indices], atol=1e-6)
    warm = functional.nearest(query, keys, 2, temperature=torch.full((6,), 0.7, dtype=torch.float64))
    assert torch.allclose(warm.values[:, 0], soft.values[:, 0])


def test_nearest_refuses_what_does_not_fit() -> None:
    keys = torch.zeros(4, 2)
    for k in (0, 5):
        with pytest.raises(ParameterError, match=f"k={k} for 4 keys"):
            functional.nearest(torch.zeros(2), keys, k)
    with pytest.raises(InputError, match=r"expected \(\.\.\., d\) and \(n, d\)"):
        functional.nearest(torch.zeros(3), keys)


def test_bincount_names_the_histogram_that_does_the_same() -> None:
    x = torch.tensor([0, 2, 2, 5])
    with pytest.raises(UnsupportedError, match=r"histogram\(x, torch.arange"):
        functional.bincount(x)
    same = functional.histogram(x.float(), torch.arange(7) - 0.5, temperature=1e-3).hist
    assert torch.allclose(same, torch.bincount(x).float(), atol=1e-3)
