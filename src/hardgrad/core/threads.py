"""Threads: how many a caller asks for, and work in blocks on the threads of this process. Never imports torch."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

from hardgrad.core.errors import ParameterError


def in_blocks(run: Callable[[int, int], object], count: int, threads: int, *, multiple: int = 1) -> None:
    """Call `run(start, stop)` for as many blocks of `range(count)` as there are threads; this thread takes the first.

    Work gains from it where it releases the interpreter's lock, as compiled kernels do.

    Parameters
    ----------
    run : writes results of its own block only. What it raises is raised here, once every block has ended.
    count : how many items there are.
    threads : at most this many blocks; 1 or fewer stays in this thread.
    multiple : blocks start at multiples of this.

    Examples
    --------
    >>> seen = []
    >>> in_blocks(lambda a, b: seen.append((a, b)), 10, 1)
    >>> seen
    [(0, 10)]
    """
    units = -(-count // multiple)
    threads = min(threads, units)
    if threads <= 1:
        run(0, count)
        return
    bounds = [min(count, units * k // threads * multiple) for k in range(threads + 1)]
    waiting = [_pool().submit(run, a, b) for a, b in pairwise(bounds[1:])]
    try:
        run(0, bounds[1])
    finally:
        for block in waiting:
            block.result()


def effective_jobs(n_jobs: int | None) -> int:
    """Return the number of threads that scikit-learn's `n_jobs` means: None is 1, -1 all processors, -2 all but one.

    >>> effective_jobs(3), effective_jobs(None)
    (3, 1)
    """
    if n_jobs is None:
        return 1
    if n_jobs == 0:
        raise ParameterError("got n_jobs=0; expected a number of threads, or -1 for all processors.")
    return n_jobs if n_jobs > 0 else max(1, _processors() + 1 + n_jobs)


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_pools: dict[int, ThreadPoolExecutor] = {}


def _pool() -> ThreadPoolExecutor:
    """The threads of this process, started when first used; a forked child starts its own, because threads do not survive a fork."""
    process = os.getpid()
    if process not in _pools:
        _pools.clear()
        _pools[process] = ThreadPoolExecutor(max_workers=_processors(), thread_name_prefix="hardgrad")
    return _pools[process]
