"""How long `import hardgrad` takes, and loading a model with a first prediction. Writes benchmarks/results/import_time.md."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

RESULT = Path(__file__).parent / "results" / "import_time.md"
REPEATS = 7
TIMED = """
import sys, time
start = time.perf_counter()
{code}
print(time.perf_counter() - start, 'torch' in sys.modules, len(sys.modules))
"""
CASES = {
    "`import numpy`": "import numpy",
    "`import hardgrad`": "import hardgrad",
    "`hardgrad.load(path)` and a first `predict`": (
        "import hardgrad, numpy; hardgrad.load(sys.argv[1]).predict({'age': numpy.array([1.0, 2.0])})"
    ),
    "`import hardgrad.trees.estimators` (torch, scikit-learn)": "import hardgrad.trees.estimators",
}


def measure(code: str, model: Path) -> tuple[float, float, bool, int]:
    """Return median and least seconds over fresh interpreters, whether torch was loaded, and the number of modules."""
    seconds, torch, modules = [], False, 0
    for _ in range(REPEATS):
        command = [sys.executable, "-c", TIMED.format(code=code), str(model)]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        seconds.append(float(out[0]))
        torch, modules = out[1] == "True", int(out[2])
    return statistics.median(seconds), min(seconds), torch, modules


def main() -> None:
    """Measure every case and write the table."""
    from hardgrad.core.files import write_text
    from hardgrad.trees.forest_build import forest_from_trees

    tree = {"feature": 0, "threshold": 1.5, "left": {"value": 0.25}, "right": {"value": 2.0}}
    lines = [
        "# Start-up",
        "",
        f"Seconds in a fresh interpreter, after the files were read once; median and least of {REPEATS}.",
        "",
        "| what | median s | least s | torch loaded | modules loaded |",
        "| --- | --- | --- | --- | --- |",
    ]
    with tempfile.TemporaryDirectory() as folder:
        model = forest_from_trees([tree], ["age"]).save(Path(folder) / "model.safetensors")
        for name, code in CASES.items():
            measure(code, model)  # fills the file cache
            median, least, torch, modules = measure(code, model)
            lines.append(f"| {name} | {median:.3f} | {least:.3f} | {'yes' if torch else 'no'} | {modules} |")
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    print(write_text(RESULT, "\n".join(lines) + "\n").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
