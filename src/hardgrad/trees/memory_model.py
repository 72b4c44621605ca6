"""MemoryForestModel: a forest over shared responses as one file, with its exact answers and its state. Never imports torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import ArtifactError
from hardgrad.tabular.schema import TableSchema
from hardgrad.tabular.table_model import Label, Link, TableModel, Task
from hardgrad.trees.assemble import Frame, assemble
from hardgrad.trees.codes import FeatureCodes
from hardgrad.trees.forest import Forest
from hardgrad.trees.perfect import PerfectForest

Array = NDArray[np.float64]
SPLITS = ("sparse_oblique", "axis", "oblivious")
MAX_DEPTH = 12
MAX_TREES = 2**16


def merge_rows(rows: Array, tolerance: float = 0.0) -> tuple[Array, NDArray[np.int64]]:
    """Return a table of distinct rows and the place of each row in it: no number moves by more than the tolerance.

    Parameters
    ----------
    rows : [n, dim].
    tolerance : a row goes to the first row of the table that differs by at most this in every number, else it becomes a row of its own.

    Examples
    --------
    >>> table, place = merge_rows(np.array([[0.0], [5.0], [0.1], [5.0]]), 0.2)
    >>> table.tolist(), place.tolist()
    ([[0.0], [5.0]], [0, 1, 0, 1])
    """
    _, first, inverse = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")  # distinct rows, as they come
    table: list[int] = []
    place = np.empty(len(first), dtype=np.int64)
    for number in order:
        row = rows[first[number]]
        near = np.flatnonzero((np.abs(rows[table] - row) <= tolerance).all(axis=1))
        place[number] = near[0] if len(near) else len(table)
        if not len(near):
            table.append(int(first[number]))
    return rows[table], place[inverse.reshape(-1)]


@dataclass(frozen=True, eq=False)
class MemoryForestModel(TableModel, kind="memory-forest"):
    """An exact forest whose leaves read the rows of a bank, with the state to go on training or writing it.

    It answers as its `to_forest()` does. `hardgrad.trees.MemoryForest.load` goes on.

    Parameters
    ----------
    schema, link, task, classes, target : as in `TableModel`.
    cut_offset, cut, score : int32 [features + 1], float64 [cuts], int32 [cuts + features]; codes of the features, as in `Forest`.
    weight, offset : [tests, features] and [tests], of the dtype of the bank; a row goes left where weight x + offset <= 0, x its standard
        scores.
    bank : float32 or float64 [slots, dim].
    mass : float64 [slots].
    slot : int32 [leaves], the row of the bank that each leaf reads when hard.
    leaf_key, slot_key, raw_beta : of the dtype of the bank; keys and sharpness of shared slots; [0, 0] and [0] where each leaf has its own.
    scale, shift : float64 [dim]; a response r means r * scale + shift.
    split, n_trees, depth, temperature : of the router.
    n_read : slots that a leaf reads when soft, None for all.
    is_written : whether the bank is written, not trained.
    """

    schema: TableSchema
    cut_offset: NDArray[np.int32]
    cut: Array
    score: NDArray[np.int32]
    weight: NDArray[Any]
    offset: NDArray[Any]
    bank: NDArray[Any]
    mass: Array
    slot: NDArray[np.int32]
    leaf_key: NDArray[Any]
    slot_key: NDArray[Any]
    raw_beta: NDArray[Any]
    scale: Array
    shift: Array
    split: Any
    n_trees: int
    depth: int
    temperature: float
    n_read: int | None
    is_written: bool
    link: Link = "softmax"
    task: Task = "classification"
    classes: tuple[Label, ...] = ()
    target: str = ""

    _dtypes: ClassVar[dict[str, type]] = {
        "cut_offset": np.int32, "cut": np.float64, "score": np.int32, "mass": np.float64, "slot": np.int32, "scale": np.float64,
        "shift": np.float64,
    }  # fmt: skip

    def __post_init__(self) -> None:
        for name, array in self.arrays().items():
            wanted = np.dtype(self._dtypes.get(name, self.bank.dtype))
            if array.dtype != wanted or wanted.kind not in "if":
                raise ArtifactError(f"array {name!r} of a memory forest is {array.dtype}, expected {wanted}.")
            if not np.isfinite(array).all():
                raise ArtifactError(f"array {name!r} of a memory forest holds NaN or infinity.")
        self.freeze()
        self._check_metadata()
        self._check_shapes()
        _ = self.forest  # checks the rest: codes, link, classes

    def _check_metadata(self) -> None:
        for name, least, most in (("n_trees", 1, MAX_TREES), ("depth", 1, MAX_DEPTH)):
            value: object = getattr(self, name)
            if type(value) is not int or not least <= value <= most:
                raise ArtifactError(f"{name} of a memory forest is {value!r}; expected {least} to {most}.")
        if self.split not in SPLITS:
            raise ArtifactError(
                f"split of a memory forest is {self.split!r}; expected one of {', '.join(SPLITS)}."
            )
        if type(self.temperature) is not float or not 0 < self.temperature < math.inf:
            raise ArtifactError(
                f"temperature of a memory forest is {self.temperature!r}; expected a positive number."
            )
        shared = self.is_shared and type(self.n_read) is int and 1 <= self.n_read <= len(self.bank)
        if self.n_read is not None and not shared:
            raise ArtifactError(
                f"n_read of a memory forest is {self.n_read!r}; expected None, or slots of a shared bank."
            )
        if type(self.is_written) is not bool:
            raise ArtifactError(
                f"is_written of a memory forest is {self.is_written!r}; expected true or false."
            )

    def _check_shapes(self) -> None:
        F, leaves = self.n_features, self.n_trees * 2**self.depth
        tests = self.n_trees * (self.depth if self.split == "oblivious" else 2**self.depth - 1)
        slots, dim = self.bank.shape if self.bank.ndim == 2 else (-1, -1)
        keys = self.slot_key.shape[-1] if self.slot_key.ndim == 2 else -1
        expected: dict[str, tuple[int, ...]] = {
            "cut_offset": (F + 1,), "weight": (tests, F), "offset": (tests,), "bank": (slots, dim), "mass": (slots,), "slot": (leaves,),
            "leaf_key": (leaves, keys) if self.is_shared else (0, 0), "slot_key": (slots, keys) if self.is_shared else (0, 0),
            "raw_beta": (1,) if self.is_shared else (0,), "scale": (dim,), "shift": (dim,), "cut": (len(self.score) - F,),
        }  # fmt: skip
        for name, shape in expected.items():
            if getattr(self, name).shape != shape:
                raise ArtifactError(
                    f"array {name!r} of a memory forest has shape {getattr(self, name).shape}, expected {shape}."
                )
        starts = self.cut_offset
        if starts[0] != 0 or (np.diff(starts) < 0).any() or starts[-1] != len(self.cut):
            raise ArtifactError("the cuts of a memory forest do not belong to its features.")
        own = np.arange(leaves)
        if (
            (self.slot < 0).any()
            or (self.slot >= slots).any()
            or (not self.is_shared and (self.slot != own).any())
        ):
            raise ArtifactError(f"a leaf of a memory forest reads a slot that is not one of its own {slots}.")

    # --- what it is made of --------------------------------------------------------------------------------------------------
    @property
    def is_shared(self) -> bool:
        """Whether leaves find their slots by keys."""
        return self.raw_beta.size > 0

    @property
    def n_outputs(self) -> int:
        """Numbers a response."""
        return int(self.bank.shape[1])

    @property
    def frame(self) -> Frame:
        """What the numbers mean: columns, codes, link and classes."""
        bounds = list(zip(self.cut_offset[:-1].tolist(), self.cut_offset[1:].tolist(), strict=True))
        cuts = tuple(self.cut[a:b] for a, b in bounds)
        scores = tuple(self.score[a + f : b + f + 1] for f, (a, b) in enumerate(bounds))
        codes = FeatureCodes(cuts, scores)
        return Frame(
            self.schema, codes, self.link, self.task, self.classes, self.target, self.scale, self.shift
        )

    @classmethod
    def of(cls, frame: Frame, arrays: dict[str, Any], **fields: Any) -> MemoryForestModel:
        """Return the artifact of a frame and of arrays; keys that are not there are those of leaves with slots of their own."""
        dim = arrays["bank"].shape[1]
        kind = arrays["bank"].dtype
        none = {
            "leaf_key": np.empty((0, 0), kind),
            "slot_key": np.empty((0, 0), kind),
            "raw_beta": np.empty(0, kind),
        }
        codes = frame.codes
        return cls(
            schema=frame.schema, link=frame.link, task=frame.task, classes=frame.classes, target=frame.target,
            cut_offset=np.cumsum([0, *map(len, codes.cuts)]).astype(np.int32), cut=np.concatenate([np.empty(0), *codes.cuts]),
            score=np.concatenate([np.empty(0, dtype=np.int32), *codes.scores]),
            scale=np.ones(dim) if frame.scale is None else frame.scale, shift=np.zeros(dim) if frame.shift is None else frame.shift,
            **{**none, **arrays}, **fields,
        )  # fmt: skip

    # --- answers -------------------------------------------------------------------------------------------------------------
    def to_forest(self, tolerance: float = 0.0) -> Forest:
        """Return the exact `Forest`: the mean of its trees, each leaf with the row of its slot.

        Parameters
        ----------
        tolerance : rows that differ by at most this in every number become one row (see `merge_rows`).
        """
        table, place = merge_rows(self.bank.astype(np.float64), tolerance)
        leaf = table[place[self.slot]].reshape(self.n_trees, -1, self.n_outputs)
        forest = assemble(self._perfect(leaf).merged().quantised(), self.frame)
        return replace(forest, aggregation="mean", base=forest.base * self.n_trees)

    def _perfect(self, leaf: Array) -> PerfectForest:
        W, b = self.weight.astype(np.float64), self.offset.astype(np.float64)
        return PerfectForest.from_tests(W, b, leaf, np.zeros(leaf.shape[2]), self.split == "oblivious")

    def slots_of(self, scores: NDArray[np.float32]) -> NDArray[np.int32]:
        """Return the slot that answers to each row in each tree, int32 [n, trees], for standard scores [n, features]."""
        leaf = self._perfect(np.zeros((self.n_trees, 2**self.depth, 1))).quantised().leaf_index(scores)
        return np.asarray(self.slot.reshape(self.n_trees, -1)[np.arange(self.n_trees), leaf])

    @cached_property
    def forest(self) -> Forest:
        """The exact forest."""
        return self.to_forest()

    def predict_raw_encoded(self, X: Array) -> Array:
        """Return the responses, float64 [n, dim], of an encoded matrix X [n, features]."""
        return self.forest.sum_leaves(self.forest.apply_encoded(X))

    def sizes(self) -> list[tuple[int, str]]:
        """Return what there is to count in the model, as (number, singular noun)."""
        return [(self.n_trees, "tree"), (len(self.slot), "leaf"), (len(self.bank), "slot"), *super().sizes()]
