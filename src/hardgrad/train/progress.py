"""Progress: what long work says while it runs, and how a command or a notebook listens. Never imports torch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    """One word from long work.

    Parameters
    ----------
    phase : what is being done, as in "refine".
    fraction : share of the phase that is done, 0 to 1.
    soft, hard : metric of the soft and of the hard model on held-out rows, where measured.
    temperature : current temperature, where there is one.
    message : anything else worth showing.
    higher_is_better : direction of the metric.
    """

    phase: str
    fraction: float
    soft: float | None = None
    hard: float | None = None
    temperature: float | None = None
    message: str = ""
    higher_is_better: bool = False

    @property
    def gap(self) -> float | None:
        """How much worse the hard model is, in units of the metric; None where one of them was not measured."""
        if self.soft is None or self.hard is None:
            return None
        return self.soft - self.hard if self.higher_is_better else self.hard - self.soft


Listener = Callable[[Event], None]
_listeners: ContextVar[tuple[Listener, ...]] = ContextVar("hardgrad_progress", default=())


@contextlib.contextmanager
def listen(listener: Listener) -> Iterator[None]:
    """Send every event of the work inside to `listener`.

    Examples
    --------
    >>> seen = []
    >>> with listen(seen.append):
    ...     emit("polish", 0.5)
    >>> seen[0].phase, seen[0].fraction
    ('polish', 0.5)
    """
    token = _listeners.set((*_listeners.get(), listener))
    try:
        yield
    finally:
        _listeners.reset(token)


@contextlib.contextmanager
def muted() -> Iterator[None]:
    """Let the work inside say nothing, for work that runs beside other work of its kind."""
    token = _listeners.set(())
    try:
        yield
    finally:
        _listeners.reset(token)


def emit(
    phase: str,
    fraction: float,
    *,
    soft: float | None = None,
    hard: float | None = None,
    temperature: float | None = None,
    message: str = "",
    higher_is_better: bool = False,
) -> None:
    """Tell all listeners how far the work is (see `Event`)."""
    event = Event(phase, fraction, soft, hard, temperature, message, higher_is_better)
    for listener in _listeners.get():
        listener(event)
