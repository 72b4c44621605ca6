"""The same forest scored by hardgrad's runtimes and by its peers, in one process. Writes benchmarks/results/inference_speed.md.

100 trees of depth 6 on 20 features, trained by LightGBM and by XGBoost and imported. Needs the `bench` extra and a C compiler.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import duckdb
import lightgbm
import numpy as np
import tl2cgen
import treelite
import xgboost

from _timing import alternate, load, machine
from hardgrad.core.files import write_text
from hardgrad.trees import Forest, import_forest
from hardgrad.trees.runtime import prepare

RESULT = Path(__file__).parent / "results" / "inference_speed.md"
ROWS = (10_000, 1_000, 100, 1)
FEATURES = 20
OURS = ("hardgrad C", "hardgrad numba", "hardgrad NumPy")
LABELS = {
    "LightGBM": "LightGBM `predict`",
    "XGBoost": "XGBoost `inplace_predict`",
    "tl2cgen": "tl2cgen, compiled C",
    "GTIL": "treelite GTIL",
}
Scorer = Callable[[], Any]


def data(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, FEATURES))
    signal = X[:, 0] * X[:, 1] + np.sin(2 * X[:, 2]) + X[:, 3] ** 2 + 0.5 * X[:, 4:10].sum(axis=1)
    return X, (signal + rng.normal(size=n) > 1).astype(np.float64)


def train_lightgbm() -> Any:
    X, y = data(20_000, 0)
    options = {
        "objective": "binary",
        "max_depth": 6,
        "num_leaves": 64,
        "min_data_in_leaf": 5,
        "verbose": -1,
        "num_threads": 1,
    }
    return lightgbm.train(options, lightgbm.Dataset(X, y), 100)


def train_xgboost() -> Any:
    X, y = data(20_000, 0)
    options = {
        "objective": "binary:logistic",
        "max_depth": 6,
        "eta": 0.1,
        "min_child_weight": 0.1,
        "nthread": 1,
    }
    return xgboost.train(options, xgboost.DMatrix(X.astype(np.float32), y), 100)


def compiled_by_tl2cgen(model: Any, folder: str) -> Any:
    library = Path(folder) / "peer.so"
    tl2cgen.export_lib(model, toolchain="gcc", libpath=str(library), params={"parallel_comp": 4})
    return tl2cgen.Predictor(str(library), nthread=1)


class Contest:
    """One booster, its forest in hardgrad, and everyone who can score it."""

    def __init__(self, name: str, booster: Any, folder: str) -> None:
        self.name = name
        self.booster = booster
        self.forest: Forest = import_forest(booster)
        self.treelite = getattr(treelite.frontend, f"from_{name.lower()}")(booster)
        self.compiled = compiled_by_tl2cgen(self.treelite, folder)
        self.runtimes = {ours: prepare(self.forest, ours.split()[1].lower()) for ours in OURS}
        # XGBoost is a float32 model: it gets float32 rows, everyone else the same numbers in double.
        self.X = data(max(ROWS), 1)[0].astype(np.float32).astype(np.float64)

    def scorers(self, n: int) -> dict[str, Scorer]:
        """Everyone, ready to score the first n rows; what can be prepared once is prepared here."""
        X = self.X[:n].copy()
        single = X.astype(np.float32)
        rows = single if self.name == "XGBoost" else X
        matrix = tl2cgen.DMatrix(rows, dtype=str(rows.dtype))
        scorers: dict[str, Scorer] = {
            ours: bound(rt.predict_raw_encoded, X) for ours, rt in self.runtimes.items()
        }
        if self.name == "LightGBM":
            scorers["LightGBM"] = lambda: self.booster.predict(X, raw_score=True, num_threads=1)
        else:
            scorers["XGBoost"] = lambda: self.booster.inplace_predict(single, predict_type="margin")
        scorers["tl2cgen"] = lambda: self.compiled.predict(matrix, pred_margin=True)
        scorers["GTIL"] = lambda: treelite.gtil.predict(self.treelite, rows, nthread=1, pred_margin=True)
        return scorers

    def check(self) -> float:
        """Return the largest difference to a peer's raw score; ours must equal the reference bit for bit."""
        reference = self.forest.predict_raw(self.X)
        for runtime in self.runtimes.values():
            if runtime.predict_raw(self.X).tobytes() != reference.tobytes():
                raise SystemExit(f"{runtime} differs from the reference")
        answers = [
            np.asarray(score()).reshape(-1)
            for name, score in self.scorers(max(ROWS)).items()
            if name not in OURS
        ]
        return max(float(np.abs(answer - reference[:, 0]).max()) for answer in answers)


def bound(function: Callable[[Any], Any], argument: Any) -> Scorer:
    return lambda: function(argument)


def duration(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.1f} us"


def table(contest: Contest, turns: int) -> list[str]:
    """Times of everyone for every number of rows; in brackets the time of the fastest peer over it."""
    times = {n: alternate(contest.scorers(n), turns=turns) for n in ROWS}
    head = " | ".join(f"{n:,} row{'s' * (n > 1)}" for n in ROWS)
    lines = [f"| | {head} |", "| --- |" + " --- |" * len(ROWS)]
    for name in times[ROWS[0]]:
        cells = []
        for n in ROWS:
            fastest = min(t for peer, t in times[n].items() if peer not in OURS)
            cells.append(f"{duration(times[n][name])} ({fastest / times[n][name]:.2f}x)")
        label = f"**{name}**" if name in OURS else LABELS[name]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return lines


def threads(contest: Contest, turns: int) -> list[str]:
    lines = ["| | 1 thread | 2 threads | gain |", "| --- | --- | --- | --- |"]
    X = np.concatenate([contest.X] * 10)
    for ours in OURS[:2]:
        for rows in (contest.X, X):
            pair = {jobs: prepare(contest.forest, ours.split()[1].lower(), n_jobs=jobs) for jobs in (1, 2)}
            least = alternate(
                {str(jobs): bound(rt.predict_raw_encoded, rows) for jobs, rt in pair.items()}, turns=2 * turns
            )
            cells = f"{duration(least['1'])} | {duration(least['2'])} | {least['1'] / least['2']:.2f}x"
            lines.append(f"| {ours}, {len(rows):,} rows | {cells} |")
    return lines


def rows_a_second(contest: Contest, turns: int) -> list[str]:
    """DuckDB runs the exported SELECT, one thread; a database does other things than a loop over an array, so this is its own table."""
    connection = duckdb.connect(config={"threads": 1})
    columns = ", ".join(f"c{i} AS {quoted(name)}" for i, name in enumerate(contest.forest.schema.names))
    connection.register("plain", {f"c{i}": contest.X[:, i].copy() for i in range(FEATURES)})
    connection.execute(f"CREATE TABLE data AS SELECT {columns} FROM plain")
    query = contest.forest.to_sql("duckdb", outputs="prediction")
    start = time.perf_counter()
    connection.execute(query).fetchall()
    first = time.perf_counter() - start
    sql = alternate({"sql": lambda: connection.execute(query).fetchnumpy()}, turns=max(2, turns // 5))["sql"]
    ours = alternate({k: bound(rt.predict, contest.X) for k, rt in contest.runtimes.items()}, turns=turns)
    lines = ["| | rows a second |", "| --- | --- |"]
    lines += [f"| {name} | {len(contest.X) / seconds:,.0f} |" for name, seconds in ours.items()]
    return [
        *lines,
        f"| DuckDB, exported SQL (planning included; first run {first:.1f} s) | {len(contest.X) / sql:,.0f} |",
    ]


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def main() -> None:
    """Measure everything and write the tables. `--quick` takes fewer turns."""
    turns = 5 if "--quick" in sys.argv else 40
    lines = [
        "# Inference speed",
        "",
        "The same forest, the same rows, one process, one thread, everyone in turn; the least time of each. 100 trees of depth 6 on 20 "
        "features. In brackets: the time of the fastest peer over this one, so above 1 is faster than every peer. Compiled handles and "
        "the peers' own matrices are made before the clock starts; hardgrad gets the plain array.",
        "",
    ]
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        for name, train, folder in (("LightGBM", train_lightgbm, first), ("XGBoost", train_xgboost, second)):
            contest = Contest(name, train(), folder)
            difference = contest.check()
            print(contest.forest, f"largest difference to a peer {difference:.1e}")
            lines += [f"## Trained by {name}", "", *table(contest, turns), ""]
            lines += [
                f"{contest.forest.n_leaves:,} leaves. The three runtimes equal the reference bit for bit on these rows; the largest "
                f"difference of a raw score to a peer's is {difference:.1e}.",
                "",
            ]
            if name == "LightGBM":
                extra = ["## Two threads", "", *threads(contest, turns), ""]
                extra += ["## Rows a second, beside SQL", "", *rows_a_second(contest, turns), ""]
    peers = {
        "lightgbm": lightgbm,
        "xgboost": xgboost,
        "treelite": treelite,
        "tl2cgen": tl2cgen,
        "duckdb": duckdb,
    }
    versions = ", ".join(f"{peer} {module.__version__}" for peer, module in peers.items())
    lines += [*extra, f"{machine()}; {versions}; load of the machine at the end {load()}.", ""]
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    write_text(RESULT, "\n".join(lines))
    print(*lines, sep="\n")


if __name__ == "__main__":
    main()
