"""Files whole or not at all; registries that import late and refuse doubles."""

import errno
import os
import sys

import pytest

from hardgrad.core import files
from hardgrad.core.errors import RegistryError
from hardgrad.core.files import WriteError, atomic_path, write_text
from hardgrad.core.registry import Registry


def test_an_error_inside_leaves_the_old_file_and_nothing_else(tmp_path):
    target = write_text(tmp_path / "model.txt", "old")
    with pytest.raises(RuntimeError, match="midway"), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError("midway")
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["model.txt"]


def test_a_full_disk_is_one_clear_error(tmp_path, monkeypatch):
    target = write_text(tmp_path / "model.txt", "old")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(WriteError, match=r"model.txt: No space left on device.*free some space"):
        write_text(target, "new")
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["model.txt"]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(WriteError, match="nowhere"):
        write_text(tmp_path / "nowhere" / "model.txt", "x")


def test_mode_follows_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        assert write_text(tmp_path / "m", "x").stat().st_mode & 0o777 == 0o640
    finally:
        os.umask(old)


def test_lazy_members_are_imported_when_asked_for():
    registry = Registry("thing")
    registry.register_lazy("ring", "wsgiref.simple_server:make_server")
    assert "wsgiref.simple_server" not in sys.modules
    assert list(registry) == ["ring"]
    assert len(registry) == 1
    assert registry["ring"].__name__ == "make_server"


def test_unknown_and_double_names():
    registry = Registry("thing")
    registry.register("forest", int)
    registry.register("forest", int)
    with pytest.raises(RegistryError, match="Did you mean 'forest'"):
        registry["forrest"]
    with pytest.raises(RegistryError, match="twice"):
        registry.register("forest", float)
