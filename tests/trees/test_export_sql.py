"""The exported SELECT without an engine: names, quoting, refusals, every dialect's own words, and what must not be in the text."""

from __future__ import annotations

import math
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
import sqlglot
from hypothesis import given
from hypothesis import strategies as st
from sql_checks import forest_cases
from sqlglot import exp

from hardgrad.core.errors import ExportError, ParameterError
from hardgrad.export.sql import left_sum, scientific, step_function, weighted_sum
from hardgrad.export.sql_dialects import DIALECTS, SQLite, reads_exactly, sql_dialect
from hardgrad.tabular.schema import Column, Feature, TableSchema
from hardgrad.trees.export_sql import to_sql
from hardgrad.tabular.table_sql_output import output_names
from hardgrad.trees.forest import Forest
from hardgrad.trees.forest_build import forest_from_trees
from hardgrad.trees.probe import random_forest

CASES = forest_cases()
STEP = {"feature": 0, "threshold": 1.5, "left": {"value": 0.0}, "right": {"value": 2.0}}
AGE = forest_from_trees([STEP], ["age"])


def on_columns(*names: str) -> Forest:
    """A forest that uses every one of some numeric columns."""
    return forest_from_trees([STEP | {"feature": i} for i in range(len(names))], TableSchema.numeric(names))


# --- the text ----------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "case", ["binary", "three classes", "regression, mean of two", "averaged probabilities", "no tree"]
)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_is_one_select_that_its_dialect_parses_to_the_same_text(dialect: str, case: str) -> None:
    forest = CASES[case]
    query = to_sql(forest, dialect, leaves=True, pretty=False)
    statements = sqlglot.parse(query, dialect=dialect)
    assert len(statements) == 1
    (select,) = statements
    assert isinstance(select, exp.Select)
    assert [item.alias for item in select.expressions] == output_names(
        forest, dialect, n_leaves=forest.n_trees
    )
    # sqlglot may spell a thing another way (an alias of a type or function): its second reading must be a fixed point.
    again = select.sql(dialect)
    assert sqlglot.parse_one(again, dialect=dialect).sql(dialect) == again
    assert len(list(select.find_all(exp.Case))) >= query.count("CASE WHEN")


@pytest.mark.parametrize("dialect", DIALECTS)
def test_laying_out_changes_nothing(dialect: str) -> None:
    forest = CASES["binary"]
    laid_out, plain = (
        sqlglot.parse_one(to_sql(forest, dialect, pretty=p), dialect=dialect) for p in (True, False)
    )
    assert laid_out == plain


@pytest.mark.parametrize("dialect", DIALECTS)
def test_line_breaks_in_names_survive(dialect: str) -> None:
    if dialect == "bigquery":
        with pytest.raises(ExportError, match="cannot have a column named"):
            to_sql(on_columns("a\n b"), dialect)
        return
    select = sqlglot.parse_one(to_sql(on_columns("a\n b"), dialect), dialect=dialect)
    assert "a\n b" in {c.name for c in select.find_all(exp.Column)}


def test_the_same_forest_gives_the_same_text() -> None:
    assert to_sql(random_forest(3)) == to_sql(random_forest(3))


GOLDEN = {
    "bigquery": (
        "WITH hg_features AS (SELECT IF(IS_NAN(CAST(hg_rows.`age` AS FLOAT64)), NULL, CAST(hg_rows.`age` AS FLOAT64)) AS f_0, "
        "CASE WHEN hg_rows.`it``s` IS NULL THEN NULL WHEN CAST(hg_rows.`it``s` AS STRING) IN ('a\\'b') THEN 1.0E0 "
        "ELSE 2.0E0 END AS f_1, CAST(UNIX_SECONDS(CAST(hg_rows.`at` AS TIMESTAMP)) AS FLOAT64) AS f_2, "
        "CAST(CAST(hg_rows.`flag` AS INT64) AS FLOAT64) AS f_3 FROM data AS hg_rows), "
    ),
    "snowflake": (
        "WITH hg_features AS (SELECT NULLIF(CAST(hg_rows.\"age\" AS DOUBLE), CAST('NaN' AS DOUBLE)) AS f_0, "
        'CASE WHEN hg_rows."it`s" IS NULL THEN NULL WHEN CAST(hg_rows."it`s" AS VARCHAR) IN (\'a\\\'b\') '
        "THEN CAST('1.0' AS DOUBLE) ELSE CAST('2.0' AS DOUBLE) END AS f_1, "
        'CAST((DATE_PART(EPOCH_NANOSECOND, hg_rows."at") - (((DATE_PART(EPOCH_NANOSECOND, hg_rows."at") % 1000000000) '
        '+ 1000000000) % 1000000000)) / 1000000000 AS DOUBLE) AS f_2, CAST(CAST(hg_rows."flag" AS INT) AS DOUBLE) AS f_3 '
        "FROM data AS hg_rows), "
    ),
}


@pytest.mark.parametrize("dialect", GOLDEN)
def test_features_in_the_words_of_engines_that_run_elsewhere(dialect: str) -> None:
    columns = (
        Column("age"),
        Column("it`s", "categorical", ("a'b",)),
        Column("at", "datetime"),
        Column("flag", "boolean"),
    )
    transforms = ("identity", "codes", "identity", "identity")
    features = [
        Feature(c.name, i, t, (1.0, 2.0) if t == "codes" else ())
        for i, (c, t) in enumerate(zip(columns, transforms, strict=True))
    ]  # type: ignore[arg-type]
    forest = forest_from_trees(
        [STEP | {"feature": f} for f in range(4)], TableSchema(columns, tuple(features))
    )
    query = to_sql(forest, dialect, pretty=False)
    expected = GOLDEN[dialect].replace("``", "\\`") if dialect == "bigquery" else GOLDEN[dialect]
    assert query[: len(expected)] == expected


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_missing_value_takes_its_side_by_the_else(dialect: str) -> None:
    right = to_sql(AGE, dialect, pretty=False)
    left = to_sql(forest_from_trees([STEP | {"default_left": True}], ["age"]), dialect, pretty=False)
    number = sql_dialect(dialect).number
    half, two, zero = (number(v).sql(dialect) for v in (1.5, 2.0, 0.0))
    assert f"CASE WHEN f_0 <= {half} THEN {zero} ELSE {two} END" in right
    assert f"CASE WHEN f_0 > {half} THEN {two} ELSE {zero} END" in left


def test_categories_that_no_node_tells_apart_share_a_branch() -> None:
    schema = TableSchema(
        (Column("c", "categorical", ("a", "b", "c")),), (Feature("c", 0, "codes", (0.1, 0.2, 3.0, 9.0)),)
    )
    query = to_sql(forest_from_trees([STEP], schema), "duckdb", pretty=False)
    assert "IN ('a', 'b') THEN 0.1E0 ELSE 9.0E0 END" in query
    assert "'c'" not in query


# --- tables and names ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "table", ["data", '"my table"', "main.data", "read_parquet('a b.parquet')", "(SELECT 1 AS age)"]
)
def test_tables(table: str) -> None:
    assert " AS hg_rows" in to_sql(AGE, "duckdb", table=table, pretty=False)


@pytest.mark.parametrize(
    "table", ["my table", "", "a, b", "a JOIN b ON true", "data WHERE x", "data; DROP TABLE data", "'"]
)
def test_what_is_no_table_is_refused(table: str) -> None:
    with pytest.raises(ParameterError, match="expected what stands after FROM"):
        to_sql(AGE, "duckdb", table=table)


def test_names_of_ours_avoid_the_table() -> None:
    assert "WITH hgx_features AS" in to_sql(AGE, table="hg_features", pretty=False)


def test_columns_that_differ_by_case_are_refused_where_the_engine_ignores_case() -> None:
    forest = on_columns("x", "X")
    for dialect in ("duckdb", "spark", "bigquery", "sqlite"):
        with pytest.raises(ExportError, match="'x' and 'X' apart"):
            to_sql(forest, dialect)
        assert "`big x`" in to_sql(forest, dialect, rename={"big x": "X"}).replace('"', "`")
    for dialect in ("postgres", "snowflake"):
        to_sql(forest, dialect)


def test_refusals() -> None:
    with pytest.raises(ParameterError, match=r"got dialect 'oracle'"):
        to_sql(AGE, "oracle")
    with pytest.raises(ParameterError, match="Did you mean 'snowflake'"):
        to_sql(AGE, "snowflakes")
    with pytest.raises(ParameterError, match="outputs='some'"):
        to_sql(AGE, outputs="some")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match=r"'agee' is not a column of the model.*Did you mean 'age'"):
        to_sql(AGE, rename={"Alter": "agee"})
    with pytest.raises(ParameterError, match="two columns get one name"):
        to_sql(AGE, rename={"a": "age", "b": "age"})
    with pytest.raises(ParameterError, match="kept twice"):
        to_sql(AGE, keep=["id", "id"])
    with pytest.raises(ExportError, match="has the name of an output"):
        to_sql(AGE, keep=["prediction"])
    with pytest.raises(ExportError, match="cannot have a column named"):
        to_sql(on_columns("a\0b"))
    with pytest.raises(ExportError, match="cannot be named"):
        to_sql(on_columns("a${b}"), "spark")


def test_output_names_are_distinct_whatever_the_classes_are() -> None:
    forest = random_forest(1, n_trees=1, n_outputs=4, classes=("a", "A", "a_2", "b"))
    assert output_names(forest)[4:] == [
        *("probability_a", "probability_A_2", "probability_a_2_2", "probability_b", "prediction")
    ]
    long = random_forest(1, n_trees=1, n_outputs=3, classes=("é" * 60 + "1", "é" * 60 + "2", "x"))
    names = output_names(long, "postgres")
    assert len(set(names)) == len(names)
    assert max(len(name.encode()) for name in names) <= 63
    bad = random_forest(1, n_trees=1, n_outputs=2, classes=("<=50K.", ">50K."), link="softmax")
    assert output_names(bad, "bigquery")[2:4] == ["probability_<=50K_", "probability_>50K_"]


def test_outputs_of_a_regression() -> None:
    forest = random_forest(1, n_trees=1, n_outputs=2, task="regression")
    assert output_names(forest, keep=["id"]) == ["id", "raw_0", "raw_1", "prediction_0", "prediction_1"]
    assert output_names(forest, outputs="prediction") == ["prediction_0", "prediction_1"]


# --- literals and the helpers --------------------------------------------------------------------------------------------------------
DOUBLES = st.floats(allow_nan=False, allow_infinity=False)


@given(DOUBLES)
def test_literals_are_the_shortest_digits_that_read_back(value: float) -> None:
    text = scientific(abs(value))
    assert float(text) == abs(value)
    assert "E" in text


@given(st.one_of(DOUBLES, st.decimals(-1000, 1000, places=3).map(float)))
def test_literals_of_sqlite_are_exact_in_any_arithmetic(value: float) -> None:
    text = SQLite().number(value).sql("sqlite")
    if reads_exactly(value):
        assert float(text) == value
        return
    # Whole numbers below 2^53 and powers of two only.
    sign = -1 if text.startswith("(-") else 1
    first, *rest = text.strip("(-)").replace("*", " * ").replace("/", " / ").split()
    total = Fraction(first)
    assert total < 2**53
    for operation, factor in zip(rest[::2], rest[1::2], strict=True):
        assert math.log2(float(factor)).is_integer()
        total = total * Fraction(factor) if operation == "*" else total / Fraction(factor)
        assert float(total) == total
    assert sign * total == Fraction(value)


def test_negative_zero_keeps_its_sign() -> None:
    for dialect in DIALECTS:
        assert "-0.0" in sql_dialect(dialect).number(-0.0).sql(dialect)


@given(st.lists(st.integers(-50, 50), unique=True, max_size=64).map(sorted), st.data())
def test_a_step_function_is_a_search_of_logarithmic_depth(cuts: list[int], data: st.DataObject) -> None:
    steps = data.draw(st.lists(st.integers(0, 3), min_size=len(cuts) + 1, max_size=len(cuts) + 1))
    literals = [
        exp.Literal.number(cut) if cut >= 0 else exp.Neg(this=exp.Literal.number(-cut)) for cut in cuts
    ]
    written = step_function(lambda: exp.column("x"), literals, steps, lambda k: exp.Literal.number(steps[k]))
    depth = max(
        (sum(isinstance(a, exp.Case) for a in _ancestors(c)) for c in written.find_all(exp.Case)), default=0
    )
    assert depth <= max(1, math.ceil(math.log2(len(cuts) + 1)))
    for x in data.draw(st.lists(st.integers(-51, 51), max_size=5)):
        assert _evaluate(written, x) == steps[int(np.searchsorted(cuts, x, side="left"))]


def _ancestors(node: exp.Expr | None) -> list[exp.Expr]:
    found = []
    while node is not None:
        found.append(node)
        node = node.parent
    return found


def _evaluate(node: exp.Expr, x: int) -> int:
    while isinstance(node, exp.Case):
        (branch,) = node.args["ifs"]
        node = branch.args["true"] if x <= int(branch.this.expression.sql()) else node.args["default"]
    return int(node.sql())


def test_sums() -> None:
    def column(name: str) -> exp.Expr:
        return exp.column(name)

    assert (
        left_sum([column("a"), exp.Neg(this=exp.Literal.number("1E0")), column("b")]).sql()
        == "a + (-1E0) + b"
    )
    assert (
        weighted_sum([(-1, column("a")), (0, column("b")), (3, column("c")), (-2, column("d"))]).sql()
        == "-1 * a + 3 * c - 2 * d"
    )
    assert weighted_sum([(0, column("a"))]).sql() == "0"


def test_torch_stays_out() -> None:
    code = (
        "import sys; import hardgrad.trees.export_sql, hardgrad.trees.score_sql; "
        "assert not {'torch', 'duckdb', 'pyspark', 'pyarrow'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
