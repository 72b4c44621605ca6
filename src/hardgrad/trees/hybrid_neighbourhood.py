"""A tree that hands over to matching where it runs out of rows: the exact artifact and how to make one. Never imports torch."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import ArtifactError, ParameterError
from hardgrad.tabular.schema import TableSchema
from hardgrad.tabular.table_model import Label, Link, TableModel, Task
from hardgrad.trees.branch_tree import BranchTree
from hardgrad.trees.matching_codes import Floats, Ints, learn_codes
from hardgrad.trees.matching_neighbourhood import MatchingNeighbourhood, freeze_arrays

_TREE = ("feature", "threshold", "default", "child_offset", "child", "branch", "counts")


@dataclass(frozen=True, eq=False)
class HybridNeighbourhood(TableModel, kind="hybrid-neighbourhood"):
    """A tree whose sparse subtrees are replaced by the training rows in them, compared by matching.

    Parameters
    ----------
    schema, link, task, classes, target : see `TableModel`.
    offset, edge, exact : see `MatchingCodes`.
    feature, threshold, default, child_offset, child, branch, counts : see `BranchTree`; where it was cut there are leaves.
    rows, value, weight : see `MatchingNeighbourhood`.
    region : int32 [rows], the leaf of each training row.
    max_leaf_support : a leaf of at most so many training rows (by weight) is answered by matching, another one by its class shares.
    """

    schema: TableSchema
    offset: Ints
    edge: Floats
    exact: NDArray[np.bool_]
    feature: Ints
    threshold: Floats
    default: Ints
    child_offset: Ints
    child: Ints
    branch: Ints
    counts: Floats
    rows: Ints
    value: Floats
    weight: Floats
    region: Ints
    max_leaf_support: float
    link: Link = "identity"
    task: Task = "classification"
    classes: tuple[Label, ...] = ()
    target: str = ""

    def __post_init__(self) -> None:
        tree, neighbourhood = self.tree, self.neighbourhood  # both check their arrays
        for part in (tree, neighbourhood):
            for name in part.arrays():
                if hasattr(self, name):
                    object.__setattr__(self, name, getattr(part, name))
        freeze_arrays(self, {"region": np.int32}, {})
        if type(self.max_leaf_support) is not float or not self.max_leaf_support >= 0:
            raise ArtifactError(f"max_leaf_support must be a number of rows, got {self.max_leaf_support!r}.")
        if len(self.region) != len(self.rows):
            raise ArtifactError("region must name a leaf for each row.")
        matched = np.flatnonzero((tree.feature < 0) & (tree.n_rows <= self.max_leaf_support))
        if not np.isin(matched, self.region).all():
            raise ArtifactError("a leaf that is answered by matching has no row.")

    @cached_property
    def tree(self) -> BranchTree:
        """The tree down to where it was cut."""
        shared = {
            name: getattr(self, name)
            for name in ("schema", "offset", "edge", "exact", *_TREE, "link", "task", "classes", "target")
        }
        return BranchTree(**shared)

    @cached_property
    def neighbourhood(self) -> MatchingNeighbourhood:
        """The training rows."""
        names = (
            "schema",
            "offset",
            "edge",
            "exact",
            "rows",
            "value",
            "weight",
            "link",
            "task",
            "classes",
            "target",
        )
        return MatchingNeighbourhood(
            **{name: getattr(self, name) for name in names}, importance=np.ones(self.n_features)
        )

    @property
    def n_outputs(self) -> int:
        """Number of classes."""
        return len(self.classes)

    def predict_raw_encoded(self, X: Floats) -> Floats:
        """Return class shares [n, classes] of an encoded matrix (see `TableModel`)."""
        leaf = self.tree.apply(X)
        raw = self.tree.shares[leaf]
        for region in np.unique(leaf[self.tree.n_rows[leaf] <= self.max_leaf_support]).tolist():
            query = np.flatnonzero(leaf == region)
            raw[query] = self.neighbourhood.answer(
                X[query], np.broadcast_to(self.region == region, (len(query), len(self.rows)))
            )
        return raw


def hybrid_switch(
    tree: Any,
    X_train: Any,
    y_train: Any,
    max_leaf_support: float,
    *,
    n_bins: int = 3,
    binning: str = "width",
    sample_weight: Any = None,
) -> HybridNeighbourhood:
    """Return a model that walks a tree until few training rows are left, and compares a row with those by matching attributes.

    Parameters
    ----------
    tree : see `MultiPathTreePredictor`.
    X_train, y_train, sample_weight : the rows that the tree was trained on.
    max_leaf_support : the walk ends at the first node of at most so many training rows; a leaf of more answers itself.
    n_bins, binning : of numbers, where the tree has no codes of its own (see `NearestNeighbourhoodClassifier`).

    Raises
    ------
    ParameterError : a parameter outside its range, or a tree that is none, or not one.
    DataError : the input does not fit together.

    Examples
    --------
    >>> from hardgrad.trees import ID3Tree
    >>> import pyarrow as pa
    >>> X, y = pa.table({"a": ["x", "y", "z", "x"], "b": ["u", "u", "v", "v"]}), [0, 1, 1, 0]
    >>> hybrid_switch(ID3Tree(), X, y, max_leaf_support=2).predict({"a": ["x", "z"], "b": ["u", None]}).tolist()
    [0, 1]

    Source: Alb, 2022, Interfering Paths in Decision Trees: A Note on Deodata Predictors.
    """
    from hardgrad.trees.multipath import MultiPathTreePredictor

    if not max_leaf_support >= 0:
        raise ParameterError(
            f"max_leaf_support got {max_leaf_support!r}; expected a number of rows, at least 0."
        )
    model = MultiPathTreePredictor(tree).fit(X_train, y_train, sample_weight=sample_weight)
    whole = model.tree_
    X = model._read(X_train)
    weight = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    used = weight > 0
    X, weight = X[used], weight[used]
    cut = _cut(whole, float(max_leaf_support))
    if not len(whole.edge) and not whole.exact.any():
        codes = learn_codes(
            X, [column.kind in ("categorical", "boolean") for column in _columns(whole)], n_bins, binning
        )
        cut = dataclasses.replace(cut, offset=codes.offset, edge=codes.edge, exact=codes.exact)
    return HybridNeighbourhood(
        **{
            name: getattr(cut, name)
            for name in ("schema", "offset", "edge", "exact", *_TREE, "classes", "target")
        },
        rows=cut._values(X),
        value=np.searchsorted(model.classes_, np.asarray(y_train)[used]).astype(np.float64),
        weight=weight,
        region=cut.apply(X).astype(np.int32),
        max_leaf_support=float(max_leaf_support),
    )


def _columns(tree: BranchTree) -> list[Any]:
    return [tree.schema.columns[feature.column] for feature in tree.schema.features]


def _cut(tree: BranchTree, support: float) -> BranchTree:
    """Make leaves of the nodes of at most `support` rows."""
    ends = (tree.feature < 0) | (tree.n_rows <= support)
    kept = np.ones(len(tree.feature), dtype=bool)
    for node in range(1, len(kept)):
        parent = tree.parent[node]
        kept[node] = kept[parent] and not ends[parent]
    rank = (np.cumsum(kept) - 1).astype(np.int32)
    inner = kept & ~ends
    count = np.where(inner, np.diff(tree.child_offset), 0)[kept]
    branches = np.repeat(inner, np.diff(tree.child_offset))
    return dataclasses.replace(
        tree,
        feature=np.where(inner, tree.feature, -1)[kept].astype(np.int32),
        threshold=np.where(inner, tree.threshold, np.nan)[kept],
        default=np.where(inner, tree.default, 0)[kept].astype(np.int32),
        child_offset=np.concatenate([[0], np.cumsum(count)]).astype(np.int32),
        child=rank[tree.child[branches]],
        branch=tree.branch[branches],
        counts=tree.counts[kept],
        combine="single",
    )
