"""Every error that hardgrad raises on purpose. Each message says what was got, what was expected and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Sequence


class HardgradError(Exception):
    """Base class: `except HardgradError` catches everything that hardgrad raises on purpose."""


class TemperatureError(HardgradError, ValueError):
    """A temperature that is not a positive finite number."""


class ModeError(HardgradError, ValueError):
    """A mode that is none of "soft", "st", "hard"."""


class ParameterError(HardgradError, ValueError):
    """A parameter of an estimator, a command or a function outside its range."""


class DataError(HardgradError, ValueError):
    """Data that cannot be learned from or scored: the message names the column or file."""


class SchemaError(DataError):
    """A table whose columns are not the ones that a model expects."""


class InputError(HardgradError, ValueError):
    """A tensor whose values or shape an operation cannot take: NaN, infinity where it has no meaning, mismatched shapes, no elements."""


class InputTypeError(HardgradError, TypeError):
    """An argument of a type that an operation cannot take: a Boolean or complex tensor where numbers are expected."""


class UnsupportedError(HardgradError, NotImplementedError):
    """Something that has no meaning in this mode or with this method; the message names the alternative."""


class BudgetError(HardgradError, ValueError):
    """A size budget that cannot be read, or that no model fits in."""


class TooManyRegionsError(HardgradError, RuntimeError):
    """A network with more linear regions than the limit; `count` is how many were found before the search ended."""

    def __init__(self, message: str, count: int) -> None:
        super().__init__(message)
        self.count = count


class ArtifactError(HardgradError, ValueError):
    """A model file that is missing, truncated, corrupted, foreign or from a newer version."""


class TreeTextError(HardgradError, ValueError):
    """A tree as text that cannot be read: the message says where.

    `reason` is one word to count by: "json", "structure", "condition", "attribute", "value" or "depth".
    """

    def __init__(self, message: str, reason: str = "structure") -> None:
        super().__init__(message)
        self.reason = reason


class EndpointError(HardgradError, RuntimeError):
    """An endpoint of a language model that refuses what it is asked: a wrong address, model or key."""


class ExportError(HardgradError, ValueError):
    """A model that a target language or format cannot express exactly."""


class HardenError(HardgradError, TypeError):
    """A module that has no exact counterpart."""


class RegistryError(HardgradError, KeyError):
    """A name that is not registered, or is registered twice."""

    def __str__(self) -> str:  # KeyError would print the repr of the message
        return str(self.args[0]) if self.args else ""


class HardgradWarning(UserWarning):
    """A result that is right as far as it goes, and may not be what was hoped for: the message says how far."""


def suggestion(name: str, known: Sequence[str]) -> str:
    """Return " Did you mean 'x'?" for the known name nearest to `name`, or an empty string.

    >>> suggestion("incme", ["age", "income"])
    " Did you mean 'income'?"
    """
    folded = {candidate.casefold(): candidate for candidate in reversed(known)}
    close = difflib.get_close_matches(name.casefold(), list(folded), n=1, cutoff=0.6)
    return f" Did you mean {folded[close[0]]!r}?" if close else ""
