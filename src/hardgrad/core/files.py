"""Writing files whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from hardgrad.core.errors import HardgradError


class WriteError(HardgradError, OSError):
    """A file that could not be written; nothing of it is left behind."""


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path` that replaces it when the block ends well, and vanishes otherwise.

    Parameters
    ----------
    path : path of the file to write. Its folder must exist.

    Raises
    ------
    WriteError : the folder is missing or read-only, or the disk is full. The old file, if any, is untouched.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> target = pathlib.Path(tempfile.mkdtemp()) / "note.txt"
    >>> with atomic_path(target) as temporary:
    ...     _ = temporary.write_text("whole")
    >>> target.read_text()
    'whole'
    """
    target = Path(path)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
    except OSError as error:
        raise WriteError(
            f"cannot write {target}: {error.strerror or error}. Choose a folder that exists and is writable."
        ) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _publish(temporary, target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, HardgradError):
            raise
        raise WriteError(
            f"cannot write {target}: {error.strerror or error}. Nothing was left behind; free some space or "
            "choose another folder."
        ) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _publish(temporary: Path, target: Path) -> None:
    with temporary.open("rb+") as stream:
        os.fsync(stream.fileno())
    umask = os.umask(0)
    os.umask(umask)
    temporary.chmod(0o666 & ~umask)  # mkstemp makes it private; a model file is not
    os.replace(temporary, target)


def write_file(path: str | os.PathLike[str], content: str | bytes) -> Path:
    """Write bytes, or UTF-8 text that ends with a new line, whole or not at all and return the path.

    Raises
    ------
    WriteError : see `atomic_path`.
    """
    if isinstance(content, str):
        return write_text(path, content if content.endswith("\n") else content + "\n")
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    return Path(path)


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """Write UTF-8 text whole or not at all and return the path.

    Raises
    ------
    WriteError : see `atomic_path`.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
    return Path(path)
