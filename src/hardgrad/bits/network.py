"""BinaryNetwork: binary layers in a row, hardened to one packed artifact; batch normalisation is folded into thresholds and scales."""

from __future__ import annotations

import copy
import itertools
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hardgrad.bits.layers import BinaryLinear, binary_layers, param_groups
from hardgrad.bits.packed import Activation, PackedLinear, PackedNetwork
from hardgrad.core.errors import HardenError, InputError
from hardgrad.core.gap import GapReport
from hardgrad.core.mode import Mode
from hardgrad.core.mode import mode as in_mode
from hardgrad.core.relaxed import Relaxed

Floats = NDArray[np.float64]
EPS = 1e-4
CALIBRATION_ROWS = 16_384


class BinaryNetwork(Relaxed):
    """Layers in a row that harden to a `PackedNetwork`: `BinaryLinear`, each perhaps with torch.nn.BatchNorm1d and then torch.nn.ReLU.

    Parameters
    ----------
    layers : the modules. The signs of the inputs of a `BinaryLinear` with an `activation_surrogate` are folded into the layer before it;
        torch.nn.Dropout and torch.nn.Identity are left out when hardened.

    Raises
    ------
    HardenError : when hardened, other modules or another order; stochastic weights without rows to calibrate with.

    Examples
    --------
    >>> network = BinaryNetwork.mlp((4, 8, 3), activation_surrogate="clipped", generator=torch.Generator().manual_seed(0))
    >>> packed = network.eval().harden()
    >>> packed.widths, packed.activations, packed.thresholds(0)[0].dtype.name
    ((4, 8, 3), ('sign', 'identity'), 'float64')
    >>> x = torch.randn(100, 4)
    >>> bool((packed.predict(x).argmax(1) == network(x).argmax(1).numpy()).all())
    True
    """

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    @classmethod
    def mlp(
        cls,
        widths: tuple[int, ...],
        *,
        activation_surrogate: Any = None,
        input_surrogate: Any = None,
        layer: type[BinaryLinear] = BinaryLinear,
        **options: Any,
    ) -> BinaryNetwork:
        """Return linear layers with batch normalisation after each, the last one too.

        Parameters
        ----------
        widths : inputs, units of each layer, outputs.
        activation_surrogate : None for ReLU between the layers; otherwise signs with this backward.
        input_surrogate : None for a first layer that takes numbers; otherwise it takes their signs, with this backward. With signs
            everywhere the network has a circuit (`hardgrad.logic.Circuit.from_network`).
        layer : class of the layers. options : for each of them, as for `BinaryLinear`.
        """
        parts: list[nn.Module] = []
        for number, (inputs, units) in enumerate(itertools.pairwise(widths)):
            signs = activation_surrogate if number else input_surrogate
            parts += [layer(inputs, units, bias=False, activation_surrogate=signs, **options)]
            parts += [nn.BatchNorm1d(units, eps=EPS)]
            if activation_surrogate is None and number < len(widths) - 2:
                parts += [nn.ReLU()]
        return cls(*parts)

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs, [n, outputs]."""
        outputs: Tensor = self.layers(x)
        return outputs

    @property
    def is_stochastic(self) -> bool:
        """Whether weights are drawn while training."""
        return any(layer.sampling == "stochastic" for layer in binary_layers(self))

    def param_groups(
        self, lr: float, *, optimizer: str = "adam", weight_decay: float = 0.0
    ) -> list[dict[str, Any]]:
        """Return groups for an optimiser (see `hardgrad.bits.param_groups`)."""
        return param_groups(self, lr, optimizer=optimizer, weight_decay=weight_decay)

    def calibrated(self, X: Tensor, mode: Mode = "hard") -> BinaryNetwork:
        """Return a copy whose batch normalisation has the statistics that its layers have on rows X in one mode.

        Parameters
        ----------
        X : rows that were trained on, [n, inputs].
        mode : "hard" for the exact bits, "soft" for the real weights.
        """
        network = copy.deepcopy(self)
        estimate_batch_norm(network, X, mode)
        return network

    def harden(self, calibration: Tensor | None = None) -> PackedNetwork:
        """Return the packed network.

        Parameters
        ----------
        calibration : rows that were trained on, [n, inputs]. Batch normalisation then gets the statistics that the exact bits have on them.
            Needed where weights were drawn while training: their statistics are those of the draws, and wrong for the bits.
        """
        if calibration is not None:
            return self.calibrated(calibration).harden_as_is()
        if self.is_stochastic and any(isinstance(m, nn.BatchNorm1d) for m in self.modules()):
            raise HardenError(
                "a network with stochastic weights has batch statistics of its draws, which are wrong for the bits; call "
                "harden(calibration=X) with rows X that it was trained on."
            )
        return self.harden_as_is()

    def harden_as_is(self) -> PackedNetwork:
        """Return the packed network with the batch statistics that there are."""
        folded = fold(list(self.layers))
        sign = [layer.activation == "sign" for layer in folded]
        bits = [folded[0].binary_input, *sign[:-1]]
        limits = [layer.limits(b) for layer, s, b in zip(folded, sign, bits, strict=True) if s]
        others = [layer for layer, s in zip(folded, sign, strict=True) if not s]
        return PackedNetwork(
            words=np.concatenate([layer.weights.words.reshape(-1) for layer in folded]),
            threshold=_joined([limit for limit, _ in limits if limit.dtype == np.int32], np.int32),
            cut=_joined([limit for limit, _ in limits if limit.dtype == np.float64], np.float64),
            direction=_joined([direction for _, direction in limits], np.int8),
            scale=_joined([layer.factor for layer in others], np.float32),
            shift=_joined([layer.offset for layer in others], np.float32),
            widths=(folded[0].weights.inputs, *(len(layer.factor) for layer in folded)),
            activations=tuple(layer.activation for layer in folded),
            binary_input=folded[0].binary_input,
        )


def _joined(parts: list[NDArray[Any]], dtype: type) -> NDArray[Any]:
    return np.concatenate([np.empty(0, dtype), *(part.astype(dtype) for part in parts)])


def estimate_batch_norm(network: nn.Module, X: Tensor, mode: Mode = "hard") -> None:
    """Give the batch normalisation in a network, in place, the statistics that its layers have on rows X in one mode.

    Parameters
    ----------
    network : any module; it is in evaluation mode afterwards.
    X : [n, inputs]; at least 2 rows, taken in batches of 16,384.
    mode : of the layers, "hard" or "soft".

    Raises
    ------
    InputError : fewer than 2 rows.
    """
    if len(X) < 2:
        raise InputError(
            f"estimate_batch_norm got {len(X)} rows; expected at least 2 to estimate a variance from."
        )
    network.eval()
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over batches
        norm.train()
    with torch.no_grad(), in_mode(mode):
        for rows in X.tensor_split(-(-len(X) // CALIBRATION_ROWS)):
            network(rows)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


# --- folding ---------------------------------------------------------------------------------------------------------------------
@dataclass
class FoldedLayer:
    """One binary layer with the affine function of its units: factor * product + offset, then the activation.

    `centre` is where that function is 0 as a product, kept apart because it rounds less than -offset / factor.
    """

    weights: PackedLinear
    binary_input: bool
    factor: Floats
    offset: Floats
    centre: Floats
    activation: Activation = "identity"
    normalised: bool = field(default=False)

    @classmethod
    def of(cls, layer: BinaryLinear) -> FoldedLayer:
        """Return a layer without what follows it."""
        units = layer.out_features
        scale = layer.unit_scale()
        factor = np.ones(units) if scale is None else np.broadcast_to(_numbers(scale), units).copy()
        offset = np.zeros(units) if layer.bias is None else _numbers(layer.bias)
        signs = layer.signs().cpu().numpy()
        return cls(
            PackedLinear.of(signs),
            layer.activation_surrogate is not None,
            factor,
            offset,
            _over(-offset, factor),
        )

    def normalise(self, norm: nn.BatchNorm1d) -> None:
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
        beyond = self.weights.inputs + 1
        return limit.clip(-beyond, beyond).astype(np.int32), direction


def fold(modules: list[nn.Module]) -> list[FoldedLayer]:
    """Return the folded layers of modules in a row; raises `HardenError` where they are not as `BinaryNetwork` says."""
    folded: list[FoldedLayer] = []
    for number, module in enumerate(modules):
        last = folded[-1] if folded else None
        if isinstance(module, BinaryLinear):
            if module.activation_surrogate is not None:
                _check_sign(module, number)
            if last is not None and module.activation_surrogate is not None:
                if last.activation != "identity":
                    raise HardenError(
                        f"module {number} takes signs of what a {last.activation} gives, which are all +1; leave the {last.activation} out."
                    )
                last.activation = "sign"
            folded.append(FoldedLayer.of(module))
        elif (
            isinstance(module, nn.BatchNorm1d)
            and last is not None
            and last.activation == "identity"
            and not last.normalised
        ):
            last.normalise(module)
        elif isinstance(module, nn.ReLU) and last is not None and last.activation == "identity":
            last.activation = "relu"
        elif not isinstance(module, nn.Dropout | nn.Identity):
            raise HardenError(
                f"module {number} of a BinaryNetwork is a {type(module).__name__} out of place; expected BinaryLinear, each perhaps with "
                "BatchNorm1d and then ReLU. hardgrad.harden() replaces the layers inside any other module."
            )
    if not folded:
        raise HardenError("a BinaryNetwork without a BinaryLinear has nothing to pack.")
    for layer in folded:
        if not (np.isfinite(layer.factor).all() and np.isfinite(layer.offset).all()):
            raise HardenError(
                "a layer has a scale or a shift that is not finite: training diverged. Lower the learning rate."
            )
    return folded


def _check_sign(layer: BinaryLinear, number: int) -> None:
    surrogate = layer.activation_surrogate
    if surrogate == "sine" or getattr(surrogate, "name", "") == "sine":
        raise HardenError(
            f"module {number} takes the sign of a sine of its inputs, which is no threshold; use it for weights."
        )


def _numbers(tensor: Tensor) -> Floats:
    return tensor.detach().cpu().double().numpy()


def _over(above: Floats, below: Floats) -> Floats:
    """Divide; 0 where there is nothing to divide by, which `limits` treats by itself."""
    return np.divide(above, below, out=np.zeros_like(above), where=below != 0)


# --- gap -------------------------------------------------------------------------------------------------------------------------
def measure_gap(
    network: BinaryNetwork, packed: Any, calibration: Tensor, X: Tensor, y: NDArray[np.int64]
) -> GapReport:
    """Return what one-bit weights cost: accuracy with the real weights against that of the packed network.

    Parameters
    ----------
    network : trained. packed : its `PackedNetwork`.
    calibration : training rows; the real weights get batch statistics of their own from them.
    X, y : rows [n, inputs] and classes [n], as numbers of outputs.

    Returns
    -------
    report : accuracies, agreement, and the largest difference of the two models' class probabilities. The detail has "bits_differ", rows on
        which the packed network says another class than the network in mode "hard".
    """
    with torch.no_grad():
        with in_mode("soft"):
            soft = network.calibrated(calibration, "soft")(X)
        with in_mode("hard"):
            exact = copy.deepcopy(network).eval()(X).argmax(1).numpy()
    hard = torch.from_numpy(packed.scores(X.numpy()))
    right = [float((scores.argmax(1).numpy() == y).mean()) for scores in (soft, hard)]
    differ = int((hard.argmax(1).numpy() != exact).sum()) if not network.is_stochastic else 0
    return GapReport(
        "accuracy",
        soft=right[0],
        hard=right[1],
        agreement=float((soft.argmax(1) == hard.argmax(1)).double().mean()),
        worst_disagreement=float((soft.softmax(1) - hard.softmax(1)).abs().max()),
        higher_is_better=True,
        rows=len(X),
        detail={"bits_differ": float(differ)},
    )
