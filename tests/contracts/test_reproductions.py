"""The contract of every registered reproduction: its JSON, its smoke run, its verdict and exit code."""

from __future__ import annotations

import json
import re

import pytest
from typer.testing import CliRunner

from hardgrad.cli.main import app
from hardgrad.core import registry
from hardgrad.reproductions import Reproduction, find, members

SLUGS = list(registry.reproductions)


def test_slugs_and_rows_are_distinct() -> None:
    found = members()
    assert len({member.slug for member in found}) == len(found) == len(SLUGS)


@pytest.mark.parametrize("slug", SLUGS)
def test_says_what_it_claims(slug: str) -> None:
    member = registry.reproductions[slug]
    assert isinstance(member, Reproduction)
    assert member.slug == slug
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", slug)
    assert member.row >= 0
    assert member.title and member.venue and member.claim and member.__doc__
    assert member in find(member.row)
    assert [member] == find(slug)


@pytest.mark.parametrize("slug", SLUGS)
@pytest.mark.slow
def test_smoke_run(slug: str) -> None:
    result = CliRunner().invoke(app, ["reproduce", slug, "--scale", "smoke", "--json"])
    found = json.loads(result.stdout)
    assert set(found) == {"row", "slug", "title", "scale", "claim", "measured", "verdict", "seconds"}
    assert found["slug"] == slug
    assert found["measured"], "a reproduction measures something"
    for figure in found["measured"]:
        assert set(figure) == {"name", "value", "bound", "met"}
        assert isinstance(figure["met"], bool) and isinstance(figure["bound"], str)
    met = all(figure["met"] for figure in found["measured"])
    assert found["verdict"] == ("MET" if met else "MISSED")
    assert result.exit_code == (0 if met else 3)
