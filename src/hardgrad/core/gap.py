"""GapReport: what hardening costs, measured."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class GapReport:
    """The soft model against the hard one, on given rows.

    Parameters
    ----------
    metric : name of the metric, as in "log_loss".
    soft, hard : the metric of each.
    agreement : share of rows on which both predict the same (same class; for values, within `detail["tolerance"]`).
    worst_disagreement : largest absolute difference of the two outputs on one row, in the units of the output.
    higher_is_better : direction of the metric.
    rows : number of rows measured.
    detail : what a family adds.

    Examples
    --------
    >>> report = GapReport("accuracy", soft=0.9, hard=0.88, agreement=0.97, worst_disagreement=0.2, higher_is_better=True, rows=100)
    >>> round(report.gap, 3)
    0.02
    >>> print(report)
    accuracy  soft 0.9000  hard 0.8800  gap +0.0200 (hard is worse)  agreement 97.0 %  worst 0.2  on 100 rows
    """

    metric: str
    soft: float
    hard: float
    agreement: float
    worst_disagreement: float
    higher_is_better: bool = False
    rows: int = 0
    detail: Mapping[str, float] = field(default_factory=dict)

    @property
    def gap(self) -> float:
        """How much worse the hard model is, in units of the metric; negative where it is better."""
        return self.soft - self.hard if self.higher_is_better else self.hard - self.soft

    @property
    def difference(self) -> float:
        """Hard metric minus soft metric."""
        return self.hard - self.soft

    def to_dict(self) -> dict[str, Any]:
        """Return the figures in a form that `json` can write."""
        return {**asdict(self), "detail": dict(self.detail), "gap": self.gap, "difference": self.difference}

    def to_json(self) -> str:
        """Return the figures as JSON."""
        return json.dumps(self.to_dict())

    def __str__(self) -> str:
        verdict = "hard is worse" if self.gap > 0 else "hard is better" if self.gap < 0 else "equal"
        return (
            f"{self.metric}  soft {self.soft:.4f}  hard {self.hard:.4f}  gap {self.gap:+.4f} ({verdict})  "
            f"agreement {100 * self.agreement:.1f} %  worst {self.worst_disagreement:.3g}  on {self.rows:,} rows"
        )

    def plot(self, ax: Any = None) -> Any:
        """Draw soft beside hard as two bars on a matplotlib axis and return the axis. Needs matplotlib."""
        if ax is None:
            import matplotlib.pyplot as plt

            ax = plt.figure().add_subplot()
        ax.bar(["soft", "hard"], [self.soft, self.hard])
        ax.set_ylabel(self.metric)
        ax.set_title(f"gap {self.gap:+.4f}, agreement {100 * self.agreement:.1f} %")
        return ax
