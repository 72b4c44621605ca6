"""Row 53, logic gate networks: what the divisor of a group sum does to the exact circuit, and how many classes gates can tell apart."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hardgrad.reproductions.gate_digits import Bits, accuracy, digit_bits, gate_network, train_gates
from hardgrad.reproductions.registry import Measured, Scale, reproduction

if TYPE_CHECKING:
    from hardgrad.logic import LogicNetwork

TAUS = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 100.0)
DIGIT_WIDTHS = {"smoke": [200] * 2, "full": [1000] * 3}
DIGIT_STEPS = {"smoke": 30, "full": 300}
SEEDS = {"smoke": 1, "full": 3}
WORD, TRAIN_EACH, TEST_EACH = 256, 20, 10  # bits of a prototype, samples of a class
FEW, SOME, MANY = 10, 100, 500
WIDTHS = {FEW: [4000] * 3, SOME: [4000] * 3, MANY: [10_000] * 2}
STEPS = {FEW: 300, SOME: 300, MANY: 700}
SMOKE_WIDTHS, SMOKE_STEPS = [400, 400], 20
LOOK_EVERY = 25
NETWORK_BEHIND = {FEW: math.inf, SOME: 0.01, MANY: 0.025}


@reproduction(
    row=53,
    slug="logic-gate-networks",
    title="From MNIST to ImageNet: Understanding the Scalability Boundaries of Differentiable Logic Gate Networks",
    venue="arXiv 2509.25933, 2025",
    claim=(
        "with a tuned tau, networks with a group sum tell up to 2,000 classes apart and are ahead of MLPs (synthetic data, figure 1; table "
        "values unconfirmed; here digits, and prototypes of up to 500 classes with flipped bits)"
    ),
)
def logic_gate_networks(scale: Scale) -> Sequence[Measured]:
    """Sweep tau on digits, soft against exact, then tell 10, 100 and 500 classes apart beside an MLP of as many parameters."""
    return [*_sweep(scale), *_many_classes(scale)]


# The divisor of the group sum.
def _sweep(scale: Scale) -> list[Measured]:
    from hardgrad.logic import suggest_tau

    widths = DIGIT_WIDTHS[scale]
    auto = suggest_tau(widths[-1], 10)
    found = {tau: _digits(tau, scale) for tau in (*TAUS, auto)}
    figures = []
    for tau, (soft, hard) in found.items():
        name = f"tau {tau:g}{' (auto)' if tau == auto else ''}"
        figures += [
            Measured.reported(f"soft accuracy, digits, {name}", soft),
            Measured.reported(f"hard accuracy, digits, {name}", hard),
        ]
    soft, hard = found[auto]
    best = max(found[tau][1] for tau in TAUS)
    narrow = found[TAUS[0]]
    if scale == "smoke":
        return figures
    return [
        *figures,
        Measured.at_most("best hard accuracy of the sweep less that at the suggested tau", best - hard, 0.01),
        Measured.at_least("hard accuracy at the suggested tau", hard, 0.92),
        Measured.at_most("gap at the suggested tau", soft - hard, 0.03),
        Measured.at_least(f"gap at tau {TAUS[0]:g}", narrow[0] - narrow[1], 0.5),
    ]


def _digits(tau: float, scale: Scale) -> tuple[float, float]:
    """Return the soft and the hard accuracy on held-out digits, means of seeds."""
    soft, hard = [], []
    for seed in range(SEEDS[scale]):
        data = digit_bits(seed)
        network = gate_network(data.train.shape[1], DIGIT_WIDTHS[scale], data.classes, tau, seed)
        train_gates(network, data, DIGIT_STEPS[scale], seed, batch=100, learning_rate=0.01)
        soft.append(accuracy(network, data.test, data.test_class, "soft"))
        hard.append(accuracy(network, data.test, data.test_class, "hard"))
    return sum(soft) / len(soft), sum(hard) / len(hard)


# Many classes.
def prototypes(classes: int, flips: float, seed: int) -> Bits:
    """Return samples of random code words, one a class, each bit flipped with a chance of `flips`."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    words = torch.randint(2, (classes, WORD), generator=generator)

    def draw(each: int) -> tuple[Any, Any]:
        y = torch.arange(classes).repeat_interleave(each)
        flipped = (torch.rand(len(y), WORD, generator=generator) < flips).long()
        return (words[y] ^ flipped).float(), y

    return Bits(*draw(TRAIN_EACH), *draw(TEST_EACH))


def _many_classes(scale: Scale) -> list[Measured]:
    cases = [(FEW, 0.1)] if scale == "smoke" else [(FEW, 0.1), (SOME, 0.1), (MANY, 0.1), (MANY, 0.25)]
    figures = []
    for classes, flips in cases:
        name = f"{classes} classes, {flips:.0%} flips"
        data = prototypes(classes, flips, seed=0)
        widths, steps = (SMOKE_WIDTHS, SMOKE_STEPS) if scale == "smoke" else (WIDTHS[classes], STEPS[classes])
        network = _best_network(data, widths, steps)
        soft, hard = (accuracy(network, data.test, data.test_class, mode) for mode in ("soft", "hard"))
        mlp = _mlp_accuracy(data, sum(p.numel() for p in network.parameters()))
        figures += [
            Measured.reported(f"hard accuracy, {name}", hard),
            Measured.reported(f"accuracy of an MLP of as many parameters, {name}", mlp),
        ]
        behind, gap = f"MLP less hard accuracy, {name}", f"gap, {name}"
        if scale == "smoke" or flips > 0.1 or classes == FEW:
            figures += [Measured.reported(behind, mlp - hard), Measured.reported(gap, soft - hard)]
        else:
            figures += [
                Measured.at_most(behind, mlp - hard, NETWORK_BEHIND[classes]),
                Measured.at_most(gap, soft - hard, 0.02),
            ]
    return figures


def _best_network(data: Bits, widths: list[int], steps: int) -> LogicNetwork:
    """Return the network whose exact form was best on the tenth of the training samples that it did not learn from."""
    import torch

    from hardgrad.logic import suggest_tau

    order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(1))
    held, rest = order[: len(order) // 10], order[len(order) // 10 :]
    inner = Bits(data.train[rest], data.train_class[rest], data.train[held], data.train_class[held])
    network = gate_network(WORD, widths, data.classes, suggest_tau(widths[-1], data.classes), seed=0)
    best, kept = -1.0, copy.deepcopy(network)

    def watch(step: int) -> bool:
        nonlocal best
        if step % LOOK_EVERY == 0 and step:
            found = accuracy(network, inner.test, inner.test_class, "hard")
            if found > best:
                best = found
                kept.load_state_dict(network.state_dict())
        return False

    train_gates(network, inner, steps, seed=0, batch=128, learning_rate=0.02, watch=watch)
    watch(LOOK_EVERY * steps)
    return kept


def _mlp_accuracy(data: Bits, parameters: int) -> float:
    """Return the held-out accuracy of scikit-learn's MLP with one hidden layer of about so many parameters in all."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    hidden = max(1, round((parameters - data.classes) / (WORD + 1 + data.classes)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the passes are enough here, and a bound
        mlp = MLPClassifier((hidden,), max_iter=40, random_state=0).fit(
            data.train.numpy(), data.train_class.numpy()
        )
    return float(mlp.score(data.test.numpy(), data.test_class.numpy()))
