"""Samples without replacement, by the k largest of logits with Gumbel noise: subsets and permutations (Plackett-Luce)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hardgrad.core.errors import ParameterError
from hardgrad.core.mode import Mode, resolve_mode
from hardgrad.core.relaxed import straight_through
from hardgrad.functional.operands import check_choice, values_are_checked
from hardgrad.functional.simplex import project_lists
from hardgrad.gradients.estimators import Draw
from hardgrad.gradients.families import CATEGORICAL, race
from hardgrad.gradients.samplers import settle_logits
from hardgrad.gradients.score_functions import Reinforce
from hardgrad.gradients.stochastic_graph import StochasticGraph


def sample_subset(
    logits: Tensor,
    k: int,
    *,
    estimator: str = "gumbel",
    temperature: Any = None,
    mode: Mode | None = None,
    generator: torch.Generator | None = None,
    graph: StochasticGraph | None = None,
) -> Tensor:
    """Return k of n as zeros and ones, drawn one after the other without replacement in proportion to exp(logits), with a gradient.

    Parameters
    ----------
    logits : (..., n); -inf leaves an element out.
    k : size of the subset, at most the number of elements that are not left out.
    estimator : "gumbel" (k softmaxes, one after the other, each without what the earlier ones took) or "reinforce", which needs a `graph`.
    temperature : positive, of the softmaxes; by default that of the surrounding `hardgrad.mode` block, else 1.
    mode : "st", "soft" (relaxed, sum k) or "hard"; by default that of the surrounding block, else "st".
    generator : of the noise.
    graph : takes the log-probability of the draws down for "reinforce".

    Returns
    -------
    subset : in the shape of the logits, floating.

    Raises
    ------
    ParameterError : k outside 0 to n, an unknown estimator, or "reinforce" without a graph.
    InputError, InputTypeError, TemperatureError, ModeError : as for `sample_categorical`.

    Examples
    --------
    >>> sample_subset(torch.tensor([30.0, 0.0, 60.0, -torch.inf]), 2).tolist()
    [1.0, 0.0, 1.0, 0.0]

    Source: Kool, van Hoof and Welling, 2019, Stochastic Beams and Where to Find Them; Xie and Ermon, 2019, Reparameterizable Subset
    Sampling via Continuous Relaxations.
    """
    check_choice("sample_subset", "estimator", estimator, ("gumbel", "reinforce"))
    call, level = settle_logits("sample_subset", CATEGORICAL, logits, temperature, resolve_mode(mode, "st"))
    x = call.tensors[0]
    elements = x.shape[-1]
    # An element that is left out must not be drawn for want of others.
    if x.numel() and values_are_checked(x):
        elements = int((~torch.isneginf(x.detach())).sum(dim=-1).min())
    if isinstance(k, bool) or not 0 <= k <= elements:
        raise ParameterError(f"sample_subset() got k={k!r} for {elements} elements; expected 0 to that.")
    perturbed = race(x if estimator == "gumbel" else x.detach(), generator)
    order = perturbed.detach().topk(k, dim=-1).indices
    exact = torch.zeros_like(x.detach()).scatter(-1, order, 1.0)
    if call.mode == "hard":
        return exact.to(call.dtype)
    if estimator == "reinforce":
        _take_down("sample_subset", x, order, graph)
        return exact.to(call.dtype)
    soft = _successive_softmaxes(perturbed, k, level)
    return (soft if call.mode == "soft" else straight_through(exact, soft)).to(call.dtype)


def sample_permutation(
    logits: Tensor, *, generator: torch.Generator | None = None, graph: StochasticGraph | None = None
) -> Tensor:
    """Return a random order, the likely first, drawn one after the other without replacement in proportion to exp(logits).

    Parameters
    ----------
    logits : (..., n), finite.
    generator : of the noise.
    graph : takes down the log-probability of the order (Plackett-Luce), for its score-function gradient.

    Returns
    -------
    order : int64, (..., n): which element comes first, second and so on. Without a gradient of its own.

    Raises
    ------
    InputError : as for `sample_categorical`, and -inf.

    Examples
    --------
    >>> sample_permutation(torch.tensor([0.0, 60.0, 30.0])).tolist()
    [1, 2, 0]

    Source: Plackett, 1975, The Analysis of Permutations.
    """
    call, _ = settle_logits("sample_permutation", CATEGORICAL, logits, None, "st", masked=False)
    x = call.tensors[0]
    order = race(x.detach(), generator).argsort(dim=-1, descending=True)
    if graph is not None:
        _take_down("sample_permutation", x, order, graph)
    return order


def log_prob_of_order(logits: Tensor, order: Tensor) -> Tensor:
    """Return the Plackett-Luce log-probability that the first k draws are `order`, shape (...).

    Parameters
    ----------
    logits : (..., n).
    order : int64, (..., k), distinct positions.
    """
    chosen = logits.gather(-1, order)
    # What is still there at a draw: everything that is never drawn, and what is drawn from here on.
    never = torch.ones_like(logits, dtype=torch.bool).scatter(-1, order, False)
    rest = (
        torch.logsumexp(logits.masked_fill(~never, -torch.inf), dim=-1, keepdim=True)
        if order.shape[-1] < logits.shape[-1]
        else None
    )
    later = torch.logcumsumexp(chosen.flip(-1), dim=-1).flip(-1)
    left = later if rest is None else torch.logaddexp(later, rest)
    return (chosen - left).sum(dim=-1)


def _successive_softmaxes(perturbed: Tensor, k: int, temperature: Any) -> Tensor:
    """Return the sum of k softmaxes; before each, every element is lowered by how far the one before took it."""
    total = torch.zeros_like(perturbed)
    tiny = torch.finfo(perturbed.dtype).eps
    for _ in range(k):
        weights = project_lists(perturbed, temperature, 1.0)
        total = total + weights
        perturbed = perturbed + torch.log1p(-weights.clamp_max(1.0 - tiny))
    return total


def _take_down(name: str, logits: Tensor, order: Tensor, graph: StochasticGraph | None) -> None:
    if graph is None:
        raise ParameterError(
            f"{name}() got estimator='reinforce' and no graph; its gradient needs the loss. Pass graph=StochasticGraph() and call "
            "graph.surrogate(loss).mean().backward()."
        )
    log_prob = log_prob_of_order(logits, order)
    graph.add(Reinforce(), Draw(order, log_prob, torch.ones_like(log_prob)))
