"""The cells of a forest: for each raw column, the finitely many values that no node can tell apart. Never imports torch.

A column meets finitely many thresholds, cuts and categories, so its values fall into finitely many classes on which every node of every
tree decides alike. A `Cells` holds one representative of each class: the one nearest to a given row. Searching over representatives is
searching over all rows. Used by `counterfactual`; nothing here searches.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.tabular.schema import Column, TableSchema, category_text, epoch_seconds, is_missing
from hardgrad.trees.conditions import seconds_to_datetime
from hardgrad.trees.forest import Forest
from hardgrad.trees.forest_sums import require_plain

Floats = NDArray[np.float64]
DAY = 86_400.0


@dataclass(frozen=True)
class Scale:
    """What a change of one column costs.

    Parameters
    ----------
    spread : a numeric change of this size costs 1.
    unit : only multiples of it are proposed, because the column has no other values: 1 for whole numbers and seconds, 86,400 for days;
        0 for any number.
    centre : where a missing number moves to, if it may: the cell's value nearest to this.
    common : categories, the most frequent first.
    """

    spread: float = 1.0
    unit: float = 0.0
    centre: float = 0.0
    common: tuple[str, ...] = ()


def measure_scales(forest: Forest, columns: Sequence[NDArray[Any]]) -> list[Scale]:
    """Return the scale of every raw column from a table's raw columns: the range between its 5th and 95th percentile costs 1.

    Where that range is zero the whole range is taken, then the range of the thresholds, then 1.
    """
    scales = []
    for number, (column, values) in enumerate(zip(forest.schema.columns, columns, strict=True)):
        if column.kind == "categorical":
            texts = [category_text(v) for v in values.tolist() if not is_missing(v)]
            counts = Counter(texts)
            scales.append(Scale(common=tuple(sorted(counts, key=lambda name: (-counts[name], name)))))
        elif column.kind == "boolean":
            scales.append(Scale(unit=1.0))
        else:
            scales.append(_number_scale(column, values, breakpoints(forest, number)))
    return scales


def _number_scale(column: Column, values: NDArray[Any], breaks: Floats) -> Scale:
    numbers = column_numbers(column, values)
    finite = numbers[np.isfinite(numbers)]
    if column.kind == "datetime":
        unit = DAY if len(finite) and bool((finite % DAY == 0).all()) else 1.0
    else:
        unit = 1.0 if values.dtype.kind in "iu" or _all_whole(values, finite) else 0.0
    centre = float(np.median(finite)) if len(finite) else 0.0
    ranges = []
    if len(finite):
        with np.errstate(over="ignore", invalid="ignore"):
            low, high = np.percentile(finite, [5, 95])
            ranges += [float(high - low), float(finite.max() - finite.min())]
    if len(breaks):
        ranges.append(float(breaks[-1]) - float(breaks[0]))
    spread = next((r for r in ranges if r > 0 and math.isfinite(r)), 1.0)
    return Scale(spread, unit, centre)


def _all_whole(values: NDArray[Any], finite: Floats) -> bool:
    if values.dtype.kind == "O":
        return any(not is_missing(v) for v in values) and all(
            is_missing(v) or isinstance(v, int) for v in values
        )
    return (
        len(finite) > 0 and bool((finite == np.floor(finite)).all()) and bool((np.abs(finite) < 2**53).all())
    )


def column_numbers(column: Column, values: NDArray[Any]) -> Floats:
    """Return a numeric, boolean or date/time raw column as float64, NaN where missing."""
    from hardgrad.tabular.schema import Feature

    if column.kind == "datetime":
        return epoch_seconds(column, values)
    return TableSchema((column,), (Feature("x", 0),)).encode({column.name: values})[:, 0]


def breakpoints(forest: Forest, column: int) -> Floats:
    """Return, sorted, every number at which some node starts to decide otherwise about a numeric column: cells are (low, high]."""
    found = [np.empty(0)]
    oblique = set(forest.term_feature.tolist())
    for number, feature in enumerate(forest.schema.features):
        if feature.column == column and feature.transform == "identity":
            found.append(forest.threshold[forest.feature == number])
            if number in oblique:
                found.append(forest.cut[forest.cut_offset[number] : forest.cut_offset[number + 1]])
    joined = np.unique(np.concatenate(found))
    return joined[np.isfinite(joined)]


@dataclass(frozen=True)
class Cells:
    """The values worth trying for one raw column of one row, cheapest first; the row's own value comes first at no cost.

    Parameters
    ----------
    values : raw values, `values[0]` is the row's own.
    costs : float64 [values], rising, `costs[0]` is 0.
    features : float64 [values, features of this column]; what the forest sees.
    feature_numbers : which features of the schema those are.
    """

    values: list[Any]
    costs: Floats
    features: Floats
    feature_numbers: NDArray[np.int64]


def cells_of(
    forest: Forest, row: Mapping[str, Any], scales: Sequence[Scale], keep: Sequence[str] = ()
) -> list[Cells]:
    """Return the cells of every raw column around one row.

    Parameters
    ----------
    row : raw values by column name.
    scales : of `measure_scales`.
    keep : columns that may not change.

    Raises
    ------
    UnsupportedError : the forest has linear nodes or affine leaves: its leaves are no boxes.
    """
    require_plain(forest, "cells_of()", "Use active_region() of a network, or apply() for the leaf of a row.")
    found = []
    for number, column in enumerate(forest.schema.columns):
        own = row[column.name]
        candidates = [(0.0, own)]
        if column.name not in keep:
            candidates += _alternatives(forest, number, column, own, scales[number])
        candidates.sort(key=lambda pair: pair[0])  # stable: the own value stays first
        found.append(_encode(forest, number, column, candidates))
    return found


def _alternatives(
    forest: Forest, number: int, column: Column, own: Any, scale: Scale
) -> list[tuple[float, Any]]:
    """Other values with their costs. Making a value missing, or a category that training never saw, is not proposed."""
    if column.kind == "categorical":
        ranks = {name: rank for rank, name in enumerate(scale.common)}
        ordered = sorted(column.categories, key=lambda name: (ranks.get(name, len(ranks)), name))
        current = None if is_missing(own) else category_text(own)
        return [(1.0, name) for name in ordered if name != current]
    if column.kind == "boolean":
        return [(1.0, value) for value in (False, True) if is_missing(own) or bool(own) != value]
    missing = is_missing(own)
    x = scale.centre if missing else float(column_numbers(column, _one(own))[0])
    flat = missing or not math.isfinite(
        x
    )  # there is no distance from a missing or an infinite number: any change costs 1
    breaks = breakpoints(forest, number)
    lows, highs = [-math.inf, *breaks.tolist()], [*breaks.tolist(), math.inf]
    candidates = []
    for low, high in zip(lows, highs, strict=True):
        if not missing and low < x <= high:
            continue
        nearest = _nearest(x, low, high, scale.unit)
        raw = None if nearest is None else _raw_number(column, nearest, scale.unit, own)
        if raw is not None:
            assert nearest is not None
            candidates.append((1.0 if flat else abs(nearest - x) / scale.spread, raw))
    return candidates


def _one(value: Any) -> NDArray[Any]:
    array = np.empty(1, dtype=object)
    array[0] = value
    return array


def _nearest(x: float, low: float, high: float, unit: float) -> float | None:
    """The number of the cell (low, high] that is nearest to x, or None where the cell has none (that is a multiple of the unit)."""
    if low < x <= high:
        nearest = math.floor(x / unit) * unit if unit else x
        if nearest > low:
            return nearest
        x = low
    if x <= low:
        if low == -math.inf:
            return None
        nearest = (math.floor(low / unit) + 1) * unit if unit else math.nextafter(low, math.inf)
    else:
        nearest = math.floor(high / unit) * unit if unit else high
    return nearest if low < nearest <= high and math.isfinite(nearest) else None


def _raw_number(column: Column, number: float, unit: float, own: Any) -> Any:
    """A number of a cell as a raw value, or None where the column's type cannot hold it."""
    if column.kind == "datetime":
        time = seconds_to_datetime(number)
        if time is None or unit == DAY:
            return None if time is None else time.date()
        return (
            time if getattr(own, "tzinfo", None) is not None else time.replace(tzinfo=None)
        )  # as the table writes it
    return int(number) if number == math.floor(number) and abs(number) < 2**53 else float(number)


def _encode(forest: Forest, number: int, column: Column, candidates: list[tuple[float, Any]]) -> Cells:
    """Encode the candidates as the forest would and keep the cheapest of those that no node can tell apart."""
    numbers = np.array(
        [j for j, f in enumerate(forest.schema.features) if f.column == number], dtype=np.int64
    )
    features = tuple(
        type(f)(f.name, 0, f.transform, f.codes) for f in forest.schema.features if f.column == number
    )
    raw = np.empty(len(candidates), dtype=object)
    raw[:] = [value for _, value in candidates]
    encoded = TableSchema((column,), features).encode({column.name: raw})
    signatures = node_signatures(forest, numbers, encoded)
    first: dict[bytes, int] = {}
    for i, signature in enumerate(signatures):
        first.setdefault(signature, i)
    kept = sorted(first.values())
    costs = np.array([candidates[i][0] for i in kept])
    return Cells([candidates[i][1] for i in kept], costs, encoded[kept], numbers)


def node_signatures(forest: Forest, numbers: NDArray[np.int64], encoded: Floats) -> list[bytes]:
    """What every node sees of each candidate: axis decisions and, for oblique nodes, integer scores."""
    full = np.full((len(encoded), forest.n_features), np.nan)
    full[:, numbers] = encoded
    nodes = np.flatnonzero(np.isin(forest.feature, numbers))
    x = full[:, forest.feature[nodes]]
    with np.errstate(invalid="ignore"):
        left = np.where(np.isnan(x), forest.default_left[nodes], x <= forest.threshold[nodes])
    scores = forest.feature_scores(full)[:, numbers]
    return [left[i].tobytes() + scores[i].tobytes() for i in range(len(encoded))]
