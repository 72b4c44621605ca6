"""Shared by the importer tests: rows that stand on every threshold, and the comparison of leaves."""

from __future__ import annotations

import numpy as np

from hardgrad.trees.forest import Forest
from hardgrad.trees.probe import column_edges

ODD = (
    0.0,
    -0.0,
    1e-35,
    -1e-35,
    1e-36,
    -1e-36,
    5e-324,
    1e-45,
    -1e-45,
    1.0,
    1e30,
    -1e30,
    0.5,
    2.0,
    2.999,
    -0.5,
    7.0,
)


def stress_matrix(
    forest: Forest, n: int, seed: int = 0, *, infinite: bool = True, missing: float = 0.1
) -> np.ndarray:
    """Rows [n, columns] on thresholds, one ulp of float64 and of float32 beside them, missing, infinite and in between."""
    rng = np.random.default_rng(seed)
    columns = []
    for edges in column_edges(forest):
        edges = edges[np.abs(edges) < 1e38]
        single = edges.astype(np.float32)
        parts = [edges, np.nextafter(edges, np.inf), np.nextafter(edges, -np.inf), single.astype(float)]
        for towards in (-np.inf, np.inf):
            parts.append(np.nextafter(single, np.float32(towards)).astype(float))
        # The middle of two floats is where a cast to float32 decides by the tie.
        parts.append((parts[-1] + parts[-3]) / 2)
        parts += [np.array(ODD), np.array([np.inf, -np.inf] if infinite else [])]
        pool = np.concatenate(parts)
        usual = rng.normal(size=n) * (np.abs(edges).mean() if len(edges) else 1.0)
        values = np.where(rng.random(n) < 0.6, rng.choice(pool, n), usual)
        columns.append(np.where(rng.random(n) < missing, np.nan, values))
    return np.stack(columns, axis=1)


def assert_same_leaves(ours: np.ndarray, theirs: np.ndarray) -> None:
    """In every tree the two numberings of leaves must be one to one, row by row."""
    theirs = theirs.reshape(len(theirs), -1)
    assert ours.shape == theirs.shape
    for tree in range(ours.shape[1]):
        pairs = set(zip(ours[:, tree].tolist(), theirs[:, tree].tolist(), strict=True))
        assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs}), f"tree {tree}"


def assert_same_bits(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Equal as numbers, and thereby bit for bit but for the sign of zero."""
    np.testing.assert_array_equal(ours.reshape(-1), np.asarray(theirs, dtype=np.float64).reshape(-1))
