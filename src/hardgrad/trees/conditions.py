"""What a node asks, in words, and raw values as a reader would write them. Never imports torch.

Used wherever a tree is read by a person: explanations, the report. Exports to languages restate the arithmetic instead.
"""

from __future__ import annotations

import datetime as dt
import math
from typing import Any

import numpy as np

from hardgrad.tabular.schema import Column, Feature, is_missing
from hardgrad.trees.forest import LEAF, LINEAR, OBLIQUE, Forest

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_LAST_SECOND = (dt.datetime.max.replace(tzinfo=dt.UTC) - _EPOCH) // dt.timedelta(seconds=1)
_FIRST_SECOND = (dt.datetime.min.replace(tzinfo=dt.UTC) - _EPOCH) // dt.timedelta(seconds=1)


def number_text(value: float) -> str:
    """Return a number the short way that reads back to the same double: "35", "0.1", "1e+300".

    >>> number_text(35.0), number_text(0.1)
    ('35', '0.1')
    """
    if math.isfinite(value) and value == int(value) and abs(value) < 1e15:
        return str(int(value))
    return repr(float(value))


def seconds_to_datetime(seconds: float) -> dt.datetime | None:
    """Return the UTC time of whole seconds since 1970, or None outside the years 1 to 9999."""
    whole = math.floor(seconds) if math.isfinite(seconds) else None
    if whole is None or not _FIRST_SECOND <= whole <= _LAST_SECOND:
        return None
    return _EPOCH + dt.timedelta(seconds=whole)


def value_text(value: Any) -> str:
    """Return one raw value as a reader would write it; a text is quoted, a missing value is "missing"."""
    if is_missing(value):
        return "missing"
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    if isinstance(value, str):
        return repr(value)
    if isinstance(value, (dt.datetime, dt.date)):
        return value.isoformat()
    if isinstance(value, np.datetime64):
        return str(value)
    return number_text(float(value)) if isinstance(value, (int, float, np.number)) else str(value)


def condition_text(forest: Forest, node: int, *, categories: int = 6) -> str:
    """Return what sends a row LEFT at an inner node, as in "age <= 35" or "state in {'NY', 'TX'}".

    Parameters
    ----------
    forest : the forest.
    node : number of an inner node.
    categories : name at most so many categories, then say how many more there are.
    """
    if forest.feature[node] == LEAF:
        raise ValueError(f"node {node} is a leaf and asks nothing.")
    if forest.feature[node] == OBLIQUE:
        return _oblique_text(forest, node)
    if forest.feature[node] == LINEAR:
        return f"{linear_text(forest, node)} <= {number_text(float(forest.threshold[node]))}"
    feature = forest.schema.features[forest.feature[node]]
    column = forest.schema.columns[feature.column]
    threshold, missing_left = float(forest.threshold[node]), bool(forest.default_left[node])
    if feature.transform == "missing":
        return _missing_text(column, threshold)
    if feature.transform == "codes":
        return _category_text(column, feature, threshold, missing_left, categories)
    text = _number_condition(column, threshold)
    return f"{text} or missing" if missing_left else text


def _missing_text(column: Column, threshold: float) -> str:
    if 0 <= threshold < 1:
        return f"{column.name} is present"
    return f"{column.name} is anything" if threshold >= 1 else f"{column.name} is nothing"


def _number_condition(column: Column, threshold: float) -> str:
    if column.kind == "boolean" and 0 <= threshold < 1:
        return f"{column.name} is false"
    if column.kind == "datetime" and (time := seconds_to_datetime(threshold)) is not None:
        return f"{column.name} <= {time.strftime('%Y-%m-%d %H:%M:%S').removesuffix(' 00:00:00')}"
    return f"{column.name} <= {number_text(threshold)}"


def _category_text(column: Column, feature: Feature, threshold: float, missing_left: bool, limit: int) -> str:
    left = [c for c, code in zip(column.categories, feature.codes, strict=False) if code <= threshold]
    right = [c for c, code in zip(column.categories, feature.codes, strict=False) if not code <= threshold]
    extras = [
        word for word, goes in (("unseen", feature.codes[-1] <= threshold), ("missing", missing_left)) if goes
    ]
    if len(left) <= len(right):
        return f"{column.name} in {_set_text(left, extras, limit)}"
    outside = [word for word in ("unseen", "missing") if word not in extras]
    return f"{column.name} not in {_set_text(right, outside, limit)}"


def _set_text(names: list[str], words: list[str], limit: int) -> str:
    shown = [repr(name) for name in names[:limit]]
    if len(names) > limit:
        shown.append(f"{len(names) - limit} more")
    return "{" + ", ".join([*shown, *words]) + "}"


def _oblique_text(forest: Forest, node: int) -> str:
    parts: list[str] = []
    for term in range(forest.term_offset[node], forest.term_offset[node + 1]):
        weight, name = int(forest.term_weight[term]), forest.schema.features[forest.term_feature[term]].name
        sign = ("- " if weight < 0 else "+ ") if parts else ("-" if weight < 0 else "")
        factor = "" if abs(weight) == 1 else f"{abs(weight)} * "
        parts.append(f"{sign}{factor}score({name})")
    return f"{' '.join(parts)} <= {number_text(float(forest.threshold[node]))}"


def linear_text(forest: Forest, node: int) -> str:
    """Return the sum of a linear node, as in "0.5 * age - 2 * income"."""
    span = slice(forest.term_offset[node], forest.term_offset[node + 1])
    return weighted_text(forest, forest.term_feature[span].tolist(), forest.linear_weight[span].tolist())


def weighted_text(
    forest: Forest, features: list[int], weights: list[float], digits: int | None = None
) -> str:
    """Return a sum of weights times features; weights are rounded to significant digits, by default exact."""
    parts: list[str] = []
    for f, weight in zip(features, weights, strict=True):
        sign = ("- " if weight < 0 else "+ ") if parts else ("-" if weight < 0 else "")
        size = number_text(abs(weight)) if digits is None else f"{abs(weight):.{digits}g}"
        parts.append(f"{sign}{'' if size == '1' else f'{size} * '}{forest.schema.features[f].name}")
    return " ".join(parts)
