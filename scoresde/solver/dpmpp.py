"""DPM-Solver++: multistep and singlestep exponential integrators in the predicted data."""

import math
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from scoresde.errors import check, typed
from scoresde.sde.base import GaussianSDE
from scoresde.solver.coefficients.exponential import exponential
from scoresde.solver.coefficients.singlestep import singlestep
from scoresde.solver.coefficients.table import Row, Table, TableSolver, levels

__all__ = ["DPMpp"]


@dataclass(frozen=True)
class DPMpp(TableSolver):
    """x_s = (s_s/s_t) x_t + α_s ∫₀ʰ e^(y−h) x_0(λ_t + y) dy, where λ = log(α/s).

    The multistep variant extrapolates x_0 from its last values, at one evaluation a step; its first steps use as many
    as there are. The singlestep one asks for x_0 inside the step, at as many evaluations as its order. A step onto the
    data (t = 0, λ = ∞) is DDIM's, one evaluation.

    The multistep method of order 3 is not the released one, whose second difference carries half of its weight in
    Taylor's series, so that it is of order 2: with the whole of it, it is of order 3.

    Args:
        order: 1, which is DDIM, 2 (2M, 2S) or 3 (3M, 3S).
        variant: "multistep" or "singlestep".

    Raises:
        InputError: for a value out of range, or a process that is not a GaussianSDE.

    Source: Lu et al. 2022, "DPM-Solver++: fast solver for guided sampling of diffusion probabilistic models",
    algorithms 1 (2S) and 2 (2M), eq. 9 for the others.
    """

    facts = ("2", "1/step", "ODE")
    order: int = 2
    variant: Literal["multistep", "singlestep"] = "multistep"

    def __post_init__(self) -> None:
        """Refuse an order that there is not."""
        typed(self)
        check(self, "order", 1 <= self.order <= 3, "a whole number from 1 to 3")

    @property
    def cost(self) -> int:  # type: ignore[override]
        """One, or the order of a singlestep variant."""
        return self.order if self.variant == "singlestep" else 1

    def table(self, process: GaussianSDE, ts: Tensor) -> Table:
        """One row a step, or as many as a singlestep variant's order."""
        if self.variant == "singlestep":
            return singlestep(process, ts, self.order, "x0")
        path = levels(process, ts)
        rows = []
        for i, end in enumerate(path[1:]):
            count = 1 if end.std == 0 else min(i + 1, self.order)
            keep, weights, _ = exponential(path[i], end, path[i::-1][: 1 if count == 2 else count])
            if count == 2:  # the slope of the last values, at the middle of the step: D = x_0 + (x_0 − x_0′)/2r
                r = math.log(path[i - 1].sigma / path[i].sigma) / math.log(path[i].sigma / end.sigma)
                weights = [weights[0] * (1 + 1 / (2 * r)), -weights[0] / (2 * r)]
            rows.append([Row(path[i].t, keep, weights)])
        return rows
