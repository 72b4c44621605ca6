"""The data that a report page carries for its own scripts: the trees to draw, the rows to explore, the thresholds to slide."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.report.context import ReportContext
from hardgrad.report.measures import ThresholdTable, count_node_rows
from hardgrad.report.wording import long_condition, opposite, short_condition
from hardgrad.tabular.schema import Feature, TableSchema, category_numbers, category_text, is_missing
from hardgrad.tabular.table_model import label_text
from hardgrad.trees.forest import LEAF, Forest

MAX_ROWS = 300
MAX_MARKS = 60


def to_script_json(data: Any) -> str:
    """Return JSON that cannot end the script element it stands in."""
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def forest_data(context: ReportContext) -> dict[str, Any] | None:
    """Return the trees in a form that the page draws: texts are pooled, figures rounded to what can be seen. None of other models."""
    forest = context.forest
    if forest is None:
        return None
    rows = context.node_rows
    if rows is None:
        rows = count_node_rows(forest, context.rows) if context.rows is not None else np.zeros(forest.n_nodes)
    pool: dict[tuple[str, str, str, int], int] = {}
    label = [
        -1 if forest.feature[node] == LEAF else pool.setdefault(_texts(forest, node), len(pool))
        for node in range(forest.n_nodes)
    ]
    leaf = np.flatnonzero(forest.feature == LEAF)
    return {
        "offset": forest.tree_offset.tolist(),
        "left": forest.left.tolist(),
        "right": forest.right.tolist(),
        "label": label,
        "texts": [
            [short, "" if long == short else long, other, column] for short, long, other, column in pool
        ],
        "rows": [_rounded(v, 6) for v in rows],
        "leafValue": {str(node): [_rounded(v, 5) for v in forest.value[node]] for node in leaf.tolist()},
        "base": [float(v) for v in forest.base],
        "outputs": forest.score_names,
        "link": forest.link,
        "aggregation": forest.aggregation,
        "task": forest.task,
        "classes": [label_text(c) for c in forest.classes],
    }


def _texts(forest: Forest, node: int) -> tuple[str, str, str, int]:
    """What a node asks: in short, in full, the opposite in short, and which column decides (-1 for several)."""
    feature = int(forest.feature[node])
    column = forest.schema.features[feature].column if feature >= 0 else -1
    return short_condition(forest, node), long_condition(forest, node), opposite(forest, node), column


def _rounded(value: float, digits: int) -> float | int:
    shown = float(f"{value:.{digits}g}")
    return int(shown) if shown.is_integer() else shown


def explorer_data(context: ReportContext) -> dict[str, Any] | None:
    """Return columns (used ones first, the most important at the top) and sample rows for the what-if panel, or None without rows."""
    forest = context.forest
    if context.rows is None or forest is None:
        return None
    schema = forest.schema
    raw = schema.raw_columns(context.rows)
    n = min(len(raw[0]) if raw else 0, MAX_ROWS)
    if n == 0:
        return None
    values = [row_values(schema, i, raw[i][:n]) for i in range(len(schema.columns))]
    used = {schema.features[f].column for f in forest.used_features().tolist()}
    rank = {item.name: k for k, item in enumerate(context.importance)}
    order = sorted(
        range(len(schema.columns)),
        key=lambda i: (i not in used, rank.get(schema.columns[i].name, len(rank)), i),
    )
    columns = []
    for i in order:
        column = schema.columns[i]
        entry: dict[str, Any] = {
            "name": column.name,
            "kind": column.kind,
            "used": i in used,
            "values": values[i],
        }
        if column.kind == "categorical":
            entry["categories"] = list(column.categories)
        else:
            entry["marks"] = marks(forest, i)
        columns.append(entry)
    observed = None
    if context.row_target is not None:
        target = np.asarray(context.row_target)[:n]
        observed = [
            label_text(v) if forest.task == "classification" else [float(x) for x in np.atleast_1d(v)]
            for v in target.tolist()
        ]
    return {"columns": columns, "order": order, "n": n, "observed": observed}


def row_values(schema: TableSchema, i: int, values: NDArray[Any]) -> list[Any]:
    """Return one raw column as JSON can carry it.

    None is missing; a category is its number or, never seen, its text; infinities are texts; dates are seconds since 1970.
    """
    column = schema.columns[i]
    if column.kind == "categorical":
        return [
            None if is_missing(v) else category_text(v) if k == len(column.categories) else k
            for k, v in zip(category_numbers(column, values).tolist(), values.tolist(), strict=True)
        ]
    X = TableSchema((column,), (Feature(column.name, 0),)).encode({column.name: values})[:, 0]
    if column.kind == "boolean":
        return [None if math.isnan(v) else bool(v) for v in X.tolist()]
    return [
        None if math.isnan(v) else v if math.isfinite(v) else ("inf" if v > 0 else "-inf") for v in X.tolist()
    ]


def marks(forest: Forest, column: int) -> list[float]:
    """Return the values of a column at which some tree changes its mind, thinned to a number that can be drawn."""
    found: set[float] = set()
    for f, feature in enumerate(forest.schema.features):
        if feature.column == column and feature.transform == "identity":
            found.update(forest.threshold[forest.feature == f].tolist())
            if (forest.term_feature == f).any():
                found.update(forest.cut[forest.cut_offset[f] : forest.cut_offset[f + 1]].tolist())
    values = sorted(v for v in found if math.isfinite(v))
    if len(values) > MAX_MARKS:
        values = [values[k] for k in np.linspace(0, len(values) - 1, MAX_MARKS).astype(int)]
    return values


def threshold_data(table: ThresholdTable) -> dict[str, Any]:
    """Return the decisions at each threshold for the slider."""
    return {
        "tp": _listed(table.true_positive),
        "fp": _listed(table.false_positive),
        "positive": table.positive,
        "negative": table.negative,
    }


def _listed(values: Sequence[float] | NDArray[np.float64]) -> list[float | int]:
    return [_rounded(float(v), 8) for v in values]
