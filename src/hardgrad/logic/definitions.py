"""Definitions that come in any order: each is made once everything that it reads is there. Never imports torch."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

from hardgrad.core.errors import DataError

Name = TypeVar("Name", bound=Hashable)


def define(
    wanted: Name,
    signals: dict[Name, int],
    reads: Callable[[Name], Sequence[Name]],
    make: Callable[[Name], int],
    cycle: Callable[[Name], str],
) -> None:
    """Add the signal of a name, and those of all that it needs, to what is known; without recursion, because files may be deep.

    Parameters
    ----------
    wanted : the name.
    signals : what is known, by name.
    reads : what the definition of a name reads; raises `DataError` where there is none.
    make : the signal of a name whose reads are all known.
    cycle : what to say of a name that depends on itself.

    Raises
    ------
    DataError : a name without a definition, or one that depends on itself.

    Examples
    --------
    >>> known = {"a": 1}
    >>> define("c", known, {"b": ["a"], "c": ["b", "a"]}.__getitem__, lambda name: 2 * len(known), str)
    >>> known
    {'a': 1, 'b': 2, 'c': 4}
    """
    waiting, begun = [wanted], set[Name]()
    while waiting:
        name = waiting[-1]
        if name in signals:
            waiting.pop()
            continue
        missing = [other for other in reads(name) if other not in signals]
        if missing and name in begun:
            raise DataError(cycle(name))
        begun.add(name)
        if missing:
            waiting += missing
        else:
            signals[name] = make(name)
