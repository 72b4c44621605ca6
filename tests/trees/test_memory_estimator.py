"""MemoryForestClassifier: what is trained, what is written, and that the forest it ships is exact."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.model_selection import train_test_split

from hardgrad.core.errors import DataError
from hardgrad.trees import MemoryForest, MemoryForestClassifier
from hardgrad.trees.exactness import check_exactness

X, Y = load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])[Y]
X_TRAIN, X_TEST, Y_TRAIN, Y_TEST = train_test_split(X, NAMES, test_size=0.4, stratify=NAMES, random_state=0)


def small(**options: object) -> MemoryForestClassifier:
    return MemoryForestClassifier(6, 3, **{"random_state": 0, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{}, {"n_slots": 6}, {"n_slots": 6, "n_read": 2}])
def test_it_learns_and_its_exports_are_exact(options: dict[str, int]) -> None:
    model = small(**options).fit(X_TRAIN, Y_TRAIN)
    assert model.score(X_TEST, Y_TEST) > 0.85
    assert model.memory_.compression().rows <= options.get("n_slots", 48)
    for check in check_exactness(model.harden(), rows=200, engines=["numba", "duckdb"]):
        assert check.skipped_reason is None and check.differing == 0


def test_later_rows_are_written_and_nothing_else_moves(tmp_path: Path) -> None:
    model = small().partial_fit(X_TRAIN[:40], Y_TRAIN[:40], classes=NAMES)
    router = model.memory_.controller.weight.detach().clone()
    model.partial_fit(X_TRAIN[40:], Y_TRAIN[40:])
    assert model.score(X_TEST, Y_TEST) > 0.85 and model.gap_ is None
    assert bool((model.memory_.controller.weight == router).all())
    assert float(model.memory_.memory.mass.sum()) == pytest.approx(50.0)
    loaded = MemoryForest.load(model.memory_.save(tmp_path / "memory.safetensors"))
    assert loaded.harden().equals(model.harden())
    loaded.partial_fit(X_TEST, Y_TEST)
    assert loaded.harden().equals(model.partial_fit(X_TEST, Y_TEST).harden())
    with pytest.raises(DataError, match="'rose'"):
        model.partial_fit(X_TEST[:1], ["rose"])


def test_tables_with_categories_and_missing_values() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {"petal": np.where(X[:, 0] > 7, np.nan, X[:, 2]), "wide": np.where(X[:, 3] > 1.2, "yes", "no")}
    )
    model = small().fit(frame, NAMES).partial_fit(frame, NAMES)
    assert model.score(frame, NAMES) > 0.85
    assert [column.name for column in model.harden().schema.columns] == ["petal", "wide"]
