"""Iterations for linear systems that are known by their products only, many systems side by side, each with its own stop.

Everything here works on matrices (systems, unknowns) of float64. `stop` (systems, 1) is the norm of the residual at which a system is
solved; one that is solved stays as it is while the others go on.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Product = Callable[[Tensor], Tensor]

RESTART = 20
POWER_ITERATIONS = 20


def dot(x: Tensor, y: Tensor) -> Tensor:
    """Return the inner product of each system as a column."""
    return (x * y).sum(dim=1, keepdim=True)


def norm(x: Tensor) -> Tensor:
    """Return the Euclidean norm of each system as a column."""
    size: Tensor = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    return size


def divide(x: Tensor, y: Tensor) -> Tensor:
    """Return x / y, and 0 where y is 0: an iteration that has broken down stands still."""
    return torch.where(y != 0, x / torch.where(y != 0, y, 1.0), 0.0)


def conjugate_gradient(
    product: Product, b: Tensor, stop: Tensor, maxiter: int, precondition: Product
) -> tuple[Tensor, int]:
    """Conjugate gradient, for symmetric systems; `precondition` is a symmetric approximate inverse."""
    x, r = torch.zeros_like(b), b
    z = precondition(r)
    p, rz = z, dot(r, z)
    for k in range(maxiter):
        active = norm(r) > stop
        if not bool(active.any()):
            return x, k
        q = product(p)
        step = torch.where(active, divide(rz, dot(p, q)), 0.0)
        x, r = x + step * p, r - step * q
        z = precondition(r)
        rz, before = dot(r, z), rz
        p = z + divide(rz, before) * p
    return x, maxiter


def bicgstab(
    product: Product, b: Tensor, stop: Tensor, maxiter: int, precondition: Product
) -> tuple[Tensor, int]:
    """Stabilised bi-conjugate gradient, for any regular system; two products an iteration. `precondition` acts from the right."""
    x, r, shadow = torch.zeros_like(b), b, b
    p, rho = r, dot(shadow, r)
    for k in range(maxiter):
        active = norm(r) > stop
        if not bool(active.any()):
            return x, k
        p_hat = precondition(p)
        v = product(p_hat)
        alpha = torch.where(active, divide(rho, dot(shadow, v)), 0.0)
        s = r - alpha * v
        s_hat = precondition(s)
        t = product(s_hat)
        omega = torch.where(active, divide(dot(t, s), dot(t, t)), 0.0)
        x, r = x + alpha * p_hat + omega * s_hat, s - omega * t
        rho, before = dot(shadow, r), rho
        beta = divide(rho, before) * divide(alpha, omega)
        # Where the shadow residual has become useless, begin again from the residual itself.
        lost = active & (beta == 0)
        shadow = torch.where(lost, r, shadow)
        rho = torch.where(lost, dot(r, r), rho)
        p = r + torch.where(lost, 0.0, beta) * (p - omega * v)
    return x, maxiter


def gmres(
    product: Product, b: Tensor, stop: Tensor, maxiter: int, precondition: Product
) -> tuple[Tensor, int]:
    """GMRES, restarted every 20 products, for any regular system; `precondition` acts from the right."""
    x, r, done = torch.zeros_like(b), b, 0
    while done < maxiter and bool((norm(r) > stop).any()):
        correction, used = _gmres_cycle(product, r, stop, min(RESTART, maxiter - done), precondition)
        done += used
        x = x + correction
        r = b - product(x)
    return x, done


def _gmres_cycle(
    product: Product, r: Tensor, stop: Tensor, length: int, precondition: Product
) -> tuple[Tensor, int]:
    """One cycle: the combination of at most `length` Krylov vectors with the least residual."""
    size = norm(r)
    basis = [divide(r, size)]
    hessenberg = r.new_zeros(len(r), length + 1, length)
    target = r.new_zeros(len(r), length + 1, 1)
    target[:, 0] = size
    used = 0
    weights = r.new_zeros(len(r), 0, 1)
    for j in range(length):
        w = product(precondition(basis[j]))
        span = torch.stack(basis, dim=1)
        for _ in range(2):  # Gram-Schmidt twice is orthogonal to rounding
            h = span @ w.unsqueeze(2)
            hessenberg[:, : j + 1, j] += h.squeeze(2)
            w = w - (span * h).sum(dim=1)
        length_of_w = norm(w)
        hessenberg[:, j + 1, j] = length_of_w.squeeze(1)
        basis.append(torch.where(length_of_w > 1e-14 * size, divide(w, length_of_w), 0.0))
        used = j + 1
        small, right = hessenberg[:, : j + 2, : j + 1], target[:, : j + 2]
        weights = torch.linalg.pinv(small) @ right
        if not bool((norm((right - small @ weights).squeeze(2)) > stop).any()):
            break
    combined = (torch.stack(basis[:used], dim=1) * weights).sum(dim=1)
    return precondition(combined), used


def neumann(
    product: Product, b: Tensor, stop: Tensor, terms: int, precondition: Product, step: Tensor
) -> tuple[Tensor, int]:
    """The Neumann series `step * sum_{k <= terms} (I - step A)^k b`: `terms` products, `terms + 1` summands.

    Converges where `0 < step < 2 / lambda_max` for a positive definite system; the error is `A^-1 (I - step A)^(terms + 1) b`.
    """
    v = precondition(b)
    p = v
    for k in range(terms):
        active = norm(v) > stop
        if not bool(active.any()):
            return step * p, k
        v = torch.where(active, v - step * precondition(product(v)), v)
        p = torch.where(active, p + v, p)
    return step * p, terms


def dominant_eigenvalue(product: Product, like: Tensor) -> Tensor:
    """Return the eigenvalue of largest magnitude of each symmetric system as a column, by 20 power iterations.

    A fixed start makes it repeatable; the Rayleigh quotient never lies outside of the spectrum.
    """
    generator = torch.Generator().manual_seed(0)
    v = torch.randn(like.shape, generator=generator, dtype=like.dtype).to(like.device)
    v = divide(v, norm(v))
    value = torch.zeros_like(v[:, :1])
    for _ in range(POWER_ITERATIONS):
        w = product(v)
        value = dot(v, w)
        v = divide(w, norm(w))
    return value


def dense_matrix(product: Product, like: Tensor) -> Tensor:
    """Return the matrices (systems, unknowns, unknowns), one product a column; all columns at once where the product allows it."""
    systems, unknowns = like.shape
    columns = torch.eye(unknowns, dtype=like.dtype, device=like.device)
    columns = columns.unsqueeze(1).expand(unknowns, systems, unknowns)
    try:
        found = torch.vmap(product)(columns)
    except (
        RuntimeError
    ):  # what cannot be mapped (a branch on values, an old autograd.Function) goes one by one
        found = torch.stack([product(column) for column in columns])
    return found.permute(1, 2, 0)
