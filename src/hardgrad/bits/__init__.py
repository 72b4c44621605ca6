"""Networks, matrices and codes of bits: trained soft, shipped packed. Names are imported when they are used: artifacts never load torch."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "BestTree": "hardgrad.bits.cky",
    "BinaryConv2d": "hardgrad.bits.layers",
    "BinaryLayer": "hardgrad.bits.layers",
    "BinaryLinear": "hardgrad.bits.layers",
    "BinaryMLPClassifier": "hardgrad.bits.estimators",
    "BinaryNetwork": "hardgrad.bits.network",
    "BitCKY": "hardgrad.bits.cky",
    "BitParser": "hardgrad.bits.parser",
    "BlockLowRank": "hardgrad.bits.block_low_rank",
    "BlockLowRankLinear": "hardgrad.bits.block_low_rank",
    "BlockLowRankMatrix": "hardgrad.bits.block_low_rank_matrix",
    "CodedTree": "hardgrad.bits.tree_search",
    "ContrastiveHashingLoss": "hardgrad.bits.hashing",
    "Convolution": "hardgrad.bits.packed_conv",
    "ExactLatticeLinear": "hardgrad.bits.lattice_layers",
    "GaudiLinear": "hardgrad.bits.block_low_rank",
    "HammingIndex": "hardgrad.bits.hamming",
    "InputMoments": "hardgrad.bits.lattice_groups",
    "LatticeCodes": "hardgrad.bits.lattice_codes",
    "LatticeLinear": "hardgrad.bits.lattice_layers",
    "LatticeQuantization": "hardgrad.bits.lattice_model",
    "LatticeQuantizer": "hardgrad.bits.lattice",
    "PackedClassifier": "hardgrad.bits.packed_classifier",
    "PackedConvNetwork": "hardgrad.bits.packed_conv",
    "PackedLinear": "hardgrad.bits.packed",
    "PackedNetwork": "hardgrad.bits.packed",
    "ParserModel": "hardgrad.bits.parser_model",
    "PeriodicBinaryConv2d": "hardgrad.bits.periodic",
    "PeriodicBinaryLinear": "hardgrad.bits.periodic",
    "QuantizedLayer": "hardgrad.bits.lattice_model",
    "RandomGrammar": "hardgrad.bits.grammar",
    "Recipe": "hardgrad.bits.training",
    "Span": "hardgrad.bits.span_trees",
    "TreeMarginals": "hardgrad.bits.cky",
    "TwoStages": "hardgrad.bits.periodic",
    "WeightClipper": "hardgrad.bits.layers",
    "WidthShrinker": "hardgrad.bits.block_low_rank_training",
    "allocate_bits": "hardgrad.bits.lattice_groups",
    "babai_round": "hardgrad.bits.lattice_points",
    "best_trees": "hardgrad.bits.tree_search",
    "binary_tree": "hardgrad.bits.span_trees",
    "block_low_rank_groups": "hardgrad.bits.block_low_rank_training",
    "bracket_f1": "hardgrad.bits.span_trees",
    "bracketed": "hardgrad.bits.span_trees",
    "closest_lattice_point": "hardgrad.bits.lattice_points",
    "constituents": "hardgrad.bits.span_trees",
    "estimate_batch_norm": "hardgrad.bits.network",
    "fit_network": "hardgrad.bits.training",
    "fit_two_stage": "hardgrad.bits.periodic",
    "lll_reduce": "hardgrad.bits.lattice_points",
    "measure_gap": "hardgrad.bits.network",
    "network_equilibrium": "hardgrad.bits.equilibrium",
    "param_groups": "hardgrad.bits.layers",
    "phase_penalty": "hardgrad.bits.periodic",
    "quantization_error": "hardgrad.bits.periodic",
    "quantize_linear_layers": "hardgrad.bits.lattice_model",
    "replace_dense_layers": "hardgrad.bits.block_low_rank_training",
    "reste_exponent": "hardgrad.bits.training",
    "set_surrogates": "hardgrad.bits.layers",
    "tree_log_partition": "hardgrad.bits.cky",
    "tree_marginals": "hardgrad.bits.cky",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
