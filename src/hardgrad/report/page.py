"""Writing the report: one self-contained HTML file. Puts pictures, data, styles and scripts together; draws nothing itself."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from markupsafe import Markup

from hardgrad.core.files import write_text
from hardgrad.report.context import ReportContext
from hardgrad.report.embedded import explorer_data, forest_data, to_script_json
from hardgrad.report.sections import page_values
from hardgrad.trees.export_javascript import to_javascript

TEMPLATES = Path(__file__).parent / "templates"
STYLES = ("base", "layout", "charts", "trees", "circuit", "explorer", "print")
SCRIPTS = ("dom", "layout", "trees", "threshold", "inputs", "explorer", "main", "start")
WITHOUT_TREES = ("dom", "threshold", "main", "start")


def write_report(path: str | os.PathLike[str], context: ReportContext) -> Path:
    """Write `report.html`: what the model is, how good, how exact, on one page that needs no network.

    Parameters
    ----------
    path : path of the file; its folder must exist.
    context : everything that the page shows.

    Returns
    -------
    path : the path that was written.

    Raises
    ------
    WriteError : the file cannot be written; nothing is left behind.
    DataError : a validation label is not a class of the model.

    Examples
    --------
    >>> import tempfile
    >>> from hardgrad.trees.forest_build import forest_from_trees
    >>> forest = forest_from_trees([{"feature": 0, "threshold": 1.5, "left": {"value": 0.0}, "right": {"value": 2.0}}], ["age"])
    >>> written = write_report(Path(tempfile.mkdtemp()) / "report.html", ReportContext(forest, "r2"))
    >>> written.name
    'report.html'
    """
    return write_text(path, render_report(context))


def render_report(context: ReportContext) -> str:
    """Return the page as text (see `write_report`)."""
    threshold, values = page_values(context)
    data = {"forest": forest_data(context), "explorer": explorer_data(context), "threshold": threshold}
    style = "\n".join(_source("css", f"{name}.css") for name in STYLES)
    early = _source("js", "theme.js")
    script = in_script(_application(context))
    policy = (
        f"default-src 'none'; script-src {_hash(early)} {_hash(script)}; style-src {_hash(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    return _template()(
        **values,
        policy=policy,
        style=Markup(style),  # noqa: S704 - a file of this package
        early=Markup(early),  # noqa: S704 - a file of this package
        script=Markup(script),  # noqa: S704 - made safe by in_script
        data=Markup(to_script_json(data)),  # noqa: S704 - made safe by to_script_json
        explorer=data["explorer"],
    )


def in_script(source: str) -> str:
    r"""Return JavaScript in which no string can end or hide the script element.

    `</script` and `<!--` occur only inside string literals of generated code; there `\x3C` is the same character as `<`.

    >>> in_script('const a = "</script>";')
    'const a = "\\x3C/script>";'
    """
    return re.sub(r"<(?=/script|!--|script)", r"\\x3C", source, flags=re.IGNORECASE)


def _application(context: ReportContext) -> str:
    """The exported model and the page's own scripts, which call it, in one closed function; without trees, the scripts that need none."""
    forest = context.forest
    parts = (
        [] if forest is None else [f"const model = Object.freeze({to_javascript(forest, form='object')});"]
    )
    parts += [_source("js", f"{name}.js") for name in (WITHOUT_TREES if forest is None else SCRIPTS)]
    return '(() => {\n"use strict";\n' + "\n".join(parts) + "\n})();"


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@cache
def _source(folder: str, name: str) -> str:
    return (TEMPLATES / folder / name).read_text(encoding="utf-8").strip()


@cache
def _template() -> Callable[..., str]:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from hardgrad.report import wording

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Any] = {
        name: getattr(wording, name)
        for name in (
            "number",
            "fixed",
            "percent",
            "count",
            "rounded",
            "seconds",
            "sentence",
            "headed",
            "metric_name",
        )
    }
    environment.filters.update(filters)
    return environment.get_template("page.html.j2").render
