"""Circuits as pictures: SVG of our own, DOT for Graphviz, a networkx graph. Never imports torch."""

from __future__ import annotations

import html
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from hardgrad.core.errors import ExportError
from hardgrad.core.files import write_text
from hardgrad.export.dot import digraph
from hardgrad.export.text import one_line
from hardgrad.logic.gate_ids import Gate
from hardgrad.logic.program import live_wires, operands

if TYPE_CHECKING:
    from hardgrad.logic.circuit import Circuit

MOST_DRAWN = 400
"""Gates of a picture that can be read."""
ROW, COLUMN, BOX, MARGIN = 26.0, 150.0, (84.0, 20.0), 12.0
LABELS = {
    Gate.FALSE: "0", Gate.AND: "a ∧ b", Gate.A_AND_NOT_B: "a ∧ ¬b", Gate.A: "a", Gate.B_AND_NOT_A: "¬a ∧ b", Gate.B: "b", Gate.XOR: "a ⊕ b",
    Gate.OR: "a ∨ b", Gate.NOR: "¬(a ∨ b)", Gate.XNOR: "a ≡ b", Gate.NOT_B: "¬b", Gate.A_OR_NOT_B: "a ∨ ¬b", Gate.NOT_A: "¬a",
    Gate.B_OR_NOT_A: "¬a ∨ b", Gate.NAND: "¬(a ∧ b)", Gate.TRUE: "1",
}  # fmt: skip
STYLE = (
    ".circuit{font:12px 'DejaVu Sans',Verdana,sans-serif;color:#222}.circuit text{fill:currentColor}"
    ".circuit path{fill:none;stroke:#8a94a6;stroke-width:1}.circuit rect{fill:#eef2f8;stroke:#5b6b86}"
    ".circuit .input rect{fill:#e3f1e4}.circuit .output rect{fill:#fbe9d4}"
)


def draw(circuit: Circuit, path: str | os.PathLike[str] | None = None) -> str:
    """Return, and write where a path is given, an SVG picture: inputs left, outputs right, a column a level.

    Wires from a gate's upper side are its operand a, from its lower side b. What no output depends on is left out.

    Raises
    ------
    ExportError : more than 400 gates, which nobody can read.
    """
    text = picture(circuit, style=f"<style>{STYLE}</style>")
    if path is not None:
        write_text(path, text)
    return text


def picture(circuit: Circuit, *, style: str = "") -> str:
    """Return the SVG element of `draw`, with another style element or none, for a page that has its own."""
    live = live_wires(circuit)
    gates = np.flatnonzero(live[circuit.n_inputs :])
    if len(gates) > MOST_DRAWN:
        raise ExportError(
            f"a picture of {len(gates):,} gates cannot be read; at most {MOST_DRAWN}. Simplify it, or draw a part."
        )
    places, size = _layout(circuit, live)
    lines = [
        _wire(places[a], places[wire], side)
        for wire in (circuit.n_inputs + gates).tolist()
        for a, side in _operands(circuit, wire)
    ]
    ends = [(size[0] - MARGIN - BOX[0], MARGIN + ROW * o) for o in range(circuit.n_outputs)]
    lines += [_wire(places[wire], end, 0.5) for wire, end in zip(circuit.outputs.tolist(), ends, strict=True)]
    boxes = [
        _box(place, _label(circuit, wire), "input" if wire < circuit.n_inputs else "gate")
        for wire, place in places.items()
    ]
    boxes += [_box(end, name, "output") for end, name in zip(ends, circuit.names_of_outputs, strict=True)]
    width, height = size
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="circuit" role="img" aria-label="circuit of {len(gates)} gates" '
        f'viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}">{style}{"".join([*lines, *boxes])}</svg>'
    )


def first_outputs(circuit: Circuit) -> Circuit | None:
    """Return the circuit of as many outputs, from the first on, as a picture can hold; None where it cannot hold one."""
    low, high = 0, circuit.n_outputs  # `low` outputs fit
    while low < high:
        middle = (low + high + 1) // 2
        if int(live_wires(_with_outputs(circuit, middle))[circuit.n_inputs :].sum()) <= MOST_DRAWN:
            low = middle
        else:
            high = middle - 1
    return _with_outputs(circuit, low) if low else None


def _with_outputs(circuit: Circuit, count: int) -> Circuit:
    names = circuit.output_names[:count]
    fields = (circuit.gates, circuit.left, circuit.right, circuit.outputs[:count], circuit.n_inputs)
    return type(circuit)(*fields, circuit.input_names, names)


def _layout(circuit: Circuit, live: Any) -> tuple[dict[int, tuple[float, float]], tuple[float, float]]:
    """Upper left corners of boxes: in each level, gates stand in the order of the mean height of what they read."""
    places: dict[int, tuple[float, float]] = {}
    tallest = circuit.n_outputs
    for level in range(int(circuit.levels.max(initial=0)) + 1):
        wires: list[int] = np.flatnonzero(live & (circuit.levels == level)).tolist()
        if level:
            wires.sort(key=lambda wire: sum(places[a][1] for a, _ in _operands(circuit, wire)))
        tallest = max(tallest, len(wires))
        places |= {wire: (MARGIN + COLUMN * level, MARGIN + ROW * row) for row, wire in enumerate(wires)}
    width = 2 * MARGIN + COLUMN * (int(circuit.levels.max(initial=0)) + 1) + BOX[0]
    return places, (width, 2 * MARGIN + ROW * max(tallest, 1))


def _operands(circuit: Circuit, wire: int) -> list[tuple[int, float]]:
    """What a gate reads, and at which share of its height."""
    read = operands(circuit, wire)
    return [(operand, 0.5 if len(read) == 1 else (0.3, 0.7)[side]) for side, operand in read]


def _wire(start: tuple[float, float], end: tuple[float, float], side: float) -> str:
    x, y = start[0] + BOX[0], start[1] + BOX[1] / 2
    u, v = end[0], end[1] + BOX[1] * side
    bend = max((u - x) / 2, 20.0)
    return f'<path d="M{x:g} {y:g}C{x + bend:g} {y:g} {u - bend:g} {v:g} {u:g} {v:g}"/>'


def _box(place: tuple[float, float], label: str, kind: str) -> str:
    x, y = place
    shown = label if len(label) <= 12 else label[:11] + "…"
    text = f'<text x="{x + BOX[0] / 2:g}" y="{y + 14:g}" text-anchor="middle">{html.escape(shown)}</text>'
    title = f"<title>{html.escape(label)}</title>"
    return f'<g class="{kind}">{title}<rect x="{x:g}" y="{y:g}" width="{BOX[0]:g}" height="{BOX[1]:g}" rx="4"/>{text}</g>'


def _label(circuit: Circuit, wire: int) -> str:
    if wire < circuit.n_inputs:
        return one_line(circuit.names_of_inputs[wire])
    return LABELS[Gate(int(circuit.gates[wire - circuit.n_inputs]))]


def to_dot(circuit: Circuit) -> str:
    """Return the circuit in the language of Graphviz; what no output depends on is left out."""
    live = np.flatnonzero(live_wires(circuit)).tolist()
    nodes = [
        (
            f"w{wire}",
            {"label": _label(circuit, wire), "shape": "plaintext" if wire < circuit.n_inputs else "box"},
        )
        for wire in live
    ]
    nodes += [
        (f"y{o}", {"label": one_line(name), "shape": "plaintext"})
        for o, name in enumerate(circuit.names_of_outputs)
    ]
    edges = [
        (f"w{a}", f"w{wire}", {"taillabel": ""} if side == 0.5 else {"headlabel": "a" if side < 0.5 else "b"})
        for wire in live
        if wire >= circuit.n_inputs
        for a, side in _operands(circuit, wire)
    ]
    edges += [(f"w{wire}", f"y{o}", {}) for o, wire in enumerate(circuit.outputs.tolist())]
    return digraph("circuit", nodes, edges, graph={"rankdir": "LR"})


def to_networkx(circuit: Circuit) -> Any:
    """Return a `networkx.MultiDiGraph` of wires: `gate` is a gate's name, `name` that of an input, `outputs` the outputs on a wire; an edge
    has `operand`, "a" or "b".
    """
    import networkx

    graph = networkx.MultiDiGraph()
    for wire in range(circuit.n_wires):
        kind = "INPUT" if wire < circuit.n_inputs else Gate(int(circuit.gates[wire - circuit.n_inputs])).name
        graph.add_node(wire, gate=kind, outputs=tuple(np.flatnonzero(circuit.outputs == wire).tolist()))
        if wire < circuit.n_inputs:
            graph.nodes[wire]["name"] = circuit.names_of_inputs[wire]
    for g in np.flatnonzero((circuit.gates != Gate.FALSE) & (circuit.gates != Gate.TRUE)).tolist():
        graph.add_edge(int(circuit.left[g]), circuit.n_inputs + g, operand="a")
        graph.add_edge(int(circuit.right[g]), circuit.n_inputs + g, operand="b")
    return graph
