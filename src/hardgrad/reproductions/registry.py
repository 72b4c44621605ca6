"""The form of a reproduction: its claim, what it measured against which bounds, and the verdict. Never imports torch.

A row's file holds one function under `@reproduction(...)`. The command `hardgrad reproduce`, the documentation page and the contract
suite are made from the registry.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from hardgrad.core import registry
from hardgrad.core.errors import ParameterError, RegistryError, suggestion

Scale = Literal["smoke", "full"]
SCALES: tuple[Scale, ...] = ("smoke", "full")


@dataclass(frozen=True)
class Measured:
    """One measured figure and what it had to reach.

    Parameters
    ----------
    name : what was measured, with its unit.
    value : the figure, as measured, also when it falls short.
    bound : what it had to reach, in words ("<= 0.9"); "reported" where nothing was promised.
    met : whether it did.

    Examples
    --------
    >>> Measured.at_most("log-loss ratio", 0.93, 0.9)
    Measured(name='log-loss ratio', value=0.93, bound='<= 0.9', met=False)
    """

    name: str
    value: float
    bound: str
    met: bool

    @classmethod
    def at_least(cls, name: str, value: float, bound: float) -> Self:
        """Return a figure that must be at least `bound`; NaN is not."""
        return cls(name, float(value), f">= {bound:g}", bool(value >= bound))

    @classmethod
    def at_most(cls, name: str, value: float, bound: float) -> Self:
        """Return a figure that must be at most `bound`; NaN is not."""
        return cls(name, float(value), f"<= {bound:g}", bool(value <= bound))

    @classmethod
    def exactly(cls, name: str, value: float, bound: float) -> Self:
        """Return a figure that must equal `bound`, as a count of rows that differ must be 0."""
        return cls(name, float(value), f"= {bound:g}", bool(value == bound))

    @classmethod
    def reported(cls, name: str, value: float) -> Self:
        """Return a figure that is shown and promises nothing."""
        return cls(name, float(value), "reported", True)

    def to_dict(self) -> dict[str, Any]:
        """Return a form that `json` can write; a figure that is not finite is None."""
        return {
            "name": self.name,
            "value": self.value if math.isfinite(self.value) else None,
            "bound": self.bound,
            "met": self.met,
        }


@dataclass(frozen=True)
class ReproductionResult:
    """What one run found.

    Parameters
    ----------
    row, slug, title, claim : of the reproduction.
    scale : at which it ran.
    measured : the figures.
    seconds : how long it took.
    """

    row: int
    slug: str
    title: str
    scale: Scale
    claim: str
    measured: tuple[Measured, ...]
    seconds: float

    @property
    def met(self) -> bool:
        """True where something was measured and every bound is met."""
        return bool(self.measured) and all(figure.met for figure in self.measured)

    @property
    def verdict(self) -> str:
        """Return "MET" or "MISSED"."""
        return "MET" if self.met else "MISSED"

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form of one run."""
        return {
            "row": self.row,
            "slug": self.slug,
            "title": self.title,
            "scale": self.scale,
            "claim": self.claim,
            "measured": [figure.to_dict() for figure in self.measured],
            "verdict": self.verdict,
            "seconds": round(self.seconds, 3),
        }


Body = Callable[[Scale], Sequence[Measured]]


class Reproduction:
    """A published claim and the function that measures it. Made by `@reproduction`; called with a scale.

    Examples
    --------
    >>> def two_and_two(scale):
    ...     return [Measured.exactly("2 + 2", 2 + 2, 4)]
    >>> member = Reproduction(two_and_two, row=-1, slug="two-and-two", title="Two and two", venue="school", claim="2 + 2 = 4")
    >>> member.run("smoke").verdict
    'MET'
    """

    def __init__(self, body: Body, *, row: int, slug: str, title: str, venue: str, claim: str) -> None:
        self.row, self.slug, self.title, self.venue, self.claim = row, slug, title, venue, claim
        self._body = body
        functools.update_wrapper(self, body)

    def __call__(self, scale: Scale) -> tuple[Measured, ...]:
        """Measure at "smoke" (seconds) or "full" (at most two minutes on 2 cores)."""
        return tuple(self._body(scale))

    def run(self, scale: Scale = "smoke") -> ReproductionResult:
        """Measure and return the figures with the verdict.

        Raises
        ------
        ParameterError : another scale than "smoke" or "full".
        """
        if scale not in SCALES:
            raise ParameterError(
                f"scale got {scale!r}; expected one of {', '.join(SCALES)}.{suggestion(scale, SCALES)}"
            )
        begun = time.perf_counter()
        measured = self(scale)
        seconds = time.perf_counter() - begun
        return ReproductionResult(self.row, self.slug, self.title, scale, self.claim, measured, seconds)

    def to_dict(self) -> dict[str, Any]:
        """Return row, slug, title, venue and claim in a form that `json` can write."""
        names = ("row", "slug", "title", "venue", "claim")
        return {name: getattr(self, name) for name in names}

    def __repr__(self) -> str:
        return f"Reproduction(row={self.row}, slug={self.slug!r})"


def reproduction(
    *, row: int, slug: str, title: str = "", venue: str, claim: str
) -> Callable[[Body], Reproduction]:
    """Register the decorated function as the reproduction of one row.

    Parameters
    ----------
    row : row number; 0 is hardgrad's own flagship.
    slug : name in the command, as in "light-logic-gates".
    title : of the paper; made from the slug by default.
    venue : where and when it was published.
    claim : in the paper's own figures.
    """

    def decorate(body: Body) -> Reproduction:
        name = title or slug.replace("-", " ").capitalize()
        member = Reproduction(body, row=row, slug=slug, title=name, venue=venue, claim=claim)
        registry.reproductions.register(slug, member)
        return member

    return decorate


def members() -> list[Reproduction]:
    """Return every reproduction, by row and slug. Imports their files, which must be cheap to import."""
    found = [registry.reproductions[slug] for slug in registry.reproductions]
    return sorted(found, key=lambda member: (member.row, member.slug))


def find(row_or_slug: str | int) -> list[Reproduction]:
    """Return the reproductions of a row number, or the one with a slug.

    Raises
    ------
    RegistryError : there is none; the message lists those that there are.
    """
    text = str(row_or_slug)
    if text in registry.reproductions:
        return [registry.reproductions[text]]
    everything = members()
    of_row = [member for member in everything if text == str(member.row)]
    if of_row:
        return of_row
    known = ", ".join(f"{member.row} ({member.slug})" for member in everything)
    hint = suggestion(text, [member.slug for member in everything])
    raise RegistryError(f"no reproduction has row or slug {text!r}; there are: {known or 'none'}.{hint}")


def run(row_or_slug: str | int, scale: Scale = "smoke") -> list[ReproductionResult]:
    """Run the reproductions of a row, or the one with a slug, and return what they found (see `find`)."""
    return [member.run(scale) for member in find(row_or_slug)]
