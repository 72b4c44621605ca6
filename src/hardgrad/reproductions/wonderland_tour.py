"""Row 8, a tour of differentiable programming: every chapter runs, and what its text states is measured."""

from __future__ import annotations

import importlib
import time
from collections.abc import Sequence
from dataclasses import replace

from hardgrad.reproductions.registry import Measured, Scale, reproduction
from hardgrad.reproductions.wonderland import CHAPTERS

SECONDS_A_CHAPTER, SECONDS = 15.0, 90.0


@reproduction(
    row=8,
    slug="wonderland-tour",
    title="Alice's Adventures in a Differentiable Wonderland -- Volume I, A Tour of the Land",
    venue="book, arXiv 2404.17625, 2024 (recalled)",
    claim="A book, no number: every identity that its chapters state runs as a test, and every chapter ends in something hard and exact",
)
def wonderland_tour(scale: Scale) -> Sequence[Measured]:
    """Run all chapters; full: at the sizes of the sheet, with the time each takes."""
    quick = scale == "smoke"
    measured, longest, begun = [], 0.0, time.perf_counter()
    for name in CHAPTERS:
        start = time.perf_counter()
        report = importlib.import_module(f"hardgrad.reproductions.wonderland.{name}").run(
            random_state=0, quick=quick
        )
        longest = max(longest, time.perf_counter() - start)
        measured += [replace(claim, name=f"{report.title}: {claim.name}") for claim in report.claims]
        measured.append(
            Measured.reported(f"{report.title}: agreement of soft and hard", report.gap.agreement)
        )
    if quick:
        return measured
    return [
        *measured,
        Measured.at_most("seconds of the longest chapter", longest, SECONDS_A_CHAPTER),
        Measured.at_most("seconds of the whole tour", time.perf_counter() - begun, SECONDS),
    ]
