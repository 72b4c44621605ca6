"""How candidates are judged: the chosen metric in the units of the artifact, and the loss that is minimised. Never imports torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hardgrad.trees.metrics import Metric
from hardgrad.trees.objectives import Objective

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Judge:
    """The chosen metric of raw scores of training. A call returns a loss, lower is better: the metric, negated where higher is better.

    Parameters
    ----------
    metric, objective : what is measured, and the loss that was trained.
    scale, shift : see `Frame`; None where targets were not standardised.
    """

    metric: Metric
    objective: Objective
    scale: Array | None = None
    shift: Array | None = None

    def __call__(self, raw: Array, Y: Array, weight: Array) -> float:
        """Return the loss of raw scores [n, outputs] against targets [n, outputs], both in the units of training, with weights [n]."""
        return self.shown(self.value(raw, Y, weight))

    def value(self, raw: Array, Y: Array, weight: Array) -> float:
        """Return the metric in its own sign and in the units of the artifact."""
        return self.metric(self._units(raw), self._units(Y), weight, self.objective)

    def shown(self, loss: float) -> float:
        """Turn a loss into the metric, or the metric into the loss: they differ in sign at most."""
        return -loss if self.metric.higher_is_better else loss

    def _units(self, raw: Array) -> Array:
        return raw if self.scale is None or self.shift is None else raw * self.scale + self.shift
