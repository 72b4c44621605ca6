"""Packed networks for the artifact contract and for their own tests: random bits, thresholds that are met, both directions."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np

from hardgrad.bits.packed import PackedNetwork
from hardgrad.bits.packed_classifier import PackedClassifier
from hardgrad.core.bit_words import pack_bits
from hardgrad.tabular.schema import Column, Feature, TableSchema


def random_network(
    seed: int, widths: tuple[int, ...], activations: tuple[str, ...], binary_input: bool = False
) -> PackedNetwork:
    """A network with random bits, thresholds near 0 and both directions."""
    rng = np.random.default_rng(seed)
    parts: dict[str, list[Any]] = {
        name: [] for name in ("words", "threshold", "cut", "direction", "scale", "shift")
    }
    bits = binary_input
    for inputs, units, activation in zip(widths[:-1], widths[1:], activations, strict=True):
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
    arrays: Any = {name: np.concatenate([np.empty(0, dtype), *parts[name]]) for name, dtype in empty.items()}
    return PackedNetwork(**arrays, widths=widths, activations=activations, binary_input=binary_input)  # type: ignore[arg-type]


def packed_networks() -> dict[str, PackedNetwork]:
    """Networks of numbers, of bits, of both, and of one weight."""
    return {
        "relu": random_network(0, (70, 9, 3), ("relu", "identity")),
        "bits": random_network(1, (5, 65, 64, 3), ("sign", "sign", "identity")),
        "bits all the way": random_network(2, (6, 8, 2), ("sign", "sign"), True),
        "one": random_network(3, (1, 1), ("identity",)),
    }


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
