"""The pictures that judge predictions: reliability, confusion, residuals, decisions by threshold. Draws; measures nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from hardgrad.report.measures import Floats, Reliability, Residuals, ThresholdTable
from hardgrad.report.plots import axis_x, axis_y, padded
from hardgrad.report.svg import CHARACTER, Drawing, Scale, ticks
from hardgrad.report.wording import count, cut, number, percent


def reliability(found: Reliability, width: float, title: str) -> Markup:
    """Draw observed frequency against predicted probability, and below how many rows each bin holds."""
    left, right, top = 40.0, width - 14.0, 26.0
    side = right - left
    base, gap, bars = top + side, 46.0, 64.0
    drawing = Drawing(width, base + gap + bars + 30, f"reliability of {title}")
    x, y = Scale(0, 1, left, right), Scale(0, 1, base, top)
    quarters = [0.0, 0.25, 0.5, 0.75, 1.0]
    axis_y(drawing, y, left, right, quarters, lambda v: f"{100 * v:.0f}")
    drawing.line(x(0), y(0), x(1), y(1), "diagonal")
    drawing.text(left - 34, 14, "observed, %", "tick")
    points = [(x(p), y(o)) for p, o in zip(found.predicted, found.observed, strict=True)]
    for (px, _), (low, high) in zip(points, found.interval(), strict=True):
        drawing.line(px, y(low), px, y(high), "whisker hard")
    drawing.path(points, "stroke thin hard faint")
    heaviest = float(found.weight.max(initial=1.0))
    for (px, py), weight in zip(points, found.weight, strict=True):
        drawing.add("circle", cx=px, cy=py, r=3 + 4 * math.sqrt(weight / heaviest), class_="dot hard")
    floor, ceiling = base + gap + bars, base + gap
    h = Scale(0, heaviest, floor, ceiling)
    for k, weight in zip(found.bin, found.weight, strict=True):
        x0, x1 = x(float(found.edges[k])) + 1, x(float(found.edges[k + 1])) - 1
        drawing.add(
            "rect",
            x=x0,
            y=h(float(weight)),
            width=x1 - x0,
            height=floor - h(float(weight)),
            class_="bin hard",
        )
        drawing.text((x0 + x1) / 2, h(float(weight)) - 5, compact(float(weight)), "tick small", "middle")
    axis_x(drawing, x, floor, quarters, lambda v: f"{100 * v:.0f}")
    drawing.text(left - 34, base + gap - 18, "rows", "tick")
    drawing.text(right, base + gap - 24, "predicted, %", "tick", "end")
    return drawing.svg()


def separation(
    probability: Floats,
    positive: np.ndarray[Any, np.dtype[np.bool_]],
    weight: Floats,
    names: Sequence[str],
    width: float,
) -> Markup:
    """Draw how the probabilities of the two classes are spread, one above and one below a common axis."""
    left, right, top, high, middle = 6.0, width - 14.0, 26.0, 170.0, 22.0
    drawing = Drawing(width, top + 2 * high + middle + 52, "spread of the probability by observed class")
    x = Scale(0, 1, left, right)
    edges = np.linspace(0, 1, 26)
    parts = [
        np.histogram(probability[side], bins=edges, weights=weight[side])[0] for side in (positive, ~positive)
    ]
    shares = [part / part.sum() if part.sum() else part for part in parts]
    axis, under = top + high, top + high + middle
    for share, up in zip(shares, (True, False), strict=True):
        tall = float(share.max()) or 1.0
        for k, value in enumerate(share):
            size = float(value) / tall * (high - 14)
            x0, x1 = x(float(edges[k])) + 0.5, x(float(edges[k + 1])) - 0.5
            drawing.add(
                "rect",
                x=x0,
                y=axis - size if up else under,
                width=x1 - x0,
                height=size,
                class_="bin hard" if up else "bin other",
            )
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        drawing.text(
            x(tick),
            axis + 15,
            f"{100 * tick:.0f}",
            "tick",
            "start" if tick == 0 else "end" if tick == 1 else "middle",
        )
    drawing.line(left, axis, right, axis, "rule")
    drawing.line(left, under, right, under, "rule")
    for share, name, class_, y in zip(
        shares, names, ("hard", "quiet"), (top + 12, under + high - 2), strict=True
    ):
        peak = int(np.argmax(share))
        at, end = (
            x(float(edges[peak] + edges[peak + 1]) / 2),
            "start" if peak < 2 else "end" if peak > 22 else "middle",
        )
        top_y = axis - (high - 14) - 5 if class_ == "hard" else under + (high - 14) + 13
        drawing.text(at, top_y, percent(float(share[peak]), 0), "tick small", end)
        mean = float((share * (edges[:-1] + edges[1:]) / 2).sum())
        x0, anchor = (left, "start") if mean > 0.5 else (right, "end")
        drawing.text(x0, y, f"observed {cut(name, 24)}", f"label halo {class_}", anchor)
        drawing.text(x0, y + 15, f"mean {percent(mean)}", "tick halo", anchor)
    drawing.text(left, 14, "share of the class by predicted probability, %", "tick")
    return drawing.svg()


def compact(value: float) -> str:
    """Return a count in at most four characters: "812", "4.1k".

    >>> compact(812.0), compact(4120.0), compact(41200.0)
    ('812', '4.1k', '41k')
    """
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            scaled = value / size
            return f"{scaled:.1f}{letter}" if scaled < 9.95 else f"{scaled:.0f}{letter}"
    return f"{value:.0f}"


def confusion(cells: Floats, names: Sequence[str], width: float) -> Markup:
    """Draw observed classes as rows and predicted ones as columns; each cell says its rows and its share of the observed class."""
    n = len(names)
    label = min(max(len(name) for name in names) * CHARACTER + 12, 120 if width > 500 else 84)
    top = 44.0
    side = min((width - label - 4) / n, 150.0 if n < 4 else 110.0)
    tall = min(side, 84.0 if n < 4 else 64.0)
    drawing = Drawing(label + side * n + 4, top + tall * n + 6, "confusion matrix", natural=True)
    drawing.text(label + side * n / 2, 13, "predicted", "tick", "middle")
    drawing.text(0, top - 10, "observed", "tick")
    total = cells.sum(axis=1)
    fit = int((side - 4) / CHARACTER)
    for j, name in enumerate(names):
        drawing.text(label + side * (j + 0.5), top - 10, cut(name, fit), "name", "middle")
    for i, name in enumerate(names):
        middle = top + tall * (i + 0.5)
        drawing.text(label - 10, middle + 4, cut(name, int((label - 8) / CHARACTER)), "name", "end")
        for j in range(n):
            share = float(cells[i, j] / total[i]) if total[i] else 0.0
            at: dict[str, Any] = {
                "x": label + side * j + 1,
                "y": top + tall * i + 1,
                "width": side - 2,
                "height": tall - 2,
            }
            drawing.add(
                "rect",
                **at,
                class_="cell hard" if i == j else "cell miss",
                fill_opacity=f"{0.05 + (0.4 if i == j else 0.45) * share:.3f}",
                rx=2,
            )
            x = label + side * (j + 0.5)
            roomy = tall >= 40
            drawing.text(
                x,
                middle + (-1 if roomy else 4),
                compact(float(cells[i, j])) if side < 54 else count(float(cells[i, j])),
                "big" if side >= 40 else "tick small",
                "middle",
            )
            if roomy:
                drawing.text(x, middle + 15, percent(share, 1 if side > 60 else 0), "share", "middle")
    return drawing.svg()


def residual_bins(found: Residuals, width: float, title: str) -> Markup:
    """Draw what was observed (median and the middle 80 %) against what was predicted."""
    left, right, top = 52.0, width - 14.0, 26.0
    base = top + min(right - left, 300.0)
    low, high = padded([*found.low, *found.high, *found.predicted])
    x, y = Scale(low, high, left, right), Scale(low, high, base, top)
    drawing = Drawing(width, base + 40, f"observed against predicted {title}")
    axis_y(drawing, y, left, right, ticks(low, high, 4))
    axis_x(drawing, x, base, ticks(low, high, 4 if width > 320 else 3))
    drawing.line(x(low), y(low), x(high), y(high), "diagonal")
    for p, a, m, b in zip(found.predicted, found.low, found.middle, found.high, strict=True):
        drawing.line(x(p), y(a), x(p), y(b), "whisker hard")
        drawing.add("circle", cx=x(p), cy=y(m), r=4, class_="fill hard")
    drawing.text(left - 46, 14, "observed: median and middle 80 %", "tick")
    drawing.text(right, base + 34, "predicted", "tick", "end")
    return drawing.svg()


def residual_histogram(found: Residuals, width: float, title: str) -> Markup:
    """Draw how often the forest is off by how much."""
    left, right, top, base = 8.0, width - 8.0, 26.0, 190.0
    x = Scale(float(found.edges[0]), float(found.edges[-1]), left, right)
    y = Scale(0, float(found.count.max()) or 1.0, base, top)
    drawing = Drawing(width, base + 40, f"residuals of {title}")
    for k, rows in enumerate(found.count):
        x0, x1 = x(float(found.edges[k])) + 0.5, x(float(found.edges[k + 1])) - 0.5
        drawing.add(
            "rect", x=x0, y=y(float(rows)), width=x1 - x0, height=base - y(float(rows)), class_="bin hard"
        )
    axis_x(drawing, x, base, ticks(x.low, x.high, 4))
    drawing.line(x(0.0), top - 6, x(0.0), base, "diagonal")
    drawing.text(left, 14, "rows", "tick")
    drawing.text(right, base + 34, "observed − predicted", "tick", "end")
    return drawing.svg()


def thresholds(table: ThresholdTable, width: float) -> Markup:
    """Draw precision, recall and F1 for every threshold, with a cursor that the page moves."""
    left, right, top, base = 40.0, width - 84.0, 20.0, 250.0 if width > 500 else 220.0
    x, y = Scale(0, 1, left, right), Scale(0, 1, base, top)
    drawing = Drawing(width, base + 40, "precision, recall and F1 by threshold")
    axis_y(drawing, y, left, right, [0.0, 0.25, 0.5, 0.75, 1.0], lambda v: f"{100 * v:.0f}")
    axis_x(drawing, x, base, [0.0, 0.25, 0.5, 0.75, 1.0], lambda v: number(v, 2))
    drawing.text(right, base + 34, "threshold", "tick", "end")
    drawing.text(left - 34, 12, "%", "tick")
    tp, fp = table.true_positive, table.false_positive
    called = tp + fp
    with np.errstate(invalid="ignore", divide="ignore"):
        series = {
            "precision": np.where(called > 0, tp / called, np.nan),
            "recall": tp / table.positive if table.positive else np.full(len(tp), np.nan),
            "f1": np.where(tp > 0, 2 * tp / (called + table.positive), 0.0),
        }
    for name, values in series.items():
        points = [
            (x(float(t)), y(float(v)))
            for t, v in zip(table.threshold, values, strict=True)
            if not math.isnan(v)
        ]
        drawing.path(points, f"stroke curve-{name}")
    drawing.add(
        "line", x1=x(0.5), x2=x(0.5), y1=top - 4, y2=base, class_="cursor", data_from=left, data_to=right
    )
    for name, shown in (("precision", "precision"), ("recall", "recall"), ("f1", "F1")):
        drawing.add(
            "circle",
            cx=x(0.5),
            cy=base,
            r=4,
            class_=f"cursor-dot curve-{name}",
            data_curve=name,
            data_top=top,
            data_bottom=base,
        )
        drawing.add(
            "text",
            shown,
            x=right + 10,
            y=base,
            class_=f"label halo cursor-label curve-{name}",
            data_curve=name,
        )
    return drawing.svg()
