"""Circuits in AIGER, and-inverter graphs: written binary or as text, and read with care. Never imports torch.

A literal is twice a variable, plus 1 for the complement; variable 0 is false, 1 .. I are the inputs, then come the ANDs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from hardgrad.core.errors import DataError
from hardgrad.logic.circuit_build import NetworkBuilder
from hardgrad.logic.definitions import define

if TYPE_CHECKING:
    from hardgrad.logic.circuit import Circuit

MOST_VARIABLES = 1 << 24
MOST_INPUTS = 1 << 20
"""A binary file has not a byte for an input: a few could ask for any memory."""


def to_aiger(circuit: Circuit, *, binary: bool = True) -> bytes:
    """Return the circuit in AIGER: an XOR takes three ANDs, any other gate one; names are in the symbol table.

    Parameters
    ----------
    circuit : the circuit.
    binary : the binary format "aig", else the text "aag".

    Examples
    --------
    >>> from hardgrad.logic.circuit import Circuit
    >>> print(to_aiger(Circuit.from_expression("y = a & ~b"), binary=False).decode())
    aag 3 2 0 1 1
    2
    4
    6
    6 5 2
    i0 a
    i1 b
    o0 y
    <BLANKLINE>
    """
    graph = _Graph(circuit.n_inputs)
    literals = [2 * (i + 1) for i in range(circuit.n_inputs)]
    for gate, a, b in zip(circuit.gates.tolist(), circuit.left.tolist(), circuit.right.tolist(), strict=True):
        literals.append(graph.gate(gate, literals[a], literals[b]) if 0 < gate < 15 else gate & 1)
    outputs = [literals[wire] for wire in circuit.outputs.tolist()]
    count = circuit.n_inputs + len(graph.ands)
    lines = [f"{'aig' if binary else 'aag'} {count} {circuit.n_inputs} 0 {len(outputs)} {len(graph.ands)}"]
    if not binary:
        lines += [str(2 * (i + 1)) for i in range(circuit.n_inputs)]
    lines += [str(literal) for literal in outputs]
    head = "\n".join([*lines, ""]).encode()
    named = [f"i{i} {_line(name)}" for i, name in enumerate(circuit.names_of_inputs)]
    named += [f"o{i} {_line(name)}" for i, name in enumerate(circuit.names_of_outputs)]
    symbols = "\n".join([*named, ""]).encode() if named else b""
    numbered = enumerate(graph.ands, circuit.n_inputs + 1)
    if not binary:
        return head + "".join(f"{2 * v} {high} {low}\n" for v, (high, low) in numbered).encode() + symbols
    deltas = b"".join(_leb128(2 * v - high) + _leb128(high - low) for v, (high, low) in numbered)
    return head + deltas + symbols


def _line(text: str) -> str:
    return "".join(c if c.isprintable() else "_" for c in text)


class _Graph:
    """ANDs, each stored once, the larger literal first."""

    def __init__(self, n_inputs: int) -> None:
        self.n_inputs = n_inputs
        self.ands: list[tuple[int, int]] = []
        self._known: dict[tuple[int, int], int] = {}

    def both(self, a: int, b: int) -> int:
        high, low = max(a, b), min(a, b)
        if low == 0 or high == low ^ 1:
            return 0
        if low == 1 or high == low:
            return high
        if (high, low) not in self._known:
            self.ands.append((high, low))
            self._known[high, low] = 2 * (self.n_inputs + len(self.ands))
        return self._known[high, low]

    def gate(self, gate: int, a: int, b: int) -> int:
        """The literal of a gate of two literals: by the row in which it differs, or two ANDs for an XOR and one that joins them."""
        ones = bin(gate).count("1")
        if ones == 2 and gate in (6, 9):
            differ = self.both(self.both(a, b) ^ 1, self.both(a ^ 1, b ^ 1) ^ 1)
            return differ ^ (gate == 9)
        if ones == 2:
            literal = a if gate in (3, 12) else b
            return literal ^ (gate in (12, 10))
        lone = gate if ones == 1 else gate ^ 15
        x, y = divmod(3 - lone.bit_length() + 1, 2)
        return self.both(a if x else a ^ 1, b if y else b ^ 1) ^ (ones == 3)


def _leb128(value: int) -> bytes:
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def from_aiger(payload: bytes) -> Circuit:
    r"""Return the circuit of an AIGER file, binary or text, without latches.

    Raises
    ------
    DataError : what cannot be read, and why: latches, a wrong header, literals out of range or defined twice, cycles, an early end.

    Examples
    --------
    >>> from_aiger(b"aag 3 2 0 1 1\n2\n4\n6\n6 5 2\n").evaluate([[1, 0], [1, 1]])[:, 0].tolist()
    [True, False]
    """
    first, _, rest = payload.partition(b"\n")
    words = first.split(b" ")
    if (
        words[0] not in (b"aig", b"aag")
        or len(words) < 6
        or not all(re.fullmatch(rb"[0-9]{1,9}", word) for word in words[1:])
    ):
        raise DataError(
            f"got {first[:40]!r} at the head of an AIGER file; expected 'aig M I L O A' or 'aag M I L O A'."
        )
    most, inputs, latches, outputs, ands, *more = map(int, words[1:])
    if latches or any(more):
        raise DataError(
            f"the AIGER file has {latches} latches or properties; expected a circuit without memory."
        )
    if (
        most > MOST_VARIABLES
        or inputs > MOST_INPUTS
        or inputs + ands > most
        or (words[0] == b"aig" and inputs + ands != most)
    ):
        raise DataError(
            f"the AIGER header says {most} variables for {inputs} inputs and {ands} ANDs; expected their sum, "
            f"at most {MOST_VARIABLES:,}, and at most {MOST_INPUTS:,} inputs."
        )
    text = words[0] == b"aag"
    if 2 * outputs + (2 * inputs + 6 * ands if text else 2 * ands) > len(payload):
        raise DataError("the AIGER file ends early: it is shorter than its header promises. Copy it again.")
    reader = _Reader(rest)
    if text:
        return _text_circuit(reader, most, inputs, outputs, ands)
    return _binary_circuit(reader, inputs, outputs, ands)


class _Reader:
    """Reads numbers from what follows the header."""

    def __init__(self, payload: bytes) -> None:
        self._payload = payload
        self._at = 0

    def line(self) -> bytes:
        end = self._payload.find(b"\n", self._at)
        if end < 0:
            raise DataError("the AIGER file ends early: a line is missing. Copy it again.")
        found, self._at = self._payload[self._at : end], end + 1
        return found

    def numbers(self, count: int, most: int) -> list[int]:
        """A line of literals up to 2 most + 1."""
        words = self.line().split(b" ")
        if len(words) != count or not all(re.fullmatch(rb"[0-9]{1,10}", word) for word in words):
            raise DataError(f"got {b' '.join(words)[:40]!r} in an AIGER file; expected {count} literals.")
        found = [int(word) for word in words]
        if max(found) > 2 * most + 1:
            raise DataError(f"the AIGER file has literal {max(found)}; expected at most {2 * most + 1}.")
        return found

    def delta(self) -> int:
        value = shift = 0
        while True:
            if self._at >= len(self._payload) or shift > 35:
                raise DataError(
                    "the AIGER file ends early, or has a difference that is too large. Copy it again."
                )
            octet = self._payload[self._at]
            self._at += 1
            value |= (octet & 127) << shift
            if octet < 128:
                return value
            shift += 7

    def symbols(self, inputs: int, outputs: int) -> tuple[list[str], list[str]]:
        """The names of all inputs and all outputs, where the table gives each one of its own; else none."""
        names: dict[bytes, dict[int, str]] = {b"i": {}, b"o": {}}
        for line in self._payload[self._at :].split(b"\n"):
            found = re.fullmatch(rb"([io])([0-9]{1,9}) (.+)", line)
            if not found:
                break
            names[found[1]][int(found[2])] = found[3].decode("utf-8", "replace")
        return _complete(names[b"i"], inputs), _complete(names[b"o"], outputs)


def _complete(names: dict[int, str], count: int) -> list[str]:
    whole = sorted(names) == list(range(count)) and len(set(names.values())) == count
    return [names[i] for i in range(count)] if whole else []


def _binary_circuit(reader: _Reader, inputs: int, outputs: int, ands: int) -> Circuit:
    wanted = [reader.numbers(1, inputs + ands)[0] for _ in range(outputs)]
    net = NetworkBuilder(inputs)
    signals = [0, *(net.input(i) for i in range(inputs))]  # of variables
    for variable in range(inputs + 1, inputs + ands + 1):
        high = 2 * variable - reader.delta()
        low = high - reader.delta()
        if not 0 <= low <= high < 2 * variable:
            raise DataError(
                f"the AND of variable {variable} in an AIGER file reads literals {high} and {low}; expected smaller ones."
            )
        signals.append(net.both(signals[high >> 1] ^ high & 1, signals[low >> 1] ^ low & 1))
    return _finished(net, signals, wanted, reader, inputs)


def _text_circuit(reader: _Reader, most: int, inputs: int, outputs: int, ands: int) -> Circuit:
    net = NetworkBuilder(inputs)
    signals: dict[int, int] = {0: 0}
    for i, literal in enumerate(reader.numbers(1, most)[0] for _ in range(inputs)):
        _define(signals, literal, net.input(i))
    wanted = [reader.numbers(1, most)[0] for _ in range(outputs)]
    defined: dict[int, tuple[int, int]] = {}
    for _ in range(ands):
        target, a, b = reader.numbers(3, most)
        if target & 1 or target >> 1 in signals or target >> 1 in defined or target < 2:
            raise DataError(
                f"the AIGER file defines literal {target}; expected an even one that nothing else defines."
            )
        defined[target >> 1] = (a, b)

    def reads(variable: int) -> list[int]:
        if variable not in defined:
            raise DataError(
                f"the AIGER file reads variable {variable}, which is neither an input nor defined."
            )
        return [literal >> 1 for literal in defined[variable]]

    def make(variable: int) -> int:
        a, b = defined[variable]
        return net.both(signals[a >> 1] ^ a & 1, signals[b >> 1] ^ b & 1)

    for variable in [*defined, *(literal >> 1 for literal in wanted)]:
        define(variable, signals, reads, make, _cycle)
    return _finished(net, signals, wanted, reader, inputs)


def _cycle(variable: int) -> str:
    return f"variable {variable} of an AIGER file depends on itself; expected a circuit without cycles."


def _define(signals: dict[int, int], literal: int, signal: int) -> None:
    if literal & 1 or literal >> 1 in signals:
        raise DataError(
            f"the AIGER file has an input of literal {literal}; expected an even one that is not used twice."
        )
    signals[literal >> 1] = signal


def _finished(
    net: NetworkBuilder,
    signals: dict[int, int] | list[int],
    wanted: Iterable[int],
    reader: _Reader,
    inputs: int,
) -> Circuit:
    outputs = [signals[literal >> 1] ^ literal & 1 for literal in wanted]
    names, output_names = reader.symbols(inputs, len(outputs))
    return net.circuit(outputs, input_names=names, output_names=output_names)
