"""Trees of linear regions: siblings that are the same tree, or leaf, become one; on a line, all equal neighbours do. Never imports torch.

Trees are as deep as a network has hidden units, so that nothing here is recursive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
SAME = 1e-12
"""Two affine functions are one where their numbers differ by this share of the largest: rounding gives no more, and it changes no more."""


@dataclass(frozen=True)
class Split:
    """A question with something on either side: row [F + 1], left where `row . (x, 1) <= 0`."""

    row: Floats


@dataclass(frozen=True)
class Region:
    """The affine function of a region, rows [F + 1, outputs], and a point inside where one is known."""

    rows: Floats
    witness: Floats | None


@dataclass(frozen=True)
class Leaf:
    """An affine function, rows [F + 1, outputs], the constants last."""

    rows: Floats


@dataclass(frozen=True)
class Inner:
    """A question: left where `row . (x, 1) <= 0`."""

    row: Floats
    left: Leaf | Inner
    right: Leaf | Inner


Node = Leaf | Inner


def same(a: Node, b: Node) -> bool:
    """Tell whether two trees ask the same questions and have the same affine functions in their leaves."""
    pairs = [(a, b)]
    while pairs:
        x, y = pairs.pop()
        if isinstance(x, Leaf) and isinstance(y, Leaf):
            if not _close(x.rows, y.rows):
                return False
        elif isinstance(x, Inner) and isinstance(y, Inner) and _close(x.row, y.row):
            pairs += [(x.left, y.left), (x.right, y.right)]
        else:
            return False
    return True


def _close(a: Floats, b: Floats) -> bool:
    scale = max(float(np.abs(a).max(initial=0.0)), float(np.abs(b).max(initial=0.0)))
    return float(np.abs(a - b).max(initial=0.0)) <= SAME * scale


def merged(steps: Sequence[Split | Region]) -> Node:
    """Return the tree of splits and regions in preorder, with equal siblings merged, from the leaves up."""
    ready: list[Node] = []
    for step in reversed(steps):  # both subtrees of a split are ready before it: the left one last
        if isinstance(step, Region):
            ready.append(Leaf(step.rows))
            continue
        left, right = ready.pop(), ready.pop()
        ready.append(left if same(left, right) else Inner(step.row, left, right))
    return ready[0]


def on_a_line(root: Node) -> Node:
    """Return the tree of a function of one input with neighbours merged, siblings or not, and as shallow as can be."""
    cuts, leaves = _intervals(root)
    kept_cuts: list[float] = []
    kept = leaves[:1]
    for cut, leaf in zip(cuts, leaves[1:], strict=True):
        if not same(kept[-1], leaf):
            kept_cuts.append(cut)
            kept.append(leaf)
    level: list[Node] = [*kept]

    def build(first: int, last: int) -> Node:  # as deep as the logarithm of the number of leaves
        if first == last:
            return level[first]
        middle = (first + last) // 2
        return Inner(np.array([1.0, -kept_cuts[middle]]), build(first, middle), build(middle + 1, last))

    return build(0, len(level) - 1)


def _intervals(root: Node) -> tuple[list[float], list[Leaf]]:
    """The leaves from left to right and the cuts between them; intervals that no number is in are left out."""
    found: list[tuple[float, float, Leaf]] = []
    stack: list[tuple[Node, float, float]] = [(root, -np.inf, np.inf)]
    while stack:
        node, low, high = stack.pop()
        if not low < high:
            continue
        if isinstance(node, Leaf):
            found.append((low, high, node))
            continue
        cut = min(max(float(-node.row[1] / node.row[0]), low), high)
        below, above = (node.left, node.right) if node.row[0] > 0 else (node.right, node.left)
        stack += [(below, low, cut), (above, cut, high)]
    found.sort(key=lambda item: item[0])
    return [low for low, _, _ in found[1:]], [leaf for _, _, leaf in found]
