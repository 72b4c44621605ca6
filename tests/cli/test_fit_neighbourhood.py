"""`hardgrad fit --model neighbourhood`: the folder that a model which is no forest leaves, and its C held against it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import hardgrad
from hardgrad.export.c import CSource
from hardgrad.export.compiled_c import has_compiler
from hardgrad.tabular import Neighbourhood

from .conftest import Command, only_json

compiled = pytest.mark.skipif(not has_compiler(), reason="no C compiler")


@pytest.fixture
def arguments(tmp_path: Path) -> list[object]:
    import pyarrow as pa
    import pyarrow.csv

    rng = np.random.default_rng(0)
    age, state = rng.normal(40, 10, 200).round(1), rng.choice(["NY", "TX"], 200)
    pyarrow.csv.write_csv(
        pa.table({"age": age, "state": state, "paid": np.where(age > 40, "yes", "no")}),
        tmp_path / "loans.csv",
    )
    quick = ("--max-iter", "3", "--accelerator", "cpu", "--out", tmp_path / "m", "--json")
    return ["fit", tmp_path / "loans.csv", "--target", "paid", "--model", "neighbourhood", *quick]


@compiled
def test_folder_holds_the_model_its_c_and_the_report(
    command: Command, arguments: list[object], tmp_path: Path
) -> None:
    found = only_json(command(*arguments))
    assert {path.name for path in (tmp_path / "m").iterdir()} == {
        "model.safetensors",
        "model.c",
        "model.h",
        "report.html",
    }
    assert [(check["engine"], check["rows"], check["differing"]) for check in found["exact"]] == [
        ("file", 40, 0),
        ("c", 40, 0),
    ]
    assert found["metrics"]["accuracy"] > 0.8 and found["gap"]["metric"] == "log_loss"
    model = hardgrad.load(tmp_path / "m" / "model.safetensors")
    assert isinstance(model, Neighbourhood) and model.target == "paid" and len(model.memory) == 160
    page = (tmp_path / "m" / "report.html").read_text(encoding="utf-8")
    assert "160 remembered rows" in page
    scored = only_json(command("score", tmp_path / "m", tmp_path / "loans.csv", "--json"))
    assert len(scored["scores"]["prediction"]) == 200


@compiled
def test_c_that_disagrees_is_never_written(
    command: Command, arguments: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = Neighbourhood.to_c

    def wrong(self: Neighbourhood, name: str) -> CSource:
        code = right(self, name)
        source = code.source.replace("difference * difference", "difference * fabs(difference)")
        return CSource(name, code.header, source)

    monkeypatch.setattr(Neighbourhood, "to_c", wrong)
    failed = command(*arguments)
    assert (
        failed.exit_code == 1
        and "c disagrees with the model" in failed.stderr
        and "measured row" in failed.stderr
    )
    assert not (tmp_path / "m").exists()
