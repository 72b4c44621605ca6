"""A small forest on disk, and the command in this process."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["TERMINAL_WIDTH"] = (
    "400"  # messages on usage are framed: wide enough that none is broken over lines
)

import pytest
from typer.testing import CliRunner, Result

from hardgrad.cli.main import app
from hardgrad.tabular.schema import Column, Feature, TableSchema
from hardgrad.trees import forest_from_trees
from hardgrad.trees.forest import Forest

Command = Callable[..., Result]


@pytest.fixture
def command() -> Command:
    """Run the command with arguments and return what it said."""
    runner = CliRunner()

    def run(*arguments: object) -> Result:
        result = runner.invoke(app, [str(argument) for argument in arguments], prog_name="hardgrad")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception  # a traceback is never an answer
        return result

    return run


def loans_forest() -> Forest:
    schema = TableSchema(
        (Column("age"), Column("state", "categorical", ("CA", "NY", "TX")), Column("owner", "boolean")),
        (Feature("age", 0), Feature("state", 1, "codes", (0.1, 0.5, 0.9, 0.5)), Feature("owner", 2)),
    )
    trees = [
        {"feature": 0, "threshold": 35.5, "left": {"value": -1.0}, "right": {"value": 0.4}},
        {"feature": 1, "threshold": 0.5, "left": {"value": -0.3}, "right": {"value": 0.5}},
        {"feature": 2, "threshold": 0.5, "left": {"value": 0.0}, "right": {"value": 0.1}},
    ]
    return forest_from_trees(
        trees, schema, link="sigmoid", task="classification", classes=("no", "yes"), target="paid"
    )


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model file."""
    return loans_forest().save(tmp_path / "model.safetensors")


@pytest.fixture
def loans(tmp_path: Path) -> Path:
    """Rows for that model, as Parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table(
        {
            "id": list(range(6)),
            "age": pa.array([30, 40, 20, None, 60, 36], type=pa.int64()),
            "state": ["CA", "TX", "NY", None, "??", "TX"],
            "owner": [True, False, None, True, False, True],
        }
    )
    path = tmp_path / "loans.parquet"
    pq.write_table(table, path)
    return path


def only_json(result: Result) -> Any:
    """Parse standard output, which must be JSON and nothing else."""
    return json.loads(result.stdout)
