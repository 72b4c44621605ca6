"""Counting in gates: full adders, how many of some signals are 1, and whether they are enough. Never imports torch.

Counting outputs of a circuit outside of it, row by row, is `hardgrad.logic.counting`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from hardgrad.logic.circuit_build import FALSE, TRUE, NetworkBuilder


def full_adder(net: NetworkBuilder, a: int, b: int, c: int) -> tuple[int, int]:
    """Return the sum and the carry of three signals: five gates, or two where one of them is a constant.

    The carry is made of differences too: complemented signals have the same ones, so that counts of many sign patterns share them.

    Examples
    --------
    >>> net = NetworkBuilder(3)
    >>> sum_and_carry = full_adder(net, net.input(0), net.input(1), net.input(2))
    >>> net.circuit(sum_and_carry).gate_counts()
    {'XOR': 4, 'AND': 1}
    """
    half = net.differ(a, b)
    return net.differ(half, c), net.differ(a, net.both(half, net.differ(a, c)))


def count_ones(net: NetworkBuilder, signals: Sequence[int]) -> list[int]:
    """Return the bits of the number of signals that are 1, the least significant first: full adders, in a tree."""
    number, column = [], deque(signals)
    while column:
        carries = _add(net, column, 2)
        if len(column) == 2:
            a, b = column
            column = deque([net.differ(a, b)])
            carries.append(net.both(a, b))
        number.append(column[0])
        column = carries
    return number


def at_least(net: NetworkBuilder, signals: Sequence[int], limit: int) -> int:
    """Return the signal that says whether at least `limit` of some signals are 1; a constant where that is always so, or never.

    A constant is added to the count so that the answer is one bit of the sum. Of the lower bits only carries are made, no sum, and the
    constant's bits save gates where they enter: there is no comparison.

    Parameters
    ----------
    signals : n of them. Limits of 1 and n take n - 1 gates, those between about 5 (n - log2 n), and less where others were built on the
        same signals in this order.
    limit : any whole number.

    Examples
    --------
    >>> net = NetworkBuilder(64)
    >>> inputs = [net.input(i) for i in range(64)]
    >>> net.circuit([at_least(net, inputs, 40)])
    Circuit(64 inputs, 291 gates, 1 outputs, depth 25)
    """
    count = len(signals)
    if limit <= 0:
        return TRUE
    if limit > count:
        return FALSE
    if limit in (1, count):
        return _tree(net.either if limit == 1 else net.both, signals)
    # The sum of count and constant stays below two to the level + 1: the bit at the level says whether it reached two to the level.
    level = (max(limit, count - limit + 1) - 1).bit_length()
    constant = (1 << level) - limit
    column = deque(signals)
    for place in range(level):
        carries = _add(net, column, 3)  # the constant comes last, so that all limits group the signals alike
        if constant >> place & 1:
            column.appendleft(TRUE)
        carries += _add(net, column, 2)
        if len(column) == 2:
            carries.append(net.both(*column))
        column = carries
    return _tree(net.either, column)  # at most one of them is 1


def _tree(gate: Callable[[int, int], int], signals: Iterable[int]) -> int:
    """Join signals, two by two, until one is left."""
    waiting = deque(signals)
    while len(waiting) > 1:
        waiting.append(gate(waiting.popleft(), waiting.popleft()))
    return waiting[0]


def _add(net: NetworkBuilder, column: deque[int], fewest: int) -> deque[int]:
    """Replace signals of one weight, three by three, by their sums until at most `fewest` are left; return the carries."""
    carries = deque[int]()
    while len(column) > fewest:
        total, carry = full_adder(net, column.popleft(), column.popleft(), column.popleft())
        column.append(total)
        carries.append(carry)
    return carries
