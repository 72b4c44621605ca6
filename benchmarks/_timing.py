"""Timing side by side: the candidates take turns in one process, and the least time of each counts.

Turns, because a machine that is busy for a second must not favour whoever was not running then; the least, because noise only adds.
"""

from __future__ import annotations

import math
import os
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path


def alternate(
    candidates: Mapping[str, Callable[[], object]], *, turns: int = 15, turn_seconds: float = 0.02
) -> dict[str, float]:
    """Return seconds a call, the least over turns; in a turn each candidate runs for about `turn_seconds`, at least once.

    Candidates run once before anything is timed.
    """
    calls = {}
    for name, run in candidates.items():
        run()
        start = time.perf_counter()
        run()
        calls[name] = max(1, math.ceil(turn_seconds / max(time.perf_counter() - start, 1e-7)))
    least = dict.fromkeys(candidates, math.inf)
    for _ in range(turns):
        for name, run in candidates.items():
            start = time.perf_counter()
            for _ in range(calls[name]):
                run()
            least[name] = min(least[name], (time.perf_counter() - start) / calls[name])
    return least


def machine() -> str:
    """Name the processor and what runs on it, for the line under a table."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        text = info.read_text(encoding="utf-8", errors="replace")
        names = [
            line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
        model += " with AVX-512" if "avx512bw" in text else ""
    return f"{model}, {os.cpu_count()} processors, Python {platform.python_version()}"


def load() -> str:
    """Return the load of the machine in the last minute, where it is known."""
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
