"""The exported SELECT in Spark SQL, local mode: equal to the reference on rows made to break it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sql_checks import assert_exact, chain, extreme_forest, forest_cases, weighted_cases

from hardgrad.core.errors import DataError, SchemaError
from hardgrad.core.files import WriteError
from hardgrad.tabular.schema import Column, Feature, TableSchema
from hardgrad.trees.export_sql import to_sql
from hardgrad.trees.forest import Forest
from hardgrad.trees.forest_build import forest_from_trees
from hardgrad.trees.probe import generate_rows, random_forest, to_arrow
from hardgrad.trees.score_sql import SPARK_SETTINGS, score_spark, score_spark_to_parquet

pyspark = pytest.importorskip("pyspark", reason="pyspark is not installed: pip install 'hardgrad[spark]'")
pytestmark = pytest.mark.spark
CASES = forest_cases()
STEP = {"feature": 0, "threshold": 1.5, "left": {"value": 0.0}, "right": {"value": 2.0}}


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One local session on one core, in a zone with daylight saving time."""
    java = os.environ.get("JAVA_HOME")
    if not (shutil.which("java") or (java and (Path(java) / "bin" / "java").exists())):
        pytest.skip("Spark needs Java 17: apt-get install openjdk-17-jre-headless")
    from pyspark.sql import SparkSession

    folder = tmp_path_factory.mktemp("spark")
    settings = {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.shuffle.partitions": "1",
        "spark.default.parallelism": "1",
        "spark.sql.session.timeZone": "America/New_York",
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.memory": "1g",
        "spark.driver.extraJavaOptions": "-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto",
        "spark.log.level": "OFF",
    }
    builder = SparkSession.builder.master("local[1]").appName("hardgrad")
    for key, value in settings.items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("OFF")
    yield session
    session.stop()


def run(spark: Any, folder: Path, forest: Forest, rows: Any, **options: Any) -> list[list[Any]]:
    pq.write_table(to_arrow(rows, forest.schema), folder / "data.parquet")
    spark.read.parquet(str(folder / "data.parquet")).createOrReplaceTempView("data")
    result = spark.sql(to_sql(forest, "spark", **options)).toArrow()
    return [column.to_pylist() for column in result.columns]


@pytest.fixture
def planned_fast(spark: Any) -> Iterator[None]:
    """The settings that `hardgrad score --engine spark` uses."""
    before = {key: spark.conf.get(key) for key in SPARK_SETTINGS}
    for key, value in SPARK_SETTINGS.items():
        spark.conf.set(key, value)
    yield
    for key, value in before.items():
        spark.conf.set(key, value)


@pytest.mark.parametrize("case", [case for case in CASES if case != "depth 12"])
def test_equals_reference(spark: Any, tmp_path: Path, case: str) -> None:
    forest = CASES[case]
    leaves = list(CASES).index(case) % 2 == 0
    rows = generate_rows(forest, 600, random_state=3)
    assert_exact(forest, rows, run(spark, tmp_path, forest, rows, leaves=leaves), "spark", leaves=leaves)


@pytest.mark.parametrize("case", ["linear", "affine"])
def test_real_sums_keep_their_order(spark: Any, tmp_path: Path, case: str) -> None:
    forest = weighted_cases()[case]
    rows = generate_rows(forest, 600, random_state=4)
    assert_exact(forest, rows, run(spark, tmp_path, forest, rows, leaves=True), "spark")


@pytest.mark.usefixtures("planned_fast")
def test_trees_deeper_than_one_expression(spark: Any, tmp_path: Path) -> None:
    forest = forest_from_trees([chain(40, seed) for seed in range(5)], ["a", "b", "c"])
    rows = generate_rows(forest, 600)
    for leaves in (False, True):
        assert_exact(forest, rows, run(spark, tmp_path, forest, rows, leaves=leaves), "spark", leaves=leaves)


def test_more_code_than_a_method_may_have_with_default_settings(spark: Any, tmp_path: Path) -> None:
    forest = random_forest(5, n_trees=25, max_depth=6, oblique=False)
    assert forest.n_nodes > 1500
    rows = generate_rows(forest, 600)
    assert_exact(forest, rows, run(spark, tmp_path, forest, rows, leaves=False), "spark", leaves=False)


@pytest.mark.parametrize("seed", range(3))
def test_any_forest(spark: Any, tmp_path: Path, seed: int) -> None:
    forest = random_forest(seed + 200, n_trees=3, max_depth=4, n_outputs=1 + seed)
    rows = generate_rows(forest, 1000, random_state=seed)
    assert_exact(forest, rows, run(spark, tmp_path, forest, rows, leaves=True), "spark")


def test_extreme_numbers(spark: Any, tmp_path: Path) -> None:
    rows = generate_rows(extreme_forest(), 500)
    assert_exact(extreme_forest(), rows, run(spark, tmp_path, extreme_forest(), rows), "spark", leaves=False)


@pytest.mark.parametrize(
    "kind",
    [pa.timestamp("us"), pa.timestamp("us", "UTC"), pa.timestamp("ms", "Asia/Kolkata"), pa.date32()],
    ids=str,
)
def test_types_of_instants(spark: Any, tmp_path: Path, kind: Any) -> None:
    """The session is in New York: hours that daylight saving time skips or repeats there are ordinary hours of UTC."""
    texts = [
        "1969-12-31T23:59:59.500",
        "1970-01-01",
        "2024-03-10T02:30:00",
        "2024-11-03T01:30:00.999",
        "1600-01-01",
    ]
    moments = np.array(texts, dtype="datetime64[us]")
    if kind == pa.date32():
        moments = moments.astype("datetime64[D]")
    schema = TableSchema((Column("at", "datetime"),), (Feature("at", 0),))
    seconds = schema.encode({"at": moments})[:, 0]
    trees = [STEP | {"threshold": float(s) + shift} for s in seconds for shift in (-1, 0)]
    forest = forest_from_trees(trees, schema)
    table = pa.table({"at": pa.array([*moments.astype("datetime64[us]"), None]).cast(kind)})
    pq.write_table(table, tmp_path / "at.parquet")
    result = score_spark(forest, tmp_path / "at.parquet", spark=spark, leaves=True, outputs="all").toArrow()
    columns = [column.to_pylist() for column in result.columns]
    assert_exact(forest, {"at": np.append(moments, np.datetime64("NaT"))}, columns, "spark")


def test_types_of_numbers_and_categories(spark: Any) -> None:
    numbers = forest_from_trees([STEP], ["c"])
    schema = TableSchema(
        (Column("c", "categorical", ("1", "2.5", "false")),),
        (Feature("c", 0, "codes", (1.0, 2.0, 1.25, 1.75)),),
    )
    categories = forest_from_trees([STEP], schema)
    for values, kind in (
        ([1, 2, None], "bigint"),
        ([1.5, 2.5, float("nan"), None, 1.0], "double"),
        ([1.5, 2.5, float("nan"), None, 1.0], "float"),
        ([True, False, None], "boolean"),
    ):
        frame = spark.createDataFrame([(value,) for value in values], f"c {kind}")
        for forest in (numbers, categories):
            got = [row.prediction for row in score_spark(forest, frame).collect()]
            assert got == forest.predict({"c": np.array(values, dtype=object)}).tolist(), (kind, forest)


def test_to_parquet(spark: Any, tmp_path: Path) -> None:
    forest = CASES["binary"]
    rows = generate_rows(forest, 500)
    pq.write_table(to_arrow(rows, forest.schema), tmp_path / "in.parquet")
    out = tmp_path / "out.parquet"
    assert score_spark_to_parquet(forest, tmp_path / "in.parquet", out, spark=spark, keep=["age"]) == 500
    result = pq.read_table(out)
    assert result.column_names == ["age", "prediction"]
    assert result["prediction"].to_pylist() == forest.predict(rows).tolist()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.parquet", "out.parquet"]
    with pytest.raises(WriteError, match="it exists"):
        score_spark_to_parquet(forest, tmp_path / "in.parquet", out, spark=spark)
    with pytest.raises(WriteError, match="cannot write"):
        score_spark_to_parquet(
            forest, tmp_path / "in.parquet", tmp_path / "in.parquet" / "below", spark=spark
        )


def test_braces_and_dollars_stay_what_they_are(spark: Any) -> None:
    """Spark replaces ${name} and {name} in the text of queries."""
    schema = TableSchema(
        (Column("{c}", "categorical", ("${user.name}", "{source}")),),
        (Feature("c", 0, "codes", (1.0, 1.0, 2.0)),),
    )
    forest = forest_from_trees([STEP], schema)
    texts = ["${user.name}", "{source}", "x", "{{source}}"]
    frame = spark.createDataFrame([(text,) for text in texts], "`{c}` string")
    assert [row.prediction for row in score_spark(forest, frame).collect()] == [0.0, 0.0, 2.0, 2.0]


def test_errors(spark: Any, tmp_path: Path) -> None:
    forest = forest_from_trees([STEP], ["age"])
    with pytest.raises(SchemaError, match="Did you mean 'Age'"):
        score_spark(forest, spark.createDataFrame([(1.0,)], "Age double"))
    with pytest.raises(SchemaError, match="'age' is numeric in the model, but the table has it as string"):
        score_spark(forest, spark.createDataFrame([("1",)], "age string"))
    with pytest.raises(DataError, match="Spark cannot read"):
        score_spark(forest, tmp_path / "none.parquet", spark=spark)
