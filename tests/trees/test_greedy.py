"""The greedy grower against scikit-learn's trees; the leaf refit against closed forms; oblivious trees."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeRegressor
from training_data import rows_for

from hardgrad.trees.greedy import BoostingPlan, boost, with_depth
from hardgrad.trees.grower import grow_tree
from hardgrad.trees.leaf_refit import refit_leaves
from hardgrad.trees.oblivious import boost_oblivious


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("depth", [1, 3])
def test_same_training_error_as_scikit_learn(outputs, depth):
    _, _, rows, _ = rows_for("squared", n=400, n_outputs=outputs, seed=outputs)
    tree = grow_tree(rows.codes, rows.Y, rows.weight, max_depth=depth, min_rows=10)
    peer = DecisionTreeRegressor(max_depth=depth, min_samples_leaf=10, random_state=0)
    peer.fit(rows.codes, rows.Y, sample_weight=rows.weight)
    means = np.stack([np.average(rows.Y[tree.leaf_index == k], axis=0, weights=rows.weight[tree.leaf_index == k])
                      if (tree.leaf_index == k).any() else np.zeros(outputs) for k in range(2**depth)])  # fmt: skip
    mine = np.average(((means[tree.leaf_index] - rows.Y) ** 2).sum(axis=1), weights=rows.weight)
    theirs = ((peer.predict(rows.codes).reshape(len(rows), -1) - rows.Y) ** 2).sum(axis=1)
    assert np.isclose(mine, np.average(theirs, weights=rows.weight), rtol=1e-9)
    sizes = np.bincount(tree.leaf_index)
    assert sizes[sizes > 0].min() >= 10


def test_leaf_wise_growth_stops_at_its_leaves_and_falls_monotonically():
    _, _, rows, _ = rows_for("squared", n=500)
    errors = []
    for leaves in (2, 4, 7, 12):
        tree = grow_tree(rows.codes, rows.Y, rows.weight, max_depth=6, max_leaves=leaves, min_rows=5)
        assert len(np.unique(tree.leaf_index)) <= leaves
        assert (tree.feature >= 0).sum() == leaves - 1
        means = np.bincount(tree.leaf_index, rows.weight * rows.Y[:, 0]) / np.maximum(
            np.bincount(tree.leaf_index, rows.weight), 1e-9
        )
        errors.append(np.average((means[tree.leaf_index] - rows.Y[:, 0]) ** 2, weights=rows.weight))
    assert (np.diff(errors) < 0).all()


@pytest.mark.parametrize(("kind", "outputs"), [("logistic", 1), ("softmax", 3), ("squared", 2)])
def test_boosting_lowers_the_loss_round_by_round(kind, outputs):
    _, codes, rows, objective = rows_for(kind, n_outputs=outputs)
    forest = boost(rows, codes, objective, BoostingPlan(8, 0.3, max_depth=3))
    losses = []
    for k in range(9):
        part = forest.leaf_index(rows.scores)
        raw = forest.bias + sum(
            (forest.leaf[t][part[:, t]] for t in range(k)), np.zeros((len(rows), outputs))
        )
        losses.append(objective.mean_loss(raw, rows.Y, rows.weight))
    assert (np.diff(losses) < 0).all()


def test_perfect_trees_route_like_codes_and_survive_deepening():
    X, codes, rows, objective = rows_for(missing=0.2)
    forest = boost(rows, codes, objective, BoostingPlan(3, 0.5, max_depth=3))
    tree = grow_tree(rows.codes, *_first_targets(rows, objective), max_depth=3, min_rows=20)
    assert np.array_equal(forest.leaf_index(rows.scores)[:, 0], tree.leaf_index)
    deep = with_depth(forest, 5)
    assert np.array_equal(deep.raw(rows.scores), forest.raw(rows.scores))
    assert np.array_equal(forest.quantised().leaf_index(rows.scores), forest.leaf_index(rows.scores))


def _first_targets(rows, objective):
    raw = np.repeat(objective.base_score(rows.Y, rows.weight)[None], len(rows), axis=0)
    g, h = objective.gradient_hessian(raw, rows.Y)
    h = np.maximum(h, 0.01)
    return -g / h, h[:, 0] * rows.weight


def test_early_stopping_cuts_at_the_best_round():
    _, codes, rows, objective = rows_for(n=400)
    fit, held = rows.take(np.arange(300)), rows.take(np.arange(300, 400))
    forest = boost(fit, codes, objective, BoostingPlan(60, 0.5, max_depth=4, patience=5), validation=held)
    assert 1 <= forest.n_trees < 60


def test_refit_of_values_is_ridge_regression():
    _, codes, rows, objective = rows_for("squared")
    forest = boost(rows, codes, objective, BoostingPlan(4, 0.5, max_depth=2))
    index = forest.leaf_index(rows.scores)
    ((leaf, bias),) = refit_leaves(
        index, rows.Y, rows.weight, objective, [2.0], start=(forest.leaf, forest.bias), iterations=2000
    )
    Z = np.concatenate([np.eye(4)[index[:, t]] for t in range(4)] + [np.ones((len(rows), 1))], axis=1)
    penalty = np.diag([2.0] * 16 + [0.0])
    exact = np.linalg.solve(Z.T @ (rows.weight[:, None] * Z) + penalty, Z.T @ (rows.weight * rows.Y[:, 0]))
    assert np.allclose(np.append(leaf.ravel(), bias), exact, atol=2e-3)


def test_refit_of_a_binary_target_is_logistic_regression():
    _, codes, rows, objective = rows_for()
    forest = boost(rows, codes, objective, BoostingPlan(3, 0.5, max_depth=2))
    index = forest.leaf_index(rows.scores)
    ((leaf, bias),) = refit_leaves(
        index, rows.Y, rows.weight, objective, [1.0], start=(forest.leaf, forest.bias), iterations=2000
    )
    Z = np.concatenate([np.eye(4)[index[:, t]] for t in range(3)], axis=1)
    peer = LogisticRegression(C=1.0, tol=1e-10, max_iter=5000).fit(Z, rows.Y[:, 0], sample_weight=rows.weight)
    mine = forest.with_leaves(leaf, bias).raw(rows.scores)[:, 0]
    assert np.allclose(mine, peer.decision_function(Z), atol=5e-3)


def test_oblivious_levels_share_a_test():
    _, codes, rows, objective = rows_for()
    forest = boost_oblivious(rows, codes, objective, 3, 0.5, 3)
    for tree in range(3):
        for level in range(3):
            nodes = slice(2**level - 1, 2 ** (level + 1) - 1)
            assert len(np.unique(forest.feature[tree, nodes, 0])) == 1
            assert len(np.unique(forest.offset[tree, nodes])) == 1
    start = objective.mean_loss(np.repeat(forest.bias[None], len(rows), axis=0), rows.Y, rows.weight)
    assert objective.mean_loss(forest.raw(rows.scores), rows.Y, rows.weight) < start
