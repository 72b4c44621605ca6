"""The estimator contract: every registered estimator passes scikit-learn's own suite and hardgrad's promises."""

import numpy as np
import pytest
from estimator_examples import EXAMPLES
from sklearn.base import clone, is_classifier
from sklearn.datasets import make_classification, make_regression
from sklearn.utils.estimator_checks import check_estimator

from hardgrad.core.artifact import Artifact
from hardgrad.core.errors import HardgradError
from hardgrad.core.registry import estimators

NAMES = list(estimators)
FORESTS = [name for name in NAMES if name.startswith("SoftForest")]


def _make(name, **options):
    assert name in EXAMPLES, (
        f"{name} is registered but tests/contracts/estimator_examples.py does not know it"
    )
    return estimators[name](**{**EXAMPLES[name].quick, **options})


def _data(model):
    make = make_classification if is_classifier(model) else make_regression
    return make(n_samples=300, n_features=6, random_state=0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NAMES)
def test_scikit_learn_accepts_it(name):
    exempt = {"check_array_api_input", *EXAMPLES[name].exempt}
    results = check_estimator(_make(name), on_fail=None, on_skip=None)
    bad = [r for r in results if r["status"] != "passed" and r["check_name"] not in exempt]
    assert not bad, [(r["check_name"], r["exception"]) for r in bad]
    assert len(results) > 40


def _seeded(model, seed):
    return model.set_params(random_state=seed) if "random_state" in model.get_params() else model


@pytest.mark.parametrize("name", NAMES)
def test_predictions_are_the_artifact_and_seeds_repeat(name):
    model = _seeded(_make(name), 1)
    X, y = _data(model)
    if EXAMPLES[name].missing:
        X[0, 0] = np.nan
    model.fit(X, y)
    artifact = model.harden()
    assert isinstance(artifact, Artifact)
    assert np.array_equal(artifact.predict(X), model.predict(X))
    if hasattr(model, "predict_proba"):
        assert np.array_equal(artifact.predict_proba(X), model.predict_proba(X))
    again = clone(model).fit(X, y)
    assert again.harden().equals(artifact)
    if EXAMPLES[name].seeded:
        assert not _seeded(clone(model), 2).fit(X, y).harden().equals(artifact)


@pytest.mark.parametrize("name", [name for name in NAMES if not EXAMPLES[name].missing])
def test_missing_values_are_refused_by_name(name):
    model = _make(name)
    X, y = _data(model)
    X[3, 2] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        model.fit(X, y)
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcdef")).assign(f="word")
    with pytest.raises(HardgradError, match="column 'c'"):
        model.fit(frame, y)


@pytest.mark.parametrize("name", [name for name in NAMES if EXAMPLES[name].measures_gap])
def test_the_gap_is_measured(name):
    model = _seeded(_make(name), 0)
    X, y = _data(model)
    model.fit(X, y)
    assert 0 <= model.gap_.agreement <= 1
    assert np.isfinite([model.gap_.soft, model.gap_.hard]).all()


@pytest.mark.parametrize("name", FORESTS)
def test_the_choice_of_a_forest_is_remembered(name):
    model = _make(name, random_state=0)
    X, y = _data(model)
    model.fit(X, y)
    assert model.gap_.rows == 300
    assert model.gap_.metric == model.metric_
    assert sum(row["chosen"] for row in model.candidates_) == 1
    assert any(row["chosen"] for row in model.front_)


@pytest.mark.parametrize("name", NAMES)
def test_bad_parameters_say_what_was_got(name):
    X, y = _data(_make(name))
    assert EXAMPLES[name].bad
    for bad in EXAMPLES[name].bad:
        with pytest.raises(ValueError, match="got"):
            _make(name).set_params(**bad).fit(X, y)
