"""Mode and temperature: how soft a computation is, and the context managers that say so for everything inside them.

`"soft"` is differentiable, `"st"` is exact forward and relaxed backward (straight-through), `"hard"` is exact.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, Literal

from hardgrad.core.errors import ModeError, TemperatureError, suggestion

Mode = Literal["soft", "st", "hard"]
MODES: tuple[Mode, ...] = ("soft", "st", "hard")

_mode: ContextVar[Mode | None] = ContextVar("hardgrad_mode", default=None)
_temperature: ContextVar[Any] = ContextVar("hardgrad_temperature", default=None)


def check_mode(value: object, where: str = "mode") -> Mode:
    """Return a valid mode. Raises `ModeError` for anything but "soft", "st" and "hard"."""
    if value not in MODES:
        raise ModeError(
            f"{where} got {value!r}; expected one of {', '.join(MODES)}.{suggestion(str(value), MODES)}"
        )
    return value


def check_temperature(value: Any, where: str = "temperature") -> Any:
    """Return a valid temperature: a positive finite float or 0-dim tensor. Raises `TemperatureError` otherwise."""
    try:
        number = float(value)
    except (TypeError, ValueError, RuntimeError):
        raise TemperatureError(
            f"{where} got temperature={value!r}; it must be a positive number or 0-dim tensor (small is hard)."
        ) from None
    if not (number > 0.0 and math.isfinite(number)):
        raise TemperatureError(
            f"{where} got temperature={number!r}; it must be positive and finite (small is hard). "
            'For the exact result use mode="hard".'
        )
    return value


@contextlib.contextmanager
def mode(value: Mode) -> Iterator[None]:
    """Run everything inside in one mode, without a code change.

    Parameters
    ----------
    value : "soft", "st" or "hard". An explicit `mode=` argument of a call still wins.

    Raises
    ------
    ModeError : any other value.

    Examples
    --------
    >>> with mode("hard"):
    ...     resolve_mode(None)
    'hard'
    """
    token = _mode.set(check_mode(value))
    try:
        yield
    finally:
        _mode.reset(token)


@contextlib.contextmanager
def temperature(value: Any) -> Iterator[None]:
    """Run everything inside at one temperature, where a call or module does not say its own.

    Raises
    ------
    TemperatureError : not a positive finite number.

    Examples
    --------
    >>> with temperature(0.5):
    ...     resolve_temperature(None, default=1.0)
    0.5
    """
    token = _temperature.set(check_temperature(value))
    try:
        yield
    finally:
        _temperature.reset(token)


def resolve_mode(explicit: Mode | None, default: Mode = "soft") -> Mode:
    """Return the mode of a call: its own argument, else that of the context, else the default."""
    if explicit is not None:
        return check_mode(explicit)
    current = _mode.get()
    return default if current is None else current


def resolve_temperature(explicit: Any, default: Any = 1.0) -> Any:
    """Return the temperature of a call: its own argument, else that of the context, else the default."""
    if explicit is not None:
        return check_temperature(explicit)
    current = _temperature.get()
    return default if current is None else current
