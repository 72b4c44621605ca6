"""The backward pass of max pooling of planes from the places of the maxima in their windows.

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
