"""Folding: batch normalisation, scales, pools and signs behind a binary layer become one affine function of its products, or one limit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from hardgrad.bits.layers import BinaryConv2d, BinaryLayer, BinaryLinear
from hardgrad.bits.packed import Activation, PackedLinear, PackedNetwork
from hardgrad.bits.packed_conv import Convolution, PackedConvNetwork
from hardgrad.core.errors import HardenError

Floats = NDArray[np.float64]
LEFT_OUT = (nn.Dropout, nn.Dropout2d, nn.Identity)
ELSEWHERE = "hardgrad.harden() replaces the layers inside any other module."


@dataclass
class FoldedLayer:
    """One binary layer with the affine function of its units: factor * product + offset, then the activation.

    `centre` is where that function is 0 as a product, kept apart because it rounds less than -offset / factor. A convolution has a place
    for its kernel; the largest product of a window of its pool is what the function takes. `places` are the pixels that a layer behind
    convolutions takes, 0 for one that is not flattened.
    """

    signs: Floats
    binary_input: bool
    factor: Floats
    offset: Floats
    centre: Floats
    activation: Activation = "identity"
    normalised: bool = False
    place: Convolution | None = None
    places: int = 0

    @classmethod
    def of(cls, layer: BinaryLayer, signs: NDArray[Any]) -> FoldedLayer:
        """Return a layer without what follows it; signs are its weights [units, inputs] in the order of the packed ones."""
        units = len(signs)
        scale = layer.unit_scale()
        factor = np.ones(units) if scale is None else np.broadcast_to(_numbers(scale), units).copy()
        offset = np.zeros(units) if layer.bias is None else _numbers(layer.bias)
        of_bits = layer.activation_surrogate is not None
        return cls(np.asarray(signs, np.float64), of_bits, factor, offset, _over(-offset, factor))

    def normalise(self, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
        """Put batch normalisation behind the affine function."""
        if norm.running_mean is None or norm.running_var is None:
            raise HardenError(
                "batch normalisation without running statistics has none to fold; expected track_running_stats=True."
            )
        mean, spread = _numbers(norm.running_mean), np.sqrt(_numbers(norm.running_var) + norm.eps)
        gamma = _numbers(norm.weight) if norm.affine else np.ones_like(mean)
        beta = _numbers(norm.bias) if norm.affine else np.zeros_like(mean)
        self.centre = _over(mean - self.offset - _over(beta * spread, gamma), self.factor)
        self.factor = self.factor * gamma / spread
        self.offset = (self.offset - mean) * gamma / spread + beta
        self.normalised = True

    def pool(self, module: nn.MaxPool2d) -> None:
        """Put a pool behind the affine function.

        Its maximum is that of the products where the function rises. Where it falls the unit is turned round first: the same function of
        the products with negated weights.
        """
        assert self.place is not None
        turned = np.where(self.factor < 0, -1.0, 1.0)
        self.signs, self.factor, self.centre = (
            self.signs * turned[:, None],
            self.factor * turned,
            self.centre * turned,
        )
        kernel, stride = _pair(module.kernel_size), _pair(module.stride)
        self.place = replace(self.place, pool=kernel, pool_stride=stride)

    def limits(self, of_bits: bool) -> tuple[NDArray[Any], NDArray[np.int8]]:
        """Return threshold and direction [units] of the sign of the affine function: bit 1 where it is at least 0."""
        direction = np.where(self.factor < 0, -1, 1).astype(np.int8)
        limit = self.centre
        if of_bits:
            limit = np.where(direction > 0, np.ceil(limit), np.floor(limit))
        never = np.where(self.offset >= 0, -np.inf, np.inf)  # a unit without a factor is always on, or never
        limit = np.where(self.factor == 0, never, limit)
        if not of_bits:
            return limit.astype(np.float64), direction
        beyond = self.signs.shape[1] + 1
        return limit.clip(-beyond, beyond).astype(np.int32), direction


def packed_network(modules: list[nn.Module]) -> PackedNetwork:
    """Return the packed network of modules in a row; raises `HardenError` where they are not as `BinaryNetwork` says."""
    folded = fold(modules)
    sign = [layer.activation == "sign" for layer in folded]
    bits = [folded[0].binary_input, *sign[:-1]]
    limits = [layer.limits(b) for layer, s, b in zip(folded, sign, bits, strict=True) if s]
    others = [layer for layer, s in zip(folded, sign, strict=True) if not s]
    convolutions = tuple(layer.place for layer in folded if layer.place is not None)
    channels = folded[0].signs.shape[1] // (convolutions[0].area if convolutions else 1)
    parts: dict[str, Any] = {
        "words": np.concatenate([PackedLinear.of(layer.signs).words.reshape(-1) for layer in folded]),
        "threshold": _joined([limit for limit, _ in limits if limit.dtype == np.int32], np.int32),
        "cut": _joined([limit for limit, _ in limits if limit.dtype == np.float64], np.float64),
        "direction": _joined([direction for _, direction in limits], np.int8),
        "scale": _joined([layer.factor for layer in others], np.float32),
        "shift": _joined([layer.offset for layer in others], np.float32),
        "widths": (channels, *(len(layer.factor) for layer in folded)),
        "activations": tuple(layer.activation for layer in folded),
        "binary_input": folded[0].binary_input,
    }
    if not convolutions:
        return PackedNetwork(**parts)
    return PackedConvNetwork(**parts, convolutions=convolutions, places=folded[len(convolutions)].places)


def fold(modules: list[nn.Module]) -> list[FoldedLayer]:
    """Return the folded layers of modules in a row; raises `HardenError` where they are not as `BinaryNetwork` says."""
    folded: list[FoldedLayer] = []
    flat = False
    for number, module in enumerate(modules):
        last = folded[-1] if folded else None
        image = last is not None and last.place is not None and not flat
        if isinstance(module, BinaryConv2d) and (last is None or image):
            _take_signs(last, module, number)
            folded.append(_convolution(module, number))
        elif isinstance(module, BinaryLinear) and not image:
            _take_signs(last, module, number)
            folded.append(_linear(module, last if flat else None, number))
            flat = False
        elif isinstance(module, nn.Flatten) and image and (module.start_dim, module.end_dim) == (1, -1):
            flat = True
        elif last is not None and not flat and _follows(module, last):
            _put_behind(module, last)
        elif not isinstance(module, LEFT_OUT):
            raise HardenError(
                f"module {number} of a BinaryNetwork is a {type(module).__name__} out of place; expected BinaryLinear, each perhaps with "
                "BatchNorm1d and then ReLU, or BinaryConv2d before them, each perhaps with BatchNorm2d, ReLU and MaxPool2d without "
                f"padding, the last with Flatten. {ELSEWHERE}"
            )
    _check(folded)
    return folded


def _follows(module: nn.Module, last: FoldedLayer) -> bool:
    """Whether a module may stand behind what a layer is so far."""
    if isinstance(module, nn.ReLU):
        return last.activation == "identity"
    if isinstance(module, nn.BatchNorm1d if last.place is None else nn.BatchNorm2d):
        return last.activation == "identity" and not last.normalised
    if isinstance(module, nn.MaxPool2d) and last.place is not None:
        plain = not module.ceil_mode and not module.return_indices
        whole = _pair(module.padding) == (0, 0) and _pair(module.dilation) == (1, 1)
        return plain and whole and last.place.pool == last.place.pool_stride == (1, 1)
    return False


def _put_behind(module: nn.Module, last: FoldedLayer) -> None:
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        last.normalise(module)
    elif isinstance(module, nn.MaxPool2d):
        last.pool(module)
    else:
        last.activation = "relu"


def _take_signs(last: FoldedLayer | None, layer: BinaryLayer, number: int) -> None:
    """Fold the signs that a layer takes of its inputs into the layer before it."""
    surrogate = layer.activation_surrogate
    if surrogate is None:
        return
    if surrogate == "sine" or getattr(surrogate, "name", "") == "sine":
        raise HardenError(
            f"module {number} takes the sign of a sine of its inputs, which is no threshold; use it for weights."
        )
    if last is not None and last.activation != "identity":
        raise HardenError(
            f"module {number} takes signs of what a {last.activation} gives, which are all +1; leave the {last.activation} out."
        )
    if last is not None:
        last.activation = "sign"


def _convolution(layer: BinaryConv2d, number: int) -> FoldedLayer:
    """A convolution with its weights in the order of kernel rows, columns and channels."""
    if layer.place["groups"] != 1:
        raise HardenError(
            f"module {number} is a convolution in {layer.place['groups']} groups; a packed one has groups=1. {ELSEWHERE}"
        )
    signs = layer.signs().cpu().numpy()
    kernel, stride, dilation = signs.shape[2:], _pair(layer.place["stride"]), _pair(layer.place["dilation"])
    folded = FoldedLayer.of(layer, np.moveaxis(signs, 1, -1).reshape(len(signs), -1))
    folded.place = Convolution(kernel, stride, dilation, _borders(layer.place["padding"], kernel, dilation))
    return folded


def _borders(padding: Any, kernel: tuple[int, int], dilation: tuple[int, int]) -> tuple[int, int, int, int]:
    """Pixels above, below, left and right; for "same" the odd one is below and on the right, as in torch."""
    if padding == "same":
        around = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return around[0] // 2, around[0] - around[0] // 2, around[1] // 2, around[1] - around[1] // 2
    rows, columns = (0, 0) if padding == "valid" else _pair(padding)
    return rows, rows, columns, columns


def _linear(layer: BinaryLinear, image: FoldedLayer | None, number: int) -> FoldedLayer:
    """A linear layer; behind convolutions its weights go from torch's order, place by place for a unit, to unit by unit for a place."""
    signs = layer.signs().cpu().numpy()
    if image is None:
        return FoldedLayer.of(layer, signs)
    units = len(image.factor)
    places, rest = divmod(layer.in_features, units)
    if rest:
        raise HardenError(
            f"module {number} takes {layer.in_features} numbers of a flattened image of {units} channels; expected a multiple of {units}."
        )
    folded = FoldedLayer.of(layer, signs.reshape(-1, units, places).swapaxes(1, 2).reshape(len(signs), -1))
    folded.places = places
    return folded


def _check(folded: list[FoldedLayer]) -> None:
    if not folded:
        raise HardenError("a BinaryNetwork without a binary layer has nothing to pack.")
    if folded[-1].place is not None:
        raise HardenError(
            "a BinaryNetwork ends in a convolution; expected Flatten and a BinaryLinear behind it."
        )
    for layer in folded:
        if not (np.isfinite(layer.factor).all() and np.isfinite(layer.offset).all()):
            raise HardenError(
                "a layer has a scale or a shift that is not finite: training diverged. Lower the learning rate."
            )


def _pair(size: Any) -> tuple[int, int]:
    rows, columns = (size, size) if isinstance(size, int) else size
    return rows, columns


def _numbers(tensor: Tensor) -> Floats:
    return tensor.detach().cpu().double().numpy()


def _over(above: Floats, below: Floats) -> Floats:
    """Divide; 0 where there is nothing to divide by, which `limits` treats by itself."""
    return np.divide(above, below, out=np.zeros_like(above), where=below != 0)


def _joined(parts: list[NDArray[Any]], dtype: type) -> NDArray[Any]:
    return np.concatenate([np.empty(0, dtype), *(part.astype(dtype) for part in parts)])
