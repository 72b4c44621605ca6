"""The estimator contract: every registered estimator passes scikit-learn's own suite and hardgrad's promises."""

import numpy as np
import pytest
from sklearn.base import clone, is_classifier
from sklearn.datasets import make_classification, make_regression
from sklearn.utils.estimator_checks import check_estimator

from hardgrad.core.artifact import Artifact
from hardgrad.core.registry import estimators

QUICK = {"n_estimators": 2, "max_depth": 2, "max_iter": 20}
# scikit-learn's own forests are exempt from the second kind too: which rows are held out is drawn, so that a weight of
# two is not the same draw as a row given twice.
EXEMPT = {
    "check_array_api_input",
    "check_sample_weight_equivalence_on_dense_data",
    "check_sample_weight_equivalence_on_sparse_data",
}


def _make(name, **options):
    return estimators[name](**QUICK, **options)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", list(estimators))
def test_scikit_learn_accepts_it(name):
    results = check_estimator(_make(name), on_fail=None, on_skip=None)
    bad = [r for r in results if r["status"] != "passed" and r["check_name"] not in EXEMPT]
    assert not bad, [(r["check_name"], r["exception"]) for r in bad]
    assert len(results) > 40


def _data(model):
    make = make_classification if is_classifier(model) else make_regression
    return make(n_samples=300, n_features=6, random_state=0)


@pytest.mark.parametrize("name", list(estimators))
def test_predictions_are_the_artifact_and_seeds_repeat(name):
    model = _make(name, random_state=1)
    X, y = _data(model)
    X[0, 0] = np.nan
    model.fit(X, y)
    artifact = model.harden()
    assert isinstance(artifact, Artifact)
    assert np.array_equal(artifact.predict(X), model.predict(X))
    if is_classifier(model):
        assert np.array_equal(artifact.predict_proba(X), model.predict_proba(X))
    again = clone(model).fit(X, y)
    assert again.harden().equals(artifact)
    assert not clone(model).set_params(random_state=2).fit(X, y).harden().equals(artifact)


@pytest.mark.parametrize("name", list(estimators))
def test_the_gap_is_measured(name):
    model = _make(name, random_state=0)
    X, y = _data(model)
    model.fit(X, y)
    assert model.gap_.rows == 300
    assert 0 <= model.gap_.agreement <= 1
    assert np.isfinite([model.gap_.soft, model.gap_.hard]).all()
    assert model.gap_.metric == model.metric_
    assert sum(row["chosen"] for row in model.candidates_) == 1
    assert any(row["chosen"] for row in model.front_)


@pytest.mark.parametrize("name", list(estimators))
def test_bad_parameters_say_what_was_got(name):
    X, y = _data(_make(name))
    for bad in ({"n_estimators": 0}, {"max_depth": 0}, {"split": "diagonal"}, {"temperature": (0.4, 0.0)}, {"metric": "luck"},
                {"budget": "some"}, {"learning_rate": 0.0}, {"validation_fraction": 1.5}, {"time_budget": -1}):  # fmt: skip
        with pytest.raises(ValueError, match="got"):
            _make(name).set_params(**bad).fit(X, y)
