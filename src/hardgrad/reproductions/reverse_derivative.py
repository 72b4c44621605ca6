"""Row 45, reverse derivative ascent: circuits learned over Z2, without real numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hardgrad.reproductions.registry import Measured, Scale, reproduction

Bits = NDArray[np.bool_]
RATIOS = (1.5, 2, 4)
VOTES = (3, 5)
SEEDS = 10
TABLES = {"smoke": 20, "full": 200}
DIGITS_TRAIN, DIGITS_VALIDATION = 200, 50


@reproduction(
    row=45,
    slug="reverse-derivative",
    title="Reverse Derivative Ascent: A Categorical Approach to Learning Boolean Circuits",
    venue="ACT 2020",
    claim=(
        "Boolean circuits are learned directly, by reverse derivatives over Z2: accuracies on Iris (two and three classes, binary "
        "and one-hot labels) and on MNIST 0 and 1 (exact percentages unconfirmed)"
    ),
)
def reverse_derivative(scale: Scale) -> Sequence[Measured]:
    """Run the published protocol on Iris, masks with a threshold on scikit-learn's digits 0 and 1, and random tables of four inputs."""
    iris = [
        Measured.exactly(f"Iris, {classes} classes, {code} labels: accuracy", _iris(classes, code), expected)
        for classes, expected in ((2, 0.98), (3, 0.7467))
        for code in ("binary", "one-hot")
    ]
    exact = Measured.exactly(
        f"{TABLES[scale]} random tables of 4 inputs, one pass: share learned", _tables(TABLES[scale]), 1
    )
    return [*iris, exact, *_digits()]


def _iris(classes: int, code: str) -> float:
    """The first 25 of each class train a table in one pass, the others test it; to four decimals."""
    from sklearn.datasets import load_iris

    from hardgrad.logic import LookupTableModel, ReverseDerivativeAscent

    X, y = load_iris(return_X_y=True)
    X, y = X[y < classes], y[y < classes]
    bits = (X - X.min(axis=0)) / (X.max(axis=0) - X.min(axis=0)) > 0.5
    if code == "one-hot":
        labels = y[:, None] == np.arange(classes)
    else:
        labels = (y[:, None] >> np.arange((classes - 1).bit_length()) & 1) == 1
    train = np.arange(len(y)) % 50 < 25  # 50 of each class, in order
    ascent = ReverseDerivativeAscent(LookupTableModel(4, labels.shape[1])).fit(bits[train], labels[train])
    return round(ascent.score(bits[~train], labels[~train]), 4)


def _tables(count: int) -> float:
    from hardgrad.logic import LookupTableModel, ReverseDerivativeAscent, truth_rows

    rng, rows = np.random.default_rng(0), truth_rows(4)
    tables = rng.integers(0, 2, (count, 16))
    learned = [
        ReverseDerivativeAscent(LookupTableModel(4, 1)).fit(rows, table).score(rows, table)
        for table in tables
    ]
    return float(np.mean(learned))


def _digits() -> list[Measured]:
    """Splits and orders are drawn anew for each seed; what is kept was best on validation rows, scored after every example."""
    from sklearn.datasets import load_digits

    X, y = load_digits(n_class=2, return_X_y=True)
    pixels, label = X > 4, y == 1
    orders = [np.random.default_rng(seed).permutation(len(label)) for seed in range(SEEDS)]
    found = {
        (ratio, votes): [_mask(pixels[order], label[order], ratio, votes) for order in orders]
        for ratio, votes in [(ratio, 1) for ratio in RATIOS] + [(1.5, votes) for votes in VOTES]
    }
    mean = {key: float(np.mean([score for score, _, _ in runs])) for key, runs in found.items()}
    plain = found[1.5, 1]
    scores = [score for score, _, _ in plain]
    name = "digits 0 and 1, mask with ratio {:g}: test accuracy, {}"
    others = [_others(pixels[order], label[order]) for order in orders]
    return [
        Measured.at_least(name.format(1.5, f"mean of {SEEDS} splits"), mean[1.5, 1], 0.85),
        Measured.reported(name.format(1.5, "worst split"), min(scores)),
        Measured.reported(name.format(1.5, "best split"), max(scores)),
        *(Measured.reported(name.format(ratio, "mean"), mean[ratio, 1]) for ratio in RATIOS[1:]),
        *(Measured.reported(name.format(1.5, f"mean, a majority of {k} updates"), mean[1.5, k]) for k in VOTES),
        Measured.reported("the larger class, mean", float(np.mean([largest for largest, _ in others]))),
        Measured.reported("BernoulliNB, mean: it wins", float(np.mean([bayes for _, bayes in others]))),
        Measured.exactly("rows on which circuits differ from what they were made of", sum(differ for _, differ, _ in plain), 0),
        Measured.reported("gates of a circuit, mean", float(np.mean([gates for _, _, gates in plain]))),
    ]  # fmt: skip


def _parts(rows: Bits) -> list[Bits]:
    return np.split(rows, [DIGITS_TRAIN, DIGITS_TRAIN + DIGITS_VALIDATION])


def _mask(pixels: Bits, label: Bits, ratio: float, votes: int) -> tuple[float, int, int]:
    """Test accuracy, rows on which the circuit says something else, and its gates."""
    from hardgrad.logic import MaskedThresholdModel, ReverseDerivativeAscent

    (train, held_out, test), (y_train, y_held_out, y_test) = _parts(pixels), _parts(label)
    ascent = ReverseDerivativeAscent(MaskedThresholdModel(pixels.shape[1], ratio))
    ascent.fit(train, y_train, epochs=3, validation=(held_out, y_held_out), accumulate=votes)
    circuit = ascent.harden()
    differ = int((circuit.evaluate(pixels) != ascent.predict(pixels)).sum())
    return ascent.score(test, y_test), differ, circuit.n_gates


def _others(pixels: Bits, label: Bits) -> tuple[float, float]:
    """Test accuracy of the larger class, and of naive Bayes on the same bits."""
    from sklearn.naive_bayes import BernoulliNB

    (train, _, test), (y_train, _, y_test) = _parts(pixels), _parts(label)
    bayes = BernoulliNB().fit(train, y_train)
    return float(max(y_test.mean(), 1 - y_test.mean())), float(bayes.score(test, y_test))
