"""What a `hardgrad fit` was asked for, with defaults filled in."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from hardgrad.core.errors import ParameterError

BUNDLED, BUNDLED_TARGET = "census", "income_over_50k"


@dataclass(frozen=True)
class FitSettings:
    """Everything that decides the result; `table=None` is the bundled table, `stream=None` streams what is large."""

    table: str | None = None
    target: str = BUNDLED_TARGET
    budget: str | None = None
    metric: str | None = None
    threshold: str | None = None
    time_budget: str | None = None
    trees: int | None = None
    unbounded: bool = False
    depth: int | None = None
    max_iter: int | None = None
    split: str | None = None
    seed: int = 0
    jobs: int = -1
    devices: int = 1
    accelerator: str | None = None
    weights: str | None = None
    drop: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    model: str | None = None
    set: tuple[str, ...] = ()
    task: str | None = None
    test_fraction: float = 0.2
    rows: int = 20_000
    stream: bool | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.test_fraction <= 0.5:
            raise ParameterError(f"--test-fraction got {self.test_fraction}; expected a share from 0 to 0.5.")
        if self.rows < 1:
            raise ParameterError(f"--rows got {self.rows}; expected at least 1.")

    @classmethod
    def from_asked(cls, asked: dict[str, Any]) -> Self:
        """Fill in the defaults for what was not asked for (None)."""
        given: dict[str, Any] = {
            name: tuple(v) if isinstance(v, list) else v for name, v in asked.items() if v is not None
        }
        return cls(**given)

    def to_json(self) -> dict[str, Any]:
        """Return a form that `json` can write, and that `asked` options compare equal to."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Invert `to_json`."""
        known = {field.name for field in fields(cls)}
        return cls.from_asked({name: value for name, value in data.items() if name in known})

    @property
    def default_out(self) -> Path:
        """Folder named after the table and the target, in the working directory."""
        stem = BUNDLED if self.table is None else Path(self.table.split("::")[0]).name.split(".")[0]
        name = "".join(c if c.isalnum() or c in "-_" else "-" for c in f"{stem}-{self.target}")
        return Path(name)

    def parameters(self) -> dict[str, Any]:
        """Return the parameters of the estimator that were asked for; None is left as the estimator comes."""
        from hardgrad.cli.training import parse_seconds

        named = {
            "n_estimators": self.trees,
            "max_depth": self.depth,
            "max_iter": self.max_iter,
            "split": self.split,
            "budget": self.budget,
            "metric": self.metric,
            "threshold": _threshold(self.threshold),
            "time_budget": parse_seconds(self.time_budget),
            "random_state": self.seed,
            "n_jobs": self.jobs,
            "device": self.accelerator,
            "devices": self.devices if self.devices != 1 else None,
        }
        return named | parse_parameters(self.set)


def parse_parameters(texts: Sequence[str]) -> dict[str, Any]:
    """Return the parameters of "name=value" options; a value is a Python literal (numbers, lists, True, None) or else text.

    Raises
    ------
    ParameterError : an option without "=", or two for the same parameter.

    Examples
    --------
    >>> parse_parameters(["layer_sizes=500,500", "head=codebook", "tau=2.5"])
    {'layer_sizes': (500, 500), 'head': 'codebook', 'tau': 2.5}
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise ParameterError(f"--set got {text!r}; expected NAME=VALUE, as in --set layer_sizes=500,500.")
        if name in found:
            raise ParameterError(f"--set names {name!r} twice; give each parameter one value.")
        try:
            found[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            found[name] = value
    return found


def _threshold(text: str | None) -> float | str | None:
    """Return what an estimator takes: a number, "tuned", or None for its own."""
    if text is None or text == "tuned":
        return text
    try:
        return float(text)
    except ValueError:
        raise ParameterError(
            f"--threshold got {text!r}; expected a number between 0 and 1, or tuned."
        ) from None
