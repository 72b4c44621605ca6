"""Whether a half space leaves anything of a polyhedron: bounds of a box, witness points, and a linear program where these do not tell.

All classes answer `split(row)`: the parts where `row . (x, 1) <= 0` and where it is > 0, None for one that is empty. Never imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

TOLERANCE = 1e-9
"""A part that holds no ball of this radius is empty."""
SOLVER = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}


@dataclass(frozen=True)
class Everything:
    """All inputs: nothing is ever empty."""

    def split(self, row: Floats) -> tuple[Everything, Everything]:
        """Return both sides."""
        return self, self


@dataclass(frozen=True)
class Box:
    """All inputs between `low` and `high` [F], whatever was decided so far."""

    low: Floats
    high: Floats

    def bounds(self, row: Floats) -> tuple[float, float]:
        """Return the least and the greatest value of an affine function in the box."""
        least = np.minimum(row[:-1] * self.low, row[:-1] * self.high).sum() + row[-1]
        greatest = np.maximum(row[:-1] * self.low, row[:-1] * self.high).sum() + row[-1]
        return float(least), float(greatest)

    def split(self, row: Floats) -> tuple[Box | None, Box | None]:
        """Return a side unless the function cannot get there anywhere in the box."""
        least, greatest = self.bounds(row)
        return (self if least <= 0 else None), (self if greatest > 0 else None)


@dataclass(frozen=True)
class Points:
    """The rows X [n, F] that are here: a side without one of them is empty."""

    X: Floats

    def split(self, row: Floats) -> tuple[Points | None, Points | None]:
        """Return the rows on either side."""
        left = self.X @ row[:-1] + row[-1] <= 0
        sides = (Points(self.X[left]), Points(self.X[~left]))
        return (sides[0] if left.any() else None), (sides[1] if not left.all() else None)


@dataclass(frozen=True)
class Polyhedron:
    """The inputs with `G x <= h` (rows of G have length 1), and a ball inside: most cuts are seen to pass on one side of it or through it.

    Parameters
    ----------
    G, h : float64 [rows, F], [rows].
    box : the box, for bounds that need no program; its sides are among the rows. None where inputs are not bounded.
    witness, radius : centre [F] and radius of a ball inside.
    programs : where the linear programs that were solved are counted.
    """

    G: Floats
    h: Floats
    box: Box | None
    witness: Floats
    radius: float
    programs: list[int]

    @classmethod
    def of(cls, n_inputs: int, box: Box | None) -> Polyhedron:
        """Return the whole box, or the whole space."""
        if box is None:
            return cls(np.empty((0, n_inputs)), np.empty(0), None, np.zeros(n_inputs), 1.0, [0])
        eye = np.eye(n_inputs)
        centre, radius = (box.low + box.high) / 2, float((box.high - box.low).min(initial=np.inf) / 2)
        return cls(
            np.concatenate([eye, -eye]), np.concatenate([box.high, -box.low]), box, centre, radius, [0]
        )

    def split(self, row: Floats) -> tuple[Polyhedron | None, Polyhedron | None]:
        """Return both sides; a linear program is solved at most for the side where the witness is not."""
        left, right = self._side(row), self._side(-row)
        # Where rounding leaves neither side, the part is a sliver about the hyperplane, and either line is right there.
        return (left, right) if left or right else (replace(self), None)

    def _side(self, row: Floats) -> Polyhedron | None:
        length = float(np.linalg.norm(row[:-1]))
        g, bound = row[:-1] / length, -float(row[-1]) / length
        distance = bound - float(g @ self.witness)
        G, h = np.concatenate([self.G, g[None]]), np.append(self.h, bound)
        if distance > TOLERANCE:
            return replace(self, G=G, h=h, radius=min(self.radius, distance))
        if self.box is not None and self.box.bounds(np.append(g, -bound))[0] > -TOLERANCE:
            return None
        return self._solve(G, h)

    def _solve(self, G: Floats, h: Floats) -> Polyhedron | None:
        """Return the part with a new witness: the centre of the largest ball inside, of radius 1 at most."""
        from scipy.optimize import linprog

        solve: Any = linprog  # its types do not know its tolerances
        self.programs[0] += 1
        n = G.shape[1]
        found = solve(
            np.append(np.zeros(n), -1.0),
            A_ub=np.column_stack([G, np.ones(len(G))]),
            b_ub=h,
            bounds=[(None, None)] * n + [(None, 1.0)],
            method="highs",
            options=SOLVER,
        )
        if found.status == 0:
            centre = found.x[:n]
            radius = float((h - G @ centre).min())
            return replace(self, G=G, h=h, witness=centre, radius=radius) if radius > TOLERANCE else None
        if found.status == 2:
            return None
        return replace(self, G=G, h=h, radius=0.0)  # the solver gave up: keep what may be there


Domain = Everything | Box | Points | Polyhedron
"""A part of the space of inputs."""
