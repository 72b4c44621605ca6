"""OptimalTreeEnsemble on tables: what it remembers, how it is stopped, what it refuses."""

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError

from hardgrad.core.artifact import load
from hardgrad.core.errors import DataError, HardgradWarning, ParameterError
from hardgrad.trees import OptimalTreeEnsemble, majority_gap
from hardgrad.trees.exactness import check_exactness

X, y = load_iris(return_X_y=True)
X, y = X[50:], np.array(["versicolor", "virginica"])[y[50:] - 1]


def test_a_proven_tree():
    model = OptimalTreeEnsemble().fit(X, y)
    assert (model.status_, model.n_cuts_, model.lower_bound_) == ("optimal", 6, 6)
    assert model.score(X, y) == 1
    assert model.ensemble_.n_leaves == 7
    assert model.certificate_.stopped_by == "proof"
    assert model.harden() is model.ensemble_


def test_an_ensemble_is_a_forest_that_votes(tmp_path):
    gap = majority_gap(3)
    model = OptimalTreeEnsemble(3).fit(gap.X, gap.y)
    assert (model.n_cuts_, model.ensemble_.n_trees, model.ensemble_.aggregation) == (3, 3, "mean")
    votes = model.predict_proba(gap.X)
    assert np.allclose(votes[:, 1], gap.X.mean(axis=1), atol=1e-15)
    assert load(model.ensemble_.save(tmp_path / "votes.safetensors")).equals(model.ensemble_)
    checks = check_exactness(model.ensemble_, rows=50, engines=("native", "sqlite", "duckdb"))
    assert [check.differing for check in checks] == [0, 0, 0]


def test_three_classes_and_frames():
    pandas = pytest.importorskip("pandas")
    data, labels = load_iris(return_X_y=True)
    frame = pandas.DataFrame(data[::3], columns=list("abcd")).assign(
        colour=np.where(labels[::3] == 0, "red", "blue")
    )
    model = OptimalTreeEnsemble(max_errors=2).fit(frame, labels[::3])
    assert (model.status_, model.n_cuts_) == ("optimal", 2)
    assert (model.predict(frame) != labels[::3]).sum() <= 2
    frame.loc[4, "b"] = np.nan
    with pytest.raises(DataError, match="column 'b'"):
        model.fit(frame, labels[::3])


def test_weights_count_errors():
    rows, labels = np.array([[0.0], [1.0], [2.0]]), np.array([0, 1, 0])
    weight = np.array([1.0, 2.5, 1.0])
    assert OptimalTreeEnsemble(max_errors=2.5).fit(rows, labels, weight).n_cuts_ == 0
    assert OptimalTreeEnsemble(max_errors=1.5).fit(rows, labels, weight).n_cuts_ == 1
    assert OptimalTreeEnsemble().fit(rows, labels, [1, 0, 1]).n_cuts_ == 0
    with pytest.raises(DataError, match="negative"):
        OptimalTreeEnsemble().fit(rows, labels, [1, -1, 1])


def test_without_an_ensemble_there_is_no_answer():
    model = OptimalTreeEnsemble(max_cuts=5).fit(X, y)
    assert (model.status_, model.n_cuts_, model.ensemble_, model.lower_bound_) == (
        "infeasible",
        None,
        None,
        6,
    )
    with pytest.raises(DataError, match="there is none .lower_bound_ is 6"):
        model.predict(X)
    model.set_params(node_limit=1).fit(X, y)
    assert model.status_ == "unknown"
    with pytest.raises(DataError, match="none was found in time"):
        model.harden()
    with pytest.raises(NotFittedError):
        OptimalTreeEnsemble().predict(X)


def test_an_interrupt_keeps_the_best(monkeypatch):
    def interrupt(self, cuts):
        raise KeyboardInterrupt

    monkeypatch.setattr("hardgrad.trees.optimal_tree.BudgetedTrees.tree", interrupt)
    with pytest.warns(HardgradWarning, match="7 cuts, of which at least 3"):
        model = OptimalTreeEnsemble().fit(X, y)
    assert (model.status_, model.n_cuts_, model.lower_bound_) == ("feasible", 7, 3)
    assert model.score(X, y) == 1


def test_progress_is_printed(capsys, monkeypatch):
    clock = iter(float(second) for second in range(10_000))
    monkeypatch.setattr("hardgrad.core.exact_search.time.monotonic", lambda: next(clock))
    OptimalTreeEnsemble(time_limit=None, verbose=1).fit(X, y)
    assert "7 cuts, at least 5" in capsys.readouterr().out


def test_the_search_is_drawn():
    pytest.importorskip("matplotlib").use("agg")
    model = OptimalTreeEnsemble().fit(X, y)
    ax = model.plot_search()
    assert "optimal: 6 cuts" in ax.get_title()
    best, bound = (line.get_ydata() for line in ax.get_lines())
    assert (list(best), list(bound)) == ([7, 6, 6], [3, 4, 5, 6, 6])


@pytest.mark.parametrize(
    "bad", [{"n_estimators": 4}, {"max_cuts": 1.5}, {"max_errors": "few"}, {"time_limit": -1}]
)
def test_bad_parameters(bad):
    with pytest.raises(ParameterError, match="got"):
        OptimalTreeEnsemble(**bad).fit(X, y)


def test_infinite_values_are_refused():
    with warnings.catch_warnings(), pytest.raises(ValueError, match="infinity"):
        OptimalTreeEnsemble().fit(np.where(X > 6, np.inf, X), y)
