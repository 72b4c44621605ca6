"""An interrupted `hardgrad fit` and how it goes on: the record of what was asked for, beside the checkpoint of the training."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from hardgrad.core.errors import ArtifactError, ParameterError
from hardgrad.core.files import write_text

RECORD = "run.json"
STAGES = "stages"


def checkpoint_folder(out: Path) -> Path:
    """Return the folder beside the output that holds the checkpoint while training runs."""
    return out.parent / f"{out.name}.checkpoint"


def start_record(out: Path, settings: dict[str, Any], data: str) -> Path:
    """Begin a run: forget an older checkpoint, write down what was asked for and return the folder of the stages.

    Parameters
    ----------
    out : output folder of the run.
    settings : everything that decides the result, in a form that `json` can write.
    data : fingerprint of the data.
    """
    folder = checkpoint_folder(out)
    if folder.exists():
        shutil.rmtree(folder)
    try:
        (folder / STAGES).mkdir(parents=True)
    except OSError as error:
        from hardgrad.core.files import WriteError

        raise WriteError(
            f"cannot write {folder}: {error.strerror or error}. Choose another folder with --out, one that is writable."
        ) from error
    write_text(folder / RECORD, json.dumps({"settings": settings, "data": data}, indent=2))
    return folder / STAGES


def read_record(out: Path) -> dict[str, Any]:
    """Return the settings of an interrupted run.

    Raises
    ------
    ArtifactError : there is none, or its record is damaged.
    """
    folder = checkpoint_folder(out)
    path = folder / RECORD
    if not path.exists():
        raise ArtifactError(
            f"there is no interrupted run to resume: {path} is not there. Start it without --resume."
        )
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        settings: dict[str, Any] = record["settings"]
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise ArtifactError(
            f"{path} is damaged ({error}). Delete {folder} and start again without --resume."
        ) from error
    return settings


def check_data(out: Path, data: str) -> Path:
    """Return the folder of the stages; the data must be those that the interrupted run began with.

    Raises
    ------
    ParameterError : the data changed.
    """
    folder = checkpoint_folder(out)
    begun_with = json.loads((folder / RECORD).read_text(encoding="utf-8")).get("data")
    if begun_with != data:
        raise ParameterError(
            "the table changed since the run was interrupted, so it cannot go on to the same model. Start again without --resume."
        )
    return folder / STAGES


def end_record(out: Path) -> None:
    """Forget the checkpoint of a run that is finished."""
    shutil.rmtree(checkpoint_folder(out), ignore_errors=True)


def require_same(asked: dict[str, Any], recorded: dict[str, Any]) -> None:
    """Refuse to resume with other settings than those of the interrupted run; what was not asked for again is taken from the record.

    Raises
    ------
    ParameterError : a setting differs; the message names it.
    """
    for name, value in asked.items():
        if value is not None and recorded.get(name) != value:
            raise ParameterError(
                f"--{name.replace('_', '-')} is {value!r}, but the interrupted run has {recorded.get(name)!r}. Leave it out to go on "
                "with the same settings, or start again without --resume."
            )
