"""The losses that forests are trained on, as NumPy functions and as numba kernels. Never imports torch.

All three share one form: with P = link(raw), the gradient of a row's loss is P - Y. Targets Y are float64 [n, outputs]: values, 0/1, or
one-hot rows. Losses are in nats; the squared error is halved, so that it is the Gaussian one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_softmax, softmax

from hardgrad.tabular.table_model import Link

SQUARED, LOGISTIC, SOFTMAX = 0, 1, 2
Kind = Literal["squared", "logistic", "softmax"]
Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Objective:
    """A loss over raw scores.

    Parameters
    ----------
    kind : "squared" (regression, one or several targets), "logistic" (two classes, one score) or "softmax" (several classes).
    """

    kind: Kind

    @property
    def code(self) -> int:
        """The number by which the kernels know the loss."""
        return {"squared": SQUARED, "logistic": LOGISTIC, "softmax": SOFTMAX}[self.kind]

    @property
    def link(self) -> Link:
        """The link of a forest trained on this loss."""
        links: dict[str, Link] = {"squared": "identity", "logistic": "sigmoid", "softmax": "softmax"}
        return links[self.kind]

    def probabilities(self, raw: Matrix) -> Matrix:
        """Return link(raw), the same shape."""
        if self.kind == "squared":
            return raw
        return np.asarray(expit(raw) if self.kind == "logistic" else softmax(raw, axis=1))

    def row_loss(self, raw: Matrix, Y: Matrix) -> NDArray[np.float64]:
        """Return the loss of each row, [n]."""
        if self.kind == "squared":
            return np.asarray(0.5 * ((raw - Y) ** 2).sum(axis=1))
        if self.kind == "logistic":
            return np.asarray((np.logaddexp(0.0, raw) - Y * raw)[:, 0])
        return np.asarray(-(Y * log_softmax(raw, axis=1)).sum(axis=1))

    def mean_loss(self, raw: Matrix, Y: Matrix, weight: NDArray[np.float64]) -> float:
        """Return the weighted mean loss."""
        return float(np.average(self.row_loss(raw, Y), weights=weight))

    def gradient_hessian(self, raw: Matrix, Y: Matrix) -> tuple[Matrix, Matrix]:
        """Return the first derivative and the diagonal of the second, both [n, outputs]."""
        P = self.probabilities(raw)
        return P - Y, np.ones_like(P) if self.kind == "squared" else P * (1.0 - P)

    def base_score(self, Y: Matrix, weight: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the constant score [outputs] of least loss, probabilities kept off 0 and 1 by half a row."""
        mean = np.average(Y, axis=0, weights=weight)
        if self.kind == "squared":
            return np.asarray(mean)
        margin = 0.5 / len(Y)
        p = np.clip(mean, margin, 1.0 - margin)
        return np.asarray(np.log(p / (1.0 - p)) if self.kind == "logistic" else np.log(p))


@numba.njit(cache=True, nogil=True, inline="always")
def softplus(x: float) -> float:
    """log(1 + exp(x)) without overflow."""
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


@numba.njit(cache=True, nogil=True)
def kernel_loss(
    code: int, raw: NDArray[np.float64], add: NDArray[np.float64], y: NDArray[np.float64]
) -> float:
    """Loss of one row with scores raw + add and target y, all [outputs]."""
    if code == LOGISTIC:
        s = raw[0] + add[0]
        loss: float = softplus(s) - y[0] * s
        return loss
    total = 0.0
    if code == SQUARED:
        for c in range(len(raw)):
            total += 0.5 * (raw[c] + add[c] - y[c]) ** 2
        return total
    top = -np.inf
    for c in range(len(raw)):
        top = max(top, raw[c] + add[c])
    dot = 0.0
    for c in range(len(raw)):
        total += math.exp(raw[c] + add[c] - top)
        dot += y[c] * (raw[c] + add[c])
    return math.log(total) + top - dot


@numba.njit(cache=True, nogil=True)
def kernel_probabilities(code: int, raw: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """Write link(raw) of one row to out."""
    if code == SQUARED:
        out[:] = raw
    elif code == LOGISTIC:
        out[0] = 1.0 / (1.0 + math.exp(-raw[0])) if raw[0] > -700.0 else 0.0
    else:
        top = raw[0]
        for c in range(1, len(raw)):
            top = max(top, raw[c])
        total = 0.0
        for c in range(len(raw)):
            out[c] = math.exp(raw[c] - top)
            total += out[c]
        for c in range(len(raw)):
            out[c] /= total
