"""An interrupt during `fit`: the best exact forest so far, told so; or, with nothing to show yet, no forest at all."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.exceptions import NotFittedError

from hardgrad.core.errors import HardgradWarning
from hardgrad.tabular import StreamedTable
from hardgrad.train.checkpoint import checkpointing
from hardgrad.train.progress import listen
from hardgrad.trees import SoftForestClassifier, SoftForestRegressor, streamed
from hardgrad.trees.compression import compress


def _table(n=1000, seed=0):
    X = np.random.default_rng(seed).normal(size=(n, 4))
    return X, (X[:, 0] + X[:, 1] * X[:, 2] > 0).astype(int)


def _model(**settings):
    return SoftForestClassifier(
        **({"n_estimators": 2, "max_depth": 3, "max_iter": 20, "l1": (1e-3,)} | settings), random_state=0
    )


def _interrupt(phase, times=1, after=0):
    """A listener that interrupts at the events of a phase."""
    seen = []

    def listener(event):
        if event.phase == phase:
            seen.append(event)
            if after < len(seen) <= after + times:
                raise KeyboardInterrupt

    return listener


def _interrupted(model, phase, match, table=None, **how):
    X, y = _table() if table is None else table
    with listen(_interrupt(phase, **how)), pytest.warns(HardgradWarning, match=match):
        model.fit(X, y)
    assert model.interrupted_
    assert (model.harden().predict(X) == model.predict(X)).all()
    return model


@pytest.mark.parametrize("phase", ["refine candidates", "polish candidates"])
def test_while_candidates_are_refined_the_best_greedy_forest_is_kept(phase):
    X, y = _table()
    model = _interrupted(_model(), phase, "all refined forests")
    plain = _model(l1=()).fit(X, y)
    assert not plain.interrupted_
    assert (model.predict_proba(X) == plain.predict_proba(X)).all()
    assert [row["l1"] for row in model.candidates_ if row["chosen"]] == [None]
    assert len(model.front_) == 1


def test_while_the_winner_is_trained_its_judged_forest_is_kept():
    X, y = _table()
    model = _interrupted(_model(), "refine on all rows", "all rows .it has seen 800 of 1,000.")
    chosen = next(row for row in model.candidates_ if row["chosen"])
    assert chosen["l1"] is not None
    rows = model.validation_["rows"]
    # The forest is the very one that was judged: it gives the scores that it was chosen by.
    assert np.allclose(model.decision_function(X[rows]), model.validation_["raw"][:, 0], atol=1e-9)


def test_what_is_only_shown_is_left_out(monkeypatch):
    from hardgrad.trees import selection

    def stop(*_):
        raise KeyboardInterrupt

    whole = _model().fit(*_table())
    monkeypatch.setattr(selection, "_front", stop)
    model = _model()
    with pytest.warns(HardgradWarning, match="only shown"):
        model.fit(*_table())
    X = _table(seed=1)[0]
    assert (model.predict_proba(X) == whole.predict_proba(X)).all()
    assert len(model.front_) == 1 < len(whole.front_)


def test_with_nothing_to_show_it_goes_through_and_nothing_is_fitted():
    X, y = _table()
    model = _model(l1=()).fit(X, y)
    with listen(_interrupt("greedy start")), pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    with pytest.raises(NotFittedError):
        model.predict(X)


def test_the_second_interrupt_goes_through(monkeypatch):
    from hardgrad.trees import selection

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(selection, "_train_winner", stop)
    with listen(_interrupt("refine candidates")), pytest.raises(KeyboardInterrupt):
        _model().fit(*_table())


def test_the_last_short_step_is_taken_again(monkeypatch):
    from hardgrad.trees import selection

    X, y = _table()
    calls, train = [], selection._train_winner

    def once(*arguments):
        calls.append(1)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return train(*arguments)

    whole = _model(l1=()).fit(X, y)
    monkeypatch.setattr(selection, "_train_winner", once)
    model = _model(l1=())
    with pytest.warns(HardgradWarning, match="nothing"):
        model.fit(X, y)
    assert (model.predict_proba(X) == whole.predict_proba(X)).all()


def test_with_a_checkpoint_it_goes_through_to_go_on_later(tmp_path):
    X, y = _table()
    whole = _model().fit(X, y)
    with checkpointing(tmp_path):
        with listen(_interrupt("refine on all rows")), pytest.raises(KeyboardInterrupt):
            _model().fit(X, y)
        later = _model().fit(X, y)
    assert not later.interrupted_
    assert (later.predict_proba(X) == whole.predict_proba(X)).all()


@pytest.mark.parametrize(
    ("phase", "match"), [("refine candidates", "all refined"), ("greedy start", "all refined trees")]
)
def test_without_a_bound_the_greedy_part_is_kept(phase, match):
    model = _interrupted(_model(n_estimators=None, max_iter=20), phase, match, table=_table(400))
    assert model.forest_.n_trees > 2
    assert model.score(*_table(400)) > 0.9


@pytest.mark.parametrize(
    ("budget", "after", "match"), [("300 bytes", 2, "of . shapes|of .. shapes"), ("8 leaves", 1, "trees? of")]
)
def test_within_a_budget_the_shapes_tried_so_far_compete(budget, after, match):
    model = _interrupted(_model(budget=budget, max_iter=20), "budget", match, table=_table(300), after=after)
    assert model.score(*_table(300)) > 0.6


def test_a_budget_needs_one_shape():
    with listen(_interrupt("greedy start")), pytest.raises(KeyboardInterrupt):
        _model(budget="8 leaves").fit(*_table(300))


def test_compressing_is_not_cut_short():
    X, y = _table(300)
    large = _model(l1=()).fit(X, y).forest_
    with listen(_interrupt("budget", after=1)), pytest.raises(KeyboardInterrupt):
        compress(large, X, budget="300 bytes")


def test_a_time_budget_and_an_interrupt():
    X = _table()[0]
    model = SoftForestRegressor(2, 3, max_iter=20, time_budget=60, random_state=0)
    _interrupted(model, "measure speed", "all refined forests", table=(X, X[:, 0] * X[:, 1]))


@pytest.mark.parametrize("phase", ["leaves of all rows", "refine candidates"])
def test_streamed_leaves_stay_those_of_the_sample(tmp_path, monkeypatch, phase):
    monkeypatch.setattr(streamed, "SAMPLE_ROWS", 300)
    X, y = _table(600)
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({**{f"x{i}": X[:, i] for i in range(4)}, "y": y.astype(bool)}), path)
    model = _model(max_iter=20)
    with listen(_interrupt(phase)), pytest.warns(HardgradWarning, match="leaves on all rows"):
        model.fit_streamed(StreamedTable(path, "y"))
    assert model.interrupted_
    assert "interrupted" in str(model.streamed_)
