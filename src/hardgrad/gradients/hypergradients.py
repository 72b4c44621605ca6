"""hypergradient: how the validation loss of trained weights changes with the hyperparameters that they were trained under."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor

from hardgrad.core.errors import HardgradWarning, InputError, ParameterError, suggestion
from hardgrad.gradients import krylov
from hardgrad.gradients.linear_solvers import SAFETY, SolveSettings, solve_matrix
from hardgrad.gradients.pytrees import Packing, Rebuild, names_of, numeric_tensors, tensors_and_rest

Loss = Callable[[Any, Any], Tensor]
Method = Literal["neumann", "cg", "nystrom", "identity", "unrolled"]
METHODS: tuple[Method, ...] = ("neumann", "cg", "nystrom", "identity", "unrolled")


@dataclass(frozen=True)
class HyperGradient:
    """The gradient of a validation loss in the hyperparameters, and how far to trust it.

    Parameters
    ----------
    grads : pytree like the hyperparameters.
    residual : norm of `v - H p` over that of `v`, where p stands for H^-1 v; None for "unrolled", which solves no system.
    iterations : products with the Hessian (steps, for "unrolled") behind p.
    inner_gradient : norm of the training gradient at the weights: 0 at the optimum; the hypergradient is wrong in proportion.
    step : of the Neumann series or of the unrolled steps; None where there is none.
    adjoint : p, a pytree like the weights, to begin the next solve from; None for "unrolled".
    """

    grads: Any
    residual: float | None
    iterations: int
    inner_gradient: float
    step: float | None = None
    adjoint: Any = None


def hypergradient(
    val_loss: Loss,
    train_loss: Loss,
    params: Any,
    hparams: Any,
    *,
    method: Method = "neumann",
    terms: int = 20,
    step: float | Literal["auto"] = "auto",
    damping: float | None = None,
    tol: float = 1e-10,
    preconditioner: Callable[[Any], Any] | None = None,
    start: Any = None,
    inner_tolerance: float = 0.1,
    generator: torch.Generator | None = None,
) -> HyperGradient:
    """Differentiate a validation loss in the hyperparameters, through the training that chose the weights, without unrolling it.

    By the implicit function theorem, at weights w that minimise the training loss,
    `dLv/dlam = dLv/dlam (direct) - (dLv/dw) H^-1 d2Lt/(dw dlam)` with H the Hessian of the training loss. The inverse is approximated by
    products with H: memory does not depend on how long the training was.

    Parameters
    ----------
    val_loss, train_loss : loss(params, hparams), scalars. Each is evaluated once, so that dropout is the same in every derivative.
    params : trained weights, a pytree of floating-point tensors; for a module, `dict(model.named_parameters())` and
        `torch.func.functional_call`.
    hparams : hyperparameters, a pytree of floating-point tensors. A tensor that neither loss depends on (a learning rate) is refused.
    method : how H^-1 v is approximated. "neumann": `terms + 1` summands of the series, robust and cheap, equal to as many unrolled steps.
        "cg": conjugate gradient, at most `terms` iterations, for a positive definite H. "nystrom": a random approximation of rank
        `terms`, needs damping. "identity": H = I, the cheapest. "unrolled": `terms + 1` gradient steps from the weights, differentiated.
    terms : see `method`.
    step : of "neumann" and "unrolled"; "auto" is 1 / (1.05 lambda_max), by 20 power iterations with H. A series needs a step below
        2 / lambda_max.
    damping : added to the diagonal of H; 0 by default, 0.01 for "nystrom".
    tol : relative residual at which "neumann" and "cg" may stop early.
    preconditioner : maps a pytree like `params` to about H^-1 times it, for "neumann" and "cg": where a few decays are very large, dividing
        by the known diagonal keeps the series from crawling.
    start : p of an earlier call (`adjoint`), for "neumann" and "cg".
    inner_tolerance : warn where the training gradient times the size of the weights is over this share of the loss: the weights are then
        not those that the theorem speaks of. `float("inf")` never warns.
    generator : of "nystrom".

    Returns
    -------
    hypergradient : `grads` like hparams, with the residual and what else says how far to trust them. Nothing of it is differentiable, no
        graph is kept and no `.grad` is touched.

    Raises
    ------
    InputError : a loss that is no finite scalar; a weight that the training loss does not depend on; a hyperparameter that neither loss
        depends on; a series that diverges.
    InputTypeError : leaves that are no floating-point tensors.
    ParameterError : an unknown method, or numbers outside of their range.

    Warns
    -----
    HardgradWarning : weights that are not at an optimum; hyperparameters whose indirect effect is exactly zero.

    Source: Lorraine, Vicol, Duvenaud, "Optimizing Millions of Hyperparameters by Implicit Differentiation", AISTATS 2020.

    Examples
    --------
    >>> train = lambda w, lam: (w - 1) ** 2 + 0.5 * torch.exp(lam) * w**2
    >>> valid = lambda w, lam: 0.5 * (w - 0.5) ** 2
    >>> w, lam = torch.tensor(2 / 3, dtype=torch.float64), torch.tensor(0.0, dtype=torch.float64)
    >>> found = hypergradient(valid, train, w, lam, method="cg")
    >>> round(found.grads.item(), 6), found.residual < 1e-12  # exact: -1/27
    (-0.037037, True)
    """
    rho = _checked(method, terms, step, damping)
    problem = _Problem(val_loss, train_loss, params, hparams)
    inner = problem.inner_gradient
    _warn_inner(problem, inner, inner_tolerance)
    if method == "unrolled":
        rate = problem.step(step, rho, None)
        grads = problem.unrolled(train_loss, val_loss, terms + 1, rate)
        return HyperGradient(problem.rebuild_hparams(grads), None, terms + 1, inner, rate)
    precondition = None if preconditioner is None else problem.packed(preconditioner)
    first = None if start is None else problem.packing.pack(tensors_and_rest(start)[0])
    length = problem.step(step, rho, precondition) if method == "neumann" else None
    if method in ("neumann", "cg"):
        settings = SolveSettings(cast(Any, method), rho, tol, terms, length or "auto", True)
        p, residual, iterations, _ = solve_matrix(
            problem.hessian, problem.v, settings, precondition=precondition, start=first
        )
    else:
        if preconditioner is not None or start is not None:
            raise ParameterError(
                f'hypergradient() got a preconditioner or a start for method {method!r}; expected "neumann" or "cg".'
            )
        p = problem.v if method == "identity" else problem.nystrom(terms, rho, generator)
        iterations = 0 if method == "identity" else min(terms, problem.v.shape[1])
        residual = problem.residual(p, rho)
    grads = problem.indirect(p)
    adjoint = problem.rebuild_params(problem.packing.unpack(p))
    return HyperGradient(problem.rebuild_hparams(grads), residual, iterations, inner, length, adjoint)


def _checked(method: str, terms: int, step: float | str, damping: float | None) -> float:
    if method not in METHODS:
        raise ParameterError(
            f"hypergradient() got method={method!r}; expected one of {', '.join(METHODS)}.{suggestion(str(method), METHODS)}"
        )
    if terms < 0 or (terms == 0 and method in ("cg", "nystrom")):
        raise ParameterError(
            f"hypergradient() got terms={terms} for method {method!r}; expected a positive number."
        )
    if step != "auto" and not (isinstance(step, int | float) and step > 0 and math.isfinite(step)):
        raise ParameterError(f'hypergradient() got step={step!r}; expected "auto" or a positive number.')
    rho = (0.01 if method == "nystrom" else 0.0) if damping is None else damping
    if not (rho >= 0 and math.isfinite(rho)) or (rho == 0 and method == "nystrom"):
        raise ParameterError(
            f'hypergradient() got damping={rho}; expected a number that is not negative, and positive for "nystrom".'
        )
    return rho


class _Problem:
    """One call: both losses evaluated once on fresh leaves, with the products that the methods need."""

    rebuild_params: Rebuild
    rebuild_hparams: Rebuild

    def __init__(self, val_loss: Loss, train_loss: Loss, params: Any, hparams: Any) -> None:
        weights, self.rebuild_params = numeric_tensors("hypergradient", "params", params)
        hypers, self.rebuild_hparams = numeric_tensors("hypergradient", "hparams", hparams)
        self.weight_names, self.hyper_names = names_of(params), names_of(hparams)
        self.w = [t.detach().requires_grad_() for t in weights]
        self.lam = [t.detach().requires_grad_() for t in hypers]
        self.packing = Packing.of(weights)
        with torch.enable_grad():
            valid = _scalar("val_loss", val_loss(*self._trees()))
            train = _scalar("train_loss", train_loss(*self._trees()))
            slopes = torch.autograd.grad(train, self.w, create_graph=True, allow_unused=True)
        self.train_value = float(train.detach())
        self.slopes = self._all_weights(slopes)
        outer = (
            torch.autograd.grad(valid, [*self.w, *self.lam], allow_unused=True)
            if valid.requires_grad
            else (None,) * (len(self.w) + len(self.lam))
        )
        n = len(self.w)
        self.direct = outer[n:]
        filled = [torch.zeros_like(w) if g is None else g for g, w in zip(outer[:n], self.w, strict=True)]
        self.v = self.packing.pack(filled)
        self.inner_gradient = float(krylov.norm(self.packing.pack(self.slopes)))

    def _trees(self) -> tuple[Any, Any]:
        return self.rebuild_params(self.w), self.rebuild_hparams(self.lam)

    def _all_weights(self, slopes: Sequence[Tensor | None]) -> list[Tensor]:
        missing = [f"params{name}" for name, g in zip(self.weight_names, slopes, strict=True) if g is None]
        if missing:
            raise InputError(
                f"hypergradient(): train_loss does not depend on {', '.join(missing)}. It must use the params that it is given, not "
                "those of a module that it closes over: torch.func.functional_call(model, params, x)."
            )
        return [g for g in slopes if g is not None]

    def packed(self, function: Callable[[Any], Any]) -> krylov.Product:
        """Return a function of pytrees like params as one of matrices."""
        return lambda m: self.packing.pack(
            tensors_and_rest(function(self.rebuild_params(self.packing.unpack(m))))[0]
        )

    def hessian(self, matrix: Tensor) -> Tensor:
        """Return H times each row."""
        rows = []
        for row in matrix.split(1):
            if not any(slope.requires_grad for slope in self.slopes):
                rows.append(torch.zeros_like(row))  # the loss is affine in the weights
                continue
            product = self._pull(self.w, self.packing.unpack(row))
            filled = [torch.zeros_like(w) if g is None else g for g, w in zip(product, self.w, strict=True)]
            rows.append(self.packing.pack(filled))
        return torch.cat(rows)

    def _pull(self, at: Sequence[Tensor], vector: Sequence[Tensor]) -> Sequence[Tensor | None]:
        pairs = [(slope, v) for slope, v in zip(self.slopes, vector, strict=True) if slope.requires_grad]
        found: Sequence[Tensor | None] = torch.autograd.grad(
            [slope for slope, _ in pairs], at, [v for _, v in pairs], retain_graph=True, allow_unused=True
        )
        return found

    def step(self, step: float | Literal["auto"], rho: float, precondition: krylov.Product | None) -> float:
        """Return the step of a series or of unrolled training."""
        if step != "auto":
            return float(step)

        def product(x: Tensor) -> Tensor:
            y = self.hessian(x) + rho * x
            return y if precondition is None else precondition(y)

        largest = float(krylov.dominant_eigenvalue(product, self.v))
        if not (largest > 0 and math.isfinite(largest)):
            raise InputError(
                f"hypergradient(): the dominant eigenvalue of the training Hessian is {largest:.3g}, so no step makes the series converge. "
                'Train further, add damping, or use method="cg" with damping.'
            )
        return 1.0 / (SAFETY * largest)

    def residual(self, p: Tensor, rho: float) -> float:
        """Return |v - (H + rho) p| / |v|."""
        left = krylov.norm(self.v - self.hessian(p) - rho * p)
        return float(krylov.divide(left, krylov.norm(self.v)))

    def nystrom(self, rank: int, rho: float, generator: torch.Generator | None) -> Tensor:
        """Return (H_r + rho)^-1 v for the Nystrom approximation of H from `rank` random directions."""
        n = self.v.shape[1]
        sketch = torch.randn(n, min(rank, n), generator=generator, dtype=torch.float64).to(self.v.device)
        basis = torch.linalg.qr(sketch).Q
        columns = self.hessian(basis.T.contiguous()).T
        core = basis.T @ columns
        inner = rho * (core + core.T) / 2 + columns.T @ columns
        # Not lstsq: where its operands lie in memory decides the last bits of its solution.
        weights = torch.linalg.pinv(inner, hermitian=True) @ (columns.T @ self.v.T)
        found: Tensor = (self.v - (columns @ weights).T) / rho
        return found

    def indirect(self, p: Tensor) -> list[Tensor]:
        """Return the direct derivative less p times the mixed one; refuses what neither loss depends on."""
        if any(slope.requires_grad for slope in self.slopes):
            mixed = self._pull(self.lam, self.packing.unpack(p))
        else:
            mixed = [None] * len(self.lam)
        unknown, idle, grads = [], [], []
        for name, lam, direct, indirect in zip(self.hyper_names, self.lam, self.direct, mixed, strict=True):
            if indirect is None and direct is None:
                unknown.append(f"hparams{name}")
                continue
            if indirect is not None and direct is None and bool((p != 0).any()) and not bool(indirect.any()):
                idle.append(f"hparams{name}")
            total = torch.zeros_like(lam) if direct is None else direct
            grads.append((total if indirect is None else total - indirect).detach())
        if unknown:
            raise InputError(
                f"hypergradient(): neither loss depends on {', '.join(unknown)}. What only steers the optimiser (a learning rate, a batch "
                "size) has no implicit gradient; leave it out, or differentiate unrolled steps that use it."
            )
        if idle:
            warnings.warn(
                f"hypergradient(): the mixed derivative of the training loss is exactly zero for {', '.join(idle)}; at these weights they "
                "have no effect.",
                HardgradWarning,
                stacklevel=3,
            )
        return grads

    def unrolled(self, train_loss: Loss, val_loss: Loss, steps: int, length: float) -> list[Tensor]:
        """Return the derivative through `steps` gradient steps from the weights."""
        with torch.enable_grad():
            w: list[Tensor] = [t.detach().requires_grad_() for t in self.w]
            hypers = self.rebuild_hparams(self.lam)
            for _ in range(steps):
                train = train_loss(self.rebuild_params(w), hypers)
                slopes = torch.autograd.grad(train, w, create_graph=True)
                w = [t - length * g for t, g in zip(w, slopes, strict=True)]
            valid = _scalar("val_loss", val_loss(self.rebuild_params(w), hypers))
            found: Sequence[Tensor | None] = torch.autograd.grad(valid, self.lam, allow_unused=True)
        unknown = [f"hparams{name}" for name, g in zip(self.hyper_names, found, strict=True) if g is None]
        if unknown:
            raise InputError(f"hypergradient(): neither loss depends on {', '.join(unknown)}; leave it out.")
        return [g for g in found if g is not None]


def _scalar(name: str, loss: Any) -> Tensor:
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        got = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
        raise InputError(f"hypergradient(): {name} returned {got}; expected a scalar tensor.")
    if not bool(torch.isfinite(loss.detach()).all()):
        raise InputError(
            f"hypergradient(): {name} is {float(loss.detach())}; the training has diverged. Lower its rate, or bound the hyperparameters."
        )
    scalar: Tensor = loss.reshape(())
    return scalar


def _warn_inner(problem: _Problem, gradient: float, tolerance: float) -> None:
    size = float(krylov.norm(problem.packing.pack(problem.w)))
    if gradient * size > tolerance * abs(problem.train_value):
        warnings.warn(
            f"hypergradient(): the training gradient has norm {gradient:.2e} at the weights (norm {size:.2e}, loss "
            f"{problem.train_value:.2e}): they are not at an optimum, and the hypergradient is biased. Train further, or say "
            "inner_tolerance=.",
            HardgradWarning,
            stacklevel=3,
        )
