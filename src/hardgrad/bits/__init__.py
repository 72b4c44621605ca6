"""Bits: binary layers, binary codes and what is read from them. Names are imported when used, so that artifacts never load torch."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "BestTree": "hardgrad.bits.cky",
    "BitCKY": "hardgrad.bits.cky",
    "BitParser": "hardgrad.bits.parser",
    "CodedTree": "hardgrad.bits.tree_search",
    "ContrastiveHashingLoss": "hardgrad.bits.hashing",
    "HammingIndex": "hardgrad.bits.hamming",
    "ParserModel": "hardgrad.bits.parser_model",
    "RandomGrammar": "hardgrad.bits.grammar",
    "Span": "hardgrad.bits.span_trees",
    "TreeMarginals": "hardgrad.bits.cky",
    "best_trees": "hardgrad.bits.tree_search",
    "binary_tree": "hardgrad.bits.span_trees",
    "bracket_f1": "hardgrad.bits.span_trees",
    "bracketed": "hardgrad.bits.span_trees",
    "constituents": "hardgrad.bits.span_trees",
    "tree_log_partition": "hardgrad.bits.cky",
    "tree_marginals": "hardgrad.bits.cky",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
