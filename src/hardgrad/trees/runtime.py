"""prepare(forest, engine) -> Runtime: a handle that scores fast and equals `Forest` bit for bit.

The engines are in `runtime_c` (system compiler), `runtime_numba` and `runtime_numpy`; all walk the tables of `runtime_tables`.
Here are the choice of an engine and the checks of the input. Never imports torch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import ExportError, ParameterError, SchemaError
from hardgrad.core.threads import effective_jobs, in_blocks
from hardgrad.trees.forest import Forest
from hardgrad.trees.forest_sums import require_present

Engine = Literal["auto", "c", "numba", "numpy"]
ENGINES: tuple[Engine, ...] = ("auto", "c", "numba", "numpy")

ROWS_A_THREAD = 512
"""Fewer rows a thread take less time than waking the thread up."""


class Kernel(Protocol):
    """What an engine offers. X is float64, contiguous, [n, features]; out is contiguous."""

    engine: str
    few_rows: int

    def few(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Raw scores of at most `few_rows` rows, with as little ceremony as possible."""

    def raw(self, X: NDArray[np.float64], out: NDArray[np.float64]) -> None:
        """Raw scores of every row into out [n, outputs]."""

    def leaves(self, X: NDArray[np.float64], out: NDArray[np.int32]) -> None:
        """Leaf of every row in every tree into out [n, trees]."""


class Runtime:
    """A prepared forest. Made by `prepare`; every method gives what the `Forest` method of that name gives, bit for bit.

    Threads may share a runtime.

    Attributes
    ----------
    forest : the forest.
    engine : "c", "numba" or "numpy".
    n_jobs : threads that a call with many rows uses.
    """

    def __init__(self, forest: Forest, kernel: Kernel, n_jobs: int) -> None:
        self.forest = forest
        self.engine = kernel.engine
        self.n_jobs = n_jobs
        self._kernel = kernel
        self._n_features = forest.n_features
        self._weighted = len(forest.weighted_features) > 0

    # --- tables of raw columns -----------------------------------------------------------------------------------------------
    def predict(self, table: Any) -> NDArray[Any]:
        """Return class labels [n], or values [n] or [n, targets] (see `Forest.predict`)."""
        return self.predict_encoded(self.forest.encode(table))

    def predict_proba(self, table: Any) -> NDArray[np.float64]:
        """Return class probabilities [n, classes]. Raises `DataError` for a regression forest."""
        return self.predict_proba_encoded(self.forest.encode(table))

    def predict_raw(self, table: Any) -> NDArray[np.float64]:
        """Return raw scores, float64 [n, outputs]."""
        return self.predict_raw_encoded(self.forest.encode(table))

    def apply(self, table: Any) -> NDArray[np.int32]:
        """Return the leaf that each row reaches in each tree, int32 [n, trees]."""
        return self.apply_encoded(self.forest.encode(table))

    # --- encoded matrices ----------------------------------------------------------------------------------------------------
    def predict_encoded(self, X: NDArray[Any]) -> NDArray[Any]:
        """`predict` for an encoded matrix [n, features]; float64 and C-contiguous is used as it is, anything else is copied."""
        return self.forest.raw_to_prediction(self.predict_raw_encoded(X))

    def predict_proba_encoded(self, X: NDArray[Any]) -> NDArray[np.float64]:
        """`predict_proba` for an encoded matrix (see `predict_encoded`)."""
        return self.forest.raw_to_proba(self.predict_raw_encoded(X))

    def predict_raw_encoded(self, X: NDArray[Any]) -> NDArray[np.float64]:
        """`predict_raw` for an encoded matrix (see `predict_encoded`)."""
        X = self._check(X)
        if len(X) <= self._kernel.few_rows:
            return self._kernel.few(X)
        out = np.empty((len(X), self.forest.n_outputs))
        self._in_blocks(self._kernel.raw, X, out)
        return out

    def apply_encoded(self, X: NDArray[Any]) -> NDArray[np.int32]:
        """`apply` for an encoded matrix (see `predict_encoded`)."""
        X = self._check(X)
        out = np.empty((len(X), self.forest.n_trees), dtype=np.int32)
        self._in_blocks(self._kernel.leaves, X, out)
        return out

    def _check(self, X: NDArray[Any]) -> NDArray[np.float64]:
        if (
            type(X) is not np.ndarray
            or X.dtype != np.float64
            or not (X.flags.c_contiguous and X.flags.aligned)
        ):
            X = np.require(X, dtype=np.float64, requirements=["C", "A"])
        if X.ndim != 2 or X.shape[1] != self._n_features:
            raise SchemaError(
                f"got an encoded matrix of shape {X.shape}; the forest expects [n, {self._n_features}], one column a feature. "
                "Use the methods without '_encoded' for raw columns."
            )
        if self._weighted:
            require_present(self.forest, X)
        return X

    def _in_blocks(
        self,
        run: Callable[[NDArray[np.float64], NDArray[Any]], None],
        X: NDArray[np.float64],
        out: NDArray[Any],
    ) -> None:
        """Call `run` on as many blocks of rows as there are threads; this thread takes the first."""
        in_blocks(lambda a, b: run(X[a:b], out[a:b]), len(X), min(self.n_jobs, len(X) // ROWS_A_THREAD))

    def __repr__(self) -> str:
        return f"Runtime({self.forest!r}, engine={self.engine!r}, n_jobs={self.n_jobs})"


def prepare(forest: Forest, engine: Engine | str = "auto", *, n_jobs: int | None = 1) -> Runtime:
    """Return a fast handle on a forest that gives the same bits as the forest.

    Parameters
    ----------
    forest : the forest.
    engine : "c" (made by the system's C compiler once a machine, a second or two, then cached), "numba" (no compiler needed;
        compiled on first use, some ten seconds, then cached where numba finds a writable folder), "numpy" (neither; slower than
        these, faster than the reference), or "auto": the first of these that works here.
    n_jobs : threads for calls with many rows: 1 by default, -1 all processors, -2 all but one, None is 1.

    Returns
    -------
    runtime : everything is compiled when this returns.

    Raises
    ------
    ExportError : engine "c", and there is no C compiler or it fails; engine "numba" without numba.
    ParameterError : an unknown engine, or n_jobs is 0.

    Examples
    --------
    >>> from hardgrad.trees.forest_build import forest_from_trees
    >>> tree = {"feature": 0, "threshold": 1.5, "left": {"value": 0.0}, "right": {"value": 2.0}}
    >>> prepare(forest_from_trees([tree], ["age"]), "numpy").predict(np.array([[1.5], [1.6]])).tolist()
    [0.0, 2.0]
    """
    if engine not in ENGINES:
        raise ParameterError(f"got engine={engine!r}; expected one of {', '.join(map(repr, ENGINES))}.")
    threads = effective_jobs(n_jobs)
    if engine != "auto":
        return Runtime(forest, _kernel(forest, engine), threads)
    for candidate in ("c", "numba"):
        try:
            return Runtime(forest, _kernel(forest, candidate), threads)
        except (ExportError, OSError):
            continue
    return Runtime(forest, _kernel(forest, "numpy"), threads)


def _kernel(forest: Forest, engine: str) -> Kernel:
    from hardgrad.trees.runtime_tables import build_tables

    if engine == "numpy":
        from hardgrad.trees.runtime_numpy import NumpyKernel

        return NumpyKernel(build_tables(forest))
    if engine == "c":
        from hardgrad.trees.runtime_c import CKernel

        return CKernel(build_tables(forest))
    try:
        from hardgrad.trees.runtime_numba import NumbaKernel
        from hardgrad.trees.runtime_numba_weighted import NumbaWeightedKernel
    except ImportError as error:
        raise ExportError(
            f"the numba runtime needs numba: {error}. pip install numba, or use engine 'c' or 'numpy'."
        ) from error
    tables = build_tables(forest)
    return NumbaWeightedKernel(tables) if tables.is_weighted else NumbaKernel(tables)
