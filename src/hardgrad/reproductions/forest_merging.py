"""Row 63, linear mode connectivity of soft forests: barriers between two trainings, aligned and not, and forests merged from split data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.reproductions.registry import Measured, Scale, reproduction

if TYPE_CHECKING:
    from hardgrad.trees import SoftForest
    from hardgrad.trees.assemble import Frame
    from hardgrad.trees.soft_forest import Split

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
DEPTH, BATCH = 2, 512
RATES = (0.01, 0.001, 0.0001)
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
    pairs: int
    points: int


SIZES = {
    "smoke": _Size(("digits",), 600, 16, 10, 1, 5),
    "full": _Size(("digits", "magic"), 4000, 128, 40, 5, 25),
}


@reproduction(
    row=63,
    slug="forest-merging",
    title="Linear Mode Connectivity in Differentiable Tree Ensembles",
    venue="Kanoh and Sugiyama, ICLR 2025",
    claim=(
        "16 tables, 256 trees of depth 2, test barrier in accuracy points, matched by weights: non-oblivious naive 6.80, permutation 0.81, "
        "full 0.46; oblivious 7.88, 0.92, 0.35; decision list 7.51, permutation 0.44. Matched by activations permutation alone does not help "
        "(8.63 and 10.35), full matching gives 0.94 and 0.40 (preprint version)"
    ),
)
def forest_merging(scale: Scale) -> Sequence[Measured]:
    """Train pairs of forests, align and interpolate; full: 2 tables, 128 trees, 40 epochs, 5 pairs; smoke: 16 trees, 10 epochs, 1 pair."""
    size = SIZES[scale]
    tables = [_load(name, size.rows) for name in size.tables]
    barriers = {
        split: [b for table in tables for b in _pairs(table, split, size)]
        for split in ("oblivious", "sparse_oblique", "decision_list")
    }
    figures = _oblivious_figures(barriers["oblivious"])
    for split, name in (("sparse_oblique", "non-oblivious"), ("decision_list", "decision list")):
        figures += [
            Measured.reported(f"{name}: test barrier, {method}, {level}", _mean(barriers[split], method, level))
            for method in ("weight", "activation")
            for level in LEVELS
        ]
    return [*figures, *_planted(size), *(f for table in tables for f in _merged(table, size))]


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
                picked.append(np.resize(order[piece * BATCH :] if piece * BATCH < len(order) else order, BATCH))
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
    """Barriers on the test rows, soft and hardened, and similarities that are reached, by (method, level); accuracy of the ends."""

    soft: dict[tuple[str, str], float]
    hard: dict[tuple[str, str], float]
    similarity: dict[tuple[str, str], float]
    ends: float


def _pairs(table: _Table, split: Split, size: _Size) -> list[_Pair]:
    from hardgrad.trees import interpolation_barrier, match_forests

    rate = _rate(table, split, size)
    seeds = list(range(1, 1 + 2 * size.pairs))
    forests = _train(table, [np.arange(len(table.y))] * len(seeds), split, size, rate, seeds)
    found = []
    for a, b in zip(forests[0::2], forests[1::2], strict=True):
        soft, hard, similarity = {}, {}, {}
        for method in ("weight", "activation"):
            for level, allowed in LEVELS.items():
                alignment = match_forests(a, b, method, allowed, X=table.x[:BATCH])  # type: ignore[arg-type]
                line = interpolation_barrier(
                    a, alignment.apply(b), table.x_test, table.y_test, size.points
                )
                key = (method, level)
                soft[key], hard[key], similarity[key] = (
                    line.barrier,
                    line.hard_barrier,
                    alignment.similarity,
                )
        found.append(_Pair(soft, hard, similarity, (line.soft[0] + line.soft[-1]) / 2))
    return found


def _mean(pairs: list[_Pair], method: str, level: str, of: Callable[[_Pair], Any] = lambda p: p.soft) -> float:  # fmt: skip
    return float(np.mean([of(pair)[method, level] for pair in pairs]))


def _oblivious_figures(pairs: list[_Pair]) -> list[Measured]:
    weight = {level: _mean(pairs, "weight", level) for level in LEVELS}
    active = {level: _mean(pairs, "activation", level) for level in LEVELS}
    gains = [p.similarity["weight", "full"] - p.similarity["weight", "permutation"] for p in pairs]
    return [
        Measured.reported("oblivious: accuracy of the ends, %", float(np.mean([p.ends for p in pairs]))),
        Measured.reported("oblivious: test barrier, weight, naive", weight["naive"]),
        Measured.reported("oblivious: test barrier, weight, permutation", weight["permutation"]),
        Measured.at_most("oblivious: test barrier, weight, full", weight["full"], 1.0),
        Measured.at_most("oblivious: test barrier, weight, full over naive", weight["full"] / max(weight["naive"], 1e-12), 0.4),
        Measured.at_most("oblivious: test barrier, weight, full less permutation", weight["full"] - weight["permutation"], 0.2),
        Measured.at_least("oblivious: similarity, full less permutation, worst pair", min(gains), 0.0),
        Measured.reported("oblivious: hardened test barrier, weight, naive", _mean(pairs, "weight", "naive", lambda p: p.hard)),
        Measured.reported("oblivious: hardened test barrier, weight, full", _mean(pairs, "weight", "full", lambda p: p.hard)),
        Measured.reported("oblivious: test barrier, activation, permutation", active["permutation"]),
        Measured.reported("oblivious: test barrier, activation, permutation over naive", active["permutation"] / max(active["naive"], 1e-12)),
        Measured.reported("oblivious: test barrier, activation, full", active["full"]),
        Measured.at_least("oblivious: test barrier, activation, permutation less full", active["permutation"] - active["full"], 0.0),
    ]  # fmt: skip
