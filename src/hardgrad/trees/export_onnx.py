"""A `Forest` as an ONNX model over raw columns. Never imports torch; `onnx` is imported when a model is written.

How it stays exact. The operator `TreeEnsemble` never adds two leaves: every tree has a column of the result to itself and its leaves
weigh their own number, so that no order of summation and no number of threads can change a bit. The values of those leaves are then
gathered and added by one `Add` a tree, in tree order. A score table of an oblique split is a tree, too; projections are sums of
products of small whole numbers and become further columns for the trees. Real sums and affine leaves take one multiplication and one
addition a term, in order; a row that lacks a value which is weighed has NaN for raw scores, and its label means nothing. Raw columns and
outputs are `hardgrad.tabular.table_onnx`, writing ONNX as such is `hardgrad.export.onnx`.
"""

from __future__ import annotations

import os
from typing import Literal

import numpy as np

from hardgrad.core.errors import ParameterError, UnsupportedError
from hardgrad.export.onnx import GraphWriter
from hardgrad.tabular.table_onnx import MISSING_TEXT, Precision, check_columns, encode_columns, finish_model
from hardgrad.trees.export_onnx_plan import make_plan
from hardgrad.trees.export_onnx_trees import ensemble_leaves, operator_leaves, write_outputs
from hardgrad.trees.forest import Forest

TreeForm = Literal["ensemble", "operators"]


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

    **Inputs**, one a raw column, by its name, each of shape [rows, 1] (`hardgrad.tabular.table_onnx.onnx_inputs` makes them from a table):

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
    check_columns(forest.schema, missing_text)
    if precision == "float32" and (forest.has_linear or forest.has_slopes):
        raise UnsupportedError(
            "linear nodes and affine leaves multiply real weights, and float32 would round every product: the model would not be the "
            "forest. Use precision='double'."
        )
    plan = make_plan(forest, np.float32 if precision == "float32" else np.float64)
    writer = GraphWriter(name)
    X = encode_columns(writer, plan, missing_text)
    found = (ensemble_leaves if trees == "ensemble" else operator_leaves)(writer, plan, X)
    write_outputs(writer, plan, X, found, leaves)
    return finish_model(writer, forest, path, precision, missing_text)
