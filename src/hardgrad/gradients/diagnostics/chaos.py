"""chaos_report: is a repeated step chaotic, how far can its gradient be trusted, and what to use beyond that."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hardgrad.core.errors import InputError, ParameterError
from hardgrad.gradients.diagnostics.report import Report, new_axis
from hardgrad.gradients.evolution import backprop_samples, es_samples, truncated_unroll

Step = Callable[[Tensor, Tensor], Tensor]
FLOOR = 1e-300
DENSE = 64
"""States of at most this size have their Jacobian written out."""


class ChaosVerdict(StrEnum):
    """How the leading exponent stands against the horizon."""

    MARGINAL = "marginal"
    STABLE = "stable"
    CHAOTIC = "chaotic"
    GROWING = "growing"


ADVICE: dict[ChaosVerdict, tuple[str, ...]] = {
    ChaosVerdict.MARGINAL: ("backpropagation",),
    ChaosVerdict.STABLE: ("backpropagation", "orthogonal or ReZero initialisation where gradients vanish"),
    ChaosVerdict.GROWING: ("truncated_unroll to 1/lyapunov steps", "clip", "combined"),
    ChaosVerdict.CHAOTIC: (
        "evolution_strategies",
        "truncated_unroll to 1/lyapunov steps",
        "change the system",
    ),
}


@dataclass(frozen=True)
class ChaosReport(Report):
    """What repeating a step does to gradients.

    Parameters
    ----------
    verdict : in this order "marginal" (|lyapunov| * horizon < 1), "stable" (lyapunov < 0), "chaotic" (lyapunov * horizon beyond
        log(1/eps)), else "growing".
    lyapunov : leading exponent, per step.
    spectral_radii : of the Jacobian at each step.
    horizons : steps at which the next three were measured.
    grad_norm_by_horizon, variance_backprop, variance_es : norm of the gradient; variance of one sample of each estimator of the smoothed
        gradient, summed over the parameters.
    crossover_horizon : the first of `horizons` at which backpropagation is the noisier one; None if it never is.
    window : steps through which a truncated gradient is taken, 1/lyapunov where that is positive, else the horizon.
    truncated_cosine, clipped_cosine : cosine to the mean estimate from values alone, at the last horizon, of the mean gradient through the
        last `window` steps, and of the mean of the samples of backpropagation after each is clipped to their median norm.
    advice : what to use, best first.
    """

    lyapunov: float = 0.0
    spectral_radii: tuple[float, ...] = ()
    horizons: tuple[int, ...] = ()
    grad_norm_by_horizon: tuple[float, ...] = ()
    variance_backprop: tuple[float, ...] = ()
    variance_es: tuple[float, ...] = ()
    crossover_horizon: int | None = None
    window: int = 0
    truncated_cosine: float = math.nan
    clipped_cosine: float = math.nan
    advice: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.verdict}: Lyapunov exponent {self.lyapunov:.4g} a step, crossover at {self.crossover_horizon}"

    def plot(self, ax: Any = None) -> Any:
        """Draw both variances over the horizon on a matplotlib axis and return the axis. Needs matplotlib."""
        ax = new_axis(ax)
        ax.semilogy(self.horizons, self.variance_backprop, "o-", label="backpropagation")
        ax.semilogy(self.horizons, self.variance_es, "s--", label="evolution strategies")
        ax.set_xlabel("steps")
        ax.set_ylabel("variance of a sample")
        ax.set_title(str(self))
        ax.legend()
        return ax


def lyapunov_exponents(
    step: Step, state: Tensor, params: Tensor, steps: int, count: int = 1
) -> tuple[float, ...]:
    """Return the leading Lyapunov exponents per step, by Benettin's method; a tenth of the steps is burnt in.

    Parameters
    ----------
    step : of a state [n] and the parameters; returns the next state.
    state : one start [n] or several [m, n], over which the exponents are averaged.
    steps, count : steps to follow; how many exponents.

    Examples
    --------
    The logistic map at 4 has the exponent log 2:

    >>> starts = torch.linspace(0.1, 0.9, 50, dtype=torch.float64)[:, None]
    >>> lyapunov_exponents(lambda s, r: r * s * (1 - s), starts, torch.tensor(4.0, dtype=torch.float64), 400)
    (0.69,)
    """
    states = state.detach().reshape(-1, state.shape[-1])
    n = states.shape[1]
    if not 1 <= count <= n or steps < 1:
        raise ParameterError(
            f"lyapunov_exponents got count={count}, steps={steps}; expected 1 <= count <= {n} and a step."
        )
    basis = torch.eye(n, dtype=states.dtype, device=states.device)[:, :count].expand(len(states), n, count)
    total, burn = torch.zeros(count, dtype=torch.float64), steps // 10
    for t in range(steps):
        following, pushed = _push(step, states, params, basis)
        basis, R = torch.linalg.qr(pushed)
        if t >= burn:
            # The derivative may be exactly zero at a critical point: the floor keeps one step from saying minus infinity.
            total += R.diagonal(dim1=-2, dim2=-1).abs().double().clamp(min=FLOOR).log().mean(0).cpu()
        states = following
    return tuple((total / (steps - burn)).tolist())


def _push(step: Step, states: Tensor, params: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    """The next states, and the tangents [m, n, count] carried along."""
    columns = []
    following = states
    for k in range(basis.shape[2]):
        moved: Any = torch.func.jvp(
            lambda s: torch.func.vmap(step, in_dims=(0, None))(s, params), (states,), (basis[:, :, k],)
        )
        following, column = moved
        columns.append(column)
    return following, torch.stack(columns, 2)


def chaos_report(
    step: Step,
    state0: Tensor,
    params: Tensor,
    horizon: int,
    loss: Callable[[Tensor], Tensor],
    *,
    sigma: float = 0.01,
    samples: int = 100,
    eps: float = 1e-3,
    horizons: Sequence[int] | None = None,
    generator: torch.Generator | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> ChaosReport:
    """Return how far a gradient through a repeated step can be trusted, and which estimator to use beyond.

    Parameters
    ----------
    step : of a state [n] and the parameters; returns the next state.
    state0, params : start [n] and parameters, any shape; in double precision, because norms grow without bound.
    horizon : number of steps that you mean to unroll.
    loss : of the last state; returns one number.
    sigma, samples : smoothing of the loss in the parameters, and how often each estimator is drawn.
    eps : how small a perturbation must stay.
    horizons : at which the variances are measured; by default a dozen up to `horizon`.
    generator : of the perturbations.
    progress : called with horizons done and their total.

    Examples
    --------
    >>> r = torch.tensor([3.2], dtype=torch.float64)
    >>> report = chaos_report(lambda s, r: r * s * (1 - s), torch.tensor([0.3], dtype=torch.float64), r, 20, torch.sum, samples=4)
    >>> str(report.verdict), report.advice[0]
    ('stable', 'backpropagation')

    Notes
    -----
    Metz, Freeman, Schoenholz and Kachman, Gradients are Not All You Need (2021).
    """
    if horizon < 1 or samples < 2 or not 0 < eps < 1:
        raise ParameterError(
            f"chaos_report got horizon={horizon}, samples={samples}, eps={eps}; expected >= 1, >= 2, in (0, 1)."
        )
    if state0.dim() != 1 or not state0.isfinite().all():
        raise InputError(
            f"chaos_report got a state of shape {tuple(state0.shape)}; expected one finite state [n]."
        )
    exponent = lyapunov_exponents(step, state0, params, horizon)[0]
    measured = (
        tuple(horizons)
        if horizons
        else tuple(sorted({max(1, round(horizon * k / 12)) for k in range(1, 13)}))
    )
    norms, backprop, by_values = [], [], []
    for done, length in enumerate(measured):
        f = _unrolled(step, state0, loss, length)
        at = params.detach().clone().requires_grad_()
        norms.append(float(torch.autograd.grad(f(at), at)[0].norm()))
        gradients = backprop_samples(f, params, sigma, samples, generator)
        estimates = es_samples(f, params, sigma, samples, True, generator)
        backprop.append(float(gradients.var(0).sum()))
        by_values.append(float(estimates.var(0).sum()))
        if progress is not None:
            progress(done + 1, len(measured))
    window = min(measured[-1], max(1, round(1 / exponent))) if exponent > 0 else measured[-1]
    shortened = _unrolled(step, state0, loss, measured[-1], window)
    truncated = backprop_samples(shortened, params, sigma, samples, generator)
    reference = estimates.mean(0)
    noisier = [t for t, b, e in zip(measured, backprop, by_values, strict=True) if not b <= e]
    verdict = _verdict(exponent, horizon, eps)
    return ChaosReport(
        verdict, exponent, _radii(step, state0, params, horizon), measured, tuple(norms), tuple(backprop), tuple(by_values),
        noisier[0] if noisier else None, window, _cosine(truncated.mean(0), reference), _cosine(_clipped(gradients), reference),
        ADVICE[verdict],
    )  # fmt: skip


def _unrolled(
    step: Step, state0: Tensor, loss: Callable[[Tensor], Tensor], length: int, window: int | None = None
) -> Callable[[Tensor], Tensor]:
    """The loss after `length` steps as a function of the parameters; gradients pass through the last `window` steps."""

    def f(theta: Tensor) -> Tensor:
        kept = length if window is None else window
        return loss(truncated_unroll(lambda state: step(state, theta), state0.detach(), length, kept))

    return f


def _clipped(gradients: Tensor) -> Tensor:
    """The mean of samples [m, ...] after each is clipped to their median norm."""
    norms = gradients.flatten(1).norm(dim=1)
    scale = (
        (norms.median() / norms).clamp(max=1.0).nan_to_num(0.0)
    )  # a norm beyond all numbers has no direction left
    return torch.einsum("m,m...->...", scale, gradients.nan_to_num(0.0, 0.0, 0.0)) / len(gradients)


def _cosine(a: Tensor, b: Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0))


def _verdict(exponent: float, horizon: int, eps: float) -> ChaosVerdict:
    if abs(exponent) * horizon < 1:
        return ChaosVerdict.MARGINAL
    if exponent < 0:
        return ChaosVerdict.STABLE
    return ChaosVerdict.CHAOTIC if exponent * horizon > math.log(1 / eps) else ChaosVerdict.GROWING


def _radii(step: Step, state: Tensor, params: Tensor, horizon: int) -> tuple[float, ...]:
    radii = []
    params, state = params.detach(), state.detach()
    for _ in range(horizon):
        radii.append(_radius(step, state, params))
        state = step(state, params)
    return tuple(radii)


def _radius(step: Step, state: Tensor, params: Tensor) -> float:
    """The largest modulus of an eigenvalue of the Jacobian: of the whole matrix where it is small, else by Arnoldi's method."""
    if len(state) <= DENSE:
        return float(torch.linalg.eigvals(torch.func.jacrev(step)(state, params)).abs().max())
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigs

    def push(v: NDArray[Any]) -> NDArray[Any]:
        tangent = torch.from_numpy(np.ascontiguousarray(v.real).reshape(-1)).to(state)
        moved: Any = torch.func.jvp(lambda s: step(s, params), (state,), (tangent,))
        return np.asarray(moved[1].double().cpu())

    n = len(state)
    start = np.ones(n)  # fixed, so that the same call gives the same bits
    found: NDArray[Any]
    try:
        found = eigs(
            LinearOperator((n, n), matvec=push, dtype=np.float64), k=1, v0=start, return_eigenvectors=False
        )
    except ArpackNoConvergence as error:
        found = error.eigenvalues
    return float(np.abs(found).max(initial=0.0)) if len(found) else math.nan
