"""`hardgrad compare`: side by side with the boosters that are installed, on the same folds, with a test instead of a glance."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hardgrad.cli.terminal import JsonOption, QuietOption, Terminal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from hardgrad.cli.data import TrainingData
    from hardgrad.cli.fit_settings import FitSettings
    from hardgrad.tabular.table_model import TableModel

OURS = "hardgrad"


def compare(
    table: Annotated[str, typer.Argument(help="Table, as in `fit`.", show_default=False)],
    target: Annotated[str, typer.Option(help="Column to learn.", show_default=False)],
    trees: Annotated[
        int,
        typer.Option(help="Trees of each forest; 0: no bound, boosters stop early at most at 200 rounds."),
    ] = 10,
    depth: Annotated[
        int,
        typer.Option(help="Depth of our forests' trees; boosters have as many leaves a tree as that allows."),
    ] = 4,
    split: Annotated[str | None, typer.Option(help="sparse_oblique, axis or oblivious.")] = None,
    budget: Annotated[
        str | None, typer.Option(help="Our budget instead of --trees, as in `fit`; boosters keep --trees.")
    ] = None,
    peer: Annotated[
        list[str] | None, typer.Option(help="Booster; default: all that are installed. Repeatable.")
    ] = None,
    max_rows: Annotated[int, typer.Option(help="Larger tables are sampled down to this many rows.")] = 10_000,
    drop: Annotated[list[str] | None, typer.Option(help="Column to leave out. Repeatable.")] = None,
    categorical: Annotated[
        list[str] | None, typer.Option(help="Column of numbers that are names. Repeatable.")
    ] = None,
    weights: Annotated[str | None, typer.Option(help="Column of row weights.")] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="Estimator, as in `fit`; the first is held against the rest; options it lacks are left out. Repeatable."
        ),
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="classification or regression; default: by the target.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed.")] = 0,
    jobs: Annotated[int, typer.Option(help="Threads of every model.")] = 1,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Compare with the installed boosters: 5 times 2-fold cross-validation and the paired F test of Alpaydin (1999)."""
    from hardgrad.cli.data import read_training_data
    from hardgrad.cli.fit_settings import FitSettings

    terminal = Terminal(as_json=as_json, quiet=quiet)
    settings = FitSettings.from_asked(
        {
            "table": table, "target": target, "budget": budget, "split": split, "seed": seed, "jobs": jobs, "depth": depth,
            "trees": trees or None, "unbounded": not trees and budget is None, "drop": drop, "categorical": categorical,
            "weights": weights, "model": model[0] if model else None, "task": task,
        }
    )  # fmt: skip
    data = read_training_data(settings).sample(max_rows, seed)
    ours = [settings, *(replace(settings, model=name) for name in (model or [])[1:])]
    comparison = Comparison(ours, data, choose_peers(peer), trees)
    for _ in comparison.folds(terminal):
        pass
    terminal.result(comparison.to_dict())
    if not terminal.quiet:
        _show(terminal, comparison)


def choose_peers(asked: list[str] | None) -> list[str]:
    """Return the boosters to compare with.

    Raises
    ------
    ParameterError : one is unknown or not installed, or none is installed.
    """
    from hardgrad.core.errors import ParameterError, suggestion
    from hardgrad.trees.peers import PACKAGES, installed_peers

    installed = installed_peers()
    for name in asked or []:
        if name not in PACKAGES:
            raise ParameterError(
                f"--peer got {name!r}; known: {', '.join(PACKAGES)}.{suggestion(name, list(PACKAGES))}"
            )
        if name not in installed:
            raise ParameterError(
                f"--peer {name}: {PACKAGES[name]} is not installed. Run: pip install {PACKAGES[name]}"
            )
    return asked or installed


@dataclass
class Comparison:
    """The ten folds and what every model got on them; the first of ours is held against all others."""

    ours: list[FitSettings]
    data: TrainingData
    peers: list[str]
    trees: int
    scores: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    leaves: dict[str, list[int]] = field(default_factory=dict)

    def folds(self, terminal: Terminal) -> Any:
        """Train and measure every model on fold after fold."""
        from hardgrad.trees.comparison import five_by_two_folds

        stratify = self.data.task == "classification"
        for number, (train, test) in enumerate(
            five_by_two_folds(self.data.y, stratify=stratify, random_state=self.ours[0].seed)
        ):
            self._fold(train, test)
            done = "  ".join(f"{name} {self._shown(values[-1])}" for name, values in self.scores.items())
            terminal.line(f"fold {number + 1}/10", done)
            yield number

    @property
    def names(self) -> list[str]:
        """What ours are called: by their estimators where one was asked for."""
        return [OURS if settings.model is None else f"{OURS} {settings.model}" for settings in self.ours]

    def _fold(self, train: NDArray[np.int64], test: NDArray[np.int64]) -> None:
        hard = [
            self._our_fold(name, settings, train, test)
            for name, settings in zip(self.names, self.ours, strict=True)
        ]
        self._peer_fold(hard[0], train, test)

    def _our_fold(
        self, name: str, settings: FitSettings, train: NDArray[np.int64], test: NDArray[np.int64]
    ) -> TableModel:
        """Train and measure one of ours and return its exact model."""
        from hardgrad.cli.training import build_estimator, measure, notes_shown_once
        from hardgrad.trees.forest import Forest

        data = self.data
        parameters = settings.parameters()
        if settings.model is not None and "forest" not in settings.model.lower():
            parameters |= {
                "n_estimators": None,
                "max_depth": None,
            }  # other kinds mean other things by them, and have their own
        estimator = build_estimator(settings.model, data.task, parameters, leave_out=True)
        if settings.unbounded and "n_estimators" in estimator.get_params():
            estimator.set_params(n_estimators=None)
        began = time.perf_counter()
        weight = None if data.weight is None else data.weight[train]
        with notes_shown_once():
            hard: TableModel = estimator.fit(data.take(train), data.y[train], sample_weight=weight).harden()
        raw = hard.runtime("auto").predict_raw(data.take(test))
        leaves = hard.n_leaves if isinstance(hard, Forest) else None
        self._note(name, measure(hard, raw, data.y[test], data.weights(test)), began, leaves)
        return hard

    def _peer_fold(self, hard: TableModel, train: NDArray[np.int64], test: NDArray[np.int64]) -> None:
        """Train and measure the boosters on the columns that our first model reads."""
        import numpy as np

        from hardgrad.cli.training import class_numbers
        from hardgrad.trees.peers import TITLES, PeerRows, PeerSize, peer_matrix, train_peer

        data, settings = self.data, self.ours[0]
        columns = hard.schema.columns
        y = class_numbers(hard, data.y) if hard.classes else data.y.astype(np.float64)
        rows = PeerRows(
            peer_matrix(columns, hard.schema.raw_columns(data.table)), y, data.weights(np.arange(len(y)))
        )
        size = PeerSize(self.trees or None, 2 ** (settings.depth or 4))
        for name in self.peers:
            began = time.perf_counter()
            peer = train_peer(
                name, rows.take(train), columns, size, n_classes=len(hard.classes), random_state=settings.seed,
                n_jobs=max(1, settings.jobs),
            )  # fmt: skip
            held = rows.take(test)
            found = peer_metrics(peer.predict(held.X), held.y, held.weight, len(hard.classes))
            self._note(TITLES[name], found, began, peer.leaves)

    def _note(self, name: str, found: dict[str, float], began: float, leaves: int | None) -> None:
        self.scores.setdefault(name, []).append(found)
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began
        if leaves is not None:
            self.leaves.setdefault(name, []).append(leaves)

    def _shown(self, found: dict[str, float]) -> str:
        return f"{found[self.metrics[0]]:.4f}"

    @property
    def metrics(self) -> list[str]:
        """Metrics that every model has, the first decides what is shown while it runs."""
        return ["accuracy", "log_loss"] if self.data.task == "classification" else ["rmse", "mae"]

    def test(self, name: str, metric: str) -> Any:
        """Return the paired F test of the first of ours against another model."""
        import numpy as np

        from hardgrad.trees.comparison import paired_f_test

        ours = np.array([found[metric] for found in self.scores[self.names[0]]])
        theirs = np.array([found[metric] for found in self.scores[name]])
        return paired_f_test((ours - theirs).reshape(5, 2))

    def to_dict(self) -> dict[str, Any]:
        """Return everything in a form that `json` can write."""
        import numpy as np

        models = []
        for name, values in self.scores.items():
            models.append(
                {
                    "name": name,
                    "metrics": {m: float(np.mean([v[m] for v in values])) for m in self.metrics},
                    "folds": [{m: v[m] for m in self.metrics} for v in values],
                    "leaves": float(np.mean(self.leaves[name])) if name in self.leaves else None,
                    "seconds": round(self.seconds[name], 3),
                    "tests": {}
                    if name == self.names[0]
                    else {m: self.test(name, m).to_dict() for m in self.metrics},
                }
            )
        return {
            "source": self.data.source,
            "target": self.data.target,
            "rows": len(self.data.y),
            "trees": self.trees or None,
            "test": "paired 5x2cv F test (Alpaydin 1999)",
            "models": models,
        }


def peer_metrics(predicted: Any, y: Any, weight: Any, n_classes: int) -> dict[str, float]:
    """Return the metrics of a booster's probabilities or values, under the names of `training.measure`."""
    import numpy as np

    from hardgrad.trees.peers import peer_accuracy, peer_loss

    if n_classes:
        return {
            "log_loss": peer_loss(predicted, y, weight, n_classes),
            "accuracy": peer_accuracy(predicted, y, weight),
        }
    return {
        "rmse": peer_loss(predicted, y, weight, 0) ** 0.5,
        "mae": float(np.average(np.abs(predicted - y), weights=weight)),
    }


def _show(terminal: Terminal, comparison: Comparison) -> None:
    from rich.table import Table

    from hardgrad.cli.training import metric_text

    found = comparison.to_dict()
    heads = [metric_text(m, 0.0).split(" 0")[0] for m in comparison.metrics]
    table = Table(
        "",
        *(h for head in heads for h in (head, "ours minus it", "p")),
        "leaves",
        "seconds",
        box=None,
        header_style="bold cyan",
    )
    for model in found["models"]:
        cells = []
        for metric in comparison.metrics:
            test = model["tests"].get(metric)
            shown = ["", ""] if test is None else [f"{test['difference']:+.4f}", f"{test['p_value']:.3f}"]
            cells += [f"{model['metrics'][metric]:.4f}", *shown]
        leaves = "" if model["leaves"] is None else f"{model['leaves']:,.0f}"
        table.add_row(model["name"], *cells, leaves, f"{model['seconds']:.1f}")
    terminal.print(table)
    terminal.line(
        "test",
        "p is the chance of such a difference, or a larger one, between equally good models: 5x2cv F test on ten folds",
    )
