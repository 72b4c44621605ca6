"""One section of `results/small_tables.md` a part: its promises, its rows. Knows nothing of training."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from _small_means import (
    Promises,
    Row,
    gain,
    many,
    markdown,
    mean_of,
    per_table,
    ratio,
    side_mean,
    sides,
    sized,
    sizes_of,
    tables_of,
    tree_count,
    worst_of,
)

POINTS, RATIO = "points of accuracy", "log-loss ratio"
# (trees: bound), as the acceptance of the recipe states them.
OVER_A = {1: (2.5, 0.90), 3: (1.0, 0.97), 10: (0.5, 0.96)}
OVER_A_MANY = {1: (3.5, 0.85), 3: (1.2, 0.91), 10: (0.8, 0.93)}
OVER_B = {1: 2.0, 3: 0.3, 10: 0.0}
WORST = -0.8
SECONDS = {1: 2.0, 3: 4.0, 10: 10.0}


def binary(rows: Sequence[Row], promises: Promises) -> list[str]:
    keel = [row for row in rows if row["table"].startswith("keel:")]
    for trees in sizes_of(rows):
        here, size = sized(rows, trees), tree_count(trees)
        least, most = OVER_A[trees]
        promises.add(f"{size}: {POINTS} over A", mean_of(here, gain("A")), least, at_least=True)
        promises.add(f"{size}: {RATIO} to A", mean_of(here, ratio("A")), most, at_least=False)
        if large := many(here):
            least, most = OVER_A_MANY[trees]
            promises.add(
                f"{size}, n >= 1,000: {POINTS} over A", mean_of(large, gain("A")), least, at_least=True
            )
            promises.add(
                f"{size}, n >= 1,000: {RATIO} to A", mean_of(large, ratio("A")), most, at_least=False
            )
            gains = per_table(large, gain("A"))
            promises.add(
                f"{size}, n >= 1,000: points over A, {worst_of(gains)}",
                min(gains.values()),
                WORST,
                at_least=True,
            )
        promises.add(f"{size}: {POINTS} over B", mean_of(here, gain("B")), OVER_B[trees], at_least=True)
        promises.note(f"{size}: {RATIO} to B", mean_of(here, ratio("B")))
        for name, some in (("the KEEL tables", keel), ("the KEEL tables of n >= 1,000", many(keel))):
            if chosen := sized(some, trees):
                promises.note(f"{size}: {POINTS} over A, {name} alone", mean_of(chosen, gain("A")))
                promises.note(f"{size}: {RATIO} to A, {name} alone", mean_of(chosen, ratio("A")))
    with_gap = [row for row in rows if "gap_points" in row["ours"]]
    promises.add(
        "gap: points lost in hardening, mean",
        mean_of(with_gap, lambda row: row["ours"]["gap_points"]),
        1.0,
        at_least=False,
    )
    promises.note(
        "gap: points between soft and hard, mean without sign",
        mean_of(with_gap, lambda row: abs(row["ours"]["gap_points"])),
    )
    out = ["## Two classes, equal budget", ""]
    for trees in sizes_of(rows):
        out += [f"### {tree_count(trees).capitalize()} of depth 4", "", *_binary_table(sized(rows, trees))]
    return [*out, "### Per node and per byte", "", *_per_unit(rows)]


def _binary_table(rows: Sequence[Row]) -> list[str]:
    head = (
        "table", "rows", "accuracy ours / A / B", "points over A", "over B", "log-loss ours / A / B", "ratio to A", "to B",
        "soft - hard, points", "features a node", "start kept", "CPU s",
    )  # fmt: skip
    lines = []
    for table in [*tables_of(rows), None]:
        mine = [row for row in rows if table is None or row["table"] == table]

        lines.append((
            table or "**mean**", f"{mine[0]['rows']:,}" if table else "",
            sides(mine, ("ours", "A", "B"), "accuracy", ".1f"),
            f"{mean_of(mine, gain('A')):+.1f}", f"{mean_of(mine, gain('B')):+.1f}",
            sides(mine, ("ours", "A", "B"), "loss", ".3f"),
            f"{mean_of(mine, ratio('A')):.2f}", f"{mean_of(mine, ratio('B')):.2f}", f"{side_mean(mine, 'ours', 'gap_points'):+.1f}",
            f"{side_mean(mine, 'ours', 'features'):.2f}", f"{100 * mean_of(mine, lambda row: row['ours']['l1'] is None):.0f} %",
            f"{side_mean(mine, 'ours', 'cpu'):.1f}",
        ))  # fmt: skip
    return markdown(head, lines)


def _per_unit(rows: Sequence[Row]) -> list[str]:
    """What the log-loss falls by, from that of the class shares alone, for a node and for a byte of plain C data."""

    def per(side: str, unit: str) -> Callable[[Row], float]:
        return lambda row: 1000 * (row["prior_loss"] - row[side]["loss"]) / max(1, row[side][unit])

    head = (
        "trees", "nodes ours / A / B", "bytes ours / A / B", "millinats gained a node ours / A / B", "millinats a byte ours / A / B",
    )  # fmt: skip
    lines = []
    for trees in sizes_of(rows):
        here = sized(rows, trees)
        cells = []
        for unit in ("nodes", "bytes"):
            cells.append(" / ".join(f"{side_mean(here, s, unit):,.0f}" for s in ("ours", "A", "B")))
        for unit, digits in (("nodes", 2), ("bytes", 3)):
            cells.append(" / ".join(f"{mean_of(here, per(s, unit)):.{digits}f}" for s in ("ours", "A", "B")))
        lines.append((str(trees), *cells))
    return [
        "The fall of the log-loss from that of the class shares alone, divided by inner nodes and by bytes of plain C data (doubles; the "
        "packed form is measured under *Bytes*).",
        "",
        *markdown(head, lines),
    ]


def regression(rows: Sequence[Row], promises: Promises) -> list[str]:
    everything, large = "regression: squared error to", "regression, n >= 1,000: squared error to"
    promises.add(f"{everything} A", mean_of(rows, ratio("A")), 0.92, at_least=False)
    promises.add(f"{everything} B", mean_of(rows, ratio("B")), 0.95, at_least=False)
    promises.add(f"{large} B", mean_of(many(rows), ratio("B")), 0.88, at_least=False)
    sizes = sizes_of(rows)
    head = ("table", "rows", *(f"{tree_count(t)}: to A / to B" for t in sizes), "CPU s")
    lines = []
    for table in [*tables_of(rows), None]:
        mine = [row for row in rows if table is None or row["table"] == table]
        cells = [
            f"{mean_of(sized(mine, t), ratio('A')):.2f} / {mean_of(sized(mine, t), ratio('B')):.2f}"
            for t in sizes
        ]
        cpu = " / ".join(f"{mean_of(sized(mine, t), lambda r: r['ours']['cpu']):.1f}" for t in sizes)
        lines.append((table or "**mean**", f"{mine[0]['rows']:,}" if table else "", *cells, cpu))
    return [
        "## Values, equal budget",
        "",
        "Squared error over that of the baseline.",
        "",
        *markdown(head, lines),
    ]


def multiclass(rows: Sequence[Row], promises: Promises) -> list[str]:
    equal_trees, equal_values = sized(rows, 0), sized(rows, 3)
    if equal_trees:
        promises.add(
            f"several classes, equal trees: {POINTS} over B",
            mean_of(equal_trees, gain("B")),
            1.0,
            at_least=True,
        )
        promises.add(
            f"several classes, equal trees: {RATIO} to B",
            mean_of(equal_trees, ratio("B")),
            0.85,
            at_least=False,
        )
    if equal_values:
        promises.add(
            f"several classes, equal leaf values: {POINTS} over B",
            mean_of(equal_values, gain("B")),
            -1.0,
            at_least=True,
        )
        promises.note(f"several classes, equal leaf values: {RATIO} to B", mean_of(equal_values, ratio("B")))
    head = (
        "table",
        "rows",
        "classes",
        "accuracy ours / B",
        "points",
        "log-loss ratio",
        "nodes ours / B",
        "CPU s",
    )
    out = [
        "## Several classes", "",
        "Our trees have a vector of K values in each leaf; a round of LightGBM is K trees. *Equal trees*: our K trees against one round. "
        "*Equal leaf values*: our 3 trees against three rounds, K times as many nodes.", "",
    ]  # fmt: skip
    for title, part in (("Equal trees", equal_trees), ("Equal leaf values", equal_values)):
        lines = []
        for table in [*tables_of(part), None] if part else []:
            mine = [row for row in part if table is None or row["table"] == table]

            lines.append((
                table or "**mean**", f"{mine[0]['rows']:,}" if table else "", str(mine[0]["classes"]) if table else "",
                f"{side_mean(mine, 'ours', 'accuracy'):.1f} / {side_mean(mine, 'B', 'accuracy'):.1f}", f"{mean_of(mine, gain('B')):+.1f}",
                f"{mean_of(mine, ratio('B')):.2f}", f"{side_mean(mine, 'ours', 'nodes'):.0f} / {side_mean(mine, 'B', 'nodes'):.0f}",
                f"{side_mean(mine, 'ours', 'cpu'):.1f}",
            ))  # fmt: skip
        out += [f"### {title}", "", *markdown(head, lines)] if lines else []
    return out


def unbounded(rows: Sequence[Row], promises: Promises) -> list[str]:
    peers = ("LightGBM", "XGBoost", "CatBoost")

    def median(row: Row, key: str) -> float:
        return float(np.median([row[peer][key] for peer in peers]))

    def ratio(row: Row) -> float:
        return float(row["ours"]["loss"] / median(row, "loss"))

    def points(row: Row) -> float:
        return float(row["ours"]["accuracy"] - median(row, "accuracy"))

    ratios = per_table(rows, ratio)
    promises.add("no budget: points over the median peer", mean_of(rows, points), 0.0, at_least=True)
    promises.add(
        "no budget: log-loss to the median peer's", mean_of(rows, ratio), 1.0, at_least=False, digits=3
    )
    promises.add(
        f"no budget: log-loss, {worst_of(ratios, largest=True)}", max(ratios.values()), 1.1, at_least=False
    )
    head = (
        "table",
        "rows",
        "accuracy ours / LightGBM / XGBoost / CatBoost",
        "points",
        "log-loss, the same",
        "ratio",
        "CPU s",
    )
    lines = []
    for table in [*tables_of(rows), None]:
        mine = [row for row in rows if table is None or row["table"] == table]

        lines.append((
            table or "**mean**", f"{mine[0]['rows']:,}" if table else "", sides(mine, ("ours", *peers), "accuracy", ".1f"),
            f"{mean_of(mine, points):+.1f}",
            sides(mine, ("ours", *peers), "loss", ".3f"),
            f"{mean_of(mine, ratio):.2f}", f"{mean_of(mine, lambda r: r['ours']['cpu']):.1f}",
        ))  # fmt: skip
    return [
        "## No budget, two classes", "",
        "`n_estimators=None`, against boosters with 200 rounds and early stopping (LightGBM 15 leaves and rate .08, XGBoost depth 5 and "
        "rate .1, CatBoost as it comes). Points and ratio are to the median of the three.",
        "",
        *markdown(head, lines),
    ]  # fmt: skip


def bytes(rows: Sequence[Row], promises: Promises) -> list[str]:
    def smaller(row: Row) -> float:
        return float(np.log(1440 / row["ours"]["bytes"]))

    times = {table: float(np.exp(value)) for table, value in per_table(rows, smaller).items()}
    rounded = [row for row in rows if "unrounded_loss" in row]
    promises.add(
        "bytes: times smaller than 1,440, geometric mean",
        float(np.exp(mean_of(rows, smaller))),
        4.0,
        at_least=True,
    )
    promises.add("bytes: test log-loss to the target's", mean_of(rows, ratio("target")), 1.03, at_least=False)

    def cost(row: Row) -> float:
        return 100 * float(row["ours"]["loss"] / row["unrounded_loss"] - 1)

    if rounded:
        promises.add("bytes: cost of rounding, % of log-loss", mean_of(rounded, cost), 1.0, at_least=False)
        costs_by_table = list(per_table(rounded, cost).values())
        promises.note(
            "bytes: cost of rounding, % of log-loss, median table", float(np.median(costs_by_table))
        )
    head = (
        "table",
        "rows",
        "bytes",
        "times smaller",
        "log-loss ours / target",
        "ratio",
        "rounding costs",
        "how",
        "CPU s",
    )
    lines = []
    for table in tables_of(rows):
        mine = [row for row in rows if row["table"] == table]
        costs = [cost(row) for row in mine if "unrounded_loss" in row]
        lines.append((
            table, f"{mine[0]['rows']:,}", " / ".join(str(row["ours"]["bytes"]) for row in mine), f"{times[table]:.1f}",
            f"{mean_of(mine, lambda r: r['ours']['loss']):.3f} / {mean_of(mine, lambda r: r['target']['loss']):.3f}",
            f"{mean_of(mine, ratio('target')):.2f}", f"{np.mean(costs):+.1f} %" if costs else "",
            " / ".join(row["how"] for row in mine), f"{mean_of(mine, lambda r: r['ours'].get('cpu', np.nan)):.1f}",
        ))  # fmt: skip
    return [
        "## Bytes", "",
        "The smallest of fourteen byte budgets whose forest reaches the log-loss of LightGBM with 10 trees of 16 leaves (1,440 bytes at 9 "
        "a leaf, its rate the best of seven there), found on a held-out fifth by bisection; where none does, LightGBM's own forest, "
        "imported and compressed to within 3 % of itself. Then both are trained on all rows, and judged on the test rows. Rounding is "
        "measured against a greedy forest grown by the same setting and penalty with full thresholds and leaves.",
        "",
        *markdown(head, lines),
    ]  # fmt: skip


def time(rows: Sequence[Row], promises: Promises) -> list[str]:
    lines = []
    for trees in sizes_of(rows):
        two = [row for row in sized(rows, trees) if row["jobs"] == 2] or sized(rows, trees)
        promises.add(
            f"seconds to train, 1,000 x 20, {tree_count(trees)}, n_jobs={two[0]['jobs']}, least of {len(two)}",
            min(row["wall"] for row in two), SECONDS[trees], at_least=False, digits=1,
        )  # fmt: skip
        promises.note(
            f"processor seconds of the same, {tree_count(trees)}", min(row["cpu"] for row in two), digits=1
        )
        lines += [
            (str(trees), str(row["jobs"]), str(row["seed"]), f"{row['wall']:.1f}", f"{row['cpu']:.1f}")
            for row in sized(rows, trees)
        ]
    return ["## Time", "", *markdown(("trees", "n_jobs", "seed", "wall s", "CPU s"), lines)]
