"""Packing bits, and multiplying by them, in one pass without temporary arrays, for a whole number of bytes.

The first value of eight is the highest bit of its byte, as in `numpy.packbits`. Imported late; never imports torch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.kernels import kernel

Values = NDArray[Any]
Bytes = NDArray[np.uint8]
Words = NDArray[np.int64]
LAST_53_BITS = 2**53 - 1


@kernel
def pack_nonzero(values: Values, packed: Bytes) -> None:
    """Fill `packed` with a bit for each value: whether it is not zero."""
    for i in range(len(packed)):
        bits = np.uint8(0)
        for k in range(8):
            bits |= np.uint8(values[8 * i + k] != 0) << np.uint8(7 - k)
        packed[i] = bits


@kernel
def relu(x: Values, out: Values, packed: Bytes) -> None:
    """Fill `out` with the ReLU of x, which lets NaN and the sign of zero through, and `packed` with where it is not zero."""
    zero = x.dtype.type(0)
    for i in range(len(packed)):
        bits = np.uint8(0)
        for k in range(8):
            bits |= np.uint8(not (x[8 * i + k] <= zero)) << np.uint8(7 - k)
        packed[i] = bits
        for k in range(8):
            value = x[8 * i + k]
            out[8 * i + k] = zero if value < zero else value


@kernel
def pack_below(words: Words, limit: int, packed: Bytes) -> None:
    """Fill `packed` with a bit for each word: whether its last 53 bits, as a number, are below the limit."""
    for i in range(len(packed)):
        bits = np.uint8(0)
        for k in range(8):
            bits |= np.uint8((words[8 * i + k] & LAST_53_BITS) < limit) << np.uint8(7 - k)
        packed[i] = bits


@kernel
def scale_by_bits(values: Values, packed: Bytes, above: Any, below: Any, cut: bool, out: Values) -> None:
    """Fill `out` with `above * values` where the bit is set; elsewhere with `below * values`, or if `cut` with 0, also for infinity."""
    for i in range(len(packed)):
        bits = packed[i]
        for k in range(8):
            value = values[8 * i + k]
            if (bits >> (7 - k)) & 1:
                value *= above
            elif cut:
                value = below * 0
            else:
                value *= below
            out[8 * i + k] = value
