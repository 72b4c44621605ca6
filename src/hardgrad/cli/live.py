"""The live view of training: phase, soft and hard metric, gap, temperature, time left."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from hardgrad.train.progress import Event, listen

if TYPE_CHECKING:
    from hardgrad.cli.terminal import Terminal

BAR = 16


class LiveView:
    """Listens to training and keeps one line up to date; where the screen is no terminal, a line is printed a phase."""

    def __init__(self, terminal: Terminal) -> None:
        self.terminal = terminal
        self.phase = ""
        self.began = self.phase_began = time.monotonic()
        self.last: dict[str, float | None] = {}
        self.higher_is_better = False
        self._live: Any = None

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Show the training inside the block."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(listen(self.update))
            if not self.terminal.quiet and self.terminal.console.is_terminal:
                from rich.live import Live

                self._live = stack.enter_context(
                    Live(console=self.terminal.console, refresh_per_second=8, transient=True)
                )
            yield

    def update(self, event: Event) -> None:
        """Take one word from the training."""
        now = time.monotonic()
        if event.phase != self.phase:
            self.phase, self.phase_began = event.phase, now
            self.last = {"temperature": None, "soft": None, "hard": None}
        self.higher_is_better = event.higher_is_better
        for name in self.last:
            value = getattr(event, name)
            if value is not None:
                self.last[name] = value
        if self.terminal.quiet:
            return
        if self._live is not None:
            self._live.update(self._drawn(event, now))
        elif event.fraction >= 1.0:
            self.terminal.line("training", "  ".join([self.phase, *self._figures()]))

    def _figures(self) -> list[str]:
        soft, hard, temperature = (self.last[name] for name in ("soft", "hard", "temperature"))
        parts = [
            f"{name} {value:.4f}" for name, value in (("soft", soft), ("hard", hard)) if value is not None
        ]
        if soft is not None and hard is not None:
            worse = soft - hard if self.higher_is_better else hard - soft
            parts.append(f"gap {worse:+.4f}")
        if temperature is not None:
            parts.append(f"temperature {temperature:.2f}")
        return parts

    def _drawn(self, event: Event, now: float) -> Any:
        """Two lines that fit in 80 columns: how far the phase is, and what was measured."""
        from rich.text import Text

        done = round(BAR * min(max(event.fraction, 0.0), 1.0))
        left = (
            (now - self.phase_began) * (1.0 - event.fraction) / event.fraction if event.fraction > 0 else None
        )
        return Text.assemble(
            (f"{'training':<10}", "bold cyan"),
            f"{self.phase:<22.22}  [",
            ("#" * done, "green"),
            ("." * (BAR - done), "dim"),
            "]" if left is None else f"]  {clock_text(left)} left",
            f"\n{'':<10}" + "  ".join(self._figures()),
        )


def clock_text(seconds: float) -> str:
    """Return "0:00:19".

    >>> clock_text(3671.2)
    '1:01:11'
    """
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
