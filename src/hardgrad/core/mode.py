"""Mode and temperature: how soft a computation is, and the context managers that say so for everything inside them.

`"soft"` is differentiable, `"st"` is exact forward and relaxed backward (straight-through), `"hard"` is exact.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, Literal

from hardgrad.core.errors import ModeError, TemperatureError, suggestion

Mode = Literal["soft", "st", "hard"]
MODES: tuple[Mode, ...] = ("soft", "st", "hard")

_mode: ContextVar[Mode | None] = ContextVar("hardgrad_mode", default=None)
_temperature: ContextVar[Any] = ContextVar("hardgrad_temperature", default=None)
_checks: ContextVar[bool | None] = ContextVar("hardgrad_checks", default=None)


class _Traced:
    """What code under torch.compile sees of the blocks: it cannot read context variables, but it is traced anew when these change."""

    mode: Mode | None = None
    temperature: Any = None


_traced = _Traced()
_is_compiling: Callable[[], bool] = bool  # the torch half of the contract says how to ask


def trace_with(is_compiling: Callable[[], bool]) -> None:
    """Tell how to ask whether torch.compile is tracing; this module never imports torch itself."""
    global _is_compiling
    _is_compiling = is_compiling


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
def mode(value: Mode, *, temperature: Any = None) -> Iterator[None]:
    """Run everything inside in one mode, without a code change.

    Parameters
    ----------
    value : "soft", "st" or "hard". An explicit `mode=` argument of a call still wins. The block belongs to its thread or task; code under
        torch.compile sees the block that was entered last in the whole process, so threads that compile in different modes say `mode=`.
    temperature : that of everything inside which does not say its own; by default that of the surrounding block.

    Raises
    ------
    ModeError : any other value.
    TemperatureError : a temperature that is not a positive finite number.

    Examples
    --------
    >>> with mode("st", temperature=0.5):
    ...     resolve_mode(None), resolve_temperature(None)
    ('st', 0.5)
    """
    with _block(check_mode(value), None if temperature is None else check_temperature(temperature)):
        yield


@contextlib.contextmanager
def checks(value: bool) -> Iterator[None]:
    """Check the values of tensors inside (NaN, infinity, temperatures) always, or never.

    By default operations check values where that is cheap: outside torch.compile and vmap, for tensors on the CPU. A check reads the
    tensor, so on an accelerator it waits for the device.

    Examples
    --------
    >>> with checks(True):
    ...     checks_forced()
    True
    """
    token = _checks.set(bool(value))
    try:
        yield
    finally:
        _checks.reset(token)


def checks_forced() -> bool | None:
    """Return what the surrounding `checks` block says; None outside of one."""
    return _checks.get()


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
    with _block(None, check_temperature(value)):
        yield


@contextlib.contextmanager
def _block(new_mode: Mode | None, new_temperature: Any) -> Iterator[None]:
    """Set what is given, leave the rest as it is, and put everything back at the end."""
    before = _traced.mode, _traced.temperature
    mode_token = _mode.set(_mode.get() if new_mode is None else new_mode)
    temperature_token = _temperature.set(_temperature.get() if new_temperature is None else new_temperature)
    _traced.mode, _traced.temperature = _mode.get(), _temperature.get()
    try:
        yield
    finally:
        _traced.mode, _traced.temperature = before
        _temperature.reset(temperature_token)
        _mode.reset(mode_token)


def resolve_mode(explicit: Mode | None, default: Mode = "soft") -> Mode:
    """Return the mode of a call: its own argument, else that of the context, else the default."""
    if explicit is not None:
        return check_mode(explicit)
    current = _traced.mode if _is_compiling() else _mode.get()
    return default if current is None else current


def resolve_temperature(explicit: Any, default: Any = 1.0, *, check: bool = True) -> Any:
    """Return the temperature of a call: its own argument, else that of the context, else the default.

    With `check=False` an explicit one is taken as it is: for callers that check tensors themselves.
    """
    if explicit is not None:
        return check_temperature(explicit) if check else explicit
    current = _traced.temperature if _is_compiling() else _temperature.get()
    return default if current is None else current
