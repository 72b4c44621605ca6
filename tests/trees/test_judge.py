"""One metric everywhere: what progress shows and what `history_` keeps is the chosen metric, in its own sign and units."""

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes

from hardgrad.trees import SoftForestClassifier, SoftForestRegressor
from hardgrad.trees.judge import Judge
from hardgrad.trees.metrics import METRICS
from hardgrad.trees.objectives import Objective

QUICK = {"n_estimators": 2, "max_depth": 2, "max_iter": 20, "random_state": 0, "l1": (3e-3,)}


def test_a_loss_is_the_metric_turned_so_that_lower_is_better():
    raw, Y, weight = np.array([[1.0], [-1.0]]), np.array([[1.0], [1.0]]), np.ones(2)
    judge = Judge(METRICS["accuracy"], Objective("logistic"))
    assert (judge.value(raw, Y, weight), judge(raw, Y, weight), judge.shown(-0.5)) == (0.5, -0.5, 0.5)
    units = Judge(METRICS["rmse"], Objective("squared"), np.array([10.0]), np.array([5.0]))
    assert units(raw, Y, weight) == units.value(raw, Y, weight) == pytest.approx(10 * np.sqrt(2))


@pytest.mark.parametrize("metric", ["accuracy", "auc", "log_loss"])
@pytest.mark.parametrize("budget", [None, "100 bytes"])
def test_history_of_a_classifier_is_in_the_metric(metric, budget):
    X, y = load_breast_cancer(return_X_y=True)
    model = SoftForestClassifier(metric=metric, budget=budget, **QUICK).fit(X, y)
    hard = [event["hard"] for event in model.history_ if event["hard"] is not None]
    assert hard
    assert all((0.5 < h <= 1.0) if metric != "log_loss" else (0.0 < h < 0.7) for h in hard)


def test_history_of_a_regressor_is_in_the_units_of_the_target():
    X, y = load_diabetes(return_X_y=True)
    model = SoftForestRegressor(**QUICK).fit(X, y)
    refined = [e for e in model.history_ if e["phase"].startswith("refine") and e["hard"] is not None]
    assert refined and all(30 < e["hard"] < 120 and 30 < e["soft"] < 120 for e in refined)
