"""The repository keeps its own rules: what may be imported where, what may not be written, how large a file may grow."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import stubs

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "hardgrad"
MODULES = sorted(SOURCE.rglob("*.py"))
HEAVY = (
    "torch",
    "numba",
    "sklearn",
    "pyarrow",
    "duckdb",
    "sqlglot",
    "pandas",
    "polars",
    "scipy",
    "matplotlib",
    "jinja2",
    "rich",
)
MAX_LINES = 450


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imported_after(code: str, *arguments: str) -> set[str]:
    """Run code in a fresh interpreter and return the top-level packages that it left imported."""
    script = (
        f"{code}\nimport sys\nprint('LOADED', *sorted({{name.partition('.')[0] for name in sys.modules}}))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, *arguments],
        capture_output=True, text=True, check=False, cwd=ROOT, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("LOADED")[2].split())


def modules_with_torch() -> set[str]:
    """The modules whose import loads torch: those that import it themselves, and those that import one of these."""
    loads: dict[str, set[str]] = {}
    for path in MODULES:
        nodes = [node for node in tree_of(path).body if isinstance(node, ast.Import | ast.ImportFrom)]
        names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        for node in nodes:
            if isinstance(node, ast.ImportFrom) and node.module:
                names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        loads[module_name(path)] = names
    found: set[str] = set()
    while True:
        targets = found | {"torch", "lightning_fabric"}
        more = {
            module
            for module, names in loads.items()
            if any(name.partition(".")[0] in targets or name in targets for name in names)
        }
        if more == found:
            return found
        found = more


def test_import_is_light() -> None:
    loaded = imported_after("import hardgrad, hardgrad.trees")
    assert not loaded & set(HEAVY)


def test_load_and_predict_without_torch(tmp_path: Path) -> None:
    from hardgrad.trees.forest_build import forest_from_trees

    tree = {"feature": 0, "threshold": 1.5, "left": {"value": 0.25}, "right": {"value": 2.0}}
    path = forest_from_trees([tree], ["age"]).save(tmp_path / "model.safetensors")
    code = (
        "import sys, numpy, hardgrad\n"
        "forest = hardgrad.load(sys.argv[1])\n"
        "assert forest.predict({'age': numpy.array([1.0, 2.0])}).tolist() == [0.25, 2.0]"
    )
    loaded = imported_after(code, str(path))
    assert not loaded & {"torch", "numba", "sklearn", "pyarrow", "duckdb", "sqlglot", "pandas", "polars"}


def test_the_command_starts_without_torch() -> None:
    if not (SOURCE / "cli" / "main.py").exists():
        pytest.skip("the command is not written yet")
    assert not imported_after("import hardgrad.cli.main") & {"torch", "numba", "sklearn", "duckdb", "sqlglot"}


def test_modules_outside_the_torch_side_import_no_torch() -> None:
    """Every module that is not on the torch side of the house is imported, all in one process: torch must stay out."""
    skip = modules_with_torch()
    names = [
        name for path in MODULES if (name := module_name(path)) not in skip and not name.endswith("__main__")
    ]
    assert len(names) > 20
    loaded = imported_after(
        "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)", *names
    )
    assert not loaded & {"torch", "lightning_fabric"}


def test_artifact_modules_are_all_under_contract() -> None:
    """A module that defines an artifact is listed in the import-linter contract that keeps torch out of it."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    (listed,) = [c["source_modules"] for c in contracts if c["type"] == "forbidden"]
    for path in MODULES:
        defines = any(
            isinstance(node, ast.ClassDef) and any(keyword.arg == "kind" for keyword in node.keywords)
            for node in ast.walk(tree_of(path))
        )
        name = module_name(path)
        if defines:
            assert any(name == entry or name.startswith(f"{entry}.") for entry in listed), (
                f"{name} is under no contract"
            )


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_a_module_says_what_it_is_and_stays_small(path: Path) -> None:
    assert ast.get_docstring(tree_of(path)), "a module's first lines say what lives there"
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= MAX_LINES, f"{lines} lines: a file is one idea"


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_nothing_unfinished_or_executable(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"\b(TODO|FIXME|XXX|HACK)\b", text)
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            imported = {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported = {node.module or ""}
        else:
            imported = set()
        assert not imported & {"pickle", "cloudpickle", "joblib", "dill", "marshal", "shelve"}, (
            "models are never pickled"
        )
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"eval", "exec", "breakpoint", "__import__"}
        if isinstance(node, ast.ExceptHandler):
            silent = len(node.body) == 1 and isinstance(node.body[0], ast.Pass)
            broad = node.type is None or (
                isinstance(node.type, ast.Name) and node.type.id in {"Exception", "BaseException"}
            )
            assert not (silent and broad), f"line {node.lineno} swallows every error"


def test_straight_through_is_spelled_once() -> None:
    spelled = [
        module_name(p)
        for p in MODULES
        if re.search(
            r"-\s*(\w+)\.detach\(\)\s*\+\s*\1\b|\)\.detach\(\)\s*\+|\+\s*\(\w+ - \w+\)\.detach\(\)",
            p.read_text(encoding="utf-8"),
        )
    ]
    assert not spelled, "use hardgrad.straight_through"


PACKAGES = [
    "hardgrad", "hardgrad.bits", "hardgrad.functional", "hardgrad.gradients", "hardgrad.gradients.diagnostics", "hardgrad.losses",
    "hardgrad.nn", "hardgrad.tabular", "hardgrad.trees",
]  # fmt: skip


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_are_documented(package: str) -> None:
    module = importlib.import_module(package)
    for name in module.__all__:
        if name.startswith("__"):
            continue
        member = getattr(module, name)
        assert not inspect.ismodule(member), f"{package}.{name} is hidden by the module of that name"
        assert inspect.getdoc(member), f"{package}.{name} has no docstring"
        for attribute, value in vars(member).items() if inspect.isclass(member) else ():
            if not attribute.startswith("_") and inspect.isfunction(value):
                assert inspect.getdoc(getattr(member, attribute)), (
                    f"{package}.{name}.{attribute} has no docstring"
                )


def test_the_pins_cover_what_is_declared() -> None:
    """Every dependency of pyproject.toml, extras included, has its pin; pins name versions and nothing else."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9A-Za-z.]+", pin) for pin in pins)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = [
        *project["dependencies"],
        *(d for extra in project["optional-dependencies"].values() for d in extra),
    ]
    names = {re.split(r"[\[<>=~! ]", text)[0].lower().replace("_", "-") for text in declared} - {"hardgrad"}
    assert not names - {pin.partition("==")[0] for pin in pins}
    assert "torch==2.13.0" in pins


def test_every_dependency_is_explained() -> None:
    text = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8").lower()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for declared in project["dependencies"]:
        name = re.split(r"[\[<>=~! ]", declared)[0]
        assert f"## {name}" in text, f"docs/dependencies.md has no paragraph about {name}"


@pytest.mark.parametrize("package", stubs.lazy_packages())
def test_a_lazy_package_tells_its_names_to_type_checkers(package):
    written = stubs.path_of(package).read_text(encoding="utf-8")
    assert written == stubs.stub_of(package), "run `make stubs`"
