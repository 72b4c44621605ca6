"""Writing ONNX graphs: constants, nodes, tree ensembles. It knows nothing of forests; `hardgrad.trees.export_onnx` does.

The package `onnx` is an optional extra: it is imported when a graph is written.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import ExportError

OPSET = 18
ML_OPSET = 5
IR_VERSION = 10
ML_DOMAIN = "ai.onnx.ml"
BRANCH_LEQ, SUM, NO_TRANSFORM = 0, 1, 0


def require_onnx() -> ModuleType:
    """Return the module `onnx`. Raises `ExportError` that says how to install it."""
    try:
        import onnx
    except ImportError as error:
        raise ExportError("writing ONNX needs the package onnx. Run: pip install hardgrad[onnx]") from error
    return onnx


@dataclasses.dataclass(frozen=True)
class TreeTable:
    """Trees whose leaves hold one number each, as the operator `TreeEnsemble` takes them.

    Parameters
    ----------
    feature : int [nodes]; the column that a node tests, -1 at a leaf.
    threshold : float [nodes]; left iff the value is <= it.
    left, right : int [nodes]; absolute node numbers.
    default_left : bool [nodes]; the side of NaN.
    weight : float [nodes]; what a leaf adds to its target.
    root : int [trees]; target : int [trees]; tree i starts at `root[i]` and adds to column `target[i]` of the result.
    """

    feature: NDArray[Any]
    threshold: NDArray[Any]
    left: NDArray[Any]
    right: NDArray[Any]
    default_left: NDArray[Any]
    weight: NDArray[Any]
    root: NDArray[Any]
    target: NDArray[Any]


class GraphWriter:
    """Collects the nodes of one graph; results are referred to by name, constants are stored once.

    Examples
    --------
    >>> writer = GraphWriter("twice")
    >>> x = writer.input("x", np.float64, ["rows", 1])
    >>> writer.output("y", writer.node("Add", x, x), np.float64, ["rows", 1])
    >>> len(writer.finish()) > 0
    True
    """

    def __init__(self, name: str) -> None:
        self.onnx = require_onnx()
        self.name = name
        self._nodes: list[Any] = []
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._initializers: list[Any] = []
        self._constants: dict[Any, str] = {}
        self._taken: set[str] = set()

    def input(self, name: str, dtype: Any, shape: Sequence[int | str], doc: str = "") -> str:
        """Declare an input of the graph and return its name."""
        if not name or name in self._taken:
            raise ExportError(
                f"an ONNX graph cannot have an input named {name!r} (empty or twice). Rename the column."
            )
        self._taken.add(name)
        self._inputs.append(self._value_info(name, dtype, shape, doc))
        return name

    def output(self, name: str, value: str, dtype: Any, shape: Sequence[int | str], doc: str = "") -> None:
        """Declare that `value` is an output of the graph; where the name is taken, underscores are put behind it."""
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        self._nodes.append(self.onnx.helper.make_node("Identity", [value], [name], name=f"output/{name}"))
        self._outputs.append(self._value_info(name, dtype, shape, doc))

    def constant(self, array: Any, dtype: Any = None) -> str:
        """Return the name of a constant tensor; equal ones are stored once."""
        array = np.asarray(array, dtype=dtype)
        if array.dtype.kind in "UO":
            array = array.astype(object)
            key: Any = (array.shape, tuple(array.reshape(-1).tolist()))
        else:
            array = np.ascontiguousarray(array).reshape(array.shape)
            key = (array.shape, array.dtype.str, array.tobytes())
        if key not in self._constants:
            name = self._fresh("constant")
            self._constants[key] = name
            self._initializers.append(self._tensor(array, name))
        return self._constants[key]

    def node(self, operator: str, *inputs: str, outputs: int = 1, domain: str = "", **attributes: Any) -> Any:
        """Add a node and return the name of its result, or the names where it has several."""
        names = [self._fresh(operator) for _ in range(outputs)]
        made = self.onnx.helper.make_node(
            operator, list(inputs), names, name=names[0], domain=domain, **attributes
        )
        self._nodes.append(made)
        return names[0] if outputs == 1 else names

    def cast(self, value: str, dtype: Any) -> str:
        """Convert to another type."""
        return str(self.node("Cast", value, to=self._type(dtype)))

    def tree_ensemble(self, X: str, trees: TreeTable, targets: int, dtype: Any) -> str:
        """Add the operator `TreeEnsemble`: [rows, columns] -> [rows, targets], each the sum of the leaves of its trees."""
        leaf = trees.feature < 0
        inner, leaves = np.flatnonzero(~leaf), np.flatnonzero(leaf)
        # The operator has no tree without a test: give it one between two copies of the leaf. (Twice the same leaf would be allowed
        # by the standard, but onnx's reference evaluator reads that wrongly.)
        lone = np.flatnonzero(leaf[trees.root])
        number = np.full(len(leaf), -1, dtype=np.int64)
        number[inner], number[leaves] = np.arange(len(inner)), np.arange(len(leaves))
        copied, copies = trees.root[lone], len(leaves) + np.arange(len(lone))
        root = number[trees.root]
        root[lone] = len(inner) + np.arange(len(lone))

        def joined(at_inner: NDArray[Any], at_lone: Any) -> NDArray[Any]:
            return np.concatenate([at_inner, np.broadcast_to(at_lone, (len(lone),))])

        left, right = trees.left[inner], trees.right[inner]
        leaves = np.concatenate([leaves, copied])
        attributes = {
            "nodes_featureids": joined(trees.feature[inner], 0).tolist(),
            "nodes_truenodeids": joined(number[left], number[copied]).tolist(),
            "nodes_falsenodeids": joined(number[right], copies).tolist(),
            "nodes_trueleafs": joined(leaf[left], 1).astype(int).tolist(),
            "nodes_falseleafs": joined(leaf[right], 1).astype(int).tolist(),
            "nodes_missing_value_tracks_true": joined(trees.default_left[inner], 0).astype(int).tolist(),
            "tree_roots": root.tolist(),
            "leaf_targetids": trees.target[_owners(trees)[leaves]].astype(int).tolist(),
            "nodes_splits": self._tensor(joined(trees.threshold[inner], 0.0).astype(dtype), "splits"),
            "nodes_modes": self._tensor(np.full(len(inner) + len(lone), BRANCH_LEQ, dtype=np.uint8), "modes"),
            "leaf_weights": self._tensor(trees.weight[leaves].astype(dtype), "weights"),
        }
        fixed = {"n_targets": targets, "aggregate_function": SUM, "post_transform": NO_TRANSFORM}
        return str(self.node("TreeEnsemble", X, domain=ML_DOMAIN, **attributes, **fixed))

    def finish(self, *, doc: str = "", metadata: Mapping[str, str] | None = None) -> bytes:
        """Check the graph and return the model's bytes. Raises `ExportError` where it is not a valid model."""
        from hardgrad import __version__

        helper = self.onnx.helper
        read = {name for node in self._nodes for name in node.input}
        constants = [tensor for tensor in self._initializers if tensor.name in read]
        graph = helper.make_graph(self._nodes, self.name, self._inputs, self._outputs, constants)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(ML_DOMAIN, ML_OPSET)]
        model = helper.make_model(
            graph,
            opset_imports=opsets,
            ir_version=IR_VERSION,
            producer_name="hardgrad",
            producer_version=__version__,
            doc_string=doc,
        )
        helper.set_model_props(model, dict(metadata or {}))
        try:
            self.onnx.checker.check_model(model, full_check=True)
            return bytes(model.SerializeToString())
        except (self.onnx.checker.ValidationError, ValueError) as error:
            raise ExportError(
                f"the ONNX graph is not valid: {error}. A model over 2 GB cannot be written."
            ) from error

    # --- small things ---------------------------------------------------------------------------------------------------------
    def _fresh(self, stem: str) -> str:
        number = len(self._taken)
        while (name := f"{stem}/{number}") in self._taken:
            number += 1
        self._taken.add(name)
        return name

    def _type(self, dtype: Any) -> int:
        kind = np.dtype(dtype)
        return int(self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(object) if kind.kind in "UO" else kind))

    def _tensor(self, array: NDArray[Any], name: str) -> Any:
        if array.dtype.kind == "O":
            flat = [str(text).encode() for text in array.reshape(-1).tolist()]
            return self.onnx.helper.make_tensor(name, self.onnx.TensorProto.STRING, array.shape, flat)
        return self.onnx.numpy_helper.from_array(array, name)

    def _value_info(self, name: str, dtype: Any, shape: Sequence[int | str], doc: str) -> Any:
        return self.onnx.helper.make_tensor_value_info(name, self._type(dtype), list(shape), doc)


def _owners(trees: TreeTable) -> NDArray[np.int64]:
    """Return the number of the tree that each node belongs to."""
    owner = np.full(len(trees.feature), -1, dtype=np.int64)
    owner[trees.root] = np.arange(len(trees.root))
    level = np.asarray(trees.root, dtype=np.int64)
    while len(level):
        level = level[trees.feature[level] >= 0]
        for child in (trees.left[level], trees.right[level]):
            owner[child] = owner[level]
        level = np.concatenate([trees.left[level], trees.right[level]])
    return owner
