"""The one training loop: Lightning Fabric for devices and processes; resumable; reports progress.

A family states WHAT is trained as a `TrainingTask`; the loop knows how. Every batch falls into parts. The gradient of each part is
computed by itself, and those of all parts are added in one order, whether one process has them all or several share them: the sum of
floats depends on its order. So any number of processes takes the same steps, bit for bit.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import functools
import multiprocessing
import os
import threading
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hardgrad.core.errors import ParameterError
from hardgrad.train.checkpoint import current_checkpoint
from hardgrad.train.progress import emit, muted

SAVE_EVERY = 100
REPORTS = 40


@dataclass(frozen=True)
class Hardware:
    """Where to train.

    Parameters
    ----------
    accelerator : "cpu", "cuda" or "auto".
    devices : processes that share the parts of every batch (gloo on CPU, nccl on GPU); how many there are changes no bit of the result.
    threads : independent tasks trained at a time on one device.
    """

    accelerator: str = "cpu"
    devices: int = 1
    threads: int = 1

    def __post_init__(self) -> None:
        if self.accelerator not in ("cpu", "cuda", "auto"):
            raise ParameterError(f"accelerator got {self.accelerator!r}; expected 'cpu', 'cuda' or 'auto'.")
        if self.devices < 1 or self.threads < 1:
            raise ParameterError(
                f"devices and threads must be at least 1, got {self.devices} and {self.threads}."
            )
        if self.accelerator == "cuda" and not torch.cuda.is_available():
            raise ParameterError(
                "accelerator='cuda' was asked for, but this machine has no CUDA device. Use 'cpu'."
            )

    @classmethod
    def for_jobs(cls, accelerator: str, n_jobs: int | None, devices: int = 1) -> Self:
        """Return the hardware of scikit-learn's `n_jobs`: threads, -1 for one a core, -2 for one less, None for one."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        jobs = 1 if n_jobs is None else int(n_jobs)
        return cls(accelerator, devices, max(1, cores + 1 + jobs) if jobs < 0 else max(1, jobs))


def under_torchrun() -> bool:
    """Tell whether `torchrun` started this process beside others: all of them run the same program on their share of the batches."""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def process_rank() -> int:
    """Return the number of this process among those of `torchrun`; 0 alone, and for the one that writes."""
    return int(os.environ.get("RANK", "0")) if under_torchrun() else 0


class TrainingTask(ABC):
    """What is trained.

    Attributes: `key` (names the stage in a checkpoint), `phase` (shown to the user), `steps`, `module` (its parameters are trained),
    `parts`: how many parts of equal shape every batch falls into; a task of one part is computed by every process, whole; and
    `higher_is_better`: the direction of what it measures.
    """

    key: str
    phase: str
    steps: int
    module: nn.Module
    parts: int = 1
    higher_is_better: bool = False

    @abstractmethod
    def optimizer(self) -> torch.optim.Optimizer:
        """Return the optimiser of the module's parameters; its state is part of the checkpoint."""

    def copies(self, count: int) -> nn.Module:
        """Return a module like `module` in which every parameter stands `count` times along its first axis; the loop fills it.

        What it computes for one copy must not depend, to the bit, on how many copies there are. A task of one part is not asked.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has {self.parts} parts and does not say how it is copied."
        )

    @abstractmethod
    def loss(self, copies: nn.Module, step: int, parts: range) -> Tensor:
        """Return the sum of the losses of some parts of this step's batch, each through its own one of the copies.

        A task of one part gets its own module as the only copy.

        Summed over all parts it is the loss of the batch. Batches must follow from `step` alone: that makes the work resumable.
        """

    def add_penalty(self) -> None:
        """Add to the gradients of the parameters of `module` that of a loss which depends on them alone."""

    def before_step(self, step: int, optimizer: torch.optim.Optimizer) -> None:
        """Set what depends on progress: temperatures, learning rates."""

    def after_step(self, step: int) -> None:
        """Project parameters, keep averages."""

    def measure(self, step: int) -> tuple[float | None, float | None, float | None]:
        """Return (soft metric, hard metric, temperature) for the progress display; None where not measured."""
        return None, None, None

    def extra_state(self) -> dict[str, Tensor]:
        """Return tensors, changed in place by the task, that a checkpoint must hold beside parameters and optimiser."""
        return {}

    def inner_optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """Return optimisers, by name, that the task steps itself; their state goes into a checkpoint beside that of the loop's own."""
        return {}

    @abstractmethod
    def result(self) -> dict[str, NDArray[Any]]:
        """Return what was learned."""


def train(
    build: Callable[..., TrainingTask], arguments: tuple[Any, ...], hardware: Hardware
) -> dict[str, NDArray[Any]]:
    """Train `build(*arguments)` and return its result.

    Parameters
    ----------
    build : makes the task; called in every process, so it and its arguments must be importable and plain.
    hardware : see `Hardware`.

    Returns
    -------
    result : of the task, from the first process.
    """
    return train_many(build, [arguments], hardware)[0]


def train_many(
    build: Callable[..., TrainingTask], arguments: Sequence[tuple[Any, ...]], hardware: Hardware
) -> list[dict[str, NDArray[Any]]]:
    """Train independent tasks, on one device `hardware.threads` of them at a time, and return their results in order.

    The steps of a small model are too short to share among threads, so a task has one; only the first reports progress. Interrupting
    stops them all.
    """
    if under_torchrun():
        return [_work(_torchrun_fabric(hardware), build, a) for a in arguments]
    if hardware.devices > 1:
        return [_train_parallel(build, a, hardware) for a in arguments]
    if len(arguments) == 1 or hardware.threads == 1:
        return [_work(_fabric(hardware, "auto"), build, a) for a in arguments]
    stop = threading.Event()

    def work(number: int) -> dict[str, NDArray[Any]]:
        with contextlib.nullcontext() if number == 0 else muted():
            return _work(_fabric(hardware, "auto"), build, arguments[number], stop)

    with ThreadPoolExecutor(hardware.threads) as pool:
        # Each task has its own copy of the context: it holds the listeners and the checkpoint.
        jobs = [pool.submit(contextvars.copy_context().run, work, k) for k in range(len(arguments))]
        try:
            return [job.result() for job in jobs]
        except BaseException:
            stop.set()
            raise


def _fabric(hardware: Hardware, strategy: str, num_nodes: int = 1) -> Any:
    from lightning_fabric import Fabric

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Fabric's advice on its own logger and sampler does not concern us
        return Fabric(
            accelerator=hardware.accelerator, devices=hardware.devices, strategy=strategy, num_nodes=num_nodes
        )


def _torchrun_fabric(hardware: Hardware) -> Any:
    """Join the other processes, on this machine and on others; `torchrun` says how many there are."""
    here = int(os.environ["LOCAL_WORLD_SIZE"])
    nodes = int(os.environ["WORLD_SIZE"]) // here
    fabric = _fabric(dataclasses.replace(hardware, devices=here), "ddp", num_nodes=nodes)
    fabric.launch()
    return fabric


def _train_parallel(
    build: Callable[..., TrainingTask], arguments: tuple[Any, ...], hardware: Hardware
) -> dict[str, NDArray[Any]]:
    # Bound beforehand: Fabric walks through the arguments of a launch, and stumbles over frozen ones.
    work = functools.partial(_work, build=build, arguments=arguments)
    others = set(multiprocessing.active_children())
    try:
        result: dict[str, NDArray[Any]] = _fabric(hardware, "ddp_spawn").launch(work)
    except BaseException:
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        raise
    return result


def _work(
    fabric: Any,
    build: Callable[..., TrainingTask],
    arguments: tuple[Any, ...],
    stop: threading.Event | None = None,
) -> dict[str, NDArray[Any]]:
    with one_torch_thread():
        task = build(*arguments)
        task.module.to(fabric.device)
        _run(fabric, task, task.optimizer(), stop or threading.Event())
        return task.result()


class _Gradients:
    """Gradients of a task's batches: one for each part, added up in the order of the parts, whichever process computed them."""

    def __init__(self, fabric: Any, task: TrainingTask) -> None:
        self.fabric, self.task = fabric, task
        if task.parts == 1:
            return
        self.mine = range(fabric.global_rank, task.parts, fabric.world_size)
        self.copies = task.copies(len(self.mine)).to(fabric.device)
        self.parameters = [p for p in task.module.parameters() if p.requires_grad]
        shapes = [(len(self.mine), *p.shape) for p in self.parameters]
        self.spread = [c.detach().view(s) for c, s in zip(self.copies.parameters(), shapes, strict=True)]

    def set(self, step: int) -> None:
        """Set the gradients of the module's parameters to those of the batch of this step."""
        if self.task.parts == 1:
            self.task.module.zero_grad()
            self.task.loss(self.task.module, step, range(1)).backward()
        else:
            self._set_by_parts(step)
        self.task.add_penalty()

    def _set_by_parts(self, step: int) -> None:
        with torch.no_grad():
            for parameter, spread in zip(self.parameters, self.spread, strict=True):
                spread.copy_(parameter)
        if self.mine:
            self.copies.zero_grad()
            self.task.loss(self.copies, step, self.mine).backward()
        for parameter, spread, copy in zip(
            self.parameters, self.spread, self.copies.parameters(), strict=True
        ):
            grad = torch.zeros_like(spread) if copy.grad is None else copy.grad.view(spread.shape)
            parameter.grad = self._of_all_parts(grad).sum(dim=0)

    def _of_all_parts(self, mine: Tensor) -> Tensor:
        """The gradients of all parts, in order. Every process sends as many as the first; what is beyond the last part is cut off."""
        world, parts = self.fabric.world_size, self.task.parts
        if world == 1:
            return mine
        missing = -(-parts // world) - len(mine)
        sent = torch.cat([mine, mine.new_zeros(missing, *mine.shape[1:])])
        gathered: Tensor = self.fabric.all_gather(sent)
        return gathered.transpose(0, 1).flatten(0, 1)[:parts]


_thread_lock = threading.Lock()
_thread_users = 0
_thread_count = 1


@contextlib.contextmanager
def one_torch_thread() -> Iterator[None]:
    """Keep torch to one thread inside, in all threads of the process, and give back what it had when the last one leaves."""
    global _thread_users, _thread_count
    with _thread_lock:
        if _thread_users == 0:
            _thread_count = torch.get_num_threads()
        _thread_users += 1
    torch.set_num_threads(1)
    try:
        yield
    finally:
        with _thread_lock:
            _thread_users -= 1
            if _thread_users == 0:
                torch.set_num_threads(_thread_count)


def _run(fabric: Any, task: TrainingTask, optimizer: torch.optim.Optimizer, stop: threading.Event) -> None:
    gradients = _Gradients(fabric, task)
    checkpoint = current_checkpoint() if fabric.world_size == 1 else None
    first = 0
    if checkpoint is not None and (saved := checkpoint.read(task.key)) is not None:
        first = _restore(task, optimizer, *saved)
    report_every = max(1, task.steps // REPORTS)
    step = first
    begun = time.perf_counter()
    # An interrupt may leave a step half applied; the last state on disk, a whole one, is what a resumed run goes on from.
    while step < task.steps:
        if stop.is_set():
            raise KeyboardInterrupt
        task.before_step(step, optimizer)
        gradients.set(step)
        optimizer.step()
        task.after_step(step)
        step += 1
        if fabric.is_global_zero and (step % report_every == 0 or step == task.steps):
            soft, hard, temperature = task.measure(step - 1)
            left = (time.perf_counter() - begun) / (step - first) * (task.steps - step)
            emit(
                task.phase, step / task.steps, soft=soft, hard=hard, temperature=temperature,
                message=f"{left:.0f} s left", higher_is_better=task.higher_is_better,
            )  # fmt: skip
        if checkpoint is not None and (step % SAVE_EVERY == 0 or step == task.steps):
            checkpoint.write(task.key, _state(task, optimizer), step)


def _optimizer_tensors(optimizer: torch.optim.Optimizer, prefix: str) -> dict[str, Tensor]:
    found = {}
    for g, group in enumerate(optimizer.param_groups):
        for p, parameter in enumerate(group["params"]):
            for name, value in optimizer.state.get(parameter, {}).items():
                found[f"{prefix}.{g}.{p}.{name}"] = value
    return found


def _state(task: TrainingTask, optimizer: torch.optim.Optimizer) -> dict[str, NDArray[Any]]:
    tensors = {f"module.{name}": value for name, value in task.module.state_dict().items()}
    tensors |= {f"task.{name}": value for name, value in task.extra_state().items()}
    for prefix, one in _optimizers(task, optimizer).items():
        tensors |= _optimizer_tensors(one, prefix)
    return {name: np.array(value.detach().cpu().numpy()) for name, value in tensors.items()}


def _restore(task: TrainingTask, optimizer: torch.optim.Optimizer, arrays: dict[str, Any], step: int) -> int:
    with torch.no_grad():
        for name, value in task.module.state_dict().items():
            value.copy_(torch.from_numpy(arrays[f"module.{name}"]))
        for name, value in task.extra_state().items():
            value.copy_(torch.from_numpy(arrays[f"task.{name}"]))
    for prefix, one in _optimizers(task, optimizer).items():
        _restore_optimizer(one, prefix, arrays)
    return step


def _optimizers(task: TrainingTask, optimizer: torch.optim.Optimizer) -> dict[str, torch.optim.Optimizer]:
    return {"optimizer": optimizer} | {f"optimizer.{n}": o for n, o in task.inner_optimizers().items()}


def _restore_optimizer(optimizer: torch.optim.Optimizer, name: str, arrays: dict[str, Any]) -> None:
    for g, group in enumerate(optimizer.param_groups):
        for p, parameter in enumerate(group["params"]):
            prefix = f"{name}.{g}.{p}."
            names = [key.removeprefix(prefix) for key in arrays if key.startswith(prefix)]
            optimizer.state[parameter] = {
                n: torch.from_numpy(arrays[prefix + n].copy()).to(parameter.device) for n in names
            }
