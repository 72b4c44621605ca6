"""The exported SELECT in Spark SQL, local mode: equal to the reference on rows made to break it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from sql_checks import assert_exact, forest_cases

from hardgrad.trees.export_sql import to_sql
from hardgrad.trees.forest import Forest
from hardgrad.trees.probe import generate_rows, to_arrow

pyspark = pytest.importorskip("pyspark", reason="pyspark is not installed: pip install 'hardgrad[spark]'")
CASES = forest_cases()


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


@pytest.mark.parametrize("case", CASES)
def test_equals_reference(spark: Any, tmp_path: Path, case: str) -> None:
    forest = CASES[case]
    leaves = list(CASES).index(case) % 2 == 0
    rows = generate_rows(forest, 600, random_state=3)
    assert_exact(forest, rows, run(spark, tmp_path, forest, rows, leaves=leaves), "spark", leaves=leaves)
