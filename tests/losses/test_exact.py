import itertools
import math

import numpy as np
import pytest
from scipy.spatial import ConvexHull

from hardgrad.core.errors import InputError
from hardgrad.losses import exact


def runs(x):
    """Lengths of the ascending runs, by walking."""
    lengths = [1]
    for a, b in itertools.pairwise(x):
        if b >= a:
            lengths[-1] += 1
        else:
            lengths.append(1)
    return lengths


def test_run_entropy_of_every_permutation():
    for order in itertools.permutations(range(6)):
        expected = sum(k / 6 * math.log2(6 / k) for k in runs(order))
        assert exact.run_entropy(order) == pytest.approx(expected, abs=1e-12)


def test_run_entropy_keeps_repeats_together_and_takes_batches():
    assert exact.run_entropy([2.0, 2.0, 2.0]) == 0
    assert exact.run_entropy([2.0, 1.95, 3.0], margin=0.1) == 0
    assert exact.run_entropy(np.zeros((2, 3, 4))).shape == (2, 3)


@pytest.mark.parametrize("k", [1, 4, 16, 64])
def test_merge_sort_keeps_to_its_bound(k):
    rng = np.random.default_rng(0)
    x = np.sort(rng.random((k, 4096 // k)), axis=1).ravel()
    assert exact.run_entropy(x) == pytest.approx(math.log2(k), abs=1e-12)
    assert 0.95 * 4096 * (math.log2(k) + 1) <= exact.natural_merge_cost(x) <= 4096 * (math.log2(k) + 1)


def test_range_entropy_counts_points():
    points = np.array([[0.0, 0.0], [0.1, 0.0], [1.0, 1.0], [0.9, 1.0]])
    assert exact.range_entropy(points, [[0, 0], [1, 1], [9, 9]]) == pytest.approx(1.0)
    planes = (np.eye(2), np.array([0.5, 0.5]))
    assert exact.range_entropy(points, halfspaces=planes) == pytest.approx(1.0)
    assert exact.range_entropy(points, halfspaces=(np.eye(2), np.array([0.05, -1.0]))) == pytest.approx(
        -(0.25 * math.log2(0.25) + 0.75 * math.log2(0.75))
    )


def test_quickhull_counts_tests_of_a_right_hull():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(500, 2))
    # A hull of few corners costs few levels; every corner beside the two ends is found at one of them.
    assert 500 < exact.convex_hull_cost(points) < 500 * (2 + 2 * math.log2(len(ConvexHull(points).vertices)))
    square = [[0, 0], [1, 0], [1, 1], [0, 1]]
    assert exact.convex_hull_cost(square) == 4 + 2 * 1 + 2 * 1


@pytest.mark.parametrize(
    "call",
    [
        lambda: exact.run_entropy([]),
        lambda: exact.run_entropy([1.0, float("nan")]),
        lambda: exact.range_entropy([[1.0]]),
        lambda: exact.range_entropy([[1.0]], [[1.0]], halfspaces=([[1.0]], [0.0])),
        lambda: exact.convex_hull_cost([[1.0, 2.0, 3.0]]),
    ],
)
def test_bad_input(call):
    with pytest.raises(InputError, match="expected"):
        call()
