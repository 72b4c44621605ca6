"""Numbers and conditions as a reader wants them on a page: rounded, short. The exact texts are `hardgrad.trees.conditions`."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hardgrad.trees.conditions import condition_text
from hardgrad.trees.forest import OBLIQUE, Forest

MINUS = "\N{MINUS SIGN}"
NO_BREAK = "\N{NO-BREAK SPACE}"
THIN = "\N{NARROW NO-BREAK SPACE}"


def number(value: float | None, digits: int = 4) -> str:
    """Return a number with so many significant digits, thousands separated and a true minus.

    >>> number(1234567.0), number(0.000012345), number(-0.5)
    ('1,234,567', '1.234e−05', '−0.5')
    """
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else MINUS + "∞"
    size = abs(value)
    if size >= 1e12 or 0 < size < 10.0 ** -(digits + 1) or (0 < size < 1e-4):
        text = f"{value:.{digits - 1}e}"
    elif size >= 10 ** (digits - 1):
        text = f"{value:,.0f}"
    else:
        text = f"{value:.{digits}g}"
    return text.replace("-", MINUS)


def places(values: Sequence[float], digits: int = 3) -> int:
    """Return the decimals with which the largest of some values shows so many digits: small ones then stay comparable.

    >>> places([1.278, 0.05])
    2
    """
    size = max((abs(v) for v in values if math.isfinite(v)), default=0.0)
    return max(0, min(9, digits - 1 - math.floor(math.log10(size)))) if size > 0 else 0


def step_places(values: Sequence[float]) -> int:
    """Return the decimals that tell evenly spaced values apart.

    >>> step_places([0.5, 0.55, 0.6])
    2
    """
    return next(
        (k for k in range(10) if all(abs(round(v, k) - v) <= 1e-9 * max(1.0, abs(v)) for v in values)), 9
    )


def fixed(value: float | None, places: int = 4, sign: bool = False) -> str:
    """Return a number with so many decimals, "–" for None; with `sign`, also a plus.

    >>> fixed(-0.00071, 4, sign=True)
    '−0.0007'
    """
    if value is None or math.isnan(value):
        return "–"
    value = 0.0 if abs(value) < 0.5 * 10.0**-places else value  # no minus before a zero
    text = f"{value:{'+' if sign else ''},.{places}f}"
    return text.replace("-", MINUS)


def percent(share: float | None, places: int = 1) -> str:
    """Return a share as per cent.

    >>> percent(0.8712) == "87.1" + THIN + "%"
    True
    """
    return (
        "–" if share is None or math.isnan(share) else f"{100 * share:.{places}f}{THIN}%".replace("-", MINUS)
    )


def count(value: float) -> str:
    """Return a number of rows; weights may make it broken."""
    return f"{value:,.0f}" if float(value).is_integer() or value >= 100 else f"{value:,.1f}"


def rounded(value: float) -> str:
    """Return a large number in three digits; M is a million.

    >>> rounded(934.2), rounded(45_678), rounded(13_456_789).split()
    ('934', '45,700', ['13.5', 'M'])
    """
    if value >= 999_500:
        return f"{value / 1e6:,.3g}{NO_BREAK}M" if value < 999.5e6 else f"{value / 1e6:,.0f}{NO_BREAK}M"
    digits = max(0, len(str(int(value))) - 3)
    return f"{round(value, -digits):,.0f}"


def noun_for(count: int, noun: str) -> str:
    """Return the noun for so many.

    >>> noun_for(1, "leaf"), noun_for(2, "leaf"), noun_for(0, "tree")
    ('leaf', 'leaves', 'trees')
    """
    irregular = {"leaf": "leaves", "class": "classes", "category": "categories"}
    return noun if count == 1 else irregular.get(noun, noun + "s")


def headed(text: str) -> str:
    """Return a text with a capital letter, the others as they are."""
    return text[:1].upper() + text[1:]


def sentence(text: str) -> str:
    """Return a note with a capital letter and a full stop.

    >>> sentence("column 'a' was left out: constant")
    "Column 'a' was left out: constant."
    """
    return headed(text) + ("" if text.endswith((".", "!", "?")) else ".")


def seconds(value: float) -> str:
    """Return a duration.

    >>> seconds(0.0042), seconds(75)
    ('4 ms', '1 min 15 s')
    """
    if value < 1:
        return f"{1000 * value:.0f}{' '}ms"
    return f"{value:.1f} s" if value < 60 else f"{int(value // 60)} min {value % 60:.0f} s"


def metric_name(metric: str) -> str:
    """Return the name of a metric for a reader: "log_loss" -> "log-loss"."""
    return {
        "log_loss": "log-loss",
        "roc_auc": "AUC",
        "auc": "AUC",
        "r2": "R²",
        "f1": "F1",
        "rmse": "RMSE",
        "mae": "MAE",
    }.get(metric, metric.replace("_", " "))


def cut(text: str, length: int) -> str:
    """Return a text of at most so many characters.

    >>> cut("education", 6)
    'educa…'
    """
    return text if len(text) <= length else text[: max(length - 1, 1)] + "…"


def long_condition(forest: Forest, node: int) -> str:
    """Return the whole condition of an inner node with typographic signs, for a tooltip."""
    return condition_text(forest, node, categories=40).replace(" <= ", " ≤ ")


def short_condition(forest: Forest, node: int) -> str:
    """Return what sends a row LEFT in few characters: rounded thresholds, at most two categories, no side of missing values."""
    if forest.feature[node] == OBLIQUE:
        return _oblique(forest, node)
    feature = forest.schema.features[forest.feature[node]]
    column = forest.schema.columns[feature.column]
    if feature.transform == "codes":
        return _categories(forest, node)
    if column.kind == "numeric" and feature.transform == "identity":
        return f"{column.name} ≤ {number(float(forest.threshold[node]))}"
    return condition_text(forest, node).removesuffix(" or missing").replace(" <= ", " ≤ ")


_OPPOSITES = {" is false": " is true", " is present": " is missing"}


def opposite(forest: Forest, node: int) -> str:
    """Return the short condition of the rows that go RIGHT."""
    number_of = int(forest.feature[node])
    feature = forest.schema.features[max(number_of, 0)]
    if number_of != OBLIQUE and feature.transform == "codes":
        return _categories(forest, node, negate=True)
    text = short_condition(forest, node)
    for here, there in _OPPOSITES.items():
        if text == forest.schema.columns[feature.column].name + here:
            return text.removesuffix(here) + there
    return " > ".join(text.rsplit(" ≤ ", 1)) if " ≤ " in text else f"not {text}"


def _categories(forest: Forest, node: int, *, negate: bool = False) -> str:
    """Name the categories of the side that has fewer; a side without any is named by the unseen and missing ones in it."""
    feature, threshold = forest.schema.features[forest.feature[node]], float(forest.threshold[node])
    column = forest.schema.columns[feature.column]
    goes_left = [code <= threshold for code in feature.codes]
    inside = 2 * sum(goes_left[:-1]) <= len(column.categories)  # the left side is the one that is named
    names = [c for c, left in zip(column.categories, goes_left, strict=False) if left == inside]
    extras = (("unseen", goes_left[-1]), ("missing", bool(forest.default_left[node])))
    words = [word for word, left in extras if left == inside]
    said = inside != negate
    if len(names) > 1:
        shown = [_quiet(c) for c in names[:2]] + ([f"{len(names) - 2} more"] if len(names) > 2 else [])
        return f"{column.name} {'in' if said else 'not in'} {{{', '.join(shown)}}}"
    only = _quiet(names[0]) if names else " or ".join(words) or "none of them"
    return f"{column.name} {'is' if said else 'is not'} {only}"


def _quiet(category: str) -> str:
    return cut(category.strip(), 22) if category.strip() else repr(category)


def _oblique(forest: Forest, node: int) -> str:
    """The terms by size, with weights relative to the largest: what is weighed and how much, not the integers that do it."""
    terms = range(forest.term_offset[node], forest.term_offset[node + 1])
    weights = {term: int(forest.term_weight[term]) for term in terms}
    largest = max(abs(weight) for weight in weights.values()) or 1
    text = ""
    for term, weight in sorted(weights.items(), key=lambda item: -abs(item[1])):
        sign = (" − " if weight < 0 else " + ") if text else ("−" if weight < 0 else "")
        share = f"{abs(weight) / largest:.2f}"
        factor = "" if share == "1.00" else f"{share.removeprefix('0')} "
        text += f"{sign}{factor}{forest.schema.features[forest.term_feature[term]].name}"
    return f"{text} ≤ {number(float(forest.threshold[node]) / largest, 3)}"
