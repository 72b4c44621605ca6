"""Evolution of trees: the rules of selection, what is remembered, how it is stopped and resumed, and the exact tree that comes of it."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_diabetes, make_classification
from sklearn.metrics import balanced_accuracy_score, root_mean_squared_error

from hardgrad.core.artifact import load
from hardgrad.core.errors import DataError, HardgradWarning, ParameterError
from hardgrad.train.checkpoint import checkpointing
from hardgrad.trees import (
    EvolvedTreeClassifier,
    EvolvedTreeRegressor,
    Proposal,
    RandomProposer,
    SemanticPriorProposer,
    TreeText,
    forest_from_texts,
)
from hardgrad.trees.evolution import draw_parents, first_of_each, target_fitness, unlikeliness
from hardgrad.trees.exactness import check_exactness

X, y = make_classification(160, 5, n_informative=3, flip_y=0.1, class_sep=0.7, random_state=1)
QUICK: dict[str, Any] = {"population": 8, "generations": 4, "random_state": 0}


# --- selection -------------------------------------------------------------------------------------------------------------------
def test_parents_are_drawn_by_fitness_and_shown_from_the_worst_to_the_best() -> None:
    rng = np.random.default_rng(0)
    fitness = np.array([0.1, 0.4, 0.2, 0.3])
    count: Counter[int] = Counter()
    for _ in range(4000):
        (chosen,) = draw_parents(fitness, True, rng, 1)
        count[int(chosen)] += 1
    assert [count[k] / 4000 for k in range(4)] == pytest.approx(fitness, abs=0.03)
    assert draw_parents(fitness, True, rng).tolist() == [0, 2, 3, 1]
    assert draw_parents(fitness, False, rng).tolist() == [1, 3, 2, 0]
    few = draw_parents(np.array([-1.0, 0.0, 0.5, -2.0, -3.0]), True, rng, 2)
    assert few[-1] == 2 and len(set(few.tolist())) == 2  # those without a chance fill up
    best = Counter(int(draw_parents(np.array([1.0, 10.0]), False, rng, 1)[0]) for _ in range(2000))
    assert best[0] / 2000 == pytest.approx(10 / 11, abs=0.03)


def test_targets_lie_beyond_the_best() -> None:
    assert target_fitness(np.array([0.5, 0.7]), True) == pytest.approx(0.72)
    assert target_fitness(np.array([3.0, 1.0]), False) == pytest.approx(0.8)


def test_unlikely_candidates_are_favoured() -> None:
    weight = unlikeliness([-10.0, -20.0])
    assert weight[1] / weight[0] == pytest.approx(np.e)
    assert unlikeliness([-1.0, None]).tolist() == [0.5, 0.5]


def test_duplicates_are_those_that_say_the_same() -> None:
    assert first_of_each(np.array([[1, 2], [1, 3], [1, 2], [0, 2]])).tolist() == [0, 1, 3]


# --- the result ------------------------------------------------------------------------------------------------------------------
def test_what_is_shipped_is_the_tree_that_was_measured(tmp_path: Path) -> None:
    model = EvolvedTreeClassifier(**QUICK).fit(X, y)
    best = model.hall_of_fame_[0]
    held, seen = model.held_out_, ~model.held_out_
    assert 0.6 < held.mean() < 0.7
    assert best.validation == pytest.approx(balanced_accuracy_score(y[held], model.predict(X[held])))
    assert best.fitness == pytest.approx(balanced_accuracy_score(y[seen], model.predict(X[seen])))
    assert best.tree == model.tree_
    assert best.validation == model.history_[-1]["validation"]
    named = forest_from_texts([model.tree_], model.schema_, classes=(0, 1), task="classification")
    assert np.array_equal(named.predict(X), model.predict(X))
    assert load(model.forest_.save(tmp_path / "tree.safetensors")).equals(model.forest_)
    assert [c.differing for c in check_exactness(model.forest_, rows=200, engines=("native", "duckdb"))] == [
        0,
        0,
    ]
    halls = [entry.validation for entry in model.hall_of_fame_]
    assert halls == sorted(halls, reverse=True) and len(halls) == 10
    assert model.stopped_by_ == "generations" and not hasattr(model, "gap_")


def test_the_history_never_falls_and_counts_evaluations() -> None:
    model = EvolvedTreeClassifier(**QUICK).fit(X, y)
    assert [entry["generation"] for entry in model.history_] == [0, 1, 2, 3, 4]
    for name in ("best", "validation"):
        assert np.all(np.diff([entry[name] for entry in model.history_]) >= 0)
    assert [entry["evaluations"] for entry in model.history_] == [8, 24, 40, 56, 72]
    assert all(0 <= entry["diversity"] <= 1 and entry["median"] <= entry["best"] for entry in model.history_)
    ax = pytest.importorskip("matplotlib").use("agg") or model.plot_history()
    assert [line.get_label() for line in ax.get_lines()] == ["best", "median", "validation", "diversity"]


def test_leaves_hold_class_shares_of_the_rows_that_were_learned_from() -> None:
    model = EvolvedTreeClassifier(metric="log_loss", **QUICK).fit(X, y)
    seen = ~model.held_out_
    leaf = model.forest_.apply(X)[:, 0]
    shares = model.predict_proba(X)
    prior = y[seen].mean()
    for number in np.unique(leaf):
        here = y[seen & (leaf == number)]
        assert shares[leaf == number, 1] == pytest.approx((here.sum() + prior) / (len(here) + 1))


def test_a_small_search_finds_the_best_tree_there_is() -> None:
    """Depth 2 on a grid of four values: every tree is tried, and evolution reaches the best."""
    rng = np.random.default_rng(8)
    grid = rng.integers(4, size=(60, 2)).astype(float)
    labels = (grid[:, 0] > 1.5) ^ (grid[:, 1] > 0.5)
    stumps = list(itertools.product((0, 1), (0.5, 1.5, 2.5)))

    def right(rows: Any) -> int:
        ones = int(labels[rows].sum())
        return max(ones, int(rows.sum()) - ones)

    def best_below(rows: Any) -> int:
        return max(right(rows & (grid[:, f] <= t)) + right(rows & (grid[:, f] > t)) for f, t in stumps)

    best = max(best_below(grid[:, f] <= t) + best_below(grid[:, f] > t) for f, t in stumps)
    for proposer in ("semantic", "random"):
        model = EvolvedTreeClassifier(
            2, metric="accuracy", proposer=proposer, validation_fraction=0, population=20, generations=15, random_state=0
        ).fit(grid, labels)  # fmt: skip
        assert model.score(grid, labels) == best / 60 == 1


def test_three_classes_frames_categories_and_missing_values() -> None:
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(2)
    size, colour = rng.normal(size=150), rng.choice(["red", "green", "blue"], 150)
    labels = np.where(colour == "red", "stop", np.where(size > 0, "go", "wait"))
    size[::7] = np.nan
    frame = pandas.DataFrame({"size": size, "colour": colour})
    model = EvolvedTreeClassifier(
        feature_descriptions={"size": "large above 0", "colour": "of the light"}, task_description="What to do?", **QUICK
    ).fit(frame, pandas.Series(labels, name="action"))  # fmt: skip
    assert balanced_accuracy_score(labels, model.predict(frame)) > 0.85
    assert set(model.classes_) == {"stop", "go", "wait"}
    assert {leaf.value for leaf in model.tree_.walk() if leaf.is_leaf} <= {"stop", "go", "wait"}
    assert np.array_equal(model.forest_.predict(frame), model.predict(frame))
    with pytest.raises(ParameterError, match="'colours', which is no column.*Did you mean 'colour'"):
        EvolvedTreeClassifier(feature_descriptions={"colours": "of the light"}, **QUICK).fit(frame, labels)


def test_class_weights_move_the_decision() -> None:
    rare = np.random.default_rng(3).random(400) < 0.1
    rows = np.column_stack([np.random.default_rng(4).normal(size=400) + rare, np.zeros(400)])
    share = {}
    for weight in ("auto", "balanced", None, {False: 1.0, True: 1e-6}):
        model = EvolvedTreeClassifier(2, class_weight=weight, **QUICK).fit(rows, rare)
        share[str(weight)] = model.predict(rows).mean()
    assert share["auto"] == share["balanced"] > share["None"] >= share[str({False: 1.0, True: 1e-6})] == 0
    with pytest.raises(ParameterError, match="got class_weight='heavy'"):
        EvolvedTreeClassifier(class_weight="heavy", **QUICK).fit(X, y)


@pytest.mark.parametrize("metric", ["rmse", "mae", "r2"])
def test_values_one_and_several(metric: str) -> None:
    data, values = load_diabetes(return_X_y=True)
    both = np.column_stack([values, -2 * values])
    one = EvolvedTreeRegressor(metric=metric, **QUICK).fit(data, values)
    two = EvolvedTreeRegressor(metric=metric, **QUICK).fit(data, both)
    assert one.predict(data).shape == (442,) and two.predict(data).shape == (442, 2)
    assert root_mean_squared_error(values, one.predict(data)) < 0.85 * values.std()
    assert two.predict(data)[:, 1] == pytest.approx(-2 * two.predict(data)[:, 0])
    best = [entry["best"] for entry in one.history_]
    assert best == sorted(best, reverse=metric != "r2")


# --- stopped and resumed -----------------------------------------------------------------------------------------------------------
class Counting:
    """Random operators that do something at their so-manieth call."""

    def __init__(self, at: int, act: Any) -> None:
        self.at, self.act, self.calls = at, act, 0

    def propose(self, *arguments: Any) -> list[Proposal]:
        self.calls += 1
        if self.calls == self.at:
            self.act()
        return RandomProposer().propose(*arguments)


def interrupt() -> None:
    raise KeyboardInterrupt


def test_a_later_fit_goes_on_to_the_same_bits() -> None:
    for proposer in ("semantic", "random"):
        whole = EvolvedTreeClassifier(proposer=proposer, **QUICK).fit(X, y)
        parts = (
            EvolvedTreeClassifier(proposer=proposer, warm_start=True, **QUICK)
            .set_params(generations=1)
            .fit(X, y)
        )
        assert parts.history_[-1]["generation"] == 1
        parts.set_params(generations=4).fit(X, y)
        assert parts.history_ == whole.history_
        assert parts.forest_.equals(whole.forest_)
        assert parts.rejected_ == whole.rejected_
        assert parts.hall_of_fame_ == whole.hall_of_fame_
    with pytest.raises(DataError, match="other rows or settings"):
        parts.fit(X + 1, y)


def test_an_interrupt_keeps_the_best_and_a_later_fit_goes_on() -> None:
    whole = EvolvedTreeClassifier(proposer=Counting(0, interrupt), **QUICK).fit(X, y)
    model = EvolvedTreeClassifier(proposer=Counting(20, interrupt), warm_start=True, **QUICK)
    with pytest.warns(HardgradWarning, match="generations that were left"):
        model.fit(X, y)
    assert model.stopped_by_ == "interrupt"
    assert 0 < model.history_[-1]["generation"] < 4
    assert model.score(X, y) > 0.5
    # An interrupt in the middle of a generation has drawn from the generator; the state has not.
    model.set_params(proposer=RandomProposer()).fit(X, y)
    assert model.stopped_by_ == "generations"
    assert model.history_ == whole.history_ and model.forest_.equals(whole.forest_)


def test_a_checkpoint_is_gone_on_with(tmp_path: Path) -> None:
    whole = EvolvedTreeClassifier(proposer="random", **QUICK).fit(X, y)
    with checkpointing(tmp_path), pytest.raises(KeyboardInterrupt):
        EvolvedTreeClassifier(proposer=Counting(25, interrupt), **QUICK).fit(X, y)
    counting = Counting(0, interrupt)
    with checkpointing(tmp_path):
        again = EvolvedTreeClassifier(proposer=counting, **QUICK).fit(X, y)
    assert again.forest_.equals(whole.forest_) and again.history_ == whole.history_
    assert 0 < counting.calls < 4 * 8


def test_a_time_budget_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count()
    monkeypatch.setattr("hardgrad.trees.evolution.time.monotonic", lambda: float(next(clock)))
    model = EvolvedTreeClassifier(time_budget=20, **QUICK).fit(X, y)
    assert model.stopped_by_ == "time_budget"
    assert model.history_[-1]["generation"] == 2
    assert model.forest_.n_leaves > 1


def test_without_generations_it_is_the_best_tree_of_a_forest() -> None:
    model = EvolvedTreeClassifier(population=8, generations=0, random_state=0).fit(X, y)
    assert len(model.history_) == 1 and model.forest_.n_leaves > 1


def test_nothing_to_learn_from_gives_a_leaf() -> None:
    with pytest.warns(HardgradWarning, match="drew"):
        model = EvolvedTreeClassifier(**QUICK).fit(np.ones((40, 2)), np.arange(40) % 2)
    assert model.tree_.is_leaf and set(model.predict(np.ones((3, 2)))) <= {0, 1}


# --- proposers ---------------------------------------------------------------------------------------------------------------------
class Fixed:
    """Proposes the same trees again and again, and remembers what it was told."""

    def __init__(self, *texts: str) -> None:
        self.texts, self.told = texts, []

    def propose(self, parents: Any, fitness: Any, target: Any, context: Any, n: int) -> list[Proposal]:
        self.told.append((parents, fitness, target, context, n))
        return [Proposal(TreeText.parse(text)) for text in self.texts]


def test_a_proposer_is_told_what_it_needs_and_what_is_useless_is_counted() -> None:
    proposer = Fixed(
        '{"x0": {"<= 0": {"value": 0}, "> 0": {"value": 1}}}',
        '{"x9": {"<= 0": {"value": 0}, "> 0": {"value": 1}}}',
        '{"x1": {"<= 1e9": {"value": 0}, "> 1e9": {"value": 1}}}',
        '{"x1": {"<= 0": {"x1": {"<= 0": {"x1": {"<= -1": {"x2": {"<= 0": {"value": 0}, "> 0": {"value": 0}}}, "> -1": {"value": 1}}}, '
        '"> 0": {"value": 1}}}, "> 0": {"value": 0}}}',
    )
    model = EvolvedTreeClassifier(proposer=proposer, **QUICK).fit(X, y)
    operations = len(proposer.told)
    assert operations == 2 * 8 * 4  # one tree an operation can be used
    assert model.rejected_ == {"attribute": operations, "depth": operations, "splits nothing": operations}
    crossovers = [told for told in proposer.told if told[2] is not None]
    assert len(crossovers) == operations // 2
    for parents, fitness, target, context, n in crossovers:
        assert (len(parents), len(fitness), n) == (4, 4, 4)
        assert fitness == sorted(fitness) and target >= fitness[-1]
        assert context.names == ["x0", "x1", "x2", "x3", "x4"] and context.classes == (0, 1)


def test_what_a_proposer_does_not_give_is_drawn_at_random() -> None:
    with pytest.warns(HardgradWarning, match=r"drew 64 trees at random"):
        model = EvolvedTreeClassifier(proposer=Fixed(), **QUICK).fit(X, y)
    assert model.rejected_["filled at random"] == 64


def test_names_matter_to_the_semantic_operators_only() -> None:
    pandas = pytest.importorskip("pandas")
    plain = pandas.DataFrame(X, columns=["a", "b", "c", "d", "e"])
    named = pandas.DataFrame(
        X, columns=["size of leaf", "size of root", "size of stem", "price", "size of seed"]
    )
    for proposer, same in (
        ("random", True),
        (SemanticPriorProposer(beta=0.0), True),
        (SemanticPriorProposer(beta=4.0), False),
    ):
        first, second = (
            EvolvedTreeClassifier(proposer=proposer, **QUICK).fit(frame, y).history_
            for frame in (plain, named)
        )
        assert (first == second) == same


# --- the soft polish ---------------------------------------------------------------------------------------------------------------
def test_a_soft_polish_never_makes_it_worse_on_the_rows_held_out() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 3))
    y = X[:, 0] + X[:, 1] + rng.normal(size=500) > 0
    kept = []
    for seed in range(6):
        settings = {"population": 2, "generations": 0, "metric": "log_loss", "random_state": seed}
        rough = EvolvedTreeClassifier(2, **settings).fit(X, y)
        model = EvolvedTreeClassifier(2, soft_polish=True, **settings).fit(X, y)
        detail = model.gap_.detail
        assert detail["before"] == pytest.approx(rough.hall_of_fame_[0].validation)
        assert model.gap_.hard == pytest.approx(detail["after"]) and model.gap_.rows == model.held_out_.sum()
        kept.append(detail["kept_start"])
        assert kept[-1] == (detail["after"] > detail["before"])
        assert model.forest_.equals(rough.forest_) or not kept[-1]
        used = {node.feature for node in model.tree_.walk()}
        assert used <= {node.feature for node in rough.tree_.walk()}
        assert detail["moved"] > 0
    assert set(kept) == {0.0, 1.0}


def test_a_soft_polish_of_values_and_of_missing_ones() -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(200, 3))
    rows[::9, 0] = np.nan
    values = 100 + 10 * (np.nan_to_num(rows[:, 0]) > 0.3) + rng.normal(size=200)
    model = EvolvedTreeRegressor(2, soft_polish=True, **QUICK).fit(rows, values)
    assert model.score(rows, values) > 0.8
    assert model.gap_.soft < values.std()
    clone(model)


@pytest.mark.parametrize(
    "bad", [{"max_depth": 11}, {"max_depth": True}, {"population": 2.5}, {"metric": "rmse"}]
)
def test_bad_parameters(bad: dict[str, Any]) -> None:
    with pytest.raises(ParameterError, match="got"):
        EvolvedTreeClassifier(**{**QUICK, **bad}).fit(X, y)


def test_progress_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    EvolvedTreeClassifier(verbose=1, **QUICK).fit(X, y)
    assert "generation 4, training balanced_accuracy" in capsys.readouterr().out
