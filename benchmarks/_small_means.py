"""Means over tables and seeds, and promises beside their bounds: what the sections of the report are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

Row = dict[str, Any]
MANY_ROWS = 1_000


class Promises:
    """Collects promised figures beside their bounds."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, what: str, value: float, bound: float, *, at_least: bool, digits: int = 2) -> None:
        """Note a figure and whether it keeps its bound."""
        met = value >= bound if at_least else value <= bound
        sign = ">=" if at_least else "<="
        verdict = "MET" if met else "**MISSED**"
        self.lines.append(f"| {what} | {value:.{digits}f} | {sign} {bound:.{digits}f} | {verdict} |")

    def note(self, what: str, value: float, digits: int = 2) -> None:
        """Note a figure that nothing was promised about."""
        self.lines.append(f"| {what} | {value:.{digits}f} | | |")


def tables_of(rows: Iterable[Row]) -> list[str]:
    return sorted({row["table"] for row in rows}, key=str.casefold)


def per_table(rows: Sequence[Row], value: Callable[[Row], float]) -> dict[str, float]:
    """Mean over seeds, a table."""
    return {t: float(np.mean([value(row) for row in rows if row["table"] == t])) for t in tables_of(rows)}


def mean_of(rows: Sequence[Row], value: Callable[[Row], float]) -> float:
    return float(np.mean(list(per_table(rows, value).values()))) if rows else float("nan")


def many(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row["rows"] >= MANY_ROWS]


def gain(side: str) -> Callable[[Row], float]:
    return lambda row: float(row["ours"]["accuracy"] - row[side]["accuracy"])


def ratio(side: str) -> Callable[[Row], float]:
    return lambda row: float(row["ours"]["loss"] / row[side]["loss"])


def sized(rows: Sequence[Row], trees: int) -> list[Row]:
    return [row for row in rows if row["trees"] == trees]


def sizes_of(rows: Sequence[Row]) -> list[int]:
    return sorted({row["trees"] for row in rows})


def tree_count(count: int) -> str:
    return f"{count} tree{'s' if count != 1 else ''}"


def markdown(head: Sequence[str], lines: Iterable[Sequence[str]]) -> list[str]:
    return [
        f"| {' | '.join(head)} |",
        f"| {' | '.join('---' for _ in head)} |",
        *(f"| {' | '.join(line)} |" for line in lines),
        "",
    ]


def worst_of(values: dict[str, float], largest: bool = False) -> str:
    name = (max if largest else min)(values, key=lambda table: values[table])
    return f"worst table ({name})"


def side_mean(rows: Sequence[Row], side: str, key: str) -> float:
    """Mean of a figure of one side; NaN where it was not measured."""

    def value(row: Row) -> float:
        found = row[side].get(key)
        return float("nan") if found is None else float(found)

    return mean_of(rows, value)


def sides(rows: Sequence[Row], names: Sequence[str], key: str, form: str) -> str:
    """Means of a figure of several sides, as "1.0 / 2.0"."""
    return " / ".join(format(side_mean(rows, name, key), form) for name in names)
