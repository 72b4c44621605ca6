"""Linear layers on lattices: LatticeLinear, which can be trained further, and ExactLatticeLinear, which holds packed codes only."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hardgrad.bits.lattice import decoded, packed
from hardgrad.bits.lattice_codes import ARRAYS, LatticeCodes
from hardgrad.bits.lattice_groups import (
    compand,
    cut,
    joined,
    lattice_weights,
)
from hardgrad.bits.lattice_points import check_rounding, lattice_index
from hardgrad.core.errors import InputError
from hardgrad.core.mode import Mode, resolve_mode
from hardgrad.core.relaxed import Relaxed, straight_through
from hardgrad.functional.rounding import round as soft_round

TEMPERATURE = 0.5
AS_WHOLE_NUMBERS = {"words": np.int64, "generators": np.int16, "mu": np.int16, "scales": np.int32}
"""The exact layer's buffers hold the bits of its numbers as whole numbers: `half()` and autocast must not round what is exact."""


class LatticeLinear(Relaxed):
    """A linear layer whose weights are rounded to the points of lattices: real weights behind, lattice points in front.

    Parameters
    ----------
    weight : (out_features, in_features), the real weights.
    bias : (out_features,) or None.
    codes : of those weights; their lattices are where the layer begins.
    rounding : "nearest_plane" or "rounding" (see `babai_round`).
    temperature : of the rounding, in steps of the lattice.

    Notes
    -----
    Weights, generators and bias are parameters; companding and bits stay as they are. While training the forward pass is exact and the
    gradient that of the soft rounding ("st"); in evaluation it is "hard": what `harden()` computes, bit for bit.

    Examples
    --------
    >>> from hardgrad.bits import LatticeQuantizer
    >>> linear = nn.Linear(8, 16)
    >>> codes = LatticeQuantizer(dim=2, bits=2, max_iter=5).fit(linear.weight).quantize()
    >>> layer = LatticeLinear(linear.weight, linear.bias, codes).eval()
    >>> x = torch.ones(3, 8)
    >>> torch.equal(layer(x), layer.harden()(x))
    True

    Source: Zhang, Wu, Wang and Lin, 2025, Learning Grouped Lattice Vector Quantizers for Low-Bit LLM Compression.
    """

    mu: Tensor
    scales: Tensor
    bits: Tensor

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        codes: LatticeCodes,
        *,
        rounding: str = "nearest_plane",
        temperature: float = TEMPERATURE,
    ) -> None:
        super().__init__(temperature)
        check_rounding("LatticeLinear", rounding)
        if tuple(weight.shape) != codes.shape or codes.group_size % codes.dim:
            raise InputError(
                f"LatticeLinear got weights of shape {tuple(weight.shape)} and codes of {codes.shape} in groups of {codes.group_size}; "
                f"expected the same shape, and groups of whole vectors of {codes.dim}."
            )
        self.out_features, self.in_features = codes.shape
        self.group_size, self.rounding = codes.group_size, rounding
        device = weight.device
        self.real_weight = nn.Parameter(weight.detach().clone())
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone())
        self.generators = nn.Parameter(torch.tensor(codes.generators, dtype=torch.float32, device=device))
        self.register_buffer("mu", torch.tensor(codes.mu, dtype=torch.float32, device=device))
        self.register_buffer("scales", torch.tensor(codes.scales, device=device))
        self.register_buffer("bits", torch.tensor(codes.bits, device=device))

    def forward(self, x: Tensor, *, temperature: Any = None, mode: Mode | None = None) -> Tensor:
        """Return `x @ W.T + bias` with the weights of this mode.

        Parameters
        ----------
        x : (..., in_features).
        temperature, mode : "soft" rounds softly, "st" and "hard" exactly; by default "st" while training and "hard" in evaluation.
        """
        return nn.functional.linear(x, self.lattice_weight(temperature=temperature, mode=mode), self.bias)

    @property
    def weight(self) -> Tensor:
        """The weights of the layer as it stands: code that looks into linear layers sees what the layer computes with."""
        return self.lattice_weight()

    def lattice_weight(self, *, temperature: Any = None, mode: Mode | None = None) -> Tensor:
        """Return the rounded weights (out_features, in_features); options as for `forward`."""
        how = resolve_mode(mode, "st" if self.training else "hard")
        rounded = partial(soft_round, temperature=self.resolved_temperature(temperature), mode=how)
        real = self._working(self.real_weight)
        generators = self._working(self.generators) if how == "soft" else self._stored()
        index = self._index(real, generators, rounded)
        dtype = self.real_weight.dtype
        if how == "hard":
            return self._decoded(index).to(dtype)
        soft = lattice_weights(index.flatten(1, 2), generators, self.mu, self.scales).reshape(index.shape)
        relaxed = joined(soft, self.in_features).to(dtype)
        return relaxed if how == "soft" else straight_through(self._decoded(index).to(dtype), relaxed)

    def _working(self, own: Tensor) -> Tensor:
        """Return numbers in the dtype to choose indices in: that of the weights, and float32 at least."""
        return own.to(torch.promote_types(self.real_weight.dtype, torch.float32))

    def _stored(self) -> Tensor:
        """Return the generators as they are shipped, in float16, with their own gradient."""
        own = self._working(self.generators)
        return straight_through(own.detach().half().to(own.dtype), own)

    def _index(self, real: Tensor, generators: Tensor, rounded: Any) -> Tensor:
        vectors = cut(real, self.group_size, generators.shape[-1])
        u = compand(vectors.flatten(1, 2), self._working(self.mu), self._working(self.scales))
        index = lattice_index(generators, u, self.bits, method=self.rounding, round_=rounded)
        return index.reshape(vectors.shape)

    def _decoded(self, index: Tensor) -> Tensor:
        generators = self._stored().detach()
        return decoded(index.detach(), generators, self.mu, self.scales, self.in_features)

    def harden(self) -> ExactLatticeLinear:
        """Return the exact layer of the packed codes."""
        with torch.no_grad():
            index = self._index(self._working(self.real_weight), self._stored(), torch.round)
            codes = packed(
                index, self.generators, self.mu, self.scales, self.bits,
                (self.out_features, self.in_features), self.group_size,
            )  # fmt: skip
        exact = ExactLatticeLinear(codes, self.bias)
        return exact.to(self.real_weight.device).train(self.training)

    def extra_repr(self) -> str:
        """Return the sizes, for printing."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
        )


class ExactLatticeLinear(nn.Module):
    """A linear layer that holds packed codes only, and decodes its weights each time that it is called.

    Parameters
    ----------
    codes : of the weights (out_features, in_features).
    bias : (out_features,) or None; copied.

    Notes
    -----
    On the CPU and on CUDA weights are decoded in float64 and rounded once, as the artifact does it; a device without float64 uses float32.

    Examples
    --------
    >>> from hardgrad.bits import LatticeQuantizer
    >>> codes = LatticeQuantizer(dim=2, bits=2, max_iter=5).fit(torch.randn(16, 8)).quantize()
    >>> layer = ExactLatticeLinear(codes)
    >>> bool((layer.weight.numpy() == codes.decode()).all()), layer(torch.ones(3, 8)).shape
    (True, torch.Size([3, 16]))
    """

    words: Tensor
    generators: Tensor
    mu: Tensor
    scales: Tensor
    bias: Tensor | None

    def __init__(self, codes: LatticeCodes, bias: Tensor | None = None) -> None:
        super().__init__()
        for name, dtype in AS_WHOLE_NUMBERS.items():
            self.register_buffer(name, torch.tensor(getattr(codes, name).view(dtype)))
        self.register_buffer("bias", None if bias is None else bias.detach().clone())
        self._set_structure(codes)

    def _set_structure(self, codes: LatticeCodes) -> None:
        self.out_features, self.in_features = codes.shape
        self.group_size, self.group_bits = codes.group_size, tuple(codes.bits.tolist())
        starts = codes.word_starts()
        self._words = tuple(slice(*ends) for ends in itertools.pairwise(starts))
        self._widths = tuple(codes.columns(g).stop - codes.columns(g).start for g in range(codes.n_groups))

    @property
    def codes(self) -> LatticeCodes:
        """The packed codes as an artifact, which is saved, loaded and decoded without torch."""
        return self._codes_of(self.get_extra_state())

    def _codes_of(self, structure: dict[str, Any]) -> LatticeCodes:
        arrays: dict[str, Any] = {
            name: getattr(self, name).cpu().numpy().view(ARRAYS[name][0]) for name in AS_WHOLE_NUMBERS
        }
        bits = np.array(structure["bits"], dtype=np.uint8)
        return LatticeCodes(**arrays, bits=bits, shape=tuple(structure["shape"]), group_size=structure["group_size"])  # fmt: skip

    def get_extra_state(self) -> dict[str, Any]:
        """Return what the state dictionary holds beside the buffers."""
        shape = [self.out_features, self.in_features]
        return {"shape": shape, "group_size": self.group_size, "bits": list(self.group_bits)}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take over the structure of the codes that were loaded; raises `ArtifactError` where they do not fit together."""
        self._set_structure(self._codes_of(state))

    @property
    def weight(self) -> Tensor:
        """The decoded weights, float32 (out_features, in_features)."""
        return torch.cat([self._decode_group(group) for group in range(len(self.group_bits))], dim=1)

    def _decode_group(self, group: int) -> Tensor:
        b, width, d = self.group_bits[group], self._widths[group], self.generators.shape[-1]
        vectors = -(-width // d)
        count = self.out_features * vectors * d
        places = torch.arange(64, device=self.words.device)
        lanes = (self.words[self._words[group], None] >> places).bitwise_and(1).flatten()[: count * b]
        index = (lanes.reshape(count, b) << places[:b]).sum(dim=1) - (1 << b >> 1)
        one = slice(group, group + 1)
        return decoded(
            index.reshape(1, self.out_features, vectors, d),
            self.generators[one].view(torch.float16),
            self.mu[one].view(torch.float16),
            self.scales[one].view(torch.float32),
            width,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return `x @ W.T + bias` for x (..., in_features), in the dtype of x."""
        return nn.functional.linear(x, self.weight.to(x.dtype), self.bias)

    def extra_repr(self) -> str:
        """Return sizes and bits, for printing."""
        bits = sum(b * w for b, w in zip(self.group_bits, self._widths, strict=True)) / self.in_features
        return f"in_features={self.in_features}, out_features={self.out_features}, bits={bits:g}, bias={self.bias is not None}"
