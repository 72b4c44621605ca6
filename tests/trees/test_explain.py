"""Explanations are exact: contributions against brute force over subsets, counterfactuals against every point there is."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from hardgrad.core.errors import DataError, ParameterError, SchemaError
from hardgrad.tabular.schema import Column, Feature, TableSchema
from hardgrad.trees import forest_from_trees
from hardgrad.trees.attribution import attribute
from hardgrad.trees.cells import cells_of, measure_scales
from hardgrad.trees.counterfactual import nearest_counterfactual
from hardgrad.trees.explanation import explain
from hardgrad.trees.forest import Forest
from hardgrad.trees.probe import AWKWARD_COLUMNS, generate_rows, random_forest

COLUMNS = tuple(c for i, c in enumerate(AWKWARD_COLUMNS) if i in (0, 1, 3, 7, 8, 10))
LINKS = [("sigmoid", "classification", 1), ("softmax", "classification", 3), ("identity", "regression", 1)]


def small_forest(seed: int, link: str = "sigmoid", task: str = "classification", outputs: int = 1) -> Forest:
    oblique = seed % 2 == 1
    return random_forest(
        seed,
        n_trees=3,
        max_depth=3,
        n_outputs=outputs,
        link=link,
        task=task,
        oblique=oblique,
        columns=COLUMNS,
    )


def rows_of(forest: Forest, n: int, seed: int) -> dict[str, np.ndarray]:
    return generate_rows(forest, n, random_state=seed)


def brute_force_shapley(forest: Forest, x: np.ndarray, background: np.ndarray) -> list[list[Fraction]]:
    """The definition, subset by subset, with exact sums."""
    columns = len(forest.schema.columns)
    owner = np.array([feature.column for feature in forest.schema.features])
    trees = Fraction(1, forest.n_trees) if forest.aggregation == "mean" else Fraction(1)

    def worth(subset: tuple[int, ...]) -> list[Fraction]:
        mixed = np.where(np.isin(owner, subset), x, background)
        leaves = forest.apply_encoded(mixed)
        return [
            sum((Fraction(float(v)) for v in forest.value[leaves, k].ravel()), Fraction(0))
            / len(mixed)
            * trees
            for k in range(forest.n_outputs)
        ]

    worths = {
        s: worth(s) for size in range(columns + 1) for s in itertools.combinations(range(columns), size)
    }
    shares = [[Fraction(0)] * forest.n_outputs for _ in range(columns)]
    for subset, value in worths.items():
        for c in set(range(columns)) - set(subset):
            weight = Fraction(
                math.factorial(len(subset)) * math.factorial(columns - len(subset) - 1),
                math.factorial(columns),
            )
            with_c = worths[tuple(sorted((*subset, c)))]
            for k in range(forest.n_outputs):
                shares[c][k] += weight * (with_c[k] - value[k])
    return shares


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("link", "task", "outputs"), LINKS)
def test_contributions_equal_the_definition(seed: int, link: str, task: str, outputs: int) -> None:
    forest = small_forest(seed, link, task, outputs)
    X = forest.encode(rows_of(forest, 12, seed))
    found = attribute(forest, X[0], X[1:])
    expected = brute_force_shapley(forest, X[0], X[1:])
    assert [list(line) for line in found.contributions] == expected
    for k in range(outputs):
        assert sum(line[k] for line in found.contributions) == found.exact[k] - found.expected[k]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("link", "task", "outputs"), LINKS)
def test_explanation_closes_in_fractions_and_as_printed(
    seed: int, link: str, task: str, outputs: int
) -> None:
    forest = small_forest(seed, link, task, outputs)
    rows = rows_of(forest, 40, seed)
    reason = explain(forest, rows, seed, counterfactual=False)
    assert reason.closes()
    assert reason.raw == tuple(forest.predict_raw(rows)[seed].tolist())
    expected, amounts, score = reason.shown(3)
    assert Fraction(expected) + sum(Fraction(a) for a in amounts.values()) == Fraction(score)
    leaves = forest.apply(rows)[seed].tolist()
    assert [path.leaf for path in reason.paths] == leaves
    assert [[*(s.node for s in p.steps), p.leaf] for p in reason.paths] == forest.decision_path(rows, seed)
    json.dumps(reason.to_dict(), allow_nan=False)
    assert str(reason)


def all_points(
    forest: Forest, row: dict[str, Any], rows: dict[str, np.ndarray], keep: tuple[str, ...] = ()
) -> Any:
    scales = measure_scales(forest, forest.schema.raw_columns(rows))
    cells = cells_of(forest, row, scales, keep)
    for chosen in itertools.product(*(range(len(cell.values)) for cell in cells)):
        cost = math.fsum(float(cell.costs[k]) for cell, k in zip(cells, chosen, strict=True))
        x = np.empty(forest.n_features)
        for cell, k in zip(cells, chosen, strict=True):
            x[cell.feature_numbers] = cell.features[k]
        yield cost, x


def exhaustive(forest: Forest, row: dict[str, Any], rows: dict[str, np.ndarray], wished: Any) -> float:
    costs, points = zip(*all_points(forest, row, rows), strict=True)
    raw = forest.sum_leaves(forest.apply_encoded(np.array(points)))
    reached = wished(raw)
    return float(min((c for c, ok in zip(costs, reached, strict=True) if ok), default=math.inf))


def one_row(rows: dict[str, np.ndarray], i: int) -> dict[str, Any]:
    return {name: values[i] for name, values in rows.items()}


def cell_count(forest: Forest, row: dict[str, Any], rows: dict[str, np.ndarray]) -> int:
    scales = measure_scales(forest, forest.schema.raw_columns(rows))
    return math.prod(len(cell.values) for cell in cells_of(forest, row, scales))


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("outputs", [1, 3])
def test_counterfactual_is_the_nearest_of_all_points(seed: int, outputs: int) -> None:
    link = "sigmoid" if outputs == 1 else "softmax"
    forest = random_forest(
        seed,
        n_trees=3,
        max_depth=2,
        n_outputs=outputs,
        link=link,
        task="classification",
        oblique=seed % 2 == 1,
        columns=COLUMNS,
    )
    rows = generate_rows(forest, 30, random_state=seed)
    row = one_row(rows, seed)
    if cell_count(forest, row, rows) > 60_000:
        pytest.skip("too many points to enumerate")
    found = nearest_counterfactual(
        forest,
        row,
        measure_scales(forest, forest.schema.raw_columns(rows)),
        candidates=rows,
        time_budget=60.0,
    )
    now = forest.raw_to_class_index(forest.predict_raw(rows))[seed]
    nearest = exhaustive(forest, row, rows, lambda raw: forest.raw_to_class_index(raw) != now)
    assert found.proven
    assert found.found == math.isfinite(nearest)
    if found.found:
        assert found.distance == pytest.approx(nearest, rel=1e-12)
        assert found.bound == found.distance
        changed = {**row, **{change.column: change.new for change in found.changes}}
        table = {name: [value] for name, value in changed.items()}
        assert forest.predict(table)[0] != forest.classes[now]


@pytest.mark.parametrize("seed", range(5))
def test_counterfactual_on_ordinary_numbers(seed: int) -> None:
    """More trees over few columns, with distances of ordinary size, so that many cells compete."""
    rng = np.random.default_rng(seed)
    names = ["a", "b", "c", "d"]

    def grow(depth: int) -> dict[str, Any]:
        if depth == 0:
            return {"value": float(rng.normal())}
        f, t = int(rng.integers(4)), float(np.round(rng.normal(), 1))
        return {"feature": f, "threshold": t, "left": grow(depth - 1), "right": grow(depth - 1)}

    forest = forest_from_trees(
        [grow(2) for _ in range(10)], names, link="sigmoid", task="classification", classes=(0, 1)
    )
    rows = dict(zip(names, rng.normal(size=(4, 200)), strict=True))
    row = one_row(rows, 0)
    scales = measure_scales(forest, forest.schema.raw_columns(rows))
    found = nearest_counterfactual(forest, row, scales, time_budget=60.0)
    now = forest.predict(rows)[0]
    nearest = exhaustive(forest, row, rows, lambda raw: forest.raw_to_class_index(raw) != now)
    assert (found.found, found.proven) == (math.isfinite(nearest), True)
    if found.found:
        assert found.distance == pytest.approx(nearest, rel=1e-12)


@pytest.mark.parametrize("seed", range(6))
def test_counterfactual_of_a_regression_reaches_the_value(seed: int) -> None:
    forest = random_forest(
        seed,
        n_trees=3,
        max_depth=2,
        n_outputs=1,
        link="identity",
        task="regression",
        oblique=seed % 2 == 1,
        columns=COLUMNS,
    )
    rows = generate_rows(forest, 30, random_state=seed)
    row = one_row(rows, 0)
    if cell_count(forest, row, rows) > 60_000:
        pytest.skip("too many points to enumerate")
    now = float(forest.predict(rows)[0])
    for to in (now + 0.3, now - 0.3):
        found = nearest_counterfactual(
            forest, row, measure_scales(forest, forest.schema.raw_columns(rows)), to=to, time_budget=60.0
        )

        def wished(raw: np.ndarray, to: float = to) -> np.ndarray:
            return raw[:, 0] >= to if to > now else raw[:, 0] <= to

        assert found.proven
        nearest = exhaustive(forest, row, rows, wished)
        assert found.distance == pytest.approx(nearest, rel=1e-12)


def loan_forest() -> Forest:
    schema = TableSchema(
        (
            Column("age"),
            Column("state", "categorical", ("CA", "NY", "TX")),
            Column("since", "datetime"),
            Column("owner", "boolean"),
        ),
        (
            Feature("age", 0),
            Feature("state", 1, "codes", (0.1, 0.5, 0.9, 0.5)),
            Feature("since", 2),
            Feature("owner", 3),
            Feature("age missing", 0, "missing"),
        ),
    )
    trees = [
        {"feature": 0, "threshold": 35.5, "left": {"value": -1.0}, "right": {"value": 0.4}},
        {"feature": 1, "threshold": 0.5, "left": {"value": -0.3}, "right": {"value": 0.5}},
        {"feature": 2, "threshold": 86400.0 * 365, "left": {"value": 0.2}, "right": {"value": -0.2}},
        {"feature": 3, "threshold": 0.5, "left": {"value": 0.0}, "right": {"value": 0.1}},
        {"feature": 4, "threshold": 0.5, "left": {"value": 0.0}, "right": {"value": -0.5}},
    ]
    return forest_from_trees(
        trees, schema, link="sigmoid", task="classification", classes=("no", "yes"), target="paid"
    )


LOANS: dict[str, list[Any]] = {
    "age": [30, 40, 20, None],
    "state": ["CA", "TX", "NY", None],
    "since": [dt.date(1980, 1, 1), dt.date(1970, 6, 1), None, dt.date(1990, 1, 1)],
    "owner": [True, False, False, None],
}


def test_words_and_whole_numbers_and_kept_columns() -> None:
    forest = loan_forest()
    reason = explain(forest, LOANS, 0)
    conditions = [path.steps[0].condition for path in reason.paths]
    assert conditions == [
        "age <= 35.5",
        "state not in {'TX', missing}",
        "since <= 1971-01-01",
        "owner is false",
        "age is present",
    ]
    assert reason.output_name == "log-odds of paid = yes"
    assert reason.counterfactual is not None and reason.counterfactual.proven
    changed = {change.column: change.new for change in reason.counterfactual.changes}
    assert changed.get("age", 36) == 36, "ages are whole numbers in this table"
    kept = explain(forest, LOANS, 0, keep=("age",)).counterfactual
    assert kept is not None
    assert "age" not in {change.column for change in kept.changes}


def test_impossible_wish_is_proven_impossible() -> None:
    forest = forest_from_trees(
        [{"feature": 0, "threshold": 0.0, "left": {"value": 1.0}, "right": {"value": 2.0}}],
        ["x"],
        link="sigmoid",
        task="classification",
        classes=("a", "b"),
    )
    found = explain(forest, {"x": [1.0, 2.0]}, 0).counterfactual
    assert found is not None
    assert (found.found, found.proven) == (False, True)


def test_out_of_time_gives_a_bound() -> None:
    forest = random_forest(
        3, n_trees=30, max_depth=5, n_outputs=1, link="sigmoid", task="classification", oblique=True
    )
    rows = generate_rows(forest, 50, random_state=0)
    found = explain(forest, rows, 0, time_budget=0.0).counterfactual
    assert found is not None
    assert found.bound <= found.distance
    assert not found.proven


def test_bad_questions() -> None:
    forest = loan_forest()
    with pytest.raises(DataError, match="row 9 was asked for; the table has 4 rows"):
        explain(forest, LOANS, 9)
    with pytest.raises(ParameterError, match="no class of the model"):
        explain(forest, LOANS, 0, to="maybe")
    with pytest.raises(ParameterError, match="already gets"):
        explain(forest, LOANS, 0, to="no")
    with pytest.raises(ParameterError, match="keep got 'agee'"):
        explain(forest, LOANS, 0, keep=("agee",))
    with pytest.raises(SchemaError, match="expects column 'age'"):
        explain(forest, {"state": ["CA"]}, 0)
    assert explain(forest, LOANS, -1).row_number == 3


def test_torch_is_not_imported() -> None:
    import subprocess
    import sys

    code = (
        "import sys, hardgrad.trees.explanation, hardgrad.trees.comparison; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
