"""The first Ctrl-C of a training: it ends what is being tried, and the best exact forest so far is the result. Never imports torch."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from types import TracebackType

from hardgrad.core.errors import HardgradWarning


@dataclass
class Interruption:
    """What an interrupt does to one training.

    Parameters
    ----------
    welcome : whether the first interrupt is taken as "finish with what there is". Otherwise, and from the second on, it goes through.
    left_out : what training did without, in words; empty until an interrupt came.
    """

    welcome: bool = False
    left_out: list[str] = field(default_factory=list)

    @property
    def happened(self) -> bool:
        """Whether an interrupt came and was taken."""
        return bool(self.left_out)

    def skipping(self, what: str, *, usable: bool = True) -> Skipping:
        """Return a context manager that leaves its block at the first interrupt, to go on behind it.

        Parameters
        ----------
        what : what training then does without.
        usable : whether there is something to finish with; if not, the interrupt goes through.
        """
        return Skipping(self, what, usable)

    def warn(self, operation: str) -> None:
        """Warn, where an interrupt came, that the result is the best so far, and say what was left out."""
        if self.happened:
            warnings.warn(
                f"{operation} was interrupted and finished with the best exact forest so far. Left out: {', '.join(self.left_out)}. "
                "Fit again, without interrupting, for the whole search.",
                HardgradWarning,
                stacklevel=3,
            )


@dataclass(frozen=True)
class Skipping:
    """A block that an interrupt may end early, see `Interruption.skipping`."""

    interruption: Interruption
    what: str
    usable: bool

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        taken = self.interruption.welcome and self.usable and not self.interruption.happened
        if not (taken and isinstance(error, KeyboardInterrupt)):
            return False
        self.interruption.left_out.append(self.what)
        return True
