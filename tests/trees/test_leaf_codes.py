"""Leaves on a grid: rounding one by one costs no more than rounding all at once, and merged trees are the same function."""

import numpy as np
import pytest

from hardgrad.trees.codes import FeatureCodes
from hardgrad.trees.greedy import BoostingPlan, TrainingRows, boost
from hardgrad.trees.leaf_codes import leaf_steps, round_leaves
from hardgrad.trees.leaf_refit import refit_leaves
from hardgrad.trees.objectives import Objective


def _grown(kind, share=1.0, rounds=8):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 6))
    score = X[:, 0] + 0.9 * X[:, 1] * (X[:, 2] > 0) + 0.3 * X[:, 3:].sum(axis=1) + 0.3 * rng.normal(size=500)
    Y = {
        "squared": score[:, None],
        "logistic": (score > 0)[:, None].astype(float),
        "softmax": np.eye(3)[np.digitize(score, [-0.7, 0.7])],
    }[kind]
    codes, objective = FeatureCodes.fit(X), Objective(kind)
    rows = TrainingRows(codes.encode(X), codes.encode_scores(X), Y, np.ones(len(X)))
    return (
        boost(rows, codes, objective, BoostingPlan(rounds, 0.5, max_depth=3, new_feature_share=share)),
        rows,
        objective,
    )


@pytest.mark.parametrize("kind", ["squared", "logistic", "softmax"])
@pytest.mark.parametrize("bits", [2, 4])
def test_rounding_one_by_one_is_no_worse_than_all_at_once(kind, bits):
    forest, rows, objective = _grown(kind)
    index = forest.leaf_index(rows.scores)
    forest = forest.with_leaves(
        *refit_leaves(index, rows.Y, rows.weight, objective, (3.0,), start=(forest.leaf, forest.bias))[0]
    )
    scale = np.full(rows.Y.shape[1], 2.0)
    rounded, steps = round_leaves(forest, index, rows, objective, bits, 3.0, scale)
    code = rounded.leaf * scale / steps
    assert np.allclose(code, np.rint(code), atol=1e-9)
    assert np.abs(np.rint(code)).max() <= 2 ** (bits - 1) - 1
    assert np.array_equal(steps, steps.astype(np.float32))
    plain_steps = leaf_steps(forest.leaf * scale, bits)
    plain = np.rint(forest.leaf * scale / plain_steps) * plain_steps / scale

    def penalised(leaf, bias):
        raw = forest.with_leaves(leaf, bias).raw_of_leaves(index)
        return float(objective.row_loss(raw, rows.Y).sum()) + 1.5 * float((leaf**2).sum())

    assert penalised(rounded.leaf, rounded.bias) < penalised(plain, forest.bias)
    assert penalised(forest.leaf, forest.bias) < penalised(rounded.leaf, rounded.bias)


def test_leaves_that_are_kept_go_to_the_nearest_code():
    forest, rows, objective = _grown("logistic")
    index = forest.leaf_index(rows.scores)
    rounded, steps = round_leaves(forest, index, rows, objective, 5, np.inf, np.ones(1), (1.0,))
    assert np.abs(rounded.leaf - forest.leaf).max() <= 0.5 * steps[0] + 1e-12
    assert np.array_equal(rounded.bias, forest.bias)


def test_merged_trees_are_the_same_function_with_fewer_nodes():
    forest, rows, objective = _grown("logistic")
    index = forest.leaf_index(rows.scores)
    rounded, _ = round_leaves(forest, index, rows, objective, 2, 3.0, np.ones(1))
    merged = rounded.merged()
    assert merged.n_leaves < rounded.n_leaves
    anywhere = np.random.default_rng(1).normal(size=(2000, 6)).astype(np.float32)
    assert np.array_equal(merged.raw(anywhere), rounded.raw(anywhere))
    assert merged.merged().n_leaves == merged.n_leaves


def test_a_price_on_new_features_means_fewer_of_them():
    def used(share):
        feature = _grown("logistic", share, rounds=3)[0].feature
        return len(np.unique(feature[feature >= 0]))

    assert used(0.2) < used(1.0)
