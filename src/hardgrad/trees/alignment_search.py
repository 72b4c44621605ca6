"""The exact search behind forest alignment: which turn of a tree fits another tree best.

A turn rearranges a tree without changing what it computes. It is found from inner products alone, for many pairs of trees at a time:
`G` [pairs, tests, tests] of the tests and `H` [pairs, leaves, leaves] of the leaves, each of the first tree by each of the second. A test
counts as often as there are leaves below it, a leaf once.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

ENUMERATED = 4  # levels up to which all orders and flips of an oblivious tree are tried: 4! * 2^4 = 384


class Turns(NamedTuple):
    """How the second tree of each pair is turned to fit the first.

    Parameters
    ----------
    value : [pairs]; the weighted inner product that is reached.
    test, leaf : [pairs, tests] and [pairs, leaves]; the test and the leaf of the second tree that go to each place.
    sign : [pairs, tests]; -1 where the test is flipped.
    """

    value: Tensor
    test: Tensor
    sign: Tensor
    leaf: Tensor


def turn_nested(G: Tensor, H: Tensor, *, flip: bool) -> Turns:
    """Return the best flips of perfect trees, exactly: a node that flips swaps the subtrees below it.

    What two subtrees can reach follows from what their halves can reach, so the 2^(2^depth - 1) patterns need one table a level.
    """
    pairs, leaves = H.shape[:2]
    depth = leaves.bit_length() - 1
    S, turned = H, []
    for level in reversed(range(depth)):
        nodes = 2**level
        place = slice(nodes - 1, 2 * nodes - 1)
        own = G[:, place, place] * (leaves >> level)
        halves = S.view(pairs, nodes, 2, nodes, 2)
        kept = own + halves[:, :, 0, :, 0] + halves[:, :, 1, :, 1]
        flipped = halves[:, :, 0, :, 1] + halves[:, :, 1, :, 0] - own
        turned.append((flipped > kept) if flip else torch.zeros_like(kept, dtype=torch.bool))
        S = torch.where(turned[-1], flipped, kept)
    at = torch.zeros(pairs, 1, dtype=torch.int64, device=H.device)  # the node that goes to each place
    test, sign = [], []
    for level in range(depth):
        swap = turned[depth - 1 - level].gather(2, at.unsqueeze(2)).squeeze(2).long()
        test.append(at + 2**level - 1)
        sign.append(1 - 2 * swap)
        at = torch.stack([2 * at + swap, 2 * at + 1 - swap], dim=2).flatten(1)
    empty = at[:, :0]
    return Turns(S[:, 0, 0], torch.cat([empty, *test], 1), torch.cat([empty, *sign], 1), at)


def turn_list(G: Tensor, H: Tensor, *, flip: bool) -> Turns:
    """Return the best of the two turns of a decision list: only its last test can flip, which swaps the last two leaves."""
    pairs, leaves = H.shape[:2]
    below = torch.arange(leaves, 1, -1, device=H.device)
    tests = G.diagonal(dim1=1, dim2=2) * below
    ends = H.diagonal(dim1=1, dim2=2)
    kept = tests.sum(dim=1) + ends.sum(dim=1)
    test = torch.arange(leaves - 1, device=H.device).repeat(pairs, 1)
    sign, leaf = torch.ones_like(test), torch.arange(leaves, device=H.device).repeat(pairs, 1)
    if not flip or leaves == 1:
        return Turns(kept, test, sign, leaf)
    change = H[:, -2, -1] + H[:, -1, -2] - ends[:, -2:].sum(dim=1) - 2 * tests[:, -1]
    swap = change > 0
    sign[swap, -1] = -1
    leaf[swap, -2:] = leaf[swap, -2:].flip(1)
    return Turns(kept + change.clamp(min=0), test, sign, leaf)


def turn_oblivious(G: Tensor, H: Tensor, *, flip: bool, order: bool) -> Turns:
    """Return the best order and flips of the levels of oblivious trees: exact up to four levels, else by assignment and ascent."""
    depth = G.shape[1]
    if depth <= ENUMERATED:
        levels = range(depth)
        orders = list(itertools.permutations(levels)) if order else [tuple(levels)]
        signs = list(itertools.product((1, -1), repeat=depth)) if flip else [(1,) * depth]
        test = torch.tensor([o for o in orders for _ in signs], dtype=torch.int64, device=G.device)
        sign = torch.tensor([s for _ in orders for s in signs], dtype=torch.int64, device=G.device)
        best = _value(G, H, test.unsqueeze(0), sign.unsqueeze(0)).max(dim=1)
        test, sign = test[best.indices], sign[best.indices]
        return Turns(best.values, test, sign, _leaves(test, sign))
    return _ascend(G, H, flip=flip, order=order)


def _leaves(test: Tensor, sign: Tensor) -> Tensor:
    """The leaf that goes to each place [.., 2^depth], for turns of levels [.., depth]; the first level is the highest bit of a leaf."""
    depth = test.shape[-1]
    steps = torch.arange(depth - 1, -1, -1, device=test.device)
    side = (torch.arange(2**depth, device=test.device)[:, None] >> steps) & 1
    old_side = side ^ (sign < 0).long().unsqueeze(-2)
    return (old_side << (depth - 1 - test).unsqueeze(-2)).sum(dim=-1)


def _value(G: Tensor, H: Tensor, test: Tensor, sign: Tensor) -> Tensor:
    """What turns [pairs or 1, turns, depth] reach, [pairs, turns]."""
    pairs, leaves = H.shape[:2]
    test, sign = (t.expand(pairs, -1, -1) for t in (test, sign))
    turns = test.shape[1]
    own = G.unsqueeze(1).expand(-1, turns, -1, -1).gather(3, test.unsqueeze(3)).squeeze(3)
    ends = H.unsqueeze(1).expand(-1, turns, -1, -1).gather(3, _leaves(test, sign).unsqueeze(3))
    return leaves * (own * sign).sum(dim=2) + ends.sum(dim=(2, 3))


def _ascend(G: Tensor, H: Tensor, *, flip: bool, order: bool) -> Turns:
    pairs, depth = G.shape[:2]
    test = torch.arange(depth, device=G.device).repeat(pairs, 1)
    if order:
        size = (G.abs() if flip else G).cpu().numpy()
        matched = [linear_sum_assignment(pair, maximize=True)[1] for pair in size]
        test = torch.from_numpy(np.stack(matched)).to(G.device)
    picked = G.gather(2, test.unsqueeze(2)).squeeze(2)
    sign = torch.where(picked < 0, -1, 1) if flip else torch.ones_like(test)
    value = _value(G, H, test.unsqueeze(1), sign.unsqueeze(1))[:, 0]
    rising = flip
    while rising:
        rising = False
        for level in range(depth):
            other = sign.clone()
            other[:, level] *= -1
            reached = _value(G, H, test.unsqueeze(1), other.unsqueeze(1))[:, 0]
            better = reached > value
            sign, value = torch.where(better.unsqueeze(1), other, sign), torch.where(better, reached, value)
            rising |= bool(better.any())
    return Turns(value, test, sign, _leaves(test, sign))
