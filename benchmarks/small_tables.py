"""The flagship's acceptance on small tables, settings frozen, beside its peers. Writes benchmarks/results/small_tables.md.

Every fit is remembered under build/small_tables, so that the work can be done in slices and goes on where it stopped:

    python benchmarks/small_tables.py --parts binary --minutes 9
    python benchmarks/small_tables.py --report-only

A remembered fit is not repeated when the library changes: delete build/small_tables to measure anew. Needs the `bench` extra and ISLP.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import _small_parts as parts
import _tables as tables
from _small_report import report, with_bytes
from _timing import load, machine
from hardgrad.core.files import write_text

RESULT = Path(__file__).parent / "results" / "small_tables.md"
CACHE = Path(__file__).parents[1] / "build" / "small_tables"
SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Part:
    """What is measured on which tables at which sizes."""

    measure: Callable[[str, int, int, int], parts.Row]
    tables: tuple[str, ...]
    sizes: tuple[int, ...]


PARTS = {
    "binary": Part(parts.binary, tables.BINARY, (1, 3, 10)),
    "time": Part(parts.timing, ("1,000 x 20",), (1, 3, 10)),
    "regression": Part(parts.regression, tables.REGRESSION, (1, 3, 10)),
    "multiclass": Part(parts.multiclass, tables.MULTICLASS, (0, 3)),
    "unbounded": Part(parts.unbounded, tables.BINARY, (0,)),
    "bytes": Part(parts.packed, tables.BYTES, (0,)),
}


@dataclass(frozen=True)
class Job:
    """One fit of ours with its competitors, and where it is remembered."""

    part: str
    table: str
    seed: int
    size: int

    @property
    def path(self) -> Path:
        """The file of this fit."""
        name = "".join(c if c.isalnum() else "-" for c in self.table)
        return CACHE / self.part / f"{name}_seed{self.seed}_size{self.size}.json"


def jobs(names: list[str], chosen: list[str] | None, seeds: list[int]) -> Iterator[Job]:
    """Every fit of these parts; one seed of all tables before the next, so that a slice is never one-sided."""
    for part in names:
        for seed in seeds:
            for table in PARTS[part].tables:
                if chosen is None or table in chosen:
                    yield from (Job(part, table, seed, size) for size in PARTS[part].sizes)


def run(job: Job, threads: int) -> None:
    """Measure one job and remember it."""
    row = PARTS[job.part].measure(job.table, job.seed, job.size, threads)
    job.path.parent.mkdir(parents=True, exist_ok=True)
    write_text(job.path, json.dumps({"part": job.part, "threads": threads, **row}))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--tables", nargs="+", help="only these tables")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument(
        "--threads", type=int, default=2, help="n_jobs of our fits; results differ by rounding only"
    )
    parser.add_argument("--minutes", type=float, default=None, help="start no fit after so many minutes")
    parser.add_argument(
        "--report-only", action="store_true", help="measure nothing; write what is remembered"
    )
    parser.add_argument(
        "--only-bytes-anew", action="store_true", help="keep the page but for the part on bytes"
    )
    options = parser.parse_args()
    begun = time.perf_counter()
    wanted = [job for job in jobs(options.parts, options.tables, options.seeds) if not job.path.exists()]
    for k, job in enumerate(() if options.report_only else wanted):
        if options.minutes is not None and time.perf_counter() - begun > 60 * options.minutes:
            print(f"{len(wanted) - k} fits left; run again to go on")
            break
        run(job, options.threads)
        print(f"{k + 1}/{len(wanted)} {job.part} {job.table} seed {job.seed} size {job.size}", flush=True)
    rows = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(CACHE.glob("*/*.json"))]
    if options.only_bytes_anew:
        page = with_bytes(RESULT.read_text(encoding="utf-8"), rows)
    else:
        page = report(rows, f"{machine()}; {os.cpu_count()} processors, load {load()}.")
    write_text(RESULT, page)
    print(f"written: {RESULT}")


if __name__ == "__main__":
    main()
