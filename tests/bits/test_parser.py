"""The parser: its exact scorer against the torch network, what it learns, what it answers, what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from code_examples import random_parser
from sklearn.base import clone

import hardgrad
from hardgrad.bits import BitCKY, BitParser, ParserModel, RandomGrammar, Span, binary_tree, bracket_f1
from hardgrad.bits.parser_network import SpanScorer
from hardgrad.bits.span_scorer import scores_of_all, span_scores
from hardgrad.core.errors import ArtifactError, DataError, ParameterError
from hardgrad.train.progress import listen

SENTENCES = [["a", "dog", "barks"], ["the", "cat", "sleeps"], ["birds", "sing"], ["a", "cat"]] * 6
TREES = [
    [(0, 3, "S"), (0, 2, "NP"), (2, 3, "VP")], [(0, 3, "S"), (0, 2, "NP"), (2, 3, "VP")],
    [(0, 2, "S"), (0, 1, "NP"), (1, 2, "VP")], [(0, 2, "NP")],
] * 6  # fmt: skip


@pytest.fixture(scope="module")
def parser() -> BitParser:
    return BitParser(6, width=16, max_iter=25, batch_size=8, random_state=0).fit(SENTENCES, TREES)


def test_the_exact_scorer_is_the_network() -> None:
    torch.manual_seed(0)
    network = SpanScorer(7, 6, 5, 4)
    lengths = [5, 1, 3]
    words = torch.randint(0, 8, (3, 5))
    with torch.no_grad():
        soft = network(words, torch.tensor(lengths)).numpy()
    sentences = [row[:n].numpy() for row, n in zip(words, lengths, strict=True)]
    for row, (n, exact) in enumerate(zip(lengths, scores_of_all(network.weights(), sentences), strict=True)):
        assert exact.dtype == np.float32 and exact.shape == (n, n, 4)
        np.testing.assert_allclose(exact, soft[row, :n, :n], atol=1e-5)


def test_scoring_in_parts_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = random_parser(5).weights_by_name
    words = np.random.default_rng(0).integers(0, 4, (9, 4))
    whole = span_scores(weights, words)
    monkeypatch.setattr("hardgrad.bits.span_scorer.SCORES_AT_ONCE", 500)
    np.testing.assert_allclose(np.stack(scores_of_all(weights, list(words))), whole, atol=1e-6)


def test_it_learns_what_it_was_shown(parser: BitParser) -> None:
    assert parser.score(SENTENCES, TREES) == 1.0
    for found, tree in zip(parser.predict(SENTENCES), TREES, strict=True):
        assert sorted(found) == sorted(tree)
    assert parser.predict([["a", "dog", "sleeps"]])[0] == [
        Span(0, 3, "S"),
        Span(0, 2, "NP"),
        Span(2, 3, "VP"),
    ]
    report = parser.gap(SENTENCES, TREES)
    assert (
        report.soft == report.hard == 1.0
        and report.agreement == 1.0
        and report.rows == sum(2 * len(s) - 1 for s in SENTENCES)
    )
    assert report.detail["codes"] >= 4 and report.detail["bit_entropy"] > 0.3


def test_the_artifact_answers_the_same_after_a_round_trip(parser: BitParser, tmp_path: Path) -> None:
    loaded = hardgrad.load(parser.harden().save(tmp_path / "parser.safetensors"))
    assert isinstance(loaded, ParserModel)
    assert loaded.predict(SENTENCES) == parser.predict(SENTENCES)


def test_its_trees_are_those_of_the_chart(parser: BitParser) -> None:
    model = parser.harden()
    for sentence, tree in zip(SENTENCES[:4], model.coded_trees(SENTENCES[:4]), strict=True):
        (scores,) = model.span_scores([sentence])
        (expected,) = BitCKY(6).decode(torch.from_numpy(scores)[None])
        np.testing.assert_array_equal(tree.spans, expected.spans)
        np.testing.assert_array_equal(tree.codes, expected.codes)
        assert tree.score == pytest.approx(expected.score)


def test_the_same_seed_gives_the_same_bits(parser: BitParser) -> None:
    again = clone(parser).fit(SENTENCES, TREES)
    assert again.harden().equals(parser.harden())
    other = clone(parser).set_params(random_state=1, max_iter=1).fit(SENTENCES, TREES)
    assert not other.harden().equals(parser.harden())


def test_labels_instead_of_bits() -> None:
    parser = BitParser(None, width=16, max_iter=25, batch_size=8).fit(SENTENCES, TREES)
    assert parser.score(SENTENCES, TREES) == 1.0
    for refused in (parser.harden().coded_trees, lambda s: parser.gap(s, TREES)):
        with pytest.raises(DataError, match="no codes"):
            refused(SENTENCES)
    with pytest.raises(DataError, match="no codes"):
        _ = parser.harden().index


@pytest.mark.parametrize("selection", ["max", "mean"])
def test_progress_and_one_word_sentences(selection: str) -> None:
    events: list[str] = []
    with listen(lambda event: events.append(event.phase)):
        parser = BitParser(3, selection=selection, width=4, max_iter=1).fit(
            [["a"], ["b"]], [[(0, 1, "A")], []]
        )
    assert set(events) == {"bit parser"}
    assert all(tree in ([], [Span(0, 1, "A")]) for tree in parser.predict([["a"], ["unseen"]]))


@pytest.mark.parametrize("num_bits", [5, 0])
def test_every_answer_is_a_binary_tree(num_bits: int) -> None:
    model = random_parser(num_bits)
    sentences = [["a", "b", "unseen"], ["b"], ["a"] * 9]
    for sentence, tree in zip(sentences, model.predict_binary(sentences), strict=True):
        shape = [(s.start, s.stop, "X") for s in tree]
        assert [s[:2] for s in binary_tree(shape, len(sentence))] == [s[:2] for s in tree]
    assert model.predict([]) == []


def test_a_grammar_is_learned_better_than_by_branching_right() -> None:
    sentences, trees = RandomGrammar(4, 8, random_state=5).sample(60, lengths=(3, 7), random_state=0)
    parser = BitParser(6, width=16, max_iter=30, batch_size=10).fit(sentences, trees)
    branching = [[(s.start, s.stop, "X0") for s in binary_tree([], len(t))] for t in sentences]
    assert parser.score(sentences, trees) > 0.2 + bracket_f1(trees, branching)


def test_bad_input_is_refused(parser: BitParser) -> None:
    for sentences, trees in (
        ([], []),
        ([["a"]], []),
        (["text"], [[]]),
        ([[]], [[]]),
        ([["a", 1]], [[]]),
        ([["a"]], [[(0, 2, "S")]]),
    ):
        with pytest.raises(DataError):
            BitParser(max_iter=1).fit(sentences, trees)  # type: ignore[arg-type]
    for bad in (["text"], [[]]):
        with pytest.raises(DataError, match="token"):
            parser.predict(bad)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        {"num_bits": 0}, {"num_bits": 2.0}, {"selection": "min"}, {"temperature": 0.0}, {"hash_weight": 0.0}, {"width": 0}, {"max_iter": 0},
        {"batch_size": 0}, {"learning_rate": 0.0}, {"word_dropout": 1.0},
    ],
)  # fmt: skip
def test_bad_parameters_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ParameterError, match=next(iter(change))):
        BitParser(**change).fit(SENTENCES, TREES)  # type: ignore[arg-type]


def test_arrays_that_do_not_fit_are_refused() -> None:
    good = random_parser(5)
    fields = {name: getattr(good, name) for name in ParserModel.__match_args__}
    for change in (
        {"weights": good.weights[1:]}, {"weights": good.weights.astype(np.float64)}, {"vocabulary": ("a", "a", "b")}, {"classes": ()},
        {"num_bits": -1}, {"width": 0}, {"num_bits": 0}, {"code_label": good.code_label[1:]}, {"weights": good.weights * np.nan},
    ):  # fmt: skip
        with pytest.raises(ArtifactError):
            ParserModel(**{**fields, **change})  # type: ignore[arg-type]
    bare = random_parser(0)
    with pytest.raises(ArtifactError, match="without bits"):
        ParserModel(**{name: getattr(bare, name) for name in fields} | {"code_label": good.code_label})
