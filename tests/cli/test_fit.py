"""`hardgrad fit` from table to folder: what is written, what is said, interruption and resumption to the same bits."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hardgrad
from hardgrad.cli import fit_write
from hardgrad.train.progress import Event, listen

from .conftest import Command, only_json

QUICK = ("--trees", "2", "--depth", "2", "--max-iter", "20", "--rows", "100")


def loans_table(n: int = 300) -> Any:
    """Mixed columns with missing values, a weight and a code, and a target that they tell."""
    import pyarrow as pa

    rng = np.random.default_rng(0)
    age, income = rng.integers(18, 80, n), rng.lognormal(10, 0.5, n)
    state = rng.choice(["NY", "TX", "CA", ""], n)
    signal_ = age / 40 + np.log(income) / 10 + (state == "TX") * 0.5 + rng.normal(0, 0.2, n)
    return pa.table(
        {
            "age": age,
            "income": [None if rng.random() < 0.1 else float(v) for v in income],
            "state": state,
            "owner": rng.random(n) < 0.5,
            "since": pa.array(rng.integers(0, 20_000, n).astype("int32"), pa.date32()),
            "code": rng.integers(1, 5, n),
            "weight": rng.integers(1, 3, n),
            "paid": np.where(signal_ > np.median(signal_), "yes", "no"),
            "amount": signal_,
        }
    )


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import pyarrow.parquet as pq

    path = tmp_path_factory.mktemp("data") / "loans.parquet"
    pq.write_table(loans_table(), path)
    return path


def arguments(table: Path, *more: object) -> list[object]:
    return ["fit", table, "--target", "paid", "--drop", "amount", "--weights", "weight", *QUICK, *more]


def test_writes_everything_and_says_what_it_did(
    command: Command, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = command(*arguments(table, "--categorical", "code"))
    assert result.exit_code == 0, result.output
    out = tmp_path / "loans-paid"
    assert {path.name for path in out.iterdir()} >= {
        "model.safetensors",
        "model.sql",
        "model.c",
        "model.h",
        "model.js",
        "report.html",
    }
    assert [path.name for path in tmp_path.iterdir()] == ["loans-paid"], (
        "no checkpoint and nothing temporary is left"
    )
    assert "300 rows  6 columns" in result.stdout
    assert "2 classes, 50.0 % yes" in result.stdout
    assert "60 rows (20 %) held out of all training" in result.stdout
    assert ": 0 differ" in result.stdout
    forest = hardgrad.load(out / "model.safetensors")
    assert forest.target == "paid"
    kinds = {column.name: column.kind for column in forest.schema.columns}
    assert kinds["code"] == "categorical"
    assert "weight" not in kinds and "amount" not in kinds
    scored = command("score", out, table, "--json")
    assert len(only_json(scored)["scores"]["prediction"]) == 300


def test_json_of_a_regression(command: Command, table: Path, tmp_path: Path) -> None:
    result = command(
        "fit",
        table,
        "--target",
        "amount",
        "--drop",
        "paid",
        *QUICK,
        "--test-fraction",
        "0",
        "--out",
        tmp_path / "m",
        "--json",
    )
    found = only_json(result)
    assert found["model"]["task"] == "regression"
    assert set(found["metrics"]) == {"rmse", "mae", "r2"}
    assert found["measured_on"] == "training rows"
    assert any("flatter the model" in note for note in found["notes"])
    assert all(check["differing"] == 0 for check in found["exact"])
    assert set(found["files"]) <= {path.name for path in (tmp_path / "m").iterdir()}


def test_quiet_says_nothing(command: Command, table: Path, tmp_path: Path) -> None:
    result = command(*arguments(table, "--out", tmp_path / "q", "--quiet", "--budget", "3 trees"))
    assert (result.exit_code, result.output) == (0, "")


@pytest.mark.slow
def test_interrupted_run_resumes_to_the_same_bits(command: Command, table: Path, tmp_path: Path) -> None:
    steps: list[Event] = []
    with listen(steps.append):
        whole = command(*arguments(table, "--max-iter", "130", "--out", tmp_path / "whole"))
    assert whole.exit_code == 0, whole.output

    def stop(event: Event) -> None:
        if event.phase.startswith("refine") and event.fraction > 0.85:
            raise KeyboardInterrupt

    with listen(stop):
        stopped = command(*arguments(table, "--max-iter", "130", "--out", tmp_path / "halves"))
    assert stopped.exit_code == 130
    assert f"hardgrad fit --resume --out {tmp_path / 'halves'}" in stopped.stderr
    assert not (tmp_path / "halves").exists()
    assert any((tmp_path / "halves.checkpoint").rglob("*.safetensors")), "there is something to go on with"
    again: list[Event] = []
    with listen(again.append):
        resumed = command("fit", "--resume", "--out", tmp_path / "halves")
    assert resumed.exit_code == 0, resumed.output
    assert len(again) < len(steps), "what was trained before is not trained again"
    assert not (tmp_path / "halves.checkpoint").exists()
    for name in ("model.safetensors", "model.sql", "model.c"):
        assert (tmp_path / "halves" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_resume_refuses_what_cannot_give_the_same_model(
    command: Command, table: Path, tmp_path: Path
) -> None:
    import pyarrow.parquet as pq

    nothing = command("fit", "--resume", "--out", tmp_path / "never")
    assert (nothing.exit_code, "Start it without --resume" in nothing.stderr) == (1, True)
    changed = tmp_path / "changing.parquet"
    pq.write_table(loans_table(), changed)

    def stop(event: Event) -> None:
        raise KeyboardInterrupt

    with listen(stop):
        assert command(*arguments(changed, "--out", tmp_path / "m")).exit_code == 130
    other = command("fit", "--resume", "--out", tmp_path / "m", "--seed", "5")
    assert (other.exit_code, "--seed is 5, but the interrupted run has 0" in other.stderr) == (1, True)
    pq.write_table(loans_table(299), changed)
    data = command("fit", "--resume", "--out", tmp_path / "m")
    assert (data.exit_code, "the table changed" in data.stderr) == (1, True)
    (tmp_path / "m.checkpoint" / "run.json").write_text("{")
    damaged = command("fit", "--resume", "--out", tmp_path / "m")
    assert (damaged.exit_code, "is damaged" in damaged.stderr) == (1, True)


def test_full_disk_leaves_nothing_and_can_go_on(
    command: Command, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = fit_write._write_products

    def full(result: Any, folder: Path) -> None:
        written(result, folder)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(fit_write, "_write_products", full)
        failed = command(*arguments(table, "--out", tmp_path / "m"))
    assert failed.exit_code == 1
    assert "No space left on device" in failed.stderr
    assert f"--resume --out {tmp_path / 'm'}" in failed.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["m.checkpoint"]
    assert command("fit", "--resume", "--out", tmp_path / "m").exit_code == 0
    assert (tmp_path / "m" / "model.safetensors").exists()


def test_disagreeing_export_is_never_written(
    command: Command, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hardgrad.trees import exactness

    wrong = [exactness.ExactCheck("c", 100, 3, 0.1, first_differing={"age": 35.5})]
    monkeypatch.setattr(exactness, "check_exactness", lambda *_, **__: wrong)
    failed = command(*arguments(table, "--out", tmp_path / "m"))
    assert failed.exit_code == 1
    assert "c disagrees with the model on 3 of 100 rows" in failed.stderr
    assert not (tmp_path / "m").exists()


def test_wrong_calls(command: Command, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert command("fit", table).exit_code == 2
    assert command("fit", table, "--target", "paid", "--trees", "2", "--unbounded").exit_code == 2
    for more, said in (
        (("--model", "SoftForrest"), "Did you mean"),
        (("--model", "SoftForestRegressor"), "is for regression"),
        (("--metric", "log_los"), "Did you mean 'log_loss'?"),
        (("--time-budget", "soon"), "--time-budget got 'soon'"),
        (("--test-fraction", "0.9"), "--test-fraction got 0.9"),
        (("--split", "diagonal"), "split='diagonal'"),
        (("--task", "ranking"), "'ranking'"),
        (("--weights", "paid"), "cannot also be"),
    ):
        failed = command("fit", table, "--target", "paid", *QUICK, *more)
        assert (failed.exit_code, said in failed.stderr) == (1, True), failed.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_ctrl_c_in_a_real_process(table: Path, tmp_path: Path) -> None:
    """The first words of training are out, the long part is ahead: now the interrupt comes."""
    command = [sys.executable, "-c", "from hardgrad.cli.main import main; main()"]
    call = [*command, *map(str, arguments(table, "--max-iter", "20000", "--out", tmp_path / "m"))]
    process = subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if "greedy start" in line:
            break
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "--resume" in said
    assert "Traceback" not in said
    assert json.loads((tmp_path / "m.checkpoint" / "run.json").read_text())["settings"]["max_iter"] == 20000


def test_a_stream_leaves_what_a_table_in_memory_leaves(
    command: Command, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hardgrad.trees import streamed

    monkeypatch.setattr(streamed, "SAMPLE_ROWS", 100)
    out = tmp_path / "streamed"
    result = command(*arguments(table, "--categorical", "code", "--stream", "--out", out))
    assert result.exit_code == 0, result.output
    assert "300 rows  streamed  6 columns" in result.stdout
    assert "measured on 60 rows (20 %) held out of all training" in result.stdout
    assert "trained on a sample of 100 rows; leaves" in result.stdout
    assert ": 0 differ" in result.stdout
    forest = hardgrad.load(out / "model.safetensors")
    assert forest.target == "paid"
    assert {column.name: column.kind for column in forest.schema.columns}["code"] == "categorical"
    found = only_json(command(*arguments(table, "--stream", "--out", out, "--json")))
    assert (found["table"]["rows"], found["train_rows"], found["test_rows"]) == (300, 240, 60)
    assert found["streamed"]["sample_rows"] == 100


def test_large_files_stream_by_themselves(
    command: Command, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hardgrad.cli import streamed_data

    monkeypatch.setattr(streamed_data, "STREAM_ABOVE", 200)
    result = command(*arguments(table, "--out", tmp_path / "a"))
    assert "300 rows  streamed" in result.stdout, result.output
    result = command(*arguments(table, "--out", tmp_path / "b", "--no-stream"))
    assert result.exit_code == 0 and "streamed" not in result.stdout


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (("--target", "pid"), "has no column 'pid'"),
        (("--drop", "paid"), "cannot also be dropped"),
        (("--weights", "age2"), "has no column 'age2'"),
    ],
)
def test_what_a_stream_cannot_learn_is_said(
    command: Command, table: Path, tmp_path: Path, changes: tuple[str, ...], expected: str
) -> None:
    result = command(*arguments(table, "--stream", "--out", tmp_path / "x", *changes))
    assert result.exit_code == 1 and expected in result.stderr
    assert not list(tmp_path.iterdir())


def test_only_parquet_streams(command: Command, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,y\n1,2\n")
    for name in (tmp_path / "t.csv", tmp_path / "none.parquet"):
        result = command("fit", name, "--target", "y", "--stream", "--out", tmp_path / "x")
        assert result.exit_code == 1
        assert "needs a Parquet file" in result.stderr or "there is no file" in result.stderr
