"""network_equilibrium: where surrogates stand between error and instability in a whole network, on given rows."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hardgrad.bits.layers import BinaryLayer, binary_layers, set_surrogates
from hardgrad.bits.training import Loss, losses
from hardgrad.core.errors import ParameterError
from hardgrad.functional.binary import Surrogate
from hardgrad.gradients.diagnostics.surrogates import (
    EquilibriumPoint,
    EquilibriumReport,
    estimating_error,
    gradient_instability,
)


def network_equilibrium(
    network: nn.Module,
    X: Tensor,
    y: NDArray[np.int64],
    surrogates: Mapping[str, Surrogate],
    loss: Loss = "squared_hinge",
) -> EquilibriumReport:
    """Place surrogates of the sign by their errors on a network's weights and activations, and by the gradients that reach the weights.

    Parameters
    ----------
    network : with binary layers; it is not changed.
    X, y : rows and classes of one batch.
    surrogates : by the names to show; each is given to all layers in turn.
    loss : see `Recipe`.

    Returns
    -------
    report : `.plot()` draws it. The error is the root mean square over all weights and all inputs whose sign is taken, the instability that
        of the gradients of all latent weights.

    Raises
    ------
    ParameterError : no binary layer, or no surrogate.

    Examples
    --------
    >>> from hardgrad.bits import BinaryNetwork
    >>> from hardgrad.functional import binary_surrogate
    >>> network = BinaryNetwork.mlp((4, 8, 3), activation_surrogate="clipped")
    >>> known = {name: binary_surrogate(name) for name in ("identity", "reste")}
    >>> report = network_equilibrium(network, torch.randn(50, 4), np.arange(50) % 3, known)
    >>> [point.name for point in report.points]
    ['identity', 'reste']
    """
    if not surrogates or not list(binary_layers(network)):
        raise ParameterError(
            "network_equilibrium needs a network with binary layers, and at least one surrogate."
        )
    return EquilibriumReport.of([_point(network, X, y, name, s, loss) for name, s in surrogates.items()])


def _point(
    network: nn.Module, X: Tensor, y: NDArray[np.int64], name: str, surrogate: Surrogate, loss: Loss
) -> EquilibriumPoint:
    model = copy.deepcopy(network).train()
    set_surrogates(model, surrogate, surrogate)
    layers = list(binary_layers(model))
    seen: list[Tensor] = [layer.weight.detach().reshape(-1) for layer in layers]

    def remember(layer: BinaryLayer, inputs: tuple[Any, ...]) -> None:
        if layer.activation_surrogate is not None:
            seen.append(inputs[0].detach().reshape(-1))

    for layer in layers:
        layer.register_forward_pre_hook(remember)
    value = losses(model(X), torch.from_numpy(y), loss).mean()
    gradients = torch.autograd.grad(value, [layer.weight for layer in layers])
    every = torch.cat([gradient.reshape(-1) for gradient in gradients])
    return EquilibriumPoint(name, estimating_error(surrogate, torch.cat(seen)), gradient_instability(every))
