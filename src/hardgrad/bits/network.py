"""BinaryNetwork: binary layers in a row, hardened to one packed artifact; how they are folded into it is `hardgrad.bits.folding`."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hardgrad.bits.folding import packed_network
from hardgrad.bits.layers import BinaryLinear, binary_layers, param_groups
from hardgrad.bits.packed import PackedNetwork
from hardgrad.core.errors import HardenError, InputError
from hardgrad.core.gap import GapReport
from hardgrad.core.mode import Mode
from hardgrad.core.mode import mode as in_mode
from hardgrad.core.relaxed import Relaxed

EPS = 1e-4
CALIBRATION_ROWS = 16_384


class BinaryNetwork(Relaxed):
    """Layers in a row that harden to a `PackedNetwork`: `BinaryLinear`, each perhaps with torch.nn.BatchNorm1d and then torch.nn.ReLU.

    For images there may be `BinaryConv2d` first, each perhaps with torch.nn.BatchNorm2d, ReLU and MaxPool2d without padding, and
    torch.nn.Flatten after the last: they harden to a `PackedConvNetwork`, which takes images of any size that the layers take.

    Parameters
    ----------
    layers : the modules. The signs of the inputs of a layer with an `activation_surrogate` are folded into the layer before it;
        torch.nn.Dropout, Dropout2d and Identity are left out when hardened.

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
        if self.is_stochastic and any(isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) for m in self.modules()):
            raise HardenError(
                "a network with stochastic weights has batch statistics of its draws, which are wrong for the bits; call "
                "harden(calibration=X) with rows X that it was trained on."
            )
        return self.harden_as_is()

    def harden_as_is(self) -> PackedNetwork:
        """Return the packed network with the batch statistics that there are."""
        return packed_network(list(self.layers))


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
