"""The work of `hardgrad fit`: read, split, train, measure on rows that training never saw, compare, prove, write."""

from __future__ import annotations

import dataclasses
import importlib.util
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.cli import resume
from hardgrad.cli.data import TrainingData, read_training_data
from hardgrad.cli.fit_settings import FitSettings
from hardgrad.cli.inspect import describe, plural, size_text
from hardgrad.cli.live import LiveView
from hardgrad.cli.streamed_data import StreamedData, read_streamed_data, streams
from hardgrad.cli.training import build_estimator, measure, metric_text, notes_shown_once
from hardgrad.core.errors import ExportError, HardgradError, ParameterError
from hardgrad.train.checkpoint import checkpointing

if TYPE_CHECKING:
    from hardgrad.cli.terminal import Terminal
    from hardgrad.export.forms import Files
    from hardgrad.tabular.speed import Speed
    from hardgrad.tabular.table_model import Facts, TableModel
    from hardgrad.trees.exactness import ExactCheck

Rows = NDArray[np.int64]
FEWEST_TO_HOLD_OUT = 50
MANY_TREES = 50
PEER_PIECE = 50_000  # rows turned into Python objects at once


@dataclass
class FitResult:
    """What came out, for the summary, the report and the JSON."""

    settings: FitSettings
    data: TrainingData
    train: Rows
    test: Rows
    model: Any
    hard: TableModel
    raw: NDArray[np.float64]
    metrics: dict[str, float]
    speed: Speed | None = None
    baselines: list[dict[str, Any]] = field(default_factory=list)
    checks: list[ExactCheck] = field(default_factory=list)
    timings: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def facts(self) -> Facts:
        """What was counted in the fit and in the model."""
        return {**getattr(self.model, "facts_", {}), **self.hard.facts()}


def prepare(asked: dict[str, Any], out: Path | None, resuming: bool) -> tuple[FitSettings, Path]:
    """Return the settings and the folder to write; of an interrupted run, those it began with."""
    settings = FitSettings.from_asked(asked)
    folder = out if out is not None else settings.default_out
    if resuming:
        recorded = resume.read_record(folder)
        resume.require_same(asked, recorded)
        settings = FitSettings.from_json(recorded)
    return settings, folder


def run(settings: FitSettings, out: Path, terminal: Terminal, resuming: bool) -> None:
    """Do the whole job and leave a folder of files, or an error and nothing."""
    from hardgrad.cli.fit_write import write_all
    from hardgrad.train.loop import process_rank

    if process_rank() > 0:
        _work_along(settings)
        return
    data = read_streamed_data(settings) if streams(settings) else read_training_data(settings)
    digest = data.fingerprint()
    stages = (
        resume.check_data(out, digest) if resuming else resume.start_record(out, settings.to_json(), digest)
    )
    show_table(terminal, data)
    for note in data.notes:
        terminal.note(note)
    try:
        result = train(settings, data, stages, terminal)
    except HardgradError:
        resume.end_record(out)  # what failed once fails again: there is nothing to go on with
        raise
    show_hardened(terminal, result)
    prove(result, terminal)
    files = write_all(result, out)
    resume.end_record(out)
    for note in result.notes:
        terminal.note(note)
    names = [str(out / files[0][0]), *(name for name, _ in files[1:])]
    terminal.line("wrote", "  ".join(names))
    terminal.result(to_dict(result, out, dict(files)))


def _work_along(settings: FitSettings) -> None:
    """Take part in the training of another process (`torchrun`), which does all the telling and writing."""
    from hardgrad.cli.terminal import Terminal as QuietTerminal

    data = read_streamed_data(settings) if streams(settings) else read_training_data(settings)
    with tempfile.TemporaryDirectory() as folder:
        fit_model(settings, data, split_rows_of(settings, data)[0], Path(folder), QuietTerminal(quiet=True))


# --- training ------------------------------------------------------------------------------------------------------------------
def split_rows(data: TrainingData, fraction: float, seed: int) -> tuple[Rows, Rows]:
    """Return the rows to train on and those that are held out of everything, by class where that is possible."""
    rows = np.arange(len(data.y))
    if fraction == 0.0 or len(rows) < FEWEST_TO_HOLD_OUT:
        return rows, rows[:0]
    from sklearn.model_selection import train_test_split

    by_class = None
    if data.task == "classification":
        counts = np.unique(data.y, return_counts=True)[1]
        held = round(fraction * len(rows))
        by_class = data.y if counts.min() >= 2 and held >= len(counts) else None
    train, test = train_test_split(rows, test_size=fraction, random_state=seed, stratify=by_class)
    if by_class is None and data.task == "classification":
        known = np.isin(
            data.y[test], data.y[train]
        )  # a class whose only row was held out could not be learned
        train, test = np.concatenate([train, test[~known]]), test[known]
    return np.sort(train), np.sort(test)


def split_rows_of(settings: FitSettings, data: TrainingData) -> tuple[Rows, Rows]:
    """Return the rows to train on and those that are held out, of a table in memory or of a streamed one."""
    if isinstance(data, StreamedData):
        train_rows, test_rows = np.split(np.arange(len(data.y)), [data.sample_rows])
        return train_rows, test_rows
    return split_rows(data, settings.test_fraction, settings.seed)


def fit_model(
    settings: FitSettings, data: TrainingData, train_rows: Rows, stages: Path, terminal: Terminal
) -> Any:
    """Return the fitted estimator."""
    estimator = build_estimator(settings.model, data.task, settings.parameters())
    if settings.unbounded:
        estimator.set_params(n_estimators=None)
    with checkpointing(stages), LiveView(terminal).watching(), notes_shown_once():
        if isinstance(data, StreamedData):
            return fit_stream(estimator, data)
        weight = None if data.weight is None else data.weight[train_rows]
        return estimator.fit(data.take(train_rows), data.y[train_rows], sample_weight=weight)


def train(settings: FitSettings, data: TrainingData, stages: Path, terminal: Terminal) -> FitResult:
    """Train, harden and measure."""
    from hardgrad.tabular.speed import MOST_ROWS, measure_speed

    train_rows, test_rows = split_rows_of(settings, data)
    began = time.perf_counter()
    model = fit_model(settings, data, train_rows, stages, terminal)
    seconds = time.perf_counter() - began
    hard = dataclasses.replace(model.harden(), target=data.target)
    measured = test_rows if len(test_rows) else train_rows
    raw = hard.runtime("auto").predict_raw(data.take(measured))
    metrics = measure(hard, raw, data.y[measured], data.weights(measured), getattr(model, "metric_", None))
    speed = measure_speed(hard, hard.encode(data.take(measured[:MOST_ROWS])))
    result = FitResult(
        settings, data, train_rows, test_rows, model, hard, raw, metrics, speed, timings={"training": seconds}
    )
    if not len(test_rows):
        result.notes.append(
            f"no rows were held out ({len(train_rows):,} rows): the metrics are those of the training rows and flatter the model."
        )
    result.baselines = baselines(result)
    if isinstance(data, StreamedData):
        result.notes.append(f"streamed: {model.streamed_}")
        result.notes.append(
            f"the report counts rows in a sample of {data.sample_rows:,} training rows"
            + (", on which LightGBM was trained too" if result.baselines else "")
        )
    return result


def fit_stream(estimator: Any, data: StreamedData) -> Any:
    """Train from the stream. Raises `ParameterError` where the estimator cannot."""
    if not hasattr(estimator, "fit_streamed"):
        raise ParameterError(
            f"--model {type(estimator).__name__} cannot learn from a stream. Pass --no-stream, or leave out --model."
        )
    return estimator.fit_streamed(data.stream)


def baselines(result: FitResult) -> list[dict[str, Any]]:
    """Train LightGBM on the same rows, at equal leaves with a forest, and measure it on the same rows, where it is installed."""
    from hardgrad.trees.forest import Forest
    from hardgrad.trees.peers import PeerRows, PeerSize, installed_peers, peer_matrix, train_peer

    hard, data = result.hard, result.data
    size = PeerSize(None, 31)
    if isinstance(hard, Forest):
        if hard.n_trees == 0:
            return []
        size = PeerSize(
            hard.n_trees if hard.n_trees <= MANY_TREES else None, max(2, hard.n_leaves // hard.n_trees)
        )
    if "lightgbm" not in installed_peers():
        return []
    from hardgrad.cli.compare import peer_metrics
    from hardgrad.cli.training import class_numbers

    columns = hard.schema.columns
    y = class_numbers(hard, data.y) if hard.task == "classification" else data.y.astype(np.float64)
    parts = [data.table.slice(i, PEER_PIECE) for i in range(0, data.table.num_rows, PEER_PIECE)]
    X = np.concatenate([peer_matrix(columns, hard.schema.raw_columns(part)) for part in parts])
    everything = PeerRows(X, y, data.weights(np.arange(len(y))))
    began = time.perf_counter()
    peer = train_peer(
        "lightgbm",
        everything.take(result.train),
        columns,
        size,
        n_classes=len(hard.classes),
        random_state=result.settings.seed,
    )
    result.timings["LightGBM"] = time.perf_counter() - began
    measured = everything.take(result.test if len(result.test) else result.train)
    found = peer_metrics(peer.predict(measured.X), measured.y, measured.weight, len(hard.classes))
    return [
        {
            "name": peer.name, "version": peer.version, "rate": peer.rate, "trees": peer.rounds, "leaves": peer.leaves,
            "bytes": None, "loss": found.get("log_loss", found.get("rmse")), "accuracy": found.get("accuracy"), "metrics": found,
        }
    ]  # fmt: skip


def prove(result: FitResult, terminal: Terminal) -> None:
    """Compare every engine and export with the reference; a model whose exports disagree is never written."""
    began = time.perf_counter()
    result.checks = exact_checks(result)
    result.timings["exactness"] = time.perf_counter() - began
    wrong = [check for check in result.checks if check.differing]
    if wrong:
        raise HardgradError(
            f"{wrong[0].engine} disagrees with the model on {wrong[0].differing:,} of {wrong[0].rows:,} rows, the first: "
            f"{wrong[0].first_differing}. Nothing was written. This is an error in hardgrad: please report it with this message."
        )
    done = [check for check in result.checks if check.exact]
    skipped = [
        f"{check.engine}: {check.skipped_reason}"
        for check in result.checks
        if check.skipped_reason is not None
    ]
    kind = "generated rows" if result.hard.kind == "forest" else "measured rows"
    by_rows = Counter(check.rows for check in done)
    for rows in sorted(by_rows, reverse=True):
        engines = " = ".join(check.engine for check in done if check.rows == rows)
        terminal.line("exact", f"reference = {engines} on {rows:,} {kind}: 0 differ")
    if skipped:
        terminal.line("", "not checked: " + "; ".join(skipped))


def exact_checks(result: FitResult) -> list[ExactCheck]:
    """Compare every engine of a forest with it on generated rows; another model's file, C and ONNX with it on the measured rows."""
    from hardgrad.core.artifact import load
    from hardgrad.trees.exactness import ExactCheck, check_exactness
    from hardgrad.trees.forest import Forest

    hard = result.hard
    if isinstance(hard, Forest):
        return check_exactness(hard, rows=result.settings.rows, random_state=result.settings.seed)
    began = time.perf_counter()
    rows = result.data.take(result.test if len(result.test) else result.train)
    with tempfile.TemporaryDirectory() as folder:
        again: Any = load(hard.save(Path(folder) / "model.safetensors"))
    differing = int((again.predict_raw(rows) != result.raw).any(axis=1).sum())
    checks = [ExactCheck("file", len(result.raw), differing, time.perf_counter() - began)]
    forms = hard.forms()
    for name, check in (("c", compiled_check), ("onnx", onnx_check)):
        try:
            files = forms[name].write() if name in forms else {}
        except ExportError:  # then there is nothing to compare; writing says why
            continue
        if files:
            checks.append(check(hard, files, rows, result.raw))
    return checks


def compiled_check(hard: TableModel, exports: Files, rows: Any, raw: NDArray[np.float64]) -> ExactCheck:
    """Compile the C of a model (see `TableModel.forms`) and compare its raw scores with the reference, bit for bit."""
    import ctypes

    from hardgrad.export.compiled_c import compile_shared, has_compiler
    from hardgrad.trees.exactness import ExactCheck

    if not has_compiler():
        return ExactCheck("c", 0, 0, 0.0, skipped_reason="no C compiler found")
    began = time.perf_counter()
    source, header = (str(exports[name]) for name in ("model.c", "model.h"))
    predict = compile_shared(source, headers={"model.h": header}).model_predict
    predict.argtypes, predict.restype = [ctypes.c_void_p, ctypes.c_void_p], None
    X, answers = np.ascontiguousarray(hard.encode(rows)), np.empty_like(raw)
    for row, answer in zip(X, answers, strict=True):
        predict(row.ctypes.data, answer.ctypes.data)
    return _compared("c", answers, raw, began)


def onnx_check(hard: TableModel, exports: Files, rows: Any, raw: NDArray[np.float64]) -> ExactCheck:
    """Run the ONNX of a model and compare its raw scores with the reference, bit for bit."""
    from hardgrad.tabular.table_onnx import onnx_inputs
    from hardgrad.trees.exactness import ExactCheck

    if importlib.util.find_spec("onnxruntime") is None:
        return ExactCheck("onnx", 0, 0, 0.0, skipped_reason="onnxruntime is not installed")
    import onnxruntime

    began = time.perf_counter()
    session = onnxruntime.InferenceSession(exports["model.onnx"], providers=["CPUExecutionProvider"])
    answers = np.ascontiguousarray(session.run(None, onnx_inputs(hard, rows))[0])
    return _compared("onnx", answers, raw, began)


def _compared(
    engine: str, answers: NDArray[np.float64], raw: NDArray[np.float64], began: float
) -> ExactCheck:
    """The check of an engine that gave raw scores for the measured rows."""
    from hardgrad.trees.exactness import ExactCheck

    differing = np.flatnonzero((answers.view(np.int64) != raw.view(np.int64)).any(axis=1))
    first: dict[str, object] | None = {"measured row": int(differing[0])} if len(differing) else None
    seconds = time.perf_counter() - began
    return ExactCheck(engine, len(raw), len(differing), seconds, first_differing=first)


# --- what is shown ---------------------------------------------------------------------------------------------------------------
def show_table(terminal: Terminal, data: TrainingData) -> None:
    """Print the line on the table."""
    kinds = ", ".join(f"{n} {kind}" for kind, n in data.kinds.items())
    streamed = "  streamed" if isinstance(data, StreamedData) else ""
    terminal.line(
        "table",
        f"{data.source}  {plural(data.n_rows, 'row')}{streamed}  {plural(data.table.num_columns, 'column')} ({kinds})  "
        f"target: {data.target} ({data.target_text})",
    )


def show_hardened(terminal: Terminal, result: FitResult) -> None:
    """Print the lines on the hard model."""
    figures = "   ".join(metric_text(name, value) for name, value in result.metrics.items())
    terminal.line("hardened", f"{size_text(result.hard)}   {figures}   in {result.timings['training']:.1f} s")
    for peer in result.baselines:
        shared = [
            metric_text(name, value) for name, value in peer["metrics"].items() if name in result.metrics
        ]
        size = (
            f"at equal leaves ({peer['leaves']:,})"
            if result.hard.kind == "forest"
            else f"with {peer['leaves']:,} leaves"
        )
        terminal.line("", f"{peer['name']} {size}: {'   '.join(shared)}")
    if len(result.test):
        share = 100 * len(result.test) / result.data.n_rows
        terminal.line("", f"measured on {len(result.test):,} rows ({share:.0f} %) held out of all training")
    gap = getattr(result.model, "gap_", None)
    if gap is not None:
        terminal.line("gap", str(gap))
    for title, counted in getattr(result.model, "facts_", {}).items():
        terminal.line(title.lower(), ", ".join(f"{number:,} {name}" for name, number in counted.items()))
    if result.speed is not None:
        terminal.line("speed", str(result.speed))


def to_dict(result: FitResult, out: Path, files: dict[str, int]) -> dict[str, Any]:
    """Return everything in a form that `json` can write."""
    streamed = getattr(result.model, "streamed_", None)
    gap = getattr(result.model, "gap_", None)
    return {
        "table": {
            "source": result.data.source,
            "rows": result.data.n_rows,
            "streamed": streamed is not None,
            "columns": result.data.table.num_columns,
            "kinds": dict(result.data.kinds),
        },
        "target": result.data.target,
        "model": describe(result.hard),
        "metrics": result.metrics,
        "measured_on": "held-out rows" if len(result.test) else "training rows",
        "train_rows": result.data.n_train if isinstance(result.data, StreamedData) else len(result.train),
        "test_rows": len(result.test),
        "streamed": None if streamed is None else dataclasses.asdict(streamed),
        "gap": None if gap is None else gap.to_dict(),
        "candidates": getattr(result.model, "candidates_", []),
        "front": getattr(result.model, "front_", []),
        "baselines": result.baselines,
        "facts": result.facts,
        "speed": None if result.speed is None else result.speed.to_dict(),
        "exact": [
            {"engine": c.engine, "rows": c.rows, "differing": c.differing, "skipped_reason": c.skipped_reason}
            for c in result.checks
        ],
        "out": str(out),
        "files": files,
        "seconds": {name: round(value, 3) for name, value in result.timings.items()},
        "notes": [*result.data.notes, *result.notes],
    }
