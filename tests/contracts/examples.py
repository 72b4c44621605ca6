"""What the artifact contract needs of each kind: small examples, rows to ask them about, their answers, their exports.

Whoever registers an artifact adds a function here under its kind; a kind without examples fails the suite.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import circuit_examples
import code_examples
import numpy as np
import packed_examples
import pyarrow as pa
from category_exports import codes_in_c, codes_in_duckdb
from sklearn.tree import DecisionTreeClassifier

from hardgrad.bits import LatticeCodes
from hardgrad.bits.block_low_rank_matrix import BlockLowRankMatrix
from hardgrad.core.artifact import Artifact
from hardgrad.export.compiled_c import compile_shared, has_compiler
from hardgrad.nn.comparator_network import ComparatorNetwork
from hardgrad.nn.gated_mlp import GatedMLP
from hardgrad.tabular.category_table import CategoryTable
from hardgrad.tabular.encoders import CategoricalEncoder
from hardgrad.tabular.neighbour_model import Neighbourhood
from hardgrad.tabular.schema import Column, Feature, TableSchema
from hardgrad.trees import (
    ID3Tree,
    MultiPathTreePredictor,
    NearestNeighbourhoodClassifier,
    NearestNeighbourhoodRegressor,
    hybrid_switch,
)
from hardgrad.trees.exactness import ENGINES, check_exactness
from hardgrad.trees.meta_tree_weights import MetaTreeWeights
from hardgrad.trees.packing import Packing
from hardgrad.trees.probe import generate_rows, random_forest


@dataclass(frozen=True)
class ExportResult:
    """One export compared with the reference: how many rows differ, or why it did not run."""

    name: str
    differing: int
    skipped_reason: str | None


@dataclass(frozen=True)
class Example:
    """One artifact with what can be asked of it.

    Parameters
    ----------
    name : what is special about it.
    artifact : the artifact.
    rows : seed -> input made to be awkward for this artifact.
    answers : (artifact, rows) -> every array that its reference semantics give.
    exports : (artifact, seed) -> every export run on generated rows; none where the kind has no exports.
    """

    name: str
    artifact: Artifact
    rows: Callable[[int], Any]
    answers: Callable[[Any, Any], list[np.ndarray]]
    exports: Callable[[Any, int], list[ExportResult]]


def forest_examples() -> list[Example]:
    """Forests of every link, task, label type and shape."""
    packing = Packing(4, 3, (0,), (0.5,), (0.25,), 0.125, (3,), True)
    forests = {
        "binary": random_forest(1, n_trees=4, max_depth=4),
        "three classes": random_forest(2, n_trees=3, max_depth=3, n_outputs=3),
        "averaged probabilities": random_forest(
            3, n_trees=3, n_outputs=4, link="identity", aggregation="mean"
        ),
        "regression of two": random_forest(4, n_trees=3, n_outputs=2, task="regression"),
        "integer labels, axis only": random_forest(5, n_trees=3, oblique=False, classes=(-1, 7)),
        "boolean labels": random_forest(6, n_trees=2, max_depth=2, classes=(False, True)),
        "no tree": random_forest(7, n_trees=0),
        "awkward names": random_forest(
            8, n_trees=3, columns=[Column("\n'\"\\"), Column("🌲\u202e", "categorical", ("", "\x07", "'"))]
        ),
        "linear nodes among others": random_forest(10, n_trees=3, max_depth=4, linear=True),
        "linear nodes, three classes": random_forest(
            11, n_trees=3, max_depth=3, n_outputs=3, linear=True, oblique=False
        ),
        "one tree of sums, affine leaves": random_forest(
            12, n_trees=1, max_depth=6, n_outputs=2, task="regression", linear=True, slopes=True, columns=4
        ),
        "affine leaves, averaged": random_forest(
            13, n_trees=3, max_depth=3, task="regression", slopes=True, aggregation="mean"
        ),
        "with grids": replace(random_forest(9, n_trees=2, max_depth=2, columns=2), packing=packing),
    }

    def answers(forest: Any, rows: Any) -> list[np.ndarray]:
        said = [forest.apply(rows), forest.predict_raw(rows), forest.predict(rows)]
        return [*said, forest.predict_proba(rows)] if forest.task == "classification" else said

    def exports(forest: Any, seed: int) -> list[ExportResult]:
        engines = None if forest.packing is None else [name for name in ENGINES if name != "packed c"]
        checks = check_exactness(forest, rows=300, engines=engines, random_state=seed)
        return [ExportResult(check.engine, check.differing, check.skipped_reason) for check in checks]

    return [
        Example(
            name, forest, lambda seed, f=forest: generate_rows(f, 100, random_state=seed), answers, exports
        )  # type: ignore[misc]
        for name, forest in forests.items()
    ]


def meta_tree_examples() -> list[Example]:
    """Weights of each network; what they answer is the sum of themselves: a network that uses them has its own tests."""
    rng = np.random.default_rng(0)
    found = {
        encoder: MetaTreeWeights(rng.normal(size=40).astype(np.float32), encoder, {"classes": 2})
        for encoder in ("pairs", "cells")
    }

    def answers(weights: MetaTreeWeights, rows: Any) -> list[np.ndarray]:
        return [weights.weights[:5] * rows]

    return [
        Example(name, w, lambda seed: np.full(5, seed), answers, lambda w, seed: [])
        for name, w in found.items()
    ]


def comparator_examples() -> list[Example]:
    """Sorting networks of both constructions and directions, of no wire, and of layers that fit no strides."""
    given = [[(0, 3), (1, 2)], [(0, 1), (2, 3)], [(1, 2)], [(0, 1), (2, 3)]]
    networks = {
        "bitonic": ComparatorNetwork.build("bitonic", 7),
        "odd-even, descending": ComparatorNetwork.build("odd_even", 5, descending=True),
        "given": ComparatorNetwork.build(given, 4),
        "one wire": ComparatorNetwork.build("bitonic", 1),
        "no wire": ComparatorNetwork.build("bitonic", 0),
    }

    def rows(network: ComparatorNetwork, seed: int) -> np.ndarray:
        generator = np.random.default_rng(seed)
        return np.concatenate(
            [
                generator.normal(size=(40, network.n)) * 10.0 ** generator.integers(-300, 300, (40, 1)),
                generator.choice([0.0, -0.0, 1.0, np.inf, -np.inf], (40, network.n)),
            ]
        )

    def answers(network: ComparatorNetwork, x: np.ndarray) -> list[np.ndarray]:
        if x.shape[-1] != network.n:
            x = np.resize(x, (len(x), network.n))
        return [network.predict(x), network.ranks(x)]

    def exports(network: ComparatorNetwork, seed: int) -> list[ExportResult]:
        x = rows(network, seed)
        if not has_compiler():
            return [ExportResult("c", 0, "no C compiler")]
        found = run_network_in_c(network, x)
        wrong = [
            (a.view(np.int64) != b.view(np.int64)).any(-1)
            for a, b in zip(found, answers(network, x), strict=True)
        ]
        return [ExportResult("c", int((wrong[0] | wrong[1]).sum()), None)]

    return [
        Example(name, network, lambda seed, n=network: rows(n, seed), answers, exports)
        for name, network in networks.items()
    ]  # type: ignore[misc]


def run_network_in_c(network: ComparatorNetwork, x: np.ndarray) -> list[np.ndarray]:
    """Rows sorted and ranked by the exported C."""
    code = network.to_c("network")
    flags = ("-std=c99", "-O1", "-Wall", "-Wextra", "-Wpedantic", "-Werror")
    library = compile_shared(code.source, flags=flags, name="network", headers={"network.h": code.header})
    values, ranks = np.empty_like(x), np.empty(x.shape, dtype=np.int32)
    for function, out in ((library.network_sort, values), (library.network_ranks, ranks)):
        function.restype = None
        for row, answer in zip(x, out, strict=True):
            function(ctypes.c_void_p(row.ctypes.data), ctypes.c_void_p(answer.ctypes.data))
    return [values, ranks.astype(np.int64)]


def gated_mlp_examples() -> list[Example]:
    """Blocks of several shapes, one with every group closed; there is nothing that they are exported to."""

    def block(
        seed: int, inputs: int, width: int, groups: int, size: int, outputs: int, gate_bias: float
    ) -> GatedMLP:
        rng = np.random.default_rng(seed)
        shapes = [(width, inputs), (groups, width), (groups * size, inputs), (outputs, groups * size)]
        weights = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
        biases = [rng.normal(size=shape[0]).astype(np.float32) for shape in shapes]
        biases[1] = biases[1] + np.float32(gate_bias)
        return GatedMLP(*(a for pair in zip(weights, biases, strict=True) for a in pair), groups=groups)  # type: ignore[arg-type]

    blocks = {
        "three groups": block(0, 4, 5, 3, 2, 2, 0.0),
        "one of everything": block(1, 1, 1, 1, 1, 1, 0.5),
        "all closed": block(2, 3, 2, 2, 4, 3, -50.0),
    }

    def answers(artifact: Any, rows: Any) -> list[np.ndarray]:
        return [artifact.gates(rows), artifact.predict(rows), artifact.multiply_adds(rows)]

    return [
        Example(
            name,
            found,
            lambda seed, f=found: np.random.default_rng(seed).normal(size=(20, f.n_features)),
            answers,
            lambda *_: [],
        )  # type: ignore[misc]
        for name, found in blocks.items()
    ]


def lattice_examples() -> list[Example]:
    """Codes of one group and several, of 1 to 8 bits, bent and straight, with rows that are no whole vectors, and with nothing in them."""

    def codes(
        seed: int, bits: list[int], shape: tuple[int, int], group_size: int, d: int, scale: float
    ) -> LatticeCodes:
        rng = np.random.default_rng(seed)
        widths = [min(group_size, shape[1] - g * group_size) for g in range(len(bits))]
        sizes = [(shape[0], -(-width // d), d) for width in widths]
        return LatticeCodes.pack(
            [rng.integers(-(1 << b >> 1), 1 << b >> 1, size) for b, size in zip(bits, sizes, strict=True)],
            generators=(0.2 * rng.normal(size=(len(bits), d, d))).astype(np.float16),
            mu=rng.choice([0.0, 2.0], len(bits)).astype(np.float16), scales=np.full(len(bits), scale, np.float32),
            bits=np.array(bits, np.uint8), shape=shape, group_size=group_size,
        )  # fmt: skip

    named = {
        "two groups": codes(0, [2, 3], (4, 12), 8, 4, 1.0),
        "every width": codes(1, list(range(1, 9)), (3, 30), 4, 2, 1e-3),
        "one weight": codes(2, [1], (1, 1), 128, 1, 1e9),
        "zeros": codes(3, [4], (5, 3), 8, 8, 0.0),
    }

    def answers(artifact: LatticeCodes, rows: np.ndarray) -> list[np.ndarray]:
        fitting = np.resize(rows, (len(rows), artifact.shape[1]))
        return [artifact.decode(), artifact.matmul(fitting)]

    return [
        Example(
            name,
            found,
            lambda seed, f=found: np.random.default_rng(seed).normal(size=(9, f.shape[1])),
            answers,
            lambda *_: [],
        )  # type: ignore[misc]
        for name, found in named.items()
    ]


def expert_examples() -> list[Example]:
    """Experts with random features and without, of tables and arrays, with the state of a stream and without."""
    import pandas
    from sklearn.preprocessing import FunctionTransformer

    from hardgrad.trees.expert_stream import StreamingExpertClassifier

    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    names = np.array(["a", "b", "c"])[rng.integers(0, 3, 60)]
    frame = {"x": X[:, 0].tolist(), "state": np.array(["NY", "TX"])[rng.integers(0, 2, 60)].tolist()}

    def trained(rows: Any, y: Any, **options: Any) -> Any:
        return StreamingExpertClassifier(5, 2, random_state=1, **options).fit(rows, y).harden()

    as_they_are = FunctionTransformer()
    experts = {
        "random features": trained(X, names, key_dim=4),
        "trained keys": trained(X, rng.integers(0, 2, 60), encoder=as_they_are, trainable_keys=True),
        "of a table": trained(pandas.DataFrame(frame), names == "a", key_dim=3),
        "without state": trained(X, names, encoder=as_they_are).without_state(),
    }

    def rows(model: Any, seed: int) -> Any:
        generator = np.random.default_rng(seed)
        numbers = generator.normal(size=(20, 3)) * 10.0 ** generator.integers(-300, 300, (20, 1))
        if model.n_features == 3:
            return np.concatenate([numbers, np.zeros((1, 3))])
        return {"x": numbers[:, 0], "state": generator.choice(["NY", "TX", "??"], 20)}

    def answers(model: Any, table: Any) -> list[np.ndarray]:
        X = model.encode(table)
        said = [model.chosen(X), model.predict_raw(table), model.predict(table), model.predict_proba(table)]
        return [np.asarray(answer) for answer in said]

    return [
        Example(name, model, lambda seed, m=model: rows(m, seed), answers, lambda *_: [])  # type: ignore[misc]
        for name, model in experts.items()
    ]


def memory_forest_examples() -> list[Example]:
    """Forests over a memory of every kind: a row a leaf or shared, trained or written, labels or numbers, of every split."""
    from hardgrad.trees.memory_forest import MemoryForest

    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 2))
    words = np.array(["a", "b", "c"])[rng.integers(0, 3, 40)]
    table = {"x": X[:, 0].tolist(), "state": np.array(["NY", "TX"])[rng.integers(0, 2, 40)].tolist()}

    def model(rows: Any, y: Any, **options: Any) -> MemoryForest:
        return MemoryForest.for_table(rows, y, n_trees=3, depth=2, random_state=1, **options)

    forests = {
        "a row a leaf": model(X, words),
        "shared slots": model(X, words, n_slots=4, n_read=2, split="axis"),
        "written, of a table": model(table, words, split="oblivious").partial_fit(table, words),
        "regression of two": model(X, X @ rng.normal(size=(2, 2)), n_slots=3),
    }

    def rows(artifact: Any, seed: int) -> Any:
        return generate_rows(artifact.forest, 30, random_state=seed)

    def answers(artifact: Any, table: Any) -> list[np.ndarray]:
        slots = artifact.slots_of(artifact.frame.codes.encode_scores(artifact.encode(table)))
        said = [slots, artifact.predict_raw(table), artifact.predict(table)]
        return [*said, artifact.predict_proba(table)] if artifact.task == "classification" else said

    return [
        Example(
            name, forest.to_model(), lambda seed, f=forest: rows(f.to_model(), seed), answers, lambda *_: []
        )  # type: ignore[misc]
        for name, forest in forests.items()
    ]


def neighbourhood_examples() -> list[Example]:
    """Neighbourhoods of every embedding, task and type of label, with duplicates among the remembered rows."""
    columns = (
        Column("x"),
        Column("born", "datetime"),
        Column("smokes", "boolean"),
        Column("state", "categorical", ("NY", "TX\n*/")),
    )
    features = (
        Feature("x", 0), Feature("x is missing", 0, "missing"), Feature("born", 1), Feature("smokes", 2),
        *(Feature(f"state {k}", 3, "codes", tuple(float(k == j) for j in range(3))) for k in range(2)),
    )  # fmt: skip
    schema = TableSchema(columns, features)
    named = {
        "linear": random_neighbourhood(0, schema, classes=("a", "b", "c")),
        "periodic, a block": random_neighbourhood(
            1, schema, embedding="periodic", n_blocks=1, classes=(False, True)
        ),
        "piecewise, float16": random_neighbourhood(
            2, schema, embedding="piecewise", dtype=np.float16, classes=(3, 4)
        ),
        "regression of two": random_neighbourhood(3, schema, outputs=2, k=1),
        "all rows vote": random_neighbourhood(4, schema, outputs=1, k=60, dim=2),
        "a matrix, one row": random_neighbourhood(
            5, TableSchema.numeric(["a", "b"]), rows=1, k=1, classes=(0.5, 1.5)
        ),
    }

    def rows(model: Neighbourhood, seed: int) -> Any:
        rng = np.random.default_rng(seed)
        awkward = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e300, -1e300]
        table: dict[str, Any] = {}
        for column in model.schema.columns:
            if column.kind == "categorical":
                table[column.name] = rng.choice(np.array(["NY", "TX\n*/", "??", None], dtype=object), 40)
            elif column.kind == "boolean":
                table[column.name] = rng.choice([0.0, 1.0, np.nan], 40)
            elif column.kind == "datetime":
                table[column.name] = rng.integers(-(10**9), 10**9, 40).astype("datetime64[s]")
            else:
                table[column.name] = np.concatenate([rng.normal(size=40 - len(awkward)), awkward])
        return table

    def answers(model: Neighbourhood, table: Any) -> list[np.ndarray]:
        said = [*model.neighbours(table), model.predict_raw(table), model.predict(table)]
        return [*said, model.predict_proba(table)] if model.task == "classification" else said

    def exports(model: Neighbourhood, seed: int) -> list[ExportResult]:
        if not has_compiler():
            return [ExportResult("c", 0, "no C compiler")]
        X = model.encode(rows(model, seed))
        raw, number, share = run_neighbourhood_in_c(model, X)
        expected = model.neighbours_encoded(X)
        wrong = (raw.view(np.int64) != model.predict_raw_encoded(X).view(np.int64)).any(axis=1)
        wrong |= (number != expected[0]).any(axis=1) | (
            share.view(np.int64) != expected[1].view(np.int64)
        ).any(axis=1)
        return [ExportResult("c", int(wrong.sum()), None)]

    return [
        Example(name, found, lambda seed, m=found: rows(m, seed), answers, exports)  # type: ignore[misc]
        for name, found in named.items()
    ]


def random_neighbourhood(
    seed: int, schema: TableSchema, *, embedding: str = "none", n_blocks: int = 0, rows: int = 60, k: int = 5, dim: int = 6,
    outputs: int = 0, classes: tuple[Any, ...] = (), dtype: Any = np.float32,
) -> Neighbourhood:  # fmt: skip
    """A neighbourhood of random numbers, whose remembered rows stand twice each where there are several."""
    rng = np.random.default_rng(seed)
    n = len(schema.features)
    embedded = np.array([] if embedding == "none" else [0, 2], dtype=np.int32)
    table = (
        np.sort(rng.normal(size=(len(embedded), 5)), axis=1).astype(np.float32)
        if len(embedded)
        else np.zeros((0, 0), np.float32)
    )
    shared = rng.normal(size=(10, 3) if embedding == "periodic" else (0, 0)).astype(np.float32)
    each = {"none": 0, "periodic": 3, "piecewise": 4}[embedding]
    widths = (n + len(embedded) * (each - 1), dim, *((7, dim) * n_blocks))
    memory = rng.normal(size=(rows, dim))
    memory[: rows // 2] = memory[rows - rows // 2 :]
    values = (
        np.eye(len(classes))[rng.integers(len(classes), size=rows)]
        if classes
        else 10 * rng.normal(size=(rows, outputs))
    )
    return Neighbourhood(
        schema, "identity", "classification" if classes else "regression", classes, "target", k, 0.7, 0.01 if classes else 0.0, embedding,
        widths, rng.normal(size=n), 0.5 + rng.random(n), embedded, table, shared, shared[:1].reshape(-1).copy(),
        rng.normal(size=sum((a + 1) * b for a, b in itertools.pairwise(widths))).astype(np.float32), memory.astype(dtype), values,
        0.5 + rng.random(rows),
    )  # fmt: skip


def run_neighbourhood_in_c(model: Neighbourhood, X: np.ndarray) -> list[np.ndarray]:
    """Raw scores, neighbours and shares of the exported C."""
    code = model.to_c("votes")
    flags = ("-std=c99", "-O2", "-ffp-contract=off", "-Wall", "-Wextra", "-Wpedantic", "-Werror")
    library = compile_shared(code.source, flags=flags, name="votes", headers={"votes.h": code.header})
    raw, number = np.empty((len(X), model.n_outputs)), np.empty((len(X), model.k), dtype=np.int32)
    share = np.empty((len(X), model.k))
    for row in range(len(X)):
        x, *out = (ctypes.c_void_p(a[row].ctypes.data) for a in (X, raw, number, share))
        library.votes_predict(x, out[0])
        library.votes_neighbours(x, out[1], out[2])
    return [raw, number, share]


def category_table_examples() -> list[Example]:
    """Codes dense and sparse, of one output and of many, hashed, and a table of columns that are passed on."""
    rng = np.random.default_rng(0)
    letters = np.array(["a", "b", "\U0001f332", "", "it's", None], dtype=object)
    table = {"c": rng.choice(letters, 60), "x": rng.normal(size=60), "d": rng.choice(letters[:3], 60)}
    y = rng.normal(size=60)
    made = {
        "one-hot": CategoricalEncoder("one-hot"), "means": CategoricalEncoder("james-stein"), "digits": CategoricalEncoder("base-n"),
        "hashed": CategoricalEncoder("hashing"), "contrasts": CategoricalEncoder("helmert", handle_missing="prior"),
    }  # fmt: skip
    tables = {name: encoder.fit(table, y).harden() for name, encoder in made.items()}
    tables["nothing but numbers"] = CategoricalEncoder().fit({"x": [1.0, 2.0]}).harden()

    def rows(seed: int) -> dict[str, np.ndarray]:
        draw = np.random.default_rng(seed)
        some = np.array([*letters, "unseen", "a "], dtype=object)
        numbers = draw.choice([0.0, -0.0, np.nan, 5e-324, 1e300], 40)
        return {"c": draw.choice(some, 40), "x": numbers, "d": draw.choice(some, 40)}

    def exports(found: CategoryTable, seed: int) -> list[ExportResult]:
        new = rows(seed)
        expected = found.transform(new)

        def differing(codes: np.ndarray) -> int:
            return int((~np.isclose(codes, expected, rtol=0, atol=0, equal_nan=True)).any(axis=1).sum())

        results = (
            [] if found.n_hashed else [ExportResult("sql", differing(codes_in_duckdb(found, new)), None)]
        )
        if not has_compiler():
            return [*results, ExportResult("c", 0, "no C compiler")]
        return [*results, ExportResult("c", differing(codes_in_c(found, new)[0]), None)]

    def answers(found: Any, new: Any) -> list[np.ndarray]:
        return [found.transform(new), found.transform(new, sparse=True).toarray()]

    return [Example(name, found, rows, answers, exports) for name, found in tables.items()]


def matching_examples(kind: str) -> list[Example]:
    """Rows and trees of categories, of numbers, of both, with missing values in training and without."""
    rng = np.random.default_rng(0)
    letters = np.array(["a", "b", "\U0001f332", "", None], dtype=object)

    def rows(seed: int, n: int = 40) -> pa.Table:
        draw = np.random.default_rng(seed)
        c, d = (draw.choice(np.array([*letters, "z"] if seed else letters, dtype=object), n) for _ in "cd")
        x = draw.choice([0.0, -0.0, 1.5, -3.0, 1e300, np.nan], n)
        return pa.table(
            {"c": pa.array(c.tolist(), pa.string()), "x": x, "d": pa.array(d.tolist(), pa.string())}
        )

    table, y = rows(0, 60), rng.integers(0, 3, 60)
    X = np.nan_to_num(rng.normal(size=(60, 3)))
    near, tree = NearestNeighbourhoodClassifier, ID3Tree(max_depth=2)
    made: dict[str, dict[str, Any]] = {
        "matching-neighbourhood": {
            "classes": near().fit(table, y).harden(),
            "weights": near(attribute_weights=[1.0, 0.5, 2.0], tie_break_depth=1).fit(table, np.array(list("pqr"))[y]).harden(),
            "values": NearestNeighbourhoodRegressor(binning="frequency").fit(table, rng.normal(size=60)).harden(),
        },
        "branch-tree": {
            "one path": ID3Tree(full=True).fit(table, y).harden(),
            "weighted": MultiPathTreePredictor(tree, decay=0.2).fit(table, y).harden(),
            "best": MultiPathTreePredictor(tree, combine="best", max_mismatches=1).fit(table, y).harden(),
            "matches": MultiPathTreePredictor(tree, combine="matches", prune_margin=1).fit(table, y).harden(),
            "thresholds": MultiPathTreePredictor(DecisionTreeClassifier(max_depth=3), decay=0.5).fit(X, y % 2 == 0).harden(),
        },
        "hybrid-neighbourhood": {
            "branches": hybrid_switch(tree, table, y, 20.0),
            "thresholds": hybrid_switch(DecisionTreeClassifier(max_depth=3), X, y, 15.0),
        },
    }  # fmt: skip

    def input_of(artifact: Any, seed: int) -> Any:
        return (
            np.random.default_rng(seed).normal(size=(30, 3)) if artifact.schema.is_matrix else rows(seed + 1)
        )

    def answers(artifact: Any, given: Any) -> list[np.ndarray]:
        said = [artifact.predict_raw(given), artifact.predict(given)]
        return [*said, artifact.predict_proba(given)] if artifact.task == "classification" else said

    return [
        Example(name, found, lambda seed, a=found: input_of(a, seed), answers, lambda *_: [])  # type: ignore[misc]
        for name, found in made[kind].items()
    ]


def block_low_rank_examples() -> list[Example]:
    """Blocks that overlap, wrap around and share a place, of both types."""
    given = {
        "float64, rank 2": (6, 9, 2, [[5, 0, 0], [2, 6, 6], [7, 0, 0], [4, 9, 9]], np.float64),
        "float32": (4, 3, 1, [[1, 3], [2, 4], [2, 0], [2, 1]], np.float32),
    }

    def example(name: str, seed: int) -> Example:
        rows, columns, rank, places, dtype = given[name]
        rng = np.random.default_rng(seed)
        place = [np.array(numbers, dtype=np.int32) for numbers in places]
        factors = [rng.normal(size=rank * sum(places[k])).astype(dtype) for k in (1, 3)]
        matrix = BlockLowRankMatrix(rows, columns, rank, *place, *factors)
        return Example(name, matrix, lambda seed: seed, answers, lambda matrix, seed: [])

    def answers(matrix: BlockLowRankMatrix, seed: int) -> list[np.ndarray]:
        rng = np.random.default_rng(seed)
        if max(matrix.shape) > 1000:  # a damaged size is as good as any, but for the memory of its answers
            return []
        return [
            matrix.to_dense(),
            matrix.matmul(rng.normal(size=(matrix.n_columns, 2))),
            matrix.rmatvec(rng.normal(size=matrix.n_rows)),
        ]

    return [example(name, seed) for seed, name in enumerate(given)]


def circuit_contract_examples() -> list[Example]:
    """Circuits; see `circuit_examples`."""

    def exports(circuit: Any, seed: int) -> list[ExportResult]:
        return [ExportResult(*found) for found in circuit_examples.circuit_exports(circuit, seed)]

    return [
        Example(
            name,
            circuit,
            lambda seed, c=circuit: circuit_examples.circuit_rows(c, seed),
            circuit_examples.circuit_answers,
            exports,
        )  # type: ignore[misc]
        for name, circuit in circuit_examples.circuits().items()
    ]


def circuit_model_examples() -> list[Example]:
    """Models of circuits; see `circuit_examples`."""

    def exports(model: Any, seed: int) -> list[ExportResult]:
        return [ExportResult(*found) for found in circuit_examples.model_exports(model, seed)]

    return [
        Example(name, model, circuit_examples.model_rows, circuit_examples.model_answers, exports)
        for name, model in circuit_examples.models().items()
    ]


def code_contract_examples(kind: str) -> list[Example]:
    """Indices of codes, and parsers; see `code_examples`."""
    found = code_examples.indices() if kind == "hamming-index" else code_examples.parsers()
    return [
        Example(
            name,
            artifact,
            lambda seed, a=artifact: code_examples.rows(a, seed),
            code_examples.answers,
            lambda *_: [],
        )  # type: ignore[misc]
        for name, artifact in found.items()
    ]


def packed_network_examples() -> list[Example]:
    """Packed networks; see `packed_examples`. There is nothing that they are exported to."""

    def answers(network: Any, rows: np.ndarray) -> list[np.ndarray]:
        x = np.resize(rows, (len(rows), network.widths[0]))
        return [network.predict(x), network.scores(x, engine="numba")]

    return [
        Example(
            name,
            network,
            lambda seed, n=network: np.random.default_rng(seed).normal(size=(30, n.widths[0])),
            answers,
            lambda *_: [],
        )  # type: ignore[misc]
        for name, network in packed_examples.packed_networks().items()
    ]


def packed_conv_network_examples() -> list[Example]:
    """Packed networks for images; their compiled loops are held against the reference as an export is."""

    def images(network: Any, seed: int) -> np.ndarray:
        return np.random.default_rng(seed).normal(size=(12, network.widths[0], 6, 7))

    def answers(network: Any, rows: np.ndarray) -> list[np.ndarray]:
        size = packed_examples.fitting_size(network)  # a file that was changed may want another, or have none
        return [network.predict(np.resize(rows, (len(rows), network.widths[0], *size)))] if size else []

    def exports(network: Any, seed: int) -> list[ExportResult]:
        rows = images(network, seed)
        differ = (network.scores(rows, engine="numba") != network.scores(rows)).any(axis=1)
        return [ExportResult("numba", int(differ.sum()), None)]

    return [
        Example(name, network, lambda seed, n=network: images(n, seed), answers, exports)  # type: ignore[misc]
        for name, network in packed_examples.packed_conv_networks().items()
    ]


def packed_classifier_examples() -> list[Example]:
    """Packed classifiers; their compiled runtime is held against the reference as an export is."""

    def rows(model: Any, seed: int) -> Any:
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(30, 3)) * rng.choice([1.0, 1e-300, 1e9], (30, 1))
        states = rng.choice(["NY", "TX", "other"], 30)
        return x if model.schema.is_matrix else {"x": x[:, 0], "state": states}

    def answers(model: Any, given: Any) -> list[np.ndarray]:
        return [model.predict_raw(given), model.predict(given), model.predict_proba(given)]

    def exports(model: Any, seed: int) -> list[ExportResult]:
        given, runtime = rows(model, seed), model.runtime("numba")
        pairs = zip(answers(model, given), answers(runtime, given), strict=True)
        return [ExportResult("numba", sum(int((a != b).sum()) for a, b in pairs), None)]

    return [
        Example(name, model, lambda seed, m=model: rows(m, seed), answers, exports)  # type: ignore[misc]
        for name, model in packed_examples.packed_classifiers().items()
    ]


contract_examples: dict[str, Callable[[], list[Example]]] = {
    "block-low-rank-matrix": block_low_rank_examples,
    "bit-parser": lambda: code_contract_examples("bit-parser"),
    "branch-tree": lambda: matching_examples("branch-tree"),
    "hamming-index": lambda: code_contract_examples("hamming-index"),
    "hybrid-neighbourhood": lambda: matching_examples("hybrid-neighbourhood"),
    "matching-neighbourhood": lambda: matching_examples("matching-neighbourhood"),
    "category-table": category_table_examples,
    "circuit": circuit_contract_examples,
    "circuit-model": circuit_model_examples,
    "comparator-network": comparator_examples,
    "meta-tree-weights": meta_tree_examples,
    "forest": forest_examples,
    "gated-mlp": gated_mlp_examples,
    "lattice-codes": lattice_examples,
    "memory-forest": memory_forest_examples,
    "routed-experts": expert_examples,
    "neighbourhood": neighbourhood_examples,
    "packed-classifier": packed_classifier_examples,
    "packed-conv-network": packed_conv_network_examples,
    "packed-network": packed_network_examples,
}
