"""Trees made binary and whole again, brackets compared, sentences of a random grammar."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardgrad.bits import RandomGrammar, Span, binary_tree, bracket_f1, bracketed, constituents
from hardgrad.core.errors import DataError, ParameterError


@st.composite
def trees(draw: st.DrawFn) -> tuple[int, list[Span]]:
    """A length, and nested constituents with any number of children and chains of labels."""
    length = draw(st.integers(1, 9))
    found: list[Span] = []

    def grow(start: int, stop: int) -> None:
        found.extend(Span(start, stop, label) for label in draw(st.lists(st.sampled_from("ABC"), max_size=2)))
        if stop - start > 1:
            cuts = sorted(draw(st.sets(st.integers(start + 1, stop - 1), min_size=1)))
            for a, b in zip([start, *cuts], [*cuts, stop], strict=True):
                grow(a, b)

    grow(0, length)
    return length, found


@given(trees())
def test_a_tree_survives_being_made_binary(tree: tuple[int, list[Span]]) -> None:
    length, spans = tree
    binary = binary_tree(spans, length)
    assert len(binary) == 2 * length - 1 and binary[0][:2] == (0, length)
    cells = {(s.start, s.stop) for s in binary}
    assert len(cells) == len(binary)
    for start, stop in cells:
        if stop - start > 1:
            assert sum((start, m) in cells and (m, stop) in cells for m in range(start + 1, stop)) == 1
    assert sorted(constituents(binary)) == sorted(spans)
    if any(s.stop - s.start > 1 for s in spans):
        assert bracket_f1([spans], [constituents(binary)]) == 1.0


def test_brackets_are_counted_over_all_sentences() -> None:
    gold = [[(0, 3, "S"), (1, 3, "VP"), (0, 1, "N")], [(0, 2, "S")]]
    guess = [[(0, 3, "S"), (0, 2, "NP"), (0, 1, "V")], [(0, 2, "X")]]
    assert bracket_f1(gold, guess) == pytest.approx(2 / 6)
    assert bracket_f1(gold, guess, labelled=False) == pytest.approx(4 / 6)
    assert bracket_f1([[(0, 2, "A"), (0, 2, "B")]], [[(0, 2, "A"), (0, 2, "A")]]) == 0.5
    with pytest.raises(DataError):
        bracket_f1(gold, guess[:1])
    with pytest.raises(DataError):
        bracket_f1([[(0, 1, "A")]], [[(0, 1, "A")]])


def test_written_in_brackets() -> None:
    assert bracketed(["a", "b", "c"], [(0, 3, "S"), (0, 3, "T"), (1, 3, "V")]) == "(S (T a (V b c)))"


@pytest.mark.parametrize(
    "spans",
    [
        [(0, 2, "A"), (1, 3, "B")],
        [(0, 4, "A")],
        [(1, 1, "A")],
        [(-1, 2, "A")],
        [(0, 2, "")],
        [(0, 2, "A+B")],
        [(0, 2, None)],
    ],
)
def test_trees_that_are_none_are_refused(spans: list[tuple[int, int, str]]) -> None:
    with pytest.raises(DataError):
        binary_tree(spans, 3)
    with pytest.raises(DataError):
        binary_tree([], 0)


def test_a_grammar_gives_binary_trees_of_the_lengths_asked_for() -> None:
    grammar = RandomGrammar(6, 12, random_state=3)
    sentences, found = grammar.sample(50, lengths=(3, 7), random_state=1)
    assert grammar.sample(50, lengths=(3, 7), random_state=1) == (sentences, found)
    assert grammar.sample(50, lengths=(3, 7), random_state=2)[0] != sentences
    assert {len(s) for s in sentences} <= set(range(3, 8)) and len(sentences) == 50
    for sentence, tree in zip(sentences, found, strict=True):
        assert binary_tree(tree, len(sentence)) == tree and tree[0].label == "X0"


def test_the_grammar_draws_by_its_own_probabilities() -> None:
    grammar = RandomGrammar(2, 5, random_state=0)
    sentences, _ = grammar.sample(4000, lengths=(1, 40), random_state=0)
    single = np.mean([len(s) == 1 for s in sentences])
    chance = grammar._word_chance[0]
    assert abs(single - chance) < 0.05  # sentences beyond 40 words are left out, which are few


def test_a_grammar_of_no_words_is_refused() -> None:
    for arguments in ((0, 30), (10, 4)):
        with pytest.raises(ParameterError):
            RandomGrammar(*arguments)
    for n, lengths in ((-1, (4, 12)), (1, (0, 3)), (1, (5, 4))):
        with pytest.raises(ParameterError):
            RandomGrammar().sample(n, lengths=lengths)
