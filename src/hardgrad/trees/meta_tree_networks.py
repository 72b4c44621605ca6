"""Networks that read a table and name a split: one logit for every cut that the active rows allow.

Both are blind to the order of rows and of columns by construction. `pairs` looks at the four quadrants of every pair of cuts, so that it
sees which two columns decide together; `cells` is a transformer with attention along rows and along columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Cuts:
    """What can be cut at a node of each task.

    Parameters
    ----------
    threshold : [B, columns, candidates], in the units of X: halfway between two neighbouring values of active rows, so none lies on it.
    valid : bool, the same shape; False where a column has no two different active values.
    """

    threshold: Tensor
    valid: Tensor


def quantile_cuts(X: Tensor, active: Tensor, count: int) -> Cuts:
    """Return `count` cuts a column that leave equal shares of the active rows between them, as far as ties allow.

    Parameters
    ----------
    X : [B, n, columns]; active : bool [B, n].
    """
    n = X.shape[1]
    ordered = torch.where(active[..., None], X, torch.inf).sort(dim=1).values
    rows = active.sum(1)
    place = torch.arange(n, device=X.device)
    after = torch.cat([ordered[:, 1:], ordered[:, -1:]], dim=1)
    boundary = (ordered < after) & (place[None, :, None] + 1 < rows[:, None, None])
    following = torch.where(boundary, place[None, :, None], n).flip(1).cummin(1).values.flip(1)
    preceding = torch.where(boundary, place[None, :, None], -1).cummax(1).values
    share = torch.arange(1, count + 1, device=X.device) / (count + 1)
    wanted = ((share * rows[:, None]).long() - 1).clamp(0, n - 1)[..., None].expand(-1, -1, X.shape[2])
    chosen = following.gather(1, wanted)
    chosen = torch.where(chosen < n, chosen, preceding.gather(1, wanted))
    valid = chosen >= 0
    return Cuts(_between(ordered, chosen.clamp(min=0)).transpose(1, 2), valid.transpose(1, 2))


def value_cuts(X: Tensor, active: Tensor) -> Cuts:
    """Return a cut just below each active value but the least of its column: candidate i of a column belongs to row i."""
    n = X.shape[1]
    inside = torch.where(active[..., None], X, torch.inf)
    ordered, order = inside.sort(dim=1)
    place = torch.arange(n, device=X.device)[None, :, None].expand_as(ordered)
    begins = torch.cat(
        [torch.ones_like(ordered[:, :1], dtype=torch.bool), ordered[:, 1:] > ordered[:, :-1]], dim=1
    )
    first = torch.where(begins, place, 0).cummax(1).values  # where the run of equal values begins
    valid = (first > 0) & (place < active.sum(1)[:, None, None])
    threshold = torch.where(valid, _between(ordered, (first - 1).clamp(min=0)), 0.0)
    back = order.argsort(1)
    return Cuts(threshold.gather(1, back).transpose(1, 2), valid.gather(1, back).transpose(1, 2))


def _between(ordered: Tensor, place: Tensor) -> Tensor:
    low = ordered.gather(1, place)
    high = ordered.gather(1, (place + 1).clamp(max=ordered.shape[1] - 1))
    middle = low + (high - low) / 2
    return torch.where((low <= middle) & (middle < high), middle, low)


def standardised(X: Tensor, weight: Tensor) -> Tensor:
    """Return X [B, n, columns] with mean 0 and variance 1 over the weighted rows of each task, in single precision."""
    share = (weight / weight.sum(1, keepdim=True).clamp(min=1e-12))[..., None]
    mean = (share * X).sum(1, keepdim=True)
    spread = (share * (X - mean).square()).sum(1, keepdim=True).sqrt()
    return ((X - mean) / torch.where(spread > 0, spread, 1.0)).float()


class PairScorer(nn.Module):
    """Scores quantile cuts by the class counts in the quadrants of every pair of them.

    Parameters
    ----------
    classes : largest number of classes.
    width : of the small network on a pair.
    heads : of the attention that gathers the pairs of a cut.
    cuts : candidates a column.
    """

    encoder = "pairs"

    def __init__(self, classes: int = 4, width: int = 32, heads: int = 4, cuts: int = 12) -> None:
        super().__init__()
        self.settings = {"classes": classes, "width": width, "heads": heads, "cuts": cuts}
        self.classes, self.heads, self.cuts = classes, heads, cuts
        self.pair = nn.Sequential(
            nn.Linear(4 * (classes + 1), width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
        )
        self.attention = nn.Linear(width, heads)
        self.out = nn.Sequential(nn.Linear(width + classes + 1, width), nn.ReLU(), nn.Linear(width, 1))

    def candidates(self, X: Tensor, active: Tensor) -> Cuts:
        """Return what `forward` scores."""
        return quantile_cuts(X, active, self.cuts)

    def forward(self, X: Tensor, y: Tensor, weight: Tensor, cuts: Cuts) -> Tensor:
        """Return logits [B, columns, candidates]; minus infinity where there is no cut.

        Parameters
        ----------
        X : [B, n, columns]; y : one-hot classes [B, n, classes]; weight : [B, n], 0 for rows that are not at the node.
        """
        B, _, columns = X.shape
        left = (X[:, :, :, None] <= cuts.threshold[:, None].to(X.dtype)).flatten(2).float()  # [B, n, A]
        share = (weight / weight.sum(1, keepdim=True).clamp(min=1e-12)).float()
        signed = torch.cat(
            [y.float() - y.float().mean(-1, keepdim=True), torch.ones_like(y[..., :1]).float()], dim=-1
        )
        signed = signed * share[..., None]  # [B, n, classes + 1]
        total = signed.sum(1)
        own = torch.einsum("bna,bnk->bak", left, signed)
        both = torch.stack(
            [left.transpose(1, 2) @ (left * signed[..., k : k + 1]) for k in range(signed.shape[2])], -1
        )
        first, second = own[:, :, None].expand_as(both), own[:, None].expand_as(both)
        quadrants = torch.cat(
            [both, first - both, second - both, total[:, None, None] - first - second + both], dim=-1
        )
        h = self.pair(16.0 * quadrants)
        valid = cuts.valid.flatten(1)
        scores = self.attention(h).masked_fill(~valid[:, None, :, None], -1e9).softmax(2)
        pooled = torch.einsum("bach,bachw->bahw", scores, h.unflatten(-1, (self.heads, -1))).flatten(2)
        logits = self.out(torch.cat([pooled, 16.0 * own], dim=-1)).squeeze(-1)
        found: Tensor = logits.masked_fill(~valid, -torch.inf).view(B, columns, -1)
        return found


class CellScorer(nn.Module):
    """Scores cells of the table, as MetaTree does: attention over rows and over columns, and one logit a cell.

    Parameters
    ----------
    classes : largest number of classes.
    width, blocks, heads : of the transformer.
    """

    encoder = "cells"

    def __init__(self, classes: int = 4, width: int = 64, blocks: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.settings = {"classes": classes, "width": width, "blocks": blocks, "heads": heads}
        self.classes = classes
        self.cell = nn.Linear(1 + 2 * classes, width)
        self.first = _SwiGLU(width)
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(blocks))
        self.out = nn.Sequential(nn.RMSNorm(width), nn.Linear(width, 1))

    def candidates(self, X: Tensor, active: Tensor) -> Cuts:
        """Return what `forward` scores."""
        return value_cuts(X, active)

    def forward(self, X: Tensor, y: Tensor, weight: Tensor, cuts: Cuts) -> Tensor:
        """Return logits [B, columns, rows] (see `PairScorer.forward`)."""
        x = standardised(X, weight)[..., None]
        label = y.float()[:, :, None].expand(-1, -1, X.shape[2], -1)
        signed = label - label.mean(-1, keepdim=True)
        h = self.cell(torch.cat([x, label, x * signed], dim=-1))
        h = h + self.first(h)
        mask = weight.float().log()[:, None, None, None, :]  # a row that is not there is not attended to
        for block in self.blocks:
            h = block(h, mask)
        logits = self.out(h).squeeze(-1).transpose(1, 2)
        found: Tensor = logits.masked_fill(~cuts.valid, -torch.inf)
        return found


class _Block(nn.Module):
    """Attention over the rows of each column, then over the columns of each row, then a gated layer."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.rows, self.columns, self.mix = _Attention(width, heads), _Attention(width, heads), _SwiGLU(width)

    def forward(self, h: Tensor, mask: Tensor) -> Tensor:
        h = h + self.rows(h.transpose(1, 2), mask).transpose(1, 2)
        h = h + self.columns(h, None)
        return h + self.mix(h)  # type: ignore[no-any-return]


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.norm = heads, nn.RMSNorm(width)
        self.project, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)

    def forward(self, h: Tensor, mask: Tensor | None) -> Tensor:
        parts = self.project(self.norm(h)).unflatten(-1, (3, self.heads, -1)).movedim(-3, 0)
        q, k, v = (part.transpose(-3, -2) for part in parts)
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out(mixed.transpose(-3, -2).flatten(-2))  # type: ignore[no-any-return]


class _SwiGLU(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.gates = nn.RMSNorm(width), nn.Linear(width, 4 * width)
        self.out = nn.Linear(2 * width, width)

    def forward(self, h: Tensor) -> Tensor:
        gate, value = self.gates(self.norm(h)).chunk(2, dim=-1)
        return self.out(functional.silu(gate) * value)  # type: ignore[no-any-return]


Scorer = PairScorer | CellScorer
ENCODERS: dict[str, Any] = {"pairs": PairScorer, "cells": CellScorer}
