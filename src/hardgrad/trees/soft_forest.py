"""SoftForest: the differentiable forest. Sparse-oblique, axis-aligned or oblivious splits over standard scores, routed level by level."""

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
from hardgrad.trees.perfect import PerfectForest
from hardgrad.trees.routing import forest_output

Split = Literal["sparse_oblique", "axis", "oblivious"]
SPLITS: tuple[Split, ...] = ("sparse_oblique", "axis", "oblivious")
Margin = Literal["score", "sign"]
MARGINS: tuple[Margin, ...] = ("score", "sign")
DEAD_OFFSET = -64.0


class SoftForest(Relaxed):
    """A forest of soft perfect trees with vector leaves.

    Parameters
    ----------
    n_features, n_trees, depth, n_outputs : shape of the forest.
    split : "sparse_oblique" (a node weighs any features in training and at most four when hard), "axis" (one feature a node) or
        "oblivious" (all nodes of a level share one test).
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
        tests = depth if split == "oblivious" else nodes
        level = [int(math.log2(i + 1)) for i in range(nodes)]
        self.register_buffer(
            "test_of_node",
            torch.tensor(level if split == "oblivious" else list(range(nodes))),
            persistent=False,
        )
        self.weight = nn.Parameter(torch.zeros(members, n_trees * tests, n_features))
        self.offset = nn.Parameter(torch.full((members, n_trees * tests), DEAD_OFFSET))
        self.leaf = nn.Parameter(torch.zeros(members, n_trees, nodes + 1, n_outputs))
        self.bias = nn.Parameter(torch.zeros(members, n_outputs))

    test_of_node: Tensor

    @property
    def members(self) -> int:
        """Number of forests side by side."""
        return self.weight.shape[0]

    def forward(self, scores: Tensor, *, temperature: Any = None, mode: Mode | None = None) -> Tensor:
        """Return raw scores (see the class)."""
        alone = scores.ndim == 2 and self.members == 1
        x = scores.expand(self.members, *scores.shape) if scores.ndim == 2 else scores
        z = torch.baddbmm(self.offset.unsqueeze(2), self.weight, x.to(self.weight.dtype).transpose(1, 2))
        gates = self._gates(z, self.resolved_temperature(temperature), self.resolved_mode(mode))
        gates = gates.view(self.members, self.n_trees, -1, gates.shape[-1])
        if self.split == "oblivious":
            gates = gates.index_select(2, self.test_of_node)
        raw = forest_output(gates, self.leaf) + self.bias.unsqueeze(1)
        return raw[0] if alone else raw

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
        scores = torch.from_numpy(frame.codes.encode_scores(frame.schema.encode(table)))
        with torch.no_grad():
            parts = [self(part.to(self.weight.device), mode=mode).cpu() for part in scores.split(8192)]
        raw = torch.cat(parts).double().numpy() if parts else np.empty((0, self.bias.shape[1]))
        return frame.output(raw)

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
        W, b, leaf, bias = (
            p[member].detach().cpu().double().numpy()
            for p in (self.weight, self.offset, self.leaf, self.bias)
        )
        if self.split == "oblivious":
            spread = self.test_of_node.cpu().numpy()
            W = W.reshape(self.n_trees, self.depth, -1)[:, spread].reshape(-1, W.shape[1])
            b = b.reshape(self.n_trees, self.depth)[:, spread].reshape(-1)
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
