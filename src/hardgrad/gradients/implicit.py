"""implicit_root and implicit_fixed_point: derivatives of the result of any solver, from the equation that the result satisfies."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, overload

import torch
from torch import Tensor

from hardgrad.core.errors import InputError, InputTypeError, ParameterError, UnsupportedError
from hardgrad.functional.operands import values_are_checked
from hardgrad.gradients.captured import (
    bare,
    escapes_explained,
    refuse_captured,
    refuse_captured_by_transform,
    transform_is_running,
)
from hardgrad.gradients.implicit_rules import Problem, solution
from hardgrad.gradients.linear_solvers import SolveMethod, SolveSettings, pullback
from hardgrad.gradients.pytrees import Rebuild, numeric_tensors, tensors_and_rest

Solver = Callable[..., Any]
Optimality = Callable[..., Any]


@dataclass(frozen=True)
class ImplicitReport:
    """What the last call of an `ImplicitFunction` found.

    Parameters
    ----------
    optimality : largest absolute value of F at the solution: how well the solver solved. Derivatives are wrong in proportion.
    residual : relative residual of the last linear solve for a derivative; None before there was one.
    iterations : of that solve.
    method : of that solve.
    """

    optimality: float
    residual: float | None = None
    iterations: int = 0
    method: str = ""


class ImplicitFunction:
    """A solver whose result is differentiable; made by `implicit_root` and `implicit_fixed_point`.

    Parameters
    ----------
    optimality : F(x, *theta), in the form of x, zero at the solution.
    solver : what solves it.
    settings : of the linear solves.
    has_init, has_aux, batch_dims : see `implicit_root`.
    """

    def __init__(
        self, optimality: Optimality, solver: Solver, settings: SolveSettings, *, has_init: bool, has_aux: bool, batch_dims: int
    ) -> None:  # fmt: skip
        if batch_dims < 0:
            raise ParameterError(f"batch_dims got {batch_dims}; expected a number of leading dimensions.")
        self.optimality, self.solver, self.settings = optimality, solver, settings
        self.has_init, self.has_aux, self.batch_dims = has_init, has_aux, batch_dims
        self._last: _Call | None = None
        functools.update_wrapper(self, solver)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Solve and return what the solver returns; x is differentiable in theta (see `implicit_root`)."""
        first = int(self.has_init)
        if len(arguments) < first:
            raise InputTypeError(
                f"{self._name()}() got no argument; with has_init=True the first one is the starting point."
            )
        call = _Call(self, (arguments[:first], options), arguments[first:])
        self._last = call
        inputs = call.inputs()
        with escapes_explained(self._name()):
            output = solution(call, *inputs)
        if transform_is_running():
            x, theta = output[: call.n_x], inputs[call.n_hidden :]
            bare_theta = [bare(t) for t in theta]
            values, _ = pullback(lambda *x: call.optimality(x, bare_theta), *(bare(t) for t in x))
            refuse_captured_by_transform(self._name(), values)
        return call.returned(output)

    @property
    def report(self) -> ImplicitReport | None:
        """How well the last call was solved, and the last derivative of it; None before the first call."""
        return None if self._last is None else self._last.measured()

    def _name(self) -> str:
        return getattr(self.solver, "__name__", type(self.solver).__name__)


class _Call(Problem):
    """One call of an implicit function: its pytrees as lists of tensors."""

    def __init__(self, function: ImplicitFunction, hidden: Any, theta: tuple[Any, ...]) -> None:
        super().__init__(function.settings, self._record, function.batch_dims)
        self._function = function
        self._hidden, self._rebuild_hidden = tensors_and_rest(hidden)
        self._theta, self._rebuild_theta = tensors_and_rest(theta)
        self.n_hidden = len(self._hidden)
        self._rebuild_x: Rebuild | None = None
        self._rebuild_aux: Rebuild | None = None
        self._error: Tensor | None = None
        self._solve: tuple[float | None, int, str] = (None, 0, "")

    def inputs(self) -> list[Tensor]:
        """Hand over the tensors of this call; the graph keeps the problem, so the problem must not keep them."""
        tensors = [t.detach() for t in self._hidden] + self._theta
        self._hidden, self._theta = [], []
        return tensors

    def returned(self, output: tuple[Tensor, ...]) -> Any:
        """Put the tensors of x, and of what is auxiliary, back into the form that the solver returned."""
        assert self._rebuild_x is not None
        x = self._rebuild_x(output[: self.n_x])
        return x if self._rebuild_aux is None else (x, self._rebuild_aux(output[self.n_x :]))

    def measured(self) -> ImplicitReport:
        """Return the report of this call."""
        error = float("nan") if self._error is None else float(self._error)
        return ImplicitReport(error, *self._solve)

    def _record(self, residual: float, iterations: int, method: SolveMethod) -> None:
        self._solve = residual, iterations, method

    # --- the problem ---------------------------------------------------------------------------------------------------------
    def optimality(self, x: Sequence[Tensor], theta: Sequence[Tensor]) -> tuple[Tensor, ...]:
        assert self._rebuild_x is not None
        value = self._function.optimality(self._rebuild_x(x), *self._rebuild_theta(theta))
        tensors, _ = tensors_and_rest(value)
        if [t.shape for t in tensors] != [t.shape for t in x]:
            raise InputError(
                f"{self._function._name()}: F(x) has shapes {[tuple(t.shape) for t in tensors]} where x has {[tuple(t.shape) for t in x]}; "
                "expected one equation for each unknown, in the form of x."
            )
        return tuple(t.to(like.dtype) for t, like in zip(tensors, x, strict=True))

    def solve(self, hidden: Sequence[Tensor], theta: Sequence[Tensor]) -> tuple[Tensor, ...]:
        name = self._function._name()
        init, options = self._rebuild_hidden([t.clone() for t in hidden])
        constants = [t.detach() for t in theta]
        versions = _versions(constants)
        with (
            torch.enable_grad()
        ):  # for solvers that differentiate; theta requires no gradient here, so nothing else keeps a graph
            found = self._function.solver(*init, *self._rebuild_theta(constants), **options)
        if _versions(constants) != versions:
            raise InputError(
                f"{name}() changed its theta in place, which other computations share; clone what it changes."
            )
        aux: list[Tensor] = []
        if self._function.has_aux:
            if not (isinstance(found, tuple) and len(found) == 2):
                raise InputTypeError(
                    f"{name}() returned a {type(found).__name__}; with has_aux=True it must return (x, aux)."
                )
            found, extra = found
            aux, self._rebuild_aux = tensors_and_rest(extra)
        tensors, self._rebuild_x = numeric_tensors(name, "its solution", found)
        self.n_x = len(tensors)
        x = [t.detach().clone() for t in tensors]
        self._examine(x, constants)
        return (*x, *(t.detach().clone() for t in aux))

    def check_mapped(self) -> None:
        if self._rebuild_aux is not None and _has_other_leaves(self._rebuild_aux):
            raise UnsupportedError(
                f"{self._function._name()}() returns auxiliary values that are no tensors, which vmap cannot stack; return tensors."
            )

    def _examine(self, x: Sequence[Tensor], theta: Sequence[Tensor]) -> None:
        """Evaluate F at the solution: its size is reported, and what it secretly depends on is refused."""
        name = self._function._name()
        with torch.enable_grad():
            copies = [t.detach().requires_grad_() for t in x]
            values = self.optimality(copies, theta)
        refuse_captured(name, values, copies)
        sizes = [v.detach().abs().max() for v in values if v.numel()]
        self._error = torch.stack([s.double() for s in sizes]).max() if sizes else torch.zeros(())
        if values_are_checked(self._error) and not bool(torch.isfinite(self._error)):
            raise InputError(
                f"{name}: F at the solution is NaN or infinite, so it has no derivative there. The solver may have diverged: look at x."
            )


def _versions(tensors: Sequence[Tensor]) -> list[int]:
    return [0 if t.is_inference() else t._version for t in tensors]


def _has_other_leaves(rebuild: Rebuild) -> bool:
    return bool(getattr(rebuild, "others", False))


def _check_functions(optimality: object, solver: object) -> None:
    if not callable(optimality) or not (solver is None or callable(solver)):
        raise InputTypeError(
            f"implicit_root() got {type(optimality).__name__} and {type(solver).__name__}; expected two functions, F(x, *theta) and "
            "solver(*theta)."
        )


class _FixedPoint:
    """F(x, *theta) = T(x, *theta) - x, on pytrees."""

    def __init__(self, step: Optimality) -> None:
        self.step = step

    def __call__(self, x: Any, *theta: Any) -> Any:
        before, rebuild = tensors_and_rest(x)
        after, _ = tensors_and_rest(self.step(x, *theta))
        if [t.shape for t in after] != [t.shape for t in before]:
            raise InputError(
                f"a fixed-point map got x of shapes {[tuple(t.shape) for t in before]} and returned {[tuple(t.shape) for t in after]}; "
                "expected the form of x."
            )
        return rebuild([a - b for a, b in zip(after, before, strict=True)])


Decorator = Callable[[Solver], ImplicitFunction]
Solve = SolveMethod


@overload
def implicit_root(
    optimality: Optimality, solver: Solver, *, has_init: bool = ..., has_aux: bool = ..., solve: Solve = ..., ridge: float = ...,
    tol: float = ..., maxiter: int = ..., symmetric: bool | None = ..., batch_dims: int = ...,
) -> ImplicitFunction: ...  # fmt: skip


@overload
def implicit_root(
    optimality: Optimality, solver: None = None, *, has_init: bool = ..., has_aux: bool = ..., solve: Solve = ..., ridge: float = ...,
    tol: float = ..., maxiter: int = ..., symmetric: bool | None = ..., batch_dims: int = ...,
) -> Decorator: ...  # fmt: skip


def implicit_root(
    optimality: Optimality,
    solver: Solver | None = None,
    *,
    has_init: bool = False,
    has_aux: bool = False,
    solve: Solve = "auto",
    ridge: float = 0.0,
    tol: float = 1e-6,
    maxiter: int = 1000,
    symmetric: bool | None = None,
    batch_dims: int = 0,
) -> ImplicitFunction | Decorator:
    """Differentiate through any solver: the derivative follows from the equation F(x, theta) = 0 that its result satisfies.

    Memory and time of the derivative do not depend on how many steps the solver took, nor on what it is made of: it may branch, call other
    libraries or work in place. The derivative solves one linear system with dF/dx, known by products only.

    Parameters
    ----------
    optimality : F(x, *theta), differentiable, in the form of x: one equation for each unknown. `gradients.optimality` has a catalogue.
    solver : solver(*theta, **options) -> x. Positional arguments are theta, which F gets as well; keyword arguments are for the solver
        alone. x and theta are tensors or pytrees; what is no floating-point tensor in theta (None, integers, text) is a constant. Without
        a solver, the result is a decorator for one.
    has_init : True for solver(init, *theta): a starting point comes first, which F does not get and which has no gradient.
    has_aux : True for a solver that returns (x, aux): aux is handed through and has no gradient.
    solve : linear solver: "auto", "dense", "cg", "normal_cg", "gmres", "bicgstab" or "neumann" (see `linear_solve`).
    ridge : added to the diagonal of dF/dx, for systems that are nearly singular; biases the derivative.
    tol, maxiter : of the linear solver.
    symmetric : whether dF/dx is, as where F is the gradient of something; by default what F itself says (`F.symmetric`).
    batch_dims : leading dimensions of x that number independent problems which the solver solves together; each has its own linear system.

    Returns
    -------
    function : called like the solver; its `report` says how well the last call and its last derivative were solved. Differentiable any
        number of times, in reverse and in forward mode, and under `torch.func.vmap` (the solver then runs once for each problem).

    Raises
    ------
    InputError : when called: F does not have the form of x; F depends on a tensor that requires a gradient and is not among its arguments
        (it would silently get none); the solver changes theta in place, or gives NaN; the linear system is singular.
    InputTypeError : when called: x is not made of floating-point tensors.
    ParameterError : an unknown linear solver or a number outside of its range.

    Warns
    -----
    HardgradWarning : a linear solve that stops at a relative residual over 1e-3.

    Notes
    -----
    F is evaluated at the x that is returned: a solver with momentum or extrapolation returns the iterate that satisfies the equation best,
    not the extrapolated point. At a kink of F the derivative is that of one side.

    Source: Blondel, Berthet, Cuturi, Frostig, Hoyer, Llinares-Lopez, Pedregosa, Vert, "Efficient and Modular Implicit Differentiation",
    NeurIPS 2022.

    Examples
    --------
    The square root by bisection, and its derivative 1 / (2 sqrt(theta)):

    >>> def bisection(theta):
    ...     low, high = torch.zeros_like(theta), 1 + theta
    ...     for _ in range(60):
    ...         middle = (low + high) / 2
    ...         low, high = torch.where(middle**2 < theta, middle, low), torch.where(middle**2 < theta, high, middle)
    ...     return middle
    >>> theta = torch.tensor(4.0, requires_grad=True)
    >>> root = implicit_root(lambda x, theta: x**2 - theta, bisection)(theta)
    >>> root.backward(); round(root.item(), 4), round(theta.grad.item(), 4)
    (2.0, 0.25)

    As a decorator, on a solver that is given a starting point:

    >>> @implicit_root(lambda x, theta: x**2 - theta, has_init=True)
    ... def newton(x, theta, steps=20):
    ...     for _ in range(steps):
    ...         x = (x + theta / x) / 2
    ...     return x
    >>> torch.func.grad(lambda theta: newton(torch.tensor(1.0), theta, steps=30))(torch.tensor(4.0))
    tensor(0.2500)
    """
    _check_functions(optimality, solver)
    declared = bool(getattr(optimality, "symmetric", False)) if symmetric is None else symmetric
    settings = SolveSettings(solve, ridge, tol, maxiter, symmetric=declared)

    def decorate(solver: Solver) -> ImplicitFunction:
        return ImplicitFunction(
            optimality, solver, settings, has_init=has_init, has_aux=has_aux, batch_dims=batch_dims
        )

    return decorate if solver is None else decorate(solver)


@overload
def implicit_fixed_point(step: Optimality, solver: Solver, **options: Any) -> ImplicitFunction: ...


@overload
def implicit_fixed_point(step: Optimality, solver: None = None, **options: Any) -> Decorator: ...


def implicit_fixed_point(
    step: Optimality, solver: Solver | None = None, **options: Any
) -> ImplicitFunction | Decorator:
    """Differentiate through any solver whose result is a fixed point: x = T(x, theta).

    Parameters
    ----------
    step : T(x, *theta), differentiable, in the form of x. It need not be the step that the solver takes: any map with that fixed point.
    solver, **options : as for `implicit_root`, with which this is the same for F = T - x.

    Returns
    -------
    function : see `implicit_root`.

    Raises
    ------
    InputError, InputTypeError, ParameterError : see `implicit_root`.

    Source: Blondel, Berthet, Cuturi, Frostig, Hoyer, Llinares-Lopez, Pedregosa, Vert, "Efficient and Modular Implicit Differentiation",
    NeurIPS 2022.

    Examples
    --------
    >>> @implicit_fixed_point(lambda x, theta: torch.cos(theta * x))
    ... def iterate(theta):
    ...     x = torch.zeros_like(theta)
    ...     for _ in range(200):
    ...         x = torch.cos(theta * x)
    ...     return x
    >>> theta = torch.tensor(1.0, dtype=torch.float64)
    >>> x = iterate(theta)
    >>> derivative = torch.func.grad(iterate)(theta)
    >>> torch.testing.assert_close(derivative, -x * torch.sin(x) / (1 + torch.sin(x)))
    """
    _check_functions(step, solver)
    return implicit_root(_FixedPoint(step), solver, **options)
