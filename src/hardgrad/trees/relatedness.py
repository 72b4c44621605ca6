"""How features belong together: by their names and what is said about them, and by their values. Never imports torch."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Floats = NDArray[np.float64]
UNITS: dict[str, str] = {
    "concentration": r"\b[munpk]?(?:g|mol|iu|u)/d?l\b|\bconcentration\b",
    "pressure": r"\bmm\s?hg\b|\bk?pa\b|\bpressure\b",
    "share": r"%|\bper\s?cent(?:age)?\b|\bratio\b|\bshare\b|\bproportion\b|\bfraction\b|\brate\b",
    "count": r"\bcounts?\b|\bnumber of\b|\bnum\b|\bn_\w",
    "time": r"\bage\b|\byears?\b|\bmonths?\b|\bdays?\b|\bhours?\b|\bduration\b|\btime\b|\bdate\b|\btenure\b",
    "length": r"\b[cmk]?m\b|\binch(?:es)?\b|\bfeet\b|\blength\b|\bheight\b|\bwidth\b|\bradius\b|\bdistance\b|\bthickness\b",
    "area": r"\b[cmk]?m2\b|\bm²|\barea\b|\bsquare\b",
    "weight": r"\b[mk]?g\b|\bpounds?\b|\bweight\b|\bmass\b|\bobesity\b|\bbmi\b",
    "money": r"[$€£]|\bamounts?\b|\bprice\b|\bcost\b|\bincome\b|\bsalary\b|\bcredit\b|\bbalance\b|\bsavings\b|\bfee\b",
    "temperature": r"°|\bcelsius\b|\bfahrenheit\b|\btemperature\b",
}
"""Kinds of quantity, each by what gives it away in a name or a description."""
_NUMBER = r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
_CUTOFF = re.compile(
    rf"(?P<word>>=|<=|≥|≤|>|<|\bat least|\bat most|\babove|\bover|\bbelow|\bunder|\bmore than|\bless than|\bexceeds)\s*{_NUMBER}",
    re.IGNORECASE,
)
_LEFT_OF = (">=", "≥", "<", "at least", "below", "under", "less than")
"""Words after which the number itself is on the upper side, so that the threshold lies just below it."""


def tokens(text: str) -> list[str]:
    """Return the words of a name or a description, in small letters.

    >>> tokens("bloodPressure_mmHg (systolic)")
    ['blood', 'pressure', 'mm', 'hg', 'systolic']
    """
    split = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text)
    return re.findall(r"[^\W\d_]+|\d+", split.lower())


def name_relatedness(texts: Sequence[str]) -> Floats:
    """Return how much texts share, [texts, texts] in [0, 1]: words, groups of three letters, the kind of quantity; 1 on the diagonal.

    >>> alike = name_relatedness(["mean radius", "worst radius", "income in $"])
    >>> bool(alike[0, 1] > 0.5 > alike[0, 2])
    True
    """
    words = [set(tokens(text)) for text in texts]
    overlap = np.array([[len(a & b) / max(len(a | b), 1) for b in words] for a in words])
    kinds = np.array(
        [[bool(re.search(unit, _spaced(text))) for unit in UNITS.values()] for text in texts], dtype=bool
    )
    same = (kinds[:, None] & kinds[None]).any(axis=2)
    related = 0.4 * overlap + 0.4 * _trigram_cosine(texts) + 0.2 * same
    np.fill_diagonal(related, 1.0)
    return np.asarray(related)


def _spaced(text: str) -> str:
    """The text with its words apart, and as it is: units hold signs that words lose."""
    return f"{' '.join(tokens(text))} {text.lower()}"


def _trigram_cosine(texts: Sequence[str]) -> Floats:
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = [" ".join(tokens(text)) or "?" for text in texts]
    counts = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 3)).fit_transform(words)
    return np.asarray((counts @ counts.T).toarray())


def data_relatedness(X: Floats) -> Floats:
    """Return the absolute rank correlation of columns [features, features]; missing values rank in the middle.

    Parameters
    ----------
    X : float64 [n, features]; NaN is missing.
    """
    ranks = rankdata(X, axis=0, nan_policy="omit")
    ranks = np.where(np.isnan(X), np.nan, ranks)
    with np.errstate(all="ignore"):
        centred = np.nan_to_num(ranks - np.nansum(ranks, axis=0) / np.maximum((~np.isnan(ranks)).sum(0), 1))
    length = np.sqrt((centred**2).sum(axis=0))
    scaled = centred / np.where(length > 0, length, 1.0)
    related = np.abs(scaled.T @ scaled)
    np.fill_diagonal(related, 1.0)
    return np.asarray(np.clip(related, 0.0, 1.0))


def cutoffs(text: str) -> list[float]:
    """Return the thresholds that a description names, as of a test `value <= threshold`.

    >>> cutoffs("systolic pressure; hypertension from >= 140 mmHg, low below 90"), cutoffs("age in years")
    ([139.99999999999997, 89.99999999999999], [])
    """
    found = []
    for match in _CUTOFF.finditer(text):
        number = float(match[2])
        found.append(math.nextafter(number, -math.inf) if match["word"].lower() in _LEFT_OF else number)
    return found


def round_between(low: float, high: float) -> float:
    """Return the middle of low and high, for low < high, rounded to the fewest digits with which it stays in [low, high).

    >>> round_between(13.72, 16.09), round_between(0.0412, 0.0419), round_between(-1.5, 2.0)
    (15.0, 0.0416, 0.0)
    """
    middle = low / 2 + high / 2
    gap = high - low
    if not math.isfinite(gap) or gap <= 0:
        return low
    for digits in range(-math.floor(math.log10(gap)) - 1, -math.floor(math.log10(gap)) + 17):
        number = round(middle, digits)
        if low <= number < high:
            return float(number)
    return low
