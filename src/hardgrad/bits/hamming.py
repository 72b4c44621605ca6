"""HammingIndex: binary codes packed in words, searched by counting the bits that differ. Never imports torch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.artifact import Artifact
from hardgrad.core.bit_words import pack_bits, unpack_bits, word_count
from hardgrad.core.errors import ArtifactError, DataError, InputError, ParameterError

Label = str | int | float | bool
PAIRS_AT_ONCE = 1 << 21  # of a query and a code: keeps a block of distances within a few caches


@dataclass(frozen=True, eq=False)
class HammingIndex(Artifact, kind="hamming-index"):
    """Binary codes, each perhaps with a label, that answer which of them are nearest to a code: how many bits differ.

    Parameters
    ----------
    words : uint64 [N, ceil(bits / 64)], packed as by `hardgrad.core.bit_words`; N at least 1.
    label : int32 [N], the number of each code's label in `classes`; empty where codes have no labels.
    count : uint64 [N], how often each code was seen with its label, at least 1.
    num_bits : bits in a code.
    classes : distinct labels, numbers or text.

    Examples
    --------
    >>> index = HammingIndex.build([[0, 0, 0], [1, 1, 0], [1, 1, 1]], ["a", "b", "c"])
    >>> index.search([[1, 1, 0]], k=2)
    (array([[0, 1]]), array([[1, 2]]))
    >>> index.predict([[1, 1, 1], [0, 0, 1]]).tolist()
    ['c', 'a']
    """

    words: NDArray[np.uint64]
    label: NDArray[np.int32]
    count: NDArray[np.uint64]
    num_bits: int
    classes: tuple[Label, ...] = ()

    def __post_init__(self) -> None:
        bits: Any = self.num_bits
        if type(bits) is not int or bits < 1:
            raise ArtifactError(
                f"a HammingIndex has num_bits={bits!r}; expected a whole number of at least 1."
            )
        expected = (("words", np.uint64, 2), ("label", np.int32, 1), ("count", np.uint64, 1))
        for name, dtype, dims in expected:
            array = getattr(self, name)
            if not isinstance(array, np.ndarray) or array.dtype != dtype or array.ndim != dims:
                raise ArtifactError(
                    f"{name} of a HammingIndex must be {np.dtype(dtype)} with {dims} dimensions."
                )
        if self.words.shape[1] != word_count(bits) or not len(self.words):
            raise ArtifactError(
                f"a HammingIndex of {bits} bits has words of shape {self.words.shape}; expected (codes, {word_count(bits)})."
            )
        if bits % 64 and (self.words[:, -1] >> np.uint64(bits % 64)).any():
            raise ArtifactError(f"a HammingIndex has ones beyond its {bits} bits.")
        if len(self.count) != len(self.words) or (self.count < 1).any():
            raise ArtifactError("a HammingIndex needs a count of at least 1 for each code.")
        self._check_labels()
        self.freeze()

    def _check_labels(self) -> None:
        labels: Any = self.classes
        plain = all(
            isinstance(c, str | int | float) and (isinstance(c, str) or math.isfinite(c)) for c in labels
        )
        if not plain or len({(type(c), c) for c in labels}) < len(labels):
            raise ArtifactError("classes of a HammingIndex must be distinct numbers or texts.")
        if len(self.label) != (len(self.words) if labels else 0):
            raise ArtifactError(
                f"a HammingIndex of {len(self.words)} codes and {len(labels)} classes has {len(self.label)} labels."
            )
        if len(self.label) and (self.label.min() < 0 or self.label.max() >= len(labels)):
            raise ArtifactError(f"a HammingIndex names labels outside 0 .. {len(labels) - 1}.")

    @classmethod
    def build(cls, codes: Any, labels: Any = None) -> Self:
        """Return an index of codes in their order.

        Parameters
        ----------
        codes : [N, bits] Booleans, or 0 and 1.
        labels : [N] numbers or text, or None.

        Raises
        ------
        InputError : no codes, other values than 0 and 1, another number of labels.
        """
        bits = _bits("HammingIndex.build()", codes)
        if not len(bits):
            raise InputError("HammingIndex.build() got no codes; expected at least one.")
        classes, numbers = np.zeros(0), np.zeros(0, dtype=np.int64)
        if labels is not None:
            given = np.asarray(labels)
            if given.shape != bits.shape[:1] or given.dtype.kind not in "USbiuf":
                raise InputError(
                    f"HammingIndex.build() got labels of shape {given.shape} and {given.dtype} for {len(bits)} codes; "
                    "expected one number or text for each."
                )
            classes, numbers = np.unique(given, return_inverse=True)
        ones = np.ones(len(bits), dtype=np.uint64)
        known = tuple(classes.tolist())
        return cls(pack_bits(bits), numbers.astype(np.int32), ones, bits.shape[1], known)

    def compact(self) -> Self:
        """Return an index in which every pair of code and label stands once, with its count; `predict` answers as before."""
        keys = (
            self.words if not len(self.label) else np.column_stack([self.words, self.label.astype(np.uint64)])
        )
        _, first, inverse = np.unique(keys, axis=0, return_index=True, return_inverse=True)
        count = np.zeros(len(first), dtype=np.uint64)
        np.add.at(count, inverse.reshape(-1), self.count)
        order = np.argsort(first)
        kept = first[order]
        label = self.label[kept] if len(self.label) else self.label
        return type(self)(self.words[kept], label, count[order], self.num_bits, self.classes)

    @property
    def codes(self) -> NDArray[np.bool_]:
        """The codes as bits, bool [N, bits]."""
        return unpack_bits(self.words, self.num_bits)

    def search(self, codes: Any, k: Any = 1) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the k nearest codes of each query, the nearest first; of equally near ones those that stand first in the index.

        Parameters
        ----------
        codes : queries [Q, bits], Booleans, or 0 and 1.
        k : how many, 1 to N.

        Returns
        -------
        distances, numbers : int64 [Q, k] each: how many bits differ, and where the code stands in the index.

        Raises
        ------
        InputError : another number of bits, other values than 0 and 1.
        ParameterError : k outside 1 .. N.
        """
        size = len(self.words)
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or not 1 <= k <= size:
            raise ParameterError(
                f"search() got k={k!r}; expected a whole number from 1 to {size}, the codes of the index."
            )
        found = [np.zeros((0, k), dtype=np.int64)]
        for distances in self._distances(codes):
            keys = distances * size + np.arange(
                size
            )  # distinct, so that which ones are the k smallest is never a matter of chance
            found.append(np.sort(np.partition(keys, k - 1, axis=1)[:, :k], axis=1))
        keys = np.concatenate(found)
        return keys // size, keys % size

    def predict(self, codes: Any) -> NDArray[Any]:
        """Return the label of the nearest code [Q]; of equally near codes the label seen most often, then the first in `classes`.

        Parameters
        ----------
        codes : as for `search`.

        Raises
        ------
        DataError : an index without labels.
        InputError : as for `search`.
        """
        return np.array(self.classes)[self.predict_numbers(codes)]

    def predict_numbers(self, codes: Any) -> NDArray[np.int64]:
        """Return the numbers in `classes` of the labels that `predict` gives, int64 [Q]."""
        if not self.classes:
            raise DataError(
                "this HammingIndex has no labels to predict; use search(), or build it with labels."
            )
        weight = np.zeros((len(self.words), len(self.classes)))
        weight[np.arange(len(self.words)), self.label] = self.count
        votes = [
            ((distances == distances.min(axis=1, keepdims=True)) @ weight).argmax(axis=1)
            for distances in self._distances(codes)
        ]
        return np.concatenate([np.zeros(0, dtype=np.int64), *votes])

    def bit_entropy(self) -> float:
        """Return the mean entropy of the bits over the codes as often as they were seen, 0 to 1; near 0 the codes have collapsed."""
        share = np.average(self.codes, axis=0, weights=self.count.astype(np.float64))
        both = np.stack([share, 1.0 - share])
        logs = np.log2(both, where=both > 0, out=np.zeros_like(both))
        return float(-(both * logs).sum(axis=0).mean())

    def _distances(self, codes: Any) -> Iterator[NDArray[np.int64]]:
        """How many bits differ, [queries, codes], in blocks of queries."""
        bits = _bits("a HammingIndex", codes)
        if bits.shape[1] != self.num_bits:
            raise InputError(f"a HammingIndex of {self.num_bits} bits got codes of {bits.shape[1]}.")
        queries = pack_bits(bits)
        rows = max(1, PAIRS_AT_ONCE // len(self.words))
        for first in range(0, len(queries), rows):
            differing = np.bitwise_count(queries[first : first + rows, None] ^ self.words)
            yield differing.sum(axis=-1, dtype=np.int64)

    # --- on disk -------------------------------------------------------------------------------------------------------------
    def metadata_to_json(self) -> dict[str, Any]:
        """Return number of bits and classes in a form that `json` can write."""
        return {"num_bits": self.num_bits, "classes": list(self.classes)}

    @classmethod
    def metadata_from_json(cls, metadata: dict[str, Any]) -> dict[str, Any]:
        """Invert `metadata_to_json`."""
        return {**metadata, "classes": tuple(metadata["classes"])}


def _bits(name: str, codes: Any) -> NDArray[np.bool_]:
    array = np.asarray(codes)
    if array.ndim != 2 or not array.shape[1] or array.dtype.kind not in "biuf":
        raise InputError(
            f"{name} got codes of shape {array.shape} and {array.dtype}; expected [codes, bits]."
        )
    bits: NDArray[np.bool_] = array == 1
    if not (bits | (array == 0)).all():
        raise InputError(f"{name} got codes with other values than 0 and 1. Threshold them first: p > 0.5.")
    return bits
