"""Peak memory and rows a second of `hardgrad fit` on a Parquet file of five million rows. Writes benchmarks/results/streaming.md.

The file is made in a temporary folder from rows of the bundled census table, drawn at random. The command runs in a process of its own,
with everything that it does: streaming, training, refitting the leaves on all rows, measuring, proving and writing every export. Its peak
resident memory is what the operating system reports for it. The bound is 2 GiB; missing it is exit code 3.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from _timing import load, machine
from hardgrad.core.files import write_text

RESULT = Path(__file__).parent / "results" / "streaming.md"
LIMIT_GIB = 2.0
TARGET = "income_over_50k"


def make_file(path: Path, rows: int, group_rows: int = 100_000) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from hardgrad.tabular.datasets import load_table

    table = load_table("census").table
    generator = np.random.default_rng(0)
    with pq.ParquetWriter(path, table.schema, compression="zstd") as writer:
        for start in range(0, rows, group_rows):
            count = min(group_rows, rows - start)
            writer.write_table(
                table.take(pa.array(generator.integers(0, len(table), count))), row_group_size=count
            )


def in_memory_bytes(path: Path) -> int:
    """Bytes of the table as Arrow holds it, by its first row group."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        first = file.read_row_group(0)
        return int(first.nbytes / first.num_rows * file.metadata.num_rows)


def measure(path: Path, out: Path) -> dict[str, Any]:
    """Run the command on one thread and return what it said, its seconds and its peak memory."""
    command = [sys.executable, "-c", "from hardgrad.cli.main import main; main()"]
    command += ["fit", str(path), "--target", TARGET, "--stream", "--jobs", "1", "--out", str(out), "--json"]
    began = time.perf_counter()
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr or f"hardgrad fit ended with {done.returncode}")
    # Linux counts in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit
    return {"said": json.loads(done.stdout), "seconds": time.perf_counter() - began, "peak_bytes": peak}


def report(found: dict[str, Any], file_bytes: int, memory_bytes: int) -> str:
    said, streamed = found["said"], found["said"]["streamed"]
    rows, training = said["table"]["rows"], said["seconds"]["training"]
    lines = [
        "| | |",
        "| --- | --- |",
        f"| rows | {rows:,} |",
        f"| columns | {said['table']['columns']} |",
        f"| file | {file_bytes / 2**20:,.0f} MiB |",
        f"| the table in memory | {memory_bytes / 2**30:.1f} GiB |",
        f"| **peak resident memory of the whole command** | **{found['peak_bytes'] / 2**30:.2f} GiB** (bound: {LIMIT_GIB:.0f}) |",
        f"| whole command, one thread | {found['seconds']:.0f} s, {rows / found['seconds']:,.0f} rows/s |",
        f"| of which training | {training:.0f} s, {streamed['rows'] / training:,.0f} rows/s |",
        f"| structure learned from | {streamed['sample_rows']:,} rows |",
        f"| leaves refitted on | {streamed['rows'] if streamed['refitted'] else 0:,} rows |",
        f"| {streamed['loss']} outside the sample, before and after the refit | {streamed['before']:.5f}, {streamed['after']:.5f} |",
        f"| measured on | {said['test_rows']:,} held-out rows: log-loss {said['metrics']['log_loss']:.4f}, "
        f"accuracy {said['metrics']['accuracy']:.4f} |",
        "",
        f"{machine()}; load {load()}. The rows are drawn with replacement from the 40,000 of the bundled census table, so the metrics say "
        "nothing on new people: the table measures memory and time.",
    ]
    return "\n".join(
        ["`hardgrad fit BIG.parquet --stream`, everything that the command does.", "", *lines, ""]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--file", type=Path, help="an existing file of the same columns")
    parser.add_argument("--dry", action="store_true", help="print the table and do not write it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = options.file or Path(folder) / "census.parquet"
        if options.file is None:
            make_file(path, options.rows)
        found = measure(path, Path(folder) / "out")
        text = report(found, path.stat().st_size, in_memory_bytes(path))
    print(text)
    if not options.dry:
        write_text(RESULT, text)
    return 0 if found["peak_bytes"] < LIMIT_GIB * 2**30 else 3


if __name__ == "__main__":
    sys.exit(main())
