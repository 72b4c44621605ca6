"""A piecewise linear network as a decision tree that is equal to it, and piecewise linear stand-ins of smooth activations.

C. Aytekin, "Neural Networks are Decision Trees", 2022. Every hidden unit asks on which of its pieces it is; what no input answers is left
out, and siblings that are the same affine function are one leaf.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import nn

from hardgrad.core.errors import HardgradWarning, InputError, ParameterError, UnsupportedError
from hardgrad.tabular.schema import TableSchema
from hardgrad.trees.activation_regions import Feasibility, InputBox, box_of, domain_of, explore
from hardgrad.trees.forest import Forest
from hardgrad.trees.forest_build import ForestBuilder
from hardgrad.trees.network_bends import PiecewiseActivation
from hardgrad.trees.network_program import NetworkProgram
from hardgrad.trees.polyhedron import Domain, Points, Polyhedron
from hardgrad.trees.region_trees import Leaf, Node, Region, merged, on_a_line

Floats = NDArray[np.float64]
CHECKED = 200
"""Points at which a conversion is held against the network before it is returned."""


@dataclass(frozen=True)
class NetworkConversion:
    """A tree made of a network, and how it was made.

    Parameters
    ----------
    forest : the tree; a regression forest with affine leaves, or a classification forest with constant ones.
    unpruned : leaves of the tree that asks every unit everywhere, as a float (it may be huge).
    regions : leaves before equal ones were merged; `forest.n_leaves` is what is left.
    lossless : whether the tree is the network on the whole box. False where branches were dropped that no row of data takes.
    activation_error : the largest error bound of the piecewise linear activations of the network, 0 where none is a stand-in.
    linear_programs : how many were solved.
    """

    forest: Forest
    unpruned: float
    regions: int
    lossless: bool
    activation_error: float
    linear_programs: int

    @property
    def exact(self) -> bool:
        """Whether the tree is lossless and no activation is a stand-in."""
        return self.lossless and self.activation_error == 0


def network_to_tree(
    module: nn.Module,
    input_box: InputBox | None = None,
    *,
    feasibility: Feasibility = "lp",
    prune: Literal["lossless", "data"] = "lossless",
    data: ArrayLike | None = None,
    task: Literal["regression", "classify"] = "regression",
    max_leaves: int = 10_000,
    input_shape: Sequence[int] | None = None,
    feature_names: Sequence[str] | None = None,
) -> Forest:
    """Return a decision tree that computes what a piecewise linear network computes, with its affine functions in the leaves.

    Every runtime and export of a `Forest` then runs the network. For small networks: the number of leaves may grow exponentially with
    the hidden units, and `active_region` explains one input of a network of any size.

    Parameters
    ----------
    module : linear and convolution layers, batch norm, pooling, skip connections, and activations such as ReLU, in evaluation mode, from
        one tensor [batch, ..] to one [batch, outputs]. It is taken in float64 and is not changed.
    input_box : `(low, high)`, arrays of the shape of an input: where the tree shall equal the network. Everywhere by default.
    feasibility : how branches that no input takes are found: "lp" (all of them, by linear programs), "interval" (some, by bounds over the
        box), "none" (none).
    prune : "data" keeps only the branches that a row of `data` takes: the tree then equals the network on those rows, not elsewhere.
    data : rows [n, inputs], for `prune="data"`.
    task : "regression" gives affine leaves; "classify" splits them further by the largest output, so that leaves are class numbers (of a
        single output: 1 where it is positive).
    max_leaves : more regions than this raise an error.
    input_shape : shape of one input; found from the box or the first linear layer by default.
    feature_names : names of the columns, in the order of the flattened input; x0, x1, .. by default.

    Returns
    -------
    forest : one tree. On the border of a region the side with the unit's input <= 0 answers.

    Raises
    ------
    TooManyRegionsError : more than `max_leaves`; its `count` says how many were found.
    UnsupportedError : a layer that is not piecewise linear, or dropout or batch norm in training mode; the message names it.

    Warns
    -----
    HardgradWarning : the tree is not the network exactly, because of `prune="data"` or `approximate_activation`.

    Examples
    --------
    >>> net = nn.Sequential(nn.Linear(1, 1), nn.ReLU())
    >>> _ = nn.init.constant_(net[0].weight, 2.0), nn.init.constant_(net[0].bias, -1.0)
    >>> print(network_to_tree(net, feature_names=["age"]).to_text().split("tree 0")[1].strip())
    age <= 0.5
    ├─ yes: 0
    └─ no:  -1 + 2 * age
    """
    found = convert_network(
        module, input_box, feasibility=feasibility, prune=prune, data=data, task=task, max_leaves=max_leaves,
        input_shape=input_shape, feature_names=feature_names,
    )  # fmt: skip
    if not found.exact:
        why = (
            f"activations are replaced within {found.activation_error:.3g}" if found.activation_error else ""
        )
        lost = "branches that no row of data takes were dropped" if not found.lossless else ""
        warnings.warn(
            f"the tree is not the network exactly: {' and '.join(filter(None, (lost, why)))}.",
            HardgradWarning,
            stacklevel=2,
        )
    return found.forest


def convert_network(
    module: nn.Module,
    input_box: InputBox | None = None,
    *,
    feasibility: Feasibility = "lp",
    prune: Literal["lossless", "data"] = "lossless",
    data: ArrayLike | None = None,
    task: Literal["regression", "classify"] = "regression",
    max_leaves: int = 10_000,
    input_shape: Sequence[int] | None = None,
    feature_names: Sequence[str] | None = None,
) -> NetworkConversion:
    """Return what `network_to_tree` returns, with the figures of the conversion; parameters and errors are the same, it never warns."""
    if task not in ("regression", "classify"):
        raise ParameterError(f'task must be "regression" or "classify", got {task!r}.')
    box = box_of(input_box)
    shape = input_shape if input_shape is not None or box is None else box[0].shape
    program = NetworkProgram(module, shape, arg_max=task == "classify")
    domain = domain_of(program, box, feasibility)
    if (prune == "data") != (data is not None) or prune not in ("lossless", "data"):
        raise ParameterError(
            f'got prune={prune!r} {"with" if data is not None else "without"} data; expected prune="data", data=rows.'
        )
    if data is not None:
        domain = Points(_rows(data, program))
    steps = list(explore(program, domain, max_leaves))
    root = merged(steps)
    if program.n_inputs == 1:
        root = on_a_line(root)
    regions = [step for step in steps if isinstance(step, Region)]
    names = (
        [f"x{i}" for i in range(program.n_inputs)]
        if feature_names is None
        else [str(name) for name in feature_names]
    )
    if len(names) != program.n_inputs:
        raise ParameterError(f"got {len(names)} feature names for {program.n_inputs} inputs.")
    forest = _forest(root, TableSchema.numeric(names), program)
    _check(forest, program, _points(program, regions, box, domain))
    stand_ins = [m.error_bound for m in program.module.modules() if isinstance(m, PiecewiseActivation)]
    return NetworkConversion(
        forest=forest,
        unpruned=program.unpruned(),
        regions=len(regions),
        lossless=data is None,
        activation_error=max(stand_ins, default=0.0),
        linear_programs=domain.programs[0] if isinstance(domain, Polyhedron) else 0,
    )


def _rows(data: ArrayLike, program: NetworkProgram) -> Floats:
    X = np.asarray(data, dtype=np.float64)
    X = X.reshape(len(X), -1) if X.ndim else X
    if X.ndim != 2 or X.shape[1] != program.n_inputs or not len(X) or not np.isfinite(X).all():
        raise InputError(
            f"got data of shape {np.shape(data)}; expected finite rows [n, {program.n_inputs}], at least one."
        )
    return X


def _forest(root: Node, schema: TableSchema, program: NetworkProgram) -> Forest:
    n_classes = program.n_classes
    first: Node = root
    while not isinstance(first, Leaf):
        first = first.left
    builder = ForestBuilder(schema, n_classes or first.rows.shape[1])
    builder.start_tree()
    stack: list[Node] = [root]
    while stack:
        node = stack.pop()
        if isinstance(node, Leaf):
            if n_classes:
                builder.add_leaf(np.eye(n_classes)[round(float(node.rows[-1, 0]))])
            else:
                builder.add_leaf(node.rows[-1], node.rows[:-1].T)
            continue
        features = np.flatnonzero(node.row[:-1])
        scale = (
            abs(node.row[features[0]]) if len(features) == 1 else 1.0
        )  # a single feature is compared as it is
        terms = [(int(f), float(node.row[f] / scale)) for f in features]
        builder.add_linear(terms, float(-node.row[-1] / scale))
        stack += [node.right, node.left]
    if n_classes:
        return builder.finish(task="classification", link="identity", classes=tuple(range(n_classes)))
    return builder.finish()


def _points(
    program: NetworkProgram, regions: list[Region], box: tuple[Floats, Floats] | None, domain: Domain
) -> Floats:
    """Up to `CHECKED` points where the tree shall be the network: rows of the data, insides of regions, or any in the box."""
    inside = [region.witness for region in regions if region.witness is not None]
    rng = np.random.default_rng(0)
    if isinstance(domain, Points):
        X = domain.X
    elif inside:
        X = np.array(inside)
    elif box is None:
        X = rng.normal(size=(CHECKED, program.n_inputs))
    else:
        X = rng.uniform(box[0].reshape(-1), box[1].reshape(-1), (CHECKED, program.n_inputs))
    return np.asarray(X[np.linspace(0, len(X) - 1, min(len(X), CHECKED)).astype(int)])


def _check(forest: Forest, program: NetworkProgram, X: Floats) -> None:
    """Hold the tree against the network, row by row: a layer that mixes the rows of a batch would not have been seen before."""
    said = np.concatenate([program(x[None]) for x in X])
    raw = forest.sum_leaves(forest.apply_encoded(X), X)
    if program.n_classes:
        said = np.concatenate([np.zeros_like(said), said], axis=1) if said.shape[1] == 1 else said
        wrong = said.max(axis=1) - said[np.arange(len(X)), np.argmax(raw, axis=1)]
    else:
        wrong = np.abs(raw - said).max(axis=1, initial=0.0)
    if not (wrong <= 1e-6 * (1.0 + np.abs(said).max())).all():
        raise UnsupportedError(
            f"the network differs from the tree made of its layers by {np.nanmax(wrong):.3g}: it does something to a batch that it does "
            "not do to each row, or a layer works otherwise in float64."
        )


# --- smooth activations ---------------------------------------------------------------------------------------------------------
def approximate_activation(
    fn: Callable[[Floats], Floats], n_pieces: int, box: tuple[float, float], *, curvature: float | None = None
) -> PiecewiseActivation:
    """Return a piecewise linear stand-in of a smooth activation, by secants, with a certified bound of its error.

    Parameters
    ----------
    fn : a function of a float64 array, elementwise, twice differentiable, such as `np.tanh`.
    n_pieces : secants of equal width, at least 1; beyond the box the outer ones go on.
    box : `(low, high)`, where the stand-in is to be good.
    curvature : a bound of |fn''| on the box, which certifies the error. Known for `np.tanh`; needed for other functions.

    Returns
    -------
    activation : an `nn.Module` to put in the place of the smooth one; `error_bound` holds between `low` and `high`: a secant over a width
        w is within `curvature * w^2 / 8` of its function, and the bound adds the rounding.

    Raises
    ------
    ParameterError : no pieces, an empty box, or a function whose curvature is not known.

    Examples
    --------
    >>> tanh = approximate_activation(np.tanh, 16, (-4.0, 4.0))
    >>> tanh.error_bound < 0.03
    True
    """
    low, high = (float(end) for end in box)
    if n_pieces < 1 or not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ParameterError(
            f"got {n_pieces} pieces on {box!r}; expected at least 1 piece and finite low < high."
        )
    bound = _CURVATURE.get(fn) if curvature is None else float(curvature)
    if bound is None or not (math.isfinite(bound) and bound >= 0):
        raise ParameterError(
            f"the curvature of {getattr(fn, '__name__', fn)!r} is not known; pass curvature=, a bound of |fn''| between {low:g} "
            f"and {high:g}."
        )
    ends = np.linspace(low, high, n_pieces + 1)
    values = np.asarray(fn(ends), dtype=np.float64)
    if values.shape != ends.shape or not np.isfinite(values).all():
        raise ParameterError("fn must return one finite number for every number of an array in the box.")
    slopes = np.diff(values) / np.diff(ends)
    intercepts = values[:-1] - slopes * ends[:-1]
    rounding = (
        8
        * np.finfo(np.float64).eps
        * float(np.abs(values).max() + np.abs(slopes).max() * max(abs(low), abs(high)))
    )
    error = bound * float(np.diff(ends).max()) ** 2 / 8 + rounding
    return PiecewiseActivation(ends[1:-1], slopes, intercepts, error, low, high)


_CURVATURE: dict[Callable[[Floats], Floats], float] = {np.tanh: 4 / (3 * math.sqrt(3))}
"""The greatest |fn''| anywhere."""
