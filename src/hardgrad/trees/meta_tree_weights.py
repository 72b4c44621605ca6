"""MetaTreeWeights: a trained tree-inducing network on disk, in one safetensors file. Never imports torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.artifact import Artifact
from hardgrad.core.errors import ArtifactError


@dataclass(frozen=True, eq=False)
class MetaTreeWeights(Artifact, kind="meta-tree-weights"):
    """The numbers of a network that names splits.

    Parameters
    ----------
    weights : float32, all parameters in the order of the network's `state_dict`.
    encoder : "pairs" or "cells".
    settings : keyword arguments of the network.
    """

    weights: NDArray[np.float32]
    encoder: str
    settings: dict[str, Any]

    def __post_init__(self) -> None:
        if self.encoder not in ("pairs", "cells"):
            raise ArtifactError(f"encoder is {self.encoder!r}; expected 'pairs' or 'cells'.")
        if self.weights.dtype != np.float32 or self.weights.ndim != 1 or not np.isfinite(self.weights).all():
            raise ArtifactError("weights must be a vector of finite float32 numbers.")
        self.freeze()
