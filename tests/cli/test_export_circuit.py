"""`hardgrad export` of a circuit model and of a circuit: every form, against the model or proven equal to its circuit."""

from __future__ import annotations

import ctypes
from pathlib import Path

import duckdb
import numpy as np
import pytest
from sklearn.datasets import load_iris

import hardgrad
from hardgrad.export.compiled_c import compile_shared, has_compiler
from hardgrad.export.forms import HasForms
from hardgrad.logic import Circuit, CircuitModel, LogicGateClassifier
from hardgrad.tabular.table_onnx import onnx_inputs

from .conftest import Command, only_json

MODEL_FORMS = ("sql", "c", "verilog", "blif", "aiger", "onnx")
CIRCUIT_FORMS = ("c", "verilog", "blif", "aiger", "onnx", "sql", "dot", "svg")
MAIN_FILE = {"verilog": "model.v", "aiger": "model.aig"}
ADDER = Circuit.from_expression("s = a ^ b ^ c; carry = (a & b) | (c & (a ^ b))")


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a small circuit model of iris."""
    X, y = load_iris(return_X_y=True, as_frame=True)
    X.columns = ["long", "wide", "petal, long", "petal, wide"]
    estimator = LogicGateClassifier(layer_sizes=(60, 30), max_iter=300, learning_rate=0.05, random_state=0)
    model = estimator.fit(X, y.map({0: "a", 1: "b", 2: "c"})).harden()
    assert model.circuit.n_gates > 5, "a circuit without gates would test little"
    return Path(model.save(tmp_path_factory.mktemp("learned") / "model.safetensors"))


@pytest.fixture
def adder(tmp_path: Path) -> Path:
    """The file of a circuit that adds three bits."""
    return ADDER.save(tmp_path / "adder.safetensors")


def exported(command: Command, model: Path, to: str, folder: Path, *options: object) -> Path:
    """Export into a folder and return the main file."""
    folder.mkdir(exist_ok=True)
    found = only_json(command("export", model, "--to", to, "-o", folder, "--json", *options))
    assert found["files"][0] == str(folder / MAIN_FILE.get(to, f"model.{to}"))
    return Path(found["files"][0])


def awkward_rows(model: CircuitModel) -> dict[str, np.ndarray]:
    """Rows on thresholds, just beside them, and infinite; of columns that are never missing."""
    rng = np.random.default_rng(0)
    columns = {}
    for f, feature in enumerate(model.schema.features):
        own = model.bit_threshold[model.bit_feature == f]
        near = [own, np.nextafter(own, np.inf), np.nextafter(own, -np.inf), [np.inf, -np.inf, 0.0, -0.0]]
        columns[feature.name] = rng.choice(np.concatenate(near), 400)
    return columns


def test_c_of_a_model(command: Command, learned: Path, tmp_path: Path) -> None:
    source = exported(command, learned, "c", tmp_path / "c")
    if not has_compiler():
        pytest.skip("no C compiler found")
    model = CircuitModel.load(learned)
    rows = awkward_rows(model)
    header = source.with_suffix(".h").read_text()
    library = compile_shared(source.read_text(), headers={"model.h": header})
    X = np.ascontiguousarray(model.encode(rows))
    raw = np.empty((len(X), 3))
    library.model_predict_many(
        ctypes.c_void_p(X.ctypes.data), ctypes.c_int32(len(X)), ctypes.c_void_p(raw.ctypes.data)
    )
    np.testing.assert_array_equal(raw, model.predict_raw(rows))


def test_sql_of_a_model(command: Command, learned: Path, tmp_path: Path) -> None:
    options = ("--table", "flowers", "--rename", "breadth=wide")
    query = exported(command, learned, "sql", tmp_path / "sql", *options).read_text()
    model = CircuitModel.load(learned)
    rows = awkward_rows(model)
    database = duckdb.connect()
    database.execute(
        'CREATE TABLE flowers (long DOUBLE, breadth DOUBLE, "petal, long" DOUBLE, "petal, wide" DOUBLE)'
    )
    database.executemany(
        "INSERT INTO flowers VALUES (?, ?, ?, ?)", np.column_stack([*rows.values()]).tolist()
    )
    said = database.execute(query).fetchall()
    np.testing.assert_array_equal([row[:3] for row in said], model.predict_raw(rows))
    assert [row[-1] for row in said] == model.predict(rows).tolist()


def test_onnx_of_a_model(command: Command, learned: Path, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(exported(command, learned, "onnx", tmp_path / "onnx"))
    model = CircuitModel.load(learned)
    rows = awkward_rows(model)
    raw, chances, label = session.run(["raw", "probabilities", "label"], onnx_inputs(model, rows))
    np.testing.assert_array_equal(raw, model.predict_raw(rows))
    np.testing.assert_allclose(chances, model.predict_proba(rows), rtol=0, atol=1e-15)
    assert label.tolist() == model.predict(rows).tolist()


@pytest.mark.parametrize("to", ["blif", "aiger"])
def test_netlists_of_a_model_are_its_circuit(
    command: Command, learned: Path, tmp_path: Path, to: str
) -> None:
    model = CircuitModel.load(learned)
    again = Circuit.read(exported(command, learned, to, tmp_path / to))
    assert again.equivalent(model.circuit).equal is True
    first = model.bit_names[0]
    assert again.names_of_inputs[0] == (first if to == "aiger" else first.replace(" ", "_"))
    assert any(name.startswith("c") for name in again.names_of_outputs), "outputs are named by their class"


def test_verilog_of_a_model(command: Command, learned: Path, tmp_path: Path) -> None:
    text = exported(command, learned, "verilog", tmp_path / "v").read_text()
    assert text == CircuitModel.load(learned).to_verilog("model").source
    assert "module model_circuit" in text and "assign largest = at_2;" in text


def test_names_are_chosen(command: Command, learned: Path, adder: Path) -> None:
    assert ".model iris" in command("export", learned, "--to", "blif", "--name", "iris").stdout
    assert "iris_circuit" in command("export", learned, "--to", "verilog", "--name", "iris").stdout
    assert "int32_t n, double *raw" in command("export", learned, "--to", "c").stdout
    plain, piped = (
        command("export", adder, "--to", "verilog", "--name", "add", *options).stdout
        for options in ((), ("--pipelined",))
    )
    assert plain.strip() == ADDER.to_verilog("add").source.strip()
    assert piped.strip() == ADDER.to_verilog("add", pipelined=True).source.strip() != plain.strip()


@pytest.mark.parametrize("to", ["blif", "aiger"])
def test_netlists_of_a_circuit(command: Command, adder: Path, tmp_path: Path, to: str) -> None:
    again = Circuit.read(exported(command, adder, to, tmp_path / to))
    assert again.equivalent(ADDER).equal is True
    assert (again.names_of_inputs, again.names_of_outputs) == (("a", "b", "c"), ("s", "carry"))


def test_code_of_a_circuit(command: Command, adder: Path, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    rows = np.array([[k >> 2 & 1, k >> 1 & 1, k & 1] for k in range(8)], bool)
    session = onnxruntime.InferenceSession(exported(command, adder, "onnx", tmp_path / "onnx"))
    np.testing.assert_array_equal(session.run(None, {"x": rows})[0], ADDER.truth_table())
    database = duckdb.connect()
    database.execute("CREATE TABLE data (a BOOLEAN, b BOOLEAN, c BOOLEAN)")
    database.executemany("INSERT INTO data VALUES (?, ?, ?)", rows.tolist())
    said = database.execute(command("export", adder, "--to", "sql").stdout).fetchall()
    np.testing.assert_array_equal(said, ADDER.truth_table())
    if has_compiler():
        source = exported(command, adder, "c", tmp_path / "c")
        run = compile_shared(
            source.read_text(), headers={"model.h": source.with_suffix(".h").read_text()}
        ).model_run
        x, y = np.array([0xF0, 0xCC, 0xAA], np.uint64), np.zeros(2, np.uint64)
        run(ctypes.c_void_p(x.ctypes.data), ctypes.c_void_p(y.ctypes.data))
        assert [int(word) & 0xFF for word in y] == [0x96, 0xE8]


@pytest.mark.parametrize("to", ["dot", "svg"])
def test_pictures_of_a_circuit(command: Command, adder: Path, tmp_path: Path, to: str) -> None:
    text = exported(command, adder, to, tmp_path / to).read_text()
    assert "carry" in text and ("digraph" if to == "dot" else "<svg") in text


def test_what_a_model_has_is_listed(command: Command, learned: Path, adder: Path, tmp_path: Path) -> None:
    for model, kind, forms, wrong in (
        (learned, "circuit-model", MODEL_FORMS, "js"),
        (adder, "circuit", CIRCUIT_FORMS, "text"),
    ):
        artifact = hardgrad.load(model)
        assert isinstance(artifact, HasForms) and tuple(artifact.forms()) == forms
        refused = command("export", model, "--to", wrong)
        assert refused.exit_code == 2
        assert (
            f"got '{wrong}'" in refused.output
            and f"'{kind}' is written as {', '.join(forms)}." in refused.output
        )
        binary = command("export", model, "--to", "aiger")
        assert binary.exit_code == 2 and "-o model.aig" in binary.output
    piped = command("export", learned, "--to", "verilog", "--pipelined")
    assert piped.exit_code == 2 and "--pipelined is for the Verilog of a circuit" in piped.output


def test_other_kinds(command: Command, tmp_path: Path) -> None:
    from hardgrad.bits import HammingIndex
    from hardgrad.nn import ComparatorNetwork

    index = HammingIndex.build([[0, 1, 1]], ["a"]).save(tmp_path / "index.safetensors")
    refused = command("export", index, "--to", "c")
    assert (
        refused.exit_code == 1
        and "kind 'hamming-index'" in refused.stderr
        and "hardgrad.load" in refused.stderr
    )
    sorter = ComparatorNetwork.build("odd_even", 4)
    file = sorter.save(tmp_path / "sorter.safetensors")
    for options, pipelined in (((), False), (("--pipelined",), True)):
        said = command("export", file, "--to", "verilog", "--name", "four", *options).stdout
        assert said.strip() == sorter.to_verilog("four", pipelined=pipelined).source.strip()
    assert "four_sort(" in command("export", file, "--to", "c", "--name", "four").stdout
