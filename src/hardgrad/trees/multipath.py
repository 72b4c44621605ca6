"""Trees walked along all paths: `ID3Tree` to grow one, `MultiPathTreePredictor` to walk any, and how far from the hard tree to go.

The exact artifact is a `BranchTree`, of one path or of all. The soft view is `SoftForest.from_hard(margin="sign")`. Never imports torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Self, cast

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from hardgrad.core.errors import DataError, ParameterError, suggestion
from hardgrad.tabular.table_estimator import Array, TableClassifier
from hardgrad.trees.branch_tree import COMBINATIONS, BranchTree, Combine
from hardgrad.trees.forest import OBLIQUE, Forest
from hardgrad.trees.id3 import GrownTree, grow_id3
from hardgrad.trees.matching_codes import MISSING
from hardgrad.trees.neighbourhood_estimators import MatchingColumns

DECAYS = (0.0, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)


class ID3Tree(TableClassifier, MatchingColumns):
    """A decision tree with a branch for every value, grown by information gain; numbers fall into bins first.

    Parameters
    ----------
    full : whether every path tests every attribute, pure or not: then walking all paths is what `NearestNeighbourhoodClassifier` does.
    max_depth : levels of branches; None for no limit.
    n_bins, binning, categorical : see `NearestNeighbourhoodClassifier`.

    Attributes
    ----------
    tree_ : the exact `BranchTree`; `harden()` returns it. A value that is missing, or has no branch, takes the branch of most rows.
    classes_ : the class labels.

    Examples
    --------
    >>> import pyarrow as pa
    >>> tree = ID3Tree().fit(pa.table({"a": ["x", "y", "z", "x"], "b": ["u", "u", "v", "v"]}), [0, 1, 1, 0])
    >>> tree.predict(pa.table({"a": ["z", None], "b": ["u", "v"]})).tolist()
    [1, 0]

    Source: Quinlan, 1986, Induction of Decision Trees.
    """

    artifact_attribute = "tree_"

    def __init__(
        self,
        *,
        full: bool = False,
        max_depth: int | None = None,
        n_bins: int = 3,
        binning: str = "width",
        categorical: Sequence[Any] = (),
    ) -> None:
        self.full = full
        self.max_depth = max_depth
        self.n_bins = n_bins
        self.binning = binning
        self.categorical = categorical

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Grow the tree (see `NearestNeighbourhoodClassifier.fit`)."""
        if self.max_depth is not None and not self.max_depth >= 1:
            raise ParameterError(f"max_depth got {self.max_depth!r}; expected at least 1, or None.")
        X, y = self._check_input(X, y)
        weight = self._weights(sample_weight, len(y))
        label = self._class_numbers(y)
        codes, encoded, used = self._learn_codes(X, weight)
        C = len(self.classes_)
        grown = grow_id3(
            codes.codes(encoded), label[used], weight[used], C, full=self.full, max_depth=self.max_depth
        )
        self.tree_ = _branch_tree(
            grown,
            schema=self.schema_,
            offset=codes.offset,
            edge=codes.edge,
            exact=codes.exact,
            classes=self._class_labels(),
        )
        return self

    def __sklearn_tags__(self) -> Tags:
        tags: Tags = super().__sklearn_tags__()
        tags.classifier_tags.poor_score = True  # three bins of two columns are nine cells
        return tags


def _branch_tree(grown: GrownTree, **fields: Any) -> BranchTree:
    children = [place for places in grown.children for place in places]
    counts = np.array(grown.counts, dtype=np.float64)
    # A missing value has a branch of its own where training rows lacked it; else it takes that of most rows.
    default = [
        int(np.argmax([np.inf if code == MISSING else counts[node].sum() for code, node in places]))
        if places
        else 0
        for places in grown.children
    ]
    return BranchTree(
        feature=np.array(grown.feature, dtype=np.int32),
        threshold=np.full(len(counts), np.nan),
        default=np.array(default, dtype=np.int32),
        child_offset=np.concatenate([[0], np.cumsum([len(places) for places in grown.children])]).astype(
            np.int32
        ),
        child=np.array([node for _, node in children], dtype=np.int32),
        branch=np.array([code for code, _ in children], dtype=np.int32),
        counts=counts,
        **fields,
    )


class MultiPathTreePredictor(TableClassifier):
    """Walks all paths of a trained tree at once, so that a wrong turn at one node, or a missing value, is not the end.

    Each path counts its matches (branches that the row agrees with) and mismatches (those it does not; a missing value is neither).

    Parameters
    ----------
    tree : a fitted tree of any kind: `ID3Tree`, a `BranchTree`, a `Forest` of one axis-aligned tree, a scikit-learn tree; or an estimator
        of one, which is fitted to the training rows first. `ID3Tree()` by default.
    max_mismatches : paths with more are left out, as long as the single path of the tree stays; None for no limit.
    decay : of "weighted", from 0 (the tree itself) to 1: at a node of b branches the agreed one weighs 1 / (1 + (b - 1) decay), each other
        one decay times as much; 1 / b where the value has no branch, the share of the training rows where it is missing.
    combine : "weighted" adds up the class shares of all leaves by the weights of their paths; "best" pools the leaves of the fewest
        mismatches, then of the most matches, and lets the next best decide ties; "matches" looks at matches first, which favours deep
        leaves of the wrong branch.
    prune_margin : of "best" and "matches": leaves that are worse than the best by more than this are not consulted, which saves time;
        None for all.

    Attributes
    ----------
    tree_ : the exact `BranchTree`; `harden()` returns it. Its leaves hold the class counts of the rows given to `fit`.
    classes_ : the class labels.

    Examples
    --------
    >>> import pyarrow as pa
    >>> X, y = pa.table({"a": ["x", "y", "z", "x"], "b": ["u", "u", "v", "v"]}), [0, 1, 1, 0]
    >>> MultiPathTreePredictor(ID3Tree(), decay=0.1).fit(X, y).predict_proba(X.slice(0, 1)).round(3).tolist()
    [[0.833, 0.167]]

    Source: Alb, 2022, Interfering Paths in Decision Trees: A Note on Deodata Predictors.
    """

    artifact_attribute = "tree_"

    def __init__(
        self,
        tree: Any = None,
        *,
        max_mismatches: int | None = None,
        decay: float = 0.0,
        combine: str = "weighted",
        prune_margin: int | None = None,
    ) -> None:
        self.tree = tree
        self.max_mismatches = max_mismatches
        self.decay = decay
        self.combine = combine
        self.prune_margin = prune_margin

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Count the classes of the training rows in every node of the tree.

        Parameters
        ----------
        X, y, sample_weight : see `NearestNeighbourhoodClassifier.fit`; the tree's own training rows, to keep its leaves as they are.

        Raises
        ------
        ParameterError : a parameter outside its range, or a tree that is none, or not one.
        DataError : the input does not fit together, or has one class only.
        """
        self._check_parameters()
        given = X
        X, y = self._check_input(X, y)
        weight = self._weights(sample_weight, len(y))
        label = self._class_numbers(y)
        shape = _shape_of(self._fitted_tree(given, y, sample_weight))
        self.schema_ = shape.schema
        self._table_fit = not isinstance(X, np.ndarray)
        counts = _recounted(shape, shape.encode(X), label, weight, len(self.classes_))
        self.tree_ = dataclasses.replace(
            shape, counts=counts, classes=self._class_labels(), combine=cast(Combine, self.combine), decay=float(self.decay),
            max_mismatches=-1 if self.max_mismatches is None else int(self.max_mismatches),
            prune_margin=-1 if self.prune_margin is None else int(self.prune_margin),
        )  # fmt: skip
        return self

    def _fitted_tree(self, X: Any, y: Any, sample_weight: Any) -> Any:
        tree = ID3Tree() if self.tree is None else self.tree
        if isinstance(tree, (BranchTree, Forest)):
            return tree
        if not hasattr(tree, "fit"):
            raise ParameterError(
                f"tree got a {type(tree).__name__}; expected a decision tree, fitted or not."
            )
        try:
            check_is_fitted(tree)
        except NotFittedError:
            return clone(tree).fit(X, y, sample_weight=sample_weight)
        return tree

    def _check_parameters(self) -> None:
        if self.combine not in COMBINATIONS[1:]:
            raise ParameterError(
                f"combine got {self.combine!r}; expected one of {', '.join(COMBINATIONS[1:])}."
                f"{suggestion(str(self.combine), COMBINATIONS[1:])}"
            )
        if not 0 <= self.decay <= 1:
            raise ParameterError(f"decay got {self.decay!r}; expected a number from 0 to 1.")
        for name in ("max_mismatches", "prune_margin"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise ParameterError(f"{name} got {value!r}; expected at least 0, or None.")
        if self.decay and self.combine != "weighted":
            raise ParameterError(
                f"decay got {self.decay!r}, but combine={self.combine!r} has none; only 'weighted' has."
            )
        if self.prune_margin is not None and self.combine == "weighted":
            raise ParameterError(f"prune_margin got {self.prune_margin!r}, but combine='weighted' has none.")


# --- the shape of any tree ---------------------------------------------------------------------------------------------------------------
def _shape_of(tree: Any) -> BranchTree:
    """Return a tree of any kind as a `BranchTree`; its counts are filled in later."""
    if isinstance(tree, BranchTree):
        return tree
    if hasattr(tree, "harden"):
        tree = tree.harden()
    if not isinstance(tree, (BranchTree, Forest)):
        from hardgrad.trees.importers import import_forest

        tree = import_forest(tree)
    if isinstance(tree, BranchTree):
        return tree
    if tree.task != "classification":
        raise ParameterError("tree got a regression; expected a tree of classes.")
    if tree.n_trees != 1 or (tree.feature == OBLIQUE).any():
        kind = "oblique nodes" if tree.n_trees == 1 else f"{tree.n_trees} trees"
        raise ParameterError(
            f"tree got a forest with {kind}; expected one axis-aligned tree. Wrap its trees one by one."
        )
    inner = tree.feature >= 0
    order = [0]  # level by level: in a BranchTree parents come first
    for node in order:
        order += [int(tree.left[node]), int(tree.right[node])] if inner[node] else []
    chosen = np.array(order)
    rank = np.empty(len(order), dtype=np.int32)
    rank[chosen] = np.arange(len(order))
    inner = inner[chosen]
    return BranchTree(
        schema=tree.schema,
        offset=np.zeros(tree.n_features + 1, dtype=np.int32),
        edge=np.empty(0),
        exact=np.zeros(tree.n_features, dtype=np.bool_),
        feature=np.where(inner, tree.feature[chosen], -1).astype(np.int32),
        threshold=np.where(inner, tree.threshold[chosen], np.nan),
        default=(inner & ~tree.default_left[chosen]).astype(np.int32),
        child_offset=np.concatenate([[0], np.cumsum(2 * inner)]).astype(np.int32),
        child=rank[np.stack([tree.left, tree.right], axis=1)[chosen[inner]].ravel()],
        branch=np.tile([0, 1], int(inner.sum())).astype(np.int32),
        counts=np.ones((len(order), 2)),
        classes=(0, 1),
    )


def _recounted(tree: BranchTree, X: Array, label: NDArray[np.int64], weight: Array, n_classes: int) -> Array:
    """Return the class counts [nodes, classes] of rows in every node of a tree."""
    counts = np.zeros((len(tree.feature), n_classes))
    np.add.at(counts, (tree.apply(X), label), weight)
    for node in range(len(counts) - 1, 0, -1):
        counts[tree.parent[node]] += counts[node]
    return counts


# --- how far from the hard tree ----------------------------------------------------------------------------------------------------------
@dataclasses.dataclass(frozen=True)
class DecayChoice:
    """What each decay is worth on given rows: the gap between the hard tree (decay 0) and its softened forms.

    Parameters
    ----------
    decay : the best by `metric`.
    metric : "log_loss" or "accuracy".
    decays, log_loss, accuracy : one value each for every decay that was tried.
    """

    decay: float
    metric: str
    decays: tuple[float, ...]
    log_loss: tuple[float, ...]
    accuracy: tuple[float, ...]

    def plot(self, ax: Any = None) -> Any:
        """Draw both figures over the decay on a matplotlib axis and return the axis. Needs matplotlib."""
        if ax is None:
            import matplotlib.pyplot as plt

            ax = plt.figure().add_subplot()
        ax.plot(self.decays, self.log_loss, marker="o", label="log-loss")
        ax.plot(self.decays, self.accuracy, marker="o", label="accuracy")
        ax.axvline(self.decay, linestyle=":")
        ax.set_xlabel("decay")
        ax.legend()
        return ax


def tune_decay(
    model: MultiPathTreePredictor,
    X: Any,
    y: Any,
    *,
    decays: Sequence[float] = DECAYS,
    metric: str = "log_loss",
) -> DecayChoice:
    """Measure a fitted predictor at several decays on rows that its tree has not seen, and name the best.

    Parameters
    ----------
    model : fitted; it is not changed. Set the best with `MultiPathTreePredictor(tree, decay=choice.decay)`.
    X, y : validation rows and their labels.
    decays : to try, from 0 to 1; of equal ones the first wins.
    metric : "log_loss" (probabilities are clipped at 1e-3) or "accuracy".

    Raises
    ------
    ParameterError : another metric, no decay, or one outside 0 to 1.
    DataError : a label that training did not have.

    Examples
    --------
    >>> import pyarrow as pa
    >>> X, y = pa.table({"a": ["x", "y", "z", "x"], "b": ["u", "u", "v", "v"]}), [0, 1, 1, 0]
    >>> tune_decay(MultiPathTreePredictor().fit(X, y), X, y).decay
    0.0
    """
    check_is_fitted(model)
    if metric not in ("log_loss", "accuracy"):
        raise ParameterError(f"metric got {metric!r}; expected 'log_loss' or 'accuracy'.")
    if not decays or not all(0 <= decay <= 1 for decay in decays):
        raise ParameterError(f"decays got {decays!r}; expected numbers from 0 to 1.")
    y = np.asarray(y)
    if not np.isin(y, model.classes_).all():
        raise DataError(f"y holds labels that the model has not learned; it knows {model.classes_.tolist()}.")
    label = np.searchsorted(model.classes_, y)
    encoded = model.tree_.encode(X)
    losses, accuracies = [], []
    for decay in decays:
        P = dataclasses.replace(model.tree_, combine="weighted", decay=float(decay)).predict_raw_encoded(
            encoded
        )
        losses.append(float(-np.log(np.clip(P[np.arange(len(y)), label], 1e-3, None)).mean()))
        accuracies.append(float((P.argmax(axis=1) == label).mean()))
    best = int(np.argmin(losses) if metric == "log_loss" else np.argmax(accuracies))
    return DecayChoice(
        float(decays[best]), metric, tuple(map(float, decays)), tuple(losses), tuple(accuracies)
    )
