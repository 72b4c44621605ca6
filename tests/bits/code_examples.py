"""Indices of codes and parsers of random weights, for the contract of artifacts."""

from __future__ import annotations

from typing import Any

import numpy as np

from hardgrad.bits import HammingIndex, ParserModel
from hardgrad.bits.parser_model import NO_CODES
from hardgrad.bits.span_scorer import weight_shapes


def indices() -> dict[str, HammingIndex]:
    """Labels of every type and none, codes of less than a word, of one and of more."""
    rng = np.random.default_rng(0)
    codes = rng.random((40, 130)) < 0.5
    return {
        "text, compact": HammingIndex.build(codes[:, :3], rng.choice(["a", "\U0001f332", ""], 40)).compact(),
        "numbers": HammingIndex.build(codes[:, :64], rng.integers(-2, 2, 40)),
        "truths": HammingIndex.build(codes[:, :65], rng.random(40) < 0.5),
        "no labels": HammingIndex.build(codes),
    }


def random_parser(num_bits: int, seed: int = 0, classes: tuple[str, ...] = ("", "NP", "S+VP")) -> ParserModel:
    """A parser whose weights are drawn, not learned."""
    rng = np.random.default_rng(seed)
    vocabulary = ("a", "b", "\U0001f332")
    shapes = weight_shapes(len(vocabulary), 3, 2, 2 * num_bits or len(classes))
    weights = rng.normal(size=sum(int(np.prod(shape)) for shape in shapes.values())).astype(np.float32)
    codes: Any = tuple(NO_CODES.values())
    if num_bits:
        labels = np.array(classes)[np.arange(20) % len(classes)]
        index = HammingIndex.build(rng.random((20, num_bits)) < 0.5, labels).compact()
        codes = (index.words, index.label, index.count)
    return ParserModel(weights, *codes, vocabulary, classes, num_bits, 3, 2)


def parsers() -> dict[str, ParserModel]:
    """Parsers by bits and by labels."""
    return {"five bits": random_parser(5), "labels": random_parser(0)}


def rows(artifact: Any, seed: int) -> Any:
    """Codes to look up, or sentences to parse."""
    rng = np.random.default_rng(seed)
    if isinstance(artifact, HammingIndex):
        return rng.random((20, artifact.num_bits)) < 0.5
    return [rng.choice(["a", "b", "\U0001f332", "unseen"], n).tolist() for n in rng.integers(1, 8, 12)]


def answers(artifact: Any, given: Any) -> list[np.ndarray]:
    """Everything that the artifact says of them."""
    if isinstance(artifact, HammingIndex):
        bits = np.resize(given, (len(given), artifact.num_bits))
        found = [*artifact.search(bits, len(artifact.words) // 2 + 1), np.array(artifact.bit_entropy())]
        return [*found, artifact.predict(bits)] if artifact.classes else found
    spans = [np.array(tree, dtype=str).reshape(-1, 3) for tree in artifact.predict_binary(given)]
    scores = [one.reshape(-1) for one in artifact.span_scores(given)]
    return [np.concatenate(spans), np.concatenate(scores)]
