"""The runtimes equal the reference bit for bit, on awkward circuits, numbers of rows, groups and weights."""

from __future__ import annotations

import subprocess
import sys

import circuit_examples
import numpy as np
import pytest
from random_circuits import layered_circuit, random_circuit, random_rows

from hardgrad.core.bit_words import pack_bits
from hardgrad.core.errors import DataError, ParameterError
from hardgrad.export.compiled_c import has_compiler
from hardgrad.logic import Circuit, prepare
from hardgrad.logic import runtime as runtime_module

ENGINES = [
    "numba",
    pytest.param("c", marks=pytest.mark.skipif(not has_compiler(), reason="no C compiler found")),
]
ROWS = (0, 1, 63, 64, 65, 513, 10_000)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("seed", range(50))
def test_engines_give_the_same_bits(engine, seed):
    circuit = (
        random_circuit(seed)
        if seed % 2
        else layered_circuit(seed, 1 + seed, [1 + 7 * seed % 40] * (1 + seed % 5))
    )
    runtime = prepare(circuit, engine, n_jobs=1 + seed % 2)
    rows = random_rows(seed, ROWS[seed % len(ROWS)], circuit.n_inputs)
    expected = circuit.evaluate(rows)
    np.testing.assert_array_equal(runtime.evaluate(rows), expected)
    packed = pack_bits(rows.T)
    np.testing.assert_array_equal(runtime.evaluate_packed(packed), circuit.evaluate_packed(packed))


@pytest.mark.parametrize("engine", ["numpy", *ENGINES])
def test_outputs_are_written_where_they_are_wanted(engine):
    circuit = layered_circuit(1, 20, [70, 33])
    packed = pack_bits(random_rows(5, 700, 20).T)
    out = np.full((33, packed.shape[1]), 7, np.uint64)
    assert prepare(circuit, engine).evaluate_packed(packed, out=out) is out
    np.testing.assert_array_equal(out, circuit.evaluate_packed(packed))


@pytest.mark.parametrize(
    "out", [np.empty((33, 10), np.uint64), np.empty((33, 11), np.int64), np.empty((11, 33), np.uint64).T]
)
def test_outputs_are_not_written_where_they_do_not_fit(out):
    circuit = layered_circuit(1, 20, [70, 33])
    packed = pack_bits(random_rows(5, 700, 20).T)
    with pytest.raises(DataError, match=r"expected contiguous uint64 \[33, 11\]"):
        prepare(circuit).evaluate_packed(packed, out=out)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("heaviest", [1, 5, 1000])
@pytest.mark.parametrize("n_groups", [1, 3, 10])
def test_counts_and_winners(engine, heaviest, n_groups):
    circuit = layered_circuit(n_groups, 30, [90, 97])
    rng = np.random.default_rng(heaviest)
    group, weight = rng.integers(0, n_groups, 97), rng.integers(0, heaviest + 1, 97)
    rows = random_rows(3, 777, 30)
    expected = np.stack(
        [circuit.evaluate(rows)[:, group == k] @ weight[group == k] for k in range(n_groups)], axis=1
    )
    for runtime in (
        prepare(circuit, name, group=group, weight=weight, n_groups=n_groups) for name in (engine, "numpy")
    ):
        np.testing.assert_array_equal(runtime.counts(rows), expected)
        np.testing.assert_array_equal(runtime.winners(rows), expected.argmax(axis=1))
        np.testing.assert_array_equal(
            runtime.winners(packed=pack_bits(rows.T), n_rows=777), expected.argmax(axis=1)
        )


NUMBERS = [-np.inf, -1.0, -5e-324, -0.0, 0.0, 5e-324, 0.5, 1.0, np.nextafter(1.0, 2.0), np.inf]


@pytest.mark.parametrize("engine", [*ENGINES, "numpy"])
@pytest.mark.parametrize("n_rows", ROWS[:-1])
@pytest.mark.parametrize("bits", [0, 1, 37])
def test_numbers_become_packed_bits(engine, n_rows, bits):
    rng = np.random.default_rng(n_rows)
    X = rng.choice([*NUMBERS, np.nan], (9, n_rows)).T  # columns lie together
    feature, threshold = rng.integers(0, 9, bits).astype(np.int32), rng.choice(NUMBERS, bits)
    runtime = prepare(layered_circuit(1, 37, [20]), engine, n_jobs=2)
    expected = pack_bits((X[:, feature] > threshold).T)
    np.testing.assert_array_equal(runtime.pack_above(X, feature, threshold), expected)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", circuit_examples.models())
def test_a_model_of_numbers_answers_the_same_in_every_engine(engine, name):
    model = circuit_examples.models()[name]
    X = np.random.default_rng(0).choice(NUMBERS, (200, model.n_features))
    runtime = model.runtime(engine, n_jobs=2)
    np.testing.assert_array_equal(runtime.predict_raw_encoded(X), model.predict_raw_encoded(X))
    np.testing.assert_array_equal(
        runtime.predict_encoded(X), model.raw_to_prediction(model.predict_raw_encoded(X))
    )
    assert len(runtime.predict_encoded(X[:0])) == 0


@pytest.mark.parametrize("engine", [*ENGINES, "numpy"])
def test_a_number_that_is_missing_is_named_by_every_engine(engine):
    model = circuit_examples.models()["three classes"]
    X = np.zeros((80, model.n_features))
    X[2, 0] = np.nan  # of a column that may have gaps
    assert len(model.runtime(engine).predict_encoded(X)) == 80
    X[3, -1] = np.nan
    with pytest.raises(DataError, match="missing in row 3"):
        model.runtime(engine).predict_encoded(X)


@pytest.mark.parametrize("engine", ENGINES)
def test_ties_go_to_the_first_group_and_empty_groups_count_nothing(engine):
    circuit = Circuit.from_expression("p = a; q = a; r = b")
    runtime = prepare(circuit, engine, group=[1, 2, 3], n_groups=5)
    assert runtime.winners([[0, 0], [1, 1], [0, 1]]).tolist() == [0, 1, 3]
    assert runtime.counts([[1, 0]]).tolist() == [[0, 1, 1, 0, 0]]


@pytest.mark.skipif(not has_compiler(), reason="no C compiler found")
@pytest.mark.parametrize("seed", range(4))
def test_a_circuit_compiled_by_itself_gives_the_same_bits(seed):
    circuit = random_circuit(seed) if seed < 2 else layered_circuit(seed, 30, [150, 150, 97])
    rows = random_rows(seed, 1111, circuit.n_inputs)
    group = np.arange(circuit.n_outputs) % 3
    runtime = prepare(circuit, compile="c", n_jobs=2, group=group, n_groups=3)
    np.testing.assert_array_equal(runtime.evaluate(rows), circuit.evaluate(rows))
    np.testing.assert_array_equal(
        runtime.winners(rows), prepare(circuit, "numpy", group=group, n_groups=3).winners(rows)
    )


def test_views_are_taken_as_they_are():
    circuit = layered_circuit(0, 20, [30])
    rows = random_rows(0, 300, 60)[:, ::3]
    np.testing.assert_array_equal(prepare(circuit, "numba").evaluate(rows), circuit.evaluate(rows))


def test_little_work_stays_in_numpy(monkeypatch):
    circuit = layered_circuit(0, 20, [30])
    runtime = prepare(circuit)
    rows = random_rows(0, 100, 20)
    runtime.evaluate(rows)
    assert runtime.engine == "auto"
    monkeypatch.setattr(runtime_module, "SMALL_WORK", 10)
    np.testing.assert_array_equal(runtime.evaluate(rows), circuit.evaluate(rows))
    assert runtime.engine == runtime_module.fastest_engine()


def test_little_work_adds_up(monkeypatch):
    circuit = layered_circuit(0, 20, [30])
    runtime = prepare(circuit)
    rows = random_rows(0, 100, 20)
    monkeypatch.setattr(runtime_module, "SMALL_WORK", 5 * circuit.n_gates * len(rows))
    engines = []
    for _ in range(7):
        np.testing.assert_array_equal(runtime.evaluate(rows), circuit.evaluate(rows))
        engines.append(runtime.engine)
    assert engines == ["auto"] * 5 + [runtime_module.fastest_engine()] * 2


def test_a_machine_without_compilers(monkeypatch):
    runtime_module.fastest_engine.cache_clear()
    monkeypatch.setattr(runtime_module, "make_kernel", _refuse)
    assert runtime_module.fastest_engine() == "numpy"
    runtime_module.fastest_engine.cache_clear()


def _refuse(*_):
    raise runtime_module.ExportError("none here")


def test_what_is_wrong_is_said():
    circuit = Circuit.from_expression("a & b")
    for options, message in (
        ({"engine": "fpga"}, "engine='fpga'"),
        ({"compile": "verilog"}, "compile='verilog'"),
        ({"compile": "c", "engine": "numba"}, "with engine='numba'"),
        ({"group": [0, 1]}, "groups of 2 outputs"),
        ({"group": [3], "n_groups": 2}, "group 3"),
        ({"group": [0], "weight": [-1]}, "weight -1"),
        ({"group": [0], "weight": [1 << 30]}, "less than"),
    ):
        with pytest.raises(ParameterError, match=message):
            prepare(circuit, **options)


def test_a_prediction_imports_neither_torch_nor_numba(tmp_path):
    layered_circuit(0, 64, [500] * 4).save(tmp_path / "c.safetensors")
    code = (
        "import sys, numpy as np, hardgrad; c = hardgrad.load(sys.argv[1]); c.runtime().evaluate(np.zeros((100, 64), bool));"
        "print(sorted({'torch', 'numba'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "c.safetensors")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_a_roofline_is_measured():
    found = layered_circuit(0, 64, [100] * 3).roofline("numpy")
    assert found.engine == "numpy" and 0 < found.fraction < 10 and found.first_cache_bound > 0
    assert "million rows/s" in str(found)
