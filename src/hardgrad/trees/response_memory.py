"""ResponseMemory: a bank of responses that is read, trained by gradients, and written without. What addresses it is `memory_forest`."""

from __future__ import annotations

import math
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from hardgrad.core.errors import InputError, ParameterError, UnsupportedError
from hardgrad.core.mode import Mode, resolve_mode, resolve_temperature
from hardgrad.core.relaxed import straight_through
from hardgrad.functional.operands import check_choice, check_finite
from hardgrad.functional.subset_weights import topk_weights

Addressing = Literal["leaf", "content"]
RAW_BETA = 3.98  # sharpness softplus(raw) + 1 = 5 at the start
CHOICE = 0.05  # temperature of the choice of the slots that are read at all
SPREAD = 1.0  # of responses at the start: slots that are nearly alike give keys no gradient, and some are never used


class ResponseMemory(nn.Module):
    """Rows of responses, addressed by weights that say how much each row takes part.

    The bank is either trained, as a parameter, or written, as a buffer: `for_training` and `for_writing` say which. Both read it.

    Parameters
    ----------
    n_slots : rows of the bank.
    dim : numbers a row.
    addressing : "leaf" (each leaf of a forest has a slot of its own) or "content" (slots are shared: whoever reads has a key, slots have
        keys, and near ones count).
    key_dim : length of the keys, for "content".
    generator : of the first responses and keys; torch's own by default.

    Attributes
    ----------
    bank : (n_slots, dim), standard normal at the start.
    mass : float64 (n_slots,), total weight of what running means were made of.

    Examples
    --------
    >>> memory = ResponseMemory(2, 1).for_writing()
    >>> memory.write(torch.tensor([1.0, 0.5]), erase=torch.ones(1), add=torch.tensor([4.0]))
    >>> memory.bank[0].item(), memory.read(torch.tensor([[1.0, 0.0]])).tolist()
    (4.0, [[4.0]])

    Source: Chen, 2020, A short note on the decision tree based neural Turing machine; Graves, Wayne and Danihelka, 2014, Neural Turing
    Machines. Shared slots and running means are this library's own.
    """

    bank: Tensor
    mass: Tensor

    def __init__(
        self,
        n_slots: int,
        dim: int,
        addressing: Addressing = "leaf",
        *,
        key_dim: int = 16,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_choice("ResponseMemory", "addressing", addressing, ("leaf", "content"))
        for name, value in (("n_slots", n_slots), ("dim", dim), ("key_dim", key_dim)):
            if type(value) is not int or value < 1:
                raise ParameterError(
                    f"ResponseMemory() got {name}={value!r}; expected a whole number of at least 1."
                )
        self.n_slots, self.dim, self.addressing, self.key_dim = n_slots, dim, addressing, key_dim
        self.bank = nn.Parameter(SPREAD * torch.randn(n_slots, dim, generator=generator))
        self.register_buffer("mass", torch.zeros(n_slots, dtype=torch.float64))
        if addressing == "content":
            self.slot_key = nn.Parameter(
                torch.randn(n_slots, key_dim, generator=generator) / math.sqrt(key_dim)
            )
            self.raw_beta = nn.Parameter(torch.tensor(RAW_BETA))

    # --- trained or written ------------------------------------------------------------------------------------------------
    @property
    def is_written(self) -> bool:
        """Whether the bank is a buffer that is written, not a parameter that is trained."""
        return "bank" in self._buffers

    def for_training(self) -> Self:
        """Make the bank a parameter, for gradients."""
        if self.is_written:
            value = self.bank
            del self.bank
            self.bank = nn.Parameter(value)
        return self

    def for_writing(self) -> Self:
        """Make the bank a buffer, for `write` and `write_rows`."""
        if not self.is_written:
            value = self.bank.detach()
            del self.bank
            self.register_buffer("bank", value)
        return self

    @torch.no_grad()
    def reset(self, prior: Tensor | None = None) -> None:
        """Forget: every row becomes `prior`, 0 by default, or one of its rows (n_slots, dim), and no row has a mass."""
        self._check_written("reset")
        self.bank.copy_(torch.zeros(self.dim) if prior is None else prior)
        self.mass.zero_()

    # --- reading and writing -----------------------------------------------------------------------------------------------
    def read(self, weights: Tensor) -> Tensor:
        """Return the mixture of rows, (..., dim), for weights (..., n_slots)."""
        self._check_shape("read", weights, self.n_slots)
        return weights @ self.bank

    @torch.no_grad()
    def write(self, weights: Tensor, erase: Tensor, add: Tensor) -> None:
        """Write in place: every row q becomes q * (1 - w * erase) + w * add.

        Parameters
        ----------
        weights : (n_slots,), how much each row takes part.
        erase : (dim,), between 0 and 1.
        add : (dim,).

        Raises
        ------
        UnsupportedError : the bank is a parameter, in training.
        InputError : a shape that does not fit, or an erase outside [0, 1].
        """
        self._check_written("write")
        for tensor, size in ((weights, self.n_slots), (erase, self.dim), (add, self.dim)):
            self._check_shape("write", tensor, size)
        if not bool(((erase >= 0) & (erase <= 1)).all()):
            raise InputError(
                f"write() got erase from {float(erase.min())} to {float(erase.max())}; expected values between 0 and 1."
            )
        w = weights.unsqueeze(-1)
        self.bank.mul_(1.0 - w * erase).add_(w * add)  # in place: graphs that have read what was there fail

    @torch.no_grad()
    def write_rows(
        self,
        weights: Tensor,
        values: Tensor,
        *,
        rate: float | None = None,
        sample_weight: Tensor | None = None,
    ) -> None:
        """Move the rows towards values, one example after the other.

        Parameters
        ----------
        weights : (B, n_slots).
        values : (B, dim).
        rate : of an exponential mean, each example by `write` with erase = rate and add = rate * value, in their order; by default the
            exact running mean of all examples so far, in which the order does not matter: a row without mass keeps what it has.
        sample_weight : (B,), not negative; multiplies the weights.
        """
        self._check_written("write_rows")
        self._check_shape("write_rows", weights, self.n_slots)
        self._check_shape("write_rows", values, self.dim)
        check_finite("write_rows", values)
        if sample_weight is not None:
            weights = weights * sample_weight.unsqueeze(-1)
        if rate is None:
            w = weights.double()
            mass = self.mass + w.sum(dim=0)
            total = self.mass.unsqueeze(-1) * self.bank.double() + w.mT @ values.double()
            seen = mass > 0
            self.bank[seen] = (total[seen] / mass[seen].unsqueeze(-1)).to(self.bank.dtype)
            self.mass.copy_(mass)
            return
        for w, value in zip(weights, values, strict=True):
            self.write(w, torch.full_like(value, rate), rate * value)

    def _check_written(self, what: str) -> None:
        if not self.is_written:
            raise UnsupportedError(
                f"{what}() changes the bank in place, which is a parameter in training here. Call memory.for_writing() first; a step "
                "either trains or writes."
            )

    @staticmethod
    def _check_shape(what: str, tensor: Tensor, size: int) -> None:
        if tensor.dim() == 0 or tensor.shape[-1] != size:
            raise InputError(
                f"{what}() got a tensor of shape {tuple(tensor.shape)}; expected {size} numbers in the last dimension."
            )

    # --- content -----------------------------------------------------------------------------------------------------------
    def content(
        self, keys: Tensor, *, n_read: int | None = None, temperature: Any = None, mode: Mode | None = None
    ) -> Tensor:
        """Return how much each slot counts for whoever has these keys, (R, n_slots); rows sum to 1.

        Parameters
        ----------
        keys : (R, key_dim); compared with the keys of the slots by cosine, and softmax makes weights of it. Its sharpness is trained.
        n_read : how many slots count at all; all by default.
        temperature : divides the sharpness; 1 by default, small is hard.
        mode : "hard" is the nearest slot alone.
        """
        resolved = resolve_mode(mode)
        cosine = nn.functional.normalize(keys, dim=-1) @ nn.functional.normalize(self.slot_key, dim=-1).mT
        exact = topk_weights(cosine.detach(), 1, mode="hard")
        if resolved == "hard":
            return exact
        beta = (nn.functional.softplus(self.raw_beta) + 1.0) / resolve_temperature(temperature, 1.0)
        soft = torch.softmax(beta * cosine, dim=-1)
        if n_read is not None and n_read < self.n_slots:
            soft = soft * topk_weights(cosine, n_read, temperature=CHOICE, mode="soft")
            soft = soft / soft.sum(dim=-1, keepdim=True)
        return soft if resolved == "soft" else straight_through(exact, soft)
