"""The report in headless Chromium: quiet console, the reference's own bits, and controls that do what they say."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hardgrad.report import ReportContext, write_report
from hardgrad.tabular.schema import epoch_seconds, is_missing
from hardgrad.tabular.table_model import label_text
from hardgrad.trees.forest import Forest
from hardgrad.trees.probe import generate_rows, random_forest
from report import fixtures
from report.browser import DESKTOP, PHONE, chromium, console, open_page

pytestmark = [pytest.mark.browser, pytest.mark.slow]
CONTEXTS = {
    "loan": fixtures.loan_context,
    "iris": fixtures.iris_context,
    "diabetes": fixtures.diabetes_context,
    "hostile": fixtures.hostile_context,
    "circuit": fixtures.circuit_context,
}


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    return {name: write_report(folder / f"{name}.html", make()) for name, make in CONTEXTS.items()}


def text(driver: Any, element: str) -> str:
    return str(driver.execute_script("return document.getElementById(arguments[0]).textContent", element))


def put(driver: Any, selector: str, value: Any, event: str = "input") -> None:
    """Set a control as a user would, and tell it."""
    driver.execute_script(
        "const node = document.querySelector(arguments[0]);"
        "if (node.type === 'checkbox') node.checked = arguments[1]; else node.value = arguments[1];"
        "node.dispatchEvent(new Event(arguments[2], {bubbles: true}));",
        selector, value, event,
    )  # fmt: skip


# --- every page, every width, both themes ---------------------------------------------------------------------
@pytest.mark.parametrize("width", [PHONE, 820, DESKTOP])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", list(CONTEXTS))
def test_page_is_quiet_and_fits(
    driver: Any, pages: dict[str, Path], name: str, scheme: str, width: int
) -> None:
    console(driver)
    open_page(driver, pages[name], width=width, scheme=scheme)
    assert console(driver) == []
    assert driver.execute_script("return document.documentElement.scrollWidth") == width
    trees = driver.execute_script("return document.querySelectorAll('#tree-view svg').length")
    assert trees == (0 if name == "circuit" else 1)


def test_labels_of_a_circuit_stay_in_their_boxes(driver: Any, pages: dict[str, Path]) -> None:
    open_page(driver, pages["circuit"], width=DESKTOP)
    widths = driver.execute_script(
        "return Array.from(document.querySelectorAll('.circuit g'), (box) =>"
        " [box.querySelector('text').getBBox().width, box.querySelector('rect').getBBox().width])"
    )
    assert len(widths) > 10 and all(text < box - 2 for text, box in widths)


def test_page_asks_the_network_for_nothing(driver: Any, pages: dict[str, Path]) -> None:
    driver.get_log("performance")
    open_page(driver, pages["loan"])
    sent = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    urls = {m["params"]["request"]["url"] for m in sent if m["method"] == "Network.requestWillBeSent"}
    assert {url for url in urls if not url.startswith("data:")} == {pages["loan"].as_uri()}


def test_hostile_names_stay_text(driver: Any, pages: dict[str, Path]) -> None:
    open_page(driver, pages["hostile"])
    assert driver.title == fixtures.HOSTILE[0]
    assert (
        driver.execute_script("return document.querySelectorAll('img, b b, script').length") == 3
    )  # the page's own three
    shown = driver.execute_script("return document.body.innerText")
    for name in fixtures.HOSTILE[:4]:
        assert name in shown
    options = driver.execute_script(
        "return Array.from(document.querySelector('#fields select').options, (o) => o.text)"
    )
    assert options[:-2] == sorted(fixtures.HOSTILE)


def test_injected_script_would_be_refused(driver: Any, pages: dict[str, Path]) -> None:
    open_page(driver, pages["loan"])
    driver.execute_script(
        "const s = document.createElement('script'); s.textContent = 'window.ran = true'; document.body.append(s);"
    )
    assert driver.execute_script("return window.ran") is None
    assert any("Content Security Policy" in line for line in console(driver))


# --- the page computes what the reference computes -----------------------------------------------------------
def page_values(forest: Forest, rows: dict[str, np.ndarray]) -> list[list[Any]]:
    """Columns in a form that JSON carries: infinities and NaN as texts, dates in seconds."""
    found: list[list[Any]] = []
    for column in forest.schema.columns:
        values = rows[column.name]
        if column.kind == "datetime":
            seconds = epoch_seconds(column, values)
            found.append([None if np.isnan(s) else s for s in seconds.tolist()])
        elif column.kind == "numeric":
            found.append([v if np.isfinite(v) else str(v) for v in values.astype(float).tolist()])
        else:
            found.append([None if is_missing(v) else v for v in values.tolist()])
    return found


SCORE = """
const [names, columns] = arguments, special = {nan: NaN, inf: Infinity, "-inf": -Infinity};
const hex = (value) => {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, value);
  return view.getBigUint64(0).toString(16).padStart(16, "0");
};
const numeric = window.hardgrad.schema.columns.map((column) => column.kind === "numeric");
return columns[0].map((_, i) => {
  const row = Object.fromEntries(names.map((name, k) => {
    const value = columns[k][i];
    return [name, numeric[k] && typeof value === "string" ? special[value] : value];
  }));
  const answer = window.hardgrad.predict(row);
  return [window.hardgrad.leaves(row), window.hardgrad.raw(row).map(hex), Array.isArray(answer) ? answer : String(answer)];
});
"""


def check_bits(driver: Any, forest: Forest, n: int) -> None:
    rows = generate_rows(forest, n, random_state=3)
    columns, names = page_values(forest, rows), list(forest.schema.names)
    leaves, raw = forest.apply(rows), forest.predict_raw(rows)
    labels = forest.raw_to_prediction(raw).tolist() if forest.task == "classification" else None
    for start in range(0, n, 1_000):
        chunk = [values[start : start + 1_000] for values in columns]
        answers = driver.execute_script(SCORE, names, chunk)
        for i, (page_leaves, page_raw, page_label) in enumerate(answers, start):
            assert page_leaves == leaves[i].tolist()
            assert page_raw == [struct.pack(">d", v).hex() for v in raw[i].tolist()]
            if labels is not None:
                assert page_label == label_text(labels[i])


def test_predictions_equal_reference_on_10000_rows(driver: Any, pages: dict[str, Path]) -> None:
    open_page(driver, pages["loan"])
    check_bits(driver, fixtures.loan_context().forest, 10_000)


@pytest.mark.parametrize(("oblique", "outputs"), [(False, 3), (True, 1), (True, 3)])
def test_awkward_forests_equal_reference(driver: Any, tmp_path: Path, oblique: bool, outputs: int) -> None:
    link = "sigmoid" if outputs == 1 else "softmax"
    forest = random_forest(
        5, n_trees=6, max_depth=5, n_outputs=outputs, link=link, task="classification", oblique=oblique
    )
    sample = generate_rows(forest, 60, random_state=1)
    context = ReportContext(forest, "log_loss", rows=sample, row_target=forest.predict(sample))
    console(driver)
    open_page(driver, write_report(tmp_path / "report.html", context))
    check_bits(driver, forest, 2_000)
    for _ in range(59):  # every row can be shown, whatever it holds
        driver.execute_script("document.getElementById('row-next').click()")
    assert text(driver, "row-number") == "" and console(driver) == []


# --- controls ------------------------------------------------------------------------------------------------
def test_theme_button_goes_round(driver: Any, pages: dict[str, Path]) -> None:
    open_page(driver, pages["loan"], scheme="dark")
    paper = "return getComputedStyle(document.documentElement).backgroundColor"
    dark = driver.execute_script(paper)
    driver.execute_script("localStorage.clear(); document.getElementById('theme').click()")
    light = driver.execute_script(paper)
    assert (text(driver, "theme-name"), light) == ("Light", "rgb(255, 255, 255)")
    assert dark != light
    for _ in range(20):  # the browser hands stored values to a new page a moment after they were set
        open_page(driver, pages["loan"], scheme="dark")
        if driver.execute_script(paper) == light:
            break
    assert driver.execute_script(paper) == light  # it was kept
    driver.execute_script("document.getElementById('theme').click()")
    assert text(driver, "theme-name") == "Dark" and driver.execute_script(paper) == dark
    driver.execute_script("document.getElementById('theme').click(); localStorage.clear()")
    assert text(driver, "theme-name") == "Auto"


def test_threshold_slider_counts_as_the_reference(driver: Any, pages: dict[str, Path]) -> None:
    context = fixtures.loan_context()
    assert context.validation is not None
    probability = context.forest.raw_to_proba(context.validation["raw"])[:, 1]
    positive = context.validation["y"] == "default"
    open_page(driver, pages["loan"])
    for cut in (0.0, 0.25, 0.5, 0.9, 1.0):
        put(driver, "#cut", str(cut))
        called = probability > cut
        for element, value in (
            ("at-tp", (called & positive).sum()), ("at-fp", (called & ~positive).sum()),
            ("at-fn", (~called & positive).sum()), ("at-tn", (~called & ~positive).sum()),
        ):  # fmt: skip
            assert text(driver, element).replace(",", "") == str(value)
    put(driver, "#cut", "0.5")
    before = text(driver, "at-cost")
    put(driver, "#cost-fn", "10")
    assert text(driver, "at-cost") != before
    driver.execute_script("document.getElementById('cheapest').click()")
    costs = [
        ((probability > k / 200) & ~positive).sum() + 10 * (~(probability > k / 200) & positive).sum()
        for k in range(201)
    ]
    assert float(text(driver, "cut-value")) == int(np.argmin(costs)) / 200
    x = driver.execute_script("return document.querySelector('#threshold .wide .cursor').getAttribute('x1')")
    assert float(x) == pytest.approx(40 + int(np.argmin(costs)) / 200 * (860 - 84 - 40), abs=0.11)


def test_what_if_follows_the_reference(driver: Any, pages: dict[str, Path]) -> None:
    context = fixtures.loan_context()
    forest, rows = context.forest, context.rows
    assert rows is not None
    open_page(driver, pages["loan"])

    def reference(row: int, **changes: Any) -> tuple[str, str]:
        table = {
            name: np.array(
                [changes.get(name, values[row])], dtype=values.dtype if name not in changes else object
            )
            for name, values in rows.items()
        }
        return str(forest.predict(table)[0]), f"{100 * forest.predict_proba(table)[0, 1]:.1f}"

    def shown() -> tuple[str, str]:
        answer = driver.execute_script("return document.querySelector('#answer .answer-main').textContent")
        share = driver.execute_script(
            "return document.querySelector('#answer .share span:last-child').textContent"
        )
        return answer, share.split("\u202f")[0]

    def column(name: str, control: str) -> str:
        return f"[data-column='{name}'] {control}"

    put(driver, "#row-number", "8", "change")
    assert shown() == reference(7)
    assert text(driver, "row-observed") == f"observed: {context.row_target[7]}"
    put(driver, column("late payments", "input[type=range]"), "4")
    assert shown() == reference(7, **{"late payments": 4.0})
    put(driver, column("late payments", "input[type=text]"), "-inf", "change")
    assert shown() == reference(7, **{"late payments": -np.inf})
    put(driver, column("late payments", "input[type=text]"), "many", "change")
    assert (
        driver.execute_script(
            f'return document.querySelector("{column("late payments", "input[type=text]")}").ariaInvalid'
        )
        == "true"
    )
    driver.execute_script("document.getElementById('row-reset').click()")
    assert shown() == reference(7)
    put(driver, column("income", ".missing input"), True, "change")
    assert shown() == reference(7, income=None)
    put(driver, column("job", "select"), "missing", "change")
    assert shown() == reference(7, income=None, job=None)
    put(driver, column("job", "select"), str(len(fixtures.JOBS)), "change")
    put(driver, column("job", ".unseen-text"), "astronaut")
    assert shown() == reference(7, income=None, job="astronaut")
    put(driver, column("owns home", "input[type=checkbox]"), not rows["owns home"][7], "change")
    assert shown() == reference(7, income=None, job="astronaut", **{"owns home": not rows["owns home"][7]})
    put(driver, column("opened", "input[type=datetime-local]"), "2010-02-03T04:05:06", "change")
    expected = reference(
        7,
        income=None,
        job="astronaut",
        opened=np.datetime64("2010-02-03T04:05:06"),
        **{"owns home": not rows["owns home"][7]},
    )
    assert shown() == expected
    assert driver.execute_script("return document.querySelectorAll('.field.changed').length") == 4


def test_path_is_the_reference_path(driver: Any, pages: dict[str, Path]) -> None:
    context = fixtures.loan_context()
    open_page(driver, pages["loan"])
    for row, tree in ((0, 0), (4, 3), (11, 7)):
        put(driver, "#row-number", str(row + 1), "change")
        driver.execute_script(f"document.querySelector('#votes [data-tree=\"{tree}\"]').click()")
        path = context.forest.decision_path(context.rows, row)[tree]
        marked = driver.execute_script("return document.querySelectorAll('#path-view .joint.on-path').length")
        assert marked == len(path) - 1
        assert (
            driver.execute_script("return document.querySelectorAll('#path-view .leaf.on-path').length") == 1
        )
        assert text(driver, "path-number") == str(tree + 1)


def test_tree_pager(driver: Any, pages: dict[str, Path]) -> None:
    open_page(driver, pages["iris"])
    assert driver.execute_script("return document.getElementById('tree-back').disabled") is True
    driver.execute_script("document.getElementById('tree-next').click()")
    assert driver.execute_script("return document.getElementById('tree-number').value") == "2"
    assert (
        driver.execute_script(
            "return document.querySelectorAll('#thumbs [aria-pressed=true]')[0].textContent"
        )
        == "2"
    )
    before = driver.execute_script("return document.getElementById('tree-view').textContent")
    put(driver, "#tree-output", "2", "change")
    assert driver.execute_script("return document.getElementById('tree-view').textContent") != before
    put(driver, "#tree-number", "99", "change")
    assert driver.execute_script("return document.getElementById('tree-number').value") == "4"


def test_controls_can_be_reached_and_are_named(driver: Any, pages: dict[str, Path]) -> None:
    open_page(driver, pages["loan"])
    nameless = driver.execute_script(
        "return Array.from(document.querySelectorAll('button, input, select')).filter((n) => !n.ariaLabel && !n.labels?.length"
        " && !n.textContent.trim()).map((n) => n.outerHTML)"
    )
    assert nameless == []
    duplicates = driver.execute_script(
        "const ids = Array.from(document.querySelectorAll('[id]'), (n) => n.id); return ids.filter((id, k) => ids.indexOf(id) !== k)"
    )
    assert duplicates == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(driver: Any, pages: dict[str, Path], scheme: str) -> None:
    open_page(driver, pages["loan"], scheme=scheme)
    ratios = driver.execute_script(
        """
        const root = getComputedStyle(document.documentElement), probe = document.createElement("i");
        document.body.append(probe);
        const light = (name) => {
          probe.style.color = `var(--${name})`;
          const [r, g, b] = getComputedStyle(probe).color.match(/[\\d.]+/g).map((v) => v / 255)
            .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
          return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
        return ["ink", "muted", "hard", "soft", "alarm"].flatMap((name) => [ratio(name, "paper"), ratio(name, "wash")])
          .concat([3 + ratio("edge", "paper") - 1.5]);
        """
    )
    assert min(ratios[:-1]) >= 4.5 and ratios[-1] >= 4.5  # lines and borders need 3


def test_prints_every_tree(driver: Any, pages: dict[str, Path]) -> None:
    open_page(driver, pages["loan"])
    driver.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert driver.execute_script("return document.querySelectorAll('.print-tree svg').length") == 11
    driver.execute_script("dispatchEvent(new Event('afterprint'))")
    assert driver.execute_script("return document.querySelectorAll('.print-tree').length") == 0


def test_large_forest_and_no_rows(driver: Any, tmp_path: Path) -> None:
    forest = random_forest(
        1, n_trees=120, max_depth=6, n_outputs=1, link="identity", task="regression", oblique=False
    )
    context = replace(ReportContext(forest, "r2"), rows=None)
    console(driver)
    open_page(driver, write_report(tmp_path / "report.html", context))
    assert console(driver) == []
    assert driver.execute_script("return document.querySelectorAll('#thumbs button').length") == 120
