"""MetaTreeClassifier: a network reads the training table and writes an ordinary exact tree, in milliseconds."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from hardgrad.core.artifact import load
from hardgrad.core.errors import ArtifactError, DataError, HardgradWarning, ParameterError
from hardgrad.core.gap import GapReport
from hardgrad.tabular.table_estimator import TableClassifier, is_whole
from hardgrad.trees.forest import Forest
from hardgrad.trees.forest_build import forest_from_trees
from hardgrad.trees.meta_tree_networks import Scorer
from hardgrad.trees.meta_tree_training import DATA, build_network
from hardgrad.trees.meta_tree_weights import MetaTreeWeights

Floats = NDArray[np.float64]
MAX_COLUMNS = 8
SAMPLED_TREES = 16
EPS = 1e-5


@dataclass
class _Node:
    """A node in the making: the rows that reach it, and its split once it has one."""

    rows: NDArray[np.bool_]
    depth: int
    feature: int = -1
    threshold: float = 0.0
    children: list[_Node] = field(default_factory=list)


class MetaTreeClassifier(TableClassifier):
    """Small exact trees that a network names split by split, having learned from exact trees which splits generalise.

    For refitting thousands of tiny trees, and where greedy splits fail: the exclusive or of two columns has no good first split.

    Parameters
    ----------
    max_depth : of the trees.
    n_estimators : trees; each but the only one sees its own draw of rows and columns.
    context_size : rows that the network reads for each tree, drawn where there are more; leaves count all rows.
    checkpoint : "small" (packaged), a file that `train_meta_tree(...).save` wrote, or the `MetaTreeWeights` themselves.
    random_state : seed.

    Attributes
    ----------
    forest_ : the `Forest`, the mean of the trees' class shares.
    gap_ : on the training rows, the mean of trees drawn from the network's softmax against the trees of its largest logits; measured when
        it is asked for.
    classes_, schema_, typing_ : as for the other classifiers.

    Raises
    ------
    DataError : missing values, or more classes than the checkpoint knows.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X = rng.random((96, 4)); y = (X[:, 0] > 0.5) ^ (X[:, 2] > 0.5)
    >>> model = MetaTreeClassifier(random_state=0).fit(X, y)
    >>> bool(model.score(X, y) > 0.9)
    True

    Notes
    -----
    Source: Zhuang et al., 2024, Learning a Decision Tree Algorithm with Transformers.
    """

    accepts_missing = False
    artifact_attribute = "forest_"

    def __init__(
        self,
        max_depth: int = 2,
        n_estimators: int = 1,
        *,
        context_size: int = 256,
        checkpoint: Any = "small",
        random_state: Any = None,
    ) -> None:
        self.max_depth = max_depth
        self.n_estimators = n_estimators
        self.context_size = context_size
        self.checkpoint = checkpoint
        self.random_state = random_state

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Let the network read the table and keep the trees that it names.

        Parameters
        ----------
        X : array [n, features], or any data frame; no missing values.
        y : class labels [n].
        sample_weight : [n], not negative.
        """
        seed = self._begin_fit()
        X, y = self._check_input(X, y)
        network = _network(self.checkpoint)
        numbers = self._class_numbers(y)
        if len(self.classes_) > network.classes:
            raise DataError(
                f"MetaTreeClassifier got {len(self.classes_)} classes; the checkpoint knows at most {network.classes}. "
                "Train one with train_meta_tree(..., classes=...), or join classes."
            )
        weight = self._weights(sample_weight, len(numbers))
        _, encoded = self._encode_training(
            X, numbers, weight, task="classification", n_classes=len(self.classes_), seed=seed
        )
        used = weight > 0
        rows = _Rows(encoded[used], np.eye(len(self.classes_))[numbers[used]], weight[used])
        rng = np.random.default_rng(seed)
        views = [self._view(rows, rng) for _ in range(self.n_estimators)]
        self.forest_ = self._forest([tree for view in views for tree in self._trees(network, rows, view)])
        self.__dict__.pop("_gap", None)
        fitted = copy.copy(self)  # parameters may be set anew before the gap is asked for
        self._gap: GapReport | Callable[[], GapReport] = partial(
            fitted._measure_gap, rows, views[0], numbers[used], int(rng.integers(2**31))
        )
        return self

    @property
    def gap_(self) -> GapReport:
        """What hardening costs, measured when it is asked for: drawing the trees takes longer than the fit of one tree."""
        check_is_fitted(self)
        if not isinstance(self._gap, GapReport):
            self._gap = self._gap()
        return self._gap

    def _check_parameters(self) -> None:
        for name, least in (("max_depth", 1), ("n_estimators", 1), ("context_size", 2)):
            self._require(is_whole(getattr(self, name), least), name, f"a whole number of at least {least}")

    def _view(self, rows: _Rows, rng: np.random.Generator) -> _View:
        """Choose what the network sees for one tree."""
        n, F = rows.X.shape
        several = self.n_estimators > 1
        count = min(self.context_size, max(2, round(0.7 * n)) if several else n)
        seen = np.sort(rng.choice(n, count, replace=False)) if count < n else np.arange(n)
        columns = np.arange(F)
        if F > MAX_COLUMNS:
            columns = self._telling_columns(rows, rng)
        elif several and F > 2:
            columns = np.sort(rng.choice(F, max(2, round(0.7 * F)), replace=False))
        return _View(seen, columns)

    def _telling_columns(self, rows: _Rows, rng: np.random.Generator) -> NDArray[np.int64]:
        from sklearn.feature_selection import mutual_info_classif

        told = mutual_info_classif(rows.X, rows.one_hot.argmax(1), random_state=int(rng.integers(2**31)))
        if self.n_estimators == 1:
            warnings.warn(
                f"MetaTreeClassifier got {rows.X.shape[1]} features; its network reads {MAX_COLUMNS}, those that tell most of the class. "
                "With n_estimators > 1 each tree draws its own.",
                HardgradWarning,
                stacklevel=4,
            )
            return np.sort(np.argsort(-told, kind="stable")[:MAX_COLUMNS])
        share = told + 1e-3 * max(float(told.max()), 1e-12) + 1e-12
        return np.sort(rng.choice(len(told), MAX_COLUMNS, replace=False, p=share / share.sum()))

    def _trees(
        self, network: Scorer, rows: _Rows, view: _View, count: int = 1, rng: torch.Generator | None = None
    ) -> list[dict[str, Any]]:
        """Grow trees level by level: all nodes of a level are one batch. With `rng` splits are drawn, not the likeliest ones taken."""
        roots = [_Node(np.ones(len(rows.X), dtype=bool), 0) for _ in range(count)]
        level = roots
        while level:
            level = [
                child for node in self._split(network, rows, view, level, rng) for child in node.children
            ]
        return [_nested(root, rows, rows.shares(root.rows, None)) for root in roots]

    def _split(
        self, network: Scorer, rows: _Rows, view: _View, level: list[_Node], rng: torch.Generator | None
    ) -> list[_Node]:
        """Split those nodes of a level that can be, and return them."""
        X = rows.X[np.ix_(view.rows, view.columns)]
        open_nodes = [
            node
            for node in level
            if node.depth < self.max_depth and rows.mixed(node.rows[view.rows], view.rows)
        ]
        if not open_nodes:
            return []
        # Trees drawn from one network share most of their nodes: each set of rows is scored once.
        here, which = np.unique(
            np.stack([node.rows[view.rows] for node in open_nodes]), axis=0, return_inverse=True
        )
        count = len(here)
        table = torch.from_numpy(X).expand(count, -1, -1)
        y = torch.zeros(count, len(X), network.classes)
        y[:, :, : rows.one_hot.shape[1]] = torch.from_numpy(rows.one_hot[view.rows]).float()
        active = torch.from_numpy(here)
        cuts = network.candidates(table, active)
        logits = network(table, y, active * torch.from_numpy(rows.weight[view.rows]), cuts).flatten(1)
        logits, threshold, places = logits[which], cuts.threshold[which], cuts.threshold.shape[2]
        best = logits.argmax(1) if rng is None else _drawn(logits, rng)
        done = []
        for k, node in enumerate(open_nodes):
            if not torch.isfinite(logits[k]).any():
                continue  # every column is constant here
            feature, place = divmod(int(best[k]), places)
            node.feature, node.threshold = int(view.columns[feature]), float(threshold[k, feature, place])
            left = rows.X[:, node.feature] <= node.threshold
            node.children = [_Node(node.rows & side, node.depth + 1) for side in (left, ~left)]
            done.append(node)
        return done

    def _forest(self, trees: list[dict[str, Any]]) -> Forest:
        return forest_from_trees(
            trees, self.schema_, n_outputs=len(self.classes_), link="identity", aggregation="mean", task="classification",
            classes=self._class_labels(),
        )  # fmt: skip

    def _measure_gap(self, rows: _Rows, view: _View, numbers: NDArray[np.int64], seed: int) -> GapReport:
        network = _network(self.checkpoint)
        generator = torch.Generator().manual_seed(seed)
        drawn = self._forest(self._trees(network, rows, view, SAMPLED_TREES, generator))
        soft, hard = (
            forest.raw_to_proba(forest.predict_raw_encoded(rows.X)) for forest in (drawn, self.forest_)
        )
        losses = [
            float(np.average(-np.log(np.maximum(p[np.arange(len(p)), numbers], EPS)), weights=rows.weight))
            for p in (soft, hard)
        ]
        return GapReport(
            "log_loss", soft=losses[0], hard=losses[1], agreement=float((soft.argmax(1) == hard.argmax(1)).mean()),
            worst_disagreement=float(np.abs(soft - hard).max()), rows=len(rows.X),
        )  # fmt: skip


def _network(checkpoint: Any) -> Scorer:
    """Return the network of a checkpoint: its weights, a packaged name, or a file."""
    if isinstance(checkpoint, MetaTreeWeights):
        return build_network(checkpoint)
    if not isinstance(checkpoint, str | Path):
        raise ParameterError(
            f"MetaTreeClassifier() got checkpoint={checkpoint!r}; expected 'small', a path, or MetaTreeWeights."
        )
    packaged = DATA / f"meta_tree_{checkpoint}.safetensors"
    weights = load(packaged if packaged.exists() else Path(checkpoint))
    if not isinstance(weights, MetaTreeWeights):
        raise ArtifactError(
            f"{checkpoint} holds a {weights.kind!r}; expected the weights that train_meta_tree gives."
        )
    return build_network(weights)


@dataclass(frozen=True)
class _View:
    """The rows and columns that the network reads for one tree."""

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]


@dataclass(frozen=True)
class _Rows:
    """The training rows."""

    X: Floats
    one_hot: Floats
    weight: Floats

    def shares(self, here: NDArray[np.bool_], parent: Floats | None) -> Floats:
        """Class shares of some rows; of none, those of the parent."""
        counts = (self.one_hot * (self.weight * here)[:, None]).sum(0)
        if not counts.any():
            assert parent is not None
            return parent
        return np.asarray((counts + EPS) / (counts + EPS).sum())

    def mixed(self, here: NDArray[np.bool_], rows: NDArray[np.int64]) -> bool:
        """Whether some of these rows have different classes."""
        return bool(self.one_hot[rows][here].any(axis=0).sum() > 1)


def _drawn(logits: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    p = torch.where(torch.isfinite(logits).any(1, keepdim=True), logits, 0.0).softmax(1)
    return torch.multinomial(p, 1, generator=rng).squeeze(1)


def _nested(node: _Node, rows: _Rows, shares: Floats) -> dict[str, Any]:
    """The finished tree in the form of `forest_from_trees`."""
    if not node.children:
        return {"value": shares}
    left, right = (_nested(child, rows, rows.shares(child.rows, shares)) for child in node.children)
    return {"feature": node.feature, "threshold": node.threshold, "left": left, "right": right}
