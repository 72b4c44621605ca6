"""Bits in words: an integer's own binary digits are the oracle."""

from __future__ import annotations

import numpy as np
import pytest

from hardgrad.core.bit_words import pack_bits, unpack_bits, word_count


@pytest.mark.parametrize("count", [0, 1, 7, 8, 63, 64, 65, 200])
def test_a_word_is_the_number_that_its_bits_spell(count: int) -> None:
    bits = np.random.default_rng(count).random((3, count)) < 0.5
    words = pack_bits(bits)
    assert words.shape == (3, word_count(count)) and words.dtype == np.uint64
    for row, packed in zip(bits, words, strict=True):
        number = sum(int(word) << (64 * place) for place, word in enumerate(packed))
        assert number == sum(1 << place for place in np.flatnonzero(row).tolist())
    np.testing.assert_array_equal(unpack_bits(words, count), bits)


def test_views_and_numbers_are_packed_as_well() -> None:
    bits = np.random.default_rng(0).integers(0, 2, (100, 5))
    np.testing.assert_array_equal(pack_bits(bits.T), pack_bits(np.ascontiguousarray(bits.T) == 1))
    np.testing.assert_array_equal(unpack_bits(pack_bits(bits.T)[:, ::2], 64)[:, 0], bits[0] == 1)
