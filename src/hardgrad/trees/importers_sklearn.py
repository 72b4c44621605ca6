"""Reading fitted scikit-learn estimators, as Python objects, exactly. Never imports torch; scikit-learn is imported by whoever has one.

- Trees and forests cast every number to float32 and go left iff it is <= a double; here a threshold is the largest double that decides
  alike. A forest of classifiers is the mean of its trees' class fractions, summed in tree order as with `n_jobs=1`.
- Gradient boosting casts to float32 too; its raw score starts at the initial estimator's constant.
- Histogram gradient boosting works in double, so thresholds stay. A category that it does not know is missing to it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import ExportError, ParameterError
from hardgrad.tabular.float_rounding import largest_double_not_above
from hardgrad.tabular.table_model import Label
from hardgrad.trees.importers_common import (
    Choice,
    Floats,
    Output,
    PeerColumns,
    PeerTree,
    category_labels,
    choose_names,
)

SINGLE = ("DecisionTreeClassifier", "DecisionTreeRegressor", "ExtraTreeClassifier", "ExtraTreeRegressor")
AVERAGED = ("RandomForestClassifier", "RandomForestRegressor", "ExtraTreesClassifier", "ExtraTreesRegressor")
BOOSTED = ("GradientBoostingClassifier", "GradientBoostingRegressor")
HISTOGRAM = ("HistGradientBoostingClassifier", "HistGradientBoostingRegressor")
Parts = tuple[list[PeerTree], PeerColumns, Output]


def read_sklearn(
    estimator: Any, *, columns: list[str] | None, described: PeerColumns | None, raw: bool
) -> Parts:
    """Turn a fitted estimator into trees, columns and output (see `hardgrad.trees.importers.import_forest`)."""
    kinds = [cls.__name__ for cls in type(estimator).__mro__]
    readers = {**dict.fromkeys((*SINGLE, *AVERAGED), _averaged), **dict.fromkeys(BOOSTED, _boosted)}
    readers |= dict.fromkeys(HISTOGRAM, _histogram)
    read = next((readers[kind] for kind in kinds if kind in readers), None)
    if read is None:
        known = ", ".join((*SINGLE, *AVERAGED, *BOOSTED, *HISTOGRAM))
        raise ExportError(
            f"cannot import a {kinds[0]}; scikit-learn's {known} can be imported. Pass the final estimator."
        )
    if getattr(estimator, "n_features_in_", None) is None or not _is_fitted(estimator):
        raise ParameterError(f"this {kinds[0]} is not fitted. Call fit() first.")
    count = int(estimator.n_features_in_)
    own = [str(name) for name in getattr(estimator, "feature_names_in_", [f"x{i}" for i in range(count)])]
    names = choose_names(own, columns, described)
    peer_columns = PeerColumns(names, booleans=described.booleans if described else frozenset())
    trees, output = read(estimator, peer_columns)
    if raw:
        output = Output(output.base, aggregation=output.aggregation)
    return trees, peer_columns, output


def _is_fitted(estimator: Any) -> bool:
    return any(hasattr(estimator, name) for name in ("tree_", "estimators_", "_predictors"))


def _labels(estimator: Any) -> tuple[Label, ...]:
    return tuple(label.item() if isinstance(label, np.generic) else label for label in estimator.classes_)


# --- single trees and averaged forests -----------------------------------------------------------------------------------------------
def _averaged(estimator: Any, _: PeerColumns) -> tuple[list[PeerTree], Output]:
    members = [estimator] if hasattr(estimator, "tree_") else list(estimator.estimators_)
    classifies = hasattr(estimator, "classes_")
    if classifies and int(estimator.n_outputs_) > 1:
        raise ExportError(
            f"this {type(estimator).__name__} predicts {estimator.n_outputs_} class labels at once; a Forest has one. "
            "Train one model a target."
        )
    trees = []
    for member in members:
        value = member.tree_.value
        trees.append(_tree(member.tree_, value[:, 0, :] if classifies else value[:, :, 0]))
    outputs = trees[0].value.shape[1]
    if not classifies:
        return trees, Output(np.zeros(outputs), aggregation="mean")
    labels = _labels(estimator)
    if len(labels) < 2:
        raise ExportError(
            f"this {type(estimator).__name__} has seen one class only, {labels}; there is nothing to predict."
        )
    return trees, Output(np.zeros(outputs), "identity", "mean", "classification", labels)


def _tree(tree: Any, value: Floats) -> PeerTree:
    leaf = tree.children_left == -1
    missing = tree.__getstate__()["nodes"]["missing_go_to_left"]
    return PeerTree(
        feature=np.where(leaf, -1, tree.feature).astype(np.int64),
        threshold=largest_double_not_above(np.where(leaf, 0.0, tree.threshold)),
        left=tree.children_left.astype(np.int64),
        right=tree.children_right.astype(np.int64),
        default_left=missing.astype(bool),
        value=np.where(leaf[:, None], value, 0.0),
    )


# --- gradient boosting ------------------------------------------------------------------------------------------------------------
def _boosted(estimator: Any, columns: PeerColumns) -> tuple[list[PeerTree], Output]:
    rounds = estimator.estimators_
    outputs = rounds.shape[1]
    trees = []
    for members in rounds:
        for k, member in enumerate(members):
            value = np.zeros((member.tree_.node_count, outputs))
            value[:, k] = estimator.learning_rate * member.tree_.value[:, 0, 0]
            trees.append(_tree(member.tree_, value))
    base = _initial_score(estimator, len(columns.names), outputs)
    if not hasattr(estimator, "classes_"):
        return trees, Output(base)
    if getattr(estimator, "loss", "") == "exponential":  # p = expit(2 * raw), and doubling is exact
        base = 2.0 * base
        for tree in trees:
            tree.value *= 2.0
    link = "sigmoid" if outputs == 1 else "softmax"
    return trees, Output(base, link, "sum", "classification", _labels(estimator))  # type: ignore[arg-type]


def _initial_score(estimator: Any, features: int, outputs: int) -> Floats:
    start = estimator.init_
    if isinstance(start, str) and start == "zero":
        return np.zeros(outputs)
    name = type(start).__name__
    if name not in ("DummyClassifier", "DummyRegressor") or start.strategy in ("stratified", "uniform"):
        raise ExportError(
            f"this {type(estimator).__name__} starts from a {name}, which is not a constant. Train it with init=None or "
            "init='zero'."
        )
    row = estimator._raw_predict_init(np.zeros((1, features), dtype=np.float32))
    return np.asarray(row, dtype=np.float64).reshape(-1)


# --- histogram gradient boosting ----------------------------------------------------------------------------------------------------
def _histogram(estimator: Any, columns: PeerColumns) -> tuple[list[PeerTree], Output]:
    loss = getattr(estimator, "loss", None)
    if not hasattr(estimator, "classes_") and loss in ("poisson", "gamma"):
        raise ExportError(
            f"this {type(estimator).__name__} has loss={loss!r}: it predicts exp(raw score), a function that a Forest does not "
            "have. Train it with loss='squared_error' on the logarithm."
        )
    original, categories = _encoded_columns(estimator, columns)
    outputs = int(estimator.n_trees_per_iteration_)
    trees = []
    for predictors in estimator._predictors:
        for k, predictor in enumerate(predictors):
            trees.append(_histogram_tree(predictor, original, categories, k, outputs))
    base = np.asarray(estimator._baseline_prediction, dtype=np.float64).reshape(-1)
    if not hasattr(estimator, "classes_"):
        return trees, Output(base)
    link = "sigmoid" if outputs == 1 else "softmax"
    return trees, Output(base, link, "sum", "classification", _labels(estimator))  # type: ignore[arg-type]


def _encoded_columns(estimator: Any, columns: PeerColumns) -> tuple[NDArray[np.int64], list[NDArray[Any]]]:
    """Return the raw column of each encoded one (categorical ones come first) and the categories of those; note them in `columns`."""
    count = len(columns.names)
    categorical = getattr(estimator, "is_categorical_", None)
    if categorical is None or not np.any(categorical):
        return np.arange(count), []
    original = np.concatenate([np.flatnonzero(categorical), np.flatnonzero(~categorical)]).astype(np.int64)
    encoder = estimator._preprocessor.named_transformers_["encoder"]
    kept = []
    for column, values in zip(np.flatnonzero(categorical).tolist(), encoder.categories_, strict=True):
        known = [v for v in values.tolist() if v is not None and v == v]
        columns.categories[column] = category_labels(columns.names[column], known)
        kept.append(np.array([v is not None and v == v for v in values.tolist()], dtype=bool))
    columns.booleans -= frozenset(columns.categories)
    return original, kept


def _histogram_tree(
    predictor: Any, original: NDArray[np.int64], categories: list[NDArray[Any]], output: int, outputs: int
) -> PeerTree:
    nodes = predictor.nodes
    leaf = nodes["is_leaf"].astype(bool)
    value = np.zeros((len(nodes), outputs))
    value[leaf, output] = nodes["value"][leaf]
    tree = PeerTree(
        feature=np.where(leaf, -1, original[np.where(leaf, 0, nodes["feature_idx"])]).astype(np.int64),
        threshold=np.where(leaf, 0.0, nodes["num_threshold"]),
        left=np.where(leaf, -1, nodes["left"].astype(np.int64)),
        right=np.where(leaf, -1, nodes["right"].astype(np.int64)),
        default_left=nodes["missing_go_to_left"].astype(bool),
        value=value,
    )
    for node in np.flatnonzero(~leaf).tolist():
        encoded = int(nodes["feature_idx"][node])
        if encoded >= len(categories):
            continue
        missing_left = bool(nodes["missing_go_to_left"][node])
        codes = np.flatnonzero(categories[encoded])
        if nodes["is_categorical"][node]:
            words = predictor.raw_left_cat_bitsets[int(nodes["bitset_idx"][node])]
            left = [bool(int(words[code // 32]) >> (code % 32) & 1) for code in codes.tolist()]
        else:  # never written by scikit-learn, but it would mean this
            left = (codes <= nodes["num_threshold"][node]).tolist()
        tree.rules[node] = Choice(tuple(left), missing_left, missing_left)
    return tree
