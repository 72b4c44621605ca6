"""Bits packed in words of 64: sample i is bit i of its word, the first one the least significant. Never imports torch."""

from __future__ import annotations

from typing import Any

import numpy as np

WORD_BITS = 64
"""Bits in a word."""


def word_count(count: int) -> int:
    """Return how many words hold `count` bits."""
    return -(-count // WORD_BITS)


def pack_bits(bits: Any) -> np.ndarray:
    """Return the last axis packed in words: bit i of word w is element `64 w + i`.

    Parameters
    ----------
    bits : `[..., N]` Booleans, or numbers of which those other than zero are ones; any order in memory.

    Returns
    -------
    words : `[..., ceil(N / 64)]` uint64; the bits beyond N are zero.

    Examples
    --------
    >>> pack_bits([True, False, True])
    array([5], dtype=uint64)
    """
    array = np.asarray(bits)
    count = array.shape[-1]
    octets = np.zeros((*array.shape[:-1], 8 * word_count(count)), np.uint8)
    octets[..., : -(-count // 8)] = np.packbits(array, axis=-1, bitorder="little")
    return octets.view("<u8").astype(np.uint64, copy=False)


def unpack_bits(words: np.ndarray, count: int) -> np.ndarray:
    """Return the first `count` bits of the last axis as Booleans.

    Parameters
    ----------
    words : `[..., W]` uint64.
    count : bits wanted, at most `64 W`; what is beyond them is not looked at.

    Examples
    --------
    >>> unpack_bits(np.array([5], np.uint64), 3)
    array([ True, False,  True])
    """
    octets = np.ascontiguousarray(words).astype("<u8", copy=False).view(np.uint8)
    return np.unpackbits(octets, axis=-1, count=count, bitorder="little").view(bool)
