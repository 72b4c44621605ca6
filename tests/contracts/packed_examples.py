"""Packed networks for the artifact contract and for their own tests: random bits, thresholds that are met, both directions."""

from __future__ import annotations

import itertools
from dataclasses import fields
from typing import Any

import numpy as np

from hardgrad.bits.packed import PackedNetwork
from hardgrad.bits.packed_classifier import PackedClassifier
from hardgrad.bits.packed_conv import Convolution, PackedConvNetwork
from hardgrad.core.bit_words import pack_bits
from hardgrad.tabular.schema import Column, Feature, TableSchema


def random_network(
    seed: int, widths: tuple[int, ...], activations: tuple[str, ...], binary_input: bool = False
) -> PackedNetwork:
    """A network with random bits, thresholds near 0 and both directions."""
    arrays = _random_arrays(seed, widths[:-1], widths[1:], activations, binary_input)
    return PackedNetwork(**arrays, widths=widths, activations=activations, binary_input=binary_input)  # type: ignore[arg-type]


def random_conv_network(
    seed: int,
    widths: tuple[int, ...],
    activations: tuple[str, ...],
    convolutions: list[Convolution],
    places: int,
    binary_input: bool = False,
) -> PackedConvNetwork:
    """The same with convolutions in front."""
    areas = [found.area for found in convolutions] + [places]
    areas += [1] * (len(activations) - len(areas))
    fan_ins = tuple(width * area for width, area in zip(widths[:-1], areas, strict=True))
    arrays = _random_arrays(seed, fan_ins, widths[1:], activations, binary_input)
    return PackedConvNetwork(
        **arrays, widths=widths, activations=activations, binary_input=binary_input, convolutions=tuple(convolutions), places=places  # type: ignore[arg-type]
    )  # fmt: skip


def _random_arrays(
    seed: int, fan_ins: tuple[int, ...], units_of_layers: tuple[int, ...], activations: tuple[str, ...], binary_input: bool
) -> Any:  # fmt: skip
    rng = np.random.default_rng(seed)
    parts: dict[str, list[Any]] = {
        name: [] for name in ("words", "threshold", "cut", "direction", "scale", "shift")
    }
    bits = binary_input
    for inputs, units, activation in zip(fan_ins, units_of_layers, activations, strict=True):
        parts["words"].append(pack_bits(rng.random((units, inputs)) < 0.5).reshape(-1))
        if activation == "sign":
            parts["direction"].append(rng.choice([-1, 1], units).astype(np.int8))
            limits = (
                rng.integers(-inputs - 1, inputs + 2, units) if bits else rng.normal(size=units) * inputs**0.5
            )
            parts["threshold" if bits else "cut"].append(limits.astype(np.int32 if bits else np.float64))
        else:
            parts["scale"].append(rng.normal(size=units).astype(np.float32))
            parts["shift"].append(rng.normal(size=units).astype(np.float32))
        bits = activation == "sign"
    empty = {
        "words": np.uint64,
        "threshold": np.int32,
        "cut": np.float64,
        "direction": np.int8,
        "scale": np.float32,
        "shift": np.float32,
    }
    return {name: np.concatenate([np.empty(0, dtype), *parts[name]]) for name, dtype in empty.items()}


def packed_networks() -> dict[str, PackedNetwork]:
    """Networks of numbers, of bits, of both, and of one weight."""
    return {
        "relu": random_network(0, (70, 9, 3), ("relu", "identity")),
        "bits": random_network(1, (5, 65, 64, 3), ("sign", "sign", "identity")),
        "bits all the way": random_network(2, (6, 8, 2), ("sign", "sign"), True),
        "one": random_network(3, (1, 1), ("identity",)),
    }


def packed_conv_networks() -> dict[str, PackedConvNetwork]:
    """Networks of bits and of numbers for images of 6 x 7: borders, steps, a pool, one and two convolutions."""
    border = Convolution((3, 3), padding=(1, 1, 1, 1), pool=(2, 2), pool_stride=(2, 2))
    steps = Convolution((2, 1), stride=(1, 2), dilation=(1, 3), padding=(0, 1, 0, 0))
    return {
        "numbers": random_conv_network(0, (2, 5, 3), ("relu", "identity"), [border], 9),
        "bits": random_conv_network(1, (1, 70, 4, 3), ("sign", "sign", "identity"), [border, steps], 6),
        "bits all the way": random_conv_network(2, (3, 4, 6, 2), ("sign", "sign", "sign"), [steps], 24, True),
    }


def fitting_size(network: PackedConvNetwork) -> tuple[int, int] | None:
    """The first size of images that a network takes, 6 x 7 before others; None where it takes none up to 40 x 40."""
    for size in [(6, 7), *itertools.product(range(1, 41), repeat=2)]:
        left = size
        for found in network.convolutions:
            left = found.places(left)
        if min(left) > 0 and left[0] * left[1] == network.places:
            return size
    return None


def packed_classifiers() -> dict[str, PackedClassifier]:
    """Classifiers of an array and of a table with a category."""
    table = TableSchema(
        (Column("x"), Column("state", "categorical", ("NY", "TX"))),
        (Feature("x", 0), Feature("state", 1, "codes", (0.25, 0.75, 0.5))),
    )
    made = {
        "array": (TableSchema.numeric(["x0", "x1", "x2"]), ("a", "b", "c"), ("relu", "identity")),
        "table": (table, (0, 1), ("sign", "identity")),
    }
    return {name: _classifier(*parts) for name, parts in made.items()}


def _classifier(schema: TableSchema, classes: Any, activations: tuple[str, ...]) -> PackedClassifier:
    network = random_network(4, (len(schema.features), 20, len(classes)), activations)
    rng = np.random.default_rng(5)
    parts = {field.name: getattr(network, field.name) for field in fields(network)}
    n = len(schema.features)
    return PackedClassifier(
        schema=schema, classes=classes, mean=rng.normal(size=n), factor=rng.random(n) + 0.5, **parts
    )
