"""Compiling C: cached by content, repaired when damaged, refused with what the compiler said."""

from __future__ import annotations

from pathlib import Path

import pytest

from hardgrad.core.errors import ExportError
from hardgrad.export import compiled_c
from hardgrad.export.compiled_c import cache_folder, compile_shared, find_compiler, has_compiler

needs_compiler = pytest.mark.skipif(not has_compiler(), reason="no C compiler on this machine")
SOURCE = "int seven(void) { return 7; }"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "hardgrad" / "c"


@needs_compiler
def test_the_same_source_is_compiled_once(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert compile_shared(SOURCE, name="seven").seven() == 7
    (built,) = own_cache.iterdir()
    assert built.name.startswith("seven-") and built.suffix == ".so"
    monkeypatch.setattr(compiled_c, "_compile", lambda *_: pytest.fail("compiled again"))
    assert compile_shared(SOURCE, name="seven").seven() == 7


@needs_compiler
def test_other_flags_sources_and_headers_are_other_libraries(own_cache: Path) -> None:
    for flags in (("-O0",), ("-O1",)):
        compile_shared(SOURCE, flags=flags)
    for value in (1, 2):
        library = compile_shared(
            '#include "v.h"\nint v(void) { return V; }', headers={"v.h": f"#define V {value}\n"}
        )
        assert library.v() == value
    assert len(list(own_cache.iterdir())) == 4


@needs_compiler
def test_a_damaged_cache_is_repaired(own_cache: Path) -> None:
    source = "int eight(void) { return 8; }"
    compile_shared("int nine(void) { return 9; }", name="other")
    compiled_c._compile(find_compiler(), {"model.c": source}, "model.c", (), own_cache / "x.so")
    key = compiled_c._key({"model.c": source}, ("-O1",), find_compiler())
    (own_cache / f"model-{key}.so").write_bytes(b"not a library")
    assert compile_shared(source, flags=("-O1",)).eight() == 8


@needs_compiler
def test_a_refused_source_says_what_the_compiler_said_and_leaves_nothing(own_cache: Path) -> None:
    with pytest.raises(ExportError, match=r"(?s)refused broken\.c.*error"):
        compile_shared("int broken(", name="broken")
    assert list(own_cache.iterdir()) == []


def test_no_compiler_is_a_clear_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(ExportError, match="no C compiler found"):
        compile_shared(SOURCE)
    assert not has_compiler()
    monkeypatch.setenv("CC", "no-such-compiler -m32")
    with pytest.raises(ExportError, match="CC='no-such-compiler -m32'"):
        find_compiler()


@needs_compiler
def test_cc_may_hold_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", f"{find_compiler()[0]} -DVALUE=5")
    assert compile_shared("int value(void) { return VALUE; }").value() == 5


def test_the_cache_folder_may_be_unusable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert cache_folder().is_dir() and cache_folder() == cache_folder()
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/ignored")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "hardgrad" / "c"
