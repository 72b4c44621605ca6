"""Metrics of the confusion matrix, once for all: of hard counts in NumPy and of soft ones in torch. Never imports torch itself.

`ConfusionCounts` holds the four cells; its formulas use arithmetic that floats, arrays and tensors share, so that a metric that is
reported, one that a threshold is tuned for and one that is trained as a loss are the same lines. The soft counts are in `confusion`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hardgrad.core.errors import InputError, ParameterError, suggestion

Metric = str | Callable[[Any, Any, Any, Any], Any]
AVERAGES = ("macro", "micro", "multiclass", None)
BY_CLASS = ("balanced_accuracy", "gmean", "rate_product", "youden")
"""Metrics made of the rates of both classes; a class without rows has no rate, and only the other one counts."""


@dataclass(frozen=True)
class ConfusionCounts:
    """The four cells of a confusion matrix: sums of weights, of hard decisions or of soft ones.

    Parameters
    ----------
    tn, fp, fn, tp : true negatives, false positives, false negatives, true positives; numbers for two classes, shape (K,) for each of K
        classes against the rest, or any equal shapes. NumPy arrays or torch tensors.

    Examples
    --------
    >>> counts = ConfusionCounts.from_labels([1, 1, 0, 0, 0], [1, 0, 1, 0, 0])
    >>> float(counts.metric("f1")), float(counts.metric("youden"))
    (0.5, 0.1666667)
    """

    tn: Any
    fp: Any
    fn: Any
    tp: Any

    @classmethod
    def from_labels(
        cls,
        predicted: ArrayLike,
        target: ArrayLike,
        *,
        n_classes: int | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Count hard decisions.

        Parameters
        ----------
        predicted, target : (n,); 0 and 1, or the numbers of classes.
        n_classes : K, for counts of shape (K,), each class against the rest; None for two classes, of which 1 is the positive one.
        sample_weight : (n,), not negative; 1 by default.

        Raises
        ------
        InputError : shapes that differ, labels that are no class, weights that are negative or not finite.
        """
        guess, truth, weight = _checked("ConfusionCounts.from_labels", predicted, target, sample_weight)
        classes = 2 if n_classes is None else n_classes
        for labels in (guess, truth):
            if not np.isin(labels, np.arange(classes)).all():
                wrong = labels[~np.isin(labels, np.arange(classes))][0]
                raise InputError(
                    f"ConfusionCounts.from_labels() got label {wrong!r}; expected whole numbers from 0 to {classes - 1}. Number the "
                    "classes first."
                )
        guess, truth = guess.astype(np.int64), truth.astype(np.int64)
        cells = np.bincount(truth * classes + guess, weight, classes**2).reshape(classes, classes)
        if n_classes is None:
            return cls(*cells.ravel())
        tp, real, called = np.diag(cells), cells.sum(1), cells.sum(0)
        fn, fp = real - tp, called - tp
        tn = np.maximum(real.sum() - real - fp, 0.0)
        return cls(tn, fp, fn, tp)

    def __add__(self, other: ConfusionCounts) -> ConfusionCounts:
        """Return the counts of both sets of rows together."""
        return ConfusionCounts(self.tn + other.tn, self.fp + other.fp, self.fn + other.fn, self.tp + other.tp)

    @property
    def cells(self) -> tuple[Any, Any, Any, Any]:
        """The counts in the order (tn, fp, fn, tp)."""
        return self.tn, self.fp, self.fn, self.tp

    @property
    def total(self) -> Any:
        """Sum of all weights."""
        return self.tn + self.fp + self.fn + self.tp

    def summed(self) -> ConfusionCounts:
        """Return the counts added over the classes."""
        return ConfusionCounts(*(cell.sum(-1) for cell in self.cells))

    def metric(
        self, metric: Metric = "f1", *, beta: float = 1.0, average: str | None = None, eps: float = 0.0
    ) -> Any:
        """Return a metric, larger is better.

        Parameters
        ----------
        metric : "accuracy", "balanced_accuracy", "f1", "fbeta", "gmean", "jaccard", "kappa", "mcc", "rate_product" (true positive rate
            times true negative rate, the square of gmean), "youden", or a function of (tn, fp, fn, tp).
        beta : of "fbeta"; recall counts beta times as much as precision.
        average : of counts by class: None returns (K,), "macro" the mean over the classes that occur, "micro" that of the summed counts,
            "multiclass" scikit-learn's form for several classes: accuracy, mean recall (for gmean the geometric mean), Gorodkin's
            correlation and Cohen's kappa of the whole matrix, and the macro mean for all others. Nothing is averaged for two classes.
        eps : added to denominators, relative to the total weight; 0 is exact, and a ratio without a denominator is then 0.

        Raises
        ------
        ParameterError : an unknown metric or average.
        """
        check_metric("ConfusionCounts.metric", metric, average)
        if not getattr(self.tp, "ndim", 0) or average is None:
            return self._each(metric, beta, eps)
        if average == "micro":
            return self.summed()._each(metric, beta, eps)
        occurs = 1.0 * (self.tp + self.fn > 0)
        if average == "multiclass" and metric in _MULTICLASS:
            return _MULTICLASS[metric](self, occurs)
        return _ratio((self._each(metric, beta, eps) * occurs).sum(-1), occurs.sum(-1))

    def _each(self, metric: Metric, beta: float, eps: float) -> Any:
        if callable(metric):
            return metric(*self.cells)
        total = self.total
        total = total + (total == 0)
        shares = ConfusionCounts(*(cell / total for cell in self.cells))
        return _FORMULAS[metric](shares, 1.0 if metric == "f1" else beta, eps)


def check_metric(name: str, metric: Metric, average: str | None = None) -> None:
    """Raise `ParameterError` for an unknown name of a metric or of a way to average."""
    if not callable(metric) and metric not in _FORMULAS:
        known = list(_FORMULAS)
        raise ParameterError(
            f"{name}() got metric={metric!r}; expected one of {', '.join(known)}, or a function of (tn, fp, fn, tp)."
            f"{suggestion(str(metric), known)}"
        )
    if average not in AVERAGES:
        raise ParameterError(
            f"{name}() got average={average!r}; expected one of {', '.join(map(str, AVERAGES))}."
        )


# --- formulas, on shares of the total weight ---------------------------------------------------------------------------------------------
def _ratio(part: Any, whole: Any) -> Any:
    """Divide; 0 where the whole is 0, without a NaN on the way back."""
    return part / (whole + (whole == 0))


def _accuracy(c: ConfusionCounts, beta: float, eps: float) -> Any:
    return _ratio(c.tp + c.tn, c.total)


def _fbeta(c: ConfusionCounts, beta: float, eps: float) -> Any:
    squared = beta**2
    return _ratio((1 + squared) * c.tp, squared * (c.tp + c.fn) + c.tp + c.fp + eps)


def _jaccard(c: ConfusionCounts, beta: float, eps: float) -> Any:
    return _ratio(c.tp, c.tp + c.fp + c.fn + eps)


def _rates(c: ConfusionCounts, eps: float) -> tuple[Any, Any, Any, Any]:
    """The true positive and the true negative rate, and whether (1.0 or 0.0) there are rows of either class."""
    positive, negative = c.tp + c.fn, c.tn + c.fp
    return (
        _ratio(c.tp, positive + eps),
        _ratio(c.tn, negative + eps),
        1.0 * (positive > 0),
        1.0 * (negative > 0),
    )


def _balanced_accuracy(c: ConfusionCounts, beta: float, eps: float) -> Any:
    recall, specificity, positives, negatives = _rates(c, eps)
    return _ratio(recall * positives + specificity * negatives, positives + negatives)


def _youden(c: ConfusionCounts, beta: float, eps: float) -> Any:
    return 2 * _balanced_accuracy(c, beta, eps) - 1


def _rate_product(c: ConfusionCounts, beta: float, eps: float) -> Any:
    recall, specificity, positives, negatives = _rates(c, eps)
    product = (recall * positives + 1 - positives) * (specificity * negatives + 1 - negatives)
    return product * (1.0 * (positives + negatives > 0))


def _gmean(c: ConfusionCounts, beta: float, eps: float) -> Any:
    product = _rate_product(c, beta, eps)
    both = 1.0 * ((c.tp + c.fn > 0) & (c.tn + c.fp > 0))
    return both * (product + eps) ** 0.5 + (1 - both) * product  # the root has no finite slope at 0


def _mcc(c: ConfusionCounts, beta: float, eps: float) -> Any:
    product = (c.tp + c.fp) * (c.tp + c.fn) * (c.tn + c.fp) * (c.tn + c.fn)
    return _ratio(c.tp * c.tn - c.fp * c.fn, (product + eps**2) ** 0.5 + eps)


def _kappa(c: ConfusionCounts, beta: float, eps: float) -> Any:
    chance = (c.tp + c.fp) * (c.tp + c.fn) + (c.tn + c.fn) * (c.tn + c.fp)
    return _ratio(_accuracy(c, beta, eps) - chance, 1 - chance + eps)


_FORMULAS: dict[Any, Callable[[ConfusionCounts, float, float], Any]] = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "f1": _fbeta,
    "fbeta": _fbeta,
    "gmean": _gmean,
    "jaccard": _jaccard,
    "kappa": _kappa,
    "mcc": _mcc,
    "rate_product": _rate_product,
    "youden": _youden,
}
CONFUSION_METRICS = tuple(_FORMULAS)


# --- forms for several classes, of exact counts by class ---------------------------------------------------------------------------------
def _recalls(c: ConfusionCounts) -> Any:
    return _ratio(c.tp, c.tp + c.fn)


def _whole_matrix(c: ConfusionCounts) -> tuple[Any, Any, Any, Any, Any]:
    """Shares: what is right; what chance would get right; and the sums of squares of what is predicted and of what is true."""
    n = (c.tp + c.fn).sum(-1)
    called, real = _ratio(c.tp + c.fp, n), _ratio(c.tp + c.fn, n)
    return _ratio(c.tp.sum(-1), n), (called * real).sum(-1), (called**2).sum(-1), (real**2).sum(-1), n


def _multiclass_mcc(c: ConfusionCounts, occurs: Any) -> Any:
    right, chance, called, real, _ = _whole_matrix(c)
    return _ratio(right - chance, ((1 - called) * (1 - real)) ** 0.5)


def _multiclass_kappa(c: ConfusionCounts, occurs: Any) -> Any:
    right, chance, _, _, _ = _whole_matrix(c)
    return _ratio(right - chance, 1 - chance)


_MULTICLASS: dict[Any, Callable[[ConfusionCounts, Any], Any]] = {
    "accuracy": lambda c, occurs: _whole_matrix(c)[0],
    "balanced_accuracy": lambda c, occurs: _ratio((_recalls(c) * occurs).sum(-1), occurs.sum(-1)),
    "gmean": lambda c, occurs: (_recalls(c) + 1 - occurs).prod(-1) ** _ratio(1.0, occurs.sum(-1)),
    "kappa": _multiclass_kappa,
    "mcc": _multiclass_mcc,
}


# --- the best threshold ------------------------------------------------------------------------------------------------------------------
class TunedThreshold(NamedTuple):
    """A threshold, and the metric of the decisions `score > threshold`."""

    threshold: float
    value: float


def tune_threshold(
    scores: ArrayLike,
    target: ArrayLike,
    metric: Metric = "f1",
    *,
    beta: float = 1.0,
    sample_weight: ArrayLike | None = None,
) -> TunedThreshold:
    """Return the threshold at which the decisions `score > threshold` have the best metric of all thresholds: exact, in O(n log n).

    Parameters
    ----------
    scores : (n,), finite; probabilities, log-odds or anything that is larger for likelier positives.
    target : (n,), 0 and 1.
    metric, beta : as for `ConfusionCounts.metric`; a function is called once for each distinct score; where it is NaN it is passed over.
    sample_weight : (n,), not negative.

    Returns
    -------
    threshold, value : midway between two neighbouring scores, or at the largest or just below the smallest score; of equally good ones the
        largest, which answers yes the least often. And the metric there.

    Raises
    ------
    InputError : shapes that differ, no rows, scores that are not finite, a target that is not 0 or 1, weights that are wrong.
    ParameterError : an unknown metric.

    Examples
    --------
    >>> tune_threshold([0.1, 0.2, 0.35, 0.4, 0.45], [0, 0, 1, 0, 1], "f1")
    TunedThreshold(threshold=0.275, value=0.8)
    """
    check_metric("tune_threshold", metric)
    s, y, weight = _checked("tune_threshold", scores, target, sample_weight)
    if not (np.isfinite(s).all() and np.isin(y, (0, 1)).all()):
        raise InputError(
            "tune_threshold() got scores that are not finite or a target that is not 0 or 1; drop such rows, or number the classes 0 and 1."
        )
    s = s if s.dtype.kind == "f" else s.astype(np.float64)
    order = np.argsort(-s, kind="stable")
    s, positive, negative = s[order], (weight * (y == 1))[order], (weight * (y == 0))[order]
    last = np.flatnonzero(np.append(s[1:] != s[:-1], True))  # the last row of each group of equal scores
    # Counted from both ends: a cell that is empty is 0, not the rounding error of a difference.
    tp, fp = (np.append(0.0, np.cumsum(part)[last]) for part in (positive, negative))
    fn, tn = (
        np.append(np.cumsum(part[::-1])[::-1][np.append(0, last[:-1] + 1)], 0.0)
        for part in (positive, negative)
    )
    counts = ConfusionCounts(tn, fp, fn, tp)
    if callable(metric):
        with np.errstate(all="ignore"):  # the precision of no answer at all is 0 / 0, and never the best
            values = np.array([float(metric(*cells)) for cells in zip(*counts.cells, strict=True)])
        if np.isnan(values).all():
            raise InputError(
                "tune_threshold() got a metric that is NaN at every threshold; expected a number somewhere."
            )
    else:
        values = counts.metric(metric, beta=beta)
    best = int(np.nanargmax(values))
    return TunedThreshold(_between(s[last], best), float(values[best]))


def _between(distinct: NDArray[Any], above: int) -> float:
    """Return a threshold with so many of the distinct scores, in falling order, above it, in their own precision."""
    if above == 0:
        return float(distinct[0])
    if above == len(distinct):
        return float(np.nextafter(distinct[-1], distinct.dtype.type(-np.inf)))
    high, low = distinct[above - 1], distinct[above]
    middle = low / 2 + high / 2
    return float(middle if low <= middle < high else low)


def _checked(
    name: str, first: ArrayLike, target: ArrayLike, sample_weight: ArrayLike | None
) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float64]]:
    """Return predictions or scores, target and weights as arrays (n,), or raise `InputError`."""
    a, y = np.asarray(first), np.asarray(target)
    weight = np.ones(a.shape) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    if a.ndim != 1 or not a.shape == y.shape == weight.shape or not a.size:
        raise InputError(
            f"{name}() got shapes {a.shape} and {y.shape} with weights {weight.shape}; expected (n,) for all, with at least one row."
        )
    if a.dtype.kind not in "biuf" or y.dtype.kind not in "biuf":
        raise InputError(f"{name}() got {a.dtype} and {y.dtype}; expected numbers.")
    if not (np.isfinite(weight).all() and (weight >= 0).all() and weight.any()):
        raise InputError(
            f"{name}() got weights that are negative, not finite or zero everywhere; expected finite weights with a positive one."
        )
    return a, y, weight
