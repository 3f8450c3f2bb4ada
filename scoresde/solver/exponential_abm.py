"""Exponential Adams–Bashforth–Moulton, exact on normal data: the most accurate for few evaluations."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from scoresde.errors import check, typed
from scoresde.grid.base import Grid
from scoresde.grid.regular import Regular
from scoresde.sde.base import GaussianSDE, Process
from scoresde.solver.coefficients.exponential import exponential
from scoresde.solver.coefficients.table import Row, Table, TableSolver, levels

__all__ = ["ExponentialABM"]


@dataclass(frozen=True)
class ExponentialABM(TableSolver):
    """A predictor through the last p − 1 values and a corrector through one more, of x_0's excess over normal data.

    With p_k = x_0 − (d² α/(d² α² + s²)) x, what is left of the prediction beyond that for normal data of deviation d
    (EDM's network output), the flow is exact for such data in steps of any size. The rest, made even in σ̂, is a
    polynomial in the regularised half-log-SNR ½ log(σ̂² + c²), which is smooth on the data, so that the last step keeps
    its order. The
    corrector costs no evaluation of its own: it uses that of the next step. Both weigh the state alike, so that they
    are one row of a table together: with b of the predictor and c of the corrector,
    y ← A' (y + Σ (c_k − b_k) p_k) + Σ b'_k p_k.

    Args:
        order: p, 2 to 4. The first steps use as many values as there are, so that it shows where the grid's first steps
            are graded; the last step has no corrector, which its local error can bear.
        width: d > 0: about the deviation of the data.
        floor: c > 0 of the clock, the noise level below which it flattens out.

    Raises:
        InputError: for a value out of range, or a process that is not a GaussianSDE.

    Source: scoresde's own, from Hochbruck & Ostermann 2010, "Exponential integrators", section 2.5; Karras et al. 2022,
    eq. 7 (the output); Zhao et al. 2023, "UniPC", section 3.1 (a corrector that costs nothing).
    """

    order: int = 4
    width: float = 0.5
    floor: float = 0.25

    def __post_init__(self) -> None:
        """Refuse an order or a clock that there is not."""
        typed(self)
        check(self, "order", 2 <= self.order <= 4, "a whole number from 2 to 4")
        check(self, "width", 0 < self.width < float("inf"), "a number > 0")
        check(self, "floor", 0 < self.floor < float("inf"), "a number > 0")

    def default_grid(self, process: Process) -> Grid:
        """`Regular`, along which it was found to be most accurate."""
        return Regular()

    def table(self, process: GaussianSDE, ts: Tensor) -> Table:
        """One row a step: the correction of the step before, then the prediction of this one."""
        path = levels(process, ts)

        def weights(i: int, newest: int, count: int) -> tuple[float, Any]:
            """Of the step from i through so many values; those that it does not use are zero."""
            nodes = path[newest::-1][:count]
            keep, found, _ = exponential(
                path[i], path[i + 1], nodes, "excess", self.clock, width=self.width, floor=self.floor
            )
            return keep, np.pad(found, (0, self.order - len(nodes)))

        rows = []
        for i, at in enumerate(path[:-1]):
            keep, total = weights(i, i, self.order - 1)
            if i:
                _, predicted = weights(i - 1, i - 1, self.order - 1)
                _, corrected = weights(i - 1, i, self.order)
                total = total + keep * (corrected - np.roll(predicted, 1))
            skip = self.width**2 * at.alpha / ((self.width * at.alpha) ** 2 + at.std**2)
            rows.append([Row(at.t, keep, total.tolist(), skip=skip)])
        return rows

    def clock(self, sigma: Any) -> Any:
        """½ log(σ̂² + c²)."""
        return np.log(sigma**2 + self.floor**2) / 2
