"""Boolean masks at one bit an element.

On the CPU, NumPy packs and compares in place, several times faster than torch does there. Compiled loops read large tensors once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import forward_ad

LARGE = 2**14
"""Elements from which a compiled loop pays for its call, and a model for loading it."""

_WORDS = 2**15  # drawn at a time: few enough to stay near the processor
_PLACES = (128, 64, 32, 16, 8, 4, 2, 1)


def not_zero(values: Any) -> Any:
    """Tell which values are not zero."""
    return values != 0


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
    if test is not_zero and flat_of(values) is not None:
        from hardgrad.nn.memory_saving.pointwise_kernels import pack_nonzero

        packed = np.empty(values.numel() // 8, np.uint8)
        pack_nonzero(array, packed)
        return torch.from_numpy(packed)
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


def scaled(
    values: Tensor, packed: Tensor, above: float, below: float, *, divisor: float = 1.0, cut: bool = False
) -> Tensor | None:
    """Return the values times `above` where the bit is set and times `below` elsewhere, in one pass; None where that cannot be.

    It can for large tensors in the memory of the CPU that carry no gradient.

    Parameters
    ----------
    values : floating.
    packed : bits, in the order of `values.reshape(-1)`.
    above, below : factors.
    divisor : of both, in the precision of the values.
    cut : put 0 where the bit is not set, also for what is infinite or no number.
    """
    given, bits = flat_of(values), array_of(packed)
    if given is None or bits is None:
        return None
    from hardgrad.nn.memory_saving.pointwise_kernels import scale_by_bits

    out, number = torch.empty_like(values), given.dtype.type
    factors = [number(factor) / number(divisor) for factor in (above, below)]
    scale_by_bits(given, bits, *factors, cut, out.numpy().reshape(-1))
    return out


def random_bits(count: int, probability: float) -> Tensor | None:
    """Return bits that are set where `Tensor.bernoulli_` would write 1, from the same random numbers in two thirds of its time.

    Parameters
    ----------
    count : how many; a multiple of 8.
    probability : of a bit to be set.

    Returns
    -------
    packed : None where this build of torch draws other numbers.
    """
    return _drawn(count, probability, None) if _draws_words() else None


def _drawn(count: int, probability: float, generator: torch.Generator | None) -> Tensor:
    from hardgrad.nn.memory_saving.pointwise_kernels import pack_below

    packed, limit = torch.empty(count // 8, dtype=torch.uint8), math.ceil(probability * 2**53)
    words = torch.empty(min(count, _WORDS), dtype=torch.int64)
    for begin in range(0, count, _WORDS):
        part = words[: count - begin].random_(-(2**63), None, generator=generator)
        pack_below(part.numpy(), limit, packed[begin // 8 : (begin + len(part)) // 8].numpy())
    return packed


@cache
def _draws_words() -> bool:
    """Tell whether torch takes 64 random bits for each Bernoulli number and compares the last 53, as it does unless MKL draws for it."""
    ours, theirs = (torch.Generator().manual_seed(0) for _ in range(2))
    expected = torch.empty(1024, dtype=torch.uint8).bernoulli_(0.3, generator=theirs)
    same = torch.equal(_drawn(1024, 0.3, ours), pack(expected, not_zero))
    return same and torch.equal(ours.get_state(), theirs.get_state())


def flat_of(values: Tensor) -> Any:
    """Return the tensor's own memory as one list where the compiled loops take it, else None.

    They take what is large, contiguous, of single or double precision and a whole number of bytes long when packed.
    """
    if values.numel() < LARGE or values.numel() % 8 or values.dtype not in (torch.float32, torch.float64):
        return None
    array = array_of(values) if values.is_contiguous() else None
    return None if array is None else array.reshape(-1)


def array_of(values: Tensor) -> Any:
    """Return the tensor's own memory as an array; None on an accelerator, inside vmap, and where a tangent would be left behind."""
    if values.device.type != "cpu" or forward_ad.unpack_dual(values).tangent is not None:
        return None
    try:
        return values.numpy()
    except (RuntimeError, TypeError):  # the other: a dtype that NumPy has not
        return None
