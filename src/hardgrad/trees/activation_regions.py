"""The linear regions of a piecewise linear network: the one of a point, all of them in a box, and their picture.

How a network is walked is `network_program`, what is left of a region after a decision `polyhedron`; regions as the leaves of a tree are
`network_tree`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import nn

from hardgrad.core.errors import InputError, ParameterError, TooManyRegionsError, UnsupportedError
from hardgrad.train.progress import emit
from hardgrad.trees.forest import LEAF, LINEAR, Forest
from hardgrad.trees.network_program import NetworkProgram
from hardgrad.trees.polyhedron import Box, Domain, Everything, Polyhedron
from hardgrad.trees.region_trees import Region, Split

Floats = NDArray[np.float64]
Feasibility = Literal["lp", "interval", "none"]
InputBox = tuple[ArrayLike, ArrayLike]
NO_SLOPE = 1e-100
"""Smaller coefficients count as none: their squares would be zero."""


@dataclass(frozen=True)
class ActiveRegion:
    """The region of a point: where the network is one affine function.

    Parameters
    ----------
    slope, value : float64 [outputs, inputs] and [outputs]; the network is `slope x + value` here.
    normal, bound : float64 [rows, inputs] and [rows]; the region is where `normal x <= bound`.
    """

    slope: Floats
    value: Floats
    normal: Floats
    bound: Floats

    def __call__(self, x: ArrayLike) -> Floats:
        """Return the affine function at a point of any shape with as many numbers: [outputs]."""
        return np.asarray(self.slope @ np.asarray(x, dtype=np.float64).reshape(-1) + self.value)

    def contains(self, x: ArrayLike, tolerance: float = 0.0) -> bool:
        """Tell whether a point lies in the region, its border included."""
        return bool(
            np.all(self.normal @ np.asarray(x, dtype=np.float64).reshape(-1) <= self.bound + tolerance)
        )


def active_region(module: nn.Module, x: ArrayLike) -> ActiveRegion:
    """Return the linear region of a network in which a point lies. One path only: it takes networks of any size.

    Parameters
    ----------
    module : a piecewise linear network in evaluation mode (see `network_to_tree`).
    x : one input, of the shape that the network takes without the batch; numbers are finite.

    Returns
    -------
    region : its affine function and its borders. On a border, the region on the side where the unit's input is <= 0.

    Raises
    ------
    UnsupportedError : a layer that is not piecewise linear; the message names it.
    InputError : the point is not finite.

    Examples
    --------
    >>> import torch
    >>> net = nn.Sequential(nn.Linear(1, 1), nn.ReLU())
    >>> _ = nn.init.constant_(net[0].weight, 2.0), nn.init.constant_(net[0].bias, -1.0)
    >>> region = active_region(net, [3.0])
    >>> region.slope.tolist(), region.value.tolist(), region.contains([0.4])
    ([[2.0]], [-1.0], False)
    """
    point = np.asarray(x, dtype=np.float64)
    if not np.isfinite(point).all():
        raise InputError("got a point with NaN or infinity; expected finite numbers.")
    rows, held = NetworkProgram(module, point.shape).at(point.reshape(-1))
    return ActiveRegion(rows[:-1].T.copy(), rows[-1].copy(), held[:-1].T.copy(), -held[-1])


def count_regions(
    module: nn.Module,
    input_box: InputBox | None = None,
    *,
    input_shape: Sequence[int] | None = None,
    feasibility: Feasibility = "lp",
    max_regions: int = 10_000,
) -> int:
    """Return the number of activation regions of a network: the sets of decisions that some input in the box makes.

    Parameters
    ----------
    module, input_box, input_shape, feasibility : see `network_to_tree`; with "interval" or "none" the count is an upper bound.
    max_regions : more than so many raise `TooManyRegionsError`, whose `count` says how many there are at least.

    Examples
    --------
    >>> net = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1))
    >>> _ = net[0].weight.data.fill_(1.0), net[0].bias.data.copy_(net[0].bias.data.new_tensor([0.0, 1.0]))
    >>> count_regions(net, ([-5.0], [5.0])), count_regions(net, ([-0.5], [5.0]))
    (3, 2)
    """
    box = box_of(input_box)
    program = NetworkProgram(module, input_shape if box is None or input_shape is not None else box[0].shape)
    return sum(
        not isinstance(step, Split)
        for step in explore(program, domain_of(program, box, feasibility), max_regions)
    )


# --- all regions ----------------------------------------------------------------------------------------------------------------
def explore(program: NetworkProgram, domain: Domain, max_regions: int) -> Iterator[Split | Region]:
    """Yield the splits and regions of a network as a tree in preorder.

    Raises
    ------
    TooManyRegionsError : there are more than `max_regions`.
    """
    if max_regions < 1:
        raise ParameterError(f"got a limit of {max_regions} regions; expected at least 1.")
    stack, found = [(program.start(), domain)], 0
    while stack:
        walk, here = stack.pop()
        row, walk = program.next_question(walk)
        if row is None:
            found += 1
            if found > max_regions:
                raise TooManyRegionsError(
                    f"the network has more than {max_regions:,} linear regions ({found:,} found so far). Raise max_leaves or "
                    "max_regions, shrink input_box, or use active_region(), which needs one region only.",
                    found,
                )
            if found % 100 == 0:
                emit("regions", min(found / max_regions, 1.0), message=f"{found:,} regions")
            yield Region(program.outputs(walk), getattr(here, "witness", None))
            continue
        if np.abs(row[:-1]).max() < NO_SLOPE:  # nothing to ask: the unit does not depend on the input here
            stack.append((walk.answered(bool(row[-1] <= 0)), here))
            continue
        left, right = here.split(row)
        if left is not None and right is not None:
            yield Split(row)
        if right is not None:
            stack.append((walk.answered(False), right))
        if left is not None:
            stack.append((walk.answered(True), left))


def box_of(input_box: InputBox | None) -> tuple[Floats, Floats] | None:
    """Return the ends of a box as arrays of one shape. Raises `InputError` where they are no box."""
    if input_box is None:
        return None
    try:
        low, high = (np.asarray(end, dtype=np.float64) for end in input_box)
        low, high = (np.array(end) for end in np.broadcast_arrays(low, high))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"input_box must be (low, high), two arrays of the shape of an input: {error}."
        ) from error
    if low.ndim == 0:
        raise InputError(
            "input_box has numbers for its ends; expected arrays of the shape of an input, as in ([0, 0], [1, 1])."
        )
    if not (np.isfinite(low).all() and np.isfinite(high).all() and (low < high).all()):
        raise InputError(
            "input_box must have finite ends with low < high everywhere; leave it out for the whole space."
        )
    return low, high


def domain_of(program: NetworkProgram, ends: tuple[Floats, Floats] | None, feasibility: str) -> Domain:
    """Return where the exploration starts."""
    if feasibility not in ("lp", "interval", "none"):
        raise ParameterError(f'feasibility must be "lp", "interval" or "none", got {feasibility!r}.')
    if ends is not None and ends[0].size != program.n_inputs:
        raise InputError(f"input_box has {ends[0].size} inputs, the network {program.n_inputs}.")
    box = None if ends is None else Box(ends[0].reshape(-1), ends[1].reshape(-1))
    if feasibility == "lp":
        return Polyhedron.of(program.n_inputs, box)
    return Everything() if box is None or feasibility == "none" else box


# --- a picture ------------------------------------------------------------------------------------------------------------------
def region_polygons(forest: Forest, box: InputBox) -> dict[int, Floats]:
    """Return the polygon of every leaf of a one-tree forest over two features within a box: leaf -> corners [k, 2]."""
    if forest.n_features != 2 or forest.n_trees != 1:
        raise UnsupportedError(
            f"regions can be drawn of one tree over two features; this forest has {forest.n_trees} trees over {forest.n_features}."
        )
    ends = box_of(box)
    if ends is None or ends[0].shape != (2,):
        raise InputError("expected the box as ([low, low], [high, high]).")
    (x0, y0), (x1, y1) = ends[0].tolist(), ends[1].tolist()
    found: dict[int, Floats] = {}
    stack = [(0, np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]))]
    while stack:
        node, corners = stack.pop()
        if len(corners) < 3:
            continue
        if forest.feature[node] == LEAF:
            found[node] = corners
            continue
        row = _node_row(forest, node)
        stack.append((int(forest.right[node]), _clip(corners, -row)))
        stack.append((int(forest.left[node]), _clip(corners, row)))
    return found


def _node_row(forest: Forest, node: int) -> Floats:
    row = np.array([0.0, 0.0, -float(forest.threshold[node])])
    feature = int(forest.feature[node])
    if feature >= 0:
        row[feature] = 1.0
    elif feature == LINEAR:
        span = slice(forest.term_offset[node], forest.term_offset[node + 1])
        np.add.at(row, forest.term_feature[span], forest.linear_weight[span])
    else:
        raise UnsupportedError(
            "regions can be drawn of axis and linear nodes; this forest has sums of integer scores. Use to_svg()."
        )
    return row


def _clip(corners: Floats, row: Floats) -> Floats:
    """The part of a convex polygon where `row . (x, 1) <= 0`."""
    height = corners @ row[:-1] + row[-1]
    kept = []
    for k in range(len(corners)):
        here, before = height[k], height[k - 1]
        if (here <= 0) != (before <= 0):
            share = before / (before - here)
            kept.append(corners[k - 1] + share * (corners[k] - corners[k - 1]))
        if here <= 0:
            kept.append(corners[k])
    return np.array(kept).reshape(-1, 2)


def plot_regions(forest: Forest, box: InputBox, *, output: int = 0, ax: Any = None) -> Any:
    """Draw the regions of a tree over two features, coloured by an output, and return the matplotlib axes.

    Parameters
    ----------
    forest : a forest of one tree over two features, as `network_to_tree` returns it.
    box : `([low, low], [high, high])`, what to draw.
    output : the output that colours a region by its value at the centre of the region.
    ax : where to draw; new axes by default.
    """
    import matplotlib.pyplot as plt
    from matplotlib.collections import PolyCollection

    polygons = region_polygons(forest, box)
    centres = np.array([corners.mean(axis=0) for corners in polygons.values()])
    axes = plt.figure().add_subplot() if ax is None else ax
    drawn = PolyCollection([*polygons.values()], edgecolors="black", linewidths=0.5)
    values = forest.sum_leaves(np.array([*polygons], dtype=np.int32)[:, None], centres)
    drawn.set_array(values[:, output])
    axes.add_collection(drawn)
    names = [feature.name for feature in forest.schema.features]
    (low, high) = box
    axes.set(xlabel=names[0], ylabel=names[1], xlim=(np.asarray(low)[0], np.asarray(high)[0]))
    axes.set(ylim=(np.asarray(low)[1], np.asarray(high)[1]), title=f"{len(polygons)} linear regions")
    axes.figure.colorbar(drawn, ax=axes, label=f"output {output}")
    return axes
