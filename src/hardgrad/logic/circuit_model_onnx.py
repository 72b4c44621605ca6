"""Circuit models as ONNX over raw columns: thresholds, gates, counts. Never imports torch.

How it stays exact. A bit is one comparison of doubles, a gate one operator of Booleans, a count a sum of whole numbers in int32, which no
order of summation changes; a score is one multiplication and one subtraction, which have the bits of the reference. The inputs, and the
outputs made of the scores, are those of every table model: `hardgrad.tabular.table_onnx`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import ParameterError
from hardgrad.export.onnx import GraphWriter
from hardgrad.logic.circuit_onnx import add_gates
from hardgrad.logic.program import without_unused_inputs
from hardgrad.tabular.float_rounding import round_down_to_float32
from hardgrad.tabular.schema import TableSchema
from hardgrad.tabular.table_onnx import (
    MISSING_TEXT,
    Precision,
    check_columns,
    encode_columns,
    finish_model,
    ranked,
    write_scores,
)

if TYPE_CHECKING:
    from hardgrad.logic.circuit import Circuit
    from hardgrad.logic.circuit_model import CircuitModel


def to_onnx(
    model: CircuitModel,
    path: str | os.PathLike[str] | None = None,
    *,
    precision: Precision = "double",
    name: str = "circuit_model",
    missing_text: str = MISSING_TEXT,
) -> bytes:
    """Return, and write where a path is given, an ONNX model that takes the raw columns and scores as the circuit model does.

    Inputs and outputs are those of `hardgrad.trees.export_onnx.to_onnx`: an input [rows, 1] a raw column, by its name; `raw`, and
    `probabilities` and `label`, or `prediction`. `hardgrad.tabular.table_onnx.onnx_inputs` makes the inputs from a table.

    With `precision="double"` raw scores and labels are those of the model for every input; probabilities differ by the few ulp that
    implementations of `exp` differ. With "float32" numbers and results are float32: every bit is that of the model for every float32 input,
    and raw scores are rounded. The model refuses a row that lacks a value which it never lacked in training; ONNX cannot, and the bits of
    that value are 0.

    Parameters
    ----------
    model : the circuit model.
    path : file to write, whole or not at all.
    precision : "double" or "float32", for runtimes that have no doubles.
    name : name of the graph.
    missing_text : the string that stands for a missing category.

    Raises
    ------
    ParameterError : another precision.
    ExportError : the package onnx is missing (`pip install hardgrad[onnx]`), or the model cannot be written in ONNX.
    WriteError : see `hardgrad.core.files.atomic_path`.

    Examples
    --------
    >>> from hardgrad.logic import CircuitModel
    >>> from hardgrad.trees.forest_build import forest_from_trees
    >>> tree = {"feature": 0, "threshold": 1.5, "left": {"value": 0.0}, "right": {"value": 2.0}}
    >>> payload = to_onnx(CircuitModel.from_forest(forest_from_trees([tree], ["age"])))
    >>> import onnxruntime
    >>> session = onnxruntime.InferenceSession(payload)
    >>> session.run(["prediction"], {"age": np.array([[1.5], [1.6]])})[0].tolist()
    [0.0, 2.0]
    """
    if precision not in ("double", "float32"):
        raise ParameterError(f"precision is {precision!r}; expected 'double' or 'float32'.")
    check_columns(model.schema, missing_text)
    plan = _make_plan(model, np.float32 if precision == "float32" else np.float64)
    writer = GraphWriter(name)
    X = encode_columns(writer, plan, missing_text)
    write_scores(writer, model, _scores(writer, model, plan, X), plan.dtype)
    return finish_model(writer, model, path, precision, missing_text)


@dataclass(frozen=True)
class _Plan:
    """The model in the terms of the graph (see `hardgrad.tabular.table_onnx.Encoding`).

    Parameters
    ----------
    circuit : with the inputs that an output depends on.
    column : int [inputs], the column of X that each tests; threshold : dtype [inputs].
    """

    schema: TableSchema
    dtype: type[np.floating[Any]]
    used: NDArray[np.int64]
    circuit: Circuit
    column: NDArray[np.int64]
    threshold: NDArray[Any]
    codes: Mapping[int, NDArray[Any]]
    dates: Mapping[int, NDArray[np.int64]] = field(default_factory=dict)


def _make_plan(model: CircuitModel, dtype: type[np.floating[Any]]) -> _Plan:
    circuit, inputs = without_unused_inputs(model.circuit)
    feature, threshold = model.bit_feature[inputs], model.bit_threshold[inputs]
    used = np.unique(feature).astype(np.int64)
    codes: dict[int, NDArray[Any]] = {}
    dates: dict[int, NDArray[np.int64]] = {}
    for f in used.tolist():
        codes[f] = np.array(model.schema.features[f].codes)
        own = feature == f
        found = ranked(model.schema, f, threshold[own]) if dtype == np.float32 else None
        if found is None:
            continue
        number, code_ranks, seconds = found
        threshold[own] = number
        if code_ranks is not None:
            codes[f] = code_ranks
        if seconds is not None:
            dates[f] = seconds
    return _Plan(
        schema=model.schema,
        dtype=dtype,
        used=used,
        circuit=circuit,
        column=np.searchsorted(used, feature),
        threshold=round_down_to_float32(threshold) if dtype == np.float32 else threshold,
        codes={f: values.astype(dtype) for f, values in codes.items()},
        dates=dates,
    )


def _scores(writer: GraphWriter, model: CircuitModel, plan: _Plan, X: str) -> str:
    """Return the raw scores [rows, scores] of X [rows, used features]."""
    if not plan.circuit.n_inputs:
        return _constant_scores(writer, model, plan, X)
    picked = writer.node("Gather", X, writer.constant(plan.column, np.int64), axis=1)
    bits = writer.node("Greater", picked, writer.constant(plan.threshold[None, :]))
    outputs = add_gates(writer, plan.circuit, writer.node("Transpose", bits, perm=[1, 0]))
    ones = writer.cast(writer.node("Transpose", outputs, perm=[1, 0]), np.int32)
    votes = np.zeros((plan.circuit.n_outputs, model.n_outputs), np.int32)
    votes[np.arange(plan.circuit.n_outputs), model.group] = model.weight
    count = writer.cast(writer.node("MatMul", ones, writer.constant(votes)), plan.dtype)
    # offset - (-scale * count) has the bits of offset + scale * count; runtimes drop an addition of 0, which turns -0 into 0.
    scaled = writer.node("Mul", count, writer.constant(-model.scale[None, :], plan.dtype))
    return str(writer.node("Sub", writer.constant(model.offset[None, :], plan.dtype), scaled))


def _constant_scores(writer: GraphWriter, model: CircuitModel, plan: _Plan, X: str) -> str:
    """Return the scores of a circuit that reads no input: they are those of any row."""
    raw = model.predict_raw_encoded(np.zeros((1, model.n_features)))
    rows = writer.node("Shape", X, start=0, end=1)
    shape = writer.node("Concat", rows, writer.constant([model.n_outputs], np.int64), axis=0)
    return str(writer.node("Expand", writer.constant(raw, plan.dtype), shape))
