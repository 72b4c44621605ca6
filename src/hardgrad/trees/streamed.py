"""Training from a table larger than memory: a sample decides the structure, all rows decide the leaves.

A uniform sample goes through the training that a table in memory goes through. Then one pass over the file keeps, on disk, the leaf of
every row in every tree, a byte or two each, and all leaves are refitted convexly on all rows, a chunk of rows at a time.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import DataError
from hardgrad.core.files import WriteError
from hardgrad.tabular.streaming import StreamedTable
from hardgrad.train.progress import emit
from hardgrad.trees.assemble import Frame
from hardgrad.trees.candidates import START_PENALTY, Selection
from hardgrad.trees.codes import FeatureCodes
from hardgrad.trees.interruption import Interruption
from hardgrad.trees.leaf_refit import ITERATIONS, Leaves, scatter_leaves, sum_leaves
from hardgrad.trees.objectives import Objective
from hardgrad.trees.perfect import PerfectForest

if TYPE_CHECKING:
    from hardgrad.trees.estimator_base import SoftForestBase

SAMPLE_ROWS = 200_000
"""Rows that the structure is learned from."""
CHUNK_ROWS = 131_072
LOSS_NAMES = {"squared": "half the squared error", "logistic": "log-loss", "softmax": "log-loss"}

Array = NDArray[np.float64]


@dataclass(frozen=True)
class StreamedFit:
    """What training from a stream did with the rows.

    Parameters
    ----------
    rows : rows of positive weight that were learned from.
    sample_rows : rows that the structure was learned from.
    refitted : whether the leaves are those of all rows.
    loss : name of the loss below.
    before, after : mean loss on the rows outside the sample with the sample's leaves and with refitted ones; None where not measured.
    reason : why the leaves were not refitted; empty where they were.
    """

    rows: int
    sample_rows: int
    refitted: bool
    loss: str = ""
    before: float | None = None
    after: float | None = None
    reason: str = ""

    def __str__(self) -> str:
        if self.sample_rows == self.rows:
            return f"trained on all {self.rows:,} rows at once"
        start = f"trained on a sample of {self.sample_rows:,} rows; "
        if self.before is None:
            return f"{start}leaves are the sample's: {self.reason}"
        figures = f"{self.loss} outside the sample {self.before:.5f} -> {self.after:.5f}"
        if not self.refitted:
            return f"{start}leaves are the sample's: {self.reason} ({figures})"
        return f"{start}leaves refitted on all {self.rows:,} rows: {figures}"


def fit_streamed(model: Any, table: StreamedTable) -> None:
    """Train an estimator from a streamed table; see `SoftForestBase.fit_streamed`."""
    model._begin_fit()
    objective, class_weight = _objective(model, table)
    sample = table.sample(SAMPLE_ROWS, random_state=model._seed)
    if table.classes:
        labels = np.array(table.classes)
        model.classes_ = labels
        class_weight[sample.y] = model._class_weights(labels[sample.y])
    else:
        model._flat = True
    model._table_fit = True
    model._remember_names(list(table.schema.names))
    model.typing_ = table.typing
    rows = _Targets(objective, max(1, len(table.classes)), class_weight)

    def finish(selection: Selection, frame: Frame, interruption: Interruption) -> Selection:
        left_out = "the refit of the leaves on all rows"
        model.streamed_ = StreamedFit(table.n_used, len(sample.number), False, reason="interrupted")
        if interruption.happened:
            interruption.left_out.append(left_out)
            return selection
        with interruption.skipping(left_out):
            selection, model.streamed_ = _refitted(model, table, selection, frame, rows, sample.number)
        return selection

    model._train_encoded(
        table.schema, sample.X, rows.targets(sample.y), rows.weights(sample.y, sample.weight), objective, table.classes,
        target=table.target, finish=finish,
    )  # fmt: skip
    if model.validation_:
        model.validation_["rows"] = sample.number[model.validation_["rows"]]


def _objective(model: SoftForestBase, table: StreamedTable) -> tuple[Objective, Array]:
    """The objective and a weight of 1 for each class. Raises `DataError` where the table is for the other estimator."""
    wanted = "classification" if hasattr(model, "predict_proba") else "regression"
    if table.task != wanted:
        other = "SoftForestRegressor" if wanted == "classification" else "SoftForestClassifier"
        raise DataError(
            f"{type(model).__name__} is for {wanted}, but target {table.target!r} of {table.path} was read for {table.task}. "
            f"Take {other}, or StreamedTable(..., task={wanted!r})."
        )
    kinds = {0: Objective("squared"), 2: Objective("logistic")}
    return kinds.get(len(table.classes), Objective("softmax")), np.ones(max(1, len(table.classes)))


@dataclass(frozen=True)
class _Targets:
    """How rows of the table become targets and weights of training."""

    objective: Objective
    n_classes: int
    class_weight: Array

    def targets(self, y: NDArray[Any]) -> Array:
        if self.objective.kind == "softmax":
            return np.asarray(np.eye(self.n_classes)[y])
        return np.asarray(y[:, None], dtype=np.float64)

    def weights(self, y: NDArray[Any], weight: Array) -> Array:
        return weight if self.objective.kind == "squared" else np.asarray(weight * self.class_weight[y])


def _refitted(
    model: SoftForestBase, table: StreamedTable, selection: Selection, frame: Frame, rows: _Targets, sampled: NDArray[np.int64]
) -> tuple[Selection, StreamedFit]:  # fmt: skip
    """The selection with leaves of all rows, where that is possible and does not raise the loss, and what was done."""
    done = StreamedFit(table.n_used, len(sampled), False, LOSS_NAMES[rows.objective.kind])
    if len(sampled) == table.n_used:
        return selection, replace(done, reason="it holds all rows")
    if selection.artifact is not None:
        return selection, replace(
            done, reason="those of a forest packed into bytes lie on a grid and stay there"
        )
    if not model.leaf_refit:
        return selection, replace(done, reason="leaf_refit=False")
    forest = selection.forest
    with LeafFile(table, forest, frame, rows, sampled) as stored:
        emit("leaves of all rows", 1.0)
        l2 = START_PENALTY if selection.winner.l2 is None else selection.winner.l2
        leaf, bias = _minimise(stored, rows.objective, l2, (forest.leaf, forest.bias))
        before = _mean_loss(stored, rows.objective, (forest.leaf, forest.bias))
        after = _mean_loss(stored, rows.objective, (leaf, bias))
    emit("refit on all rows", 1.0)
    done = replace(done, refitted=after <= before, before=before, after=after)
    if not done.refitted:
        return selection, replace(done, reason="a refit on all rows would raise the loss")
    return replace(selection, forest=forest.with_leaves(leaf, bias)), done


@dataclass(frozen=True)
class _Chunk:
    """Some rows: leaves [n, trees], targets [n, outputs] and weights [n] of training, and which are outside the sample."""

    index: NDArray[Any]
    Y: Array
    weight: Array
    outside: NDArray[np.bool_]


class LeafFile:
    """The leaf of each row in each tree, with its target and weight, in a temporary folder; a context manager that deletes it.

    Read from the file chunk by chunk, never mapped: mapped pages would count as memory of this process.

    Parameters
    ----------
    table : the streamed table. Rows are encoded with the cross-fitted codes that the sample was trained with.
    forest, frame : the quantised forest, the codes it is stated in, and the units of its target.
    rows : makes targets and weights.
    sampled : sorted numbers of the rows in the sample.

    Raises
    ------
    WriteError : the disk is full; nothing is left behind.
    """

    def __init__(
        self,
        table: StreamedTable,
        forest: PerfectForest,
        frame: Frame,
        rows: _Targets,
        sampled: NDArray[np.int64],
    ) -> None:
        self.frame, self.targets, self.n_rows, self.total = frame, rows, 0, 0.0
        kind = np.uint8 if forest.n_nodes < 256 else np.uint16
        self._kinds: dict[str, tuple[Any, int]] = {
            "leaf": (kind, forest.n_trees), "y": (np.int32 if table.classes else np.float64, 1),
            "weight": (np.float64, 1), "outside": (np.bool_, 1),
        }  # fmt: skip
        forest, features, codes = _narrowed(forest, frame.codes)
        self._folder = tempfile.TemporaryDirectory(prefix="hardgrad-")
        try:
            with ExitStack() as stack:
                files = {name: stack.enter_context(self._path(name).open("wb")) for name in self._kinds}
                for part in table.iter_encoded(cross_fit=True):
                    weight = rows.weights(part.y, part.weight)
                    columns = {
                        "leaf": forest.leaf_index(codes.encode_scores(part.X[:, features])), "y": part.y,
                        "weight": weight, "outside": ~np.isin(part.number, sampled),
                    }  # fmt: skip
                    for name, values in columns.items():
                        files[name].write(values.astype(self._kinds[name][0]).tobytes())
                    self.n_rows += len(part)
                    self.total += float(weight.sum())
                    emit("leaves of all rows", min(0.999, self.n_rows / table.n_used))
        except BaseException as error:
            self._folder.cleanup()
            if isinstance(error, OSError):
                raise WriteError(
                    f"cannot write to {self._folder.name}: {error.strerror or error}. Free some space, or set TMPDIR to another folder."
                ) from error
            raise

    def _path(self, name: str) -> Path:
        return Path(self._folder.name) / f"{name}.bin"

    def chunks(self) -> Iterator[_Chunk]:
        """Yield all rows in the order of the table; weights have mean 1 over the table."""
        frame = self.frame
        with ExitStack() as stack:
            files = {name: stack.enter_context(self._path(name).open("rb")) for name in self._kinds}
            for start in range(0, self.n_rows, CHUNK_ROWS):
                count = min(CHUNK_ROWS, self.n_rows - start)
                found = {
                    name: np.fromfile(files[name], dtype=kind, count=count * width).reshape(count, width)
                    for name, (kind, width) in self._kinds.items()
                }
                Y = self.targets.targets(found["y"][:, 0])
                if frame.scale is not None and frame.shift is not None:
                    Y = (Y - frame.shift) / frame.scale
                weight = found["weight"][:, 0] * (self.n_rows / self.total)
                yield _Chunk(found["leaf"], Y, weight, found["outside"][:, 0])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._folder.cleanup()


def _narrowed(
    forest: PerfectForest, codes: FeatureCodes
) -> tuple[PerfectForest, NDArray[np.int64], FeatureCodes]:
    """The forest stated in the features that it tests, those features, and their codes: others need no encoding."""
    used = np.unique(forest.feature[forest.feature >= 0]).astype(np.int64)
    feature = np.where(forest.feature >= 0, np.searchsorted(used, forest.feature), -1).astype(np.int32)
    narrow = FeatureCodes(tuple(codes.cuts[f] for f in used), tuple(codes.scores[f] for f in used))
    return replace(forest, feature=feature), used, narrow


def _minimise(stored: LeafFile, objective: Objective, l2: float, start: Leaves) -> Leaves:
    """The leaves of least weighted loss plus penalty over all rows, as `refit_leaves` finds them for rows in memory."""
    from scipy.optimize import minimize

    shape, n_outputs = start[0].shape, len(start[1])
    turn = 0

    def value_and_gradient(point: Array) -> tuple[float, Array]:
        nonlocal turn
        turn += 1
        emit("refit on all rows", min(0.999, turn / ITERATIONS))
        V, c = point[:-n_outputs].reshape(shape), point[-n_outputs:]
        loss, gradient, slope = 0.5 * l2 * float((V * V).sum()), l2 * V, np.zeros(n_outputs)
        for chunk in stored.chunks():
            raw = sum_leaves(chunk.index, V, c)
            G = (objective.probabilities(raw) - chunk.Y) * chunk.weight[:, None]
            loss += float(chunk.weight @ objective.row_loss(raw, chunk.Y))
            gradient = gradient + scatter_leaves(chunk.index, G, shape[1])
            slope += G.sum(axis=0)
        return loss, np.concatenate([gradient.reshape(-1), slope])

    point = np.concatenate([start[0].reshape(-1), start[1]])
    options: Any = {"maxiter": ITERATIONS, "maxcor": 20}
    solved = minimize(value_and_gradient, point, jac=True, method="L-BFGS-B", options=options)
    return solved.x[:-n_outputs].reshape(shape).copy(), solved.x[-n_outputs:].copy()


def _mean_loss(stored: LeafFile, objective: Objective, leaves: Leaves) -> float:
    """The mean loss on the rows outside the sample."""
    loss = weight = 0.0
    for chunk in stored.chunks():
        w = chunk.weight * chunk.outside
        loss += float(w @ objective.row_loss(sum_leaves(chunk.index, *leaves), chunk.Y))
        weight += float(w.sum())
    return loss / weight
