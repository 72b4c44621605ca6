"""The polish: never worse, and the best single move found by exhaustive search is found."""

import numpy as np
import pytest
from training_data import rows_for

from hardgrad.trees.greedy import BoostingPlan, boost
from hardgrad.trees.polish import _best_shift, polish


@pytest.mark.parametrize("constant", [True, False])
def test_best_shift_equals_exhaustive_search(constant):
    rng = np.random.default_rng(0)
    for _ in range(50):
        n = 12
        z, d = rng.normal(size=n), rng.normal(size=n)
        x = rng.integers(-2, 3, size=n).astype(np.float32)
        gain, shift = _best_shift(z, x, d, constant)
        direction = np.ones(n) if constant else x.astype(float)
        switches = np.sort([-z[r] / direction[r] for r in range(n) if direction[r] != 0])
        between = (switches[:-1] + switches[1:]) / 2
        now = d[z > 0].sum()
        best = max([now, *(d[z + s * direction > 0].sum() for s in between)])
        assert np.isclose(gain, best - now)
        assert np.isclose(d[z + shift * direction > 0].sum(), best)


@pytest.mark.parametrize(("kind", "outputs"), [("logistic", 1), ("softmax", 3), ("squared", 2)])
def test_training_loss_never_rises_and_nodes_stay_sparse(kind, outputs):
    _, codes, rows, objective = rows_for(kind, n_outputs=outputs, n_features=6)
    start = boost(rows, codes, objective, BoostingPlan(3, 0.5, max_depth=3))
    done = polish(start, rows, objective)
    before, after = (objective.mean_loss(f.raw(rows.scores), rows.Y, rows.weight) for f in (start, done))
    assert after < before
    assert ((done.feature >= 0).sum(axis=2) <= 4).all()
    axis = polish(start, rows, objective, new_features=False)
    assert ((axis.feature >= 0).sum(axis=2) <= 1).all()
    assert objective.mean_loss(axis.raw(rows.scores), rows.Y, rows.weight) <= before


def test_same_seed_same_bits():
    _, codes, rows, objective = rows_for()
    start = boost(rows, codes, objective, BoostingPlan(3, 0.5, max_depth=3))
    first, second = (
        polish(start, rows, objective, random_state=3),
        polish(start, rows, objective, random_state=3),
    )
    assert np.array_equal(first.weight, second.weight)
    assert np.array_equal(first.leaf, second.leaf)
