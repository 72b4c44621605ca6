"""`hardgrad compare` and `hardgrad compress`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import hardgrad
from hardgrad.trees.peers import installed_peers

from .conftest import Command, only_json

SMALL = ("--trees", "2", "--depth", "2", "--budget", "2 trees", "--split", "axis")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    x, z = rng.normal(size=(2, 160))
    state = rng.choice(["a", "b", "c"], 160)
    y = np.where(x + 0.5 * (state == "b") + 0.3 * rng.normal(size=160) > 0, "yes", "no")
    path = tmp_path_factory.mktemp("data") / "data.parquet"
    pq.write_table(pa.table({"x": x, "z": z, "state": state, "y": y, "amount": x + z}), path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("target", ["y", "amount"])
def test_side_by_side(command: Command, table: Path, target: str) -> None:
    peers = [name for name in ("lightgbm", "histgradientboosting") if name in installed_peers()]
    other = "amount" if target == "y" else "y"
    options = [
        "--target",
        target,
        "--drop",
        other,
        *SMALL,
        *(word for name in peers for word in ("--peer", name)),
    ]
    found = only_json(command("compare", table, *options, "--json"))
    assert found["models"][0]["name"] == "hardgrad"
    assert len(found["models"]) == 1 + len(peers)
    metrics = {"accuracy", "log_loss"} if target == "y" else {"rmse", "mae"}
    for model in found["models"]:
        assert set(model["metrics"]) == metrics
        assert len(model["folds"]) == 10
    for model in found["models"][1:]:
        for metric, test in model["tests"].items():
            ours = np.mean([fold[metric] for fold in found["models"][0]["folds"]])
            theirs = np.mean([fold[metric] for fold in model["folds"]])
            assert test["difference"] == pytest.approx(ours - theirs)
            assert 0.0 <= test["p_value"] <= 1.0


@pytest.mark.slow
def test_shown_with_its_test(command: Command, table: Path) -> None:
    shown = command(
        "compare",
        table,
        "--target",
        "y",
        "--drop",
        "amount",
        *SMALL,
        "--peer",
        "histgradientboosting",
        "--max-rows",
        "100",
    )
    assert shown.exit_code == 0, shown.output
    for words in ("fold 10/10", "hardgrad", "HistGradientBoosting", "ours minus it", "5x2cv F test"):
        assert words in shown.stdout


def test_what_compare_refuses(command: Command, table: Path) -> None:
    unknown = command("compare", table, "--target", "y", "--peer", "lightgmb")
    assert (unknown.exit_code, "Did you mean 'lightgbm'?" in unknown.stderr) == (1, True)
    target = command("compare", table, "--target", "yy")
    assert (target.exit_code, "Did you mean 'y'?" in target.stderr) == (1, True)


@pytest.mark.slow
def test_compress_a_foreign_forest(command: Command, table: Path, tmp_path: Path) -> None:
    lightgbm = pytest.importorskip("lightgbm")
    data = pq.read_table(table).to_pandas()
    X, y = data[["x", "z"]], (data["y"] == "yes").astype(int)
    booster = lightgbm.train(
        {"objective": "binary", "verbosity": -1, "num_leaves": 6, "num_threads": 1},
        lightgbm.Dataset(X, y),
        10,
    )
    booster.save_model(tmp_path / "booster.txt")
    out = tmp_path / "small.safetensors"
    result = command(
        "compress", tmp_path / "booster.txt", "--budget", "200 bytes", "--data", table, "-o", out, "--json"
    )
    assert result.exit_code == 0, result.output
    found = only_json(result)
    assert found["bytes_after"] <= 200 < found["bytes_before"]
    assert found["file"] == str(out)
    assert hardgrad.load(out).equals(hardgrad.load(out))
    shown = command("compress", out, "--budget", "100 bytes", "--data", table)
    assert shown.exit_code == 0, shown.output
    assert "small-compressed.safetensors" in shown.stdout
    nothing = command("compress", out, "--budget", "14 bytes", "--data", table)
    assert (nothing.exit_code, "14 bytes" in nothing.stderr) == (1, True)
    assert "3 trees" not in command("inspect", tmp_path / "booster.txt").stdout
