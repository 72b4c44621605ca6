"""Row 16: sorting networks with error-free differentiable swaps, and scorers that see the set. Torch is imported when it is run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hardgrad.reproductions.digit_lists import LISTS, TEST_LISTS, accuracy, digit_lists, mlp, train
from hardgrad.reproductions.registry import Measured, Scale, reproduction

TEMPERATURE = 0.1  # steepness 10, as in the published scripts
Draw = Callable[[int, Any, bool], tuple[Any, Any]]


@reproduction(
    row=16,
    slug="error-free-swaps",
    title="Generalized Neural Sorting Networks with Error-Free Differentiable Swap Functions",
    venue="Kim, Yoon and Cho, ICLR 2024",
    claim=(
        "four-digit MNIST, exact match % at n = 3, 5, 7, 9, 15 (recalled): error-free CNN 94.8, 86.9, 74.2, 62.6, 34.7 against diffsort "
        "Cauchy 94.2, 84.9, 73.3, 63.8, 31.1; small Transformer 95.9, 94.8, 90.8, 86.9, 74.3 (from code whose attention mixes the lists "
        "of a batch)"
    ),
)
def error_free_swaps(scale: Scale) -> Sequence[Measured]:
    """Test exactness and equivariance, train on two-digit numbers and on fragments of images, soft beside error-free."""
    smoke = scale == "smoke"
    measured = [*_exactness(500 if smoke else 10_000), _equivariance()]
    return measured + (_smoke_numbers() if smoke else _numbers() + _jigsaw())


def _exactness(vectors: int) -> list[Measured]:
    import torch

    from hardgrad.functional import softening_error, sort

    generator = torch.Generator().manual_seed(0)
    x = torch.randn(vectors, 15, generator=generator)
    third = vectors // 3
    x[:third] = (3 * x[:third]).round()
    x[third : 2 * third] *= 1e8
    wrong, broken = 0, 0
    for network in ("odd_even", "bitonic"):
        found = sort(x, method="network", network=network, swap="error_free", mode="soft")
        wrong += int((found.values != x.sort(-1).values).any(-1).sum())
        zeros_and_ones = ((found.weights == 0) | (found.weights == 1)).all(-1).all(-1)
        sums = (found.weights.sum(-1) == 1).all(-1) & (found.weights.sum(-2) == 1).all(-1)
        broken += int((~(zeros_and_ones & sums)).sum())
    error = softening_error(torch.randn(200, 15, generator=generator), temperature=TEMPERATURE)
    return [
        Measured.exactly("vectors that differ from torch.sort after error-free swaps", wrong, 0),
        Measured.exactly("matrices that are no permutation after error-free swaps", broken, 0),
        Measured.reported("mean softening error of the soft network, n = 15", float(error.mean())),
    ]


def _equivariance() -> Measured:
    import torch

    from hardgrad.nn import PermutationEquivariantScorer

    torch.manual_seed(0)
    scorer = PermutationEquivariantScorer(128)
    items, order = torch.rand(5, 7, 128), torch.randperm(7)
    with torch.no_grad():
        apart = float((scorer(items[:, order]) - scorer(items)[:, order]).abs().max())
    return Measured.at_most("largest change of a score when items are permuted", apart, 1e-5)


def _soft_loss(scores: Any, items: Any, labels: Any) -> Any:
    from hardgrad.functional import sort
    from hardgrad.losses import PermutationBCE

    return PermutationBCE()(sort(scores, temperature=TEMPERATURE, method="network").weights, labels)


def _error_free_loss(scores: Any, items: Any, labels: Any) -> Any:
    from hardgrad.functional import sort
    from hardgrad.losses import HardPermutationLoss

    exact = sort(scores, temperature=TEMPERATURE, method="network", swap="error_free", mode="st").weights
    return _soft_loss(scores, items, labels) + HardPermutationLoss()(exact, items, labels)


def _scorer(kind: str, features: int) -> tuple[Any, Any]:
    """A scoring function and its parameters: every item by itself, or the set through a Transformer."""
    import torch
    from torch import nn

    from hardgrad.nn import PermutationEquivariantScorer

    if kind == "set Transformer":
        embedding = nn.Sequential(nn.Linear(features, 128), nn.ReLU(), nn.Linear(128, 32))
        scorer: Any = PermutationEquivariantScorer(embedding, width=32, layers=2, heads=4)
        return scorer, scorer.parameters()
    single = mlp(features)

    def score(items: Any) -> torch.Tensor:
        scores: torch.Tensor = single(items).squeeze(-1)
        return scores

    return score, single.parameters()


def _learn(
    kind: str, features: int, loss: Callable[[Any, Any, Any], Any], draw: Draw, steps: int, seed: int
) -> tuple[float, float]:
    import torch

    torch.manual_seed(seed)
    score, parameters = _scorer(kind, features)
    train(score, parameters, loss, lambda generator: draw(LISTS, generator, False), steps, seed)
    items, labels = draw(TEST_LISTS, torch.Generator().manual_seed(seed), True)
    with torch.no_grad():
        return accuracy(score(items), labels)


def _draw_numbers(n: int) -> Draw:
    data = digit_lists()
    return lambda lists, generator, test: data.draw(lists, n, generator, test=test)


def _smoke_numbers() -> list[Measured]:
    exact = _learn("MLP", 128, _error_free_loss, _draw_numbers(5), 40, 0)[0]
    return [Measured.at_least("exact match, n = 5, error-free MLP, 40 steps", exact, 0.02)]


def _numbers() -> list[Measured]:
    draw = _draw_numbers(7)
    soft, free = (
        sum(_learn("MLP", 128, loss, draw, 600, seed)[0] for seed in range(3)) / 3
        for loss in (_soft_loss, _error_free_loss)
    )
    whole_set = _learn("set Transformer", 128, _soft_loss, draw, 600, 0)[0]
    long = _draw_numbers(15)
    fifteen = [_learn("MLP", 128, loss, long, 300, 0) for loss in (_soft_loss, _error_free_loss)]
    return [
        Measured.reported("exact match, n = 7, soft MLP", soft),
        Measured.at_least("exact match, n = 7, error-free MLP", free, 0.28),
        Measured.at_least("exact match, n = 7, error-free less soft MLP", free - soft, -0.03),
        Measured.at_least("exact match, n = 7, soft set Transformer less MLP", whole_set - soft, 0.08),
        Measured.reported("share of right ranks, n = 15, soft MLP, 300 steps", fifteen[0][1]),
        Measured.reported("share of right ranks, n = 15, error-free less soft MLP, 300 steps", fifteen[1][1] - fifteen[0][1]),
    ]  # fmt: skip


def _jigsaw() -> list[Measured]:
    """Quarters of one digit in shuffled order; their places in the image are what they are sorted by."""
    import torch

    data = digit_lists()

    def draw(lists: int, generator: Any, test: bool) -> tuple[Any, Any]:
        images = data.test_images if test else data.images
        rows = torch.randint(len(images), (lists,), generator=generator)
        quarters = (
            images[rows].unflatten(1, (2, 4)).unflatten(3, (2, 4)).transpose(2, 3).reshape(lists, 4, 16)
        )
        places = torch.rand(lists, 4, generator=generator).argsort(-1)
        return quarters.gather(1, places.unsqueeze(-1).expand(lists, 4, 16)), places

    found = []
    for seed in range(2):
        single, whole = (
            _learn(kind, 16, _error_free_loss, draw, 600, seed)[1] for kind in ("MLP", "set Transformer")
        )
        found.append(Measured.reported(f"share of fragments in place, MLP, seed {seed}", single))
        found.append(
            Measured.at_least(
                f"share of fragments in place, set Transformer less MLP, seed {seed}", whole - single, 0.07
            )
        )
    return found
