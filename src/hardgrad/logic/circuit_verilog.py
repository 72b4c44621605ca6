"""A circuit in Verilog: one assignment a gate, or registers after every level. Never imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hardgrad.core.errors import ExportError
from hardgrad.export import verilog
from hardgrad.logic.circuit_c import TEXTS
from hardgrad.logic.gate_ids import Gate

if TYPE_CHECKING:
    from hardgrad.logic.circuit import Circuit


def to_verilog(circuit: Circuit, name: str = "circuit", *, pipelined: bool = False) -> verilog.VerilogSource:
    """Return a Verilog module with ports `x` and `y`: bit i of them is input or output i.

    Parameters
    ----------
    circuit : the circuit.
    name : of the module.
    pipelined : a port clk and registers after every level: one row a cycle, `circuit.depth` cycles late.

    Raises
    ------
    ParameterError : a name that Verilog cannot have. ExportError : no input or no output, which Verilog has no port for.

    Examples
    --------
    >>> from hardgrad.logic.circuit import Circuit
    >>> print(to_verilog(Circuit.from_expression("y = a & ~b"), "both").source)
    // Circuit of 1 gates, depth 1.
    // x[0]: a
    // x[1]: b
    // y[0]: y
    module both (
        input wire [1:0] x,
        output wire y
    );
        wire n2 = x[0] & ~x[1];
        assign y = n2;
    endmodule
    <BLANKLINE>
    """
    if not circuit.n_inputs or not circuit.n_outputs:
        raise ExportError(
            f"a circuit of {circuit.n_inputs} inputs and {circuit.n_outputs} outputs has no module: Verilog has no port without bits."
        )
    body = _pipeline(circuit) if pipelined else _assignments(circuit)
    ports = [verilog.Port("input", "x", circuit.n_inputs), verilog.Port("output", "y", circuit.n_outputs)]
    if pipelined:
        ports.insert(0, verilog.Port("input", "clk"))
    note = [f"Circuit of {circuit.n_gates:,} gates, depth {circuit.depth}."]
    note += [f"x[{i}]: {_line(text)}" for i, text in enumerate(circuit.names_of_inputs)]
    note += [f"y[{i}]: {_line(text)}" for i, text in enumerate(circuit.names_of_outputs)]
    return verilog.VerilogSource(name, verilog.verilog_module(name, ports, body, "\n".join(note)) + "\n")


def _assignments(circuit: Circuit) -> list[str]:
    def wire(number: int) -> str:
        return _bit("x", number, circuit.n_inputs) if number < circuit.n_inputs else f"n{number}"

    gates = zip(circuit.gates.tolist(), circuit.left.tolist(), circuit.right.tolist(), strict=True)
    body = [
        f"wire n{circuit.n_inputs + g} = {_text(gate, wire(a), wire(b))};"
        for g, (gate, a, b) in enumerate(gates)
    ]
    return body + [
        f"assign {_bit('y', o, circuit.n_outputs)} = {wire(w)};"
        for o, w in enumerate(circuit.outputs.tolist())
    ]


def _pipeline(circuit: Circuit) -> list[str]:
    """Level by level; what a later level still reads travels along in registers."""
    level, depth, inputs = circuit.levels, circuit.depth, circuit.n_inputs
    last = np.zeros(circuit.n_wires, np.int64)
    reads = (circuit.gates != Gate.FALSE) & (circuit.gates != Gate.TRUE)
    for operand in (circuit.left, circuit.right):
        np.maximum.at(last, operand[reads], level[inputs:][reads])
    last[circuit.outputs] = depth + 1
    now = {i: _bit("x", i, inputs) for i in range(inputs)}
    constants = {inputs + g: _text(int(circuit.gates[g]), "", "") for g in np.flatnonzero(~reads).tolist()}
    now |= constants
    body: list[str] = []
    for k in range(1, depth + 1):
        made = inputs + np.flatnonzero(level[inputs:] == k)
        made = made[last[made] > k]
        carried = [wire for wire in now if last[wire] > k and wire not in constants]
        texts = {
            wire: _text(
                int(circuit.gates[wire - inputs]),
                now[int(circuit.left[wire - inputs])],
                now[int(circuit.right[wire - inputs])],
            )
            for wire in made.tolist()
        }
        texts |= {wire: now[wire] for wire in carried}
        body += [f"// level {k}", *(f"reg s{k}_{wire};" for wire in texts)]
        body += [
            "always @(posedge clk) begin",
            *(f"    s{k}_{wire} <= {text};" for wire, text in texts.items()),
            "end",
        ]
        now = constants | {wire: f"s{k}_{wire}" for wire in texts}
    return body + [
        f"assign {_bit('y', o, circuit.n_outputs)} = {now[w]};"
        for o, w in enumerate(circuit.outputs.tolist())
    ]


def _text(gate: int, a: str, b: str) -> str:
    if gate in (Gate.FALSE, Gate.TRUE):
        return "1'b0" if gate == Gate.FALSE else "1'b1"
    return TEXTS[Gate(gate)].format(a=a, b=b)


def _bit(port: str, number: int, width: int) -> str:
    return verilog.part(port, number, 1) if width > 1 else port


def _line(text: str) -> str:
    return " ".join(text.split())
