"""Estimators that multiply the loss with the score of the sample: REINFORCE with its baseline, REBAR and RELAX, all unbiased."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from hardgrad.core.errors import InputError, ParameterError, UnsupportedError
from hardgrad.core.mode import Mode
from hardgrad.core.relaxed import straight_through
from hardgrad.gradients.estimators import Draw, Loss
from hardgrad.gradients.families import Family


class RunningBaseline:
    """The constant that leaves REINFORCE the least variance, one a unit, learned while training: E[score^2 loss] / E[score^2].

    Parameters
    ----------
    decay : of the two running means, between 0 and 1.

    Examples
    --------
    >>> baseline = RunningBaseline()
    >>> baseline.update(torch.tensor([3.0, 5.0]), torch.tensor([1.0, 1.0])); baseline.value.item()
    4.0
    """

    def __init__(self, decay: float = 0.99) -> None:
        if not 0.0 < decay < 1.0:
            raise ParameterError(f"RunningBaseline got decay={decay!r}; expected a number between 0 and 1.")
        self.decay = decay
        self._sums: tuple[Tensor, Tensor] | None = None

    @property
    def value(self) -> Tensor:
        """The baseline of what was seen so far, in the shape of the units; 0 before anything was."""
        if self._sums is None:
            return torch.zeros(())
        weighted, weight = self._sums  # both start from 0, so that their ratio needs no correction for it
        return torch.where(weight > 0, weighted / weight.clamp_min(torch.finfo(weight.dtype).tiny), 0.0)

    def update(self, loss: Tensor, squared_score: Tensor) -> None:
        """Take in what one batch gave; only after its own gradient was made, else that is biased.

        Parameters
        ----------
        loss : (batch ...).
        squared_score : (batch ..., unit ...).
        """
        extra = squared_score.dim() - loss.dim()
        batch = tuple(range(loss.dim()))
        squared = squared_score.detach()
        weighted = squared * loss.detach().reshape(loss.shape + (1,) * extra)
        means = tuple(t.mean(dim=batch) if batch else t for t in (weighted, squared))
        before = self._sums or tuple(torch.zeros_like(mean) for mean in means)
        first, second = (
            self.decay * old + (1.0 - self.decay) * new for old, new in zip(before, means, strict=True)
        )
        self._sums = first, second


@dataclass(frozen=True)
class Reinforce:
    """Score times loss, unbiased for any loss: what goes up in probability is what did better than the baseline.

    Parameters
    ----------
    baseline : subtracted from the loss: None, a number, a tensor that broadcasts to the units, or a `RunningBaseline`.

    Source: Williams, 1992, Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning.
    """

    baseline: float | Tensor | RunningBaseline | None = None

    def draw(
        self,
        family: Family,
        logits: Tensor,
        *,
        temperature: Any,
        mode: Mode,
        generator: torch.Generator | None,
    ) -> Draw:
        """Return an exact sample with its log-probability; "soft" and "st" are the same here, and the temperature changes nothing."""
        sample = family.exact(family.perturb(logits.detach(), generator))
        if mode == "hard":
            return Draw(sample)
        score = sample - family.probabilities(logits.detach())
        return Draw(sample, family.log_prob(logits, sample), family.per_unit(score.square()))

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
        found = self.draw(family, logits, temperature=temperature, mode="st", generator=generator)
        value = loss(found.value)
        return straight_through(value.detach(), value + self.score(value, found))

    def score(self, loss: Tensor, draw: Draw, prediction: Tensor | None = None) -> Tensor:
        """Return what has the gradient score * (loss - baseline), in the shape of the loss; the running baseline then takes the loss in.

        Parameters
        ----------
        loss : one number an example, in the leading dimensions of the units.
        draw : made by `draw`.
        prediction : of the loss, made without the sample; subtracted from it first.
        """
        assert draw.log_prob is not None and draw.squared_score is not None
        left = (loss if prediction is None else loss - prediction).detach()
        result = score_sum(draw.log_prob, left, self._constant(left))
        if isinstance(self.baseline, RunningBaseline):
            self.baseline.update(left, draw.squared_score)
        return result

    def _constant(self, loss: Tensor) -> Tensor | float:
        if isinstance(self.baseline, RunningBaseline):
            return self.baseline.value.to(loss)
        return 0.0 if self.baseline is None else self.baseline


def score_sum(log_prob: Tensor, loss: Tensor, baseline: Tensor | float = 0.0) -> Tensor:
    """Return the sum over units of log_prob * (loss - baseline), one number an example.

    Raises
    ------
    InputError : a loss that is not one number an example: averaged over the batch it says nothing about a single sample.
    """
    if loss.dim() > log_prob.dim() or loss.shape != log_prob.shape[: loss.dim()]:
        raise InputError(
            f"a score-function estimator got a loss of shape {tuple(loss.shape)} for units of shape {tuple(log_prob.shape)}; expected one "
            "loss an example, in the leading dimensions of the units. Do not average it over the batch."
        )
    extra = log_prob.dim() - loss.dim()
    terms = log_prob * (loss.reshape(loss.shape + (1,) * extra) - baseline)
    return terms.flatten(loss.dim()).sum(dim=-1) if extra else terms


class _WithControl:
    """Base of the estimators that need the loss or its stand-in at relaxed samples, and so cannot hand out samples alone."""

    def draw(
        self,
        family: Family,
        logits: Tensor,
        *,
        temperature: Any,
        mode: Mode,
        generator: torch.Generator | None,
    ) -> Draw:
        """Return an exact sample in mode "hard"; in the others there is no sample that carries the gradient."""
        if mode == "hard":
            return Draw(family.exact(family.perturb(logits.detach(), generator)))
        raise UnsupportedError(
            f"{type(self).__name__} looks at the loss of several samples, so one sample cannot carry its gradient. Use "
            "surrogate_loss(loss, logits, estimator=...), which takes the loss as a function."
        )


@dataclass(frozen=True)
class Rebar(_WithControl):
    """REINFORCE less the same of the loss at a relaxed sample, plus that one's exact gradient: unbiased, with little variance.

    Parameters
    ----------
    scale : of what is subtracted; 1 is right where the relaxed loss follows the exact one.

    Source: Tucker, Mnih, Maddison, Lawson and Sohl-Dickstein, 2017, REBAR: Low-Variance, Unbiased Gradient Estimates for Discrete Latent
    Variable Models.
    """

    scale: float = 1.0

    def surrogate(
        self,
        loss: Loss,
        family: Family,
        logits: Tensor,
        *,
        temperature: Any,
        generator: torch.Generator | None,
    ) -> Tensor:
        """Return the loss of one sample (see `GradientEstimator`); the loss is evaluated at the relaxed sample beside."""
        free = family.perturb(logits, generator)
        sample = family.exact(free)
        # The noise given the sample is the same noise, seen as a function of the logits that keeps the sample: least variance.
        bound = family.follow(logits, sample, free)
        value = loss(sample)
        leaf = free.detach().requires_grad_()
        with torch.enable_grad():
            relaxed = loss(family.relax(leaf, temperature))
            (pull,) = torch.autograd.grad(relaxed.sum(), leaf)
        # Parameters of the loss itself get the gradient of the exact sample alone: nothing else here depends on them.
        score = score_sum(family.log_prob(logits, sample), (value - self.scale * relaxed).detach())
        apart = (free - bound).masked_fill(torch.isneginf(logits), 0.0)
        return straight_through(
            value.detach(), value + score + self.scale * _per_example(pull * apart, value)
        )


@dataclass(frozen=True)
class Relax(_WithControl):
    """REINFORCE less a learned control variate: unbiased whatever the control is, best when it follows the loss.

    Parameters
    ----------
    control : from perturbed logits, in the shape of the logits, to one number an example; any differentiable function. Train its parameters
        by the squared gradient: `g, = torch.autograd.grad(surrogate.sum(), logits, create_graph=True); g.square().sum().backward()`.

    Source: Grathwohl, Choi, Wu, Roeder and Duvenaud, 2018, Backpropagation through the Void: Optimizing Control Variates for Black-Box
    Gradient Estimation.
    """

    control: Callable[[Tensor], Tensor] = field()

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
        free = family.perturb(logits, generator)
        sample = family.exact(free)
        bound = family.follow(logits, sample, free)
        value = loss(sample)
        left = value.detach() - self.control(bound.detach())
        score = score_sum(family.log_prob(logits, sample), left)
        return straight_through(value.detach(), value + score + self.control(free) - self.control(bound))


def _per_example(terms: Tensor, loss: Tensor) -> Tensor:
    return terms.flatten(loss.dim()).sum(dim=-1) if terms.dim() > loss.dim() else terms
