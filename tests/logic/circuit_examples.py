"""Circuits and their models for the contract of artifacts: awkward ones, rows to ask them about, every export run."""

from __future__ import annotations

import ctypes
import datetime
import sqlite3
from typing import Any

import duckdb
import numpy as np
from random_circuits import layered_circuit, random_circuit, random_rows

from hardgrad.core.bit_words import pack_bits, unpack_bits
from hardgrad.export.compiled_c import compile_shared, has_compiler
from hardgrad.logic import Circuit, CircuitModel
from hardgrad.logic.circuit_sql import to_sql
from hardgrad.tabular.schema import Column, Feature, TableSchema
from hardgrad.tabular.table_onnx import onnx_inputs


def circuits() -> dict[str, Circuit]:
    """Circuits of every gate, of no gate, of no input, and with names that languages dislike."""
    return {
        "every gate": random_circuit(7, inputs=6, gates=80, outputs=6),
        "layers": layered_circuit(1, 9, [20, 20, 5]),
        "no gate": random_circuit(1, inputs=3, gates=0, outputs=4),
        "no input": Circuit.from_expression("p = 0; q = 1"),
        "awkward names": Circuit.from_expression("a & ~b").with_names(("a\n'\"\\", "🌲"), ("*/",)),
    }


def circuit_rows(circuit: Circuit, seed: int) -> np.ndarray:
    """Rows of bits."""
    return random_rows(seed, 70, circuit.n_inputs)


def circuit_answers(circuit: Circuit, rows: np.ndarray) -> list[np.ndarray]:
    """Outputs of rows, of packed rows, and of every row there is."""
    rows = np.resize(rows, (len(rows), circuit.n_inputs))
    return [circuit.evaluate(rows), circuit.evaluate_packed(pack_bits(rows.T)), circuit.truth_table()]


def circuit_exports(circuit: Circuit, seed: int) -> list[tuple[str, int, str | None]]:
    """Name, rows that differ and reason of skipping, of C, of ONNX and of engines of SQL."""
    rows = circuit_rows(circuit, seed)
    expected = circuit.evaluate(rows)
    found: list[tuple[str, int, str | None]] = []
    if has_compiler():
        found.append(("c", _differing(_in_c(circuit, rows), expected), None))
    else:
        found.append(("c", 0, "no C compiler"))
    if circuit.n_inputs:
        import onnxruntime

        (said,) = onnxruntime.InferenceSession(circuit.to_onnx()).run(None, {"x": rows})
        found.append(("onnx", _differing(said, expected), None))
        found.append(("duckdb", _differing(_in_sql(circuit, rows, "duckdb"), expected), None))
    return found


def _differing(said: np.ndarray, expected: np.ndarray) -> int:
    return int((np.asarray(said, bool) != expected).any(axis=1).sum())


def _in_c(circuit: Circuit, rows: np.ndarray) -> np.ndarray:
    code = circuit.to_c()
    run = compile_shared(code.source, headers={"circuit.h": code.header}).circuit_run
    words = pack_bits(rows.T)
    out = np.zeros((circuit.n_outputs, words.shape[1]), np.uint64)
    for w in range(words.shape[1]):
        x, y = words[:, w].copy(), np.zeros(circuit.n_outputs, np.uint64)
        run(ctypes.c_void_p(x.ctypes.data), ctypes.c_void_p(y.ctypes.data))
        out[:, w] = y
    return unpack_bits(out, len(rows)).T


def _in_sql(circuit: Circuit, rows: np.ndarray, dialect: str) -> np.ndarray:
    names = [name.replace('"', '""') for name in circuit.names_of_inputs]
    database: Any = duckdb.connect() if dialect == "duckdb" else sqlite3.connect(":memory:")
    database.execute(
        f"CREATE TABLE bits ({', '.join(f'{chr(34)}{name}{chr(34)} BOOLEAN' for name in names)})"
    )
    database.executemany(f"INSERT INTO bits VALUES ({', '.join('?' * len(names))})", rows.tolist())
    return np.array(database.execute(circuit.to_sql(dialect)).fetchall(), bool).reshape(
        len(rows), circuit.n_outputs
    )


# --- models ------------------------------------------------------------------------------------------------------------------------
SCHEMA = TableSchema(
    (Column("x"), Column("born", "datetime"), Column("smokes", "boolean"), Column("state", "categorical", ("NY", "TX\n*/")), Column("y")),
    (
        Feature("x", 0), Feature("x is missing", 0, "missing"), Feature("born", 1), Feature("born is missing", 1, "missing"),
        Feature("smokes", 2), Feature("smokes is missing", 2, "missing"), Feature("state", 3, "codes", (0.0, 1.0, 0.25)),
        Feature("state is missing", 3, "missing"), Feature("y", 4),
    ),
)  # fmt: skip


def models() -> dict[str, CircuitModel]:
    """Models of every task, link and type of label, with weights, ties and an empty group."""
    found = {}
    for seed, (name, classes, scores, options) in enumerate(
        [
            ("three classes", ("a", "b", "it's\n"), 3, {"link": "softmax", "task": "classification"}),
            ("two booleans", (False, True), 1, {"link": "sigmoid", "task": "classification"}),
            ("numbers, an empty group", (3, 4, 5, 6), 4, {"link": "softmax", "task": "classification"}),
            ("regression of two", (), 2, {"link": "identity", "task": "regression"}),
        ]
    ):
        rng = np.random.default_rng(seed)
        bits = 14
        circuit = layered_circuit(seed, bits, [30, 24])
        groups = max(scores - (name == "numbers, an empty group"), 1)
        thresholds = np.where(rng.random(bits) < 0.5, 0.5, rng.normal(size=bits))
        feature = np.concatenate([np.arange(9), rng.integers(0, 9, bits - 9)]).astype(np.int32)
        found[name] = CircuitModel.of(
            circuit, schema=SCHEMA, classes=classes, target="t", bit_feature=feature, bit_threshold=thresholds,
            group=rng.integers(0, groups, 24).astype(np.int32), weight=rng.integers(0, 4, 24).astype(np.int32),
            offset=(np.zeros if scores > 2 else rng.normal)(size=scores) if scores <= 2 else np.zeros(scores),
            scale=np.full(scores, 0.3) if scores > 2 else rng.normal(size=scores), **options,
        )  # fmt: skip
    return found


def model_rows(seed: int) -> dict[str, Any]:
    """Rows with missing values, infinities and values on thresholds; the last column is never missing."""
    rng = np.random.default_rng(seed)
    n = 60
    awkward = [np.nan, np.inf, -np.inf, 0.0, -0.0, 0.5, 1e300]
    born = rng.integers(-(10**9), 10**9, n).astype("datetime64[s]")
    born[::9] = np.datetime64("NaT")
    return {
        "x": np.concatenate([rng.normal(size=n - len(awkward)), awkward]),
        "born": born,
        "smokes": rng.choice([0.0, 1.0, np.nan], n),
        "state": rng.choice(np.array(["NY", "TX\n*/", "??", None], dtype=object), n),
        "y": rng.choice([0.5, -0.5, np.inf, 0.0], n),
    }


def model_answers(model: CircuitModel, rows: Any) -> list[np.ndarray]:
    """Everything that the reference says."""
    said = [model.predict_raw(rows), model.predict(rows)]
    return [*said, model.predict_proba(rows)] if model.task == "classification" else said


def model_exports(model: CircuitModel, seed: int) -> list[tuple[str, int, str | None]]:
    """Name, rows that differ and reason of skipping, of C, of ONNX and of SQL in DuckDB and SQLite."""
    rows = model_rows(seed)
    raw = model.predict_raw(rows)
    found: list[tuple[str, int, str | None]] = []
    if has_compiler():
        code = model.to_c()
        library = compile_shared(code.source, headers={"model.h": code.header})
        X, one, many = np.ascontiguousarray(model.encode(rows)), np.empty_like(raw), np.empty_like(raw)
        for x, answer in zip(X, one, strict=True):
            library.model_predict(ctypes.c_void_p(x.ctypes.data), ctypes.c_void_p(answer.ctypes.data))
        library.model_predict_many(
            ctypes.c_void_p(X.ctypes.data), ctypes.c_int32(len(X)), ctypes.c_void_p(many.ctypes.data)
        )
        found += [
            (name, int((said != raw).any(axis=1).sum()), None)
            for name, said in (("c", one), ("c, many", many))
        ]
    else:
        found.append(("c", 0, "no C compiler"))
    found.append(("onnx", _onnx_differing(model, rows), None))
    for dialect in ("duckdb", "sqlite"):
        found.append((dialect, _rows_differing(model, rows, dialect), None))
    return found


def _onnx_differing(model: CircuitModel, rows: dict[str, Any]) -> int:
    """Rows whose raw score, bit for bit, or whose answer is another in ONNX Runtime."""
    import onnxruntime

    said = onnxruntime.InferenceSession(model.to_onnx()).run(None, onnx_inputs(model, rows))
    raw = model.predict_raw(rows)
    wrong = (said[0].view(np.int64) != raw.view(np.int64)).any(axis=1)
    answers = [np.asarray(a).reshape(len(raw), -1) for a in (said[-1], model.predict(rows))]
    return int((wrong | (answers[0] != answers[1]).any(axis=1)).sum())


def _rows_differing(model: CircuitModel, rows: dict[str, Any], dialect: str) -> int:
    database: Any = duckdb.connect() if dialect == "duckdb" else sqlite3.connect(":memory:")
    database.execute("CREATE TABLE data (x DOUBLE, born TIMESTAMP, smokes BOOLEAN, state TEXT, y DOUBLE)")
    database.executemany(
        "INSERT INTO data VALUES (?, ?, ?, ?, ?)", list(zip(*_plain(rows, dialect), strict=True))
    )
    said = database.execute(to_sql(model, dialect)).fetchall()
    raw = model.predict_raw(rows)
    predicted = np.asarray(model.predict(rows)).reshape(len(raw), -1)
    wrong = (np.array([row[: model.n_outputs] for row in said]) != raw).any(axis=1)
    last = np.array([row[-predicted.shape[1] :] for row in said], dtype=object)
    return int((wrong | (last != predicted.astype(object)).any(axis=1)).sum())


def _plain(rows: dict[str, Any], dialect: str) -> list[list[Any]]:
    born = [None if np.isnat(value) else value.astype("datetime64[s]").item() for value in rows["born"]]
    if dialect == "sqlite":
        born = [
            value.strftime("%Y-%m-%d %H:%M:%S") if isinstance(value, datetime.datetime) else None
            for value in born
        ]
    smokes = [None if np.isnan(value) else bool(value) for value in rows["smokes"]]
    return [rows["x"].tolist(), born, smokes, rows["state"].tolist(), rows["y"].tolist()]
