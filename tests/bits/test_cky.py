"""The chart of bits against every tree with every code, against finite differences, and against closed forms."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from tree_enumeration import all_coded_trees, all_trees

import hardgrad
from hardgrad.bits import BestTree, BitCKY, best_trees, tree_log_partition, tree_marginals
from hardgrad.core.errors import InputError, ParameterError, TemperatureError

Tensor = torch.Tensor


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# Numbers of coded trees: Catalan(n - 1) 2^(bits (2 n - 1)); what is beyond a few thousand is left to the test without codes.
@pytest.mark.parametrize(("n", "bits"), [(1, 1), (1, 3), (2, 1), (2, 3), (3, 1), (3, 2), (4, 1)])
@pytest.mark.parametrize("temperature", [1.0, 0.25])
def test_everything_equals_the_sum_over_all_coded_trees(n: int, bits: int, temperature: float) -> None:
    scores = draw(1, n, n, bits, 2, seed=n)
    totals, spans, ones = all_coded_trees(scores[0].numpy())
    weights = np.exp(totals / temperature)
    found = BitCKY(bits, temperature=temperature)(scores)
    assert found.log_partition.item() == pytest.approx(temperature * math.log(weights.sum()), abs=1e-10)
    share = weights / weights.sum()
    np.testing.assert_allclose(found.span_marginals[0], np.tensordot(share, spans, 1), atol=1e-12)
    np.testing.assert_allclose(found.bit_marginals[0], np.tensordot(share, ones, 1), atol=1e-12)
    best = BitCKY(bits)(scores, mode="hard")
    assert best.log_partition.item() == pytest.approx(totals.max(), abs=1e-12)
    np.testing.assert_array_equal(best.span_marginals[0], spans[totals.argmax()])
    np.testing.assert_array_equal(best.bit_marginals[0], ones[totals.argmax()])


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 7])
@pytest.mark.parametrize("bits", [1, 2, 3])
def test_longer_sentences_equal_the_sum_over_all_trees(n: int, bits: int) -> None:
    """The codes of one span are summed one by one; that spans are then independent is what the test above shows."""
    scores = draw(1, n, n, bits, 2, seed=n)
    codes = np.array(list(itertools.product([0, 1], repeat=bits)))
    of_code = sum(scores[0, :, :, k].numpy()[..., codes[:, k]] for k in range(bits))
    spans = np.log(np.exp(of_code).sum(-1))
    totals = np.array([sum(spans[cell] for cell in tree) for tree in all_trees(0, n - 1)])
    assert BitCKY(bits)(scores).log_partition.item() == pytest.approx(np.log(np.exp(totals).sum()), abs=1e-10)


def test_marginals_are_the_gradient_and_sum_to_the_number_of_spans() -> None:
    scores = draw(4, 7, 7, 3, 2).requires_grad_()
    lengths = torch.tensor([7, 4, 1, 2])
    found = BitCKY(3)(scores, lengths)
    (gradient,) = torch.autograd.grad(found.log_partition.sum(), scores)
    torch.testing.assert_close(found.bit_marginals, gradient[..., 1])
    torch.testing.assert_close(found.span_marginals.unsqueeze(-1).expand(-1, -1, -1, 3), gradient.sum(-1))
    torch.testing.assert_close(found.span_marginals.sum((1, 2)), (2 * lengths - 1).double())


def test_gradients_of_every_order() -> None:
    lengths = torch.tensor([4, 2])
    scores = draw(2, 4, 4, 1, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: tuple(BitCKY(1)(s, lengths)), scores)
    assert torch.autograd.gradgradcheck(lambda s: BitCKY(1)(s, lengths).log_partition, scores)
    spans = draw(1, 4, 4).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda s: tree_marginals(s).square().sum(), spans)


def test_sentences_of_a_batch_do_not_see_each_other_nor_their_padding() -> None:
    scores, lengths = draw(3, 6, 6, 2, 2), torch.tensor([2, 6, 5])
    together = BitCKY(2)(scores, lengths)
    trees = BitCKY(2).decode(scores, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone = scores[row : row + 1, :length, :length]
        found = BitCKY(2)(alone)
        assert found.log_partition.item() == pytest.approx(together.log_partition[row].item(), abs=1e-12)
        torch.testing.assert_close(found.bit_marginals[0], together.bit_marginals[row, :length, :length])
        assert (
            not together.span_marginals[row, length:].any()
            and not together.span_marginals[row, :, length:].any()
        )
        (tree,) = BitCKY(2).decode(alone)
        np.testing.assert_array_equal(tree.spans, trees[row].spans)
        np.testing.assert_array_equal(tree.codes, trees[row].codes)


def test_cells_that_are_no_spans_have_no_say() -> None:
    scores, lengths = draw(2, 5, 5, 2, 2), torch.tensor([5, 3])
    other = scores.clone()
    below = torch.ones(5, 5, dtype=torch.bool).tril(-1)
    other[:, below] += 100.0
    other[1, :, 3:] -= 50.0
    for mode in ("soft", "st", "hard"):
        for one, two in zip(
            BitCKY(2)(scores, lengths, mode=mode), BitCKY(2)(other, lengths, mode=mode), strict=True
        ):
            torch.testing.assert_close(one, two, rtol=0, atol=0)


def test_as_many_trees_as_the_catalan_numbers_say() -> None:
    lengths = torch.arange(1, 11)
    found = tree_log_partition(torch.zeros(10, 10, 10, dtype=torch.float64), lengths)
    expected = [math.log(math.comb(2 * k, k) / (k + 1)) for k in range(10)]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_straight_through_is_the_best_tree_with_the_gradient_of_the_soft_one() -> None:
    scores = draw(2, 5, 5, 2, 2).requires_grad_()
    chart = BitCKY(2, temperature=0.7)
    exact, soft = chart(scores, mode="hard"), chart(scores)
    with hardgrad.mode("st"):
        both = chart(scores)
    weights = draw(2, 5, 5, 2, seed=1)
    for one, two in zip(both, exact, strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=0)
    gradients = [torch.autograd.grad((f.bit_marginals * weights).sum(), scores)[0] for f in (both, soft)]
    torch.testing.assert_close(*gradients)


def test_cold_is_hard_and_the_module_hardens() -> None:
    scores = draw(3, 6, 6, 2, 2)
    chart = BitCKY(2, temperature=1e-3)
    exact = hardgrad.harden(chart)
    assert isinstance(exact, BestTree) and exact.num_bits == 2
    for one, two in zip(chart(scores), exact(scores), strict=True):
        torch.testing.assert_close(one, two, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(chart.span_scores(scores), scores.amax(-1).sum(-1), atol=1e-3, rtol=0)


def test_the_decoded_tree_has_its_score_and_is_a_tree() -> None:
    scores, lengths = draw(5, 9, 9, 3, 2), torch.tensor([9, 1, 2, 8, 5])
    chart = BitCKY(3)
    for row, tree in enumerate(chart.decode(scores, lengths)):
        n = int(lengths[row])
        assert (
            tree.spans.shape == (2 * n - 1, 2)
            and tree.spans[0].tolist() == [0, n]
            and tree.codes.shape == (2 * n - 1, 3)
        )
        cells = scores[row, tree.spans[:, 0], tree.spans[:, 1] - 1].numpy()
        chosen = np.take_along_axis(cells, tree.codes[..., None].astype(int), -1)
        assert chosen.sum() == pytest.approx(tree.score, abs=1e-9)
        for a, b in tree.spans.tolist():
            for c, d in tree.spans.tolist():
                assert b <= c or d <= a or (a <= c and d <= b) or (c <= a and b <= d)


def test_equal_trees_and_bits_are_decided_by_rule() -> None:
    spans, score = best_trees(np.zeros((1, 4, 4)))
    assert spans[0].tolist() == [
        [0, 4],
        [0, 1],
        [1, 4],
        [1, 2],
        [2, 4],
        [2, 3],
        [3, 4],
    ] and score.tolist() == [0.0]
    assert not BitCKY(2).decode(torch.zeros(1, 2, 2, 2, 2))[0].codes.any()


def test_it_works_without_gradients_and_in_halves() -> None:
    scores = draw(1, 4, 4, 2, 2).float()
    with torch.inference_mode():
        found = BitCKY(2)(scores.clone())
    torch.testing.assert_close(found.span_marginals.clone(), BitCKY(2)(scores).span_marginals)
    half = BitCKY(2)(scores.half())
    assert half.log_partition.dtype == torch.float16
    torch.testing.assert_close(half.span_marginals.float(), found.span_marginals.clone(), atol=2e-3, rtol=0)


def test_large_scores_stay_finite() -> None:
    scores = (1e4 * draw(2, 8, 8, 4, 2)).float().requires_grad_()
    found = BitCKY(4)(scores)
    (gradient,) = torch.autograd.grad(found.span_marginals.square().sum() + found.log_partition.sum(), scores)
    assert torch.isfinite(gradient).all() and torch.isfinite(found.log_partition).all()
    assert bool((found.span_marginals <= 1.0).all())


@pytest.mark.parametrize(
    ("scores", "lengths"),
    [
        (torch.zeros(1, 3, 3, 2), None),
        (torch.zeros(1, 3, 2, 2, 2), None),
        (torch.zeros(1, 3, 3, 1, 2), None),
        (torch.zeros(1, 0, 0, 2, 2), None),
        (torch.full((1, 2, 2, 2, 2), math.nan), None),
        (torch.full((1, 2, 2, 2, 2), math.inf), None),
        (torch.zeros(1, 3, 3, 2, 2), torch.tensor([4])),
        (torch.zeros(1, 3, 3, 2, 2), torch.tensor([0])),
        (torch.zeros(1, 3, 3, 2, 2), torch.tensor([1.0])),
        (torch.zeros(1, 3, 3, 2, 2), torch.tensor([1, 1])),
    ],
)
@pytest.mark.parametrize("mode", ["soft", "hard"])
def test_bad_input_is_refused(scores: Tensor, lengths: Tensor | None, mode: str) -> None:
    with pytest.raises(InputError):
        BitCKY(2)(scores, lengths, mode=mode)


def test_bad_parameters_are_refused() -> None:
    for bits in (0, -1, 1.5, True, None):
        with pytest.raises(ParameterError, match="num_bits"):
            BitCKY(bits)  # type: ignore[arg-type]
    with pytest.raises(TemperatureError):
        BitCKY(1, temperature=0.0)
    with pytest.raises(InputError):
        best_trees(np.zeros((2, 2)))
    with pytest.raises(InputError):
        tree_log_partition(torch.full((1, 2, 2), math.nan))
