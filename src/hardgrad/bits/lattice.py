"""LatticeQuantizer: a lattice for each group of columns of a weight matrix, learned by gradients, and the packed codes of the matrix."""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hardgrad.bits.lattice_codes import MAX_BITS, MAX_DIM, LatticeCodes
from hardgrad.bits.lattice_groups import (
    InputMoments,
    allocate_bits,
    check_weight,
    compand,
    cut,
    exact_dtype,
    group_size_for,
    joined,
    lattice_weights,
)
from hardgrad.bits.lattice_learning import LatticeTask, Plan, group_losses, spread_errors
from hardgrad.bits.lattice_points import ROUNDINGS, check_rounding, closest_lattice_point, lattice_index
from hardgrad.core.errors import InputError, ParameterError
from hardgrad.core.gap import GapReport
from hardgrad.train.loop import Hardware, train

Learned = dict[str, NDArray[Any]]
CHOICES = {
    "companding": ("mu", "none"),
    "learn": ("auto", "calibrated", "weights"),
    "allocation": ("uniform", "salience"),
}
CLOSEST_DIM = 12  # above, enumerating for the closest point takes too long to be a default
CHUNK = 2**22  # weights, of all starts together, whose lattices are learned at a time


class LatticeQuantizer:
    """Quantise a matrix of weights to a few bits each, on lattices that are learned for it.

    Each group of columns has a lattice of its own and a strength of companding, which draws large weights in. Both are learned by Adam with
    the indices held constant, and the indices are chosen anew at every step.

    Parameters
    ----------
    dim : weights in a vector, 1 to 64.
    bits : of a weight, 1 to 8; not a whole number only with allocation "salience".
    group_size : columns of a group, a multiple of dim.
    companding : "mu" learns its strength, best of several starts; "none" quantises the weights as they are.
    learn : "calibrated" minimises the error of the outputs for given inputs, "weights" that of the weights; "auto" is the first where there
        are inputs.
    rounding : "nearest_plane" or "rounding" (see `babai_round`).
    feedback : where there are inputs, let each vector make up for the errors of those on its left in the group, as GPTQ does. Not in the
        paper, which rounds each vector alone.
    allocation : "uniform", or "salience" for one bit more or less for groups that matter more or less (see `allocate_bits`).
    max_iter : steps.
    learning_rate : of Adam, in units of the spread of the companded weights.
    anchor : weight of the squared distance of generators from their start, beside the relative error of the group.
    max_vectors : vectors of a group to learn from at most; all are quantised.
    device : "cpu", "cuda" or "auto", to learn on.
    random_state : seed of the choice of those vectors.

    Attributes
    ----------
    generators_, mu_ : of each group, in float16 as they are shipped; `scales_` and `bits_` beside them.
    relative_error_ : squared error of the outputs, or of the weights, over that of zeros in their place, on the rows learned from.

    Raises
    ------
    ParameterError : a parameter out of its range.

    Examples
    --------
    >>> weight = torch.randn(64, 16, generator=torch.Generator().manual_seed(0))
    >>> codes = LatticeQuantizer(dim=4, bits=3, max_iter=20).fit(weight).quantize()
    >>> codes.decode().shape, round(codes.bits_per_weight, 2)
    ((64, 16), 3.3)

    Source: Zhang, Wu, Wang and Lin, 2025, Learning Grouped Lattice Vector Quantizers for Low-Bit LLM Compression.
    """

    def __init__(
        self,
        dim: int = 8,
        bits: float = 2,
        group_size: int = 128,
        *,
        companding: str = "mu",
        learn: str = "auto",
        rounding: str = "nearest_plane",
        feedback: bool = True,
        allocation: str = "uniform",
        max_iter: int = 150,
        learning_rate: float = 1e-2,
        anchor: float = 0.1,
        max_vectors: int = 16384,
        device: str = "cpu",
        random_state: int = 0,
    ) -> None:
        self.dim, self.bits, self.group_size = dim, bits, group_size
        self.companding, self.learn, self.rounding, self.allocation = companding, learn, rounding, allocation
        self.feedback = feedback
        self.max_iter, self.learning_rate, self.anchor = max_iter, learning_rate, anchor
        self.max_vectors, self.device, self.random_state = max_vectors, device, random_state
        self._check()

    def _check(self) -> None:
        check_rounding("LatticeQuantizer", self.rounding)
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise ParameterError(
                    f"LatticeQuantizer got {name}={getattr(self, name)!r}; expected one of {', '.join(known)}."
                )
        ranges = {"dim": (1, MAX_DIM), "group_size": (1, math.inf), "max_iter": (0, math.inf), "max_vectors": (1, math.inf)}  # fmt: skip
        for name, (least, most) in ranges.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                raise ParameterError(
                    f"LatticeQuantizer got {name}={value!r}; expected a whole number from {least} to {most}."
                )
        if not 1 <= self.bits <= MAX_BITS or (self.bits % 1 and self.allocation == "uniform"):
            raise ParameterError(
                f"LatticeQuantizer got bits={self.bits!r} with allocation={self.allocation!r}; expected 1 to {MAX_BITS}, a whole number "
                "unless allocation='salience'."
            )
        if self.group_size % self.dim:
            raise ParameterError(
                f"LatticeQuantizer got group_size={self.group_size} and dim={self.dim}; expected a multiple of dim."
            )
        for name in ("learning_rate", "anchor"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ParameterError(
                    f"LatticeQuantizer got {name}={value!r}; expected a number of at least 0."
                )

    def fit(self, weight: Tensor, inputs: Tensor | InputMoments | None = None) -> Self:
        """Learn the lattices of a matrix.

        Parameters
        ----------
        weight : (rows, columns), as of `nn.Linear`.
        inputs : (n, columns) inputs of the layer, or their moments.

        Raises
        ------
        InputError : weights or inputs of another shape, or not finite.
        ParameterError : learn="calibrated" without inputs.
        """
        self._check()
        matrix = check_weight("LatticeQuantizer.fit", weight)
        size = group_size_for(matrix.shape[1], self.group_size, self.dim)
        self._calibrated = inputs is not None and self.learn != "weights"
        moments = self._moments(inputs, matrix.shape[1], size)
        vectors = cut(matrix, size, self.dim)
        rng = np.random.default_rng(self.random_state)
        used = self._used_rows(vectors, rng)
        sample = vectors[:, used]
        bits = self._allocated(sample, moments, matrix.shape[1])
        starts = (0.05, 2.0, 8.0) if self.companding == "mu" else (0.0,)
        plan = Plan(starts, self.rounding, self.max_iter, self.learning_rate, self.anchor)
        scales = vectors.abs().amax(dim=(1, 2, 3))
        step = max(1, CHUNK // (len(starts) * sample[0].numel()))
        chunks = []
        for at in range(0, len(vectors), step):
            arrays = [one[at : at + step].numpy() for one in (sample, scales, bits, moments)]
            with torch.enable_grad():  # networks are often quantised where nothing else needs gradients
                chunks.append(train(LatticeTask, (*arrays, plan), Hardware(self.device)))
        learned = {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}
        self._keep(matrix, size, sample, moments, bits, scales, learned)
        return self

    def _keep(
        self, matrix: Tensor, size: int, sample: Tensor, moments: Tensor, bits: Tensor, scales: Tensor, learned: Learned
    ) -> None:  # fmt: skip
        self.weight_, self.group_size_ = matrix, size
        self._sample, self._moments_, self._learned = sample, moments, learned
        self.bits_ = bits.to(torch.uint8)
        self.scales_ = scales
        self.generators_ = torch.from_numpy(learned["generators"]).half()
        self.mu_ = torch.from_numpy(learned["mu"]).half()
        index = self._rounded(sample, self.generators_, self.mu_)[1]
        self.relative_error_ = self._relative_error(self._weights(index, self.generators_, self.mu_))

    def quantize(self, weight: Tensor | None = None, *, rounding: str | None = None) -> LatticeCodes:
        """Return the packed codes of the fitted matrix, or of other rows on the same lattices.

        Parameters
        ----------
        weight : (any rows, columns); by default the fitted matrix.
        rounding : by default that of the quantiser; "closest" enumerates for the closest point, in up to about 12 dimensions.

        Raises
        ------
        InputError : not fitted, or another number of columns.
        """
        matrix = self._matrix(weight)
        G, mu = self.generators_, self.mu_
        index = self._rounded(cut(matrix, self.group_size_, self.dim), G, mu, rounding)[1]
        return packed(index, G, mu, self.scales_, self.bits_, matrix.shape, self.group_size_)

    def adjusted(self, weight: Tensor | None = None) -> Tensor:
        """Return real weights, float32 (rows, columns), that round to the codes vector by vector: those given, moved by the feedback.

        Parameters
        ----------
        weight : as for `quantize`.
        """
        matrix = self._matrix(weight)
        vectors = cut(matrix, self.group_size_, self.dim)
        return joined(self._rounded(vectors, self.generators_, self.mu_)[0], matrix.shape[1])

    def _matrix(self, weight: Tensor | None) -> Tensor:
        self._check_fitted()
        matrix = self.weight_ if weight is None else check_weight("LatticeQuantizer", weight)
        if matrix.shape[1] != self.weight_.shape[1]:
            raise InputError(
                f"LatticeQuantizer got {matrix.shape[1]} columns; expected {self.weight_.shape[1]}, as it was fitted on."
            )
        return matrix

    def gap(self) -> GapReport:
        """Return what the stored form costs: the relative error with generators of float32 against that of the float16 that is shipped.

        It is measured on the rows that were learned from. `agreement` is the share of equal indices; `detail["closest"]`, in up to 12
        dimensions, is the error with the closest points instead of Babai's.
        """
        self._check_fitted()
        own = {name: torch.from_numpy(array) for name, array in self._learned.items()}
        lattices = {"soft": (own["generators"], own["mu"]), "hard": (self.generators_, self.mu_)}
        index = {side: self._rounded(self._sample, *lattice)[1] for side, lattice in lattices.items()}
        weights = {side: self._weights(index[side], *lattice) for side, lattice in lattices.items()}
        detail = {}
        if self.dim <= CLOSEST_DIM:
            closest = self._rounded(self._sample, *lattices["hard"], rounding="closest")[1]
            detail["closest"] = self._relative_error(self._weights(closest, *lattices["hard"]))
        return GapReport(
            "relative_error",
            soft=self._relative_error(weights["soft"]),
            hard=self._relative_error(weights["hard"]),
            agreement=float((index["soft"] == index["hard"]).double().mean()),
            worst_disagreement=float((weights["soft"] - weights["hard"]).abs().max()),
            rows=self._sample.shape[1],
            detail=detail,
        )

    def _rounded(
        self, vectors: Tensor, G: Tensor, mu: Tensor, rounding: str | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return what is rounded (float32: the vectors, or what feedback makes of them) and the indices (int8), both of their shape."""
        method = self.rounding if rounding is None else rounding
        check_rounding("quantize()", method, (*ROUNDINGS, "closest"))
        # One group at a time: in float64 the whole of a large layer may be more than memory holds.
        groups = [self._rounded_group(slice(k, k + 1), vectors, G, mu, method) for k in range(len(vectors))]
        targets, index = zip(*groups, strict=True)
        return torch.cat(targets), torch.cat(index)

    def _rounded_group(
        self, group: slice, vectors: Tensor, G: Tensor, mu: Tensor, method: str
    ) -> tuple[Tensor, Tensor]:
        own, strength, scale = (one[group].double() for one in (G, mu, self.scales_))
        bits = self.bits_[group]

        def nearest(block: Tensor) -> Tensor:
            return _lattice_vectors(
                _nearest_index(block, own, strength, scale, bits, method), own, strength, scale
            )

        targets = vectors[group].double()
        if self.feedback and self._calibrated:
            targets = spread_errors(targets, self._moments_[group].double(), nearest)
        return targets.float(), _nearest_index(targets, own, strength, scale, bits, method).to(torch.int8)

    def _weights(self, index: Tensor, G: Tensor, mu: Tensor) -> Tensor:
        return _lattice_vectors(index, G.double(), mu.double(), self.scales_.double())

    def _relative_error(self, weights: Tensor) -> float:
        """Return the squared error of the outputs, or of the weights, over that of zeros in their place."""
        x, moments = self._sample.double(), self._moments_.double()
        spent, whole = (float(group_losses(e.flatten(1, 2), moments).sum()) for e in (weights - x, x))
        return spent / whole if whole > 0 else 0.0

    def _moments(self, inputs: Tensor | InputMoments | None, columns: int, size: int) -> Tensor:
        """Return what errors are weighted by: moments of the inputs (groups, group_size, group_size), or one for each column."""
        if inputs is None and self.learn == "calibrated":
            raise ParameterError(
                "LatticeQuantizer(learn='calibrated') got no inputs; give fit() some, or use learn='weights'."
            )
        if inputs is None or self.learn == "weights":
            return cut(torch.ones(1, columns), size, 1).reshape(-1, size)
        if not isinstance(inputs, InputMoments):
            given, inputs = inputs, InputMoments(columns, size)
            inputs.update(given)
        if (inputs.columns, inputs.group_size) != (columns, size):
            raise InputError(
                f"fit() got moments of {inputs.columns} columns in groups of {inputs.group_size}; expected {columns} in groups of {size}."
            )
        return inputs.blocks.float().cpu()

    def _used_rows(self, vectors: Tensor, rng: np.random.Generator) -> Tensor:
        rows, in_a_row = vectors.shape[1:3]
        count = min(rows, -(-self.max_vectors // in_a_row))
        return torch.from_numpy(np.sort(rng.permutation(rows)[:count]))

    def _allocated(self, sample: Tensor, moments: Tensor, columns: int) -> Tensor:
        """Return the bits of each group; a last group with fewer columns than the others keeps the usual number."""
        usual = torch.full((len(sample),), math.floor(self.bits))
        if self.allocation == "uniform":
            return usual
        plan = Plan((0.0,), self.rounding, 0, 0.0, 0.0)
        scales = sample.abs().amax(dim=(1, 2, 3))
        task = LatticeTask(sample.numpy(), scales.numpy(), usual.numpy(), moments.numpy(), plan)
        salience = task.result()["loss"]
        full = len(sample) - bool(columns % self.group_size and len(sample) > 1)
        usual[:full] = torch.tensor(allocate_bits(salience[:full].tolist(), self.bits))
        return usual

    def _check_fitted(self) -> None:
        if not hasattr(self, "generators_"):
            raise InputError("this LatticeQuantizer has learned nothing yet. Call fit() first.")


def _nearest_index(
    vectors: Tensor, G: Tensor, mu: Tensor, scales: Tensor, bits: Tensor, method: str
) -> Tensor:
    """Return the indices of vectors (groups, rows, vectors in a row, d) in that shape."""
    u = compand(vectors.flatten(1, 2), mu, scales)
    if method != "closest":
        return lattice_index(G, u, bits, method=method).reshape(vectors.shape)
    middles = G.sum(dim=-1) / 2
    groups = zip(G, u - middles[:, None], bits.tolist(), strict=True)
    index = [closest_lattice_point(one, points, bits=b) for one, points, b in groups]
    return torch.stack(index).reshape(vectors.shape)


def _lattice_vectors(index: Tensor, G: Tensor, mu: Tensor, scales: Tensor) -> Tensor:
    """Return the vectors of indices (groups, rows, vectors in a row, d) in that shape."""
    return lattice_weights(index.flatten(1, 2), G, mu, scales).reshape(index.shape)


def packed(
    index: Tensor, generators: Tensor, mu: Tensor, scales: Tensor, bits: Tensor, shape: Any, group_size: int
) -> LatticeCodes:
    """Return the artifact of indices (groups, rows, vectors in a row, d) and the lattices that they are on."""
    dim = generators.shape[-1]
    rows, columns = (int(size) for size in shape)
    numbers = []
    for group, one in enumerate(index.detach().cpu().long()):
        width = min(group_size, columns - group * group_size)
        numbers.append(one[:, : -(-width // dim)].numpy())
    return LatticeCodes.pack(
        numbers,
        generators=generators.detach().half().cpu().numpy(),
        mu=mu.detach().half().cpu().numpy(),
        scales=scales.detach().float().cpu().numpy(),
        bits=bits.detach().to("cpu", torch.uint8).numpy(),
        shape=(rows, columns),
        group_size=group_size,
    )


def decoded(index: Tensor, generators: Tensor, mu: Tensor, scales: Tensor, columns: int) -> Tensor:
    """Return the matrix of indices (groups, rows, vectors in a row, d), float32, decoded as the artifact does it."""
    exact = exact_dtype(index.device)
    weights = _lattice_vectors(index, generators.to(exact), mu.to(exact), scales.to(exact))
    return joined(weights, columns).float()
