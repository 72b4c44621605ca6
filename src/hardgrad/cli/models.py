"""Reading the model that a command is given: one of ours, or a forest trained elsewhere, imported exactly."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
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


def read_model(path: Path) -> Forest:
    """Return the forest in a file or in the folder of a `hardgrad fit`.

    Raises
    ------
    ArtifactError : the file is missing, damaged, foreign or newer.
    """
    from hardgrad.trees.forest import Forest

    if path.is_dir():
        path = path / MODEL_FILE
    if path.suffix.lower() in FOREIGN and path.exists():
        from hardgrad.trees.importers import import_forest

        return import_forest(path)
    return Forest.load(path)


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
