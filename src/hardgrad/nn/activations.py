"""Activations that are soft versions of piecewise linear ones: SAU, and any other with given kinks and jumps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hardgrad.core.errors import ParameterError
from hardgrad.core.mode import Mode
from hardgrad.core.relaxed import Relaxed
from hardgrad.functional.operands import check_choice
from hardgrad.functional.smoothed import KERNELS, piecewise_linear, sau

SOFTPLUS_OF_ZERO = math.log(2.0)


class SAU(Relaxed):
    """The leaky ReLU blurred by a Gaussian; hardens to `torch.nn.LeakyReLU`.

    Parameters
    ----------
    negative_slope : slope of the negative side. From 1 on the function is no longer convex.
    temperature : standard deviation of the Gaussian, positive, in the units of the input; the paper's sharpness n is 1 / temperature. The
        default is n = 8: n = 1 is too smooth for usual inputs, and at the paper's n of thousands it is the leaky ReLU itself.
    learn_slope, learn_temperature : whether they are trained. The temperature in use is then the set one times softplus(rho) / log 2, with
        a parameter rho that starts at 0, so that it stays positive; setting the temperature puts rho back to 0.

    Raises
    ------
    TemperatureError : a temperature that is not positive and finite.
    ParameterError : a slope that is not finite.

    Examples
    --------
    >>> activation = SAU(temperature=1.0)
    >>> activation(torch.tensor([-2.0, 0.0, 0.7])).tolist()
    [-0.2928, 0.3391, 0.8214]
    >>> activation.harden()
    LeakyReLU(negative_slope=0.15)

    Source: Biswas, Kumar, Banerjee and Pandey, 2021, SAU: Smooth activation function using convolution with approximate identities.
    """

    rho: Tensor | None
    negative_slope: Tensor

    def __init__(
        self,
        negative_slope: float = 0.15,
        temperature: float = 0.125,
        learn_slope: bool = False,
        learn_temperature: bool = False,
    ) -> None:
        super().__init__(temperature)
        if not math.isfinite(negative_slope):
            raise ParameterError(f"SAU got negative_slope={negative_slope!r}; expected a finite number.")
        slope = torch.tensor(float(negative_slope))
        if learn_slope:
            self.negative_slope = nn.Parameter(slope)
        else:
            self.register_buffer("negative_slope", slope)
        self.register_parameter("rho", nn.Parameter(torch.zeros(())) if learn_temperature else None)

    def forward(self, x: Tensor, *, temperature: Any = None, mode: Mode | None = None) -> Tensor:
        """Return the activation of x, any shape."""
        return sau(x, self.negative_slope, temperature=self.resolved_temperature(temperature), mode=mode)

    def own_temperature(self) -> Tensor:
        """Return the temperature in use where neither the call nor a block says one, learned or set."""
        if self.rho is None:
            return self.temperature
        return self.temperature * nn.functional.softplus(self.rho) / SOFTPLUS_OF_ZERO

    def set_temperature(self, value: float) -> None:
        """Set the temperature in place; what was learned of it is forgotten."""
        super().set_temperature(value)
        if self.rho is not None:
            self.rho.data.zero_()

    def harden(self) -> nn.LeakyReLU:
        """Return the exact leaky ReLU with the slope as it is now."""
        return nn.LeakyReLU(float(self.negative_slope.detach()))

    def extra_repr(self) -> str:
        """Show slope and temperature."""
        return f"negative_slope={float(self.negative_slope.detach()):.4g}, temperature={float(self.own_temperature().detach()):.4g}"


class SmoothedActivation(Relaxed):
    """Any piecewise linear function, with or without jumps, blurred by a kernel; hardens to the function itself.

    Parameters
    ----------
    knots : k numbers, increasing, where it bends or jumps.
    slopes : k + 1 numbers, the slopes left of, between and right of the knots.
    kernel : "gaussian", "logistic", "laplace", "box" or "triangle".
    temperature : width of the kernel, positive, in the units of the input.
    jumps : k numbers, by how much it jumps at each knot; nowhere by default.
    offset : the value at the first knot, from the left.

    Notes
    -----
    ReLU: knots [0], slopes [0, 1]. |x|: [0], [-1, 1]. ReLU6: [0, 6], [0, 1, 0]. Hardtanh: [-1, 1], [0, 1, 0], offset -1. Three levels:
    [-0.5, 0.5], [0, 0, 0], jumps [1, 1], offset -1.

    Raises
    ------
    InputError : knots that are not increasing, or numbers of slopes or jumps that do not fit.
    ParameterError : an unknown kernel.

    Examples
    --------
    >>> ternary = SmoothedActivation([-0.5, 0.5], [0, 0, 0], jumps=[1, 1], offset=-1.0, temperature=0.1)
    >>> x = torch.tensor([-2.0, -0.5, 0.1])
    >>> ternary(x).tolist(), ternary.harden()(x).tolist()
    ([-1.0, -0.5, 0.0], [-1.0, -1.0, 0.0])
    """

    def __init__(
        self,
        knots: Sequence[float],
        slopes: Sequence[float],
        kernel: str = "gaussian",
        temperature: float = 0.125,
        *,
        jumps: Sequence[float] | None = None,
        offset: float = 0.0,
    ) -> None:
        super().__init__(temperature)
        check_choice("SmoothedActivation", "kernel", kernel, KERNELS)
        self.kernel = kernel
        self.function = PiecewiseLinear(knots, slopes, jumps=jumps, offset=offset)

    def forward(self, x: Tensor, *, temperature: Any = None, mode: Mode | None = None) -> Tensor:
        """Return the activation of x, any shape."""
        level = self.resolved_temperature(temperature)
        return piecewise_linear(x, *self.function.pieces(), temperature=level, kernel=self.kernel, mode=mode)

    def harden(self) -> PiecewiseLinear:
        """Return the exact function."""
        knots, slopes, jumps, offset = self.function.pieces()
        return PiecewiseLinear(knots.tolist(), slopes.tolist(), jumps=jumps.tolist(), offset=offset)


class PiecewiseLinear(nn.Module):
    """An exact piecewise linear function, with or without jumps.

    Parameters
    ----------
    knots, slopes, jumps, offset : as for `SmoothedActivation`. At a knot the function has the value of its left.

    Examples
    --------
    >>> PiecewiseLinear([0.0, 6.0], [0.0, 1.0, 0.0])(torch.tensor([-1.0, 2.0, 7.0])).tolist()
    [0.0, 2.0, 6.0]
    """

    knots: Tensor
    slopes: Tensor
    jumps: Tensor

    def __init__(
        self,
        knots: Sequence[float],
        slopes: Sequence[float],
        *,
        jumps: Sequence[float] | None = None,
        offset: float = 0.0,
    ) -> None:
        super().__init__()
        heights = [0.0] * len(knots) if jumps is None else jumps
        for name, values in (("knots", knots), ("slopes", slopes), ("jumps", heights)):
            self.register_buffer(name, torch.tensor([float(value) for value in values]))
        self.offset = float(offset)
        piecewise_linear(torch.zeros(1), knots, slopes, heights, self.offset, mode="hard")  # checks them

    def pieces(self) -> tuple[Tensor, Tensor, Tensor, float]:
        """Return knots, slopes, jumps and offset, in the order in which `hardgrad.functional.piecewise_linear` takes them."""
        return self.knots, self.slopes, self.jumps, self.offset

    def forward(self, x: Tensor) -> Tensor:
        """Return the function of x, any shape."""
        return piecewise_linear(x, *self.pieces(), mode="hard")
