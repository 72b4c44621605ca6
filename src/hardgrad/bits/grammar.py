"""RandomGrammar: a probabilistic grammar drawn at random; it makes sentences with their trees. Never imports torch."""

from __future__ import annotations

from typing import Any

import numpy as np

from hardgrad.bits.span_trees import Span
from hardgrad.core.errors import ParameterError

RULES, WORDS = 3, 5  # of each label


class RandomGrammar:
    """A context-free grammar with probabilities: every label is rewritten as two labels, or as one word.

    Parameters
    ----------
    n_labels, n_words : size; labels are "X0", "X1", ..., words "w0", "w1", ..., and sentences begin with "X0".
    random_state : seed of the rules: three pairs of labels and five words for each label, shares of them, and how often it is a word.

    Raises
    ------
    ParameterError : fewer than one label or five words.

    Examples
    --------
    >>> sentences, trees = RandomGrammar(random_state=0).sample(2, lengths=(2, 3), random_state=1)
    >>> sentences[0], trees[0][0]
    (['w20', 'w19'], Span(start=0, stop=2, label='X0'))
    """

    def __init__(self, n_labels: int = 10, n_words: int = 30, *, random_state: int = 0) -> None:
        if n_labels < 1 or n_words < WORDS:
            raise ParameterError(
                f"RandomGrammar got n_labels={n_labels} and n_words={n_words}; expected at least 1 and {WORDS}."
            )
        rng = np.random.default_rng(random_state)
        self.n_labels, self.n_words, self.random_state = n_labels, n_words, random_state
        self._pairs = rng.integers(n_labels, size=(n_labels, RULES, 2))
        self._words = np.stack([rng.choice(n_words, WORDS, replace=False) for _ in range(n_labels)])
        self._pair_shares = rng.dirichlet(np.ones(RULES), n_labels)
        self._word_shares = rng.dirichlet(np.ones(WORDS), n_labels)
        self._word_chance = rng.uniform(0.4, 0.8, n_labels)

    def sample(
        self, n: int, *, lengths: tuple[int, int] = (4, 12), random_state: Any = 0
    ) -> tuple[list[list[str]], list[list[Span]]]:
        """Return sentences and their trees, drawn from the grammar until n have a length that is asked for.

        Parameters
        ----------
        n : how many.
        lengths : fewest and most words, at least 1.
        random_state : seed of the draws.

        Raises
        ------
        ParameterError : n below 0, lengths that are none.
        """
        least, most = lengths
        if n < 0 or not 1 <= least <= most:
            raise ParameterError(
                f"sample() got n={n} and lengths={lengths}; expected 0 or more, and 1 <= least <= most."
            )
        rng = np.random.default_rng(random_state)
        sentences: list[list[str]] = []
        trees: list[list[Span]] = []
        while len(sentences) < n:
            drawn = self._draw(rng, most)
            if drawn is not None and len(drawn[0]) >= least:
                sentences.append(drawn[0])
                trees.append(drawn[1])
        return sentences, trees

    def _draw(self, rng: np.random.Generator, most: int) -> tuple[list[str], list[Span]] | None:
        """One sentence with its tree, parents first; None as soon as it can only be longer than `most` words."""
        words: list[str] = []
        opened: list[tuple[int, int, int]] = []  # label, first word, number of the parent
        stops: list[int] = []
        waiting = [(0, -1)]
        while waiting:
            label, parent = waiting.pop()
            opened.append((label, len(words), parent))
            stops.append(0)
            if rng.random() < self._word_chance[label]:
                words.append(f"w{rng.choice(self._words[label], p=self._word_shares[label])}")
                stops[-1] = len(words)
            else:
                left, right = self._pairs[label, rng.choice(RULES, p=self._pair_shares[label])]
                waiting += [(int(right), len(stops) - 1), (int(left), len(stops) - 1)]
            if len(words) + len(waiting) > most:
                return None
        for number in range(len(opened) - 1, 0, -1):
            parent = opened[number][2]
            stops[parent] = max(stops[parent], stops[number])
        return words, [Span(o[1], stop, f"X{o[0]}") for o, stop in zip(opened, stops, strict=True)]
