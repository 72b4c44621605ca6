"""SoftThermometer: thresholds that are learned together with the gates behind them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from hardgrad.core.mode import Mode
from hardgrad.core.relaxed import Relaxed
from hardgrad.functional.comparisons import greater
from hardgrad.logic.thermometer import BitColumns


class SoftThermometer(Relaxed):
    """Bits of numbers by thresholds that have a gradient: soft, how far a number is above its threshold.

    Parameters
    ----------
    columns : what each bit asks to begin with; a bit for missing values stays as it is.
    center, scale : `[features]`, what is subtracted from and divides each feature, so that one temperature serves all.
    temperature : in units of the scale; small is hard.

    Examples
    --------
    >>> import numpy as np
    >>> columns = BitColumns(np.array([0], np.int32), np.array([2.0]))
    >>> encoder = SoftThermometer(columns, torch.zeros(1), torch.ones(1), temperature=0.5)
    >>> encoder(torch.tensor([[1.0], [2.0], [3.0]]))[:, 0].tolist()
    [0.1192, 0.5, 0.8808]
    """

    feature: Tensor
    asks: Tensor
    center: Tensor
    scale: Tensor

    def __init__(self, columns: BitColumns, center: Tensor, scale: Tensor, temperature: float = 0.1) -> None:
        super().__init__(temperature)
        threshold = torch.from_numpy(columns.threshold.copy())
        self.register_buffer("feature", torch.from_numpy(columns.feature).long())
        self.register_buffer("asks", threshold.isnan())
        self.register_buffer("center", center.double())
        self.register_buffer("scale", scale.double())
        standardised = (threshold - self.center[self.feature]) / self.scale[self.feature]
        self.threshold = nn.Parameter(standardised.nan_to_num(nan=0.0))

    def forward(self, x: Tensor, *, temperature: Any = None, mode: Mode | None = None) -> Tensor:
        """Return the bits `[n, bits]`, float32, of features `[n, features]`; NaN is missing."""
        chosen = self.resolved_mode(mode)
        values = x.double()[:, self.feature]
        missing = values.isnan()
        if chosen == "hard":
            bits = values > self.thresholds()
        else:
            standardised = (values - self.center[self.feature]) / self.scale[self.feature]
            bits = greater(
                standardised.masked_fill(missing, 0.0),
                self.threshold,
                temperature=self.resolved_temperature(temperature),
                mode=chosen,
            ).masked_fill(missing, 0.0)
        return torch.where(self.asks, missing.to(bits.dtype), bits).float()

    def thresholds(self) -> Tensor:
        """Return the thresholds `[bits]` in the units of the features, NaN for bits that ask whether a number is missing."""
        found = self.center[self.feature] + self.scale[self.feature] * self.threshold.detach()
        return found.masked_fill(self.asks, torch.nan)

    def columns(self) -> BitColumns:
        """Return what each bit asks, exactly."""
        return BitColumns(self.feature.int().cpu().numpy(), self.thresholds().cpu().numpy())

    def harden(self) -> nn.Module:
        """Return the module of the exact comparisons."""
        return ExactThermometer(self.feature, self.thresholds())


class ExactThermometer(nn.Module):
    """Bits of numbers by fixed thresholds.

    Parameters
    ----------
    feature : int64 `[bits]`.
    threshold : float64 `[bits]`; NaN asks whether the feature is missing.
    """

    feature: Tensor
    threshold: Tensor

    def __init__(self, feature: Tensor, threshold: Tensor) -> None:
        super().__init__()
        self.register_buffer("feature", feature)
        self.register_buffer("threshold", threshold)

    def forward(self, x: Tensor) -> Tensor:
        """Return the bits `[n, bits]`, zeros and ones, of features `[n, features]`."""
        values = x.double()[:, self.feature]
        return torch.where(self.threshold.isnan(), values.isnan(), values > self.threshold).float()
