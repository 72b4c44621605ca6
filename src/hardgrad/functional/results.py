"""What operations return that choose elements: torch's fields first, then the weights they were chosen with, made only when asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from hardgrad.core.errors import UnsupportedError
from hardgrad.functional.operands import Operands

Lazy = Tensor | Callable[[], Tensor]


class Selection:
    """Chosen values with their positions; unpacks into `values, indices` as torch's results do.

    Parameters
    ----------
    values : what was chosen, shape as in torch; in mode "soft" a mixture of the elements, in "st" and "hard" the elements themselves.
    indices : int64, where in the input they stand, always those of the exact operation; computed when first asked for.
    weights : shape (..., k, n), row j is how output j is mixed from the n elements, the reduced dimension last; computed when first asked
        for.

    Raises
    ------
    UnsupportedError : when `weights` are asked for where the method has none.
    """

    def __init__(self, values: Tensor, indices: Lazy, weights: Lazy) -> None:
        self.values = values
        self._indices = indices
        self._weights = weights

    @property
    def indices(self) -> Tensor:
        """Positions in the input, int64."""
        if not isinstance(self._indices, Tensor):
            self._indices = self._indices()
        return self._indices

    @property
    def weights(self) -> Tensor:
        """How each output is mixed from the elements, shape (..., k, n)."""
        if not isinstance(self._weights, Tensor):
            self._weights = self._weights()
        return self._weights

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.values, self.indices))

    def __len__(self) -> int:
        return 2

    def __getitem__(self, item: int) -> Tensor:
        return (self.values, self.indices)[item]

    def __repr__(self) -> str:
        return f"Selection(values={self.values!r}, indices={self.indices!r})"


def one_hot(indices: Tensor, size: int, dtype: torch.dtype) -> Tensor:
    """Return the weights of an exact choice: (..., k) positions among `size` become (..., k, size)."""
    return (indices.unsqueeze(-1) == torch.arange(size, device=indices.device)).to(dtype)


def mixture(weights: Tensor, elements: Tensor) -> Tensor:
    """Return the sums of the last dimension of `elements` (..., n) under `weights` (..., k, n), shape (..., k)."""
    return (weights @ elements.unsqueeze(-1)).squeeze(-1)


def choose_weights(
    call: Operands, indices: Callable[[], Tensor], size: int, soft: Callable[[], Tensor | str]
) -> Callable[[], Tensor]:
    """Return what gives the weights of a call when they are asked for: relaxed, exact, or exact with the relaxed gradient.

    Parameters
    ----------
    indices : gives the exact positions (..., k), the reduced dimension last.
    size : number of elements n that were chosen from.
    soft : gives the relaxed weights (..., k, n), or a text that says why the method has none; not called in mode "hard".
    """

    def relaxed() -> Tensor:
        found = soft()
        if isinstance(found, str):
            raise UnsupportedError(found)
        return found

    return lambda: call.result(lambda: one_hot(indices(), size, call.dtype), relaxed)
