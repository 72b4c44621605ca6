"""`hardgrad score` and `hardgrad explain` on a small model: every engine the same answers, every shape of output."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from .conftest import Command, loans_forest, only_json


@pytest.fixture
def expected(loans: Path) -> dict[str, list[object]]:
    forest, table = loans_forest(), pq.read_table(loans)
    p = forest.predict_proba(table)
    return {
        "raw_0": forest.predict_raw(table)[:, 0].tolist(),
        "probability_no": p[:, 0].tolist(),
        "probability_yes": p[:, 1].tolist(),
        "prediction": forest.predict(table).tolist(),
    }


@pytest.mark.parametrize("engine", ["native", "duckdb"])
def test_engines_agree(
    engine: str, command: Command, model: Path, loans: Path, tmp_path: Path, expected: dict[str, list[object]]
) -> None:
    out = tmp_path / "scored.parquet"
    result = command("score", model, loans, "--engine", engine, "-o", out, "--json")
    assert result.exit_code == 0, result.output
    facts = only_json(result)
    assert (facts["engine"], facts["rows"], facts["out"]) == (engine, 6, str(out))
    scored = pq.read_table(out)
    assert scored.column_names == ["id", "age", "state", "owner", *expected]
    assert scored["id"].to_pylist() == list(range(6)), "the order of the rows is kept"
    assert scored["raw_0"].to_pylist() == expected["raw_0"], "bit for bit"
    assert scored["prediction"].to_pylist() == expected["prediction"]
    assert scored["probability_yes"].to_pylist() == pytest.approx(expected["probability_yes"], rel=1e-14)


@pytest.mark.slow
@pytest.mark.spark
def test_spark_writes_a_folder(
    command: Command, model: Path, loans: Path, tmp_path: Path, expected: dict[str, list[object]]
) -> None:
    pytest.importorskip("pyspark")
    out = tmp_path / "scored"
    result = command("score", model, loans, "--engine", "spark", "-o", out, "--keep", "id")
    if result.exit_code and "Java" in result.stderr:
        pytest.skip("Spark does not start here")
    scored = pq.read_table(out).sort_by("id")
    assert scored["raw_0"].to_pylist() == expected["raw_0"]
    assert scored["prediction"].to_pylist() == expected["prediction"]


@pytest.mark.parametrize("engine", ["native", "duckdb"])
def test_columns_to_keep(engine: str, command: Command, model: Path, loans: Path, tmp_path: Path) -> None:
    out = tmp_path / "scored.csv"
    for options, names in (
        (("--only", "--outputs", "prediction"), ["prediction"]),
        (("--keep", "id", "--outputs", "prediction"), ["id", "prediction"]),
    ):
        assert command("score", model, loans, "--engine", engine, "-o", out, *options).exit_code == 0
        assert pyarrow.csv.read_csv(out).column_names == names
    again = tmp_path / "again.parquet"
    pq.write_table(pq.read_table(loans).append_column("prediction", pa.array(["?"] * 6)), again)
    clash = command("score", model, again, "--engine", engine)
    assert (clash.exit_code, "'prediction'" in clash.stderr) == (1, True)
    unknown = command("score", model, loans, "--engine", engine, "--keep", "idd")
    assert (unknown.exit_code, "'idd' is not in the table" in unknown.stderr) == (1, True)


def test_other_tables_and_the_screen(command: Command, model: Path, loans: Path, tmp_path: Path) -> None:
    import duckdb

    table = pq.read_table(loans)
    pyarrow.csv.write_csv(table, tmp_path / "loans.csv")
    with duckdb.connect(str(tmp_path / "loans.duckdb")) as connection:
        connection.register("given", table)
        connection.execute("CREATE TABLE loans AS SELECT * FROM given")
    for source in (
        tmp_path / "loans.csv",
        f"{tmp_path / 'loans.duckdb'}::loans",
        f"{tmp_path / 'loans.duckdb'}::SELECT * FROM loans",
    ):
        for engine in ("native", "duckdb"):
            scores = only_json(command("score", model, source, "--engine", engine, "--json"))["scores"]
            assert scores["prediction"] == loans_forest().predict(table).tolist()
    shown = command("score", model, loans)
    assert "prediction" in shown.stdout and "6 rows with native" in shown.stdout


def test_wrong_calls(command: Command, model: Path, loans: Path) -> None:
    assert command("score", model, loans, "--engine", "excel").exit_code == 2
    assert command("score", model, loans, "--engine", "spark").exit_code == 2
    assert command("score", model, loans, "--only", "--keep", "id").exit_code == 2
    twice = command("score", model, loans, "--rename", "a=age", "--rename", "b=age")
    assert (twice.exit_code, "twice" in twice.stderr) == (1, True)
    absent = command("score", model, loans, "--rename", "Aeg=age")
    assert (absent.exit_code, "'Aeg'" in absent.stderr) == (1, True)


def test_explain(command: Command, model: Path, loans: Path) -> None:
    shown = command("explain", model, loans, "--row", 0)
    assert shown.exit_code == 0, shown.output
    for words in (
        "tree 0",
        "age <= 35.5",
        "expected: mean over 6 rows",
        "state",
        "change    for paid = yes",
        "age: 30 -> 36",
    ):
        assert words in shown.stdout
    found = only_json(command("explain", model, loans, "--row", 0, "--json"))
    assert found["closes"] is True
    assert found["expected"] + sum(c["amount"] for c in found["contributions"]) == pytest.approx(
        found["raw"][0], abs=1e-15
    )
    assert found["counterfactual"]["proven"] is True
    kept = json.loads(command("explain", model, loans, "--row", 0, "--keep", "age", "--json").stdout)
    assert "age" not in [change["column"] for change in kept["counterfactual"]["changes"]]
    for options, said in (
        (("--row", 6), "row 6 was asked for"),
        (("--row", 0, "--to", "maybe"), "no class of the model"),
    ):
        failed = command("explain", model, loans, *options)
        assert (failed.exit_code, said in failed.stderr) == (1, True)
