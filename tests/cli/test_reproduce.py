"""`hardgrad reproduce`: lists, runs, verdicts and exit codes, on reproductions made for the test."""

from __future__ import annotations

import json

import pytest

from hardgrad.core import registry
from hardgrad.core.errors import ParameterError, RegistryError
from hardgrad.reproductions import Measured, ReproductionResult, Scale, find, reproduction

from .conftest import Command, only_json


@pytest.fixture(autouse=True)
def two_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """One reproduction that meets its bounds and one that does not, instead of the real ones."""
    monkeypatch.setattr(registry, "reproductions", registry.Registry("reproduction"))

    @reproduction(row=7, slug="good-row", venue="2024", claim="no row differs")
    def good_row(scale: Scale) -> list[Measured]:
        return [Measured.exactly("rows that differ", 0, 0), Measured.reported("seconds", 1.5)]

    @reproduction(row=8, slug="bad-row", title="A bad row", venue="2025", claim="twice as fast")
    def bad_row(scale: Scale) -> list[Measured]:
        return [
            Measured.at_least("speed-up", 1.5 if scale == "smoke" else 2.5, 2.0),
            Measured.at_most("error", float("nan"), 1.0),
        ]


def test_list(command: Command) -> None:
    listed = only_json(command("reproduce", "--list", "--json"))
    assert listed == [
        {"row": 7, "slug": "good-row", "title": "Good row", "claim": "no row differs"},
        {"row": 8, "slug": "bad-row", "title": "A bad row", "claim": "twice as fast"},
    ]
    assert "twice as fast" in command("reproduce", "--list").stdout


def test_met_and_missed(command: Command) -> None:
    met = command("reproduce", "good-row", "--json")
    assert met.exit_code == 0
    found = only_json(met)
    assert set(found) == {"row", "slug", "title", "scale", "claim", "measured", "verdict", "seconds"}
    assert (found["verdict"], found["scale"]) == ("MET", "smoke")
    assert found["measured"][0] == {"name": "rows that differ", "value": 0.0, "bound": "= 0", "met": True}
    missed = command("reproduce", "8", "--scale", "full")
    assert missed.exit_code == 3
    assert "MISSED" in missed.stdout
    assert "2.5" in missed.stdout, "the figure is shown, also when it falls short"
    assert json.loads(command("reproduce", "8", "--json").stdout)["measured"][1]["value"] is None


def test_all(command: Command) -> None:
    result = command("reproduce", "--all", "--json")
    assert result.exit_code == 3
    assert [found["verdict"] for found in only_json(result)] == ["MET", "MISSED"]


def test_what_is_refused(command: Command) -> None:
    unknown = command("reproduce", "god-row")
    assert unknown.exit_code == 1
    assert "Did you mean 'good-row'?" in unknown.stderr
    assert command("reproduce").exit_code == 2
    assert command("reproduce", "7", "--all").exit_code == 2
    scale = command("reproduce", "7", "--scale", "ful")
    assert (scale.exit_code, "Did you mean 'full'?" in scale.stderr) == (1, True)


def test_python_face() -> None:
    assert find(7)[0].run("smoke").met
    with pytest.raises(ParameterError, match="scale got 'large'"):
        find("good-row")[0].run("large")  # type: ignore[arg-type]
    with pytest.raises(RegistryError, match="7 \\(good-row\\)"):
        find(99)
    nothing = ReproductionResult(1, "x", "X", "smoke", "claim", (), 0.0)
    assert nothing.verdict == "MISSED", "measuring nothing proves nothing"
