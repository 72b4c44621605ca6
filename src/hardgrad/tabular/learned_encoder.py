"""LearnedEncoder: codes of categories that are trained with a small network, and shared by few groups of categories. Imports torch.

The soft face is `SoftGroups`, in `soft_groups` beside the network that learns along. The hard face is a `CategoryTable`, the artifact of
all encoders: each level has the code of one group.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_is_fitted

from hardgrad.core.errors import ParameterError
from hardgrad.core.gap import GapReport
from hardgrad.core.mode import Mode, mode
from hardgrad.core.relaxed import set_temperature
from hardgrad.core.schedule import Schedule
from hardgrad.tabular.category_table import CategoryTable
from hardgrad.tabular.encoder_base import TableTransformer, read_target
from hardgrad.tabular.encoder_codes import Floats
from hardgrad.tabular.encoder_levels import CodedColumn, Levels, coded_column, find_levels, side_by_side
from hardgrad.tabular.schema import Column, encode_column
from hardgrad.tabular.soft_groups import GroupNetwork, GroupTask, TargetRows, starting_groups
from hardgrad.train.loop import Hardware, train
from hardgrad.train.progress import Event, listen

HELD_OUT = 0.1
"""Share of the rows on which the gap is measured; training does not see them."""
LEAST_ROWS = 20


class LearnedEncoder(TableTransformer):
    """Codes of categories that a small network learned to predict the target from, a few groups a column.

    Rare categories and those that mean the same share a code, so that the exact encoder is a short lookup table: `harden()` returns it, and
    it is written as SQL or C like any other.

    Parameters
    ----------
    n_groups : groups of a column, at most; a column of fewer levels has as many groups as levels.
    n_components : numbers in a code.
    columns : see `CategoricalEncoder`.
    hidden : sizes of the hidden layers of the network that learns along; none is a linear model.
    temperature : (first, last) of the softmax over groups; it falls exponentially.
    max_iter, batch_size, learning_rate : of Adam.
    target_type : "auto", "binary", "multiclass" or "continuous".
    random_state : seed.
    device : "cpu", "cuda" or "auto".
    verbose : print progress if positive.

    Attributes
    ----------
    table_ : the exact `CategoryTable`.
    model_ : the trained `torch.nn.Module`, whose `SoftGroups` are the soft face; called with (levels, standardised numbers).
    n_iter_ : steps taken.
    gap_ : `GapReport` of the network with soft and with hard codes on held-out rows (a tenth); its detail counts the distinct codes. None
        below 20 rows.

    Examples
    --------
    >>> table = {"state": ["NY", "TX", "CA", "WA"] * 25}
    >>> encoder = LearnedEncoder(n_groups=2, max_iter=50, random_state=0).fit(table, [0, 0, 1, 1] * 25)
    >>> codes = encoder.transform({"state": ["NY", "TX", "CA", "WA"]})[:, 0]
    >>> bool(codes[0] == codes[1] and codes[2] == codes[3] and codes[0] != codes[2])
    True

    Notes
    -----
    Codes are learned from the target of all rows given. Where levels have few rows, train what follows on other rows.

    Source: Guo and Berkhahn, 2016, Entity Embeddings of Categorical Variables, for embeddings; the groups and their hardening are ours.
    """

    def __init__(
        self,
        *,
        n_groups: int = 8,
        n_components: int = 1,
        columns: Any = "auto",
        hidden: tuple[int, ...] = (16,),
        temperature: tuple[float, float] = (1.0, 0.05),
        max_iter: int = 300,
        batch_size: int = 256,
        learning_rate: float = 0.01,
        target_type: str = "auto",
        random_state: Any = None,
        device: str = "cpu",
        verbose: int = 0,
    ) -> None:
        self.n_groups = n_groups
        self.n_components = n_components
        self.columns = columns
        self.hidden = hidden
        self.temperature = temperature
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.target_type = target_type
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    def fit(self, X: Any, y: Any) -> Self:
        """Train the codes and the network, then harden the codes.

        Parameters
        ----------
        X : any table or array [n, columns].
        y : labels or numbers [n].

        Raises
        ------
        ParameterError : a parameter outside its range.
        DataError : no rows, a target that does not fit the table or is not finite.
        """
        self._check_parameters()
        arrow = self._open(X)
        self.target_type_, classes, T = read_target(y, arrow.num_rows, self.target_type, "LearnedEncoder")
        if classes is not None:
            self.classes_ = classes
        kinds = self._kinds(arrow)
        levels = [find_levels(name, arrow[name], "category") for name, kind in kinds if kind == "categorical"]
        plain = [Column(name, kind) for name, kind in kinds if kind != "categorical"]
        N = np.column_stack(
            [_standard(encode_column(c, _series(arrow[c.name]))) for c in plain] or [np.empty((len(T), 0))]
        )
        rng = np.random.default_rng(check_random_state(self.random_state).randint(2**31 - 1))
        order = rng.permutation(len(T))
        held = order[: int(HELD_OUT * len(T))] if len(T) >= LEAST_ROWS else order[:0]
        used = np.setdiff1d(order, held)
        rows = TargetRows(
            np.column_stack([c.number for c in levels] or [np.empty((len(T), 0), dtype=np.int64)]),
            N,
            T,
            self.target_type_,
        )
        self.model_ = self._network(levels, rows, used, rng)
        settings = (self.model_, rows, used, *map(int, (self.max_iter, self.batch_size)), self.learning_rate)
        schedule = Schedule.exponential(*self.temperature)
        with listen(self._print_event):
            learned = train(
                GroupTask, (*settings, schedule, int(rng.integers(2**31 - 1))), Hardware(self.device)
            )
        self.model_.cpu()
        self.model_.load_state_dict({name: torch.from_numpy(value) for name, value in learned.items()})
        self.n_iter_ = int(self.max_iter)
        self.table_ = self._harden([name for name, _ in kinds], levels, plain)
        self.gap_ = self._measure_gap(rows, held) if len(held) else None
        return self

    def harden(self) -> CategoryTable:
        """Return the exact artifact: NumPy only, savable, with one code a group."""
        check_is_fitted(self, "table_")
        return self.table_

    def __sklearn_tags__(self) -> Tags:
        tags: Tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags

    # --- training ------------------------------------------------------------------------------------------------------------
    def _network(
        self, levels: list[Levels], rows: TargetRows, used: NDArray[np.int64], rng: np.random.Generator
    ) -> GroupNetwork:
        T = rows.T[used] - rows.T[used].mean(axis=0)
        starts = [
            starting_groups(c, c.number[used], T, self.n_groups, self.n_components, rng) for c in levels
        ]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**31 - 1)))
            return GroupNetwork(
                starts, rows.N.shape[1], tuple(self.hidden), rows.T.shape[1], self.temperature[0]
            )

    def _harden(self, names: list[str], levels: list[Levels], plain: list[Column]) -> CategoryTable:
        d = self.n_components
        parts = {column.name: CodedColumn(column, [column.name]) for column in plain}
        for column, codes in zip(levels, self.model_.exact_codes(), strict=True):
            count = np.bincount(column.number, minlength=len(codes))
            unseen = count @ codes / count.sum()  # what rows have on average
            outputs = [column.name] if d == 1 else [f"{column.name} {j}" for j in range(d)]
            parts[column.name] = coded_column(column, outputs, codes, unseen, unseen)
        return side_by_side([parts[name] for name in names])

    def _measure_gap(self, rows: TargetRows, held: NDArray[np.int64]) -> GapReport:
        said = {}
        set_temperature(self.model_, self.temperature[1])
        faces: tuple[Mode, ...] = ("soft", "hard")
        for which in faces:
            with torch.no_grad(), mode(which):
                said[which] = rows.answers(self.model_(*rows.inputs(held, "cpu")))
        difference = np.abs(said["soft"] - said["hard"])
        metric, tolerance = (
            ("r2", 0.1 * float(rows.T.std())) if rows.kind == "continuous" else ("accuracy", None)
        )
        labels = {name: rows.labels(p) for name, p in said.items()}
        same = (
            (difference <= tolerance).all(axis=1)
            if tolerance is not None
            else labels["soft"] == labels["hard"]
        )
        distinct = self.table_.distinct_codes()
        return GapReport(
            metric,
            soft=rows.score(said["soft"], held),
            hard=rows.score(said["hard"], held),
            agreement=float(same.mean()),
            worst_disagreement=float(difference.max()),
            higher_is_better=True,
            rows=len(held),
            detail={f"distinct codes of {name}": float(count) for name, count in distinct.items()},
        )

    def _check_parameters(self) -> None:
        for name in ("n_groups", "n_components", "max_iter", "batch_size"):
            if not getattr(self, name) >= 1:
                raise ParameterError(f"{name} got {getattr(self, name)!r}; expected at least 1.")
        if not self.learning_rate > 0:
            raise ParameterError(f"learning_rate got {self.learning_rate!r}; expected a positive number.")
        if any(size < 1 for size in self.hidden):
            raise ParameterError(f"hidden got {self.hidden!r}; expected sizes of at least 1.")
        first_and_last: tuple[float, ...] = self.temperature
        if len(first_and_last) != 2 or not min(first_and_last) > 0:
            raise ParameterError(
                f"temperature got {self.temperature!r}; expected two positive numbers, first and last."
            )

    def _print_event(self, event: Event) -> None:
        if self.verbose:
            print(f"{event.phase} {100 * event.fraction:.0f} %  {event.message}".rstrip())


def _series(values: Any) -> Any:
    import narwhals.stable.v2 as nw

    return nw.from_native(values, series_only=True)


def _standard(values: Floats) -> Floats:
    """A column with mean 0 and variance 1; missing values at the mean."""
    present = values[~np.isnan(values)]
    spread = present.std() if len(present) else 0.0
    centred = (values - present.mean()) / (spread if spread > 0 else 1.0) if len(present) else values
    return np.nan_to_num(centred)
