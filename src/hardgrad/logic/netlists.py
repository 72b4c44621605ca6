"""Reading circuits from files, whichever format they are in. Never imports torch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from hardgrad.core.errors import DataError
from hardgrad.logic.aiger import from_aiger
from hardgrad.logic.blif import from_blif

if TYPE_CHECKING:
    from hardgrad.logic.circuit import Circuit


def read_circuit(path: str | os.PathLike[str]) -> Circuit:
    """Read a circuit from a BLIF or AIGER file (binary or text); the contents say which it is.

    Raises
    ------
    DataError : the file cannot be read, or is not a circuit without memory in one of these formats.
    """
    try:
        payload = Path(path).read_bytes()
    except OSError as error:
        raise DataError(
            f"cannot read {path}: {error.strerror or error}. Expected a BLIF or AIGER file."
        ) from error
    if payload[:4] in (b"aig ", b"aag "):
        return from_aiger(payload)
    try:
        text = payload.decode("utf-8")
    except UnicodeDecodeError:
        raise DataError(
            f"{path} is neither AIGER (its first bytes are not 'aig' or 'aag') nor BLIF (it is not text)."
        ) from None
    return from_blif(text)
