"""audit_kinks: does a network stand on a kink that its gradient can feel? And how often can that happen at all, for a number format."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from hardgrad.core.errors import InputError, InputTypeError, ParameterError, UnsupportedError
from hardgrad.gradients.diagnostics.report import Report, new_axis

Kinks = Callable[[dict[str, Any]], tuple[float, ...]]
functional = nn.functional

# torch function (as every module calls it): default arguments by place, and its kinks given these.
_TABLE: dict[Any, tuple[dict[str, Any], Kinks]] = {
    functional.relu: ({}, lambda a: (0.0,)),
    functional.relu6: ({}, lambda a: (0.0, 6.0)),
    functional.leaky_relu: ({"negative_slope": 0.01}, lambda a: (0.0,) if a["negative_slope"] != 1 else ()),
    functional.hardtanh: ({"min_val": -1.0, "max_val": 1.0}, lambda a: (a["min_val"], a["max_val"])),
    functional.hardsigmoid: ({}, lambda a: (-3.0, 3.0)),
    functional.hardswish: ({}, lambda a: (-3.0, 3.0)),
    functional.hardshrink: ({"lambd": 0.5}, lambda a: (-a["lambd"], a["lambd"])),
    functional.softshrink: ({"lambd": 0.5}, lambda a: (-a["lambd"], a["lambd"])),
    functional.threshold: ({"threshold": 0.0, "value": 0.0}, lambda a: (a["threshold"],)),
    functional.elu: ({"alpha": 1.0}, lambda a: (0.0,) if a["alpha"] != 1 else ()),
    functional.celu: ({"alpha": 1.0}, lambda a: ()),
    functional.selu: ({}, lambda a: (0.0,)),
    functional.prelu: ({"weight": None}, lambda a: (0.0,)),
}
for _function in (torch.relu, torch.Tensor.relu, torch.relu_, functional.relu_):
    _TABLE[_function] = _TABLE[functional.relu]
for _function in (torch.abs, torch.Tensor.abs, torch.Tensor.__abs__, torch.sign, torch.Tensor.sign):
    _TABLE[_function] = ({}, lambda a: (0.0,))
for _function in (torch.clamp, torch.Tensor.clamp, torch.clip, torch.Tensor.clip):
    _TABLE[_function] = (
        {"min": None, "max": None},
        lambda a: tuple(
            float(a[k]) for k in ("min", "max") if a[k] is not None and not isinstance(a[k], Tensor)
        ),
    )
_POOLS = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)
_MAXIMA = (
    torch.max,
    torch.Tensor.max,
    torch.min,
    torch.Tensor.min,
    torch.amax,
    torch.Tensor.amax,
    torch.amin,
    torch.Tensor.amin,
)
_PAIRS = (torch.maximum, torch.minimum)
_ROOTS = (
    torch.sqrt,
    torch.Tensor.sqrt,
    torch.norm,
    torch.Tensor.norm,
    torch.linalg.norm,
    torch.linalg.vector_norm,
)


class KinkVerdict(StrEnum):
    """What `audit_kinks` concludes about the point at which the network stands."""

    DIFFERENTIABLE = "differentiable"
    NONDIFFERENTIABLE = "nondifferentiable"
    POSSIBLY_INCORRECT = "possibly_incorrect"


@dataclass(frozen=True)
class ModuleKinks:
    """One place where kinks can be.

    Parameters
    ----------
    name : of the module, or of the function and its number where it is called outside of one.
    function : what has the kinks.
    units : number of values that passed.
    at_kink : those of them exactly at a kink (within `atol`), or tied for a maximum.
    mattering : those of them whose output the loss depends on: its gradient there is not zero.
    """

    name: str
    function: str
    units: int
    at_kink: int
    mattering: int


@dataclass(frozen=True)
class KinkReport(Report):
    """Kinks at which a network stands.

    Parameters
    ----------
    verdict : "differentiable" (no unit at a kink matters); "nondifferentiable" (some do, and every such unit has a bias of its own, so
        that automatic differentiation is sure to give a Clarke subgradient); "possibly_incorrect" (some do, and that is not sure: ask
        `check_gradient`).
    modules : a `ModuleKinks` for every place.
    at_kink, mattering : sums over the places.
    assumption_met : whether every unit at a mattering kink has a bias of its own.
    singular : places where a square root or a norm was taken of zero, whose derivative is infinite or NaN there; no kink.
    """

    modules: tuple[ModuleKinks, ...] = ()
    at_kink: int = 0
    mattering: int = 0
    assumption_met: bool = True
    singular: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.verdict}: {self.at_kink} units at a kink, {self.mattering} of them matter"

    def plot(self, ax: Any = None) -> Any:
        """Draw units at kinks and those that matter as bars on a matplotlib axis and return the axis. Needs matplotlib."""
        ax = new_axis(ax)
        names = [part.name for part in self.modules]
        ax.barh(names, [part.at_kink for part in self.modules], label="at a kink", alpha=0.4)
        ax.barh(names, [part.mattering for part in self.modules], label="matter")
        ax.legend()
        ax.set_title(str(self))
        return ax


@dataclass
class _Place:
    name: str
    function: str
    mask: Tensor
    output: Tensor
    own_bias: bool


class _Recorder(TorchFunctionMode):
    """Notes at which units each function with kinks is called, and keeps its outputs in the graph."""

    def __init__(self, atol: float) -> None:
        super().__init__()
        self.atol = atol
        self.places: list[_Place] = []
        self.singular: list[str] = []
        self.stack: list[str] = []
        self.biased: dict[int, Tensor] = {}
        self.inside = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.inside:
            return func(*args, **kwargs)
        x = args[0] if args else kwargs.get("input")
        mask = self._mask(func, x, args, kwargs) if isinstance(x, Tensor) and x.is_floating_point() else None
        own = id(x) in self.biased
        self.inside = mask is not None
        try:
            output = func(*args, **kwargs)
        finally:
            self.inside = False
        if func is functional.linear:
            bias = args[2] if len(args) > 2 else kwargs.get("bias")
            if bias is not None and bias.requires_grad and output.numel() == bias.numel():
                self.biased[id(output)] = output
        if mask is not None:
            self._note(func, mask, output, own)
        return output

    def _mask(self, func: Any, x: Tensor, args: Any, kwargs: Any) -> Tensor | None:
        with torch.no_grad(), torch._C.DisableTorchFunction():
            if func in _TABLE:
                defaults, kinks = _TABLE[func]
                given = dict(zip(defaults, args[1:], strict=False)) | {
                    k: v for k, v in kwargs.items() if k in defaults
                }
                found = torch.zeros_like(x, dtype=torch.bool)
                for kink in kinks(defaults | given):
                    found |= (x - kink).abs() <= self.atol
                return found
            if func in _PAIRS or (func in _MAXIMA[:4] and len(args) > 1 and isinstance(args[1], Tensor)):
                gap: Tensor = (x - args[1]).abs()
                return gap <= self.atol
            if func in _MAXIMA or func in _POOLS:
                return (
                    torch.zeros((), dtype=torch.bool) if x.numel() == 0 else self._ties(func, x, args, kwargs)
                )
            if func in _ROOTS and (not bool(x.any()) if "norm" in func.__name__ else bool((x == 0).any())):
                self.singular.append(f"{self._name()} ({func.__name__})")
        return None

    def _ties(self, func: Any, x: Tensor, args: Any, kwargs: Any) -> Tensor:
        """Outputs for which a second input is as large: the gradient at a maximum, shared out by amax or the pool of windows."""
        if func in _POOLS:
            names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
            given = dict(zip(names, args[1:], strict=False)) | kwargs
            given.pop("return_indices", None)
            return _tied_windows(func, x, given, self.atol)
        dim = args[1] if len(args) > 1 else kwargs.get("dim")
        sign = -1 if "min" in func.__name__ else 1
        values = sign * x
        if dim is None:
            return (values.amax() - values <= self.atol).sum() > 1
        keep = bool(kwargs.get("keepdim", args[2] if len(args) > 2 else False))
        return (values.amax(dim, keepdim=True) - values <= self.atol).sum(dim, keepdim=keep) > 1

    def _name(self) -> str:
        return self.stack[-1] if self.stack else "outside of modules"

    def _note(self, func: Any, mask: Tensor, output: Any, own: bool) -> None:
        value = output if isinstance(output, Tensor) else output[0]
        if value.requires_grad:
            self.places.append(_Place(self._name(), func.__name__, mask.expand(value.shape), value, own))


def _tied_windows(func: Any, x: Tensor, given: dict[str, Any], atol: float) -> Tensor:
    """Windows whose maximum falls when its first place is taken away by no more than `atol`."""
    indexed = {
        1: functional.max_pool1d_with_indices,
        2: functional.max_pool2d_with_indices,
        3: functional.max_pool3d_with_indices,
    }
    dims = int(func.__name__[-2])
    best, places = indexed[dims](x, **given)
    tied = torch.zeros_like(best, dtype=torch.bool)
    flat = x.flatten(-dims)
    for k in places.unique().tolist():  # one place at a time, so that no window loses its second best
        without = flat.clone()
        without[..., k] = float("-inf")
        second = func(without.view(x.shape), **given)
        tied |= (places == k) & (best - second <= atol)
    return tied


def audit_kinks(
    model: Callable[..., Any], inputs: Any, loss_fn: Callable[[Any], Tensor] | None = None, atol: float = 0.0
) -> KinkReport:
    """Return at which kinks a network stands for given inputs, and which of them its gradient can feel.

    A unit exactly at a kink is harmless where the loss does not depend on it (a dead ReLU behind it, a weight of zero): such units are
    counted, and do not change the verdict.

    Parameters
    ----------
    model : a module in evaluation mode, or a function of the inputs. Kinks of modules and of functional calls are both seen.
    inputs : one tensor, or a tuple of arguments.
    loss_fn : of the output; returns one number. By default each output of the network is asked for by itself.
    atol : distance from a kink that counts as on it; 0 means exactly.

    Raises
    ------
    UnsupportedError : a module in training mode, whose dropout and batch statistics would make another network of every call.
    InputError, ParameterError, InputTypeError : a loss that is not one number; a negative `atol`; an output without tensors.

    Examples
    --------
    >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)).eval()
    >>> _ = net[0].bias.data.zero_()
    >>> str(audit_kinks(net, torch.zeros(1, 2)))
    'nondifferentiable: 3 units at a kink, 3 of them matter'

    Notes
    -----
    Lee, Park and Aiken, On the Correctness of Automatic Differentiation for Neural Networks with Machine-Representable Parameters (ICML
    2023). Their theorem asks for a bias for every unit: one sample through linear layers with biases. A bias that several samples or the
    positions of a convolution share does not meet it; the verdict is then "possibly_incorrect" wherever a kink matters.
    """
    if not atol >= 0:
        raise ParameterError(f"audit_kinks got atol={atol}; expected a distance, 0 for exactly at a kink.")
    if isinstance(model, nn.Module) and any(part.training for part in model.modules()):
        raise UnsupportedError("audit_kinks got a module in training mode; call model.eval() first.")
    arguments = inputs if isinstance(inputs, tuple) else (inputs,)
    recorder = _Recorder(atol)
    handles = _follow(model, recorder) if isinstance(model, nn.Module) else []
    try:
        with torch.enable_grad(), recorder:
            output = model(*arguments)
            if loss_fn is not None:
                output = loss_fn(output)
    finally:
        for handle in handles:
            handle.remove()
    targets = _targets(output, loss_fn is not None)
    mattering = _mattering(recorder.places, targets)
    modules = tuple(
        ModuleKinks(place.name, place.function, place.mask.numel(), int(place.mask.sum()), int(matters.sum()))
        for place, matters in zip(recorder.places, mattering, strict=True)
    )
    felt = sum(part.mattering for part in modules)
    met = all(place.own_bias for place, part in zip(recorder.places, modules, strict=True) if part.mattering)
    verdict = (
        KinkVerdict.DIFFERENTIABLE
        if not felt
        else KinkVerdict.NONDIFFERENTIABLE
        if met
        else KinkVerdict.POSSIBLY_INCORRECT
    )
    return KinkReport(
        verdict, modules, sum(part.at_kink for part in modules), felt, met, tuple(recorder.singular)
    )


def _follow(model: nn.Module, recorder: _Recorder) -> list[Any]:
    handles: list[Any] = []
    for name, part in model.named_modules():
        label = f"{name or 'model'} ({type(part).__name__})"
        handles.append(part.register_forward_pre_hook(lambda *_, label=label: recorder.stack.append(label)))
        handles.append(
            part.register_forward_hook(lambda *_: (recorder.stack.pop(), None)[1], always_call=True)
        )
    return handles


def _targets(output: Any, is_loss: bool) -> Iterable[Tensor]:
    tensors = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
    if not tensors:
        raise InputTypeError(
            f"audit_kinks got a {type(output).__name__} from the model; expected tensors of numbers."
        )
    if is_loss and (len(tensors) > 1 or tensors[0].numel() != 1):
        raise InputError(
            f"audit_kinks got a loss of shape {tuple(tensors[0].shape)}; loss_fn must return one number."
        )
    return [value for tensor in tensors for value in tensor.reshape(-1) if value.requires_grad]


def _mattering(places: list[_Place], targets: Iterable[Tensor]) -> list[Tensor]:
    """Units at a kink on whose output at least one target depends."""
    felt = [torch.zeros_like(place.mask) for place in places]
    asked = [k for k, place in enumerate(places) if bool(place.mask.any())]
    if not asked:
        return felt
    for target in targets:
        adjoints = torch.autograd.grad(
            target, [places[k].output for k in asked], retain_graph=True, allow_unused=True
        )
        for k, adjoint in zip(asked, adjoints, strict=True):
            if adjoint is not None:
                felt[k] = felt[k] | (places[k].mask & (adjoint != 0))
    return felt


def nondifferentiable_density_bound(model: nn.Module, dtype: torch.dtype | int, inputs: Any) -> float:
    """Return the largest share of parameter settings, among all that a number format has, at which a network can fail to be differentiable.

    Parameters
    ----------
    model : with a bias for every unit.
    dtype : floating format of the parameters, or the number of values of a grid (256 for 8-bit weights).
    inputs : of one sample, from which the number of units is read.

    Examples
    --------
    Eight ReLUs in half precision, which has 63,488 finite patterns:

    >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    >>> nondifferentiable_density_bound(net, torch.float16, torch.zeros(1, 4))
    0.000126008
    """
    numbers = dtype if isinstance(dtype, int) else _finite_patterns(dtype)
    counter = _Counter()
    with torch.no_grad(), counter:
        model(*(inputs if isinstance(inputs, tuple) else (inputs,)))
    return min(1.0, counter.kinks / numbers)


class _Counter(TorchFunctionMode):
    kinks = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with torch._C.DisableTorchFunction():
            output = func(*args, **(kwargs or {}))
        if func in _TABLE:
            defaults, kinks = _TABLE[func]
            given = dict(zip(defaults, args[1:], strict=False)) | {
                k: v for k, v in (kwargs or {}).items() if k in defaults
            }
            self.kinks += output.numel() * len(kinks(defaults | given))
        return output


def _finite_patterns(dtype: torch.dtype) -> int:
    exponents = {torch.float64: 52, torch.float32: 23, torch.float16: 10, torch.bfloat16: 7}
    if dtype not in exponents:
        raise ParameterError(
            f"nondifferentiable_density_bound got {dtype}; expected a floating dtype or the number of grid values."
        )
    bits = torch.finfo(dtype).bits
    return int(2**bits - 2 ** (exponents[dtype] + 1))  # one exponent, both signs, is infinity and NaN
