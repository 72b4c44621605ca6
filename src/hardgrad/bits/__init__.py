"""Bits: binary layers, binary codes and what is read from them. Names are imported when they are used: artifacts load no torch."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "BlockLowRank": "hardgrad.bits.block_low_rank",
    "BlockLowRankLinear": "hardgrad.bits.block_low_rank",
    "BlockLowRankMatrix": "hardgrad.bits.block_low_rank_matrix",
    "GaudiLinear": "hardgrad.bits.block_low_rank",
    "WidthShrinker": "hardgrad.bits.block_low_rank_training",
    "block_low_rank_groups": "hardgrad.bits.block_low_rank_training",
    "replace_dense_layers": "hardgrad.bits.block_low_rank_training",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
