"""`hardgrad fit --model circuit`: gates before and after, speed and the gap are printed, in the JSON and on the page."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
from sklearn.datasets import load_iris

import hardgrad
from hardgrad.logic import Circuit, CircuitModel

from .conftest import Command, only_json


@pytest.fixture
def arguments(tmp_path: Path) -> list[object]:
    X, y = load_iris(return_X_y=True)
    table = pa.table({f"part {k}": X[:, k] for k in range(4)} | {"kind": y.astype(str)})
    pyarrow.parquet.write_table(table, tmp_path / "iris.parquet")
    quick = ("--max-iter", "20", "--accelerator", "cpu", "--out", tmp_path / "m")
    return ["fit", tmp_path / "iris.parquet", "--target", "kind", "--model", "circuit", *quick]


def test_facts_are_in_the_answer_and_on_the_page(
    command: Command, arguments: list[object], tmp_path: Path
) -> None:
    found = only_json(command(*arguments, "--json"))
    circuit = hardgrad.load(tmp_path / "m" / "model.safetensors").circuit
    gates = found["facts"]["Gates"]
    assert (
        gates["simplified"] == circuit.n_gates < gates["as learned"] == 8001
    )  # 8000, rounded up to three groups
    assert found["facts"]["Circuit"]["levels"] == circuit.depth
    assert sum(found["facts"]["Kinds of gates"].values()) == circuit.n_gates
    assert found["speed"]["rows_per_second"] > 0 and found["speed"]["engine"] in ("c", "numba", "numpy")
    assert {"soft", "hard", "agreement"} <= set(found["gap"])
    checked = {check["engine"]: check for check in found["exact"]}
    for engine in ("c", "onnx"):
        assert checked[engine]["differing"] == 0
        assert checked[engine]["rows"] > 0 or checked[engine]["skipped_reason"]
    forms = {"sql", "c", "h", "v", "blif", "aig"} | ({"onnx"} if importlib.util.find_spec("onnx") else set())
    assert {f"model.{ending}" for ending in forms} < {path.name for path in (tmp_path / "m").iterdir()}
    for netlist in ("model.blif", "model.aig"):
        assert Circuit.read(tmp_path / "m" / netlist).equivalent(circuit).equal is True
    page = (tmp_path / "m" / "report.html").read_text(encoding="utf-8")
    for text in (
        "as learned",
        "8,001",
        "levels",
        "Kinds of gates",
        "Rows a second",
        "on this machine",
        "agree",
    ):
        assert text in page
    assert '<svg xmlns="http://www.w3.org/2000/svg" class="circuit"' in page and "part 2 &gt; " in page
    assert "this model" in page


def test_any_parameter_of_the_estimator_can_be_set(
    command: Command, arguments: list[object], tmp_path: Path
) -> None:
    chosen = (
        "--set",
        "layer_sizes=60,30",
        "--set",
        "head=codebook",
        "--set",
        "thresholds=learned",
        "--set",
        "temperature=1.0,0.2",
    )
    found = only_json(command(*arguments, *chosen, "--json"))
    assert found["facts"]["Gates"]["as learned"] < 60 + 2 * 30 + 30
    model = hardgrad.load(tmp_path / "m" / "model.safetensors")
    assert len(model.group) == 90  # every one of 30 outputs counts for three classes
    for bad, message in (
        ("layers=3", "has no parameter 'layers'"), ("head", "expected NAME=VALUE"), ("head=votes", "head='votes'"),
    ):  # fmt: skip
        refused = command(*arguments, "--set", bad)
        assert refused.exit_code == 1 and message in refused.stderr
    twice = command(*arguments, "--set", "tau=1", "--set", "tau=2")
    assert twice.exit_code == 1 and "names 'tau' twice" in twice.stderr


def test_facts_are_printed(command: Command, arguments: list[object], tmp_path: Path) -> None:
    lines = command(*arguments).stdout.splitlines()
    shown = {line.split()[0]: line for line in lines if line.strip()}
    assert "8,001 as learned" in shown["gates"] and "simplified" in shown["gates"]
    assert "rows/s on this machine" in shown["speed"]
    assert "soft" in shown["gap"] and "agreement" in shown["gap"]
    assert "facts" in only_json(command("inspect", tmp_path / "m", "--json"))


def test_onnx_that_disagrees_is_never_written(
    command: Command, arguments: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    right = CircuitModel.to_onnx

    def wrong(self: CircuitModel, path: None = None) -> bytes:
        shifted = {
            name: getattr(self, name) for name in ("schema", "link", "task", "classes", "target", "group")
        }
        bits = {name: getattr(self, name) for name in ("bit_feature", "bit_threshold", "weight", "scale")}
        return right(CircuitModel.of(self.circuit, **shifted, **bits, offset=self.offset + 1.0), path)

    monkeypatch.setattr(CircuitModel, "to_onnx", wrong)
    failed = command(*arguments)
    assert failed.exit_code == 1 and "onnx disagrees with the model" in failed.stderr
    assert not (tmp_path / "m").exists()
