"""Every engine gives the bits of the reference: leaves and raw scores, for any forest, any rows, any layout of the input."""

from __future__ import annotations

import platform
import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hardgrad.core import kernels
from hardgrad.core.errors import DataError, ExportError, ParameterError, SchemaError
from hardgrad.export import compiled_c
from hardgrad.export.compiled_c import has_compiler
from hardgrad.trees import Forest, forest_from_trees, runtime_c
from hardgrad.trees.probe import generate_rows, random_forest
from hardgrad.trees.runtime import prepare
from hardgrad.trees.runtime_tables import MAX_TEST_LEAVES, build_tables

needs_compiler = pytest.mark.skipif(not has_compiler(), reason="no C compiler on this machine")
ENGINES = [pytest.param("c", marks=needs_compiler), "numba", "numpy"]
ROW_COUNTS = (0, 1, 2, 15, 25, 31, 32, 33, 63, 64, 65, 255, 256, 257, 300, 1000)


def chain(depth: int, *, oblique: bool = False) -> dict[str, object]:
    """A tree as deep as it has inner nodes."""
    tree: dict[str, object] = {"value": -1.0}
    for level in range(depth):
        test = (
            {"terms": [(0, 2), (1, -3)], "threshold": 7 * level - 300} if oblique and level % 3 == 0 else None
        )
        test = test or {
            "feature": level % 3,
            "threshold": (level * 37 % 100) / 50 - 1,
            "default_left": level % 2 == 0,
        }
        sides = [{"value": float(level)}, tree]
        left, right = sides if level % 5 else sides[::-1]
        tree = {**test, "left": left, "right": right}
    return tree


def ladder(leaves: int, feature: int = 0) -> dict[str, object]:
    """A balanced tree with evenly spaced thresholds between 0 and 1."""

    def build(a: int, b: int) -> dict[str, object]:
        if b - a == 1:
            return {"value": a / 7}
        middle = (a + b) // 2
        sides = {"left": build(a, middle), "right": build(middle, b)}
        return {"feature": feature, "threshold": middle / leaves, "default_left": middle % 3 == 0, **sides}

    return build(0, leaves)


TABLE = {
    0: (np.array([-0.5, 0.0, 0.5]), np.array([-90, 5, 40, 200], dtype=np.int32)),
    1: (np.array([0.1]), np.array([-7, 100], dtype=np.int32)),
}
FORESTS: dict[str, Forest] = {
    "no trees": forest_from_trees([], ["a"], base=[0.5], aggregation="mean"),
    "single leaves": forest_from_trees([{"value": 1.0}, {"value": 0.1}], ["a", "b"]),
    "one split": forest_from_trees([ladder(2)], ["a"]),
    "mixed": random_forest(0, n_trees=9),
    "multiclass": random_forest(1, n_outputs=3),
    "several targets, mean": random_forest(2, n_outputs=2, task="regression", aggregation="mean"),
    "axis only": random_forest(3, oblique=False, columns=4, n_trees=20),
    "axis only, several targets, mean": random_forest(
        4, oblique=False, columns=4, n_trees=17, n_outputs=3, task="regression", aggregation="mean"
    ),
    "chain of 20": forest_from_trees([chain(20), chain(3)], ["a", "b", "c"]),
    "chain of 600": forest_from_trees(
        [chain(600), chain(600, oblique=True)], ["a", "b", "c"], score_tables=TABLE
    ),
    "largest tested tree, 255 thresholds": forest_from_trees([ladder(MAX_TEST_LEAVES)], ["a"]),
    "16-bit ranks": forest_from_trees([ladder(200), ladder(113), ladder(251)], ["a"]),
    "16-bit ranks, oblique": random_forest(5, n_trees=200, columns=2, max_depth=4),
    "stepped and tested": forest_from_trees(
        [ladder(5), ladder(700), chain(9), ladder(300, 1)], ["a", "b", "c"]
    ),
    "stepped and oblique": random_forest(6, n_trees=2, max_depth=11),
}


@pytest.fixture(scope="module", params=sorted(FORESTS))
def case(request: pytest.FixtureRequest) -> tuple[Forest, np.ndarray, np.ndarray, np.ndarray]:
    """A forest, encoded rows that stress it, and what the reference makes of them."""
    forest = FORESTS[request.param]
    X = forest.encode(generate_rows(forest, 1000))
    leaves = forest.apply_encoded(X)
    return forest, X, leaves, forest.sum_leaves(leaves)


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@pytest.mark.parametrize("engine", ENGINES)
def test_leaves_and_raw_scores_are_those_of_the_reference(case, engine):
    forest, X, leaves, raw = case
    fast = prepare(forest, engine)
    for n in ROW_COUNTS:
        assert same_bits(fast.predict_raw_encoded(X[-n:] if n else X[:0]), raw[-n:] if n else raw[:0]), n
        assert same_bits(fast.apply_encoded(X[:n]), leaves[:n]), n
    assert all(same_bits(fast.predict_raw_encoded(X[r : r + 1]), raw[r : r + 1]) for r in range(60))


@needs_compiler
@pytest.mark.skipif(platform.machine() != "x86_64", reason="other instruction sets of x86 are tested on x86")
@pytest.mark.parametrize("target", [("-march=x86-64",), ("-march=haswell",)], ids=["sse2", "avx2"])
def test_c_without_avx512(case, target, monkeypatch):
    if target == ("-march=haswell",) and "avx2" not in compiled_c._processor().split():
        pytest.skip("this processor has no AVX2")
    monkeypatch.setattr(runtime_c, "TARGET", target)
    forest, X, leaves, raw = case
    fast = prepare(forest, "c")
    for n in (1, 40, 64, 1000):
        assert same_bits(fast.predict_raw_encoded(X[:n]), raw[:n])
        assert same_bits(fast.apply_encoded(X[:n]), leaves[:n])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 2**32 - 1),
    n_trees=st.integers(1, 12),
    depth=st.integers(0, 10),
    outputs=st.integers(1, 4),
    oblique=st.booleans(),
    mean=st.booleans(),
    rows=st.sampled_from(ROW_COUNTS),
    jobs=st.integers(1, 3),
)
def test_random_forests(seed, n_trees, depth, outputs, oblique, mean, rows, jobs):
    forest = random_forest(
        seed,
        n_trees=n_trees,
        max_depth=depth,
        n_outputs=outputs,
        oblique=oblique,
        task="regression",
        aggregation="mean" if mean else "sum",
    )
    table = generate_rows(forest, rows, random_state=seed)
    leaves, raw = forest.apply(table), forest.predict_raw(table)
    for engine in ("c", "numba", "numpy") if has_compiler() else ("numba", "numpy"):
        fast = prepare(forest, engine, n_jobs=jobs)
        assert same_bits(fast.predict_raw(table), raw), engine
        assert same_bits(fast.apply(table), leaves), engine


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("n", [1, 10, 40, 300])
def test_any_layout_of_the_input(engine, n):
    forest = random_forest(7, columns=3, n_outputs=2)
    X = forest.encode(generate_rows(forest, 2 * n))
    frozen = X.copy()
    frozen.flags.writeable = False
    unaligned = np.frombuffer(b"\0" + X.tobytes(), dtype=np.float64, count=X.size, offset=1).reshape(X.shape)
    fast = prepare(forest, engine)
    wide = np.repeat(X, 2, axis=1)
    for same in (X, np.asfortranarray(X), wide[:, ::2], X[::-1][::-1], frozen, unaligned, X.tolist()):
        assert same_bits(fast.predict_raw_encoded(same), forest.predict_raw(X))
        assert same_bits(fast.apply_encoded(same), forest.apply(X))
    assert same_bits(fast.predict_raw_encoded(X[::2]), forest.predict_raw(X[::2]))
    with np.errstate(over="ignore"):
        single = X.astype(np.float32)
    assert same_bits(fast.predict_raw_encoded(single), forest.predict_raw(single.astype(np.float64)))
    assert same_bits(
        fast.predict_raw_encoded(np.zeros((n, 3), dtype=np.int8)), forest.predict_raw(np.zeros((n, 3)))
    )


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "options",
    [{}, {"n_outputs": 4}, {"task": "regression", "n_outputs": 1}, {"task": "regression", "n_outputs": 2}],
)
def test_predictions_and_probabilities(engine, options):
    forest = random_forest(8, **options)
    table = generate_rows(forest, 200)
    fast = prepare(forest, engine)
    assert np.array_equal(fast.predict(table), forest.predict(table))
    assert np.array_equal(fast.predict_encoded(forest.encode(table)), forest.predict(table))
    if forest.task == "classification":
        assert same_bits(fast.predict_proba(table), forest.predict_proba(table))
        assert same_bits(fast.predict_proba_encoded(forest.encode(table)), forest.predict_proba(table))
    else:
        with pytest.raises(DataError, match="no probabilities"):
            fast.predict_proba(table)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("n_jobs", [1, 2, 3, -1])
def test_threads_change_nothing(engine, n_jobs):
    forest = random_forest(9, n_trees=10, n_outputs=2)
    X = forest.encode(generate_rows(forest, 2003))
    fast = prepare(forest, engine, n_jobs=n_jobs)
    for n in (511, 1024, 1025, 2003):
        assert same_bits(fast.predict_raw_encoded(X[:n]), forest.sum_leaves(forest.apply_encoded(X[:n])))
        assert same_bits(fast.apply_encoded(X[:n]), forest.apply_encoded(X[:n]))


@pytest.mark.parametrize("engine", ENGINES)
def test_threads_may_share_a_runtime(engine):
    forest = random_forest(10, n_trees=30)
    X = forest.encode(generate_rows(forest, 400))
    raw = forest.sum_leaves(forest.apply_encoded(X))
    fast = prepare(forest, engine)
    wrong: list[int] = []

    def work(start: int) -> None:
        for r in range(start, len(X), 4):
            if not same_bits(fast.predict_raw_encoded(X[r : r + 1]), raw[r : r + 1]):
                wrong.append(r)
        if not same_bits(fast.predict_raw_encoded(X), raw):
            wrong.append(-1)

    workers = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []


@pytest.mark.parametrize("engine", ENGINES)
def test_more_thresholds_than_16_bits_can_rank(engine):
    trees = [ladder(250) for _ in range(270)]
    shift = 0
    stack: list[dict[str, object]] = list(trees)
    while stack:  # make every threshold distinct
        node = stack.pop()
        if "feature" in node:
            shift += 1
            node["threshold"] = float(node["threshold"]) + shift * 1e-9  # type: ignore[arg-type]
            stack += [node["left"], node["right"]]  # type: ignore[list-item]
    forest = forest_from_trees(trees, ["a"])
    tables = build_tables(forest)
    assert tables.n_tested == 0 and len(tables.test) == 0
    X = np.linspace(-0.1, 1.1, 90)[:, None]
    X[3] = np.nan
    fast = prepare(forest, engine)
    assert same_bits(fast.apply_encoded(X), forest.apply_encoded(X))
    assert same_bits(fast.predict_raw_encoded(X), forest.sum_leaves(forest.apply_encoded(X)))


def test_what_is_tested_and_what_is_stepped():
    tables = build_tables(FORESTS["stepped and tested"])
    assert tables.tested.tolist() == [1, 0, 1, 0]
    assert not tables.wide
    assert build_tables(FORESTS["16-bit ranks"]).wide
    assert not build_tables(FORESTS["largest tested tree, 255 thresholds"]).wide
    assert build_tables(FORESTS["largest tested tree, 255 thresholds"]).high_rank.tolist() == [255]


# --- choosing an engine, and errors ----------------------------------------------------------------------------------------------
def test_unknown_engine_and_jobs():
    with pytest.raises(ParameterError, match="engine='fortran'"):
        prepare(FORESTS["one split"], "fortran")
    with pytest.raises(ParameterError, match="n_jobs=0"):
        prepare(FORESTS["one split"], "numpy", n_jobs=0)


def test_no_compiler(monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")
    runtime_c._functions.cache_clear()
    with pytest.raises(ExportError, match="no-such-compiler"):
        prepare(FORESTS["one split"], "c")
    assert prepare(FORESTS["one split"], "auto").engine == "numba"


@needs_compiler
def test_auto_takes_the_compiler():
    assert prepare(FORESTS["one split"]).engine == "c"
    assert "engine='c'" in repr(FORESTS["one split"].runtime("auto", n_jobs=2))


def test_a_compiler_without_native_is_asked_again(monkeypatch):
    if not has_compiler():
        pytest.skip("no C compiler on this machine")
    monkeypatch.setattr(runtime_c, "TARGET", ("-march=no-such-processor",))
    assert prepare(FORESTS["one split"], "c").predict(np.array([[0.4], [0.6]])).tolist() == [0.0, 1 / 7]


def test_a_wrong_number_of_features():
    with pytest.raises(SchemaError, match=r"shape \(3, 2\).*\[n, 1\]"):
        prepare(FORESTS["one split"], "numpy").predict_raw_encoded(np.zeros((3, 2)))
    with pytest.raises(SchemaError, match="shape"):
        prepare(FORESTS["one split"], "numpy").apply_encoded(np.zeros(3))


def test_numba_without_a_folder_for_its_cache(monkeypatch):
    import numba

    real = numba.njit

    def refusing(*args, **options):
        if options.pop("cache", False):
            raise RuntimeError("cannot cache function: no locator available")
        return real(*args, **options)

    monkeypatch.setattr(numba, "njit", refusing)
    assert kernels.kernel(lambda x: x + 1)(2) == 3
