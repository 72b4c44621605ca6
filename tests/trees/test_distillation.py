"""The soft tree against its formulas, the exact tree against the signs of its gates, teachers of every kind."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_iris, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC

from hardgrad.core.errors import DataError, ParameterError
from hardgrad.trees import DistilledTreeClassifier, SoftTree
from hardgrad.trees.soft_tree import _SoftTreeTask

X, Y = load_iris(return_X_y=True)
TEACHER = LogisticRegression(max_iter=1000).fit(X, Y)
QUICK = {"max_depth": 3, "max_iter": 10, "random_state": 0}


def _soft() -> tuple[SoftTree, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    tree = SoftTree(4, 3, 5, spread=2.0, generator=generator).double()
    return tree, torch.randn(7, 4, generator=generator, dtype=torch.float64)


def test_path_probabilities_are_products_of_gates() -> None:
    tree, x = _soft()
    gates, reach = tree.left_probability(x, 0.7), tree.reach(x, 0.7)
    for leaf in range(8):
        expected = torch.ones(7, dtype=torch.float64)
        node = 0
        for level in range(3):
            right = leaf >> (2 - level) & 1
            expected = expected * (1 - gates[node] if right else gates[node])
            node = 2 * node + 1 + right
        torch.testing.assert_close(reach[:, leaf], expected)
    levels = tree.node_probability(reach)
    torch.testing.assert_close(levels[1][:, 0], gates[0])
    torch.testing.assert_close(levels[2][:, 3], (1 - gates[0]) * (1 - gates[2]))


@pytest.mark.parametrize("kind", ["path", "mixture"])
def test_the_loss_is_the_formula(kind: str) -> None:
    rng = np.random.default_rng(0)
    rows, targets = (
        rng.normal(size=(8, 4)).astype(np.float32),
        rng.dirichlet(np.ones(3), 8).astype(np.float32),
    )
    task = _SoftTreeTask(rows, targets, np.ones(8, dtype=np.float32), 2, kind, 0.0, 0.5, 1, 8, 0.01, 0.5, 0)  # type: ignore[arg-type]
    tree = task.module
    assert isinstance(tree, SoftTree)
    reach, shares = tree.reach(torch.from_numpy(rows)), tree.leaf_logs().exp()
    t = torch.from_numpy(targets)
    expected = (
        -(reach[:, :, None] * t[:, None] * shares.log()).sum((1, 2))
        if kind == "path"
        else -(t * (reach[:, :, None] * shares).sum(1).log()).sum(1)
    )
    torch.testing.assert_close(task.loss(tree, 0, range(1)), expected.mean(), rtol=1e-5, atol=1e-6)


def test_the_penalty_pulls_a_lopsided_root_to_the_middle() -> None:
    rows = np.random.default_rng(0).normal(size=(64, 2)).astype(np.float32)
    targets = np.full((64, 2), 0.5, dtype=np.float32)
    task = _SoftTreeTask(
        rows, targets, np.ones(64, dtype=np.float32), 1, "path", 1.0, 0.5, 60, 64, 0.1, 1.0, 0
    )
    tree = task.module
    assert isinstance(tree, SoftTree)
    with torch.no_grad():
        tree.offset.fill_(3.0)
    optimizer = task.optimizer()
    for step in range(60):
        optimizer.zero_grad()
        task.loss(tree, step, range(1)).backward()
        optimizer.step()
    assert 0.4 < float(tree.left_probability(torch.from_numpy(rows)).detach().mean()) < 0.6


def test_the_exact_tree_follows_the_signs_of_the_gates() -> None:
    model = DistilledTreeClassifier(TEACHER, **QUICK).fit(X, Y)
    with torch.no_grad():
        gates = model.soft_.left_probability(
            torch.from_numpy((X - model.mean_) / model.scale_).float()
        ).T.numpy()
    node = np.zeros(len(X), dtype=int)
    for _ in range(3):
        node = 2 * node + np.where(gates[np.arange(len(X)), node] >= 0.5, 1, 2)
    shares = model.soft_.leaf_logs().detach().exp().numpy()[node - 7]
    assert np.allclose(model.predict_proba(X), shares, atol=1e-6)
    assert model.harden().predict_proba(X).shape == (150, 3)


def test_how_to_answer() -> None:
    greedy = DistilledTreeClassifier(TEACHER, **QUICK).fit(X, Y)
    mean = DistilledTreeClassifier(TEACHER, inference="mean", **QUICK).fit(X, Y)
    path = DistilledTreeClassifier(TEACHER, inference="max_path", **QUICK).fit(X, Y)
    assert mean.harden().equals(greedy.harden())
    assert not np.allclose(mean.predict_proba(X), greedy.predict_proba(X))
    assert all(np.allclose(m.predict_proba(X).sum(1), 1.0, atol=1e-6) for m in (greedy, mean, path))
    assert {"greedy_accuracy", "mean_accuracy", "max_path_accuracy", "teacher_agreement"} == set(
        greedy.gap_.detail
    )


@pytest.mark.parametrize("teacher", [TEACHER, SVC().fit(X, Y), SVC().fit(X[:100], Y[:100])])
def test_teachers_need_no_labels(teacher) -> None:  # type: ignore[no-untyped-def]
    model = DistilledTreeClassifier(teacher, max_depth=3, max_iter=30, random_state=0).fit(X)
    assert (model.predict(X) == teacher.predict(X)).mean() > 0.9
    assert np.array_equal(model.classes_, teacher.classes_)


def test_unlabelled_rows_and_data_frames() -> None:
    few = np.arange(0, 150, 5)
    model = DistilledTreeClassifier(TEACHER, **QUICK).fit(X[few], Y[few], unlabelled=X)
    assert model.score(X, Y) > 0.85
    frame = pd.DataFrame(X, columns=["a", "b", "c", "d"]).assign(
        kind=np.where(X[:, 0] > 5.5, "long", "short")
    )
    named = DistilledTreeClassifier(**QUICK).fit(frame, Y)
    assert np.array_equal(named.harden().predict(frame), named.predict(frame))
    weight = np.where(Y == 2, 0.0, 1.0)
    assert 2 not in set(DistilledTreeClassifier(**QUICK).fit(X, Y, sample_weight=weight).predict(X[:100]))


def test_single_features_explanations_and_pictures() -> None:
    pytest.importorskip("matplotlib").use("Agg")
    model = DistilledTreeClassifier(TEACHER, **QUICK).fit(X, Y)
    axis = model.harden(axis_aligned=True, X=X)
    assert axis.is_axis and (axis.predict(X) == Y).mean() > 0.7
    reason = model.explain(X[77])
    assert reason.answer == model.predict(X[77:78])[0] and len(reason.nodes) == 3
    sums = reason.contributions.sum(1)
    assert [bool(v) for v in sums <= reason.thresholds] == list(reason.went_left)
    assert len(model.plot_tree((2, 2), levels=2).axes) == 4
    assert model.plot_tree().axes


def test_bad_input() -> None:
    with pytest.raises(DataError, match="no teacher"):
        DistilledTreeClassifier().fit(X)
    with pytest.raises(DataError, match="need a teacher"):
        DistilledTreeClassifier().fit(X, Y, unlabelled=X)
    with pytest.raises(DataError, match="does not know"):
        DistilledTreeClassifier(TEACHER).fit(X, Y + 1)
    model = DistilledTreeClassifier(**QUICK).fit(X, Y)
    with pytest.raises(ParameterError, match="needs rows X"):
        model.harden(axis_aligned=True)
    with pytest.raises(DataError, match="got 2 rows"):
        model.explain(X[:2])
    with pytest.raises(ParameterError, match="image_shape"):
        model.plot_tree((3, 3))
    wine = load_wine(return_X_y=True)
    with pytest.raises(ValueError, match="features"):
        model.predict(wine[0])
