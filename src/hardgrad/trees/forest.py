"""Forest: the exact decision forest, flat NumPy arrays with reference semantics. Never imports torch.

Every faster runtime and every export restates what is defined here: which leaf a row reaches, the order in which leaf values are summed,
and how a score becomes a prediction. What a node asks and a leaf gives is in `forest_sums`, construction from parts in `forest_build`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import InitVar, asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import ArtifactError
from hardgrad.tabular.schema import TableSchema
from hardgrad.tabular.table_model import Label, Link, TableModel, Task
from hardgrad.trees.forest_sums import feature_scores, find_leaves, find_paths, leaf_outputs
from hardgrad.trees.packing import Packing

if TYPE_CHECKING:
    from hardgrad.export.forms import Form

Aggregation = Literal["sum", "mean"]

LEAF = -1
OBLIQUE = -2
LINEAR = -3
MAX_WEIGHT = 1023
MAX_SCORE = 2047
MAX_TERMS = 4


@dataclass(frozen=True, eq=False)
class Forest(TableModel, kind="forest"):
    """An exact decision forest over the raw columns of a table.

    Parameters
    ----------
    schema : raw columns and the features derived from them.
    feature : int32 [nodes]; the feature that an axis node tests, -1 at a leaf, -2 at an oblique node, -3 at a linear node.
    threshold : float64 [nodes]; a row goes left iff its feature (or the sum, at an oblique or linear node) is <= threshold.
    left, right : int32 [nodes]; absolute node numbers, -1 at a leaf.
    default_left : bool [nodes]; the side of a missing value at an axis node (a missing value scores 0 at an oblique one).
    value : float64 [nodes, outputs]; leaf values, 0 at inner nodes.
    tree_offset : int32 [trees + 1]; tree e owns the nodes `tree_offset[e]:tree_offset[e + 1]`, its root first.
    base : float64 [outputs]; where the sum starts.
    term_offset : int32 [nodes + 1]; node i owns the terms `term_offset[i]:term_offset[i + 1]`: 1 to 4 at an oblique node, 1 or more
        at a linear one, else none.
    term_feature, term_weight : int32 [terms]; integer weights of oblique nodes, within +-1023; 0 at the terms of a linear node.
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
    linear_weight : float64 [terms], or [0] where no node is linear; real weights of linear nodes, 0 at the terms of oblique ones.
    leaf_slope : float64 [nodes, outputs, features], or [0, 0, 0] where leaves are constant; a leaf gives `value + slope . x`
        (regression only), 0 at inner nodes.
    expects_slopes : not kept; True where a file promises `leaf_slope`, so that a file that lost it is refused.

    A linear node sums `weight * x[feature]`, raw values instead of integer scores, in the order of its terms; an affine leaf starts at
    its value and adds `slope * x` in the order of the features, leaving out slopes of 0. Every product and every sum is rounded to a
    double (never fused), so that every engine gives the same bits. A sum that is NaN (infinity less infinity, infinity times 0) goes
    right. Values that are weighed may not be missing: scoring such a row raises `DataError`.

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
    linear_weight: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    leaf_slope: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 0, 0)))
    expects_slopes: InitVar[bool] = False

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
        "linear_weight": (np.float64, 1),
        "leaf_slope": (np.float64, 3),
    }

    def __post_init__(self, expects_slopes: bool) -> None:
        from hardgrad.trees.forest_check import check_forest

        for name, (dtype, ndim) in self._dtypes.items():
            array = getattr(self, name)
            if not isinstance(array, np.ndarray) or array.dtype != dtype or array.ndim != ndim:
                raise ArtifactError(
                    f"forest array {name!r} must be {np.dtype(dtype)} with {ndim} dimensions."
                )
        self.freeze()
        check_forest(self)
        if expects_slopes and not self.has_slopes:
            raise ArtifactError("not a forest: its leaves are affine, but 'leaf_slope' is not there.")

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
    def is_plain(self) -> bool:
        """True where nodes compare a feature or an integer sum, and leaves are constant."""
        return not (self.has_linear or self.has_slopes)

    @property
    def is_axis(self) -> bool:
        """True where every inner node tests a single feature against a threshold."""
        return not bool((self.feature < LEAF).any())

    @cached_property
    def has_linear(self) -> bool:
        """True where some node sums real weights."""
        return bool((self.feature == LINEAR).any())

    @property
    def has_slopes(self) -> bool:
        """True where leaves are affine."""
        return self.leaf_slope.size > 0

    @cached_property
    def weighted_features(self) -> NDArray[np.int64]:
        """Numbers of the features that linear nodes or slopes weigh, sorted: their values may not be missing. Usually none."""
        linear = np.repeat(self.feature == LINEAR, np.diff(self.term_offset))
        sloped = np.flatnonzero(self.leaf_slope.any(axis=(0, 1))) if self.has_slopes else np.empty(0, int)
        return np.union1d(self.term_feature[linear], sloped).astype(np.int64)

    @cached_property
    def scored_features(self) -> NDArray[np.int64]:
        """Numbers of the features whose integer score some oblique node uses, sorted."""
        oblique = np.repeat(self.feature == OBLIQUE, np.diff(self.term_offset))
        return np.unique(self.term_feature[oblique]).astype(np.int64)

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
        """Return the numbers of the features that some node tests or a slope multiplies, sorted."""
        axis = self.feature[self.feature >= 0].astype(np.int64)
        return np.unique(np.concatenate([axis, self.scored_features, self.weighted_features]))

    def sizes(self) -> list[tuple[int, str]]:
        """Return trees, leaves and the bytes of data that the smallest C export carries (see `TableModel.sizes`)."""
        from hardgrad.trees.packed import size_in_bytes

        size = int(size_in_bytes(self)) if self.is_plain else super().sizes()[0][0]
        return [(self.n_trees, "tree"), (self.n_leaves, "leaf"), (size, "byte")]

    # --- reference semantics -------------------------------------------------------------------------------------------------
    def apply(self, table: Any) -> NDArray[np.int32]:
        """Return the leaf that each row reaches in each tree: int32 [n, trees], absolute node numbers."""
        return self.apply_encoded(self.encode(table))

    def apply_encoded(self, X: NDArray[np.float64]) -> NDArray[np.int32]:
        """Return the leaves for an encoded matrix X [n, features] (see `apply`)."""
        return find_leaves(self, X)

    def feature_scores(self, X: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the integer score of every feature, int64 [n, features]; 0 where missing or never used by an oblique node."""
        return feature_scores(self, X)

    def sum_leaves(
        self, leaves: NDArray[np.int32], X: NDArray[np.float64] | None = None
    ) -> NDArray[np.float64]:
        """Sum leaf values [n, trees] -> raw scores [n, outputs], in double and in tree order: the order is part of the contract.

        X, the encoded rows [n, features], is needed where leaves are affine.
        """
        raw = np.repeat(self.base[None, :], len(leaves), axis=0)
        expected: Literal["ignore", "warn"] = (
            "ignore" if self.has_slopes else "warn"
        )  # an affine leaf may meet infinities
        with np.errstate(invalid=expected, over=expected):
            for tree in range(self.n_trees):
                raw += leaf_outputs(self, leaves[:, tree], X)
        return raw / self.n_trees if self.aggregation == "mean" and self.n_trees else raw

    def predict_raw_encoded(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the raw scores, float64 [n, outputs], of an encoded matrix X. Raises `DataError` where a weighed value is missing."""
        return self.sum_leaves(self.apply_encoded(X), X)

    def decision_path(self, table: Any, row: int = 0) -> list[list[int]]:
        """Return the nodes that one row passes in each tree, root first, leaf last."""
        return find_paths(self, self.encode(table)[row : row + 1])

    # --- on disk -------------------------------------------------------------------------------------------------------------
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays by name; those that are not used are left out."""
        found = super().arrays()
        return {k: v for k, v in found.items() if v.size or k not in ("linear_weight", "leaf_slope")}

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
            **({"affine_leaves": True} if self.has_slopes else {}),
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
            "expects_slopes": metadata.get("affine_leaves") is True,
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

    def forms(self) -> Mapping[str, Form]:
        """Return SQL, C, ONNX, JavaScript, text, DOT and SVG (see `TableModel.forms`)."""
        from hardgrad.trees.forest_forms import forest_forms

        return forest_forms(self)

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
