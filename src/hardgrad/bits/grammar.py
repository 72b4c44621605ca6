"""RandomGrammar: a probabilistic grammar drawn at random, which makes sentences with their trees: data whose structure is known. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.bits.span_trees import Span
from hardgrad.core.errors import ParameterError

Floats = NDArray[np.float64]
RULES, WORDS = 3, 5  # of each label


@dataclass(frozen=True, eq=False)
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
    >>> sentences[0], trees[0][0].label, len(trees[0])
    (['w10', 'w15'], 'X0', 3)
    """

    n_labels: int = 10
    n_words: int = 30
    random_state: int = 0

    def __post_init__(self) -> None:
        if self.n_labels < 1 or self.n_words < WORDS:
            raise ParameterError(
                f"RandomGrammar got n_labels={self.n_labels} and n_words={self.n_words}; expected at least 1 and {WORDS}."
            )
        rng = np.random.default_rng(self.random_state)
        size = (self.n_labels, RULES)
        pairs = rng.integers(self.n_labels, size=(*size, 2))
        words = np.stack([rng.choice(self.n_words, WORDS, replace=False) for _ in range(self.n_labels)])
        shares = rng.dirichlet(np.ones(RULES), self.n_labels), rng.dirichlet(np.ones(WORDS), self.n_labels)
        ends = rng.uniform(0.4, 0.8, self.n_labels)
        for name, value in (("_pairs", pairs), ("_words", words), ("_shares", shares), ("_ends", ends)):
            object.__setattr__(self, name, value)

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
            raise ParameterError(f"sample() got n={n} and lengths={lengths}; expected 0 or more, and 1 <= least <= most.")
        rng = np.random.default_rng(random_state)
        sentences, trees = [], []
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
            if rng.random() < self._ends[label]:
                words.append(f"w{rng.choice(self._words[label], p=self._shares[1][label])}")
                stops[-1] = len(words)
            else:
                left, right = self._pairs[label, rng.choice(RULES, p=self._shares[0][label])]
                waiting += [(int(right), len(stops) - 1), (int(left), len(stops) - 1)]
            if len(words) + len(waiting) > most:
                return None
        for number in range(len(opened) - 1, 0, -1):
            parent = opened[number][2]
            stops[parent] = max(stops[parent], stops[number])
        return words, [Span(o[1], stop, f"X{o[0]}") for o, stop in zip(opened, stops, strict=True)]
