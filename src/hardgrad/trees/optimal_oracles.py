"""Slow, simple ways to the smallest trees and ensembles, to hold the fast ones against. Never imports torch.

All take an `Instance` without allowed errors, and share with the fast ways nothing but its cuts.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

from hardgrad.core.errors import UnsupportedError
from hardgrad.trees.optimal_instance import Instance

MOST_EXAMPLES = 20
MOST_ENSEMBLE_EXAMPLES = 10


def subset_cuts(instance: Instance, most_examples: int = MOST_EXAMPLES) -> int:
    """Return the cuts of the smallest tree without errors, by dynamic programming over sets of examples.

    f(R) = 0 where R has one label, else 1 + the least f(left) + f(right) of all cuts.

    Raises
    ------
    UnsupportedError : there are more than `most_examples` examples (memory doubles with each; tables of few cuts bear more), errors are
        allowed, or equal rows have unequal labels.
    """
    _check(instance, most_examples)
    known: dict[int, int] = {}

    def least(examples: int) -> int:
        if any(not examples & ~own for own in instance.of_class):
            return 0
        if examples not in known:
            known[examples] = 1 + min(
                least(examples & cut.left) + least(examples & ~cut.left)
                for cut in instance.cuts
                if examples & cut.left and examples & ~cut.left
            )
        return known[examples]

    return least(instance.everything)


def enumerated_cuts(instance: Instance, tick: Callable[[], None] = lambda: None) -> int:
    """Return the cuts of the smallest tree without errors, by trying all trees of 0, 1, 2 ... cuts, with nothing remembered.

    `tick` is called for each node of a tree that is tried; it may raise to give up.
    """
    _check(instance, len(instance))

    def solved(examples: int, cuts: int) -> bool:
        tick()
        if any(not examples & ~own for own in instance.of_class):
            return True
        return cuts > 0 and any(
            solved(examples & cut.left, few) and solved(examples & ~cut.left, cuts - 1 - few)
            for cut in instance.cuts
            if examples & cut.left and examples & ~cut.left
            for few in range(cuts)
        )

    return next(cuts for cuts in itertools.count() if solved(instance.everything, cuts))


def ensemble_cuts(instance: Instance, n_estimators: int) -> int:
    """Return the cuts of the smallest ensemble without errors, by dynamic programming over the votes that each example has.

    First the least cuts of a tree that is right on exactly the set A, for all sets A; then tree by tree, the least cuts that bring each
    example so many right votes, up to the majority.

    Raises
    ------
    UnsupportedError : there are more than 10 examples, errors are allowed, or equal rows have unequal labels.
    """
    _check(instance, MOST_ENSEMBLE_EXAMPLES)
    right_on = _trees_by_right_set(instance)
    majority = n_estimators // 2 + 1
    states = {(0,) * len(instance): 0}
    for _ in range(n_estimators):
        following: dict[tuple[int, ...], int] = {}
        for votes, cuts in states.items():
            for right, more in right_on.items():
                state = tuple(min(vote + (right >> i & 1), majority) for i, vote in enumerate(votes))
                following[state] = min(cuts + more, following.get(state, cuts + more))
        states = following
    return states[(majority,) * len(instance)]


def _trees_by_right_set(instance: Instance) -> dict[int, int]:
    """For each set of examples on which some tree is exactly right: the least cuts of such a tree."""
    known: dict[int, dict[int, int]] = {}

    def table(examples: int) -> dict[int, int]:
        if examples not in known:
            found = {examples & own: 0 for own in instance.of_class}
            for left in {examples & cut.left for cut in instance.cuts} - {0, examples}:
                for (a, few), (b, more) in itertools.product(
                    table(left).items(), table(examples ^ left).items()
                ):
                    found[a | b] = min(few + more + 1, found.get(a | b, few + more + 1))
            known[examples] = found
        return known[examples]

    return table(instance.everything)


def _check(instance: Instance, most: int) -> None:
    if len(instance) > most or instance.max_errors or instance.unavoidable:
        raise UnsupportedError(
            f"got {len(instance)} examples with {instance.max_errors} errors allowed and {instance.unavoidable} unavoidable; this oracle "
            f"takes at most {most} examples, and none of either. Use minimum_cuts."
        )
