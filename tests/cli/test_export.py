"""`hardgrad export` and `hardgrad inspect`: every target, on screen and to a file, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Command, loans_forest, only_json


@pytest.mark.parametrize("target", ["sql", "js", "text", "dot", "svg", "c"])
def test_text_is_printed_or_written(command: Command, model: Path, tmp_path: Path, target: str) -> None:
    printed = command("export", model, "--to", target)
    assert printed.exit_code == 0, printed.output
    out = tmp_path / f"exported.{target}"
    written = command("export", model, "--to", target, "-o", out)
    assert written.exit_code == 0, written.output
    assert out.read_text(encoding="utf-8").strip() in printed.stdout


def test_c_writes_the_header_that_it_includes(command: Command, model: Path, tmp_path: Path) -> None:
    result = command("export", model, "--to", "c", "--name", "loan", "-o", tmp_path / "scoring.c", "--json")
    assert only_json(result)["files"] == [str(tmp_path / "scoring.c"), str(tmp_path / "loan.h")]
    assert '#include "loan.h"' in (tmp_path / "scoring.c").read_text()
    assert "loan_predict" in (tmp_path / "loan.h").read_text()


def test_sql_dialect_table_and_rename(command: Command, model: Path) -> None:
    result = command(
        "export",
        model,
        "--to",
        "sql",
        "--dialect",
        "spark",
        "--table",
        "warehouse.loans",
        "--rename",
        "Age=age",
    )
    assert result.exit_code == 0
    assert "`Age`" in result.stdout
    assert "warehouse" in result.stdout
    assert (
        result.stdout.strip()
        == loans_forest().to_sql("spark", table="warehouse.loans", rename={"Age": "age"}).strip()
    )


def test_onnx_needs_a_file(command: Command, model: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    refused = command("export", model, "--to", "onnx")
    assert refused.exit_code == 2
    assert "-o model.onnx" in refused.output
    assert command("export", model, "--to", "onnx", "-o", tmp_path / "m.onnx", "--quiet").output == ""
    assert (tmp_path / "m.onnx").stat().st_size > 0


def test_what_export_refuses(command: Command, model: Path, tmp_path: Path) -> None:
    unknown = command("export", model, "--to", "cobol")
    assert (unknown.exit_code, "sql, c, onnx" in unknown.output) == (2, True)
    dialect = command("export", model, "--to", "sql", "--dialect", "duckbd")
    assert (dialect.exit_code, "duckdb" in dialect.stderr) == (1, True)
    tree = command("export", model, "--to", "dot", "--tree", "7")
    assert (tree.exit_code, "trees 0 to 2" in tree.stderr) == (1, True)
    rename = command("export", model, "--to", "sql", "--rename", "Age")
    assert (rename.exit_code, "--rename Income=income" in rename.stderr) == (1, True)
    nowhere = command("export", model, "--to", "text", "-o", tmp_path / "no" / "folder.txt")
    assert (nowhere.exit_code, "cannot write" in nowhere.stderr) == (1, True)


def test_inspect(command: Command, model: Path) -> None:
    shown = command("inspect", model)
    assert shown.exit_code == 0
    assert "3 trees, 6 leaves" in shown.stdout
    assert "paid  2 classes: no, yes" in shown.stdout
    facts = only_json(command("inspect", model, "--json"))
    assert (facts["trees"], facts["leaves"], facts["classes"]) == (3, 6, ["no", "yes"])
    assert [c["name"] for c in facts["columns"]] == ["age", "state", "owner"]
    assert command("inspect", model.parent, "--json").exit_code == 0, "a folder of `fit` is a model"
    assert "age <= 35.5" in command("inspect", model, "--trees").stdout


def test_errors_are_json_too(command: Command, tmp_path: Path) -> None:
    result = command("inspect", tmp_path / "nothing.safetensors", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["error"]["type"] == "ArtifactError"
    assert "Traceback" not in result.output


def test_help_and_version(command: Command) -> None:
    assert "reproduce" in command("--help").output
    assert command("--version").output.startswith("hardgrad 0.")
    assert command("nonsense").exit_code == 2
