"""Speed: how many rows a second an exact model answers here. Never imports torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import DataError
from hardgrad.core.timing import shortest_seconds
from hardgrad.tabular.table_model import TableModel

MOST_ROWS = 1 << 15
"""Rows of one call: more would measure the memory of the machine."""
CALL_SECONDS = 0.01
"""A call that takes this long is not hurt by how coarse a clock is."""


@dataclass(frozen=True)
class Speed:
    """How fast a model answered on the machine that it was measured on.

    Parameters
    ----------
    rows_per_second : from features, row by row, to a class or a value, in the processor's time of one thread.
    engine : what ran, "numpy" being the reference.
    rows : rows of one call.
    """

    rows_per_second: float
    engine: str
    rows: int

    def to_dict(self) -> dict[str, Any]:
        """Return the figures in a form that `json` can write."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"{self.rows_per_second:,.0f} rows/s on this machine, features to answer, engine {self.engine}, one thread, "
            f"{self.rows:,} rows a call"
        )


def measure_speed(model: TableModel, X: NDArray[np.float64]) -> Speed:
    """Measure a model with its fastest engine for some tenths of a second.

    Parameters
    ----------
    model : an exact model of tables.
    X : encoded rows, float64 [n, features], repeated until a call takes some milliseconds.

    Raises
    ------
    DataError : no rows.

    Examples
    --------
    >>> from hardgrad.trees import forest_from_trees
    >>> model = forest_from_trees([{"feature": 0, "threshold": 0.0, "left": {"value": 1.0}, "right": {"value": 2.0}}], ["x"])
    >>> measure_speed(model, np.zeros((10, 1))).rows_per_second > 0
    True
    """
    if not len(X):
        raise DataError("measure_speed() got no rows; expected at least one to answer for.")
    runtime = model.runtime(model.fastest_engine())
    answer = runtime.predict_encoded
    rows = np.ascontiguousarray(X[:MOST_ROWS], dtype=np.float64)
    while len(rows) < MOST_ROWS and shortest_seconds(partial(answer, rows), lasting=0.0) < CALL_SECONDS:
        rows = np.concatenate([rows, rows])[:MOST_ROWS]
    seconds = shortest_seconds(partial(answer, rows))
    return Speed(len(rows) / seconds, getattr(runtime, "engine", "numpy"), len(rows))
