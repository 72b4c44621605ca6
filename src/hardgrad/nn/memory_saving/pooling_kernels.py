"""Max pooling of planes: the places of the maxima in their windows, and the backward pass from them.

Imported late; never imports torch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.kernels import kernel

Planes = NDArray[Any]
Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
Sizes = tuple[int, int]


@kernel
def max_pool_backward(
    gradient: Planes, places: Bytes, steps: Ints, stride: Sizes, padding: Sizes, width: int, out: Planes
) -> None:
    """Add each gradient [planes, rows, columns] to `out` [planes, height * width], which is zero, where its maximum lies.

    `steps` says how far each place of a window lies behind its beginning, in flat positions.
    """
    planes, rows, columns = gradient.shape
    for plane in range(planes):
        for row in range(rows):
            begin = (row * stride[0] - padding[0]) * width - padding[1]
            for column in range(columns):
                at = begin + column * stride[1] + steps[places[plane, row, column]]
                out[plane, at] += gradient[plane, row, column]


@kernel
def max_of_quarters(x: Planes, values: Planes, places: Bytes) -> None:
    """Fill `values` with the largest of each 2 x 2 of x [planes, height, width] and `places` with where it was; NaN is the largest.

    Of equals the first counts, as in torch, and of NaN the last. Unsigned positions in flat memory let the loop use vector instructions.
    """
    planes, height, width = x.shape
    _, rows, columns = values.shape
    flat, flat_values, flat_places = x.reshape(-1), values.reshape(-1), places.reshape(-1)
    one, two = np.uintp(1), np.uintp(2)
    for plane in range(planes):
        for row in range(rows):
            upper = np.uintp((plane * height + 2 * row) * width)
            lower = upper + np.uintp(width)
            to = np.uintp((plane * rows + row) * columns)
            for column in range(np.uintp(columns)):
                best, place = flat[upper + two * column], np.uint8(0)
                value = flat[upper + two * column + one]
                more = (value > best) | (value != value)
                best, place = value if more else best, np.uint8(1) if more else place
                value = flat[lower + two * column]
                more = (value > best) | (value != value)
                best, place = value if more else best, np.uint8(2) if more else place
                value = flat[lower + two * column + one]
                more = (value > best) | (value != value)
                best, place = value if more else best, np.uint8(3) if more else place
                flat_values[to + column], flat_places[to + column] = best, place
