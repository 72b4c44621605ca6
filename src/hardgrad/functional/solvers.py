"""Gradients through any combinatorial solver: perturb its costs and average, or interpolate between two of its solutions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hardgrad.core.errors import InputError, ParameterError, UnsupportedError
from hardgrad.core.mode import Mode
from hardgrad.core.relaxed import straight_through
from hardgrad.functional.operands import Operands, check_choice, settle

METHODS = ("perturbed", "interpolated")
NOISES = ("normal", "gumbel")
SENSES = ("minimise", "maximise")
Solver = Callable[..., Any]


def black_box(
    solver: Solver | str,
    method: str = "perturbed",
    *,
    sense: str | None = None,
    dims: int | None = None,
    samples: int = 100,
    noise: str = "normal",
    **options: Any,
) -> BlackBox:
    """Return a combinatorial solver as a function of tensors, with useful gradients of its solution by the costs.

    Parameters
    ----------
    solver : function from the costs of one instance, a float64 NumPy array, to its solution, an array of the same shape that optimises the
        sum of costs * solution; or the name of a ready one: "assignment", "k_best", "shortest_path" or "spanning_tree".
    method : "perturbed" (the mean solution under noise of size `temperature`, exact derivative of that mean) or "interpolated" (exact
        solution; the gradient compares it with that of the costs moved by `temperature` times the incoming gradient).
    sense : "minimise" (costs) or "maximise" (scores); "minimise" by default, and known for the ready ones.
    dims : over how many trailing dimensions one instance extends, 1 by default; those in front are a batch, solved one by one.
    samples : how many perturbed instances "perturbed" solves for each.
    noise : "normal" or "gumbel", with which a solver that picks one element gives the softmax in the mean.
    **options : passed on to the solver, as in `black_box("k_best", k=3)`.

    Returns
    -------
    solve : to be called as `solve(costs, temperature=, mode=, generator=)`; see `BlackBox`.

    Raises
    ------
    ParameterError : an option outside its range.

    Examples
    --------
    >>> solve = black_box("shortest_path", method="interpolated", neighbours=4)
    >>> costs = torch.tensor([[1.0, 2.0], [1.0, 1.0]], requires_grad=True)
    >>> path = solve(costs, temperature=4.0)
    >>> path[1, 0].backward(); path.tolist(), costs.grad.tolist()
    ([[1.0, 0.0], [1.0, 1.0]], [[0.0, 0.25], [-0.25, 0.0]])

    Source: Berthet, Blondel, Teboul, Cuturi, Vert and Bach, 2020, Learning with Differentiable Perturbed Optimizers; Vlastelica, Paulus,
    Musil, Martius and Rolínek, 2020, Differentiation of Blackbox Combinatorial Solvers.
    """
    if isinstance(solver, str):
        from hardgrad.functional.exact_solvers import READY

        check_choice("black_box", "solver", solver, READY)
        ready = READY[solver]
        if sense not in (None, ready.sense) or dims not in (None, ready.dims):
            raise ParameterError(
                f"black_box() got sense={sense!r}, dims={dims!r} for {solver!r}, which solves instances of {ready.dims} dimensions and "
                f"will {ready.sense}. Leave both out."
            )
        solver, sense, dims = ready.solve, ready.sense, ready.dims
    check_choice("black_box", "method", method, METHODS)
    check_choice("black_box", "noise", noise, NOISES)
    chosen = "minimise" if sense is None else sense
    check_choice("black_box", "sense", chosen, SENSES)
    size = 1 if dims is None else dims
    if size < 1 or samples < 1:
        raise ParameterError(
            f"black_box() got dims={size}, samples={samples}; expected both to be at least 1."
        )
    return BlackBox(partial(solver, **options), method, chosen, size, samples, noise)


class BlackBox:
    """A solver as a function of tensors. Made by `black_box`."""

    def __init__(self, solver: Solver, method: str, sense: str, dims: int, samples: int, noise: str) -> None:
        self._solver = solver
        self.method, self.sense, self.dims = method, sense, dims
        self.samples, self.noise = samples, noise

    def __call__(
        self,
        costs: Tensor,
        *,
        temperature: Any = None,
        mode: Mode | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the solution, in the shape of the costs.

        Parameters
        ----------
        costs : (batch ..., instance ...), real and finite; copied to the CPU for the solver.
        temperature : positive number, in the units of the costs: the size of the noise, or how far interpolation looks; by default that of
            the surrounding `hardgrad.mode` block, else 0.1. "interpolated" wants it large enough that solutions change.
        mode : "soft" (for "perturbed" the mean solution), "st" (exact solution, the same gradient) or "hard" (exact solution, no gradient).
        generator : of the noise.

        Raises
        ------
        InputError : NaN or infinity, too few dimensions, or a solution of another shape or that is not finite.
        ParameterError : a solver that does the opposite of its `sense`.
        TemperatureError, ModeError : an argument outside its range.
        """
        call = settle("black_box", costs, temperature=temperature, mode=mode)
        self.check_dims(costs)
        if call.mode == "hard":
            return self.solve(costs).to(call.dtype)
        level = level_of(call)
        exact = self.solve(call.tensors[0].detach())
        if self.method == "interpolated":
            found = _Interpolated.apply(call.tensors[0], exact, level, self)  # type: ignore[no-untyped-call]
            return found.to(call.dtype)  # type: ignore[no-any-return]
        _, score, solutions = self.perturbed(call.tensors[0].detach(), level, generator)
        self.check_sense(call.tensors[0].detach(), exact, solutions)
        relaxed = _Perturbed.apply(call.tensors[0], exact, score, solutions, self.dims)  # type: ignore[no-untyped-call]
        if call.mode == "st":
            relaxed = straight_through(exact, relaxed)
        return relaxed.to(call.dtype)  # type: ignore[no-any-return]

    def solve(self, costs: Tensor) -> Tensor:
        """Return the exact solutions of a batch, without a gradient."""
        array = costs.detach().cpu().double().numpy()
        shape = array.shape[len(array.shape) - self.dims :]
        instances = array.reshape(-1, *shape) if array.size else array.reshape(0, *shape)
        solutions = np.empty(instances.shape)
        for solution, instance in zip(solutions, instances, strict=True):
            found = np.asarray(self._solver(instance))
            if found.shape != shape or not np.isfinite(found).all():
                raise InputError(
                    f"black_box() got a solution of shape {found.shape} from its solver; expected finite numbers in the shape {shape} of "
                    "the costs of one instance."
                )
            solution[...] = found
        result = torch.from_numpy(solutions.reshape(array.shape)).to(costs.device)
        return result.to(costs.dtype if costs.is_floating_point() else torch.get_default_dtype())

    def perturbed(
        self, costs: Tensor, temperature: Any, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return perturbed costs, the score by which the derivative weighs them, and their solutions: (samples, *costs.shape) each."""
        shape = (self.samples, *costs.shape)
        sign = 1.0 if self.sense == "maximise" else -1.0
        if self.noise == "normal":
            z = torch.randn(shape, generator=generator, dtype=costs.dtype, device=costs.device)
            score = z
        else:
            waiting = torch.empty(shape, dtype=costs.dtype, device=costs.device)
            waiting = waiting.exponential_(generator=generator).clamp_min(torch.finfo(costs.dtype).tiny)
            z, score = -waiting.log(), 1.0 - waiting
        moved = costs + temperature * sign * z
        return moved, sign * score / temperature, self.solve(moved)

    def check_dims(self, costs: Tensor) -> None:
        """Raise `InputError` for costs with fewer dimensions than one instance."""
        if costs.dim() < self.dims:
            raise InputError(
                f"black_box() got costs of shape {tuple(costs.shape)}; expected {self.dims} dimensions of an instance, and any in front."
            )

    def check_sense(self, costs: Tensor, exact: Tensor, others: Tensor) -> None:
        """Raise `ParameterError` where other solutions are better on the whole than those that ought to be the best."""
        sign = -1.0 if self.sense == "maximise" else 1.0
        worse = sign * (costs * (others - exact)).sum()
        if float(worse) < -1e-5 * float((costs * exact).abs().sum() + 1e-12) * others.shape[0]:
            raise ParameterError(
                f"black_box() was told that its solver will {self.sense}, but solutions of other costs are better. Pass sense="
                f"{'minimise' if self.sense == 'maximise' else 'maximise'!r}, or the negative of the costs."
            )


class _Once(torch.autograd.Function):
    """Hands a gradient on; to differentiate it again is an error, not a zero."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, costs: Tensor) -> Tensor:
        return gradient.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None]:
        raise UnsupportedError(
            "black_box() has first derivatives only, and its gradient was differentiated again. Estimate the second from differences."
        )


def _once(gradient: Tensor, costs: Tensor) -> Tensor:
    return _Once.apply(gradient, costs) if torch.is_grad_enabled() else gradient  # type: ignore[no-untyped-call]


class _Perturbed(torch.autograd.Function):
    """The mean of the solutions; backward: mean over samples of <gradient, solution - exact solution> * score, instance by instance."""

    @staticmethod
    def forward(
        ctx: Any, costs: Tensor, exact: Tensor, score: Tensor, solutions: Tensor, dims: int
    ) -> Tensor:
        ctx.save_for_backward(costs, exact, score, solutions)
        ctx.dims = tuple(range(-dims, 0))
        return solutions.mean(dim=0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        costs, exact, score, solutions = ctx.saved_tensors
        # Subtracting the exact solution changes no mean, because that of the score is 0, and most of the variance.
        gain = (gradient * (solutions - exact)).sum(dim=ctx.dims, keepdim=True)
        return _once((gain * score).mean(dim=0), costs), None, None, None, None


class _Interpolated(torch.autograd.Function):
    """The exact solution; backward: how it moves when the costs move by `step` along the incoming gradient."""

    @staticmethod
    def forward(ctx: Any, costs: Tensor, exact: Tensor, step: Any, box: BlackBox) -> Tensor:
        ctx.save_for_backward(costs, exact)
        ctx.step, ctx.box = step, box
        return exact.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        costs, exact = ctx.saved_tensors
        sign = 1.0 if ctx.box.sense == "minimise" else -1.0
        moved = ctx.box.solve(costs + sign * ctx.step * gradient)
        ctx.box.check_sense(costs, exact, moved.unsqueeze(0))
        return _once(sign * (moved - exact) / ctx.step, costs), None, None, None


def fenchel_young_loss(
    solve: BlackBox,
    costs: Tensor,
    target: Tensor,
    *,
    temperature: Any = None,
    reduction: str = "mean",
    generator: torch.Generator | None = None,
) -> Tensor:
    """Return a convex loss that teaches costs whose solution is the target; its gradient needs no derivative of the solver.

    Parameters
    ----------
    solve : a `black_box`; its samples and noise perturb the costs, whatever its method.
    costs : (batch ..., instance ...), as for `solve`.
    target : the solutions that are wanted, in the shape of the costs.
    temperature : size of the noise, as for `BlackBox`.
    reduction : "mean" or "sum" over the instances, or "none".
    generator : of the noise.

    Returns
    -------
    loss : gradient mean solution - target for a maximising solver, target - mean solution for a minimising one. It lacks the part that
        depends on the target alone, so its minimum need not be 0.

    Raises
    ------
    InputError : a target of another shape than the costs.
    ParameterError : another reduction.

    Examples
    --------
    >>> best = black_box("k_best", k=1, noise="gumbel", samples=1000)
    >>> scores = torch.zeros(2, requires_grad=True)
    >>> generator = torch.Generator().manual_seed(0)
    >>> loss = fenchel_young_loss(best, scores, torch.tensor([1.0, 0.0]), temperature=1.0, generator=generator)
    >>> loss.backward(); [round(g, 1) for g in scores.grad.tolist()]
    [-0.5, 0.5]

    Source: Berthet, Blondel, Teboul, Cuturi, Vert and Bach, 2020, Learning with Differentiable Perturbed Optimizers.
    """
    check_choice("fenchel_young_loss", "reduction", reduction, ("mean", "sum", "none"))
    call = settle("fenchel_young_loss", costs, target, temperature=temperature, mode="soft")
    if target.shape != costs.shape:
        raise InputError(
            f"fenchel_young_loss() got costs of shape {tuple(costs.shape)} and a target of shape {tuple(target.shape)}; expected equal "
            "shapes."
        )
    given, wanted = call.tensors
    solve.check_dims(given)
    moved, _, solutions = solve.perturbed(given.detach(), level_of(call), generator)
    noise = moved - given.detach()
    axes = tuple(range(-solve.dims, 0))
    # The best value under noise; the solutions are constants in it, which is what makes its gradient their mean.
    best = ((given + noise) * solutions).sum(dim=axes).mean(dim=0)
    loss = best - (given * wanted).sum(dim=axes)
    loss = (loss if solve.sense == "maximise" else -loss).to(call.dtype)
    return loss if reduction == "none" else loss.mean() if reduction == "mean" else loss.sum()


def level_of(call: Operands) -> Any:
    """Return the temperature of a call as one number without a gradient. Raises `InputError` for a tensor of several."""
    level = call.temperature
    if isinstance(level, Tensor) and level.dim():
        raise InputError(
            f"{call.name}() got a temperature of shape {tuple(level.shape)}; expected one number for all instances."
        )
    return level.detach() if isinstance(level, Tensor) else level
