"""Report: what every diagnostic returns. Frozen figures with a verdict, as a dictionary, as a table in a notebook, as a plot on request."""

from __future__ import annotations

import dataclasses
import html
import json
import math
from collections.abc import Mapping
from enum import StrEnum
from typing import Any


@dataclasses.dataclass(frozen=True)
class Report:
    """Base of the diagnostics' reports: a subclass is a frozen dataclass with figures and, as its first field, a verdict.

    Parameters
    ----------
    verdict : one word of a small vocabulary, which a program can compare and a person can read.

    Examples
    --------
    >>> report = Report(verdict="stable")
    >>> report.to_dict()
    {'verdict': 'stable'}
    >>> print(report)
    Report: stable
    """

    verdict: str

    def to_dict(self) -> dict[str, Any]:
        """Return the figures in a form that `json` can write; a figure that is not finite is None."""
        fields = dataclasses.fields(self)
        return {field.name: plain(getattr(self, field.name)) for field in fields}

    def to_json(self) -> str:
        """Return the figures as JSON."""
        return json.dumps(self.to_dict())

    def __str__(self) -> str:
        return f"{type(self).__name__}: {self.verdict}"

    def _repr_html_(self) -> str:
        """A table of the figures, for notebooks; long lists and tables are shown by their lengths."""
        rows = "".join(
            f"<tr><th>{html.escape(name.replace('_', ' '))}</th><td>{html.escape(_short(value))}</td></tr>"
            for name, value in self.to_dict().items()
        )
        return f"<table><caption>{html.escape(type(self).__name__)}</caption>{rows}</table>"

    def plot(self, ax: Any = None) -> Any:
        """Draw the report on a matplotlib axis, a new one by default, and return the axis. Needs matplotlib."""
        ax = new_axis(ax)
        ax.set_title(str(self))
        return ax


def new_axis(ax: Any = None) -> Any:
    """Return `ax`, or an axis of a new figure where it is None."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.figure().add_subplot()


def plain(value: Any) -> Any:
    """Return figures as lists, dictionaries, texts and numbers; a number that is not finite is None.

    >>> plain({"norms": (1.0, math.inf)})
    {'norms': [1.0, None]}
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def _short(value: Any, most: int = 12) -> str:
    if isinstance(value, list | dict) and len(value) > most:
        return f"{len(value)} entries"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return ", ".join(_short(item) for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_short(item)}" for key, item in value.items())
    return "none" if value is None else str(value)
