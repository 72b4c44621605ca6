"""linear_solve against LU of the same matrix: every method, batches, pytrees, dtypes, and what it refuses."""

from __future__ import annotations

import pytest
import torch

from hardgrad.core.errors import InputError, InputTypeError, ParameterError
from hardgrad.gradients import krylov
from hardgrad.gradients.linear_solvers import linear_solve


def _system(
    n: int = 12, *, symmetric: bool = True, batch: tuple[int, ...] = ()
) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    A = torch.randn(*batch, n, n, generator=generator, dtype=torch.float64)
    A = (
        A @ A.mT / n + torch.eye(n, dtype=torch.float64)
        if symmetric
        else A / n + torch.eye(n, dtype=torch.float64)
    )
    return A, torch.randn(*batch, n, generator=generator, dtype=torch.float64)


METHODS = ["cg", "normal_cg", "gmres", "bicgstab", "neumann", "dense", "auto"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("symmetric", [True, False])
def test_every_method_agrees_with_lu(method: str, symmetric: bool) -> None:
    A, b = _system(symmetric=symmetric)
    if method == "cg" and not symmetric:
        pytest.skip("CG is for symmetric systems")
    step = 0.3 if method == "neumann" else "auto"
    found = linear_solve(lambda v: A @ v, b, method, tol=1e-11, symmetric=symmetric, step=step)
    assert torch.allclose(found.value, torch.linalg.solve(A, b), atol=1e-8)
    exact = float((b - A @ found.value).norm() / b.norm())
    assert abs(found.residual - exact) < 1e-12
    assert found.residual < 1e-10


@pytest.mark.parametrize("method", ["cg", "normal_cg", "gmres", "bicgstab", "neumann", "dense"])
def test_a_batch_is_as_many_systems_each_with_its_own_stop(method: str) -> None:
    A, b = _system(6, batch=(3, 2))
    A[0, 1], b[2, 1] = torch.eye(6), 0.0  # one is solved at once, one has nothing to solve
    found = linear_solve(lambda v: (A @ v.unsqueeze(-1)).squeeze(-1), b, method, tol=1e-11, batch_dims=2)
    assert torch.allclose(found.value, torch.linalg.solve(A, b), atol=1e-8)


def test_pytrees_ridge_and_start() -> None:
    A, b = _system(7)

    def matvec(v):
        flat = A @ torch.cat([v["a"].reshape(-1), v["b"][0]])
        return {"a": flat[:4].reshape(2, 2), "b": (flat[4:],)}

    tree = {"a": b[:4].reshape(2, 2), "b": (b[4:],)}
    exact = torch.linalg.solve(A + 0.5 * torch.eye(7), b)
    found = linear_solve(matvec, tree, "cg", ridge=0.5, tol=1e-12)
    assert torch.allclose(torch.cat([found.value["a"].reshape(-1), found.value["b"][0]]), exact, atol=1e-9)
    again = linear_solve(matvec, tree, "cg", ridge=0.5, tol=1e-9, start=found.value)
    assert again.iterations == 0 and again.residual < 1e-9


def test_the_neumann_series_is_the_series_and_keeps_its_factor() -> None:
    A, b = _system(5)
    step, terms = 0.2, 4
    exact = sum(step * torch.linalg.matrix_power(torch.eye(5) - step * A, k) @ b for k in range(terms + 1))
    found = linear_solve(lambda v: A @ v, b, "neumann", step=step, maxiter=terms, tol=0.0)
    assert torch.allclose(found.value, exact, atol=1e-12)
    assert found.iterations == terms
    left = torch.linalg.matrix_power(torch.eye(5) - step * A, terms + 1) @ b
    assert abs(found.residual - float(left.norm() / b.norm())) < 1e-12


def test_the_automatic_step_converges_whatever_the_scale() -> None:
    A, b = _system(6)
    for scale in (1e-4, 1e4):
        found = linear_solve(lambda v, s=scale: s * (A @ v), b, "neumann", maxiter=2000, tol=1e-10)
        assert torch.allclose(found.value, torch.linalg.solve(scale * A, b), rtol=1e-6, atol=1e-12 / scale)
    assert torch.allclose(
        krylov.dominant_eigenvalue(lambda v: v @ A, b[None]), torch.linalg.eigvalsh(A)[-1], rtol=0.05
    )


@pytest.mark.parametrize("method", ["cg", "gmres", "bicgstab", "neumann"])
def test_a_preconditioner_helps(method: str) -> None:
    scale = torch.logspace(0, 4, 30, dtype=torch.float64)
    _, b = _system(30)
    options = {"tol": 1e-10, "maxiter": 60}
    plain = linear_solve(lambda v: scale * v, b, method, **options)
    helped = linear_solve(lambda v: scale * v, b, method, preconditioner=lambda v: v / scale, **options)
    assert helped.residual < 1e-9 < plain.residual or helped.iterations < plain.iterations


def test_float32_does_not_stall() -> None:
    """Vectors are float64 inside: CG reaches its tolerance where float32 sums would go round in circles."""
    torch.manual_seed(0)
    X = torch.randn(400, 200) * torch.logspace(0, -2, 200)
    b = torch.randn(200)
    found = linear_solve(lambda v: X.T @ (X @ v) + 1e-2 * v, b, "cg")
    X64 = X.double()
    exact = torch.linalg.solve(X64.T @ X64 + 1e-2 * torch.eye(200), b.double())
    assert found.value.dtype == torch.float32 and found.iterations < 1000
    assert float((found.value - exact).norm() / exact.norm()) < 1e-3


def test_no_graph_grows_with_the_iterations() -> None:
    A, b = _system(8)
    A.requires_grad_()
    for method in ("cg", "normal_cg", "gmres", "dense"):
        assert not linear_solve(lambda v: A @ v, b, method).value.requires_grad


def test_what_cannot_be_mapped_is_multiplied_one_by_one() -> None:
    A, b = _system(4)

    def matvec(v):
        return A @ v if float(v.abs().sum()) > 0 else v

    assert torch.allclose(linear_solve(matvec, b, "dense").value, torch.linalg.solve(A, b))


def test_what_is_refused() -> None:
    A, b = _system(4)
    with pytest.raises(InputError, match="right-hand side"):
        linear_solve(lambda v: A @ v, b * float("nan"), "cg")
    with pytest.raises(InputError, match="singular"):
        linear_solve(lambda v: torch.zeros_like(v), b, "dense")
    with pytest.raises(InputError, match="must return a pytree like"):
        linear_solve(lambda v: v[:2], b, "cg")
    with pytest.raises(InputError, match="diverges"):
        linear_solve(lambda v: 1e3 * v, b, "neumann", step=1.0, maxiter=1000)
    with pytest.raises(InputTypeError, match="torch.int64"):
        linear_solve(lambda v: v, torch.arange(3), "cg")
    with pytest.raises(InputTypeError, match="no tensor"):
        linear_solve(lambda v: v, {}, "cg")
    with pytest.raises(ParameterError, match="Did you mean 'gmres'"):
        linear_solve(lambda v: v, b, "gmre")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="at most 512"):
        linear_solve(lambda v: v, torch.ones(513), "dense")
    with pytest.raises(ParameterError, match="preconditioner"):
        linear_solve(lambda v: v, b, "dense", preconditioner=lambda v: v)
    for bad in ({"ridge": -1.0}, {"tol": float("nan")}, {"maxiter": -1}, {"step": 0.0}):
        with pytest.raises(ParameterError):
            linear_solve(lambda v: v, b, "neumann", **bad)


def test_auto_chooses_by_size_and_symmetry() -> None:
    for size, symmetric, method in (
        (8, False, "dense"),
        (600, False, "gmres"),
        (8, True, "dense"),
        (100, True, "cg"),
    ):
        assert linear_solve(lambda v: 2 * v, torch.ones(size), symmetric=symmetric).method == method
