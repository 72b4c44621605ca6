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
        s[2] = s[0] & ~s[1];
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
    lines = [
        f"    s[{target}] = {_text(gate, left, right)};"
        for gate, left, right, target in zip(
            program.gate.tolist(),
            program.left.tolist(),
            program.right.tolist(),
            program.target.tolist(),
            strict=True,
        )
    ]
    starts = range(0, len(lines), GATES_A_FUNCTION)
    parts = [
        "\n".join(
            [f"static void part_{k}({name}_word *s)", "{", *lines[start : start + GATES_A_FUNCTION], "}"]
        )
        for k, start in enumerate(starts)
    ]
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


def _text(gate: int, left: int, right: int) -> str:
    if gate in (Gate.FALSE, Gate.TRUE):
        return "s[0] ^ s[0]" if gate == Gate.FALSE else "~(s[0] ^ s[0])"  # of whatever type a word is
    return TEXTS[Gate(gate)].format(a=f"s[{left}]", b=f"s[{right}]")
