"""Row 74, structured contrastive hashing: a parser whose labels are 8 bits beside one with a score for each label, on a random grammar."""

from __future__ import annotations

import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from hardgrad.reproductions.registry import Measured, Scale, reproduction

if TYPE_CHECKING:
    from torch import Tensor

BITS, LABELS, WORDS = 8, 10, 30
TRAIN, TEST = {"smoke": 40, "full": 600}, {"smoke": 10, "full": 200}
SEEDS = {"smoke": 1, "full": 3}
EPOCHS = {"smoke": 2, "full": 20}
LONGEST, MOST_BITS = {"smoke": 4, "full": 6}, 3
BATCH, LENGTH = 32, 12
REPEATS = {"smoke": 3, "full": 60}


@reproduction(
    row=74,
    slug="bit-cky",
    title="To be Continuous, or to be Discrete, Those are Bits of Questions",
    venue="ACL 2024",
    claim=(
        "F1 with binary labels: PTB 96.03 (BERT) and 96.43 (XLNet), CTB5 92.33; nested entities ACE2004 87.93, ACE2005 85.90, GENIA 80.54; "
        "about 12 bits for parsing, 8 for entities (here a random grammar with 10 labels, and no pre-trained encoder)"
    ),
)
def bit_cky(scale: Scale) -> Sequence[Measured]:
    """Hold the chart against enumeration, train three parsers on the same trees, and time the charts."""
    return [*_exactness(scale), *_parsers(scale), *_times(scale)]


# Exactness.
def _exactness(scale: Scale) -> list[Measured]:
    import torch

    from hardgrad.bits import BitCKY

    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    for n, bits in itertools.product(range(1, LONGEST[scale] + 1), range(1, MOST_BITS + 1)):
        scores = torch.randn(1, n, n, bits, 2, generator=generator, dtype=torch.float64)
        found = BitCKY(bits)(scores).log_partition.item()
        worst = max(worst, abs(found - _enumerated(scores[0].tolist(), n, bits)))
    name = f"largest error of log Z against all trees, up to {LONGEST[scale]} words and {MOST_BITS} bits"
    return [Measured.at_most(name, worst, 1e-8)]


def _enumerated(scores: list[list[list[list[float]]]], n: int, bits: int) -> float:
    """The log of the sum over all trees of the product over their spans of the sum over all codes."""

    def of_span(first: int, last: int) -> float:
        codes = itertools.product((0, 1), repeat=bits)
        return sum(math.exp(sum(scores[first][last][k][v] for k, v in enumerate(code))) for code in codes)

    return math.log(sum(math.prod(of_span(*span) for span in tree) for tree in _all_trees(0, n - 1)))


def _all_trees(first: int, last: int) -> Iterator[list[tuple[int, int]]]:
    if first == last:
        yield [(first, last)]
    for split in range(first, last):
        for left, right in itertools.product(_all_trees(first, split), _all_trees(split + 1, last)):
            yield [(first, last), *left, *right]


# Parsers.
def _parsers(scale: Scale) -> list[Measured]:
    from hardgrad.bits import BitParser, RandomGrammar, bracket_f1

    kinds: dict[str, tuple[int | None, str]] = {
        "label-level": (None, "mean"), "8 bits, mean": (BITS, "mean"), "8 bits, max": (BITS, "max"),
    }  # fmt: skip
    labelled: dict[str, list[float]] = {kind: [] for kind in kinds}
    bare: dict[str, list[float]] = {kind: [] for kind in kinds}
    gaps, codes, entropies = [], [], []
    for seed in range(SEEDS[scale]):
        grammar = RandomGrammar(LABELS, WORDS, random_state=seed)
        sentences, trees = grammar.sample(TRAIN[scale] + TEST[scale], random_state=seed)
        n = TRAIN[scale]
        for kind, (bits, selection) in kinds.items():
            parser = BitParser(bits, selection=selection, max_iter=EPOCHS[scale], random_state=seed)
            parser.fit(sentences[:n], trees[:n])
            guess = parser.predict(sentences[n:])
            labelled[kind].append(100 * bracket_f1(trees[n:], guess))
            bare[kind].append(100 * bracket_f1(trees[n:], guess, labelled=False))
            if kind == "8 bits, mean":
                gap = parser.gap(sentences[n:], trees[n:])
                gaps.append(100 * gap.gap)
                codes.append(gap.detail["codes"])
                entropies.append(gap.detail["bit_entropy"])
    mean = {kind: statistics.fmean(values) for kind, values in labelled.items()}
    mean_bare = {kind: statistics.fmean(values) for kind, values in bare.items()}
    plain, ours, nearest = kinds
    figures = [
        *(Measured.reported(f"labelled F1, {kind}", value) for kind, value in mean.items()),
        *(Measured.reported(f"unlabelled F1, {kind}", value) for kind, value in mean_bare.items()),
        Measured.reported("gap: labelled F1 lost by looking labels up by code, not by probabilities", statistics.fmean(gaps)),
        Measured.reported("distinct codes of training spans, of 256", statistics.fmean(codes)),
        Measured.reported("mean entropy of a bit over training spans", statistics.fmean(entropies)),
    ]  # fmt: skip
    compared = {
        "labelled F1 of 8 bits less that of labels": (mean[ours] - mean[plain], -1.0),
        "unlabelled F1 of 8 bits less that of labels": (mean_bare[ours] - mean_bare[plain], -0.5),
        "labelled F1 of max selection less that of mean": (mean[nearest] - mean[ours], -0.5),
    }
    if scale == "smoke":  # ten sentences say nothing about F1
        return [*figures, *(Measured.reported(name, value) for name, (value, _) in compared.items())]
    return [*figures, *(Measured.at_least(name, value, bound) for name, (value, bound) in compared.items())]


# Times.
def _times(scale: Scale) -> list[Measured]:
    """Medians of the CPU time of one log-partition and its gradient, taken in turn."""
    import torch

    from hardgrad.bits import BitCKY, tree_log_partition

    generator = torch.Generator().manual_seed(0)

    def scores(*last: int) -> Tensor:
        return torch.randn(BATCH, LENGTH, LENGTH, *last, generator=generator).requires_grad_()

    def of_bits(bits: int) -> Callable[[], Tensor]:
        chart, given = BitCKY(bits), scores(bits, 2)
        return lambda: tree_log_partition(chart.span_scores(given))

    def of_labels(labels: int) -> Callable[[], Tensor]:
        given = scores(labels)
        return lambda: tree_log_partition(given.logsumexp(-1))

    charts = {"8": of_bits(8), "16": of_bits(16), "10 labels": of_labels(10), "256 labels": of_labels(256)}
    spent: dict[str, list[float]] = {name: [] for name in charts}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for turn in range(REPEATS[scale] + 3):  # the first turns warm up
            for name, chart in charts.items():
                start = time.process_time()
                chart().sum().backward()
                if turn >= 3:
                    spent[name].append(time.process_time() - start)
    finally:
        torch.set_num_threads(threads)
    median = {name: statistics.median(values) for name, values in spent.items()}
    ratios = {
        "CPU time of 8 bits over 10 labels": (median["8"] / median["10 labels"], 1.5),
        "CPU time of 8 bits over 256 labels": (median["8"] / median["256 labels"], 1.0),
        "CPU time of 16 bits over 8": (median["16"] / median["8"], 2.2),
    }
    if scale == "smoke":  # a busy machine says nothing about time
        return [Measured.reported(name, value) for name, (value, _) in ratios.items()]
    return [Measured.at_most(name, value, bound) for name, (value, bound) in ratios.items()]
