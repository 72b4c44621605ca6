"""The index against distances counted bit by bit, and against scikit-learn's neighbours."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from hardgrad.bits import HammingIndex
from hardgrad.core.errors import ArtifactError, DataError, InputError, ParameterError


def codes(n: int, bits: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((n, bits)) < 0.5


@pytest.mark.parametrize("bits", [1, 3, 8, 63, 64, 65, 130])
def test_search_finds_what_counting_finds(bits: int) -> None:
    known, asked = codes(60, bits, 0), codes(25, bits, 1)
    index = HammingIndex.build(known)
    np.testing.assert_array_equal(index.codes, known)
    distances, numbers = index.search(asked, k=7)
    every = (asked[:, None] != known).sum(-1)
    order = np.argsort(every, axis=1, kind="stable")[:, :7]  # of equals the first
    np.testing.assert_array_equal(numbers, order)
    np.testing.assert_array_equal(distances, np.take_along_axis(every, order, 1))
    peer, _ = NearestNeighbors(n_neighbors=7, metric="hamming").fit(known).kneighbors(asked)
    np.testing.assert_allclose(distances / bits, peer, atol=1e-12)


@pytest.mark.parametrize("bits", [2, 5, 70])
def test_the_label_is_that_of_the_nearest_codes_by_frequency(bits: int) -> None:
    known, asked = codes(80, bits, 2), codes(40, bits, 3)
    labels = np.array(["c", "a", "b"])[np.random.default_rng(4).integers(3, size=80)]
    index = HammingIndex.build(known, labels)
    assert index.classes == ("a", "b", "c")
    answers = index.predict(asked)
    for query, answer in zip(asked, answers, strict=True):
        distance = (known != query).sum(1)
        votes = Counter(labels[distance == distance.min()].tolist())
        assert answer == min(votes, key=lambda label: (-votes[label], label))
    small = index.compact()
    np.testing.assert_array_equal(small.predict(asked), answers)
    assert small.count.sum() == 80 and small.compact().equals(small)
    pairs = {(*row.tolist(), label) for row, label in zip(known, labels, strict=True)}
    assert len(small.words) == len(pairs)
    assert small.bit_entropy() == pytest.approx(index.bit_entropy())


def test_many_queries_go_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    known, asked = codes(50, 20, 5), codes(33, 20, 6)
    index = HammingIndex.build(known, np.arange(50) % 4)
    whole = index.search(asked, 3), index.predict(asked)
    monkeypatch.setattr("hardgrad.bits.hamming.PAIRS_AT_ONCE", 170)
    parts = index.search(asked, 3), index.predict(asked)
    for one, two in zip((*whole[0], whole[1]), (*parts[0], parts[1]), strict=True):
        np.testing.assert_array_equal(one, two)


def test_no_query_and_collapsed_codes() -> None:
    index = HammingIndex.build(np.ones((4, 3)), [1, 1, 2, 1])
    assert index.search(np.zeros((0, 3)), 2)[0].shape == (0, 2) and index.predict(np.zeros((0, 3))).shape == (
        0,
    )
    assert index.bit_entropy() == 0.0 and index.predict([[0, 0, 0]]).tolist() == [1]
    assert HammingIndex.build([[0, 1], [1, 0]]).bit_entropy() == 1.0
    assert len(HammingIndex.build([[0, 1], [0, 1]]).compact().words) == 1


def test_bad_input_is_refused() -> None:
    index = HammingIndex.build(codes(5, 4, 0))
    for bad in (
        codes(2, 3, 0),
        np.full((1, 4), 0.5),
        np.zeros(4),
        np.full((1, 4), np.nan),
        np.array([["a"] * 4]),
    ):
        with pytest.raises(InputError):
            index.search(bad)
    for k in (0, 6, True, 1.0):
        with pytest.raises(ParameterError, match="k="):
            index.search(codes(1, 4, 0), k)
    with pytest.raises(DataError, match="labels"):
        index.predict(codes(1, 4, 0))
    for bad_codes, labels in (
        (np.zeros((0, 3)), None),
        (codes(2, 3, 0), [1]),
        (codes(2, 3, 0), [object(), None]),
    ):
        with pytest.raises(InputError):
            HammingIndex.build(bad_codes, labels)


def test_arrays_that_do_not_fit_are_refused() -> None:
    good = HammingIndex.build(codes(3, 4, 0), ["a", "b", "a"])
    fields = {
        "words": good.words,
        "label": good.label,
        "count": good.count,
        "num_bits": 4,
        "classes": good.classes,
    }
    for change in (
        {"num_bits": 65}, {"num_bits": 0}, {"num_bits": 4.0}, {"words": good.words | np.uint64(16)}, {"count": 0 * good.count},
        {"classes": ("a",)}, {"classes": ("a", "a")}, {"classes": ("a", float("nan"))}, {"label": good.label + 1},
        {"count": good.count[:2]}, {"label": good.label[:2]}, {"words": good.words[:0], "count": good.count[:0], "label": good.label[:0]},
    ):  # fmt: skip
        with pytest.raises(ArtifactError):
            HammingIndex(**{**fields, **change})  # type: ignore[arg-type]
