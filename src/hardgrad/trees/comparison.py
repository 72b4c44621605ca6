"""Is one model really better than another? The paired 5x2cv F test instead of an eyeballed difference. Never imports torch.

Alpaydin, "Combined 5x2cv F test for comparing supervised classification learning algorithms", Neural Computation 11 (1999): five times,
the rows are split into halves; each model learns on one half and is measured on the other, both ways. With p[i, j] the difference of the
two models in fold j of repeat i, m[i] its mean over the two folds and s2[i] = (p[i, 1] - m[i])^2 + (p[i, 2] - m[i])^2,
f = sum p^2 / (2 sum s2) follows an F distribution with 10 and 5 degrees of freedom when the models are equally good.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hardgrad.core.errors import DataError

REPEATS = 5


@dataclass(frozen=True)
class FTest:
    """Outcome of a paired 5x2cv F test.

    Parameters
    ----------
    difference : mean of the ten differences, first model minus second.
    statistic : f; infinite where the differences are all the same and not 0.
    p_value : chance of so large an f if the models were equally good.
    """

    difference: float
    statistic: float
    p_value: float

    def to_dict(self) -> dict[str, float | None]:
        """Return a form that `json` can write; an infinite statistic is None."""
        statistic = self.statistic if math.isfinite(self.statistic) else None
        return {"difference": self.difference, "statistic": statistic, "p_value": self.p_value}


def paired_f_test(differences: ArrayLike) -> FTest:
    """Return the combined 5x2cv F test of ten paired differences.

    Parameters
    ----------
    differences : [5, 2]; one model's metric minus the other's, repeat by fold.

    Raises
    ------
    DataError : another shape, or a value that is not finite.

    Examples
    --------
    >>> test = paired_f_test([[0.03, 0.01], [0.02, 0.02], [0.04, 0.01], [0.02, 0.03], [0.01, 0.03]])
    >>> round(test.statistic, 3), round(test.p_value, 3)
    (3.222, 0.104)
    """
    from scipy.stats import f as f_distribution

    p = np.asarray(differences, dtype=np.float64)
    if p.shape != (REPEATS, 2) or not np.isfinite(p).all():
        raise DataError(f"the 5x2cv F test needs ten finite differences [5, 2], got shape {p.shape}.")
    total = float((p**2).sum())
    spread = float(((p - p.mean(axis=1, keepdims=True)) ** 2).sum())
    if total == 0.0:
        return FTest(0.0, 0.0, 1.0)
    statistic = total / (2.0 * spread) if spread > 0.0 else math.inf
    return FTest(float(p.mean()), statistic, float(f_distribution.sf(statistic, 2 * REPEATS, REPEATS)))


def five_by_two_folds(
    y: NDArray[Any], *, stratify: bool, random_state: int = 0
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield the ten (train, test) row numbers of 5x2 cross-validation: the same for every model that is compared.

    Parameters
    ----------
    y : target, [n].
    stratify : keep the class shares (classification).
    random_state : seed.

    Raises
    ------
    DataError : a class has fewer than 2 rows.
    """
    from sklearn.model_selection import KFold, StratifiedKFold

    if stratify:
        labels, counts = np.unique(y, return_counts=True)
        if counts.min() < 2:
            raise DataError(
                f"class {labels.tolist()[counts.argmin()]!r} has one row; each half of a 2-fold split needs one."
            )
    for repeat in range(REPEATS):
        seed = random_state * REPEATS + repeat
        splitter = (StratifiedKFold if stratify else KFold)(2, shuffle=True, random_state=seed)
        for train, test in splitter.split(np.zeros(len(y)), y):
            yield train.astype(np.int64), test.astype(np.int64)
