"""The soft parser: scores of all spans by a network, and the losses of a tree by bits or by labels. `parser_model` is what is shipped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from hardgrad.bits.cky import BitCKY, tree_log_partition
from hardgrad.bits.hashing import ContrastiveHashingLoss, Selection
from hardgrad.bits.span_scorer import DIRECTIONS, weight_shapes
from hardgrad.train.loop import Hardware, TrainingTask, train


class SpanScorer(nn.Module):
    """Score every span of a sentence: word vectors, a bidirectional LSTM, two sides of a span, one bilinear form an output.

    Parameters
    ----------
    n_words, width, hidden, outputs : as for `hardgrad.bits.span_scorer.weight_shapes`.

    Examples
    --------
    >>> SpanScorer(5, 4, 3, 2)(torch.ones(1, 4, dtype=torch.long), torch.tensor([4])).shape
    torch.Size([1, 4, 4, 2])
    """

    def __init__(self, n_words: int, width: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(n_words + 1, width)
        self.lstm = nn.LSTM(width, hidden, batch_first=True, bidirectional=True)
        self.left, self.right = nn.Linear(2 * hidden, width), nn.Linear(2 * hidden, width)
        self.bilinear = nn.Parameter(torch.randn(outputs, width + 1, width + 1))
        self.shapes = weight_shapes(n_words, width, hidden, outputs)

    def forward(self, words: Tensor, lengths: Tensor) -> Tensor:
        """Return scores [B, L, L, outputs] of sentences [B, L] padded with anything; cell [i, j] has words i to j, both inside."""
        packed = pack_padded_sequence(
            self.embedding(words), lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        states, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=words.shape[1])
        sides = (
            nn.functional.layer_norm(side(states), (side.out_features,)) for side in (self.left, self.right)
        )
        left, right = (nn.functional.pad(side, (0, 1), value=1.0) for side in sides)
        half = torch.einsum("bip,opq->bioq", left, self.bilinear / self.left.out_features)
        return torch.einsum("bioq,bjq->bijo", half, right)

    def weights(self) -> dict[str, NDArray[np.float32]]:
        """Return all weights under the names that the exact scorer knows."""
        lstm: Any = self.lstm
        found = {"embedding": self.embedding.weight, "bilinear": self.bilinear / self.left.out_features}
        for way, suffix in zip(DIRECTIONS, ("", "_reverse"), strict=True):
            found[f"{way}_input"] = getattr(lstm, f"weight_ih_l0{suffix}")
            found[f"{way}_hidden"] = getattr(lstm, f"weight_hh_l0{suffix}")
            found[f"{way}_bias"] = getattr(lstm, f"bias_ih_l0{suffix}") + getattr(lstm, f"bias_hh_l0{suffix}")
        for name, side in (("left", self.left), ("right", self.right)):
            found |= {f"{name}_weight": side.weight, f"{name}_bias": side.bias}
        return {name: found[name].detach().cpu().numpy().astype(np.float32) for name in self.shapes}


@dataclass(frozen=True)
class Treebank:
    """Sentences with their binary trees, as numbers.

    Parameters
    ----------
    words : of each sentence [n], numbers of words, 0 for one that is not known.
    spans : of each tree [2 n - 1, 3]: first word, last word, number of the label.
    n_words, n_labels : how many there are.
    """

    words: Sequence[NDArray[np.int64]]
    spans: Sequence[NDArray[np.int64]]
    n_words: int
    n_labels: int


@dataclass(frozen=True)
class Settings:
    """How a parser is trained; see `hardgrad.bits.parser.BitParser`."""

    num_bits: int | None
    selection: Selection
    temperature: float
    hash_weight: float
    width: int
    max_iter: int
    batch_size: int
    learning_rate: float
    word_dropout: float
    seed: int


def train_scorer(bank: Treebank, settings: Settings, device: str) -> dict[str, NDArray[np.float32]]:
    """Return the trained weights of the scorer by name, for `hardgrad.bits.span_scorer`.

    Parameters
    ----------
    bank, settings : what to learn from, and how.
    device : "cpu", "cuda" or "auto".
    """
    return train(_ParserTask, (bank, settings), Hardware(device))


class _ParserTask(TrainingTask):
    """Trees by their likelihood; labels by contrastive hashing, or by the likelihood of the labelled tree where there are no bits."""

    key = phase = "bit parser"

    def __init__(self, bank: Treebank, settings: Settings) -> None:
        self.bank, self.settings = bank, settings
        self.batches = -(-len(bank.words) // settings.batch_size)
        self.steps = settings.max_iter * self.batches
        bits, width = settings.num_bits, settings.width
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.module = SpanScorer(bank.n_words, width, width, 2 * bits if bits else bank.n_labels)
        self.chart = BitCKY(bits or 1)
        self.hashing = ContrastiveHashingLoss(bits or 1, settings.temperature, settings.selection)

    def optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.module.parameters(), self.settings.learning_rate)

    def before_step(self, step: int, optimizer: torch.optim.Optimizer) -> None:
        for group in optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * (1.0 - step / self.steps)

    def add_penalty(self) -> None:
        torch.nn.utils.clip_grad_norm_(self.module.parameters(), 5.0)

    def loss(self, copies: nn.Module, step: int, parts: range) -> Tensor:
        device = next(copies.parameters()).device
        words, lengths, gold = (part.to(device) for part in self._batch(step))
        scores = copies(words, lengths)
        bits = self.settings.num_bits
        return (
            self._of_labels(scores, lengths, gold)
            if bits is None
            else self._of_bits(scores.unflatten(-1, (bits, 2)), lengths, gold)
        )

    def _batch(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Words [B, L], lengths [B], and labels [B, L, L]: -1 where there is no span of the tree, -2 where there are no such words."""
        epoch, number = divmod(step, self.batches)
        order = np.random.default_rng([self.settings.seed, epoch]).permutation(len(self.bank.words))
        chosen = order[number :: self.batches]
        lengths = np.array([len(self.bank.words[k]) for k in chosen])
        size = int(lengths.max())
        words = np.zeros((len(chosen), size), dtype=np.int64)
        gold = np.full((len(chosen), size, size), -2, dtype=np.int64)
        rng = np.random.default_rng([self.settings.seed, step, 1])
        for row, (k, length) in enumerate(zip(chosen, lengths, strict=True)):
            kept = rng.random(length) >= self.settings.word_dropout
            words[row, :length] = self.bank.words[k] * kept
            gold[row, *np.triu_indices(length)] = -1
            first, last, label = self.bank.spans[k].T
            gold[row, first, last] = label
        return torch.from_numpy(words), torch.from_numpy(lengths), torch.from_numpy(gold)

    def _of_labels(self, scores: Tensor, lengths: Tensor, gold: Tensor) -> Tensor:
        total = tree_log_partition(scores.logsumexp(-1), lengths)
        chosen = scores.gather(-1, gold.clamp(min=0).unsqueeze(-1)).squeeze(-1)
        return (total - torch.where(gold >= 0, chosen, 0.0).sum((1, 2))).sum() / lengths.sum()

    def _of_bits(self, scores: Tensor, lengths: Tensor, gold: Tensor) -> Tensor:
        found = self.chart(scores, lengths)
        present = gold >= 0
        tree = torch.where(present, self.chart.span_scores(scores), 0.0).sum((1, 2))
        structure: Tensor = (found.log_partition - tree).sum() / lengths.sum()
        # As many spans outside the trees as there are inside, the likeliest ones: what the chart may take for spans. Trees are learned
        # by their likelihood alone: through the marginals, the hashing loss would rather take spans apart than tell their labels apart.
        likely = found.span_marginals.detach()
        outside = torch.where(gold == -1, likely, -1.0).flatten()
        count = min(int(present.sum()), int((gold == -1).sum()))
        rival = torch.zeros_like(outside, dtype=torch.bool).scatter(0, outside.topk(count).indices, True)
        kept = present | rival.view_as(gold)
        bits = torch.sigmoid(scores[kept][..., 1] - scores[kept][..., 0])
        hashing: Tensor = self.hashing(bits, gold[kept], likely[kept])
        return structure + self.settings.hash_weight * hashing

    def result(self) -> dict[str, NDArray[Any]]:
        assert isinstance(self.module, SpanScorer)
        return dict(self.module.weights())
