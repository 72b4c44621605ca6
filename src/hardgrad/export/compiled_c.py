"""C source -> a loaded shared library, compiled once and cached. Knows the system's C compiler and nothing about models.

Used where exported C is run from Python: checks of exports, and compiled runtimes. Never imports torch.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from hardgrad.core.errors import ExportError
from hardgrad.core.files import WriteError, atomic_path

DEFAULT_FLAGS = ("-std=c99", "-O2", "-ffp-contract=off")
NATIVE = ("-march=native",)


def compile_shared(
    source: str,
    *,
    flags: Sequence[str] = DEFAULT_FLAGS,
    name: str = "model",
    headers: Mapping[str, str] | None = None,
) -> ctypes.CDLL:
    """Compile C source with the system's compiler and load it; the same source and flags are compiled once a
    machine.

    Parameters
    ----------
    source : text of one C file.
    flags : compiler options; position independence, sharing and -lm are added.
    name : part of the file name in the cache, for people who look there.
    headers : further files by name that the source includes.

    Returns
    -------
    library : the loaded library; set `argtypes` and `restype` of its functions before calling them.

    Raises
    ------
    ExportError : there is no C compiler, or it refuses the source. The message holds what it said.

    Examples
    --------
    >>> library = compile_shared("int twice(int x) { return 2 * x; }", name="twice")
    >>> library.twice(21)
    42
    """
    command = find_compiler()
    files = {f"{name}.c": source, **(headers or {})}
    target = cache_folder() / f"{name}-{_key(files, flags, command)}.so"
    if target.exists():
        try:
            return ctypes.CDLL(str(target))
        except OSError:  # a damaged cache is not an error: compile again
            target.unlink(missing_ok=True)
    with atomic_path(target) as temporary:
        _compile(command, files, f"{name}.c", flags, temporary)
    return ctypes.CDLL(str(target))


def compile_for(
    target: Sequence[str],
    source: str,
    *,
    flags: Sequence[str],
    name: str,
    headers: Mapping[str, str] | None = None,
) -> ctypes.CDLL:
    """Compile for a processor, as `NATIVE` says this one, or for any where the compiler refuses that; see `compile_shared`."""
    try:
        return compile_shared(source, flags=(*flags, *target), name=name, headers=headers)
    except ExportError as error:
        if "refused" not in str(error):
            raise
        # Some compilers have no notion of "native" on some processors.
        return compile_shared(source, flags=flags, name=name, headers=headers)


def has_compiler() -> bool:
    """Tell whether a C compiler can be found."""
    try:
        find_compiler()
    except ExportError:
        return False
    return True


def find_compiler() -> list[str]:
    """Return the command of the C compiler: the environment's `CC`, else cc, gcc or clang.

    Raises
    ------
    ExportError : there is none.
    """
    chosen = shlex.split(os.environ.get("CC", ""))
    if chosen:
        if shutil.which(chosen[0]) is None:
            raise ExportError(
                f"the environment has CC={os.environ['CC']!r}, but there is no such program. Unset it."
            )
        return chosen
    for program in ("cc", "gcc", "clang"):
        path = shutil.which(program)
        if path is not None:
            return [path]
    raise ExportError(
        "no C compiler found (looked for $CC, cc, gcc, clang). Install one (Debian: gcc; macOS: "
        'xcode-select --install), or use the "numba" runtime, which needs none.'
    )


def cache_folder() -> Path:
    """Return the folder of compiled libraries, `$XDG_CACHE_HOME/hardgrad/c`, or a temporary one."""
    root = os.environ.get("XDG_CACHE_HOME", "")
    folder = (Path(root) if os.path.isabs(root) else Path.home() / ".cache") / "hardgrad" / "c"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if os.access(folder, os.W_OK | os.X_OK):
            return folder
    except OSError:
        pass
    return _temporary_folder()


@functools.cache
def _temporary_folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="hardgrad-c-"))


def _key(files: Mapping[str, str], flags: Sequence[str], command: Sequence[str]) -> str:
    """What a library depends on: sources, options, the compiler and, for -march=native, the processor."""
    digest = hashlib.sha256()
    parts = [*flags, *command, _version(tuple(command)), _processor()]
    for part in [*parts, *(text for item in sorted(files.items()) for text in item)]:
        digest.update(part.encode("utf-8", "surrogatepass") + b"\0")
    return digest.hexdigest()[:32]


@functools.cache
def _version(command: tuple[str, ...]) -> str:
    try:
        return subprocess.run([*command, "--version"], capture_output=True, text=True, check=False).stdout
    except OSError:
        return ""


@functools.cache
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    features = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return f"{platform.system()} {platform.machine()} {platform.processor()} {features}"


def _compile(
    command: Sequence[str], files: Mapping[str, str], main: str, flags: Sequence[str], target: Path
) -> None:
    with tempfile.TemporaryDirectory(prefix="hardgrad-c-") as folder:
        try:
            for file_name, text in files.items():
                (Path(folder) / file_name).write_text(text, encoding="utf-8", newline="\n")
        except OSError as error:
            raise WriteError(f"cannot write C source to {folder}: {error.strerror or error}.") from error
        shared = ["-shared", "-fPIC", *flags, "-o", str(target), main, "-lm"]
        try:
            done = subprocess.run(
                [*command, *shared],
                cwd=folder,
                capture_output=True,
                text=True,
                check=False,
                stdin=subprocess.DEVNULL,
            )
        except OSError as error:
            raise ExportError(f"the C compiler {shlex.join(command)} does not run: {error}.") from error
    if done.returncode:
        said = "\n".join((done.stderr or done.stdout).strip().splitlines()[:8])
        raise ExportError(f"the C compiler {shlex.join([*command, *flags])} refused {main}:\n{said}")
