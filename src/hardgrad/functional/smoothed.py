"""Piecewise linear functions blurred by a kernel: SAU, the blurred leaky ReLU, and any other with given kinks and jumps."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from hardgrad.core.errors import InputError
from hardgrad.core.functions import apply_function
from hardgrad.core.mode import Mode
from hardgrad.core.operation import Method, operation
from hardgrad.functional.operands import check_choice, is_batched, operand, settle
from hardgrad.functional.soft_steps import KINDS, SoftStep

ROOT_HALF = math.sqrt(0.5)
NORMAL_DENSITY = 1.0 / math.sqrt(2.0 * math.pi)


def _laplace(v: Tensor) -> Tensor:
    return torch.where(v < 0.0, 0.5 * torch.exp(v.clamp_max(0.0)), 1.0 - 0.5 * torch.exp(-v.clamp_min(0.0)))


def _laplace_relu(v: Tensor) -> Tensor:
    return torch.where(v < 0.0, 0.5 * torch.exp(v.clamp_max(0.0)), v + 0.5 * torch.exp(-v.clamp_min(0.0)))


def _triangle(v: Tensor) -> Tensor:
    rising, falling = (v + 1.0).clamp(0.0, 1.0), (1.0 - v).clamp(0.0, 1.0)
    return torch.where(v <= 0.0, 0.5 * rising.square(), 1.0 - 0.5 * falling.square())


def _triangle_relu(v: Tensor) -> Tensor:
    rising, falling = (v + 1.0).clamp(0.0, 1.0), (1.0 - v).clamp(0.0, 1.0)
    return torch.where(v <= 0.0, rising**3 / 6.0, v + falling**3 / 6.0)


# Kernels of which both antiderivatives are known: the first blurs a jump, the second a kink. Widths are the temperature.
KERNELS: dict[str, SoftStep] = {
    "gaussian": KINDS["gaussian"],
    "logistic": KINDS["logistic"],
    "laplace": SoftStep(_laplace, 0.5, "exponential", False, 0.5 / math.e, _laplace_relu),
    "box": KINDS["c0"],
    "triangle": SoftStep(_triangle, 1.0, "0 from v = 1", False, 2.0 / 27.0, _triangle_relu),
}
SAU_METHODS = {
    "": Method(
        frozenset({"scale-equivariant"}),
        "(1 - negative_slope) * temperature / sqrt(2 pi), at 0",
    )
}
KERNEL_METHODS = {
    "gaussian": Method(bound="0.399 * temperature for each kink of slope 1", when="infinitely smooth"),
    "logistic": Method(bound="0.693 * temperature for each kink of slope 1", when="softplus and sigmoid"),
    "laplace": Method(bound="0.5 * temperature for each kink of slope 1", when="tails without exp(x^2)"),
    "box": Method(
        bound="0.25 * temperature for each kink of slope 1", when="exact beyond the width", smooth=False
    ),
    "triangle": Method(
        bound="0.167 * temperature for each kink of slope 1",
        when="exact beyond the width, one derivative more than a box",
    ),
}


def _hard_sau(x: Tensor, negative_slope: float | Tensor = 0.01) -> Tensor:
    if isinstance(negative_slope, Tensor) or not x.is_floating_point():
        return torch.where(x > 0, x, x * negative_slope)
    return torch.nn.functional.leaky_relu(x, negative_slope)


@operation("sau", hard=_hard_sau, methods=SAU_METHODS, inputs="elements")
def sau(
    x: Tensor,
    negative_slope: float | Tensor = 0.01,
    *,
    temperature: Any = None,
    mode: Mode | None = None,
) -> Tensor:
    """Return the leaky ReLU blurred by a Gaussian, a smooth activation that becomes it as the temperature falls.

    Parameters
    ----------
    x : any shape, real.
    negative_slope : slope of the negative side, number or 0-dim tensor; 0.01 by default, as in torch.nn.functional.leaky_relu. From 1 on
        the function is no longer convex.
    temperature : standard deviation of the Gaussian, positive number or tensor that broadcasts with x, in the units of x; the paper's
        sharpness n is 1 / temperature. By default that of the surrounding `hardgrad.mode` block, else 0.1.
    mode : "soft", "st" (exact forward, relaxed backward) or "hard" (what torch.nn.functional.leaky_relu returns).

    Raises
    ------
    TemperatureError, ModeError : an argument outside its range.
    InputError, InputTypeError : NaN or infinity in "soft" and "st"; a Boolean or complex tensor.

    Examples
    --------
    >>> sau(torch.tensor([-2.0, 0.0, 0.7]), 0.15, temperature=1.0).tolist()
    [-0.2928, 0.3391, 0.8214]

    Source: Biswas, Kumar, Banerjee and Pandey, 2021, SAU: Smooth activation function using convolution with approximate identities.
    """
    slope = operand("sau", negative_slope, x)
    call = settle("sau", x, temperature=temperature, mode=mode)
    return call.result(
        lambda: _hard_sau(x, negative_slope), lambda: _blurred_leaky(call.tensors[0], slope, call.temperature)
    )


class _Sau(torch.autograd.Function):
    """The blurred leaky ReLU, which keeps x alone for backward."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, slope: Tensor, temperature: Tensor) -> Tensor:
        if any(map(is_batched, (x, slope, temperature))):
            return slope * x + (1.0 - slope) * _smooth_relu(x, temperature)
        # In place: a third buffer of this size would cost more than the arithmetic. Exponents far below are cut: what underflows to a
        # denormal number is slow, and nothing beside u.
        u = x / temperature
        smooth = torch.nn.functional.gelu(u)
        density = u.square_().mul_(-0.5).clamp_min_(-80.0).exp_()
        smooth.add_(density, alpha=NORMAL_DENSITY).mul_((1.0 - slope) * temperature)
        return smooth.addcmul_(x, slope)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, slope, temperature = ctx.saved_tensors
        need_x, need_slope, need_temperature = ctx.needs_input_grad
        return (
            _times_slope(gradient, x, slope, temperature).sum_to_size(x.shape) if need_x else None,
            (gradient * _by_slope(x, temperature)).sum_to_size(slope.shape) if need_slope else None,
            (gradient * _by_temperature(x, slope, temperature)).sum_to_size(temperature.shape)
            if need_temperature
            else None,
        )

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> Tensor:
        x, slope, temperature = ctx.saved_tensors
        partial = (
            _sau_slope(x, slope, temperature),
            _by_slope(x, temperature),
            _by_temperature(x, slope, temperature),
        )
        terms = [tangent * by for tangent, by in zip(tangents, partial, strict=True) if tangent is not None]
        return torch.stack(torch.broadcast_tensors(*terms)).sum(0)


def _times_slope(gradient: Tensor, x: Tensor, slope: Tensor, temperature: Tensor) -> Tensor:
    """The gradient times the derivative; in one buffer where nothing needs to know how it was made."""
    if torch.is_grad_enabled() or any(map(is_batched, (gradient, x, slope, temperature))):
        return gradient * _sau_slope(x, slope, temperature)
    odd = (x * (ROOT_HALF / temperature)).erf_()
    return odd.mul_(0.5 * (1.0 - slope)).add_(0.5 * (1.0 + slope)).mul_(gradient)


def _sau_slope(x: Tensor, slope: Tensor, temperature: Tensor) -> Tensor:
    """The derivative, slope + (1 - slope) Phi(x / temperature)."""
    return 0.5 * (1.0 + slope) + 0.5 * (1.0 - slope) * torch.erf(x * (ROOT_HALF / temperature))


def _by_slope(x: Tensor, temperature: Tensor) -> Tensor:
    return x - _smooth_relu(x, temperature)


def _by_temperature(x: Tensor, slope: Tensor, temperature: Tensor) -> Tensor:
    return (1.0 - slope) * _density(x / temperature)


def _smooth_relu(x: Tensor, temperature: Tensor) -> Tensor:
    u = x / temperature
    return temperature * (torch.nn.functional.gelu(u) + _density(u))


def _density(u: Tensor) -> Tensor:
    return NORMAL_DENSITY * torch.exp((-0.5 * u * u).clamp_min(-80.0))


def _blurred_leaky(x: Tensor, slope: Tensor, temperature: Any) -> Tensor:
    if torch.compiler.is_compiling():  # a compiler fuses the formula, and chooses itself what to keep
        return slope * x + (1.0 - slope) * _smooth_relu(x, temperature)
    level = temperature if isinstance(temperature, Tensor) else x.new_full((), temperature)
    return apply_function(_Sau, x, slope.to(x.dtype), level.to(x.dtype))  # type: ignore[no-any-return]


def _staircase_inputs(generator: torch.Generator, dtype: torch.dtype, batch: tuple[int, ...]) -> Any:
    x = torch.randint(-3, 4, (*batch, 5), generator=generator) + 0.3
    knots, slopes, jumps = [-1.5, 0.5], [0.5, -1.0, 2.0], [0.5, -0.25]
    return (x.to(dtype),), {"knots": knots, "slopes": slopes, "jumps": jumps, "offset": 0.25}


def _hard_piecewise_linear(
    x: Tensor, knots: Any, slopes: Any, jumps: Any = None, offset: float = 0.0
) -> Tensor:
    at = x if x.is_floating_point() else x.to(torch.get_default_dtype())
    places, steepness, heights = _pieces(at, knots, slopes, jumps)
    return _segments(at, places, steepness, heights, offset)


@operation(
    "piecewise_linear", hard=_hard_piecewise_linear, option="kernel", methods=KERNEL_METHODS, inputs=_staircase_inputs
)  # fmt: skip
def piecewise_linear(
    x: Tensor,
    knots: Sequence[float] | Tensor,
    slopes: Sequence[float] | Tensor,
    jumps: Sequence[float] | Tensor | None = None,
    offset: float = 0.0,
    *,
    temperature: Any = None,
    kernel: str = "gaussian",
    mode: Mode | None = None,
) -> Tensor:
    """Return a piecewise linear function, with or without jumps, blurred by a kernel whose width is the temperature.

    Parameters
    ----------
    x : any shape, real.
    knots : (k,), increasing, where the function bends or jumps.
    slopes : (k + 1,), the slope left of the first knot, between the knots, and right of the last.
    jumps : (k,), by how much the function jumps at each knot; nowhere by default. At a knot it still has the value of its left.
    offset : the value at the first knot, from the left.
    temperature : width of the kernel (standard deviation of the Gaussian, half width of box and triangle), positive number or tensor that
        broadcasts with x, in the units of x. By default that of the surrounding `hardgrad.mode` block, else 0.1.
    kernel : one of "gaussian", "logistic", "laplace", "box" and "triangle".
    mode : "soft" (blurred), "st" (exact forward, the blurred gradient) or "hard" (exact).

    Raises
    ------
    InputError : knots that are not increasing, or numbers of slopes or jumps that do not fit.

    Examples
    --------
    >>> x = torch.tensor([-3.0, 0.0, 1.0])
    >>> piecewise_linear(x, [-1.0, 1.0], [0.0, 1.0, 0.0], offset=-1.0, temperature=0.5, kernel="box").tolist()
    [-1.0, 0.0, 0.875]
    >>> piecewise_linear(x, [-0.5, 0.5], [0.0, 0.0, 0.0], [1.0, 1.0], -1.0, mode="hard").tolist()
    [-1.0, 0.0, 1.0]
    """
    check_choice("piecewise_linear", "kernel", kernel, KERNELS)
    call = settle("piecewise_linear", x, temperature=temperature, mode=mode)

    def relaxed() -> Tensor:
        at, member = call.tensors[0], KERNELS[kernel]
        assert member.relu is not None
        places, steepness, heights = _pieces(at, knots, slopes, jumps)
        total = _segments(at, places, steepness, heights, offset)
        # On its own piece the function is exact up to what the kernel brings over from the others: small terms, that nothing large
        # cancels in. Each is written for the side of its knot that x lies on, so that no kink is left to differentiate.
        for knot, bend, jump in zip(places, steepness.diff(), heights, strict=True):
            right = at > knot
            below = torch.where(right, knot - at, at - knot) / call.temperature
            total = total + bend * (call.temperature * member.relu(below))
            if jumps is not None:
                step = member.step(below)
                total = total + jump * torch.where(right, -step, step)
        return total

    return call.result(lambda: _hard_piecewise_linear(x, knots, slopes, jumps, offset), relaxed)


def _segments(x: Tensor, knots: Tensor, slopes: Tensor, jumps: Tensor, offset: float) -> Tensor:
    """The exact function, each piece from the knot at its left; the first from the one at its right."""
    heights = offset + torch.cumsum(torch.cat([0.0 * knots[:1], knots.diff() * slopes[1:-1] + jumps[:-1]]), 0)
    starts = torch.cat([heights[:1], heights + jumps])
    anchors = torch.cat([knots[:1], knots])
    piece = torch.bucketize(x.detach().contiguous(), knots)
    return starts[piece] + slopes[piece] * (x - anchors[piece])


def _pieces(x: Tensor, knots: Any, slopes: Any, jumps: Any) -> tuple[Tensor, Tensor, Tensor]:
    places, steepness = (
        torch.as_tensor(values, dtype=x.dtype, device=x.device) for values in (knots, slopes)
    )
    heights = (
        torch.zeros_like(places) if jumps is None else torch.as_tensor(jumps, dtype=x.dtype, device=x.device)
    )
    if (
        places.dim() != 1
        or not len(places)
        or steepness.shape != (len(places) + 1,)
        or heights.shape != places.shape
    ):
        raise InputError(
            f"piecewise_linear() got {tuple(places.shape)} knots, {tuple(steepness.shape)} slopes and {tuple(heights.shape)} jumps; "
            "expected k knots, k + 1 slopes and k jumps."
        )
    if isinstance(knots, Sequence) and any(b <= a for a, b in itertools.pairwise(knots)):
        raise InputError(f"piecewise_linear() got knots {list(knots)}; expected them to increase.")
    return places, steepness, heights
