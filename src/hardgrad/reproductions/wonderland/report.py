"""What a chapter of the tour returns: what it measured, what it claims, what hardening its block costs, and curves to draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hardgrad.core.gap import GapReport
from hardgrad.reproductions.registry import Measured


@dataclass(frozen=True)
class ChapterReport:
    """The outcome of one chapter.

    Parameters
    ----------
    title : of the chapter.
    claims : what the text states, measured.
    gap : the block of the chapter, soft against hard.
    metrics : further figures by name.
    figures : curves by name, each (x, y).
    """

    title: str
    claims: tuple[Measured, ...]
    gap: GapReport
    metrics: Mapping[str, float] = field(default_factory=dict)
    figures: Mapping[str, tuple[Sequence[float], Sequence[float]]] = field(default_factory=dict)

    @property
    def met(self) -> bool:
        """True where every claim holds."""
        return all(claim.met for claim in self.claims)

    def plot(self, ax: Any = None) -> Any:
        """Draw the curves on a matplotlib axis and return it. Needs matplotlib."""
        if ax is None:
            import matplotlib.pyplot as plt

            ax = plt.figure().add_subplot()
        for name, (x, y) in self.figures.items():
            ax.plot(x, y, label=name)
        if self.figures:
            ax.legend()
        ax.set_title(self.title)
        return ax
