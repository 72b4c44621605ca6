"""What every export asks of a forest before it writes a line. Never imports torch."""

from __future__ import annotations

import numpy as np

from hardgrad.core.errors import ExportError
from hardgrad.trees.forest import Forest


def require_bounded_scores(forest: Forest) -> None:
    """Raise `ExportError` where a raw score could overflow: languages would order the NaN that follows
    differently.

    Examples
    --------
    >>> from hardgrad.trees.forest_build import forest_from_trees
    >>> require_bounded_scores(forest_from_trees([{"value": 1.0}], ["x"]))
    """
    with np.errstate(over="ignore"):
        largest = np.abs(forest.base).copy()
        for first, last in zip(forest.tree_offset[:-1], forest.tree_offset[1:], strict=True):
            largest += np.abs(forest.value[first:last]).max(axis=0)
    if not np.isfinite(largest).all():
        raise ExportError(
            "the leaf values of this forest can add up to more than a double holds (1.8e308). "
            "Scale the target down."
        )
