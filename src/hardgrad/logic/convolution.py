"""Gates that move over an image: LogicConv2d, trees of gates over bits of a window, and OrPool2d, the OR of a window."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hardgrad.core.errors import InputError, ParameterError
from hardgrad.core.mode import Mode
from hardgrad.core.relaxed import Relaxed
from hardgrad.logic.gate_ids import Gate
from hardgrad.logic.layers import LogicLayer, check_input
from hardgrad.logic.lut import CircuitWriter

Wires = NDArray[np.int32]
Pair = int | tuple[int, int]


class LogicConv2d(Relaxed):
    """A convolution whose kernels are trees of gates, over bits drawn from the window; the same gates at every position.

    Parameters
    ----------
    in_channels, out_channels : bits a pixel that are read, and kernels.
    kernel_size, stride, padding : of the window, as torch's; outside the image every bit is 0.
    depth : of a tree, which reads 2^depth bits of the window.
    channels_per_kernel : from how many channels a kernel's bits are drawn.
    parametrization, response, init, temperature : of the gates, see `LogicLayer`.
    generator : draws bits and weights.

    Raises
    ------
    ParameterError : an argument outside its range; a window with fewer bits than a tree reads.

    Examples
    --------
    >>> layer = LogicConv2d(1, 4, 3, padding=1, generator=torch.Generator().manual_seed(0))
    >>> layer(torch.rand(2, 1, 8, 8)).shape
    torch.Size([2, 4, 8, 8])

    Source: Petersen, Kuehne, Borgelt, Welzel and Ermon, 2024, Convolutional Differentiable Logic Gate Networks.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        *,
        stride: Pair = 1,
        padding: Pair = 0,
        depth: int = 2,
        channels_per_kernel: int = 2,
        parametrization: str = "input_wise",
        response: str = "sine",
        init: str = "residual",
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(temperature)
        self.in_channels, self.out_channels, self.depth = in_channels, out_channels, depth
        self.kernel_size, self.stride, self.padding = _pair(kernel_size), _pair(stride), _pair(padding)
        channels = min(channels_per_kernel, in_channels)
        window = self.kernel_size[0] * self.kernel_size[1]
        if depth < 1 or channels < 1 or out_channels < 1 or window * channels < 2**depth:
            raise ParameterError(
                f"LogicConv2d() got depth={depth}, out_channels={out_channels} and a window of {window} pixels of {channels} channels; "
                "expected a tree that reads at least two bits, and a window with as many bits as it reads."
            )
        taps = torch.stack([self._draw_taps(channels, window, generator) for _ in range(out_channels)])
        levels = []
        for level in range(depth):
            gates = out_channels * 2 ** (depth - 1 - level)
            wires = taps if level == 0 else torch.arange(2 * gates)
            levels.append(
                LogicLayer(
                    in_channels * window if level == 0 else 2 * gates, gates, connections=wires.reshape(-1, 2).T,
                    parametrization=parametrization, response=response, init=init, temperature=temperature, generator=generator,
                )
            )  # fmt: skip
        self.levels = nn.ModuleList(levels)

    def _draw_taps(self, channels: int, window: int, generator: torch.Generator | None) -> Tensor:
        """Return the numbers of the bits of a window that one kernel reads, no bit twice."""
        chosen = torch.randperm(self.in_channels, generator=generator)[:channels]
        bits = (chosen[:, None] * window + torch.arange(window)).flatten()
        return bits[torch.randperm(len(bits), generator=generator)[: 2**self.depth]]

    def set_temperature(self, value: float) -> None:
        """Set the temperature of the gates of all levels."""
        super().set_temperature(value)
        for level in self._levels():
            level.set_temperature(value)

    def _levels(self) -> list[LogicLayer]:
        return [level for level in self.levels if isinstance(level, LogicLayer)]

    def forward(self, x: Tensor, *, temperature: Any = None, mode: Mode | None = None) -> Tensor:
        """Return `[batch, out_channels, height, width]` for images `[batch, in_channels, height, width]`.

        Raises
        ------
        InputError : another shape, NaN, numbers outside [0, 1], or numbers that are no bits where bits are expected.
        """
        chosen = self.resolved_mode(mode)
        if x.dim() != 4:
            raise InputError(
                f"LogicConv2d got a tensor of shape {tuple(x.shape)}; expected [batch, channels, height, width]."
            )
        check_input(x.movedim(1, -1), self.in_channels, chosen)
        return self.evaluate(x, chosen, temperature)

    def evaluate(self, x: Tensor, mode: Mode, temperature: Any = None) -> Tensor:
        """Do what `forward` does, without a look at the numbers of x."""
        height, width = self._out_size(x.shape[-2], x.shape[-1])
        levels = self._levels()
        windows = nn.functional.unfold(
            x.to(levels[0].weight.dtype), self.kernel_size, padding=self.padding, stride=self.stride
        )
        y = windows.transpose(1, 2)  # positions are samples to the gates
        for level in levels:
            y = level.evaluate(y, mode, temperature)
        answers: Tensor = y.transpose(1, 2).unflatten(2, (height, width))
        return answers

    def _out_size(self, height: int, width: int) -> tuple[int, int]:
        return (
            (height + 2 * self.padding[0] - self.kernel_size[0]) // self.stride[0] + 1,
            (width + 2 * self.padding[1] - self.kernel_size[1]) // self.stride[1] + 1,
        )

    def append_to(
        self, writer: CircuitWriter, wires: Wires, rounding: str, generator: torch.Generator | None
    ) -> Wires:
        """Append the gates of every position to a circuit: wires `[in_channels, height, width]` to `[out_channels, height, width]`."""
        rows, columns = self.padding
        outside = int(writer.add_constant(False)) if rows or columns else 0
        padded = np.pad(wires, ((0, 0), (rows, rows), (columns, columns)), constant_values=outside)
        windows = _windows(padded, self.kernel_size, self.stride)  # [channels, height, width, *kernel_size]
        inner = windows.transpose(0, 3, 4, 1, 2)
        y: Wires = inner.reshape(-1, inner.shape[3] * inner.shape[4])
        for level in self._levels():
            y = level.append_to(writer, y, rounding, generator)
        return y.reshape(-1, *inner.shape[3:])

    def harden(self) -> nn.Module:
        """Return the convolution whose gates are exact."""
        return ExactLogicConv2d(self)


class ExactLogicConv2d(nn.Module):
    """A convolution of exact gates, on bits.

    Parameters
    ----------
    layer : whose gates it has.
    """

    def __init__(self, layer: LogicConv2d) -> None:
        super().__init__()
        self.kernel_size, self.stride, self.padding = layer.kernel_size, layer.stride, layer.padding
        self.levels = nn.Sequential(*(level.harden() for level in layer._levels()))
        self.out_size = layer._out_size

    def forward(self, x: Tensor) -> Tensor:
        """Return bits `[batch, out_channels, height, width]` of bits; raises `InputError` for other numbers."""
        windows = nn.functional.unfold(
            x.to(torch.get_default_dtype()), self.kernel_size, padding=self.padding, stride=self.stride
        )
        y = self.levels(windows.transpose(1, 2)).transpose(1, 2)
        answers: Tensor = y.unflatten(2, self.out_size(x.shape[-2], x.shape[-1]))
        return answers


class OrPool2d(nn.MaxPool2d):
    """The OR of the bits of each window: the largest, so that it is exact as it is.

    Parameters
    ----------
    kernel_size, stride : as those of torch's `MaxPool2d`.

    Examples
    --------
    >>> OrPool2d(2)(torch.tensor([[[0.0, 1.0], [0.0, 0.0]]])).tolist()
    [[[1.0]]]
    """

    def __init__(self, kernel_size: Pair, stride: Pair | None = None) -> None:
        super().__init__(_pair(kernel_size), _pair(kernel_size if stride is None else stride))

    def append_to(
        self, writer: CircuitWriter, wires: Wires, rounding: str, generator: torch.Generator | None
    ) -> Wires:
        """Append the ORs to a circuit: wires `[channels, height, width]` to those of the pooled image."""
        windows = _windows(wires, _pair(self.kernel_size), _pair(self.stride))
        parts = list(np.moveaxis(windows.reshape(*windows.shape[:3], -1), -1, 0))
        while len(parts) > 1:
            joined = [writer.add(Gate.OR, a, b) for a, b in zip(parts[::2], parts[1::2], strict=False)]
            parts = joined + parts[2 * len(joined) :]
        pooled: Wires = parts[0]
        return pooled


def _windows(wires: Wires, size: tuple[int, int], stride: tuple[int, int]) -> Wires:
    view = np.lib.stride_tricks.sliding_window_view(wires, size, axis=(1, 2))
    return np.asarray(view[:, :: stride[0], :: stride[1]])


def _pair(value: Any) -> tuple[int, int]:
    first, second = (value, value) if isinstance(value, int) else value
    return int(first), int(second)
