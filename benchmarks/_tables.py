"""Small tables as matrices, for benchmarks: which ones, how they become numbers, how they are split. The same for every competitor.

Missing numbers hold the median of the training rows, texts are numbered in sorted order, dates become seconds; tables with more than
6,000 rows are sampled once; 30 % of the rows are for testing.
"""

from __future__ import annotations

import datetime
import functools
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from sklearn.model_selection import train_test_split

from hardgrad.tabular.datasets import load_table

MOST_ROWS = 6_000
MANY_ROWS = 1_000
Task = Literal["classification", "regression"]

# The twelve tables of the sheet on which the recipe was measured before, the same on which its figures were promised.
KEEL_BINARY = tuple(
    f"keel:{name}"
    for name in (
        "banana", "german", "ionosphere", "magic", "phoneme", "pima", "ring", "saheart", "sonar", "spambase", "twonorm", "wdbc",
    )
)  # fmt: skip
ISLP_BINARY = tuple(f"islp:{name}" for name in ("Caravan", "College", "Default", "OJ", "Smarket", "Weekly"))
BINARY = (*KEEL_BINARY, "digits: odd", "census", "flights", *ISLP_BINARY)
MULTICLASS = (
    *(
        f"keel:{name}"
        for name in (
            "contraceptive", "led7digit", "penbased", "satimage", "segment", "splice", "tae", "texture", "vehicle", "vowel", "wine",
        )
    ),
    "digits", "iris",
)  # fmt: skip
ISLP_VALUES = ("Auto", "Bikeshare", "Boston", "Carseats", "Credit", "Hitters", "Wage")
REGRESSION = (
    "diabetes",
    *(f"islp:{name}" for name in ISLP_VALUES),
    "friedman1",
    "friedman2",
    "friedman3",
    "census: age",
)
BYTES = (*KEEL_BINARY, "digits: odd", "census", "flights", "islp:Default", "islp:OJ")


@dataclass(frozen=True)
class Split:
    """Training and test rows of a table as matrices; y holds class numbers, or values."""

    name: str
    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    n_classes: int

    @property
    def rows(self) -> int:
        """Rows in all, training and test."""
        return len(self.y) + len(self.y_test)


def split(name: str, seed: int) -> Split:
    """Return a table split by a seed; classes keep their shares."""
    X, y, n_classes = _matrix(name)
    X, X_test, y, y_test = train_test_split(
        X, y, test_size=0.3, random_state=seed, stratify=y if n_classes else None
    )
    median = np.nanmedian(np.where(np.isnan(X).all(axis=0), 0.0, X), axis=0)
    fill = [np.where(np.isnan(part), median, part) for part in (X, X_test)]
    return Split(name, fill[0], y, fill[1], y_test, n_classes)


@functools.cache
def _matrix(name: str) -> tuple[np.ndarray, np.ndarray, int]:
    if name.startswith("friedman"):
        X, y = _friedman(name)
        return X, y, 0
    table, _, aim = name.partition(": ")
    data = load_table(table)
    columns = {column: data.table[column].to_pylist() for column in data.table.column_names}
    target = columns.pop(data.target)
    task: Task = data.task
    if aim == "age":
        target, task = columns.pop("age"), "regression"
    X = np.column_stack([_numbers(values) for values in columns.values()])
    if task == "regression":
        y, n_classes = np.array(target, dtype=np.float64), 0
    else:
        classes, y = np.unique([str(label) for label in target], return_inverse=True)
        n_classes = len(classes)
        if aim == "odd":
            y, n_classes = np.array([int(label) % 2 for label in target]), 2
    order = np.random.default_rng(0).permutation(len(y))[:MOST_ROWS]
    return X[order], y[order], n_classes


def _friedman(name: str) -> tuple[np.ndarray, np.ndarray]:
    from sklearn import datasets

    noise = {"friedman1": 1.0, "friedman2": 100.0, "friedman3": 0.1}[name]
    maker: Any = getattr(datasets, f"make_{name}")
    return maker(n_samples=2000, noise=noise, random_state=0)


def _numbers(values: list[Any]) -> np.ndarray:
    present = [value for value in values if value is not None]
    if any(isinstance(value, str) for value in present):
        number = {text: float(k) for k, text in enumerate(sorted(set(present)))}
        values = [None if value is None else number[value] for value in values]
    elif present and isinstance(present[0], datetime.date):
        values = [None if value is None else _seconds(value) for value in values]
    return np.array([np.nan if value is None else float(value) for value in values])


def _seconds(moment: datetime.date) -> float:
    at = moment if isinstance(moment, datetime.datetime) else datetime.datetime(*moment.timetuple()[:3])
    return at.replace(tzinfo=at.tzinfo or datetime.UTC).timestamp()
