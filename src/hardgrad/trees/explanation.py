"""Why a row gets its answer: the path through every tree, exact contributions, the nearest counterfactual. Never imports torch.

The mathematics is in `attribution` (Shapley values) and `counterfactual` (branch and bound); here they are put together, and put in words.
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import DataError, ParameterError
from hardgrad.tabular.schema import category_text
from hardgrad.trees.attribution import attribute
from hardgrad.trees.cells import measure_scales
from hardgrad.trees.conditions import condition_text, value_text
from hardgrad.trees.counterfactual import Counterfactual, nearest_counterfactual
from hardgrad.trees.forest import Forest
from hardgrad.trees.forest_sums import require_plain

BACKGROUND_ROWS = 1000
DEFINITION = (
    "Shapley values of the raw columns: columns outside a set take the values of a background row; "
    "mean over {rows:,} background rows, computed exactly"
)


@dataclass(frozen=True)
class Contribution:
    """What one column adds to the explained score.

    Parameters
    ----------
    column : name of the raw column.
    value : what the row has there.
    exact : its contribution to each raw score, a fraction without rounding.
    """

    column: str
    value: Any
    exact: tuple[Fraction, ...]


@dataclass(frozen=True)
class Step:
    """One node of a path: its number, what it asks, and the side that the row takes."""

    node: int
    condition: str
    holds: bool


@dataclass(frozen=True)
class TreePath:
    """One tree's path: the steps from the root, the leaf and its values."""

    tree: int
    steps: tuple[Step, ...]
    leaf: int
    value: tuple[float, ...]


@dataclass(frozen=True)
class Explanation:
    """One row's answer and its reasons.

    Parameters
    ----------
    row : raw values by column name.
    row_number : position of the row in its table.
    prediction : class label or value.
    probabilities : of every class, None for regression.
    raw : raw scores as the model computes them, one an output.
    output : the raw score that `contributions` are shown for.
    output_name : its name.
    expected : mean score of the background rows, exact, one an output.
    contributions : one a column that some node tests, largest first; they sum to the score less `expected` less `rounding`.
    rounding : by how much the double sum `raw` differs from the exact sum of the same leaves, one an output; usually below 1e-15.
    background_rows : how many rows `expected` is the mean of.
    paths : one a tree.
    counterfactual : the nearest other answer, None where none was asked for.
    note : why there is no counterfactual, if so.
    """

    row: dict[str, Any]
    row_number: int
    prediction: Any
    probabilities: dict[str, float] | None
    raw: tuple[float, ...]
    output: int
    output_name: str
    expected: tuple[Fraction, ...]
    contributions: tuple[Contribution, ...]
    rounding: tuple[Fraction, ...]
    background_rows: int
    paths: tuple[TreePath, ...]
    counterfactual: Counterfactual | None
    note: str = ""

    def closes(self) -> bool:
        """Tell whether expected + contributions + rounding is the raw score, as exact fractions, for every output."""
        return all(
            self.expected[k] + sum(c.exact[k] for c in self.contributions) + self.rounding[k]
            == Fraction(self.raw[k])
            for k in range(len(self.raw))
        )

    def shown(self, digits: int = 4) -> tuple[str, dict[str, str], str]:
        """Return (expected, contributions by column, score) of the shown output as decimals whose printed sum closes.

        Each is rounded down and the units that are missing in the last digit go to the largest remainders.
        """
        k, unit = self.output, Fraction(1, 10**digits)
        parts = [self.expected[k], *(c.exact[k] for c in self.contributions)]
        total = round(sum(parts) / unit)
        floors = [part // unit for part in parts]
        rests = sorted(range(len(parts)), key=lambda i: floors[i] * unit - parts[i])
        for i in rests[: total - sum(floors)]:
            floors[i] += 1
        texts = [f"{float(whole * unit):+.{digits}f}" for whole in floors]
        names = [c.column for c in self.contributions]
        return texts[0], dict(zip(names, texts[1:], strict=True)), f"{float(total * unit):+.{digits}f}"

    def to_dict(self) -> dict[str, Any]:
        """Return a form that `json` can write. Contributions are doubles, each rounded once."""
        return {
            "row_number": self.row_number,
            "row": {name: plain(value) for name, value in self.row.items()},
            "prediction": plain(self.prediction),
            "probabilities": self.probabilities,
            "raw": list(self.raw),
            "output": self.output_name,
            "expected": float(self.expected[self.output]),
            "contributions": [
                {
                    "column": c.column,
                    "value": plain(c.value),
                    "amount": float(c.exact[self.output]),
                    "amounts": [float(amount) for amount in c.exact],
                }
                for c in self.contributions
            ],
            "rounding": float(self.rounding[self.output]),
            "closes": self.closes(),
            "definition": DEFINITION.format(rows=self.background_rows),
            "paths": [
                {
                    "tree": p.tree,
                    "steps": [{"node": s.node, "condition": s.condition, "holds": s.holds} for s in p.steps],
                    "leaf": p.leaf,
                    "value": list(p.value),
                }
                for p in self.paths
            ],
            "counterfactual": None if self.counterfactual is None else self.counterfactual.to_dict(),
            "note": self.note,
        }

    def __str__(self) -> str:
        expected, amounts, score = self.shown()
        lines = [
            f"row {self.row_number}: {value_text(self.prediction)}",
            f"{expected}  expected {self.output_name}",
        ]
        lines += [f"{amounts[c.column]}  {c.column} = {value_text(c.value)}" for c in self.contributions]
        lines.append(f"{score}  {self.output_name}")
        if self.counterfactual is not None and self.counterfactual.found:
            lines.append("nearest other answer: " + "; ".join(map(str, self.counterfactual.changes)))
        return "\n".join(lines)


def explain(
    forest: Forest,
    table: Any,
    row: int,
    *,
    to: Any = None,
    keep: Sequence[str] = (),
    background: Any = None,
    counterfactual: bool = True,
    time_budget: float = 5.0,
) -> Explanation:
    """Return why one row gets its answer, and the smallest change that would change it.

    Parameters
    ----------
    forest : the model.
    table : raw columns (see `TableSchema.encode`); also the source of the spreads that distances are measured in.
    row : position of the row, from 0; negative counts from the end.
    to : the class, or for regression the value, that the counterfactual must reach; by default any other class.
    keep : columns that the counterfactual may not change.
    background : rows that the score is compared with, as a table; by default up to 1,000 rows evenly spread over `table`.
    counterfactual : look for one.
    time_budget : seconds for that search; when they are over the best so far is returned with its bound.

    Raises
    ------
    UnsupportedError : the forest has linear nodes or affine leaves.
    DataError : the table has no such row. SchemaError : it lacks a column. ParameterError : `to` or `keep` make no sense.

    Examples
    --------
    >>> from hardgrad.trees import forest_from_trees
    >>> tree = {"feature": 0, "threshold": 35.0, "left": {"value": -1.0}, "right": {"value": 1.0}}
    >>> forest = forest_from_trees([tree], ["age"], link="sigmoid", task="classification", classes=("no", "yes"))
    >>> reason = explain(forest, {"age": [20, 50]}, 0)
    >>> reason.prediction, [str(change) for change in reason.counterfactual.changes]
    ('no', ['age: 20 -> 36'])
    """
    require_plain(
        forest, "explain()", "Use decision_path() and to_text(), which show the sums that a row meets."
    )
    columns = forest.schema.raw_columns(table)
    n = len(columns[0]) if columns else 0
    if not -n <= row < n:
        raise DataError(f"row {row} was asked for; the table has {n:,} rows, numbered from 0.")
    row = row % n
    own = {name: _plain_value(values[row]) for name, values in zip(forest.schema.names, columns, strict=True)}
    x = forest.encode({name: _single(value) for name, value in own.items()})[0]
    compared = _background(forest, columns, background)
    attribution = attribute(forest, x, compared)
    leaves = forest.apply_encoded(x[None])
    raw = forest.sum_leaves(leaves)
    output = _shown_output(forest, raw)
    found, note = None, "" if counterfactual else "no counterfactual was asked for"
    if counterfactual:
        found, note = _find(forest, columns, own, to, keep, time_budget)
    return Explanation(
        row=own,
        row_number=row,
        prediction=_scalar(forest.raw_to_prediction(raw)[0]),
        probabilities=_probabilities(forest, raw),
        raw=tuple(raw[0].tolist()),
        output=output,
        output_name=_output_name(forest, output),
        expected=attribution.expected,
        contributions=_contributions(forest, own, attribution.contributions, output),
        rounding=tuple(Fraction(r) - e for r, e in zip(raw[0].tolist(), attribution.exact, strict=True)),
        background_rows=len(compared),
        paths=_paths(forest, x),
        counterfactual=found,
        note=note,
    )


def _background(forest: Forest, columns: list[NDArray[Any]], background: Any) -> NDArray[np.float64]:
    if background is not None:
        compared = forest.encode(background)
        if not len(compared):
            raise DataError("the background table has no rows; it needs at least one.")
        return compared
    return forest.encode(_spread(forest, columns))


def _spread(forest: Forest, columns: list[NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Up to 1,000 rows, evenly spread over the table."""
    n = len(columns[0])
    picked = np.unique(np.linspace(0, n - 1, min(n, BACKGROUND_ROWS)).round().astype(np.int64))
    return {name: values[picked] for name, values in zip(forest.schema.names, columns, strict=True)}


def _find(
    forest: Forest,
    columns: list[NDArray[Any]],
    own: dict[str, Any],
    to: Any,
    keep: Sequence[str],
    time_budget: float,
) -> tuple[Counterfactual | None, str]:
    if forest.task == "regression" and to is None:
        return None, "for a counterfactual of a regression say which value to reach (--to VALUE)"
    if forest.task == "regression" and forest.n_outputs > 1:
        raise ParameterError(
            f"a counterfactual needs a forest with one target; this one has {forest.n_outputs}."
        )
    scales, others = measure_scales(forest, columns), _spread(forest, columns)
    found = nearest_counterfactual(
        forest, own, scales, to=to, keep=keep, candidates=others, time_budget=time_budget
    )
    return found, ""


def _contributions(
    forest: Forest, own: dict[str, Any], exact: tuple[tuple[Fraction, ...], ...], output: int
) -> tuple[Contribution, ...]:
    used = {forest.schema.features[f].column for f in forest.used_features()}
    found = [
        Contribution(forest.schema.names[c], own[forest.schema.names[c]], exact[c]) for c in sorted(used)
    ]
    return tuple(sorted(found, key=lambda c: -abs(c.exact[output])))


def _paths(forest: Forest, x: NDArray[np.float64]) -> tuple[TreePath, ...]:
    paths = []
    for tree, path in enumerate(_descend(forest, x)):
        steps = [
            Step(node, condition_text(forest, node), bool(forest.left[node] == following))
            for node, following in itertools.pairwise(path)
        ]
        paths.append(TreePath(tree, tuple(steps), path[-1], tuple(forest.value[path[-1]].tolist())))
    return tuple(paths)


def _descend(forest: Forest, x: NDArray[np.float64]) -> list[list[int]]:
    """The nodes from each root to the leaf that `apply` finds, read upwards from the leaf."""
    parent = np.full(forest.n_nodes, -1, dtype=np.int64)
    inner = np.flatnonzero(forest.left >= 0)
    parent[forest.left[inner]] = inner
    parent[forest.right[inner]] = inner
    paths = []
    for leaf in forest.apply_encoded(x[None])[0]:
        path = [int(leaf)]
        while parent[path[-1]] >= 0:
            path.append(int(parent[path[-1]]))
        paths.append(path[::-1])
    return paths


def _shown_output(forest: Forest, raw: NDArray[np.float64]) -> int:
    if forest.n_outputs == 1 or forest.task == "regression":
        return 0
    return int(forest.raw_to_class_index(raw)[0])


def _output_name(forest: Forest, output: int) -> str:
    target = forest.target or "target"
    if forest.task == "regression":
        return target if forest.n_outputs == 1 else f"{target} {output}"
    label = category_text(forest.classes[1] if forest.link == "sigmoid" else forest.classes[output])
    what = {"sigmoid": "log-odds", "softmax": "score", "identity": "probability"}[forest.link]
    return f"{what} of {target} = {label}"


def _probabilities(forest: Forest, raw: NDArray[np.float64]) -> dict[str, float] | None:
    if forest.task != "classification":
        return None
    values = forest.raw_to_proba(raw)[0]
    return {category_text(label): float(p) for label, p in zip(forest.classes, values, strict=True)}


def _scalar(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value.item() if isinstance(value, np.generic) else value


def _plain_value(value: Any) -> Any:
    """A raw value of an array as Python's own type; dates stay dates."""
    if isinstance(value, np.datetime64):
        return None if np.isnat(value) else value.astype("datetime64[us]").item()
    return value.item() if isinstance(value, np.generic) else value


def _single(value: Any) -> NDArray[Any]:
    array = np.empty(1, dtype=object)
    array[0] = value
    return array


def plain(value: Any) -> Any:
    """Return a raw value in a form that `json` can write: missing is None, dates are ISO text, infinities are text."""
    if value is None or (isinstance(value, float) and value != value):
        return None
    if isinstance(value, (dt.date, dt.datetime)):
        return value.isoformat()
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    return value if isinstance(value, (str, bool, int, float, list)) else str(value)
