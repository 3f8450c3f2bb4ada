"""DPM-Solver: singlestep exponential Runge–Kutta methods in the predicted noise."""

from dataclasses import dataclass

from torch import Tensor

from scoresde.errors import check, typed
from scoresde.sde.base import GaussianSDE
from scoresde.solver.coefficients.singlestep import singlestep
from scoresde.solver.coefficients.table import Table, TableSolver

__all__ = ["DPMSolver"]


@dataclass(frozen=True)
class DPMSolver(TableSolver):
    """x_s = (α_s/α_t) x_t − s_s ∫₀ʰ e^(h−y) ε(λ_t + y) dy, where λ = log(α/s), with ε asked inside the step.

    As many evaluations a step as its order, at r₁ = ½ (order 2), r₁ = ⅓ and r₂ = ⅔ (order 3) of the step in λ. A step
    onto the data (t = 0, λ = ∞) is DDIM's, one evaluation.

    Args:
        order: 1, 2 or 3: DPM-Solver-1, which is DDIM, -2 or -3.

    Raises:
        InputError: for a value out of range, or a process that is not a GaussianSDE.

    Source: Lu et al. 2022, "DPM-Solver: a fast ODE solver for diffusion probabilistic model sampling in around 10
    steps", algorithms 1 and 2.
    """

    of = "eps"
    facts = ("2", "2/step − 1", "ODE")
    order: int = 2

    def __post_init__(self) -> None:
        """Refuse an order that there is not."""
        typed(self)
        check(self, "order", 1 <= self.order <= 3, "a whole number from 1 to 3")

    @property
    def cost(self) -> int:  # type: ignore[override]
        """The order."""
        return self.order

    def table(self, process: GaussianSDE, ts: Tensor) -> Table:
        """As many rows a step as its order."""
        return singlestep(process, ts, self.order, "eps")
