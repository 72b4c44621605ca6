"""Estimators of the gradient of E[loss(sample)] by the logits: their protocol, and those whose samples carry the gradient.

Those that multiply the loss with a score are in `score_functions`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from hardgrad.core.errors import ParameterError, UnsupportedError
from hardgrad.core.mode import Mode
from hardgrad.core.relaxed import straight_through
from hardgrad.functional.operands import check_choice
from hardgrad.gradients.families import BERNOULLI, Family

Loss = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Draw:
    """A sample as the rest of a computation sees it.

    Parameters
    ----------
    value : the sample, with the estimator's gradient where samples carry one.
    log_prob : log-probability, one number a unit, for estimators that need the loss; None where the value carries the gradient.
    squared_score : squared length of the derivative of log_prob by the logits, one number a unit.
    """

    value: Tensor
    log_prob: Tensor | None = None
    squared_score: Tensor | None = None


@runtime_checkable
class GradientEstimator(Protocol):
    """What an estimator of gradients through samples can do: draw a sample, or make a loss with the estimated gradient.

    Examples
    --------
    >>> isinstance(Gumbel(), GradientEstimator)
    True
    """

    def draw(
        self,
        family: Family,
        logits: Tensor,
        *,
        temperature: Any,
        mode: Mode,
        generator: torch.Generator | None,
    ) -> Draw:
        """Return a sample; in mode "hard" without a gradient."""

    def surrogate(
        self,
        loss: Loss,
        family: Family,
        logits: Tensor,
        *,
        temperature: Any,
        generator: torch.Generator | None,
    ) -> Tensor:
        """Return the loss of one sample, with the shape and value of `loss(sample)` and the estimated gradient by the logits."""


class Pathwise:
    """Base of the estimators whose sample carries the gradient: the surrogate is the loss itself."""

    def draw(
        self,
        family: Family,
        logits: Tensor,
        *,
        temperature: Any,
        mode: Mode,
        generator: torch.Generator | None,
    ) -> Draw:
        """Return a sample (see `GradientEstimator`)."""
        raise NotImplementedError

    def surrogate(
        self,
        loss: Loss,
        family: Family,
        logits: Tensor,
        *,
        temperature: Any,
        generator: torch.Generator | None,
    ) -> Tensor:
        """Return the loss of one sample (see `GradientEstimator`)."""
        mode: Mode = "st"
        return loss(self.draw(family, logits, temperature=temperature, mode=mode, generator=generator).value)


@dataclass(frozen=True)
class StraightThrough(Pathwise):
    """Exact sample forward; backward as if it were the logits, or the probabilities.

    Parameters
    ----------
    slope : "identity" (the gradient of the sample is that of the logit; the paper's simplest, and the default for Bernoulli units) or
        "sigmoid" (that of the probability, softmax for categorical ones, whose default it is; right where the loss is affine).

    Source: Bengio, Léonard and Courville, 2013, Estimating or Propagating Gradients Through Stochastic Neurons for Conditional Computation.
    """

    slope: str | None = None

    def __post_init__(self) -> None:
        if self.slope is not None:
            check_choice("StraightThrough", "slope", self.slope, ("identity", "sigmoid"))

    def draw(
        self,
        family: Family,
        logits: Tensor,
        *,
        temperature: Any,
        mode: Mode,
        generator: torch.Generator | None,
    ) -> Draw:
        """Return a sample; in mode "soft" the probabilities, with the same slope."""
        hard = family.exact(family.perturb(logits.detach(), generator))
        if mode == "hard":
            return Draw(hard)
        mean = family.probabilities(logits, temperature)
        slope = self.slope or ("sigmoid" if family.event_dims else "identity")
        soft = mean if slope == "sigmoid" else straight_through(mean, logits)
        return Draw(soft if mode == "soft" else straight_through(hard, soft))


@dataclass(frozen=True)
class Gumbel(Pathwise):
    """Gumbel-Softmax: the sample is the largest of logits with noise, its gradient that of their softmax at a temperature.

    Source: Jang, Gu and Poole, 2017, Categorical Reparameterization with Gumbel-Softmax; Maddison, Mnih and Teh, 2017, The Concrete
    Distribution.
    """

    def draw(
        self,
        family: Family,
        logits: Tensor,
        *,
        temperature: Any,
        mode: Mode,
        generator: torch.Generator | None,
    ) -> Draw:
        """Return a sample; in mode "soft" the relaxed one. All modes use the same noise."""
        perturbed = family.perturb(logits, generator)
        if mode == "hard":
            return Draw(family.exact(perturbed))
        soft = family.relax(perturbed, temperature)
        return Draw(soft if mode == "soft" else straight_through(family.exact(perturbed), soft))


@dataclass(frozen=True)
class GumbelRao(Pathwise):
    """Straight-through Gumbel with less variance: the gradient is averaged over the noise that could have led to the same sample.

    Parameters
    ----------
    samples : how many noises are averaged.

    Source: Paulus, Maddison and Krause, 2021, Rao-Blackwellizing the Straight-Through Gumbel-Softmax Gradient Estimator.
    """

    samples: int = 10

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ParameterError(f"GumbelRao got samples={self.samples}; expected at least 1.")

    def draw(
        self,
        family: Family,
        logits: Tensor,
        *,
        temperature: Any,
        mode: Mode,
        generator: torch.Generator | None,
    ) -> Draw:
        """Return a sample; in mode "soft" the mean of the relaxed ones that belong to it."""
        hard = family.exact(family.perturb(logits.detach(), generator))
        if mode == "hard":
            return Draw(hard)
        shape = (self.samples, *logits.shape)
        given = family.perturb_given(logits.detach().expand(shape), hard.expand(shape), generator)
        kept = logits.detach().masked_fill(torch.isneginf(logits), 0.0)
        noise = (
            given.masked_fill(torch.isneginf(given), 0.0) - kept
        )  # a constant: the gradient is that of logits + noise
        soft = family.relax(logits + noise, temperature).mean(dim=0)
        return Draw(soft if mode == "soft" else straight_through(hard, soft))


@dataclass(frozen=True)
class SmoothTimesStochastic(Pathwise):
    """A Bernoulli(sqrt p) sample times sqrt p, with mean p; the gradient goes through the factor sqrt p only.

    For a linear loss the mean gradient is exactly half the true one, because the sample's own dependence on p is left out. The value is
    between 0 and 1 in "soft" and "st"; only "hard" gives 0 and 1.

    Source: Bengio, Léonard and Courville, 2013, Estimating or Propagating Gradients Through Stochastic Neurons for Conditional Computation.
    """

    def draw(
        self,
        family: Family,
        logits: Tensor,
        *,
        temperature: Any,
        mode: Mode,
        generator: torch.Generator | None,
    ) -> Draw:
        """Return a sample; in mode "hard" an exact Bernoulli(p) sample."""
        _only_bernoulli("smooth_times_stochastic", family)
        if mode == "hard":
            return Draw(family.exact(family.perturb(logits, generator)))
        root = BERNOULLI.root_probability(logits)
        uniform = torch.rand(logits.shape, generator=generator, dtype=logits.dtype, device=logits.device)
        return Draw((uniform < root.detach()).to(root.dtype) * root)


@dataclass(frozen=True)
class NoisyRectifier(Pathwise):
    """max(0, logit + noise): exact zeros, and an exact gradient through the noise; not a Bernoulli sample.

    Parameters
    ----------
    saturating : sigmoid(logit + noise) instead, between 0 and 1 and without zeros.

    Source: Bengio, Léonard and Courville, 2013, Estimating or Propagating Gradients Through Stochastic Neurons for Conditional Computation.
    """

    saturating: bool = False

    def draw(
        self,
        family: Family,
        logits: Tensor,
        *,
        temperature: Any,
        mode: Mode,
        generator: torch.Generator | None,
    ) -> Draw:
        """Return a sample with normal noise of standard deviation `temperature`; in mode "hard" without noise, as when tested."""
        _only_bernoulli("noisy_rectifier", family)
        curve = torch.sigmoid if self.saturating else torch.relu
        if mode == "hard":
            return Draw(curve(logits.detach()))
        noise = torch.randn(logits.shape, generator=generator, dtype=logits.dtype, device=logits.device)
        return Draw(curve(logits + temperature * noise))


def _only_bernoulli(name: str, family: Family) -> None:
    if family is not BERNOULLI:
        raise UnsupportedError(
            f"{name} is defined for Bernoulli units; for {family.name} ones take 'straight_through', 'gumbel' or 'reinforce'."
        )
