"""DEIS: exponential Adams–Bashforth with the noise as a polynomial in time (tAB)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scoresde.errors import check, typed
from scoresde.sde.base import GaussianSDE
from scoresde.solver.coefficients.exponential import exponential
from scoresde.solver.coefficients.table import Row, Table, TableSolver, levels

__all__ = ["DEIS"]


@dataclass(frozen=True)
class DEIS(TableSolver):
    """x_s/α_s = x_t/α_t + ∫ ε dσ̂, where σ̂ = s/α, with the polynomial in the process's time through the last ε.

    The first steps use as many values as there are. A step onto the data (t = 0) is DDIM's, as σ̂ may fall below what
    the process has times for.

    Args:
        order: how many values, 1 (DDIM) to 4: the paper's tAB0 to tAB3.

    Raises:
        InputError: for a value out of range, or a process that is not a GaussianSDE.

    Source: Zhang & Chen 2023, "Fast sampling of diffusion models with exponential integrator", eq. 13 to 15.
    """

    of = "eps"
    order: int = 3

    def __post_init__(self) -> None:
        """Refuse an order that there is not."""
        typed(self)
        check(self, "order", 1 <= self.order <= 4, "a whole number from 1 to 4")

    def table(self, process: GaussianSDE, ts: Tensor) -> Table:
        """One row a step."""

        def time(sigma: Any) -> Any:
            return process.time(torch.as_tensor(-2 * np.log(sigma))).numpy()

        path = levels(process, ts)
        rows = []
        for i, end in enumerate(path[1:]):
            count = 1 if end.std == 0 else min(i + 1, self.order)
            keep, weights, _ = exponential(path[i], end, path[i::-1][:count], "eps", clock=time)
            rows.append([Row(path[i].t, keep, weights)])
        return rows
