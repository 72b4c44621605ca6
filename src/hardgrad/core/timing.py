"""Time that a piece of work takes here, measured so that a busy machine disturbs it little. Never imports torch."""

from __future__ import annotations

import time
from collections.abc import Callable

SECONDS = 0.2


def shortest_seconds(work: Callable[[], object], *, lasting: float = SECONDS) -> float:
    """Return the least time of the processor that a call took, in seconds, of calls for about so long; one before them is not counted.

    Time of the processor is that of all threads together, and leaves out what other programs took.

    Parameters
    ----------
    work : what is called, at least twice.
    lasting : for how long, in seconds of the processor.

    Examples
    --------
    >>> shortest_seconds(lambda: sum(range(1000)), lasting=0.01) > 0.0
    True
    """
    work()
    best, end = float("inf"), time.process_time() + lasting
    while best == float("inf") or time.process_time() < end:
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return best
