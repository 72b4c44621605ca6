"""What `small_tables.py` measures, one function a part: a table, a seed and a size in; one dictionary of plain numbers out."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import _boosters as boosters
from _tables import Split, split
from hardgrad.core.errors import BudgetError
from hardgrad.trees import Forest, SoftForestClassifier, SoftForestRegressor, compress, import_forest
from hardgrad.trees.candidates import make_folds
from hardgrad.trees.packed import size_in_bytes

Row = dict[str, Any]
DEPTH = 4
# Asked of a budget on held-out rows. The goal there is itself the least of seven rates, which is margin enough.
HEADROOM = 1.0
# The target's own forest, imported, is what is left where no small one is that good; the promise allows it this much.
IMPORTED_WITHIN = 1.03
LADDER = tuple(round(64 * 2 ** (k / 3)) for k in range(14))  # 64 to 1,290 bytes
TARGET = boosters.Size(10, 16, -1)
TARGET_BYTES = 1440


class Clock:
    """Wall and processor seconds of a block."""

    def __enter__(self) -> Clock:
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall, self.cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu


def _classifier(seed: int, jobs: int, **settings: Any) -> SoftForestClassifier:
    return SoftForestClassifier(max_depth=DEPTH, random_state=seed, n_jobs=jobs, **settings)


def _folds(data: Split, model: Any) -> boosters.Folds:
    """The folds on which our candidates were judged."""
    Y = data.y[:, None].astype(np.float64) if data.n_classes < 3 else np.eye(data.n_classes)[data.y]
    return make_folds(Y, data.n_classes > 0, model.validation_fraction, model._seed)


def _size(forest: Forest) -> Row:
    nodes = forest.n_nodes - forest.n_leaves
    # An axis node has no terms of its own in the table, but one feature.
    features = (len(forest.term_feature) + int((forest.feature >= 0).sum())) / max(1, nodes)
    return {
        "nodes": nodes, "leaves": forest.n_leaves, "bytes": size_in_bytes(forest), "features": features,
    }  # fmt: skip


def _ours(data: Split, model: Any, clock: Clock) -> Row:
    forest = model.harden()
    regression = not data.n_classes
    output = forest.predict(data.X_test) if regression else forest.predict_proba(data.X_test)
    row = {"loss": boosters.loss(output, data.y_test, data.n_classes), **_size(forest)}
    row |= {"wall": clock.wall, "cpu": clock.cpu}
    if not regression:
        row["accuracy"] = boosters.accuracy(output, data.y_test)
    chosen = next(c for c in model.candidates_ if c["chosen"])
    row |= {"chosen": chosen["name"], "l1": chosen["l1"]}
    if model.gap_ is not None:
        detail = model.gap_.detail
        row |= {
            "gap_soft": model.gap_.soft,
            "gap_hard": model.gap_.hard,
            "gap_kept_start": detail.get("kept_start"),
        }
        if "soft_accuracy" in detail:
            row["gap_points"] = 100 * (detail["soft_accuracy"] - detail["hard_accuracy"])
    return row


def _theirs(data: Split, model: boosters.Boosted) -> Row:
    output = model.predict(data.X_test)
    row = {"loss": boosters.loss(output, data.y_test, data.n_classes), "rate": model.rate}
    if data.n_classes:
        row["accuracy"] = boosters.accuracy(output, data.y_test)
    return row | _size(import_forest(model.booster))


def _table(data: Split, seed: int) -> Row:
    return {"table": data.name, "seed": seed, "rows": data.rows, "features": data.X.shape[1]}


def _prior_loss(data: Split) -> float:
    share = np.bincount(data.y, minlength=data.n_classes) / len(data.y)
    return boosters.loss(np.tile(share, (len(data.y_test), 1)), data.y_test, data.n_classes)


# --- parts -------------------------------------------------------------------------------------------------------------------------------
def binary(table: str, seed: int, trees: int, jobs: int) -> Row:
    """Equal budget, two classes: as many trees of depth 4 as LightGBM has."""
    data = split(table, seed)
    with Clock() as clock:
        model = _classifier(seed, jobs, n_estimators=trees).fit(data.X, data.y)
    size = boosters.Size(trees)
    a = boosters.baseline_a(data.X, data.y, 2, size, seed)
    b = boosters.baseline_b(data.X, data.y, 2, size, seed, _folds(data, model))
    return {
        **_table(data, seed), "trees": trees, "prior_loss": _prior_loss(data), "ours": _ours(data, model, clock),
        "A": _theirs(data, a), "B": _theirs(data, b),
    }  # fmt: skip


def regression(table: str, seed: int, trees: int, jobs: int) -> Row:
    """Equal budget, one value."""
    data = split(table, seed)
    with Clock() as clock:
        model = SoftForestRegressor(trees, DEPTH, random_state=seed, n_jobs=jobs).fit(data.X, data.y)
    size = boosters.Size(trees)
    a = boosters.baseline_a(data.X, data.y, 0, size, seed)
    b = boosters.baseline_b(data.X, data.y, 0, size, seed, _folds(data, model))
    return {
        **_table(data, seed), "trees": trees, "ours": _ours(data, model, clock), "A": _theirs(data, a), "B": _theirs(data, b),
    }  # fmt: skip


def multiclass(table: str, seed: int, trees: int, jobs: int) -> Row:
    """Several classes. `trees` 0: our K vector trees against one round of K trees; 3: our 3 vector trees against 3 rounds."""
    data = split(table, seed)
    ours, rounds = (trees, trees) if trees else (data.n_classes, 1)
    with Clock() as clock:
        model = _classifier(seed, jobs, n_estimators=ours).fit(data.X, data.y)
    b = boosters.baseline_b(data.X, data.y, data.n_classes, boosters.Size(rounds), seed, _folds(data, model))
    return {
        **_table(data, seed), "trees": trees, "classes": data.n_classes, "ours": _ours(data, model, clock), "B": _theirs(data, b),
    }  # fmt: skip


def unbounded(table: str, seed: int, trees: int, jobs: int) -> Row:
    """No budget, two classes: the sum of a greedy and a refined forest against three boosters with early stopping."""
    data = split(table, seed)
    with Clock() as clock:
        model = _classifier(seed, jobs, n_estimators=None).fit(data.X, data.y)
    row = {**_table(data, seed), "trees": trees, "ours": _ours(data, model, clock)}
    for name in boosters.PEERS:
        output = boosters.peer_outputs(name, data.X, data.y, data.X_test, seed)
        row[name] = {
            "loss": boosters.loss(output, data.y_test, 2), "accuracy": boosters.accuracy(output, data.y_test),
        }  # fmt: skip
    return row


def timing(table: str, seed: int, trees: int, jobs: int) -> Row:
    """Seconds to train on 1,000 rows of 20 features, after a fit that is not timed."""
    from sklearn.datasets import make_classification

    X, y = make_classification(1000, 20, n_informative=10, random_state=seed)
    _classifier(seed, jobs, n_estimators=trees).fit(X, y)
    with Clock() as clock:
        _classifier(seed, jobs, n_estimators=trees).fit(X, y)
    return {"table": table, "seed": seed, "trees": trees, "jobs": jobs, "wall": clock.wall, "cpu": clock.cpu}


# --- bytes -------------------------------------------------------------------------------------------------------------------------------
def packed(table: str, seed: int, trees: int, jobs: int) -> Row:
    """The smallest byte budget that reaches the log-loss of LightGBM with 10 trees of 16 leaves, chosen on a held-out fifth.

    Target and ours choose on the same held-out fifth of the training rows and are then trained on all training rows.
    """
    data = split(table, seed)
    inner, held = boosters.held_out_fifth(data.y, 2, seed)
    X, y = data.X[inner], data.y[inner]
    reference = boosters.baseline_a(data.X, data.y, 2, TARGET, seed)  # trained on `inner`
    target = boosters.train(data.X, data.y, 2, TARGET, reference.rate, seed)
    goal = boosters.loss(reference.predict(data.X[held]), data.y[held], 2)

    def held_loss(forest: Forest) -> float:
        return boosters.loss(forest.predict_proba(data.X[held]), data.y[held], 2)

    def own(limit: int) -> bool:
        forest = _classifier(seed, jobs, budget=f"{limit} bytes").fit(X, y).harden()
        return held_loss(forest) <= HEADROOM * goal

    def imported(limit: int) -> bool:
        return held_loss(_compressed(reference, X, y, limit)) <= IMPORTED_WITHIN * goal

    how, limit = "own", _least(own)
    if limit is None:
        how, limit = "imported", _least(imported)
    row = {**_table(data, seed), "trees": trees, "target": _theirs(data, target), "how": how, "budget": limit}
    if limit is None:
        return row | {"how": "not reached", "ours": row["target"] | {"bytes": TARGET_BYTES}}
    with Clock() as clock:
        if how == "own":
            model = _classifier(seed, jobs, budget=f"{limit} bytes").fit(data.X, data.y)
            forest = model.harden()
            chosen = next(c for c in model.candidates_ if c["chosen"])
            row["chosen"] = chosen["name"]
            if chosen["l1"] is None:
                row["unrounded_loss"] = _unrounded(data, chosen["name"], chosen["l2"])
        else:
            forest = _compressed(target, data.X, data.y, limit)
    output = forest.predict_proba(data.X_test)
    row["ours"] = {
        "loss": boosters.loss(output, data.y_test, 2), "accuracy": boosters.accuracy(output, data.y_test), **_size(forest),
        "wall": clock.wall, "cpu": clock.cpu,
    }  # fmt: skip
    return row


def _least(reached: Callable[[int], bool]) -> int | None:
    """The least rung of the ladder that reaches the goal, by bisection: more bytes are taken to be no worse."""
    low, high = 0, len(LADDER)
    while low < high:
        middle = (low + high) // 2
        try:
            good = reached(LADDER[middle])
        except BudgetError:
            good = False
        low, high = (low, middle) if good else (middle + 1, high)
    return LADDER[low] if low < len(LADDER) else None


def _compressed(model: boosters.Boosted, X: np.ndarray, y: np.ndarray, limit: int) -> Forest:
    import pyarrow as pa

    forest = import_forest(model.booster)
    columns = {name: X[:, j] for j, name in enumerate(forest.schema.names)}
    label = np.asarray(forest.classes)[y]
    table = pa.table({**columns, "the target": label})
    return compress(forest, table, budget=f"{limit} bytes", target="the target").forest


def _unrounded(data: Split, name: str, l2: float) -> float:
    """Test log-loss of a forest of the same shape and penalty with full thresholds and leaves: what rounding is measured against."""
    from hardgrad.trees.codes import FeatureCodes
    from hardgrad.trees.greedy import TrainingRows, boost
    from hardgrad.trees.grid import REFIT, Setting
    from hardgrad.trees.leaf_refit import refit_leaves
    from hardgrad.trees.objectives import Objective

    found = re.fullmatch(
        r"(\d+) trees: (\d+) leaves, rate ([\d.]+), new features at ([\d.]+), \d+ \+ \d+ bits(, narrow)?",
        name,
    )
    assert found is not None, name
    setting = Setting(int(found[2]), float(found[3]), float(found[4]))
    codes, objective = FeatureCodes.fit(data.X), Objective("logistic")
    Y, weight = data.y[:, None].astype(np.float64), np.ones(len(data.y))
    rows = TrainingRows(codes.encode(data.X), codes.encode_scores(data.X), Y, weight)
    forest = boost(rows, codes, objective, setting.plan(int(found[1])))
    index = forest.leaf_index(rows.scores)
    path = [penalty for penalty in REFIT if penalty >= l2]
    refitted = refit_leaves(index, Y, weight, objective, path, start=(forest.leaf, forest.bias))[-1]
    p = objective.probabilities(forest.with_leaves(*refitted).raw(codes.encode_scores(data.X_test)))
    return boosters.loss(np.hstack([1 - p, p]), data.y_test, 2)
