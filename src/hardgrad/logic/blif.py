"""Circuits in BLIF, the Berkeley logic interchange format: written, and read with care. Never imports torch."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from hardgrad.core.errors import DataError
from hardgrad.logic.circuit_build import FALSE, TRUE, NetworkBuilder
from hardgrad.logic.definitions import define

if TYPE_CHECKING:
    from hardgrad.logic.circuit import Circuit

MOST_COVER_INPUTS = 64
MOST_CHARACTERS = 200_000_000


def to_blif(circuit: Circuit, name: str = "circuit") -> str:
    """Return the circuit in BLIF: one `.names` a gate with the rows in which it is 1.

    Characters that BLIF cannot have in a name become underscores; names that are then the same get their number.

    Examples
    --------
    >>> from hardgrad.logic.circuit import Circuit
    >>> print(to_blif(Circuit.from_expression("y = a & ~b"), "both"))
    .model both
    .inputs a b
    .outputs y
    .names a b n2
    10 1
    .names n2 y
    1 1
    .end
    <BLANKLINE>
    """
    names = _distinct([*circuit.names_of_inputs, *circuit.names_of_outputs])
    inputs, outputs = names[: circuit.n_inputs], names[circuit.n_inputs :]
    taken = set(names)
    prefix = next(
        p
        for p in map("n".__mul__, itertools.count(1))
        if not any(t.startswith(p) and t[len(p) :].isdigit() for t in taken)
    )
    wires = [*inputs, *(f"{prefix}{circuit.n_inputs + g}" for g in range(circuit.n_gates))]
    lines = [
        f".model {_distinct([name])[0]}",
        " ".join([".inputs", *inputs]),
        " ".join([".outputs", *outputs]),
    ]
    gates = zip(circuit.gates.tolist(), circuit.left.tolist(), circuit.right.tolist(), strict=True)
    for wire, (gate, a, b) in zip(wires[circuit.n_inputs :], gates, strict=True):
        if gate in (0, 15):
            lines += [f".names {wire}", *(["1"] if gate else [])]
        elif a == b:
            lines += [f".names {wires[a]} {wire}", *(f"{x} 1" for x in (0, 1) if gate >> (3 - 3 * x) & 1)]
        else:
            rows = [f"{x}{y} 1" for x in (0, 1) for y in (0, 1) if gate >> (3 - 2 * x - y) & 1]
            lines += [f".names {wires[a]} {wires[b]} {wire}", *rows]
    for wire_number, output in zip(circuit.outputs.tolist(), outputs, strict=True):
        lines += [f".names {wires[wire_number]} {output}", "1 1"]
    return "\n".join([*lines, ".end", ""])


def from_blif(text: str) -> Circuit:
    r"""Return the circuit of a BLIF text with one model of `.names`.

    Raises
    ------
    DataError : the line that cannot be read, and why: registers, sub-circuits, cycles, names without a definition or with two.

    Examples
    --------
    >>> adder = from_blif(".model m\n.inputs a b\n.outputs s\n.names a b s\n10 1\n01 1\n.end")
    >>> adder.evaluate([[1, 0], [1, 1]])[:, 0].tolist()
    [True, False]
    """
    if len(text) > MOST_CHARACTERS:
        raise DataError(
            f"a BLIF text of {len(text):,} characters is longer than the {MOST_CHARACTERS:,} that are read."
        )
    model = _Model()
    for number, words in _lines(text):
        if not model.take(number, words):
            break
    return model.circuit()


def _lines(text: str) -> list[tuple[int, list[str]]]:
    """Lines as words, with the numbers they begin at; comments are gone and continued lines are one."""
    found: list[tuple[int, list[str]]] = []
    pending: list[str] = []
    start = 0
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.partition("#")[0].rstrip()
        if not pending:
            start = number
        pending += bare.removesuffix("\\").split()
        if bare.endswith("\\"):
            continue
        if pending:
            found.append((start, pending))
        pending = []
    return [*found, (start, pending)] if pending else found


class _Model:
    """What has been read of a model."""

    def __init__(self) -> None:
        self.inputs: list[str] = []
        self.outputs: list[str] = []
        self.covers: dict[str, tuple[int, list[str], list[tuple[str, str]]]] = {}
        self._cover: list[tuple[str, str]] | None = None
        self._width = 0
        self._named = False

    def take(self, number: int, words: list[str]) -> bool:
        """Take one line; False once the model has ended."""
        head, *rest = words
        if not head.startswith("."):
            self._row(number, words)
            return True
        self._cover = None
        match head:
            case ".model":
                if self._named:
                    raise DataError(
                        f"BLIF line {number}: a second .model; expected one. Flatten the design first."
                    )
                self._named = True
            case ".inputs":
                self.inputs += rest
            case ".outputs":
                self.outputs += rest
            case ".names":
                self._names(number, rest)
            case ".end":
                return False
            case _:
                raise DataError(
                    f"BLIF line {number}: {head} is not read; expected .inputs, .outputs and .names: a circuit without memory."
                )
        return True

    def _names(self, number: int, words: list[str]) -> None:
        if not words:
            raise DataError(f"BLIF line {number}: .names without a name; expected inputs and an output.")
        *inputs, output = words
        if len(inputs) > MOST_COVER_INPUTS:
            raise DataError(
                f"BLIF line {number}: .names of {len(inputs)} inputs; at most {MOST_COVER_INPUTS} are read."
            )
        if output in self.covers or output in self.inputs:
            raise DataError(f"BLIF line {number}: {output!r} is defined twice.")
        self._cover, self._width = [], len(inputs)
        self.covers[output] = (number, inputs, self._cover)

    def _row(self, number: int, words: list[str]) -> None:
        if self._cover is None:
            raise DataError(f"BLIF line {number}: {' '.join(words)[:40]!r} does not follow a .names.")
        cube, value = ("", words[0]) if not self._width and len(words) == 1 else [*words, "", ""][:2]
        wrong = (
            len(words) != (2 if self._width else 1)
            or len(cube) != self._width
            or set(cube) - set("01-")
            or value not in ("0", "1")
        )
        if wrong or any(other != value for _, other in self._cover):
            raise DataError(
                f"BLIF line {number}: {' '.join(words)[:40]!r} is no row of {self._width} inputs; expected 0, 1 or - for each, then one "
                "output value, the same in every row."
            )
        self._cover.append((cube, value))

    def circuit(self) -> Circuit:
        """Build it: definitions may come in any order, and may not depend on themselves."""
        if not self.outputs:
            raise DataError("a BLIF text without .outputs; expected a model.")
        for what, names in (("input", self.inputs), ("output", self.outputs)):
            if len(set(names)) < len(names):
                raise DataError(f"a BLIF model names an {what} twice.")
        both = set(self.inputs) & set(self.covers)
        if both:
            raise DataError(f"a BLIF model defines its input {sorted(both)[0]!r}.")
        net = NetworkBuilder(len(self.inputs))
        signals = {name: net.input(i) for i, name in enumerate(self.inputs)}

        def make(name: str) -> int:
            _, inputs, cover = self.covers[name]
            return _of_cover(net, [signals[other] for other in inputs], cover)

        for output in self.outputs:
            define(output, signals, self._reads, make, self._cycle)
        return net.circuit(
            [signals[name] for name in self.outputs], input_names=self.inputs, output_names=self.outputs
        )

    def _reads(self, name: str) -> list[str]:
        if name not in self.covers:
            raise DataError(f"a BLIF model reads {name!r}, which is neither an input nor defined.")
        return self.covers[name][1]

    def _cycle(self, name: str) -> str:
        return f"BLIF line {self.covers[name][0]}: {name!r} depends on itself; expected a circuit without cycles."


def _of_cover(net: NetworkBuilder, inputs: list[int], cover: list[tuple[str, str]]) -> int:
    """Any row that fits gives the value of the rows; a cover without rows is 0."""
    total = FALSE
    for cube, _ in cover:
        row = TRUE
        for signal, digit in zip(inputs, cube, strict=True):
            if digit != "-":
                row = net.both(row, signal if digit == "1" else net.complement(signal))
        total = net.either(total, row)
    return net.complement(total) if cover and cover[0][1] == "0" else total


def _distinct(texts: list[str]) -> list[str]:
    plain = [
        "".join(c if c.isprintable() and not c.isspace() and c not in "#\\" else "_" for c in text)
        for text in texts
    ]
    plain = [f"_{text}" if text.startswith(".") else text for text in plain]
    taken: set[str] = set()
    for i, text in enumerate(plain):
        candidate, again = text, 2
        while candidate in taken:
            candidate, again = f"{text}_{again}", again + 1
        plain[i] = candidate
        taken.add(candidate)
    return plain
