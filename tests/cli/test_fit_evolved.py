"""`hardgrad fit --model evolved-tree`: the options that reach it, and a run that is interrupted and gone on with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import hardgrad
from hardgrad.trees.evolution import Evolution

from .conftest import Command, only_json


@pytest.fixture
def table(tmp_path: Path) -> Path:
    import pyarrow as pa
    import pyarrow.csv

    rng = np.random.default_rng(0)
    age, state = rng.normal(40, 10, 200).round(1), rng.choice(["NY", "TX"], 200)
    paid = np.where((age > 40) ^ (rng.random(200) < 0.1), "yes", "no")
    pyarrow.csv.write_csv(pa.table({"age": age, "state": state, "paid": paid}), tmp_path / "loans.csv")
    return tmp_path / "loans.csv"


def test_a_tree_is_fitted_and_every_export_is_exact(command: Command, table: Path, tmp_path: Path) -> None:
    found = only_json(
        command("fit", table, "--target", "paid", "--model", "evolved-tree", "--depth", "2", "--metric", "f1", "--rows", "200",
                "--out", tmp_path / "m", "--json")
    )  # fmt: skip
    assert found["metrics"]["f1"] > 0.7 and next(iter(found["metrics"])) == "f1"
    assert not any(check["differing"] for check in found["exact"])
    forest = hardgrad.load(tmp_path / "m" / "model.safetensors")
    assert (forest.n_trees, forest.target) == (1, "paid") and forest.depth() <= 2


def test_an_interrupted_run_goes_on_to_the_same_bits(
    command: Command, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("fit", table, "--target", "paid", "--model", "evolved-tree", "--rows", "50", "--quiet")
    assert command(*asked, "--out", tmp_path / "whole").exit_code == 0
    step, generations = Evolution.step, []

    def interrupted(self: Evolution, state: object, *arguments: object) -> object:
        if len(generations) == 5:
            raise KeyboardInterrupt
        generations.append(state)
        return step(self, state, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Evolution, "step", interrupted)
    assert command(*asked, "--out", tmp_path / "parts").exit_code == 130
    monkeypatch.setattr(Evolution, "step", step)
    assert command("fit", "--resume", "--out", tmp_path / "parts", "--quiet").exit_code == 0
    whole, parts = (hardgrad.load(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    assert parts.equals(whole)
