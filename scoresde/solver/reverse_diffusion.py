"""Reverse diffusion: the reverse discretised as the forward chain is."""

from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from scoresde.sde.base import GaussianSDE
from scoresde.solver.base import falling
from scoresde.solver.coefficients.table import Row, Table, TableSolver, levels

__all__ = ["ReverseDiffusion"]


@dataclass(frozen=True)
class ReverseDiffusion(TableSolver):
    """x_s = (2 − r) x_t + G² ∇log p_t(x_t) + G z, where the forward chain is x_t = r x_s + G z.

    With r = √(1 − β_i) and G² = β_i for VP, r = 1 and G² = s_t² − s_s² for VE. A last step onto the data (t = 0) is
    the predicted x_0, without noise: the formula itself would leave all that the score takes away, G = s_t.

    Raises:
        InputError: for a process that is not a GaussianSDE.

    Source: Song et al. 2021, "Score-based generative modeling through SDEs", eq. 46 and appendix E.
    """

    weak_order = 1
    eta = 1.0

    def table(self, process: GaussianSDE, ts: Tensor) -> Table:
        """In x_0: the score is (α_t x_0 − x_t)/s_t²."""
        falling(self, ts)
        rows = []
        for a, b in pairwise(levels(process, ts)):
            r = a.alpha / b.alpha
            fresh = a.std**2 - (r * b.std) ** 2
            row = Row(a.t, 2 - r - fresh / a.std**2, [a.alpha * fresh / a.std**2], [fresh**0.5])
            rows.append([row if b.std > 0 else Row(a.t, 0.0, [1.0])])
        return rows
