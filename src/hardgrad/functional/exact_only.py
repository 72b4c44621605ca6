"""Operations without a relaxed form: their result has a shape that depends on the values, so nothing can vary smoothly.

They work in mode "hard", and in "soft" and "st" they say what to use instead. So does a connected threshold (which elements are joined
to a seed by others above a level), for which torch has no name: use `greater` for the threshold and take the connected part when hard.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hardgrad.core.errors import UnsupportedError
from hardgrad.core.mode import Mode, resolve_mode
from hardgrad.core.operation import operation


def _whole_inputs(generator: torch.Generator, dtype: torch.dtype, batch: tuple[int, ...]) -> Any:
    return (torch.randint(0, 4, (6,), generator=generator),), {}


@operation("nonzero", hard=torch.nonzero, methods={})
def nonzero(x: Tensor, *, mode: Mode | None = None) -> Tensor:
    """Return the positions of the elements that are not 0, in mode "hard" only.

    Parameters
    ----------
    x : any shape.
    mode : "hard"; the number of positions depends on the values, so that there is no soft form.

    Raises
    ------
    UnsupportedError : in "soft" and "st"; keep a weight for every element instead, `ne(x, 0)`.

    Examples
    --------
    >>> nonzero(torch.tensor([0.0, 2.0, 3.0]), mode="hard").tolist()
    [[1], [2]]
    """
    _only_hard("nonzero", mode, "ne(x, 0), which keeps a weight for every element")
    return torch.nonzero(x)


@operation("argwhere", hard=torch.argwhere, methods={})
def argwhere(x: Tensor, *, mode: Mode | None = None) -> Tensor:
    """Return the positions of the elements that are not 0, in mode "hard" only.

    Parameters
    ----------
    x, mode : as for `nonzero`.

    Examples
    --------
    >>> argwhere(torch.tensor([0.0, 2.0, 3.0]), mode="hard").tolist()
    [[1], [2]]
    """
    _only_hard(
        "argwhere", mode, "ne(x, 0), which keeps a weight for every element, or first_true() for one position"
    )
    return torch.argwhere(x)


@operation("bincount", hard=torch.bincount, methods={}, inputs=_whole_inputs)
def bincount(
    x: Tensor, weights: Tensor | None = None, minlength: int = 0, *, mode: Mode | None = None
) -> Tensor:
    """Return how often each whole number occurs, in mode "hard" only.

    Parameters
    ----------
    x : (n,), whole numbers that are not negative.
    weights : (n,), how much each element counts.
    minlength : least number of counts.
    mode : "hard"; the number of counts depends on the values, so that there is no soft form.

    Raises
    ------
    UnsupportedError : in "soft" and "st"; use `histogram` with edges at the halves, which knows the number of its bins.

    Examples
    --------
    >>> bincount(torch.tensor([0, 2, 2]), mode="hard").tolist()
    [1, 0, 2]
    """
    _only_hard("bincount", mode, "histogram(x, torch.arange(n + 1) - 0.5), which knows its number of bins n")
    return torch.bincount(x, weights, minlength)


def _only_hard(name: str, mode: Mode | None, alternative: str) -> None:
    resolved = resolve_mode(mode)
    if resolved != "hard":
        raise UnsupportedError(
            f'{name}() got mode="{resolved}", but the shape of its result depends on the values; expected mode="hard". Use {alternative}.'
        )
