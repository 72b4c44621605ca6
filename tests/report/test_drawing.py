"""Words and strokes: numbers as written, scales, labels that keep apart, conditions in short."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardgrad.report import plots, wording
from hardgrad.report.importance import Importance
from hardgrad.report.plots_quality import compact
from hardgrad.report.plots_training import training
from hardgrad.report.svg import Drawing, Scale, element, log_ticks, spread, ticks
from hardgrad.tabular.schema import Column, Feature, TableSchema
from hardgrad.trees.forest import LEAF
from hardgrad.trees.forest_build import forest_from_trees
from hardgrad.trees.probe import random_forest


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (1234567.0, "1,234,567"), (0.5, "0.5"),
     (-12.345, "−12.35"), (1e-7, "1.000e−07"), (math.inf, "∞"), (None, "–"), (math.nan, "–")],
)  # fmt: skip
def test_numbers(value: float | None, text: str) -> None:
    assert wording.number(value) == text


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_numbers_never_fail(value: float) -> None:
    assert wording.number(value) and compact(abs(value) if math.isfinite(value) else 0.0)


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9))
def test_ticks_are_round_and_within(low: float, width: float) -> None:
    high = low + width
    found = ticks(low, high)
    assert len(found) <= 12 and all(low - width * 1e-6 <= t <= high + width * 1e-6 for t in found)


@given(st.floats(0.001, 1e6), st.floats(1.5, 1e6))
def test_log_ticks_are_within(low: float, ratio: float) -> None:
    assert log_ticks(low, low * ratio)


@given(st.lists(st.floats(0, 100), max_size=5))
def test_labels_keep_apart_and_in_order(wanted: list[float]) -> None:
    placed = spread(wanted, 12.0, 0.0, 100.0)
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    at = [placed[i] for i in order]
    assert all(b - a >= 12 - 1e-9 for a, b in pairwise(at))


def test_scales() -> None:
    assert Scale(0, 10, 100, 200)(5) == 150 and Scale(3, 3, 0, 10)(3) == 5
    assert Scale(1, 100, 0, 2, log=True)(10) == pytest.approx(1)


def test_elements_are_escaped() -> None:
    assert (
        element("text", "<&>", class_="a", data_x='"')
        == '<text class="a" data-x="&#34;">&lt;&amp;&gt;</text>'
    )
    drawing = Drawing(10, 10, '"><script>')
    drawing.text(0, 0, "</text><script>")
    assert "<script>" not in drawing.svg()


def conditions(schema: TableSchema, feature: int, threshold: float) -> tuple[str, str]:
    tree = {"feature": feature, "threshold": threshold, "left": {"value": 0.0}, "right": {"value": 1.0}}
    forest = forest_from_trees([tree], schema)
    return wording.short_condition(forest, 0), wording.opposite(forest, 0)


def test_conditions_and_their_opposites() -> None:
    columns = (
        Column("a ≤ b"),
        Column("state", "categorical", ("CA", "NY", "TX", "WA")),
        Column("flag", "boolean"),
        Column("day", "datetime"),
    )
    features = (
        Feature("a", 0), Feature("m", 0, "missing"), Feature("s", 1, "codes", (0.1, 0.2, 0.3, 0.4, 0.5)), Feature("f", 2), Feature("d", 3),
    )  # fmt: skip
    schema = TableSchema(columns, features)
    assert conditions(schema, 0, 0.123456) == ("a ≤ b ≤ 0.1235", "a ≤ b > 0.1235")
    assert conditions(schema, 1, 0.5) == ("a ≤ b is present", "a ≤ b is missing")
    assert conditions(schema, 2, 0.1) == ("state is CA", "state is not CA")
    assert conditions(schema, 2, 0.2) == ("state in {CA, NY}", "state not in {CA, NY}")
    assert conditions(schema, 2, 0.3) == ("state is not WA", "state is WA")
    assert conditions(schema, 2, 0.45) == ("state is not unseen or missing", "state is unseen or missing")
    odd = TableSchema(
        (Column("c", "categorical", ("false", "not x", "x")),),
        (Feature("c", 0, "codes", (0.1, 0.2, 0.3, 0.4)),),
    )
    assert conditions(odd, 0, 0.1) == ("c is false", "c is not false")
    assert conditions(odd, 0, 0.05) == ("c is none of them", "c is not none of them")
    assert conditions(schema, 3, 0.5) == ("flag is false", "flag is true")
    assert conditions(schema, 4, 86400.0) == ("day ≤ 1970-01-02", "day > 1970-01-02")


def test_oblique_condition_weighs_its_terms() -> None:
    tree = {
        "terms": [(0, -187), (1, 1000)],
        "threshold": 1500,
        "left": {"value": 0.0},
        "right": {"value": 1.0},
    }
    tables = {k: (np.array([0.0]), np.array([-1, 1], dtype=np.int32)) for k in (0, 1)}
    forest = forest_from_trees([tree], ["age", "income"], score_tables=tables)
    assert wording.short_condition(forest, 0) == "income − .19 age ≤ 1.5"
    assert wording.opposite(forest, 0) == "income − .19 age > 1.5"
    assert wording.long_condition(forest, 0).startswith("-187 * score(age)")


def test_zero_has_no_sign() -> None:
    assert wording.fixed(-0.0001, 3) == "0.000" and wording.fixed(0.00001, 2, sign=True) == "+0.00"


def test_every_condition_of_awkward_forests_can_be_said() -> None:
    for seed in range(3):
        forest = random_forest(
            seed, n_trees=4, max_depth=4, n_outputs=1, link="identity", task="regression", oblique=True
        )
        for node in np.flatnonzero(forest.feature != LEAF).tolist():
            assert wording.short_condition(forest, node) != wording.opposite(forest, node)
            assert wording.long_condition(forest, node)


def test_pictures_with_little_to_show() -> None:
    assert training([], "log_loss", 860, False) is None
    assert training([{"soft": 1.0, "hard": None}], "log_loss", 860, False) is None
    assert training([{"soft": 1.0}, {"soft": 1.0}], "log_loss", 340, False) is not None
    assert plots.front([{"leaves": 3, "loss": 1.0}], [], "bytes", "r2", 380) is None
    assert (
        plots.front([{"leaves": 3, "loss": 1.0}, {"leaves": 3, "loss": 1.0}], [], "leaves", "r2", 380)
        is not None
    )
    assert plots.importance([Importance("x", 0.0, 0.0, 0.0)], 860)
    names = [f"pixel_{k}_{k}" for k in range(8)]
    for width in (860, 340):  # names that fit are not cut
        picture = str(plots.importance([Importance(name, 1.0, 1.0, 1.0) for name in names], width))
        assert all(f">{name}<" in picture for name in names)
