"""What the site shows of the code itself: registry tables, API pages, the command's help and measured tables.

A page asks for one with a line of the form `<!-- hardgrad: WHAT ... -->`. Nothing that a registry, a signature or a benchmark already
says is written into a page by hand.
"""

from __future__ import annotations

import ast
import base64
import importlib
import importlib.util
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hardgrad.core import registry

ROOT = Path(__file__).resolve().parents[1]
PICTURE = re.compile(r"^!\[(?P<alt>[^]]*)\]\((?P<file>\w+\.svg)\)$", re.MULTILINE)
MARKER = re.compile(r"^<!-- hardgrad: (?P<what>\w+)(?P<words>[^>]*?) -->$", re.MULTILINE)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace every marker of a page by what it asks for."""
    return MARKER.sub(lambda found: WRITERS[found["what"]](*found["words"].split()), markdown)


def registry_table(name: str) -> str:
    """Return the members of a registry as a table."""
    members: registry.Registry[Any] = getattr(registry, name)
    rows = [ROWS.get(name, named_row)(key, members[key]) for key in members if is_built(members, key)]
    head = HEADS.get(name, ("name", "what you get"))
    return table(head, rows) if rows else f"*No {members.what} is registered yet.*"


def is_built(members: registry.Registry[Any], key: str) -> bool:
    """Tell whether the module of a member exists: members are declared one commit before they are written."""
    reference = members._lazy.get(key)
    return reference is None or importlib.util.find_spec(reference.partition(":")[0]) is not None


def named_row(key: str, member: Any) -> tuple[str, ...]:
    """Return name and summary."""
    return f"[`{key}`][{member.__module__}.{member.__qualname__}]", summary(member)


def artifact_row(key: str, member: Any) -> tuple[str, ...]:
    """Return kind, class, schema version and summary."""
    link = f"[`{member.__name__}`][{member.__module__}.{member.__qualname__}]"
    return f"`{key}`", link, str(member.schema_version), summary(member)


def operation_row(key: str, member: Any) -> tuple[str, ...]:
    """Return name, exact counterpart, ways to relax with when to choose each, and summary."""
    function = member.function
    link = f"[`{key}`][{function.__module__}.{function.__qualname__}]"
    hard = inspect.unwrap(getattr(member.hard, "func", member.hard))
    exact = f"{hard.__module__}.{hard.__name__}".removeprefix("torch._C._VariableFunctionsClass.")
    if member.option == "kind":
        ways = f"{len(member.methods)} kinds of [soft step](#soft-steps)"
    else:
        ways = "; ".join(f"`{name}` {way.when}".strip() for name, way in member.methods.items() if name)
    return link, f"`{exact}`" if exact.startswith("torch") else "defined here", ways, member.summary


def kinds() -> str:
    """Return the family of soft steps as a table."""
    family = importlib.import_module("hardgrad.functional.soft_steps").KINDS
    rows = [
        (
            f"`{name}`", f"{kind.slope:.4g}", kind.tail, "yes" if kind.monotone_swap else "no", f"{kind.swap_error:.4g}",
            "antiderivative" if kind.relu else "x times the step",
        )
        for name, kind in family.items()
    ]  # fmt: skip
    return table(("kind", "slope at 0", "tail", "monotone swap", "swap error", "relu, abs, clamp"), rows)


def reproduction_row(key: str, member: Any) -> tuple[str, ...]:
    """Return row number, slug, title, venue and claim."""
    return tuple(str(getattr(member, field, "")) for field in ("row", "slug", "title", "venue", "claim"))


def api(package: str, *modules: str) -> str:
    """Return the API entries of the public names of a lazy package, or of whole modules of it."""
    if modules:
        names = [f"{package}.{module}" for module in modules]
        return "\n\n".join(f"::: {name}" for name in names if importlib.util.find_spec(name) is not None)
    module = importlib.import_module(package)
    homes: dict[str, str] = module._HOMES
    entries = []
    for name in module.__all__:
        if name.startswith("__"):
            continue
        home = homes.get(name) or getattr(getattr(module, name), "__module__", package)
        if importlib.util.find_spec(home) is not None:
            entries.append(f"::: {home}.{name}")
    return "\n\n".join(entries)


def command() -> str:
    """Return the help of every subcommand, as the command itself prints it."""
    if importlib.util.find_spec("hardgrad.cli.main") is None:
        return "*The command is being written.*"
    from typer.main import get_command

    top: Any = get_command(importlib.import_module("hardgrad.cli.main").app)
    parts = []
    for name, sub in sorted(top.commands.items()):
        rows = []
        for parameter in sub.params:
            if getattr(parameter, "hidden", False):
                continue
            is_option = parameter.param_type_name == "option"
            spelled = (
                ", ".join([*parameter.opts, *parameter.secondary_opts])
                if is_option
                else parameter.name.upper()
            )
            rows.append((f"`{spelled}`", getattr(parameter, "help", "") or ""))
        arguments = [parameter for parameter in sub.params if parameter.param_type_name == "argument"]
        usage = (
            " ".join(a.name.upper() if a.required else f"[{a.name.upper()}]" for a in arguments)
            + " [OPTIONS]"
        )
        parts.append(
            f"### `hardgrad {name}`\n\n{inspect.cleandoc(sub.help or '')}\n\n```console\n$ hardgrad {name} {usage}\n```\n"
        )
        parts.append(table(("argument or option", "meaning"), rows))
    return "\n\n".join(parts)


def benchmarks(*names: str) -> str:
    """Return the measured tables (all of them, or those that are named), headings one level deeper."""
    folder = ROOT / "benchmarks" / "results"
    files = [folder / f"{name}.md" for name in names] if names else sorted(folder.glob("*.md"))
    texts = [
        re.sub(r"^#", "##", with_pictures(file.read_text(encoding="utf-8"), folder), flags=re.MULTILINE)
        for file in files
        if file.exists()
    ]
    return "\n\n".join(texts) or "*Not measured yet: `make bench` writes the tables.*"


def with_pictures(page: str, folder: Path) -> str:
    """Return a page that carries the SVG files beside it: in the site they would lie elsewhere, and their styles must not leak."""

    def carried(found: re.Match[str]) -> str:
        data = base64.b64encode((folder / found["file"]).read_bytes()).decode()
        return f"![{found['alt']}](data:image/svg+xml;base64,{data})"

    return PICTURE.sub(carried, page)


def chapter(name: str) -> str:
    """Return a chapter of the tour: the module's own text, then its code, which the tests run."""
    source = (ROOT / "src/hardgrad/reproductions/wonderland" / f"{name}.py").read_text(encoding="utf-8")
    tree = ast.parse(source)
    text = ast.get_docstring(tree) or ""
    first = tree.body[1]
    code = "\n".join(source.splitlines()[first.lineno - 1 :])
    return f"{text}\n\n```python\n{code.strip()}\n```"


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return a Markdown table."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |"
        for line in lines
    )


def summary(member: Any) -> str:
    """Return the first paragraph of a docstring in one line."""
    return " ".join((inspect.getdoc(member) or "").partition("\n\n")[0].split())


ROWS: dict[str, Callable[[str, Any], tuple[str, ...]]] = {
    "artifacts": artifact_row,
    "operations": operation_row,
    "reproductions": reproduction_row,
}
HEADS = {
    "artifacts": ("kind", "class", "version", "what it is"),
    "operations": ("operation", "exact", "ways to relax", "what you get"),
    "reproductions": ("row", "slug", "title", "venue", "claim"),
}
WRITERS: dict[str, Callable[..., str]] = {
    "registry": registry_table,
    "api": api,
    "command": command,
    "benchmarks": benchmarks,
    "chapter": chapter,
    "kinds": kinds,
}
