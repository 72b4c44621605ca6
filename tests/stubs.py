"""The typed faces of the lazy packages: `python tests/stubs.py` (`make stubs`) writes them, tests/test_repository.py holds them to this.

A lazy package finds its names when they are used, which no type checker and no editor can follow; beside each lies an `__init__.pyi` that
says the same in plain imports.
"""

from __future__ import annotations

import importlib
from itertools import groupby
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "src"


def lazy_packages() -> list[str]:
    """Packages whose `__init__` has a table of homes."""
    found = (SOURCE / "hardgrad").rglob("__init__.py")
    lazy = [path.parent for path in found if "\n_HOMES = {" in path.read_text(encoding="utf-8")]
    return sorted(".".join(path.relative_to(SOURCE).parts) for path in lazy)


def stub_of(package: str) -> str:
    """The text of the package's `__init__.pyi`."""
    module = importlib.import_module(package)
    names: dict[str, str] = module._HOMES
    lines = [f'"""The names of {package} and where they are defined; made by `make stubs`."""', ""]
    by_home = sorted(names, key=lambda name: (names[name], name))
    for home, members in groupby(by_home, key=names.__getitem__):
        lines += [f"from {home} import {name} as {name}" for name in members]
    if hasattr(module, "__version__"):
        lines += ["", "__version__: str"]
    return "\n".join([*lines, ""])


def path_of(package: str) -> Path:
    """Where the package's stub lies."""
    return SOURCE.joinpath(*package.split("."), "__init__.pyi")


if __name__ == "__main__":
    for lazy in lazy_packages():
        path_of(lazy).write_text(stub_of(lazy), encoding="utf-8")
