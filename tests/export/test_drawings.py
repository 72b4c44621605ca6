"""Text, DOT and SVG: every text is safe in its format, boxes never overlap, pictures are valid XML."""

from __future__ import annotations

import itertools
import xml.etree.ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from hardgrad.export.dot import digraph, dot_string
from hardgrad.export.svg import Box, draw, lay_out, shorten, text_width
from hardgrad.export.text import draw_tree, one_line

SVG = "{http://www.w3.org/2000/svg}"
AWKWARD = "<&>\"'\\ \x00\x1b\ud800\ufffe ]]> é日本🌲"


@st.composite
def trees(draw_from: st.DrawFn) -> list[Box]:
    """A random tree of boxes in preorder, of any shape and any text."""
    boxes: list[Box] = []

    def grow(depth: int) -> int:
        number = len(boxes)
        lines = draw_from(st.lists(st.text(max_size=20), min_size=1, max_size=4))
        weight = draw_from(st.none() | st.floats(0, 1))
        boxes.append(
            Box(tuple(shorten(line) for line in lines), AWKWARD, weight=weight, branches=("yes", "no"))
        )
        if depth and draw_from(st.booleans()):
            boxes[number].children = tuple(grow(depth - 1) for _ in range(draw_from(st.integers(1, 3))))
        return number

    grow(4)
    return boxes


@given(trees())
def test_boxes_of_a_column_never_overlap_and_stand_inside_the_picture(boxes: list[Box]) -> None:
    width, height = lay_out(boxes)
    for box in boxes:
        assert box.x >= 0 and box.x + box.width <= width
        assert box.y - box.height / 2 >= 0 and box.y + box.height / 2 <= height
        if box.children:
            ends = [boxes[box.children[0]].y, boxes[box.children[-1]].y]
            assert abs(box.y - sum(ends) / 2) < 1e-6
            assert all(boxes[child].x > box.x + box.width for child in box.children)
    columns = sorted(boxes, key=lambda box: (box.depth, box.y))
    for above, below in itertools.pairwise(columns):
        if above.depth == below.depth:
            assert above.y + above.height / 2 < below.y - below.height / 2


@given(trees(), st.text(max_size=30))
def test_drawings_are_valid_xml_that_shows_every_line(boxes: list[Box], title: str) -> None:
    root = ET.fromstring(draw(boxes, title=title + AWKWARD, caption=AWKWARD))
    assert root.tag == f"{SVG}svg" and root.get("viewBox", "").startswith("0 0 ")
    assert len(root.findall(f"{SVG}g")) == len(boxes)
    assert len(root.findall(f"{SVG}path")) == len(boxes) - 1
    assert sum(len(group.findall(f"{SVG}text")) for group in root.findall(f"{SVG}g")) == sum(
        len(b.lines) for b in boxes
    )


def test_a_drawing_in_a_page_leaves_the_scheme_to_the_page() -> None:
    box = [Box(("leaf",))]
    assert "prefers-color-scheme" in draw(box, title="t") and "prefers-color-scheme" not in draw(
        box, title="t", standalone=False
    )


@given(st.text(max_size=60), st.floats(20, 300))
def test_shortened_texts_fit(text: str, width: float) -> None:
    short = shorten(text, width)
    assert text_width(short) <= width and short.isprintable()


def test_a_deep_tree_is_drawn_without_recursion() -> None:
    n = 5000
    boxes = [Box(("x",), children=(i + 1,) if i + 1 < n else ()) for i in range(n)]
    lay_out(boxes)
    lines = draw_tree(0, lambda node: [("b", node + 1)] if node < n else [], str)
    assert len(lines) == n + 1 and boxes[-1].depth == n - 1


@given(st.text(max_size=30), st.integers(4, 40))
def test_one_line_is_one_printable_line(text: str, width: int) -> None:
    assert one_line(text).isprintable()
    assert len(one_line(text, width)) <= width


def test_dot_strings_and_graphs() -> None:
    assert dot_string('a "b"\n\\n&') == '"a \\"b\\"\\n\\\\n&amp;"'
    graph = digraph(
        "g", [("a", {"label": '"'})], [("a", "b", {})], graph={"rankdir": "LR"}, node={"shape": "box"}
    )
    assert (
        graph
        == 'digraph "g" {\n  graph [rankdir="LR"];\n  node [shape="box"];\n  a [label="\\""];\n  a -> b;\n}\n'
    )
