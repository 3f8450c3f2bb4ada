"""SDE-DPM-Solver++: x_0 extrapolated from earlier steps, the rest of the reverse SDE exactly."""

from dataclasses import dataclass

from torch import Tensor

from scoresde.errors import check, typed
from scoresde.sde.base import GaussianSDE
from scoresde.solver.base import falling
from scoresde.solver.coefficients.exponential import exponential
from scoresde.solver.coefficients.table import Row, Table, TableSolver, levels

__all__ = ["SDEDPMPP"]


@dataclass(frozen=True)
class SDEDPMPP(TableSolver):
    """x_s = (s_s/s_t) e^(−η²h) x_t + α_s (1 − e^(−(1+η²)h)) D + s_s √(1 − e^(−2η²h)) z, h = λ_s − λ_t.

    - order 1 (SDE-DPM-Solver-1): D = x_0.
    - order 2 (2M): D = x_0 + (x_0 − x_0′)/2r, with the x_0′ of the step before, r times as long.
    - order 3 (3M): the exact integral of the polynomial in λ through three values of x_0, instead of αD.

    The orders are those at η = 0, where the grid's first steps, of lower order, are graded. With noise 2M is of weak
    order two, for x_0 is extrapolated right in the mean, and 3M too: along one path x_0 is as rough as Brownian motion.
    A last step onto the data (t = 0) ends on x_0.

    Args:
        order: 1, 2 or 3.
        eta: η of the reverse: 1 is the reverse SDE, 0 the probability-flow ODE, anything ≥ 0.

    Raises:
        InputError: for a value out of range, or a process that is not a GaussianSDE.

    Source: Lu et al. 2022, "DPM-Solver++: fast solver for guided sampling of diffusion probabilistic models", eq. 18
    and appendix (SDE-DPM-Solver++(2M)), for any η; 3M after k-diffusion, whose second difference counts half of this.
    """

    facts = ("2", "1/step", "ODE or SDE")
    order: int = 2
    eta: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what there is not."""
        typed(self)
        check(self, "order", 1 <= self.order <= 3, "a whole number from 1 to 3")
        check(self, "eta", 0 <= self.eta < float("inf"), "a number >= 0")

    @property
    def weak_order(self) -> int:  # type: ignore[override]
        """Two with a value of an earlier step, or with two."""
        return min(self.order, 2)

    def table(self, process: GaussianSDE, ts: Tensor) -> Table:
        """One row a step."""
        if self.eta:
            falling(self, ts)
        path = levels(process, ts)
        half = (process.log_snr(ts[: len(ts) - (path[-1].std == 0)]) / 2).tolist()
        rows = []
        for i, end in enumerate(path[1:]):
            count = 1 if end.std == 0 else min(i + 1, self.order)
            nodes = path[i::-1][: count if count == 3 else 1]
            keep, weights, std = exponential(path[i], end, nodes, eta=self.eta)
            if count == 2:
                more = weights[0] / 2 * (half[i + 1] - half[i]) / (half[i] - half[i - 1])
                weights = [weights[0] + more, -more]
            rows.append([Row(path[i].t, keep, weights, [std] if self.eta else [])])
        return rows
