"""ONNX Runtime as an engine that `exactness` compares with the reference. Never imports torch."""

from __future__ import annotations

from importlib.util import find_spec

from hardgrad.tabular.table_onnx import onnx_inputs
from hardgrad.trees.exactness_engines import Answer, Unavailable, class_positions
from hardgrad.trees.export_onnx import to_onnx
from hardgrad.trees.forest import Forest
from hardgrad.trees.probe import Rows


class OnnxEngine:
    """The exported model in ONNX Runtime, in double."""

    def __init__(self, forest: Forest) -> None:
        for package in ("onnx", "onnxruntime"):
            if find_spec(package) is None:
                raise Unavailable(f"the package {package} is not installed (pip install hardgrad[onnx])")
        import onnxruntime

        self.forest = forest
        self.session = onnxruntime.InferenceSession(
            to_onnx(forest, leaves=True), providers=["CPUExecutionProvider"]
        )

    def rows(self, rows: Rows) -> Rows:
        """Return the rows as they are."""
        return rows

    def score(self, rows: Rows) -> Answer:
        """Score the raw columns; outputs come in a fixed order, whatever the columns are called."""
        found = self.session.run(None, onnx_inputs(self.forest, rows))
        if self.forest.task == "regression":
            return Answer(found[0], found[1], None, found[2].reshape(found[1].shape))
        return Answer(found[0], found[1], found[2], class_positions(self.forest, found[3]))
