"""All paths of a tree: the soft view, the neighbourhood that a full tree is, and the single path that decay 0 leaves."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from hardgrad.core.errors import DataError, HardgradError, ParameterError
from hardgrad.trees import (
    ID3Tree,
    MultiPathTreePredictor,
    NearestNeighbourhoodClassifier,
    SoftForest,
    hybrid_switch,
    import_forest,
    tune_decay,
)
from hardgrad.trees.matching_codes import settle


def categories(seed=0, n=200, F=5, K=4, missing=0.0, classes=3):
    """Columns of letters, and labels that depend on the first two."""
    rng = np.random.default_rng(seed)
    level = rng.integers(0, K, (n, F))
    y = (level[:, 0] + (level[:, 1] > 1) + (rng.random(n) < 0.2)) % classes
    letters = np.array(list("abcdefgh"), dtype=object)[level]
    letters[rng.random((n, F)) < missing] = None
    return pa.table({f"c{j}": pa.array(letters[:, j].tolist(), pa.string()) for j in range(F)}), y


def numbers(seed=0, n=300):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 4))
    return X, (X[:, 0] + X[:, 1] * X[:, 2] + 0.3 * rng.normal(size=n) > 0).astype(int)


def fit(tree, X, y, **options):
    return MultiPathTreePredictor(tree, **options).fit(X, y)


# --- ID3
def test_id3_splits_by_information_gain():
    """Quinlan's tree of play and weather: outlook first, humidity below sunny, wind below rain; overcast is pure."""
    rows = (
        "sunny hot high weak no, sunny hot high strong no, overcast hot high weak yes, rain mild high weak yes, "
        "rain cool normal weak yes, rain cool normal strong no, overcast cool normal strong yes, sunny mild high weak no, "
        "sunny cool normal weak yes, rain mild normal weak yes, sunny mild normal strong yes, overcast mild high strong yes, "
        "overcast hot normal weak yes, rain mild high strong no"
    )
    cells = [row.split() for row in rows.split(",")]
    names = ["outlook", "temperature", "humidity", "wind"]
    X = pa.table({name: [row[j] for row in cells] for j, name in enumerate(names)})
    y = [row[4] for row in cells]
    tree = ID3Tree().fit(X, y)
    found = tree.harden()
    assert names[found.feature[0]] == "outlook" and found.n_leaves == 5
    below = {names[f] for f in found.feature[1:] if f >= 0}
    assert below == {"humidity", "wind"}
    assert tree.predict(X).tolist() == y


def test_a_full_tree_tests_everything():
    X, y = categories(n=60)
    tree = ID3Tree(full=True).fit(X, y).harden()
    assert (tree.height[0] == 5) and set(tree.used_features().tolist()) == set(range(5))
    paths = {tuple(row) for row in zip(*(column.to_pylist() for column in X.columns), strict=True)}
    assert tree.n_leaves == len(paths)


# --- the neighbourhood that a full tree is
@pytest.mark.parametrize("combine", ["best", "matches"])
@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("seed", range(3))
def test_all_paths_of_a_full_tree_are_the_neighbourhood(seed, missing, combine):
    X, y = categories(seed, missing=0.0)
    query, _ = categories(seed + 10, K=6, missing=missing)
    paths = fit(ID3Tree(full=True), X, y, combine=combine)
    near = NearestNeighbourhoodClassifier().fit(X, y)
    assert np.array_equal(paths.predict(query), near.predict(query))
    assert np.allclose(paths.predict_proba(query), near.predict_proba(query), atol=1e-12)


def test_best_is_the_neighbourhood_where_training_lacks_values_too():
    X, y = categories(1, missing=0.2)
    query, _ = categories(2, missing=0.2)
    near = NearestNeighbourhoodClassifier().fit(X, y)
    assert np.array_equal(
        fit(ID3Tree(full=True), X, y, combine="matches").predict(query), near.predict(query)
    )


# --- one path
@pytest.mark.parametrize("combine", ["weighted", "best"])
def test_without_decay_it_is_the_tree(combine):
    X, y = categories()
    tree = ID3Tree().fit(X, y)
    single = tree.predict_proba(X)
    assert np.allclose(fit(tree, X, y, combine=combine).predict_proba(X), single, atol=1e-8)


@pytest.mark.parametrize("combine", ["weighted", "best"])
def test_without_decay_it_is_the_tree_of_scikit_learn(combine):
    X, y = numbers()
    new = numbers(1)[0]
    tree = DecisionTreeClassifier(max_leaf_nodes=12, random_state=0).fit(X, y)
    for given in (tree, import_forest(tree)):
        found = fit(given, X, y, combine=combine).predict_proba(new)
        assert np.allclose(found, tree.predict_proba(new), atol=1e-8)


def test_a_tree_learned_along_knows_the_names_of_the_columns():
    pandas = pytest.importorskip("pandas")
    X, y = numbers()
    frame = pandas.DataFrame(X, columns=list("abcd"))
    for tree in (None, DecisionTreeClassifier(max_depth=2)):
        model = MultiPathTreePredictor(tree).fit(frame, y)
        assert model.harden().schema.names == ("a", "b", "c", "d")
        assert np.array_equal(model.harden().predict(frame[list("dcba")]), model.predict(frame))


@pytest.mark.parametrize("temperature", [0.2, 0.5, 2.0])
def test_weighted_paths_are_a_soft_tree_of_signs(temperature):
    X, y = numbers()
    tree = DecisionTreeClassifier(max_leaf_nodes=9, random_state=0).fit(X, y)
    forest = import_forest(tree)
    assert forest.depth() > 3  # of unequal depth: nine leaves would fit eight
    soft = SoftForest.from_hard(forest, X, temperature=temperature, margin="sign")
    found = fit(tree, X, y, decay=np.exp(-1 / temperature)).predict_proba(numbers(1)[0])
    assert np.abs(soft.predict_raw(numbers(1)[0]) - found).max() < 1e-10
    assert np.array_equal(soft.predict_raw(X, mode="hard"), forest.predict_raw(X))


# --- weights
def by_hand(tree, row, decay, node=0, weight=1.0):
    """Class shares of one row of codes by recursion; -1 is missing."""
    children = range(tree.child_offset[node], tree.child_offset[node + 1])
    if tree.feature[node] < 0:
        return weight * tree.counts[node] / tree.counts[node].sum()
    b, value = len(children), row[tree.feature[node]]
    known = value in [tree.branch[i] for i in children]
    total = np.zeros(tree.n_outputs)
    for i in children:
        child = tree.child[i]
        if value == -1:
            factor = tree.counts[child].sum() / tree.counts[node].sum()
        elif not known:
            factor = 1 / b
        else:
            factor = (1 if tree.branch[i] == value else decay) / (1 + (b - 1) * decay)
        total = total + by_hand(tree, row, decay, child, weight * factor)
    return total


@pytest.mark.parametrize("decay", [0.0, 0.05, 1.0])
def test_weights_are_those_of_a_recursion(decay):
    X, y = categories()
    query, _ = categories(7, K=6, missing=0.3)
    model = fit(ID3Tree(), X, y, decay=decay)
    codes = model.tree_._values(model.tree_.encode(query))
    expected = np.array([by_hand(model.tree_, row, decay) for row in codes])
    found = model.predict_proba(query)
    assert np.allclose(found, expected, atol=1e-12) and np.allclose(found.sum(axis=1), 1)


def test_a_row_without_any_value_gets_the_class_shares_of_training():
    X, y = categories()
    empty = pa.table({name: pa.array([None], pa.string()) for name in X.column_names})
    prior = np.bincount(y) / len(y)
    for options in ({"decay": 0.1}, {"combine": "best"}, {"combine": "matches"}):
        assert np.allclose(fit(ID3Tree(), X, y, **options).predict_proba(empty)[0], prior)
    assert np.allclose(NearestNeighbourhoodClassifier().fit(X, y).predict_proba(empty)[0], prior)


# --- fewer paths
@pytest.mark.parametrize("combine", ["best", "matches"])
def test_pruning_leaves_out_what_it_says(combine):
    X, y = categories(K=3)
    query, _ = categories(3, K=4, missing=0.1)
    whole = fit(ID3Tree(), X, y, combine=combine)
    wide = dataclasses.replace(whole.tree_, prune_margin=99)
    assert np.array_equal(wide.predict_raw(query), whole.predict_proba(query))
    narrow = dataclasses.replace(whole.tree_, prune_margin=0)
    # The best group is the same; only how ties are settled may differ.
    assert np.allclose(narrow.predict_raw(query), whole.predict_proba(query), atol=1e-8)


def test_paths_of_many_mismatches_may_be_left_out():
    X, y = categories()
    one = fit(ID3Tree(), X, y, decay=0.3, max_mismatches=0).predict_proba(X)
    assert np.allclose(one, ID3Tree().fit(X, y).predict_proba(X))
    two = fit(ID3Tree(), X, y, decay=0.3, max_mismatches=1).predict_proba(X)
    everything = fit(ID3Tree(), X, y, decay=0.3).predict_proba(X)
    assert np.allclose(two.sum(axis=1), 1) and not np.allclose(two, everything)
    assert np.abs(two - everything).max() < np.abs(one - everything).max()


# --- ties
def by_recursion(groups, depth):
    """The class of one row by the words of the algorithm."""
    labels, consulted = None, 0
    for group in groups:
        here = {c: w for c, w in enumerate(group) if w > 0 and (labels is None or c in labels)}
        if not here:
            continue
        labels = [c for c in here if here[c] == max(here.values())]
        consulted += 1
        if len(labels) == 1 or consulted == depth:
            break
    return labels[0]


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_ties_are_settled_group_by_group(depth):
    counts = np.random.default_rng(0).integers(0, 3, (500, 4, 3)).astype(float)
    counts = counts[counts.any(axis=(1, 2))]
    shares = settle(counts, depth)
    assert shares.argmax(axis=1).tolist() == [by_recursion(groups, depth) for groups in counts]
    assert np.allclose(shares.sum(axis=1), 1)
    first = np.array([next(group for group in groups if group.any()) for groups in counts])
    assert np.allclose(shares, first / first.sum(axis=1, keepdims=True), atol=1e-8)


# --- tools
def test_decay_is_tuned_on_other_rows():
    X, y = categories()
    model = fit(ID3Tree(), X, y)
    other, labels = categories(5)
    choice = tune_decay(model, other, labels)
    k = choice.decays.index(choice.decay)
    assert choice.log_loss[k] == min(choice.log_loss) < choice.log_loss[0]
    again = fit(ID3Tree(), X, y, decay=choice.decay)
    assert choice.accuracy[k] == again.score(other, labels)
    assert tune_decay(model, other, labels, metric="accuracy").metric == "accuracy"
    with pytest.raises(ParameterError, match="metric got"):
        tune_decay(model, other, labels, metric="luck")
    with pytest.raises(ParameterError, match="decays got"):
        tune_decay(model, other, labels, decays=(2.0,))
    with pytest.raises(DataError, match="labels that the model has not learned"):
        tune_decay(model, other, labels + 7)


def test_decay_is_drawn():
    pytest.importorskip("matplotlib").use("Agg")
    X, y = categories()
    ax = tune_decay(fit(ID3Tree(), X, y), X, y).plot()
    assert ax.get_xlabel() == "decay" and len(ax.lines) == 3


@pytest.mark.parametrize("given", ["id3", "scikit-learn"])
def test_a_hybrid_goes_from_the_tree_to_the_neighbourhood(given):
    X, y = categories() if given == "id3" else numbers()
    new = categories(4, missing=0.1)[0] if given == "id3" else numbers(4)[0]
    tree = ID3Tree() if given == "id3" else DecisionTreeClassifier(max_leaf_nodes=12, random_state=0)
    tree.fit(X, y)
    none, everything = hybrid_switch(tree, X, y, 0), hybrid_switch(tree, X, y, len(y))
    assert np.array_equal(none.predict(new), tree.predict(new))
    near = NearestNeighbourhoodClassifier().fit(X, y)
    assert np.array_equal(everything.predict(new), near.predict(new))
    some = hybrid_switch(tree, X, y, 40)
    assert some.tree.n_leaves <= none.tree.n_leaves
    leaf = some.tree.apply(some.encode(new))
    for region in np.unique(leaf):  # in each region the rows of that region are asked
        inside = some.tree.apply(some.encode(X)) == region
        if some.tree.n_rows[region] <= 40 and len(set(y[inside])) > 1:
            rows = [i for i in range(len(y)) if inside[i]]
            table = X.take(rows) if given == "id3" else X[rows]
            query = np.flatnonzero(leaf == region)
            scores = some.neighbourhood.match_scores(
                some.encode(new.take(query) if given == "id3" else new[query])
            )[:, rows]
            best = scores.max(axis=1, keepdims=True) == scores
            shares = np.array(
                [np.bincount(y[rows][row], minlength=len(some.classes)) / row.sum() for row in best]
            )
            assert np.allclose(some.predict_raw(new)[query], shares, atol=1e-8) and len(table)


@pytest.mark.parametrize(
    "options",
    [
        {"combine": "worst"}, {"decay": -0.1}, {"decay": 1.5}, {"decay": 0.1, "combine": "best"}, {"max_mismatches": -1},
        {"prune_margin": -1},
        {"prune_margin": 1}, {"tree": 7},
    ],
)  # fmt: skip
def test_bad_parameters_say_what_was_got(options):
    X, y = categories()
    with pytest.raises(ParameterError, match="got"):
        MultiPathTreePredictor(**options).fit(X, y)
    with pytest.raises(ParameterError, match="got -1"):
        hybrid_switch(ID3Tree(), X, y, -1)


def test_what_is_no_tree_of_classes_is_refused():
    from sklearn.ensemble import RandomForestClassifier

    X, y = numbers()
    with pytest.raises(ParameterError, match="3 trees"):
        fit(RandomForestClassifier(3, random_state=0).fit(X, y), X, y)
    with pytest.raises(HardgradError):
        fit(DecisionTreeRegressor().fit(X, y), X, y)
