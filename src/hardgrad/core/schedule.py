"""Schedule: how a temperature, a weight or a learning rate moves through training. The only family of schedules in hardgrad."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from hardgrad.core.errors import ParameterError

Shape = Literal["constant", "linear", "exponential", "cosine", "callback"]


@dataclass(frozen=True)
class Schedule:
    """A value that moves from `start` to `end` as training progresses from 0 to 1.

    Parameters
    ----------
    shape : "constant", "linear", "exponential" (geometric), "cosine" (half a period, flat at both ends) or "callback".
    start, end : values at progress 0 and 1. An exponential needs both to be positive.
    callback : for "callback", a function of progress.

    Examples
    --------
    >>> Schedule.exponential(0.4, 0.1)(0.5)
    0.2
    >>> Schedule.cosine(1.0, 0.0).at(step=0, steps=10)
    1.0
    """

    shape: Shape
    start: float = 1.0
    end: float = 1.0
    callback: Callable[[float], float] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.shape not in ("constant", "linear", "exponential", "cosine", "callback"):
            raise ParameterError(
                f"Schedule got shape {self.shape!r}; expected constant, linear, exponential, cosine."
            )
        if not (math.isfinite(self.start) and math.isfinite(self.end)):
            raise ParameterError(f"Schedule got start={self.start}, end={self.end}; both must be finite.")
        if self.shape == "exponential" and not (self.start > 0 and self.end > 0):
            raise ParameterError(
                f"an exponential Schedule needs positive ends, got {self.start} and {self.end}."
            )
        if (self.shape == "callback") != (self.callback is not None):
            raise ParameterError(
                "a Schedule has a callback iff its shape is 'callback'; use Schedule.by(function)."
            )

    @classmethod
    def constant(cls, value: float) -> Schedule:
        """Return a schedule that stays at `value`."""
        return cls("constant", value, value)

    @classmethod
    def linear(cls, start: float, end: float) -> Schedule:
        """Return a schedule on a straight line."""
        return cls("linear", start, end)

    @classmethod
    def exponential(cls, start: float, end: float) -> Schedule:
        """Return a schedule whose logarithm is on a straight line."""
        return cls("exponential", start, end)

    @classmethod
    def cosine(cls, start: float, end: float = 0.0) -> Schedule:
        """Return a schedule on half a period of a cosine."""
        return cls("cosine", start, end)

    @classmethod
    def by(cls, callback: Callable[[float], float]) -> Schedule:
        """Return a schedule given by a function of progress in [0, 1]."""
        return cls("callback", callback=callback)

    def __call__(self, progress: float) -> float:
        """Return the value at a progress in [0, 1]; outside it is clipped."""
        p = min(max(float(progress), 0.0), 1.0)
        if self.callback is not None:
            return float(self.callback(p))
        if self.shape == "exponential":
            return float(self.start * (self.end / self.start) ** p)
        if self.shape == "cosine":
            return self.end + (self.start - self.end) * 0.5 * (1.0 + math.cos(math.pi * p))
        return self.start + (self.end - self.start) * p

    def at(self, *, step: int, steps: int) -> float:
        """Return the value at step `step` of `steps`, the last step being `steps - 1`."""
        return self(step / (steps - 1) if steps > 1 else 1.0)
