"""A `Forest` as an ONNX model over raw columns. Never imports torch; `onnx` is imported when a model is written.

How it stays exact. The operator `TreeEnsemble` never adds two leaves: every tree has a column of the result to itself and its leaves
weigh their own number, so that no order of summation and no number of threads can change a bit. The values of those leaves are then
gathered and added by one `Add` a tree, in tree order. A score table of an oblique split is a tree, too; projections are sums of
products of small whole numbers and become further columns for the trees. Real sums and affine leaves take one multiplication and one
addition a term, in order; a row that lacks a value which is weighed has NaN for raw scores, and its label means nothing. Writing ONNX as
such is `hardgrad.export.onnx`.
"""

from __future__ import annotations

import json
import os
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import ExportError, ParameterError, UnsupportedError
from hardgrad.core.files import atomic_path
from hardgrad.export.onnx import ML_DOMAIN, GraphWriter
from hardgrad.tabular.schema import Column, Feature, TableSchema, category_numbers, epoch_seconds
from hardgrad.trees.export_onnx_plan import Plan, make_plan
from hardgrad.trees.export_onnx_trees import ensemble_leaves, operator_leaves, write_outputs
from hardgrad.trees.forest import Forest

Precision = Literal["double", "float32"]
TreeForm = Literal["ensemble", "operators"]
MISSING_TEXT = "\ue000missing"
MISSING_TIME = np.iinfo(np.int64).min


def to_onnx(
    forest: Forest,
    path: str | os.PathLike[str] | None = None,
    *,
    precision: Precision = "double",
    name: str = "forest",
    leaves: bool = False,
    trees: TreeForm = "ensemble",
    missing_text: str = MISSING_TEXT,
) -> bytes:
    """Return, and write where a path is given, an ONNX model that takes the raw columns and scores as the forest does.

    **Inputs**, one a raw column, by its name, each of shape [rows, 1] (`onnx_inputs` makes them from a table):

    - numeric: double, NaN is missing; boolean: double 0, 1 or NaN;
    - categorical: string; `missing_text` is missing (ONNX has no null, and the empty string is a category like any other); a text
      that was not seen in training is handled like the forest does;
    - date/time: int64, whole seconds since 1970-01-01T00:00:00 UTC, rounded down; the least int64, NumPy's NaT, is missing.

    **Outputs**: `raw` [rows, outputs]; for classification `probabilities` [rows, classes] and `label` [rows], of the type of the
    labels; for regression `prediction`, [rows] for one target, else [rows, targets]; on request `leaves`, int64 [rows, trees], as
    `Forest.apply`. An output whose name is that of a column gets an underscore behind it.

    **Exactness.** With `precision="double"` the leaves, the raw scores (bit for bit) and the labels are those of the forest for every
    input, whatever the number of threads; probabilities differ by the few ulp that implementations of `exp` differ. With "float32"
    numeric and boolean inputs and all results are float32; thresholds are rounded down to float32, so that the leaves are those of
    the forest for every float32 input; a double that is rounded to float32 on the way in may cross a threshold. Categories and dates
    stay exact. Raw scores are added in float32 in tree order, and differ by that rounding; labels where two scores differ by less.

    Parameters
    ----------
    forest : the forest.
    path : file to write, whole or not at all.
    precision : "double" or "float32", for runtimes that have no doubles.
    name : name of the graph.
    leaves : whether to add the output `leaves`.
    trees : "ensemble" uses `TreeEnsemble` of ai.onnx.ml 5 (ONNX Runtime 1.20 or newer); "operators" descends all trees level by level
        with `Gather`, `LessOrEqual` and `Where`, which every runtime has. Both are equally exact.
    missing_text : the string that stands for a missing category.

    Raises
    ------
    UnsupportedError : float32 for a forest with linear nodes or affine leaves.
    ExportError : the package onnx is missing (`pip install hardgrad[onnx]`), or the model cannot be written in ONNX.
    WriteError : see `hardgrad.core.files.atomic_path`.

    Examples
    --------
    >>> from hardgrad.trees.forest_build import forest_from_trees
    >>> tree = {"feature": 0, "threshold": 1.5, "left": {"value": 0.0}, "right": {"value": 2.0}}
    >>> payload = to_onnx(forest_from_trees([tree], ["age"]))
    >>> import onnxruntime
    >>> session = onnxruntime.InferenceSession(payload)
    >>> session.run(["prediction"], {"age": np.array([[1.5], [1.6]])})[0].tolist()
    [0.0, 2.0]
    """
    for given, known, what in (
        (precision, ("double", "float32"), "precision"),
        (trees, ("ensemble", "operators"), "trees"),
    ):
        if given not in known:
            raise ParameterError(f"{what} is {given!r}; expected one of {known}.")
    _check_columns(forest, missing_text)
    if precision == "float32" and (forest.has_linear or forest.has_slopes):
        raise UnsupportedError(
            "linear nodes and affine leaves multiply real weights, and float32 would round every product: the model would not be the "
            "forest. Use precision='double'."
        )
    plan = make_plan(forest, np.float32 if precision == "float32" else np.float64)
    writer = GraphWriter(name)
    inputs = [_declare(writer, column, plan, missing_text) for column in forest.schema.columns]
    X = _encode(writer, plan, inputs, missing_text)
    found = (ensemble_leaves if trees == "ensemble" else operator_leaves)(writer, plan, X)
    write_outputs(writer, plan, X, found, leaves)
    about = {
        "precision": precision,
        "missing_text": missing_text,
        "missing_time": MISSING_TIME,
        **forest.schema.to_json(),
    }
    payload = writer.finish(
        doc=f"{forest!r}, written by hardgrad", metadata={"hardgrad": json.dumps(about, ensure_ascii=True)}
    )
    if path is not None:
        with atomic_path(path) as temporary:
            temporary.write_bytes(payload)
    return payload


def onnx_inputs(
    forest: Forest, table: Any, *, precision: Precision = "double", missing_text: str = MISSING_TEXT
) -> dict[str, NDArray[Any]]:
    """Return the inputs of the model that `to_onnx` writes, by name, for a table of raw columns.

    Parameters
    ----------
    forest : the forest that was written.
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
    schema = forest.schema
    for column, values in zip(schema.columns, schema.raw_columns(table), strict=True):
        if column.kind == "categorical":
            # Categories by number, so that 1.0 and "1" are the same text as in the forest; unseen texts need not be themselves.
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


def _check_columns(forest: Forest, missing_text: str) -> None:
    if not forest.schema.columns:
        raise ExportError("a forest without columns has no inputs, and an ONNX model needs one.")
    for column in forest.schema.columns:
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


# --- raw columns to the matrix X --------------------------------------------------------------------------------
def _declare(writer: GraphWriter, column: Column, plan: Plan, missing_text: str) -> str:
    if column.kind == "categorical":
        return writer.input(column.name, str, ["rows", 1], f"category; {missing_text!r} is missing")
    if column.kind == "datetime":
        doc = f"whole seconds since 1970-01-01T00:00:00 UTC, rounded down; {MISSING_TIME} is missing"
        return writer.input(column.name, np.int64, ["rows", 1], doc)
    doc = "number; NaN is missing" if column.kind == "numeric" else "0 is false, 1 is true, NaN is missing"
    return writer.input(column.name, plan.dtype, ["rows", 1], doc)


def _encode(writer: GraphWriter, plan: Plan, inputs: list[str], missing_text: str) -> str:
    """Return X [rows, used features]."""
    numbers: dict[int, str] = {}
    columns = []
    for f in plan.used.tolist():
        feature = plan.forest.schema.features[f]
        kind = plan.forest.schema.columns[feature.column].kind
        source = inputs[feature.column]
        if kind == "categorical":
            if feature.column not in numbers:
                categories = plan.forest.schema.columns[feature.column].categories
                numbers[feature.column] = _category_numbers(writer, source, categories, missing_text)
            known = len(plan.forest.schema.columns[feature.column].categories) + 1
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
    if not columns:  # every tree is a single leaf: any column will do, if only it has the rows
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


def _date(writer: GraphWriter, plan: Plan, f: int, source: str) -> str:
    missing = writer.node("Equal", source, writer.constant(MISSING_TIME, np.int64))
    if plan.forest.schema.features[f].transform == "missing":
        return writer.cast(missing, plan.dtype)
    if f in plan.dates:
        above = writer.cast(
            writer.node("Greater", source, writer.constant(plan.dates[f][None, :])), plan.dtype
        )
        value = writer.node("ReduceSum", above, writer.constant([1], np.int64), keepdims=1)
    else:
        value = writer.cast(source, plan.dtype)
    return str(writer.node("Where", missing, writer.constant(np.nan, plan.dtype), value))
