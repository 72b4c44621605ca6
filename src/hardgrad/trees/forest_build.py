"""Building a `Forest` from nested trees: the form that is easiest to write, test and import from elsewhere. Never imports torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import ArtifactError
from hardgrad.tabular.schema import TableSchema
from hardgrad.tabular.table_model import Label, Link, Task
from hardgrad.trees.forest import LEAF, LINEAR, OBLIQUE, Aggregation, Forest

Node = Mapping[str, Any]


class ForestBuilder:
    """Collects nodes in preorder and hands over a `Forest`.

    A tree is added node by node: `start_tree`, then for each node in preorder `add_leaf`, `add_axis`, `add_oblique` or `add_linear`; the
    left subtree of a node follows it directly, then its right subtree.
    """

    def __init__(self, schema: TableSchema, n_outputs: int = 1) -> None:
        self.schema = schema
        self.n_outputs = n_outputs
        self._feature: list[int] = []
        self._threshold: list[float] = []
        self._left: list[int] = []
        self._right: list[int] = []
        self._default_left: list[bool] = []
        self._value: list[Sequence[float] | NDArray[np.float64]] = []
        self._tree_offset: list[int] = []
        self._terms: list[Sequence[tuple[int, float]]] = []
        self._slopes: dict[int, NDArray[np.float64]] = {}
        self._waiting: list[int] = []

    def start_tree(self) -> None:
        """Begin a new tree; the one before must be complete."""
        self._require_complete()
        self._tree_offset.append(len(self._feature))

    def _require_complete(self) -> None:
        if self._waiting:
            raise ArtifactError(
                f"node {self._waiting[-1]} has no complete subtrees; trees are given in preorder."
            )

    def _add(
        self,
        feature: int,
        threshold: float,
        default_left: bool,
        value: Any,
        terms: Sequence[tuple[int, float]],
    ) -> int:
        number = len(self._feature)
        if self._waiting:
            parent = self._waiting[-1]
            if self._left[parent] < 0:
                self._left[parent] = number
            else:
                self._right[parent] = number
                self._waiting.pop()
        elif not self._tree_offset or self._tree_offset[-1] != number:
            raise ArtifactError("a tree has a node after its last leaf; trees are given in preorder.")
        self._feature.append(feature)
        self._threshold.append(threshold)
        self._left.append(-1)
        self._right.append(-1)
        self._default_left.append(default_left)
        self._value.append(value)
        self._terms.append(terms)
        if feature != LEAF:
            self._waiting.append(number)
        return number

    def add_leaf(
        self,
        value: float | Sequence[float] | NDArray[np.float64],
        slope: Sequence[float] | NDArray[np.float64] | None = None,
    ) -> int:
        """Add a leaf with one value an output and, where it is affine, a slope [outputs, features]; return its number."""
        values = np.broadcast_to(np.asarray(value, dtype=np.float64), (self.n_outputs,))
        number = self._add(LEAF, 0.0, False, values, [])
        if slope is not None:
            shape = (self.n_outputs, len(self.schema.features))
            self._slopes[number] = np.broadcast_to(np.asarray(slope, dtype=np.float64), shape)
        return number

    def add_axis(self, feature: int, threshold: float, default_left: bool = False) -> int:
        """Add a node that sends a row left iff `x[feature] <= threshold` and return its number."""
        return self._add(int(feature), float(threshold), bool(default_left), np.zeros(self.n_outputs), [])

    def add_oblique(self, terms: Sequence[tuple[int, int]], threshold: int) -> int:
        """Add a node that sends a row left iff the sum of weight * score(feature) is <= threshold; terms are (feature, weight)."""
        pairs = [(int(feature), int(weight)) for feature, weight in terms]
        return self._add(OBLIQUE, float(threshold), False, np.zeros(self.n_outputs), pairs)

    def add_linear(self, terms: Sequence[tuple[int, float]], threshold: float) -> int:
        """Add a node that sends a row left iff the sum of weight * x[feature], in this order, is <= threshold; return its number."""
        pairs = [(int(feature), float(weight)) for feature, weight in terms]
        return self._add(LINEAR, float(threshold), False, np.zeros(self.n_outputs), pairs)

    def finish(
        self,
        *,
        base: Sequence[float] | NDArray[np.float64] | None = None,
        score_tables: Mapping[int, tuple[NDArray[np.float64], NDArray[np.int32]]] | None = None,
        link: Link = "identity",
        aggregation: Aggregation = "sum",
        task: Task = "regression",
        classes: Sequence[Label] = (),
        target: str = "",
    ) -> Forest:
        """Return the forest. `score_tables` maps a feature to its (cuts, integer scores), needed where an oblique node uses it."""
        self._require_complete()
        n_features = len(self.schema.features)
        cut_offset, cut, score = _tables(n_features, score_tables or {})
        terms = [term for node in self._terms for term in node]
        linear = [f == LINEAR for f, node in zip(self._feature, self._terms, strict=True) for _ in node]
        whole = [0 if real else weight for (_, weight), real in zip(terms, linear, strict=True)]
        real = [weight if real else 0.0 for (_, weight), real in zip(terms, linear, strict=True)]
        slope = np.zeros((len(self._feature) if self._slopes else 0, self.n_outputs, n_features))
        for node, own in self._slopes.items():
            slope[node] = own
        return Forest(
            schema=self.schema,
            feature=np.array(self._feature, dtype=np.int32),
            threshold=np.array(self._threshold, dtype=np.float64),
            left=np.array(self._left, dtype=np.int32),
            right=np.array(self._right, dtype=np.int32),
            default_left=np.array(self._default_left, dtype=np.bool_),
            value=np.array(self._value, dtype=np.float64).reshape(len(self._value), self.n_outputs),
            tree_offset=np.array([*self._tree_offset, len(self._feature)], dtype=np.int32),
            base=np.zeros(self.n_outputs) if base is None else np.asarray(base, dtype=np.float64).reshape(-1),
            term_offset=np.cumsum([0, *(len(node) for node in self._terms)]).astype(np.int32),
            term_feature=np.array([feature for feature, _ in terms], dtype=np.int32),
            term_weight=np.array(whole, dtype=np.int32),
            cut_offset=cut_offset,
            cut=cut,
            score=score,
            link=link,
            aggregation=aggregation,
            task=task,
            classes=tuple(classes),
            target=target,
            linear_weight=np.array(real if any(linear) else [], dtype=np.float64),
            leaf_slope=slope if slope.any() else np.empty((0, 0, 0)),
        )


def _tables(
    n_features: int, tables: Mapping[int, tuple[NDArray[np.float64], NDArray[np.int32]]]
) -> tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.int32]]:
    offset, cuts, scores = [0], [np.empty(0)], [np.empty(0, dtype=np.int32)]
    for f in range(n_features):
        cut, score = tables.get(f, (np.empty(0), np.zeros(1, dtype=np.int32)))
        if len(score) != len(cut) + 1:
            raise ArtifactError(
                f"feature {f} has {len(cut)} cuts and {len(score)} scores; one more is needed."
            )
        cuts.append(np.asarray(cut, dtype=np.float64))
        scores.append(np.asarray(score, dtype=np.int32))
        offset.append(offset[-1] + len(cut))
    return np.array(offset, dtype=np.int32), np.concatenate(cuts), np.concatenate(scores)


def forest_from_trees(
    trees: Sequence[Node],
    columns: Sequence[str] | TableSchema,
    *,
    n_outputs: int | None = None,
    **options: Any,
) -> Forest:
    """Build a forest from nested dictionaries.

    Parameters
    ----------
    trees : each node is `{"value": v}` (optional `"slope": [outputs, features]`), `{"feature": f, "threshold": t, "left": ..,
        "right": ..}` (optional `"default_left"`), or with `"terms": [(feature, integer weight), ..]` on scores, or
        `"linear": [(feature, real weight), ..]` on values, instead of the feature.
    columns : names of numeric columns, or a schema.
    n_outputs : values a leaf, found from the first leaf by default.
    options : passed to `ForestBuilder.finish`: base, score_tables, link, aggregation, task, classes, target.

    Raises
    ------
    ArtifactError : the trees are not a forest.
    """
    schema = columns if isinstance(columns, TableSchema) else TableSchema.numeric(columns)
    if n_outputs is None:
        node: Node = trees[0] if trees else {"value": 0.0}
        while "value" not in node:
            node = node["left"]
        n_outputs = int(np.size(node["value"]))
    builder = ForestBuilder(schema, n_outputs)
    for tree in trees:
        builder.start_tree()
        stack: list[Node] = [tree]
        while stack:
            here: Node = stack.pop()
            if "value" in here:
                builder.add_leaf(here["value"], here.get("slope"))
                continue
            if "terms" in here:
                builder.add_oblique(here["terms"], here["threshold"])
            elif "linear" in here:
                builder.add_linear(here["linear"], here["threshold"])
            else:
                builder.add_axis(here["feature"], here["threshold"], here.get("default_left", False))
            stack += [here["right"], here["left"]]
    return builder.finish(**options)
