"""Soft forests brought into line: trees reordered, nodes flipped, levels exchanged, until the parameters of two can be averaged.

Kanoh and Sugiyama, "Linear Mode Connectivity in Differentiable Tree Ensembles", ICLR 2025. The search for one pair of trees is in
`alignment_search`, what is lost on the way between two forests in `interpolation`.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from hardgrad.core.errors import InputError, ParameterError
from hardgrad.trees.alignment_search import Turns, turn_list, turn_nested, turn_oblivious
from hardgrad.trees.soft_forest import SoftForest

Method = Literal["weight", "activation"]
Ints = NDArray[np.int64]
INVARIANCES = ("permutation", "flip", "order")


@dataclass(frozen=True, eq=False)
class ForestAlignment:
    """A rearrangement of one forest that changes nothing of what it computes and brings it close to another.

    Parameters
    ----------
    tree : int64 [trees]; the tree that goes to each place.
    test : int64 [trees, tests]; the test of that tree that goes to each place, which for oblivious trees is the order of the levels.
    sign : int64 [trees, tests]; -1 where weights and offset change sign, so that left and right are exchanged below.
    leaf : int64 [trees, leaves]; the leaf of that tree that goes to each place.
    similarity : the inner product with the other forest that is reached, each test counted as often as there are leaves below it.

    Examples
    --------
    >>> forest = SoftForest(n_features=2, n_trees=3, depth=2, n_outputs=1)
    >>> alignment = match_forests(forest, forest)
    >>> alignment.tree.tolist(), bool(alignment.flips.any())
    ([0, 1, 2], False)
    """

    tree: Ints
    test: Ints
    sign: Ints
    leaf: Ints
    similarity: float

    @property
    def flips(self) -> NDArray[np.bool_]:
        """bool [trees, tests]: where left and right are exchanged."""
        return np.asarray(self.sign < 0)

    def apply(self, forest: SoftForest) -> SoftForest:
        """Return the forest rearranged: another order of parameters, the same function.

        In mode "hard" too, but where a row lies on a test to the last bit: such a row goes left, and that is now the other side.

        Raises
        ------
        ParameterError : the forest has another number of trees, tests or leaves.
        """
        rows, leaf = _parameters(forest)
        if (rows.shape[:2], leaf.shape[:2]) != (self.test.shape, self.leaf.shape):
            raise ParameterError(
                f"the alignment is for tests {self.test.shape} and leaves {self.leaf.shape}, the forest has {tuple(rows.shape[:2])} and "
                f"{tuple(leaf.shape[:2])}; expected the forest that was aligned."
            )
        tree, test, sign, place = (
            torch.from_numpy(array).to(rows.device) for array in (self.tree, self.test, self.sign, self.leaf)
        )
        moved = rows[tree[:, None], test] * sign.unsqueeze(2)
        result = _copied(forest)
        with torch.no_grad():
            result.weight.copy_(moved[..., :-1].reshape(forest.weight.shape))
            result.offset.copy_(moved[..., -1].reshape(forest.offset.shape))
            result.leaf.copy_(leaf[tree[:, None], place].unsqueeze(0))
        return result

    def to_dict(self) -> dict[str, Any]:
        """Return the rearrangement in a form that `json` can write."""
        return {
            name: getattr(self, name).tolist() for name in ("tree", "test", "sign", "leaf")
        } | {"similarity": self.similarity}  # fmt: skip


def match_forests(
    a: SoftForest,
    b: SoftForest,
    method: Method = "weight",
    invariances: Sequence[str] = INVARIANCES,
    X: Any = None,
) -> ForestAlignment:
    """Return the rearrangement of `b` that fits `a` best.

    Parameters
    ----------
    a, b : forests of one shape, temperature and frame.
    method : "weight": trees are assigned by their parameters, each pair turned as it fits best; "activation": by their outputs on rows
        X, and each pair is turned afterwards.
    invariances : what may be used: "permutation" of the trees, "flip" of tests with the subtrees below, "order" of the levels of
        oblivious trees (others have none). Of a decision list only the last test flips.
    X : standard scores [n, features] as `SoftForest.forward` takes, for "activation"; 512 rows are enough.

    Returns
    -------
    alignment : exact for each pair of trees but for oblivious trees of more than four levels; equal similarities are decided the same way
        every time. It takes time of the order of trees^2 * 4^depth.

    Raises
    ------
    ParameterError : forests that do not fit together, an unknown method or invariance, no X.

    Examples
    --------
    >>> a = SoftForest(n_features=2, n_trees=3, depth=2, n_outputs=1)
    >>> for p in a.parameters(): _ = torch.nn.init.normal_(p, generator=torch.Generator().manual_seed(0))
    >>> order = np.array([2, 0, 1])
    >>> b = ForestAlignment(order, *(np.tile(v, (3, 1)) for v in ([0, 1, 2], [1, 1, 1], [0, 1, 2, 3])), 0.0).apply(a)
    >>> order[match_forests(a, b).tree].tolist()
    [0, 1, 2]

    Source: Kanoh and Sugiyama, 2025, Linear Mode Connectivity in Differentiable Tree Ensembles.
    """
    check_pair(a, b)
    unknown = set(invariances) - set(INVARIANCES)
    if unknown or method not in ("weight", "activation"):
        raise ParameterError(
            f"match_forests() got method={method!r} and invariances={tuple(invariances)}; expected 'weight' or 'activation', and some of "
            f"{INVARIANCES}."
        )
    with torch.no_grad():
        (rows_a, leaf_a), (rows_b, leaf_b) = (_parameters(forest) for forest in (a, b))
        tree = np.arange(a.n_trees)
        if "permutation" in invariances:
            if method == "weight":
                pairs = [_turn(a, rows_a[i], leaf_a[i], rows_b, leaf_b, invariances).value for i in tree]
                similar = torch.stack(pairs)
            else:
                similar = _output_products(a, b, X)
            tree = linear_sum_assignment(similar.cpu().numpy(), maximize=True)[1]
        turns = _turn(a, rows_a, leaf_a, rows_b[tree], leaf_b[tree], invariances)
    test, sign, leaf = (part.cpu().numpy() for part in turns[1:])
    return ForestAlignment(tree.astype(np.int64), test, sign, leaf, float(turns.value.sum()))


def _parameters(forest: SoftForest) -> tuple[Tensor, Tensor]:
    """Weights with their offset, [trees, tests, features + 1], and leaves, [trees, leaves, outputs]."""
    weight, offset = (
        p.detach()[0].unflatten(0, (forest.n_trees, -1)) for p in (forest.weight, forest.offset)
    )
    return torch.cat([weight, offset.unsqueeze(2)], dim=2), forest.leaf.detach()[0]


def _copied(forest: SoftForest) -> SoftForest:
    """A copy that shares the frame, which is large and never changes."""
    return copy.deepcopy(forest, {id(forest.frame): forest.frame})


def _turn(
    forest: SoftForest, rows_a: Tensor, leaf_a: Tensor, rows_b: Tensor, leaf_b: Tensor, allowed: Sequence[str]
) -> Turns:  # fmt: skip
    """The best turn of each tree of b, towards its own tree of a, or all towards a single one."""
    G, H = (
        torch.matmul(one.double(), other.double().transpose(1, 2))
        for one, other in ((rows_a, rows_b), (leaf_a, leaf_b))
    )
    flip = "flip" in allowed
    if forest.split == "oblivious":
        return turn_oblivious(G, H, flip=flip, order="order" in allowed)
    return (turn_list if forest.split == "decision_list" else turn_nested)(G, H, flip=flip)


def _output_products(a: SoftForest, b: SoftForest, X: Any) -> Tensor:
    """Inner products [trees, trees] of the centred outputs of each tree of a and of b."""
    if X is None:
        raise ParameterError(
            "match_forests() got method='activation' without X; pass rows of standard scores."
        )
    outputs = []
    for forest in (a, b):
        p = forest.leaf_probability(check_scores(forest, X))
        each = torch.einsum("ntl,tlc->tnc", p, forest.leaf[0]).double()
        outputs.append((each - each.mean(dim=1, keepdim=True)).flatten(1))
    return outputs[0] @ outputs[1].T


def check_scores(forest: SoftForest, X: Any) -> Tensor:
    """Return standard scores as a tensor on the forest's device; refuse another shape."""
    scores = torch.as_tensor(X, device=forest.weight.device)
    if scores.ndim != 2 or scores.shape[1] != forest.weight.shape[-1]:
        raise InputError(
            f"X has shape {tuple(scores.shape)}; expected standard scores [n, {forest.weight.shape[-1]}] (see SoftForest.scores_of)."
        )
    return scores


def check_pair(a: SoftForest, b: SoftForest) -> None:
    """Refuse forests whose parameters do not mean the same."""
    shapes = [(f.split, f.members, f.n_trees, f.depth, f.weight.shape[-1], f.leaf.shape[-1]) for f in (a, b)]
    if shapes[0] != shapes[1] or a.members != 1:
        raise ParameterError(
            f"got forests with (split, members, trees, depth, features, outputs) {shapes[0]} and {shapes[1]}; expected equal ones of one "
            "member."
        )
    if float(a.temperature) != float(b.temperature):
        raise ParameterError(
            f"got temperatures {float(a.temperature):g} and {float(b.temperature):g}; expected one, in which weights mean the same."
        )
    if (a.frame is None) != (b.frame is None) or (a.frame is not None and not a.frame.equals(b.frame)):
        raise ParameterError(
            "the frames of the forests differ: a weight of one does not mean the same in the other. Train both with one frame."
        )


# --- between forests ---------------------------------------------------------------------------------------------------------------------
def interpolate(a: SoftForest, b: SoftForest, share: float) -> SoftForest:
    """Return the forest with the parameters `share * a + (1 - share) * b`; align b first (see `match_forests`).

    Raises
    ------
    ParameterError : forests that do not fit together.

    Examples
    --------
    >>> a, b = (SoftForest(n_features=2, n_trees=3, depth=2, n_outputs=1) for _ in range(2))
    >>> _ = torch.nn.init.ones_(a.leaf)
    >>> interpolate(a, b, 0.25).leaf.unique().tolist()
    [0.25]
    """
    check_pair(a, b)
    return _weighted([a, b], [share, 1.0 - share])


def _weighted(forests: Sequence[SoftForest], shares: Sequence[float]) -> SoftForest:
    result = _copied(forests[0])
    with torch.no_grad():
        for mine, *each in zip(result.parameters(), *(f.parameters() for f in forests), strict=True):
            mine.copy_(sum(s * p for s, p in zip(shares, each, strict=True)))
    return result


def merge_forests(
    forests: Sequence[SoftForest],
    weights: Sequence[float] | None = None,
    *,
    method: Method = "weight",
    X: Any = None,
) -> SoftForest:
    """Return one forest, of the size of one, that averages the parameters of several, each aligned with the first.

    Parameters
    ----------
    forests : of one shape, temperature and frame, trained apart (other rows, other seeds).
    weights : not negative, such as the numbers of rows; equal by default.
    method, X : see `match_forests`.

    Raises
    ------
    ParameterError : no forests, forests that do not fit together, or weights that are not one for each.

    Examples
    --------
    >>> a = SoftForest(n_features=2, n_trees=3, depth=2, n_outputs=1)
    >>> merge_forests([a, a], weights=[100, 300]).n_trees
    3

    Source: Kanoh and Sugiyama, 2025, Linear Mode Connectivity in Differentiable Tree Ensembles.
    """
    if not forests:
        raise ParameterError("merge_forests() got no forests; expected at least one.")
    shares = np.ones(len(forests)) if weights is None else np.asarray(weights, dtype=np.float64)
    if (
        shares.shape != (len(forests),)
        or not np.isfinite(shares).all()
        or (shares < 0).any()
        or not shares.any()
    ):
        raise ParameterError(
            f"merge_forests() got weights={weights!r}; expected {len(forests)} numbers that are not negative, one of them positive."
        )
    first = forests[0]
    aligned = [match_forests(first, other, method, X=X).apply(other) for other in forests[1:]]
    return _weighted([first, *aligned], (shares / shares.sum()).tolist())
