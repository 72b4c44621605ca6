"""The picture of training: soft against hard metric, their gap, the temperature. Draws; measures nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from hardgrad.report.plots import axis_y, padded
from hardgrad.report.svg import CHARACTER, Drawing, Scale, spread, ticks
from hardgrad.report.wording import fixed, metric_name, number

Series = list[tuple[int, float]]
STRIP, BETWEEN = 54.0, 30.0


def training(history: Sequence[Mapping[str, Any]], metric: str, width: float, higher: bool) -> Markup | None:
    """Draw soft and hard metric, their gap and the temperature through training; None without two measurements.

    A line ends with its phase: the next one may judge another candidate, or on other rows.
    """
    # A run on all rows has nothing held out to be measured on.
    history = [item for item in history if item.get("soft") is not None or item.get("hard") is not None]
    soft, hard = _series(history, "soft"), _series(history, "hard")
    if len(soft) + len(hard) < 2:
        return None
    known = dict(hard)
    sign = -1 if higher else 1
    gap = [(i, sign * (known[i] - value)) for i, value in soft if i in known]
    warm = _series(history, "temperature")
    left, right, top, main = 46.0, width - 96.0, 26.0, 200.0 if width > 500 else 170.0
    x = Scale(0, max(len(history) - 1, 1), left, right)
    strips = [series for series in (gap, warm) if len(series) > 1]
    bottom = top + main + len(strips) * (STRIP + BETWEEN)
    title = f"{metric_name(metric)} of the soft and the hard forest through training"
    drawing = Drawing(width, bottom + 12, title)
    phases = _phases(drawing, history, x, top, bottom)
    low, high = padded([value for _, value in soft + hard])
    y = Scale(low, high, top + main, top)
    axis_y(drawing, y, left, right, ticks(low, high, 4))
    for s in _pieces([(i, value) for i, value in soft if i in known], phases):
        there = [(x(i), y(value)) for i, value in s]
        back = [(x(i), y(known[i])) for i, _ in reversed(s)]
        drawing.path(there + back, "gap-band", closed=True)
    named = [(name, series) for name, series in (("soft", soft), ("hard", hard)) if series]
    for name, series in named:
        for piece in _pieces(series, phases):
            drawing.path([(x(i), y(value)) for i, value in piece], f"stroke {name}")
    wanted = [y(series[-1][1]) + 4 for _, series in named]
    for (name, series), at in zip(named, spread(wanted, 16, top + 8, top + main), strict=True):
        drawing.add("circle", cx=x(series[-1][0]), cy=y(series[-1][1]), r=3, class_=f"fill {name}")
        drawing.text(right + 10, at, f"{name} {fixed(series[-1][1])}", f"label {name}")
    base = top + main + BETWEEN
    if len(gap) > 1:
        _strip(drawing, gap, phases, x, base, "gap", lambda value: fixed(value, 4, sign=True))
        base += STRIP + BETWEEN
    if len(warm) > 1:
        _strip(drawing, warm, phases, x, base, "temperature", lambda value: number(value, 2))
    return drawing.svg()


def _series(history: Sequence[Mapping[str, Any]], name: str) -> Series:
    return [(i, float(item[name])) for i, item in enumerate(history) if item.get(name) is not None]


def _pieces(series: Series, phases: Sequence[int]) -> list[Series]:
    """Cut a series where a phase starts."""
    pieces: dict[int, Series] = {}
    for i, value in series:
        pieces.setdefault(sum(start <= i for start in phases), []).append((i, value))
    return list(pieces.values())


def _phases(
    drawing: Drawing, history: Sequence[Mapping[str, Any]], x: Scale, top: float, bottom: float
) -> list[int]:
    """Mark where each phase starts, name it where there is room, and return the starts."""
    starts = [i for i, h in enumerate(history) if i == 0 or h.get("phase") != history[i - 1].get("phase")]
    for i, end in zip(starts, [*starts[1:], len(history) - 1], strict=True):
        if i:
            drawing.line(x(i), top - 14, x(i), bottom, "phase")
        name, room = str(history[i].get("phase") or ""), x(end) - x(i)
        if name and room > CHARACTER * len(name) + 6:
            drawing.text(x(i) + (4 if i else 0), top - 8, name, "tick")
    return starts


def _strip(
    drawing: Drawing,
    series: Series,
    phases: Sequence[int],
    x: Scale,
    top: float,
    name: str,
    say: Callable[[float], str],
) -> None:
    """Draw a thin picture over zero (or over the floor, where everything is positive) with its last value."""
    bottom = top + STRIP
    low, high = padded([0.0, *(value for _, value in series)], 0.02)
    y = Scale(min(low, 0.0) if min(v for _, v in series) < 0 else 0.0, high, bottom, top)
    class_ = "gap" if name == "gap" else "quiet"
    drawing.line(x.start, y(0.0), x.end, y(0.0), "rule")
    for piece in _pieces(series, phases):
        points = [(x(i), y(value)) for i, value in piece]
        drawing.path(
            [(points[0][0], y(0.0)), *points, (points[-1][0], y(0.0))], f"area {class_}", closed=True
        )
        drawing.path(points, f"stroke thin {class_}")
    at = min(y(series[-1][1]) + 4, bottom)
    drawing.text(x.end + 10, at, name, f"label {class_}")
    drawing.text(x.end + 10, at + 14, say(series[-1][1]), f"label {class_}")
