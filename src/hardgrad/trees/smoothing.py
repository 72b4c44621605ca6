"""Tree ensembles as smoothers: what weight each training row has in each prediction, and how many parameters that amounts to.

Curth, Jeffares and van der Schaar, "Why do Random Forests Work? Understanding Tree Ensembles as Self-Regularizing Adaptive Smoothers",
2024. Never imports torch: a soft forest brings its own smoother.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from hardgrad.core.errors import UnsupportedError
from hardgrad.gradients.diagnostics.report import Report, new_axis
from hardgrad.trees.smoothing_matrices import SmoothingProblem, effective_parameters
from hardgrad.trees.smoothing_rules import REFITTED, SmoothingRule

__all__ = ["SmoothingReport", "SmoothingRule", "effective_parameters", "smoother_matrix"]


def smoother_matrix(
    model: Any,
    X_train: Any,
    X_query: Any = None,
    y_train: Any = None,
    *,
    sample_weight: Any = None,
    sparse: bool = False,
    rule: SmoothingRule | None = None,
) -> Any:
    """Return the weight of every training row in every prediction: the predictions are `S @ y_train`.

    A classifier that averages smooths the indicators of the classes, all with the same weights: `predict_proba` is `S @ onehot`.
    Boosting of a binary target with the log-loss is not linear in the targets: its S is the local Jacobian of the raw score with respect
    to them, with the structure of the trees held fixed.

    Parameters
    ----------
    model : a fitted decision tree, random forest, extra trees, gradient boosting or histogram gradient boosting of scikit-learn; an
        estimator or booster of LightGBM or XGBoost; a `Forest`, one of our forest estimators; or a `SoftForest`.
    X_train : the rows that the model was trained on, [n_train, columns]. For a `SoftForest`, a tensor of standard scores gives a tensor
        that can be differentiated, a table an array.
    X_query : the rows to predict, [n_query, columns]; the training rows by default.
    y_train : targets [n_train]. Needed for the log-loss; where given, what follows from S is held against the model's own predictions
        (but for refitted leaves, which are not the model's own).
    sample_weight : [n_train] as in training, or [n_train, trees] where each tree had its own. Bootstrap samples of scikit-learn's
        forests are found in the model and multiplied in.
    sparse : return a scipy CSR array; for averages only, the other matrices have no zeros.
    rule : how leaves follow from targets; by default as the model was trained, for a `Forest` that sums its trees and for a
        `SoftForest` as if all leaves were refitted together by least squares.

    Returns
    -------
    S : [n_query, n_train], float64.

    Raises
    ------
    UnsupportedError : the model is no linear smoother (another loss, subsampled boosting, several classes boosted at once).
    DataError : rows and model do not belong together.
    ParameterError : the matrix would have more than 20,000 x 20,000 cells; pass fewer queries at a time, or `sparse=True`.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.tree import DecisionTreeRegressor
    >>> X, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([1.0, 3.0, 5.0, 5.0])
    >>> tree = DecisionTreeRegressor(max_depth=1).fit(X, y)
    >>> smoother_matrix(tree, X, np.array([[1.2]])).tolist()
    [[0.5, 0.5, 0.0, 0.0]]

    Source: Curth, Jeffares and van der Schaar, 2024, Why do Random Forests Work?
    """
    X_query = X_train if X_query is None else X_query
    soft = hasattr(model, "leaf_probability")
    problem = None if soft else SmoothingProblem.read(model, X_train, X_query, y_train, sample_weight, rule)
    if sparse and (problem is None or problem.rule.leaves != "average"):
        raise UnsupportedError(
            f"sparse=True is for averages of trees; this matrix of a {type(model).__name__} has no zeros. Pass fewer rows of X_query "
            "at a time."
        )
    if problem is None:
        return model.smoother(X_train, X_query, sample_weight=sample_weight, rule=rule)
    S = problem.averaged() if sparse else problem.dense()
    problem.check(S)
    return S


class Verdict(StrEnum):
    """Whether an ensemble smooths more on new rows than on those that it was trained on."""

    SMOOTHER = "smoother on new rows"
    NO_SMOOTHER = "no smoother on new rows"


@dataclass(frozen=True)
class SmoothingReport(Report):
    """Effective parameters on training rows and on new rows, tree by tree: an overfitting diagnostic that needs no targets of new rows.

    Parameters
    ----------
    verdict : whether the whole ensemble uses fewer on the new rows.
    n_train : training rows, the most that there can be.
    trees : numbers of trees, in order.
    train, test : effective parameters of that many trees on the training rows and on the new rows.
    hard_train, hard_test : those of the exact forest that a `SoftForest` hardens to; None for other models, which are exact.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.ensemble import RandomForestRegressor
    >>> X = np.random.default_rng(0).normal(size=(40, 3))
    >>> forest = RandomForestRegressor(20, random_state=0).fit(X, X[:, 0])
    >>> report = SmoothingReport.measure(forest, X, X + 0.1)
    >>> print(report.verdict)
    smoother on new rows

    Source: Curth, Jeffares and van der Schaar, 2024, Why do Random Forests Work?
    """

    n_train: int
    trees: tuple[int, ...]
    train: tuple[float, ...]
    test: tuple[float, ...]
    hard_train: float | None = None
    hard_test: float | None = None

    @classmethod
    def measure(
        cls, model: Any, X_train: Any, X_test: Any, y_train: Any = None, *, sample_weight: Any = None, rule: SmoothingRule | None = None
    ) -> SmoothingReport:  # fmt: skip
        """Return the report of a fitted model.

        Parameters
        ----------
        X_test : new rows.
        model, X_train, y_train, sample_weight, rule : as in `smoother_matrix`. A `SoftForest` is hardened for comparison where X_train is
            a table.
        """
        hard: tuple[float | None, float | None] = (None, None)
        if hasattr(model, "leaf_probability"):
            rule = REFITTED if rule is None else rule
            n_train, train_figure, test_figure = _both(model, X_train, X_test, sample_weight, rule)
            pairs, trees = [(train_figure, test_figure)], [model.n_trees]
            if not hasattr(X_train, "detach"):
                hard = _both(model.harden(), X_train, X_test, sample_weight, rule)[1:]
        else:
            problem = SmoothingProblem.read(model, X_train, X_test, y_train, sample_weight, rule)
            n_train, pairs = len(problem.train), problem.curve()
            trees = [k + 1 for k in range(problem.forest.n_trees)][-len(pairs) :]
        train, test = (tuple(figures) for figures in zip(*pairs, strict=True))
        verdict = Verdict.SMOOTHER if test[-1] < train[-1] else Verdict.NO_SMOOTHER
        return cls(verdict, n_train, tuple(trees), train, test, *hard)

    def __str__(self) -> str:
        figures = (
            f"{self.train[-1]:.1f} on training rows, {self.test[-1]:.1f} on new rows, of {self.n_train:,}"
        )
        return f"{super().__str__()}: effective parameters {figures}"

    def plot(self, ax: Any = None) -> Any:
        """Draw both curves over the number of trees and return the axis. Needs matplotlib."""
        ax = new_axis(ax)
        for figures, label in ((self.train, "training rows"), (self.test, "new rows")):
            ax.plot(self.trees, figures, marker="o" if len(figures) == 1 else "", label=label)
        for figure, label in (
            (self.hard_train, "training rows, hardened"),
            (self.hard_test, "new rows, hardened"),
        ):
            if figure is not None:
                ax.axhline(figure, linestyle=":", label=label)
        ax.set_xlabel("trees")
        ax.set_ylabel(f"effective parameters, of {self.n_train:,}")
        ax.set_title(self.verdict)
        ax.legend()
        return ax


def _both(
    model: Any, X_train: Any, X_test: Any, weight: Any, rule: SmoothingRule
) -> tuple[int, float, float]:
    """Number of training rows, effective parameters on them and on new rows."""
    S, T = (smoother_matrix(model, X_train, X, sample_weight=weight, rule=rule) for X in (X_train, X_test))
    return S.shape[1], effective_parameters(S), effective_parameters(T)
