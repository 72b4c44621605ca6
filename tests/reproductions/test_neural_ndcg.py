"""The lists of the reproduction are what it says: grades by rank within the list, clicks that many lists lack or nearly fill."""

from __future__ import annotations

import numpy as np

from hardgrad.reproductions.neural_ndcg import ITEMS, _clicks, _graded


def test_grades_follow_the_rank_within_each_list() -> None:
    grades = _graded(0, True).y.reshape(-1, ITEMS)
    assert np.array_equal(
        np.sort(grades, axis=1), np.tile(np.floor(5 * (np.arange(ITEMS) / ITEMS) ** 2), (len(grades), 1))
    )


def test_clicks_leave_some_lists_empty_and_fill_others() -> None:
    share = _clicks(0, True).y.reshape(-1, ITEMS).mean(axis=1)
    assert (share == 0).mean() > 0.2 and (share > 0.9).any()
