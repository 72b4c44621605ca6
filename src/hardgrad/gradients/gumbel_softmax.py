"""GumbelSoftmax: the relaxed categorical as a distribution, with a density that holds at any temperature."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from hardgrad.core.errors import InputError
from hardgrad.functional.operands import settle
from hardgrad.functional.results import one_hot
from hardgrad.functional.simplex import project_lists
from hardgrad.gradients.families import race


class GumbelSoftmax(Distribution):
    """The distribution of softmax((logits + Gumbel noise) / temperature), whose largest element is an exact categorical sample.

    Parameters
    ----------
    logits : (..., n), log-probabilities up to a constant, not probabilities; -inf leaves a category out.
    temperature : positive number. Up to about 1 / (n - 1) the density is highest at the corners; large is flat.

    Raises
    ------
    InputError, InputTypeError : NaN or +inf, a Boolean or complex tensor, no category.
    TemperatureError : a temperature that is not positive and finite.

    Examples
    --------
    >>> distribution = GumbelSoftmax(torch.zeros(3), temperature=0.5)
    >>> distribution.log_prob(torch.tensor([0.2, 0.3, 0.5])).item()
    -0.534

    Source: Jang, Gu and Poole, 2017, Categorical Reparameterization with Gumbel-Softmax; Maddison, Mnih and Teh, 2017, The Concrete
    Distribution.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    support = constraints.simplex
    has_rsample = True

    def __init__(self, logits: Tensor, temperature: float | Tensor = 1.0) -> None:
        call = settle("GumbelSoftmax", logits, temperature=temperature, mode="soft", infinite=True)
        if not logits.dim() or not logits.shape[-1]:
            raise InputError(
                f"GumbelSoftmax got logits of shape {tuple(logits.shape)}; expected (..., n) with n of at least 1."
            )
        self.logits = torch.log_softmax(call.tensors[0], dim=-1)
        self.temperature = temperature
        super().__init__(self.logits.shape[:-1], self.logits.shape[-1:], validate_args=False)

    def rsample(self, sample_shape: Any = (), *, generator: torch.Generator | None = None) -> Tensor:
        """Return relaxed samples with a gradient, shape (*sample_shape, ..., n)."""
        return project_lists(self._perturbed(sample_shape, generator), self.temperature, 1.0)

    def rsample_log(self, sample_shape: Any = (), *, generator: torch.Generator | None = None) -> Tensor:
        """Return logarithms of relaxed samples: at small temperatures the samples themselves round to 0."""
        return self._log(self._perturbed(sample_shape, generator))

    def _perturbed(self, sample_shape: Any, generator: torch.Generator | None) -> Tensor:
        return race(self.logits.expand(self._extended_shape(torch.Size(sample_shape))), generator)

    def _log(self, perturbed: Tensor) -> Tensor:
        out = torch.isneginf(perturbed)
        scaled = (perturbed.masked_fill(out, 0.0) / self.temperature).masked_fill(out, -torch.inf)
        return torch.log_softmax(scaled, dim=-1)

    @property
    def mode(self) -> Tensor:
        """The most likely category, one-hot: the exact counterpart, not the highest point of the density."""
        return one_hot(self.logits.argmax(dim=-1), self.logits.shape[-1], self.logits.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of points on the simplex, by the measure of all coordinates but one.

        Parameters
        ----------
        value : (..., n), positive where categories are not left out. Where that rounds to 0 use `log_prob_of_log`.
        """
        out = torch.isneginf(self.logits).expand(value.shape)
        return self.log_prob_of_log(torch.where(out, 1.0, value).log())

    def log_prob_of_log(self, log_value: Tensor) -> Tensor:
        """Return the log-density, by the same measure, of the points whose logarithms are given."""
        out = torch.isneginf(self.logits)
        t = torch.as_tensor(self.temperature, dtype=self.logits.dtype, device=self.logits.device)
        kept = (~out).sum(dim=-1).to(self.logits.dtype)
        logits = self.logits.masked_fill(out, 0.0)
        powers = (logits - t * log_value).masked_fill(out, -torch.inf)
        terms = (logits - (t + 1.0) * log_value).masked_fill(out, 0.0).sum(dim=-1)
        constant = torch.lgamma(kept) + (kept - 1.0) * t.log()
        return constant - kept * torch.logsumexp(powers, dim=-1) + terms

    def kl_categorical(self, prior_logits: Tensor) -> Tensor:
        """Return the divergence of the exact categoricals, sum p log(p / prior): not that of the relaxed densities.

        Parameters
        ----------
        prior_logits : (..., n), log-probabilities up to a constant.
        """
        prior = torch.log_softmax(prior_logits, dim=-1)
        p = self.logits.exp()
        return (p * torch.where(p > 0, self.logits - prior, 0.0)).sum(dim=-1)

    def kl_relaxed_sample(self, prior: GumbelSoftmax, log_value: Tensor) -> Tensor:
        """Return log density / prior density at samples of this one: its mean over them is the divergence of the relaxed densities.

        Parameters
        ----------
        prior : another relaxed categorical over the same categories.
        log_value : made by `rsample_log`.
        """
        return self.log_prob_of_log(log_value) - prior.log_prob_of_log(log_value)

    def entropy(self) -> Tensor:
        """Return the entropy of the exact categorical, in nats."""
        p = self.logits.exp()
        return -(p * torch.where(p > 0, self.logits, 0.0)).sum(dim=-1)
