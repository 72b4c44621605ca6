"""What a model does on points that it never saw, held against the interpolator of least degree. Never imports torch."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from hardgrad.core.errors import DataError, ParameterError
from hardgrad.core.gap import GapReport
from hardgrad.gradients.diagnostics.report import Report, new_axis
from hardgrad.logic.boolean_analysis import degree_profile
from hardgrad.logic.boolean_functions import BooleanFunction, cube, table_inputs, truth_table
from hardgrad.logic.interpolators import min_degree_interpolator
from hardgrad.logic.multilinear import Terms, evaluate_terms


class Learned(StrEnum):
    """What a model became, from the mean squares of the differences."""

    NOT_FITTED = "does not fit the points seen"
    FUNCTION = "the function itself"
    MINIMUM_DEGREE = "the minimum-degree interpolator"
    LEAKY = "between or beyond: it leaks into other degrees"


@dataclass(frozen=True)
class UnseenReport(Report):
    """How a model extrapolates: its degrees against those of the minimum-degree interpolator, and the errors where it saw nothing.

    Parameters
    ----------
    verdict : the first that holds: the mean squared error on the points seen is above the tolerance; that on the points not seen is within
        it; the leak is within it; neither.
    profile, interpolator_profile : weight of each degree, from 0 up, of the model and of the interpolator.
    leak : mean square of model minus interpolator, over all points.
    seen_error : mean squared error of the model on the points seen.
    gap : the mean squared error on the points not seen, of the model (soft) and of the interpolator (hard).
    interpolator : `{subset: coefficient}`.
    """

    profile: tuple[float, ...]
    interpolator_profile: tuple[float, ...]
    leak: float
    seen_error: float
    gap: GapReport
    interpolator: Terms

    @property
    def unseen_error(self) -> float:
        """Mean squared error of the model on the points not seen."""
        return self.gap.soft

    def __str__(self) -> str:
        return (
            f"{super().__str__()}: leak {self.leak:.4f}, error {self.seen_error:.4f} seen, {self.gap.soft:.4f} unseen "
            f"({self.gap.hard:.4f} of the interpolator)"
        )

    def plot(self, ax: Any = None) -> Any:
        """Draw both degree profiles and return the axis. Needs matplotlib."""
        ax = new_axis(ax)
        degrees = np.arange(len(self.profile))
        ax.bar(degrees - 0.2, self.profile, width=0.4, label="model")
        ax.bar(degrees + 0.2, self.interpolator_profile, width=0.4, label="minimum-degree interpolator")
        ax.set_xlabel("degree")
        ax.set_ylabel("weight")
        ax.set_title(self.verdict)
        ax.legend()
        return ax


def unseen_report(
    model: BooleanFunction, f: BooleanFunction, seen: ArrayLike, *, n_inputs: int | None = None, tolerance: float = 0.01
) -> UnseenReport:  # fmt: skip
    """Return what a trained model does on the points that it never saw.

    Parameters
    ----------
    model : callable or torch module on points `[B, n]`, or its table.
    f : the function that it was trained on: table, circuit or task, or callable.
    seen : `[2^n]` Booleans in the order of the truth table, true for the points of the training set.
    n_inputs : n, needed where f is a callable.
    tolerance : of the verdict, times the mean square of f.

    Raises
    ------
    DataError : no point is seen, or all are, or the mask has another shape.
    ParameterError : a tolerance that is not positive; too many points not seen (see `min_degree_interpolator`).

    Examples
    --------
    >>> product = lambda x: x[:, 0] * x[:, 1]
    >>> report = unseen_report(lambda x: x[:, 0] + x[:, 1] - 1, product, [True, True, True, False], n_inputs=2)
    >>> print(report)
    UnseenReport: the minimum-degree interpolator: leak 0.0000, error 0.0000 seen, 16.0000 unseen (16.0000 of the interpolator)

    Source: Abbe, Bengio, Lotfi and Rizk, 2023, Generalization on the Unseen, Logic Reasoning and Degree Curriculum.
    """
    if not tolerance > 0:
        raise ParameterError(f"tolerance got {tolerance}; expected a positive number.")
    truth = truth_table(f, n_inputs)
    n, mask = table_inputs(truth), np.asarray(seen, dtype=bool)
    if mask.shape != truth.shape or mask.all() or not mask.any():
        raise DataError(
            f"seen has shape {mask.shape} and {int(mask.sum())} points; expected ({len(truth)},), with points on both sides."
        )
    learned, points = truth_table(model, n), cube(n)
    terms = min_degree_interpolator(points[mask], truth[mask])
    least = evaluate_terms(terms, points)
    wrong, least_wrong = np.square(learned - truth), np.square(least - truth)
    gap = GapReport(
        "mean squared error, unseen",
        soft=float(wrong[~mask].mean()),
        hard=float(least_wrong[~mask].mean()),
        agreement=float(np.mean((learned >= 0)[~mask] == (least >= 0)[~mask])),
        worst_disagreement=float(np.abs(learned - least)[~mask].max()),
        rows=int((~mask).sum()),
    )
    leak, seen_error = float(np.square(learned - least).mean()), float(wrong[mask].mean())
    most = tolerance * float(np.square(truth).mean())
    return UnseenReport(
        _verdict(seen_error > most, gap.soft <= most, leak <= most),
        profile=tuple(degree_profile(learned).tolist()),
        interpolator_profile=tuple(degree_profile(least).tolist()),
        leak=leak,
        seen_error=seen_error,
        gap=gap,
        interpolator=terms,
    )


def _verdict(misfit: bool, right: bool, least: bool) -> Learned:
    if misfit:
        return Learned.NOT_FITTED
    if right:
        return Learned.FUNCTION
    return Learned.MINIMUM_DEGREE if least else Learned.LEAKY
