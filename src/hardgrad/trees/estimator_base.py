"""What the two forest estimators share: reading input, the training run, and what is remembered of it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from sklearn.utils.validation import check_is_fitted
from threadpoolctl import threadpool_limits

from hardgrad.core.errors import HardgradWarning, ParameterError
from hardgrad.core.gap import GapReport
from hardgrad.tabular.schema import TableSchema
from hardgrad.tabular.table_estimator import TableEstimator
from hardgrad.tabular.table_model import Label
from hardgrad.train.checkpoint import current_checkpoint
from hardgrad.train.loop import Hardware, under_torchrun
from hardgrad.train.progress import Event, listen
from hardgrad.trees.assemble import Frame, assemble
from hardgrad.trees.candidates import FEW_ROWS, Problem, Recipe, Selection, make_folds
from hardgrad.trees.codes import FeatureCodes
from hardgrad.trees.estimator_checks import check_parameters
from hardgrad.trees.forest import Forest
from hardgrad.trees.gap_measure import measure_gap
from hardgrad.trees.greedy import TrainingRows
from hardgrad.trees.interruption import Interruption
from hardgrad.trees.judge import Judge
from hardgrad.trees.metrics import Metric, at_threshold, best_cut, find_metric
from hardgrad.trees.objectives import Objective
from hardgrad.trees.refine import RefinePlan
from hardgrad.trees.selection import select
from hardgrad.trees.soft_forest import SoftForest
from hardgrad.trees.threshold import shifted

if TYPE_CHECKING:
    from hardgrad.tabular.streaming import StreamedTable
    from hardgrad.trees.streamed import StreamedFit

L1 = (3e-4, 3e-3, 2e-2)
LIGHT_L1 = 3e-5  # with many rows directions are learned well enough to need little penalty

Array = NDArray[np.float64]
Finish = Callable[[Selection, Frame, Interruption], Selection]


class SoftForestBase(TableEstimator):
    """Shared half of `SoftForestClassifier` and `SoftForestRegressor`; their parameters are documented there."""

    artifact_attribute = "forest_"
    n_estimators: int | None
    max_depth: int
    split: Any
    budget: str | None
    metric: str | None
    threshold: Any = 0.5
    temperature: tuple[float, float]
    learning_rate: float
    max_iter: int
    batch_size: int
    l1: tuple[float, ...] | None
    validation_fraction: float
    leaf_refit: bool
    polish: bool
    time_budget: float | None
    random_state: Any
    n_jobs: int | None
    device: str
    devices: int
    verbose: int
    streamed_: StreamedFit

    # --- training ------------------------------------------------------------------------------------------------------------
    def _train(
        self, X: Any, Y: Array, weight: Array, objective: Objective, classes: tuple[Label, ...]
    ) -> Self:
        self._begin_fit()
        squared = objective.kind == "squared"
        schema, encoded = self._encode_training(
            X,
            Y if squared else Y[:, 0] if Y.shape[1] == 1 else Y.argmax(axis=1),
            weight,
            task="regression" if squared else "classification",
            n_classes=Y.shape[1],
            seed=self._seed,
        )
        used = weight > 0
        self._train_encoded(schema, encoded[used], Y[used], weight[used], objective, classes)
        return self

    def fit_streamed(self, table: StreamedTable) -> Self:
        """Train from a Parquet file that need not fit in memory.

        A uniform sample of 200,000 rows is trained as `fit` trains a table; then the leaves of the winner are refitted convexly on all
        rows, unless they are packed into a budget of bytes or that would raise the loss on the rows outside the sample. `gap_`,
        `validation_` (its `rows` are numbers of rows in the file), `candidates_` and `front_` are the sample's; `streamed_` tells how
        many rows did what.

        Parameters
        ----------
        table : the streamed table, which also says what the target, the weights and the features are.

        Raises
        ------
        DataError : the target is for the other estimator, or the file cannot be learned from.
        WriteError : the folder of temporary files is full.

        Examples
        --------
        >>> import os, tempfile
        >>> import pyarrow as pa, pyarrow.parquet as pq
        >>> from hardgrad.tabular import StreamedTable
        >>> from hardgrad.trees import SoftForestRegressor
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "rows.parquet")
        ...     pq.write_table(pa.table({"x": [i / 7 for i in range(500)], "y": [i % 9 / 2 for i in range(500)]}), path)
        ...     model = SoftForestRegressor(1, 2, max_iter=10, random_state=0).fit_streamed(StreamedTable(path, "y"))
        >>> str(model.streamed_)
        'trained on all 500 rows at once'
        """
        from hardgrad.trees.streamed import fit_streamed

        fit_streamed(self, table)
        return self

    def _check_parameters(self) -> None:
        check_parameters(self)
        if self.random_state is None and under_torchrun():
            raise ParameterError(
                "processes of torchrun must draw the same numbers: pass random_state=0 or another seed."
            )

    def _begin_fit(self) -> int:
        """Begin as every estimator does, and keep the seed, which training and polish share."""
        self._seed = super()._begin_fit()
        return self._seed

    def _train_encoded(
        self, schema: TableSchema, encoded: Array, Y: Array, weight: Array, objective: Objective, classes: tuple[Label, ...],
        *, target: str = "", finish: Finish | None = None,
    ) -> None:  # fmt: skip
        """Train on encoded rows of positive weight and remember everything; `finish` may change what was selected."""
        self.schema_ = schema
        metric = self._metric_of_fit(objective)
        scale = shift = None
        if objective.kind == "squared":
            shift = np.average(Y, axis=0, weights=weight)
            spread = np.sqrt(np.average((Y - shift) ** 2, axis=0, weights=weight))
            scale = np.where(spread > 0, spread, 1.0)
            Y = (Y - shift) / scale
        codes = FeatureCodes.fit(encoded, weight)
        frame = Frame(
            schema,
            codes,
            objective.link,
            "classification" if classes else "regression",
            classes,
            target,
            scale,
            shift,
        )
        rows = TrainingRows(codes.encode(encoded), codes.encode_scores(encoded), Y, weight / weight.mean())
        judge = Judge(metric, objective, scale, shift)
        folds = make_folds(Y, bool(classes), self.validation_fraction, self._seed)
        # With a checkpoint an interrupted fit goes on later; processes of torchrun cannot stop each for itself.
        interruption = Interruption(welcome=current_checkpoint() is None and not under_torchrun())
        problem = Problem(
            rows, encoded, codes, objective, judge, self._hardware(), self._seed, folds, interruption
        )
        events: list[Event] = []
        # The many small linear algebra calls of a leaf refit are slower on two threads than on one; torch has its own.
        with threadpool_limits(1, user_api="blas"), listen(events.append), listen(self._print_event):
            selection = self._select(problem, frame)
            if finish is not None:
                selection = finish(selection, frame, interruption)
        self._remember(problem, frame, selection, metric, events)
        self.interrupted_ = interruption.happened
        interruption.warn(type(self).__name__)

    def _metric_of_fit(self, objective: Objective) -> Metric:
        """Return what candidates are judged by: the metric at the threshold that will be theirs."""
        metric = find_metric(self.metric, objective)
        if self.threshold == 0.5:
            return metric
        if objective.kind == "softmax":
            raise ParameterError(
                f"{type(self).__name__} got threshold={self.threshold!r} for {len(self.classes_)} classes; a threshold is for two. "
                "Leave it at 0.5."
            )
        return at_threshold(metric, None if self.threshold == "tuned" else float(logit(self.threshold)))

    def _select(self, problem: Problem, frame: Frame) -> Selection:
        if self.budget is not None:
            from hardgrad.trees.budget import parse_budget, select_within

            return select_within(problem, self._recipe(len(problem.rows)), parse_budget(self.budget), frame)
        if self.n_estimators is None:
            from hardgrad.trees.summed import select_summed

            return select_summed(problem, self._recipe(len(problem.rows)))
        return select(problem, self._recipe(len(problem.rows)))

    def _recipe(self, n_rows: int) -> Recipe:
        plan = RefinePlan(
            steps=self.max_iter,
            batch_size=self.batch_size,
            weight_rate=self.learning_rate,
            offset_rate=self.learning_rate / 2,
            leaf_rate=self.learning_rate,
            temperature=(float(self.temperature[0]), float(self.temperature[1])),
            split=self.split,
        )
        return Recipe(
            n_trees=self.n_estimators or 20,
            depth=self.max_depth,
            l1=self._penalties(n_rows),
            refine=plan,
            polish=self.polish,
            leaf_refit=self.leaf_refit,
            validation_fraction=self.validation_fraction,
            time_budget=self.time_budget,
        )

    def _penalties(self, n_rows: int) -> tuple[float, ...]:
        penalties: tuple[float, ...] = L1 if n_rows < FEW_ROWS else (LIGHT_L1, *L1)
        if self.l1 is not None:
            penalties = tuple(self.l1)
        # A penalty on further features means nothing where a node has one.
        return penalties if self.split == "sparse_oblique" else penalties[:1]

    def _hardware(self) -> Hardware:
        return Hardware.for_jobs(self.device, self.n_jobs, int(self.devices))

    # --- what is remembered --------------------------------------------------------------------------------------------------
    def _remember(
        self, problem: Problem, frame: Frame, selection: Selection, metric: Metric, events: list[Event]
    ) -> None:
        self.metric_ = metric.name
        self.n_iter_ = max(1, self.max_iter if any(c.l1 is not None for c in selection.candidates) else 0)
        if selection.codes is not None:
            frame = replace(frame, codes=selection.codes)
        forest = selection.artifact or assemble(selection.forest, frame)
        cut = self._cut(problem, selection, metric)
        self.forest_ = shifted(forest, cut) if cut else forest
        if cut:
            frame = replace(frame, scale=np.ones(1), shift=np.array([-cut]))
        self.schema_ = self.forest_.schema  # a budget may have merged categories that no tree tells apart
        soft = selection.forest if selection.soft is None else selection.soft
        self.soft_ = SoftForest.from_perfect(
            [soft],
            frame.codes.n_features,
            split=self.split,
            temperature=float(self.temperature[1]),
            frame=frame,
        )
        self.history_ = [vars(event) | {"gap": _difference(event)} for event in events]
        self.candidates_ = [_candidate_row(c, c is selection.winner, metric) for c in selection.candidates]
        held = selection.held_rows
        self.validation_: dict[str, NDArray[Any]] = {}
        self.gap_: GapReport | None = None
        if len(held) and selection.winner.held_raw is not None:
            Y, weight = problem.rows.Y[held], problem.rows.weight[held]
            unit = frame.output
            if problem.objective.kind == "squared":
                Y = unit(Y)
            self.validation_ = {
                "rows": held,
                "y": Y,
                "raw": unit(selection.winner.held_raw),
                "weight": weight,
            }
            if selection.soft_held_raw is not None:
                self.gap_ = measure_gap(
                    unit(selection.soft_held_raw), unit(selection.winner.held_raw), Y, weight, problem.objective,
                    find_metric(metric.name, problem.objective),
                    kept_start=selection.winner.l1 is None,
                )  # fmt: skip
        self.front_ = list(selection.front)

    def _cut(self, problem: Problem, selection: Selection, metric: Metric) -> float:
        """Return the raw score above which the second class is predicted, and remember the probability there."""
        if problem.objective.kind != "logistic":
            return 0.0
        if self.threshold != "tuned":
            self.threshold_ = float(self.threshold)
            return float(logit(self.threshold_))
        cut, raw, held = 0.0, selection.winner.held_raw, selection.held_rows
        if raw is not None and metric.confusion is not None:
            cut, _ = best_cut(raw, problem.rows.Y[held], problem.rows.weight[held], metric.confusion)
        else:
            warnings.warn(
                f"{type(self).__name__} held out none of {len(problem.rows)} rows, so that the threshold could not be tuned and stays 0.5. "
                "Give it 20 rows or more.",
                HardgradWarning,
                stacklevel=2,
            )
        self.threshold_ = float(expit(cut))
        return cut

    # --- the exact forest ----------------------------------------------------------------------------------------------------
    def harden(self) -> Forest:
        """Return the exact `Forest` artifact: NumPy only, savable, exportable."""
        forest: Forest = super().harden()
        return forest

    def apply(self, X: Any) -> NDArray[np.int32]:
        """Return the leaf of each row in each tree, [n, trees]."""
        check_is_fitted(self, "forest_")
        return self.forest_.apply_encoded(self._read(X))


def _difference(event: Event) -> float | None:
    return None if event.soft is None or event.hard is None else event.hard - event.soft


def _candidate_row(candidate: Any, chosen: bool, metric: Metric) -> dict[str, Any]:
    value = -candidate.loss if metric.higher_is_better else candidate.loss
    return {
        "name": candidate.name,
        "rate": candidate.rate,
        "l1": candidate.l1,
        "l2": candidate.l2,
        "metric": metric.name,
        "value": value,
        "chosen": chosen,
    }
