"""Thresholds that are folded into a forest: the same decisions in every engine, and the best ones on held-out rows."""

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.datasets import load_iris, make_classification
from sklearn.metrics import f1_score
from sklearn.model_selection import TunedThresholdClassifierCV

from hardgrad.core.errors import HardgradWarning, ParameterError
from hardgrad.trees import SoftForestClassifier, forest_from_trees, with_threshold
from hardgrad.trees.exactness import check_exactness

QUICK = {"n_estimators": 2, "max_depth": 3, "max_iter": 20, "random_state": 0}
X, Y = make_classification(600, 6, n_informative=4, weights=[0.9], flip_y=0.05, random_state=0)


def _forest(link, aggregation="sum"):
    rng = np.random.default_rng(0)

    def leaf():
        return {"value": rng.normal(size=1 if link == "sigmoid" else 2).tolist()}

    trees = [{"feature": k, "threshold": 0.0, "left": leaf(), "right": leaf()} for k in range(4)]
    return forest_from_trees(
        trees, list("abcdef"), link=link, aggregation=aggregation, task="classification", classes=("no", "yes")
    )  # fmt: skip


@pytest.mark.parametrize("link", ["sigmoid", "softmax"])
@pytest.mark.parametrize("aggregation", ["sum", "mean"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_decisions_fall_at_the_threshold_and_odds_are_scaled(link, aggregation, share):
    forest = _forest(link, aggregation)
    before = forest.predict_proba(X)[:, 1]
    levels = np.unique(before)
    threshold = float(levels[int(share * len(levels)) :][:2].mean())
    moved = with_threshold(forest, threshold)
    after = moved.predict_proba(X)[:, 1]
    assert np.array_equal(moved.predict(X) == "yes", before > threshold)
    assert 0 < (before > threshold).mean() < 1
    assert np.allclose(after / (1 - after), before / (1 - before) * (1 - threshold) / threshold)
    assert np.allclose(with_threshold(moved, 1 - threshold).predict_proba(X)[:, 1], before)


def test_what_has_no_log_odds_of_two_classes_is_refused():
    leaf = {"value": [0.2, 0.3, 0.5]}
    three = forest_from_trees([leaf], ["a"], link="softmax", task="classification", classes=("a", "b", "c"))
    shares = forest_from_trees([{"value": [0.2, 0.8]}], ["a"], task="classification", classes=("a", "b"))
    for forest in (three, shares):
        with pytest.raises(ParameterError, match="got"):
            with_threshold(forest, 0.3)
    for bad in (0.0, 1.0, np.nan):
        with pytest.raises(ParameterError, match="between 0 and 1"):
            with_threshold(_forest("sigmoid"), bad)


@pytest.mark.parametrize("budget", [None, "300 bytes"])
def test_a_tuned_threshold_is_the_best_on_held_out_rows_and_in_every_engine(budget):
    model = SoftForestClassifier(metric="f1", threshold="tuned", budget=budget, **QUICK).fit(X, Y)
    y, raw = model.validation_["y"][:, 0], model.validation_["raw"][:, 0]
    assert set(y) == {0.0, 1.0}
    best = max(f1_score(y, raw > t) for t in (*raw, raw.min() - 1))
    assert f1_score(y, raw > 0) == pytest.approx(best)
    assert model.candidates_[0]["value"] == pytest.approx(best)
    assert model.threshold_ != 0.5
    plain = with_threshold(model.forest_, 1 - model.threshold_)  # the threshold taken out again
    assert np.array_equal(plain.predict_proba(X)[:, 1] > model.threshold_, model.predict(X) == 1)
    if budget is None:
        assert model.gap_.metric == "f1" and model.gap_.hard == pytest.approx(best)
        assert np.allclose(model.soft_.frame.output(np.zeros((1, 1))), -logit(model.threshold_))
    for check in check_exactness(model.forest_, rows=200, engines=["numba", "sqlite", "c", "packed c"]):
        assert check.exact or check.skipped_reason, check


def test_a_given_threshold_changes_decisions_and_nothing_else():
    plain = SoftForestClassifier(**QUICK).fit(X, Y)
    low = SoftForestClassifier(threshold=0.2, **QUICK).fit(X, Y)
    assert (plain.threshold_, low.threshold_) == (0.5, 0.2)
    assert np.array_equal(low.predict(X) == 1, plain.predict_proba(X)[:, 1] > 0.2)
    assert np.allclose(low.predict_proba(X)[:, 1], expit(plain.decision_function(X) - logit(0.2)))
    assert np.allclose(low.validation_["raw"], plain.validation_["raw"] - logit(0.2))
    assert np.array_equal(low.validation_["y"], plain.validation_["y"])


def test_few_rows_several_classes_and_bad_thresholds():
    few = pytest.warns(UserWarning, match="too few to hold any out")
    with few, pytest.warns(HardgradWarning, match="could not be tuned"):
        model = SoftForestClassifier(metric="f1", threshold="tuned", **QUICK).fit(
            X[:15], Y[:15] | (X[:15, 0] > 0)
        )
    assert model.threshold_ == 0.5
    with pytest.raises(ParameterError, match="for 3 classes"):
        SoftForestClassifier(metric="f1", threshold="tuned", **QUICK).fit(*load_iris(return_X_y=True))
    several = SoftForestClassifier(metric="gmean", **QUICK).fit(*load_iris(return_X_y=True))
    assert several.metric_ == "gmean" and not hasattr(several, "threshold_")
    with pytest.raises(ParameterError, match="needs no threshold"):
        SoftForestClassifier(threshold="tuned", **QUICK).fit(X, Y)
    for bad in (0.0, 1, "best", None):
        with pytest.raises(ParameterError, match="threshold"):
            SoftForestClassifier(threshold=bad, **QUICK).fit(X, Y)


def test_scikit_learns_own_tuner_takes_the_estimator():
    tuner = TunedThresholdClassifierCV(SoftForestClassifier(**QUICK), scoring="f1", cv=2).fit(X, Y)
    again = with_threshold(tuner.estimator_.forest_, tuner.best_threshold_)
    assert np.array_equal(again.predict(X), tuner.predict(X))
