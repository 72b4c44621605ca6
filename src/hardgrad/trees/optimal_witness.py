"""The smallest exact ensemble: witness tree search. Never imports torch.

A partial ensemble holds trees whose leaves each have a witness, an example of the leaf's class that stays in that leaf whatever is added.
A tree that is not set yet votes for nothing. An example is *dirty* while fewer than a majority of the trees vote for its label; the search
takes one and tries every way to give it one right vote more: set a tree to a single leaf with the example as witness, or split it off
from the witness of its leaf, by any cut between the two, at any place on its path.

Source: Komusiewicz, Kunz, Sommer and Sorge, 2023, On Computing Optimal Tree Ensembles (with a lazy start instead of guessed witnesses).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import reduce

from hardgrad.trees.optimal_instance import Instance, members
from hardgrad.trees.optimal_tree import Tree

REMEMBERED = 500_000  # failed states
EXACT = 2  # cuts up to which it is found out exactly whether they can meet all demands
WIDE = 100  # cuts in a demand beyond which they are not tried one by one
CLOSEST = 100  # pairs that the bound at every state looks at


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """A node of a witness tree: a leaf with its witness, or a cut (by number) with two sides.

    `region` are the examples that reach the node, `wrong` those of them that it misclassifies, `witnesses` those of its leaves, `cuts`
    the cuts at it and below. Nodes of the same form, cuts and witnesses alike, have the same number `form`.
    """

    region: int
    wrong: int
    witnesses: int
    cuts: int
    form: int
    witness: int = -1
    cut: int = -1
    sides: tuple[Node, Node] | None = None


@dataclass(frozen=True, slots=True)
class State:
    """A partial ensemble: its trees, sorted by form, how many more are unset, and the examples that are left wrong on purpose."""

    trees: tuple[Node, ...]
    unset: int
    given_up: int = 0
    spent: int = 0


class WitnessSearch:
    """Finds ensembles of at most so many cuts that are right on all examples but for the errors that the instance allows.

    Parameters
    ----------
    instance : the examples.
    n_estimators : trees; an example is right where more than half of them vote for its label.
    tick : called at every partial ensemble; may raise to end the search.
    """

    def __init__(
        self, instance: Instance, n_estimators: int, tick: Callable[[], None] = lambda: None
    ) -> None:
        self.instance = instance
        self.n_estimators = n_estimators
        self.majority = n_estimators // 2 + 1
        self.tick = tick
        self._failed: dict[tuple[tuple[int, ...], int], int] = {}
        self._forms: dict[tuple[int, ...], int] = {}
        self._lefts = [cut.left for cut in instance.cuts]
        self._sides = instance.signature
        self._lightest = min(instance.weights)
        self._closest = instance.closest(CLOSEST)

    # --- trees ---------------------------------------------------------------------------------------------------------------
    def _leaf(self, region: int, witness: int) -> Node:
        wrong = region & ~self.instance.of_class[self.instance.label[witness]]
        form = self._forms.setdefault((witness,), len(self._forms))
        return Node(region, wrong, 1 << witness, 0, form, witness=witness)

    def _inner(self, region: int, cut: int, left: Node, right: Node) -> Node:
        form = self._forms.setdefault((cut, left.form, right.form), len(self._forms))
        return Node(
            region,
            left.wrong | right.wrong,
            left.witnesses | right.witnesses,
            1 << cut | left.cuts | right.cuts,
            form,
            cut=cut,
            sides=(left, right),
        )

    def _rebuild(self, node: Node, region: int) -> Node:
        """Return the node for a smaller region."""
        if region == node.region:
            return node
        if node.sides is None:
            return self._leaf(region, node.witness)
        left = self._lefts[node.cut]
        sides = self._rebuild(node.sides[0], region & left), self._rebuild(node.sides[1], region & ~left)
        return self._inner(region, node.cut, *sides)

    def _path(self, tree: Node, example: int) -> list[Node]:
        """Return the nodes that an example passes, root first, leaf last."""
        path = [tree]
        while (sides := path[-1].sides) is not None:
            path.append(sides[0] if sides[0].region >> example & 1 else sides[1])
        return path

    def _insertions(self, tree: Node, example: int, allowed: int) -> Iterator[Node]:
        """Return all trees with one cut more, of the `allowed` ones, in which the example is the witness of a new leaf."""
        path = self._path(tree, example)
        between = allowed & (self._sides[path[-1].witness] ^ self._sides[example])
        for depth in range(len(path) - 1, -1, -1):
            old, seen = path[depth], set()
            for cut in members(between):
                own = self._lefts[cut] if self._lefts[cut] >> example & 1 else ~self._lefts[cut]
                if old.witnesses & own:
                    between ^= 1 << cut  # nor higher up, where there are more witnesses
                    continue
                if (side := old.region & own) not in seen:
                    seen.add(side)
                    rest = self._rebuild(old, old.region & ~own)
                    new = self._leaf(side, example)
                    sides = (new, rest) if own >= 0 else (rest, new)
                    yield self._replaced(path[:depth], old, self._inner(old.region, cut, *sides))

    def _replaced(self, above: list[Node], old: Node, new: Node) -> Node:
        """Return the tree in which `old`, at the end of the path `above`, is `new`."""
        for parent in reversed(above):
            sides = [new if side is old else side for side in parent.sides or ()]
            old, new = parent, self._inner(parent.region, parent.cut, *sides)
        return new

    # --- ensembles -----------------------------------------------------------------------------------------------------------
    def _with(self, state: State, number: int, tree: Node) -> State:
        trees = [*state.trees[:number], tree, *state.trees[number + 1 :]]
        unset = self.n_estimators - len(trees)
        return State(tuple(sorted(trees, key=lambda tree: tree.form)), unset, state.given_up, state.spent)

    def _voted(self, state: State) -> list[int]:
        """Return for each count, 0 to the majority, the examples with at least so many right votes; those given up have all."""
        everything = self.instance.everything
        voted = [everything] + [state.given_up] * self.majority
        for tree in state.trees:
            for count in range(self.majority, 0, -1):
                voted[count] |= voted[count - 1] & ~tree.wrong
        return voted

    def _needs(self, state: State, dirty: int) -> list[tuple[int, int]]:
        """Return, fewest first, (cuts, example): one of these cuts must be added before the example has a right vote more."""
        found = []
        for example in members(dirty):
            cuts = 0
            for tree in state.trees:
                if tree.wrong >> example & 1:
                    cuts |= self._sides[self._path(tree, example)[-1].witness] ^ self._sides[example]
            found.append((cuts, example))
        return sorted(found, key=lambda need: (need[0].bit_count(), need[1]))

    def _children(self, state: State, example: int, allowed: int, cuts: int) -> Iterator[State]:
        weight = self.instance.weights[example]
        if state.spent + weight <= self.instance.max_errors:
            yield State(state.trees, state.unset, state.given_up | 1 << example, state.spent + weight)
        if state.unset:
            yield self._with(state, len(state.trees), self._leaf(self.instance.everything, example))
        for number, tree in enumerate(state.trees if cuts else ()):
            twin = number > 0 and state.trees[number - 1].form == tree.form
            if tree.wrong >> example & 1 and not twin:
                for grown in self._insertions(tree, example, allowed):
                    yield self._with(state, number, grown)

    def ensemble(self, cuts: int) -> list[Tree] | None:
        """Return an ensemble of at most `cuts` cuts, or None where there is none."""
        found = self._search(State((), self.n_estimators), cuts)
        return None if found is None else self._trees(found)

    def _search(self, state: State, cuts: int) -> State | None:
        self.tick()
        voted = self._voted(state)
        dirty = self.instance.everything & ~voted[-1]
        if not dirty:
            return state
        key = (tuple(tree.form for tree in state.trees), state.given_up)
        if self._failed.get(key, -1) >= cuts:
            return None
        needs = self._needs(state, dirty)
        allowed = self._allowed(state, needs, voted, cuts)
        if allowed is not None:
            children = list(self._children(state, needs[0][1], allowed, cuts))
            children.sort(key=self._dirty)
            spent = sum(map(self._size, state.trees))
            for child in children:
                found = self._search(child, cuts + spent - sum(map(self._size, child.trees)))
                if found is not None:
                    return found
        if len(self._failed) < REMEMBERED:
            self._failed[key] = cuts
        return None

    def _size(self, tree: Node) -> int:
        return tree.witnesses.bit_count() - 1

    def _dirty(self, state: State) -> int:
        return (self.instance.everything & ~self._voted(state)[-1]).bit_count()

    def _allowed(self, state: State, needs: list[tuple[int, int]], voted: list[int], cuts: int) -> int | None:
        """Return the set of cuts that may come next, or None where `cuts` more cannot be enough."""
        # Examples that may still be given up instead.
        spare = (self.instance.max_errors - state.spent) // self._lightest
        # Each cut and each tree that is set give an example one right vote more.
        missing = self.majority - state.unset - cuts
        if missing > 0 and not spare and self.instance.everything & ~voted[missing]:
            return None
        present = reduce(int.__or__, (tree.cuts for tree in state.trees), 0)
        # Of each demand one cut must be added. There is one for each dirty example, so giving up an example drops one.
        demands = [] if state.unset else [need for need, _ in needs]
        if not self.instance.max_errors:
            demands += [between for between in self._closest if not between & present]
        if spare:
            return -1 if _disjoint(demands) <= cuts + spare else None
        if not _can_hit(demands, cuts):
            return None
        if cuts > 1 and needs[0][0].bit_count() > WIDE:
            return -1
        return sum(
            1 << cut
            for cut in members(needs[0][0])
            if _can_hit([demand for demand in demands if not demand >> cut & 1], cuts - 1)
        )

    # --- results -------------------------------------------------------------------------------------------------------------
    def greedy(self, most: float) -> list[Tree] | None:
        """Return an ensemble found without turning back, or None where that led nowhere or beyond `most` cuts."""
        state = State((), self.n_estimators)
        while dirty := self.instance.everything & ~self._voted(state)[-1]:
            self.tick()
            if sum(map(self._size, state.trees)) > most:
                return None
            children = list(self._children(state, self._needs(state, dirty)[0][1], -1, 1))
            if not children:  # the errors that a row equal to another needed were spent elsewhere
                return None
            state = min(children, key=self._dirty)
        return self._trees(state)

    def _trees(self, state: State) -> list[Tree]:
        constant: Tree = {"value": self.instance.leaf(self.instance.everything)[0]}
        return [*map(self._nested, state.trees)] + [constant] * state.unset

    def _nested(self, node: Node) -> Tree:
        if node.sides is None:
            return {"value": int(self.instance.label[node.witness])}
        cut = self.instance.cuts[node.cut]
        left, right = map(self._nested, node.sides)
        return {"feature": cut.feature, "threshold": cut.threshold, "left": left, "right": right}


def _disjoint(demands: list[int]) -> int:
    """Count demands, greedily, of which no two share a cut: so many cuts at least are needed to meet all."""
    used = count = 0
    for demand in demands:
        if not demand & used:
            count += 1
            used |= demand
    return count


def _can_hit(demands: list[int], cuts: int) -> bool:
    """Tell whether so many cuts may meet all demands: exactly up to two cuts, by a bound from three on."""
    if cuts <= 0 or not demands:
        return not demands
    if cuts == 1:
        return reduce(int.__and__, demands) != 0
    if _disjoint(demands) > cuts:
        return False
    if cuts > EXACT or demands[0].bit_count() > WIDE:
        return True
    return any(
        _can_hit([demand for demand in demands if not demand >> cut & 1], cuts - 1)
        for cut in members(demands[0])
    )
