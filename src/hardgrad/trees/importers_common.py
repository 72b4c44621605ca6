"""What all importers share: trees in a peer's own numbering, rules that are not plain thresholds, and their assembly.

Reading a format is `importers_lightgbm`, `importers_xgboost` or `importers_sklearn`; the door is `importers`. Never imports
torch or a peer.

A peer's node is a plain threshold, or a rule. `Steps` is any piecewise constant decision on a number (LightGBM's "zero is
missing", a set of category numbers in a numeric column); with one step it becomes an axis node, otherwise an oblique node of a
single term, whose score table says the side. `Choice` is any decision on a category; it becomes a feature with the codes
0 (left) and 1 (right).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import ArtifactError, ExportError, ParameterError
from hardgrad.tabular.schema import Column, Feature, TableSchema, category_text
from hardgrad.tabular.table_model import Label, Link, Task
from hardgrad.trees.forest import LEAF, OBLIQUE, Aggregation, Forest

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Steps:
    """A decision on a number: interval i (after i cuts that are < x) goes left iff `left[i]`, a missing value iff `missing_left`."""

    cuts: tuple[float, ...]
    left: tuple[bool, ...]
    missing_left: bool


@dataclass(frozen=True)
class Choice:
    """A decision on a category: number k, in the peer's order, goes left iff `left[k]`."""

    left: tuple[bool, ...]
    unseen_left: bool
    missing_left: bool


Rule = Steps | Choice


@dataclass
class PeerTree:
    """One tree in the peer's own numbering, root first; nodes that no path reaches are dropped on assembly.

    `feature` is the number of the peer's column, -1 at a leaf; `left` and `right` count within the tree; `value` is [nodes, outputs].
    """

    feature: Ints
    threshold: Floats
    left: Ints
    right: Ints
    default_left: NDArray[np.bool_]
    value: Floats
    rules: dict[int, Rule] = field(default_factory=dict)


@dataclass
class PeerColumns:
    """The peer's columns: names, the categories of those that are categorical (in the peer's order of codes), and the boolean ones."""

    names: list[str]
    categories: dict[int, list[str]] = field(default_factory=dict)
    booleans: frozenset[int] = frozenset()


@dataclass
class Output:
    """How the sum of leaves becomes a prediction."""

    base: Floats
    link: Link = "identity"
    aggregation: Aggregation = "sum"
    task: Task = "regression"
    classes: tuple[Label, ...] = ()


# --- decisions ------------------------------------------------------------------------------------------------------------------
def steps_of_codes(chosen: Sequence[int], chosen_left: bool, missing_left: bool, edges: Any) -> Steps:
    """Return the decision "the whole number in this column is one of `chosen`".

    `edges(codes)` gives, for whole numbers c >= 0, the largest double that the peer does not yet read as c.
    """
    codes = np.unique(np.asarray(chosen, dtype=np.int64))
    first = codes[np.flatnonzero(np.diff(codes, prepend=-2) != 1)]
    after = codes[np.flatnonzero(np.diff(codes, append=codes[-1:] + 2) != 1)] + 1
    cuts = np.stack([edges(first), edges(after)], axis=1).reshape(-1)
    left = [not chosen_left, *([chosen_left, not chosen_left] * len(first))]
    return Steps(tuple(cuts.tolist()), tuple(left), missing_left)


def merged(rule: Steps) -> Steps:
    """Drop the cuts between intervals that go to the same side."""
    kept = [i for i in range(len(rule.cuts)) if rule.left[i] != rule.left[i + 1]]
    return Steps(
        tuple(rule.cuts[i] for i in kept),
        (rule.left[0], *(rule.left[i + 1] for i in kept)),
        rule.missing_left,
    )


# --- columns --------------------------------------------------------------------------------------------------------------------
def category_labels(column: str, values: Sequence[Any]) -> list[str]:
    """Return the texts by which categories are known, in order. Raises `ExportError` where two become the same."""
    texts = [category_text(value) for value in values]
    if len(set(texts)) != len(texts):
        raise ExportError(
            f"column {column!r} has categories that read the same as text, such as 1 and '1': {texts[:8]}. Rename "
            "them and train again."
        )
    return texts


def describe_data(data: Any) -> PeerColumns:
    """Read names, boolean columns and category orders off a table such as the one that a model was trained on."""
    if isinstance(data, np.ndarray):
        return PeerColumns([])
    import narwhals.stable.v2 as nw

    try:
        frame: Any = nw.from_native(data)
    except TypeError:
        raise ParameterError(
            f"data is a {type(data).__name__}; pass the data frame or PyArrow table that the model was trained on."
        ) from None
    if hasattr(frame, "collect"):
        frame = frame.collect()
    names = [str(name) for name in frame.columns]
    described = PeerColumns(names)
    booleans = set()
    for i, name in enumerate(frame.columns):
        kind = frame[name].dtype
        if kind == nw.Boolean:
            booleans.add(i)
        elif kind in (nw.Categorical, nw.Enum):
            described.categories[i] = category_labels(names[i], frame[name].cat.get_categories().to_list())
    described.booleans = frozenset(booleans)
    return described


def choose_names(
    own: Sequence[str], columns: Sequence[str] | None, described: PeerColumns | None
) -> list[str]:
    """Return the names of the raw columns: those given, those of `data`, else the model's own."""
    names = list(columns) if columns is not None else list(own)
    if columns is None and described is not None and described.names:
        names = described.names
    if len(names) != len(own):
        raise ParameterError(
            f"the model has {len(own)} columns, {'columns' if columns is not None else 'data'} gives {len(names)}: {names}. "
            "Give the columns that the model was trained on, in that order, without the target."
        )
    return [str(name) for name in names]


# --- assembly -------------------------------------------------------------------------------------------------------------------
def assemble(trees: Sequence[PeerTree], columns: PeerColumns, output: Output, what: str) -> Forest:
    """Return the `Forest` of a peer's trees. `what` names the source in messages."""
    features = _FeatureTable(columns)
    sizes = np.array([len(tree.feature) for tree in trees], dtype=np.int64)
    first = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    if len(trees) and sizes.min() < 1:
        raise ArtifactError(f"{what} has a tree without nodes. Save the model again.")
    joined = _join(trees, first, len(output.base))
    order, tree_offset = _preorder(joined, first, what)
    place = np.full(first[-1] + 1, -1, dtype=np.int64)  # the last entry answers for "no child"
    place[order] = np.arange(len(order))
    feature = np.where(joined.feature >= 0, features.identity[joined.feature], LEAF)
    threshold, default_left = joined.threshold.copy(), joined.default_left.copy()
    terms: dict[int, tuple[int, int]] = {}
    for start, tree in zip(first, trees, strict=False):
        for node, rule in tree.rules.items():
            at = int(start) + node
            feature[at], threshold[at], default_left[at], weight = features.node(
                int(joined.feature[at]), rule
            )
            if weight:
                terms[at] = (int(feature[at]), weight)
                feature[at] = OBLIQUE
    inner = joined.feature[order] >= 0
    if (feature[order][inner] == LEAF).any():
        raise ArtifactError(f"{what} tests a number in a categorical column. Save the model again.")
    count = np.array([at in terms for at in order.tolist()], dtype=np.int64)
    owners = [terms[at] for at in order.tolist() if at in terms]
    cut_offset, cut, score = features.tables()
    return Forest(
        schema=features.schema(),
        feature=feature[order].astype(np.int32),
        threshold=np.where(inner, threshold[order], 0.0),
        left=np.where(inner, place[joined.left[order]], -1).astype(np.int32),
        right=np.where(inner, place[joined.right[order]], -1).astype(np.int32),
        default_left=np.where(inner, default_left[order], False),
        value=np.where(inner[:, None], 0.0, joined.value[order]),
        tree_offset=tree_offset.astype(np.int32),
        base=output.base.astype(np.float64),
        term_offset=np.concatenate([[0], np.cumsum(count)]).astype(np.int32),
        term_feature=np.array([f for f, _ in owners], dtype=np.int32),
        term_weight=np.array([w for _, w in owners], dtype=np.int32),
        cut_offset=cut_offset,
        cut=cut,
        score=score,
        link=output.link,
        aggregation=output.aggregation,
        task=output.task,
        classes=output.classes,
    )


def _join(trees: Sequence[PeerTree], first: Ints, outputs: int) -> PeerTree:
    """All trees as one table of nodes whose children count from its start."""

    def stack(parts: list[NDArray[Any]], empty: NDArray[Any]) -> Any:
        return np.concatenate([empty, *parts])

    none = np.empty(0, dtype=np.int64)
    moved = [
        (np.where(t.feature >= 0, t.left + start, -1), np.where(t.feature >= 0, t.right + start, -1))
        for t, start in zip(trees, first, strict=False)
    ]
    return PeerTree(
        feature=stack([t.feature for t in trees], none),
        threshold=stack([t.threshold for t in trees], np.empty(0)),
        left=stack([left for left, _ in moved], none),
        right=stack([right for _, right in moved], none),
        default_left=stack([t.default_left for t in trees], np.empty(0, dtype=bool)),
        value=stack([t.value for t in trees], np.empty((0, outputs))),
    )


def _preorder(joined: PeerTree, first: Ints, what: str) -> tuple[Ints, Ints]:
    """Return the reachable nodes, tree by tree and in preorder, and where each tree starts among them."""
    total = int(first[-1])
    owner = np.repeat(np.arange(len(first) - 1), np.diff(first))
    seen = np.zeros(total, dtype=bool)
    levels, level = [], first[:-1]
    while len(level):
        seen[level] = True
        levels.append(level)
        inner = level[joined.feature[level] >= 0]
        level = np.concatenate([joined.left[inner], joined.right[inner]])
        inside = (level >= 0) & (level < total)
        if not inside.all() or (owner[level] != np.tile(owner[inner], 2)).any():
            raise ArtifactError(
                f"{what} is damaged: a node has a child that is not in its tree. Save the model again."
            )
        if seen[level].any() or len(np.unique(level)) != len(level):
            raise ArtifactError(f"{what} is damaged: two nodes share a child. Save the model again.")
    size = np.ones(total + 1, dtype=np.int64)
    for level in reversed(levels):
        inner = level[joined.feature[level] >= 0]
        size[inner] += size[joined.left[inner]] + size[joined.right[inner]]
    offset = np.concatenate([[0], np.cumsum(size[first[:-1]])]).astype(np.int64)
    place = np.zeros(total, dtype=np.int64)
    place[first[:-1]] = offset[:-1]
    for level in levels:
        inner = level[joined.feature[level] >= 0]
        place[joined.left[inner]] = place[inner] + 1
        place[joined.right[inner]] = place[inner] + 1 + size[joined.left[inner]]
    reached = np.flatnonzero(seen)
    order = np.empty(len(reached), dtype=np.int64)
    order[place[reached]] = reached
    return order, offset


class _FeatureTable:
    """The features of the imported forest: the columns themselves first, then one for every distinct rule."""

    def __init__(self, columns: PeerColumns) -> None:
        self.columns = columns
        numbers = [i for i in range(len(columns.names)) if i not in columns.categories]
        self.features = [Feature(columns.names[i], i) for i in numbers]
        self.identity = np.full(len(columns.names) + 1, LEAF, dtype=np.int64)
        self.identity[numbers] = np.arange(len(numbers))
        self._known: dict[Any, int] = {}
        self._tables: dict[int, tuple[tuple[float, ...], tuple[int, ...]]] = {}
        self._rules_of: dict[int, int] = {}

    def node(self, column: int, rule: Rule) -> tuple[int, float, bool, int]:
        """Return feature, threshold, default side and weight (0 at an axis node) of the node that decides by a rule."""
        name = self.columns.names[column]
        if isinstance(rule, Choice):
            categories = self.columns.categories[column]
            sides = dict(zip(categories, rule.left, strict=True))
            codes = (
                *(0.0 if sides[c] else 1.0 for c in sorted(categories)),
                0.0 if rule.unseen_left else 1.0,
            )
            return self._add((column, codes), name, column, codes), 0.5, rule.missing_left, 0
        if column in self.columns.categories:
            raise ArtifactError(
                f"column {name!r} is categorical, but a node reads it as a number. Save the model again."
            )
        rule = merged(rule)
        if len(rule.cuts) == 1 and rule.left[0]:
            return int(self.identity[column]), rule.cuts[0], rule.missing_left, 0
        # A missing value scores 0, so 0 must mean its side: left is 0 or -1, right is 1 or 0.
        scores = tuple(int(not left) - int(not rule.missing_left) for left in rule.left)
        number = self._add((column, rule), name, column, ())
        self._tables[number] = (rule.cuts, scores)
        return number, 0.0 if rule.missing_left else -1.0, False, 1

    def _add(self, key: Any, name: str, column: int, codes: tuple[float, ...]) -> int:
        if key not in self._known:
            self._known[key] = len(self.features)
            self._rules_of[column] = self._rules_of.get(column, 0) + 1
            label = f"{name} [{self._rules_of[column]}]"
            self.features.append(Feature(label, column, "codes" if codes else "identity", codes))
        return self._known[key]

    def tables(self) -> tuple[NDArray[np.int32], Floats, NDArray[np.int32]]:
        """Return the cuts and scores of all features, as `Forest` keeps them."""
        none: tuple[tuple[float, ...], tuple[int, ...]] = ((), (0,))
        tables = [self._tables.get(f, none) for f in range(len(self.features))]
        offset = np.concatenate([[0], np.cumsum([len(cuts) for cuts, _ in tables])]).astype(np.int32)
        cut = np.array([c for cuts, _ in tables for c in cuts], dtype=np.float64)
        return offset, cut, np.array([s for _, scores in tables for s in scores], dtype=np.int32)

    def schema(self) -> TableSchema:
        """Return the raw columns and the features."""
        columns = []
        for i, name in enumerate(self.columns.names):
            if i in self.columns.categories:
                columns.append(Column(name, "categorical", tuple(sorted(self.columns.categories[i]))))
            else:
                columns.append(Column(name, "boolean" if i in self.columns.booleans else "numeric"))
        return TableSchema(tuple(columns), tuple(self.features))
