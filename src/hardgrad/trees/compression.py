"""Compressing a forest that exists already, trained here or elsewhere, into a budget, and saying what that cost."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import BudgetError, DataError, SchemaError, suggestion
from hardgrad.trees.assemble import Frame, assemble, perfect_from_forest
from hardgrad.trees.budget import parse_budget, select_within
from hardgrad.trees.byte_search import Way, select_bytes
from hardgrad.trees.candidates import Problem, Recipe, make_folds
from hardgrad.trees.codes import FeatureCodes
from hardgrad.trees.forest import Forest
from hardgrad.trees.forest_sums import require_plain
from hardgrad.trees.greedy import TrainingRows
from hardgrad.trees.grid import Grid, GridForest
from hardgrad.trees.judge import Judge
from hardgrad.trees.metrics import Metric, find_metric
from hardgrad.trees.objectives import Objective
from hardgrad.trees.packed import size_in_bytes
from hardgrad.trees.perfect import PerfectForest

IMPORT_BITS = ((4, 4), (5, 4), (6, 4), (5, 5), (6, 6), (8, 6))
MAX_DEPTH = 10
MAX_PERFECT_NODES = 2_000_000


@dataclass(frozen=True)
class Compression:
    """What compressing a forest gave and cost.

    Parameters
    ----------
    forest : the compressed artifact.
    how : how it was made.
    metric : name of the metric; before, after : its value for both forests on rows that the compressed one was not fitted to.
    bytes_before, bytes_after : size of the smallest exact C data of each.
    agreement : share of those rows on which both predict the same class (for values: within a tenth of their spread).
    rows : number of those rows.
    """

    forest: Forest
    how: str
    metric: str
    before: float
    after: float
    bytes_before: int
    bytes_after: int
    agreement: float
    rows: int

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the forest in a form that `json` can write."""
        shown = asdict(replace(self, forest=None))  # type: ignore[arg-type]
        del shown["forest"]
        return {**shown, "ratio": self.bytes_before / self.bytes_after}

    def __str__(self) -> str:
        return (
            f"{self.bytes_before:,} -> {self.bytes_after:,} bytes ({self.bytes_before / self.bytes_after:.1f} times smaller)  "
            f"{self.metric} {self.before:.4f} -> {self.after:.4f}  agreement {100 * self.agreement:.1f} %  "
            f"on {self.rows:,} rows  ({self.how})"
        )


def compress(
    forest: Forest, table: Any, *, budget: str, target: str | None = None, metric: str | None = None, random_state: int = 0
) -> Compression:  # fmt: skip
    """Fit a forest into a budget: its own trees on few-bit grids with refitted leaves, or smaller ones grown anew.

    Parameters
    ----------
    forest : any exact forest, for instance from `import_forest`.
    table : rows of raw columns to refit and to judge on; with the target column if there is one.
    budget : "2kB", "64 leaves" or "5 trees".
    target : name of the target column. None: that of the forest if the table has it, else the forest's own predictions are the target.
    metric : what candidates are judged by, as for the estimators.
    random_state : seed of the split that judges.

    Raises
    ------
    BudgetError : nothing fits.
    UnsupportedError : the forest has linear nodes or affine leaves.
    DataError : fewer than 20 rows, or a target that does not match the forest.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.ensemble import GradientBoostingClassifier
    >>> from hardgrad.trees import import_forest
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> large = import_forest(GradientBoostingClassifier(n_estimators=20, random_state=0).fit(X, y))
    >>> compress(large, X, budget="300 bytes").bytes_after <= 300
    True
    """
    require_plain(
        forest, "compress()", "Its byte forms hold few-bit integers; export it as to_c(form='double')."
    )
    wanted = parse_budget(budget)
    objective, Y = _objective(forest), _targets(forest, table, target)
    X = forest.encode(table)
    if len(X) < 20:
        raise DataError(f"compress() needs at least 20 rows to judge what it does, got {len(X)}.")
    chosen = find_metric(metric, objective)
    frame, Y = _frame(forest, X, Y, objective)
    codes = frame.codes
    rows = TrainingRows(codes.encode(X), codes.encode_scores(X), Y, np.ones(len(X)))
    judge = Judge(chosen, objective, frame.scale, frame.shift)
    folds = make_folds(Y, forest.task == "classification", 0.2, random_state)
    problem = Problem(rows, X, codes, objective, judge, seed=random_state, folds=folds)
    if wanted.unit == "bytes":
        try:
            selection = select_bytes(problem, wanted.amount, frame, _own_trees(forest, problem, frame))
        except BudgetError as error:
            raise BudgetError(
                f"{error} The forest to compress takes {size_in_bytes(forest):,} bytes."
            ) from None
    else:
        selection = select_within(problem, Recipe(l1=()), wanted, frame)
    smaller = selection.artifact or assemble(selection.forest, frame)
    smaller = replace(smaller, target=forest.target)
    raw = selection.winner.held_raw
    assert raw is not None
    return _report(
        forest,
        smaller,
        selection.winner.name,
        frame.output(raw),
        X,
        frame.output(Y),
        selection.held_rows,
        chosen,
        objective,
    )


def _objective(forest: Forest) -> Objective:
    if forest.task == "regression":
        return Objective("squared")
    return Objective("logistic" if len(forest.classes) == 2 else "softmax")


def _targets(forest: Forest, table: Any, target: str | None) -> NDArray[np.float64]:
    """0/1 or one-hot rows or values from the target column, or the forest's own probabilities or values."""
    from hardgrad.tabular.schema import category_text, table_columns

    columns = {} if isinstance(table, np.ndarray) else table_columns(table)
    name = target or (forest.target if forest.target in columns else None)
    if name is None:
        if forest.task == "regression":
            return forest.predict_raw(table)
        proba = forest.predict_proba(table)
        return proba[:, 1:] if proba.shape[1] == 2 else proba
    if name not in columns:
        raise SchemaError(
            f"the table has no target column {name!r}; it has {list(columns)}.{suggestion(name, list(columns))}"
        )
    values = columns[name]
    if forest.task == "regression":
        numbers = np.asarray(values, dtype=np.float64)
        if not np.isfinite(numbers).all():
            raise DataError(f"target column {name!r} has missing or infinite values. Drop those rows.")
        return numbers[:, None]
    position = {category_text(label): k for k, label in enumerate(forest.classes)}
    if {type(label) for label in forest.classes} <= {
        int,
        float,
    }:  # a booster counts classes; a table may say no and yes
        position |= {word: position[n] for word, n in (("false", "0"), ("true", "1")) if n in position}
    found = [position.get(category_text(value), -1) for value in values.tolist()]
    if -1 in found:
        strange = values.tolist()[found.index(-1)]
        raise DataError(
            f"target column {name!r} holds {strange!r}, which is no class of the model: {list(forest.classes)}."
        )
    onehot = np.eye(len(forest.classes))[found]
    return onehot[:, 1:] if len(forest.classes) == 2 else onehot


def _frame(
    forest: Forest, X: NDArray[np.float64], Y: NDArray[np.float64], objective: Objective
) -> tuple[Frame, NDArray[np.float64]]:
    scale = shift = None
    if objective.kind == "squared":
        if Y.shape[1] != forest.n_outputs:
            raise DataError(
                f"the forest has {forest.n_outputs} outputs; one target column gives {Y.shape[1]}."
            )
        shift, spread = Y.mean(axis=0), Y.std(axis=0)
        scale = np.where(spread > 0, spread, 1.0)
        Y = (Y - shift) / scale
    codes = FeatureCodes.fit(X)
    return Frame(
        forest.schema, codes, objective.link, forest.task, forest.classes, forest.target, scale, shift
    ), Y


def _own_trees(forest: Forest, problem: Problem, frame: Frame) -> list[Way]:
    """The forest's own trees with thresholds rounded to few-bit grids, one candidate a number of bits.

    Where all trees fit their leaves are only rounded. The rows may be those that the trees were grown on: there a refit, which undoes
    what a learning rate held back, looks better than it is, and no held-out part of them can tell. Fewer trees need the refit.
    """
    depth = forest.depth()
    same_outputs = forest.n_outputs == problem.rows.Y.shape[1]
    if (
        not forest.is_axis
        or not same_outputs
        or depth > MAX_DEPTH
        or forest.n_trees * 2**depth > MAX_PERFECT_NODES
    ):
        return []
    found: list[Way] = []
    # The leaves of averaged probabilities are no scores: those are always refitted.
    kept = forest.n_trees if forest.link == frame.link else None
    for bits, leaf_bits in IMPORT_BITS:
        grid = Grid.fit(problem.X, bits)
        codes = grid.codes(problem.X, problem.rows.weight)
        on_grid = replace(frame, codes=codes)
        threshold = forest.threshold.copy()
        for i in np.flatnonzero(forest.feature >= 0):
            cuts = codes.cuts[forest.feature[i]]
            threshold[i] = cuts[np.argmin(np.abs(cuts - threshold[i]))]
        perfect = perfect_from_forest(replace(forest, threshold=threshold), codes, on_grid)

        def grow(
            rows: NDArray[np.int64],
            perfect: PerfectForest = perfect,
            grid: Grid = grid,
            frame: Frame = on_grid,
            leaf_bits: int = leaf_bits,
        ) -> GridForest:
            X, part = problem.X[rows], problem.rows.take(rows)
            mine = TrainingRows(frame.codes.encode(X), frame.codes.encode_scores(X), part.Y, part.weight)
            return GridForest(perfect, mine, problem.objective, frame, grid, leaf_bits, kept=kept)

        found.append(Way(f"its own, {bits} + {leaf_bits} bits", grow))
    return found


def _report(
    forest: Forest, smaller: Forest, how: str, after: NDArray[np.float64], X: NDArray[np.float64], Y: NDArray[np.float64],
    held: NDArray[np.int64], metric: Metric, objective: Objective,
) -> Compression:  # fmt: skip
    """Compare on the held-out rows: the compressed forest as it was judged there, fitted without them."""
    before = forest.sum_leaves(forest.apply_encoded(X[held]))
    weight = np.ones(len(held))
    if objective.kind == "squared":
        agree = np.abs(before - after).max(axis=1) <= 0.1 * float(Y.std())
    else:
        same = after[:, 0] > 0 if objective.kind == "logistic" else after.argmax(axis=1)
        agree = forest.raw_to_class_index(before) == same
        if (
            forest.link == "identity"
        ):  # averaged probabilities: bring them to the scale of scores, on which metrics are defined
            p = np.clip(before, 1e-6, 1.0)
            before = np.log(p[:, 1:] / np.clip(1.0 - p[:, 1:], 1e-6, 1.0)) if p.shape[1] == 2 else np.log(p)
    return Compression(
        smaller, how, metric.name, metric(before, Y[held], weight, objective), metric(after, Y[held], weight, objective),
        size_in_bytes(forest), size_in_bytes(smaller), float(np.mean(agree)), len(held),
    )  # fmt: skip
