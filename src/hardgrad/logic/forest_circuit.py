"""A forest as a circuit: thresholds are inputs, the leaf that a row reaches in each tree is an output. Never imports torch.

Exact where the numbers of the leaves lie on a grid, as those of a forest with a byte budget, of votes and of whole numbers do: then every
sum that the forest makes is a whole multiple of one step, and counting makes the same.
"""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from hardgrad.core.errors import ExportError
from hardgrad.logic.circuit_build import TRUE, NetworkBuilder
from hardgrad.logic.circuit_model import CircuitModel
from hardgrad.tabular.schema import Feature, TableSchema

if TYPE_CHECKING:
    from hardgrad.trees.forest import Forest

MOST_EXACT = 1 << 53
"""Steps that a double counts without rounding."""
LARGEST_WEIGHT = 1 << 20
"""Steps of a leaf; a forest whose leaves need more has no grid to speak of."""


def circuit_of_forest(forest: Forest) -> CircuitModel:
    """Return the circuit model that gives the raw scores of a forest, bit for bit.

    Parameters
    ----------
    forest : a forest of tests of single features with constant leaves.

    Raises
    ------
    ExportError : oblique or linear nodes, affine leaves; leaves that lie on no grid (train with a byte budget, `budget="4 KiB"`, or
        `hardgrad.trees.compress` it).

    Examples
    --------
    >>> from hardgrad.trees.forest_build import forest_from_trees
    >>> tree = {"feature": 0, "threshold": 1.5, "left": {"value": 0.25}, "right": {"value": 2.0}}
    >>> model = circuit_of_forest(forest_from_trees([tree], ["age"]))
    >>> model.predict(np.array([[1.5], [1.6]])).tolist()
    [0.25, 2.0]
    """
    if not forest.is_axis or not forest.is_plain:
        raise ExportError(
            "a forest with oblique or linear nodes or affine leaves has no circuit. Train with split='axis'."
        )
    leaf = forest.feature < 0
    step = _grid(forest, leaf)
    schema, bits = _bits(forest, leaf)
    place = {bit: i for i, bit in enumerate(bits)}
    net = NetworkBuilder(len(bits))
    outputs: list[int] = []
    group: list[int] = []
    weight: list[int] = []
    offset = [Fraction(float(value)) for value in forest.base]
    for t in range(forest.n_trees):
        nodes = np.arange(forest.tree_offset[t], forest.tree_offset[t + 1])
        reached = _reached(forest, net, place, schema, int(nodes[0]))
        for k in range(forest.n_outputs):
            values = {node: Fraction(float(forest.value[node, k])) for node in reached}
            low = min(values.values())
            offset[k] += low
            for node, signal in reached.items():
                if values[node] > low:
                    outputs.append(signal)
                    group.append(k)
                    weight.append(int((values[node] - low) / step))
    share = Fraction(1, forest.n_trees) if forest.aggregation == "mean" and forest.n_trees else Fraction(1)
    features, thresholds = zip(*bits, strict=True) if bits else ((), ())
    return CircuitModel.of(
        net.circuit(outputs), schema=schema, link=forest.link, task=forest.task, classes=forest.classes, target=forest.target,
        bit_feature=np.array(features, np.int32), bit_threshold=np.array(thresholds, np.float64),
        group=np.array(group, np.int32), weight=np.array(weight, np.int32), offset=np.array([float(v * share) for v in offset]),
        scale=np.full(forest.n_outputs, float(step * share)),
    )  # fmt: skip


def _grid(forest: Forest, leaf: np.ndarray) -> Fraction:
    """The step that all leaves are multiples of, where every sum of them and of the base is exact."""
    count = forest.n_trees
    if forest.aggregation == "mean" and count & (count - 1):
        raise ExportError(
            f"the mean of {count} trees is rounded; a circuit counts. Use a power of two, or a sum."
        )
    leaves, bases = (_fractions(values) for values in (forest.value[leaf], forest.base))
    step = _common_step(leaves)
    largest = max(map(abs, leaves), default=Fraction(0))
    total = max(map(abs, bases), default=Fraction(0)) + count * largest
    if largest / step > LARGEST_WEIGHT or total / _common_step([*leaves, *bases]) >= MOST_EXACT:
        raise ExportError(
            f"the leaves of the forest lie on no grid: the largest is {int(largest / step):,} times the step that they share; at most "
            f"{LARGEST_WEIGHT:,}. Train with a byte budget, or compress the forest."
        )
    return step


def _fractions(values: np.ndarray) -> list[Fraction]:
    return [Fraction(value) for value in np.unique(values).tolist() if value]


def _common_step(numbers: list[Fraction]) -> Fraction:
    """The largest number that all are whole multiples of."""
    scale = max((number.denominator for number in numbers), default=1)  # all are powers of two
    return Fraction(math.gcd(*(int(number * scale) for number in numbers)) or 1, scale)


def _bits(forest: Forest, leaf: np.ndarray) -> tuple[TableSchema, list[tuple[int, float]]]:
    """The schema, with a feature that says "missing" for every column that is tested, and the bits (feature, threshold)."""
    schema = forest.schema
    inner = np.flatnonzero(~leaf)
    tested = sorted(set(zip(forest.feature[inner].tolist(), forest.threshold[inner].tolist(), strict=True)))
    features = list(schema.features)
    known = {feature.column for feature in features if feature.transform == "missing"}
    for f in sorted({f for f, _ in tested}):
        feature = schema.features[f]
        if feature.transform != "missing" and feature.column not in known:
            known.add(feature.column)
            features.append(
                Feature(f"{schema.columns[feature.column].name} is missing", feature.column, "missing")
            )
    schema = replace(schema, features=tuple(features))
    right = {
        (int(forest.feature[n]), _missing_bit(schema, int(forest.feature[n])))
        for n in inner
        if not forest.default_left[n]
    }
    asked = sorted({(missing, 0.5) for f, missing in right if missing is not None})
    return schema, tested + [bit for bit in asked if bit not in tested]


def _missing_bit(schema: TableSchema, f: int) -> int | None:
    """The feature that says whether feature f is missing; None for one that never is."""
    feature = schema.features[f]
    if feature.transform == "missing":
        return None
    return next(
        i
        for i, other in enumerate(schema.features)
        if other.transform == "missing" and other.column == feature.column
    )


def _reached(
    forest: Forest, net: NetworkBuilder, place: dict[tuple[int, float], int], schema: TableSchema, root: int
) -> dict[int, int]:
    """For each leaf of a tree, the signal that says whether a row reaches it."""
    found: dict[int, int] = {}
    waiting = [(root, TRUE)]
    while waiting:
        node, signal = waiting.pop()
        f = int(forest.feature[node])
        if f < 0:
            found[node] = signal
            continue
        right = net.input(place[f, float(forest.threshold[node])])
        missing = None if forest.default_left[node] else _missing_bit(schema, f)
        if missing is not None:
            right = net.either(right, net.input(place[missing, 0.5]))
        waiting += [
            (int(forest.left[node]), net.both(signal, net.complement(right))),
            (int(forest.right[node]), net.both(signal, right)),
        ]
    return found
