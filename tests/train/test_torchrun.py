"""`torchrun`: two processes train together, one of them writes."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import hardgrad
from hardgrad.core.errors import ParameterError
from hardgrad.trees import SoftForestClassifier


@pytest.mark.slow
def test_two_processes_and_one_writer(tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 4))
    y = X[:, :3].sum(axis=1) > 0
    columns = {f"x{i}": X[:, i] for i in range(4)}
    pq.write_table(pa.table({**columns, "y": y}), tmp_path / "rows.parquet")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
               str(Path(sys.executable).parent / "hardgrad"), "fit", str(tmp_path / "rows.parquet"), "--target", "y",
               "--trees", "1", "--max-iter", "30", "--rows", "200", "--out", str(tmp_path / "out")]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("hardened") == 1
    forest = hardgrad.load(tmp_path / "out" / "model.safetensors")
    assert (forest.predict(columns) == y).mean() > 0.85


def test_processes_must_share_a_seed_and_a_number_of_steps(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("WORLD_SIZE", "2")
    X = np.random.default_rng(0).normal(size=(300, 3))
    with pytest.raises(ParameterError, match="random_state"):
        SoftForestClassifier(1).fit(X, X[:, 0] > 0)
    with pytest.raises(ParameterError, match="time budget"):
        SoftForestClassifier(1, random_state=0, time_budget=5).fit(X, X[:, 0] > 0)
