"""What each part of the report says: pictures and figures by name, as the templates want them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from hardgrad.report import measures, plots, plots_quality, plots_training
from hardgrad.report.context import ReportContext
from hardgrad.report.embedded import threshold_data
from hardgrad.report.importance import encode_target
from hardgrad.report.wording import noun_for
from hardgrad.tabular.table_model import TableModel, label_text

WIDE, NARROW, SMALL, TINY = 860.0, 340.0, 380.0, 280.0
MAX_CLASSES = 12
MAX_PANELS = 6


def page_values(context: ReportContext) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """Return the data of the threshold slider (or None) and everything that the template names."""
    model = context.model
    gap = context.gap
    trained_by, higher = (
        (gap.metric, gap.higher_is_better) if gap is not None else (context.metric, context.higher)
    )
    judged = _Judged(context) if context.validation else None
    threshold = judged.thresholds() if judged is not None and context.binary else None
    values = {
        "context": context,
        "model": model,
        "forest": context.forest,
        "what": what(model),
        "counted": [(count, noun_for(count, noun)) for count, noun in model.sizes()]
        if context.forest is None
        else [],
        "title": context.title or (f"Predicting {model.target}" if model.target else f"A {what(model)}"),
        "drawing": _drawing(model),
        "exactness": exactness(context.exact_checks),
        "training": _two(lambda width: plots_training.training(context.history, trained_by, width, higher)),
        "fronts": [
            picture
            for size in ("leaves", "bytes")
            if (picture := plots.front(context.front, context.baselines, size, context.metric, SMALL))
            is not None
        ],
        "sizes": _sizes(context),
        "importance": _two(lambda width: plots.importance(context.importance, width))
        if context.importance
        else None,
        "calibration": judged.calibration() if judged is not None else [],
        "separation": judged.separation() if judged is not None else None,
        "confusion": judged.confusion() if judged is not None else None,
        "residuals": judged.residuals() if judged is not None else [],
        "threshold": _two(lambda width: plots_quality.thresholds(threshold, width)) if threshold else None,
        "accuracy": judged.accuracy if judged is not None else None,
        "positive": label_text(model.classes[1]) if context.binary else "",
        "judged_rows": "held-out rows" if context.held_out else "rows that it was trained on",
        "validation_rows": judged.n if judged is not None else 0,
        "flow_source": "the training table" if context.node_rows is not None else "the sample rows",
    }
    return (threshold_data(threshold) if threshold else None), values


def what(model: TableModel) -> str:
    """Return what kind of model it is, in words: "forest", "neighbourhood"."""
    return model.kind.replace("-", " ")


def _drawing(model: TableModel) -> dict[str, Any] | None:
    """The model's own picture and its caption, where it has one."""
    found = model.drawing()
    if found is None:
        return None
    caption, picture = found
    return {"caption": caption, "picture": Markup(picture)}  # noqa: S704 - made by us, texts escaped


def _two(draw: Any) -> Markup | None:
    """Draw for a desktop and for a phone; the page shows the one that fits."""
    wide, narrow = draw(WIDE), draw(NARROW)
    if wide is None or narrow is None:
        return None
    return Markup('<div class="wide">{}</div><div class="narrow">{}</div>').format(wide, narrow)


def exactness(checks: Sequence[Any]) -> dict[str, Any]:
    """Sum up the exact checks: which engines ran, on how many rows, how many rows differ."""
    ran = [check for check in checks if not check.skipped_reason]
    return {
        "ran": ran,
        "skipped": [check for check in checks if check.skipped_reason],
        "rows": min((int(check.rows) for check in ran), default=0),
        "differing": sum(int(check.differing) for check in ran),
    }


def _sizes(context: ReportContext) -> list[Mapping[str, Any]]:
    """The rows of the size table: ours by size, then boosters, each with the same keys."""
    if not context.front and not context.baselines:
        return []
    keys = ("trees", "leaves", "bytes", "loss", "accuracy")
    ours = sorted(context.front, key=lambda p: (p.get("leaves") or 0, p.get("bytes") or 0))
    return [
        {"name": p.get("name", ""), "chosen": bool(p.get("chosen")), **{key: p.get(key) for key in keys}}
        for p in (*(ours or [_shipped(context)]), *context.baselines)
    ]


def _shipped(context: ReportContext) -> Mapping[str, Any]:
    """The row of a model that was trained in one size only."""
    counted = {noun: number for number, noun in context.model.sizes()}
    found = context.metrics
    return {
        "chosen": True, "trees": counted.get("tree"), "leaves": counted.get("leaf"), "bytes": counted.get("byte"),
        "loss": found.get(context.metric), "accuracy": found.get("accuracy"),
    }  # fmt: skip


class _Judged:
    """The validation rows of a context, scored."""

    def __init__(self, context: ReportContext) -> None:
        assert context.validation is not None
        self.context, self.model = context, context.model
        self.raw = np.asarray(context.validation["raw"], dtype=np.float64)
        self.n = len(self.raw)
        weight = context.validation.get("weight")
        self.weight = np.ones(self.n) if weight is None else np.asarray(weight, dtype=np.float64)
        self.target: NDArray[Any] = encode_target(self.model, context.validation["y"])
        self.classifies = self.model.task == "classification"
        self.probability = self.model.raw_to_proba(self.raw) if self.classifies else self.raw
        self.accuracy: float | None = None
        if self.classifies:
            hit = self.model.raw_to_class_index(self.raw) == self.target
            self.accuracy = float((self.weight * hit).sum() / self.weight.sum())

    def calibration(self) -> list[dict[str, Any]]:
        """One reliability picture for a binary target; one for the predicted class and a few classes otherwise."""
        if not self.classifies:
            return []
        names = [label_text(c) for c in self.model.classes]
        rows = np.arange(self.n)
        if self.context.binary:
            cases = [(names[1], self.probability[:, 1], self.target == 1)]
        else:
            top = np.argmax(self.probability, axis=1)
            cases = [("the predicted class", self.probability[rows, top], top == self.target)]
            frequent = np.argsort(-np.bincount(self.target, minlength=len(names)), kind="stable")[
                : MAX_PANELS - 1
            ]
            cases += [(names[k], self.probability[:, k], self.target == k) for k in sorted(frequent.tolist())]
        found = [
            (name, measures.reliability(np.clip(p, 0, 1), happened, self.weight))
            for name, p, happened in cases
        ]
        return [
            {
                "name": name,
                "error": r.error,
                "picture": plots_quality.reliability(r, SMALL if len(found) == 1 else TINY, name),
            }
            for name, r in found
        ]

    def separation(self) -> Markup | None:
        """How far apart the two classes of a binary target are kept."""
        if not self.context.binary:
            return None
        names = [label_text(self.model.classes[1]), label_text(self.model.classes[0])]
        return plots_quality.separation(
            np.clip(self.probability[:, 1], 0, 1), self.target == 1, self.weight, names, SMALL
        )

    def confusion(self) -> Markup | None:
        """The confusion matrix; classes beyond the most frequent share one line."""
        if not self.classifies:
            return None
        names = [label_text(c) for c in self.model.classes]
        predicted = self.model.raw_to_class_index(self.raw)
        target = self.target
        if len(names) > MAX_CLASSES:
            frequent = np.sort(
                np.argsort(-np.bincount(target, minlength=len(names)), kind="stable")[: MAX_CLASSES - 1]
            )
            renumber = np.full(len(names), MAX_CLASSES - 1)
            renumber[frequent] = np.arange(MAX_CLASSES - 1)
            target, predicted = renumber[target], renumber[predicted]
            names = [names[k] for k in frequent] + [f"{len(names) - len(frequent)} others"]
        cells = measures.confusion(target, predicted, self.weight, len(names))
        return _two(lambda width: plots_quality.confusion(cells, names, width))

    def residuals(self) -> list[dict[str, Any]]:
        """Observed against predicted and a histogram of the residuals, an output."""
        if self.classifies:
            return []
        panels = []
        for k, name in enumerate(self.model.score_names[:MAX_PANELS]):
            found = measures.residuals(self.raw[:, k], self.target[:, k], self.weight)
            panels.append(
                {
                    "name": name,
                    "found": found,
                    "along": plots_quality.residual_bins(found, SMALL, name),
                    "histogram": plots_quality.residual_histogram(found, SMALL, name),
                }
            )
        return panels

    def thresholds(self) -> measures.ThresholdTable:
        """The decisions for every threshold of a binary target."""
        return measures.threshold_table(self.probability[:, 1], self.target == 1, self.weight)
