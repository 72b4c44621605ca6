"""The advisor: which family a model is of, and how many rows a level has."""

import numpy as np
import pytest
from sklearn.ensemble import AdaBoostClassifier, BaggingRegressor, HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from hardgrad.core.errors import DataError, ParameterError
from hardgrad.tabular import recommend_encoder
from hardgrad.tabular.encoder_advisor import model_family
from hardgrad.trees import SoftForestClassifier


def table(K, n=400):
    rng = np.random.default_rng(0)
    X = {
        "few": np.array(list("abc"), dtype=object)[rng.integers(0, 3, n)],
        "many": np.array([f"v{i % K}" for i in range(n)], dtype=object),
    }
    return X, rng.integers(0, 2, n)


@pytest.mark.parametrize(
    ("model", "family"),
    [
        (LogisticRegression(), "affine"), (MLPRegressor(), "affine"), (SVC(), "affine"), (DecisionTreeClassifier(), "tree"),
        (HistGradientBoostingClassifier(), "tree"), (SoftForestClassifier(), "tree"), (KNeighborsClassifier(), "distance"),
        (make_pipeline(StandardScaler(), KNeighborsClassifier()), "distance"), (BaggingRegressor(), "tree"),
        (BaggingRegressor(LogisticRegression()), "affine"), (AdaBoostClassifier(KNeighborsClassifier()), "distance"), ("tree", "tree"),
    ],
)  # fmt: skip
def test_families(model, family):
    assert model_family(model) == family


def test_samples_per_level():
    X, y = table(40)
    advice = recommend_encoder(X, y, "affine")
    assert [(row["column"], row["levels"]) for row in advice.table] == [("few", 3), ("many", 40)]
    assert advice.min_aspl == 10.0 and advice.aspl == pytest.approx((400 / 3 + 10) / 2)
    assert "'many': 40 levels" in str(advice)


def test_rows_a_level_decide_for_affine_models():
    assert recommend_encoder(*table(40), "affine").kind == "one-hot"
    advice = recommend_encoder(*table(41), LogisticRegression())
    assert advice.kind == "m-estimate" and "9.8 rows a level" in advice.reason
    assert recommend_encoder(*table(41), "affine", enough_rows=5).kind == "one-hot"


def test_levels_decide_for_trees():
    assert recommend_encoder(*table(4), "tree").kind == "one-hot"
    assert recommend_encoder(*table(5), "tree").kind == "m-estimate"


def test_distances_need_one_scale():
    advice = recommend_encoder(*table(5), KNeighborsClassifier())
    assert advice.standardise and advice.kind == "m-estimate"
    assert not recommend_encoder(*table(5), "tree").standardise


def test_the_advice_makes_an_encoder():
    X, y = table(50)
    encoder = recommend_encoder(X, y, "tree").encoder(random_state=0)
    assert encoder.fit_transform(X, y).shape == (400, 2)


def test_what_cannot_be_advised_on_is_refused():
    X, y = table(5)
    with pytest.raises(ParameterError, match="Did you mean 'tree'"):
        recommend_encoder(X, y, "tre")
    with pytest.raises(ParameterError, match="model got a int"):
        recommend_encoder(X, y, 3)
    with pytest.raises(DataError, match="no categorical column"):
        recommend_encoder({"x": [1.0, 2.0]}, [0, 1], "tree")
