"""Artifact: the hard face of a model, a frozen dataclass of NumPy arrays and plain metadata in one file. Never imports torch.

On disk an artifact is a safetensors file: the arrays are tensors and the metadata is JSON under the header key `hardgrad`, with
`kind` and `schema_version`. There is nothing executable in it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from hardgrad.core import registry
from hardgrad.core.errors import ArtifactError, RegistryError
from hardgrad.core.files import atomic_path

HEADER_KEY = "hardgrad"


@dataclasses.dataclass(frozen=True, eq=False)
class Artifact:
    """Base class of every exact model. A subclass names its kind: `class Forest(Artifact, kind="forest")`.

    Array fields are saved as tensors; every other field goes through `metadata_to_json` and `metadata_from_json`.
    """

    kind: ClassVar[str] = ""
    schema_version: ClassVar[int] = 1

    def __init_subclass__(cls, kind: str | None = None, schema_version: int = 1, **options: Any) -> None:
        super().__init_subclass__(**options)
        if kind is not None:
            cls.kind = kind
            cls.schema_version = schema_version
            registry.artifacts.register(kind, cls)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the array fields by name."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, np.ndarray)}

    def freeze(self) -> None:
        """Make every array read-only, a copy where the caller could still write to it; called once the arrays are checked."""
        for name, array in self.arrays().items():
            if array.flags.writeable:
                own = array.copy()
                own.flags.writeable = False
                object.__setattr__(self, name, own)

    def metadata_to_json(self) -> dict[str, Any]:
        """Return every field that is not an array in a form that `json` can write."""
        arrays = self.arrays()
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in arrays}

    @classmethod
    def metadata_from_json(cls, metadata: dict[str, Any]) -> dict[str, Any]:
        """Invert `metadata_to_json`: return keyword arguments of the constructor."""
        return metadata

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the artifact to one safetensors file, whole or not at all, and return its path.

        Raises
        ------
        WriteError : the folder is missing, not writable, or the disk is full.
        """
        from safetensors.numpy import save

        header = {
            "kind": self.kind,
            "schema_version": self.schema_version,
            "metadata": self.metadata_to_json(),
        }
        contiguous = {name: np.asarray(array, order="C") for name, array in self.arrays().items()}
        header["digest"] = content_digest(header, contiguous)
        text = json.dumps(header, ensure_ascii=True, allow_nan=False, sort_keys=True)
        payload = save(contiguous, metadata={HEADER_KEY: text})
        with atomic_path(path) as temporary:
            temporary.write_bytes(payload)
        return Path(path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read an artifact of this class from its file.

        Raises
        ------
        ArtifactError : the file is missing, truncated, corrupted, of another kind or from a newer version.
        """
        artifact = load(path)
        if not isinstance(artifact, cls):
            raise ArtifactError(
                f"{path} holds an artifact of kind {artifact.kind!r}, expected {cls.kind!r}. "
                "Use hardgrad.load(path), which finds the class by kind."
            )
        return artifact

    def equals(self, other: object) -> bool:
        """Tell whether two artifacts are the same, bit for bit."""
        if type(other) is not type(self) or not isinstance(other, Artifact):
            return False
        mine, theirs = self.arrays(), other.arrays()
        return (
            mine.keys() == theirs.keys()
            and all(
                mine[name].dtype == theirs[name].dtype
                and mine[name].shape == theirs[name].shape
                and mine[name].tobytes() == theirs[name].tobytes()
                for name in mine
            )
            and self.metadata_to_json() == other.metadata_to_json()
        )


def load(path: str | os.PathLike[str]) -> Artifact:
    """Read any artifact: the class is found by the `kind` in the file. Does not import torch.

    Parameters
    ----------
    path : a file written by `Artifact.save`.

    Raises
    ------
    ArtifactError : the file is missing, truncated, corrupted, not ours, of an unknown kind or from a newer version.
    """
    header, arrays = _read(Path(path))
    kind, version = header.get("kind"), header.get("schema_version")
    try:
        cls = registry.artifacts[str(kind)]
    except RegistryError as error:
        raise ArtifactError(
            f"{path} holds an artifact of unknown kind {kind!r}. {error} Update hardgrad."
        ) from None
    if not isinstance(version, int) or version > cls.schema_version:
        raise ArtifactError(
            f"{path} has schema version {version} of kind {kind!r}; this hardgrad reads up to {cls.schema_version}. "
            "Update hardgrad, or save the model again with this version."
        )
    if header.get("digest") != content_digest(header, arrays):
        raise ArtifactError(f"{path} is corrupted: its contents do not match its digest. Restore the file.")
    try:
        artifact: Artifact = cls(**arrays, **cls.metadata_from_json(header["metadata"]))
    except ArtifactError as error:
        raise ArtifactError(f"{path} is corrupted: {error}") from error
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, OverflowError) as error:
        raise ArtifactError(
            f"{path} is corrupted: its contents do not form a {kind!r} artifact ({error}). Restore the file."
        ) from error
    return artifact


def content_digest(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    """Return the SHA-256 of a model's header and arrays: a flipped bit anywhere is an error, not another model."""
    plain = {key: value for key, value in header.items() if key != "digest"}
    described = {name: [str(array.dtype), list(array.shape)] for name, array in arrays.items()}
    digest = hashlib.sha256(json.dumps([plain, described], ensure_ascii=True, sort_keys=True).encode())
    for _, array in sorted(arrays.items()):
        digest.update(np.asarray(array, order="C").tobytes())
    return digest.hexdigest()


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load as load_tensors

    try:
        payload = path.read_bytes()
    except OSError as error:
        raise ArtifactError(
            f"cannot read {path}: {error.strerror or error}. Expected a model file."
        ) from error
    outer = _outer_header(path, payload)
    text = outer.get("__metadata__", {}).get(HEADER_KEY)
    if text is None:
        raise ArtifactError(
            f"{path} is a safetensors file that hardgrad did not write: its header has no model in it."
        )
    try:
        header = json.loads(text)
        arrays: Mapping[str, np.ndarray] = load_tensors(payload)
    except (ValueError, KeyError, SafetensorError, RecursionError) as error:
        raise ArtifactError(f"{path} is corrupted: {error}. Restore the file.") from error
    if not isinstance(header, dict) or not isinstance(header.get("metadata"), dict):
        raise ArtifactError(f"{path} is corrupted: its model header is not a JSON object. Restore the file.")
    return header, dict(arrays)


def _outer_header(path: Path, payload: bytes) -> dict[str, Any]:
    """Read the safetensors header by hand, so that a truncated or foreign file gets a message that says so."""
    foreign = f"{path} is not a hardgrad model file (safetensors). Expected a file written by save() or `hardgrad fit`."
    if len(payload) < 8:
        raise ArtifactError(f"{foreign} It holds {len(payload)} bytes.")
    (length,) = struct.unpack("<Q", payload[:8])
    if payload[8:9] != b"{":
        raise ArtifactError(foreign)
    if 8 + length > len(payload):
        raise ArtifactError(
            f"{path} is truncated: it promises a header of {length:,} bytes, the file holds {len(payload) - 8:,}. "
            "Copy the file again."
        )
    try:
        outer: dict[str, Any] = json.loads(payload[8 : 8 + length])
        ends = [entry["data_offsets"][1] for name, entry in outer.items() if name != "__metadata__"]
        promised = max(ends, default=0)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise ArtifactError(
            f"{path} is corrupted: its header is not valid ({error}). Restore the file."
        ) from error
    if not isinstance(promised, int) or not isinstance(outer.get("__metadata__", {}), dict):
        raise ArtifactError(f"{path} is corrupted: its header is not valid. Restore the file.")
    present = len(payload) - 8 - length
    if promised != present:
        what = "truncated" if present < promised else "corrupted"
        raise ArtifactError(
            f"{path} is {what}: the header promises {promised:,} bytes of arrays, the file holds {present:,}. "
            "Copy the file again."
        )
    return outer
