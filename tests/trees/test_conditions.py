"""Conditions in words say what the arithmetic does; cells are what the nodes can tell apart."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pytest

from hardgrad.tabular.schema import Column, Feature, TableSchema
from hardgrad.trees import forest_from_trees
from hardgrad.trees.cells import cells_of, measure_scales
from hardgrad.trees.conditions import condition_text, number_text, seconds_to_datetime, value_text
from hardgrad.trees.forest import Forest

SCHEMA = TableSchema(
    (
        Column("age"),
        Column("state", "categorical", ("CA", "NY", "TX", "WA")),
        Column("on", "datetime"),
        Column("ok", "boolean"),
    ),
    (
        Feature("age", 0),
        Feature("state", 1, "codes", (0.1, 0.2, 0.3, 0.4, 0.25)),
        Feature("on", 2),
        Feature("ok", 3),
        Feature("age is missing", 0, "missing"),
    ),
)


def stump(feature: int, threshold: float, default_left: bool = False) -> Forest:
    node = {
        "feature": feature, "threshold": threshold, "default_left": default_left, "left": {"value": 0.0}, "right": {"value": 1.0},
    }  # fmt: skip
    return forest_from_trees([node], SCHEMA)


@pytest.mark.parametrize(
    ("feature", "threshold", "default_left", "words"),
    [
        (0, 35.0, False, "age <= 35"),
        (0, 0.1, True, "age <= 0.1 or missing"),
        (1, 0.15, False, "state in {'CA'}"),
        (1, 0.25, True, "state in {'CA', 'NY', unseen, missing}"),
        (1, 0.35, False, "state not in {'WA', missing}"),
        (2, 86400.0, False, "on <= 1970-01-02"),
        (2, 86401.0, False, "on <= 1970-01-02 00:00:01"),
        (2, 1e300, False, "on <= 1e+300"),
        (3, 0.5, False, "ok is false"),
        (4, 0.5, False, "age is present"),
        (4, 1.5, False, "age is anything"),
        (4, -1.0, False, "age is nothing"),
    ],
)
def test_words(feature: int, threshold: float, default_left: bool, words: str) -> None:
    assert condition_text(stump(feature, threshold, default_left), 0) == words


def test_oblique_words_and_leaves() -> None:
    node = {
        "terms": [(0, -1), (1, 3), (3, -7)],
        "threshold": 4,
        "left": {"value": 0.0},
        "right": {"value": 1.0},
    }
    tables = {f: (np.array([0.5]), np.array([0, 1], dtype=np.int32)) for f in (0, 1, 3)}
    forest = forest_from_trees([node], SCHEMA, score_tables=tables)
    assert condition_text(forest, 0) == "-score(age) + 3 * score(state) - 7 * score(ok) <= 4"
    with pytest.raises(ValueError, match="node 1 is a leaf"):
        condition_text(forest, 1)


def test_values() -> None:
    values: list[tuple[Any, str]] = [
        (None, "missing"),
        (float("nan"), "missing"),
        (np.float64(0.1), "0.1"),
        (True, "true"),
        ("a'b", '"a\'b"'),
        (dt.date(2020, 1, 2), "2020-01-02"),
        (1e17, "1e+17"),
    ]
    assert [value_text(value) for value, _ in values] == [text for _, text in values]
    assert number_text(float("inf")) == "inf"
    assert seconds_to_datetime(float("inf")) is None


def test_cells_respect_what_a_column_can_hold() -> None:
    forest = stump(0, 35.5)
    whole = {"age": [20, 50, None], "state": ["CA"] * 3, "on": [None] * 3, "ok": [True] * 3}
    real = {**whole, "age": [20.5, 50.25, None]}
    for table, expected in ((whole, [20, 36]), (real, [20.5, float(np.nextafter(35.5, 99))])):
        scales = measure_scales(forest, forest.schema.raw_columns(table))
        row = {name: values[0] for name, values in table.items()}
        cells = cells_of(forest, row, scales)
        assert cells[0].values == expected
        assert [len(cell.values) for cell in cells] == [2, 1, 1, 1], (
            "columns that nothing tests have one cell"
        )
        assert len(cells_of(forest, row, scales, keep=("age",))[0].values) == 1


def test_days_stay_days() -> None:
    forest = stump(2, 86400.0 * 10 + 5.0)
    table = {"age": [1], "state": ["CA"], "on": [dt.date(1970, 1, 3)], "ok": [True]}
    scales = measure_scales(forest, forest.schema.raw_columns(table))
    cells = cells_of(forest, {name: values[0] for name, values in table.items()}, scales)
    assert cells[2].values[1] == dt.date(1970, 1, 12)
    timed = {**table, "on": [dt.datetime(1970, 1, 3, 1)]}
    scales = measure_scales(forest, forest.schema.raw_columns(timed))
    cells = cells_of(forest, {name: values[0] for name, values in timed.items()}, scales)
    assert cells[2].values[1] == dt.datetime(1970, 1, 11, 0, 0, 6)
