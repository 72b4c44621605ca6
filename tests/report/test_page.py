"""The report as text: whole, self-contained, escaped; what is missing is left out."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from hardgrad.core.errors import ParameterError
from hardgrad.core.files import WriteError
from hardgrad.core.gap import GapReport
from hardgrad.report import ReportContext, render_report, write_report
from hardgrad.report.embedded import marks, to_script_json
from hardgrad.report.page import in_script
from hardgrad.report.plots_training import training
from hardgrad.tabular.speed import Speed
from hardgrad.trees.exactness import ExactCheck
from hardgrad.trees.forest_build import forest_from_trees
from report import fixtures

VOID = {"meta", "link", "input", "br"}


class Checker(HTMLParser):
    """Every element is closed, nothing points outside, nothing carries a style or a handler."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        assert "style" not in values and not any(name.startswith("on") for name in values)
        for name in ("src", "href"):
            assert (values.get(name) or "#").startswith(("#", "data:"))
        self.ids += [values["id"] or ""] if "id" in values else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize(
    "make",
    [
        fixtures.loan_context,
        fixtures.iris_context,
        fixtures.diabetes_context,
        fixtures.hostile_context,
        fixtures.circuit_context,
    ],
)
def test_page_is_well_formed(make) -> None:  # type: ignore[no-untyped-def]
    page = render_report(make())
    checker = Checker()
    checker.feed(page)
    checker.close()
    assert checker.open == [] and len(set(checker.ids)) == len(checker.ids)
    assert "{{" not in page.split("<script")[0] and "None" not in re.sub(
        r"<script.*?</script>", "", page, flags=re.S
    )


def test_policy_allows_exactly_what_is_there() -> None:
    page = render_report(fixtures.loan_context())
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    allowed = set(re.findall(r"sha256-[\w+/=]+", policy[1].replace("&#39;", "'")))
    inline = re.findall(r"<style>(.*?)</style>", page, re.S) + re.findall(
        r"<script(?: type=\"module\")?>(.*?)</script>", page, re.S
    )
    assert {
        f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}" for text in inline
    } == allowed
    assert "unsafe" not in policy[1] and "default-src &#39;none&#39;" in policy[1]
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", page)


def test_same_input_gives_same_page(tmp_path: Path) -> None:
    first = write_report(tmp_path / "a.html", fixtures.loan_context()).read_bytes()
    assert first == write_report(tmp_path / "b.html", fixtures.loan_context()).read_bytes()
    assert len(first) < 250_000


def test_parts_without_data_are_left_out() -> None:
    forest = forest_from_trees([{"value": 1.0}], ["x"])
    page = render_report(ReportContext(forest, "r2"))
    for part in ("training", "size", "importance", "calibration", "errors", "threshold", "explorer", "run"):
        assert f'id="{part}"' not in page
    assert "One tree with 1 leaves" not in page and "No engine was checked" in page
    assert "One tree with a single leaf" in page


def test_facts_and_speed_of_any_model_are_shown() -> None:
    forest = forest_from_trees([{"value": 1.0}], ["x"])
    facts = {"Rules": {"as found": 12_345, "kept": 7}, "Kinds": {f"kind {k}": k for k in range(9)}}
    context = ReportContext(forest, "r2", facts=facts, speed=Speed(2_345_678.0, "numba", 4096))
    page = render_report(context)
    for text in (
        "Rules",
        "12,345",
        "kind 8",
        "2.35\N{NO-BREAK SPACE}M",
        "numba, one thread, here",
        "machine that wrote this page",
    ):
        assert text in page
    assert 'id="facts"' not in render_report(ReportContext(forest, "r2"))


def test_a_model_of_one_size_stands_beside_the_boosters() -> None:
    forest = forest_from_trees([{"value": 1.0}], ["x"])
    peer = {"name": "LightGBM", "leaves": 31, "loss": 0.5}
    page = render_report(ReportContext(forest, "rmse", baselines=[peer], metrics={"rmse": 0.4321}))
    row = page[page.index("this model") :][:400]
    assert "0.4321" in row and page.index("this model") < page.index("LightGBM")


def test_training_is_drawn_in_the_direction_of_what_was_measured() -> None:
    """Accuracies of a model that is judged by log-loss: a hard model that is worse has a positive gap."""
    history = [{"phase": "gates", "soft": 0.9, "hard": 0.8}, {"phase": "gates", "soft": 0.95, "hard": 0.94}]
    gap = GapReport("accuracy", 0.95, 0.94, 0.98, 0.1, higher_is_better=True, rows=100)
    context = replace(fixtures.iris_context(), history=history, gap=gap)
    assert context.metric == "log_loss" and ">+0.0100<" in render_report(context)


def test_forest_without_trees() -> None:
    forest = forest_from_trees([], ["x"], n_outputs=1, base=[0.5])
    assert "0 trees" in render_report(ReportContext(forest, "r2", rows={"x": np.arange(3.0)}))


def test_exact_checks_have_the_fields_that_the_page_reads() -> None:
    fields = {field.name for field in dataclasses.fields(ExactCheck)}
    assert {"engine", "rows", "differing", "seconds", "skipped_reason", "max_probability_ulp"} <= fields
    checks = [ExactCheck("numba", 10_000, 3, 0.5), ExactCheck("c", 0, 0, 0.0, skipped_reason="no compiler")]
    page = render_report(replace(fixtures.iris_context(), exact_checks=checks))
    assert "3 of 10,000 generated rows differ" in page and "skipped: no compiler" in page


def test_multi_output_regression_and_many_classes() -> None:
    rng = np.random.default_rng(0)
    two = forest_from_trees([{"value": [1.0, 2.0]}], ["x"], base=[0.0, 0.0], target="y")
    page = render_report(
        ReportContext(two, "r2", validation={"y": rng.normal(size=(50, 2)), "raw": np.zeros((50, 2))})
    )
    assert "<h3>y 1</h3>" in page and "<h3>y 2</h3>" in page
    classes = [f"class {k}" for k in range(30)]
    many = forest_from_trees(
        [{"value": rng.normal(size=30)}], ["x"], link="softmax", task="classification", classes=classes
    )
    validation = {"y": rng.choice(classes, 300), "raw": rng.normal(size=(300, 30)), "weight": rng.random(300)}
    assert "19 others" in render_report(ReportContext(many, "log_loss", validation=validation))


def test_context_refuses_what_does_not_fit() -> None:
    forest = forest_from_trees([{"value": 1.0}], ["x"])
    with pytest.raises(ParameterError, match="node_rows has 3 entries; the model has 1 nodes"):
        ReportContext(forest, "r2", node_rows=np.zeros(3))
    with pytest.raises(ParameterError, match=r"expected n and \[n, 1\]"):
        ReportContext(forest, "r2", validation={"y": np.zeros(3), "raw": np.zeros((3, 2))})
    with pytest.raises(ParameterError, match="a point of the front needs one of"):
        ReportContext(forest, "r2", front=[{"size": 3}])


def test_page_says_where_it_was_judged() -> None:
    context = fixtures.loan_context()
    assert "3,000 held-out rows" in render_report(context)
    page = render_report(replace(context, held_out=False))
    assert "3,000 rows that it was trained on" in page and "held-out" not in page.split("<script")[1]
    assert 'id="errors"' not in render_report(replace(context, validation={}))


def test_lines_end_with_their_phase() -> None:
    history = [{"phase": phase, "soft": 1.0, "hard": 2.0} for phase in "aaabbb"] + [
        {"phase": "c", "soft": None}
    ]
    picture = training(history, "log_loss", 860, False)
    assert picture is not None and picture.count('class="stroke soft"') == 2 and "gap" in picture


def test_direction_of_the_metric() -> None:
    forest = forest_from_trees([{"value": 1.0}], ["x"])
    assert ReportContext(forest, "accuracy").higher and not ReportContext(forest, "log_loss").higher
    assert ReportContext(forest, "my metric", higher_is_better=True).higher
    assert fixtures.diabetes_context().higher


def test_nothing_is_left_when_the_folder_is_missing(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match="cannot write"):
        write_report(tmp_path / "missing" / "report.html", fixtures.iris_context())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text", ["</script>", "<!--", "</SCRIPT x", "<script>", "\u2028", "&", '"', "\\", "🌲"]
)
def test_embedded_data_cannot_end_its_element(text: str) -> None:
    written = to_script_json({text: [text]})
    assert not re.search(r"[<>&]|[^\x00-\x7f]", written)
    assert json.loads(written) == {text: [text]}
    assert not re.search(r"</script|<!--|<script", in_script(f'const a = "{text}";'), re.IGNORECASE)


def test_marks_are_thinned() -> None:
    trees = [
        {"feature": 0, "threshold": float(k), "left": {"value": 0.0}, "right": {"value": 1.0}}
        for k in range(200)
    ]
    found = marks(forest_from_trees(trees, ["x"]), 0)
    assert len(found) == 60 and (found[0], found[-1]) == (0.0, 199.0)


def test_report_never_loads_torch() -> None:
    code = "import sys, hardgrad.report as r; r.write_report, r.permutation_importance; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
