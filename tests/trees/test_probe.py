"""The probe stands where exports break: on thresholds, one ulp beside them, on near misses of categories, around dates."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from hardgrad.core.errors import ParameterError
from hardgrad.tabular.schema import Column, TableSchema, epoch_seconds
from hardgrad.trees import forest_from_trees
from hardgrad.trees.forest import OBLIQUE
from hardgrad.trees.probe import column_edges, generate_rows, near_misses, random_forest, to_arrow

FOREST = random_forest(0, n_trees=10)
ROWS = generate_rows(FOREST, 20_000)


def test_every_threshold_is_met_with_both_neighbours() -> None:
    for column, edges in zip(FOREST.schema.columns, column_edges(FOREST), strict=True):
        values = ROWS[column.name]
        if column.kind == "numeric":
            assert np.isin(edges, values).all()
            with np.errstate(over="ignore"):
                beside = [np.nextafter(edges, side) for side in (-np.inf, np.inf)]
            assert np.isin(np.concatenate(beside), values).all()
            assert (
                np.isnan(values).any()
                and np.isinf(values).any()
                and (np.signbit(values) & (values == 0)).any()
            )
        if column.kind == "datetime":
            seconds = epoch_seconds(column, values)
            for edge in np.floor(edges):
                assert {edge - 1, edge, edge + 1} <= set(seconds.tolist())
            assert (
                (values.astype(np.int64) % 1_000_000 != 0).any()
                and np.isnat(values).any()
                and (seconds < 0).any()
            )


def test_categories_come_with_unseen_and_nearly_seen_ones() -> None:
    for column in FOREST.schema.columns:
        values = set(ROWS[column.name].tolist()) if column.kind in ("categorical", "boolean") else set()
        if column.kind == "categorical":
            assert values >= {None, "", *column.categories, *(name + " " for name in column.categories)}
        if column.kind == "boolean":
            assert values == {None, True, False}
    assert {"OUI", "oui ", "ou", "'oui'"} <= set(near_misses(("oui",), np.random.default_rng(0)))


def test_rows_repeat_with_the_seed_and_can_do_without_infinities() -> None:
    again = generate_rows(FOREST, 20_000)
    for name, values in ROWS.items():
        assert (
            values.tolist() == again[name].tolist()
            if values.dtype == object
            else values.tobytes() == again[name].tobytes()
        )
    finite = generate_rows(FOREST, 5000, random_state=1, infinities=False)
    assert not any(np.isinf(v).any() for v in finite.values() if v.dtype == np.float64)
    assert all(len(values) == 0 for values in generate_rows(FOREST, 0).values())


def test_thresholds_beyond_the_doubles_do_not_break_it() -> None:
    trees = [
        {"feature": 0, "threshold": t, "left": {"value": 0.0}, "right": {"value": 1.0}}
        for t in (-np.inf, np.inf, 1.7976931348623157e308, 5e-324, -0.0)
    ]
    forest = forest_from_trees(trees, ["x"])
    assert len(np.unique(forest.apply(generate_rows(forest, 1000)))) == 10


@pytest.mark.parametrize("oblique", [False, True])
def test_random_forests_are_varied_and_reached(oblique: bool) -> None:
    forest = random_forest(5, n_trees=30, max_depth=4, oblique=oblique)
    assert bool((forest.feature == OBLIQUE).any()) is oblique
    kinds = {forest.schema.features[f].transform for f in forest.used_features()}
    assert kinds == {"identity", "codes", "missing"}
    reached = len(np.unique(forest.apply(generate_rows(forest, 5000))))
    assert reached > 0.4 * forest.n_leaves
    assert random_forest(5, n_trees=30, max_depth=4, oblique=oblique).equals(forest)
    assert not random_forest(6, n_trees=30, max_depth=4, oblique=oblique).equals(forest)


def test_random_forests_take_columns_labels_and_links() -> None:
    assert random_forest(0, columns=2).schema == TableSchema.numeric(["x0", "x1"])
    assert random_forest(0, columns=[Column("only")]).schema.names == ("only",)
    assert random_forest(0, columns=FOREST.schema).schema is FOREST.schema
    assert len(random_forest(0, n_outputs=9).classes) == 9 and random_forest(0, n_outputs=9).link == "softmax"
    assert random_forest(0, classes=(0, 1)).classes == (0, 1)
    assert random_forest(0, task="regression").link == "identity"


def test_arrow_tables_have_the_types_and_both_kinds_of_missing() -> None:
    table = to_arrow(ROWS, FOREST.schema)
    assert [str(t) for t in table.schema.types] == ["double"] * 7 + [
        "bool",
        "string",
        "string",
        "timestamp[us]",
    ]
    age = table["age"]
    assert 0 < age.null_count < np.isnan(ROWS["age"]).sum()
    assert to_arrow(ROWS, FOREST.schema, missing="nan")["age"].null_count == 0
    assert to_arrow(ROWS, FOREST.schema, missing="null")["age"].null_count == np.isnan(ROWS["age"]).sum()
    for missing in ("mixed", "null", "nan"):
        assert np.array_equal(
            FOREST.apply(to_arrow(ROWS, FOREST.schema, missing=missing)), FOREST.apply(ROWS)
        )
    with pytest.raises(ParameterError, match="mixed"):
        to_arrow(ROWS, FOREST.schema, missing="none")
    assert isinstance(table, pa.Table)
