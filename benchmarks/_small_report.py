"""The page that `small_tables.py` writes: each promise of the acceptance beside its figure, then a row a table."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import _small_sections as sections
from _small_means import Promises, Row, tables_of


def report(rows: Sequence[Row], where: str) -> str:
    """Return the whole page for the remembered rows; parts without rows are left out."""
    promises, body = Promises(), []
    by_part = {part: [row for row in rows if row["part"] == part] for part in _SECTIONS}
    for part, section in _SECTIONS.items():
        if by_part[part]:
            body += section(by_part[part], promises)
    head = [
        "# Small tables",
        "",
        "The defaults of `SoftForestClassifier` and `SoftForestRegressor`, nothing tuned on these tables; every figure is that of the "
        "HARD forest on the 30 % of the rows that no one trained on, in the mean over tables of the mean over seeds. Tables with more "
        "than 6,000 rows are sampled; missing numbers hold the median, texts are numbered. Baseline A is LightGBM with as many trees of "
        "depth 4, its rate chosen from seven on a held-out fifth and trained on the other four; baseline B, stricter, is tuned on the "
        "folds that ours is chosen on and trained on all rows, as ours is. Tables where ours loses are rows like any other.",
        "",
        f"{where} {_counts(by_part)} Fits of ours ran on {_threads(rows)} while other work shared the machine, so wall seconds are "
        "noisy and processor seconds say more.",
        "",
        "| promise | measured | bound | |",
        "| --- | --- | --- | --- |",
        *promises.lines,
        "",
    ]
    return "\n".join([*head, *body]).rstrip() + "\n"


def _counts(by_part: dict[str, list[Row]]) -> str:
    parts = []
    for part, rows in by_part.items():
        if rows and part != "time":
            parts.append(
                f"{part}: {len(tables_of(rows))} tables, seeds {sorted({row['seed'] for row in rows})}"
            )
    return "; ".join(parts) + "."


def _threads(rows: Sequence[Row]) -> str:
    counts = sorted({row["threads"] for row in rows if row["part"] != "time"})
    return " or ".join(f"{count} thread{'s' if count > 1 else ''}" for count in counts) or "2 threads"


_SECTIONS: dict[str, Callable[[Sequence[Row], Promises], list[str]]] = {
    "binary": sections.binary,
    "multiclass": sections.multiclass,
    "regression": sections.regression,
    "unbounded": sections.unbounded,
    "bytes": sections.bytes,
    "time": sections.time,
}


def with_bytes(page: str, rows: Sequence[Row]) -> str:
    """Return a page with the part on bytes measured anew: its promises, its section and how often it was measured."""
    rows = [row for row in rows if row["part"] == "bytes"]
    promises = Promises()
    section = "\n".join(sections.bytes(rows, promises))
    lines = page.split("\n")
    first = next(k for k, line in enumerate(lines) if line.startswith("| bytes:"))
    lines = [line for line in lines if not line.startswith("| bytes:")]
    page = "\n".join([*lines[:first], *promises.lines, *lines[first:]])
    begin = page.index("## Bytes\n")
    end = page.find("\n## ", begin)
    page = page[:begin] + section.rstrip() + "\n" + ("" if end < 0 else page[end:])
    return re.sub(r"bytes: \d+ tables, seeds \[[^]]*\]", _counts({"bytes": rows}).rstrip("."), page)
