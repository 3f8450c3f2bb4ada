"""Exponential Adams–Bashforth: the prediction as the polynomial through its last values, the rest exactly."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from scoresde.errors import check, typed
from scoresde.sde.base import GaussianSDE
from scoresde.solver.coefficients.exponential import exponential
from scoresde.solver.coefficients.table import Row, Table, TableSolver, levels

__all__ = ["ExponentialAB"]


@dataclass(frozen=True)
class ExponentialAB(TableSolver):
    """The exact solution's integral over x_0, ε or v, with the polynomial in λ = ½ log-SNR through its last values.

    The first steps use as many values as there are, so that the order shows where the grid's first steps are graded.
    A step onto the data (t = 0, λ = ∞) is DDIM's.

    Args:
        of: which prediction: "x0", "eps" or "v".
        order: how many values, 1 to 4.

    Raises:
        InputError: for a value out of range, or a process that is not a GaussianSDE.

    Source: Hochbruck & Ostermann 2010, "Exponential integrators", section 2.5; Zhang & Chen 2023, "Fast sampling of
    diffusion models with exponential integrator", eq. 13.
    """

    of: Literal["x0", "eps", "v"] = "x0"
    order: int = 3

    def __post_init__(self) -> None:
        """Refuse an order that there is not."""
        typed(self)
        check(self, "order", 1 <= self.order <= 4, "a whole number from 1 to 4")

    def table(self, process: GaussianSDE, ts: Tensor) -> Table:
        """One row a step."""
        path = levels(process, ts)
        rows = []
        for i, end in enumerate(path[1:]):
            count = 1 if end.std == 0 else min(i + 1, self.order)
            keep, weights, _ = exponential(path[i], end, path[i::-1][:count], self.of)
            rows.append([Row(path[i].t, keep, weights)])
        return rows
