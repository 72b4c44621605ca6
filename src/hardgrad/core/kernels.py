"""Loops over arrays compiled by numba. Imported late, by modules of kernels that are themselves imported late; never imports torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function of arrays and numbers when it is first called; it releases the interpreter's lock and divides as NumPy does.

    Cached on disk by numba: beside the function's file where that is writable, else in the user's cache folder, or where NUMBA_CACHE_DIR
    says. Where numba is missing it runs as it is, as slowly as Python does.
    """
    try:
        import numba
    except ImportError:
        return function
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": False}
    try:
        return cast(Callable[..., Any], numba.njit(cache=True, **options)(function))
    except RuntimeError:  # no folder for the cache is writable: compile in every process
        return cast(Callable[..., Any], numba.njit(**options)(function))
