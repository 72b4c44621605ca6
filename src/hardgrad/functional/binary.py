"""Two-valued functions with a backward of your choice: binary_sign (-1 and +1), binary_step (0 and 1) and their surrogates.

A surrogate is what the backward pass takes the jump for. `sign` and `heaviside` are torch's own, which give 0 its own value, relaxed by
one family of soft steps; here 0 belongs to a side, so that the result is one bit, and the backward is that of a published method.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from hardgrad.core.errors import InputError, ParameterError
from hardgrad.core.mode import Mode, resolve_mode, resolve_temperature
from hardgrad.core.relaxed import straight_through
from hardgrad.functional.operands import check_choice, check_level, check_options, settle, values_are_checked
from hardgrad.functional.soft_steps import Curve

Target = Literal["sign", "step"]


@dataclass(frozen=True, eq=False)
class Surrogate:
    """What the backward pass takes the sign or the step for; made by `binary_surrogate`.

    Parameters
    ----------
    name : one of `SURROGATES`.
    target : "sign" where it stands for a jump from -1 to +1, "step" for one from 0 to 1.
    options : its parameters by name, as `{"o": 3.0}`.
    curve : the function that stands for the jump.
    slope : what the gradient is multiplied by, where that is not the derivative of `curve`.
    compared : what is compared with 0; x itself for all but "sine".

    Examples
    --------
    >>> reste = binary_surrogate("reste", o=2.0)
    >>> x = torch.tensor([-0.25, 0.0, 1.0])
    >>> reste.value(x).tolist(), reste.derivative(x).tolist()
    ([-0.5, 0.0, 1.0], [1.0, 3.1623, 0.5])
    """

    name: str
    target: Target
    options: Mapping[str, Any]
    curve: Curve = field(repr=False)
    slope: Curve | None = field(default=None, repr=False)
    compared: Curve = field(default_factory=lambda: _itself, repr=False)

    def value(self, x: Tensor) -> Tensor:
        """Return the surrogate at x: beside the exact function, this is the error that it makes."""
        return self.curve(x)

    def derivative(self, x: Tensor) -> Tensor:
        """Return what the backward pass multiplies the gradient at x by."""
        if self.slope is not None:
            return self.slope(x.detach())
        with torch.enable_grad():
            at = x.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self.curve(at).sum(), at)
        return slope

    def exact(self, x: Tensor) -> Tensor:
        """Return what the surrogate stands for: -1 below 0 and +1 from 0 on, or 0 up to 0 and 1 above it."""
        return _exact(self.compared(x), self.target, x.dtype)

    def relaxed(self, x: Tensor) -> Tensor:
        """Return `value(x)` with the gradient `derivative(x)`."""
        return self.curve(x) if self.slope is None else straight_through(self.curve(x), self.linear(x))

    def linear(self, x: Tensor) -> Tensor:
        """Return some tensor with the gradient `derivative(x)`: what the exact function is given for its backward."""
        return self.curve(x) if self.slope is None else self.slope(x.detach()) * x


def _itself(x: Tensor) -> Tensor:
    return x


def _exact(compared: Tensor, target: Target, dtype: torch.dtype) -> Tensor:
    if target == "sign":
        return 2.0 * (compared >= 0).to(dtype) - 1.0
    return (compared > 0).to(dtype)


# The family: each of these makes one surrogate from its options.
def _identity() -> Surrogate:
    return Surrogate("identity", "sign", {}, lambda x: x + 0.0)


def _clipped(temperature: Any) -> Surrogate:
    return _of_width("clipped", "sign", temperature, lambda v: v.clamp(-1.0, 1.0))


def _bireal(temperature: Any) -> Surrogate:
    def curve(v: Tensor) -> Tensor:
        v = v.clamp(-1.0, 1.0)
        return v * (2.0 - v.abs())

    return _of_width("bireal", "sign", temperature, curve)


def _sigmoid(temperature: Any) -> Surrogate:
    return _of_width("sigmoid", "step", temperature, torch.sigmoid)


def _bell(temperature: Any) -> Surrogate:
    height = 4.0 * temperature
    return _of_width("bell", "step", temperature, lambda v: height * (torch.sigmoid(v) - 0.5) + 0.5)


def _of_width(name: str, target: Target, temperature: Any, curve: Curve) -> Surrogate:
    return Surrogate(name, target, {"temperature": temperature}, lambda x: curve(x / temperature))


def _constant() -> Surrogate:
    return Surrogate("constant", "step", {}, lambda x: x.clamp(-1.0, 1.0) + 0.5)


def _reste(o: float = 3.0, clip: float = 1.5, floor: float = 0.1) -> Surrogate:
    _require(
        o >= 1.0 and math.isfinite(o), "o", o, "a number from 1 on: 1 is the identity, large is the sign"
    )
    _require(floor > 0.0, "floor", floor, "a positive number: the power has no finite slope at 0")
    _require(clip > floor, "clip", clip, f"a number above floor={floor}")
    power = 1.0 / float(o)

    def slope(x: Tensor) -> Tensor:
        size = x.abs()
        # The chord from 0 to the floor has the slope of f(floor) / floor; a power of what lies below would have a pole.
        rising = torch.where(
            size > floor, power * size.clamp_min(floor) ** (power - 1.0), floor ** (power - 1.0)
        )
        return torch.where(size <= clip, rising, 0.0)

    def curve(x: Tensor) -> Tensor:
        return torch.sign(x) * x.abs() ** power

    return Surrogate("reste", "sign", {"o": float(o), "clip": clip, "floor": floor}, curve, slope)


def _sine(freq: float = 20.0) -> Surrogate:
    _require(freq > 0.0 and math.isfinite(freq), "freq", freq, "a positive number, in radians a unit of x")

    def wave(x: Tensor) -> Tensor:
        return torch.sin(freq * x)

    def compared(x: Tensor) -> Tensor:
        # In double precision the bit of a stored number does not depend on how a product was rounded; MPS knows no doubles.
        return wave(x if x.device.type == "mps" else x.double())

    return Surrogate("sine", "sign", {"freq": freq}, wave, compared=compared)


_MAKERS: dict[str, Callable[..., Surrogate]] = {
    "bell": _bell,
    "bireal": _bireal,
    "clipped": _clipped,
    "constant": _constant,
    "identity": _identity,
    "reste": _reste,
    "sigmoid": _sigmoid,
    "sine": _sine,
}
_OWNERS = {
    "temperature": ("bell", "bireal", "clipped", "sigmoid"),
    "o": ("reste",),
    "clip": ("reste",),
    "floor": ("reste",),
    "freq": ("sine",),
}
WIDTHS = {"bell": 0.25, "bireal": 1.0, "clipped": 1.0, "sigmoid": 1.0}
"""Temperatures of the surrogates that have one, where nobody says another."""
SURROGATES = tuple(_MAKERS)
"""Names of the surrogates."""


def binary_surrogate(
    name: str,
    *,
    temperature: Any = None,
    o: float | None = None,
    clip: float | None = None,
    floor: float | None = None,
    freq: float | None = None,
) -> Surrogate:
    """Return a surrogate of the sign or of the step, to plot, to compare or to give to `binary_sign` and `binary_step`.

    Parameters
    ----------
    name : one of `SURROGATES`, with the slope that the backward pass has. Of the sign: "identity" (1 everywhere), "clipped" (1 on [-1, 1],
        0 beyond), "bireal" (2 - 2|x| on [-1, 1]), "reste" (that of sign(x) |x|^(1/o), with a chord below `floor` and 0 beyond `clip`),
        "sine" (freq cos(freq x), of the square wave sign(sin(freq x))). Of the step: "constant" (1 on [-1, 1]), "bell" (a sigmoid's
        derivative scaled to height 1) and "sigmoid" (a sigmoid's derivative).
    temperature : width, a positive number or tensor, for those that have one, in the units of x: 1/4 for "bell", 1 for the others, unless a
        `hardgrad.mode` block says one. Small is hard.
    o : exponent of "reste", 3 by default; 1 is the identity, large is the sign. clip, floor : 1.5 and 0.1 by default.
    freq : of "sine", radians a unit of x, 20 by default.

    Raises
    ------
    ParameterError : an unknown name, an option outside its range, or one that belongs to another surrogate.
    TemperatureError : a temperature that is not a positive finite number.

    Examples
    --------
    >>> binary_surrogate("bireal").derivative(torch.tensor([-0.5, 0.0, 2.0])).tolist()
    [1.0, 2.0, 0.0]

    Source: "clipped" Courbariaux, Bengio and David, 2015, BinaryConnect; "bireal" Liu et al., 2018, Bi-Real Net; "reste" Wu, Zheng, Liu and
    Zheng, 2023, Estimator Meets Equilibrium Perspective; "sine" Vargas, Correa, Hinojosa and Arguello, 2024, BiPer; "constant" and "bell"
    Kim, Park, Jung and Choe, 2020, Plug-in, Trainable Gate for Streamlining Arbitrary Neural Networks.
    """
    return _make("binary_surrogate", name, temperature, {"o": o, "clip": clip, "floor": floor, "freq": freq})


def binary_sign(
    x: Tensor,
    *,
    surrogate: str | Surrogate = "clipped",
    temperature: Any = None,
    o: float | None = None,
    clip: float | None = None,
    floor: float | None = None,
    freq: float | None = None,
    mode: Mode | None = None,
) -> Tensor:
    """Return -1 for negative and +1 for all other elements, with the gradient of a surrogate.

    Parameters
    ----------
    x : any shape, real. 0 becomes +1.
    surrogate : one of `SURROGATES`, or what `binary_surrogate` returned. A surrogate of the step counts twice. With "sine" the sign is that
        of sin(freq x).
    temperature, o, clip, floor, freq : of the surrogate, as for `binary_surrogate`.
    mode : "st" (exact forward; the default outside a `hardgrad.mode` block), "soft" (the surrogate itself) or "hard" (exact, no gradient).

    Raises
    ------
    ModeError, ParameterError, TemperatureError : an argument outside its range.
    InputError, InputTypeError : NaN; infinity where a gradient is asked for; a Boolean or complex tensor in "soft" and "st".

    Examples
    --------
    >>> x = torch.tensor([-2.0, 0.0, 0.5], requires_grad=True)
    >>> y = binary_sign(x)
    >>> y.sum().backward(); y.tolist(), x.grad.tolist()
    ([-1.0, 1.0, 1.0], [0.0, 1.0, 1.0])
    >>> binary_sign(x, surrogate="reste", o=2.0, mode="soft").tolist()
    [-1.4142, 0.0, 0.7071]
    """
    options = {"o": o, "clip": clip, "floor": floor, "freq": freq}
    return _binary("binary_sign", x, "sign", surrogate, temperature, options, mode)


def binary_step(
    x: Tensor,
    *,
    surrogate: str | Surrogate = "constant",
    temperature: Any = None,
    o: float | None = None,
    clip: float | None = None,
    floor: float | None = None,
    freq: float | None = None,
    mode: Mode | None = None,
) -> Tensor:
    """Return 1 for positive and 0 for all other elements, with the gradient of a surrogate.

    Parameters
    ----------
    x : any shape, real. 0 becomes 0.
    surrogate : one of `SURROGATES`, or what `binary_surrogate` returned. A surrogate of the sign counts half.
    temperature, o, clip, floor, freq, mode : as for `binary_sign`.

    Raises
    ------
    As for `binary_sign`.

    Examples
    --------
    >>> x = torch.tensor([-2.0, 0.0, 0.5], requires_grad=True)
    >>> y = binary_step(x)
    >>> y.sum().backward(); y.tolist(), x.grad.tolist()
    ([0.0, 0.0, 1.0], [0.0, 1.0, 1.0])
    """
    options = {"o": o, "clip": clip, "floor": floor, "freq": freq}
    return _binary("binary_step", x, "step", surrogate, temperature, options, mode)


def _binary(
    name: str, x: Tensor, target: Target, surrogate: str | Surrogate, temperature: Any, options: dict[str, Any], mode: Mode | None
) -> Tensor:  # fmt: skip
    if isinstance(surrogate, Surrogate):
        given = [key for key, value in {"temperature": temperature, **options}.items() if value is not None]
        if given:
            raise ParameterError(
                f"{name}() got a surrogate with its options, and {given[0]} beside it; give that to binary_surrogate()."
            )
        chosen = surrogate
    else:
        chosen = _make(name, surrogate, temperature, options)
    call = settle(name, x, mode=resolve_mode(mode, "st"))
    if call.mode == "hard" and values_are_checked(x) and bool(torch.isnan(x).any()):
        raise InputError(
            f"{name}() got NaN in a tensor of shape {tuple(x.shape)}; a bit cannot say so. Fill it first."
        )

    def soft() -> Tensor:
        relaxed = (chosen.relaxed if call.mode == "soft" else chosen.linear)(call.tensors[0])
        if chosen.target == target:
            return relaxed
        return 2.0 * relaxed - 1.0 if target == "sign" else 0.5 * relaxed + 0.5

    return call.result(lambda: _exact(chosen.compared(x), target, call.dtype), soft)


def _make(name: str, surrogate: str, temperature: Any, options: Mapping[str, Any]) -> Surrogate:
    check_choice(name, "surrogate", surrogate, SURROGATES)
    given = check_options(name, surrogate, {"temperature": temperature, **options}, _OWNERS, "surrogate")
    if surrogate in WIDTHS:
        given["temperature"] = resolve_temperature(temperature, WIDTHS[surrogate], check=False)
        check_level(name, given["temperature"])
    return _MAKERS[surrogate](**given)


def _require(good: bool, option: str, value: object, expected: str) -> None:
    if not good:
        raise ParameterError(f"a binary surrogate got {option}={value!r}; expected {expected}.")
