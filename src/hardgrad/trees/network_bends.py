"""The activations and maxima of PyTorch that are piecewise linear, by the name of the layer, function or method."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from hardgrad.core.errors import UnsupportedError
from hardgrad.trees.network_units import Largest, Operation, Pieces


@dataclass(frozen=True)
class Affine:
    """A value of the network as an affine function of its input: rows [F + 1, ...], the last one the constant."""

    rows: Tensor

    @property
    def shape(self) -> torch.Size:
        """The shape that a batch of F + 1 would have here."""
        return self.rows.shape


class PiecewiseActivation(nn.Module):
    """A continuous piecewise linear function of each element, made by `approximate_activation`.

    Parameters
    ----------
    knots : float64 [k - 1], rising; where the slope changes.
    slopes, intercepts : float64 [k]; piece j is `slopes[j] * z + intercepts[j]` for `knots[j - 1] < z <= knots[j]`.
    error_bound : largest distance to the function that it stands for, between `low` and `high`.
    low, high : where the bound holds.
    """

    knots: Tensor
    slopes: Tensor
    intercepts: Tensor

    def __init__(
        self,
        knots: ArrayLike,
        slopes: ArrayLike,
        intercepts: ArrayLike,
        error_bound: float,
        low: float,
        high: float,
    ) -> None:
        super().__init__()
        for name, values in (("knots", knots), ("slopes", slopes), ("intercepts", intercepts)):
            self.register_buffer(name, torch.as_tensor(np.asarray(values, dtype=np.float64)))
        self.error_bound, self.low, self.high = float(error_bound), float(low), float(high)

    def forward(self, z: Tensor) -> Tensor:
        """Apply the function to a tensor of any shape; the result has its dtype."""
        piece = torch.bucketize(z.detach().double(), self.knots.double())
        return self.slopes.to(z.dtype)[piece] * z + self.intercepts.to(z.dtype)[piece]

    def extra_repr(self) -> str:
        """Say how many pieces and how good."""
        return (
            f"{len(self.slopes)} pieces, error_bound={self.error_bound:.3g} on [{self.low:g}, {self.high:g}]"
        )


def affine_argument(args: Sequence[Any], where: str) -> Tensor:
    """Return the rows of the only tensor that a layer takes."""
    if not args or not isinstance(args[0], Affine):
        raise UnsupportedError(f"{where!r} is not applied to a value that depends on the input.")
    rows: Tensor = args[0].rows
    return rows


def bend(name: str, layer: nn.Module | None, *args: Any, **kwargs: Any) -> Operation:
    """Return the operation of a layer (with its rows) or of a function (with its arguments)."""
    plain = [a.rows if isinstance(a, Affine) else a for a in args]
    return BENDS[name](
        layer, *plain, **{k: v.rows if isinstance(v, Affine) else v for k, v in kwargs.items()}
    )


def _pieces(rows: Tensor, cut: Sequence[Any], slope: Sequence[Any], intercept: Sequence[Any]) -> Pieces:
    """Pieces alike for all units, or given as an array a unit."""
    shape = tuple(rows.shape[1:])
    z = np.asarray(rows.reshape(len(rows), -1).numpy())

    def each(values: Sequence[Any]) -> NDArray[np.float64]:
        return np.array([np.broadcast_to(v, z.shape[1]) for v in values]).reshape(len(values), z.shape[1])

    return Pieces(z, each(cut), each(slope), each(intercept), shape)


def _relu(layer: Any, x: Tensor, inplace: bool = False) -> Pieces:
    return _pieces(x, [0.0], [0.0, 1.0], [0.0, 0.0])


def _leaky(layer: Any, x: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Pieces:
    return _pieces(x, [0.0], [layer.negative_slope if layer else negative_slope, 1.0], [0.0, 0.0])


def _prelu(layer: Any, x: Tensor, weight: Any = None) -> Pieces:
    slope: Tensor = (layer.weight if layer else weight).detach()
    wide = slope.reshape(-1, *[1] * (x.dim() - 2)).expand(x.shape[1:]) if x.dim() > 1 else slope
    return _pieces(x, [0.0], [np.asarray(wide.reshape(-1).numpy()), 1.0], [0.0, 0.0])


def _abs(layer: Any, x: Tensor) -> Pieces:
    return _pieces(x, [0.0], [-1.0, 1.0], [0.0, 0.0])


def _between(x: Tensor, low: float | None, high: float | None) -> Pieces:
    below = [] if low is None else [(float(low), 0.0)]
    above = [] if high is None else [(float(high), 0.0)]
    cuts = [c for c, _ in (*below, *above)]
    slope = [*(s for _, s in below), 1.0, *(s for _, s in above)]
    return _pieces(x, cuts, slope, [*(c for c, _ in below), 0.0, *(c for c, _ in above)])


def _hardtanh(
    layer: Any, x: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Pieces:
    return _between(x, layer.min_val if layer else min_val, layer.max_val if layer else max_val)


def _relu6(layer: Any, x: Tensor, inplace: bool = False) -> Pieces:
    return _between(x, 0.0, 6.0)


def _hardsigmoid(layer: Any, x: Tensor, inplace: bool = False) -> Pieces:
    return _pieces(x, [-3.0, 3.0], [0.0, 1 / 6, 0.0], [0.0, 0.5, 1.0])


def _clamp(layer: Any, x: Tensor, min: float | None = None, max: float | None = None) -> Pieces:
    return _between(x, min, max)


def _splines(layer: Any, x: Tensor) -> Pieces:
    return _pieces(x, layer.knots.tolist(), layer.slopes.tolist(), layer.intercepts.tolist())


def _largest(candidates: Tensor, dim: int, keepdim: bool, sign: float = 1.0) -> Largest:
    """The largest along a dimension that is not the batch."""
    dim %= candidates.dim()
    if dim == 0:
        raise UnsupportedError("a maximum over the rows of a batch is no function of one input.")
    moved = candidates.movedim(dim, 1)
    shape = tuple(moved.shape[2:])
    if keepdim:
        shape = (*shape[: dim - 1], 1, *shape[dim - 1 :])
    rows = np.asarray(moved.reshape(len(moved), moved.shape[1], -1).numpy())
    return Largest(rows, shape, sign)


def _pairwise(sign: float) -> Callable[..., Largest]:
    def operation(layer: Any, x: Any, y: Any = None, **options: Any) -> Largest:
        if not (isinstance(x, Tensor) and isinstance(y, Tensor) and y.shape == x.shape) or options:
            raise UnsupportedError(
                "a maximum is supported of two values of one shape; use amax() along a dimension."
            )
        return _largest(torch.stack([x, y], dim=1), 1, False, sign)

    return operation


def _along(sign: float) -> Callable[..., Largest]:
    def operation(layer: Any, x: Tensor, dim: Any = None, keepdim: bool = False) -> Largest:
        single = dim[0] if isinstance(dim, (tuple, list)) and len(dim) == 1 else dim
        if not isinstance(single, int):
            raise UnsupportedError(
                f"got amax() or amin() along {dim!r}; expected one dimension that is not the batch."
            )
        return _largest(x, single, keepdim, sign)

    return operation


def _max_pool(spatial: int) -> Callable[..., Largest]:
    def operation(
        layer: Any, x: Tensor, kernel_size: Any = None, stride: Any = None, padding: Any = 0, dilation: Any = 1,
        ceil_mode: bool = False, return_indices: bool = False,
    ) -> Largest:  # fmt: skip
        given = vars(layer) if layer else {
            "kernel_size": kernel_size, "stride": stride, "padding": padding, "dilation": dilation, "ceil_mode": ceil_mode
        }  # fmt: skip
        if given["ceil_mode"] or np.any(np.asarray(given["padding"])):
            raise UnsupportedError(
                "max pooling with padding or ceil_mode is not supported; pad the input with a layer of its own."
            )

        def pair(value: Any) -> list[int]:
            return [int(v) for v in np.broadcast_to(value, spatial)]

        kernel, dilation_ = pair(given["kernel_size"]), pair(given["dilation"])
        stride_ = pair(given["stride"] if given["stride"] is not None else given["kernel_size"])
        if spatial == 1:
            x, kernel, dilation_, stride_ = x[..., None, :], [1, *kernel], [1, *dilation_], [1, *stride_]
        n, channels, height, width = x.shape
        out = [
            (s - d * (k - 1) - 1) // t + 1
            for s, k, d, t in zip((height, width), kernel, dilation_, stride_, strict=True)
        ]
        windows = F.unfold(x, tuple(kernel), tuple(dilation_), 0, tuple(stride_))
        windows = windows.reshape(n, channels, kernel[0] * kernel[1], *out)
        found = _largest(windows, 2, False)
        return Largest(found.candidates, (channels, out[1]) if spatial == 1 else (channels, *out))

    return operation


BENDS: dict[str, Callable[..., Operation]] = {
    **dict.fromkeys(("ReLU", "relu", "relu_"), _relu),
    **dict.fromkeys(("LeakyReLU", "leaky_relu", "leaky_relu_"), _leaky),
    **dict.fromkeys(("PReLU", "prelu"), _prelu),
    **dict.fromkeys(("abs", "absolute"), _abs),
    **dict.fromkeys(("Hardtanh", "hardtanh", "hardtanh_"), _hardtanh),
    **dict.fromkeys(("ReLU6", "relu6"), _relu6),
    **dict.fromkeys(("Hardsigmoid", "hardsigmoid"), _hardsigmoid),
    **dict.fromkeys(("clamp", "clip"), _clamp),
    **dict.fromkeys(("max", "maximum"), _pairwise(1.0)),
    **dict.fromkeys(("min", "minimum"), _pairwise(-1.0)),
    "amax": _along(1.0),
    "amin": _along(-1.0),
    **dict.fromkeys(("MaxPool1d", "max_pool1d"), _max_pool(1)),
    **dict.fromkeys(("MaxPool2d", "max_pool2d"), _max_pool(2)),
    "PiecewiseActivation": _splines,
}
