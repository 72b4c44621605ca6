"""A few strokes of SVG: scales, ticks and an escaping writer. Knows colours only as CSS classes, so that themes can change them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

CHARACTER = 6.4  # mean width of a 12 px character: enough to keep labels inside the picture


def place(value: float) -> str:
    """Return a coordinate with one decimal: finer is invisible and makes the page heavy."""
    text = f"{value:.1f}"
    return text[:-2] if text.endswith(".0") else text


class Drawing:
    """Collects SVG elements; every attribute and text is escaped."""

    def __init__(
        self, width: float, height: float, label: str, *, class_: str = "", natural: bool = False
    ) -> None:
        self.natural = natural
        self.width, self.height, self.label, self.class_ = width, height, label, class_
        self.parts: list[str] = []

    def add(self, name: str, text: str | None = None, **attributes: Any) -> None:
        """Add an element; `class_` is `class`, underscores become dashes, numbers are rounded to a tenth."""
        self.parts.append(element(name, text, **attributes))

    def line(self, x1: float, y1: float, x2: float, y2: float, class_: str) -> None:
        """Add a straight line."""
        self.add("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)

    def text(
        self, x: float, y: float, text: str, class_: str = "", anchor: str = "start", **more: Any
    ) -> None:
        """Add a text whose baseline starts (or is centred, or ends) at x, y."""
        self.add(
            "text",
            text,
            x=x,
            y=y,
            class_=class_ or None,
            text_anchor=None if anchor == "start" else anchor,
            **more,
        )

    def path(self, points: Sequence[tuple[float, float]], class_: str, *, closed: bool = False) -> None:
        """Add a line through points."""
        if points:
            data = "M" + "L".join(f"{place(x)},{place(y)}" for x, y in points) + ("Z" if closed else "")
            self.add("path", d=data, class_=class_)

    def svg(self) -> Markup:
        """Return the picture."""
        head = element(
            "svg",
            viewBox=f"0 0 {place(self.width)} {place(self.height)}",
            width=self.width if self.natural else None,
            class_=self.class_ or None,
            role="img",
            aria_label=self.label,
        )
        return Markup(head.removesuffix("/>") + ">" + "".join(self.parts) + "</svg>")  # noqa: S704 - parts are escaped


def element(name: str, text: str | None = None, **attributes: Any) -> str:
    """Return one escaped element."""
    spelled = ""
    for key, value in attributes.items():
        if value is not None:
            shown = (
                place(value)
                if isinstance(value, (int, float)) and not isinstance(value, bool)
                else str(value)
            )
            spelled += f' {key.rstrip("_").replace("_", "-")}="{escape(shown)}"'
    return f"<{name}{spelled}/>" if text is None else f"<{name}{spelled}>{escape(text)}</{name}>"


@dataclass(frozen=True)
class Scale:
    """Maps low..high to start..end, linearly or by logarithm."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Return where a value stands."""
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        at = math.log(value) if self.log else value
        share = (at - low) / (high - low) if high > low else 0.5
        return self.start + share * (self.end - self.start)


def ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Return round numbers within low..high.

    >>> ticks(0.0, 1.0, 4)
    [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    if not high > low:
        return [low]
    rough = (high - low) / max(about, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = min((m * power for m in (1, 2, 2.5, 5, 10)), key=lambda s: abs(s - rough))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]


def log_ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Return round numbers within low..high for a logarithmic scale.

    >>> log_ticks(10, 2000)
    [10.0, 30.0, 100.0, 300.0, 1000.0]
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1, 2, 5), (1, 3), (1,)):
        found = [m * 10.0**k for k in decades for m in steps if low * 0.999 <= m * 10.0**k <= high * 1.001]
        if len(found) <= about + 1:
            break
    return found or [low]


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move label positions apart by at least `gap`, within low..high, changing their order never and them little."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    placed = list(wanted)
    for before, now in itertools.pairwise(order):
        placed[now] = max(placed[now], placed[before] + gap)
    limit = high
    for i in reversed(order):
        placed[i] = max(min(placed[i], limit), low)
        limit = placed[i] - gap
    return placed
