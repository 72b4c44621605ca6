"""Peak memory and rows a second of training from a Parquet file larger than memory: `python benchmarks/streaming.py`.

Makes a file of five million rows in a temporary folder (rows of the bundled census table, drawn at random), then, in a process of its
own whose peak resident memory is reported: learns the schema, draws a sample, packs all rows, goes through them once in shuffled batches
and once in the order of the file, as a training run does.
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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

LIMIT_GIB = 2.0


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


def measure(path: Path, sample_rows: int) -> dict[str, Any]:
    from hardgrad.tabular.packed_rows import PackedRows
    from hardgrad.tabular.streaming import StreamedTable
    from hardgrad.trees.codes import FeatureCodes

    seconds: dict[str, float] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = work()
        seconds[name] = time.perf_counter() - start
        return result

    table = timed("learn the schema (2 passes)", lambda: StreamedTable(path, "income_over_50k"))
    sample = timed(f"draw {sample_rows:,} rows", lambda: table.sample(sample_rows))
    codes = timed("find the cuts", lambda: FeatureCodes.fit(sample.X, sample.weight))
    with timed("pack all rows", lambda: PackedRows(table, codes.encode)) as packed:
        timed("shuffled batches of packed rows", lambda: sum(len(b.y) for b in packed.iter_batches(4096)))
    timed("shuffled batches from the file", lambda: sum(len(b) for b in table.iter_batches(4096)))
    total = timed(
        "all rows in order", lambda: sum(float(rows.y @ rows.weight) for rows in table.iter_encoded())
    )
    # Linux counts in KiB, macOS in bytes.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {
        "rows": table.n_rows,
        "features": len(table.schema.features),
        "file_bytes": path.stat().st_size,
        "peak_bytes": peak,
        "positive": total / table.n_rows,
        "seconds": seconds,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--sample-rows", type=int, default=200_000)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure, options.sample_rows)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "census.parquet"
        make_file(path, options.rows)
        command = [
            sys.executable,
            __file__,
            "--measure",
            str(path),
            "--sample-rows",
            str(options.sample_rows),
        ]
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        return 1
    result = json.loads(done.stdout)
    result["met"] = result["peak_bytes"] < LIMIT_GIB * 2**30
    if options.json:
        print(json.dumps(result))
    else:
        print(
            f"{result['rows']:,} rows, {result['features']} features, file of {result['file_bytes'] / 2**20:.0f} MiB"
        )
        print(f"{'step':35} {'seconds':>8} {'rows/s':>12}")
        for name, spent in result["seconds"].items():
            print(f"{name:35} {spent:8.1f} {result['rows'] / spent:12,.0f}")
        verdict = "MET" if result["met"] else "MISSED"
        print(
            f"peak resident memory {result['peak_bytes'] / 2**30:.2f} GiB (bound {LIMIT_GIB:.0f} GiB): {verdict}"
        )
    return 0 if result["met"] else 3


if __name__ == "__main__":
    sys.exit(main())
