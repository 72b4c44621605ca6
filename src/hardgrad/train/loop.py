"""The one training loop: Lightning Fabric for device, precision and data-parallel; resumable; reports progress.

A family states WHAT is trained as a `TrainingTask`; the loop knows how. With several devices every process works on its share of the
same global batch, so that one process and many give the same model, to rounding.
"""

from __future__ import annotations

import functools
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hardgrad.core.errors import ParameterError
from hardgrad.train.checkpoint import current_checkpoint
from hardgrad.train.progress import emit

SAVE_EVERY = 100
REPORTS = 40


@dataclass(frozen=True)
class Hardware:
    """Where to train.

    Parameters
    ----------
    accelerator : "cpu", "cuda" or "auto".
    devices : processes, each with its own share of every batch (gloo on CPU, nccl on GPU).
    threads : CPU threads of each process.
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


@dataclass(frozen=True)
class Shard:
    """Which share of a batch this process works on: items `rank::world`."""

    rank: int
    world: int
    device: torch.device


class TrainingTask(ABC):
    """What is trained. Attributes `key` (names the stage in a checkpoint), `phase` (shown to the user), `steps` and `module`."""

    key: str
    phase: str
    steps: int
    module: nn.Module

    @abstractmethod
    def optimizer(self) -> torch.optim.Optimizer:
        """Return the optimiser of the module's parameters; its state is part of the checkpoint."""

    @abstractmethod
    def loss(self, forward: Callable[..., Tensor], step: int, shard: Shard) -> Tensor:
        """Return the loss of this process's share of the global batch of this step, scaled so that the mean over processes is right.

        Batches must follow from `step` alone: that is what makes the work resumable.
        """

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
    from lightning_fabric import Fabric

    single = hardware.devices == 1
    strategy = "auto" if single else "ddp_spawn"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Fabric's advice on its own logger and sampler does not concern us
        fabric = Fabric(accelerator=hardware.accelerator, devices=hardware.devices, strategy=strategy)
    if single:
        return _work(fabric, build, arguments, hardware)
    # Bound beforehand: Fabric walks through the arguments of a launch, and stumbles over frozen ones.
    work = functools.partial(_work, build=build, arguments=arguments, hardware=hardware)
    result: dict[str, NDArray[Any]] = fabric.launch(work)
    return result


def _work(
    fabric: Any, build: Callable[..., TrainingTask], arguments: tuple[Any, ...], hardware: Hardware
) -> dict[str, NDArray[Any]]:
    threads = torch.get_num_threads()
    torch.set_num_threads(hardware.threads)
    try:
        task = build(*arguments)
        task.module.to(fabric.device)
        optimizer = task.optimizer()
        forward, optimizer = fabric.setup(task.module, optimizer)
        _run(fabric, task, forward, optimizer)
        return task.result()
    finally:
        torch.set_num_threads(threads)


def _run(fabric: Any, task: TrainingTask, forward: Any, optimizer: Any) -> None:
    shard = Shard(fabric.global_rank, fabric.world_size, fabric.device)
    checkpoint = current_checkpoint() if fabric.world_size == 1 else None
    first = 0
    if checkpoint is not None and (saved := checkpoint.read(task.key)) is not None:
        first = _restore(task, optimizer, *saved)
    report_every = max(1, task.steps // REPORTS)
    step = first
    begun = time.perf_counter()
    try:
        while step < task.steps:
            task.before_step(step, optimizer)
            optimizer.zero_grad()
            fabric.backward(task.loss(forward, step, shard))
            optimizer.step()
            task.after_step(step)
            step += 1
            if fabric.is_global_zero and (step % report_every == 0 or step == task.steps):
                soft, hard, temperature = task.measure(step - 1)
                left = (time.perf_counter() - begun) / (step - first) * (task.steps - step)
                emit(
                    task.phase,
                    step / task.steps,
                    soft=soft,
                    hard=hard,
                    temperature=temperature,
                    message=f"{left:.0f} s left",
                )
            if checkpoint is not None and (step % SAVE_EVERY == 0 or step == task.steps):
                checkpoint.write(task.key, _state(task, optimizer), step)
    except KeyboardInterrupt:
        # The step under way may be half applied; the last whole state on disk is what a resumed run goes on from.
        raise


def _optimizer_tensors(optimizer: Any) -> dict[str, Tensor]:
    inner = getattr(optimizer, "optimizer", optimizer)
    found = {}
    for g, group in enumerate(inner.param_groups):
        for p, parameter in enumerate(group["params"]):
            for name, value in inner.state.get(parameter, {}).items():
                found[f"optimizer.{g}.{p}.{name}"] = value
    return found


def _state(task: TrainingTask, optimizer: Any) -> dict[str, NDArray[Any]]:
    tensors = {f"module.{name}": value for name, value in task.module.state_dict().items()}
    tensors |= {f"task.{name}": value for name, value in task.extra_state().items()}
    tensors |= _optimizer_tensors(optimizer)
    return {name: np.array(value.detach().cpu().numpy()) for name, value in tensors.items()}


def _restore(task: TrainingTask, optimizer: Any, arrays: dict[str, Any], step: int) -> int:
    with torch.no_grad():
        for name, value in task.module.state_dict().items():
            value.copy_(torch.from_numpy(arrays[f"module.{name}"]))
        for name, value in task.extra_state().items():
            value.copy_(torch.from_numpy(arrays[f"task.{name}"]))
    inner = getattr(optimizer, "optimizer", optimizer)
    for g, group in enumerate(inner.param_groups):
        for p, parameter in enumerate(group["params"]):
            prefix = f"optimizer.{g}.{p}."
            names = [key.removeprefix(prefix) for key in arrays if key.startswith(prefix)]
            inner.state[parameter] = {
                n: torch.from_numpy(arrays[prefix + n].copy()).to(parameter.device) for n in names
            }
    return step
