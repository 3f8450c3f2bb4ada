"""SEEDS: stages within a step that share its noise, the reverse SDE's linear part and noise exactly."""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from scoresde.errors import check, typed
from scoresde.sde.base import GaussianSDE
from scoresde.solver.base import falling
from scoresde.solver.coefficients.singlestep import singlestep
from scoresde.solver.coefficients.table import Table, TableSolver, levels

__all__ = ["SEEDS"]


@dataclass(frozen=True)
class SEEDS(TableSolver):
    """x/α = x_t/α_t + (1 + η²) ∫ ε dσ̂ + η Σ_j √(σ̂²_{j−1} − σ̂_j²) z_j, at each stage of a step and at its end.

    ε under the integral is DPM-Solver's of the same order, which this is at η = 0; the j-th draw is the noise between
    the stages j − 1 and j, so that all of them lie on one Brownian path. The paper proves weak order one; with two
    stages and with three it is two. A step onto the data (t = 0) is DDIM's, without noise.

    Args:
        order: 1, 2 or 3: network evaluations a step, and the order at η = 0.
        eta: η of the reverse: 1, the paper's, is the reverse SDE, 0 the probability-flow ODE, anything ≥ 0.

    Raises:
        InputError: for a value out of range, or a process that is not a GaussianSDE.

    Source: Gonzalez et al. 2023, "SEEDS: exponential SDE solvers for fast high-quality sampling from diffusion models",
    algorithms 1 to 3, for any η.
    """

    of = "eps"
    facts = ("3/2", "3/step − 2", "ODE or SDE")
    order: int = 3
    eta: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what there is not."""
        typed(self)
        check(self, "order", 1 <= self.order <= 3, "a whole number from 1 to 3")
        check(self, "eta", 0 <= self.eta < float("inf"), "a number >= 0")

    @property
    def weak_order(self) -> int:  # type: ignore[override]
        """Two at the most."""
        return min(self.order, 2)

    @property
    def cost(self) -> int:  # type: ignore[override]
        """The order."""
        return self.order

    def table(self, process: GaussianSDE, ts: Tensor) -> Table:
        """DPM-Solver's rows, with noise."""
        flow = singlestep(process, ts, self.order, "eps")
        if not self.eta:
            return flow
        falling(self, ts)
        table = []
        for rows, end in zip(flow, levels(process, ts)[1:], strict=True):
            points = [*levels(process, torch.stack([row.t for row in rows])), end]
            shares = [self.eta * math.sqrt(a.sigma**2 - b.sigma**2) for a, b in pairwise(points)]
            noisy = [
                row._replace(
                    weights=[(1 + self.eta**2) * weight for weight in row.weights],
                    noise=[points[k + 1].alpha * share for share in shares[: k + 1]],
                )
                for k, row in enumerate(rows)
            ]
            table.append(noisy if end.std > 0 else rows)
        return table
