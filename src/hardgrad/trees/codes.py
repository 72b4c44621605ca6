"""Feature codes and normal scores: the bounded, integer view of a table that forests are trained on. Never imports torch.

Per feature at most 63 cuts; the interval between two cuts is a code, and each code has an integer score, a mid-rank normal score times 512.
A missing value has score 0 and stands, among the codes, where 0 stands among the scores, so that a threshold on codes and a threshold on
scores send it to the same side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

SCORE_UNIT = 512
MAX_CUTS = 63
_CLIP = (0.002, 0.998)
_BOUND = 4.0


@dataclass(frozen=True)
class FeatureCodes:
    """Cuts and integer scores of every feature.

    Parameters
    ----------
    cuts : one increasing float64 array a feature, at most 63 long.
    scores : one nondecreasing int32 array a feature, one longer than its cuts, within +-2047; divide by 512 for standard scores.
    """

    cuts: tuple[NDArray[np.float64], ...]
    scores: tuple[NDArray[np.int32], ...]

    @classmethod
    def fit(
        cls, X: NDArray[np.float64], weight: NDArray[np.float64] | None = None, max_cuts: int = MAX_CUTS
    ) -> FeatureCodes:
        """Find cuts and scores from the rows of X [n, features]; NaN is missing and is left out."""
        w = np.ones(len(X)) if weight is None else weight
        cuts, scores = [], []
        for column in X.T:
            present = ~np.isnan(column) & (w > 0)
            cut = find_cuts(column[present], w[present], max_cuts)
            cuts.append(cut)
            scores.append(normal_scores(column[present], w[present], cut))
        return cls(tuple(cuts), tuple(scores))

    @property
    def n_features(self) -> int:
        """Number of features."""
        return len(self.cuts)

    def encode(self, X: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Return codes uint8 [n, features]: the number of cuts below each value; a missing value stands where score 0 stands."""
        codes = np.empty(X.shape, dtype=np.uint8)
        for f, cut in enumerate(self.cuts):
            code = np.searchsorted(cut, X[:, f], side="left")
            code[np.isnan(X[:, f])] = self.missing_code(f)
            codes[:, f] = code
        return codes

    def encode_scores(self, X: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return standard scores float32 [n, features], multiples of 1/512; a missing value scores 0."""
        result = np.empty(X.shape, dtype=np.float32)
        for f, cut in enumerate(self.cuts):
            table = (self.scores[f] / SCORE_UNIT).astype(np.float32)
            result[:, f] = np.where(np.isnan(X[:, f]), 0.0, table[np.searchsorted(cut, X[:, f], side="left")])
        return result

    def boundaries(self, f: int) -> NDArray[np.float64]:
        """Return the score midway between neighbouring codes of feature f, one a cut, in standard units."""
        s = self.scores[f].astype(np.float64) / SCORE_UNIT
        return (s[:-1] + s[1:]) / 2.0

    def missing_code(self, f: int) -> int:
        """Return the code at which a missing value of feature f is counted."""
        return int(np.searchsorted(self.boundaries(f), 0.0, side="left"))


def find_cuts(values: NDArray[np.float64], weight: NDArray[np.float64], max_cuts: int) -> NDArray[np.float64]:
    """Return midpoints between all distinct values where they are few, else between neighbours at the quantiles."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    if len(ordered) == 0:
        return np.empty(0)
    last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    distinct = ordered[last]
    if len(distinct) > max_cuts + 1:
        cumulative = np.cumsum(weight[order])[last]
        targets = cumulative[-1] * np.arange(1, max_cuts + 1) / (max_cuts + 1)
        # The cut after the value that reaches the quantile; several quantiles inside one heavy value give one cut.
        below = np.unique(np.searchsorted(cumulative, targets, side="left"))
        below = below[below < len(distinct) - 1]
    else:
        below = np.arange(len(distinct) - 1)
    return midpoint(distinct[below], distinct[below + 1])


def midpoint(low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a number in [low, high) for low < high: the middle, or `low` where rounding would give `high`."""
    middle = low / 2.0 + high / 2.0
    return np.where((middle >= low) & (middle < high), middle, low)


def normal_scores(
    values: NDArray[np.float64], weight: NDArray[np.float64], cut: NDArray[np.float64]
) -> NDArray[np.int32]:
    """Return the integer mid-rank normal score of each interval between cuts."""
    if len(cut) == 0 or len(values) == 0:
        return np.zeros(len(cut) + 1, dtype=np.int32)
    mass = np.bincount(np.searchsorted(cut, values, side="left"), weights=weight, minlength=len(cut) + 1)
    mass = mass / mass.sum()
    score = ndtri(np.clip(np.cumsum(mass) - mass / 2.0, *_CLIP))
    mean = float(mass @ score)
    spread = float(np.sqrt(mass @ (score - mean) ** 2))
    standard = np.clip((score - mean) / max(spread, 1e-12), -_BOUND, _BOUND)
    limit = SCORE_UNIT * 4 - 1
    return np.asarray(np.clip(np.rint(standard * SCORE_UNIT), -limit, limit), dtype=np.int32)
