import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from hardgrad.core.errors import DataError
from hardgrad.tabular.weights import check_weights


@pytest.mark.parametrize(
    "weight",
    [
        [1, 2.5, 0],
        (1, 2.5, 0),
        np.array([1, 2.5, 0]),
        pd.Series([1, 2.5, 0]),
        pl.Series([1.0, 2.5, 0.0]),
        pa.array([1, 2.5, 0]),
    ],
)
def test_weights_of_every_library(weight):
    checked = check_weights(weight, 3)
    assert checked.dtype == np.float64
    assert checked.tolist() == [1.0, 2.5, 0.0]


def test_no_weights_are_ones():
    assert check_weights(None, 2).tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ([1, 2], "one weight for each of the 3 rows"),
        ([1, -2, 1], "holds -2 in row 1"),
        ([1, 2, float("nan")], "row 2"),
        ([1, 2, None], "row 2"),
        ([1, float("inf"), 1], "holds inf in row 1"),
        ([1, "heavy", 1], "'heavy' in row 1"),
        ([0, 0, 0], "zero everywhere"),
        (object(), "column of numbers"),
    ],
)
def test_bad_weights_are_named(weight, message):
    with pytest.raises(DataError, match=message):
        check_weights(weight, 3)


def test_a_piece_of_a_table_names_its_own_rows_and_may_weigh_nothing():
    assert check_weights([0, 0], 2, number=np.array([10, 11])).tolist() == [0.0, 0.0]
    with pytest.raises(DataError, match="row 11"):
        check_weights([0, -1], 2, number=np.array([10, 11]))
