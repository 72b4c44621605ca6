"""Reading the model that a command is given: one of ours, or a forest trained elsewhere, imported exactly."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from hardgrad.core.artifact import Artifact
    from hardgrad.tabular.table_model import TableModel
    from hardgrad.trees.forest import Forest

ModelArgument = Annotated[
    Path,
    typer.Argument(
        help="model.safetensors, the folder that `hardgrad fit` wrote, or a LightGBM text or XGBoost JSON/UBJ model.",
        show_default=False,
    ),
]
RenameOption = Annotated[
    list[str] | None,
    typer.Option("--rename", metavar="A=B", help="The table's column A is the model's column B. Repeatable."),
]
MODEL_FILE = "model.safetensors"
FOREIGN = (".txt", ".json", ".ubj")


def read_model(path: Path) -> TableModel:
    """Return the model of tables in a file or in the folder of a `hardgrad fit`.

    Raises
    ------
    ArtifactError : the file is missing, damaged, foreign, newer, or holds what does not answer for tables.
    """
    from hardgrad.core.errors import ArtifactError
    from hardgrad.tabular.table_model import TableModel

    model = read_artifact(path)
    if not isinstance(model, TableModel):
        raise ArtifactError(
            f"{path} holds an artifact of kind {model.kind!r}, which does not answer for tables. Load it in Python: hardgrad.load(path)."
        )
    return model


def read_artifact(path: Path) -> Artifact:
    """Return the artifact of any kind in a file or in the folder of a `hardgrad fit`.

    Raises
    ------
    ArtifactError : the file is missing, damaged, foreign or newer.
    """
    from hardgrad.core.artifact import load

    if path.is_dir():
        path = path / MODEL_FILE
    if path.suffix.lower() in FOREIGN and path.exists():
        from hardgrad.trees.importers import import_forest

        return import_forest(path)
    return load(path)


def read_forest(path: Path, command: str) -> Forest:
    """Return the forest in a file or folder, for a command that needs its trees.

    Raises
    ------
    ArtifactError : as `read_model`. UnsupportedError : the model is no forest.
    """
    from hardgrad.core.errors import UnsupportedError
    from hardgrad.trees.forest import Forest

    model = read_model(path)
    if not isinstance(model, Forest):
        raise UnsupportedError(
            f"hardgrad {command} needs a forest; {path} holds a model of kind {model.kind!r}, which `score` and `inspect` take."
        )
    return model


def parse_renames(renames: list[str] | None) -> dict[str, str]:
    """Return {table column: model column} of "A=B" options.

    Raises
    ------
    ParameterError : an option without "=", or two for the same column.

    Examples
    --------
    >>> parse_renames(["Income=income"])
    {'Income': 'income'}
    """
    from hardgrad.core.errors import ParameterError

    found: dict[str, str] = {}
    for rename in renames or []:
        old, equals, new = rename.partition("=")
        if not equals or not old or not new:
            raise ParameterError(
                f"--rename got {rename!r}; expected TABLE_COLUMN=MODEL_COLUMN, as in --rename Income=income."
            )
        if old in found or new in found.values():
            raise ParameterError(
                f"--rename names {old if old in found else new!r} twice; give each column one new name."
            )
        found[old] = new
    return found
