"""Counting outputs: how many of a group are 1, with whole weights, and which group has most. Never imports torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.bit_words import unpack_bits
from hardgrad.core.errors import ParameterError

MOST_PLANES = 30


@dataclass(frozen=True)
class Groups:
    """Groups of outputs that are counted; made by `make_groups`.

    Parameters
    ----------
    member : int32, outputs by group and then by bit of their weight.
    member_start : int32 [groups * shifts + 1]; the members of group k whose weight has bit j are
        `member[member_start[k * shifts + j] : member_start[k * shifts + j + 1]]`.
    n_groups, n_shifts : groups, and bits of the largest weight.
    n_planes : bits of the largest count.
    """

    member: NDArray[np.int32]
    member_start: NDArray[np.int32]
    n_groups: int
    n_shifts: int
    n_planes: int


def make_groups(group: Any, weight: Any, n_groups: int) -> Groups:
    """Return the groups of outputs.

    Parameters
    ----------
    group : int [outputs], the group that each output counts for.
    weight : int [outputs], how many times; 0 or more.
    n_groups : number of groups; some may be empty.

    Raises
    ------
    ParameterError : a group or a weight outside its range; counts that may reach 2^30.
    """
    group, weight = np.asarray(group, np.int64), np.asarray(weight, np.int64)
    if group.shape != weight.shape or group.ndim != 1:
        raise ParameterError(
            f"got groups of shape {group.shape} and weights of shape {weight.shape}; expected one of each an output."
        )
    if len(group) and (group.min() < 0 or group.max() >= n_groups):
        raise ParameterError(f"got an output of group {group.max()}; expected 0 to {n_groups - 1}.")
    if len(weight) and weight.min() < 0:
        raise ParameterError(
            f"got an output of weight {weight.min()}; expected 0 or more. Complement the output instead."
        )
    most = int(np.bincount(group, weight, n_groups).max(initial=0)) if len(group) else 0
    if most >= 1 << MOST_PLANES:
        raise ParameterError(f"a group of outputs may count to {most:,}; expected less than 2^{MOST_PLANES}.")
    shifts = max(int(weight.max(initial=1)).bit_length(), 1)
    chosen = [
        np.flatnonzero((group == k) & (weight >> j & 1 == 1)) for k in range(n_groups) for j in range(shifts)
    ]
    starts = np.cumsum([0, *map(len, chosen)]).astype(np.int32)
    members = np.concatenate([np.zeros(0, np.int64), *chosen]).astype(np.int32)
    return Groups(members, starts, n_groups, shifts, max(most.bit_length(), 1))


def count_outputs(words: NDArray[np.uint64], groups: Groups, n_rows: int) -> NDArray[np.int32]:
    """Return the counts, int32 [n, groups], of packed outputs [outputs, w]: the reference."""
    counts = np.zeros((n_rows, groups.n_groups), np.int32)
    for slot, (start, stop) in enumerate(
        zip(groups.member_start[:-1].tolist(), groups.member_start[1:].tolist(), strict=True)
    ):
        group, shift = divmod(slot, groups.n_shifts)
        for first in range(start, stop, 256):
            members = groups.member[first : min(first + 256, stop)]
            counts[:, group] += unpack_bits(words[members], n_rows).sum(axis=0, dtype=np.int32) << shift
    return counts
