"""linear_solve: linear systems on pytrees, known by a function that multiplies; returns the residual with the solution."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from hardgrad.core.errors import InputError, ParameterError, suggestion
from hardgrad.gradients import krylov
from hardgrad.gradients.pytrees import Packing, Rebuild, numeric_tensors, tensors_and_rest

SolveMethod = Literal["auto", "cg", "normal_cg", "gmres", "bicgstab", "neumann", "dense"]
METHODS: tuple[SolveMethod, ...] = ("auto", "cg", "normal_cg", "gmres", "bicgstab", "neumann", "dense")
DENSE_LIMIT = 512
SYMMETRIC_DENSE_LIMIT = 64
MATRIX_ENTRIES = 2**24
SAFETY = 1.05


@dataclass(frozen=True)
class LinearSolution:
    """The solution of a linear system, and how good it is.

    Parameters
    ----------
    value : pytree like the right-hand side.
    residual : norm of `b - (A + ridge I) x` over that of `b`; the worst of a batch.
    iterations : of the method; 0 for "dense".
    method : that was used.
    """

    value: Any
    residual: float
    iterations: int
    method: str


@dataclass(frozen=True)
class SolveSettings:
    """How linear systems are solved; see `linear_solve`."""

    method: SolveMethod = "auto"
    ridge: float = 0.0
    tol: float = 1e-6
    maxiter: int = 1000
    step: float | Literal["auto"] = "auto"
    symmetric: bool = False

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ParameterError(
                f"the method of a linear solve got {self.method!r}; expected one of {', '.join(METHODS)}."
                f"{suggestion(str(self.method), METHODS)}"
            )
        if not (self.ridge >= 0.0 and math.isfinite(self.ridge)):
            raise ParameterError(f"ridge got {self.ridge!r}; expected a finite number that is not negative.")
        if not (self.tol >= 0.0 and math.isfinite(self.tol)):
            raise ParameterError(f"tol got {self.tol!r}; expected a finite number that is not negative.")
        if self.maxiter < 0:
            raise ParameterError(
                f"maxiter got {self.maxiter!r}; expected a whole number that is not negative."
            )
        if self.step != "auto" and not (math.isfinite(self.step) and self.step != 0):
            raise ParameterError(f'step got {self.step!r}; expected "auto" or a finite number other than 0.')

    def resolved_method(self, systems: int, unknowns: int) -> SolveMethod:
        """Return the method for so many systems of so many unknowns."""
        if self.method != "auto":
            return self.method
        limit = SYMMETRIC_DENSE_LIMIT if self.symmetric else DENSE_LIMIT
        if unknowns <= limit and systems * unknowns**2 <= MATRIX_ENTRIES:
            return "dense"
        return "cg" if self.symmetric else "gmres"


def linear_solve(
    matvec: Callable[[Any], Any],
    b: Any,
    method: SolveMethod = "auto",
    *,
    ridge: float = 0.0,
    tol: float = 1e-6,
    maxiter: int = 1000,
    symmetric: bool = False,
    step: float | Literal["auto"] = "auto",
    preconditioner: Callable[[Any], Any] | None = None,
    start: Any = None,
    batch_dims: int = 0,
) -> LinearSolution:
    """Solve `A x + ridge x = b` for an A that is known by its products only.

    Parameters
    ----------
    matvec : maps a pytree like `b` to `A` times it; must be linear.
    b : tensor or pytree of floating-point tensors.
    method : "cg" (symmetric), "normal_cg" (CG on the normal equations; the transpose is made by differentiating `matvec`), "gmres"
        (restarted every 20), "bicgstab", "neumann" (the series `step * sum_k (I - step A)^k b` up to k = maxiter), "dense" (builds the
        matrix, LU; at most 512 unknowns) or "auto": dense where that is small, else CG if `symmetric`, else GMRES.
    ridge : r of the term `r I` that is added to A; not negative.
    tol : relative residual at which to stop.
    maxiter : most iterations; of GMRES most products, of "neumann" the terms after the first.
    symmetric : whether A is; only for "auto".
    step : of "neumann"; "auto" is 1 / (1.05 lambda_max), by 20 power iterations.
    preconditioner : maps a pytree like `b` to an approximation of A^-1 times it; for CG it must be symmetric and positive. Not for
        "normal_cg" and "dense".
    start : pytree like `b` to begin from; by default zeros.
    batch_dims : leading dimensions that all tensors of `b` share and that number independent systems, each with its own stop.

    Returns
    -------
    solution : value, relative residual (computed anew, not carried along), iterations and method. The vectors are float64 inside whatever
        the dtype of `b`; nothing here is differentiable.

    Raises
    ------
    InputError : NaN or infinity in `b`; a singular matrix in "dense"; a product that does not have the shape of `b`.
    ParameterError : an unknown method, numbers outside of their range, or "dense" with more than 512 unknowns.

    Examples
    --------
    >>> solution = linear_solve(lambda v: {"x": 2 * v["x"]}, {"x": torch.tensor([2.0, 4.0])}, "cg")
    >>> solution.value, solution.iterations
    ({'x': tensor([1., 2.])}, 1)
    """
    settings = SolveSettings(method, ridge, tol, maxiter, step, symmetric)
    tensors, rebuild = numeric_tensors("linear_solve", "b", b)
    packing = Packing.of(tensors, batch_dims)

    def product(matrix: Tensor) -> Tensor:
        return _pack(packing, matvec(rebuild(packing.unpack(matrix))))

    precondition = None if preconditioner is None else _packed(packing, rebuild, preconditioner)
    first = None if start is None else packing.pack(tensors_and_rest(start)[0])
    x, residual, iterations, used = solve_matrix(
        product, packing.pack(tensors), settings, precondition=precondition, start=first
    )
    return LinearSolution(rebuild(packing.unpack(x)), residual, iterations, used)


def _packed(packing: Packing, rebuild: Rebuild, function: Callable[[Any], Any]) -> krylov.Product:
    return lambda matrix: _pack(packing, function(rebuild(packing.unpack(matrix))))


def _pack(packing: Packing, tree: Any) -> Tensor:
    tensors, _ = tensors_and_rest(tree)
    shapes = tuple(t.shape for t in tensors)
    if shapes != packing.shapes:
        raise InputError(
            f"linear_solve() got a product of shapes {[tuple(s) for s in shapes]} for a vector of shapes "
            f"{[tuple(s) for s in packing.shapes]}; matvec must return a pytree like its argument."
        )
    return torch.cat([t.reshape(packing.batch.numel(), -1).double() for t in tensors], dim=1)


def solve_matrix(
    product: krylov.Product,
    b: Tensor,
    settings: SolveSettings,
    *,
    precondition: krylov.Product | None = None,
    start: Tensor | None = None,
) -> tuple[Tensor, float, int, SolveMethod]:
    """Solve systems that stand in a matrix (systems, unknowns); return the solution, worst relative residual, iterations and method."""
    if not bool(torch.isfinite(b).all()):
        raise InputError(
            "linear_solve() got NaN or infinity in the right-hand side; expected numbers. In a backward pass that is the incoming "
            "gradient: look for what overflows behind it."
        )
    method = settings.resolved_method(*b.shape)
    if precondition is not None and method in ("normal_cg", "dense"):
        raise ParameterError(
            f'linear_solve() got a preconditioner for method {method!r}; expected "cg", "gmres", "bicgstab" or "neumann".'
        )

    def graphed(x: Tensor) -> Tensor:
        return product(x) + settings.ridge * x if settings.ridge else product(x)

    def shifted(x: Tensor) -> Tensor:
        return (
            graphed(x).detach()
        )  # what the product closes over may require gradients: no graph may grow with the iterations

    size = krylov.norm(b)
    right = b if start is None else b - shifted(start)
    if b.numel() == 0 or not bool((size > 0).any()):
        return torch.zeros_like(b), 0.0, 0, method
    differentiable = graphed if method == "normal_cg" else shifted
    x, iterations = _run(
        method, differentiable, right, settings.tol * size, settings, precondition or _nothing
    )
    x = x if start is None else start + x
    if not bool(torch.isfinite(x).all()):
        raise InputError(
            f'linear_solve() with method {method!r} gave NaN or infinity: the system is singular, or the series of "neumann" diverges. Try '
            'ridge=1e-6, or for "neumann" step="auto".'
        )
    residual = float(krylov.divide(krylov.norm(b - shifted(x)), size).max())
    return x, residual, iterations, method


def _nothing(x: Tensor) -> Tensor:
    return x


def _run(
    method: SolveMethod, product: krylov.Product, b: Tensor, stop: Tensor, settings: SolveSettings, precondition: krylov.Product
) -> tuple[Tensor, int]:  # fmt: skip
    maxiter = settings.maxiter
    if method == "dense":
        return _dense(product, b), 0
    if method == "cg":
        return krylov.conjugate_gradient(product, b, stop, maxiter, precondition)
    if method == "normal_cg":
        return _normal_cg(product, b, stop, maxiter)
    if method == "gmres":
        return krylov.gmres(product, b, stop, maxiter, precondition)
    if method == "bicgstab":
        return krylov.bicgstab(product, b, stop, maxiter, precondition)
    return krylov.neumann(
        product, b, stop, maxiter, precondition, _step(settings, lambda x: precondition(product(x)), b)
    )


def _step(settings: SolveSettings, product: krylov.Product, b: Tensor) -> Tensor:
    if settings.step != "auto":
        return torch.full_like(b[:, :1], settings.step)
    return krylov.divide(torch.ones_like(b[:, :1]), SAFETY * krylov.dominant_eigenvalue(product, b))


def _dense(product: krylov.Product, b: Tensor) -> Tensor:
    unknowns = b.shape[1]
    if unknowns > DENSE_LIMIT:
        raise ParameterError(
            f'linear_solve() got method "dense" for {unknowns} unknowns; expected at most {DENSE_LIMIT}. Use "cg" (symmetric) or "gmres".'
        )
    solution: Tensor
    solution, singular = torch.linalg.solve_ex(krylov.dense_matrix(product, b), b)
    if bool((singular != 0).any()):
        raise InputError(
            "linear_solve() got a singular matrix: the solution is not unique, or a constraint is degenerate. Try ridge=1e-6."
        )
    return solution


def pullback(function: Callable[..., Any], *at: Tensor) -> tuple[Any, Callable[..., tuple[Tensor, ...]]]:
    """Return the values of a function and multiplication by its transposed Jacobian (`torch.func.vjp`, with types)."""
    values, pull = torch.func.vjp(function, *at)[:2]
    return values, pull


def _normal_cg(product: krylov.Product, b: Tensor, stop: Tensor, maxiter: int) -> tuple[Tensor, int]:
    """CG on `A^T A x = A^T b`; stops on the residual of the system itself would need a product more, so on that of A^T with a margin."""
    _, pull = pullback(product, torch.zeros_like(b))

    def transpose(x: Tensor) -> Tensor:
        return pull(x)[0]

    right = transpose(b).detach()
    relative = krylov.divide(stop, krylov.norm(b))
    return krylov.conjugate_gradient(
        lambda x: transpose(product(x).detach()).detach(),
        right,
        relative * krylov.norm(right),
        maxiter,
        _nothing,
    )
