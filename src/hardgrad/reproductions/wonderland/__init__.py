"""The tour (row 8): chapters from a gradient by hand to a small language model, each a module whose `run()` ends hard and exact."""

from __future__ import annotations

CHAPTERS = (
    "slopes", "decisions", "lines", "layers", "engine", "windows", "time", "depth", "lookups", "neighbours", "loops", "language",
)  # fmt: skip
