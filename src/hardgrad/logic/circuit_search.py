"""CircuitSearch: circuits found from truth tables by gradients, many restarts at once, checked exactly on the way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hardgrad.core.errors import DataError, ParameterError
from hardgrad.core.gap import GapReport
from hardgrad.core.mode import checks
from hardgrad.core.schedule import Schedule
from hardgrad.functional.operands import check_choice
from hardgrad.gradients.diagnostics.report import Report, new_axis
from hardgrad.logic.circuit import Circuit
from hardgrad.logic.gate_ids import Gate, truth_rows
from hardgrad.logic.search_network import GATES, SearchGate, SearchNetwork
from hardgrad.logic.search_readout import Candidates
from hardgrad.logic.truth_tables import TruthTable, bits_distance
from hardgrad.train.checkpoint import fingerprint
from hardgrad.train.loop import Hardware, TrainingTask, train

Until = Literal["first", "smallest"]
SEED_OF_NOISE = 1 << 32


class CircuitPrior(Protocol):
    """What proposes circuits for a table: a `CircuitGenerator`, or a function of yours."""

    def __call__(self, table: TruthTable, count: int, random_state: int) -> Sequence[Circuit]:
        """Return at most `count` circuits of as many inputs and outputs as the table."""


class SearchOutcome(StrEnum):
    """How a search ended."""

    EXACT = "exact circuit found"
    STOPPED = "out of steps"


@dataclass(frozen=True)
class SearchStep:
    """The restarts at one check.

    Parameters
    ----------
    step : steps taken so far. temperature : of the choices of wires.
    loss, least_loss : mean squared error of the soft circuits, on average and of the best restart.
    solved : share of the restarts that had an exact circuit so far.
    bits_distance : wrong bits of the best circuit at this check.
    """

    step: int
    temperature: float
    loss: float
    least_loss: float
    solved: float
    bits_distance: int


@dataclass(frozen=True)
class SearchResult(Report):
    """What a search found.

    Parameters
    ----------
    verdict : whether a circuit does all that the table says.
    circuit : the best one, simplified; of exact ones the smallest that was seen.
    bits_distance : how many output bits of it are wrong, over all rows; 0 is a proof.
    first_exact : steps after which the first exact circuit was seen, 0 for one that was proposed; None where there was none.
    solved : share of the restarts that had an exact circuit at some check.
    gap : mean squared error of the soft circuit of the restart that the circuit comes from, and of the exact one, over the bits that
        matter. The exact one reads its outputs from whichever wire is right, so that it is often better.
    history : one entry a check.
    """

    circuit: Circuit
    bits_distance: int
    first_exact: int | None
    solved: float
    gap: GapReport
    history: tuple[SearchStep, ...]

    @property
    def exact(self) -> bool:
        """Whether the circuit does all that the table says."""
        return self.bits_distance == 0

    def __str__(self) -> str:
        how = (
            f"{self.circuit.n_gates} gates, first after {self.first_exact} steps"
            if self.exact
            else f"{self.bits_distance} wrong bits"
        )
        return f"{super().__str__()}: {how}, {100 * self.solved:.0f} % of the restarts solved"

    def plot(self, ax: Any = None) -> Any:
        """Draw the losses and the share of restarts that are solved over the steps, and return the axis. Needs matplotlib."""
        ax = new_axis(ax)
        steps = [check.step for check in self.history]
        ax.plot(steps, [check.loss for check in self.history], label="loss, mean")
        ax.plot(steps, [check.least_loss for check in self.history], label="loss, best restart")
        ax.plot(steps, [check.solved for check in self.history], label="restarts solved")
        ax.set_xlabel("step")
        ax.set_title(str(self.verdict))
        ax.legend()
        return ax


@dataclass(frozen=True)
class CircuitSearch:
    """Searches circuits that compute a truth table: wiring and gates are relaxed, trained on all rows, and hardened again and again.

    Every gate, and every output, chooses among all earlier wires. At each check all restarts are hardened and evaluated on all rows, and an
    output is read from any wire that is right, complemented if need be; so a result that is exact is proven.

    Parameters
    ----------
    gate : "lut2", any gate of two inputs, or "nand".
    layers : gates of each layer; few layers learn better than many.
    n_restarts : independent searches in one batch.
    n_steps, learning_rate : of Adam.
    check_every : steps between two checks.
    until : stop at the "first" exact circuit, or take all steps and keep the "smallest".
    temperature : of the choices of wires, from and to. noise : Gumbel noise on their scores at first; it fades to none.
    prior : proposes circuits to begin at, one a restart (see `CircuitGenerator`); restarts without one begin at random.
    prior_strength : what is added to the scores of wires that a proposal reads.
    prune : whether wires that a proposal has no use for are left out of its restart. The search is smaller then, and cannot add gates.
    mode : "soft", or "st" (exact circuits forward), which solves far fewer.
    random_state : seed. device : "cpu", "cuda" or "auto".

    Raises
    ------
    ParameterError : an argument out of range.

    Examples
    --------
    >>> table = TruthTable.from_callable(lambda x: x.sum(axis=1) % 2, 3)
    >>> result = CircuitSearch(layers=(4, 4), n_restarts=8, check_every=5).search(table)
    >>> str(result.verdict), result.circuit.gate_counts()
    ('exact circuit found', {'XOR': 2})

    Source: Wu, Zheng, Hu, He and Yu, 2025, Architect of the Bits World: Masked Autoregressive Modeling for Circuit Generation Guided by
    Truth Table.
    """

    gate: SearchGate = "lut2"
    layers: tuple[int, ...] = (12, 12, 12, 12, 12)
    n_restarts: int = 32
    n_steps: int = 400
    learning_rate: float = 0.05
    check_every: int = 25
    until: Until = "first"
    temperature: tuple[float, float] = (1.0, 0.3)
    noise: float = 0.3
    prior: CircuitPrior | None = None
    prior_strength: float = 3.0
    prune: bool = False
    mode: Literal["soft", "st"] = "soft"
    random_state: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        check_choice("CircuitSearch", "gate", self.gate, GATES)
        check_choice("CircuitSearch", "until", self.until, ("first", "smallest"))
        check_choice("CircuitSearch", "mode", self.mode, ("soft", "st"))
        whole = (*self.layers, self.n_restarts, self.n_steps, self.check_every)
        positive = [*self.temperature, self.learning_rate]
        if (
            not self.layers
            or min(whole) < 1
            or len(positive) != 3
            or not all(0 < value < math.inf for value in positive)
            or not all(0 <= value < math.inf for value in (self.noise, self.prior_strength))
        ):
            raise ParameterError(
                f"CircuitSearch() got layers={self.layers}, n_restarts={self.n_restarts}, n_steps={self.n_steps}, "
                f"check_every={self.check_every}, temperature={self.temperature}, learning_rate={self.learning_rate}, noise={self.noise}, "
                f"prior_strength={self.prior_strength}; expected at least one gate a layer and 1 of each, two temperatures and a rate that "
                "are positive, and 0 or more."
            )

    def search(self, table: Any) -> SearchResult:
        """Return the best circuit for a table.

        Inside `hardgrad.train.checkpoint.checkpointing` it can be interrupted and resumed.

        Parameters
        ----------
        table : a `TruthTable`, or what `TruthTable.of` takes.

        Raises
        ------
        ParameterError : not a truth table.
        DataError : a table without inputs or outputs, or a proposal with other inputs or outputs.
        """
        wanted = table if isinstance(table, TruthTable) else TruthTable.of(table)
        if not wanted.n_inputs:
            raise DataError("a search needs a table of at least one input; a constant needs no search.")
        proposals = list(self.prior(wanted, self.n_restarts, self.random_state)) if self.prior else []
        proposals = proposals[: self.n_restarts]
        names = wanted.input_names, wanted.output_names
        exact = [
            finished(one, self.gate).with_names(*names) for one in proposals if self._is_answer(one, wanted)
        ]
        known = min(exact, key=lambda one: one.n_gates) if exact else None
        if known is not None and self.until == "first":
            gap = GapReport("mean_squared_error", 0.0, 0.0, 1.0, 0.0, rows=wanted.n_bits)
            return SearchResult(SearchOutcome.EXACT, known, 0, 0, len(exact) / self.n_restarts, gap, ())
        arrays = train(_SearchTask, (self, wanted, proposals), Hardware(self.device))
        return self._result(arrays, wanted, known)

    def _is_answer(self, circuit: Circuit, table: TruthTable) -> bool:
        """Whether a proposal is all that is wanted already, of the gates that are wanted."""
        fits = self.gate == "lut2" or bool((circuit.gates == Gate.NAND).all())
        return bits_distance(circuit, table) == 0 and fits

    def _result(
        self, arrays: dict[str, NDArray[Any]], table: TruthTable, known: Circuit | None
    ) -> SearchResult:
        gates, left, right, usable = arrays["best"][:, None]
        candidates = Candidates(
            gates.astype(np.uint8), left, right, tuple(self.layers), table, usable.astype(bool)
        )
        circuit = finished(candidates.circuit(0), self.gate)
        first, distance, _, soft, agreement, worst, checks = arrays["figures"].tolist()
        if known is not None:
            first, distance = 0.0, 0.0
            circuit = min(known, circuit, key=lambda one: (bits_distance(one, table), one.n_gates))
        gap = GapReport(
            "mean_squared_error", soft, int(distance) / max(table.n_bits, 1), agreement, worst, rows=table.n_bits,
            detail={"gates": circuit.n_gates},
        )  # fmt: skip
        history = [
            SearchStep(int(step), tau, loss, least, solved, int(wrong))
            for step, tau, loss, least, solved, wrong in arrays["history"][: int(checks)].tolist()
        ]
        verdict = SearchOutcome.EXACT if distance == 0 else SearchOutcome.STOPPED
        solved = float(arrays["solved"].mean())
        return SearchResult(
            verdict, circuit, int(distance), int(first) if first >= 0 else None, solved, gap, tuple(history)
        )


def finished(circuit: Circuit, gate: SearchGate) -> Circuit:
    """Return the circuit that is handed out: simplified, where any gate may stand in it."""
    return circuit.simplify() if gate == "lut2" else circuit


def circuit_key(circuit: Circuit) -> bytes:
    """Return bytes that two circuits of as many inputs and outputs have in common iff their arrays are equal."""
    return b"".join(part.tobytes() for part in (circuit.gates, circuit.left, circuit.right, circuit.outputs))


class _SearchTask(TrainingTask):
    """All restarts of a search as one training; it ends at the first exact circuit where that is wanted.

    Parameters
    ----------
    plan : the search. table : what is wanted. proposals : circuits to begin at.
    """

    phase = "circuit search"

    def __init__(self, plan: CircuitSearch, table: TruthTable, proposals: Sequence[Circuit]) -> None:
        self.plan, self.table = plan, table
        generator = torch.Generator().manual_seed(plan.random_state)
        self.module = self.network = SearchNetwork(
            table.n_inputs, table.n_outputs, plan.layers, plan.n_restarts, plan.gate, generator=generator
        )
        for restart, circuit in enumerate(proposals):
            self.network.propose(restart, circuit, plan.prior_strength, prune=plan.prune)
        self.rows = torch.from_numpy(truth_rows(table.n_inputs)).to(torch.get_default_dtype())
        self.target, self.care = (
            torch.from_numpy(bits.T).to(self.rows.dtype) for bits in (table.outputs, table.care)
        )
        self.tau = Schedule.exponential(*plan.temperature)
        self.best = torch.zeros(4, sum(plan.layers), dtype=torch.int64)
        self.figures = torch.tensor([-1.0, torch.inf, torch.inf, 0.0, 0.0, 0.0, 0.0], dtype=torch.float64)
        self.solved = torch.zeros(plan.n_restarts, dtype=torch.bool)
        self.history = torch.zeros(plan.n_steps // plan.check_every + 2, 6, dtype=torch.float64)
        self._known_sizes: dict[bytes, int] = {}
        begun = [circuit_key(one) for one in proposals]
        self.key = f"circuit-search-{fingerprint(table.outputs, table.care, {**vars(plan), 'prior': begun})}"
        self._check(0)

    @property
    def steps(self) -> int:  # type: ignore[override]
        """Steps in all: no more than those taken once there is an exact circuit, where the first one ends the search."""
        first = int(self.figures[0])
        return first if first >= 0 and self.plan.until == "first" else self.plan.n_steps

    def optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.module.parameters(), lr=self.plan.learning_rate)

    def _temperature(self, step: int) -> float:
        return self.tau.at(step=step, steps=self.plan.n_steps)

    def loss(self, copies: nn.Module, step: int, parts: range) -> Tensor:
        generator = torch.Generator(self.network.outputs.device).manual_seed(
            SEED_OF_NOISE * (1 + step) + self.plan.random_state
        )
        noise = self.plan.noise * Schedule.linear(1.0, 0.0).at(step=step, steps=self.plan.n_steps)
        with checks(False):  # they would take longer than the operations
            outputs = self.network(
                self._here(self.rows), temperature=self._temperature(step), mode=self.plan.mode, noise=noise, generator=generator
            )  # fmt: skip
        return self._errors(outputs).sum()

    def _here(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.network.outputs.device)

    def _errors(self, outputs: Tensor) -> Tensor:
        """Mean squared error of each restart, over the bits that matter."""
        care = self._here(self.care)
        wrong: Tensor = ((outputs - self._here(self.target)).square() * care).sum(dim=(1, 2))
        return wrong / care.sum().clamp_min(1.0)

    def after_step(self, step: int) -> None:
        if (step + 1) % self.plan.check_every == 0 or step + 1 == self.plan.n_steps:
            self._check(step + 1)

    @torch.no_grad()
    def _check(self, step: int) -> None:
        """Harden all restarts, look whether one is exact, and remember the best."""
        candidates = self.network.candidates(self.table)
        distances = candidates.distances
        exact = np.flatnonzero(distances == 0)
        self.solved |= torch.from_numpy(distances == 0)
        if len(exact) and self.figures[0] < 0:
            self.figures[0] = step
        sizes = {k: self._size(candidates, k) for k in exact.tolist()}
        restart = min(sizes, key=sizes.__getitem__) if sizes else int(distances.argmin())
        tau = self._temperature(max(step - 1, 0))
        soft = self.network(self._here(self.rows), temperature=tau)
        errors = self._errors(soft)
        size = float(sizes.get(restart, np.inf))
        if (float(distances[restart]), size) < (float(self.figures[1]), float(self.figures[2])) or step == 0:
            self._remember(candidates, restart, size, soft[restart].cpu(), float(errors[restart]))
        row = [
            step,
            tau,
            float(errors.mean()),
            float(errors.min()),
            float(self.solved.double().mean()),
            float(distances.min()),
        ]
        self.history[int(self.figures[6])] = torch.tensor(row, dtype=torch.float64)
        self.figures[6] += 1

    def _remember(
        self, candidates: Candidates, restart: int, size: float, soft: Tensor, error: float
    ) -> None:
        arrays = (candidates.gates, candidates.left, candidates.right, candidates.usable)
        rows = np.stack([one[restart] for one in arrays if one is not None])
        self.best.copy_(torch.from_numpy(rows.astype(np.int64)))
        bits = candidates.circuit(restart).truth_table()
        apart = np.abs(soft.double().numpy().T - bits)[self.table.care]
        worst = float(apart.max(initial=0.0))
        agreement = float((apart < 0.5).mean()) if len(apart) else 1.0
        self.figures[1:6] = torch.tensor(
            [float(candidates.distances[restart]), size, error, agreement, worst]
        )

    def _size(self, candidates: Candidates, restart: int) -> int:
        """Gates of an exact circuit once it is finished; circuits stay the same for many checks."""
        circuit = candidates.circuit(restart)
        key = circuit_key(circuit)
        if key not in self._known_sizes:
            self._known_sizes[key] = finished(circuit, self.plan.gate).n_gates
        return self._known_sizes[key]

    def measure(self, step: int) -> tuple[float | None, float | None, float | None]:
        last = self.history[int(self.figures[6]) - 1]
        return float(last[3]), float(last[5]) / max(self.table.n_bits, 1), self._temperature(step)

    def extra_state(self) -> dict[str, Tensor]:
        return {"best": self.best, "figures": self.figures, "solved": self.solved, "history": self.history}

    def result(self) -> dict[str, NDArray[Any]]:
        return {name: tensor.numpy() for name, tensor in self.extra_state().items()}
