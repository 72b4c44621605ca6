"""Heads: what counts of bits say. They turn the outputs of the last layer of gates into one score a class."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from hardgrad.core.errors import InputError, ParameterError
from hardgrad.core.mode import Mode
from hardgrad.core.relaxed import Relaxed, straight_through
from hardgrad.functional.comparisons import greater

LEAST_TAU = 1.0
TAU_FACTOR = 0.5


def suggest_tau(n_outputs: int, n_classes: int) -> float:
    """Return the number that counts of bits are divided by: half the root of the outputs of a class, at least 1.

    Much smaller, the softmax saturates while gates are still undecided, and the exact circuit is far worse than the soft one; much larger,
    gradients are small.

    Raises
    ------
    ParameterError : fewer outputs than classes.

    Examples
    --------
    >>> suggest_tau(8000, 10)
    14.14
    """
    if n_classes < 1 or n_outputs < n_classes:
        raise ParameterError(
            f"suggest_tau() got n_outputs={n_outputs} and n_classes={n_classes}; expected at least one output a class."
        )
    return max(LEAST_TAU, TAU_FACTOR * math.sqrt(n_outputs / n_classes))


def group_counts(x: Tensor, k: int) -> Tensor:
    """Return the sums `[..., k]` of k groups of outputs `[..., n]` that lie side by side.

    Raises
    ------
    InputError : n is no multiple of k.
    """
    if x.shape[-1] % k:
        raise InputError(f"got {x.shape[-1]} outputs for k={k} groups; expected a multiple of {k}.")
    # Outputs of gates lie gate by gate in memory, and so does the gradient of this sum.
    sums: Tensor = x.movedim(-1, 0).unflatten(0, (k, -1)).sum(dim=1)
    return sums.movedim(0, -1)


class GroupSum(nn.Module):
    """Score of a class: how many outputs of its group are one, divided by tau. It needs no hardening: bits have exact counts.

    Parameters
    ----------
    k : groups of equal size, one a class, in order.
    tau : positive.

    Raises
    ------
    ParameterError : no group, a tau that is not positive.

    Examples
    --------
    >>> GroupSum(2, tau=2.0)(torch.tensor([1.0, 1.0, 1.0, 0.0])).tolist()
    [1.0, 0.5]
    """

    def __init__(self, k: int, tau: float = 1.0) -> None:
        super().__init__()
        self.k, self.tau = k, _check_tau(tau)
        if k < 1:
            raise ParameterError(f"got k={k!r}; expected at least one group.")

    def forward(self, x: Tensor) -> Tensor:
        """Return scores `[..., k]` of outputs `[..., n]`. Raises `InputError` where n is no multiple of k."""
        return group_counts(x, self.k) / self.tau

    def extra_repr(self) -> str:
        """Say the groups and tau."""
        return f"{self.k}, tau={self.tau:g}"


class WeightedGroupSum(Relaxed):
    """Score of a class as in `GroupSum`, with a learned whole number of votes for each output; 0 leaves it out.

    In mode "soft" the votes are not rounded; "st" rounds them, and the gradient is that of what was not.

    Parameters
    ----------
    n_outputs, k, tau : outputs, groups, and what counts are divided by.
    max_weight : most votes of an output.

    Raises
    ------
    ParameterError : `n_outputs` is no multiple of k, or `max_weight` is below 1.

    Examples
    --------
    >>> WeightedGroupSum(4, 2)(torch.tensor([1.0, 1.0, 1.0, 0.0]), mode="hard").tolist()
    [2.0, 1.0]
    """

    def __init__(self, n_outputs: int, k: int, tau: float = 1.0, *, max_weight: int = 4) -> None:
        super().__init__()
        self.k, self.tau, self.max_weight = k, _check_tau(tau), max_weight
        if k < 1 or n_outputs < 1 or n_outputs % k or max_weight < 1:
            raise ParameterError(
                f"WeightedGroupSum() got n_outputs={n_outputs}, k={k} and max_weight={max_weight}; expected a multiple of k, and "
                "at least one vote."
            )
        self.weight = nn.Parameter(torch.ones(n_outputs))

    def forward(self, x: Tensor, *, mode: Mode | None = None) -> Tensor:
        """Return scores `[..., k]` of outputs `[..., n_outputs]`."""
        return group_counts(x * self.votes(self.resolved_mode(mode)), self.k) / self.tau

    def votes(self, mode: Mode = "hard") -> Tensor:
        """Return the votes `[n_outputs]`, whole in "st" and "hard"."""
        kept = self.weight.clamp(0.0, self.max_weight)
        if mode == "soft":
            return kept
        # The slope of a soft round is 0 at whole numbers, where votes start: they would never leave.
        return straight_through(kept.round(), kept) if mode == "st" else kept.round()

    def harden(self) -> nn.Module:
        """Return the head whose votes are fixed and whole."""
        exact = WeightedGroupSum(len(self.weight), self.k, self.tau, max_weight=self.max_weight)
        exact.weight = nn.Parameter(self.votes().detach(), requires_grad=False)
        return exact


class ThresholdSum(Relaxed):
    """Yes or no for each group: whether more of its outputs are one than a learned number. For labels that do not exclude each other.

    It is a head for a `LogicNetwork` of your own: the estimators of this library learn one label a row.

    Parameters
    ----------
    n_outputs, k, tau : outputs, groups, and the softness of the comparison, in outputs.

    Raises
    ------
    ParameterError : `n_outputs` is no multiple of k.

    Examples
    --------
    >>> ThresholdSum(6, 2)(torch.tensor([1.0, 1.0, 0.0, 1.0, 0.0, 0.0]), mode="hard").tolist()
    [1.0, 0.0]
    """

    def __init__(self, n_outputs: int, k: int, tau: float = 1.0) -> None:
        super().__init__(tau)
        self.k = k
        if k < 1 or n_outputs < 1 or n_outputs % k:
            raise ParameterError(
                f"ThresholdSum() got n_outputs={n_outputs} and k={k}; expected a multiple of k."
            )
        self.threshold = nn.Parameter(torch.full((k,), n_outputs / k / 2.0))

    def forward(self, x: Tensor, *, temperature: Any = None, mode: Mode | None = None) -> Tensor:
        """Return how far each group `[..., k]` is a yes: between 0 and 1 in "soft", one of them in "st" and "hard"."""
        counts = group_counts(x, self.k)
        answer = greater(
            counts,
            self.threshold,
            temperature=self.resolved_temperature(temperature),
            mode=self.resolved_mode(mode),
        )
        return answer.to(counts.dtype)

    def harden(self) -> nn.Module:
        """Return the head whose answers are exact."""
        return ExactThresholdSum(self.threshold.detach().floor() + 1.0)


class ExactThresholdSum(nn.Module):
    """Whether each group of outputs has at least so many ones.

    Parameters
    ----------
    least : `[groups]`, whole.
    """

    least: Tensor

    def __init__(self, least: Tensor) -> None:
        super().__init__()
        self.register_buffer("least", least)

    def forward(self, x: Tensor) -> Tensor:
        """Return zeros and ones `[..., groups]`."""
        return (group_counts(x, len(self.least)) >= self.least).to(x.dtype)


class CodebookHead(GroupSum):
    """Score of a class: how well the outputs agree with the class's code word. Words that differ in many bits forgive wrong gates.

    Parameters
    ----------
    codes : `[classes, bits]` of -1 and 1, or of zeros and ones; outputs fall into one group of equal size a bit.
    tau : positive; scores are sums of code times 2 mean - 1, divided by it.

    Raises
    ------
    ParameterError : codes that are not a matrix of two values, or that are equal for two classes.

    Examples
    --------
    >>> CodebookHead(torch.tensor([[0, 0, 0], [1, 1, 0]]))(torch.tensor([1.0, 1.0, 1.0])).tolist()
    [-3.0, 1.0]
    """

    codes: Tensor

    def __init__(self, codes: Any, tau: float = 1.0) -> None:
        given = torch.as_tensor(codes, dtype=torch.get_default_dtype())
        fine = given.dim() == 2 and given.numel() > 0
        signs = 2.0 * given - 1.0 if fine and bool((given >= 0).all()) else given
        if not fine or not (signs.abs() == 1).all() or len(signs.unique(dim=0)) < len(signs):
            raise ParameterError(
                f"CodebookHead() got codes of shape {tuple(given.shape)}; expected [classes, bits] of -1 and 1 or of 0 and 1, one word a "
                "class, all different."
            )
        super().__init__(signs.shape[1], tau)
        self.register_buffer("codes", signs)

    def forward(self, x: Tensor) -> Tensor:
        """Return scores `[..., classes]` of outputs `[..., n]`; n is a multiple of the bits."""
        counts, size = group_counts(x, self.k), x.shape[-1] // self.k
        # Sums of whole numbers are exact: classes that tie in bits tie in scores.
        scores: Tensor = (2.0 * counts - size) @ self.codes.to(counts.dtype).T / (size * self.tau)
        return scores


def _check_tau(tau: float) -> float:
    if not (tau > 0 and math.isfinite(tau)):
        raise ParameterError(f"got tau={tau!r}; expected a positive number.")
    return float(tau)
