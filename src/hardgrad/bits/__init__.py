"""Few bits a weight: trained soft, shipped packed. Names are imported when they are used, so that artifacts never load torch."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "ExactLatticeLinear": "hardgrad.bits.lattice_layers",
    "InputMoments": "hardgrad.bits.lattice_groups",
    "LatticeCodes": "hardgrad.bits.lattice_codes",
    "LatticeLinear": "hardgrad.bits.lattice_layers",
    "LatticeQuantization": "hardgrad.bits.lattice_model",
    "LatticeQuantizer": "hardgrad.bits.lattice",
    "QuantizedLayer": "hardgrad.bits.lattice_model",
    "allocate_bits": "hardgrad.bits.lattice_groups",
    "babai_round": "hardgrad.bits.lattice_points",
    "closest_lattice_point": "hardgrad.bits.lattice_points",
    "lll_reduce": "hardgrad.bits.lattice_points",
    "quantize_linear_layers": "hardgrad.bits.lattice_model",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
