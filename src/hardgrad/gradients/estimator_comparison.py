"""compare_estimators: bias and variance of every estimator on one's own loss, against the exact gradient where it can be had."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from hardgrad.core.errors import InputError, ParameterError
from hardgrad.functional.operands import check_choice
from hardgrad.gradients.estimators import GradientEstimator, Loss
from hardgrad.gradients.families import FAMILIES, Family
from hardgrad.gradients.samplers import ESTIMATORS, estimator_of, surrogate_loss
from hardgrad.gradients.score_functions import Reinforce, RunningBaseline

MOST_OUTCOMES = 4096
CHUNK = 4096
NOT_SAMPLES = (
    "noisy_rectifier",
)  # its values are no samples of the distribution, so its gradient is that of another loss


@dataclass(frozen=True)
class EstimatorFigures:
    """One estimator on one loss, over all logits.

    Parameters
    ----------
    name : of the estimator.
    bias : length of the difference of its mean gradient to the exact one.
    bias_error : standard error of that, from the number of samples.
    variance : sum over the logits of the variance of one sample's gradient.
    cosine : between its mean gradient and the exact one.
    """

    name: str
    bias: float
    bias_error: float
    variance: float
    cosine: float

    @property
    def mean_squared_error(self) -> float:
        """Squared bias plus the variance of one sample."""
        return self.bias**2 + self.variance


@dataclass(frozen=True)
class EstimatorReport:
    """Estimators side by side.

    Parameters
    ----------
    rows : the figures of each, in the order in which they were asked for.
    gradient_length : length of the exact gradient.
    reference : "enumeration" or "samples": where the exact gradient is from.
    samples : gradients that were drawn for each.
    temperature : of the relaxed samples.
    """

    rows: tuple[EstimatorFigures, ...]
    gradient_length: float
    reference: str
    samples: int
    temperature: float

    def __getitem__(self, name: str) -> EstimatorFigures:
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(name)

    def to_dict(self) -> dict[str, Any]:
        """Return the figures in a form that `json` can write."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [f"{'estimator':<26}{'bias':>11}{'std. error':>12}{'variance':>12}{'cosine':>9}"]
        lines += [
            f"{r.name:<26}{r.bias:>11.4g}{r.bias_error:>12.2g}{r.variance:>12.4g}{r.cosine:>9.3f}"
            for r in self.rows
        ]
        lines.append(
            f"exact gradient of length {self.gradient_length:.4g} by {self.reference}; {self.samples:,} samples each, temperature "
            f"{self.temperature:g}"
        )
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        from html import escape

        return f"<pre>{escape(str(self))}</pre>"

    def plot(self, ax: Any = None) -> Any:
        """Draw bias against standard deviation, one point an estimator, on a matplotlib axis and return it. Needs matplotlib."""
        if ax is None:
            import matplotlib.pyplot as plt

            ax = plt.figure().add_subplot()
        for row in self.rows:
            ax.scatter([math.sqrt(row.variance)], [row.bias])
            ax.annotate(row.name, (math.sqrt(row.variance), row.bias))
        ax.set_xlabel("standard deviation of one gradient")
        ax.set_ylabel("bias")
        ax.set_title(f"exact gradient of length {self.gradient_length:.3g}")
        return ax


def compare_estimators(
    loss: Loss,
    logits: Tensor,
    *,
    estimators: Sequence[str] | Mapping[str, GradientEstimator] | None = None,
    distribution: str = "categorical",
    samples: int = 10_000,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> EstimatorReport:
    """Return bias and variance of gradient estimators on a loss, at given logits.

    Parameters
    ----------
    loss : from samples (batch, *logits.shape) to losses (batch,); differentiable in the samples.
    logits : of one example: (units ..., n) for categorical, (units ...) for Bernoulli.
    estimators : names, or estimators by names of your own; by default all that the distribution has, and REINFORCE with a running baseline.
    distribution : "categorical" or "bernoulli".
    samples : gradients drawn for each; with at most 4,096 outcomes the exact gradient is enumerated, else it is the mean of ten times
        as many gradients of REBAR.
    temperature : of the relaxed samples.
    generator : of the noise.

    Returns
    -------
    report : see `EstimatorReport`.

    Raises
    ------
    ParameterError : an unknown distribution or estimator, or fewer than 2 samples.
    InputError : a loss that does not return one number for each sample of the batch.

    Examples
    --------
    >>> report = compare_estimators(lambda b: (b[:, 0] - 0.45) ** 2, torch.zeros(1), distribution="bernoulli", samples=2000,
    ...                             estimators=["reinforce", "straight_through"])
    >>> report.gradient_length, report["straight_through"].bias > 0.02
    (0.025, True)
    """
    check_choice("compare_estimators", "distribution", distribution, FAMILIES)
    if samples < 2:
        raise ParameterError(f"compare_estimators() got samples={samples}; expected at least 2.")
    family = FAMILIES[distribution]
    chosen = _chosen(estimators, family)
    point = logits.detach().double() if logits.dtype == torch.float64 else logits.detach().float()
    outcomes = _outcomes(family, point)
    how: dict[str, Any] = {"distribution": distribution, "temperature": temperature, "generator": generator}
    if outcomes is None:
        reference, _ = _moments(loss, point, "rebar", 10 * samples, how)
    else:
        reference = _exact_gradient(loss, family, point, outcomes)
    rows = [
        _figures(name, *_moments(loss, point, estimator, samples, how), reference, samples)
        for name, estimator in chosen.items()
    ]
    length = float(reference.norm())
    return EstimatorReport(
        tuple(rows), length, "samples" if outcomes is None else "enumeration", samples, float(temperature)
    )


def _chosen(
    estimators: Sequence[str] | Mapping[str, GradientEstimator] | None, family: Family
) -> dict[str, GradientEstimator]:
    if isinstance(estimators, Mapping):
        return {name: estimator_of("compare_estimators", found) for name, found in estimators.items()}
    if estimators is not None:
        return {name: estimator_of("compare_estimators", name) for name in estimators}
    left_out = NOT_SAMPLES + (("smooth_times_stochastic",) if family.event_dims else ())
    found = {name: member for name, member in ESTIMATORS.items() if name not in left_out}
    return {**found, "reinforce, running baseline": Reinforce(RunningBaseline())}


def _outcomes(family: Family, logits: Tensor) -> Tensor | None:
    """Return every outcome (outcomes, *logits.shape); None where there are too many."""
    values = logits.shape[-1] if family.event_dims else 2
    units = logits[..., 0].numel() if family.event_dims else logits.numel()
    if units * math.log(max(values, 2)) > math.log(MOST_OUTCOMES) + 1e-9:
        return None
    indices = torch.tensor(list(itertools.product(range(values), repeat=units)))
    if not family.event_dims:
        return indices.to(logits).reshape(-1, *logits.shape)
    return torch.nn.functional.one_hot(indices, values).to(logits).reshape(-1, *logits.shape)


def _exact_gradient(loss: Loss, family: Family, logits: Tensor, outcomes: Tensor) -> Tensor:
    leaf = logits.clone().requires_grad_()
    log_prob = family.log_prob(leaf.expand(outcomes.shape), outcomes).reshape(len(outcomes), -1).sum(dim=-1)
    with torch.no_grad():
        losses = _one_each(loss(outcomes), len(outcomes))
    probable = log_prob.detach() > -torch.inf
    return torch.autograd.grad((log_prob.exp() * losses)[probable].sum(), leaf)[0]


def _moments(
    loss: Loss, logits: Tensor, estimator: str | GradientEstimator, samples: int, how: dict[str, Any]
) -> tuple[Tensor, Tensor]:
    """Return mean and variance of the gradient of one sample, each in the shape of the logits."""
    if isinstance(estimator, Reinforce) and isinstance(estimator.baseline, RunningBaseline):
        _gradients(
            loss, logits, estimator, min(samples, CHUNK), how
        )  # a baseline is judged when it knows something
    parts = []
    for start in range(0, samples, CHUNK):
        parts.append(_gradients(loss, logits, estimator, min(CHUNK, samples - start), how).double())
    gradients = torch.cat(parts)
    return gradients.mean(dim=0), gradients.var(dim=0)


def _gradients(
    loss: Loss, logits: Tensor, estimator: str | GradientEstimator, count: int, how: dict[str, Any]
) -> Tensor:
    leaf = logits.expand(count, *logits.shape).clone().requires_grad_()
    value = surrogate_loss(lambda z: _one_each(loss(z), count), leaf, estimator=estimator, **how)
    return torch.autograd.grad(value.sum(), leaf)[0]


def _one_each(losses: Tensor, count: int) -> Tensor:
    if losses.shape != (count,):
        raise InputError(
            f"compare_estimators() got losses of shape {tuple(losses.shape)} for {count} samples; expected ({count},): one for each."
        )
    return losses


def _figures(name: str, mean: Tensor, variance: Tensor, reference: Tensor, samples: int) -> EstimatorFigures:
    exact = reference.double()
    total = float(variance.sum())
    scale = float(mean.norm() * exact.norm())
    cosine = float((mean * exact).sum()) / scale if scale else math.nan
    return EstimatorFigures(name, float((mean - exact).norm()), math.sqrt(total / samples), total, cosine)
