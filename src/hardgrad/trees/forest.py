"""Forest: the exact decision forest, flat NumPy arrays with reference semantics. Never imports torch.

Every faster runtime and every export restates what is defined here: which leaf a row reaches, the order in which leaf values are summed,
and how a score becomes a prediction. Transformations are in `forest_transform`, construction from parts in `forest_build`.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import ArtifactError
from hardgrad.tabular.schema import TableSchema
from hardgrad.tabular.table_model import Label, Link, TableModel, Task

Aggregation = Literal["sum", "mean"]

LEAF = -1
OBLIQUE = -2
MAX_WEIGHT = 1023
MAX_SCORE = 2047
MAX_TERMS = 4
BLOCK = 1024


@dataclass(frozen=True)
class Packing:
    """The grids that a forest with a byte budget lives on: what its packed C form stores instead of doubles.

    Parameters
    ----------
    threshold_bits, leaf_bits : width of a code.
    features : features that have a grid; low, step : float32 and bfloat16 values, one a feature; threshold = low + step * code.
    leaf_step : float32 values, one an output; a leaf value is a whole multiple of it.
    missing_code : a missing value goes left iff the code of the threshold is at least this.
    has_missing : whether missing values were seen in training (else `missing_code` is not stored).
    weight_bits, sum_bits : width of a weight and of a threshold on a sum, for oblique nodes; 0 where there are none.
    sum_step : the threshold of an oblique node is a whole multiple of it.
    """

    threshold_bits: int
    leaf_bits: int
    features: tuple[int, ...]
    low: tuple[float, ...]
    step: tuple[float, ...]
    leaf_step: tuple[float, ...]
    missing_code: tuple[int, ...]
    has_missing: bool
    weight_bits: int = 0
    sum_bits: int = 0
    sum_step: int = 1


@dataclass(frozen=True, eq=False)
class Forest(TableModel, kind="forest"):
    """An exact decision forest over the raw columns of a table.

    Parameters
    ----------
    schema : raw columns and the features derived from them.
    feature : int32 [nodes]; the feature that an axis node tests, -1 at a leaf, -2 at an oblique node.
    threshold : float64 [nodes]; a row goes left iff its feature (or integer sum, at an oblique node) is <= threshold.
    left, right : int32 [nodes]; absolute node numbers, -1 at a leaf.
    default_left : bool [nodes]; the side of a missing value at an axis node (a missing value scores 0 at an oblique one).
    value : float64 [nodes, outputs]; leaf values, 0 at inner nodes.
    tree_offset : int32 [trees + 1]; tree e owns the nodes `tree_offset[e]:tree_offset[e + 1]`, its root first.
    base : float64 [outputs]; where the sum starts.
    term_offset : int32 [nodes + 1]; node i owns the terms `term_offset[i]:term_offset[i + 1]` (1 to 4 at an oblique node, else none).
    term_feature, term_weight : int32 [terms]; weights are within +-1023.
    cut_offset : int32 [features + 1]; feature f owns the cuts `cut_offset[f]:cut_offset[f + 1]`.
    cut : float64 [cuts]; strictly increasing within a feature.
    score : int32 [cuts + features]; feature f owns `score[cut_offset[f] + f:cut_offset[f + 1] + f + 1]`, the integer score of each
        interval between its cuts, within +-2047.
    link : how a raw score becomes an output: "identity", "sigmoid" (one score, two classes) or "softmax".
    aggregation : "sum" of the trees, or "mean" (the sum divided by the number of trees).
    task : "classification" or "regression".
    classes : the class labels, empty for regression.
    target : name of the column that was learned, may be empty.
    packing : the grids of thresholds and leaves, for a forest that was made to fit a number of bytes.

    Examples
    --------
    >>> from hardgrad.trees.forest_build import forest_from_trees
    >>> forest = forest_from_trees([{"feature": 0, "threshold": 1.5, "left": {"value": 0.0}, "right": {"value": 2.0}}], ["age"])
    >>> forest.predict(np.array([[1.5], [1.6]])).tolist()
    [0.0, 2.0]
    """

    schema: TableSchema
    feature: NDArray[np.int32]
    threshold: NDArray[np.float64]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    default_left: NDArray[np.bool_]
    value: NDArray[np.float64]
    tree_offset: NDArray[np.int32]
    base: NDArray[np.float64]
    term_offset: NDArray[np.int32]
    term_feature: NDArray[np.int32]
    term_weight: NDArray[np.int32]
    cut_offset: NDArray[np.int32]
    cut: NDArray[np.float64]
    score: NDArray[np.int32]
    link: Link = "identity"
    aggregation: Aggregation = "sum"
    task: Task = "regression"
    classes: tuple[Label, ...] = ()
    target: str = ""
    packing: Packing | None = None

    _dtypes: ClassVar[dict[str, tuple[type, int]]] = {
        "feature": (np.int32, 1),
        "threshold": (np.float64, 1),
        "left": (np.int32, 1),
        "right": (np.int32, 1),
        "default_left": (np.bool_, 1),
        "value": (np.float64, 2),
        "tree_offset": (np.int32, 1),
        "base": (np.float64, 1),
        "term_offset": (np.int32, 1),
        "term_feature": (np.int32, 1),
        "term_weight": (np.int32, 1),
        "cut_offset": (np.int32, 1),
        "cut": (np.float64, 1),
        "score": (np.int32, 1),
    }

    def __post_init__(self) -> None:
        from hardgrad.trees.forest_check import check_forest

        for name, (dtype, ndim) in self._dtypes.items():
            array = getattr(self, name)
            if not isinstance(array, np.ndarray) or array.dtype != dtype or array.ndim != ndim:
                raise ArtifactError(
                    f"forest array {name!r} must be {np.dtype(dtype)} with {ndim} dimensions."
                )
            if array.flags.writeable:
                array = array.copy()
                array.flags.writeable = False
                object.__setattr__(self, name, array)
        check_forest(self)

    # --- shape ---------------------------------------------------------------------------------------------------------------
    @property
    def n_trees(self) -> int:
        """Number of trees."""
        return len(self.tree_offset) - 1

    @property
    def n_nodes(self) -> int:
        """Number of nodes, leaves included."""
        return len(self.feature)

    @property
    def n_leaves(self) -> int:
        """Number of leaves."""
        return int((self.feature == LEAF).sum())

    @property
    def n_outputs(self) -> int:
        """Number of raw scores a row: 1 for a binary target, classes for a multiclass one, targets for regression."""
        return len(self.base)

    @property
    def is_axis(self) -> bool:
        """True where every inner node tests a single feature against a threshold."""
        return not bool((self.feature == OBLIQUE).any())

    @cached_property
    def node_depth(self) -> NDArray[np.int32]:
        """Depth of every node, int32 [nodes], roots at 0."""
        depth = np.zeros(self.n_nodes, dtype=np.int32)
        level = self.tree_offset[:-1].astype(np.int64)
        for d in range(self.n_nodes + 1):
            depth[level] = d
            inner = level[self.left[level] >= 0]
            if len(inner) == 0:
                break
            level = np.concatenate([self.left[inner], self.right[inner]]).astype(np.int64)
        return depth

    def depth(self) -> int:
        """Return the depth of the deepest leaf, 0 for a single leaf."""
        return int(self.node_depth.max(initial=0))

    def used_features(self) -> NDArray[np.int64]:
        """Return the numbers of the features that some node tests, sorted."""
        axis = self.feature[self.feature >= 0].astype(np.int64)
        return np.unique(np.concatenate([axis, self.term_feature.astype(np.int64)]))

    def sizes(self) -> list[tuple[int, str]]:
        """Return trees, leaves and the bytes of data that the smallest C export carries (see `TableModel.sizes`)."""
        from hardgrad.trees.packed import size_in_bytes

        return [(self.n_trees, "tree"), (self.n_leaves, "leaf"), (int(size_in_bytes(self)), "byte")]

    # --- reference semantics -------------------------------------------------------------------------------------------------
    def apply(self, table: Any) -> NDArray[np.int32]:
        """Return the leaf that each row reaches in each tree: int32 [n, trees], absolute node numbers."""
        return self.apply_encoded(self.encode(table))

    def apply_encoded(self, X: NDArray[np.float64]) -> NDArray[np.int32]:
        """Return the leaves for an encoded matrix X [n, features] (see `apply`)."""
        scores = self.feature_scores(X)
        leaves = np.empty((len(X), self.n_trees), dtype=np.int32)
        for start in range(0, len(X), BLOCK):  # all trees of a block of rows at once
            block = leaves[start : start + BLOCK]
            node = np.tile(self.tree_offset[:-1], len(block)).astype(np.int64)
            row = np.repeat(np.arange(start, start + len(block)), self.n_trees)
            active = np.flatnonzero(self.feature[node] != LEAF)
            while len(active):
                at = node[active]
                go_left = self._goes_left(X, scores, row[active], at)
                node[active] = np.where(go_left, self.left[at], self.right[at])
                active = active[self.feature[node[active]] != LEAF]
            block[:] = node.reshape(block.shape)
        return leaves

    def _goes_left(
        self,
        X: NDArray[np.float64],
        scores: NDArray[np.int64],
        rows: NDArray[np.int64],
        nodes: NDArray[np.int64],
    ) -> NDArray[np.bool_]:
        feature = self.feature[nodes]
        x = X[rows, np.maximum(feature, 0)]
        with np.errstate(invalid="ignore"):
            left = np.where(np.isnan(x), self.default_left[nodes], x <= self.threshold[nodes])
        oblique = np.flatnonzero(feature == OBLIQUE)
        if len(oblique):
            first = self.term_offset[nodes[oblique]]
            count = self.term_offset[nodes[oblique] + 1] - first
            total = np.zeros(len(oblique), dtype=np.int64)
            for k in range(int(count.max())):
                has = np.flatnonzero(count > k)
                term = first[has] + k
                total[has] += self.term_weight[term] * scores[rows[oblique[has]], self.term_feature[term]]
            left[oblique] = total <= self.threshold[nodes[oblique]]
        return left

    def feature_scores(self, X: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the integer score of every feature, int64 [n, features]; 0 where missing or never used by an oblique node."""
        scores = np.zeros(X.shape, dtype=np.int64)
        for f in np.unique(self.term_feature):
            cuts = self.cut[self.cut_offset[f] : self.cut_offset[f + 1]]
            table = self.score[self.cut_offset[f] + f : self.cut_offset[f + 1] + f + 1]
            scores[:, f] = np.where(np.isnan(X[:, f]), 0, table[np.searchsorted(cuts, X[:, f], side="left")])
        return scores

    def sum_leaves(self, leaves: NDArray[np.int32]) -> NDArray[np.float64]:
        """Sum leaf values [n, trees] -> raw scores [n, outputs], in double and in tree order: the order is part of the contract."""
        raw = np.repeat(self.base[None, :], len(leaves), axis=0)
        for tree in range(self.n_trees):
            raw += self.value[leaves[:, tree]]
        return raw / self.n_trees if self.aggregation == "mean" and self.n_trees else raw

    def predict_raw_encoded(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the raw scores, float64 [n, outputs], of an encoded matrix X [n, features]."""
        return self.sum_leaves(self.apply_encoded(X))

    def decision_path(self, table: Any, row: int = 0) -> list[list[int]]:
        """Return the nodes that one row passes in each tree, root first, leaf last."""
        X = self.encode(table)[row : row + 1]
        scores = self.feature_scores(X)
        paths = []
        for tree in range(self.n_trees):
            path = [int(self.tree_offset[tree])]
            while self.feature[path[-1]] != LEAF:
                at = np.array([path[-1]])
                go_left = bool(self._goes_left(X, scores, np.array([0]), at)[0])
                path.append(int(self.left[path[-1]] if go_left else self.right[path[-1]]))
            paths.append(path)
        return paths

    # --- on disk -------------------------------------------------------------------------------------------------------------
    def metadata_to_json(self) -> dict[str, Any]:
        """Return the schema and the plain fields in a form that `json` can write."""
        return {
            "schema": self.schema.to_json(),
            "link": self.link,
            "aggregation": self.aggregation,
            "task": self.task,
            "classes": list(self.classes),
            "target": self.target,
            **({"packing": asdict(self.packing)} if self.packing else {}),
        }

    @classmethod
    def metadata_from_json(cls, metadata: dict[str, Any]) -> dict[str, Any]:
        """Invert `metadata_to_json`."""
        plain = {name: metadata[name] for name in ("link", "aggregation", "task", "target")}
        if "packing" in metadata:
            grids: dict[str, Any] = {
                k: tuple(v) if isinstance(v, list) else v for k, v in metadata["packing"].items()
            }
            plain["packing"] = Packing(**grids)
        return {
            **plain,
            "classes": tuple(metadata["classes"]),
            "schema": TableSchema.from_json(metadata["schema"]),
        }

    # --- runtimes and exports: thin doors, each format lives in its own module --------------------------------------------------
    def runtime(self, engine: str = "numba", *, n_jobs: int = 1) -> Any:
        """Return a prepared, faster handle with `predict_raw`, `predict`, `predict_proba` and `apply`, equal to this bit for bit.

        Parameters
        ----------
        engine : "numba" (no compiler needed), "c" (compiled with the system's C compiler), or "numpy".
        n_jobs : threads.
        """
        from hardgrad.trees.runtime import prepare

        return prepare(self, engine, n_jobs=n_jobs)

    def to_c(self, name: str = "model", *, form: str = "double") -> Any:
        """Return the C header and source (see `hardgrad.trees.export_c.to_c`)."""
        from hardgrad.trees.export_c import to_c

        return to_c(self, name, form=form)

    def to_sql(self, dialect: str = "duckdb", **options: Any) -> str:
        """Return one SELECT over the raw columns (see `hardgrad.trees.export_sql.to_sql`)."""
        from hardgrad.trees.export_sql import to_sql

        return to_sql(self, dialect, **options)

    def to_javascript(self) -> str:
        """Return one ES module without dependencies (see `hardgrad.trees.export_javascript.to_javascript`)."""
        from hardgrad.trees.export_javascript import to_javascript

        return to_javascript(self)

    def to_onnx(self, path: str | os.PathLike[str] | None = None, **options: Any) -> bytes:
        """Return, and write where a path is given, an ONNX model (see `hardgrad.trees.export_onnx.to_onnx`)."""
        from hardgrad.trees.export_onnx import to_onnx

        return to_onnx(self, path, **options)

    def to_text(self) -> str:
        """Return the trees as indented, readable text."""
        from hardgrad.trees.export_text import to_text

        return to_text(self)

    def to_dot(self, tree: int = 0) -> str:
        """Return one tree in the DOT language of Graphviz."""
        from hardgrad.trees.export_text import to_dot

        return to_dot(self, tree)

    def to_svg(self, tree: int = 0, **options: Any) -> str:
        """Return a drawing of one tree as a self-contained SVG."""
        from hardgrad.trees.export_svg import to_svg

        return to_svg(self, tree, **options)

    def __repr__(self) -> str:
        kind = (
            f"{len(self.classes)} classes" if self.task == "classification" else f"{self.n_outputs} outputs"
        )
        return (
            f"Forest({self.n_trees} trees, {self.n_leaves} leaves, depth {self.depth()}, "
            f"{len(self.schema.columns)} columns, {kind})"
        )


def load_forest(path: str | os.PathLike[str] | Path) -> Forest:
    """Read a `Forest` from its file (see `Artifact.load`)."""
    return Forest.load(path)
