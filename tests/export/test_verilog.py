"""Writing Verilog: names are legal, comments stay on their line."""

from __future__ import annotations

import pytest

from hardgrad.core.errors import ParameterError
from hardgrad.export import verilog


@pytest.mark.parametrize("name", ["", "1x", "a-b", "module", "wire", "logic", "é", "a" * 64, "_x", "a b"])
def test_what_is_no_identifier_is_refused(name: str) -> None:
    with pytest.raises(ParameterError, match="Verilog"):
        verilog.require_identifier(name)
    with pytest.raises(ParameterError):
        verilog.verilog_module("top", [verilog.Port("input", name)], [])


def test_comments_cannot_be_left() -> None:
    for text in ("a\nassign y = 0;", "x\r\nb", "end\\"):
        line = verilog.verilog_comment(text)
        assert "\n" not in line and "\r" not in line and not line.endswith("\\")
    text = verilog.verilog_module("top", [verilog.Port("output", "y")], ["assign y = 1'b0;"], "one\ntwo")
    assert text.splitlines()[:3] == ["// one", "// two", "module top ("]
