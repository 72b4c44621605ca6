"""The derivative rules of a solution: one autograd.Function whose backward and forward-mode rules are again solutions, of linear problems.

That is what makes derivatives of any order, `vmap` and functorch's transforms work: each of them meets the same Function again. Everything
here works on lists of tensors; `implicit` puts pytrees around it.
"""

from __future__ import annotations

import dataclasses
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from hardgrad.core.errors import HardgradWarning
from hardgrad.gradients.linear_solvers import SolveMethod, SolveSettings, pullback, solve_matrix
from hardgrad.gradients.pytrees import Packing

WARN_RESIDUAL = 1e-3
Report = Callable[[float, int, SolveMethod], None]
Tensors = Sequence[Tensor]
Multiply = Callable[[Tensors], tuple[Tensor, ...]]
Unknowns = tuple[tuple[tuple[int, ...], torch.dtype], ...]


class Problem(ABC):
    """An equation F(x, theta) = 0 and a way to solve it.

    Parameters
    ----------
    settings : of the linear solves of its derivatives.
    report : is told relative residual, iterations and method of each of these solves.
    batch_dims : leading dimensions of x that number independent problems.
    """

    n_hidden = 0  # inputs in front of theta that only the solver sees
    n_x = 0  # outputs that are x; the rest is auxiliary
    unknowns: Unknowns | None = None  # of a linear problem: shapes and dtypes of x

    def __init__(self, settings: SolveSettings, report: Report, batch_dims: int) -> None:
        self.settings, self.report, self.batch_dims = settings, report, batch_dims

    @abstractmethod
    def optimality(self, x: Tensors, theta: Tensors) -> tuple[Tensor, ...]:
        """Return F(x, theta), in the shapes of x; differentiable in both."""

    @abstractmethod
    def solve(self, hidden: Tensors, theta: Tensors) -> tuple[Tensor, ...]:
        """Return x, then what is auxiliary; sets `n_x`."""

    def check_mapped(self) -> None:
        """Raise `UnsupportedError` where a solution has parts that cannot be stacked."""

    def split(self, inputs: Tensors) -> tuple[Tensors, Tensors]:
        """Return the inputs of only the solver, and theta."""
        return inputs[: self.n_hidden], inputs[self.n_hidden :]


class LinearProblem(Problem):
    """The equation `L x + c = 0` with L from the derivative of another problem.

    Its theta holds three things: the solution of the other problem, the theta of the other problem, and what defines c.
    """

    def __init__(self, base: Problem, x: Tensors, n_theta: int) -> None:
        # A linear problem has its ridge in its equation, so its derivatives must not add it again.
        settings = base.settings if base.unknowns is None else dataclasses.replace(base.settings, ridge=0.0)
        super().__init__(settings, base.report, base.batch_dims)
        self.base, self.n_x, self.n_theta = base, len(x), n_theta
        self.unknowns = tuple((tuple(t.shape), t.dtype) for t in x)

    @abstractmethod
    def linearise(
        self, x: Tensors, theta: Tensors, direction: Tensors
    ) -> tuple[Multiply, tuple[Tensor, ...]]:
        """Return multiplication by L, and c."""

    def _linear(self, theta: Tensors) -> tuple[Multiply, tuple[Tensor, ...]]:
        first, second = self.n_x, self.n_x + self.n_theta
        multiply, constant = self.linearise(theta[:first], theta[first:second], theta[second:])
        ridge = self.settings.ridge
        if not ridge:
            return multiply, constant
        return lambda x: tuple(a + ridge * b for a, b in zip(multiply(x), x, strict=True)), constant

    def optimality(self, x: Tensors, theta: Tensors) -> tuple[Tensor, ...]:
        """Return L x + c."""
        multiply, constant = self._linear(theta)
        return tuple(a + b for a, b in zip(multiply(x), constant, strict=True))

    def solve(self, hidden: Tensors, theta: Tensors) -> tuple[Tensor, ...]:
        """Return -L^-1 c."""
        return solve_linear(self, *self._linear(theta))


class Adjoint(LinearProblem):
    """`(dF/dx)^T u + g = 0`: the vector that a backward pass multiplies dF/dtheta by."""

    def linearise(
        self, x: Tensors, theta: Tensors, direction: Tensors
    ) -> tuple[Multiply, tuple[Tensor, ...]]:
        """Return multiplication by the transpose of dF/dx, and g."""
        _, pull = pullback(lambda *x: self.base.optimality(x, theta), *x)
        return lambda u: pull(tuple(u)), tuple(direction)

    def solve(self, hidden: Tensors, theta: Tensors) -> tuple[Tensor, ...]:
        """Return the adjoint vector; products are those of plain autograd, which keeps no graph of them and is twice as fast."""
        if self.settings.method == "normal_cg":  # differentiates the products
            return super().solve(hidden, theta)
        first, second = self.n_x, self.n_x + self.n_theta
        ridge, direction = self.settings.ridge, theta[second:]
        with torch.enable_grad():
            x = [t.detach().requires_grad_() for t in theta[:first]]
            values = self.base.optimality(x, [t.detach() for t in theta[first:second]])
        pairs = [(k, value) for k, value in enumerate(values) if value.requires_grad]

        def multiply(u: Tensors) -> tuple[Tensor, ...]:
            found: Tensors = [torch.zeros_like(t) for t in u]
            if pairs:
                found = torch.autograd.grad(
                    [value for _, value in pairs], x, [u[k] for k, _ in pairs], retain_graph=True, allow_unused=True,
                    materialize_grads=True,
                )  # fmt: skip
            return tuple(a + ridge * b for a, b in zip(found, u, strict=True)) if ridge else tuple(found)

        return solve_linear(self, multiply, direction)


class Tangent(LinearProblem):
    """`dF/dx t + dF/dtheta dtheta = 0`: the forward-mode derivative of the solution, for some of the tensors of theta."""

    def __init__(self, base: Problem, x: Tensors, n_theta: int, moving: Sequence[int]) -> None:
        super().__init__(base, x, n_theta)
        self.moving = tuple(moving)

    def linearise(
        self, x: Tensors, theta: Tensors, direction: Tensors
    ) -> tuple[Multiply, tuple[Tensor, ...]]:
        """Return multiplication by dF/dx, and the change of F by the change of theta alone."""
        n = self.n_x
        multiply = _push(lambda *x: self.base.optimality(x, theta), x)
        along = _push(
            lambda *some: self.base.optimality(some[:n], _replaced(theta, self.moving, some[n:])),
            [*x, *(theta[k] for k in self.moving)],
        )
        return multiply, along([*(torch.zeros_like(t) for t in x), *direction])


def _push(function: Callable[..., tuple[Tensor, ...]], at: Tensors) -> Multiply:
    """Return multiplication by the Jacobian of `function`, as the transpose of the transpose: reverse mode exists for more operations."""
    values, pull = pullback(function, *at)
    _, pull_back = pullback(lambda *u: pull(u), *(torch.zeros_like(v) for v in values))
    return lambda tangents: pull_back(tuple(tangents))


def _replaced(tensors: Tensors, places: Sequence[int], new: Tensors) -> list[Tensor]:
    filled = list(tensors)
    for place, tensor in zip(places, new, strict=True):
        filled[place] = tensor
    return filled


def solve_linear(
    problem: Problem,
    multiply: Multiply,
    constant: Tensors,
) -> tuple[Tensor, ...]:
    """Solve `multiply(x) + constant = 0`, report how well, and warn where that is not well enough."""
    packing = Packing.of(constant, problem.batch_dims)
    rows = packing.batch.numel()

    def product(matrix: Tensor) -> Tensor:
        return torch.cat([t.reshape(rows, -1).double() for t in multiply(packing.unpack(matrix))], dim=1)

    settings = problem.settings
    without_ridge = dataclasses.replace(settings, ridge=0.0)  # it is in the equation already
    x, residual, iterations, method = solve_matrix(product, -packing.pack(constant), without_ridge)
    problem.report(residual, iterations, method)
    if residual > WARN_RESIDUAL:
        warnings.warn(
            f"the linear solve behind an implicit derivative stopped at a relative residual of {residual:.1e} after {iterations} "
            f"iterations of {method!r}; the derivative is about as wrong. Raise maxiter, choose another solve=, or add a ridge.",
            HardgradWarning,
            stacklevel=2,
        )
    return tuple(packing.unpack(x))


class Mapped(Problem):
    """Many problems of one kind side by side, in a leading dimension: what `vmap` makes of a problem."""

    def __init__(self, base: Problem, batched: Sequence[bool], size: int) -> None:
        super().__init__(base.settings, base.report, base.batch_dims + 1)
        self.base, self.batched, self.size = base, tuple(batched), size
        self.n_hidden, self.n_x = base.n_hidden, base.n_x
        if base.unknowns is not None:
            self.unknowns = tuple(((size, *shape), dtype) for shape, dtype in base.unknowns)

    def optimality(self, x: Tensors, theta: Tensors) -> tuple[Tensor, ...]:
        """Return F of each problem."""
        dims = (0,) * len(x) + tuple(0 if b else None for b in self.batched[self.n_hidden :])
        n = len(x)
        mapped = torch.vmap(lambda *leaves: self.base.optimality(leaves[:n], leaves[n:]), in_dims=dims)
        return mapped(*x, *theta)

    def solve(self, hidden: Tensors, theta: Tensors) -> tuple[Tensor, ...]:
        """Solve one after the other; linear problems all at once."""
        unknowns = self.unknowns
        if unknowns is not None:
            return self._solve_linear(unknowns, theta)
        inputs = [*hidden, *theta]
        results = []
        for k in range(self.size):  # a solver may branch on values, so each problem is solved by itself
            one = [t[k] if b else t for t, b in zip(inputs, self.batched, strict=True)]
            results.append(self.base.solve(*self.base.split(one)))
            self.base.check_mapped()
        self.n_x = self.base.n_x
        return tuple(torch.stack(column) for column in zip(*results, strict=True))

    def _solve_linear(self, unknowns: Unknowns, theta: Tensors) -> tuple[Tensor, ...]:
        """All linear problems at once: the constant is F at 0, and L x what is left."""
        zeros = [torch.zeros(shape, dtype=dtype, device=theta[0].device) for shape, dtype in unknowns]
        constant = self.optimality(zeros, theta)

        def multiply(x: Tensors) -> tuple[Tensor, ...]:
            return tuple(a - b for a, b in zip(self.optimality(x, theta), constant, strict=True))

        return solve_linear(self, multiply, constant)


class Solution(torch.autograd.Function):
    """From theta to the solution of a problem."""

    @staticmethod
    def forward(problem: Problem, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Solve, without a graph."""
        return problem.solve(*problem.split(inputs))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Keep x and theta: all that derivatives need."""
        problem, *tensors = inputs
        x = output[: problem.n_x]
        ctx.problem, ctx.n_x = problem, problem.n_x
        _, theta = problem.split(tensors)
        ctx.mark_non_differentiable(*output[problem.n_x :])
        ctx.save_for_backward(*x, *theta)
        ctx.save_for_forward(*x, *theta)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Solve for the adjoint vector, and multiply dF/dtheta by it."""
        problem: Problem = ctx.problem
        n, first = ctx.n_x, 1 + problem.n_hidden
        x, theta = ctx.saved_tensors[:n], ctx.saved_tensors[n:]
        asked = [k for k in range(len(theta)) if ctx.needs_input_grad[first + k]]
        result: list[Tensor | None] = [None] * (first + len(theta))
        if not asked:
            return tuple(result)
        adjoint = solution(Adjoint(problem, x, len(theta)), *x, *theta, *gradients[:n])

        # In x as well, though its part is dropped: F may itself call torch.autograd.grad with respect to x.
        _, pull = pullback(
            lambda *some: problem.optimality(some[:n], _replaced(theta, asked, some[n:])),
            *x,
            *(theta[k] for k in asked),
        )
        for k, gradient in zip(asked, pull(adjoint)[n:], strict=True):
            result[first + k] = gradient
        return tuple(result)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> tuple[Tensor | None, ...]:
        """Solve for the tangent."""
        problem: Problem = ctx.problem
        n = ctx.n_x
        x, theta = ctx.saved_tensors[:n], ctx.saved_tensors[n:]
        given = tangents[1 + problem.n_hidden :]
        moving = [
            k for k, tangent in enumerate(given) if tangent is not None and theta[k].is_floating_point()
        ]
        if not moving:
            return tuple(torch.zeros_like(t) for t in x)
        along = [tangent for k, tangent in enumerate(given) if k in moving and tangent is not None]
        return solution(Tangent(problem, x, len(theta), moving), *x, *theta, *along)

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], problem: Problem, *inputs: Tensor
    ) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        """Make one problem of many."""
        dims = in_dims[1:]
        moved = [t if d is None else t.movedim(d, 0) for t, d in zip(inputs, dims, strict=True)]
        output = solution(Mapped(problem, [d is not None for d in dims], info.batch_size), *moved)
        return output, (0,) * len(output)


def solution(problem: Problem, *inputs: Tensor) -> tuple[Tensor, ...]:
    """Return x of a problem, differentiable in theta, and what is auxiliary."""
    result: tuple[Tensor, ...] = Solution.apply(problem, *inputs)  # type: ignore[no-untyped-call]
    return result
