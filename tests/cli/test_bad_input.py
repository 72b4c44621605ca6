"""Bad input: one clear error that names the column or file and says what to do, exit code 1, and nothing half-written."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from .conftest import Command, loans_forest

QUICK = ("--trees", "1", "--depth", "2", "--max-iter", "5", "--rows", "50")


def columns(n: int = 60) -> dict[str, object]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=n)
    return {
        "x": x,
        "z": rng.normal(size=n),
        "state": rng.choice(["a", "b"], n),
        "y": np.where(x > 0, "yes", "no"),
    }


def parquet(folder: Path, **changes: object) -> Path:
    path = folder / "data.parquet"
    pq.write_table(pa.table({**columns(), **changes}), path)
    return path


def csv(folder: Path, text: str) -> Path:
    path = folder / "data.csv"
    path.write_text(text, encoding="utf-8")
    return path


def with_first(value: object, n: int = 60) -> list[object]:
    return [value, *np.random.default_rng(1).normal(size=n - 1).tolist()]


def repeated(head: str, line: str, n: int = 30) -> str:
    return "\n".join([head, *(line.format(i=i) for i in range(n))]) + "\n"


CASES: dict[str, tuple[Callable[[Path], Path], tuple[str, ...], tuple[str, ...]]] = {
    "no such file": (lambda d: d / "data.parket", ("--target", "y"), ("there is no file", "data.parket")),
    "missing target column": (parquet, ("--target", "Y"), ("has no column 'Y'", "Did you mean 'y'?")),
    "one class": (
        lambda d: parquet(d, y=["yes"] * 60),
        ("--target", "y"),
        ("'y' has one class only, 'yes'",),
    ),
    "constant target of a regression": (
        lambda d: parquet(d, y=[1.5] * 60),
        ("--target", "y", "--task", "regression"),
        ("'y' is 1.5 in all 60 rows",),
    ),
    "all-constant features": (
        lambda d: parquet(d, x=[1.0] * 60, z=[2.0] * 60, state=["a"] * 60),
        ("--target", "y"),
        ("no column is left to learn from", "'x' (constant)", "'state' (constant)"),
    ),
    "zero rows": (lambda d: csv(d, "x,y\n"), ("--target", "y"), ("data.csv", "no rows")),
    "empty file": (lambda d: csv(d, ""), ("--target", "y"), ("data.csv is empty",)),
    "fewer than 20 rows": (
        lambda d: csv(d, repeated("x,y", "{i},yes", 9) + "9,no\n"),
        ("--target", "y"),
        ("'y' has 10 rows; expected at least 20",),
    ),
    "duplicate column names": (
        lambda d: csv(d, repeated("x,x,y", "{i},1,yes")),
        ("--target", "y"),
        ("columns of the same name: 'x'",),
    ),
    "mixed types in a column": (
        lambda d: csv(d, repeated("x,y", "{i},yes") + "many,no\n"),
        ("--target", "y"),
        ("'x'", "many"),
    ),
    "infinite values": (
        lambda d: parquet(d, x=with_first(float("inf"))),
        ("--target", "y"),
        ("column 'x' holds inf in row 0",),
    ),
    "target with missing values": (
        lambda d: parquet(d, y=[None, *["yes", "no"] * 29, "no"]),
        ("--target", "y"),
        ("target 'y' is missing in 1 of 60 rows",),
    ),
    "infinite target": (
        lambda d: parquet(d, y=with_first(float("-inf"))),
        ("--target", "y"),
        ("target 'y' holds -inf in row 0",),
    ),
    "budget that nothing fits in": (
        parquet,
        ("--target", "y", "--budget", "14 bytes"),
        ("budget got '14 bytes'", "less than 24 bytes"),
    ),
    "budget that is none": (parquet, ("--target", "y", "--budget", "small"), ("budget got 'small'", "2kB")),
    "negative weights": (
        lambda d: parquet(d, z=with_first(-1.0)),
        ("--target", "y", "--weights", "z"),
        ("column 'z' holds -1 in row 0",),
    ),
    "column to drop that is not there": (parquet, ("--target", "y", "--drop", "zz"), ("no column 'zz'",)),
    "target that names rows": (
        lambda d: parquet(d, y=[f"id {i}" for i in range(60)]),
        ("--target", "y"),
        ("'y' has 60 different values in 60 rows",),
    ),
    "no table at all": (
        lambda d: (d / "data.parquet").write_bytes(b"PAR1 not really") and d / "data.parquet",  # type: ignore[return-value]
        ("--target", "y"),
        ("data.parquet is no Parquet file, or is damaged",),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_fit_refuses(case: str, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make, options, said = CASES[case]
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    table = make(tmp_path / "in")
    monkeypatch.chdir(tmp_path / "out")
    before = sorted((tmp_path / "in").iterdir())
    result = command("fit", table, *QUICK, *options)
    assert result.exit_code == 1, result.output
    for words in said:
        assert words in result.stderr
    assert result.stderr.startswith("error: ")
    assert "Traceback" not in result.output
    assert sorted((tmp_path / "in").iterdir()) == before
    assert list((tmp_path / "out").iterdir()) == [], "nothing half-written"


def test_out_that_cannot_be_written(command: Command, tmp_path: Path) -> None:
    table = parquet(tmp_path)
    (tmp_path / "file").write_text("in the way")
    result = command("fit", table, "--target", "y", *QUICK, "--out", tmp_path / "file" / "model")
    assert (result.exit_code, "cannot write" in result.stderr, "--out" in result.stderr) == (1, True, True)


# --- model files -----------------------------------------------------------------------------------------------------------------
def newer(payload: bytes) -> bytes:
    (length,) = struct.unpack("<Q", payload[:8])
    outer = json.loads(payload[8 : 8 + length])
    inner = json.loads(outer["__metadata__"]["hardgrad"])
    inner["schema_version"] = 99
    outer["__metadata__"]["hardgrad"] = json.dumps(inner)
    header = json.dumps(outer).encode()
    return struct.pack("<Q", len(header)) + header + payload[8 + length :]


MODELS: dict[str, tuple[Callable[[bytes], bytes], tuple[str, ...]]] = {
    "truncated": (lambda payload: payload[:-40], ("is truncated", "Copy the file again")),
    "cut in the header": (lambda payload: payload[:50], ("is truncated",)),
    "corrupted": (lambda payload: payload.replace(b'"kind', b'"kinb'), ("bad.safetensors",)),
    "foreign": (lambda _: b"tree\nversion=v4\n", ("is not a hardgrad model file",)),
    "empty": (lambda _: b"", ("is not a hardgrad model file", "0 bytes")),
    "newer schema version": (newer, ("has schema version 99", "Update hardgrad")),
}


@pytest.mark.parametrize("case", MODELS)
@pytest.mark.parametrize("name", ["inspect", "score", "explain", "export"])
def test_bad_model_file(case: str, name: str, command: Command, loans: Path, tmp_path: Path) -> None:
    damage, said = MODELS[case]
    path = loans_forest().save(tmp_path / "bad.safetensors")
    path.write_bytes(damage(path.read_bytes()))
    more = {
        "inspect": [],
        "score": [loans, "-o", tmp_path / "scored.parquet"],
        "explain": [loans, "--row", 0],
        "export": ["--to", "sql", "-o", tmp_path / "model.sql"],
    }[name]
    result = command(name, path, *more)
    assert result.exit_code == 1, result.output
    for words in said:
        assert words in result.stderr
    assert "bad.safetensors" in result.stderr
    assert not (tmp_path / "scored.parquet").exists()
    assert not (tmp_path / "model.sql").exists()


# --- scoring ---------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("engine", ["native", "duckdb"])
def test_scoring_table_without_a_column(engine: str, command: Command, model: Path, tmp_path: Path) -> None:
    path = tmp_path / "new.parquet"
    pq.write_table(pa.table({"Age": [30], "state": ["NY"], "owner": [True]}), path)
    out = tmp_path / "scored.parquet"
    result = command("score", model, path, "--engine", engine, "-o", out)
    assert result.exit_code == 1
    assert "the model expects column 'age' (numeric)" in result.stderr
    assert "--rename Age=age" in result.stderr
    assert not out.exists()
    assert command("score", model, path, "--engine", engine, "-o", out, "--rename", "Age=age").exit_code == 0


@pytest.mark.parametrize("engine", ["native", "duckdb"])
def test_scoring_table_with_another_type(engine: str, command: Command, model: Path, tmp_path: Path) -> None:
    path = tmp_path / "new.parquet"
    pq.write_table(pa.table({"age": ["thirty"], "state": ["NY"], "owner": [True]}), path)
    result = command("score", model, path, "--engine", engine, "-o", tmp_path / "scored.parquet")
    assert result.exit_code == 1
    assert "'age'" in result.stderr
    assert not (tmp_path / "scored.parquet").exists()


@pytest.mark.parametrize("engine", ["native", "duckdb"])
def test_scoring_into_nowhere_and_from_nowhere(
    engine: str, command: Command, model: Path, loans: Path, tmp_path: Path
) -> None:
    nowhere = command("score", model, loans, "--engine", engine, "-o", tmp_path / "no" / "scored.parquet")
    assert (nowhere.exit_code, "cannot write" in nowhere.stderr) == (1, True)
    missing = command("score", model, tmp_path / "loan.parquet", "--engine", engine)
    assert (missing.exit_code, "loan.parquet" in missing.stderr) == (1, True)
