"""Forms: the languages that a model can be written in, and the options of each. The model names them, the command writes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

Files = dict[str, str | bytes]
"""Content by file name, the main file first; bytes where it is no text."""


@dataclass(frozen=True)
class Form:
    """A language in which a model can be written.

    Parameters
    ----------
    title : its name, for messages: "Verilog".
    write : (**options) -> `Files`; every option has a default, and files are named after the option `name` or "model".
    options : the names of the options that `write` takes.
    shipped : whether `hardgrad fit` leaves it beside the model; False for what is only looked at.

    Examples
    --------
    >>> shout = Form("shouting", lambda name="model": {f"{name}.txt": "YES"}, ("name",))
    >>> shout.write(name="answer")
    {'answer.txt': 'YES'}
    """

    title: str
    write: Callable[..., Files]
    options: tuple[str, ...] = ()
    shipped: bool = True


@runtime_checkable
class HasForms(Protocol):
    """What can be written in other languages."""

    def forms(self) -> Mapping[str, Form]:
        """Return the forms by the short name that `hardgrad export --to` takes."""
