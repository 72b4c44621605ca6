"""The loops of packed networks, compiled by numba: the integers and the sums of `PackedLinear`, bit for bit. Never imports torch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.kernels import kernel


@kernel
def xnor_products(x: NDArray[np.uint64], w: NDArray[np.uint64], inputs: int, out: NDArray[np.int32]) -> None:
    """Write inputs - 2 popcount(x xor w) of every row of x [n, W] and every unit of w [units, W] into out [n, units]."""
    pairs, fours, bytes_ = (
        np.uint64(0x5555555555555555),
        np.uint64(0x3333333333333333),
        np.uint64(0x0F0F0F0F0F0F0F0F),
    )
    spread = np.uint64(0x0101010101010101)
    for row in range(x.shape[0]):
        for unit in range(w.shape[0]):
            differing = np.uint64(0)
            for word in range(x.shape[1]):
                bits = (
                    x[row, word] ^ w[unit, word]
                )  # what follows counts them, and compiles to one instruction
                bits = bits - ((bits >> np.uint64(1)) & pairs)
                bits = (bits & fours) + ((bits >> np.uint64(2)) & fours)
                bits = (bits + (bits >> np.uint64(4))) & bytes_
                differing += (bits * spread) >> np.uint64(56)
            out[row, unit] = inputs - 2 * np.int64(differing)


@kernel
def signed_sums(x: NDArray[np.float64], signs: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """Add every row of x [n, inputs] with the signs [inputs, units] of the units, input after input, to out [n, units]."""
    for row in range(x.shape[0]):
        for feature in range(x.shape[1]):
            value = x[row, feature]
            for unit in range(signs.shape[1]):
                out[row, unit] += value * signs[feature, unit]


def products(x: NDArray[np.uint64], w: NDArray[np.uint64], inputs: int) -> NDArray[np.int32]:
    """Return the dot products of packed signs, int32 [n, units]."""
    out = np.empty((len(x), len(w)), np.int32)
    xnor_products(x, w, inputs, out)
    return out


def sums(x: NDArray[Any], signs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sums of signed inputs, float64 [n, units]."""
    out = np.zeros((len(x), signs.shape[1]))
    signed_sums(np.ascontiguousarray(x, np.float64), signs, out)
    return out
