"""PackedConvNetwork: convolutions of bits in front of a packed network, as an artifact. Never imports torch.

A convolution is a `PackedLinear` on patches: the bits under the kernel, packed in words, at every place. How a trained network becomes one
is `hardgrad.bits.folding`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.bits.packed import LARGEST, MOST, PackedNetwork
from hardgrad.core.bit_words import pack_bits
from hardgrad.core.errors import ArtifactError, InputError

Floats = NDArray[np.float64]
Bits = NDArray[np.bool_]
Pair = tuple[int, int]
LONGEST = 4096
"""Most pixels of a kernel's side, a step or a border."""
PATCH_NUMBERS = 1 << 22
"""Numbers of all patches that are made at once, about."""


@dataclass(frozen=True)
class Convolution:
    """Where the kernel of a convolution goes, and the maximum that is taken of its products afterwards.

    Parameters
    ----------
    kernel, stride, dilation : rows and columns, as in torch.nn.Conv2d.
    padding : pixels above, below, left and right that are no bits: what the kernel has there counts as 0.
    pool, pool_stride : size and steps of the window whose largest product is taken; (1, 1) for none.

    Examples
    --------
    >>> Convolution((3, 3), padding=(1, 1, 1, 1), pool=(2, 2), pool_stride=(2, 2)).places((8, 9))
    (4, 4)
    """

    kernel: Pair
    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    pool: Pair = (1, 1)
    pool_stride: Pair = (1, 1)

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            sizes, least = tuple(value), 0 if name == "padding" else 1
            object.__setattr__(self, name, sizes)  # a file has lists
            whole = all(type(size) is int and least <= size <= LONGEST for size in sizes)
            if not whole or len(sizes) != (4 if name == "padding" else 2):
                raise ArtifactError(
                    f"a convolution has {name}={value!r}; expected whole numbers from {least} to {LONGEST}."
                )

    @property
    def area(self) -> int:
        """Pixels under the kernel."""
        return self.kernel[0] * self.kernel[1]

    def kernel_places(self, image: Pair) -> Pair:
        """Return how many rows and columns of places the kernel has in an image of so many; below 1 where it is too small."""
        padded = image[0] + sum(self.padding[:2]), image[1] + sum(self.padding[2:])
        return _windows(padded, self.kernel, self.stride, self.dilation)

    def places(self, image: Pair) -> Pair:
        """Return rows and columns of what is left of an image of so many after the pool; below 1 where it is too small."""
        return _windows(self.kernel_places(image), self.pool, self.pool_stride)

    def patches(self, images: NDArray[Any]) -> NDArray[Any]:
        """Return what is under the kernel at every place, [n, rows, columns, area * channels], of images [n, H, W, channels]."""
        top, bottom, left, right = self.padding
        padded = np.pad(images, ((0, 0), (top, bottom), (left, right), (0, 0)))
        taps = np.stack(_taps(padded, self.kernel, self.stride, self.dilation), axis=3)
        return taps.reshape(*taps.shape[:3], -1)

    def pooled(self, products: NDArray[Any]) -> NDArray[Any]:
        """Return the largest products of each window, of products [n, rows, columns, units]."""
        if self.pool == self.pool_stride == (1, 1):
            return products
        return np.asarray(np.maximum.reduce(_taps(products, self.pool, self.pool_stride)))


def _windows(size: Pair, kernel: Pair, stride: Pair, dilation: Pair = (1, 1)) -> Pair:
    rows, columns = (
        (n - d * (k - 1) - 1) // s + 1 for n, k, s, d in zip(size, kernel, stride, dilation, strict=True)
    )
    return rows, columns


def _taps(images: NDArray[Any], kernel: Pair, stride: Pair, dilation: Pair = (1, 1)) -> list[NDArray[Any]]:
    """For each pixel of a kernel, row by row, what it sees at all places, [n, rows, columns, channels]."""
    rows, columns = _windows(images.shape[1:3], kernel, stride, dilation)
    return [
        images[:, i : i + stride[0] * (rows - 1) + 1 : stride[0], j : j + stride[1] * (columns - 1) + 1 : stride[1]]
        for i in range(0, kernel[0] * dilation[0], dilation[0])
        for j in range(0, kernel[1] * dilation[1], dilation[1])
    ]  # fmt: skip


@dataclass(frozen=True, eq=False, kw_only=True)
class PackedConvNetwork(PackedNetwork, kind="packed-conv-network"):
    """An exact network of convolutions and then of layers, with weights of one bit; for images [n, channels, H, W], as torch has them.

    Padding is with 0, which is no bit: under a border the product counts the pixels of the image alone. What follows a product is as in
    `PackedNetwork`, at every place of the image; a pool takes the largest product of a window first.

    Parameters
    ----------
    words, threshold, cut, direction, scale, shift, activations, binary_input : as in `PackedNetwork`. The weights of a unit of a
        convolution are those of kernel rows, columns and channels, the channels changing fastest.
    widths : channels of the images, units of each convolution, units of each layer.
    convolutions : where their kernels go, in order.
    places : pixels that the last convolution leaves. The layer after it takes its units at all of them, the units changing fastest.

    Raises
    ------
    ArtifactError : arrays that do not fit together.

    Examples
    --------
    >>> edge = PackedConvNetwork(
    ...     words=np.array([0b01, 0b111], np.uint64), threshold=np.array([2], np.int32), cut=np.empty(0), direction=np.array([1], np.int8),
    ...     scale=np.array([1.0], np.float32), shift=np.array([0.0], np.float32), widths=(1, 1, 1), activations=("sign", "identity"),
    ...     binary_input=True, convolutions=(Convolution((1, 2)),), places=3)
    >>> edge.scores([[[[1.0, -1.0, -1.0, -1.0]]]]).tolist()  # a fall from + to - in the first of three places
    [[-1.0]]
    """

    convolutions: tuple[Convolution, ...]
    places: int

    def _check_shape(self) -> None:
        object.__setattr__(self, "convolutions", tuple(self.convolutions))
        super()._check_shape()
        fine = all(isinstance(found, Convolution) for found in self.convolutions)
        if not fine or not 1 <= len(self.convolutions) < len(self.activations):
            raise ArtifactError(
                f"a packed network of {len(self.activations)} layers has {len(self.convolutions)} convolutions; expected at least 1, and a "
                "layer behind them."
            )
        if type(self.places) is not int or self.places < 1 or max(self.fan_ins) > MOST:
            raise ArtifactError(
                f"a packed network has places={self.places!r} and {self.fan_ins} inputs of a unit; expected 1 to {MOST:,}."
            )

    @property
    def fan_ins(self) -> tuple[int, ...]:
        """Weights of a unit of each layer."""
        areas = [found.area for found in self.convolutions] + [self.places]
        areas += [1] * (len(self.widths) - 1 - len(areas))
        return tuple(width * area for width, area in zip(self.widths[:-1], areas, strict=True))

    # --- answers -------------------------------------------------------------------------------------------------------------
    def _rows(self, X: Any) -> Floats:
        images = np.asarray(X, np.float64)
        fits = images.ndim == 4 and images.shape[1] == self.widths[0]
        if not fits or not (np.abs(images) <= LARGEST).all():
            raise InputError(
                f"a packed network got images of shape {images.shape}; expected (n, {self.widths[0]}, height, width), numbers within "
                f"{LARGEST:g} of 0."
            )
        size: Pair = images.shape[2:]
        for found in self.convolutions:
            size = found.places(size)
            if min(size) < 1:
                raise InputError(
                    f"images of {images.shape[2:]} pixels are smaller than a kernel of the network."
                )
        if size[0] * size[1] != self.places:
            raise InputError(
                f"images of {images.shape[2:]} pixels have {size[0]} x {size[1]} places behind the convolutions; expected {self.places}."
            )
        return np.moveaxis(images, 1, -1)

    def _rows_at_once(self, rows: Floats) -> int:
        largest, size = 1, (rows.shape[1], rows.shape[2])
        for number, found in enumerate(self.convolutions):
            height, width = found.kernel_places(size)
            largest = max(largest, height * width * max(self.fan_ins[number], self.widths[number + 1]))
            size = found.places(size)
        return max(1, PATCH_NUMBERS // largest)

    def _product(self, number: int, x: Floats, bits: Bits | None, engine: str) -> NDArray[Any]:
        if number < len(self.convolutions):
            return self._convolved(number, x if bits is None else bits, engine)
        if number == len(self.convolutions):
            x, bits = x.reshape(len(x), -1), None if bits is None else bits.reshape(len(bits), -1)
        return super()._product(number, x, bits, engine)

    def _convolved(self, number: int, images: NDArray[Any], engine: str) -> NDArray[Any]:
        """The products of a convolution, [n, rows, columns, units], after its pool."""
        place, layer = self.convolutions[number], self.layers[number]
        patches = place.patches(images)
        flat = patches.reshape(-1, patches.shape[-1])
        if self.takes_bits[number]:
            products: NDArray[Any] = layer.dot_bits(pack_bits(flat), engine=engine)
        else:
            products = layer.dot(flat, engine=engine)
        products = products.reshape(*patches.shape[:3], -1)
        if self.takes_bits[number] and any(place.padding):
            products += self._under_borders(number, images.shape[1:])
        return place.pooled(products)

    def _under_borders(self, number: int, image: tuple[int, ...]) -> NDArray[np.int32]:
        """What turns products that take a border for bits 0, which are -1, into those that leave it out: int32 [rows, columns, units]."""
        place = self.convolutions[number]
        outside = ~place.patches(np.ones((1, *image), bool))[0]
        found = np.zeros((*outside.shape[:2], self.widths[number + 1]), np.int32)
        touched = outside.any(axis=-1)
        found[touched] = outside[touched] @ self.layers[number].signs
        return found

    # --- on disk -------------------------------------------------------------------------------------------------------------
    def metadata_to_json(self) -> dict[str, Any]:
        """Return widths, activations and places of kernels in a form that `json` can write."""
        return {**super().metadata_to_json(), "convolutions": [asdict(found) for found in self.convolutions]}

    @classmethod
    def metadata_from_json(cls, metadata: dict[str, Any]) -> dict[str, Any]:
        """Invert `metadata_to_json`."""
        return {**metadata, "convolutions": tuple(Convolution(**found) for found in metadata["convolutions"])}
