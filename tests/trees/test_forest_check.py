"""What `check_forest` must see although int32 arithmetic would hide it: differences and absolute values that wrap around."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hardgrad.core.errors import ArtifactError
from hardgrad.tabular.schema import Column, Feature, TableSchema
from hardgrad.trees import forest_from_trees
from hardgrad.trees.probe import random_forest

FOREST = random_forest(1, n_trees=3)


@pytest.mark.parametrize(
    ("name", "value"),
    [("term_weight", -(2**31)), ("score", -(2**31)), ("term_weight", 1024), ("score", -2048)],
)
def test_numbers_outside_their_range(name: str, value: int) -> None:
    array = getattr(FOREST, name).copy()
    array[0] = value
    with pytest.raises(ArtifactError, match="outside"):
        replace(FOREST, **{name: array})


@pytest.mark.parametrize("name", ["tree_offset", "term_offset", "cut_offset"])
def test_offsets_that_wrap_around(name: str) -> None:
    array = getattr(FOREST, name).copy()
    array[1:3] = [2**31 - 1, -2]
    with pytest.raises(ArtifactError, match="must not fall"):
        replace(FOREST, **{name: array})


def test_cuts_further_apart_than_a_double_holds_are_fine() -> None:
    node = {"terms": [(0, 1)], "threshold": 5, "left": {"value": 0.0}, "right": {"value": 1.0}}
    tables = {0: (np.array([-1.7e308, 1.7e308]), np.array([0, 5, 9], dtype=np.int32))}
    assert forest_from_trees([node], ["x"], score_tables=tables).n_leaves == 2


@pytest.mark.parametrize("classes", [(None, 1), ((1,), (2,)), (b"a", b"b")])
def test_labels_of_strange_types(classes: Any) -> None:
    with pytest.raises(ArtifactError, match="labels"):
        replace(FOREST, classes=classes)


def test_names_that_are_not_text() -> None:
    with pytest.raises(ArtifactError, match="text"):
        Column(None)  # type: ignore[arg-type]
    with pytest.raises(ArtifactError, match="text"):
        Column("c", "categorical", (1, 2))  # type: ignore[arg-type]
    with pytest.raises(ArtifactError, match="text"):
        TableSchema((Column("a"),), (Feature(3, 0),))  # type: ignore[arg-type]
    with pytest.raises(ArtifactError, match="number"):
        TableSchema((Column("a"),), (Feature("f", False),))
