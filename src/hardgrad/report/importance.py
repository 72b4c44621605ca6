"""What the hard model leans on: permutation importance of raw columns, measured on the shipped forest. NumPy only.

Contributions of one prediction are `hardgrad.trees.explanation`; here a whole table is judged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import DataError
from hardgrad.tabular.table_model import TableModel

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Importance:
    """How much worse the hard forest gets when one raw column is shuffled.

    Parameters
    ----------
    name : the raw column.
    value : mean rise of the loss over the repeats (log-loss, or mean squared error as a share of the target's variance).
    low, high : least and greatest rise among the repeats.
    """

    name: str
    value: float
    low: float
    high: float


def permutation_importance(
    model: TableModel,
    table: Any,
    y: Any,
    *,
    sample_weight: Any = None,
    n_repeats: int = 5,
    max_rows: int = 20_000,
    random_state: int = 0,
) -> list[Importance]:
    """Return the columns that the forest uses with the rise of its loss when each is shuffled, the largest first.

    All features of a column move together, so a missing value stays a missing value. Columns that no node tests have importance exactly
    zero and are left out.

    Parameters
    ----------
    table : raw columns (see `TableSchema.encode`).
    y : labels or values [n], or [n, outputs].
    sample_weight : [n], equal by default.
    n_repeats : shuffles a column.
    max_rows : larger tables are sampled down to this many rows.
    random_state : seed of the shuffles.

    Raises
    ------
    DataError : `y` and the table differ in length, or a label is not a class of the forest.

    Examples
    --------
    >>> from hardgrad.trees.forest_build import forest_from_trees
    >>> forest = forest_from_trees([{"feature": 0, "threshold": 0.5, "left": {"value": 0.0}, "right": {"value": 1.0}}], ["a", "b"])
    >>> X = np.array([[0.0, 3.0], [1.0, 3.0]] * 20)
    >>> [found.name for found in permutation_importance(forest, X, X[:, 0])]
    ['a']
    """
    X = model.encode(table)
    target = encode_target(model, y)
    if len(target) != len(X):
        raise DataError(f"y has {len(target)} entries, the table {len(X)} rows.")
    weight = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    rng = np.random.default_rng(random_state)
    if len(X) > max_rows:
        keep = np.sort(rng.choice(len(X), size=max_rows, replace=False))
        X, target, weight = X[keep], target[keep], weight[keep]
    reference = loss(model, model.predict_raw_encoded(X), target, weight)
    features_of: dict[int, list[int]] = {}
    for f in model.used_features().tolist():
        features_of.setdefault(model.schema.features[f].column, []).append(f)
    found = []
    for column, features in sorted(features_of.items()):
        rises = []
        for _ in range(n_repeats):
            order = rng.permutation(len(X))
            shuffled = X.copy()
            shuffled[:, features] = X[np.ix_(order, np.asarray(features))]
            rises.append(loss(model, model.predict_raw_encoded(shuffled), target, weight) - reference)
        name = model.schema.columns[column].name
        found.append(Importance(name, float(np.mean(rises)), float(min(rises)), float(max(rises))))
    return sorted(found, key=lambda item: (-item.value, item.name))


def encode_target(model: TableModel, y: Any) -> NDArray[Any]:
    """Return class numbers int64 [n] (classification) or values float64 [n, outputs] (regression).

    Raises
    ------
    DataError : a label is not a class of the forest.
    """
    if model.task == "regression":
        values = np.asarray(y, dtype=np.float64)
        return values.reshape(len(values), -1)
    position = {label: k for k, label in enumerate(model.classes)}
    labels = np.asarray(y).tolist()
    unknown = [label for label in labels if label not in position]
    if unknown:
        raise DataError(f"y holds {unknown[0]!r}, which is not one of the classes {list(model.classes)}.")
    return np.array([position[label] for label in labels], dtype=np.int64)


def loss(model: TableModel, raw: Floats, target: NDArray[Any], weight: Floats) -> float:
    """Return the weighted log-loss, or the mean squared error as a share of the target's variance."""
    total = weight.sum()
    if model.task == "classification":
        p = np.clip(model.raw_to_proba(raw)[np.arange(len(raw)), target], 1e-15, 1.0)
        return float(-(weight * np.log(p)).sum() / total)
    error = ((raw - target) ** 2 * weight[:, None]).sum(axis=0) / total
    mean = (target * weight[:, None]).sum(axis=0) / total
    spread = ((target - mean) ** 2 * weight[:, None]).sum(axis=0) / total
    return float(np.mean(error / np.where(spread > 0, spread, 1.0)))
