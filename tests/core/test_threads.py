"""Threads: blocks cover the range once, errors arrive, a forked process starts its own."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from hardgrad.core import threads
from hardgrad.core.threads import effective_jobs, in_blocks


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 1000])
@pytest.mark.parametrize("multiple", [1, 64])
def test_every_item_is_worked_on_once(count: int, multiple: int) -> None:
    seen, starts = np.zeros(count, int), []

    def work(start: int, stop: int) -> None:
        starts.append(start)
        seen[start:stop] += 1

    in_blocks(work, count, 3, multiple=multiple)
    assert (seen == 1).all() and all(start % multiple == 0 for start in starts)


def test_what_a_block_raises_is_raised_once_all_have_ended() -> None:
    ended = threading.Event()

    def work(start: int, stop: int) -> None:
        if start:
            ended.set()
            raise ArithmeticError("block")

    with pytest.raises(ArithmeticError, match="block"):
        in_blocks(work, 10, 2)
    assert ended.is_set()


def test_a_forked_process_starts_its_own_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = threads._pool()
    assert threads._pool() is mine
    monkeypatch.setattr(threads.os, "getpid", lambda: -5)
    theirs = threads._pool()
    assert theirs is not mine
    theirs.shutdown()
    threads._pools.clear()


def test_jobs_are_those_of_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_processors", lambda: 4)
    assert [effective_jobs(n) for n in (None, 1, 7, -1, -2, -9)] == [1, 1, 7, 4, 3, 1]
