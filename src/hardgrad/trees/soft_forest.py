"""SoftForest: the differentiable forest over standard scores. Oblique, axis-aligned or oblivious trees, or lists, routed level by level."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hardgrad.core.errors import HardenError, ParameterError
from hardgrad.core.mode import Mode
from hardgrad.core.relaxed import Relaxed, straight_through
from hardgrad.trees.assemble import Frame, assemble, codes_of, perfect_from_forest
from hardgrad.trees.forest import Forest
from hardgrad.trees.forest_sums import require_plain
from hardgrad.trees.perfect import PerfectForest
from hardgrad.trees.routing import forest_output, route
from hardgrad.trees.smoothing_rules import SmoothingRule

Split = Literal["sparse_oblique", "axis", "oblivious", "decision_list"]
SPLITS: tuple[Split, ...] = ("sparse_oblique", "axis", "oblivious", "decision_list")
Margin = Literal["score", "sign"]
MARGINS: tuple[Margin, ...] = ("score", "sign")
DEAD_OFFSET = -64.0


class SoftForest(Relaxed):
    """A forest of soft trees with vector leaves.

    Parameters
    ----------
    n_features, n_trees, depth, n_outputs : shape of the forest.
    split : "sparse_oblique" (a node weighs any features in training and at most four when hard), "axis" (one feature a node) or
        "oblivious" (all nodes of a level share one test), or "decision_list" (the left child of every node is a leaf: `depth` tests in a
        row and `depth + 1` leaves).
    members : independent forests held and trained side by side; a row of scores goes through each.
    temperature : of the gates, in the units of the weighted scores; small is hard.
    frame : what an artifact needs beside the trees; needed by `harden()` and by `predict_raw()`.
    margin : what a gate sees: "score" (how far a row is from the threshold) or "sign" (only its side, 1 or -1).

    Notes
    -----
    `forward` takes standard scores (see `FeatureCodes.encode_scores`) [B, features] or [members, B, features] and returns raw scores
    [B, outputs] for one member, else [members, B, outputs]. The gate is the probability of LEFT, `sigmoid(-z / temperature)`.

    Examples
    --------
    >>> forest = SoftForest(n_features=3, n_trees=2, depth=2, n_outputs=1)
    >>> forest(torch.zeros(5, 3)).shape
    torch.Size([5, 1])
    """

    def __init__(
        self,
        n_features: int,
        n_trees: int,
        depth: int,
        n_outputs: int,
        *,
        split: Split = "sparse_oblique",
        members: int = 1,
        temperature: float = 0.4,
        frame: Frame | None = None,
        margin: Margin = "score",
    ) -> None:
        super().__init__(temperature)
        if margin not in MARGINS:
            raise ParameterError(f"margin got {margin!r}; expected one of {', '.join(MARGINS)}.")
        self.margin: Margin = margin
        if split not in SPLITS:
            raise ParameterError(f"split got {split!r}; expected one of {', '.join(SPLITS)}.")
        self.split: Split = split
        self.frame = frame
        self.n_trees, self.depth = n_trees, depth
        nodes = 2**depth - 1
        listed = split == "decision_list"
        tests = depth if listed or split == "oblivious" else nodes
        level = [int(math.log2(i + 1)) for i in range(nodes)]
        # A list is a perfect tree in which the nodes off its right edge are dead: they take the test after the last, which is always left.
        # How often a path goes right at first is the number of its leaf.
        edge = [depth if i + 2 & i + 1 else d for i, d in enumerate(level)]
        paths = [f"{place:0{depth}b}" for place in range(nodes + 1)]
        places = [len(path) - len(path.lstrip("1")) for path in paths]
        test_of_node = {"oblivious": level, "decision_list": edge}.get(split, list(range(nodes)))
        for name, numbers in (("test_of_node", test_of_node), ("leaf_of_place", places)):
            self.register_buffer(name, torch.tensor(numbers, dtype=torch.int64), persistent=False)
        leaves = depth + 1 if listed else nodes + 1
        self.weight = nn.Parameter(torch.zeros(members, n_trees * tests, n_features))
        self.offset = nn.Parameter(torch.full((members, n_trees * tests), DEAD_OFFSET))
        self.leaf = nn.Parameter(torch.zeros(members, n_trees, leaves, n_outputs))
        self.bias = nn.Parameter(torch.zeros(members, n_outputs))

    test_of_node: Tensor
    leaf_of_place: Tensor

    @property
    def members(self) -> int:
        """Number of forests side by side."""
        return self.weight.shape[0]

    def forward(self, scores: Tensor, *, temperature: Any = None, mode: Mode | None = None) -> Tensor:
        """Return raw scores (see the class)."""
        alone = scores.ndim == 2 and self.members == 1
        gates = self.gates(scores, temperature=temperature, mode=mode)
        raw = forest_output(gates, self._spread_leaves(self.leaf, 2)) + self.bias.unsqueeze(1)
        return raw[0] if alone else raw

    def leaf_probability(
        self, scores: Tensor, *, temperature: Any = None, mode: Mode | None = None
    ) -> Tensor:
        """Return the probability of each leaf of each tree, [B, trees, leaves], or [members, B, trees, leaves] (see the class)."""
        alone = scores.ndim == 2 and self.members == 1
        p = route(self.gates(scores, temperature=temperature, mode=mode)).permute(0, 3, 1, 2)
        if self.split == "decision_list":  # leaf k of a list is the leftmost place below its node
            p = p[..., [2**self.depth - 2 ** (self.depth - k) for k in range(self.depth + 1)]]
        return p[0] if alone else p

    def gates(self, scores: Tensor, *, temperature: Any = None, mode: Mode | None = None) -> Tensor:
        """Return the probability of LEFT at every node, [members, trees, nodes, B]; exactly 0 or 1 in mode "hard"."""
        x = scores.expand(self.members, *scores.shape) if scores.ndim == 2 else scores
        z = torch.baddbmm(self.offset.unsqueeze(2), self.weight, x.to(self.weight.dtype).transpose(1, 2))
        gates = self._gates(z, self.resolved_temperature(temperature), self.resolved_mode(mode))
        gates = gates.view(self.members, self.n_trees, -1, gates.shape[-1])
        return self._spread(gates, 2, dead=1.0)

    def _spread(self, tests: Tensor, dim: int, dead: float) -> Tensor:
        """What belongs to tests, for each node of the perfect trees."""
        if self.split == "decision_list":
            shape = [*tests.shape[:dim], 1, *tests.shape[dim + 1 :]]
            return torch.cat([tests, tests.new_full(shape, dead)], dim).index_select(dim, self.test_of_node)
        return tests.index_select(dim, self.test_of_node) if self.split == "oblivious" else tests

    def _spread_leaves(self, leaf: Tensor, dim: int) -> Tensor:
        """What belongs to leaves, for each leaf of the perfect trees."""
        return leaf.index_select(dim, self.leaf_of_place) if self.split == "decision_list" else leaf

    def _gates(self, z: Tensor, temperature: Any, mode: Mode) -> Tensor:
        if mode == "hard":
            return (z <= 0).to(z.dtype)
        if self.margin == "sign":
            z = torch.where(z <= 0, -torch.ones_like(z), torch.ones_like(z))
        soft = torch.sigmoid(-z / temperature)
        return soft if mode == "soft" else straight_through((z <= 0).to(z.dtype), soft)

    def predict_raw(self, table: Any, *, mode: Mode | None = None) -> NDArray[np.float64]:
        """Return the raw scores [n, outputs] of raw columns, in the units of the artifact. Needs a frame and one member."""
        frame = self._need_frame("predict_raw()")
        scores = self.scores_of(table)
        with torch.no_grad():
            parts = [self(part.to(self.weight.device), mode=mode).cpu() for part in scores.split(8192)]
        raw = torch.cat(parts).double().numpy() if parts else np.empty((0, self.bias.shape[1]))
        return frame.output(raw)

    def scores_of(self, table: Any) -> Tensor:
        """Return the standard scores [n, features] of raw columns, which `forward` takes. Needs a frame and one member."""
        frame = self._need_frame("scores_of()")
        return torch.from_numpy(frame.codes.encode_scores(frame.schema.encode(table)))

    def smoother(
        self, X_train: Any, X_query: Any, *, sample_weight: Any = None, rule: SmoothingRule | None = None
    ) -> Any:
        """Return the weights of training rows in predictions (see `hardgrad.trees.smoother_matrix`)."""
        from hardgrad.trees.soft_smoothing import soft_smoother

        return soft_smoother(self, X_train, X_query, sample_weight=sample_weight, rule=rule)

    def _need_frame(self, what: str) -> Frame:
        if self.frame is None or self.members != 1:
            raise HardenError(
                f"{what} needs a SoftForest with a frame and one member, this one has {self.members} members and "
                f"{'a' if self.frame else 'no'} frame. Build it with SoftForest.from_hard() or take an estimator's soft_."
            )
        return self.frame

    # --- between soft and hard -----------------------------------------------------------------------------------------------
    @classmethod
    def from_perfect(
        cls, forests: list[PerfectForest], n_features: int, *, split: Split = "sparse_oblique", temperature: float = 0.4,
        frame: Frame | None = None, margin: Margin = "score", dtype: torch.dtype = torch.float32,
    ) -> SoftForest:  # fmt: skip
        """Return a soft forest with one member for each of `forests`, all of one shape."""
        if split == "decision_list":
            raise HardenError("from_perfect() got split='decision_list'; expected a split of perfect trees.")
        first = forests[0]
        soft = cls(
            n_features, first.n_trees, first.depth, len(first.bias), split=split, members=len(forests),
            temperature=temperature, frame=frame, margin=margin,
        ).to(dtype)  # fmt: skip
        soft.set_temperature(temperature)  # in the digits of this dtype
        with torch.no_grad():
            for m, forest in enumerate(forests):
                W, b = forest.dense(n_features)
                b = np.where(forest.alive.reshape(-1), b, DEAD_OFFSET)
                if split == "oblivious":
                    shape = (forest.n_trees, forest.n_nodes)
                    first_of_level = [2**d - 1 for d in range(forest.depth)]
                    W = W.T.reshape(*shape, -1)[:, first_of_level].reshape(-1, n_features).T
                    b = b.reshape(shape)[:, first_of_level].reshape(-1)
                soft.weight[m] = torch.from_numpy(np.ascontiguousarray(W.T))
                soft.offset[m] = torch.from_numpy(b)
                soft.leaf[m] = torch.from_numpy(forest.leaf)
                soft.bias[m] = torch.from_numpy(forest.bias)
        return soft

    def to_perfect(self, member: int = 0) -> PerfectForest:
        """Return one member as perfect trees: the four largest weights of each node are kept."""
        weight, offset = (
            p[member].detach().unflatten(0, (self.n_trees, -1)) for p in (self.weight, self.offset)
        )
        parts = (
            self._spread(weight, 1, dead=0.0).flatten(0, 1),
            self._spread(offset, 1, dead=DEAD_OFFSET).flatten(),
            self._spread_leaves(self.leaf[member].detach(), 1),
            self.bias[member].detach(),
        )
        W, b, leaf, bias = (part.cpu().double().numpy() for part in parts)
        return PerfectForest.from_dense(W.T, b, leaf, bias)

    @classmethod
    def from_hard(
        cls, forest: Forest, table: Any, *, temperature: float = 0.15, margin: Margin = "score"
    ) -> SoftForest:
        """Return a soft forest that computes `forest` exactly in mode "hard".

        Parameters
        ----------
        forest : an exact forest of depth at most 12.
        table : rows of raw columns; the scale of the soft gates follows their distribution.
        temperature : of the gates.
        margin : see the class. With "sign", in double, it is the `MultiPathTreePredictor` of decay exp(-1 / temperature): a row goes the
            wrong way with a probability that does not depend on how near it is.
        """
        require_plain(forest, "from_hard()", "Train a soft forest on the forest's predictions instead.")
        X = forest.encode(table)
        codes = codes_of(forest, X)
        if not forest.is_axis:
            raise HardenError(
                "from_hard() takes axis-aligned forests; an oblique forest is trained soft, see its estimator's soft_."
            )
        frame = Frame(forest.schema, codes, forest.link, forest.task, forest.classes, forest.target)
        perfect = perfect_from_forest(forest, codes)
        dtype = torch.float32
        if (
            margin == "sign"
        ):  # a gate that knows no distance is never sure, so that all leaves below a leaf must be that leaf
            perfect, dtype = perfect.filled(), torch.float64
        return cls.from_perfect(
            [perfect], forest.n_features, split="axis", temperature=temperature, frame=frame, margin=margin, dtype=dtype
        )  # fmt: skip

    def harden(self) -> Forest:
        """Return the exact `Forest`: four largest weights a node, rounded to whole numbers; leaves as they are."""
        return assemble(self.to_perfect().quantised(), self._need_frame("harden()"))
