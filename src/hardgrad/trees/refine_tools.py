"""Reading soft forests: the scores of a soft forest given as perfect trees."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from hardgrad.trees.perfect import PerfectForest
from hardgrad.trees.soft_forest import SoftForest, Split


def soft_raw(
    forest: PerfectForest, scores: NDArray[np.float32], temperature: float, split: Split = "sparse_oblique"
) -> NDArray[np.float64]:
    """Return the raw scores [n, outputs] of the SOFT forest at a temperature, in the units of training."""
    soft = SoftForest.from_perfect([forest], scores.shape[1], split=split, temperature=temperature)
    with torch.no_grad():
        parts = [soft(part, mode="soft") for part in torch.from_numpy(scores).split(8192)]
    return np.asarray(torch.cat(parts).double().numpy())
