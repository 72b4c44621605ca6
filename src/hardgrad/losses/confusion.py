"""Metrics of the confusion matrix as losses: counts of soft decisions, through the very formulas of the hard ones in `confusion_counts`."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from hardgrad.core.errors import HardgradWarning, InputError, ParameterError
from hardgrad.core.gap import GapReport
from hardgrad.core.mode import Mode, check_temperature, resolve_mode, resolve_temperature
from hardgrad.core.relaxed import straight_through
from hardgrad.core.schedule import Schedule
from hardgrad.functional.operands import (
    DEFAULT_TEMPERATURE,
    HALF,
    check_finite,
    check_real,
    check_truth,
    values_are_checked,
)
from hardgrad.losses.confusion_counts import BY_CLASS, ConfusionCounts, Metric, check_metric

DECIDED = 0.1
"""A soft decision this near to the hard one counts as agreeing in a gap."""


def soft_confusion(
    probs: Tensor,
    target: Tensor,
    temperature: Any = None,
    *,
    sample_weight: Tensor | None = None,
    mode: Mode | None = None,
) -> ConfusionCounts:
    """Return differentiable counts of the confusion matrix: every decision p > 1/2 counts as sigmoid((p - 1/2) / temperature).

    Parameters
    ----------
    probs : (B,), probabilities of class 1, or (B, K), of each class; there the margin p - 1/2 is half of what p is above the next one, so
        that the hard decision is the arg-max and two columns count as one does.
    target : (B,), 0 and 1, or numbers of classes.
    temperature : in units of probability; small is hard. By default that of the surrounding block, or 0.1.
    sample_weight : (B,), not negative.
    mode : "soft", "st" or "hard".

    Returns
    -------
    counts : of tensors, without dimension or (K,).

    Raises
    ------
    InputError : shapes that differ, no rows, NaN, probabilities outside [0, 1], a target that is no class, wrong weights.

    Examples
    --------
    >>> counts = soft_confusion(torch.tensor([0.9, 0.4, 0.2]), torch.tensor([1, 1, 0]), temperature=0.1)
    >>> round(float(counts.tp), 4), round(float(counts.metric("f1")), 4)
    (1.251, 0.7585)

    Source: Han, Moniz and Chawla, 2024, AnyLoss: Transforming Classification Metrics into Loss Functions.
    """
    truth, weight = _checked("soft_confusion", probs, target, sample_weight)
    check_finite("soft_confusion", probs)
    check_truth("soft_confusion", probs)
    level = check_temperature(resolve_temperature(temperature, DEFAULT_TEMPERATURE), "soft_confusion()")
    p = probs.to(torch.float32) if probs.dtype in HALF else probs
    return _counts(_decisions(p, level, resolve_mode(mode)), truth.to(p), weight.to(p))


class ConfusionMetricLoss(nn.Module):
    """Any metric of the confusion matrix as a loss, 1 - metric: for imbalanced classes, where the metric of the deployment is known.

    The metric belongs to a whole set of rows: give batches of 128 rows or more, or a `momentum`. A network begins best at p = 1/2 (zero
    bias) and at a temperature that is not small, because far from 1/2 a soft decision has no slope.

    Parameters
    ----------
    metric : "accuracy", "balanced_accuracy", "f1", "fbeta", "gmean", "jaccard", "kappa", "mcc", "rate_product" (the square of gmean, as
        the authors train it), "youden", or a function of the tensors (tn, fp, fn, tp) whose scalar result is maximised.
    temperature : in units of probability (the paper's L is 1 / temperature); a number, a 0-dim tensor, or a `Schedule` of the attribute
        `progress`, which you set from 0 to 1, as in `Schedule.exponential(0.1, 0.02)`. None: that of the surrounding block, or 0.1.
    beta : of "fbeta".
    average : of scores (B, K): "macro", the mean over the classes that occur, "micro", of the summed counts, None, (K,) losses.
    from_logits : whether scores go through the sigmoid, or the softmax of (B, K); otherwise they are probabilities.
    eps : added to denominators relative to the total weight, so that a batch given twice has the same loss.
    momentum : weight of the counts so far, in [0, 1). In training every batch is then added to momentum times the counts before, through
        which no gradient goes. Not in `state_dict`; `reset()` forgets them.

    Raises
    ------
    ParameterError, TemperatureError : an unknown name, or a parameter outside its range.

    Examples
    --------
    >>> scores, target = torch.tensor([2.0, -1.0, 0.5, -2.0]), torch.tensor([1, 1, 0, 0])
    >>> round(ConfusionMetricLoss("f1")(scores, target).item(), 4)
    0.4468
    >>> print(ConfusionMetricLoss("f1").gap(scores, target))
    f1  soft 0.5532  hard 0.5000  gap +0.0532 (hard is worse)  agreement 75.0 %  worst 0.227  on 4 rows

    Source: Han, Moniz and Chawla, 2024, AnyLoss: Transforming Classification Metrics into Loss Functions.
    """

    def __init__(
        self,
        metric: Metric = "f1",
        temperature: Any = DEFAULT_TEMPERATURE,
        beta: float = 1.0,
        average: str | None = "macro",
        from_logits: bool = True,
        eps: float = 1e-7,
        momentum: float | None = None,
    ) -> None:
        super().__init__()
        check_metric("ConfusionMetricLoss", metric, average)
        if average == "multiclass":
            raise ParameterError(
                "ConfusionMetricLoss() got average='multiclass', which is for exact counts; expected 'macro', 'micro' or None."
            )
        if not isinstance(temperature, Schedule) and temperature is not None:
            check_temperature(temperature, "ConfusionMetricLoss")
        if not (beta > 0 and eps > 0 and (momentum is None or 0 <= momentum < 1)):
            raise ParameterError(
                f"ConfusionMetricLoss() got beta={beta!r}, eps={eps!r} and momentum={momentum!r}; expected positive numbers and a momentum "
                "in [0, 1), or None."
            )
        self.metric, self.temperature, self.beta, self.average = metric, temperature, beta, average
        self.from_logits, self.eps, self.momentum = from_logits, eps, momentum
        self.progress = 0.0
        self._history: ConfusionCounts | None = None
        self._warned = False

    def forward(self, scores: Tensor, target: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        """Return the loss.

        Parameters
        ----------
        scores : (B,) for two classes, or (B, K); floating.
        target : (B,), 0 and 1, or numbers of classes.
        sample_weight : (B,), not negative.

        Raises
        ------
        InputError : see `soft_confusion`.
        """
        counts = self._remembered(self.counts(scores, target, sample_weight))
        self._warn_of_missing_classes(counts)
        return (1.0 - self._value(counts, self.eps)).to(scores.dtype)

    def counts(self, scores: Tensor, target: Tensor, sample_weight: Tensor | None = None) -> ConfusionCounts:
        """Return the soft counts of a batch, in the surrounding mode."""
        name = "ConfusionMetricLoss"
        truth, weight = _checked(name, scores, target, sample_weight)
        p = self._probabilities(name, scores)
        return _counts(_decisions(p, self._level(), resolve_mode(None)), truth.to(p), weight.to(p))

    def gap(self, scores: Tensor, target: Tensor, sample_weight: Tensor | None = None) -> GapReport:
        """Return the soft metric against the metric of the hard decisions, on the rows that are given.

        `agreement` is the weighted share of rows whose soft decisions are all within 0.1 of the hard ones. Raises `ParameterError` for
        average=None, which is not one metric.
        """
        if self.average is None and scores.dim() == 2:
            raise ParameterError("ConfusionMetricLoss.gap() got average=None; choose 'macro' or 'micro'.")
        with torch.no_grad():
            truth, weight = _checked("ConfusionMetricLoss.gap", scores, target, sample_weight)
            p = self._probabilities("ConfusionMetricLoss.gap", scores).double()
            truth, weight = truth.to(p), weight.to(p)
            soft, hard = (_decisions(p, self._level(), mode) for mode in ("soft", "hard"))
            apart = (soft - hard).abs().reshape(len(p), -1).amax(1)
            agreement = float((weight * (apart <= DECIDED)).sum() / weight.sum())
            values = [
                float(self._value(_counts(a, truth, weight), eps))
                for a, eps in ((soft, self.eps), (hard, 0.0))
            ]
        name = self.metric if isinstance(self.metric, str) else getattr(self.metric, "__name__", "metric")
        return GapReport(
            name, values[0], values[1], agreement, float(apart.max()), higher_is_better=True, rows=len(p), detail={"tolerance": DECIDED}
        )  # fmt: skip

    def reset(self) -> None:
        """Forget the counts of earlier batches."""
        self._history = None

    def _probabilities(self, name: str, scores: Tensor) -> Tensor:
        check_real(name, scores)
        check_finite(name, scores)
        p = scores.to(torch.float32) if scores.dtype in HALF else scores
        if not self.from_logits:
            check_truth(name, p)
            return p
        return torch.sigmoid(p) if p.dim() == 1 else torch.softmax(p, dim=-1)

    def _level(self) -> Any:
        if isinstance(self.temperature, Schedule):
            return check_temperature(self.temperature(self.progress), "ConfusionMetricLoss")
        return check_temperature(
            resolve_temperature(self.temperature, DEFAULT_TEMPERATURE), "ConfusionMetricLoss"
        )

    def _value(self, counts: ConfusionCounts, eps: float) -> Tensor:
        """Return the metric of counts; a function of the user is called for one class at a time."""
        if not callable(self.metric):
            value: Tensor = counts.metric(self.metric, beta=self.beta, average=self.average, eps=eps)
            return value
        if not counts.tp.dim():
            return _scalar(self.metric(*counts.cells))
        if self.average == "micro":
            return _scalar(self.metric(*counts.summed().cells))
        each = torch.stack([_scalar(self.metric(*cells)) for cells in zip(*counts.cells, strict=True)])
        if self.average is None:
            return each
        occurs = counts.tp + counts.fn > 0
        mean: Tensor = torch.where(occurs, each, 0.0).sum() / occurs.sum()
        return mean

    def _remembered(self, counts: ConfusionCounts) -> ConfusionCounts:
        if self.momentum is None or not self.training:
            return counts
        before = self._history
        if before is not None:
            if before.tp.shape != counts.tp.shape:
                raise InputError(
                    f"ConfusionMetricLoss() got counts of shape {tuple(counts.tp.shape)} after {tuple(before.tp.shape)}; expected the same "
                    "classes in every batch. Call reset() between tasks."
                )
            counts = counts + ConfusionCounts(*(self.momentum * cell.to(counts.tp) for cell in before.cells))
        self._history = ConfusionCounts(*(cell.detach() for cell in counts.cells))
        return counts

    def _warn_of_missing_classes(self, counts: ConfusionCounts) -> None:
        if self._warned or self.metric not in BY_CLASS or not values_are_checked(counts.tp):
            return
        positive, negative = counts.tp + counts.fn > 0, counts.tn + counts.fp > 0
        binary = counts.tp.dim() == 0
        # Among several classes one that does not occur is left out of the macro mean anyway.
        if bool((positive & ~negative).any()) or (binary and not bool(positive)):
            self._warned = True
            warnings.warn(
                f"ConfusionMetricLoss got a batch of one class only; {self.metric} then counts the rate of that class alone. Take larger "
                "or stratified batches, or a momentum. This is said once.",
                HardgradWarning,
                stacklevel=3,
            )


def _checked(
    name: str, scores: Tensor, target: Tensor, sample_weight: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the truth as 0 and 1, shaped like the scores, and the weights, shaped to go with them; or raise `InputError`."""
    classes = scores.shape[1] if scores.dim() == 2 else 2
    if scores.dim() not in (1, 2) or target.shape != scores.shape[:1] or not len(target) or classes < 2:
        raise InputError(
            f"{name}() got scores {tuple(scores.shape)} and target {tuple(target.shape)}; expected (B,) and (B,), or (B, K) and (B,), with "
            "at least one row and two classes."
        )
    check_real(name, scores)
    if not scores.is_floating_point():
        raise InputError(f"{name}() got scores of {scores.dtype}; expected floating numbers.")
    if target.is_complex():
        raise InputError(f"{name}() got a complex target; expected numbers of classes.")
    if values_are_checked(target):
        labels = target.double()
        wrong = ~((labels >= 0) & (labels < classes) & (labels == labels.floor()))  # NaN is wrong too
        if bool(wrong.any()):
            row = int(wrong.nonzero()[0, 0])
            raise InputError(
                f"{name}() got target {target[row].item()!r} in row {row}; expected "
                + ("0 or 1." if classes == 2 else f"whole numbers from 0 to {classes - 1}.")
            )
    truth = target if scores.dim() == 1 else nn.functional.one_hot(target.long(), classes)
    if sample_weight is None:
        return truth, scores.new_ones(scores.shape[:1] + (1,) * (scores.dim() - 1))
    if sample_weight.shape != target.shape:
        raise InputError(
            f"{name}() got sample_weight of shape {tuple(sample_weight.shape)}; expected {tuple(target.shape)}."
        )
    if values_are_checked(sample_weight):
        fine = torch.isfinite(sample_weight) & (sample_weight >= 0)
        if not bool(fine.all()) or not bool((sample_weight > 0).any()):
            raise InputError(
                f"{name}() got weights that are negative, not finite or zero everywhere; expected finite weights with a positive one."
            )
    return truth, sample_weight if scores.dim() == 1 else sample_weight.unsqueeze(1)


def _decisions(p: Tensor, temperature: Any, mode: Mode) -> Tensor:
    """Return how far each row is decided for class 1, (B,), or for each class, (B, K), given probabilities."""
    if p.dim() == 1:
        margin = p - 0.5
        hard = margin.detach() > 0
    else:
        top = p.topk(2, dim=1)
        is_top = nn.functional.one_hot(p.argmax(1), p.shape[1]).bool()  # the first of equals, as everywhere
        margin = (p - torch.where(is_top, top.values[:, 1:], top.values[:, :1])) / 2
        hard = is_top
    if mode == "hard":
        return hard.to(p.dtype)
    soft = torch.sigmoid(margin / temperature)
    return soft if mode == "soft" else straight_through(hard.to(p.dtype), soft)


def _counts(a: Tensor, truth: Tensor, weight: Tensor) -> ConfusionCounts:
    hit, wrong = weight * truth, weight * (1.0 - truth)
    return ConfusionCounts(
        (wrong * (1.0 - a)).sum(0), (wrong * a).sum(0), (hit * (1.0 - a)).sum(0), (hit * a).sum(0)
    )


def _scalar(value: Any) -> Tensor:
    if not isinstance(value, Tensor) or value.dim() != 0:
        got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise InputError(f"the metric of ConfusionMetricLoss returned {got}; expected a scalar tensor.")
    return value
