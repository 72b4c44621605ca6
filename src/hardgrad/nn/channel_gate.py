"""TrainableGate: channels multiplied by exact zeros and ones that are learned; and its exact counterpart, a fixed mask."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from hardgrad.core.errors import InputError, ParameterError
from hardgrad.core.mode import Mode, resolve_mode
from hardgrad.core.relaxed import Relaxed
from hardgrad.functional.binary import binary_step

GateShape = Literal["constant", "bell"]
LEAST = 1e-6  # weight to which the last channel is lifted, so that one is always open


class TrainableGate(Relaxed):
    """One gate a channel: open, a factor of exactly 1, where its weight is above 0; closed, exactly 0, elsewhere.

    Parameters
    ----------
    num_channels : number of gates.
    shape : of the gradient that a gate passes to its weight: "constant" (1 for weights in [-1, 1]) or "bell" (largest at 0).
    dim : dimension of the channels. It may also hold a multiple of them, as after `nn.Flatten`: each gate is then for as many
        neighbours.
    temperature : width of the bell.

    Notes
    -----
    Gates are exact forward with the chosen gradient backward, unless `mode` says otherwise. Weight decay would close them silently:
    train them in a parameter group without. The channel of largest weight is open whatever its weight.

    Examples
    --------
    >>> gate = TrainableGate(3)
    >>> with torch.no_grad():
    ...     _ = gate.weight.copy_(torch.tensor([0.5, -0.1, 0.2]))
    >>> gate(torch.ones(1, 3)).tolist(), gate(torch.ones(1, 6)).tolist()
    ([[1.0, 0.0, 1.0]], [[1.0, 1.0, 0.0, 0.0, 1.0, 1.0]])

    Source: Kim, Park, Jung and Choe, 2020, Plug-in, Trainable Gate for Streamlining Arbitrary Neural Networks.
    """

    def __init__(
        self, num_channels: int, shape: GateShape = "constant", dim: int = 1, *, temperature: float = 0.25
    ) -> None:
        super().__init__(temperature)
        if num_channels < 1 or shape not in ("constant", "bell"):
            raise ParameterError(
                f"TrainableGate got num_channels={num_channels!r}, shape={shape!r}; expected at least 1, and 'constant' or 'bell'."
            )
        self.shape, self.dim = shape, dim
        self.weight = nn.Parameter(torch.ones(num_channels))

    def gates(self, mode: Mode | None = None) -> Tensor:
        """Return the gates, (num_channels,), exactly 0 and 1 unless `mode` is "soft"."""
        lifted = self.weight + (LEAST - self.weight.detach().max()).clamp_min(0.0)
        heat = {"temperature": self.resolved_temperature()} if self.shape == "bell" else {}
        return binary_step(lifted, surrogate=self.shape, mode=resolve_mode(mode, "st"), **heat)

    def forward(self, x: Tensor, *, mode: Mode | None = None) -> Tensor:
        """Return x with its closed channels set to 0."""
        opened: Tensor = x * _spread(self.gates(mode), x, self.dim)
        return opened

    @torch.no_grad()
    def clamp(self) -> None:
        """Bring the weights back to [-1, 1], in place, so that a closed gate can open again; to be called after every step."""
        self.weight.clamp_(-1.0, 1.0)

    def harden(self) -> ChannelMask:
        """Return the gates as they are, as a fixed mask."""
        with torch.no_grad():
            return ChannelMask(self.gates("hard"), self.dim)


class ChannelMask(nn.Module):
    """A fixed mask of channels: the exact counterpart of `TrainableGate` where a model is hardened without removing channels.

    Parameters
    ----------
    mask : (channels,), zeros and ones. dim : dimension of the channels.
    """

    mask: Tensor

    def __init__(self, mask: Tensor, dim: int = 1) -> None:
        super().__init__()
        self.dim = dim
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        """Return x with its closed channels set to 0."""
        opened: Tensor = x * _spread(self.mask, x, self.dim)
        return opened


def _spread(gates: Tensor, x: Tensor, dim: int) -> Tensor:
    """Return the gates in a shape that broadcasts with x."""
    channels = x.shape[dim]
    if channels % len(gates):
        raise InputError(
            f"a gate of {len(gates)} channels got x of shape {tuple(x.shape)}; expected a multiple of them in dimension {dim}."
        )
    each = gates.repeat_interleave(channels // len(gates)) if channels > len(gates) else gates
    after = x.dim() - 1 - dim % x.dim()
    return each.reshape(-1, *(1,) * after)
