"""EvolvedTreeClassifier and EvolvedTreeRegressor: one small exact tree, found by evolution with semantic operators.

The run is in `evolution_estimator`; here is what classes and values do differently.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from hardgrad.core.errors import ParameterError
from hardgrad.losses.confusion_counts import BY_CLASS
from hardgrad.tabular.table_estimator import TableClassifier, TableRegressor
from hardgrad.trees.evolution_estimator import EvolvedTree, Floats
from hardgrad.trees.metrics import Metric, find_metric
from hardgrad.trees.objectives import Objective
from hardgrad.trees.tree_fitness import FitnessRows


class EvolvedTreeClassifier(TableClassifier, EvolvedTree):
    """One small tree, evolved on some rows and chosen on others, for tables of few rows that it is worth to describe.

    Generation after generation trees are recombined and changed, by operators that read the names of the features, what is said about them,
    and the data; the best live on. The operators work offline; they can be language models instead (see `proposer`).

    Parameters
    ----------
    max_depth : of the tree, 1 to 10.
    population : trees that live; each generation measures twice as many new ones.
    generations : after the first, which is the trees of a random forest.
    metric : what trees live by, as "balanced_accuracy" (the default), "accuracy", "f1", "log_loss" or "auc".
    proposer : "semantic" (names, descriptions and data), "random" (plain genetic programming), or an object such as
        `ChatEndpointProposer` or `LocalCausalLMProposer`; anything with the method of `TreeProposer`.
    feature_descriptions : text by column: meaning, units, thresholds that matter ("mmHg, high from >= 140").
    task_description : what is predicted, in a sentence.
    validation_fraction : share of the rows that the final tree is chosen by and does not learn from; none below 20 rows.
    class_weight : by which classes count in the leaves: "auto" (balanced for metrics of the rates of both classes), "balanced", a weight by
        label, or None.
    soft_polish : move the thresholds of the final tree by gradient, where that is no worse on the rows held out.
    time_budget : seconds of evolution; None for none.
    warm_start : `fit` goes on from the last generation, on the same rows, to `generations`.
    random_state : seed. verbose : print progress if positive.

    Attributes
    ----------
    forest_ : the exact tree, a `Forest` of class shares.
    tree_ : the same as `TreeText`, with a label a leaf.
    history_ : one entry a generation: best and median fitness, metric of the best on the rows held out, diversity, evaluations so far.
    hall_of_fame_ : the ten trees best on the rows held out, each with its metrics and the generation it is from.
    rejected_ : how many proposals came to nothing, by reason.
    held_out_ : bool [n], the rows that the tree was chosen by.
    stopped_by_ : "generations", "time_budget" or "interrupt"; an interrupted fit keeps the best of its last whole generation.
    gap_ : of a soft polish, the soft tree against the hard one on the rows held out; its detail says the metric before and after.
    metric_, classes_, schema_, typing_ : as for the other classifiers.

    Raises
    ------
    ValueError (a `HardgradError`) : data or parameters that cannot be learned from, or a description of no column.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> data = load_breast_cancer(as_frame=True)
    >>> model = EvolvedTreeClassifier(generations=5, random_state=0).fit(data.data, data.target)
    >>> model.forest_.depth() <= 3, bool(model.score(data.data, data.target) > 0.9)
    (True, True)

    Notes
    -----
    Source: Liu, Huynh and van der Schaar, 2025, Decision Tree Induction Through LLMs via Semantically-Aware Evolution. Leaves are always
    filled from the training rows, also those of trees that a language model wrote.
    """

    def __init__(
        self,
        max_depth: int = 3,
        *,
        population: int = 25,
        generations: int = 25,
        metric: str | None = None,
        proposer: Any = "semantic",
        feature_descriptions: Mapping[str, str] | None = None,
        task_description: str = "",
        validation_fraction: float = 0.67,
        class_weight: Any = "auto",
        soft_polish: bool = False,
        time_budget: float | None = None,
        warm_start: bool = False,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        super().__init__(
            max_depth, population=population, generations=generations, metric=metric, proposer=proposer,
            feature_descriptions=feature_descriptions, task_description=task_description, validation_fraction=validation_fraction,
            soft_polish=soft_polish, time_budget=time_budget, warm_start=warm_start, random_state=random_state, verbose=verbose,
        )  # fmt: skip
        self.class_weight = class_weight

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Evolve.

        Parameters
        ----------
        X : array [n, features], or any data frame; missing values go the way of most rows.
        y : class labels [n].
        sample_weight : [n], not negative.
        """
        self._check_parameters()
        target = str(getattr(y, "name", None) or "")
        X, y = self._check_input(X, y)
        numbers = self._class_numbers(y)
        weight = self._weights(sample_weight, len(numbers))
        self._run(X, np.eye(len(self.classes_))[numbers], numbers, weight, target)
        return self

    def _classes(self) -> tuple[Any, ...]:
        return self._class_labels()

    def _metric(self, outputs: int) -> tuple[Metric, Objective]:
        objective = Objective("logistic" if outputs == 2 else "softmax")
        return find_metric("balanced_accuracy" if self.metric is None else self.metric, objective), objective

    def _leaf_weights(self, metric: Metric, train: FitnessRows) -> Floats:
        by, mass = self.class_weight, train.columns[:, :-1].sum(axis=0)
        if isinstance(by, str) and by == "auto":
            rates = metric.confusion is not None and metric.confusion[0] in BY_CLASS
            by = "balanced" if rates else None
        if isinstance(by, Mapping):
            return np.array([float(by.get(label, 1.0)) for label in self._class_labels()])
        if isinstance(by, str) and by == "balanced":
            return np.asarray(mass.sum() / (len(mass) * np.maximum(mass, 1e-300)))
        if by is None:
            return np.ones(len(mass))
        raise ParameterError(
            f"EvolvedTreeClassifier got class_weight={by!r}; expected 'auto', 'balanced', a weight by label, or None."
        )


class EvolvedTreeRegressor(TableRegressor, EvolvedTree):
    """One small tree of values, evolved on some rows and chosen on others (see `EvolvedTreeClassifier`).

    Parameters
    ----------
    metric : "rmse" (the default), "mae" or "r2"; the leaves hold means in any case.
    max_depth, population, generations, proposer, feature_descriptions, task_description, validation_fraction, soft_polish, time_budget,
    warm_start, random_state, verbose : as for the classifier.

    Attributes
    ----------
    forest_, tree_, history_, hall_of_fame_, rejected_, held_out_, stopped_by_, gap_, metric_, schema_, typing_ : as for the classifier.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> data = load_diabetes(as_frame=True)
    >>> model = EvolvedTreeRegressor(generations=5, random_state=0).fit(data.data, data.target)
    >>> bool(model.score(data.data, data.target) > 0.3)
    True

    Notes
    -----
    Source: Liu, Huynh and van der Schaar, 2025, Decision Tree Induction Through LLMs via Semantically-Aware Evolution.
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Evolve.

        Parameters
        ----------
        X : array [n, features], or any data frame; missing values go the way of most rows.
        y : values [n], or [n, targets].
        sample_weight : [n], not negative.
        """
        self._check_parameters()
        target = str(getattr(y, "name", None) or "")
        X, y = self._check_input(X, y, multi_output=True, y_numeric=True)
        values = self._targets(y)
        weight = self._weights(sample_weight, len(values))
        self._run(X, values, np.zeros(len(values), dtype=np.int64), weight, target)
        return self

    def _classes(self) -> tuple[Any, ...]:
        return ()

    def _metric(self, outputs: int) -> tuple[Metric, Objective]:
        objective = Objective("squared")
        return find_metric(self.metric, objective), objective

    def _leaf_weights(self, metric: Metric, train: FitnessRows) -> Floats:
        return np.empty(0)
