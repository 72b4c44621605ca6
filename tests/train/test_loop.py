"""The loop: same seed same bits, interrupted work goes on to the same bits, many processes give the same forest."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from training_data import rows_for

import hardgrad
from hardgrad.core.errors import ArtifactError, ParameterError
from hardgrad.train import loop
from hardgrad.train.checkpoint import Checkpoint, checkpointing, fingerprint
from hardgrad.train.loop import Hardware
from hardgrad.train.progress import listen
from hardgrad.trees import SoftForestClassifier
from hardgrad.trees import refine as refinement
from hardgrad.trees.greedy import BoostingPlan, boost
from hardgrad.trees.refine import Member, RefineData, RefinePlan, refine


def _run(devices=1, steps=60, threads=1, batch=64):
    _, codes, rows, objective = rows_for(n=300)
    start = boost(rows, codes, objective, BoostingPlan(2, 0.5, max_depth=2))
    members = [Member(start, np.arange(300), l1) for l1 in (1e-4, 1e-2)]
    data = RefineData(rows.scores, rows.Y, rows.weight, np.arange(50))
    plan = RefinePlan(steps=steps, batch_size=batch)
    return refine(
        members,
        data,
        objective,
        plan,
        hardware=Hardware(devices=devices, threads=threads),
        seed=3,
        key="test",
    )


def _same(first, second):
    return all(
        np.array_equal(getattr(a, name), getattr(b, name))
        for a, b in zip(first, second, strict=True)
        for name in ("feature", "weight", "offset", "leaf", "bias")
    )


def test_same_seed_same_bits_and_progress():
    events = []
    with listen(events.append):
        first = _run()
    assert _same(first, _run())
    assert events[-1].fraction == 1.0
    assert events[-1].soft is not None
    assert events[-1].hard is not None
    assert events[0].temperature > events[-1].temperature
    assert all((f.feature >= 0).sum(axis=2).max() <= 4 for f in first)


def test_as_many_threads_give_the_same_bits_and_one_task_reports(monkeypatch):
    monkeypatch.setattr(refinement, "SMALL_STEP", 0)
    events = []
    with listen(events.append):
        two = _run(threads=2)
    assert _same(two, _run(threads=2))  # other numbers of threads add in another order on some processors
    assert [e.fraction for e in events] == sorted(e.fraction for e in events)
    before = torch.get_num_threads()
    with listen(_stop_late), pytest.raises(KeyboardInterrupt):
        _run(threads=2)
    assert torch.get_num_threads() == before


def _stop_late(event):
    if event.fraction > 0.7:
        raise KeyboardInterrupt


def test_interrupted_work_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "SAVE_EVERY", 20)
    whole = _run()

    with checkpointing(tmp_path), listen(_stop_late), pytest.raises(KeyboardInterrupt):
        _run()
    saved = Checkpoint(tmp_path).read("test-0-2")
    assert saved is not None
    assert 0 < saved[1] < 60
    with checkpointing(tmp_path):
        assert _same(_run(), whole)
        assert _same(_run(), whole)  # finished work is read back


def test_a_damaged_checkpoint_is_named(tmp_path):
    with checkpointing(tmp_path):
        _run(steps=5)
    (path,) = tmp_path.glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ArtifactError, match="Delete the folder"):
        Checkpoint(tmp_path).read("test-0-2")


class _Side:
    """One of several threads that stand for processes: all that the loop needs of Fabric."""

    device = torch.device("cpu")

    def __init__(self, rank, world, barrier, slots):
        self.global_rank, self.world_size, self.is_global_zero = rank, world, rank == 0
        self._barrier, self._slots = barrier, slots

    def all_gather(self, tensor):
        self._slots[self.global_rank] = tensor
        self._barrier.wait()
        everything = torch.stack(self._slots)
        self._barrier.wait()
        return everything


def _side_by_side(build, arguments, hardware):
    world = hardware.devices
    barrier, slots = threading.Barrier(world), [None] * world

    def work(rank):
        return loop._work(_Side(rank, world, barrier, slots), build, arguments)

    with ThreadPoolExecutor(world) as pool:
        results = list(pool.map(work, range(world)))
    assert all(np.array_equal(results[0][k], other[k]) for other in results for k in other)
    return results[0]


# Odd shapes on purpose: weights of a tree that do not fill 64 bytes, batches that do not fill their parts, one part too few.
@pytest.mark.parametrize(
    ("kind", "n_outputs", "n_features"), [("logistic", 1, 7), ("softmax", 3, 7), ("squared", 2, 1)]
)
@pytest.mark.parametrize(("devices", "batch"), [(2, 225), (3, 256), (4, 150)])
def test_several_processes_learn_the_same_bits(monkeypatch, devices, batch, kind, n_outputs, n_features):
    monkeypatch.setattr(loop, "_train_parallel", _side_by_side)
    _, codes, rows, objective = rows_for(kind, n_features=n_features, n_outputs=n_outputs)
    start = boost(rows, codes, objective, BoostingPlan(3, 0.5, max_depth=2))
    members = [Member(start, np.arange(300), l1, stream=k) for k, l1 in enumerate((1e-4, 1e-3, 1e-2))]
    data = RefineData(rows.scores, rows.Y, rows.weight)
    plan = RefinePlan(steps=20, batch_size=batch)

    def run(hardware):
        return refine(members, data, objective, plan, hardware=hardware, seed=0, key="test")

    assert _same(run(Hardware()), run(Hardware(devices=devices)))


@pytest.mark.parametrize("seed", range(3))
def test_several_processes_give_the_same_finished_forest(monkeypatch, seed):
    monkeypatch.setattr(loop, "_train_parallel", _side_by_side)
    X, codes, rows, _ = rows_for(n=300 + 50 * seed, n_features=3 + 4 * seed, seed=seed, missing=0.1)
    settings = {"max_depth": 3, "max_iter": 40, "l1": (1e-3,), "random_state": seed}
    one, two = (SoftForestClassifier(2, devices=d, **settings).fit(X, rows.Y[:, 0]) for d in (1, 2))
    assert any(row["l1"] and row["chosen"] for row in two.candidates_)  # a greedy start would prove nothing
    _require_same_forest(one.harden(), two.harden())


def _require_same_forest(one, two):
    for name in ("feature", "threshold", "left", "right", "value", "term_feature", "term_weight", "base"):
        assert np.array_equal(getattr(one, name), getattr(two, name)), name


@pytest.mark.slow
def test_two_started_processes_give_the_forest_of_one():
    assert _same(_run(steps=30, batch=150), _run(devices=2, steps=30, batch=150))


def test_fingerprints_tell_data_apart():
    a = np.arange(6.0)
    assert fingerprint(a, 1) == fingerprint(a.copy(), 1)
    assert (
        len(
            {
                fingerprint(a),
                fingerprint(a.reshape(2, 3)),
                fingerprint(a + 1),
                fingerprint(a.astype(np.float32)),
            }
        )
        == 4
    )


@pytest.mark.parametrize("bad", [{"accelerator": "tpu"}, {"devices": 0}, {"threads": 0}])
def test_bad_hardware(bad):
    with pytest.raises(ParameterError):
        Hardware(**bad)


# torchrun: here, so that runs of several processes never stand beside each other (one file is one worker's)
@pytest.mark.slow
def test_two_processes_and_one_writer(tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 4))
    y = X[:, :3].sum(axis=1) > 0
    columns = {f"x{i}": X[:, i] for i in range(4)}
    pq.write_table(pa.table({**columns, "y": y}), tmp_path / "rows.parquet")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
               str(Path(sys.executable).parent / "hardgrad"), "fit", str(tmp_path / "rows.parquet"), "--target", "y",
               "--trees", "1", "--max-iter", "30", "--rows", "200", "--out", str(tmp_path / "out")]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("hardened") == 1
    forest = hardgrad.load(tmp_path / "out" / "model.safetensors")
    assert (forest.predict(columns) == y).mean() > 0.85


def test_processes_must_share_a_seed_and_a_number_of_steps(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("WORLD_SIZE", "2")
    X = np.random.default_rng(0).normal(size=(300, 3))
    with pytest.raises(ParameterError, match="random_state"):
        SoftForestClassifier(1).fit(X, X[:, 0] > 0)
    with pytest.raises(ParameterError, match="time budget"):
        SoftForestClassifier(1, random_state=0, time_budget=5).fit(X, X[:, 0] > 0)
