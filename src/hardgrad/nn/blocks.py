"""The building blocks of deep networks from first principles, each a few lines over tensors: what the tour walks through.

torch.nn has faster ones for production; these show what they compute, and the tests hold them against torch's.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from hardgrad.core.errors import InputError, ParameterError
from hardgrad.functional.recurrence import linear_recurrence


# Convolutions: a matrix product over the windows of the input.
def convolve1d(x: Tensor, weight: Tensor, *, dilation: int = 1, causal: bool = False) -> Tensor:
    """Return the convolution of sequences, padded with zeros to keep their length.

    Parameters
    ----------
    x : (batch, channels, n).
    weight : (outputs, channels, k).
    dilation : distance between the elements that a window looks at.
    causal : windows end at the element itself instead of being centred on it; else k is odd.

    Examples
    --------
    >>> convolve1d(torch.tensor([[[1.0, 2.0, 3.0]]]), torch.ones(1, 1, 2), causal=True).tolist()
    [[[1.0, 3.0, 5.0]]]
    """
    if x.dim() != 3 or weight.dim() != 3 or weight.shape[1] != x.shape[1]:
        raise InputError(
            f"convolve1d() got x {tuple(x.shape)}, weight {tuple(weight.shape)}; expected (b, c, n), (o, c, k)."
        )
    k = weight.shape[2]
    if not causal and k % 2 == 0:
        raise ParameterError(f"convolve1d() got a kernel of size {k}; expected an odd one, or causal=True.")
    reach = (k - 1) * dilation
    padded = nn.functional.pad(x, (reach, 0) if causal else (reach // 2, reach // 2))
    windows = padded.unfold(-1, reach + 1, 1)[..., ::dilation]  # (batch, channels, n, k)
    return torch.einsum("bcnk,ock->bon", windows, weight)


def convolve2d(x: Tensor, weight: Tensor) -> Tensor:
    """Return the convolution of images, padded with zeros to keep their size.

    Parameters
    ----------
    x : (batch, channels, height, width).
    weight : (outputs, channels, k, k), k odd.
    """
    if x.dim() != 4 or weight.dim() != 4 or weight.shape[1] != x.shape[1] or weight.shape[2] % 2 == 0:
        raise InputError(
            f"convolve2d() got x {tuple(x.shape)}, weight {tuple(weight.shape)}; expected (b, c, h, w), (o, c, k, k), k odd."
        )
    k = weight.shape[2]
    columns = nn.functional.unfold(x, k, padding=k // 2)  # (batch, channels * k * k, height * width)
    out: Tensor = (weight.flatten(1) @ columns).unflatten(-1, x.shape[-2:])
    return out


class CausalConvolution(nn.Module):
    """A convolution whose output at one place depends on that place and what comes before.

    Parameters
    ----------
    inputs, outputs : channels.
    kernel_size : elements in a window.
    dilation : distance between them.
    """

    def __init__(self, inputs: int, outputs: int, kernel_size: int, *, dilation: int = 1) -> None:
        super().__init__()
        self.dilation = dilation
        self.weight = nn.Parameter(
            torch.randn(outputs, inputs, kernel_size) / math.sqrt(inputs * kernel_size)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, outputs, n) for x (batch, inputs, n)."""
        return convolve1d(x, self.weight, dilation=self.dilation, causal=True)


# Normalisation and depth.
def normalise(x: Tensor, dims: int | tuple[int, ...], eps: float = 1e-5) -> Tensor:
    """Return x with mean 0 and variance 1 over some dimensions: the last for layer norm, the batch for batch norm."""
    return (x - x.mean(dims, keepdim=True)) / torch.sqrt(x.var(dims, unbiased=False, keepdim=True) + eps)


class ResidualBlock(nn.Module):
    """x + module(normalised x): a block that starts near the identity, so that depth does not hurt.

    Parameters
    ----------
    module : keeps the shape of its input.
    dimensions : size of the last dimension, over which is normalised.
    """

    def __init__(self, module: nn.Module, dimensions: int) -> None:
        super().__init__()
        self.module = module
        self.gain, self.offset = nn.Parameter(torch.ones(dimensions)), nn.Parameter(torch.zeros(dimensions))

    def forward(self, x: Tensor, *extra: Any) -> Tensor:
        """Return the sum, in the shape of x; what else is given goes to the module."""
        found: Tensor = x + self.module(normalise(x, -1) * self.gain + self.offset, *extra)
        return found


# Attention and positions.
def attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, temperature: Any = 1.0
) -> Tensor:
    """Return for each query the mean of the values, weighed by how well their keys fit.

    Parameters
    ----------
    query, key, value : (..., q, d), (..., k, d), (..., k, v).
    mask : Boolean, (..., q, k): True where a query may look. A query that may look nowhere gets zeros.
    temperature : divides the scores, beside the root of d.

    Examples
    --------
    >>> one = torch.eye(2)
    >>> attention(one, one, torch.tensor([[1.0], [2.0]]), temperature=1e-3).flatten().tolist()
    [1.0, 2.0]

    Source: Vaswani et al., 2017, Attention Is All You Need.
    """
    scores = query @ key.mT / (math.sqrt(query.shape[-1]) * temperature)
    if mask is None:
        return torch.softmax(scores, -1) @ value
    somewhere = mask.any(-1, keepdim=True)
    weights = torch.softmax(scores.masked_fill(~mask & somewhere, -math.inf), -1)
    return (weights * somewhere) @ value


def causal_mask(n: int) -> Tensor:
    """Return (n, n), True where column j is not after row i."""
    return torch.ones(n, n, dtype=torch.bool).tril()


class MultiHeadAttention(nn.Module):
    """Attention of a sequence to itself by several heads side by side.

    Parameters
    ----------
    dimensions : of each element; a multiple of heads.
    heads : number of heads.
    rotary : True to turn queries and keys by their positions (see `rotate_by_position`).
    """

    def __init__(self, dimensions: int, heads: int = 1, *, rotary: bool = False) -> None:
        super().__init__()
        if dimensions % heads:
            raise ParameterError(
                f"MultiHeadAttention got {dimensions} dimensions and {heads} heads; expected a multiple."
            )
        self.heads, self.rotary = heads, rotary
        self.inward = nn.Linear(dimensions, 3 * dimensions, bias=False)
        self.outward = nn.Linear(dimensions, dimensions, bias=False)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return (batch, n, dimensions) for x of that shape."""
        query, key, value = self.inward(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if self.rotary:
            query, key = rotate_by_position(query), rotate_by_position(key)
        mixed = attention(query, key, value, mask)
        found: Tensor = self.outward(mixed.transpose(1, 2).flatten(-2))
        return found


def sinusoidal_positions(n: int, dimensions: int) -> Tensor:
    """Return (n, dimensions): sines and cosines of the position at falling frequencies, to be added to what stands there."""
    angle = torch.arange(n).unsqueeze(-1) * _frequencies(dimensions)
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(-2)


def rotate_by_position(x: Tensor) -> Tensor:
    """Turn pairs of the last dimension by angles that grow with the position, so that products depend on distances alone.

    Parameters
    ----------
    x : (..., n, d), d even; position is the second last dimension.

    Source: Su et al., 2021, RoFormer: Enhanced Transformer with Rotary Position Embedding.
    """
    angle = torch.arange(x.shape[-2], device=x.device).unsqueeze(-1) * _frequencies(x.shape[-1]).to(x)
    a, b = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1).flatten(-2)


def _frequencies(dimensions: int) -> Tensor:
    if dimensions % 2:
        raise ParameterError(f"positions need an even number of dimensions, got {dimensions}.")
    return 10_000.0 ** (-torch.arange(0, dimensions, 2) / dimensions)


# Graphs and recurrences.
class GraphConvolution(nn.Module):
    """Each node takes the mean of itself and its neighbours, weighed by degrees, through one linear map.

    Parameters
    ----------
    inputs, outputs : features of a node.

    Source: Kipf and Welling, 2017, Semi-Supervised Classification with Graph Convolutional Networks.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        """Return (n, outputs) for nodes x (n, inputs) and a symmetric adjacency (n, n); a node without neighbours sees itself."""
        with_self = adjacency + torch.eye(len(adjacency), dtype=x.dtype, device=x.device)
        scale = with_self.sum(-1).rsqrt()
        found: Tensor = (scale.unsqueeze(-1) * with_self * scale) @ self.linear(x)
        return found


class RecurrentCell(nn.Module):
    """h' = tanh(W x + U h + b), or the gated form that may keep h as it is.

    Parameters
    ----------
    inputs, hidden : sizes of x and h.
    gated : True for a GRU.
    """

    def __init__(self, inputs: int, hidden: int, *, gated: bool = False) -> None:
        super().__init__()
        gates = 3 if gated else 1
        self.gated = gated
        self.of_input, self.of_state = nn.Linear(inputs, gates * hidden), nn.Linear(hidden, gates * hidden)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        """Return the next state (batch, hidden)."""
        if not self.gated:
            return torch.tanh(self.of_input(x) + self.of_state(h))
        (r, z, n), (rh, zh, nh) = self.of_input(x).chunk(3, -1), self.of_state(h).chunk(3, -1)
        keep = torch.sigmoid(z + zh)
        return (1 - keep) * torch.tanh(n + torch.sigmoid(r + rh) * nh) + keep * h


class LinearRecurrence(nn.Module):
    """h_t = a * h_(t-1) + B x_t with one decay in (0, 1) a channel, all steps at once by an associative scan.

    Parameters
    ----------
    inputs, hidden : sizes of x and h.
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.decay_logit = nn.Parameter(torch.linspace(0.0, 4.0, hidden))
        self.inward = nn.Linear(inputs, hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, n, hidden) for x (batch, n, inputs)."""
        return linear_recurrence(torch.sigmoid(self.decay_logit), self.inward(x), dim=-2)
