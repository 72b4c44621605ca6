"""BitParser: a constituency parser whose labels are binary codes, trained soft and shipped as an exact `ParserModel`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from hardgrad.bits.hamming import HammingIndex
from hardgrad.bits.parser_model import NO_CODES, ParserModel
from hardgrad.bits.parser_network import Settings, Treebank, train_scorer
from hardgrad.bits.span_scorer import scores_of_all
from hardgrad.bits.span_trees import Span, binary_tree, bracket_f1, constituents
from hardgrad.core.errors import DataError, ParameterError
from hardgrad.core.gap import GapReport

Tree = Iterable[tuple[int, int, str]]
QUERIES_AT_ONCE = 256


class BitParser(BaseEstimator):  # type: ignore[misc]
    """Learn to parse from sentences and trees: each span of the best binary tree gets a code of bits, and the code a label.

    Parameters
    ----------
    num_bits : bits in a code. None gives every label a score of its own instead, as usual: the parser to compare with.
    selection, temperature : of the contrastive loss, see `ContrastiveHashingLoss`.
    hash_weight : of that loss, beside the negative log-likelihood of the trees a word.
    width : of word vectors, of the LSTM each way, and of the sides of a span.
    max_iter : passes over the sentences; batch_size, learning_rate : of Adam, the latter falling to 0.
    word_dropout : share of the words that are hidden in each pass, so that unknown ones are met in training.
    random_state : seed. device : "cpu", "cuda" or "auto".

    Attributes
    ----------
    model_ : the exact parser, a `ParserModel`.
    n_iter_ : passes over the sentences.

    Raises
    ------
    ParameterError : a parameter outside its range. DataError : sentences and trees that do not fit.

    Examples
    --------
    >>> sentences = [["a", "dog", "barks"], ["a", "cat", "sleeps"]] * 8
    >>> trees = [[(0, 3, "S"), (0, 2, "NP"), (2, 3, "VP")]] * 16
    >>> parser = BitParser(4, width=16, max_iter=20, random_state=0).fit(sentences, trees)
    >>> parser.predict([["a", "dog", "sleeps"]])[0]
    [Span(start=0, stop=3, label='S'), Span(start=0, stop=2, label='NP'), Span(start=2, stop=3, label='VP')]

    Source: Wang and Utiyama, 2024, To be Continuous, or to be Discrete, Those are Bits of Questions.
    """

    def __init__(
        self,
        num_bits: int | None = 8,
        *,
        selection: str = "mean",
        temperature: float = 0.05,
        hash_weight: float = 4.0,
        width: int = 32,
        max_iter: int = 20,
        batch_size: int = 32,
        learning_rate: float = 5e-3,
        word_dropout: float = 0.1,
        random_state: int = 0,
        device: str = "cpu",
    ) -> None:
        self.num_bits = num_bits
        self.selection = selection
        self.temperature = temperature
        self.hash_weight = hash_weight
        self.width = width
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.word_dropout = word_dropout
        self.random_state = random_state
        self.device = device

    def fit(self, sentences: Sequence[Sequence[str]], trees: Sequence[Tree]) -> Self:
        """Train on sentences with their trees; progress goes to `hardgrad.train.progress.listen`.

        Parameters
        ----------
        sentences : lists of tokens.
        trees : constituents (start, stop, label) of each, in any order; `binary_tree` says how they become binary.
        """
        self._check_parameters()
        binary = _checked(sentences, trees)
        vocabulary = tuple(sorted({token for sentence in sentences for token in sentence}))
        classes = tuple(sorted({span.label for tree in binary for span in tree}))
        number = {token: k + 1 for k, token in enumerate(vocabulary)}
        of_label = {label: k for k, label in enumerate(classes)}
        words = [np.array([number[token] for token in sentence]) for sentence in sentences]
        spans = [np.array([(s.start, s.stop - 1, of_label[s.label]) for s in tree]) for tree in binary]
        bank = Treebank(words, spans, len(vocabulary), len(classes))
        settings = Settings(
            self.num_bits, self.selection, self.temperature, self.hash_weight, self.width, self.max_iter,  # type: ignore[arg-type]
            self.batch_size, self.learning_rate, self.word_dropout, int(self.random_state),
        )  # fmt: skip
        weights = train_scorer(bank, settings, self.device)
        flat = np.concatenate([part.reshape(-1) for part in weights.values()])
        codes: tuple[NDArray[Any], NDArray[Any], NDArray[Any]] = (
            NO_CODES["code_words"],
            NO_CODES["code_label"],
            NO_CODES["code_count"],
        )
        if self.num_bits is not None:
            self._differences, self._labels = _at_spans(scores_of_all(weights, words), spans, self.num_bits)
            index = HammingIndex.build(self._differences > 0, np.array(classes)[self._labels]).compact()
            codes = (index.words, index.label, index.count)
        self.model_ = ParserModel(
            flat, *codes, vocabulary, classes, self.num_bits or 0, self.width, self.width
        )
        self.n_iter_ = self.max_iter
        return self

    def predict(self, sentences: Sequence[Sequence[str]]) -> list[list[Span]]:
        """Return the constituents of each sentence (see `ParserModel.predict`)."""
        return self.harden().predict(sentences)

    def score(self, sentences: Sequence[Sequence[str]], trees: Sequence[Tree]) -> float:
        """Return the labelled F1 of brackets of two words or more, 0 to 1."""
        return bracket_f1([list(tree) for tree in trees], self.predict(sentences))

    def harden(self) -> ParserModel:
        """Return the exact parser."""
        check_is_fitted(self)
        return self.model_

    def gap(self, sentences: Sequence[Sequence[str]], trees: Sequence[Tree]) -> GapReport:
        """Return what it costs to look up a label by the code instead of by the probabilities of its bits.

        The trees are the same; soft, a span has the label of the training span whose bits agree with its own the most, in expectation.

        Parameters
        ----------
        sentences, trees : as for `fit`.

        Raises
        ------
        DataError : a parser without bits.
        """
        exact = self.harden()
        coded = exact.coded_trees(sentences)
        scores = exact.span_scores(sentences)
        cells = [np.c_[tree.spans[:, 0], tree.spans[:, 1] - 1, tree.spans[:, 0]] for tree in coded]
        differences, _ = _at_spans(scores, cells, exact.num_bits)
        known, asked = np.tanh(self._differences / 2), np.tanh(differences / 2)  # expected signs of the bits
        parts = np.array_split(asked, max(1, len(asked) // QUERIES_AT_ONCE))
        soft = self._labels[np.concatenate([(part @ known.T).argmax(1) for part in parts])]
        hard = exact.index.predict_numbers(differences > 0)
        gold = [list(tree) for tree in trees]
        ends = np.cumsum([len(tree.spans) for tree in coded])[:-1]

        def f1(labels: NDArray[Any]) -> float:
            named = zip(coded, np.split(labels, ends), strict=True)
            return bracket_f1(
                gold,
                [
                    constituents(
                        (int(a), int(b), exact.classes[k]) for (a, b), k in zip(t.spans, ks, strict=True)
                    )
                    for t, ks in named
                ],
            )

        index = exact.index
        return GapReport(
            "labelled F1", soft=f1(soft), hard=f1(hard), agreement=float((soft == hard).mean()), higher_is_better=True,
            worst_disagreement=float((0.5 - np.abs(asked) / 2).max()), rows=len(hard),
            detail={"codes": float(len(np.unique(index.words, axis=0))), "bit_entropy": index.bit_entropy()},
        )  # fmt: skip

    def _check_parameters(self) -> None:
        bits: Any = self.num_bits
        expected = {
            "num_bits": (bits is None or (type(bits) is int and bits >= 1), "at least 1, or None"),
            "selection": (self.selection in ("max", "mean"), "'max' or 'mean'"),
            "temperature": (self.temperature > 0, "a positive number"),
            "hash_weight": (self.hash_weight > 0, "a positive number"),
            "width": (self.width >= 1, "at least 1"),
            "max_iter": (self.max_iter >= 1, "at least 1"),
            "batch_size": (self.batch_size >= 1, "at least 1"),
            "learning_rate": (self.learning_rate > 0, "a positive number"),
            "word_dropout": (0 <= self.word_dropout < 1, "a share below 1"),
        }
        for name, (good, what) in expected.items():
            if not good:
                raise ParameterError(f"BitParser got {name}={getattr(self, name)!r}; expected {what}.")


def _checked(sentences: Sequence[Sequence[str]], trees: Sequence[Tree]) -> list[list[Span]]:
    if len(sentences) != len(trees) or not len(sentences):
        raise DataError(
            f"BitParser got {len(sentences)} sentences and {len(trees)} trees; expected as many, and at least one."
        )
    for number, sentence in enumerate(sentences):
        if isinstance(sentence, str) or not len(sentence) or not all(isinstance(t, str) for t in sentence):
            raise DataError(f"sentence {number} is {sentence!r}; expected a list of at least one token.")
    return [binary_tree(tree, len(sentence)) for tree, sentence in zip(trees, sentences, strict=True)]


def _at_spans(
    scores: Sequence[NDArray[Any]], spans: Sequence[NDArray[Any]], bits: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """How much more each bit of given spans is 1 than 0 [N, bits], and what stands in the third column of the spans [N]."""
    chosen = [one[s[:, 0], s[:, 1]].reshape(-1, bits, 2) for one, s in zip(scores, spans, strict=True)]
    pairs = np.concatenate(chosen)
    return pairs[..., 1] - pairs[..., 0], np.concatenate(spans)[:, 2]
