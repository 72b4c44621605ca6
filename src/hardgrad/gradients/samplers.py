"""Samples of Bernoulli and categorical variables with a gradient by any of the estimators."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from hardgrad.core.errors import ParameterError
from hardgrad.core.mode import Mode, resolve_mode
from hardgrad.functional.operands import Operands, as_lists, check_choice, settle
from hardgrad.functional.simplex import check_elements
from hardgrad.gradients.estimators import (
    Draw,
    GradientEstimator,
    Gumbel,
    GumbelRao,
    Loss,
    NoisyRectifier,
    SmoothTimesStochastic,
    StraightThrough,
)
from hardgrad.gradients.families import BERNOULLI, CATEGORICAL, FAMILIES, Family
from hardgrad.gradients.score_functions import Rebar, Reinforce
from hardgrad.gradients.stochastic_graph import StochasticGraph

ESTIMATORS: dict[str, GradientEstimator] = {
    "gumbel": Gumbel(),
    "gumbel_rao": GumbelRao(),
    "noisy_rectifier": NoisyRectifier(),
    "rebar": Rebar(),
    "reinforce": Reinforce(),
    "smooth_times_stochastic": SmoothTimesStochastic(),
    "straight_through": StraightThrough(),
}


def sample_bernoulli(
    logits: Tensor,
    *,
    estimator: str | GradientEstimator = "straight_through",
    temperature: Any = None,
    mode: Mode | None = None,
    generator: torch.Generator | None = None,
    graph: StochasticGraph | None = None,
) -> Tensor:
    """Return samples that are 1 with probability sigmoid(logits) and 0 else, with an estimated gradient.

    Parameters
    ----------
    logits : any shape, real and finite.
    estimator : "straight_through", "gumbel", "gumbel_rao", "smooth_times_stochastic", "noisy_rectifier" (whose values are not 0 and 1), or
        "reinforce", which needs a `graph`; or an estimator with options, as in `StraightThrough(slope="sigmoid")`.
    temperature : positive number or tensor that broadcasts with the logits: of the relaxed sample; by default that of the surrounding
        `hardgrad.mode` block, else 1.
    mode : "st" (exact sample, estimated gradient), "soft" (relaxed sample; for "straight_through" the probability) or "hard" (exact sample,
        no gradient); by default that of the surrounding block, else "st".
    generator : of the noise.
    graph : takes down the samples of estimators that need the loss.

    Returns
    -------
    sample : in the shape of the logits, floating.

    Raises
    ------
    InputError, InputTypeError : NaN or infinity; a Boolean or complex tensor.
    ParameterError : an unknown estimator, or "reinforce" without a graph.
    UnsupportedError : an estimator that needs the loss as a function: see `surrogate_loss`.
    TemperatureError, ModeError : an argument outside its range.

    Examples
    --------
    >>> logits = torch.tensor([-30.0, 30.0], requires_grad=True)
    >>> sample = sample_bernoulli(logits)
    >>> sample.sum().backward(); sample.tolist(), logits.grad.tolist()
    ([0.0, 1.0], [1.0, 1.0])
    """
    return _sample("sample_bernoulli", BERNOULLI, logits, estimator, temperature, mode, generator, graph)


def sample_categorical(
    logits: Tensor,
    *,
    estimator: str | GradientEstimator = "gumbel",
    temperature: Any = None,
    mode: Mode | None = None,
    generator: torch.Generator | None = None,
    graph: StochasticGraph | None = None,
) -> Tensor:
    """Return one-hot samples of softmax(logits) along the last dimension, with an estimated gradient.

    Parameters
    ----------
    logits : (..., n), log-probabilities up to a constant, not probabilities; -inf leaves a category out: it is never drawn, its relaxed
        weight is exactly 0 and its gradient finite.
    estimator : "gumbel", "gumbel_rao", "straight_through" (softmax backward), or "reinforce", which needs a `graph`; or an estimator with
        options, as in `GumbelRao(samples=100)`.
    temperature : positive number or tensor that broadcasts to the shape of the logits without the last dimension: of the relaxed sample; by
        default that of the surrounding `hardgrad.mode` block, else 1. Small is near one-hot, with much variance.
    mode, generator, graph : as for `sample_bernoulli`.

    Returns
    -------
    sample : in the shape of the logits, floating.

    Raises
    ------
    InputError : NaN, +inf, no category, or nothing but -inf; the rest as for `sample_bernoulli`.

    Examples
    --------
    >>> logits = torch.tensor([0.0, 30.0, -torch.inf])
    >>> sample_categorical(logits).tolist()
    [0.0, 1.0, 0.0]
    """
    return _sample("sample_categorical", CATEGORICAL, logits, estimator, temperature, mode, generator, graph)


def surrogate_loss(
    loss: Loss,
    logits: Tensor,
    *,
    estimator: str | GradientEstimator = "rebar",
    distribution: str = "categorical",
    temperature: Any = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Return loss(sample), whose gradient by the logits is that of the estimator: for all estimators, those that need the loss included.

    Parameters
    ----------
    loss : from a sample in the shape of the logits to one number an example, in the leading dimensions of the logits.
    logits : as for `sample_categorical` or `sample_bernoulli`.
    estimator : as there, "rebar", or a `Relax`.
    distribution : "categorical" or "bernoulli".
    temperature, generator : as there.

    Returns
    -------
    loss : that of an exact sample, for most estimators; average it before you call backward.

    Examples
    --------
    >>> logits = torch.zeros(100_000, 2, requires_grad=True)
    >>> value = surrogate_loss(lambda z: z[:, 0], logits, generator=torch.Generator().manual_seed(0))
    >>> value.mean().backward(); logits.grad.sum(0).tolist()
    [0.25, -0.25]
    """
    check_choice("surrogate_loss", "distribution", distribution, FAMILIES)
    family = FAMILIES[distribution]
    chosen = estimator_of("surrogate_loss", estimator)
    call, level = settle_logits("surrogate_loss", family, logits, temperature, "st")
    return chosen.surrogate(loss, family, call.tensors[0], temperature=level, generator=generator)


def estimator_of(name: str, estimator: str | GradientEstimator) -> GradientEstimator:
    """Return the estimator of a name, or the one given. Raises `ParameterError` for anything else."""
    if isinstance(estimator, str):
        check_choice(name, "estimator", estimator, ESTIMATORS)
        return ESTIMATORS[estimator]
    given: Any = estimator
    if not isinstance(given, GradientEstimator) or isinstance(given, type):
        raise ParameterError(
            f"{name}() got estimator={given!r}; expected one of {', '.join(ESTIMATORS)}, or an object with `draw` and `surrogate`."
        )
    return estimator


def settle_logits(
    name: str, family: Family, logits: Tensor, temperature: Any, mode: Mode, *, masked: bool = True
) -> tuple[Operands, Any]:
    """Check the logits and return the call with tensors in every mode, and the temperature ready to divide them."""
    call = settle(
        name,
        logits,
        temperature=temperature,
        mode="soft",
        infinite=masked and bool(family.event_dims),
        default_temperature=1.0,
    )
    level = call.temperature
    if family.event_dims:
        lists = as_lists(call, -1)
        check_elements(name, lists)
        level = lists.temperature
    elif isinstance(level, Tensor) and level.dim():
        level = level.to(call.tensors[0].dtype)
    return replace(call, mode=mode), level


def _sample(
    name: str, family: Family, logits: Tensor, estimator: str | GradientEstimator, temperature: Any, mode: Mode | None,
    generator: torch.Generator | None, graph: StochasticGraph | None,
) -> Tensor:  # fmt: skip
    chosen = estimator_of(name, estimator)
    call, level = settle_logits(name, family, logits, temperature, resolve_mode(mode, "st"))
    draw: Draw = chosen.draw(family, call.tensors[0], temperature=level, mode=call.mode, generator=generator)
    if draw.log_prob is not None:
        if graph is None or not isinstance(chosen, Reinforce):
            raise ParameterError(
                f"{name}() got estimator={estimator!r} and no graph; its gradient needs the loss. Pass graph=StochasticGraph() and call "
                "graph.surrogate(loss).mean().backward(), or take another estimator."
            )
        graph.add(chosen, draw)
    return draw.value.to(call.dtype)
