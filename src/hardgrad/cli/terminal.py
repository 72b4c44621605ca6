"""What every command shares: what goes to the screen, `--json` and `--quiet`, errors and exit codes."""

from __future__ import annotations

import functools
import json
import math
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, ParamSpec, TypeVar

import typer

if TYPE_CHECKING:
    from rich.console import Console

WIDE = 240
"""Columns of a table that goes to a file or another program."""
OK, FAILED, USAGE, MISSED, INTERRUPTED = 0, 1, 2, 3, 130

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object and nothing else, for machines.")
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]

P = ParamSpec("P")
R = TypeVar("R")


class Terminal:
    """Where a command writes: pretty lines, or one JSON object, or nothing.

    Parameters
    ----------
    as_json : only JSON goes to standard output; everything else is silent.
    quiet : only errors are shown.
    """

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        self.as_json = as_json
        self.quiet = quiet or as_json

    @functools.cached_property
    def console(self) -> Console:
        """Rich's console on standard output; lines are never broken, so that what is copied is whole."""
        from rich.console import Console

        width = None if sys.stdout.isatty() else WIDE
        return Console(
            quiet=self.quiet, soft_wrap=True, highlight=False, emoji=False, markup=False, width=width
        )

    def line(self, label: str, text: str) -> None:
        """Print one line of a summary: a short label and what there is to say."""
        if self.quiet:
            return
        from rich.text import Text

        self.console.print(Text.assemble((f"{label:<10}", "bold cyan"), text))

    def note(self, text: str) -> None:
        """Print a remark that matters, in yellow."""
        if not self.quiet:
            self.console.print(text, style="yellow")

    def print(self, content: Any) -> None:
        """Print text, or anything that rich can draw."""
        if not self.quiet:
            self.console.print(content)

    def result(self, data: Any) -> None:
        """Print the JSON result, where it was asked for."""
        if self.as_json:
            print(to_json(data))


def to_json(data: Any) -> str:
    """Return strict JSON: numbers that are not finite become null."""
    return json.dumps(_finite(data), ensure_ascii=False, allow_nan=False, indent=2)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if hasattr(value, "item") and not isinstance(value, (str, bytes)):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def handled(command: Callable[P, R]) -> Callable[P, R]:
    """Wrap a command: an error of ours is one clear message and exit code 1, Ctrl-C is exit code 130."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        from hardgrad.core.errors import HardgradError

        as_json = bool(kwargs.get("as_json", False))
        try:
            return command(*args, **kwargs)
        except HardgradError as error:
            fail(error, as_json)
        except KeyboardInterrupt:
            print("interrupted.", file=sys.stderr)
            raise typer.Exit(INTERRUPTED) from None

    return run


def fail(error: Exception, as_json: bool) -> NoReturn:
    """Say what went wrong, on standard error and, where JSON was asked for, as JSON, and leave with exit code 1."""
    if as_json:
        print(to_json({"error": {"type": type(error).__name__, "message": str(error)}}))
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, soft_wrap=True, highlight=False, emoji=False, markup=False)
    console.print(Text.assemble(("error: ", "bold red"), str(error)))
    raise typer.Exit(FAILED)


def usage_error(message: str) -> NoReturn:
    """Leave with exit code 2 and a message on how the command is used."""
    raise typer.BadParameter(message)
