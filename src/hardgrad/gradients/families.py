"""The two distributions that are sampled with gradients, Bernoulli and categorical: exact samples, log-probabilities, perturbed logits.

Both are perturbed alike: exponential waiting times, of which the shortest wins. A Bernoulli unit is a race of two with logits (a, 0).
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid, softplus

from hardgrad.functional.results import one_hot
from hardgrad.functional.simplex import project_lists


def waiting_times(logits: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return samples of Exp(1) in the shape of the logits, never 0, whose logarithm would be infinite."""
    # Logarithms of uniform numbers: torch's own `exponential_` takes four times as long. Short types have too few of them.
    wide = torch.promote_types(logits.dtype, torch.float32)
    empty = torch.empty_like(logits, dtype=wide, memory_format=torch.contiguous_format, requires_grad=False)
    waiting = empty.uniform_(generator=generator).clamp_min_(torch.finfo(wide).tiny).log_().neg_()
    return waiting.to(logits.dtype).clamp_min(torch.finfo(logits.dtype).tiny)


def race(logits: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return logits + Gumbel noise; the largest along the last dimension is an exact categorical sample. -inf stays."""
    return logits - waiting_times(logits, generator).log()


def race_won_by(logits: Tensor, winner: Tensor, waiting: Tensor) -> Tensor:
    """Return logits + Gumbel noise given which one is the largest; differentiable in the logits.

    Parameters
    ----------
    logits : (..., n), not all -inf.
    winner : (..., n), one-hot.
    waiting : (..., n), logarithms of samples of Exp(1).
    """
    out = torch.isneginf(logits)
    total = torch.logsumexp(logits, dim=-1, keepdim=True)
    first = (waiting * winner).sum(dim=-1, keepdim=True) - total  # the winner arrives when anyone does
    # The others start when the winner has arrived: the waiting time has no memory.
    later = torch.logaddexp(waiting - logits.masked_fill(out, 0.0), first.expand_as(waiting))
    return -torch.where(winner > 0, first, later.masked_fill(out, torch.inf))


def waiting_of_race(logits: Tensor, winner: Tensor, perturbed: Tensor) -> Tensor:
    """Return the `waiting` with which `race_won_by` gives `perturbed`."""
    best = (perturbed.masked_fill(torch.isneginf(perturbed), 0.0) * winner).sum(dim=-1, keepdim=True)
    tiny = torch.finfo(logits.dtype).tiny
    behind = torch.log((-torch.expm1(perturbed - best)).clamp_min(tiny)) - perturbed
    later = (behind + logits).masked_fill(torch.isneginf(logits), 0.0)
    return torch.where(winner > 0, torch.logsumexp(logits, dim=-1, keepdim=True) - best, later)


class Family(ABC):
    """A distribution of discrete units given by logits."""

    name: str
    event_dims: int

    @abstractmethod
    def probabilities(self, logits: Tensor, temperature: object = 1.0) -> Tensor:
        """Return the mean of a sample; at another temperature that of the tempered logits."""

    @abstractmethod
    def log_prob(self, logits: Tensor, sample: Tensor) -> Tensor:
        """Return the log-probability of exact samples, one number a unit."""

    @abstractmethod
    def perturb(self, logits: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return logits with noise, of which `exact` makes a sample."""

    @abstractmethod
    def perturb_given(self, logits: Tensor, sample: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return logits with noise given the sample that `exact` makes of them."""

    @abstractmethod
    def follow(self, logits: Tensor, sample: Tensor, perturbed: Tensor) -> Tensor:
        """Return `perturbed` again, differentiable in the logits as noise that leads to this fixed sample."""

    @abstractmethod
    def relax(self, perturbed: Tensor, temperature: object) -> Tensor:
        """Return the relaxed sample that becomes the exact one as the temperature falls."""

    @abstractmethod
    def exact(self, perturbed: Tensor) -> Tensor:
        """Return the exact sample, 0 and 1 as floating numbers, without a gradient."""

    def per_unit(self, tensor: Tensor) -> Tensor:
        """Return the sums over the dimensions of one unit."""
        return tensor.sum(dim=-1) if self.event_dims else tensor


class Bernoulli(Family):
    """Units that are 1 with probability sigmoid(logit)."""

    name = "bernoulli"
    event_dims = 0

    def probabilities(self, logits: Tensor, temperature: object = 1.0) -> Tensor:
        """Return the mean of a sample."""
        return torch.sigmoid(logits / temperature)  # type: ignore[operator]

    def log_prob(self, logits: Tensor, sample: Tensor) -> Tensor:
        """Return the log-probability of exact samples."""
        return -binary_cross_entropy_with_logits(logits, sample.detach(), reduction="none")

    def perturb(self, logits: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return logits with noise."""
        noise = race(logits.new_zeros((*logits.shape, 2)), generator)
        return logits + (noise[..., 0] - noise[..., 1])

    def perturb_given(self, logits: Tensor, sample: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return logits with noise given the sample."""
        pair = torch.stack([logits, torch.zeros_like(logits)], dim=-1)
        waiting = waiting_times(pair, generator).log()
        perturbed = race_won_by(pair, torch.stack([sample, 1.0 - sample], dim=-1), waiting)
        return perturbed[..., 0] - perturbed[..., 1]

    def follow(self, logits: Tensor, sample: Tensor, perturbed: Tensor) -> Tensor:
        """Return `perturbed` again, differentiable in the logits."""
        side = 2.0 * sample - 1.0
        # With v uniform, log((1 + v exp(a)) / (1 - v)) is the noisy logit given that it is positive; the other side is its mirror image.
        z, a = side * perturbed.detach(), (side * logits).detach()
        log_v = torch.log((-torch.expm1(-z)).clamp_min(torch.finfo(z.dtype).tiny)) - softplus(a - z)
        log_rest = softplus(a) - torch.logaddexp(z, a)
        return side * (softplus(side * logits + log_v) - log_rest)

    def relax(self, perturbed: Tensor, temperature: object) -> Tensor:
        """Return the relaxed sample."""
        return torch.sigmoid(perturbed / temperature)  # type: ignore[operator]

    def exact(self, perturbed: Tensor) -> Tensor:
        """Return the exact sample."""
        return (perturbed.detach() > 0).to(perturbed.dtype)

    def root_probability(self, logits: Tensor) -> Tensor:
        """Return the square root of the probability of 1, without underflow."""
        return torch.exp(0.5 * logsigmoid(logits))


class Categorical(Family):
    """Units that are one of n, one-hot along the last dimension, with probabilities softmax(logits)."""

    name = "categorical"
    event_dims = 1

    def probabilities(self, logits: Tensor, temperature: object = 1.0) -> Tensor:
        """Return the mean of a sample."""
        return project_lists(logits, temperature, 1.0)

    def log_prob(self, logits: Tensor, sample: Tensor) -> Tensor:
        """Return the log-probability of exact samples."""
        index = sample.detach().argmax(dim=-1, keepdim=True)
        return torch.log_softmax(logits, dim=-1).gather(-1, index).squeeze(-1)

    def perturb(self, logits: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return logits with noise."""
        return race(logits, generator)

    def perturb_given(self, logits: Tensor, sample: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return logits with noise given the sample."""
        return race_won_by(logits, sample, waiting_times(logits, generator).log())

    def follow(self, logits: Tensor, sample: Tensor, perturbed: Tensor) -> Tensor:
        """Return `perturbed` again, differentiable in the logits."""
        with torch.no_grad():
            waiting = waiting_of_race(logits, sample, perturbed)
        return race_won_by(logits, sample, waiting)

    def relax(self, perturbed: Tensor, temperature: object) -> Tensor:
        """Return the relaxed sample."""
        return project_lists(perturbed, temperature, 1.0)

    def exact(self, perturbed: Tensor) -> Tensor:
        """Return the exact sample."""
        return one_hot(perturbed.detach().argmax(dim=-1), perturbed.shape[-1], perturbed.dtype)


BERNOULLI = Bernoulli()
CATEGORICAL = Categorical()
FAMILIES: dict[str, Family] = {family.name: family for family in (BERNOULLI, CATEGORICAL)}
