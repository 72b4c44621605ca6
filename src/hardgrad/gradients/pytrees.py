"""Pytrees (nested tuples, lists and dicts with tensors in them) as lists of tensors: the only place that knows torch's pytree module."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree

from hardgrad.core.errors import InputTypeError

Rebuild = Callable[[Sequence[Tensor]], Any]


def tensors_and_rest(tree: Any) -> tuple[list[Tensor], Rebuild]:
    """Split a pytree into its tensors and everything else.

    Returns
    -------
    tensors : in the order of the pytree.
    rebuild : puts as many tensors back into their places; what is no tensor stays as it was.

    Examples
    --------
    >>> tensors, rebuild = tensors_and_rest({"w": torch.zeros(2), "steps": 3})
    >>> rebuild([tensors[0] + 1])
    {'w': tensor([1., 1.]), 'steps': 3}
    """
    leaves, structure = _pytree.tree_flatten(tree)
    places = [k for k, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]

    def rebuild(tensors: Sequence[Tensor]) -> Any:
        filled = list(leaves)
        for place, tensor in zip(places, tensors, strict=True):
            filled[place] = tensor
        return _pytree.tree_unflatten(filled, structure)

    tensors = [leaves[place] for place in places]
    rebuild.others = len(places) < len(leaves)  # type: ignore[attr-defined]
    for place in places:
        leaves[place] = None  # the rebuilder outlives the call, and must not keep the tensors alive
    return tensors, rebuild


def names_of(tree: Any) -> list[str]:
    """Return a name for each tensor of a pytree, as in "['w'][0]"; empty for a tensor that stands alone."""
    paths, _ = _pytree.tree_flatten_with_path(tree)
    return [_pytree.keystr(path) for path, leaf in paths if isinstance(leaf, Tensor)]


def structure_of(tree: Any) -> Any:
    """Return the structure of a pytree, to compare with another."""
    return _pytree.tree_structure(tree)


def numeric_tensors(name: str, what: str, tree: Any) -> tuple[list[Tensor], Rebuild]:
    """Return the tensors of a pytree of unknowns, all of them real and floating, and the function that rebuilds it.

    Raises
    ------
    InputTypeError : a leaf that is no floating-point tensor, or no leaf at all.
    """
    leaves, _ = _pytree.tree_flatten(tree)
    for leaf in leaves:
        if leaf is None:
            continue
        if not isinstance(leaf, Tensor) or not leaf.is_floating_point():
            got = f"a tensor of {leaf.dtype}" if isinstance(leaf, Tensor) else f"a {type(leaf).__name__}"
            raise InputTypeError(f"{name}() got {got} in {what}; expected floating-point tensors.")
    tensors, rebuild = tensors_and_rest(tree)
    if not tensors:
        raise InputTypeError(f"{name}() got no tensor in {what}; expected a tensor or a pytree of tensors.")
    return tensors, rebuild


@dataclass(frozen=True)
class Packing:
    """How a list of tensors stands in one matrix (problems, unknowns) of float64, and back.

    Parameters
    ----------
    shapes, dtypes : of the tensors.
    batch : leading dimensions that all tensors share; () for one problem.
    """

    shapes: tuple[torch.Size, ...]
    dtypes: tuple[torch.dtype, ...]
    batch: torch.Size

    @classmethod
    def of(cls, tensors: Sequence[Tensor], batch_dims: int = 0) -> Packing:
        """Return the packing of tensors of which the first `batch_dims` dimensions number independent problems."""
        return cls(
            tuple(t.shape for t in tensors), tuple(t.dtype for t in tensors), tensors[0].shape[:batch_dims]
        )

    def pack(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return one matrix (problems, unknowns); float64, so that sums over many unknowns do not stall in float32."""
        rows = self.batch.numel()
        return torch.cat([t.detach().reshape(rows, -1).double() for t in tensors], dim=1)

    def unpack(self, matrix: Tensor) -> list[Tensor]:
        """Return the tensors of a matrix, in their own shapes and dtypes."""
        dims = len(self.batch)
        sizes = [shape[dims:].numel() for shape in self.shapes]
        parts = matrix.split(sizes, dim=1)
        return [
            part.reshape(shape).to(dtype)
            for part, shape, dtype in zip(parts, self.shapes, self.dtypes, strict=True)
        ]
