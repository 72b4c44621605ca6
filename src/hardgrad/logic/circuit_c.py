"""A circuit in C99: bitwise operations on words, one row a bit. Never imports torch.

The gates are cut into functions of a few hundred that work on one array: compilers take time that grows faster than the length of a
function. A word is `uint64_t`, or whatever `<NAME>_WORD` is defined to be before the header: a vector type of the compiler makes every
call take more rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hardgrad.export import c
from hardgrad.logic.gate_ids import Gate

if TYPE_CHECKING:
    from hardgrad.logic.circuit import Circuit
    from hardgrad.logic.program import Program

GATES_A_FUNCTION = 200
TEXTS = {
    Gate.FALSE: "0", Gate.AND: "{a} & {b}", Gate.A_AND_NOT_B: "{a} & ~{b}", Gate.A: "{a}", Gate.B_AND_NOT_A: "{b} & ~{a}", Gate.B: "{b}",
    Gate.XOR: "{a} ^ {b}", Gate.OR: "{a} | {b}", Gate.NOR: "~({a} | {b})", Gate.XNOR: "~({a} ^ {b})", Gate.NOT_B: "~{b}",
    Gate.A_OR_NOT_B: "{a} | ~{b}", Gate.NOT_A: "~{a}", Gate.B_OR_NOT_A: "{b} | ~{a}", Gate.NAND: "~({a} & {b})", Gate.TRUE: "~0",
}  # fmt: skip
"""Every gate in the operators of C and Verilog."""


def to_c(circuit: Circuit, name: str = "circuit") -> c.CSource:
    """Return C99 with `void <name>_run(const <name>_word *x, <name>_word *y)`: every input and output is a word, every bit a row.

    Parameters
    ----------
    circuit : the circuit.
    name : prefix of every name.

    Raises
    ------
    ParameterError : a name that C cannot have.

    Examples
    --------
    >>> from hardgrad.logic.circuit import Circuit
    >>> print(to_c(Circuit.from_expression("a & ~b")).source.partition("word *s)")[2].partition("}")[0].strip())
    {
        const circuit_word v0 = s[0] & ~s[1];
        s[2] = v0;
    """
    c.require_identifier(name)
    upper = name.upper()
    listed = [f"    x[{i}]: {c.c_comment(text)}" for i, text in enumerate(circuit.names_of_inputs)]
    listed += [f"    y[{i}]: {c.c_comment(text)}" for i, text in enumerate(circuit.names_of_outputs)]
    header = "\n".join(
        [
            f"/* A circuit of {circuit.n_gates:,} gates: row i is bit i of every word.",
            *listed, "*/", f"#ifndef {upper}_H", f"#define {upper}_H", "#include <stdint.h>", f"#ifndef {upper}_WORD",
            f"#define {upper}_WORD uint64_t", "#endif", f"typedef {upper}_WORD {name}_word;", f"#define {upper}_INPUTS {circuit.n_inputs}",
            f"#define {upper}_OUTPUTS {circuit.n_outputs}", f"void {name}_run(const {name}_word *x, {name}_word *y);", "#endif", "",
        ]
    )  # fmt: skip
    return c.CSource(name, header, f'#include "{name}.h"\n\n' + definitions(circuit, name))


def definitions(circuit: Circuit, name: str) -> str:
    """Return the functions of `to_c` that follow the header."""
    program = circuit.program
    parts = gate_functions(program, f"{name}_word")
    put = [
        f"    s[{place}] = x[{wire}];"
        for wire, place in zip(program.input_wire.tolist(), program.input_place.tolist(), strict=True)
    ]
    got = [f"    y[{o}] = s[{place}];" for o, place in enumerate(program.output_place.tolist())]
    run = [
        f"void {name}_run(const {name}_word *x, {name}_word *y)", "{", f"    {name}_word s[{program.n_places}];", *put,
        *(f"    part_{k}(s);" for k in range(len(parts))), *got, "    (void)x, (void)y, (void)s;", "}", "",
    ]  # fmt: skip
    return "\n\n".join([*parts, "\n".join(run)])


def gate_functions(program: Program, word: str, size: int = GATES_A_FUNCTION) -> list[str]:
    """Return functions `part_0`, `part_1`, .. that take an array of places and evaluate `size` gates each.

    A value that only gates of its own function read is a local variable, which the compiler may keep in a register.
    """
    gates, targets = program.gate.tolist(), program.target.tolist()
    operands = zip(program.left.tolist(), program.right.tolist(), strict=True)
    reads = [
        [] if gate in (Gate.FALSE, Gate.TRUE) else [a, b]
        for gate, (a, b) in zip(gates, operands, strict=True)
    ]
    kept = _kept_beyond(program, reads, targets, size)
    parts: list[str] = []
    for start in range(0, len(gates), size):
        local: dict[int, str] = {}  # place -> variable that holds its value
        lines = []
        for g in range(start, min(start + size, len(gates))):
            a, b = ([local.get(place, f"s[{place}]") for place in reads[g]] + ["", ""])[:2]
            lines.append(f"    const {word} v{g} = {_text(gates[g], a, b)};")
            local[targets[g]] = f"v{g}"
            if kept[g]:
                lines.append(f"    s[{targets[g]}] = v{g};")
        parts.append("\n".join([f"static void part_{len(parts)}({word} *s)", "{", *lines, "}"]))
    return parts


def _kept_beyond(program: Program, reads: list[list[int]], targets: list[int], size: int) -> list[bool]:
    """Whether each gate's value is read in a later function, or is an output: found from the end, by what is read next of each place."""
    never = len(targets) + size
    needed = dict.fromkeys(program.output_place.tolist(), never)  # place -> the last reader of what it holds
    kept = [False] * len(targets)
    for g in range(len(targets) - 1, -1, -1):
        kept[g] = needed.pop(targets[g], -1) // size > g // size
        for place in reads[g]:
            needed.setdefault(place, g)
    return kept


def _text(gate: int, a: str, b: str) -> str:
    if gate in (Gate.FALSE, Gate.TRUE):
        return "s[0] ^ s[0]" if gate == Gate.FALSE else "~(s[0] ^ s[0])"  # of whatever type a word is
    return TEXTS[Gate(gate)].format(a=a, b=b)
