"""What becomes of a trained `SoftTree`: exact trees of full or of single-feature tests, the reasons of one answer, pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hardgrad.core.errors import ParameterError
from hardgrad.trees.forest import Forest
from hardgrad.trees.soft_tree import SoftTree

Floats = NDArray[np.float64]
LEAST = 1e-12


@dataclass(frozen=True)
class TreeExplanation:
    """Why the exact tree answers as it does for one row.

    Parameters
    ----------
    nodes : numbers of the inner nodes on the path, root first.
    went_left : bool, one a node.
    filters : weights of each node over the features, [nodes, features], in the units of the features.
    contributions : weight times value, [nodes, features]; a row goes left where they sum to at most the threshold.
    thresholds : [nodes].
    leaf : number of the leaf; shares : its class shares.
    answer : the class.
    """

    nodes: tuple[int, ...]
    went_left: tuple[bool, ...]
    filters: Floats
    contributions: Floats
    thresholds: Floats
    leaf: int
    shares: Floats
    answer: Any


def exact_tree(soft: SoftTree, mean: Floats, scale: Floats) -> dict[str, Any]:
    """Return the tree that the gates become as they harden, for `forest_from_trees`: directions in the units of the features.

    Parameters
    ----------
    mean, scale : [features], by which the rows of the soft tree were standardised.
    """
    weight, offset = (p[0].detach().double().numpy() for p in (soft.weight, soft.offset))
    raw = weight / scale
    threshold = raw @ mean - offset
    shares = soft.leaf_logs().detach().double().exp().numpy()
    inner = len(threshold)

    def tree(node: int) -> dict[str, Any]:
        if node >= inner:
            return {"value": shares[node - inner]}
        terms = [(int(f), float(raw[node, f])) for f in np.flatnonzero(raw[node])] or [(0, 0.0)]
        return {
            "linear": terms,
            "threshold": float(threshold[node]),
            "left": tree(2 * node + 1),
            "right": tree(2 * node + 2),
        }

    return tree(0)


def axis_aligned_tree(soft: SoftTree, standard: Tensor, encoded: Floats) -> dict[str, Any]:
    """Return a tree whose nodes test one feature each: the test that sends most rows the way the direction sends them.

    Parameters
    ----------
    standard, encoded : the same rows [n, features], as the soft tree and as the exact one read them; each counts at a node by the
        probability of reaching it.
    """
    from sklearn.tree import DecisionTreeClassifier

    with torch.no_grad():
        goes_right = (soft.left_probability(standard) < 0.5).T.numpy()
        reach = torch.cat(soft.node_probability(soft.reach(standard)), dim=1).double().numpy()
        shares = soft.leaf_logs().double().exp().numpy()
    inner = goes_right.shape[1]

    def tree(node: int) -> dict[str, Any]:
        if node >= inner:
            return {"value": shares[node - inner]}
        children = [tree(2 * node + 1), tree(2 * node + 2)]
        stump = DecisionTreeClassifier(max_depth=1, random_state=0)
        stump.fit(encoded, goes_right[:, node], sample_weight=reach[:, node] + LEAST)
        if stump.tree_.node_count == 1:  # all rows go one way
            return children[int(stump.classes_[0])]
        says = [bool(stump.classes_[stump.tree_.value[side, 0].argmax()]) for side in (1, 2)]
        left, right = children[::-1] if says == [True, False] else children
        return {
            "feature": int(stump.tree_.feature[0]),
            "threshold": float(stump.tree_.threshold[0]),
            "left": left,
            "right": right,
        }

    return tree(0)


def explain_row(forest: Forest, x: Floats) -> TreeExplanation:
    """Return the path of an encoded row [features] through a single tree of linear nodes."""
    node, nodes, sides, filters = 0, [], [], []
    for following in forest.decision_path(dict(zip(forest.schema.names, x[:, None], strict=True)))[0][1:]:
        own = np.zeros(forest.n_features)
        at = slice(forest.term_offset[node], forest.term_offset[node + 1])
        own[forest.term_feature[at]] = forest.linear_weight[at]
        nodes.append(node)
        sides.append(following == forest.left[node])
        filters.append(own)
        node = following
    weights = np.array(filters).reshape(len(nodes), -1)
    shares = forest.value[node].copy()
    return TreeExplanation(
        tuple(nodes),
        tuple(sides),
        weights,
        weights * x,
        forest.threshold[nodes].copy(),
        node,
        shares,
        forest.class_array[shares.argmax()],
    )


def plot_filters(soft: SoftTree, image_shape: tuple[int, int] | None, levels: int) -> Any:
    """Draw the directions of the first levels on a matplotlib figure (see `DistilledTreeClassifier.plot_tree`)."""
    weight = soft.weight[0].detach().double().numpy()
    if image_shape is not None and image_shape[0] * image_shape[1] != weight.shape[1]:
        raise ParameterError(
            f"plot_tree() got image_shape={image_shape}; the tree has {weight.shape[1]} features."
        )
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        levels, 2 ** (levels - 1), figsize=(1.2 * 2 ** (levels - 1), 1.4 * levels), squeeze=False
    )
    for axis in axes.flat:
        axis.set_axis_off()
    for level in range(levels):
        step = 2 ** (levels - 1 - level)
        for k in range(2**level):
            axis, own = axes[level, k * step + (step - 1) // 2], weight[2**level - 1 + k]
            if image_shape is None:
                axis.bar(range(len(own)), own)
            else:
                reach = max(float(np.abs(own).max()), LEAST)
                axis.imshow(own.reshape(image_shape), cmap="RdBu", vmin=-reach, vmax=reach)
            axis.set_title(str(2**level - 1 + k), fontsize=7)
    return figure
