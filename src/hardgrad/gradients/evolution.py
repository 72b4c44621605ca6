"""Gradients through what backpropagation cannot be trusted with: evolution strategies, a mix of both, truncated unrolling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from hardgrad.core.errors import ParameterError


def evolution_strategies(
    f: Callable[[Tensor], Tensor],
    theta: Tensor,
    sigma: float,
    pairs: int,
    antithetic: bool = True,
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Return an estimate of the gradient of `f`, smoothed by a Gaussian, from values of `f` alone.

    Parameters
    ----------
    f : of one parameter tensor; returns one number. Need not be differentiable.
    theta : the point, any shape.
    sigma : standard deviation of the smoothing, positive, in the units of `theta`.
    pairs : number of samples.
    antithetic : evaluate at both ends of each perturbation; else at one end, against the value at `theta`.
    generator : of the perturbations.

    Examples
    --------
    >>> g = torch.Generator().manual_seed(0)
    >>> evolution_strategies(lambda t: 3 * t.sum(), torch.zeros(1), 0.1, 4000, generator=g).round(decimals=0)
    tensor([3.])
    """
    return es_samples(f, theta, sigma, pairs, antithetic, generator).mean(0)


def es_samples(
    f: Callable[[Tensor], Tensor], theta: Tensor, sigma: float, pairs: int, antithetic: bool = True,
    generator: torch.Generator | None = None,
) -> Tensor:  # fmt: skip
    """Return the single estimates [pairs, *theta.shape] that `evolution_strategies` averages."""
    if not (sigma > 0 and pairs > 0):
        raise ParameterError(
            f"evolution_strategies got sigma={sigma}, pairs={pairs}; expected both positive."
        )
    theta = theta.detach()
    noise = torch.randn((pairs, *theta.shape), generator=generator, dtype=theta.dtype, device=theta.device)
    with torch.no_grad():
        high = torch.stack([f(theta + sigma * e) for e in noise])
        low = torch.stack([f(theta - sigma * e) for e in noise]) if antithetic else f(theta).expand(pairs)
        weights = (high - low) / (sigma * (2 if antithetic else 1))
        return weights.view(-1, *[1] * theta.dim()) * noise


def backprop_samples(
    f: Callable[[Tensor], Tensor],
    theta: Tensor,
    sigma: float,
    samples: int,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Return gradients [samples, *theta.shape] by backpropagation at perturbed points: what the smoothed `f` has for a gradient."""
    theta = theta.detach()
    noise = torch.randn((samples, *theta.shape), generator=generator, dtype=theta.dtype, device=theta.device)
    points = [(theta + sigma * e).requires_grad_() for e in noise]
    return torch.stack([torch.autograd.grad(f(point), point)[0] for point in points])


def combined(
    f: Callable[[Tensor], Tensor],
    theta: Tensor,
    sigma: float,
    pairs: int,
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Return the mix of backpropagation and evolution strategies with inverse-variance weights, for the gradient of the smoothed `f`.

    Parameters
    ----------
    f, theta, sigma, pairs, generator : as for `evolution_strategies`; `f` must be differentiable, and `pairs` at least 2.

    Examples
    --------
    >>> combined(lambda t: (t ** 2).sum(), torch.ones(1), 1e-3, 8).round(decimals=1)
    tensor([2.])
    """
    if pairs < 2:
        raise ParameterError(f"combined got pairs={pairs}; expected at least 2, to see a variance.")
    by_values = es_samples(f, theta, sigma, pairs, True, generator)
    by_backprop = backprop_samples(f, theta, sigma, pairs, generator)
    variances = [float(samples.var(0).sum()) for samples in (by_backprop, by_values)]
    if not torch.isfinite(by_backprop).all() or not variances[0] < float("inf"):
        return by_values.mean(0)
    total = sum(variances)
    share = 0.5 if total == 0 else variances[1] / total  # the less noisy one gets the larger share
    return share * by_backprop.mean(0) + (1 - share) * by_values.mean(0)


def truncated_unroll(step: Callable[[Any], Any], state: Any, steps: int, window: int) -> Any:
    """Return the state after `steps` steps, with gradients through the last `window` of them only.

    Examples
    --------
    >>> w = torch.tensor(2.0, requires_grad=True)
    >>> truncated_unroll(lambda s: s * w, torch.tensor(1.0), 5, 2).backward(); w.grad  # 2 * 2**3 * 2, not 5 * 2**4
    tensor(32.)
    """
    if not 0 <= window <= steps:
        raise ParameterError(
            f"truncated_unroll got window={window}, steps={steps}; expected 0 <= window <= steps."
        )
    with torch.no_grad():
        for _ in range(steps - window):
            state = step(state)
    for _ in range(window):
        state = step(state)
    return state
