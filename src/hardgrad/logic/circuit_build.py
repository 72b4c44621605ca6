"""NetworkBuilder: circuits built gate by gate, with what is constant, equal or complementary found on the way. Never imports torch.

A signal is a whole number: twice a node, plus 1 where it is the complement. Node 0 is the constant 0, so that signal 0 is false and 1 is
true; nodes 1 .. n are the inputs. A node is stored once per function: operands in order, output 0 where both operands are 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hardgrad.core.errors import ParameterError
from hardgrad.logic.boolean_functions import HasTruthTable
from hardgrad.logic.circuit import MAX_TABLE_INPUTS, Circuit
from hardgrad.logic.gate_ids import Gate
from hardgrad.logic.program import NOT_A, NOT_B, SWAPPED

FALSE, TRUE = 0, 1
_SWAPPED: list[int] = SWAPPED.tolist()
_NOT_A: list[int] = NOT_A.tolist()
_NOT_B: list[int] = NOT_B.tolist()
_ROW = ((3, 2), (1, 0))
"""Bit of an id that holds the output of row (a, b)."""


class NetworkBuilder:
    """Builds a circuit; equal and complementary signals become one, whatever they are built from.

    Parameters
    ----------
    n_inputs : inputs; input i is signal `2 + 2 i`, and `input(i)` says so.

    Examples
    --------
    >>> net = NetworkBuilder(2)
    >>> a, b = net.input(0), net.input(1)
    >>> net.gate(Gate.NAND, a, b) == net.complement(net.gate(Gate.AND, b, a))
    True
    >>> net.gate(Gate.OR, net.gate(Gate.AND, a, b), a) == a
    True
    """

    def __init__(self, n_inputs: int) -> None:
        self.n_inputs = n_inputs
        self._gate: list[int] = [Gate.FALSE] * (n_inputs + 1)
        self._left: list[int] = [0] * (n_inputs + 1)  # nodes
        self._right: list[int] = [0] * (n_inputs + 1)
        self._known: dict[tuple[int, int, int], int] = {}

    def input(self, number: int) -> int:
        """Return the signal of an input."""
        return 2 + 2 * number

    @staticmethod
    def complement(signal: int) -> int:
        """Return the complement of a signal; it costs nothing."""
        return signal ^ 1

    def gate(self, gate: int, a: int, b: int) -> int:
        """Return the signal of a gate of two signals."""
        if a & 1:
            gate = _NOT_A[gate]
        if b & 1:
            gate = _NOT_B[gate]
        return self._of_nodes(gate, a >> 1, b >> 1)

    def _of_nodes(self, gate: int, a: int, b: int) -> int:
        """The signal of a gate of two nodes; a gate that reads one of them, or none, is not one."""
        if a == b:
            gate = 15 * (gate >> 3 & 1) if gate >> 3 & 1 == gate & 1 else (3 if gate & 1 else 12)
        if a == 0:  # the constant: rows 00 and 01 are left, which read b
            gate = (0, 5, 10, 15)[gate >> 2]
        if b == 0:
            gate = (0, 3, 12, 15)[gate >> 2 & 2 | gate >> 1 & 1]
        if gate in (0, 15):
            return gate & 1
        if gate in (3, 12):
            return 2 * a + (gate == 12)
        if gate in (5, 10):
            return 2 * b + (gate == 10)
        if a > b:
            gate, a, b = _SWAPPED[gate], b, a
        return self._stored(gate, a, b)

    def _stored(self, gate: int, a: int, b: int) -> int:
        flipped = gate >> 3
        if flipped:
            gate ^= 15
        key = (gate, a, b)
        found = self._known.get(key)
        if found is None:
            found = self._over_fewer(gate, a, b)
            if found is None:
                found = 2 * len(self._gate)
                self._gate.append(gate)
                self._left.append(a)
                self._right.append(b)
            self._known[key] = found
        return found ^ flipped

    def _over_fewer(self, gate: int, a: int, b: int) -> int | None:
        """The signal where a gate of gates reads two nodes in all: then it is one gate of these, or less."""
        inner_a, inner_b = a > self.n_inputs, b > self.n_inputs
        if inner_b and a in (self._left[b], self._right[b]):
            return self._two_levels(gate, a, b, a, self._right[b] if a == self._left[b] else self._left[b])
        if inner_a and b in (self._left[a], self._right[a]):
            return self._two_levels(gate, a, b, self._right[a] if b == self._left[a] else self._left[a], b)
        if inner_a and inner_b and self._left[a] == self._left[b] and self._right[a] == self._right[b]:
            return self._two_levels(gate, a, b, self._left[a], self._right[a])
        return None

    def _two_levels(self, gate: int, a: int, b: int, first: int, second: int) -> int:
        """The gate that nodes `first` and `second` make of node a and node b, each of which is one of them or a gate of both."""
        table = 0
        for x in (0, 1):
            for y in (0, 1):
                row = _ROW[self._value(a, first, second, x, y)][self._value(b, first, second, x, y)]
                table = table << 1 | (gate >> row & 1)
        return self._of_nodes(table, first, second)

    def _value(self, node: int, first: int, second: int, x: int, y: int) -> int:
        if node == first:
            return x
        if node == second:
            return y
        left = x if self._left[node] == first else y
        right = x if self._right[node] == first else y
        return self._gate[node] >> _ROW[left][right] & 1

    # --- gates by name -------------------------------------------------------------------------------------------------------
    def both(self, a: int, b: int) -> int:
        """Return a AND b."""
        return self.gate(Gate.AND, a, b)

    def either(self, a: int, b: int) -> int:
        """Return a OR b."""
        return self.gate(Gate.OR, a, b)

    def differ(self, a: int, b: int) -> int:
        """Return a XOR b."""
        return self.gate(Gate.XOR, a, b)

    def choose(self, condition: int, yes: int, no: int) -> int:
        """Return `yes` where the condition holds, else `no`: at most three gates."""
        if yes == self.complement(no):
            return self.differ(condition, no)
        return self.either(self.both(condition, yes), self.both(self.complement(condition), no))

    def table(self, word: int, inputs: Sequence[int]) -> int:
        """Return the signal of a truth table of some signals: bit r of `word` is row r, the first signal changing slowest."""
        if not inputs:
            return word & 1
        half = 1 << (len(inputs) - 1)
        mask = (1 << half) - 1
        if word >> half == word & mask:
            return self.table(word & mask, inputs[1:])
        return self.choose(
            inputs[0], self.table(word >> half, inputs[1:]), self.table(word & mask, inputs[1:])
        )

    # --- the circuit ---------------------------------------------------------------------------------------------------------
    def add(self, circuit: Circuit, inputs: Sequence[int]) -> list[int]:
        """Add a circuit on given signals and return the signals of its outputs."""
        signals = list(inputs)
        for gate, a, b in zip(
            circuit.gates.tolist(), circuit.left.tolist(), circuit.right.tolist(), strict=True
        ):
            signals.append(self.gate(gate, signals[a], signals[b]) if 0 < gate < 15 else gate & 1)
        return [signals[wire] for wire in circuit.outputs.tolist()]

    def circuit(
        self, outputs: Sequence[int], *, input_names: Sequence[str] = (), output_names: Sequence[str] = ()
    ) -> Circuit:
        """Return the circuit of some signals: what none of them needs is left out, and complements are absorbed by the gates that read."""
        wanted = set(outputs)
        marked = {signal >> 1 for signal in outputs}
        for node in range(len(self._gate) - 1, self.n_inputs, -1):
            if node in marked:
                marked.update((self._left[node], self._right[node]))
        nodes = sorted(node for node in marked if node > self.n_inputs)
        # A node that is only asked for complemented is made so; its readers take that into their own tables.
        flipped = {node for node in nodes if 2 * node + 1 in wanted and 2 * node not in wanted}
        wire = {node: node - 1 for node in range(1, self.n_inputs + 1)}
        wire |= {node: self.n_inputs + place for place, node in enumerate(nodes)}
        gates, left, right = [], [], []
        for node in nodes:
            gate, a, b = self._gate[node], self._left[node], self._right[node]
            gate = _NOT_A[gate] if a in flipped else gate
            gate = _NOT_B[gate] if b in flipped else gate
            gates.append(gate ^ 15 if node in flipped else gate)
            left.append(wire[a])
            right.append(wire[b])
        extra: dict[int, int] = {}
        for signal in outputs:
            node, complemented = signal >> 1, signal & 1
            if node and complemented == (node in flipped):
                continue
            if signal not in extra:
                extra[signal] = self.n_inputs + len(gates)
                gates.append((Gate.TRUE if complemented else Gate.FALSE) if not node else Gate.NOT_A)
                left.append(wire[node] if node else 0)
                right.append(wire[node] if node else 0)
        wires = [extra[signal] if signal in extra else wire[signal >> 1] for signal in outputs]
        return Circuit(
            np.array(gates, np.uint8), np.array(left, np.int32), np.array(right, np.int32), np.array(wires, np.int32), self.n_inputs,
            tuple(input_names), tuple(output_names),
        )  # fmt: skip


def from_truth_table(
    table: Any, *, input_names: Sequence[str] = (), output_names: Sequence[str] = ()
) -> Circuit:
    """Return a circuit of a truth table; equal parts of it are shared.

    Parameters
    ----------
    table : bits [2**inputs] or [2**inputs, outputs], input 0 changing slowest; or anything that has a `truth_table()`, as a `TruthTable`
        (where what does not matter is taken as it stands), a circuit or a task, whose names are taken over where it has any.
    input_names, output_names : of the circuit.

    Raises
    ------
    ParameterError : a length that is no power of two, values other than 0 and 1, more than 20 inputs.

    Examples
    --------
    >>> from_truth_table([0, 1, 1, 0])
    Circuit(2 inputs, 1 gates, 1 outputs, depth 1)
    """
    if isinstance(table, HasTruthTable):
        input_names = input_names or getattr(table, "input_names", ())
        output_names = output_names or getattr(table, "output_names", ())
        table = table.truth_table()
    array = np.asarray(table)
    rows = array.shape[0] if array.ndim in (1, 2) else 0
    inputs = rows.bit_length() - 1
    if rows < 1 or rows != 1 << inputs or inputs > MAX_TABLE_INPUTS:
        raise ParameterError(
            f"got a truth table of shape {array.shape}; expected [2**inputs] or [2**inputs, outputs], at most {MAX_TABLE_INPUTS} inputs."
        )
    if array.dtype.kind not in "biuf" or not ((array == 0) | (array == 1)).all():
        raise ParameterError("got a truth table with other values than 0 and 1; expected bits.")
    net = NetworkBuilder(inputs)
    columns = np.atleast_2d(array.astype(np.uint8).reshape(rows, -1).T)
    signals = [net.input(i) for i in range(inputs)]
    known: dict[bytes, int] = {}
    outputs = [_of_column(net, np.ascontiguousarray(column), signals, known) for column in columns]
    return net.circuit(outputs, input_names=input_names, output_names=output_names)


def _of_column(net: NetworkBuilder, column: Any, signals: Sequence[int], known: dict[bytes, int]) -> int:
    """The signal of one output: a decision diagram, each part of the table made once."""
    if len(column) == 1:
        return int(column[0])
    key = column.tobytes()
    if key not in known:
        low, high = np.split(column, 2)
        no = _of_column(net, low, signals[1:], known)
        yes = no if (low == high).all() else _of_column(net, high, signals[1:], known)
        known[key] = no if yes == no else net.choose(signals[0], yes, no)
    return known[key]
