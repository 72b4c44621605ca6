"""Speed: measured with the engine that is named, in calls whose rows are those that were given, again and again."""

from __future__ import annotations

import numpy as np
import pytest

from hardgrad.core.errors import DataError
from hardgrad.core.timing import shortest_seconds
from hardgrad.tabular.speed import MOST_ROWS, measure_speed
from hardgrad.trees import forest_from_trees

FOREST = forest_from_trees(
    [{"feature": 0, "threshold": 0.0, "left": {"value": 1.0}, "right": {"value": 2.0}}], ["x"]
)


@pytest.mark.parametrize("rows", [1, 7, MOST_ROWS + 5])
def test_every_number_of_rows(rows):
    speed = measure_speed(FOREST, np.zeros((rows, 1)))
    assert speed.rows_per_second > 0 and speed.rows <= MOST_ROWS and speed.rows >= min(rows, MOST_ROWS)
    assert speed.engine == FOREST.runtime("auto").engine
    assert speed.engine in str(speed) and "this machine" in str(speed)
    assert speed.to_dict().keys() == {"rows_per_second", "engine", "rows"}


def test_no_rows():
    with pytest.raises(DataError, match="no rows"):
        measure_speed(FOREST, np.zeros((0, 1)))


def test_the_first_call_is_not_counted():
    calls = []
    assert shortest_seconds(lambda: calls.append(None), lasting=0.0) >= 0
    assert len(calls) == 2
