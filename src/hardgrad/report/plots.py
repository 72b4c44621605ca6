"""The pictures that follow from size: the front, what the forest leans on; and the axes of all. Draws; measures nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from hardgrad.export.svg import shorten, text_width
from hardgrad.report.importance import Importance
from hardgrad.report.svg import CHARACTER, Drawing, Scale, log_ticks, ticks
from hardgrad.report.wording import cut, fixed, metric_name, places, step_places

Point = Mapping[str, Any]


def padded(values: Sequence[float], share: float = 0.06) -> tuple[float, float]:
    """Return the range of values with a margin."""
    low, high = min(values), max(values)
    margin = (high - low) * share or abs(high) * 0.05 or 1.0
    return low - margin, high + margin


def axis_y(
    drawing: Drawing, y: Scale, left: float, right: float, at: Sequence[float], text: Any = None
) -> None:
    """Draw light lines across and their values at the left."""
    for value in at:
        drawing.line(left, y(value), right, y(value), "grid")
        drawing.text(
            left - 8, y(value) + 4, text(value) if text else fixed(value, step_places(at)), "tick", "end"
        )


def axis_x(drawing: Drawing, x: Scale, base: float, at: Sequence[float], text: Any = None) -> None:
    """Draw short ticks below a base line and their values."""
    drawing.line(x.start, base, x.end, base, "rule")
    for value in at:
        drawing.line(x(value), base, x(value), base + 4, "rule")
        drawing.text(
            x(value), base + 18, text(value) if text else fixed(value, step_places(at)), "tick", "middle"
        )


def front(
    points: Sequence[Point], baselines: Sequence[Point], size: str, metric: str, width: float
) -> Markup | None:
    """Draw loss against size ("leaves" or "bytes") of our candidates and of installed boosters; None where fewer than two are known."""
    ours = sorted(
        (p for p in points if p.get(size) and p.get("loss") is not None), key=lambda p: float(p[size])
    )
    others = [p for p in baselines if p.get(size) and p.get("loss") is not None]
    if len(ours) + len(others) < 2:
        return None
    height, left, right, top = 290.0, 46.0, width - 18.0, 34.0
    base = height - 44
    sizes = [float(p[size]) for p in (*ours, *others)]
    low, high = min(sizes) / 1.25, max(sizes) * 1.25
    x = Scale(low, high, left + 6, right, log=True)
    bottom_loss, top_loss = padded([float(p["loss"]) for p in (*ours, *others)], 0.1)
    y = Scale(bottom_loss, top_loss, base - 4, top)
    drawing = Drawing(width, height, f"{metric_name(metric)} against {size}")
    axis_y(drawing, y, left, right, ticks(bottom_loss, top_loss, 4))
    axis_x(drawing, x, base, log_ticks(low, high, 4 if width > 300 else 3), lambda v: f"{v:,.0f}")
    drawing.text(left - 40, 14, metric_name(metric), "tick")
    drawing.text(right, height - 6, f"{size}, logarithmic", "tick", "end")
    best: list[tuple[float, float]] = []
    lowest = float("inf")
    for p in ours:  # the front itself: what no smaller candidate reaches
        if float(p["loss"]) < lowest:
            if best:
                best.append((x(float(p[size])), y(lowest)))
            lowest = float(p["loss"])
            best.append((x(float(p[size])), y(lowest)))
    drawing.path(best, "stroke thin hard faint")
    for p in ours:
        if not p.get("chosen"):
            drawing.add("circle", cx=x(float(p[size])), cy=y(float(p["loss"])), r=3.5, class_="dot hard")
    name_points(drawing, [p for p in ours if p.get("chosen")], others, ours, size, x, y)
    return drawing.svg()


def name_points(
    drawing: Drawing,
    chosen: Sequence[Point],
    others: Sequence[Point],
    ours: Sequence[Point],
    size: str,
    x: Scale,
    y: Scale,
) -> None:
    """Mark the chosen point and the boosters, each with its name where it hides the least."""

    def box(px: float, py: float, r: float) -> Box:
        return px - r, py - r, px + r, py + r

    at = {id(p): (x(float(p[size])), y(float(p["loss"]))) for p in (*ours, *others)}
    taken = [box(*at[id(p)], 12 if p.get("chosen") else 6) for p in (*ours, *others)]
    named = [(p, "this model", "hard") for p in chosen] + [
        (p, str(p.get("name", "booster")), "quiet") for p in others
    ]
    for p, name, class_ in named:
        px, py = at[id(p)]
        if class_ == "hard":
            drawing.add("circle", cx=px, cy=py, r=9, class_="ring hard")
            drawing.add("circle", cx=px, cy=py, r=4.5, class_="fill hard")
        else:
            drawing.path([(px, py - 5), (px + 5, py), (px, py + 5), (px - 5, py)], "diamond", closed=True)
        name = cut(name, 24)
        long, off = CHARACTER * len(name) + 2, 14 if class_ == "hard" else 10
        spots = [
            (px + dx, py + dy, anchor)
            for dy in (4, -12, 20, -26, 34)
            for dx, anchor in ((off, "start"), (-off, "end"), (0, "middle"))
            if not (dy == 4 and dx == 0)
        ]
        boxes = [text_box(sx, sy, long, anchor) for sx, sy, anchor in spots]
        costs = [
            sum(overlap(b, other) for other in taken)
            + 50 * max(0.0, b[0] * -1, b[2] - drawing.width, b[3] - y.start)
            + k
            for k, b in enumerate(boxes)
        ]
        best = costs.index(min(costs))
        taken.append(boxes[best])
        drawing.text(spots[best][0], spots[best][1], name, f"label halo {class_}", spots[best][2])


Box = tuple[float, float, float, float]


def text_box(x: float, y: float, long: float, anchor: str) -> Box:
    """Return the room that a label takes: left, top, right, bottom."""
    left = x - {"start": 0.0, "middle": long / 2, "end": long}[anchor]
    return left, y - 11, left + long, y + 3


def overlap(a: Box, b: Box) -> float:
    """Return the area that two boxes share."""
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def importance(items: Sequence[Importance], width: float, limit: int = 16) -> Markup:
    """Draw one bar a column with the least and greatest of the repeats as a line, and its value beside it."""
    shown = list(items[:limit])
    row, narrow = (40.0, True) if width < 500 else (26.0, False)
    widest = max(text_width(i.name, size=12) for i in shown)
    name_width = 0.0 if narrow else min(widest, 196.0) + 14.0
    value_width = 64.0
    drawing = Drawing(width, row * len(shown) + 6, "importance of each column")
    reach = max(max(i.high for i in shown), 1e-12)
    decimals = places([i.value for i in shown])
    x = Scale(min(0.0, *(i.low for i in shown)), reach, name_width, width - value_width)
    for k, item in enumerate(shown):
        middle = k * row + (29 if narrow else 14)
        room = width - value_width if narrow else min(widest, 196.0)
        drawing.text(
            0 if narrow else name_width - 10,
            middle - (13 if narrow else -4),
            shorten(item.name, room, size=12),
            "name",
            "start" if narrow else "end",
        )
        if narrow:
            drawing.line(x(0.0), middle - 9, x(0.0), middle + 9, "rule")
        start, end = x(min(0.0, item.value)), x(max(0.0, item.value))
        drawing.add(
            "rect", x=start, y=middle - 6, width=max(end - start, 1), height=12, class_="fill hard", rx=1
        )
        drawing.line(x(item.low), middle, x(item.high), middle, "whisker")
        drawing.text(x(max(item.high, item.value, 0.0)) + 8, middle + 4, fixed(item.value, decimals), "label")
    if not narrow:
        drawing.line(x(0.0), 2, x(0.0), row * len(shown) + 2, "rule")
    return drawing.svg()
