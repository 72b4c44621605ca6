"""Boolean masks at one bit an element. On the CPU NumPy packs and compares, in place, several times faster than torch does there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

_PLACES = (128, 64, 32, 16, 8, 4, 2, 1)


def pack(values: Tensor, test: Callable[[Any], Any]) -> Tensor:
    """Return the outcome of a comparison as bits, eight to a byte, in the order of `values.reshape(-1)`.

    Parameters
    ----------
    values : any shape; where the comparison is made.
    test : comparison written with operators, so that it takes an array as well as a tensor, and returns one Boolean an element.

    Examples
    --------
    >>> pack(torch.tensor([1.0, -1.0, 2.0]), lambda v: v > 0).tolist()
    [160]
    """
    values = values.detach().reshape(-1)
    if values.dtype in (torch.float16, torch.bfloat16):  # torch's kernels compare in single precision
        values = values.float()
    array = array_of(values)
    if array is not None:
        return torch.from_numpy(np.packbits(test(array)))
    mask = torch.nn.functional.pad(test(values).to(torch.uint8), (0, -values.numel() % 8)).view(-1, 8)
    return (mask * mask.new_tensor(_PLACES)).sum(1, dtype=torch.uint8)


def unpack(packed: Tensor, like: Tensor) -> Tensor:
    """Return the bits as zeros and ones of the shape and dtype of `like`.

    Examples
    --------
    >>> unpack(torch.tensor([160], dtype=torch.uint8), torch.zeros(3))
    tensor([1., 0., 1.])
    """
    count, array = like.numel(), array_of(packed)
    if array is not None:
        bits = torch.from_numpy(np.unpackbits(array, count=count))
    else:
        bits = (packed.unsqueeze(1) & packed.new_tensor(_PLACES)).ne(0).view(-1)[:count]
    return bits.to(like.dtype).view(like.shape)


def array_of(values: Tensor) -> Any:
    """Return the tensor's own memory as an array; None on an accelerator, and inside vmap, where there is none to be had."""
    if values.device.type != "cpu":
        return None
    try:
        return values.numpy()
    except (RuntimeError, TypeError):  # the other: a dtype that NumPy has not
        return None
