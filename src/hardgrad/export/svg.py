"""Drawing trees as SVG: widths of text, a tidy layout from left to right, bands and boxes. Knows nothing about models; never imports torch.

A drawing is one `<svg>` element with its own small style sheet. Colours are custom properties with defaults for light and dark, text is
in `currentColor`, so that a page can set both.
"""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field

from hardgrad.export.text import one_line

FONT_SIZE = 13.0
LINE_HEIGHT = 16.0
PADDING = 8.0
GAP = 12.0
"""Free height between two boxes that stand one above the other."""
MARGIN = 12.0
STEP = 62.0
"""Free width between two columns, crossed by the bands."""
MAX_WIDTH = 220.0
THICKEST = 34.0

# Shares of the font size in DejaVu Sans and Verdana, the widest of the usual fonts: in others a box has a little air.
_CHARACTERS = {
    **dict.fromkeys("ijl|'", 0.29),
    **dict.fromkeys(" .,:;!I`-/\\", 0.36),
    **dict.fromkeys('()[]{}ftr"', 0.43),
    **dict.fromkeys("sckvxyz_J", 0.57),
    **dict.fromkeys("mMW%@…", 1.0),
    **dict.fromkeys("w−+≤=<>", 0.84),
}


@dataclass
class Box:
    """A node of a drawing.

    Parameters
    ----------
    lines : its text, the first line bold.
    title : what a pointer that rests on it is told.
    children : numbers of the boxes that follow, from top to bottom.
    branches : a word for each child, written on its band.
    weight : how thick the band that leads here is, as a share of the root's 1.0; None draws a thin line.
    tone : class of its colour: "test", "low", "high", or "class-0" .. "class-7".
    shade : 0 to 1, how full the colour is.
    """

    lines: tuple[str, ...]
    title: str = ""
    children: tuple[int, ...] = ()
    branches: tuple[str, ...] = ()
    weight: float | None = None
    tone: str = "test"
    shade: float = 1.0
    x: float = field(default=0.0, init=False)
    y: float = field(default=0.0, init=False)
    depth: int = field(default=0, init=False)

    @property
    def width(self) -> float:
        """Width of the box around its text."""
        return max(text_width(line, bold=i == 0) for i, line in enumerate(self.lines)) + 2 * PADDING

    @property
    def height(self) -> float:
        """Height of the box around its text."""
        return len(self.lines) * LINE_HEIGHT + PADDING

    @property
    def thickness(self) -> float:
        """Thickness of the band that leads here."""
        return 1.5 if self.weight is None else max(self.weight * THICKEST, 1.0)


def text_width(text: str, *, size: float = FONT_SIZE, bold: bool = False) -> float:
    """Return the width of a text in a usual sans serif font, estimated a little wide.

    >>> text_width("iiii") < text_width("mmmm") < text_width("日本日本")
    True
    """
    total = 0.0
    for c in text:
        if unicodedata.east_asian_width(c) in "WF":
            total += 1.05
        elif not unicodedata.combining(c):
            total += _CHARACTERS.get(c) or (0.73 if c.isupper() else 0.64)
    return total * size * (1.12 if bold else 1.0)


def shorten(
    text: str, width: float = MAX_WIDTH, *, size: float = FONT_SIZE, bold: bool = False, tail: str = ""
) -> str:
    """Return a text in one line, `tail` behind it, that is no wider than `width`, cut with an ellipsis in front of the tail where needed.

    >>> shorten("a very long name of a column", 80.0)
    'a very lon…'
    >>> shorten("a very long name of a column", 100.0, tail=" > 7.5")
    'a very… > 7.5'
    """
    text = one_line(text)
    if text_width(text + tail, size=size, bold=bold) <= width:
        return text + tail
    while text and text_width(f"{text}…{tail}", size=size, bold=bold) > width:
        text = text[:-1]
    return f"{text.rstrip()}…{tail}"


# --- layout -----------------------------------------------------------------------------------------------------------------
def lay_out(boxes: Sequence[Box]) -> tuple[float, float]:
    """Place the boxes of a tree, the root being the first, and return width and height of the drawing.

    Columns are depths. In each column boxes stand as close as their heights allow, whole subtrees are moved towards each other until they
    would touch, and a parent stands in the middle of its children (the method of Reingold and Tilford, for boxes of any height).
    """
    order = _preorder(boxes)
    contours: dict[int, list[tuple[float, float]]] = {}
    offset = [0.0] * len(boxes)  # of a box against its parent
    for i in reversed(order):
        boxes[i].y = 0.0
        contours[i] = _join(boxes, i, [contours.pop(child) for child in boxes[i].children], offset)
    top = min(low for low, _ in contours[0])
    bottom = max(high for _, high in contours[0])
    for i in order:
        for child in boxes[i].children:
            boxes[child].y = boxes[i].y + offset[child]
    columns = [0.0] * (1 + max(box.depth for box in boxes))
    for box in boxes:
        columns[box.depth] = max(columns[box.depth], box.width)
    left = [MARGIN]
    for width in columns:
        left.append(left[-1] + width + STEP)
    for box in boxes:
        box.x = left[box.depth]
        box.y += MARGIN - top
    return left[-1] - STEP + MARGIN, bottom - top + 2 * MARGIN


def _preorder(boxes: Sequence[Box]) -> list[int]:
    order, stack = [], [0]
    while stack:
        i = stack.pop()
        order.append(i)
        for child in boxes[i].children:
            boxes[child].depth = boxes[i].depth + 1
        stack += reversed(boxes[i].children)
    return order


def _join(
    boxes: Sequence[Box], i: int, parts: list[list[tuple[float, float]]], offset: list[float]
) -> list[tuple[float, float]]:
    """Place the subtrees of box i below one another, itself in their middle; return the (top, bottom) of each column from its own on."""
    half = max(boxes[i].height, boxes[i].thickness, sum(boxes[c].thickness for c in boxes[i].children)) / 2
    own = (-half, half)
    if not parts:
        return [own]
    joined = list(parts[0])
    places = [0.0]
    for part in parts[1:]:
        shift = max(high - low for (_, high), (low, _) in zip(joined, part, strict=False)) + GAP
        places.append(shift)
        moved = [(low + shift, high + shift) for low, high in part]
        shared = [(a[0], b[1]) for a, b in zip(joined, moved, strict=False)]
        joined = shared + (joined[len(shared) :] or moved[len(shared) :])
    middle = (places[0] + places[-1]) / 2
    for child, place in zip(boxes[i].children, places, strict=True):
        offset[child] = place - middle
    return [own, *((low - middle, high - middle) for low, high in joined)]


# --- drawing ----------------------------------------------------------------------------------------------------------------
LIGHT = {
    "ink": "#1f2530",
    "band": "#8a94a6",
    "low": "#c2570c",
    "high": "#1d6fd1",
    "0": "#1d6fd1",
    "1": "#c2570c",
    "2": "#16835c",
    "3": "#8a3ffc",
    "4": "#b0246a",
    "5": "#7a6a00",
    "6": "#00798c",
    "7": "#6b7280",
}
DARK = {
    "ink": "#e8ebf0",
    "band": "#7d879a",
    "low": "#f59a52",
    "high": "#6cabf7",
    "0": "#6cabf7",
    "1": "#f59a52",
    "2": "#4cc79a",
    "3": "#b794ff",
    "4": "#f07ab4",
    "5": "#d9c64a",
    "6": "#4cc3d6",
    "7": "#a3abb8",
}
_RULES = """.hg-tree text{font:13px system-ui,-apple-system,"Segoe UI",Roboto,Helvetica,Arial,sans-serif;fill:currentColor}
.hg-tree .name{font-weight:600}
.hg-tree .small{font-size:11px;opacity:.62}
.hg-tree path{fill:none;stroke:var(--hg-band,BAND);stroke-opacity:.32}
.hg-tree rect{stroke-width:1.2}
.hg-tree .test rect{fill:currentColor;fill-opacity:.045;stroke:currentColor;stroke-opacity:.22}
.hg-tree g:hover>rect{stroke-opacity:.9;stroke-width:1.8}"""


def style_sheet(*, standalone: bool) -> str:
    """Return the style of drawings; a standalone one also chooses the colour of its ink, for a light and a dark surface."""
    tones = {f".{'class-' * key.isdigit()}{key}": key for key in LIGHT if key not in ("ink", "band")}
    rules = [_RULES.replace("BAND", LIGHT["band"])]
    for selector, key in tones.items():
        color = f"var(--hg-{key},{LIGHT[key]})"
        rules.append(
            f".hg-tree {selector} rect{{fill:{color};stroke:{color}}}.hg-tree path{selector}{{stroke:{color}}}"
        )
    if (
        standalone
    ):  # a page that a drawing stands in may have a switch of its own: it sets the properties itself
        dark = ";".join(f"--hg-{key}:{value}" for key, value in DARK.items())
        rules.append(f".hg-tree{{color-scheme:light dark;color:var(--hg-ink,{LIGHT['ink']})}}")
        rules.append(f"@media (prefers-color-scheme:dark){{.hg-tree{{{dark}}}}}")
    return "\n".join(rules)


def draw(boxes: Sequence[Box], *, title: str, caption: str = "", standalone: bool = True) -> str:
    """Return the drawing of a tree as one SVG element that scales to the width it is given.

    Parameters
    ----------
    boxes : the nodes, the root first.
    title : what the picture shows, for screen readers and pointers.
    caption : a line of small text below.
    standalone : whether it is a file of its own, or stands in a page and takes its ink from there.
    """
    width, height = lay_out(boxes)
    foot = 22.0 if caption else 0.0
    width = max(width, text_width(caption, size=11) + 2 * MARGIN)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="hg-tree" viewBox="0 0 {_n(width)} {_n(height + foot)}" '
        f'style="width:100%;max-width:{_n(width)}px;height:auto" role="img" aria-label="{_attribute(title)}">',
        f"<title>{_text(title)}</title>",
        f"<style>{style_sheet(standalone=standalone)}</style>",
    ]
    parts += [band for i in range(len(boxes)) for band in _bands(boxes, i)]
    parts += [_box(box) for box in boxes]
    if caption:
        parts.append(f'<text class="small" x="{_n(MARGIN)}" y="{_n(height + 8)}">{_text(caption)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _bands(boxes: Sequence[Box], i: int) -> list[str]:
    """The bands from a box to its children: they leave it stacked, each as thick as its share, and arrive in the middle."""
    box = boxes[i]
    x, y = box.x + box.width, box.y
    children = [boxes[c] for c in box.children]
    stacked = any(child.weight is not None for child in children)
    start = y - sum(child.thickness for child in children) / 2 if stacked else y
    parts = []
    for k, child in enumerate(children):
        from_y = start + child.thickness / 2 if stacked else y
        start += child.thickness
        bend = (child.x - x) * 0.5
        curve = f"M{_n(x)} {_n(from_y)}C{_n(x + bend)} {_n(from_y)} {_n(child.x - bend)} {_n(child.y)} {_n(child.x)} {_n(child.y)}"
        tone = f' class="{child.tone}"' if child.tone != "test" else ""
        parts.append(f'<path{tone} d="{curve}" stroke-width="{_n(child.thickness)}"/>')
        if k < len(box.branches):
            # Beside the band, on the outer side, where it has left its neighbour.
            at = child.y - child.thickness / 2 - 4 if child.y < y else child.y + child.thickness / 2 + 11
            word = _text(box.branches[k])
            parts.append(
                f'<text class="small" text-anchor="end" x="{_n(child.x - 5)}" y="{_n(at)}">{word}</text>'
            )
    return parts


def _box(box: Box) -> str:
    top = box.y - box.height / 2
    fill = "" if box.tone == "test" else f' fill-opacity="{_n(0.1 + 0.45 * box.shade)}"'
    lines = []
    for k, line in enumerate(box.lines):
        at = top + PADDING / 2 + (k + 0.76) * LINE_HEIGHT
        kind = ' class="name"' if k == 0 else ""
        lines.append(f'<text{kind} x="{_n(box.x + PADDING)}" y="{_n(at)}">{_text(line)}</text>')
    size = f'width="{_n(box.width)}" height="{_n(box.height)}" rx="6"'
    rect = f'<rect x="{_n(box.x)}" y="{_n(top)}" {size}{fill}/>'
    return f'<g class="{box.tone}"><title>{_text(box.title)}</title>{rect}{"".join(lines)}</g>'


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _text(text: str) -> str:
    """Escape for XML; characters that XML cannot hold are replaced."""
    return html.escape("".join(c if _is_xml(c) else "\N{REPLACEMENT CHARACTER}" for c in text), quote=False)


def _attribute(text: str) -> str:
    return _text(text).replace('"', "&quot;").replace("\n", " ")


def _is_xml(c: str) -> bool:
    return c in "\t\n\r" or (c >= " " and not "\ud800" <= c <= "\udfff" and c not in "\ufffe\uffff")
