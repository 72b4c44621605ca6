"""MemoryForest: a soft forest whose leaves read and write the rows of a response memory. Training it is `memory_training`."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hardgrad.core.errors import DataError, HardenError, ParameterError
from hardgrad.core.gap import GapReport
from hardgrad.core.mode import Mode
from hardgrad.core.relaxed import Relaxed
from hardgrad.tabular.table_model import Link
from hardgrad.tabular.weights import check_weights
from hardgrad.trees.assemble import Frame
from hardgrad.trees.forest import Forest
from hardgrad.trees.memory_model import MemoryForestModel, merge_rows
from hardgrad.trees.response_memory import ResponseMemory
from hardgrad.trees.routing import forest_output, route
from hardgrad.trees.soft_forest import SoftForest

BLOCK = 4096
LEAST_SHARE = 1e-3  # of a class, where its logarithm is taken


@dataclass(frozen=True)
class Compression:
    """What sharing responses saves in the exact forest.

    Parameters
    ----------
    leaves : leaves of all trees, each of which would have a row of its own.
    rows : distinct rows that they share.
    dim : numbers a row.
    """

    leaves: int
    rows: int
    dim: int

    @property
    def ratio(self) -> float:
        """How many times fewer response values there are."""
        return self.leaves / self.rows

    @property
    def byte_ratio(self) -> float:
        """How many times fewer bytes, with 8 a value and one small integer a leaf that says which row is its own."""
        index = 1 if self.rows <= 2**8 else 2 if self.rows <= 2**16 else 4
        return 8 * self.leaves * self.dim / (8 * self.rows * self.dim + index * self.leaves)


class MemoryForest(Relaxed):
    """A soft forest over an external memory: each leaf reads slots of it, and the forest is the mean of its trees.

    Parameters
    ----------
    controller : `SoftForest` that routes rows, of one member; its own leaves are not used, its frame says what the columns mean.
    memory : `ResponseMemory`. With addressing "leaf" it has a slot for each leaf; with "content" slots are shared, and each leaf has a key.
    n_read : slots that a leaf reads when soft, with addressing "content"; all by default. When hard it reads the nearest one.
    generator : of the keys of the leaves; torch's own by default.

    Notes
    -----
    Keys are needed in training only, where they cost more memory than shared slots save: what is small is the exact forest.
    `forward` takes standard scores (B, features), as `SoftForest` does, and returns (B, dim). The weights of a row's address sum to 1.

    Examples
    --------
    >>> controller = SoftForest(n_features=3, n_trees=2, depth=2, n_outputs=1)
    >>> forest = MemoryForest(controller, ResponseMemory(8, 1))
    >>> forest(torch.zeros(5, 3)).shape, forest.address(torch.zeros(5, 3)).sum(dim=1).tolist()
    (torch.Size([5, 1]), [1.0, 1.0, 1.0, 1.0, 1.0])

    Source: see `ResponseMemory`.
    """

    def __init__(
        self,
        controller: SoftForest,
        memory: ResponseMemory,
        n_read: int | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(float(controller.temperature))
        leaves = controller.n_trees * 2**controller.depth
        if controller.members != 1:
            raise ParameterError(
                f"MemoryForest() got a controller of {controller.members} members; expected one."
            )
        if memory.addressing == "leaf" and memory.n_slots != leaves:
            raise ParameterError(
                f"MemoryForest() got a memory of {memory.n_slots} slots for {leaves} leaves; expected one a leaf. Use addressing='content' "
                "to share slots."
            )
        if n_read is not None and (
            memory.addressing == "leaf" or isinstance(n_read, bool) or not 1 <= n_read <= memory.n_slots
        ):
            raise ParameterError(
                f"MemoryForest() got n_read={n_read!r} with addressing={memory.addressing!r}; expected None, or with 'content' 1 to the "
                f"{memory.n_slots} slots."
            )
        self.controller, self.memory, self.n_read, self.leaves = controller, memory, n_read, leaves
        controller.leaf.requires_grad_(False)
        controller.bias.requires_grad_(False)
        if memory.addressing == "content":
            self.leaf_key = nn.Parameter(
                torch.randn(leaves, memory.key_dim, generator=generator) / math.sqrt(memory.key_dim)
            )

    @classmethod
    def for_table(cls, X: Any, y: Any, **options: Any) -> MemoryForest:
        """Return an untrained forest for a table and its target (see `hardgrad.trees.memory_training.start_memory_forest`)."""
        from hardgrad.trees.memory_training import start_memory_forest

        return start_memory_forest(X, y, **options)

    def fit(self, X: Any, y: Any, sample_weight: Any = None, **options: Any) -> Self:
        """Train router, keys and memory by gradients (see `hardgrad.trees.memory_training.fit_memory_forest`)."""
        from hardgrad.trees.memory_training import fit_memory_forest

        fit_memory_forest(self, X, y, sample_weight, **options)
        return self

    # --- reading -------------------------------------------------------------------------------------------------------------
    def own_temperature(self) -> Tensor:
        """Return the controller's temperature."""
        return self.controller.own_temperature()

    def set_temperature(self, value: float) -> None:
        """Set the temperature of the gates."""
        super().set_temperature(value)
        self.controller.set_temperature(value)

    def forward(self, scores: Tensor, *, temperature: Any = None, mode: Mode | None = None) -> Tensor:
        """Return responses (B, dim): the mean over the trees of what the leaves of a row read."""
        how: dict[str, Any] = {
            "temperature": self.resolved_temperature(temperature),
            "mode": self.resolved_mode(mode),
        }
        rows = self.leaf_responses(**how).view(1, self.controller.n_trees, -1, self.memory.dim)
        return forest_output(self.controller.gates(scores, **how), rows)[0] / self.controller.n_trees

    def leaf_responses(self, *, temperature: Any = None, mode: Mode | None = None) -> Tensor:
        """Return what each leaf reads, (leaves, dim)."""
        if self.memory.addressing == "leaf":
            return self.memory.bank
        return self.memory.read(self.shares(temperature=temperature, mode=mode))

    def shares(self, *, temperature: Any = None, mode: Mode | None = None) -> Tensor:
        """Return how much each slot counts for each leaf, (leaves, n_slots), where slots are shared; rows sum to 1."""
        return self.memory.content(
            self.leaf_key,
            n_read=self.n_read,
            temperature=self.resolved_temperature(temperature),
            mode=self.resolved_mode(mode),
        )

    def address(self, scores: Tensor, *, temperature: Any = None, mode: Mode | None = None) -> Tensor:
        """Return how much each slot takes part in the response to each row, (B, n_slots); rows sum to 1."""
        how: dict[str, Any] = {
            "temperature": self.resolved_temperature(temperature),
            "mode": self.resolved_mode(mode),
        }
        of_leaves = route(self.controller.gates(scores, **how))[0].flatten(0, 1).mT / self.controller.n_trees
        return of_leaves if self.memory.addressing == "leaf" else of_leaves @ self.shares(**how)

    # --- writing -------------------------------------------------------------------------------------------------------------
    @torch.no_grad()
    def write_from_batch(
        self,
        scores: Tensor,
        target: Tensor,
        sample_weight: Tensor | None = None,
        *,
        rate: float | None = None,
        mode: Mode | None = None,
    ) -> None:
        """Write what rows answer into the slots that they address, without a gradient.

        Parameters
        ----------
        scores : (B, features), standard scores.
        target : (B, dim).
        sample_weight : (B,).
        rate, mode : see `ResponseMemory.write_rows`; in mode "hard" a row touches one slot a tree.

        Raises
        ------
        UnsupportedError : the memory is in training (see `ResponseMemory.for_writing`).
        """
        weights = [None] * len(scores.split(BLOCK)) if sample_weight is None else sample_weight.split(BLOCK)
        for x, y, weight in zip(scores.split(BLOCK), target.split(BLOCK), weights, strict=True):
            self.memory.write_rows(self.address(x, mode=mode), y, rate=rate, sample_weight=weight)

    def start_writing(self) -> None:
        """Turn the memory from training to writing: responses become means of what is written, in the units of the target.

        Rows that nothing is written to answer with the softmax of what training left in them (classification), or with that itself.
        """
        if self.memory.is_written:
            return
        self.memory.for_writing()
        self.memory.reset(self._switch_link("identity"))

    def start_training(self) -> None:
        """Turn the memory from writing to training; shares of classes become their logarithms."""
        if not self.memory.is_written:
            return
        self.memory.reset(self._switch_link("softmax"))
        self.memory.for_training()

    def _switch_link(self, link: Link) -> Tensor:
        """Make a classification speak in scores ("softmax") or in shares ("identity"), and return the responses in that form."""
        frame, bank = self._frame(), self.memory.bank.detach().clone()
        if frame.task == "regression" or frame.link == link:
            return bank
        self.controller.frame = replace(frame, link=link)
        return torch.softmax(bank, dim=-1) if link == "identity" else bank.clamp_min(LEAST_SHARE).log()

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, *, rate: float | None = None) -> Self:
        """Write further rows of a table into the memory, by the exact route: no gradient, one slot a tree for each row.

        Parameters
        ----------
        X : a table of raw columns.
        y : labels that the forest knows, or numbers.
        sample_weight : not negative.
        rate : of an exponential mean; by default the running mean of all rows written so far.

        Raises
        ------
        DataError : a label that the forest does not know; weights that are negative or all 0.
        """
        self.start_writing()
        scores, target = self.scores(X).numpy(force=True), torch.from_numpy(self.targets(y))
        if len(scores) != len(target):
            raise DataError(f"X has {len(scores)} rows and y {len(target)}; expected as many.")
        weight = torch.from_numpy(check_weights(sample_weight, len(scores)))
        slots = torch.from_numpy(self.to_model().slots_of(scores.astype(np.float32))).long()
        bank = self.memory.bank
        for picked, values, part in zip(
            slots.split(BLOCK), target.split(BLOCK), weight.split(BLOCK), strict=True
        ):
            address = torch.zeros(len(picked), self.memory.n_slots, dtype=torch.float64)
            address.scatter_add_(
                1, picked, torch.full(picked.shape, 1.0 / picked.shape[1], dtype=torch.float64)
            )
            self.memory.write_rows(address.to(bank), values.to(bank), rate=rate, sample_weight=part.to(bank))
        return self

    def scores(self, X: Any) -> Tensor:
        """Return the standard scores (n, features) of a table of raw columns."""
        frame = self._frame()
        return torch.from_numpy(frame.codes.encode_scores(frame.schema.encode(X))).to(self.controller.weight)

    def targets(self, y: Any) -> NDArray[np.float64]:
        """Return targets as the memory holds them, [n, dim]: one-hot rows of labels, or numbers standardised as in training."""
        frame = self._frame()
        if frame.task == "regression":
            values = np.asarray(y, dtype=np.float64).reshape(len(y), -1)
            if values.shape[1] != self.memory.dim or not np.isfinite(values).all():
                raise DataError(
                    f"y has shape {np.shape(y)} and {np.isnan(values).sum()} missing values; expected {self.memory.dim} finite numbers a "
                    "row."
                )
            if frame.scale is None or frame.shift is None:
                return values
            return (values - frame.shift) / frame.scale
        labels, classes = np.asarray(y), np.array(frame.classes)
        place = np.minimum(np.searchsorted(classes, labels), len(classes) - 1)
        if len(unknown := np.flatnonzero(classes[place] != labels)):
            raise DataError(
                f"y holds {labels.tolist()[unknown[0]]!r} in row {unknown[0]}; the forest knows {list(frame.classes)}. Start a new one "
                "for others."
            )
        return np.eye(len(classes))[place]

    @property
    def targets_are_classes(self) -> bool:
        """Whether the forest classifies."""
        return self._frame().task == "classification"

    def _frame(self) -> Frame:
        if self.controller.frame is None:
            raise HardenError(
                "this needs a controller with a frame, which says what the columns are. Use MemoryForest.for_table()."
            )
        return self.controller.frame

    # --- the hard face -------------------------------------------------------------------------------------------------------
    def to_model(self) -> MemoryForestModel:
        """Return the exact forest as an artifact that also holds what `load` needs to go on training or writing."""
        c, m = self.controller, self.memory
        slot = torch.arange(self.leaves)
        tensors = {"weight": c.weight[0], "offset": c.offset[0], "bank": m.bank, "mass": m.mass}
        if m.addressing == "content":
            slot = self.shares(mode="hard").argmax(dim=1)
            tensors |= {"leaf_key": self.leaf_key, "slot_key": m.slot_key, "raw_beta": m.raw_beta.reshape(1)}
        arrays = {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}
        return MemoryForestModel.of(
            self._frame(), {**arrays, "slot": slot.cpu().numpy().astype(np.int32)}, split=c.split, n_trees=c.n_trees, depth=c.depth,
            temperature=float(c.temperature), n_read=self.n_read, is_written=m.is_written,
        )  # fmt: skip

    def harden(self, tolerance: float = 0.0) -> Forest:
        """Return the exact `Forest`: every row takes one way through each tree, every leaf answers with the row of its nearest slot.

        Parameters
        ----------
        tolerance : rows that differ by at most this in every number become one row.
        """
        return self.to_model().to_forest(tolerance)

    def compression(self, tolerance: float = 0.0) -> Compression:
        """Return how many distinct rows the leaves of the exact forest share (see `harden`)."""
        with torch.no_grad():
            rows = self.leaf_responses(mode="hard").double().cpu().numpy()
        return Compression(self.leaves, len(merge_rows(rows, tolerance)[0]), self.memory.dim)

    def predict(self, X: Any) -> NDArray[Any]:
        """Return labels or values of the exact forest."""
        return self.harden().predict(X)

    def measure_gap(self, X: Any, y: Any) -> GapReport:
        """Return what hardening costs on given rows: accuracy, or mean squared error; the worst disagreement is of raw outputs."""
        frame, forest = self._frame(), self.harden()
        with torch.no_grad():
            soft = frame.output(self(self.scores(X), mode="soft").double().cpu().numpy())
        hard = forest.predict_raw(X)
        said = [forest.raw_to_prediction(raw) for raw in (soft, hard)]
        classify = frame.task == "classification"
        y = np.asarray(y)
        value = [
            float((s == y).mean() if classify else np.square(s - y.reshape(s.shape)).mean()) for s in said
        ]
        near = said[0] == said[1] if classify else np.abs(said[0] - said[1]) <= 0.1 * y.std()
        apart = np.abs(soft - hard)
        return GapReport(
            "accuracy" if classify else "mse", soft=value[0], hard=value[1], agreement=float(near.mean()), rows=len(y),
            worst_disagreement=float(apart.max()), higher_is_better=classify, detail={"mean_difference": float(apart.mean())},
        )  # fmt: skip

    # --- on disk -------------------------------------------------------------------------------------------------------------
    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the exact forest, with what `load` needs to go on, to one file."""
        return self.to_model().save(path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> MemoryForest:
        """Return the forest that was saved: it reads, trains and writes as the one that was saved."""
        return cls.from_model(MemoryForestModel.load(path))

    @classmethod
    def from_model(cls, model: MemoryForestModel) -> MemoryForest:
        """Invert `to_model`."""
        frame, dim = model.frame, model.bank.shape[1]
        controller = SoftForest(
            model.n_features, model.n_trees, model.depth, dim, split=model.split, temperature=model.temperature, frame=frame,
        )  # fmt: skip
        content = model.is_shared
        memory = ResponseMemory(
            len(model.bank), dim, "content" if content else "leaf", key_dim=model.slot_key.shape[1] or 1
        )
        new = cls(controller, memory, model.n_read)
        with torch.no_grad():
            pairs = [
                (controller.weight[0], model.weight),
                (controller.offset[0], model.offset),
                (memory.bank, model.bank),
            ]
            pairs += [(memory.mass, model.mass)]
            if content:
                pairs += [
                    (new.leaf_key, model.leaf_key),
                    (memory.slot_key, model.slot_key),
                    (memory.raw_beta, model.raw_beta[0]),
                ]
            for tensor, array in pairs:
                tensor.copy_(torch.from_numpy(np.array(array)))
        if model.is_written:
            memory.for_writing()
        return new
