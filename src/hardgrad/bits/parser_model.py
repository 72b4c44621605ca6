"""ParserModel: a trained parser as an artifact: scores of spans, the best tree, labels looked up by code. Never imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.bits.hamming import HammingIndex
from hardgrad.bits.span_scorer import Floats, scores_of_all, weight_shapes
from hardgrad.bits.span_trees import Span, constituents
from hardgrad.bits.tree_search import CodedTree, best_trees
from hardgrad.core.artifact import Artifact
from hardgrad.core.errors import ArtifactError, DataError

NO_CODES: dict[str, NDArray[Any]] = {
    "code_words": np.zeros((0, 0), np.uint64),
    "code_label": np.zeros(0, np.int32),
    "code_count": np.zeros(0, np.uint64),
}


@dataclass(frozen=True, eq=False)
class ParserModel(Artifact, kind="bit-parser"):
    """A parser without torch: tokens in, labelled spans out. Made by `BitParser.harden`.

    Parameters
    ----------
    weights : float32 [P], those of the scorer one after another (see `hardgrad.bits.span_scorer.weight_shapes`).
    code_words, code_label, code_count : the `HammingIndex` that turns codes into labels; without bits, empty.
    vocabulary : the known words, distinct; word k has number k + 1.
    classes : labels of spans; "" is the label of spans that only a binary tree needs.
    num_bits : bits in a code; 0 where every label has a score of its own.
    width, hidden : sizes of the scorer.
    """

    weights: NDArray[np.float32]
    code_words: NDArray[np.uint64]
    code_label: NDArray[np.int32]
    code_count: NDArray[np.uint64]
    vocabulary: tuple[str, ...]
    classes: tuple[str, ...]
    num_bits: int
    width: int
    hidden: int

    def __post_init__(self) -> None:
        sizes = {"num_bits": (self.num_bits, 0), "width": (self.width, 1), "hidden": (self.hidden, 1)}
        for name, (value, least) in sizes.items():
            if type(value) is not int or not least <= value <= 1 << 20:
                raise ArtifactError(
                    f"a ParserModel has {name}={value!r}; expected a whole number of at least {least}."
                )
        for name in ("vocabulary", "classes"):
            texts = getattr(self, name)
            if not texts or not all(isinstance(t, str) for t in texts) or len(set(texts)) < len(texts):
                raise ArtifactError(f"{name} of a ParserModel must be distinct texts, at least one.")
        given: Any = self.weights
        if not isinstance(given, np.ndarray) or given.dtype != np.float32 or given.ndim != 1:
            raise ArtifactError("weights of a ParserModel must be float32 with 1 dimension.")
        expected = sum(int(np.prod(shape)) for shape in self._shapes().values())
        if len(self.weights) != expected or not np.isfinite(self.weights).all():
            raise ArtifactError(
                f"a ParserModel of these sizes has {expected} finite weights; got {len(self.weights)}."
            )
        if self.num_bits:
            _ = self.index
        else:
            for name, empty in NO_CODES.items():
                array = getattr(self, name)
                if (
                    not isinstance(array, np.ndarray)
                    or array.dtype != empty.dtype
                    or array.shape != empty.shape
                ):
                    raise ArtifactError(
                        f"{name} of a ParserModel without bits must be empty, {empty.dtype} {empty.shape}."
                    )
        self.freeze()

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        outputs = 2 * self.num_bits if self.num_bits else len(self.classes)
        return weight_shapes(len(self.vocabulary), self.width, self.hidden, outputs)

    @cached_property
    def weights_by_name(self) -> dict[str, Floats]:
        """The weights of the scorer in their shapes."""
        shapes = self._shapes()
        ends = np.cumsum([0, *(int(np.prod(shape)) for shape in shapes.values())]).tolist()
        parts = [self.weights[a:b] for a, b in pairwise(ends)]
        return {name: part.reshape(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}

    @cached_property
    def index(self) -> HammingIndex:
        """The codes of the training spans with their labels.

        Raises
        ------
        DataError : a parser without bits.
        """
        if not self.num_bits:
            raise DataError("this ParserModel was trained with num_bits=None; it has no codes.")
        return HammingIndex(self.code_words, self.code_label, self.code_count, self.num_bits, self.classes)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {word: number + 1 for number, word in enumerate(self.vocabulary)}

    def predict(self, sentences: Sequence[Sequence[str]]) -> list[list[Span]]:
        """Return the constituents of each sentence, parents before children.

        Parameters
        ----------
        sentences : lists of tokens; unknown ones are all the same to the parser.

        Raises
        ------
        DataError : a sentence that is text instead of tokens, or has none.
        """
        return [constituents(tree) for tree in self.predict_binary(sentences)]

    def predict_binary(self, sentences: Sequence[Sequence[str]]) -> list[list[Span]]:
        """Return the binary tree of each sentence, as `binary_tree` makes them."""
        scores = self.span_scores(sentences)
        if self.num_bits:
            trees = self._best_coded(scores)
            codes = np.concatenate(
                [np.zeros((0, self.num_bits), dtype=bool), *(tree.codes for tree in trees)]
            )
            labels = self.index.predict_numbers(codes)
            spans = [tree.spans for tree in trees]
        else:
            spans = [best_trees(one.max(-1)[None])[0][0] for one in scores]
            chosen = [one[s[:, 0], s[:, 1] - 1].argmax(-1) for one, s in zip(scores, spans, strict=True)]
            labels = np.concatenate([np.zeros(0, dtype=np.int64), *chosen])
        names = iter(labels.tolist())
        return [[Span(a, b, self.classes[next(names)]) for a, b in tree.tolist()] for tree in spans]

    def coded_trees(self, sentences: Sequence[Sequence[str]]) -> list[CodedTree]:
        """Return the binary tree of each sentence with the codes of its spans.

        Raises
        ------
        DataError : as for `predict`, and a parser without bits.
        """
        if not self.num_bits:
            raise DataError("this ParserModel was trained with num_bits=None; it has no codes.")
        return self._best_coded(self.span_scores(sentences))

    def span_scores(self, sentences: Sequence[Sequence[str]]) -> list[Floats]:
        """Return the scores of the spans of each sentence: [n, n, bits, 2], or [n, n, labels] where there are no bits."""
        scores = scores_of_all(self.weights_by_name, [self._encode(k, s) for k, s in enumerate(sentences)])
        return [one.reshape(*one.shape[:2], self.num_bits, 2) for one in scores] if self.num_bits else scores

    def _best_coded(self, scores: list[Floats]) -> list[CodedTree]:
        found = []
        for one in scores:
            (spans,), (total,) = best_trees(one.max(-1).sum(-1, dtype=np.float64)[None])
            codes = (one[..., 1] > one[..., 0])[spans[:, 0], spans[:, 1] - 1]
            found.append(CodedTree(spans, codes, float(total)))
        return found

    def _encode(self, number: int, sentence: Sequence[str]) -> NDArray[np.int64]:
        if isinstance(sentence, str) or not len(sentence):
            raise DataError(f"sentence {number} is {sentence!r}; expected a list of at least one token.")
        return np.array([self._numbers.get(token, 0) for token in sentence], dtype=np.int64)

    # --- on disk -------------------------------------------------------------------------------------------------------------
    @classmethod
    def metadata_from_json(cls, metadata: dict[str, Any]) -> dict[str, Any]:
        """Invert `metadata_to_json`."""
        return {
            **metadata,
            "vocabulary": tuple(metadata["vocabulary"]),
            "classes": tuple(metadata["classes"]),
        }

    def metadata_to_json(self) -> dict[str, Any]:
        """Return words, labels and sizes in a form that `json` can write."""
        plain = super().metadata_to_json()
        return {**plain, "vocabulary": list(self.vocabulary), "classes": list(self.classes)}
