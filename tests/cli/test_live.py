"""The live view: one picture that fits in 80 columns on a terminal, a line a phase elsewhere, nothing when quiet."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from hardgrad.cli.live import LiveView, clock_text
from hardgrad.cli.terminal import Terminal
from hardgrad.train.progress import Event, emit


def watched(terminal: Terminal) -> None:
    with LiveView(terminal).watching():
        emit("greedy start", 1.0, hard=0.33)
        emit("refine", 0.5, soft=0.3121, hard=0.3128, temperature=0.11)
        emit("refine", 1.0)


def test_a_line_a_phase(capsys: pytest.CaptureFixture[str]) -> None:
    watched(Terminal())
    assert capsys.readouterr().out.splitlines() == [
        "training  greedy start  hard 0.3300",
        "training  refine  soft 0.3121  hard 0.3128  gap +0.0007  temperature 0.11",
    ]


def test_the_gap_says_how_much_worse_the_hard_model_is(capsys: pytest.CaptureFixture[str]) -> None:
    with LiveView(Terminal()).watching():
        emit("gates", 1.0, soft=0.95, hard=0.94, higher_is_better=True)
    assert "gap +0.0100" in capsys.readouterr().out
    assert Event("gates", 1.0, soft=0.95).gap is None
    assert Event("gates", 1.0, soft=0.95, hard=0.94, higher_is_better=True).gap == pytest.approx(0.01)


def test_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    watched(Terminal(quiet=True))
    watched(Terminal(as_json=True))
    assert capsys.readouterr().out == ""


def test_on_a_terminal() -> None:
    terminal = Terminal()
    terminal.__dict__["console"] = Console(
        file=io.StringIO(), force_terminal=True, width=80, color_system=None
    )
    watched(terminal)
    view = LiveView(terminal)
    view.update(Event("refine", 0.5, soft=0.3121, hard=0.3128, temperature=0.11))
    drawn = view._drawn(Event("refine", 0.5), view.phase_began + 10.0).plain
    first, second = drawn.splitlines()
    assert first.startswith("training  refine") and first.endswith("[########........]  0:00:10 left")
    assert second.split() == ["soft", "0.3121", "hard", "0.3128", "gap", "+0.0007", "temperature", "0.11"]
    assert max(map(len, (first, second))) <= 80


def test_clock() -> None:
    assert [clock_text(s) for s in (0.4, 61.0, 3600.0)] == ["0:00:00", "0:01:01", "1:00:00"]
