"""The chapters of the tour: each has a page, a text and a report; the smoke reproduction runs them all."""

import importlib
from pathlib import Path

import pytest
import torch

from hardgrad.reproductions.registry import Measured
from hardgrad.reproductions.wonderland import CHAPTERS
from hardgrad.reproductions.wonderland.engine import Var
from hardgrad.reproductions.wonderland.report import ChapterReport

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", CHAPTERS)
def test_every_chapter_has_a_page_and_a_text(name):
    module = importlib.import_module(f"hardgrad.reproductions.wonderland.{name}")
    assert f"<!-- hardgrad: chapter {name} -->" in (ROOT / "docs" / "tour" / f"{name}.md").read_text()
    assert module.TITLE in (ROOT / "docs" / "tour" / "index.md").read_text()
    assert f"tour/{name}.md" in (ROOT / "mkdocs.yml").read_text()
    assert len(module.__doc__) > 300


@pytest.mark.parametrize("name", ["slopes", "time", "loops"])
def test_a_chapter_reports_claims_and_gap_whatever_the_seed(name):
    report = importlib.import_module(f"hardgrad.reproductions.wonderland.{name}").run(random_state=3)
    assert isinstance(report, ChapterReport)
    assert report.claims and report.met
    assert report.gap.rows > 0
    assert not ChapterReport("x", (Measured.at_most("y", 2, 1),), report.gap).met


def test_the_engine_sums_over_stretched_axes():
    column, row = Var([[1.0], [2.0]]), Var([[3.0, 4.0, 5.0]])
    (column * row).sum().backward()
    assert column.gradient.tolist() == [[12.0], [12.0]]
    assert row.gradient.tolist() == [[3.0, 3.0, 3.0]]


def test_the_engine_visits_a_value_that_is_used_twice_once():
    x = Var([2.0])
    y = x * x
    (y * y + y).sum().backward()
    peer = torch.tensor([2.0], requires_grad=True)
    (peer**4 + peer**2).sum().backward()
    assert x.gradient.tolist() == peer.grad.tolist()
