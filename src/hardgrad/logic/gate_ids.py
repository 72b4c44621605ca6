"""The sixteen gates of two inputs: ids, truth tables, words and polynomials. Every other module of circuits takes them from here.

An id is the gate's truth table read as a number of four bits, the row (a, b) = (0, 0) first and most significant, then (0, 1), (1, 0) and
(1, 1). A look-up table of up to six inputs is a word instead, whose bit r is the output in row r. Never imports torch.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import InputError

MAX_FAN_IN = 6
"""Inputs of the largest look-up table: its 64 rows fill a word."""


class Gate(IntEnum):
    """The gates of two inputs a and b, numbered by their truth tables.

    Examples
    --------
    >>> Gate.AND, Gate(6), [int(gate) for gate in (Gate.A, Gate.NOT_A)]
    (<Gate.AND: 1>, <Gate.XOR: 6>, [3, 12])
    """

    FALSE = 0
    AND = 1
    A_AND_NOT_B = 2
    A = 3
    B_AND_NOT_A = 4
    B = 5
    XOR = 6
    OR = 7
    NOR = 8
    XNOR = 9
    NOT_B = 10
    A_OR_NOT_B = 11
    NOT_A = 12
    B_OR_NOT_A = 13
    NAND = 14
    TRUE = 15


def truth_rows(fan_in: int) -> NDArray[np.uint8]:
    """Return the rows of a truth table, uint8 `[2**fan_in, fan_in]`, in order; the first input changes slowest.

    Examples
    --------
    >>> truth_rows(2).tolist()
    [[0, 0], [0, 1], [1, 0], [1, 1]]
    """
    return np.indices((2,) * fan_in, dtype=np.uint8).reshape(fan_in, 2**fan_in).T.copy()


def _frozen(array: NDArray[np.float64]) -> NDArray[np.float64]:
    array.flags.writeable = False
    return array


TRUTH_TABLES: NDArray[np.float64] = _frozen(
    (np.arange(16)[:, None] >> np.array([3, 2, 1, 0]) & 1).astype(np.float64)
)
"""`[16, 4]`, the output of each gate in rows 00, 01, 10 and 11."""

POLYNOMIALS: NDArray[np.float64] = _frozen(
    TRUTH_TABLES @ np.array([[1, -1, -1, 1], [0, 0, 1, -1], [0, 1, 0, -1], [0, 0, 0, 1]], np.float64)
)
"""`[16, 4]`, the coefficients of 1, a, b and ab in the polynomial that equals each gate on bits."""


def lut_word(gate: int) -> int:
    """Return the word of a gate's table: bit r is the output in row r, so its bits are those of the id in reverse.

    Raises
    ------
    InputError : not an id from 0 to 15.

    Examples
    --------
    >>> bin(lut_word(Gate.AND)), bin(lut_word(Gate.A))
    ('0b1000', '0b1100')
    """
    if not 0 <= gate < 16:
        raise InputError(f"lut_word() got gate {gate!r}; expected an id from 0 to 15.")
    return sum((int(gate) >> (3 - row) & 1) << row for row in range(4))


def gate_of_word(word: int) -> int:
    """Return the id of the gate whose table is this word of four bits: the inverse of `lut_word`.

    Raises
    ------
    InputError : a word of more than four bits.

    Examples
    --------
    >>> Gate(gate_of_word(0b1000))
    <Gate.AND: 1>
    """
    if not 0 <= word < 16:
        raise InputError(f"gate_of_word() got word {word!r}; expected four bits, from 0 to 15.")
    return lut_word(word)  # to reverse twice is to do nothing


GATE_OF_WORD: NDArray[np.uint8] = np.array([gate_of_word(word) for word in range(16)], np.uint8)
"""`gate_of_word` of every word of four bits."""
