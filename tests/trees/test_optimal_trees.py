"""The recursion and the witness search find what slow dynamic programming finds; bounds and oracles hold what they promise."""

import itertools

import numpy as np
import pytest
from sklearn.datasets import load_iris

from hardgrad.core.errors import DataError, ParameterError, UnsupportedError
from hardgrad.trees import cut_complexity, majority_gap, minimum_cuts, minimum_trees
from hardgrad.trees.optimal_instance import Instance, bits, members, thresholds
from hardgrad.trees.optimal_oracles import ensemble_cuts, enumerated_cuts, subset_cuts
from hardgrad.trees.optimal_tree import BudgetedTrees, count_cuts, greedy_tree
from hardgrad.trees.optimal_witness import WitnessSearch


def random_table(rng, most_rows):
    n, features, classes, values = rng.integers((2, 1, 2, 2), (most_rows + 1, 4, 4, 7))
    X = rng.integers(0, values, (n, features)).astype(float)
    return X, np.unique(rng.integers(0, classes, n), return_inverse=True)[1]


def vote(trees, row):
    found = []
    for node in trees:
        while "feature" in node:
            node = node["left" if row[node["feature"]] <= node["threshold"] else "right"]
        found.append(node["value"])
    return found


def errors(instance, trees):
    """The weight of the examples for which no majority of the trees votes."""
    right = [
        2 * vote(trees, row).count(label) > len(trees)
        for row, label in zip(instance.X, instance.label, strict=True)
    ]
    return sum(weight for weight, good in zip(instance.weights, right, strict=True) if not good)


def smallest(solve, start):
    return next((cuts, found) for cuts in itertools.count(start) if (found := solve(cuts)) is not None)


@pytest.mark.parametrize("seed", range(4))
def test_one_tree_equals_dynamic_programming(seed):
    rng, sizes = np.random.default_rng(seed), set()
    for _ in range(60):
        instance = Instance(*random_table(rng, 13))
        if instance.unavoidable:
            continue
        expected = subset_cuts(instance)
        assert instance.least_cuts() <= expected
        assert enumerated_cuts(instance) == expected
        for solver in (
            BudgetedTrees(instance).tree,
            WitnessSearch(instance, 1).ensemble,
        ):
            cuts, found = smallest(solver, 0)
            trees = found if isinstance(found, list) else [found]
            assert cuts == expected == sum(map(count_cuts, trees))
            assert errors(instance, trees) == 0
        assert errors(instance, [greedy_tree(instance)]) == 0
        sizes.add(expected)
    assert len(sizes) > 3


@pytest.mark.parametrize("n_estimators", [3, 5])
def test_ensembles_equal_dynamic_programming(n_estimators):
    rng, sizes = np.random.default_rng(n_estimators), set()
    for _ in range(40):
        instance = Instance(*random_table(rng, 8 - n_estimators // 2))
        if instance.unavoidable:
            continue
        expected = ensemble_cuts(instance, n_estimators)
        assert instance.least_cuts(n_estimators) <= expected
        search = WitnessSearch(instance, n_estimators)
        cuts, trees = smallest(search.ensemble, 0)
        assert cuts == expected == sum(map(count_cuts, trees))
        assert len(trees) == n_estimators
        assert errors(instance, trees) == errors(instance, search.greedy(1e9)) == 0
        sizes.add(expected)
    assert len(sizes) > 3


def least_errors(instance, cuts):
    """Errors of the best tree, by plain recursion."""

    def best(examples, cuts):
        key = examples, cuts
        if key not in known:
            splits = [
                best(examples & cut.left, few) + best(examples & ~cut.left, cuts - 1 - few)
                for cut in instance.cuts if examples & cut.left and examples & ~cut.left
                for few in range(cuts)
            ]  # fmt: skip
            known[key] = min([instance.leaf(examples)[1], *splits])
        return known[key]

    known = {}
    return best(instance.everything, cuts)


@pytest.mark.parametrize("weigh", [np.ones_like, lambda u: np.ceil(3 * u), lambda u: u])
def test_allowed_errors(weigh):
    rng, sizes = np.random.default_rng(7), set()
    for trial in range(60):
        X, y = random_table(rng, 10)
        instance = Instance(X, y, weigh(rng.random(len(y))), 0.75 * (1 + trial % 4))
        if instance.unavoidable > instance.max_errors:
            assert least_errors(instance, 5) > instance.max_errors
            continue
        cuts, tree = smallest(BudgetedTrees(instance).tree, 0)
        assert errors(instance, [tree]) == least_errors(instance, cuts) <= instance.max_errors
        assert cuts == 0 or least_errors(instance, cuts - 1) > instance.max_errors
        assert instance.least_cuts() <= cuts == count_cuts(tree)
        assert errors(instance, [greedy_tree(instance)]) <= instance.max_errors
        found, trees = smallest(WitnessSearch(instance, 1).ensemble, 0)
        assert found == cuts
        assert errors(instance, trees) <= instance.max_errors
        sizes.add(cuts)
    assert len(sizes) > 2


def test_allowed_errors_of_an_ensemble():
    rng = np.random.default_rng(2)
    for _ in range(15):
        X, y = random_table(rng, 6)
        instance = Instance(X, y, None, 1)
        if instance.unavoidable > 1:
            continue
        # Leaving one row out by hand must find the same.
        rest = [Instance(np.delete(X, i, 0), np.delete(y, i)) for i in range(len(y)) if len(y) > 1]
        expected = min(ensemble_cuts(part, 3) for part in rest if not part.unavoidable)
        cuts, trees = smallest(WitnessSearch(instance, 3).ensemble, instance.least_cuts(3))
        assert cuts == expected
        assert errors(instance, trees) <= 1


def test_all_smallest_trees():
    def shapes(instance, examples, cuts):
        """All trees of exactly `cuts` cuts without errors, each as its set of nested splits, by plain enumeration."""
        if any(not examples & ~own for own in instance.of_class):
            return {examples} if cuts == 0 else set()
        return {
            frozenset((first, second))
            for cut in instance.cuts if examples & cut.left and examples & ~cut.left
            for few in range(cuts)
            for first in shapes(instance, examples & cut.left, few)
            for second in shapes(instance, examples & ~cut.left, cuts - 1 - few)
        }  # fmt: skip

    rng, counts = np.random.default_rng(3), set()
    for _ in range(60):
        X, y = random_table(rng, 9)
        instance = Instance(X, y)
        if instance.unavoidable or len(np.unique(y)) < 2 or subset_cuts(instance) > 4:
            continue
        trees = list(BudgetedTrees(instance).smallest())
        assert len(trees) == len(shapes(instance, instance.everything, subset_cuts(instance)))
        assert all(errors(instance, [tree]) == 0 for tree in trees)
        assert {count_cuts(tree) for tree in trees} == {subset_cuts(instance)}
        counts.add(len(trees))
    assert max(counts) > 5
    assert len(minimum_trees([[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0], limit=1)) == 1
    with pytest.raises(DataError, match="another label"):
        minimum_trees([[0], [0], [1]], [0, 1, 1])


@pytest.mark.parametrize(("bits_", "tree"), [(1, 1), (3, 5), (5, 19)])
def test_majorities_separate_trees_from_ensembles(bits_, tree):
    gap = majority_gap(bits_)
    assert (gap.ensemble_cuts, gap.tree_cuts) == (bits_, tree)
    single, several = minimum_cuts(gap.X, gap.y), minimum_cuts(gap.X, gap.y, bits_)
    assert (single.status, single.value, several.status, several.value) == ("optimal", tree, "optimal", bits_)
    assert subset_cuts(Instance(gap.X, gap.y), most_examples=32) == tree
    assert np.array_equal(several.solution.predict(gap.X), gap.y)


def test_parity():
    for width, expected in ((2, 3), (3, 7)):
        X = np.array(list(itertools.product((0, 1), repeat=width)))
        for method in ("recursion", "witness"):
            assert minimum_cuts(X, X.sum(axis=1) % 2, method=method).value == expected


def test_iris_takes_six_cuts():
    X, y = load_iris(return_X_y=True)
    for method in ("recursion", "witness"):
        result = minimum_cuts(X[50:], y[50:], method=method, time_limit=None)
        assert (result.status, result.value, result.lower_bound) == ("optimal", 6, 6)
        assert [bound for bound, _, _ in result.certificate.bounds] == [3, 4, 5, 6]
        assert (result.solution.predict(X[50:]) == y[50:]).all()


def test_cut_complexity():
    X, y = load_iris(return_X_y=True)
    found = cut_complexity(X[50:], y[50:])
    differ = [(a != b).sum() for a, b in itertools.product(X[50:100], X[100:])]
    assert found.delta == max(differ)
    assert found.values == max(len(np.unique(column)) for column in X[50:].T)
    assert 1 <= found.lower_bound <= 6
    assert found.bound(2) == (8 * found.delta * found.values) ** 2


def test_order_and_repetition_of_rows_mean_nothing():
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 6, (25, 3)).astype(float), rng.integers(0, 2, 25)
    shuffled = rng.permutation(np.repeat(np.arange(25), 3))
    for trees, allowed in ((1, 4), (3, 8)):
        one = minimum_cuts(X, y, trees, max_errors=allowed, node_limit=300)
        other = minimum_cuts(X[shuffled], y[shuffled], trees, max_errors=3 * allowed, node_limit=300)
        assert one.solution.equals(other.solution)
        assert (one.status, one.lower_bound) == (other.status, other.lower_bound)
        weighed = minimum_cuts(
            X, y, trees, max_errors=allowed / 10, sample_weight=np.full(25, 0.1), node_limit=300
        )
        assert weighed.solution is not None


def test_limits_of_size_and_nodes_never_claim_more():
    X, y = load_iris(return_X_y=True)
    X, y = X[50:], y[50:]
    none = minimum_cuts(X, y, max_cuts=5)
    assert (none.status, none.solution, none.lower_bound) == ("infeasible", None, 6)
    assert minimum_cuts(X, y, max_cuts=6).status == "optimal"
    unknown = minimum_cuts(X, y, max_cuts=5, node_limit=100)
    assert (unknown.status, unknown.solution, unknown.lower_bound) == ("unknown", None, 4)
    stopped = minimum_cuts(X, y, node_limit=100)
    assert (stopped.status, stopped.value, stopped.lower_bound) == ("feasible", 7, 4)
    for method in ("recursion", "witness"):
        timed = minimum_cuts(X, y, time_limit=1e-9, method=method)
        assert (timed.status, timed.certificate.stopped_by) == ("feasible", "time_limit")
        assert timed.lower_bound <= 6 < timed.value
        assert (timed.solution.predict(X) == y).all()


def test_equal_rows_of_unequal_labels():
    X, y = [[0.0], [0.0], [0.0], [1.0]], ["a", "a", "b", "b"]
    assert minimum_cuts(X, y).status == "infeasible"
    result = minimum_cuts(X, y, max_errors=1)
    assert (result.status, result.value) == ("optimal", 1)
    assert result.solution.predict(np.array(X)).tolist() == ["a", "a", "a", "b"]


def test_thresholds_lie_between_neighbours():
    tight = np.nextafter(1.0, 2.0)
    values = np.array([-1e308, -0.0, 5e-324, 1.0, tight, 1.7e308])
    found = thresholds(values)
    assert ((values[:-1] <= found) & (found < values[1:])).all()
    X = np.array([[1.0], [tight], [np.nextafter(tight, 2.0)]])
    result = minimum_cuts(X, [0, 1, 0])
    assert result.value == 2
    assert result.solution.predict(X).tolist() == [0, 1, 0]
    assert minimum_cuts([[0.0], [-0.0], [1.0]], [0, 0, 1]).value == 1


def test_sets():
    assert list(members(bits(np.array([False, True, False, True])))) == [1, 3]
    assert list(members(0)) == []


def test_cuts_that_say_the_same_are_merged():
    column = np.array([0.0, 1.0, 2.0, 3.0])
    X = np.column_stack([column, -column, column > 1, np.zeros(4)])
    instance = Instance(X, np.array([0, 1, 0, 1]))
    assert [chain.feature for chain in instance.chains] == [0]
    assert len(instance.cuts) == 3


@pytest.mark.parametrize(
    ("X", "y", "said"),
    [
        ([[np.nan], [1.0]], [0, 1], "column 'x0' holds nan in row 0"),
        ([[1.0], [np.inf]], [0, 1], "column 'x0' holds inf in row 1"),
        ([["a"], ["b"]], [0, 1], "no table of numbers"),
        ([[1.0], [2.0]], [0], "shape"),
        ([[1.0], [2.0]], [1, 1], "2 classes"),
        (np.arange(80_000.0).reshape(40_000, 2), np.arange(40_000) % 2, "too many"),
    ],
)
def test_bad_tables(X, y, said):
    with pytest.raises(DataError, match=said):
        minimum_cuts(X, y)


@pytest.mark.parametrize(
    "bad",
    [{"n_estimators": 2}, {"n_estimators": 1.0}, {"max_cuts": -1}, {"max_errors": -1}, {"max_errors": np.nan}, {"method": "luck"},
     {"time_limit": 0}, {"node_limit": 0}, {"n_estimators": 3, "method": "recursion"}],
)  # fmt: skip
def test_bad_parameters(bad):
    with pytest.raises(ParameterError, match="got"):
        minimum_cuts([[0.0], [1.0]], [0, 1], **bad)
    with pytest.raises(ParameterError, match="got"):
        majority_gap(4)


def test_oracles_refuse_what_they_cannot_answer():
    large = Instance(np.arange(21.0)[:, None], np.arange(21) % 2)
    for oracle in (subset_cuts, lambda instance: ensemble_cuts(instance, 3)):
        with pytest.raises(UnsupportedError, match="minimum_cuts"):
            oracle(large)
