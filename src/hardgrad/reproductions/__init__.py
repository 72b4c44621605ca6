"""Published claims, measured again: one file a row. The registry is `registry`; each row's file is imported when it is run."""

from __future__ import annotations

from hardgrad.reproductions.registry import (
    Measured,
    Reproduction,
    ReproductionResult,
    Scale,
    find,
    members,
    reproduction,
    run,
)

__all__ = [
    "Measured",
    "Reproduction",
    "ReproductionResult",
    "Scale",
    "find",
    "members",
    "reproduction",
    "run",
]
