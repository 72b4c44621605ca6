"""The folder that `hardgrad fit` leaves: the model, every form in which it ships, and the report; all of it or nothing."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from hardgrad.cli.models import MODEL_FILE
from hardgrad.core.errors import ExportError, HardgradError
from hardgrad.core.files import WriteError, write_file
from hardgrad.trees.forest import Forest

if TYPE_CHECKING:
    from hardgrad.cli.fit_run import FitResult
    from hardgrad.export.forms import Form
    from hardgrad.report import ReportContext

REPORT_FILE = "report.html"
EXPORTS = ("sql", "c", "h", "v", "blif", "aig", "onnx", "js")
PRODUCTS = (MODEL_FILE, *(f"model.{ending}" for ending in EXPORTS), REPORT_FILE)
EXPLORER_ROWS = 200
VERSIONED = ("numpy", "torch", "scikit-learn", "lightgbm", "duckdb")


def write_all(result: FitResult, out: Path) -> list[tuple[str, int]]:
    """Write every file into `out` and return their names and sizes, the model first.

    They are written beside the folder and moved into it when all are there; older products of the same names are replaced.

    Raises
    ------
    WriteError : the folder cannot be written or the disk is full; nothing is left behind.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".tmp", dir=out.parent))
    except OSError as error:
        raise WriteError(
            f"cannot write {out}: {error.strerror or error}. Choose another folder with --out."
        ) from error
    try:
        _write_products(result, temporary)
        files = [
            (name, (temporary / name).stat().st_size) for name in PRODUCTS if (temporary / name).exists()
        ]
        _publish(temporary, out, [name for name, _ in files])
    except OSError as error:
        message = f"cannot write {out}: {getattr(error, 'strerror', None) or error}"
        if isinstance(error, HardgradError):
            message = str(error).replace(str(temporary), str(out))
        raise WriteError(
            f"{message.rstrip('.')}. Nothing was left there; free some space, then go on without training again: "
            f"hardgrad fit --resume --out {out}"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return files


def _publish(temporary: Path, out: Path, names: list[str]) -> None:
    out.mkdir(exist_ok=True)
    for name in PRODUCTS:
        if name in names:
            os.replace(temporary / name, out / name)
        else:
            (out / name).unlink(missing_ok=True)  # an export of an older model must not lie beside this one


def _write_products(result: FitResult, folder: Path) -> None:
    result.hard.save(folder / MODEL_FILE)
    for form in result.hard.forms().values():
        if form.shipped:
            _write_form(result, form, folder)
    sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    from hardgrad.report import write_report

    write_report(folder / REPORT_FILE, report_context(result, sizes))


def _write_form(result: FitResult, form: Form, folder: Path) -> None:
    """Write one export; a language that cannot hold this model exactly, or whose package is missing, is left out and named."""
    try:
        files = form.write()
    except ExportError as error:
        result.notes.append(f"{form.title} was not written: {error}")
        return
    for name, content in files.items():
        write_file(folder / name, content)


def report_context(result: FitResult, sizes: dict[str, int]) -> ReportContext:
    """Return what the report shows."""
    import numpy as np

    from hardgrad.cli.inspect import packed_bytes
    from hardgrad.report import ReportContext, count_node_rows, permutation_importance

    hard, data, model = result.hard, result.data, result.model
    drawn = hard if isinstance(hard, Forest) and hard.is_plain else None
    measured = result.test if len(result.test) else result.train
    table = data.take(measured)
    weight = data.weights(measured)
    picked = np.unique(
        np.linspace(0, len(measured) - 1, min(EXPLORER_ROWS, len(measured))).round().astype(np.int64)
    )
    sampled = measured[picked]
    gap = getattr(model, "gap_", None)
    return ReportContext(
        model=hard,
        metric=getattr(model, "metric_", next(iter(result.metrics))),
        source=data.source,
        table={
            "rows": data.n_rows,
            "columns": data.table.num_columns,
            "kinds": dict(data.kinds),
            **({"positive": data.positive} if data.positive is not None else {}),
            "notes": [*data.notes, *result.notes],
        },
        history=getattr(model, "history_", ()),
        gap=gap,
        front=getattr(model, "front_", ()),
        baselines=result.baselines,
        validation={"y": data.y[measured], "raw": result.raw, "weight": weight},
        rows=dict(zip(hard.schema.names, hard.schema.raw_columns(data.take(sampled)), strict=True)),
        row_target=data.y[sampled],
        node_rows=None
        if drawn is None
        else count_node_rows(drawn, data.take(result.train), data.weights(result.train)),
        importance=permutation_importance(hard, table, data.y[measured], sample_weight=weight),
        importance_rows=min(len(measured), 20_000),
        exact_checks=result.checks,
        metrics=result.metrics,
        facts=result.facts,
        speed=result.speed,
        packed_bytes=None if drawn is None else packed_bytes(drawn),
        files=sizes,
        timings=result.timings,
        versions=versions(),
        random_state=result.settings.seed,
    )


def versions() -> dict[str, str]:
    """Return the versions of what took part."""
    from hardgrad import __version__

    found = {"hardgrad": __version__, "python": platform.python_version()}
    for name in VERSIONED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
