"""ContrastiveHashingLoss: binary codes that are alike where labels are alike, weighted by how likely each instance is there at all."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from hardgrad.core.errors import InputError, ParameterError
from hardgrad.core.mode import Mode, check_temperature
from hardgrad.functional.operands import check_choice, settle

Selection = Literal["max", "mean"]
LEAST_WEIGHT = 1e-9  # the square root of a weight has no slope at 0


class ContrastiveHashingLoss(nn.Module):
    """Pull codes of one label together and push others away, by the share of bits that agree.

    The similarity of two instances is the expected share of bits on which they agree, times the root of the product of the probabilities
    that they are there.

    Parameters
    ----------
    num_bits : bits in a code.
    temperature : in units of similarity, which is 0 to 1; small looks at the most similar negatives only.
    selection : "max" asks that one other instance of the label is near, whichever is nearest, so that a label may have several codes;
        "mean" asks it of all of them.

    Raises
    ------
    ParameterError, TemperatureError : an argument outside its range.

    Examples
    --------
    >>> bits = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9]])
    >>> loss = ContrastiveHashingLoss(2, temperature=0.2)
    >>> alike, mixed = loss(bits, torch.tensor([0, 0, 1])), loss(bits, torch.tensor([0, 1, 0]))
    >>> round(alike.item(), 3), round(mixed.item(), 3)
    (0.073, 1.886)

    Source: Wang and Utiyama, 2024, To be Continuous, or to be Discrete, Those are Bits of Questions (the similarity is ours); "mean" is
    Khosla et al., 2020, Supervised Contrastive Learning.
    """

    def __init__(self, num_bits: int, temperature: float = 0.2, selection: Selection = "max") -> None:
        super().__init__()
        if type(num_bits) is not int or num_bits < 1:
            raise ParameterError(
                f"ContrastiveHashingLoss got num_bits={num_bits!r}; expected a whole number of at least 1."
            )
        check_choice("ContrastiveHashingLoss", "selection", selection, ("max", "mean"))
        self.num_bits, self.selection = num_bits, selection
        self.temperature = float(check_temperature(temperature, "ContrastiveHashingLoss"))

    def forward(
        self, bits: Tensor, labels: Tensor, weights: Tensor | None = None, *, mode: Mode | None = None
    ) -> Tensor:
        """Return the loss, a mean over the instances that have both another instance of their label and one that is not.

        Parameters
        ----------
        bits : (N, num_bits), probability that each bit is 1.
        labels : (N,), numbers of labels; a negative one marks an instance that has none: it counts against all others.
        weights : (N,), probability that each instance is there, as in span marginals; 1 by default.
        mode : "soft", "st" (exact bits, with the gradient of their probabilities) or "hard"; bits are 1 above a half.

        Raises
        ------
        InputError : other shapes, NaN, probabilities outside [0, 1].
        """
        present = bits.new_ones(bits.shape[:1]) if weights is None else weights
        self._check(bits, labels, present)
        call = settle("ContrastiveHashingLoss", bits, mode=mode, truths=True)
        weight = settle("ContrastiveHashingLoss", present, mode="soft", truths=True).tensors[0]
        codes = call.result(lambda: (bits > 0.5).to(call.dtype), lambda: call.tensors[0]).to(weight.dtype)
        named = labels >= 0
        same = labels[named].unsqueeze(1) == labels
        itself = torch.eye(len(labels), dtype=torch.bool, device=bits.device)[named]
        positive = same & ~itself
        counted = positive.any(1) & ~same.all(1)
        logits = self._similarity(codes, weight, named)[counted] / self.temperature
        if not len(logits):
            return (codes.sum() + weight.sum()) * 0.0
        each = _of_nearest if self.selection == "max" else _of_all
        return each(logits, positive[counted], ~same[counted]).mean().to(call.dtype)

    def _similarity(self, codes: Tensor, weight: Tensor, rows: Tensor) -> Tensor:
        """Expected share of bits that agree, p q + (1 - p) (1 - q) in the mean over bits, of some rows with all."""
        signs = 2.0 * codes - 1.0
        root = weight.clamp(min=LEAST_WEIGHT).sqrt()
        agreement = 0.5 + 0.5 * (signs[rows] @ signs.T) / self.num_bits
        return root[rows].unsqueeze(1) * agreement * root

    def _check(self, bits: Tensor, labels: Tensor, weights: Tensor) -> None:
        fits = bits.dim() == 2 and bits.shape[1] == self.num_bits
        if not fits or labels.shape != bits.shape[:1] or weights.shape != bits.shape[:1]:
            raise InputError(
                f"ContrastiveHashingLoss() got bits {tuple(bits.shape)}, labels {tuple(labels.shape)} and weights "
                f"{tuple(weights.shape)}; expected (N, {self.num_bits}), (N,) and (N,)."
            )
        if labels.is_floating_point() or labels.is_complex():
            raise InputError(
                f"ContrastiveHashingLoss() got labels of {labels.dtype}; expected whole numbers."
            )

    def extra_repr(self) -> str:
        """Return the arguments, for the text of a module."""
        return f"num_bits={self.num_bits}, temperature={self.temperature}, selection={self.selection!r}"


def _of_nearest(logits: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    nearest = logits.masked_fill(~positive, -torch.inf).amax(1)
    others = torch.logsumexp(logits.masked_fill(~negative, -torch.inf), 1)
    return softplus(others - nearest)


def _of_all(logits: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    everyone = torch.logsumexp(logits.masked_fill(~(positive | negative), -torch.inf), 1)
    return everyone - (logits * positive).sum(1) / positive.sum(1)
