"""Metrics by name are scikit-learn's, of two classes and of several."""

import numpy as np
import pytest
from sklearn import metrics as sk

from hardgrad.core.errors import ParameterError
from hardgrad.trees.metrics import CONFUSION, METRICS, at_threshold, find_metric
from hardgrad.trees.objectives import Objective

RNG = np.random.default_rng(0)
WEIGHT = RNG.uniform(0.5, 2, 80)


def _expected(name, y, guess, average):
    weighted = {"sample_weight": WEIGHT}
    recalls = sk.recall_score(y, guess, average=None, **weighted)
    if name == "gmean":
        return recalls.prod() ** (1 / len(recalls))
    if name == "youden":
        one = [
            sk.balanced_accuracy_score(y == k, guess == k, adjusted=True, **weighted) for k in np.unique(y)
        ]
        return one[1] if average == "binary" else np.mean(one)
    return {
        "accuracy": lambda: sk.accuracy_score(y, guess, **weighted),
        "balanced_accuracy": lambda: sk.balanced_accuracy_score(y, guess, **weighted),
        "f0.5": lambda: sk.fbeta_score(y, guess, beta=0.5, average=average, **weighted),
        "f1": lambda: sk.f1_score(y, guess, average=average, **weighted),
        "f2": lambda: sk.fbeta_score(y, guess, beta=2, average=average, **weighted),
        "jaccard": lambda: sk.jaccard_score(y, guess, average=average, **weighted),
        "kappa": lambda: sk.cohen_kappa_score(y, guess, **weighted),
        "mcc": lambda: sk.matthews_corrcoef(y, guess, **weighted),
    }[name]()


@pytest.mark.parametrize("name", sorted(CONFUSION))
def test_metrics_of_decisions(name):
    y = RNG.integers(0, 2, 80)
    raw = RNG.normal(size=(80, 1)) + y[:, None]
    Y, objective = y[:, None].astype(float), Objective("logistic")
    metric = find_metric(name, objective)
    assert metric(raw, Y, WEIGHT, objective) == pytest.approx(_expected(name, y, raw[:, 0] > 0, "binary"))
    shifted = at_threshold(metric, 0.7)
    assert shifted(raw, Y, WEIGHT, objective) == pytest.approx(_expected(name, y, raw[:, 0] > 0.7, "binary"))
    best = max(_expected(name, y, raw[:, 0] > t, "binary") for t in np.sort(raw[:, 0])[1:-1])
    assert at_threshold(metric, None)(raw, Y, WEIGHT, objective) == pytest.approx(best)

    several = RNG.integers(0, 3, 80)
    scores = RNG.normal(size=(80, 3)) + 2 * np.eye(3)[several]
    objective = Objective("softmax")
    found = find_metric(name, objective)(scores, np.eye(3)[several], WEIGHT, objective)
    assert found == pytest.approx(_expected(name, several, scores.argmax(1), "macro"))


def test_metrics_of_scores_have_no_threshold():
    assert at_threshold(METRICS["auc"], 1.0) is METRICS["auc"]
    with pytest.raises(ParameterError, match="needs no threshold"):
        at_threshold(METRICS["log_loss"], None)
    with pytest.raises(ParameterError, match="Did you mean 'jaccard'"):
        find_metric("jacard", Objective("logistic"))
