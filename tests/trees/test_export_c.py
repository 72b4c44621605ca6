"""The exported C: equal to the reference bit for bit under every optimisation, without a warning, refused where it cannot be exact."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hardgrad.core.errors import ExportError, ParameterError
from hardgrad.export.compiled_c import compile_shared, has_compiler
from hardgrad.tabular.row_c import row_members
from hardgrad.tabular.schema import Column, Feature, TableSchema
from hardgrad.trees import Forest, forest_from_trees
from hardgrad.trees.exactness import differences
from hardgrad.trees.exactness_compiled import CEngine
from hardgrad.trees.export_c import to_c
from hardgrad.trees.probe import generate_rows, random_forest

needs_compiler = pytest.mark.skipif(not has_compiler(), reason="no C compiler on this machine")
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror")
OPTIMISATIONS = {
    "O0": ("-O0",),
    "O2": ("-O2",),
    "O3, fused multiply-add": ("-O3", "-march=native", "-ffp-contract=fast"),
}
CASES = {
    "binary": random_forest(1, n_trees=6, max_depth=5),
    "three classes": random_forest(2, n_trees=9, n_outputs=3),
    "averaged probabilities": random_forest(3, n_trees=7, n_outputs=4, link="identity", aggregation="mean"),
    "regression": random_forest(4, n_trees=9, task="regression"),
    "mean of two": random_forest(5, n_trees=7, n_outputs=2, task="regression", aggregation="mean"),
    "axis only": random_forest(6, n_trees=5, oblique=False),
    "plain matrix": random_forest(7, n_trees=5, columns=3),
    "no tree": random_forest(8, n_trees=0, n_outputs=3),
    "single leaves": random_forest(9, n_trees=3, max_depth=0),
    "depth 12": random_forest(10, n_trees=2, max_depth=12, task="regression"),
}


def differing(forest: Forest, engine: CEngine, n: int = 3000, seed: int = 0) -> int:
    rows = generate_rows(forest, n, random_state=seed)
    wrong, _ = differences(forest, rows, engine.score(rows))
    return int(wrong.sum())


@needs_compiler
@pytest.mark.parametrize("optimisation", OPTIMISATIONS)
@pytest.mark.parametrize("layout", ["branches", "table"])
@pytest.mark.parametrize("case", CASES)
def test_equals_reference_without_a_warning(case: str, layout: str, optimisation: str) -> None:
    engine = CEngine(CASES[case], layout=layout, flags=(*STRICT, *OPTIMISATIONS[optimisation]))
    assert differing(CASES[case], engine) == 0


@needs_compiler
@pytest.mark.skipif(shutil.which("clang") is None, reason="clang is not installed")
@pytest.mark.parametrize("case", CASES)
def test_equals_reference_with_clang(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "clang")
    assert differing(CASES[case], CEngine(CASES[case], flags=(*STRICT, "-O2"))) == 0


@needs_compiler
@pytest.mark.parametrize("flag", ["-ffast-math", "-Ofast", "-ffinite-math-only"])
def test_inexact_arithmetic_is_refused_at_compile_time(flag: str) -> None:
    code = to_c(CASES["binary"])
    with pytest.raises(ExportError, match="must not be compiled"):
        compile_shared(code.source, flags=("-std=c99", flag), headers={"model.h": code.header})


@needs_compiler
@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
def test_the_header_is_for_cpp_too(tmp_path: Path) -> None:
    to_c(CASES["binary"], "loans").write(tmp_path)
    (tmp_path / "main.cpp").write_text(
        '#include "loans.h"\nint main() { loans_row row = {}; return loans_predict(&row) > 1; }\n'
    )
    commands = [
        ["gcc", *STRICT, "-c", "loans.c"],
        ["g++", "-Wall", "-Wextra", "-Werror", "main.cpp", "loans.o", "-lm", "-o", "main"],
        ["./main"],
    ]
    for command in commands:
        subprocess.run(command, cwd=tmp_path, check=True)


@needs_compiler
def test_the_matrix_functions_agree_with_the_row_functions() -> None:
    import ctypes

    forest = CASES["three classes"]
    X = forest.encode(generate_rows(forest, 200))
    code = to_c(forest)
    library = compile_shared(code.source, headers={"model.h": code.header})
    raw, leaves = np.empty((len(X), forest.n_outputs)), np.empty((len(X), forest.n_trees), dtype=np.int32)
    for run, out in ((library.model_raw_matrix, raw), (library.model_leaves_matrix, leaves)):
        run(ctypes.c_void_p(X.ctypes.data), ctypes.c_size_t(len(X)), ctypes.c_void_p(out.ctypes.data))
    assert np.array_equal(leaves, forest.apply_encoded(X))
    assert raw.tobytes() == forest.sum_leaves(leaves).tobytes()


@needs_compiler
def test_names_that_collide_or_are_keywords() -> None:
    names = [
        "int",
        "int_",
        "a b",
        "a_b",
        "a-b",
        "",
        "日本",
        "x",
        "NULL",
        "M_PI",
        "isnan",
        '*/ "',
        "??/",
        "\u202e",
        "line\nbreak",
    ]
    columns = [
        Column(name, "categorical", ("*/", "??/", "a")) if i % 3 else Column(name)
        for i, name in enumerate(names)
    ]
    forest = random_forest(3, n_trees=20, columns=columns)
    assert len(set(row_members(forest.schema.columns))) == len(names)
    for layout in ("branches", "table"):
        assert differing(forest, CEngine(forest, layout=layout, flags=(*STRICT, "-O1"))) == 0


@needs_compiler
def test_classes_of_every_type_have_labels() -> None:
    for classes in [(False, True), (-1, 2**40), (0.5, 1.5), ("", 'a"\\??/é')]:
        forest = random_forest(3, n_trees=2, classes=classes)
        assert differing(forest, CEngine(forest, flags=(*STRICT, "-O1")), 500) == 0
    assert (
        'model_class[MODEL_CLASSES] = {"false", "true"};'
        in to_c(random_forest(3, classes=(False, True))).source
    )


@needs_compiler
@pytest.mark.parametrize("layout", ["auto", "branches", "table"])
def test_a_deep_chain_and_a_wide_forest_compile(layout: str) -> None:
    node: dict[str, object] = {"value": -1.0}
    for level in range(120):
        node = {"feature": 0, "threshold": float(level), "left": {"value": float(level)}, "right": node}
    chain = forest_from_trees([node], ["x"])
    assert differing(chain, CEngine(chain, layout=layout)) == 0
    if layout != "branches":
        wide = random_forest(5, n_trees=200, max_depth=6)
        assert differing(wide, CEngine(wide, layout=layout), 500) == 0


def test_small_forests_are_ifs_and_large_ones_tables() -> None:
    tree = {"feature": 0, "threshold": 36.5, "left": {"value": 0.0}, "right": {"value": 2.0}}
    small = to_c(forest_from_trees([tree], ["age"])).source
    assert "    if (x[0] <= 0x1.24p+5) { /* age <= 36.5 */" in small
    large = to_c(random_forest(1, n_trees=60, max_depth=6)).source
    assert "model_node[] = {" in large and "model_tree_0" not in large


@needs_compiler
def test_a_schema_without_features_or_categories() -> None:
    empty = TableSchema((Column("a"), Column("c", "categorical")), ())
    constant = forest_from_trees([{"value": 2.0}], empty)
    assert differing(constant, CEngine(constant, flags=(*STRICT, "-O1")), 50) == 0
    unseen_only = TableSchema(
        (Column("c", "categorical"),), (Feature("c", 0, "codes", (0.5,)), Feature("m", 0, "missing"))
    )
    tree = {"feature": 0, "threshold": 0.5, "left": {"value": 1.0}, "right": {"value": 2.0}}
    forest = forest_from_trees([tree], unseen_only)
    assert differing(forest, CEngine(forest, flags=(*STRICT, "-O1")), 200) == 0


def test_what_cannot_be_exact_is_refused() -> None:
    with pytest.raises(ParameterError, match="form"):
        to_c(CASES["binary"], form="float")
    with pytest.raises(ParameterError, match="layout"):
        to_c(CASES["binary"], layout="maze")
    with pytest.raises(ParameterError, match="Try 'my_model'"):
        to_c(CASES["binary"], "my model")
    null = random_forest(1, columns=[Column("c", "categorical", ("a\0b",))])
    with pytest.raises(ExportError, match="U\\+0000"):
        to_c(null)
    huge = forest_from_trees([{"value": 1.5e308}, {"value": -1.5e308}], ["x"])
    with pytest.raises(ExportError, match="add up to more"):
        to_c(replace(huge, base=np.array([1e308])))


def test_files_are_written_side_by_side(tmp_path: Path) -> None:
    header, source = to_c(CASES["regression"], "price").write(tmp_path)
    assert [header.name, source.name] == ["price.h", "price.c"]
    assert source.read_text().count('#include "price.h"') == 1
