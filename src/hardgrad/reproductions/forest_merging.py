"""Row 63, linear mode connectivity of soft forests: barriers between two trainings, aligned and not, and forests merged from split data."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.reproductions.registry import Measured, Scale, reproduction

if TYPE_CHECKING:
    from hardgrad.trees import SoftForest
    from hardgrad.trees.alignment import Method
    from hardgrad.trees.assemble import Frame
    from hardgrad.trees.soft_forest import Split

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
DEPTH, BATCH = 2, 512
SPLITS: tuple[Split, ...] = ("oblivious", "sparse_oblique", "decision_list")
METHODS: tuple[Method, ...] = ("weight", "activation")
RATES = (0.01, 0.001, 0.0001)
_Key = tuple["Method", str]
LEVELS: dict[str, tuple[str, ...]] = {
    "naive": (),
    "permutation": ("permutation",),
    "full": ("permutation", "flip", "order"),
}


@dataclass(frozen=True)
class _Size:
    tables: tuple[str, ...]
    rows: int
    trees: int
    epochs: int
    pairs: dict[Split, int]
    points: int


SIZES = {
    "smoke": _Size(("digits",), 600, 16, 10, dict.fromkeys(SPLITS, 1), 5),
    "full": _Size(
        ("digits", "magic"), 4000, 128, 40, {"oblivious": 5, "sparse_oblique": 3, "decision_list": 3}, 25
    ),
}


@reproduction(
    row=63,
    slug="forest-merging",
    title="Linear Mode Connectivity in Differentiable Tree Ensembles",
    venue="Kanoh and Sugiyama, ICLR 2025",
    claim=(
        "16 tables, 256 trees of depth 2, test barrier in accuracy points, matched by weights: non-oblivious naive 6.80, permutation 0.81, "
        "full 0.46; oblivious 7.88, 0.92, 0.35; decision list 7.51, permutation 0.44. Matched by activations permutation alone does not "
        "help (8.63 and 10.35), full matching gives 0.94 and 0.40 (preprint version)"
    ),
)
def forest_merging(scale: Scale) -> Sequence[Measured]:
    """Train pairs of forests, align and interpolate; full: 2 tables, 128 trees, 40 epochs, 5 pairs; smoke: 16 trees, 10 epochs, 1 pair."""
    size = SIZES[scale]
    tables = [_load(name, size.rows) for name in size.tables]
    rates = {split: [_rate(table, split, size) for table in tables] for split in SPLITS}
    pairs = {
        split: [
            pair
            for table, rate in zip(tables, rates[split], strict=True)
            for pair in _pairs(table, split, size, rate)
        ]
        for split in SPLITS
    }
    figures = [*_oblivious_figures(pairs["oblivious"]), *_planted(tables[0], size)]
    for table, rate in zip(tables, rates["oblivious"], strict=True):
        figures += _merged(table, size, rate)
    return figures + [
        Measured.reported(f"{name}: test barrier, {method}, {level}", _mean(pairs[split], method, level))
        for split, name in zip(SPLITS[1:], ("non-oblivious", "decision list"), strict=True)
        for method in METHODS
        for level in LEVELS
    ]


# --- tables ------------------------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Table:
    """Standard scores, classes 0 and 1, and raw columns of training and test rows, with what an artifact needs."""

    name: str
    x: Floats
    y: Ints
    x_test: Floats
    y_test: Ints
    raw_test: NDArray[np.float64]
    frame: Frame


def _load(name: str, rows: int) -> _Table:
    """At most `rows` rows, half of them to test on; normal scores of the training rows."""
    from hardgrad.tabular.datasets import load_table
    from hardgrad.tabular.schema import TableSchema
    from hardgrad.trees.assemble import Frame
    from hardgrad.trees.codes import FeatureCodes

    data = load_table({"magic": "keel:magic"}.get(name, name))
    columns = data.features
    X = np.stack([columns[c].to_numpy() for c in columns.column_names], axis=1).astype(np.float64)
    labels = np.array([str(v) for v in data.table[data.target].to_pylist()])
    y = np.isin(labels, list("13579")) if name == "digits" else labels == sorted(set(labels))[1]
    chosen = np.random.default_rng(0).permutation(len(y))[:rows]
    train, test = chosen[: len(chosen) // 2], chosen[len(chosen) // 2 :]
    codes = FeatureCodes.fit(X[train])
    schema = TableSchema.numeric(columns.column_names)
    frame = Frame(schema, codes, "sigmoid", "classification", (0, 1))
    x, x_test = codes.encode_scores(X[train]), codes.encode_scores(X[test])
    return _Table(name, x, y[train].astype(np.int64), x_test, y[test].astype(np.int64), X[test], frame)


# --- training ----------------------------------------------------------------------------------------------------------------------------
def _task_class() -> Any:
    """The paper's training as a task of the one training loop."""
    import torch

    from hardgrad.train.loop import TrainingTask
    from hardgrad.trees import SoftForest

    class ForestTask(TrainingTask):
        """Forests side by side, each from its own seed and on its own rows, by Adam on the log-loss."""

        key = phase = "forests"

        def __init__(
            self, x: Floats, y: Ints, rows: list[Ints], split: Split, trees: int, epochs: int, rate: float, seeds: list[int]
        ) -> None:  # fmt: skip
            self.rows, self.rate, self.seeds = rows, rate, seeds
            self.x, self.y = torch.from_numpy(x), torch.from_numpy(y.astype(np.float32))
            self.per_epoch = -(-max(map(len, rows)) // BATCH)
            self.steps = epochs * self.per_epoch
            forest = SoftForest(x.shape[1], trees, DEPTH, 1, split=split, members=len(rows), temperature=1.0)
            bound = x.shape[1] ** -0.5
            for member, seed in enumerate(seeds):
                generator = torch.Generator().manual_seed(seed)
                for p in (forest.weight, forest.offset, forest.leaf):
                    torch.nn.init.uniform_(p.data[member], -bound, bound, generator=generator)
            self.module = forest

        def optimizer(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.module.parameters(), self.rate)

        def loss(self, copies: torch.nn.Module, step: int, parts: range) -> torch.Tensor:
            epoch, piece = divmod(step, self.per_epoch)
            picked = []
            for rows, seed in zip(self.rows, self.seeds, strict=True):
                order = rows[np.random.default_rng([seed, epoch]).permutation(len(rows))]
                rest = order[piece * BATCH :] if piece * BATCH < len(order) else order
                picked.append(np.resize(rest, BATCH))  # cut off, or repeated where fewer are left
            at = torch.from_numpy(np.stack(picked))
            losses = torch.nn.functional.binary_cross_entropy_with_logits(
                copies(self.x[at])[..., 0], self.y[at], reduction="none"
            )
            return losses.mean(dim=1).sum()

        def result(self) -> dict[str, NDArray[Any]]:
            return {name: p.detach().numpy() for name, p in self.module.named_parameters()}

    return ForestTask


def _train(table: _Table, rows: list[Ints], split: Split, size: _Size, rate: float, seeds: list[int]) -> list[SoftForest]:  # fmt: skip
    """Return one forest for each set of rows and seed."""
    import torch

    from hardgrad.train.loop import Hardware, train
    from hardgrad.trees import SoftForest

    arguments = (table.x, table.y, rows, split, size.trees, size.epochs, rate, seeds)
    learned = train(_task_class(), arguments, Hardware())
    forests = []
    for member in range(len(rows)):
        forest = SoftForest(
            table.x.shape[1], size.trees, DEPTH, 1, split=split, temperature=1.0, frame=table.frame
        )
        with torch.no_grad():
            for name, p in forest.named_parameters():
                p.copy_(torch.from_numpy(learned[name][member : member + 1]))
        forests.append(forest)
    return forests


def _rate(table: _Table, split: Split, size: _Size) -> float:
    """The learning rate with the best accuracy on the training rows, of one forest."""
    rows = [np.arange(len(table.y))]
    accuracy = {
        rate: _accuracy(_train(table, rows, split, size, rate, [0])[0], table.x, table.y) for rate in RATES
    }
    return max(accuracy, key=lambda rate: accuracy[rate])


def _accuracy(forest: SoftForest, x: Floats, y: Ints) -> float:
    import torch

    with torch.no_grad():
        return 100.0 * float(((forest(torch.from_numpy(x))[:, 0] > 0).numpy() == y).mean())


# --- barriers ----------------------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Pair:
    """Barriers on the test rows, soft and hardened, and similarities that are reached, by (method, level); accuracy of the two ends."""

    soft: dict[_Key, float]
    hard: dict[_Key, float]
    similarity: dict[_Key, float]
    ends: float
    hard_ends: float


def _pairs(table: _Table, split: Split, size: _Size, rate: float) -> list[_Pair]:
    from hardgrad.trees import interpolation_barrier, match_forests

    seeds = list(range(1, 1 + 2 * size.pairs[split]))
    forests = _train(table, [np.arange(len(table.y))] * len(seeds), split, size, rate, seeds)
    found = []
    for a, b in zip(forests[0::2], forests[1::2], strict=True):
        soft: dict[_Key, float] = {}
        hard: dict[_Key, float] = {}
        similarity: dict[_Key, float] = {}
        for key in itertools.product(METHODS, LEVELS):
            alignment = match_forests(a, b, key[0], LEVELS[key[1]], X=table.x[:BATCH])
            line = interpolation_barrier(a, alignment.apply(b), table.x_test, table.y_test, size.points)
            soft[key], hard[key], similarity[key] = line.barrier, line.hard_barrier, alignment.similarity
        ends, hard_ends = ((curve[0] + curve[-1]) / 2 for curve in (line.soft, line.hard))
        found.append(_Pair(soft, hard, similarity, ends, hard_ends))
    return found


def _mean(pairs: list[_Pair], method: Method, level: str, of: Callable[[_Pair], Any] = lambda p: p.soft) -> float:  # fmt: skip
    return float(np.mean([of(pair)[method, level] for pair in pairs]))


def _oblivious_figures(pairs: list[_Pair]) -> list[Measured]:
    weight = {level: _mean(pairs, "weight", level) for level in LEVELS}
    active = {level: _mean(pairs, "activation", level) for level in LEVELS}
    left, gain = active["permutation"] / max(active["naive"], 1e-12), active["permutation"] - active["full"]
    gains = [p.similarity["weight", "full"] - p.similarity["weight", "permutation"] for p in pairs]
    return [
        Measured.reported("oblivious: accuracy of the ends, %", float(np.mean([p.ends for p in pairs]))),
        Measured.reported("oblivious: accuracy of the hardened ends, %", float(np.mean([p.hard_ends for p in pairs]))),
        Measured.reported("oblivious: test barrier, weight, naive", weight["naive"]),
        Measured.reported("oblivious: test barrier, weight, permutation", weight["permutation"]),
        Measured.at_most("oblivious: test barrier, weight, full", weight["full"], 1.0),
        Measured.at_most("oblivious: test barrier, weight, full over naive", weight["full"] / max(weight["naive"], 1e-12), 0.4),
        Measured.at_most("oblivious: test barrier, weight, full less permutation", weight["full"] - weight["permutation"], 0.2),
        Measured.at_least("oblivious: similarity, full less permutation, worst pair", min(gains), 0.0),
        Measured.reported("oblivious: hardened test barrier, weight, naive", _mean(pairs, "weight", "naive", lambda p: p.hard)),
        Measured.reported("oblivious: hardened test barrier, weight, full", _mean(pairs, "weight", "full", lambda p: p.hard)),
        Measured.reported("oblivious: test barrier, activation, permutation", active["permutation"]),
        Measured.reported("oblivious: test barrier, activation, full", active["full"]),
        # "Permutation alone does not help" is read as: it leaves at least half of the barrier.
        Measured.at_least("oblivious: test barrier, activation, permutation over naive", left, 0.5),
        Measured("oblivious: test barrier, activation, permutation less full", gain, "> 0", gain > 0),
    ]  # fmt: skip


# --- planted copies, and forests of split data -------------------------------------------------------------------------------------------
def _planted(table: _Table, size: _Size) -> list[Measured]:
    """Rearrange forests at random (as if to fit another one) and align them with what they were."""
    import torch

    from hardgrad.trees import SoftForest, interpolation_barrier, match_forests

    generator = torch.Generator().manual_seed(0)
    errors, barriers = [], []
    for split in SPLITS:
        one, noise = (
            SoftForest(table.x.shape[1], size.trees, DEPTH, 1, split=split, temperature=1.0) for _ in range(2)
        )
        for p in (*one.parameters(), *noise.parameters()):
            torch.nn.init.normal_(p.requires_grad_(False), generator=generator)
        planted = match_forests(noise, one).apply(one)
        found = match_forests(one, planted).apply(planted)
        errors += [
            float((p - q).abs().max()) for p, q in zip(one.parameters(), found.parameters(), strict=True)
        ]
        barriers.append(interpolation_barrier(one, found, table.x_test, table.y_test, size.points).barrier)
    return [
        Measured.at_most("planted copies: worst error of a parameter", max(errors), 1e-6),
        Measured.at_most("planted copies: worst barrier", max(barriers), 1e-9),
    ]  # fmt: skip


def _merged(table: _Table, size: _Size, rate: float) -> list[Measured]:
    """Forests of two sites, each with four fifths of the rows of one class and one fifth of those of the other, merged into one."""
    from hardgrad.trees import merge_forests

    rows: list[Ints] = []
    for pair in range(size.pairs["oblivious"]):
        first = np.random.default_rng([1, pair]).permutation(len(table.y)) < len(table.y) // 5
        rows += [np.flatnonzero(first ^ (table.y == site)) for site in (0, 1)]
    seeds = list(range(100, 100 + len(rows)))
    forests = _train(table, rows, "oblivious", size, rate, seeds)
    gain, hard_gain, agreement = [], [], []
    for a, b in zip(forests[0::2], forests[1::2], strict=True):
        merged = merge_forests([a, b])
        ends, one = (
            [_accuracy(f, table.x_test, table.y_test) for f in group] for group in ((a, b), (merged,))
        )
        gain.append(one[0] - float(np.mean(ends)))
        exact, *exact_ends = (f.harden().predict(table.raw_test) for f in (merged, a, b))
        hard_gain.append(
            100.0 * float(np.mean(exact == table.y_test) - np.mean([e == table.y_test for e in exact_ends]))
        )
        agreement += [100.0 * float(np.mean(exact == end)) for end in exact_ends]
    return [
        Measured.at_least(f"{table.name}: forests of split data, merged less mean of the two, accuracy points", float(np.mean(gain)), 0.0),
        Measured.reported(f"{table.name}: the same of the hardened forests", float(np.mean(hard_gain))),
        Measured.reported(f"{table.name}: agreement of the hardened merged forest with the hardened two, %", float(np.mean(agreement))),
    ]  # fmt: skip
