"""Teachers against brute force, networks blind to order, trees that cut between values, checkpoints on disk."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris, load_wine
from sklearn.tree import DecisionTreeClassifier

from hardgrad.core.errors import ArtifactError, DataError, HardgradWarning, ParameterError
from hardgrad.trees import MetaTreeClassifier, MetaTreeWeights, train_meta_tree
from hardgrad.trees.meta_tree_networks import CellScorer, PairScorer, quantile_cuts, value_cuts
from hardgrad.trees.meta_tree_tasks import exact_depth_two, tree_tasks, xor_tasks
from hardgrad.trees.meta_tree_training import build_network, target_distribution


def test_the_teacher_is_the_best_of_all_trees_over_its_cuts() -> None:
    batch = tree_tasks(np.random.default_rng(0), 3, rows=24, columns=2, classes=3)
    found = exact_depth_two(batch.X, batch.y, cuts=4)
    for task, (X, y) in enumerate(zip(batch.X, batch.y, strict=True)):
        ordered = np.sort(X, axis=0)
        place = (np.linspace(0, 1, 6)[1:-1] * 23).astype(int)
        cuts = [(f, (ordered[p, f] + ordered[p + 1, f]) / 2) for p in place for f in range(2)]
        sides = [X[:, f] <= t for f, t in cuts]

        def wrong(rows: np.ndarray, y: np.ndarray = y) -> int:
            return int(rows.sum() - np.bincount(y[rows], minlength=3).max()) if rows.any() else 0

        best = min(
            wrong(a & b) + wrong(a & ~b) + wrong(~a & c) + wrong(~a & ~c)
            for a, b, c in itertools.product(sides, repeat=3)
        )
        assert found.errors[task] == best


def test_cuts_lie_between_values_of_active_rows() -> None:
    X = torch.tensor([[[0.0, 5.0], [1.0, 5.0], [1.0, 5.0], [9.0, 7.0]]], dtype=torch.float64)
    active = torch.tensor([[True, True, True, False]])
    cells = value_cuts(X, active)
    assert cells.valid[0].tolist() == [[False, True, True, False], [False] * 4]
    assert cells.threshold[0, 0, 1:3].tolist() == [0.5, 0.5]
    quantiles = quantile_cuts(X, active, 3)
    assert quantiles.valid[0].tolist() == [[True] * 3, [False] * 3]
    assert set(quantiles.threshold[0, 0].tolist()) == {0.5}


@pytest.mark.parametrize("make", [PairScorer, CellScorer])
def test_networks_are_blind_to_order(make: type) -> None:
    torch.manual_seed(0)
    network = make(classes=2).double().eval()
    rng = np.random.default_rng(0)
    X, y = (
        torch.from_numpy(rng.random((2, 20, 4))),
        torch.eye(2)[torch.from_numpy(rng.integers(0, 2, (2, 20)))],
    )
    active = torch.from_numpy(rng.random((2, 20)) < 0.7)
    rows, columns = torch.from_numpy(rng.permutation(20)), torch.from_numpy(rng.permutation(4))

    def logits(X: torch.Tensor, y: torch.Tensor, active: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            found = network.float()(X, y, active.double(), network.candidates(X, active))
        return found.masked_fill(~torch.isfinite(found), -99.0)

    plain = logits(X, y, active)
    moved = logits(X[:, :, columns], y, active)
    torch.testing.assert_close(moved, plain[:, columns], rtol=1e-4, atol=1e-4)
    shuffled = logits(X[:, rows], y[:, rows], active[:, rows])
    expected = plain[:, :, rows] if make is CellScorer else plain
    torch.testing.assert_close(shuffled, expected, rtol=1e-4, atol=1e-4)


def test_the_target_is_a_bell_in_the_teachers_column() -> None:
    batch = xor_tasks(np.random.default_rng(1), 4, rows=30, columns=3)
    X, active = torch.from_numpy(batch.X), torch.ones(4, 30, dtype=torch.bool)
    cuts = quantile_cuts(X, active, 6)
    feature = torch.tensor([0, 1, 2, 0])
    wanted = target_distribution(cuts, feature, cuts.threshold[torch.arange(4), feature, 2], 0.1)
    assert torch.allclose(wanted.sum((1, 2)), torch.ones(4, dtype=wanted.dtype))
    assert all(
        wanted[k].sum(1).argmax() == f and wanted[k, f].argmax() == 2 for k, f in enumerate(feature.tolist())
    )


def test_the_packaged_checkpoint_sees_what_greedy_trees_do_not() -> None:
    batch = xor_tasks(np.random.default_rng(5), 20)
    ours, greedy = [], []
    for X, y, X_test, y_test in zip(batch.X, batch.y, batch.X_test, batch.y_test, strict=True):
        ours.append(MetaTreeClassifier(random_state=0).fit(X, y).score(X_test, y_test))
        greedy.append(DecisionTreeClassifier(max_depth=2, random_state=0).fit(X, y).score(X_test, y_test))
    assert np.mean(ours) > np.mean(greedy) + 0.1


def test_several_classes_and_trees() -> None:
    X, y = load_iris(return_X_y=True)
    one = MetaTreeClassifier(max_depth=3, random_state=0).fit(X, y)
    assert one.score(X, y) > 0.9
    many = MetaTreeClassifier(n_estimators=5, context_size=80, random_state=0).fit(X, y)
    assert many.harden().n_trees == 5 and many.score(X, y) > 0.9
    assert np.allclose(many.predict_proba(X).sum(1), 1.0)
    weight = np.where(y == 2, 0.0, 1.0)
    assert set(one.fit(X, y, sample_weight=weight).predict(X)) <= {0, 1}


def test_many_columns_are_sampled_with_a_warning() -> None:
    X, y = load_wine(return_X_y=True)
    with pytest.warns(HardgradWarning, match="reads 8"):
        assert MetaTreeClassifier(random_state=0).fit(X, y).score(X, y) > 0.85


def test_bad_input(tmp_path) -> None:  # type: ignore[no-untyped-def]
    X = np.random.default_rng(0).random((60, 3))
    with pytest.raises(DataError, match="got 5 classes"):
        MetaTreeClassifier().fit(X, np.arange(60) % 5)
    with pytest.raises(ParameterError, match="encoder='trees'"):
        train_meta_tree(encoder="trees")
    with pytest.raises(ArtifactError, match="network has"):
        build_network(MetaTreeWeights(np.zeros(3, dtype=np.float32), "pairs", {"classes": 2}))
    constant = MetaTreeClassifier().fit(np.ones((10, 2)), np.arange(10) % 2)
    assert constant.harden().n_leaves == 1


def test_a_trained_network_is_saved_and_used(tmp_path) -> None:  # type: ignore[no-untyped-def]
    weights = train_meta_tree(xor_tasks, steps=3, batch_size=4, classes=2, width=8)
    assert train_meta_tree(xor_tasks, steps=3, batch_size=4, classes=2, width=8).equals(weights)
    path = weights.save(tmp_path / "mine.safetensors")
    X, y = load_iris(return_X_y=True)
    X, y = X[y < 2], y[y < 2]
    first, second = (MetaTreeClassifier(checkpoint=c, random_state=0).fit(X, y) for c in (weights, str(path)))
    assert first.harden().equals(second.harden())


def test_the_gap_is_measured_when_it_is_asked_for() -> None:
    import pickle

    X, y = load_iris(return_X_y=True)
    model = MetaTreeClassifier(max_depth=2, random_state=0)
    assert not hasattr(model, "gap_")
    model.fit(X, y)
    copied = pickle.loads(pickle.dumps(model))  # noqa: S301 - made here
    model.set_params(checkpoint="gone", max_depth=5)
    hard = model.predict_proba(X)[np.arange(len(y)), y]
    assert model.gap_ is model.gap_ and model.gap_ == copied.gap_ and model.gap_.rows == len(y)
    assert model.gap_.hard == pytest.approx(-np.log(np.maximum(hard, 1e-12)).mean())
