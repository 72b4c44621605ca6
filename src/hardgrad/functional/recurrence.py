"""Linear recurrences by an associative scan: as many steps as the logarithm of the length, each over the whole tensor."""

from __future__ import annotations

import torch
from torch import Tensor

from hardgrad.core.errors import InputError


def linear_recurrence(decay: Tensor, increment: Tensor, *, dim: int = -1, reverse: bool = False) -> Tensor:
    """Return h with h_i = decay_i * h_(i-1) + increment_i along one dimension, where what comes before the first is 0.

    Parameters
    ----------
    decay, increment : tensors that broadcast with each other; floating.
    dim : the dimension to run along.
    reverse : from the last element to the first: h_i = decay_i * h_(i+1) + increment_i.

    Returns
    -------
    h : the broadcast shape.

    Raises
    ------
    InputError : shapes that do not broadcast.

    Examples
    --------
    >>> linear_recurrence(torch.tensor([0.0, 1.0, 1.0, 0.0]), torch.ones(4)).tolist()
    [1.0, 2.0, 3.0, 1.0]

    Source: Blelloch, 1990, Prefix Sums and Their Applications: two affine maps in a row are one affine map.
    """
    try:
        decay, increment = torch.broadcast_tensors(decay, increment)
    except RuntimeError:
        raise InputError(
            f"linear_recurrence() got decay {tuple(decay.shape)} and increment {tuple(increment.shape)}; expected shapes that broadcast."
        ) from None
    a, h = decay.movedim(dim, -1), increment.movedim(dim, -1)
    if reverse:
        a, h = a.flip(-1), h.flip(-1)
    reach = 1
    while reach < h.shape[-1]:
        h = torch.cat([h[..., :reach], a[..., reach:] * h[..., :-reach] + h[..., reach:]], -1)
        a = torch.cat([a[..., :reach], a[..., reach:] * a[..., :-reach]], -1)
        reach *= 2
    return (h.flip(-1) if reverse else h).movedim(-1, dim)
