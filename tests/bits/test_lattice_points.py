"""Points of lattices: the closest one against enumeration of all and against fpylll, Babai's roundings, reduced bases."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from hardgrad.bits import babai_round, closest_lattice_point, lll_reduce
from hardgrad.bits.lattice_kernels import sphere_decode
from hardgrad.bits.lattice_points import ROUNDINGS
from hardgrad.core.errors import InputError, ParameterError


def whole_basis(rng: np.random.Generator, d: int) -> np.ndarray:
    """Whole numbers that span d dimensions."""
    while True:
        basis = rng.integers(-50, 51, (d, d))
        if abs(np.linalg.det(basis)) > 0.5:
            return basis


def squared(G: torch.Tensor, z: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return (z @ G.mT - x).square().sum(dim=-1)


@pytest.mark.parametrize("d", range(2, 13))
def test_the_closest_point_is_that_of_fpylll(d: int) -> None:
    fpylll = pytest.importorskip("fpylll")
    rng = np.random.default_rng(d)
    for _ in range(10):
        basis, target = whole_basis(rng, d), rng.integers(-300, 301, d)
        theirs = fpylll.IntegerMatrix.from_matrix(basis.T.tolist())
        fpylll.LLL.reduction(theirs)
        closest = np.array(fpylll.CVP.closest_vector(theirs, target.tolist()))
        z = closest_lattice_point(torch.tensor(basis).double(), torch.tensor(target).double())
        assert (
            float(squared(torch.tensor(basis).double(), z, torch.tensor(target).double()))
            == ((closest - target) ** 2).sum()
        )


@pytest.mark.parametrize(("d", "bits"), [(1, 3), (2, 3), (3, 2), (4, 2), (6, 1)])
def test_the_closest_point_within_bits_is_that_of_all(d: int, bits: int) -> None:
    generator = torch.Generator().manual_seed(d)
    G = torch.randn(d, d, generator=generator, dtype=torch.float64)
    x = 2 * torch.randn(40, d, generator=generator, dtype=torch.float64)
    numbers = range(-(2 ** (bits - 1)), 2 ** (bits - 1))
    every = torch.tensor(list(itertools.product(numbers, repeat=d)), dtype=torch.float64)
    least = squared(G, every, x[:, None]).amin(dim=1)
    found = closest_lattice_point(G, x, bits=bits)
    assert set(found.unique().tolist()) <= set(numbers)
    torch.testing.assert_close(squared(G, found, x), least, rtol=1e-12, atol=1e-12)
    for method in ROUNDINGS:
        guess = babai_round(G, x, method=method, bits=bits)
        assert set(guess.unique().tolist()) <= set(numbers)
        assert (squared(G, guess, x) >= least - 1e-12).all()


def test_orthogonal_bases_are_rounded_exactly() -> None:
    Q = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64))[0]
    G = Q * torch.tensor([0.1, 3.0, 1.0, 7.0, 0.5], dtype=torch.float64)
    x = 5 * torch.randn(100, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    closest = closest_lattice_point(G, x)
    for method in ROUNDINGS:
        assert torch.equal(babai_round(G, x, method=method), closest)


def test_nearest_planes_err_less_than_rounding_and_reduction_helps_both() -> None:
    generator = torch.Generator().manual_seed(2)
    skewed = torch.eye(6, dtype=torch.float64) + torch.triu(torch.full((6, 6), 1.4, dtype=torch.float64), 1)
    x = 10 * torch.randn(2000, 6, generator=generator, dtype=torch.float64)
    reduced, U = lll_reduce(skewed)
    errors = {
        (name, method): float(squared(G, babai_round(G, x, method=method), x).mean())
        for name, G in (("skewed", skewed), ("reduced", reduced))
        for method in ROUNDINGS
    }
    assert errors["skewed", "nearest_plane"] < errors["skewed", "rounding"]
    assert errors["reduced", "rounding"] < errors["skewed", "rounding"]
    closest = float(squared(skewed, closest_lattice_point(skewed, x), x).mean())
    assert closest <= min(errors.values()) + 1e-9
    torch.testing.assert_close(skewed @ U.double(), reduced, rtol=0, atol=1e-12)


@pytest.mark.parametrize("d", [1, 2, 5, 9])
def test_reduced_bases_satisfy_lovasz(d: int) -> None:
    rng = np.random.default_rng(d)
    for _ in range(5):
        basis = whole_basis(rng, d)
        reduced, U = lll_reduce(torch.tensor(basis).double())
        assert np.array_equal(basis @ U.numpy(), reduced.numpy())
        assert abs(round(float(np.linalg.det(U.double().numpy())))) == 1
        R = np.linalg.qr(reduced.numpy())[1]
        for k in range(1, d):
            assert (np.abs(R[:k, k]) <= 0.5 * np.abs(np.diagonal(R)[:k]) + 1e-9).all()
            assert R[k, k] ** 2 >= 0.75 * R[k - 1, k - 1] ** 2 - R[k - 1, k] ** 2 - 1e-9


def test_several_lattices_at_a_time() -> None:
    generator = torch.Generator().manual_seed(3)
    G, x = torch.randn(3, 4, 4, generator=generator), torch.randn(3, 7, 4, generator=generator)
    bits = torch.tensor([1, 2, 3])
    for method in ROUNDINGS:
        together = babai_round(G, x, method=method, bits=bits)
        for k in range(3):
            assert torch.equal(together[k], babai_round(G[k], x[k], method=method, bits=int(bits[k])))
    assert babai_round(G[0], x[0, 0]).shape == (4,)
    assert closest_lattice_point(G[0], x[:, :2]).shape == (3, 2, 4)
    assert closest_lattice_point(G[0], x[0, :0]).shape == (0, 4)


def test_the_kernel_is_the_loop_that_it_is_compiled_from() -> None:
    python = getattr(sphere_decode, "py_func", sphere_decode)
    rng = np.random.default_rng(4)
    R, Y = np.triu(rng.normal(size=(5, 5))), 3 * rng.normal(size=(20, 5))
    R[np.diag_indices(5)] = 0.3 + np.abs(np.diagonal(R))
    for low, high in ((-np.inf, np.inf), (-2.0, 1.0)):
        compiled, plain = np.empty_like(Y), np.empty_like(Y)
        sphere_decode(R, Y, low, high, compiled)
        python(R, Y, low, high, plain)
        assert np.array_equal(compiled, plain)


@pytest.mark.parametrize("function", [babai_round, closest_lattice_point])
def test_what_is_no_lattice_is_refused(function) -> None:
    eye, x = torch.eye(2), torch.zeros(3, 2)
    for G, points in [
        (torch.ones(2, 2), x), (torch.zeros(2, 2), x), (torch.eye(3)[:2], x), (eye, torch.zeros(3, 3)), (eye, x + torch.nan),
        (eye * torch.inf, x), (torch.eye(2, dtype=torch.int64), x), (eye, x.long()), (eye[0], x),
    ]:  # fmt: skip
        with pytest.raises(InputError):
            function(G, points)


def test_parameters_out_of_range_are_refused() -> None:
    with pytest.raises(ParameterError, match="nearest_plane"):
        babai_round(torch.eye(2), torch.zeros(2), method="nearest_plain")
    for delta in (0.25, 1.01, float("nan")):
        with pytest.raises(ParameterError):
            lll_reduce(torch.eye(2), delta=delta)
    with pytest.raises(InputError):
        lll_reduce(torch.ones(2, 2))
