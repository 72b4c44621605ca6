"""SoftGroups: levels that belong to all groups a little, the less the colder, and the training of their codes. Imports torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hardgrad.core.mode import Mode
from hardgrad.core.relaxed import Relaxed, set_temperature
from hardgrad.core.schedule import Schedule
from hardgrad.functional.choices import choice
from hardgrad.tabular.encoder_codes import Floats, TargetFormula, level_totals
from hardgrad.tabular.encoder_levels import Levels
from hardgrad.train.loop import TrainingTask


class SoftGroups(Relaxed):
    """Codes of levels through groups: level k has the mixture of the groups' codes that softmax(scores[k] / temperature) gives.

    Parameters
    ----------
    scores : how much a level belongs to each group [levels, groups].
    codes : of the groups [groups, components].

    Examples
    --------
    >>> groups = SoftGroups(torch.tensor([[9.0, 0.0], [0.0, 9.0]]), torch.tensor([[1.0], [2.0]]))
    >>> groups.harden()(torch.tensor([1, 0])).tolist()
    [[2.0], [1.0]]
    """

    def __init__(self, scores: Tensor, codes: Tensor, temperature: float = 1.0) -> None:
        super().__init__(temperature)
        self.scores = nn.Parameter(scores.clone())
        self.codes = nn.Parameter(codes.clone())

    def forward(self, level: Tensor, *, temperature: Any = None, mode: Mode | None = None) -> Tensor:
        """Return the codes [n, components] of levels, given by number [n]."""
        weights = choice(
            self.scores, temperature=self.resolved_temperature(temperature), mode=self.resolved_mode(mode)
        )
        table: Tensor = weights @ self.codes
        return table[level]

    def harden(self) -> nn.Embedding:
        """Return a lookup table: each level has the code of its group of the highest score."""
        exact: nn.Embedding = nn.Embedding.from_pretrained(self.exact_codes())
        return exact

    def exact_codes(self) -> Tensor:
        """Return the codes [levels, components] of the hard face."""
        return self.codes.detach()[self.scores.detach().argmax(dim=1)]


def starting_groups(
    levels: Levels,
    number: NDArray[np.int64],
    T: Floats,
    n_groups: int,
    n_components: int,
    rng: np.random.Generator,
) -> tuple[Tensor, Tensor]:
    """Scores and codes to start from: clusters of levels whose shrunk target means are near.

    Distances are in units of the spread of the means, so that the first temperature, 1, lets a level belong to several groups.
    """
    from sklearn.cluster import KMeans

    K = len(levels.texts)
    means = TargetFormula("m-estimate", 1.0).codes(level_totals(number, T, K), np.zeros(T.shape[1]))
    means /= means.std() if means.std() > 0 else 1.0
    G = min(n_groups, len(np.unique(means, axis=0)))
    found = KMeans(G, n_init=1, random_state=int(rng.integers(2**31 - 1))).fit(means)
    scores = -((means[:, None] - found.cluster_centers_) ** 2).sum(axis=2)
    codes = 0.1 * rng.normal(size=(G, n_components))
    shared = min(n_components, T.shape[1])
    codes[:, :shared] += found.cluster_centers_[:, :shared]
    return torch.from_numpy(scores), torch.from_numpy(codes)


class TargetRows:
    """Levels [n, columns], standardised numbers [n, numbers] and targets [n, outputs], and what a network's answers are worth."""

    def __init__(self, levels: NDArray[np.int64], N: Floats, T: Floats, kind: str) -> None:
        self.levels, self.N, self.T, self.kind = levels, N, T, kind
        numbers = kind == "continuous"
        self.mean = T.mean(axis=0) if numbers else np.zeros(T.shape[1])
        spread = T.std(axis=0)
        self.scale = np.where(numbers & (spread > 0), spread, 1.0)

    def inputs(self, chosen: NDArray[np.int64], device: Any) -> tuple[Tensor, Tensor]:
        """Return what the network takes."""
        return torch.from_numpy(self.levels[chosen]).to(device), torch.from_numpy(self.N[chosen]).to(device)

    def loss(self, raw: Tensor, chosen: NDArray[np.int64]) -> Tensor:
        """Return the mean loss of raw answers [n, outputs]."""
        T = torch.from_numpy((self.T[chosen] - self.mean) / self.scale).to(raw.device)
        if self.kind == "continuous":
            return nn.functional.mse_loss(raw, T)
        return (
            nn.functional.binary_cross_entropy_with_logits(raw, T)
            if self.kind == "binary"
            else nn.functional.cross_entropy(raw, T)
        )

    def answers(self, raw: Tensor) -> Floats:
        """Return values, or probabilities, of raw answers."""
        if self.kind == "continuous":
            return np.asarray(raw.numpy() * self.scale + self.mean)
        return np.asarray(
            (torch.sigmoid(raw) if self.kind == "binary" else torch.softmax(raw, dim=1)).numpy()
        )

    def labels(self, answers: Floats) -> NDArray[np.int64]:
        """Return the class numbers of probabilities."""
        return (answers[:, 0] > 0.5).astype(np.int64) if answers.shape[1] == 1 else answers.argmax(axis=1)

    def score(self, answers: Floats, chosen: NDArray[np.int64]) -> float:
        """Return R2 of values, accuracy of probabilities."""
        T = self.T[chosen]
        if self.kind == "continuous":
            spread = float(((T - T.mean(axis=0)) ** 2).sum())
            return 1.0 - float(((T - answers) ** 2).sum()) / spread if spread > 0 else 0.0
        return float((self.labels(answers) == self.labels(T)).mean())


class GroupNetwork(nn.Module):
    """Codes of the categorical columns beside the numbers, through a few layers."""

    def __init__(
        self,
        starts: list[tuple[Tensor, Tensor]],
        numbers: int,
        hidden: tuple[int, ...],
        outputs: int,
        temperature: float,
    ) -> None:
        super().__init__()
        self.groups = nn.ModuleList(SoftGroups(*start, temperature) for start in starts)
        widths = [numbers + sum(codes.shape[1] for _, codes in starts), *hidden]
        layers: list[nn.Module] = []
        for i in range(len(hidden)):
            layers += [nn.Linear(widths[i], widths[i + 1], dtype=torch.float64), nn.ReLU()]
        self.head = nn.Sequential(*layers, nn.Linear(widths[-1], outputs, dtype=torch.float64))

    def exact_codes(self) -> list[Floats]:
        """Return the exact codes [levels, components] of each categorical column."""
        return [part.exact_codes().cpu().numpy() for part in self.groups if isinstance(part, SoftGroups)]

    def forward(self, levels: Tensor, numbers: Tensor) -> Tensor:
        """Return raw answers [n, outputs] for levels [n, columns] and standardised numbers [n, numbers]."""
        codes = [groups(levels[:, c]) for c, groups in enumerate(self.groups)]
        answer: Tensor = self.head(torch.cat([*codes, numbers], dim=1))
        return answer


class GroupTask(TrainingTask):
    """Batches of rows, drawn anew for each step, while the temperature falls."""

    key = phase = "category groups"
    parts = 1

    def __init__(
        self,
        module: GroupNetwork,
        rows: TargetRows,
        used: NDArray[np.int64],
        steps: int,
        batch_size: int,
        rate: float,
        schedule: Schedule,
        seed: int,
    ) -> None:
        self.module, self.rows, self.used, self.steps = module, rows, used, steps
        self.batch_size, self.rate, self.schedule, self.seed = batch_size, rate, schedule, seed

    def optimizer(self) -> torch.optim.Optimizer:
        """Return Adam."""
        return torch.optim.Adam(self.module.parameters(), self.rate)

    def before_step(self, step: int, optimizer: torch.optim.Optimizer) -> None:
        """Set the temperature."""
        set_temperature(self.module, self.schedule.at(step=step, steps=self.steps))

    def loss(self, copies: nn.Module, step: int, parts: range) -> Tensor:
        """Return the mean loss of this step's rows."""
        rng = np.random.default_rng([self.seed, step])
        chosen = rng.choice(self.used, min(self.batch_size, len(self.used)), replace=False)
        device = next(copies.parameters()).device
        return self.rows.loss(copies(*self.rows.inputs(chosen, device)), chosen)

    def result(self) -> dict[str, NDArray[Any]]:
        """Return the state of the network."""
        return {name: value.detach().cpu().numpy() for name, value in self.module.state_dict().items()}
