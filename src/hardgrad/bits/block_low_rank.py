"""BlockLowRank and GaudiLinear: a matrix as a sum of blocks whose places are learned. Training and fitting are next door.

A block covers a cyclic range of rows and one of columns, with smooth edges; hardened, each range is whole rows and columns.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from hardgrad.bits.block_low_rank_fit import Side, truncated
from hardgrad.bits.block_low_rank_matrix import BlockLowRankMatrix
from hardgrad.bits.windows import window
from hardgrad.core.errors import InputError, ParameterError
from hardgrad.core.mode import Mode
from hardgrad.core.relaxed import Relaxed, straight_through


class BlockLowRank(Relaxed):
    """A matrix as a sum of blocks of low rank, which learns where they lie, how large they are and what is in them.

    Parameters
    ----------
    rows, columns : shape of the matrix.
    blocks : number of blocks; by default as many as make a dense matrix of full rank possible, min(rows, columns) / rank_per_block.
    rank_per_block : rank of each.
    width : mean share of the rows, and of the columns, that a block covers at first; the first `blocks * width / 2` cover all of them.
    temperature : of the edges (see `window`); training lowers it from 1 to about 0.01.
    generator : of the first factors, by default torch's own.

    Notes
    -----
    In mode "soft" edges are smooth and ranges are rounded to whole places with a straight-through gradient; "st" has the exact matrix
    forward and the gradient of the soft one backward; "hard" is exact.

    Examples
    --------
    >>> matrix = BlockLowRank(4, 6, blocks=3)
    >>> matrix(torch.ones(2, 6)).shape, matrix.harden().shape, matrix.numbers
    (torch.Size([2, 4]), (4, 6), 30)

    Source: Lee and Kim, 2024, Differentiable Learning of Generalized Structured Matrices for Efficient Deep Neural Networks.
    """

    def __init__(
        self,
        rows: int,
        columns: int,
        blocks: int | None = None,
        *,
        rank_per_block: int = 1,
        width: float = 1.0,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(temperature)
        if blocks is None and rank_per_block >= 1:
            blocks = max(1, min(rows, columns) // rank_per_block)
        if min(rows, columns, blocks or 0, rank_per_block) < 1:
            raise ParameterError(
                f"BlockLowRank got rows={rows}, columns={columns}, blocks={blocks}, rank_per_block={rank_per_block}; expected at least 1."
            )
        if not 0.0 < width <= 1.0:
            raise ParameterError(f"BlockLowRank got width={width!r}; expected a share above 0 and at most 1.")
        assert blocks is not None
        self.rows, self.columns, self.blocks, self.rank_per_block = rows, columns, blocks, rank_per_block
        # As many entries of the sum overlap as makes the variance of the matrix that of nn.Linear, 1 / (3 columns).
        full = round(blocks * width / 2)
        widths = torch.full((blocks,), 0.5 * width / (1 - 0.5 * width))
        widths[:full] = 1.0
        spread = (3 * columns * rank_per_block * float(widths.square().sum())) ** -0.25
        locations = torch.arange(blocks) / blocks
        self.left = nn.Parameter(spread * torch.randn(blocks, rank_per_block, rows, generator=generator))
        self.right = nn.Parameter(spread * torch.randn(blocks, rank_per_block, columns, generator=generator))
        self.row_width, self.column_width = nn.Parameter(widths), nn.Parameter(widths.clone())
        self.row_location, self.column_location = nn.Parameter(locations), nn.Parameter(locations.clone())

    @classmethod
    def from_dense(cls, W: Any, budget: float, **options: Any) -> Self:
        """Return blocks that hold at most `budget` numbers and come as near to a matrix as training and least squares bring them.

        Parameters
        ----------
        W : (rows, columns), an array or a tensor.
        budget : numbers in all factors: a whole number, or a share below 1 of those of the dense matrix.
        **options : of `hardgrad.bits.block_low_rank_training.fit_matrix`.

        Raises
        ------
        InputError : no matrix, or numbers that are not finite.
        BudgetError : a budget too small for one block.

        Examples
        --------
        >>> block = torch.outer(torch.arange(1.0, 5.0), torch.ones(4))
        >>> matrix = BlockLowRank.from_dense(torch.block_diag(block, -block), 16, steps=200).harden()
        >>> matrix.numbers, bool(abs(matrix.to_dense() - torch.block_diag(block, -block).numpy()).max() < 1e-3)
        (16, True)
        """
        from hardgrad.bits.block_low_rank_training import fit_matrix

        return fit_matrix(cls, W, budget, **options)

    @property
    def numbers(self) -> int:
        """How many numbers the factors of the exact blocks hold, which is also the multiply-adds of a product with one vector."""
        _, height = _places(self.row_location, self.row_width, self.rows)
        _, breadth = _places(self.column_location, self.column_width, self.columns)
        alive = (height > 0) & (breadth > 0)
        return self.rank_per_block * int(((height + breadth) * alive).sum())

    def forward(self, x: Tensor, *, mode: Mode | None = None, temperature: Any = None) -> Tensor:
        """Return the product of the matrix with vectors, (..., rows).

        Parameters
        ----------
        x : (..., columns).
        mode, temperature : as everywhere.
        """
        if x.shape[-1:] != (self.columns,):
            raise InputError(f"BlockLowRank got x of shape {tuple(x.shape)}; expected (..., {self.columns}).")
        left, right = self._factors(mode, temperature)
        return x @ right.mT @ left

    def weight(self, *, mode: Mode | None = None, temperature: Any = None) -> Tensor:
        """Return the dense matrix, (rows, columns)."""
        left, right = self._factors(mode, temperature)
        return left.mT @ right

    def _factors(self, mode: Mode | None, temperature: Any) -> tuple[Tensor, Tensor]:
        """Return the factors with their windows, (blocks * rank, rows) and (blocks * rank, columns)."""
        mode, temperature = self.resolved_mode(mode), self.resolved_temperature(temperature)
        left = self.left * self._window(self.row_width, self.row_location, self.rows, mode, temperature)
        right = self.right * self._window(
            self.column_width, self.column_location, self.columns, mode, temperature
        )
        return left.flatten(0, 1), right.flatten(0, 1)

    def _window(self, width: Tensor, location: Tensor, n: int, mode: Mode, temperature: Any) -> Tensor:
        start, count = _places(location, width, n)
        exact = ((torch.arange(n, device=width.device) - start.unsqueeze(-1)) % n < count.unsqueeze(-1)).to(
            width.dtype
        )
        if mode == "hard":
            return exact.unsqueeze(1)
        soft = window(
            straight_through(count / n, width), straight_through(start / n, location), n, temperature
        )
        return (straight_through(exact, soft) if mode == "st" else soft).unsqueeze(1)

    def sides(self) -> tuple[Side, Side]:
        """Return rows and columns of the exact blocks, with factors that are zero outside of them, as NumPy arrays."""
        found = []
        for width, location, factors in (
            (self.row_width, self.row_location, self.left),
            (self.column_width, self.column_location, self.right),
        ):
            start, count = _places(location.detach(), width.detach(), factors.shape[-1])
            side = Side(
                start.long().cpu().numpy(),
                count.long().cpu().numpy(),
                factors.detach().double().mT.cpu().numpy(),
            )
            found.append(Side(side.start, side.count, side.factors * side.support[..., None]))
        return found[0], found[1]

    @torch.no_grad()
    def set_sides(self, rows: Side, columns: Side) -> None:
        """Take the places and factors of exact blocks."""
        for side, width, location, factors in (
            (rows, self.row_width, self.row_location, self.left),
            (columns, self.column_width, self.column_location, self.right),
        ):
            n = factors.shape[-1]
            factors.copy_(torch.from_numpy(side.factors).mT)
            width.copy_(torch.from_numpy(side.count / n))
            location.copy_(torch.from_numpy(side.start / n))

    def harden(self) -> BlockLowRankMatrix:
        """Return the exact blocks as an artifact; empty ones are left out."""
        rows, columns = self.sides()
        alive = np.flatnonzero((rows.count > 0) & (columns.count > 0))
        places = [
            part[alive].astype(np.int32) for side in (rows, columns) for part in (side.start, side.count)
        ]
        factors = [
            _of_blocks(side.factors[alive], side.start[alive], side.count[alive]).astype(
                _numpy_type(self.left)
            )
            for side in (rows, columns)
        ]
        return BlockLowRankMatrix(self.rows, self.columns, self.rank_per_block, *places, *factors)


def _places(location: Tensor, width: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Return start and count of the exact ranges, as whole floats."""
    return (n * location).round() % n, (n * width).round().clamp(0, n)


def _numpy_type(parameter: Tensor) -> type[np.floating[Any]]:
    return np.float64 if parameter.dtype == torch.float64 else np.float32


class GaudiLinear(Relaxed):
    """A linear layer with a learned block-low-rank matrix in place of a dense one.

    Parameters
    ----------
    in_features, out_features, bias : as for `torch.nn.Linear`.
    rank_ratio : number of blocks, times their rank, over min(in_features, out_features).
    rank_per_block, width, temperature, generator : as for `BlockLowRank`.

    Examples
    --------
    >>> layer = GaudiLinear(6, 4, rank_ratio=0.5)
    >>> layer(torch.zeros(3, 6)).shape, type(layer.harden()).__name__
    (torch.Size([3, 4]), 'BlockLowRankLinear')

    Source: as for `BlockLowRank`.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        rank_ratio: float = 1.0,
        rank_per_block: int = 1,
        width: float = 1.0,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(temperature)
        if not rank_ratio > 0.0:
            raise ParameterError(f"GaudiLinear got rank_ratio={rank_ratio!r}; expected a positive number.")
        blocks = (
            max(1, round(rank_ratio * min(in_features, out_features) / rank_per_block))
            if rank_per_block
            else None
        )
        self.matrix = BlockLowRank(
            out_features, in_features, blocks,
            rank_per_block=rank_per_block, width=width, temperature=temperature, generator=generator,
        )  # fmt: skip
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None

    @classmethod
    def from_linear(cls, linear: nn.Linear, matrix: BlockLowRank | None = None, **options: Any) -> Self:
        """Return a layer that starts from a dense one.

        Parameters
        ----------
        linear : gives the sizes and the bias.
        matrix : the blocks; by default those that cover everything and share the first singular vectors of the weight.
        **options : of the class.
        """
        layer = cls(linear.in_features, linear.out_features, linear.bias is not None, **options).to(
            linear.weight
        )
        if matrix is None:
            weight = linear.weight.detach().double().cpu().numpy()
            layer.matrix.set_sides(
                *truncated(weight, layer.matrix.blocks, layer.matrix.rank_per_block, layer.matrix.blocks)
            )
        else:
            layer.matrix = matrix.to(linear.weight)
        if layer.bias is not None:
            layer.bias.data.copy_(linear.bias.detach())
        return layer

    def forward(self, x: Tensor, *, mode: Mode | None = None, temperature: Any = None) -> Tensor:
        """Return (..., out_features) for x (..., in_features)."""
        product = self.matrix(x, mode=mode, temperature=temperature)
        result: Tensor = product if self.bias is None else product + self.bias
        return result

    def own_temperature(self) -> Tensor:
        """Return the temperature of the matrix."""
        return self.matrix.own_temperature()

    def set_temperature(self, value: float) -> None:
        """Set the temperature of the matrix in place."""
        self.matrix.set_temperature(value)

    def harden(self) -> BlockLowRankLinear:
        """Return the layer with exact blocks."""
        return BlockLowRankLinear(
            self.matrix.harden(), None if self.bias is None else self.bias.detach().clone()
        )


class BlockLowRankLinear(nn.Module):
    """The exact counterpart of `GaudiLinear`: two dense products, with the left and the right factors of all blocks.

    The factors are frozen at first; with `requires_grad_()` they can be trained further, in their places, and `to_matrix()` is the
    artifact of what they are then.

    Parameters
    ----------
    matrix : the exact blocks.
    bias : (out_features,) or None.
    """

    left_support: Tensor
    right_support: Tensor

    def __init__(self, matrix: BlockLowRankMatrix, bias: Tensor | None = None) -> None:
        super().__init__()
        self.out_features, self.in_features = matrix.shape
        self._places = matrix
        left, right = map(torch.from_numpy, matrix.factors())
        ones = replace(matrix, left=np.ones_like(matrix.left), right=np.ones_like(matrix.right)).factors()
        self.left, self.right = _frozen(left), _frozen(right)
        for name, support in zip(("left_support", "right_support"), ones, strict=True):
            self.register_buffer(name, torch.from_numpy(support != 0))
        self.bias = None if bias is None else _frozen(bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., out_features) for x (..., in_features)."""
        if x.shape[-1:] != (self.in_features,):
            raise InputError(
                f"BlockLowRankLinear got x of shape {tuple(x.shape)}; expected (..., {self.in_features})."
            )
        return nn.functional.linear(
            x @ _within(self.right, self.right_support).T, _within(self.left, self.left_support), self.bias
        )

    def to_matrix(self) -> BlockLowRankMatrix:
        """Return the blocks as an artifact, with the factors as they are now."""
        old = self._places
        left = self.left.detach().cpu().numpy().reshape(self.out_features, -1, old.rank).transpose(1, 0, 2)
        right = self.right.detach().cpu().numpy().reshape(-1, old.rank, self.in_features).transpose(0, 2, 1)
        return replace(
            old,
            left=_of_blocks(left, old.row_start, old.row_count),
            right=_of_blocks(right, old.column_start, old.column_count),
        )

    def extra_repr(self) -> str:
        """Return the sizes."""
        sizes = f"in_features={self.in_features}, out_features={self.out_features}"
        return f"{sizes}, numbers={self._places.numbers}, bias={self.bias is not None}"


def _of_blocks(factors: Any, start: Any, count: Any) -> Any:
    """Return the numbers inside the blocks, one block after another, of factors (blocks, n, rank)."""
    inside = [(s + np.arange(c)) % factors.shape[1] for s, c in zip(start, count, strict=True)]
    parts = [factors[b, at].ravel() for b, at in enumerate(inside)]
    return np.concatenate([np.zeros(0, factors.dtype), *parts])


def _within(factors: Tensor, support: Tensor) -> Tensor:
    """Return factors that have no gradient outside of their blocks, where they are 0."""
    return factors * support if factors.requires_grad and torch.is_grad_enabled() else factors


def _frozen(value: Tensor) -> nn.Parameter:
    return nn.Parameter(value.detach(), requires_grad=False)
