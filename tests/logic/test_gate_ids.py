from __future__ import annotations

import numpy as np
import pytest

from hardgrad.core.errors import InputError
from hardgrad.logic import gate_ids
from hardgrad.logic.gate_ids import Gate

BY_HAND = {
    Gate.FALSE: lambda a, b: 0,
    Gate.AND: lambda a, b: a & b,
    Gate.A_AND_NOT_B: lambda a, b: a & (1 - b),
    Gate.A: lambda a, b: a,
    Gate.B_AND_NOT_A: lambda a, b: b & (1 - a),
    Gate.B: lambda a, b: b,
    Gate.XOR: lambda a, b: a ^ b,
    Gate.OR: lambda a, b: a | b,
    Gate.NOR: lambda a, b: 1 - (a | b),
    Gate.XNOR: lambda a, b: 1 - (a ^ b),
    Gate.NOT_B: lambda a, b: 1 - b,
    Gate.A_OR_NOT_B: lambda a, b: a | (1 - b),
    Gate.NOT_A: lambda a, b: 1 - a,
    Gate.B_OR_NOT_A: lambda a, b: b | (1 - a),
    Gate.NAND: lambda a, b: 1 - (a & b),
    Gate.TRUE: lambda a, b: 1,
}


@pytest.mark.parametrize("gate", Gate)
def test_every_face_of_a_gate_is_the_function_of_its_name(gate: Gate) -> None:
    c0, c1, c2, c3 = gate_ids.POLYNOMIALS[gate]
    for row, (a, b) in enumerate(gate_ids.truth_rows(2).astype(int)):
        expected = BY_HAND[gate](a, b)
        assert gate_ids.TRUTH_TABLES[gate, row] == expected
        assert gate_ids.lut_word(gate) >> row & 1 == expected
        assert c0 + c1 * a + c2 * b + c3 * a * b == expected
    assert gate_ids.gate_of_word(gate_ids.lut_word(gate)) == gate


def test_rows_are_in_the_order_of_the_table_read_as_an_array() -> None:
    table = np.arange(8).reshape(2, 2, 2)
    assert [table[tuple(row)] for row in gate_ids.truth_rows(3)] == list(range(8))


@pytest.mark.parametrize("wrong", [-1, 16])
def test_numbers_that_are_no_gate_are_refused(wrong: int) -> None:
    with pytest.raises(InputError, match="from 0 to 15"):
        gate_ids.lut_word(wrong)
    with pytest.raises(InputError, match="four bits"):
        gate_ids.gate_of_word(wrong)
