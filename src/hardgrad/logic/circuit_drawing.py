"""Circuits as pictures: SVG of our own, DOT for Graphviz, a networkx graph. Never imports torch."""

from __future__ import annotations

import contextlib
import html
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hardgrad.core.errors import ExportError
from hardgrad.core.files import write_text
from hardgrad.export.dot import digraph
from hardgrad.export.svg import shorten, text_width
from hardgrad.export.text import one_line
from hardgrad.logic.gate_ids import Gate
from hardgrad.logic.program import live_wires, operands

if TYPE_CHECKING:
    from hardgrad.logic.circuit import Circuit

MOST_DRAWN = 400
"""Gates of a picture that can be read."""
MOST_ROWS = 60
"""Boxes one above the other in a picture on a page."""
SWEEPS = 4
ROW, GATE_WIDTH, HEIGHT, MARGIN = 26.0, 84.0, 20.0, 12.0
FREE = 66.0
"""Width between two columns, crossed by the wires."""
FONT_SIZE, PADDING, MOST_LABEL = 12.0, 8.0, 170.0
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


class Place(NamedTuple):
    """Upper left corner and width of a box."""

    x: float
    y: float
    width: float


def draw(circuit: Circuit, path: str | os.PathLike[str] | None = None) -> str:
    """Return, and write where a path is given, an SVG picture: inputs left, outputs right, a column a level.

    Wires from a gate's upper side are its operand a, from its lower side b. What no output depends on is left out. A name that is too long
    is cut; a pointer that rests on it is told the whole.

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
            f"a picture of {len(gates):,} gates cannot be read; at most {MOST_DRAWN}. Simplify it, or draw "
            "what some outputs need: hardgrad.logic.circuit_drawing.first_outputs(circuit)."
        )
    places, ends, size = _layout(circuit, live)
    lines = [
        _wire(places[a], places[wire], side)
        for wire in (circuit.n_inputs + gates).tolist()
        for a, side in _operands(circuit, wire)
    ]
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


def first_outputs(circuit: Circuit, most_rows: int = MOST_ROWS) -> Circuit | None:
    """Return the circuit of as many outputs, from the first on, as a picture of so many boxes one above the other can hold; or None."""

    def fits(count: int) -> bool:
        part = _with_outputs(circuit, count)
        live = live_wires(part)
        boxes = np.bincount(part.levels[live], minlength=1)
        return max(int(boxes.max()), count) <= most_rows and int(live[part.n_inputs :].sum()) <= MOST_DRAWN

    low, high = 0, min(circuit.n_outputs, most_rows)  # `low` outputs fit
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return _with_outputs(circuit, low) if low else None


def _with_outputs(circuit: Circuit, count: int) -> Circuit:
    names = circuit.output_names[:count]
    fields = (circuit.gates, circuit.left, circuit.right, circuit.outputs[:count], circuit.n_inputs)
    return type(circuit)(*fields, circuit.input_names, names)


def _layout(circuit: Circuit, live: Any) -> tuple[dict[int, Place], list[Place], tuple[float, float]]:
    """Where wires and outputs have their boxes: a column a level, each in the middle of the height."""
    columns = _columns(circuit, live)
    height = max(circuit.n_outputs, 1, *(len(column) for column in columns))
    first = _width_of([_label(circuit, wire) for wire in columns[0]])
    places: dict[int, Place] = {}
    x = MARGIN
    for level, column in enumerate(columns):
        width = GATE_WIDTH if level else first
        top = MARGIN + ROW * (height - len(column)) / 2
        places |= {wire: Place(x, top + ROW * row, width) for row, wire in enumerate(column)}
        x += width + FREE
    last = _width_of(circuit.names_of_outputs)
    top = MARGIN + ROW * (height - circuit.n_outputs) / 2
    ends = [Place(x, top + ROW * o, last) for o in range(circuit.n_outputs)]
    return places, ends, (x + last + MARGIN, 2 * MARGIN + ROW * height)


def _columns(circuit: Circuit, live: Any) -> list[list[int]]:
    """Return the wires of each level in an order of few crossings: by the mean height of what they read and of what reads them, in turn."""
    wires: list[int] = np.flatnonzero(live).tolist()
    levels = circuit.levels.tolist()
    columns: list[list[int]] = [[] for _ in range(max((levels[wire] for wire in wires), default=0) + 1)]
    read: dict[int, list[int]] = {}
    readers: dict[int, list[int]] = {wire: [] for wire in wires}
    for wire in wires:
        columns[levels[wire]].append(wire)
        read[wire] = [] if wire < circuit.n_inputs else [a for a, _ in _operands(circuit, wire)]
        for a in read[wire]:
            readers[a].append(wire)
    height: dict[int, float] = {}
    for o, wire in enumerate(
        circuit.outputs.tolist()
    ):  # outputs stay in order; they are numbered behind all wires
        readers[wire].append(circuit.n_wires + o)
        height[circuit.n_wires + o] = o - (circuit.n_outputs - 1) / 2

    def place(column: list[int]) -> None:
        height.update((wire, row - (len(column) - 1) / 2) for row, wire in enumerate(column))

    def order(column: list[int], neighbours: dict[int, list[int]]) -> None:
        mean = {
            w: sum(height[n] for n in neighbours[w]) / len(neighbours[w]) for w in column if neighbours[w]
        }
        column.sort(key=lambda wire: mean.get(wire, height[wire]))
        place(column)

    for column in columns:
        place(column)
    for _ in range(SWEEPS):
        for column in reversed(columns):
            order(column, readers)
        for column in columns:
            order(column, read)
    return columns


def _width_of(labels: Sequence[str]) -> float:
    """Width of the boxes of a column around these labels, which are cut where they are longer than a box may be."""
    shown = (_shown(label, MOST_LABEL) for label in labels)
    widest = max((text_width(label, size=FONT_SIZE) for label in shown), default=0.0)
    return max(widest + 2 * PADDING, GATE_WIDTH)


def _operands(circuit: Circuit, wire: int) -> list[tuple[int, float]]:
    """What a gate reads, and at which share of its height."""
    read = operands(circuit, wire)
    return [(operand, 0.5 if len(read) == 1 else (0.3, 0.7)[side]) for side, operand in read]


def _wire(start: Place, end: Place, side: float) -> str:
    x, y = start.x + start.width, start.y + HEIGHT / 2
    u, v = end.x, end.y + HEIGHT * side
    bend = max((u - x) / 2, 20.0)
    return f'<path d="M{x:g} {y:g}C{x + bend:g} {y:g} {u - bend:g} {v:g} {u:g} {v:g}"/>'


def _box(place: Place, label: str, kind: str) -> str:
    x, y, width = place.x, place.y, place.width
    shown = html.escape(
        _shown(label, width - 2 * PADDING + 1e-6)
    )  # a sum of floats may fall short of its parts
    text = f'<text x="{x + width / 2:g}" y="{y + 14:g}" text-anchor="middle">{shown}</text>'
    title = f"<title>{html.escape(label)}</title>"
    return f'<g class="{kind}">{title}<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{HEIGHT:g}" rx="4"/>{text}</g>'


def _shown(label: str, width: float) -> str:
    """Return a label that fits: of a comparison, the threshold stays, in six digits, and the name is cut."""
    name, sign, threshold = label.rpartition(" > ")
    if not sign:
        return shorten(label, width, size=FONT_SIZE)
    with contextlib.suppress(ValueError):
        threshold = min(threshold, f"{float(threshold):.6g}", key=len)
    return shorten(name, width, size=FONT_SIZE, tail=sign + shorten(threshold, width / 2, size=FONT_SIZE))


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
