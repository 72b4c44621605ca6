"""Example inputs for the contract suite of operations, by family. Values keep a distance from where the exact operation jumps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from hardgrad.core import registry
from hardgrad.core.operation import OpSpec

N = 5


def cases() -> Iterator[tuple[str, str]]:
    """Every registered operation with each of its ways to relax."""
    for name in registry.operations:
        for method in registry.operations[name].methods:
            yield name, method


def elements(generator: torch.Generator, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    """Numbers that are neither near a whole nor near a half number."""
    whole = torch.randint(-3, 4, shape, generator=generator)
    return (whole + 0.15 + 0.2 * torch.rand(shape, generator=generator, dtype=torch.float64)).to(dtype)


def distinct(
    generator: torch.Generator, dtype: torch.dtype, shape: tuple[int, ...], apart: float = 1.25
) -> Tensor:
    """Lists along the last dimension whose elements are at least 1 apart."""
    order = torch.rand(shape, generator=generator).argsort(-1) - (shape[-1] - 1) / 2
    return (apart * order + 0.2 * torch.rand(shape, generator=generator, dtype=torch.float64)).to(dtype)


def truths(generator: torch.Generator, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    """Degrees of truth, strictly between 0 and 1 and away from 1/2."""
    sides = torch.randint(0, 2, shape, generator=generator) * 0.6
    return (sides + 0.05 + 0.3 * torch.rand(shape, generator=generator, dtype=torch.float64)).to(dtype)


def crisp(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The same arguments where the decision is made: truths become 0 and 1, other numbers whole."""
    return tuple(a.round() if isinstance(a, Tensor) and a.is_floating_point() else a for a in args)


def make(
    spec: OpSpec,
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    batch: tuple[int, ...] = (2,),
    n: int = N,
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return arguments and keywords of one call, without those of the relaxation."""
    generator = torch.Generator().manual_seed(seed)
    if callable(spec.inputs):
        return spec.inputs(generator, dtype, batch)
    if spec.inputs == "elements":
        return (elements(generator, dtype, (*batch, n)),), {}
    if spec.inputs == "pairs":
        x = elements(generator, dtype, (*batch, n))
        sides = torch.randint(0, 2, x.shape, generator=generator) * 2 - 1
        return (x, x + sides * (1 + torch.rand(x.shape, generator=generator)).to(dtype)), {}
    if spec.inputs == "along":
        return (distinct(generator, dtype, (*batch, n)),), {"dim": -1}
    if spec.inputs in ("truths", "truths_along"):
        return (truths(generator, dtype, (*batch, n)),), {"dim": -1} if spec.inputs.endswith("along") else {}
    if spec.inputs == "truth_pairs":
        return tuple(truths(generator, dtype, (*batch, n)) for _ in range(2)), {}
    raise AssertionError(f"{spec.name} has unknown inputs {spec.inputs!r}")


def has_truths(spec: OpSpec) -> bool:
    """Tell whether the operation takes degrees of truth."""
    return isinstance(spec.inputs, str) and spec.inputs.startswith("truth")


def has_lists(spec: OpSpec) -> bool:
    """Tell whether the operation works along one dimension of its only tensor."""
    return spec.inputs in ("along", "truths_along")
