"""SoftForestClassifier and SoftForestRegressor: scikit-learn estimators that train soft and predict hard."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from hardgrad.tabular.table_estimator import TableClassifier, TableRegressor
from hardgrad.trees.estimator_base import SoftForestBase
from hardgrad.trees.objectives import Objective


class SoftForestClassifier(TableClassifier, SoftForestBase):
    """A small, exact decision forest for classification: trained soft, hardened, and the hard one is what predicts.

    Parameters
    ----------
    n_estimators : number of trees; None for the sum of a large greedy forest and 20 refined trees (most accurate, not small).
    max_depth : depth of the trees.
    split : "sparse_oblique" (a node weighs at most four features), "axis" or "oblivious".
    budget : "2kB" (bytes of the packed C data), "64 leaves" or "5 trees": the best exact model that fits. Overrides `n_estimators`.
    metric : what the model is chosen by: "log_loss" (default), "accuracy", "balanced_accuracy", "f1", "auc".
    temperature : of the gates, from and to.
    learning_rate : of the directions; thresholds take half of it, leaves as much.
    max_iter : gradient steps of a candidate.
    batch_size : rows a step.
    l1 : penalties that are tried; more penalty, fewer features a node. None: 3e-4, 3e-3 and 2e-2, and from 1,000 rows on 3e-5 too.
        An empty tuple keeps the greedy start.
    validation_fraction : share of the rows held out to choose among candidates, from 1,000 rows on (below: four folds).
    leaf_refit, polish : whether to refit the leaves convexly and to polish nodes exactly.
    class_weight : None, "balanced", or a mapping of class to weight.
    time_budget : seconds; gradient steps are cut so that training takes about this long. None: no bound.
    random_state : seed. The same seed on one thread gives the same bits.
    n_jobs : threads; None is 1, -1 all cores.
    device : "cpu", "cuda" or "auto".
    devices : processes that share every batch.
    verbose : 1 prints progress.

    Attributes
    ----------
    forest_ : the `Forest` artifact; `predict` and `predict_proba` are its own.
    soft_ : the `SoftForest` that it was hardened from.
    gap_ : `GapReport`, soft against hard on held-out rows; None where too few rows were given to hold any out.
    classes_, n_features_in_, feature_names_in_ : as in scikit-learn.
    n_iter_ : gradient steps that a candidate took (1 where the rows were too few to train soft).
    history_, candidates_, front_, validation_, metric_ : what training measured (see `docs/forest.md`).
    typing_ : `Typing`, what the columns were taken for, which were left out and why.
    interrupted_ : whether training was interrupted and ended with the best exact forest so far. The first Ctrl-C does that as soon as
        there is a forest, with a `HardgradWarning` that says what was left out; before that, and the second time, it raises
        `KeyboardInterrupt`. Inside `checkpointing` it always raises, to go on later.
    streamed_ : `StreamedFit`, after `fit_streamed` only: which rows decided the structure and which the leaves.

    Raises
    ------
    ValueError (a `HardgradError`) : data or parameters that cannot be learned from; the message says which and what to do.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = SoftForestClassifier(n_estimators=1, max_depth=2, max_iter=50, random_state=0).fit(X, y)
    >>> bool((model.harden().predict(X) == model.predict(X)).all())
    True

    Notes
    -----
    Source: the recipe unites gradient-trained trees (Marton et al., "GRANDE", 2024; Hazimeh et al., "The tree ensemble layer", 2020) with
    tree alternating optimisation (Carreira-Perpinan and Tavallali, 2018) and a convex refit of all leaves.
    """

    def __init__(
        self,
        n_estimators: int | None = 10,
        max_depth: int = 4,
        *,
        split: str = "sparse_oblique",
        budget: str | None = None,
        metric: str | None = None,
        temperature: tuple[float, float] = (0.4, 0.15),
        learning_rate: float = 0.02,
        max_iter: int = 600,
        batch_size: int = 512,
        l1: tuple[float, ...] | None = None,
        validation_fraction: float = 0.2,
        leaf_refit: bool = True,
        polish: bool = True,
        class_weight: Any = None,
        time_budget: float | None = None,
        random_state: Any = None,
        n_jobs: int | None = None,
        device: str = "cpu",
        devices: int = 1,
        verbose: int = 0,
    ) -> None:
        self.n_estimators = n_estimators
        self.max_depth = max_depth
        self.split = split
        self.budget = budget
        self.metric = metric
        self.temperature = temperature
        self.learning_rate = learning_rate
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.l1 = l1
        self.validation_fraction = validation_fraction
        self.leaf_refit = leaf_refit
        self.polish = polish
        self.class_weight = class_weight
        self.time_budget = time_budget
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.device = device
        self.devices = devices
        self.verbose = verbose

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train soft, harden, choose and keep the best hard forest.

        Parameters
        ----------
        X : array [n, features] (NaN is missing), or any data frame of numbers, booleans, dates and categories.
        y : class labels [n].
        sample_weight : [n], not negative.
        """
        X, y = self._check_input(X, y)
        index = self._class_numbers(y)
        K = len(self.classes_)
        objective = Objective("logistic" if K == 2 else "softmax")
        Y = index[:, None].astype(np.float64) if K == 2 else np.eye(K)[index]
        weight = self._weights(sample_weight, len(Y)) * self._class_weights(y)
        return self._train(X, Y, weight, objective, classes=self._class_labels())

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Return raw scores of the hard forest: [n] for two classes, else [n, classes]."""
        check_is_fitted(self, "forest_")
        raw = self._hard_raw(X)
        return raw[:, 0] if raw.shape[1] == 1 else raw


class SoftForestRegressor(TableRegressor, SoftForestBase):
    """A small, exact decision forest for one or several numeric targets: trained soft, hardened, and the hard one is what predicts.

    Parameters
    ----------
    metric : "rmse" (default), "mae" or "r2".
    others : as for `SoftForestClassifier`, which has no `class_weight` here.

    Attributes
    ----------
    forest_, soft_, gap_, ... : as for `SoftForestClassifier`.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = SoftForestRegressor(n_estimators=1, max_depth=2, max_iter=50, random_state=0).fit(X, y)
    >>> model.predict(X).shape
    (442,)
    """

    def __init__(
        self,
        n_estimators: int | None = 10,
        max_depth: int = 4,
        *,
        split: str = "sparse_oblique",
        budget: str | None = None,
        metric: str | None = None,
        temperature: tuple[float, float] = (0.4, 0.15),
        learning_rate: float = 0.02,
        max_iter: int = 600,
        batch_size: int = 512,
        l1: tuple[float, ...] | None = None,
        validation_fraction: float = 0.2,
        leaf_refit: bool = True,
        polish: bool = True,
        time_budget: float | None = None,
        random_state: Any = None,
        n_jobs: int | None = None,
        device: str = "cpu",
        devices: int = 1,
        verbose: int = 0,
    ) -> None:
        self.n_estimators = n_estimators
        self.max_depth = max_depth
        self.split = split
        self.budget = budget
        self.metric = metric
        self.temperature = temperature
        self.learning_rate = learning_rate
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.l1 = l1
        self.validation_fraction = validation_fraction
        self.leaf_refit = leaf_refit
        self.polish = polish
        self.time_budget = time_budget
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.device = device
        self.devices = devices
        self.verbose = verbose

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train soft, harden, choose and keep the best hard forest.

        Parameters
        ----------
        X : array [n, features] (NaN is missing), or any data frame of numbers, booleans, dates and categories.
        y : values [n] or [n, targets].
        sample_weight : [n], not negative.
        """
        X, y = self._check_input(X, y, multi_output=True, y_numeric=True)
        Y = self._targets(y)
        weight = self._weights(sample_weight, len(Y))
        return self._train(X, Y, weight, Objective("squared"), classes=())
