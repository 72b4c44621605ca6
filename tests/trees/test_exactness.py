"""The exactness check finds what it is for: one ulp of a threshold, one bit of a value, a swapped default, a wrong class."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hardgrad.core.errors import ExportError, ParameterError
from hardgrad.export.compiled_c import has_compiler
from hardgrad.trees import Forest, exactness
from hardgrad.trees.exactness import ENGINES, ExactCheck, check_exactness, differences, probability_ulp
from hardgrad.trees.exactness_engines import Answer, Unavailable
from hardgrad.trees.forest import LEAF
from hardgrad.trees.probe import Rows, generate_rows, random_forest

FORESTS = {
    "binary": random_forest(1, n_trees=5),
    "three classes": random_forest(2, n_trees=5, n_outputs=3),
    "two targets": random_forest(3, n_trees=5, n_outputs=2, task="regression"),
}


@pytest.mark.parametrize("case", FORESTS)
def test_every_engine_that_is_here_is_exact(case: str) -> None:
    checks = check_exactness(FORESTS[case], rows=1000)
    assert [check.engine for check in checks] == [name for name in ENGINES if name != "packed c"]
    for check in checks:
        assert check.exact or check.skipped_reason, str(check)
    assert sum(check.exact for check in checks) >= 3 + has_compiler()


class Impostor:
    """An engine that answers with the reference of another forest."""

    def __init__(self, forest: Forest) -> None:
        self.forest = forest

    def rows(self, rows: Rows) -> Rows:
        return rows

    def score(self, rows: Rows) -> Answer:
        leaves = self.forest.apply(rows)
        raw = self.forest.sum_leaves(leaves)
        if self.forest.task == "regression":
            return Answer(leaves, raw, None, raw)
        return Answer(leaves, raw, self.forest.raw_to_proba(raw), self.forest.raw_to_class_index(raw))


def nudged(forest: Forest, name: str, at: int, value: Any) -> Forest:
    array = getattr(forest, name).copy()
    array[at] = value
    return replace(forest, **{name: array})


def axis_nodes(forest: Forest, column: str) -> list[int]:
    return [
        i
        for i, f in enumerate(forest.feature.tolist())
        if f >= 0 and forest.schema.features[f].transform == "identity" and np.isfinite(forest.threshold[i])
        and forest.schema.columns[forest.schema.features[f].column].kind == column
    ]  # fmt: skip


def caught(forest: Forest, other: Forest) -> int:
    rows = generate_rows(forest, 3000)
    return int(differences(forest, rows, Impostor(other).score(rows))[0].sum())


@pytest.mark.parametrize("toward", [-np.inf, np.inf])
def test_one_ulp_of_a_root_threshold_is_found(toward: float) -> None:
    found = 0
    for seed in range(25):
        forest = random_forest(seed, n_trees=1, max_depth=2, oblique=False)
        if 0 in axis_nodes(forest, "numeric"):
            assert (
                caught(forest, nudged(forest, "threshold", 0, np.nextafter(forest.threshold[0], toward))) > 0
            )
            found += 1
    assert found >= 5


def test_one_bit_of_a_leaf_and_a_wrong_default_are_found() -> None:
    forest = random_forest(4, n_trees=1, max_depth=1, oblique=False)
    leaf = int(np.flatnonzero(forest.feature == LEAF)[0])
    assert caught(forest, nudged(forest, "value", leaf, np.nextafter(forest.value[leaf], 9.0))) > 0
    assert caught(forest, nudged(forest, "default_left", 0, not forest.default_left[0])) > 0


def test_a_wrong_leaf_number_class_or_probability_is_found() -> None:
    forest = FORESTS["three classes"]
    rows = generate_rows(forest, 50)
    good = Impostor(forest).score(rows)
    assert not differences(forest, rows, good)[0].any()
    assert good.leaves is not None and good.predicted is not None and good.probabilities is not None
    for bad in (
        replace(good, leaves=good.leaves + 1),
        replace(good, predicted=good.predicted + 1),
        replace(good, probabilities=good.probabilities * (1 + 1e-14)),
        replace(good, probabilities=np.full_like(good.probabilities, np.nan)),
    ):
        assert differences(forest, rows, bad)[0].all()
    assert not differences(forest, rows, Answer())[0].any()


def test_probabilities_are_measured_in_their_last_place() -> None:
    forest = FORESTS["three classes"]
    expected = np.array([[0.5, 1e-10, 0.0]])
    got = np.nextafter(expected, 1)
    assert probability_ulp(forest, got, expected).round(6).tolist() == [[1.0, 1.0, 0.0]]
    binary = np.array([[1e-9, 1.0 - 1e-9]])
    assert probability_ulp(FORESTS["binary"], binary + np.array([[1e-16, 0.0]]), binary)[0, 0] < 1


def test_a_differing_row_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    other = random_forest(9, n_trees=5)
    monkeypatch.setitem(exactness.ENGINES, "impostor", lambda forest: Impostor(other))
    (check,) = check_exactness(FORESTS["binary"], rows=100, engines=["impostor"])
    assert not check.exact and check.differing > 50
    assert check.first_differing is not None and set(check.first_differing) == set(
        FORESTS["binary"].schema.names
    )
    assert str(check) == f"impostor: {check.differing} of 100 rows differ"


def test_what_cannot_run_is_skipped_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(forest: Forest) -> Any:
        raise ExportError("too wide")

    def absent(forest: Forest) -> Any:
        raise Unavailable("not installed")

    monkeypatch.setitem(exactness.ENGINES, "refuses", refuse)
    monkeypatch.setitem(exactness.ENGINES, "absent", absent)
    monkeypatch.setenv("PATH", "")
    names = ["refuses", "absent", "javascript", "packed c"]
    checks = check_exactness(FORESTS["binary"], rows=100, engines=names)
    reasons = [
        "too wide",
        "not installed",
        "node is not installed",
        "the forest was not made for a number of bytes",
    ]
    assert [check.skipped_reason for check in checks] == reasons
    assert not any(check.exact for check in checks) and str(checks[1]) == "absent: skipped, not installed"


def test_rows_are_the_same_for_a_seed_and_counted_over_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exactness, "CHUNK", 64)
    seen: list[bytes] = []

    class Recorder(Impostor):
        def rows(self, rows: Rows) -> Rows:
            seen.append(rows["age"].tobytes())
            return rows

    monkeypatch.setitem(exactness.ENGINES, "recorder", Recorder)
    for seed in (0, 0, 1):
        (check,) = check_exactness(FORESTS["binary"], rows=150, engines=["recorder"], random_state=seed)
        assert check.rows == 150 and check.exact
    assert seen[:3] == seen[3:6] != seen[6:9] and len(set(seen[:3])) == 3


def test_bad_parameters() -> None:
    with pytest.raises(ParameterError, match="Did you mean 'duckdb'"):
        check_exactness(FORESTS["binary"], engines=["duckbd"])
    with pytest.raises(ParameterError, match="at least 1"):
        check_exactness(FORESTS["binary"], rows=0)
    assert not ExactCheck("c", 0, 0, 0.0).exact
