"""LMS: linear multistep in the noise level."""

from dataclasses import dataclass

from torch import Tensor

from scoresde.errors import check, typed
from scoresde.sde.base import GaussianSDE
from scoresde.solver.coefficients.exponential import exponential
from scoresde.solver.coefficients.table import Row, Table, TableSolver, levels

__all__ = ["LMS"]


@dataclass(frozen=True)
class LMS(TableSolver):
    """x_s/α_s = x_t/α_t + ∫ ε dσ̂, where σ̂ = s/α, with the polynomial in σ̂ through the last ε: Adams–Bashforth.

    The first steps use as many values as there are. σ̂ is finite on the data (t = 0), so that the step there is like
    any other.

    Args:
        order: how many values, 1 (DDIM) to 4.

    Raises:
        InputError: for a value out of range, or a process that is not a GaussianSDE.

    Source: Hairer, Nørsett & Wanner 1993, "Solving ordinary differential equations I", section III.5 (unequal
    steps), in the coordinates of Karras et al. 2022, "Elucidating the design space of diffusion-based generative
    models", eq. 4.
    """

    of = "eps"
    order: int = 4

    def __post_init__(self) -> None:
        """Refuse an order that there is not."""
        typed(self)
        check(self, "order", 1 <= self.order <= 4, "a whole number from 1 to 4")

    def table(self, process: GaussianSDE, ts: Tensor) -> Table:
        """One row a step."""
        path = levels(process, ts)
        rows = []
        for i, end in enumerate(path[1:]):
            nodes = path[i::-1][: self.order]
            keep, weights, _ = exponential(path[i], end, nodes, "eps", clock=lambda sigma: sigma)
            rows.append([Row(path[i].t, keep, weights)])
        return rows
