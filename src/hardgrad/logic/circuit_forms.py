"""The forms of a `Circuit` and of a `CircuitModel`: what `hardgrad export` and `hardgrad fit` write of them. Never imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from hardgrad.export.forms import Files, Form

if TYPE_CHECKING:
    from hardgrad.logic.circuit import Circuit
    from hardgrad.logic.circuit_model import CircuitModel


def circuit_forms(circuit: Circuit) -> Mapping[str, Form]:
    """Return C, Verilog, BLIF, AIGER, ONNX and SQL of bits by name, and DOT and SVG, which are for looking at."""

    def in_verilog(name: str = "model", pipelined: bool = False) -> Files:
        return circuit.to_verilog(name, pipelined=pipelined).files()

    def in_sql(dialect: str = "duckdb", table: str = "bits") -> Files:
        return {"model.sql": circuit.to_sql(dialect, table=table)}

    return {
        "c": Form("C", lambda name="model": circuit.to_c(name).files(), ("name",)),
        "verilog": Form("Verilog", in_verilog, ("name", "pipelined")),
        "blif": Form("BLIF", lambda name="model": {f"{name}.blif": circuit.to_blif(name)}, ("name",)),
        "aiger": Form("AIGER", lambda: {"model.aig": circuit.to_aiger()}),
        "onnx": Form("ONNX", lambda: {"model.onnx": circuit.to_onnx()}),
        "sql": Form("SQL", in_sql, ("dialect", "table")),
        "dot": Form("DOT", lambda: {"model.dot": circuit.to_dot()}, shipped=False),
        "svg": Form("SVG", lambda: {"model.svg": circuit.draw()}, shipped=False),
    }


def model_forms(model: CircuitModel) -> Mapping[str, Form]:
    """Return SQL, C, Verilog, BLIF, AIGER and ONNX by name; BLIF and AIGER have the circuit behind the thresholds."""

    def in_sql(
        dialect: str = "duckdb", table: str = "data", rename: Mapping[str, str] | None = None
    ) -> Files:
        return {"model.sql": model.to_sql(dialect, table=table, rename=rename)}

    return {
        "sql": Form("SQL", in_sql, ("dialect", "table", "rename")),
        "c": Form("C", lambda name="model": model.to_c(name).files(), ("name",)),
        "verilog": Form("Verilog", lambda name="model": model.to_verilog(name).files(), ("name",)),
        "blif": Form("BLIF", lambda name="model": {f"{name}.blif": model.to_blif(name)}, ("name",)),
        "aiger": Form("AIGER", lambda: {"model.aig": model.to_aiger()}),
        "onnx": Form("ONNX", lambda: {"model.onnx": model.to_onnx()}),
    }
