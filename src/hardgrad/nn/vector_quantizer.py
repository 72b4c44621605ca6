"""VectorQuantizer: each vector becomes the nearest of a learned list, the codebook; and its exact counterpart."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from hardgrad.core.errors import InputError, ParameterError
from hardgrad.core.mode import Mode, resolve_mode
from hardgrad.core.relaxed import Relaxed, straight_through
from hardgrad.functional.choices import choice

SMALLEST_SHARE = 0.05
"""A code with less than this share of an even use is dead, and starts anew at a vector of the batch."""
START_ROUNDS = 8
SMOOTHING = 1e-5


class Quantized(NamedTuple):
    """What a `VectorQuantizer` returns.

    Parameters
    ----------
    vectors : [..., dim], the codes' vectors. codes : int64 [...], their numbers. loss : 0-dim, to be added to the loss.
    """

    vectors: Tensor
    codes: Tensor
    loss: Tensor


class VectorQuantizer(Relaxed):
    """A codebook: a vector in, the nearest code's vector out, with a gradient that passes straight through.

    In training the codes are moving averages of the vectors that chose them. They start at means of the first batch, found by Lloyd's
    rounds, and a code that is hardly chosen starts anew at a vector that is far from all codes.

    Parameters
    ----------
    n_codes, dim : size of the codebook.
    commitment : weight of the loss that pulls vectors towards their codes.
    decay : of the moving averages, 0 up to 1 (excluded).
    temperature : of mode "soft".

    Notes
    -----
    Mode "st", the default, is exact forward and passes the gradient to the vector; "soft" mixes the codes by a softmax of squared
    distances over the temperature; "hard" has no gradient.

    Raises
    ------
    ParameterError : a size below 1, or a number out of range.

    Examples
    --------
    >>> quantizer = VectorQuantizer(4, 2)
    >>> found = quantizer(torch.randn(100, 2, generator=torch.Generator().manual_seed(0)))
    >>> found.vectors.shape, found.codes.unique().tolist()
    (torch.Size([100, 2]), [0, 1, 2, 3])

    Source: van den Oord, Vinyals and Kavukcuoglu, 2017, Neural Discrete Representation Learning.
    """

    codebook: Tensor
    use: Tensor
    total: Tensor
    started: Tensor

    def __init__(
        self,
        n_codes: int,
        dim: int,
        *,
        commitment: float = 0.25,
        decay: float = 0.98,
        temperature: float = 1.0,
    ) -> None:
        super().__init__(temperature)
        if n_codes < 1 or dim < 1 or not commitment >= 0 or not 0 <= decay < 1:
            raise ParameterError(
                f"VectorQuantizer() got n_codes={n_codes}, dim={dim}, commitment={commitment}, decay={decay}; "
                "expected sizes of at least 1, 0 or more, and 0 up to 1 (excluded)."
            )
        self.commitment, self.decay = commitment, decay
        self.register_buffer("codebook", torch.randn(n_codes, dim))
        self.register_buffer("use", torch.ones(n_codes))
        self.register_buffer("total", self.codebook.clone())
        self.register_buffer("started", torch.tensor(False))

    def forward(self, x: Tensor, *, mode: Mode | None = None) -> Quantized:
        """Return the nearest codes of vectors [..., dim]; in training, move the codebook.

        Raises
        ------
        InputError : another last dimension.
        """
        flat = flat_vectors(x, self.codebook.shape[1], "VectorQuantizer")
        how = resolve_mode(mode, "st")
        learns = self.training and how != "hard" and len(flat) > 0
        if learns and not bool(self.started):
            self._start(flat.detach())
        codebook = self.codebook.to(flat.dtype, copy=True)  # it moves before the gradient is asked for
        distances = torch.cdist(flat, codebook)
        codes = distances.detach().argmin(dim=1)
        exact = codebook[codes]
        loss = self.commitment * (flat - exact).square().mean() if len(flat) else flat.sum()
        if how == "soft":
            vectors = (
                choice(-distances.square(), temperature=self.resolved_temperature(), mode="soft") @ codebook
            )
        else:
            vectors = exact if how == "hard" else straight_through(exact, flat)
        if learns:
            self._follow(flat.detach(), codes, distances.detach().amin(dim=1))
        return Quantized(vectors.view(x.shape), codes.view(x.shape[:-1]), loss)

    def lookup(self, codes: Tensor) -> Tensor:
        """Return the vectors [..., dim] of codes [...]."""
        return self.codebook[codes]

    @torch.no_grad()
    def _start(self, vectors: Tensor) -> None:
        """Put the codes at means of the vectors."""
        picked = torch.linspace(0, len(vectors) - 1, len(self.codebook), device=vectors.device).long()
        vectors = vectors.to(self.codebook.dtype)
        centres = vectors[picked]
        for _ in range(START_ROUNDS):
            counts, sums = self._gathered(vectors, torch.cdist(vectors, centres).argmin(dim=1))
            centres = torch.where(counts[:, None] > 0, sums / counts.clamp_min(1)[:, None], centres)
        self.codebook.copy_(centres)
        self.use.copy_(counts)
        self.total.copy_(centres * counts[:, None])
        self.started.fill_(True)

    @torch.no_grad()
    def _follow(self, vectors: Tensor, codes: Tensor, distances: Tensor) -> None:
        """Move each code towards the mean of the vectors that chose it; dead ones start anew where codes are missed most."""
        counts, sums = self._gathered(vectors, codes)
        self.use.lerp_(counts, 1 - self.decay)
        self.total.lerp_(sums, 1 - self.decay)
        even = len(vectors) / len(self.use)
        dead = self.use < SMALLEST_SHARE * even
        again = distances.topk(min(int(dead.sum()), len(vectors))).indices
        place = dead.nonzero()[: len(again), 0]
        # With less use it would be dead at the next step, however many choose it; with much more, it would stay where none does.
        use = max(1.0, 2.0 * SMALLEST_SHARE * even)
        self.use[place] = use
        self.total[place] = use * vectors[again].to(self.total.dtype)
        means = self.total / self.use.clamp_min(SMOOTHING)[:, None]
        self.codebook.copy_(torch.where(self.use[:, None] > SMOOTHING, means, self.codebook))

    def _gathered(self, vectors: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        counts = torch.bincount(codes, minlength=len(self.codebook)).to(self.codebook.dtype)
        sums = torch.zeros_like(self.codebook).index_add_(0, codes, vectors.to(self.codebook.dtype))
        return counts, sums

    def perplexity(self) -> float:
        """Return how many codes are in use: the exponential of the entropy of their moving average."""
        share = self.use / self.use.sum()
        return float(torch.exp(-(share * share.clamp_min(1e-12).log()).sum()))

    def harden(self) -> nn.Module:
        """Return the codebook as it is, fixed: vectors in, the nearest codes' vectors out."""
        return NearestCode(self.codebook.clone())


class NearestCode(nn.Module):
    """The nearest of fixed vectors.

    Parameters
    ----------
    codebook : [codes, dim], floating.

    Raises
    ------
    ParameterError : a codebook of another shape or without elements.

    Examples
    --------
    >>> found = NearestCode(torch.eye(2))(torch.tensor([[0.9, 0.2], [0.1, 3.0]]))
    >>> found.codes.tolist(), found.vectors.tolist()
    ([0, 1], [[1.0, 0.0], [0.0, 1.0]])
    """

    codebook: Tensor

    def __init__(self, codebook: Tensor) -> None:
        super().__init__()
        if codebook.dim() != 2 or not codebook.numel() or not codebook.is_floating_point():
            raise ParameterError(
                f"NearestCode() got a codebook of {codebook.dtype} with shape {tuple(codebook.shape)}; expected floating [codes, dim]."
            )
        self.register_buffer("codebook", codebook)

    def forward(self, x: Tensor) -> Quantized:
        """Return the nearest codes of vectors [..., dim], the first of equals; the loss is 0.

        Raises
        ------
        InputError : another last dimension.
        """
        flat = flat_vectors(x, self.codebook.shape[1], "NearestCode")
        codebook = self.codebook.to(flat.dtype)
        codes = torch.cdist(flat, codebook).argmin(dim=1).view(x.shape[:-1])
        return Quantized(codebook[codes], codes, x.new_zeros(()))


def flat_vectors(x: Tensor, dim: int, taker: str) -> Tensor:
    """Return vectors [..., dim] as rows; raises `InputError` where they are not that."""
    if x.dim() < 1 or x.shape[-1] != dim or not x.is_floating_point():
        raise InputError(
            f"{taker} got vectors of {x.dtype} with shape {tuple(x.shape)}; expected floating [..., {dim}]."
        )
    return x.reshape(-1, dim)
