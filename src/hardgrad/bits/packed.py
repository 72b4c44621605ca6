"""PackedNetwork: a network of one-bit weights as an artifact, 64 weights a word, with integer thresholds. Never imports torch.

`PackedLinear` is one layer of it. How a trained network is folded into one is `hardgrad.bits.folding`; the compiled loops are
`hardgrad.bits.packed_kernels`; for tables, with columns and classes, there is `hardgrad.bits.packed_classifier`, and for images
`hardgrad.bits.packed_conv`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.artifact import Artifact
from hardgrad.core.bit_words import pack_bits, unpack_bits, word_count
from hardgrad.core.errors import ArtifactError, InputError, ParameterError

Floats = NDArray[np.float64]
Words = NDArray[np.uint64]
Activation = Literal["sign", "relu", "identity"]
ACTIVATIONS: tuple[Activation, ...] = ("sign", "relu", "identity")
ENGINES = ("numpy", "numba")
MOST = 2**24
"""Most inputs or units of a layer: what a sum of bits is, float32 can say."""
LARGEST = 1e150
"""Largest input, in absolute value: sums of larger ones could overflow."""
BLOCK_ROWS = 4096


@dataclass(frozen=True, eq=False)
class PackedLinear:
    """The weights of one layer, a bit each: 1 stands for +1, 0 for -1.

    Parameters
    ----------
    words : uint64 [units, ceil(inputs / 64)]; weight i of a unit is bit i % 64 of its word i // 64, bits beyond the inputs are 0.
    inputs : number of inputs.

    Examples
    --------
    >>> layer = PackedLinear.of([[1.0, -1.0, -1.0]])
    >>> layer.words.tolist(), layer.dot([[5.0, 1.0, 0.5]]).tolist()
    ([[1]], [[3.5]])
    >>> layer.dot_bits(pack_bits([[1, 0, 1]])).tolist()
    [[1]]
    """

    words: Words
    inputs: int

    @classmethod
    def of(cls, signs: Any) -> PackedLinear:
        """Return the layer of signs [units, inputs]: negative numbers are -1, all others +1."""
        array = np.asarray(signs)
        return cls(pack_bits(array >= 0), array.shape[1])

    @cached_property
    def signs(self) -> Floats:
        """The weights as -1.0 and +1.0, [inputs, units]."""
        return np.ascontiguousarray(2.0 * unpack_bits(self.words, self.inputs).T - 1.0)

    def dot_bits(self, x: Words, *, engine: str = "numpy") -> NDArray[np.int32]:
        """Return the products with rows of bits, inputs - 2 popcount(x xor w), int32 [n, units].

        Parameters
        ----------
        x : uint64 [n, words], packed as the weights are.
        engine : "numpy", the reference, or "numba", which gives the same integers.
        """
        if engine == "numba":
            from hardgrad.bits.packed_kernels import products

            return products(np.ascontiguousarray(x), self.words, self.inputs)
        differing = np.zeros((len(x), len(self.words)), np.int32)
        for word in range(x.shape[1]):
            differing += np.bitwise_count(x[:, word, None] ^ self.words[None, :, word])
        return (self.inputs - 2 * differing).astype(np.int32, copy=False)

    def dot(self, x: Any, *, engine: str = "numpy") -> Floats:
        """Return the products with rows of numbers, float64 [n, units]: additions and subtractions, in the order of the inputs.

        Parameters
        ----------
        x : [n, inputs], computed in float64. The fixed order makes a row's sum the same in any batch and engine.
        engine : as for `dot_bits`.
        """
        x = np.asarray(x, np.float64)
        if engine == "numba":
            from hardgrad.bits.packed_kernels import sums

            return sums(x, self.signs)
        total = np.zeros((len(x), len(self.words)))
        for feature in range(self.inputs):
            total += x[:, feature, None] * self.signs[feature]
        return total


@dataclass(frozen=True, eq=False, kw_only=True)
class PackedNetwork(Artifact, kind="packed-network"):
    """An exact network of layers with weights of one bit. Between layers flow bits ("sign"), or real numbers ("relu", "identity").

    A unit of a sign layer gives bit 1 where its product is at least its threshold (`direction` 1), or at most (`direction` -1). All other
    units give scale * product + shift, and its positive part for "relu".

    Parameters
    ----------
    words : uint64, the weights of all layers one after another, each as in `PackedLinear`.
    threshold : int32, one for each unit of the sign layers that take bits, in order: all there is to a circuit.
    cut : float64, the same for sign layers that take numbers.
    direction : int8, 1 or -1, for each unit of all sign layers, in order.
    scale, shift : float32, for each unit of the other layers, in order.
    widths : inputs of the first layer, then the units of each.
    activations : of each layer, "sign", "relu" or "identity". A layer after a "sign" takes bits.
    binary_input : whether the first layer takes the signs of the inputs in place of the inputs.

    Raises
    ------
    ArtifactError : arrays that do not fit together.

    Examples
    --------
    >>> nand = PackedNetwork(
    ...     words=np.array([0], np.uint64), threshold=np.array([0], np.int32), cut=np.empty(0), direction=np.array([1], np.int8),
    ...     scale=np.empty(0, np.float32), shift=np.empty(0, np.float32), widths=(2, 1), activations=("sign",), binary_input=True)
    >>> nand.scores([[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]]).tolist()
    [[-1.0], [1.0], [1.0]]
    """

    words: Words
    threshold: NDArray[np.int32]
    cut: Floats
    direction: NDArray[np.int8]
    scale: NDArray[np.float32]
    shift: NDArray[np.float32]
    widths: tuple[int, ...]
    activations: tuple[Activation, ...]
    binary_input: bool = False

    _dtypes: ClassVar[dict[str, type]] = {
        "words": np.uint64, "threshold": np.int32, "cut": np.float64, "direction": np.int8, "scale": np.float32, "shift": np.float32,
    }  # fmt: skip

    def __post_init__(self) -> None:
        for name in ("widths", "activations"):
            object.__setattr__(self, name, tuple(getattr(self, name)))  # a file has lists
        for name, dtype in self._dtypes.items():
            array = getattr(self, name)
            if not isinstance(array, np.ndarray) or array.dtype != dtype:
                raise ArtifactError(f"array {name!r} of a packed network must be {np.dtype(dtype)}.")
            if np.isnan(array).any() or (name != "cut" and not np.isfinite(array).all()):
                raise ArtifactError(f"array {name!r} of a packed network holds NaN or infinity.")
        self.freeze()
        self._check_shape()
        self._check_arrays()

    def _check_shape(self) -> None:
        whole = all(type(width) is int and 1 <= width <= MOST for width in self.widths)
        if not whole or len(self.widths) < 2:
            raise ArtifactError(
                f"a packed network has widths {self.widths!r}; expected inputs and the units of each layer."
            )
        if len(self.activations) != len(self.widths) - 1 or set(self.activations) - set(ACTIVATIONS):
            raise ArtifactError(
                f"a packed network has activations {self.activations!r} for {len(self.widths) - 1} layers; expected sign, relu or identity."
            )
        if type(self.binary_input) is not bool:
            raise ArtifactError(
                f"a packed network has binary_input={self.binary_input!r}; expected true or false."
            )

    def _check_arrays(self) -> None:
        sign = [a == "sign" for a in self.activations]
        units = np.array(self.widths[1:])
        of_bits = np.array([s and b for s, b in zip(sign, self.takes_bits, strict=True)])
        counts = {
            "threshold": units[of_bits].sum(), "cut": units[np.array(sign) & ~of_bits].sum(), "direction": units[sign].sum(),
            "scale": units[~np.array(sign)].sum(), "shift": units[~np.array(sign)].sum(),
            "words": sum(unit * word_count(n) for n, unit in zip(self.fan_ins, self.widths[1:], strict=True)),
        }  # fmt: skip
        for name, count in counts.items():
            if getattr(self, name).shape != (count,):
                raise ArtifactError(
                    f"array {name!r} of a packed network has shape {getattr(self, name).shape}, expected ({count},)."
                )
        if not np.isin(self.direction, (-1, 1)).all():
            raise ArtifactError("a direction of a packed network is neither 1 nor -1.")
        for number, layer in enumerate(self.layers):
            spare = layer.inputs % 64
            if spare and (layer.words[:, -1] >> np.uint64(spare)).any():
                raise ArtifactError(
                    f"layer {number} of a packed network has bits beyond its {layer.inputs} inputs."
                )

    # --- layers --------------------------------------------------------------------------------------------------------------
    @property
    def fan_ins(self) -> tuple[int, ...]:
        """Weights of a unit of each layer."""
        return self.widths[:-1]

    @property
    def takes_bits(self) -> tuple[bool, ...]:
        """Whether each layer takes bits: those after a sign, and the first where inputs are taken for their signs."""
        return (self.binary_input, *(a == "sign" for a in self.activations[:-1]))

    @cached_property
    def layers(self) -> tuple[PackedLinear, ...]:
        """The weights, layer by layer."""
        found, start = [], 0
        for inputs, units in zip(self.fan_ins, self.widths[1:], strict=True):
            end = start + units * word_count(inputs)
            found.append(PackedLinear(self.words[start:end].reshape(units, -1), inputs))
            start = end
        return tuple(found)

    @cached_property
    def _units(self) -> tuple[dict[str, NDArray[Any]], ...]:
        """What each layer does with its products, by the names of the arrays."""
        at = dict.fromkeys(("threshold", "cut", "direction", "scale", "shift"), 0)
        found = []
        for units, activation, bits in zip(self.widths[1:], self.activations, self.takes_bits, strict=True):
            names = (
                ("threshold" if bits else "cut", "direction") if activation == "sign" else ("scale", "shift")
            )
            found.append({name: getattr(self, name)[at[name] : at[name] + units] for name in names})
            for name in names:
                at[name] += units
        return tuple(found)

    def thresholds(self, layer: int) -> tuple[NDArray[Any], NDArray[np.int8]]:
        """Return thresholds and directions [units] of a sign layer: integers where it takes bits.

        Raises
        ------
        ParameterError : the layer has no sign.
        """
        own = self._units[layer]
        if "direction" not in own:
            raise ParameterError(
                f"layer {layer} of this network has activation {self.activations[layer]!r}; only 'sign' has thresholds."
            )
        return own["threshold" if "threshold" in own else "cut"], own["direction"]

    # --- answers -------------------------------------------------------------------------------------------------------------
    def scores(self, X: Any, *, engine: str = "numpy") -> Floats:
        """Return the outputs, float64 [n, outputs].

        Parameters
        ----------
        X : [n, inputs], numbers within 1e150 of 0, computed in float64.
        engine : "numpy", the reference, or "numba", which gives the same bits sooner.

        Raises
        ------
        InputError : another shape, NaN, or larger numbers. ParameterError : an unknown engine.
        """
        if engine not in ENGINES:
            raise ParameterError(f"scores() got engine={engine!r}; expected one of {', '.join(ENGINES)}.")
        rows = self._rows(X)
        step = self._rows_at_once(rows)
        blocks = [self._forward(rows[k : k + step], engine) for k in range(0, len(rows), step)]
        return np.concatenate(blocks) if blocks else np.empty((0, self.widths[-1]))

    def _rows(self, X: Any) -> Floats:
        """The rows as the first layer takes them."""
        rows = np.asarray(X, np.float64)
        fits = rows.ndim == 2 and rows.shape[1] == self.widths[0]
        if not fits or not (np.abs(rows) <= LARGEST).all():
            raise InputError(
                f"a packed network got rows of shape {rows.shape}; expected (n, {self.widths[0]}), numbers within {LARGEST:g} of 0."
            )
        return rows

    def _rows_at_once(self, rows: Floats) -> int:
        return BLOCK_ROWS

    def _forward(self, x: Floats, engine: str) -> Floats:
        bits = x >= 0 if self.binary_input else None
        for number, (activation, own) in enumerate(zip(self.activations, self._units, strict=True)):
            dot = self._product(number, x, bits, engine)
            if activation == "sign":
                limit = own["cut"] if bits is None else own["threshold"]
                bits = np.where(own["direction"] > 0, dot >= limit, dot <= limit)
            else:
                x, bits = own["scale"].astype(np.float64) * dot + own["shift"], None
                if activation == "relu":
                    x = np.maximum(x, 0.0)
        return x if bits is None else np.where(bits, 1.0, -1.0)

    def _product(self, number: int, x: Floats, bits: NDArray[np.bool_] | None, engine: str) -> NDArray[Any]:
        """The products of a layer with numbers x, or with bits where there are some."""
        layer = self.layers[number]
        if bits is None:
            return layer.dot(x, engine=engine)
        return layer.dot_bits(pack_bits(bits), engine=engine)

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the outputs, float64 [n, outputs] (see `scores`)."""
        return self.scores(X)
