"""ReportContext: everything that a report shows, as plain data. Nothing is computed or drawn here. Never imports torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import ParameterError
from hardgrad.core.gap import GapReport
from hardgrad.report.importance import Importance
from hardgrad.tabular.speed import Speed
from hardgrad.tabular.table_model import Facts, TableModel
from hardgrad.trees.forest import Forest

_HIGHER = ("accuracy", "balanced_accuracy", "auc", "roc_auc", "average_precision", "f1", "r2")
_FRONT_KEYS = ("trees", "leaves", "bytes", "loss", "accuracy")


@dataclass(frozen=True)
class ReportContext:
    """What `write_report` needs. Only `model` and `metric` are required; a part of the page without data is left out.

    Parameters
    ----------
    model : the hard model that is shipped; trees, paths and the what-if panel are shown of a `Forest`.
    metric : name of the metric, as in "log_loss".
    title : heading of the page; made from the target by default.
    source : where the table came from, as in "loans.parquet".
    table : plain facts on the table: `rows` and `columns` (int), `kinds` (mapping of kind to number), `positive` (share, binary targets),
        `notes` (list of sentences, as on dropped columns). All are optional.
    history : one mapping a measurement: `phase`, `fraction`, `step`, `temperature`, `soft`, `hard`; the last two may be None.
    gap : soft against hard on held-out rows.
    front : one mapping a size: `trees`, `leaves`, `bytes`, `loss`, `accuracy` (each may be None), `chosen` (bool).
    baselines : the same keys and `name`, one mapping an installed booster.
    validation : arrays `y` [n] or [n, outputs] (labels as in `model.classes`, or values), `raw` [n, outputs] (hard raw scores of rows that
        the scoring forest did not train on), and `weight` [n] or None.
    held_out : False where `validation` and `gap` were measured on rows that the forest was trained on: the page then says so.
    rows : a few raw rows for the explorer, columns by name; `row_target` [n] is what was observed on them, or None.
    node_rows : rows that pass each node, float64 [nodes] (`count_node_rows`); counted on `rows` by default.
    importance : from `permutation_importance`, the most important first; `importance_rows` is how many rows it was measured on.
    exact_checks : objects with `engine`, `rows`, `differing`, `seconds`, `skipped_reason` and `max_probability_ulp`.
    metrics : of the hard model on the validation rows, name to value.
    facts : what was counted in the model and in its making, by title and name, as `TableModel.facts` gives it.
    speed : how fast it answered, from `measure_speed`.
    packed_bytes : size of the model's data in the packed C export.
    files : what was written, name to bytes.
    timings : what took how long, name to seconds.
    versions : package to version.
    random_state : the seed.
    higher_is_better : direction of the metric; known by name by default.
    created : date and time of the run as text, may be empty (the same input then gives the same file).

    Raises
    ------
    ParameterError : the arrays do not fit the model.

    Examples
    --------
    >>> from hardgrad.trees.forest_build import forest_from_trees
    >>> forest = forest_from_trees([{"feature": 0, "threshold": 1.5, "left": {"value": 0.0}, "right": {"value": 2.0}}], ["age"])
    >>> ReportContext(forest, "mean_squared_error", title="A first tree").higher
    False
    """

    model: TableModel
    metric: str
    title: str = ""
    source: str = ""
    table: Mapping[str, Any] = field(default_factory=dict)
    history: Sequence[Mapping[str, Any]] = ()
    gap: GapReport | None = None
    front: Sequence[Mapping[str, Any]] = ()
    baselines: Sequence[Mapping[str, Any]] = ()
    validation: Mapping[str, Any] | None = None
    held_out: bool = True
    rows: Mapping[str, Any] | None = None
    row_target: Any = None
    node_rows: NDArray[np.float64] | None = None
    importance: Sequence[Importance] = ()
    importance_rows: int = 0
    exact_checks: Sequence[Any] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    facts: Facts = field(default_factory=dict)
    speed: Speed | None = None
    packed_bytes: int | None = None
    files: Mapping[str, int] = field(default_factory=dict)
    timings: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    random_state: int | None = None
    higher_is_better: bool | None = None
    created: str = ""

    def __post_init__(self) -> None:
        nodes = self.forest.n_nodes if self.forest is not None else 0
        if self.node_rows is not None and len(self.node_rows) != nodes:
            raise ParameterError(f"node_rows has {len(self.node_rows)} entries; the model has {nodes} nodes.")
        if self.validation:
            y, raw = np.asarray(self.validation["y"]), np.asarray(self.validation["raw"])
            if raw.ndim != 2 or raw.shape[1] != self.model.n_outputs or len(y) != len(raw):
                raise ParameterError(
                    f"validation has y of shape {y.shape} and raw of shape {raw.shape}; expected n and [n, {self.model.n_outputs}]."
                )
        for point in (*self.front, *self.baselines):
            if not any(key in point for key in _FRONT_KEYS):
                raise ParameterError(f"a point of the front needs one of {_FRONT_KEYS}, got {sorted(point)}.")

    @property
    def higher(self) -> bool:
        """True where a larger metric is better."""
        if self.higher_is_better is not None:
            return self.higher_is_better
        if self.gap is not None and self.gap.metric == self.metric:
            return self.gap.higher_is_better
        return self.metric.lower() in _HIGHER

    @property
    def forest(self) -> Forest | None:
        """The model, where it is a forest whose trees can be drawn."""
        return self.model if isinstance(self.model, Forest) and self.model.is_plain else None

    @property
    def binary(self) -> bool:
        """True where the target has two classes."""
        return self.model.task == "classification" and len(self.model.classes) == 2
