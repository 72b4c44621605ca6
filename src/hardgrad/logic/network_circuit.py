"""A network of bits as a circuit: a unit is a count of agreeing bits and one limit. Never imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.bit_words import unpack_bits
from hardgrad.core.errors import ExportError, InputTypeError
from hardgrad.logic.adders import at_least
from hardgrad.logic.circuit import Circuit
from hardgrad.logic.circuit_build import FALSE, TRUE, NetworkBuilder
from hardgrad.logic.circuit_model import CircuitModel

if TYPE_CHECKING:
    from hardgrad.bits.packed import PackedNetwork
    from hardgrad.bits.packed_classifier import PackedClassifier

Floats = NDArray[np.float64]
Bits = NDArray[np.bool_]


def circuit_of_network(
    network: PackedNetwork, *, input_names: Sequence[str] = (), output_names: Sequence[str] = ()
) -> Circuit:
    """Return the circuit of a network of bits: input i is `x[i] >= 0`, and output j is `scores[j] >= 0`.

    The outputs of a last layer of signs are these signs. About 2 gates a weight, since units of a layer share sums; a single unit
    takes 5 (see `hardgrad.logic.adders.at_least`).

    Parameters
    ----------
    network : a `PackedNetwork` that takes the signs of its inputs, with signs between its layers.
    input_names, output_names : of the circuit.

    Raises
    ------
    ExportError : a first layer that takes numbers, "relu" or "identity" between layers; the message says what to train in place of it.
    InputTypeError : something else than a packed network.

    Examples
    --------
    >>> from hardgrad.bits.packed import PackedNetwork
    >>> majority = PackedNetwork(
    ...     words=np.array([0b111], np.uint64), threshold=np.array([1], np.int32), cut=np.empty(0), direction=np.array([1], np.int8),
    ...     scale=np.empty(0, np.float32), shift=np.empty(0, np.float32), widths=(3, 1), activations=("sign",), binary_input=True)
    >>> circuit_of_network(majority).truth_table()[:, 0].astype(int).tolist()
    [0, 0, 0, 1, 0, 1, 1, 1]
    """
    _check(network, ("packed-network", "packed-classifier"), "Circuit", "PackedNetwork")
    net = NetworkBuilder(network.widths[0])
    signals = [net.input(i) for i in range(network.widths[0])]
    for layer in range(len(network.layers)):
        signals = _units(net, network, layer, signals)
    return net.circuit(signals, input_names=input_names, output_names=output_names)


def circuit_of_classifier(network: PackedClassifier) -> CircuitModel:
    """Return the circuit model that gives the raw scores of a packed classifier, each the same float64.

    The signs of standardised features are comparisons with exact thresholds, layers of signs are gates, and the last layer counts those
    of its bits that agree with its weights. The model answers rows with infinities too, which the network refuses.

    Parameters
    ----------
    network : a `PackedClassifier` that takes the signs of its features, with signs between its layers, as
        `BinaryMLPClassifier(activation="sign", binary_input=True)` trains them.

    Raises
    ------
    ExportError : a first layer that takes numbers, "relu" or "identity" between layers; a class whose shift is lost in rounding beside its
        scale, so that counting does not give the same scores.
    InputTypeError : something else than a packed classifier.

    Examples
    --------
    >>> from hardgrad.bits import BinaryMLPClassifier
    >>> X = np.array([[0.0, 1.0], [1.0, 0.0]] * 20)
    >>> model = BinaryMLPClassifier((8,), activation="sign", binary_input=True, max_iter=20, random_state=0).fit(X, X[:, 0] > X[:, 1])
    >>> circuit = circuit_of_classifier(model.harden())
    >>> bool((circuit.predict_raw(X) == model.harden().predict_raw(X)).all())
    True
    """
    _check(network, ("packed-classifier",), "CircuitModel", "PackedClassifier")
    thresholds, kind = _thresholds(network.mean, network.factor)
    net = NetworkBuilder(network.n_features)
    signals = [
        TRUE if k == 0 else net.input(i) if k > 0 else net.complement(net.input(i))
        for i, k in enumerate(kind.tolist())
    ]
    last = len(network.layers) - 1
    for layer in range(last):
        signals = _units(net, network, layer, signals)
    if network.activations[last] == "sign":
        outputs = list(enumerate(_units(net, network, last, signals)))
        offset, scale = np.full(network.n_outputs, -1.0), np.full(network.n_outputs, 2.0)
    else:
        weights = _weights(network, last)
        outputs = [(k, s) for k, row in enumerate(weights) for s in _agreements(row, signals) if s != FALSE]
        offset, scale = _count_scores(network)
    return CircuitModel.of(
        net.circuit([signal for _, signal in outputs]), schema=network.schema, link=network.link, task=network.task,
        classes=network.classes, target=network.target, bit_feature=np.arange(network.n_features, dtype=np.int32),
        bit_threshold=thresholds, group=np.array([k for k, _ in outputs], np.int32), offset=offset, scale=scale,
    )  # fmt: skip


def _check(network: Any, kinds: tuple[str, ...], maker: str, expected: str) -> None:
    kind = getattr(network, "kind", None)
    if kind not in kinds:
        got = type(network).__name__
        raise InputTypeError(
            f"{maker}.from_network() got {got}; expected a {expected}, as harden() gives for linear layers."
        )
    if not network.binary_input:
        raise ExportError(
            "a network whose first layer takes real numbers has no circuit. Train one that takes the signs of its inputs: "
            "BinaryMLPClassifier(activation='sign', binary_input=True), or BinaryNetwork.mlp(..., input_surrogate='clipped')."
        )
    last = len(network.activations) - 1
    for number, activation in enumerate(network.activations):
        if activation == "relu" or (activation == "identity" and number < last):
            raise ExportError(
                f"layer {number} of the network has activation {activation!r}, which gives numbers; between the layers of a circuit flow "
                "bits. Train with signs: BinaryMLPClassifier(activation='sign'), or BinaryNetwork.mlp(..., activation_surrogate='clipped')."
            )


# --- units -------------------------------------------------------------------------------------------------------------------------
def _weights(network: PackedNetwork, layer: int) -> Bits:
    """The weights of a layer as bits [units, inputs]."""
    packed = network.layers[layer]
    return unpack_bits(packed.words, packed.inputs)


def _agreements(weights: Bits, signals: Sequence[int]) -> list[int]:
    """For each input of a unit, the signal that says whether it agrees with the weight."""
    return [signal ^ (not weight) for weight, signal in zip(weights.tolist(), signals, strict=True)]


def _products(inputs: int) -> NDArray[np.int32]:
    """The products of a unit where 0, 1, .. all of its inputs agree with the weights, int32 [inputs + 1]."""
    return 2 * np.arange(inputs + 1, dtype=np.int32) - np.int32(inputs)


def _units(net: NetworkBuilder, network: PackedNetwork, layer: int, signals: Sequence[int]) -> list[int]:
    """The signals that say which units of a layer give at least 0."""
    products = _products(len(signals))
    found = []
    for unit, weights in enumerate(_weights(network, layer)):
        if network.activations[layer] == "sign":
            limit, direction = (array[unit] for array in network.thresholds(layer))
            on = products >= limit if direction > 0 else products <= limit
        else:
            on = _scores(network, unit, products) >= 0
        enough, rises = int(on.sum()), bool(on[-1])
        agree = _agreements(weights, signals)
        if rises:
            found.append(at_least(net, agree, len(products) - enough))
        else:
            found.append(net.complement(at_least(net, agree, enough)))
    return found


def _scores(network: PackedNetwork, unit: int, products: NDArray[np.int32]) -> Floats:
    """The scores of an output of the last layer for its products, computed as the network does."""
    own = -network.widths[-1] + unit
    return np.asarray(network.scale[own].astype(np.float64) * products + network.shift[own])


def _count_scores(network: PackedClassifier) -> tuple[Floats, Floats]:
    """Offset and scale of each class, by which the number of agreeing bits becomes the score."""
    products = _products(network.widths[-2])
    counts = np.arange(len(products))
    scale = network.scale[-network.n_outputs :].astype(np.float64)
    offset = network.shift[-network.n_outputs :] + scale * products[0]
    for unit, label in enumerate(network.classes):
        if not (offset[unit] + 2.0 * scale[unit] * counts == _scores(network, unit, products)).all():
            raise ExportError(
                f"class {label!r} adds {network.shift[unit - network.n_outputs]:g} to products times {scale[unit]:g}, which a count would "
                "round away. Set that number of the array `shift` to 0, which changes the scores as little."
            )
    return offset, 2.0 * scale


# --- inputs ------------------------------------------------------------------------------------------------------------------------
def _thresholds(mean: Floats, factor: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """Where (x - mean) * factor >= 0 changes, as computed in float64.

    Returns
    -------
    threshold : float64 [features].
    kind : int64 [features], 1 where that holds for x > threshold, -1 where it holds for all others, 0 where it always holds.
    """
    kind = np.sign(factor).astype(np.int64)
    largest = np.full(len(mean), np.finfo(np.float64).max).view(np.int64)
    low, high = (
        -largest,
        largest,
    )  # the comparison is false at the lower end, and true at the upper, where it rises
    for _ in range(64):
        middle = (low & high) + ((low ^ high) >> 1)
        with np.errstate(over="ignore"):
            holds = (_number(middle) - mean) * factor >= 0
        beyond = holds == (kind > 0)
        low, high = np.where(beyond, low, middle), np.where(beyond, middle, high)
    return np.where(kind == 0, 0.0, _number(low)), kind


def _number(place: NDArray[np.int64]) -> Floats:
    """The float64 numbers at places on the line of all of them, 0 at place 0."""
    size = np.abs(place).view(np.float64)
    return np.where(place < 0, -size, size)
