"""Ready solvers, each joined to the condition that its result satisfies: call them as `solver(init, *theta)`, differentiate in theta.

They are plain and made for clarity; any other solver of the same problem can be joined to the same condition with `implicit_root` or
`implicit_fixed_point`. Further keyword arguments go there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from hardgrad.core.errors import ParameterError
from hardgrad.gradients import optimality
from hardgrad.gradients.implicit import ImplicitFunction, implicit_fixed_point, implicit_root
from hardgrad.gradients.optimality import Condition, Objective, combine
from hardgrad.gradients.pytrees import tensors_and_rest


def fixed_point(
    step: Condition, *, memory: int = 0, tol: float = 1e-10, maxiter: int = 1000, **implicit: Any
) -> ImplicitFunction:
    """Iterate x = T(x, *theta), with Anderson acceleration where `memory` is positive.

    Parameters
    ----------
    step : T.
    memory : earlier iterates that Anderson acceleration combines; 5 is usual, 0 is plain iteration.
    tol : largest change of an element at which to stop; what is returned is T at the iterate before, never an extrapolated point.
    maxiter : most steps.

    Raises
    ------
    ParameterError : numbers outside of their range.

    Examples
    --------
    >>> cosine = fixed_point(lambda x, theta: torch.cos(theta * x), memory=3)
    >>> cosine(torch.tensor(0.5, dtype=torch.float64), torch.tensor(1.0, dtype=torch.float64))
    tensor(0.7391, dtype=torch.float64)
    """
    _check(tol, maxiter)
    if memory < 0:
        raise ParameterError(f"memory got {memory}; expected a number of iterates.")

    def solve(x: Any, *theta: Any) -> Any:
        if memory:
            return _anderson(lambda x: step(x, *theta), x, memory, tol, maxiter)
        return _iterate(lambda x: step(x, *theta), x, tol, maxiter)

    return implicit_fixed_point(step, solve, has_init=True, **implicit)


def gradient_descent(
    f: Objective, step: float, *, momentum: float = 0.0, tol: float = 1e-10, maxiter: int = 1000, **implicit: Any
) -> ImplicitFunction:  # fmt: skip
    """Minimise f(x, *theta) by gradient descent (see `optimality.stationary`).

    Parameters
    ----------
    step : learning rate; below 2 / L for a gradient with Lipschitz constant L.
    momentum : share of the last change that is added to each step; in [0, 1).
    tol, maxiter : see `fixed_point`.
    """
    _check(tol, maxiter)
    if not (step > 0 and 0 <= momentum < 1):
        raise ParameterError(
            f"gradient_descent() got step={step}, momentum={momentum}; expected step > 0 and 0 <= momentum < 1."
        )
    descend = optimality.gradient_step(f, step)

    def solve(x: Any, *theta: Any) -> Any:
        before = x
        for _ in range(maxiter):
            after = combine(lambda new, now, old: new + momentum * (now - old), descend(x, *theta), x, before)
            before, x = x, after
            if _distance(before, x) <= tol:
                break
        return x

    return implicit_root(optimality.stationary(f), solve, has_init=True, **implicit)


def proximal_gradient(
    f: Objective, prox: Condition, step: float, *, accelerate: bool = True, tol: float = 1e-10, maxiter: int = 1000,
    **implicit: Any,
) -> ImplicitFunction:  # fmt: skip
    """Minimise f + g by proximal gradient steps, with Nesterov's momentum and restarts (see `optimality.proximal_gradient`)."""
    _check(tol, maxiter)
    return _accelerated(
        optimality.proximal_gradient(f, prox, step),
        accelerate=accelerate,
        tol=tol,
        maxiter=maxiter,
        **implicit,
    )


def projected_gradient(
    f: Objective, project: Condition, step: float, *, accelerate: bool = True, tol: float = 1e-10, maxiter: int = 1000,
    **implicit: Any,
) -> ImplicitFunction:  # fmt: skip
    """Minimise f over a convex set by projected gradient steps, with Nesterov's momentum and restarts."""
    _check(tol, maxiter)
    return _accelerated(
        optimality.projected_gradient(f, project, step),
        accelerate=accelerate,
        tol=tol,
        maxiter=maxiter,
        **implicit,
    )


def mirror_descent(f: Objective, step: float, *, dim: int = -1, **options: Any) -> ImplicitFunction:
    """Minimise f over simplices along `dim` by mirror descent; the start must be positive. Options as of `fixed_point`."""
    return fixed_point(optimality.mirror_descent(f, step, dim), **options)


def block_coordinate_descent(
    f: Objective, proxes: Sequence[Condition], steps: Sequence[float], *, tol: float = 1e-10, maxiter: int = 1000,
    **implicit: Any,
) -> ImplicitFunction:  # fmt: skip
    """Minimise f + sum g_b over the blocks of x in turn (see `optimality.block_proximal_gradient`)."""
    _check(tol, maxiter)
    condition = optimality.block_proximal_gradient(f, proxes, steps)
    gradient = torch.func.grad(f)

    def sweep(x: Any, theta: tuple[Any, ...]) -> Any:
        blocks = list(x)
        for k, (prox, step) in enumerate(zip(proxes, steps, strict=True)):
            slope = gradient(type(x)(blocks), *theta)[k]
            blocks[k] = prox(blocks[k] - step * slope, step, *theta)
        return type(x)(blocks)

    def solve(x: Any, *theta: Any) -> Any:
        return _iterate(lambda x: sweep(x, theta), x, tol, maxiter)

    return implicit_fixed_point(condition, solve, has_init=True, **implicit)


def newton(F: Condition, *, tol: float = 1e-12, maxiter: int = 50, **implicit: Any) -> ImplicitFunction:
    """Find a root of F(x, *theta), for one tensor x of at most a few hundred unknowns, by Newton's method.

    Examples
    --------
    >>> root = newton(lambda x, theta: x**3 - theta)
    >>> theta = torch.tensor([8.0], requires_grad=True)
    >>> root(torch.tensor([1.0]), theta).sum().backward(); theta.grad
    tensor([0.0833])
    """
    _check(tol, maxiter)
    step = optimality.newton(F)

    def solve(x: Tensor, *theta: Any) -> Any:
        return _iterate(lambda x: step(x, *theta), x, tol, maxiter)

    return implicit_root(F, solve, has_init=True, **implicit)


def _check(tol: float, maxiter: int) -> None:
    if not (tol >= 0 and math.isfinite(tol) and maxiter >= 1):
        raise ParameterError(
            f"a solver got tol={tol}, maxiter={maxiter}; expected tol >= 0 and maxiter >= 1."
        )


def _distance(first: Any, second: Any) -> float:
    pairs = zip(tensors_and_rest(first)[0], tensors_and_rest(second)[0], strict=True)
    return max((float((a - b).abs().max()) for a, b in pairs if a.numel()), default=0.0)


def _iterate(step: Callable[[Any], Any], x: Any, tol: float, maxiter: int) -> Any:
    for _ in range(maxiter):
        before, x = x, step(x)
        if _distance(before, x) <= tol:
            break
    return x


def _accelerated(
    step: Condition, *, accelerate: bool, tol: float, maxiter: int, **implicit: Any
) -> ImplicitFunction:
    def solve(x: Any, *theta: Any) -> Any:
        if not accelerate:
            return _iterate(lambda x: step(x, *theta), x, tol, maxiter)
        return _nesterov(lambda x: step(x, *theta), x, tol, maxiter)

    return implicit_fixed_point(step, solve, has_init=True, **implicit)


def _nesterov(step: Callable[[Any], Any], x: Any, tol: float, maxiter: int) -> Any:
    """Steps from an extrapolated point; returns the point stepped to, on which the equation holds, not the extrapolated one."""
    ahead, t = x, 1.0
    for _ in range(maxiter):
        before, x = x, step(ahead)
        if _distance(ahead, x) <= tol:
            break
        # Restart where the momentum points uphill (O'Donoghue and Candes, 2015).
        uphill = combine(lambda a, new, old: (a - new) * (new - old), ahead, x, before)
        if sum(float(part.sum()) for part in tensors_and_rest(uphill)[0]) > 0:
            t = 1.0
        following = (1.0 + math.sqrt(1.0 + 4.0 * t * t)) / 2.0
        weight = (t - 1.0) / following
        ahead = combine(lambda new, old, w=weight: new + w * (new - old), x, before)
        t = following
    return x


def _anderson(step: Callable[[Any], Any], x: Any, memory: int, tol: float, maxiter: int) -> Any:
    """Anderson acceleration: the combination of earlier steps whose combined residual is least."""
    points: list[Tensor] = []
    residuals: list[Tensor] = []
    shape, rebuild = tensors_and_rest(x)
    for _ in range(maxiter):
        stepped = step(x)
        if _distance(stepped, x) <= tol:
            return stepped
        tensors = tensors_and_rest(stepped)[0]
        flat = torch.cat([t.reshape(-1) for t in tensors])
        residual = flat - torch.cat([t.reshape(-1) for t in tensors_and_rest(x)[0]])
        points, residuals = [*points, flat][-memory - 1 :], [*residuals, residual][-memory - 1 :]
        if len(points) > 1:
            change = torch.stack([r - residual for r in residuals[:-1]], dim=1)
            weights = torch.linalg.lstsq(change, -residual.unsqueeze(1)).solution.squeeze(1)
            flat = flat + torch.stack([p - flat for p in points[:-1]], dim=1) @ weights
        parts = flat.split([t.numel() for t in shape])
        x = rebuild([part.reshape(t.shape) for part, t in zip(parts, shape, strict=True)])
    return step(x)
