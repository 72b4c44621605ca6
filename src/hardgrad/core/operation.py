"""OpSpec: what is known of an operation on tensors. It drives the documentation table and the contract suite. Never imports torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hardgrad.core import registry

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Method:
    """One way to relax an operation.

    Parameters
    ----------
    laws : what holds besides the limit, by name. "shift-equivariant" and "shift-invariant": f(x + b) is f(x) + b, or f(x).
        "scale-equivariant" and "scale-invariant": f(a x) at temperature a t is a f(x), or f(x), for a > 0. "symmetric": equal elements
        have equal weights.
    bound : how far the soft result can be from the exact one, in words and in units of the temperature.
    when : when to choose it.
    limit : a temperature at which the soft result is the exact one to 1e-3, on inputs that are at least 1 apart; None for a way that has
        no temperature, whose soft result is the exact one on crisp inputs (truths of 0 and 1, whole numbers).
    smooth : True where the gradient is continuous, so that finite differences hold everywhere and it can be differentiated twice.
    weights : True where the result has `weights`.
    """

    laws: frozenset[str] = frozenset()
    bound: str = ""
    when: str = ""
    limit: float | None = 1e-4
    smooth: bool = True
    weights: bool = False


@dataclass(frozen=True)
class OpSpec:
    """An operation on tensors: its name, its exact counterpart and the ways to relax it.

    Parameters
    ----------
    name : in `hardgrad.functional`.
    function : the operation.
    hard : what `mode="hard"` returns, called with the same arguments less those of the relaxation.
    option : the argument that chooses the way to relax, "method" or "kind"; empty where there is one way only.
    methods : the ways by name; {"": Method()} where there is one only, {} where the operation is exact and has none: in "soft" and "st" it
        raises `UnsupportedError`, which names the alternative.
    inputs : the family of example inputs for the contract suite: "elements" f(x), "pairs" f(x, y), "along" f(x, dim), "truths" f(p),
        "truth_pairs" f(p, q), "truths_along" f(p, dim); or a function (generator, dtype, batch) -> (args, kwargs) that makes them, where
        batch is the shape in front of the dimension that the operation works on, and only tensors among args are differentiated.
    """

    name: str
    function: Callable[..., Any]
    hard: Callable[..., Any]
    option: str = ""
    methods: Mapping[str, Method] = field(default_factory=lambda: {"": Method()})
    inputs: str | Callable[..., tuple[tuple[Any, ...], dict[str, Any]]] = "elements"

    @property
    def summary(self) -> str:
        """The first line of the operation's docstring."""
        return (self.function.__doc__ or "").strip().partition("\n")[0]


def operation(
    name: str,
    *,
    hard: Callable[..., Any],
    option: str = "",
    methods: Mapping[str, Method] | None = None,
    inputs: str | Callable[..., tuple[tuple[Any, ...], dict[str, Any]]] = "elements",
) -> Callable[[Function], Function]:
    """Register the decorated function as an operation (see `OpSpec`); the function itself stays as it is."""

    def decorate(function: Function) -> Function:
        ways = dict(methods) if methods is not None else {"": Method()}
        registry.operations.register(name, OpSpec(name, function, hard, option, ways, inputs))
        return function

    return decorate
