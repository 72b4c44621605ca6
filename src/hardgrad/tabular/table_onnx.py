"""ONNX models over the raw columns of a table: what the exports of all table models share. Never imports torch.

Here are the inputs, how columns become features, and the outputs of raw scores; what computes the scores is
`hardgrad.trees.export_onnx` and `hardgrad.logic.circuit_model_onnx`. Writing ONNX as such is `hardgrad.export.onnx`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import ExportError
from hardgrad.core.files import atomic_path
from hardgrad.export.onnx import ML_DOMAIN, GraphWriter
from hardgrad.tabular.schema import Column, Feature, TableSchema, category_numbers, epoch_seconds
from hardgrad.tabular.table_model import TableModel

Precision = Literal["double", "float32"]
MISSING_TEXT = "\ue000missing"
MISSING_TIME = np.iinfo(np.int64).min


class Encoding(Protocol):
    """Which features a graph needs, and in which numbers."""

    @property
    def schema(self) -> TableSchema:
        """The raw columns and their features."""

    @property
    def dtype(self) -> type[np.floating[Any]]:
        """Type of all numbers."""

    @property
    def used(self) -> NDArray[np.int64]:
        """The features that X holds."""

    @property
    def codes(self) -> Mapping[int, NDArray[Any]]:
        """Codes of categories by feature, in that type."""

    @property
    def dates(self) -> Mapping[int, NDArray[np.int64]]:
        """By feature, the whole seconds that its rank counts; none where a date is its seconds (see `ranked`)."""


def onnx_inputs(
    model: TableModel, table: Any, *, precision: Precision = "double", missing_text: str = MISSING_TEXT
) -> dict[str, NDArray[Any]]:
    """Return the inputs of the ONNX model that `to_onnx` of a forest or a circuit model writes, by name, for a table of raw columns.

    Parameters
    ----------
    model : the model that was written.
    table : see `TableSchema.encode`.
    precision, missing_text : as they were given to `to_onnx`.

    Examples
    --------
    >>> from hardgrad.trees.forest_build import forest_from_trees
    >>> forest = forest_from_trees([{"value": 0.0}], ["age"])
    >>> onnx_inputs(forest, {"age": [30.0, None]})
    {'age': array([[30.], [nan]])}
    """
    result: dict[str, NDArray[Any]] = {}
    schema = model.schema
    for column, values in zip(schema.columns, schema.raw_columns(table), strict=True):
        if column.kind == "categorical":
            # Categories by number, so that 1.0 and "1" are the same text as in the model; unseen texts need not be themselves.
            category = category_numbers(column, values)
            texts = np.array(
                [*column.categories, _unseen_text(column, missing_text), missing_text], dtype=object
            )
            result[column.name] = texts[category][:, None]
        elif column.kind == "datetime":
            seconds = epoch_seconds(column, values)
            whole = np.full(len(seconds), MISSING_TIME)
            known = ~np.isnan(seconds)
            whole[known] = seconds[known].astype(np.int64)
            result[column.name] = whole[:, None]
        else:
            numbers = TableSchema((column,), (Feature(column.name, 0),)).encode({column.name: values})
            with np.errstate(over="ignore"):
                result[column.name] = numbers.astype(np.float32 if precision == "float32" else np.float64)
    return result


def _unseen_text(column: Column, missing_text: str) -> str:
    text = "\ue000unseen"
    while text in column.categories or text == missing_text:
        text += "_"
    return text


def check_columns(schema: TableSchema, missing_text: str) -> None:
    """Raise `ExportError` where ONNX cannot take the columns: there are none, or their text is no text or stands for a missing value."""
    if not schema.columns:
        raise ExportError("a model without columns has no inputs, and an ONNX model needs one.")
    for column in schema.columns:
        if missing_text in column.categories:
            raise ExportError(
                f"column {column.name!r} has a category {missing_text!r}, the text that stands for a missing value. Pass another "
                "missing_text=."
            )
        try:
            for text in (column.name, *column.categories):
                text.encode()
        except UnicodeEncodeError:
            raise ExportError(
                f"column {column.name!r} has text that is not valid unicode: {text!r}. Rename it."
            ) from None


def ranked(
    schema: TableSchema, f: int, met: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64] | None, NDArray[np.int64] | None] | None:
    """Return thresholds as ranks where float32 cannot hold what they are compared with; None where it can.

    Dates are whole numbers too large for float32, codes of categories are any doubles. Of these only the rank among the thresholds is
    passed on, a small whole number: `value <= threshold[k]` is `rank(value) <= k` with rank = number of thresholds < value.

    Parameters
    ----------
    schema : the columns; f : the feature; met : all thresholds that it meets.

    Returns
    -------
    The rank of every threshold; the ranks of the codes, or None; the seconds that the rank of a date counts, or None.
    """
    feature = schema.features[f]
    is_date = schema.columns[feature.column].kind == "datetime" and feature.transform == "identity"
    if not is_date and feature.transform != "codes":
        return None
    if is_date:  # a date is whole, so x <= t is x <= floor(t)
        limit = np.float64(2**62)
        met = np.clip(np.floor(met), -limit, limit)
    edges, number = np.unique(met, return_inverse=True)
    if is_date:
        return number.astype(np.int64), None, edges.astype(np.int64)
    codes = np.searchsorted(edges, np.array(feature.codes), side="left").astype(np.float64)
    return number.astype(np.int64), codes, None


# --- raw columns to the matrix X --------------------------------------------------------------------------------
def _declare(writer: GraphWriter, column: Column, plan: Encoding, missing_text: str) -> str:
    if column.kind == "categorical":
        return writer.input(column.name, str, ["rows", 1], f"category; {missing_text!r} is missing")
    if column.kind == "datetime":
        doc = f"whole seconds since 1970-01-01T00:00:00 UTC, rounded down; {MISSING_TIME} is missing"
        return writer.input(column.name, np.int64, ["rows", 1], doc)
    doc = "number; NaN is missing" if column.kind == "numeric" else "0 is false, 1 is true, NaN is missing"
    return writer.input(column.name, plan.dtype, ["rows", 1], doc)


def encode_columns(writer: GraphWriter, plan: Encoding, missing_text: str) -> str:
    """Declare an input for every raw column and return X [rows, used features]."""
    inputs = [_declare(writer, column, plan, missing_text) for column in plan.schema.columns]
    numbers: dict[int, str] = {}
    columns = []
    for f in plan.used.tolist():
        feature = plan.schema.features[f]
        kind = plan.schema.columns[feature.column].kind
        source = inputs[feature.column]
        if kind == "categorical":
            if feature.column not in numbers:
                categories = plan.schema.columns[feature.column].categories
                numbers[feature.column] = _category_numbers(writer, source, categories, missing_text)
            known = len(plan.schema.columns[feature.column].categories) + 1
            table = (
                [0.0] * known + [1.0] if feature.transform == "missing" else [*plan.codes[f].tolist(), np.nan]
            )
            columns.append(writer.node("Gather", writer.constant(table, plan.dtype), numbers[feature.column]))
        elif kind == "datetime":
            columns.append(_date(writer, plan, f, source))
        elif feature.transform == "missing":
            columns.append(writer.cast(writer.node("IsNaN", source), plan.dtype))
        else:
            columns.append(source)
    if not columns:  # nothing is asked: any column will do, if only it has the rows
        shape = writer.node("Shape", inputs[0])
        zero = writer.onnx.numpy_helper.from_array(np.zeros(1, dtype=plan.dtype))
        return str(writer.node("ConstantOfShape", shape, value=zero))
    return str(writer.node("Concat", *columns, axis=1))


def _category_numbers(
    writer: GraphWriter, source: str, categories: tuple[str, ...], missing_text: str
) -> str:
    """Return the numbers of categories: then comes the unseen one, then the missing one."""
    return str(
        writer.node(
            "LabelEncoder",
            source,
            domain=ML_DOMAIN,
            keys_strings=[*categories, missing_text],
            values_int64s=[*range(len(categories)), len(categories) + 1],
            default_int64=len(categories),
        )
    )


def _date(writer: GraphWriter, plan: Encoding, f: int, source: str) -> str:
    missing = writer.node("Equal", source, writer.constant(MISSING_TIME, np.int64))
    if plan.schema.features[f].transform == "missing":
        return writer.cast(missing, plan.dtype)
    if f in plan.dates:
        above = writer.cast(
            writer.node("Greater", source, writer.constant(plan.dates[f][None, :])), plan.dtype
        )
        value = writer.node("ReduceSum", above, writer.constant([1], np.int64), keepdims=1)
    else:
        value = writer.cast(source, plan.dtype)
    return str(writer.node("Where", missing, writer.constant(np.nan, plan.dtype), value))


# --- outputs ----------------------------------------------------------------------------------------------------------------------
def write_scores(writer: GraphWriter, model: TableModel, raw: str, dtype: type[np.floating[Any]]) -> None:
    """Declare the outputs of raw scores [rows, outputs]: `raw`, and `prediction`, or `probabilities` and `label`."""
    writer.output("raw", raw, dtype, ["rows", model.n_outputs], "scores before the link")
    if model.task == "regression":
        one = model.n_outputs == 1
        value = writer.node("Squeeze", raw, writer.constant([1], np.int64)) if one else raw
        writer.output(
            "prediction", value, dtype, ["rows"] if one else ["rows", model.n_outputs], model.target
        )
        return
    writer.output(
        "probabilities",
        _link(writer, model.link, raw, dtype),
        dtype,
        ["rows", len(model.classes)],
        str(model.classes),
    )
    if model.link == "sigmoid":
        positive = writer.node("Greater", raw, writer.constant(0.0, dtype))
        index = writer.cast(writer.node("Squeeze", positive, writer.constant([1], np.int64)), np.int64)
    else:
        index = writer.node("ArgMax", raw, axis=1, keepdims=0, select_last_index=0)
    labels = model.class_array
    kind = str if labels.dtype.kind in "UO" else labels.dtype
    writer.output(
        "label", writer.node("Gather", writer.constant(labels), index), kind, ["rows"], model.target
    )


def _link(writer: GraphWriter, link: str, raw: str, dtype: type[np.floating[Any]]) -> str:
    one, axis = writer.constant(1.0, dtype), writer.constant([1], np.int64)
    if link == "sigmoid":
        p = writer.node("Div", one, writer.node("Add", one, writer.node("Exp", writer.node("Neg", raw))))
        return str(writer.node("Concat", writer.node("Sub", one, p), p, axis=1))
    if link == "softmax":
        largest = writer.node("ReduceMax", raw, axis, keepdims=1)
        shifted = writer.node("Exp", writer.node("Sub", raw, largest))
        return str(writer.node("Div", shifted, writer.node("ReduceSum", shifted, axis, keepdims=1)))
    return raw


def finish_model(
    writer: GraphWriter,
    model: TableModel,
    path: str | os.PathLike[str] | None,
    precision: Precision,
    missing_text: str,
) -> bytes:
    """Return, and write where a path is given, the model's bytes; its metadata say what the columns are."""
    about = {
        "precision": precision,
        "missing_text": missing_text,
        "missing_time": MISSING_TIME,
        **model.schema.to_json(),
    }
    payload = writer.finish(
        doc=f"{model!r}, written by hardgrad", metadata={"hardgrad": json.dumps(about, ensure_ascii=True)}
    )
    if path is not None:
        with atomic_path(path) as temporary:
            temporary.write_bytes(payload)
    return payload
