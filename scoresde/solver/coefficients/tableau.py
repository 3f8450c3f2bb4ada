"""Explicit Runge–Kutta methods: one loop over the stages of a tableau, and the order that a tableau has."""

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
from torch import Tensor

from scoresde.noise import Noise
from scoresde.sde.base import SDE
from scoresde.solver.base import State, StepSolver

__all__ = ["TableauSolver"]


class TableauSolver(StepSolver):
    """k_i = f(x_t + h Σ_j a_ij k_j, t + c_i h) and x_s = x_t + h Σ_i b_i k_i, where h = s − t and c_i = Σ_j a_ij.

    f is the drift of an SDE without noise: the probability-flow ODE of a `Reverse` with η = 0.
    """

    a: tuple[float, ...]
    """The rows of a_ij below the diagonal, one after the other: a_21, a_31, a_32, …"""
    b: tuple[float, ...]
    """The weights of the stages."""

    @property
    def cost(self) -> int:  # type: ignore[override]
        """One evaluation a stage."""
        return len(self.b)

    @property
    def order(self) -> int:  # type: ignore[override]
        """How many of the order conditions hold, to eight digits: 4 at the most, as those beyond are not looked at.

        Source: Hairer, Nørsett & Wanner 1993, "Solving ordinary differential equations I", table II.2.1.
        """
        rows = self._rows()
        a, b = np.array([[*row, *[0.0] * (len(rows) - len(row))] for row in rows]), np.array(self.b)
        c = a.sum(1)
        conditions = [
            [b.sum() - 1],
            [b @ c - 1 / 2],
            [b @ c**2 - 1 / 3, b @ a @ c - 1 / 6],
            [b @ c**3 - 1 / 4, b * c @ a @ c - 1 / 8, b @ a @ c**2 - 1 / 12, b @ a @ a @ c - 1 / 24],
        ]
        return sum(accumulate((bool(np.abs(each).max() < 1e-8) for each in conditions), lambda x, y: x and y))

    def step(self, sde: SDE, x: Tensor, t: Tensor, s: Tensor, noise: Noise, state: State) -> tuple[Tensor, State]:
        """Stage by stage."""
        h = s - t
        slopes: list[Tensor] = []
        for row in self._rows():
            slopes.append(sde.drift(_move(x, row, slopes, h), t + sum(row) * h))
        return _move(x, self.b, slopes, h), state

    def _rows(self) -> list[tuple[float, ...]]:
        """a_1· = (), a_2· = (a_21), a_3· = (a_31, a_32), …"""
        return [self.a[i * (i - 1) // 2 : i * (i + 1) // 2] for i in range(len(self.b))]


def _move(x: Tensor, weights: Sequence[float], slopes: Sequence[Tensor], h: Tensor) -> Tensor:
    """x + h Σ_j weights[j] slopes[j]."""
    for weight, slope in zip(weights, slopes, strict=True):
        x = x + slope * (weight * h) if weight else x
    return x
