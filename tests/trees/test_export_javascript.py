"""The exported JavaScript: equal to the reference in node, strict about what a row holds, safe inside a page."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hardgrad.core.errors import ExportError, ParameterError
from hardgrad.tabular.schema import Column, Feature, TableSchema
from hardgrad.trees import Forest, forest_from_trees
from hardgrad.trees.exactness import differences
from hardgrad.trees.exactness_compiled import NodeEngine
from hardgrad.trees.export_javascript import EXPORTS, to_javascript
from hardgrad.trees.probe import generate_rows, random_forest

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
COLUMNS = TableSchema(
    (
        Column("n"),
        Column("b", "boolean"),
        Column("c", "categorical", ("", "1", "1e-05", "inf", "true")),
        Column("t", "datetime"),
    ),
    (
        Feature("n", 0),
        Feature("b", 1),
        Feature("c", 2, "codes", (0.0, 1.0, 2.0, 3.0, 4.0, 9.0)),
        Feature("t", 3),
        Feature("m", 2, "missing"),
    ),
)
PLAIN = forest_from_trees([{"value": 0.0}], COLUMNS)
CASES = {
    "binary": random_forest(1, n_trees=6, max_depth=5),
    "three classes": random_forest(2, n_trees=9, n_outputs=3),
    "averaged probabilities": random_forest(3, n_trees=7, n_outputs=4, link="identity", aggregation="mean"),
    "regression": random_forest(4, n_trees=9, task="regression"),
    "mean of two": random_forest(5, n_trees=7, n_outputs=2, task="regression", aggregation="mean"),
    "axis only, integer labels": random_forest(6, n_trees=5, oblique=False, classes=(-1, 2**40)),
    "boolean labels": random_forest(7, n_trees=5, columns=3, classes=(False, True)),
    "no tree": random_forest(8, n_trees=0, n_outputs=3),
    "names of JavaScript's own": random_forest(
        9, n_trees=20, columns=[Column(n) for n in ("__proto__", "constructor", "toString", "hasOwnProperty", "</script>", "${x}`")]
    ),
}  # fmt: skip


def run(module: str, expression: str, folder: Path) -> Any:
    """Evaluate an expression over the module's exports in node."""
    (folder / "model.mjs").write_text(module)
    names = ", ".join(EXPORTS)
    (folder / "main.mjs").write_text(
        f'import {{ {names} }} from "./model.mjs";\nconst said = {expression};\n'
        'process.stdout.write(JSON.stringify(said, (_, v) => (v !== v ? "NaN" : v)));\n'
    )
    done = subprocess.run(
        ["node", "main.mjs"],
        cwd=folder,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@needs_node
@pytest.mark.parametrize("case", CASES)
def test_equals_reference(case: str) -> None:
    forest = CASES[case]
    rows = generate_rows(forest, 2000, random_state=1)
    wrong, ulp = differences(forest, rows, NodeEngine(forest).score(rows))
    assert wrong.sum() == 0 and ulp <= 8


@needs_node
def test_what_a_row_may_hold(tmp_path: Path) -> None:
    rows = [
        ("{}", ["NaN", "NaN", "NaN", "NaN", 1]),
        ("{n: null, b: undefined, c: null, t: new Date(NaN)}", ["NaN", "NaN", "NaN", "NaN", 1]),
        ("{n: true, b: 1, c: 1, t: 59.9}", [1, 1, 1.0, 59, 0]),
        ("{n: 12n, b: false, c: true, t: '1970-01-01'}", [12, 0, 4.0, 0, 0]),
        ("{n: -0.5, b: true, c: 0.00001, t: '1970-01-01T00:00:00'}", [-0.5, 1, 2.0, 0, 0]),
        ("{n: 1, b: true, c: Infinity, t: '1970-01-01 00:00:01.999Z'}", [1, 1, 3.0, 1, 0]),
        ("{n: 1, b: true, c: '', t: '1969-12-31T23:59:59.5'}", [1, 1, 0.0, -1, 0]),
        ("{n: 1, b: true, c: 'True', t: '2000-02-29T12:00+05:30'}", [1, 1, 9.0, 951805800, 0]),
        ("{n: 1, b: true, c: '1 ', t: '0099-01-01'}", [1, 1, 9.0, -59042995200, 0]),
        ("{n: 1, b: true, c: -0, t: new Date(-1)}", [1, 1, 9.0, -1, 0]),
        ("{n: 1, b: true, c: 1n, t: '-000001-01-01T00:00:00.1-01:00'}", [1, 1, 1.0, -62198751600, 0]),
    ]
    said = run(to_javascript(PLAIN), f"[{', '.join(text for text, _ in rows)}].map(encode)", tmp_path)
    assert said == [expected for _, expected in rows]


@needs_node
def test_what_a_row_may_not_hold(tmp_path: Path) -> None:
    bad = [
        "{n: '1'}",
        "{n: {}}",
        "{b: 'yes'}",
        "{c: {}}",
        "{c: []}",
        "{t: 'soon'}",
        "{t: '2001-02-29'}",
        "{t: '2001-01-01T24:00'}",
        "{t: {}}",
    ]
    tries = f"[{', '.join(bad)}].map((row) => {{ try {{ return encode(row); }} catch (e) {{ return `${{e.name}}: ${{e.message}}`; }} }})"
    said = run(to_javascript(PLAIN), tries, tmp_path)
    assert all(text.startswith('TypeError: column "') for text in said), said
    assert said[0] == 'TypeError: column "n" is numeric, got 1 (string)'


@needs_node
def test_dates_are_the_reference_dates(tmp_path: Path) -> None:
    forest = random_forest(2, n_trees=5, columns=[Column("t", "datetime")])
    rows = generate_rows(forest, 300)
    texts = [None if np.isnat(t) else str(t) for t in rows["t"]]
    said = run(to_javascript(forest), f"{json.dumps(texts)}.map((t) => leaves({{t}}))", tmp_path)
    assert said == forest.apply(rows).tolist()


@needs_node
def test_paths_run_from_the_root_to_the_leaf(tmp_path: Path) -> None:
    forest = CASES["three classes"]
    assert run(to_javascript(forest), "paths({})", tmp_path) == forest.decision_path(
        {c.name: [None] for c in forest.schema.columns}
    )


@needs_node
def test_the_object_form_is_one_expression(tmp_path: Path) -> None:
    forest = CASES["binary"]
    script = f"const model = {to_javascript(forest, form='object')};\n"
    script += "console.log(JSON.stringify([model.leaves({}), model.schema.target]));"
    (tmp_path / "page.js").write_text(script)
    done = subprocess.run(
        ["node", "page.js"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        stdin=subprocess.DEVNULL,
    )
    leaves, target = json.loads(done.stdout)
    assert (
        target == "target"
        and leaves == forest.apply({c.name: [None] for c in forest.schema.columns})[0].tolist()
    )


@needs_node
def test_regression_has_no_probabilities(tmp_path: Path) -> None:
    tries = "(() => { try { return probabilities({}); } catch (e) { return e.message; } })()"
    assert "no probabilities" in run(to_javascript(CASES["regression"]), tries, tmp_path)


def hostile() -> Forest:
    columns = [Column("</script>"), Column("<!--", "categorical", ("-->", "<script>", "\u2028"))]
    return random_forest(4, n_trees=3, columns=columns, classes=("</SCRIPT >", "]]>"))


@pytest.mark.parametrize("form", ["module", "object"])
def test_nothing_in_it_can_end_a_script_element(form: str) -> None:
    code = to_javascript(hostile(), form=form)
    assert code.isascii()
    assert not any(danger in code.lower() for danger in ("</", "<!--", "-->", "]]>", "<script"))


def test_what_javascript_cannot_hold_is_refused() -> None:
    with pytest.raises(ExportError, match="2\\*\\*53"):
        to_javascript(random_forest(1, classes=(0, 2**53 + 1)))
    with pytest.raises(ParameterError, match="form"):
        to_javascript(PLAIN, form="commonjs")
    with pytest.raises(ExportError, match="add up"):
        to_javascript(forest_from_trees([{"value": 1.5e308}, {"value": -1.5e308}], ["x"]))
