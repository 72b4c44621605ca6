"""Checkpoints: long work that is interrupted goes on later, to the same bits. Never imports torch.

A checkpoint is a folder with one safetensors file a stage of the work. A stage that is finished is read back; one that was interrupted
goes on from its last saved step. Nothing in it is executable.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import ArtifactError
from hardgrad.core.files import atomic_path

Arrays = dict[str, NDArray[np.generic]]
_current: ContextVar[Checkpoint | None] = ContextVar("hardgrad_checkpoint", default=None)


class Checkpoint:
    """A folder that remembers the stages of one piece of work.

    Parameters
    ----------
    folder : where the files go; made if it is not there.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)

    def _path(self, key: str) -> Path:
        return self.folder / f"{re.sub(r'[^A-Za-z0-9_.-]', '-', key)}.safetensors"

    def read(self, key: str) -> tuple[Arrays, int] | None:
        """Return what was saved under `key` and the step it was saved at, or None.

        Raises
        ------
        ArtifactError : the file is damaged.
        """
        from safetensors import SafetensorError, safe_open

        path = self._path(key)
        if not path.exists():
            return None
        try:
            with safe_open(path, framework="numpy") as stream:
                arrays = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
                step = int((stream.metadata() or {})["step"])
        except (SafetensorError, KeyError, ValueError) as error:
            raise ArtifactError(
                f"{path} is damaged ({error}). Delete the folder {self.folder} and start again."
            ) from error
        return arrays, step

    def write(self, key: str, arrays: Mapping[str, NDArray[np.generic]], step: int) -> None:
        """Save the state of a stage after `step` steps, whole or not at all."""
        from safetensors.numpy import save

        payload = save({k: np.asarray(v, order="C") for k, v in arrays.items()}, metadata={"step": str(step)})
        with atomic_path(self._path(key)) as temporary:
            temporary.write_bytes(payload)


@contextlib.contextmanager
def checkpointing(folder: str | Path) -> Iterator[Checkpoint]:
    """Make the work inside resumable: run it again with the same folder, data and settings and it goes on to the same bits."""
    checkpoint = Checkpoint(folder)
    token = _current.set(checkpoint)
    try:
        yield checkpoint
    finally:
        _current.reset(token)


def current_checkpoint() -> Checkpoint | None:
    """Return the checkpoint of the `checkpointing` block that is running, if any."""
    return _current.get()


def fingerprint(*parts: object) -> str:
    """Return a short digest of arrays and plain values, to tell one piece of work from another."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype}{part.shape}".encode())
            digest.update(np.ascontiguousarray(part).tobytes())
        else:
            digest.update(repr(part).encode())
        digest.update(b"\x00")
    return digest.hexdigest()[:16]
